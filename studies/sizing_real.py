"""An agent that learns how much to hold, on three perpetuals, against Kelly and plain sizes.

    SETRADE_DATA=<folder> make study STUDY=sizing_real

Bars of eight hours of BTC, ETH and SOL on Bybit, positions from −1 to 1, a taker's fee and 1 bp of
slippage, real funding (SOL's before December 2023 is the mean of the others'). Two folds in the
order of time, tested on 2023 and on 2024. PPO (stable-baselines3) trains in `setrade.sizing`'s
environment, keeps the weights that grew most on validation, and is held against volatility
targeting, Kelly and half Kelly of the last 90 days, a linear model and trees behind Kelly's rule, a
fixed size, buy and hold, and nothing. Ten seeds. While the study was built, two agents on BTC had
printed their 2023 before the length of rollouts was changed (for speed), and the rule for «learned»
was made stricter after a first look; nothing was chosen by what a test said.

Controls: a planted market of two states whose best sizes are known, for six times as many steps as
real bars get and for as many; the same agent on bars in random order; and effects planted in
redrawn bars, of which the smallest that is found in 4 of 5 tries is said (`evidence.detectable`).
Every run is kept under ``--store``: a study that was killed goes on. About fifteen minutes of one
core, fewer on several (``--jobs``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sizing_agents as sa
from joblib import Parallel, delayed
from picture_folds import claim, kept
from tqdm import tqdm

from setrade import evidence, results
from setrade.study.command import parsed, parser

FILES = [
    name
    for coin in sa.COINS
    for name in (f"bybit_{coin}usdt_perp_1h.parquet", f"bybit_{coin}usdt_funding_8h.parquet")
]
SEEDS, FEWER = 10, 3  # of the agents that are judged; of those on shuffled bars
STEPS, LONGER = 65_536, 393_216  # of training on real bars; on the planted market
SIZES = (0.1, 0.2, 0.4)  # planted: correlation of volume's sign with the next return
TRIES, NEEDED = 5, 4
DRAWS = 2_000
BASE = "volatility"  # what all are held against

PLANTED = ("planted", "planted, briefly")  # trained for LONGER, and for STEPS as on real bars

Job = tuple[str, int, int]  # market, fold, seed


def jobs(seeds: int, fewer: int) -> list[Job]:
    """Return the agents to train; a market's name with «shuffled» is in random order."""
    real = [(coin, fold, s) for coin in sa.COINS for fold in (0, 1) for s in range(seeds)]
    null = [(f"{c}-shuffled", f, s) for c in sa.COINS for f in (0, 1) for s in range(fewer)]
    known = [(name, 0, s) for name in PLANTED for s in range(fewer)]
    return real + known + null


def market(name: str, fold: int, seed: int, data: Path) -> tuple[sa.Market, int]:
    """Return a market and the number that the fold has in it."""
    if name in PLANTED:
        return sa.planted()[0], 0
    coin, _, mixed = name.partition("-")
    m = sa.perpetual(coin, data)
    return (sa.shuffled(m, fold, seed), 0) if mixed else (m, fold)


def fitted(job: Job, data: Path, store: Path, steps: int, longer: int) -> sa.Fit:
    """Return a trained agent, from its file where it has one."""
    name, fold, seed = job

    def make() -> np.ndarray:
        m, place = market(name, fold, seed, data)
        made = sa.fit(m, place, seed, longer if name == "planted" else steps)
        return np.r_[made.growth, made.constant, made.kept_at, made.positions]

    x = kept(store / f"{name}-{fold}-{seed}.npy".replace(", ", "-"), make)
    return sa.Fit(x[3:], float(x[0]), float(x[1]), int(x[2]))


# ---- Judgement.


def ratio(x: np.ndarray) -> np.ndarray:
    """Return Sharpe ratios a year (k,) of returns (T, k); 0 where nothing varies."""
    spread = x.std(0, ddof=1)
    return np.divide(x.mean(0), spread, out=np.zeros(x.shape[1]), where=spread > 1e-12) * (
        sa.YEAR**0.5
    )


def grown(x: np.ndarray) -> np.ndarray:
    """Return the mean log growth a year (k,) of returns (T, k)."""
    return np.log(np.maximum(1 + x, 1e-6)).mean(0) * sa.YEAR


def against(x: np.ndarray, base: np.ndarray, draws: int = DRAWS) -> dict[str, Any]:
    """Return by how much returns (T, seeds) beat ``base`` (T,): growth and Sharpe ratio.

    Each with an interval from redrawn histories and seeds; the p-value is that of growth.
    """
    both, n = np.column_stack([x, base]), x.shape[1]
    rng = np.random.default_rng(0)

    def gaps(rows: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        mine, other = rows[:, seeds], rows[:, n:]
        return np.array([f(mine).mean() - f(other)[0] for f in (grown, ratio)])

    def drawn(rows: np.ndarray) -> np.ndarray:
        return gaps(rows, rng.integers(0, n, n))

    told = evidence.resample(drawn, both, seed=0, n_samples=draws, block=21.0)
    edges, middle = evidence.bounds(told), gaps(both, np.arange(n))
    tails = float((told[:, 0] <= 0).mean()), float((told[:, 0] >= 0).mean())
    names = ("growth", "sharpe")
    out = {
        name: {"estimate": float(middle[i]), "low": float(edges[i, 0]), "high": float(edges[i, 1])}
        for i, name in enumerate(names)
    }
    return out | {"p": min(1.0, 2 * max(min(tails), 1 / draws))}


def row(x: np.ndarray, gross: np.ndarray, positions: np.ndarray) -> dict[str, Any]:
    """Return figures of returns (T, seeds), net and gross, and of positions (T, seeds)."""
    moved = np.abs(np.diff(positions, axis=0)).mean()
    return {
        "growth": float(grown(x).mean()), "gross": float(grown(gross).mean()),
        "growth_by_seed": grown(x), "sharpe": float(ratio(x).mean()),
        "volatility": float(x.std(0, ddof=1).mean() * sa.YEAR**0.5),
        "held": float(np.abs(positions).mean()), "moved": float(moved * sa.YEAR),
    }  # fmt: skip


def tested(m: sa.Market, by_fold: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return net and gross returns (T,) of positions by fold, one test after the other."""
    parts = [m.part(m.spans(f)[2].start, m.spans(f)[2].stop) for f in range(len(by_fold))]
    pairs = list(zip(by_fold, parts, strict=True))
    return (
        np.concatenate([sa.played(w, p) for w, p in pairs]),
        np.concatenate([sa.played(w, p, free=True) for w, p in pairs]),
        np.concatenate([w[1:] for w in by_fold]),
    )


def ways(m: sa.Market, agents: list[list[sa.Fit]]) -> dict[str, tuple[np.ndarray, ...]]:
    """Return net, gross returns and positions (T, seeds) of all ways on one market."""
    rules = [sa.plain(m, fold) for fold in range(len(agents))]
    out = {}
    for name in rules[0]:
        found = tested(m, [r[name] for r in rules])
        out[name] = tuple(x[:, None] for x in found)
    seeds = range(min(len(group) for group in agents))
    runs = [tested(m, [group[s].positions for group in agents]) for s in seeds]
    out["PPO"] = tuple(np.column_stack(x) for x in zip(*runs, strict=True))
    return out


def tables(by_market: dict[str, dict[str, tuple[np.ndarray, ...]]]) -> dict[str, Any]:
    """Return the rows of each market and of a third in each, every gap corrected (Holm)."""
    names = list(next(iter(by_market.values())))
    pooled = {}  # an account of a third in each; positions stand side by side, else they would net
    for name in names:
        net, gross, held = zip(*(m[name] for m in by_market.values()), strict=True)
        pooled[name] = np.mean(net, axis=0), np.mean(gross, axis=0), np.column_stack(held)
    out: dict[str, Any] = {}
    for title, table in (*by_market.items(), ("all", pooled)):
        out[title] = {name: row(*found) for name, found in table.items()}
        for name, found in table.items():
            base = table[BASE][0][:, 0]
            out[title][name]["gap"] = None if name == BASE else against(found[0], base)
    gaps = [r["gap"] for rows in out.values() for r in rows.values() if r["gap"]]
    for gap, p in zip(gaps, evidence.holm([g["p"] for g in gaps]), strict=True):
        gap["p_corrected"] = float(p)
    return out


def told(group: list[sa.Fit]) -> dict[str, Any]:
    """Return whether seeds beat constant positions on validation, in growth a year.

    To hold nothing is a constant position too, so that it is the better of nothing and of the
    position that was best in training.
    """
    still = max(group[0].constant, 0.0) * sa.YEAR
    found = evidence.learned([-f.growth * sa.YEAR for f in group], -still)
    return {"word": found.word, "gain": found.gain, "scatter": found.scatter,
            "kept_at": [f.kept_at for f in group]}  # fmt: skip


def together(groups: list[list[sa.Fit]]) -> dict[str, Any]:
    """Return as `told`, of the mean gain over all folds: one answer for the agent as a whole."""
    gains = np.mean(
        [[(f.growth - max(f.constant, 0.0)) * sa.YEAR for f in group] for group in groups], axis=0
    )
    found = evidence.learned((-gains).tolist(), 0.0)
    return {"word": found.word, "gain": found.gain, "scatter": found.scatter}


def expected(position: np.ndarray, up: np.ndarray) -> float:
    """Return the log growth a bar, before costs, that positions (n,) expect in states (n,)."""
    made = sa.two_states(2, seed=0)
    mean = np.where(up, made.mean[1], made.mean[0])
    sides = [np.log1p(position * (mean + way * made.spread)) for way in (-1, 1)]
    return float(np.mean(sides))


def by_state(fits: list[sa.Fit]) -> dict[str, Any]:
    """Return what agents hold in each state of the planted market, and what that grows."""
    m, best = sa.planted()
    span = m.spans(0)[2]
    up = m.features.iloc[span, 0].to_numpy()[:-1] > 0
    held = [[float(f.positions[:-1][up == s].mean()) for s in (False, True)] for f in fits]
    same = np.full(2, sa.fixed(m.part(0, m.folds[0][0])))
    known = {"Kelly": best, "half Kelly": best / 2, "fixed": same}
    grows = {k: expected(np.where(up, p[1], p[0]), up) for k, p in known.items()}
    agents = [expected(f.positions[:-1], up) for f in fits]
    share, low, high = evidence.t_interval(np.array(agents) / grows["Kelly"])
    return {"best": best, "held": held, "growth": grows | {"PPO": agents},
            "learned": told(fits),
            "share": {"estimate": share, "low": low, "high": high}}  # fmt: skip


# ---- What the study could have seen.


def finds(size: float, seed: int, data: Path, store: Path, steps: int) -> bool:
    """Return whether the agent's growth is above volatility targeting's on planted bars."""

    def make() -> np.ndarray:
        m = sa.with_effect(sa.perpetual("btc", data), size, seed)
        span = m.spans(1)[2]
        part = m.part(span.start, span.stop)
        agent = sa.played(sa.fit(m, 1, seed, steps).positions, part)
        base = sa.played(sa.plain(m, 1)[BASE], part)
        gap = against(agent[:, None], base, 500)["growth"]
        return np.array([gap["low"], gap["estimate"], grown(agent[:, None])[0]])

    return bool(kept(store / f"seen-{size:g}-{seed}.npy", make)[0] > 0)


def seen(data: Path, store: Path, steps: int) -> dict[str, Any]:
    """Return the smallest planted correlation that is found, and what the agent grew there."""
    asked = evidence.detectable(
        lambda size, seed: finds(size, seed, data, store, steps), SIZES, tries=TRIES, needed=NEEDED
    )
    grew = {}
    for size, runs in asked.runs.items():
        x = np.array([np.load(store / f"seen-{size:g}-{s}.npy") for s in range(runs)])
        grew[f"{size:g}"] = {"gap": float(x[:, 1].mean()), "growth": float(x[:, 2].mean())}
    return {"size": asked.size, "hits": asked.hits, "runs": asked.runs, "tries": TRIES,
            "needed": NEEDED, "grew": grew}  # fmt: skip


# ---- The command line.


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, judge all, store the tables."""
    asked = parser(__doc__, "_build/studies/sizing_real")
    add = asked.add_argument
    add("--seeds", type=int, default=SEEDS)
    add("--steps", type=int, default=STEPS, help="of training on real bars")
    add("--longer", type=int, default=LONGER, help="of training on the planted market")
    args = parsed(asked, argv, "Bybit's bars and funding")
    data, start, fewer = Path(args.data), time.perf_counter(), min(FEWER, args.seeds)
    sums = {name: results.sha256(data / name) for name in FILES}
    setting = {"steps": args.steps, "longer": args.longer, "ppo": sa.SETTING}
    store = claim(args.store, {"data": sums} | setting)
    every = jobs(args.seeds, fewer)
    pool: Any = Parallel(n_jobs=args.jobs, return_as="generator")
    work = (delayed(fitted)(j, data, store, args.steps, args.longer) for j in every)
    fits = dict(zip(every, tqdm(pool(work), total=len(every), unit="agent"), strict=True))

    def group(name: str, fold: int) -> list[sa.Fit]:
        return [f for (n, k, _), f in fits.items() if (n, k) == (name, fold)]

    agents = {c: [group(c, f) for f in (0, 1)] for c in sa.COINS}
    rows = tables({c: ways(sa.perpetual(c, data), agents[c]) for c in sa.COINS})
    learned = {c: [told(g) for g in agents[c]] for c in sa.COINS}
    chance = {c: [told(group(f"{c}-shuffled", f)) for f in (0, 1)] for c in sa.COINS}
    mixed = [group(f"{c}-shuffled", f) for c in sa.COINS for f in (0, 1)]
    stored = {
        "rows": rows, "learned": learned, "chance": chance,
        "together": {"learned": together([g for c in sa.COINS for g in agents[c]]),
                     "chance": together(mixed)},
        "planted": (known := by_state(group("planted", 0))),
        "briefly": by_state(group("planted, briefly", 0)), "seen": seen(data, store, args.steps),
        "claims": {"sizing": rows["all"]["PPO"]["gap"]["growth"], "planted": known["share"]},
        "setting": setting | {"seeds": args.seeds, "fewer": fewer, "folds": sa.FOLDS, "base": BASE,
                              "target": sa.TARGET, "past": sa.PAST},
    }  # fmt: skip
    results.save(
        "sizing_real", stored, seed=list(range(args.seeds)), data=sums,
        command="SETRADE_DATA=<folder> make study STUDY=sizing_real",
        seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
