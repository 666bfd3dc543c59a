"""Gates over assets that become weights, on 119 coins and on three perpetuals, against plain ways.

    SETRADE_DATA=<folder> make study STUDY=portfolio_real

Bars of eight hours. *Panel*: the coins that Binance listed on 2024-01-01 and still in September,
tested in four months from May 2024; 10 bps and 1 bp of slippage a side, shorts borrow for nothing
(the best case). *Perpetuals*: BTC, ETH and SOL on Bybit, tested in five halves of years from July
2022; 5.5 bps and 1 bp, real funding (SOL's before December 2023 is the mean of the others').
*Planted*: a market of two halves that take turns, where the answer is known.

Two nets: `Joint`, an SE block whose channels are the assets, and `Shared`, one excitation for all.
Each long only and long-short, with what trades cost in its loss once, never and fivefold. Beside
them 1/N, inverse volatility, minimum variance with shrinkage (short, and long only), risk parity by
tree, momentum, reversal, a linear model and trees. All are played by `portfolio.run`. Controls: the
same nets where what followed was shuffled in time, and effects planted in redrawn bars, of which
the smallest that is found in 8 of 10 tries is said (`evidence.detectable`). Five seeds. Nothing was
tuned on these bars' tests. Every net is kept under ``--store``: a study that was killed goes on.
About six minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asset_gates as ag
import numpy as np
import pandas as pd
import torch
from asset_gates import MARKETS, PANEL, market
from joblib import Parallel, delayed
from picture_folds import claim, kept
from tqdm import tqdm

from setrade import evidence, metrics, portfolio, results
from setrade.files import atomic_path
from setrade.study.command import parsed, parser

PERPETUALS = [
    name
    for coin in ag.PERPETUALS
    for name in (f"bybit_{coin}usdt_perp_1h.parquet", f"bybit_{coin}usdt_funding_8h.parquet")
]
SEEDS, FEWER = 5, 3  # of the nets that are judged; of the other penalties and the shuffled
PENALTIES = (0.0, 1.0, 5.0)
SIZES = (0.025, 0.05, 0.1, 0.2)  # planted, in an asset's volatility of a bar
PLANTS = {"own": "shared", "rotation": "joint"}  # and the net that should find it
DRAWS = 4_000  # so that a p-value stays small when it is corrected for all rows
ACCOUNTS = (1e5, 1e6, 1e7, 1e8)


@dataclass(frozen=True)
class Job:
    """One net to train on one fold."""

    market: str
    net: str
    short: bool
    penalty: float
    seed: int
    fold: int
    shuffled: bool = False

    @property
    def name(self) -> str:
        """Return the name of its file."""
        kind = "shuffled" if self.shuffled else f"{self.penalty:g}"
        way = "short" if self.short else "long"
        return f"{self.market}-{self.net}-{way}-{kind}-{self.seed}-{self.fold}"


def jobs(name: str, seeds: int, folds: int) -> list[Job]:
    """Return the nets of one market."""
    out = []
    for net in ag.NETS:
        for short in (False, True):
            for fold in range(folds):
                for penalty in PENALTIES if name != "planted" else (1.0,):
                    n = seeds if penalty == 1 else min(FEWER, seeds)
                    out += [Job(name, net, short, penalty, s, fold) for s in range(n)]
                if name != "planted":
                    n = min(FEWER, seeds)
                    out += [Job(name, net, short, 1.0, s, fold, True) for s in range(n)]
    return out


def fitted(job: Job, data: Path, store: Path, epochs: int) -> ag.Fit:
    """Return a trained net, from its file where it has one."""
    path = store / f"{job.name}.npz"
    if not path.is_file():
        torch.set_num_threads(1)
        made = ag.fit(
            market(job.market, data), job.net, job.fold, job.seed, short=job.short,
            penalty=job.penalty, shuffled=job.shuffled, epochs=epochs,
        )  # fmt: skip
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **asdict(made))
    with np.load(path) as x:
        return ag.Fit(
            x["weights"], float(x["loss"]), float(x["constant"]), x["gates"],
            float(x["spread"]), int(x["best_epoch"]),
        )  # fmt: skip


# ---- Judgement.


def tested(m: ag.Market) -> slice:
    """Return the bars of all tests together."""
    return slice(m.fold(0)[1], m.fold(len(m.begins) - 2)[2])


def played(m: ag.Market, weights: np.ndarray) -> portfolio.Performance:
    """Return what weights (n, m) come to over the tested bars."""
    part = tested(m)
    wanted = pd.DataFrame(weights, m.closes.index, m.closes.columns).iloc[part]
    tables = m.opens.iloc[part], m.closes.iloc[part]
    return portfolio.run(wanted, *tables, costs=m.costs, funding=m.funding.iloc[part])


def joined(m: ag.Market, by_fold: Sequence[np.ndarray]) -> np.ndarray:
    """Return weights (n, m) whose rows are those of the fold that they are tested in."""
    out = np.zeros(m.opens.shape)
    for number, weights in enumerate(by_fold):
        _, begin, stop = m.fold(number)
        out[begin:stop] = weights[begin:stop]
    return out


def impact_factor(m: ag.Market, weights: np.ndarray) -> float:
    """Return k, where impact takes k times the root of the account a year.

    The square-root law of `costs.impact`, coin by coin; a day's value and volatility are means of
    the 30 days before.
    """
    part, opens = tested(m), m.opens.to_numpy()
    day = 3 * m.value.rolling(ag.PAST).mean().to_numpy()
    sigma = ag.log_moves(m).rolling(ag.PAST).std().to_numpy() * 3**0.5
    ahead = np.nan_to_num(opens[2:] / opens[1:-1] - 1)
    w = weights[:-2]
    drifted = w * (1 + ahead) / (1 + (w * ahead).sum(1, keepdims=True))
    traded = np.abs(weights[1:-1] - drifted)[part.start : part.stop - 2]
    at = slice(part.start + 1, part.start + 1 + len(traded))
    taken = (traded**1.5 * sigma[at] / np.sqrt(day[at])).sum(1)
    return float(taken.mean() * ag.YEAR)


def figures(m: ag.Market, weights: np.ndarray) -> dict[str, Any]:
    """Return figures of one way; its returns stand under ``returns`` until they are judged.

    What holds nothing is cash, whose Sharpe ratio counts as 0.
    """
    done = played(m, weights)
    r = metrics.returns(np.r_[1.0, done.equity.to_numpy()])
    told = {k: float(v) for k, v in done.metrics().items()}
    k = impact_factor(m, weights)
    return {
        "mean": float(r.mean() * ag.YEAR), "returns": r,
        "sharpe": ratio(r),
        **{name: told[name] for name in ("annual_return", "volatility", "max_drawdown",
                                         "turnover", "fees", "funding")},
        "gross": float(r.mean() * ag.YEAR) + told["fees"] + told["funding"],
        "impact": {f"{account:.0f}": k * account**0.5 for account in ACCOUNTS},
        "point_at": (0.01 / k) ** 2 if k > 0 else None,
    }  # fmt: skip


def averaged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over seeds of each figure, and each seed's Sharpe ratio."""
    out: dict[str, Any] = {"returns": np.column_stack([row["returns"] for row in rows])}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name == "impact":
            out[name] = {k: float(np.mean([v[k] for v in values])) for k in values[0]}
        elif name != "returns" and None not in values:
            out[name] = float(np.mean(values))
    ratios = [row["sharpe"] for row in rows]
    return out | {"sharpe_by_seed": ratios}


def ratio(x: np.ndarray) -> float:
    """Return the Sharpe ratio of returns (T,) or the mean over seeds (T, S); 0 if none varies."""
    mean, spread = x.mean(0), x.std(0, ddof=1)
    each = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > metrics.NOISE)
    return float(each.mean() * ag.YEAR**0.5)


def against(x: np.ndarray, base: np.ndarray | None, draws: int = DRAWS) -> dict[str, float]:
    """Return the difference of Sharpe ratios with interval and p-value; against cash: the ratio.

    Histories are redrawn in stretches, and seeds with replacement.
    """
    x = x[:, None] if x.ndim == 1 else x
    both = x if base is None else np.column_stack([x, base])
    n, rng = x.shape[1], np.random.default_rng(0)

    def gap(rows: np.ndarray, seeds: np.ndarray) -> float:
        return ratio(rows[:, seeds]) - (0.0 if base is None else ratio(rows[:, n]))

    def drawn(rows: np.ndarray) -> float:
        return gap(rows, rng.integers(0, n, n))

    drawn_gaps = evidence.resample(drawn, both, seed=0, n_samples=draws)
    low, high = evidence.bounds(drawn_gaps)[0]
    tails = float((drawn_gaps <= 0).mean()), float((drawn_gaps >= 0).mean())
    p = min(1.0, 2 * max(min(tails), 1 / draws))
    return {"estimate": gap(both, np.arange(n)), "low": float(low), "high": float(high), "p": p}


def learned(fits: list[list[ag.Fit]], controls: list[list[ag.Fit]]) -> dict[str, Any]:
    """Return by fold whether seeds beat equal gates by more than they scatter, and chance does.

    ``gain`` is in utility a year. ``chance`` is what the same nets gain where nothing can be
    learned, in the mean over folds and seeds: validation chooses the epoch, and luck helps.
    """
    rows = []
    for group in fits:
        told = evidence.learned(
            [f.loss for f in group], float(np.mean([f.constant for f in group]))
        )
        rows.append({"word": told.word, "gain": told.gain, "scatter": told.scatter})
    flat = [f for group in fits for f in group]
    lucky = [f.constant - f.loss for group in controls for f in group]
    return {
        "folds": rows, "gain": float(np.mean([row["gain"] for row in rows])),
        "chance": float(np.mean(lucky)) if lucky else None,
        "by_chance": [float(np.mean([f.constant - f.loss for f in g])) for g in controls],
        "epochs": [f.best_epoch for f in flat],
        "gates_moved": float(np.mean([np.abs(f.gates - 0.5).mean() for f in flat])),
        "gates_spread": float(np.mean([f.spread for f in flat])),
    }  # fmt: skip


def plain(m: ag.Market, store: Path, name: str) -> dict[str, np.ndarray]:
    """Return weights (n, m) of all plain ways, from their file where there is one."""

    def make() -> np.ndarray:
        n, k = m.opens.shape
        ways = {"1/N": np.full((n, k), 1 / k)} | ag.by_covariance(m, tested(m).start)
        folds = range(len(m.begins) - 1)
        found = [{key: ag.held(m, s, f)[0] for key, s in ag.scored(m, f).items()} for f in folds]
        ways |= {key: joined(m, [row[key] for row in found]) for key in found[0]}
        return np.stack(list(ways.values()))

    names = ["1/N", *ag.BY_COVARIANCE, "momentum", "reversal", "linear", "trees"]
    return dict(zip(names, kept(store / f"{name}-plain.npy", make), strict=True))


def table(name: str, data: Path, store: Path, seeds: int, epochs: int) -> dict[str, Any]:
    """Return the rows of one market, nets and plain ways, each against what it has to beat."""
    m, folds = market(name, data), range(len(market(name, data).begins) - 1)
    rows: dict[str, Any] = {}
    for way, weights in plain(m, store, name).items():
        rows[way] = figures(m, np.nan_to_num(weights)) | {"short": bool((weights < 0).any())}
    told: dict[str, Any] = {}

    def ask(job: Job) -> ag.Fit:
        return fitted(job, data, store, epochs)

    every = jobs(name, seeds, len(folds))
    groups = {(j.net, j.short, j.penalty, j.shuffled) for j in every if not j.shuffled}
    for net, short, penalty, _ in sorted(groups):
        mine = [j for j in every if (j.net, j.short, j.penalty) == (net, short, penalty)]
        fits = [[ask(j) for j in mine if j.fold == f and not j.shuffled] for f in folds]
        label = f"{net}, {'long-short' if short else 'long'}" + f", costs x {penalty:g}" * (
            penalty != 1
        )
        runs = [joined(m, [group[s].weights for group in fits]) for s in range(len(fits[0]))]
        rows[label] = averaged([figures(m, w) for w in runs]) | {"short": short, "net": True}
        if penalty == 1:
            null = [[ask(j) for j in mine if j.fold == f and j.shuffled] for f in folds]
            told[label] = learned(fits, [g for g in null if g])
    judge(rows)
    start, stop = m.opens.index[tested(m)][[0, -1]]
    return {
        "rows": rows, "learned": told, "assets": m.opens.shape[1], "first": str(start),
        "last": str(stop), "bars": tested(m).stop - tested(m).start, "cost_bps": 1e4 * m.rate,
        "left_out": m.left_out,
    }  # fmt: skip


def judge(rows: dict[str, Any]) -> None:
    """Write into each row its distance to 1/N, or to cash where it is short; drop its returns.

    Nets with other costs in their loss show what that does, and are no tries at more.
    """
    base = rows["1/N"]["returns"]
    for way, row in rows.items():
        neutral = row["short"] and not way.startswith("minimum")
        row["against"] = "cash" if neutral else "1/N"
        told = None if way == "1/N" or " x " in way else row["returns"]
        row["gap"] = None if told is None else against(told, None if neutral else base)
    for row in rows.values():
        del row["returns"]


def corrected(markets: dict[str, dict[str, Any]]) -> None:
    """Write into each gap on real bars its p-value corrected for all of them (Holm)."""
    gaps = [
        row["gap"]
        for name in ("panel", "perpetuals")
        for row in markets[name]["rows"].values()
        if row["gap"]
    ]
    for gap, p in zip(gaps, evidence.holm([gap["p"] for gap in gaps]), strict=True):
        gap["p_corrected"] = float(p)


# ---- What the study could have seen, and what hindsight is worth.


def oracle(m: ag.Market, kind: str, seed: int) -> np.ndarray:
    """Return weights (n, m) of whoever knows what was planted and follows it."""
    moves = ag.log_moves(m)
    scaled, out = (moves / moves.std()).to_numpy(), np.zeros(m.opens.shape)
    half, base = ag.halves(m.opens.shape[1], seed), ag.known(m).base
    for t in range(ag.FIRST, len(out)):
        sign = ag.told(kind, scaled[t - ag.LOOKBACK + 1 : t + 1], half)
        out[t] = ag.to_weights((1 + sign[None]) / 2, base[t : t + 1], True)[0]
    return out


def finds(kind: str, size: float, seed: int, data: Path, store: Path, epochs: int) -> bool:
    """Return whether the net finds a planted effect: the interval of its Sharpe lies above 0."""

    def make() -> np.ndarray:
        torch.set_num_threads(1)
        m = ag.plant(market("panel", data), kind, size, seed)
        folds = range(len(m.begins) - 1)
        fits = [ag.fit(m, PLANTS[kind], f, seed, short=True, epochs=epochs) for f in folds]
        net = figures(m, joined(m, [f.weights for f in fits]))["returns"]
        best = figures(m, oracle(m, kind, seed))["returns"]
        return np.array([against(net, None, 500)["low"], ratio(net), ratio(best)])

    return bool(kept(store / f"seen-{kind}-{size:g}-{seed}.npy", make)[0] > 0)


def seen(kind: str, data: Path, store: Path, tries: int, epochs: int) -> dict[str, Any]:
    """Return the smallest size that is found, and what its oracle and net earn, in the mean."""
    needed = int(np.ceil(0.8 * tries))

    def ask(size: float, seed: int) -> bool:
        return finds(kind, size, seed, data, store, epochs)

    told = evidence.detectable(ask, SIZES, tries=tries, needed=needed)
    ratios = {}
    for size, runs in told.runs.items():
        x = np.array([np.load(store / f"seen-{kind}-{size:g}-{s}.npy") for s in range(runs)])
        ratios[f"{size:g}"] = {"net": float(x[:, 1].mean()), "oracle": float(x[:, 2].mean())}
    return {"net": PLANTS[kind], "size": told.size, "hits": told.hits, "runs": told.runs,
            "needed": needed, "tries": tries, "sharpe": ratios}  # fmt: skip


def hindsight(m: ag.Market, count: int = 20) -> dict[str, Any]:
    """Return 1/N of the coins most traded before the tests, after them, and most risen since.

    The first is a choice that anybody could have made; the others look ahead.
    """
    part, value = tested(m), m.value.to_numpy()
    rise = m.closes.iloc[part.stop - 1].to_numpy() / m.closes.iloc[part.start].to_numpy()
    picks = {
        "traded before": value[part.start - ag.PAST : part.start].mean(0),
        "traded at the end": value[part.stop - ag.PAST : part.stop].mean(0),
        "risen since": rise,
    }
    rows: dict[str, Any] = {}
    for name, score in picks.items():
        weights = np.zeros(m.opens.shape)
        weights[:, np.argsort(-score)[:count]] = 1 / count
        rows[name] = figures(m, weights)
    base = rows["traded before"]["returns"]
    for name, row in rows.items():
        row["gap"] = None if name == "traded before" else against(row["returns"], base)
    return {name: {k: v for k, v in row.items() if k != "returns"} for name, row in rows.items()}


# ---- The command line.


def estimate(todo: list[Job], data: Path, tries: int, epochs: int) -> str:
    """Return the sentence that says what is left, and how long that takes on idle cores here."""
    torch.set_num_threads(1)
    each = {}
    for name in MARKETS:
        start = time.process_time()
        ag.fit(market(name, data), "joint", 0, 0, short=True, epochs=5)
        each[name] = (time.process_time() - start) * (epochs + 1) / 6
    seconds = sum(each[job.market] for job in todo) + 2 * 2.5 * tries * 4 * each["panel"]
    return f"{len(todo)} nets left, and planted tries: about {seconds / 60 / 2:.0f} minutes on two"


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, judge all, store the tables."""
    asked = parser(__doc__, "_build/studies/portfolio_real")
    add = asked.add_argument
    add("--seeds", type=int, default=SEEDS)
    add("--tries", type=int, default=10, help="planted markets of each size")
    add("--epochs", type=int, default=100)
    args = parsed(asked, argv, f"{PANEL} and Bybit's bars and funding")
    data, start = Path(args.data), time.perf_counter()
    sums = {name: results.sha256(data / name) for name in (PANEL, *PERPETUALS)}
    store = claim(args.store, {"data": sums, "epochs": args.epochs})
    every = [j for name in MARKETS
             for j in jobs(name, args.seeds, len(market(name, data).begins) - 1)]  # fmt: skip
    todo = [j for j in every if not (store / f"{j.name}.npz").is_file()]
    print(estimate(todo, data, args.tries, args.epochs), flush=True)
    pool: Any = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for _ in tqdm(pool(delayed(fitted)(j, data, store, args.epochs) for j in todo),
                  total=len(todo), unit="net"):  # fmt: skip
        pass
    found = list(pool(delayed(named)(k, data, store, args.tries, args.epochs) for k in PLANTS))
    save(data, store, args, dict(found), sums, start)


def named(kind: str, data: Path, store: Path, tries: int, epochs: int) -> tuple[str, dict]:
    """Return `seen` under its name."""
    return kind, seen(kind, data, store, tries, epochs)


def save(
    data: Path, store: Path, args: argparse.Namespace, planted: dict, sums: dict, start: float
) -> None:
    """Judge all markets, and store what was found."""
    markets = {name: table(name, data, store, args.seeds, args.epochs) for name in MARKETS}
    corrected(markets)
    m, lead = ag.factor_market(3000, 12, seed=0)
    half = np.where(np.arange(12) < 6, 1.0, -1.0)
    told = (np.r_[lead[1:], lead[-1]][:, None] * half + 1) / 2
    best = figures(m, ag.to_weights(told, ag.known(m).base, True))
    stored = {
        "markets": markets, "seen": planted, "hindsight": hindsight(market("panel", data)),
        "oracle": {k: best[k] for k in ("mean", "sharpe", "volatility", "turnover", "fees")},
        "setting": {"seeds": args.seeds, "epochs": args.epochs, "penalties": PENALTIES,
                    "lookback": ag.LOOKBACK, "scales": ag.SCALES, "aversion": ag.AVERSION,
                    "past": ag.PAST, "folds": {n: market(n, data).begins for n in MARKETS}},
    }  # fmt: skip
    results.save(
        "portfolio_real", stored, seed=list(range(args.seeds)), data=sums,
        command="SETRADE_DATA=<folder> make study STUDY=portfolio_real",
        seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
