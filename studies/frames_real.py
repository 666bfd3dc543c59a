"""Three timeframes together, and a net that is told the regime: both as the EfficientNet seed asks.

    SETRADE_DATA=<folder> make study STUDY=frames_real

Bars of 5 minutes, 15 minutes and 1 hour (Binance's BTCUSDT perpetual, 2022-06 to 2024-12, a
stand-in for Bybit's) are joined on their closes: when an hour closes, each frame shows a picture of
its last 32 bars. EfficientNet «micro», trained from scratch at 64 pixels (B0 at 224 would take two
days), says whether the next hour rises: one net a frame, their pool with weights from
validation, and nets of 15 minutes whose last layer is chosen by the regime, which eight hours do
not show: by rules or by a Markov model. Beside them logistic regressions and boosted trees on the
same windows as numbers, class shares, momentum, always up. The seed's 70/15/15, and the same one
test earlier; the first half of validation stops training, the second gives weights and positions.
Every comparison is in one Holm correction. A gain of 12 % by pooling and of 15 % by the regime is
planted in the same bars, twice each, on 70/15/15: does the pipeline find them? About 20 minutes on
two idle cores. Every net is saved after each epoch: a run that was killed goes on. Settings were
fixed before any net saw what came.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frames_market import (
    ALONE,
    FRAMES,
    KINDS,
    LOOKBACK,
    TRENDS,
    ByRegime,
    Market,
    WithRegime,
    market,
    planted,
    split,
    states_of,
)
from frozen_real import linear, trees
from joblib import Parallel, delayed
from picture_folds import (
    FUNDING,
    Drawn,
    bounds,
    claim,
    funding,
    judge,
    kept,
    load,
    log_loss,
    money,
    money_row,
    numbers,
    taught,
    zone,
)
from scipy.stats import norm
from torch import nn
from tqdm import tqdm

from setrade import evidence, results, training
from setrade.efficientnet import EfficientNet
from setrade.models.timeframes import TimeframeEnsemble, agreement_rate
from setrade.regimes.rules import REGIMES
from setrade.study.command import parsed, parser

FILE = "binance_btcusdt_perp_5m.parquet"
TOLD = {f"told {kind}": kind for kind in KINDS}
NETS = (*FRAMES, *TOLD)
MODELS = ("nets", "linear", "trees")
CLAIMED = {"frames": 0.12, "rules": 0.15, "hmm": 0.15}
POOLS = ("best frame", "equal", "learned", "by regime")


@dataclass(frozen=True)
class Setting:
    """What all fits share."""

    size: int = 64  # two columns of pixels a bar
    shares: tuple[tuple[float, ...], ...] = (  # training, stopping, weighing and test begin, end
        (0.0, 0.55, 0.625, 0.70, 0.85),
        (0.0, 0.70, 0.775, 0.85, 1.0),
    )
    stride: int = 2  # of training decisions
    num_epochs: int = 8
    patience: int = 3
    lr: float = 1e-3
    batch_size: int = 64
    weight_decay: float = 0.01
    rounds: int = 200
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2)  # of the logistic regression
    block: float = 96.0  # decisions in a bootstrap block: four days
    fewest: int = 100  # decisions of a regime from which the pool learns weights of its own

    def plan(self, seed: int) -> training.Plan:
        """Return how a net is trained."""
        names = ["num_epochs", "patience", "lr", "batch_size", "weight_decay"]
        return training.Plan(seed=seed, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Job:
    """One net, or one model on numbers, to be fitted: on which sides, fold, frame or regime."""

    sides: str  # "real", or "frames", "rules", "hmm": planted with the seed
    fold: int
    name: str  # of `NETS`, or "all frames"
    model: str
    seed: int

    @property
    def folder(self) -> str:
        """Return where its work is kept."""
        side = self.sides if self.sides == "real" else f"{self.sides}-{self.seed}"
        return f"{side}/{self.fold}/{self.model} {self.name} {self.seed}"


def jobs(seeds: int, setting: Setting) -> list[Job]:
    """Return everything to fit: real sides in all folds, planted ones in the last."""
    last = len(setting.shares) - 1
    asked = [("real", fold, NETS) for fold in range(last + 1)]
    asked += [(k, last, FRAMES if k == "frames" else (ALONE, f"told {k}")) for k in CLAIMED]
    out = []
    for sides, fold, names in asked:
        for model in MODELS:
            extra = ("all frames",) if sides == "real" and model != "nets" else ()
            for seed in range(1 if model == "linear" and sides == "real" else seeds):
                out += [Job(sides, fold, name, model, seed) for name in (*names, *extra)]
    return out


# ---- What a fold knows.


@dataclass(frozen=True)
class Fold:
    """Decisions, split, and what a net is told of each: chances of the regimes, a row sums to 1."""

    market: Market
    sets: list[np.ndarray]
    told: dict[str, np.ndarray]

    def trend(self, kind: str) -> np.ndarray:
        """Return (n,) whether the regime at a decision is a trend; by HMM all but flat is."""
        state = self.told[kind].argmax(1)
        return np.isin(state, TRENDS) if kind == "rules" else state != 1


def fold_of(real: Market, k: int, setting: Setting, folder: Path) -> Fold:
    """Return a fold; the Markov model is fitted on its training bars and kept."""
    sets = split(real, setting.shares[k])
    place = real.rows["1h"]
    states = kept(
        folder / f"states-{k}.npy",
        lambda: states_of(real.frames["1h"], int(place[sets[0][-1]]) + 1),
    )
    return Fold(real, sets, {"rules": np.eye(len(REGIMES))[real.rules], "hmm": states[place]})


def with_sides(fold: Fold, sides: str, seed: int) -> Fold:
    """Return a fold with real sides, or with marks and planted ones."""
    if sides == "real":
        return fold
    trend = None if sides == "frames" else fold.trend(sides)
    return Fold(planted(fold.market, sides, CLAIMED[sides], seed, trend), fold.sets, fold.told)


# ---- Nets.


def pictures(fold: Fold, name: str, setting: Setting) -> list[Any]:
    """Return the four sets of a net; training takes every second decision."""
    frame = ALONE if name in TOLD else name
    bars, rows = fold.market.frames[frame], fold.market.rows[frame]
    y = np.zeros(len(bars.frame))
    y[rows] = fold.market.up
    out: list[Any] = []
    for chosen in strided(fold, setting):
        first = rows[chosen] - LOOKBACK + 1
        drawn = Drawn(bars.windows(LOOKBACK), first, y[LOOKBACK - 1 :], "candles", setting.size)
        out.append(WithRegime(drawn, fold.told[TOLD[name]][chosen]) if name in TOLD else drawn)
    return out


def strided(fold: Fold, setting: Setting) -> list[np.ndarray]:
    """Return the four sets as they are used."""
    return [fold.sets[0][:: setting.stride], *fold.sets[1:]]


def net(name: str, fold: Fold) -> nn.Module:
    """Return a fresh net of a frame, or one that is told the regime."""
    if name in TOLD:
        return ByRegime(fold.told[TOLD[name]].shape[1])
    return EfficientNet("micro", 2)


# ---- Models on the windows as numbers.


def table_of(fold: Fold, name: str, model: str, chosen: np.ndarray) -> np.ndarray:
    """Return features (m, F): numbers of one frame or of all, and what is told."""
    frames = FRAMES if name == "all frames" else [ALONE if name in TOLD else name]
    x = np.hstack([numbers(fold.market.windows(frame, chosen)) for frame in frames])
    if name not in TOLD:
        return x
    told = fold.told[TOLD[name]][chosen].astype(np.float32)
    if model == "trees":
        return np.hstack([x, told])
    each = (told[:, :, None] * x[:, None]).reshape(len(x), -1)  # weights of their own by regime
    return np.hstack([x, told, each])


def on_numbers(job: Job, fold: Fold, setting: Setting) -> np.ndarray:
    """Return P(up) at the decisions of stopping, weighing and test."""
    sets, up = strided(fold, setting), fold.market.up.astype(np.int64)
    x = [table_of(fold, job.name, job.model, chosen) for chosen in sets]
    args = (x[0], up[sets[0]], x[1], up[sets[1]], np.vstack(x[2:]))
    if job.model == "trees":
        return trees(*args, setting.rounds, job.seed)
    return linear(*args, strengths=setting.strengths)


def fitted(job: Job, fold: Fold, setting: Setting, folder: Path) -> tuple[np.ndarray, dict]:
    """Return P(up) at the decisions of stopping, weighing and test, and a net's history."""
    torch.set_num_threads(1)
    where, fold = folder / job.folder, with_sides(fold, job.sides, job.seed)
    if job.model != "nets":
        return kept(where / "p.npy", lambda: on_numbers(job, fold, setting)), {}
    sets = pictures(fold, job.name, setting)
    return taught(where, lambda: net(job.name, fold), sets, setting.plan(job.seed))


# ---- Pools, comparisons, verdicts.


def pools(
    p: np.ndarray, up: np.ndarray, regime: np.ndarray, n: int, setting: Setting
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return P(up) (seeds, m) of each pool, and what was chosen: all from the first ``n`` alone.

    Args:
        p: (seeds, frames, m) P(up) at the decisions of weighing and test.
        up: (m,) sides; only the first ``n`` are looked at.
        regime: (m,) codes known at each decision.
        n: decisions of weighing.
        setting: the fewest decisions of a regime.
    """
    y, both = up[:n].astype(int), np.stack([1 - p, p], axis=-1)  # (seeds, frames, m, 2)
    losses = log_loss(p[:, :, :n], up[None, None, :n]).mean((0, 2))
    out = {"best frame": p[:, int(np.argmin(losses))], "equal": p.mean(1)}
    weights, learned, by_regime = [], [], []
    for one in both.swapaxes(1, 2):  # (m, frames, 2)
        pool = TimeframeEnsemble.fit(FRAMES, one[:n], y)
        weights.append(pool.weights)
        learned.append(pool.combine(one)[:, 1])
        mixed = learned[-1].copy()
        for code in np.unique(regime):
            known = np.flatnonzero(regime[:n] == code)
            if len(known) >= setting.fewest:
                own = TimeframeEnsemble.fit(FRAMES, one[known], y[known])
                mixed[regime == code] = own.combine(one[regime == code])[:, 1]
        by_regime.append(mixed)
    out |= {"learned": np.array(learned), "by regime": np.array(by_regime)}
    chosen = {"best": FRAMES[int(np.argmin(losses))], "weights": np.mean(weights, axis=0).tolist(),
              "losses": dict(zip(FRAMES, losses.tolist(), strict=True)),
              "agreement": agreement_rate(np.concatenate(list(both.swapaxes(1, 2))))}  # fmt: skip
    return out, chosen


@dataclass(frozen=True)
class Told:
    """Forecasts of one model over one or more folds' tests, by row (seeds, m), and what came."""

    p: dict[str, np.ndarray]
    held: dict[str, np.ndarray]
    up: np.ndarray
    rows: np.ndarray  # (m,) decisions
    trend: dict[str, np.ndarray]
    share: np.ndarray
    chosen: list[dict[str, Any]]

    def right(self, name: str) -> np.ndarray:
        """Return the share of seeds that were right, decision by decision."""
        return ((self.p[name] > 0.5) == (self.up > 0)).mean(0)


def told_of(
    model: str, sides: str, k: int, seeds: list[int], fold: Fold, setting: Setting, folder: Path
) -> Told:
    """Return what a model said in one fold, one row a frame, pool and regime net."""
    sides_fold = with_sides(fold, sides, seeds[0])
    names = [job.name for job in jobs(1, setting)
             if (job.sides, job.fold, job.model) == (sides, k, model)]  # fmt: skip
    sets = sides_fold.sets
    skip, n = len(sets[1]), len(sets[2])
    p = {
        name: np.array([
            fitted(Job(sides, k, name, model, s), fold, setting, folder)[0][skip:] for s in seeds
        ])
        for name in names
    }  # fmt: skip
    both, chosen = np.concatenate(sets[2:]), {}
    up = sides_fold.market.up
    if set(FRAMES) <= set(names):
        regime = fold.market.rules[both]
        frames = np.stack([p[f] for f in FRAMES], axis=1)
        mixed, chosen = pools(frames, up[both], regime, n, setting)
        p |= mixed
    share = up[strided(fold, setting)[0]].mean()
    if model == "linear":  # what needs no fit stands beside the linear model
        p |= simple(fold, both, share)
    held = {name: np.array([zone(q[n:], q[:n]) for q in one]) for name, one in p.items()}
    held |= {"always up": np.ones((1, len(sets[3])))} if "always up" in held else {}
    test = {name: one[:, n:] for name, one in p.items()}
    trend = {kind: fold.trend(kind)[sets[3]] for kind in KINDS}
    return Told(test, held, up[sets[3]], sets[3], trend, np.full(len(sets[3]), share), [chosen])


def simple(fold: Fold, rows: np.ndarray, share: float) -> dict[str, np.ndarray]:
    """Return forecasts (1, m) of the class shares, of the last hour's move, and of always up."""
    close = fold.market.windows(FRAMES[-1], rows)[:, 3]
    move = np.log(close[:, -1] / close[:, -2])
    moved = 0.5 + 0.1 * np.tanh(move / move.std())
    return {"class shares": np.full((1, len(rows)), share), "momentum": moved[None],
            "always up": np.ones((1, len(rows)))}  # fmt: skip


def joined(parts: list[Told]) -> Told:
    """Return the folds one after the other."""

    def rows(field: str) -> dict[str, np.ndarray]:
        names = getattr(parts[0], field)
        return {name: np.concatenate([getattr(x, field)[name] for x in parts], -1)
                for name in names}  # fmt: skip

    flat = (np.concatenate([getattr(x, name) for x in parts]) for name in ("up", "rows", "share"))
    up, places, share = flat
    chosen = [one for x in parts for one in x.chosen]
    return Told(rows("p"), rows("held"), up, places, rows("trend"), share, chosen)


PAIRS = {
    **{f"learned / {name}": ("learned", name, "") for name in ("best frame", *FRAMES)},
    "equal / best frame": ("equal", "best frame", ""),
    "by regime / learned, in trends": ("by regime", "learned", "rules"),
    **{f"told {kind} / {ALONE}, in trends": (f"told {kind}", ALONE, kind) for kind in KINDS},
}  # fmt: skip


def gains(told: Told, setting: Setting, pairs: dict = PAIRS) -> dict[str, dict[str, float]]:
    """Return the relative gains in accuracy with intervals and p-values against no gain."""
    out = {}
    for name, (first, second, kind) in pairs.items():
        where = told.trend[kind] if kind else np.ones(len(told.up), bool)
        right = np.column_stack([told.right(first), told.right(second)])[where]

        def ratio(x: np.ndarray) -> float:
            return float(x[:, 0].mean() / x[:, 1].mean() - 1)

        got = bounds(ratio, right, setting.block)
        half = (got["high"] - got["low"]) / 2
        p = 1.0 if half == 0 else 2 * norm.sf(norm.ppf(0.975) * abs(got["estimate"]) / half)
        out[name] = got | {"p": float(p), "n": int(where.sum())}
    return out


def found(sides: str, told: Told, setting: Setting, tests: int) -> dict[str, Any]:
    """Return the gain that was planted as it was measured, and whether it was found.

    Found: the interval, as wide as the strictest of all comparisons has it, lies above zero.
    """
    name = "learned / best frame" if sides == "frames" else f"told {sides} / {ALONE}, in trends"
    got = gains(told, setting, {name: PAIRS[name]})[name]
    low, _ = evidence.widened(got["estimate"], got["low"], got["high"], tests=tests)
    return got | {"found": bool(low > 0), "accuracy": accuracies(told)}


def accuracies(told: Told) -> dict[str, float]:
    """Return the share of right decisions by row."""
    return {name: float(told.right(name).mean()) for name in told.p}


def detectable(
    fold: Fold, seeds: int, setting: Setting, folder: Path, tests: int
) -> dict[str, dict[str, Any]]:
    """Return, by claim and model, the planted size that every try found; infinite: not found."""
    out: dict[str, dict[str, Any]] = {}
    last = len(setting.shares) - 1
    for sides, size in CLAIMED.items():
        for model in MODELS:
            told = [told_of(model, sides, last, [s], fold, setting, folder) for s in range(seeds)]
            tries = [found(sides, one, setting, tests) for one in told]
            seen = evidence.detectable(
                lambda _, seed, tries=tries: tries[seed]["found"],
                [size], tries=seeds, needed=seeds,
            )  # fmt: skip
            out.setdefault(sides, {})[model] = {"size": seen.size, "tries": tries}
    return out


def learned(
    sides: str, folds: dict[int, Fold], seeds: int, setting: Setting, folder: Path
) -> dict[str, Any]:
    """Return, by net, what `evidence.learned` says of its losses, each the mean over folds."""
    out: dict[str, Any] = {}
    for name in dict.fromkeys(j.name for j in jobs(1, setting)
                              if j.sides == sides and j.model == "nets"):  # fmt: skip
        losses, constants = np.zeros(seeds), []
        for seed in range(seeds):
            for k, fold in folds.items():
                job = Job(sides, k, name, "nets", seed)
                losses[seed] += min(fitted(job, fold, setting, folder)[1]["val_loss"]) / len(folds)
                up = with_sides(fold, sides, seed).market.up.astype(np.int64)
                train, stop = (up[rows] for rows in strided(fold, setting)[:2])
                constants.append(evidence.constant_loss(train, stop, 2))
        out[name] = asdict(evidence.learned(losses, float(np.mean(constants))))
    if set(FRAMES) <= set(out):  # a pool is a result when all its nets learned
        every = all(out[name]["word"] == "learned" for name in FRAMES)
        out["pool"] = {"word": "learned" if every else "not learned"}
    return out


def rows_of(told: Told, real: Market, setting: Setting, data: Path) -> dict[str, Any]:
    """Return a table's row for every forecaster: as a forecast, in trends, and as money."""
    out: dict[str, Any] = {}
    for name, p in told.p.items():
        out[name] = judge(p, told.up, real.ahead[told.rows], told.share, setting.block)
        out[name]["says_up"] = float((p > 0.5).mean())
        out[name]["in_trends"] = {
            kind: float(told.right(name)[mask].mean()) for kind, mask in told.trend.items()
        }
        ends = real.rows[FRAMES[-1]][told.rows]
        daily = [money(real.frames[FRAMES[-1]], ends, h, funding(data)) for h in told.held[name]]
        out[name]["money"] = money_row(daily)
    return out


def verdict(real: Market, seeds: int, setting: Setting, folder: Path, data: Path) -> dict[str, Any]:
    """Return tables, comparisons with their one correction, planted effects, what learned."""
    folds = {k: fold_of(real, k, setting, folder) for k in range(len(setting.shares))}
    out: dict[str, Any] = {"rows": {}, "comparisons": {}, "chosen": {}, "spans": spans(folds)}
    for model in MODELS:
        mine = list(range(1 if model == "linear" else seeds))
        told = joined([told_of(model, "real", k, mine, fold, setting, folder)
                       for k, fold in folds.items()])  # fmt: skip
        out["rows"][model] = rows_of(told, real, setting, data)
        out["chosen"][model] = told.chosen
        out["comparisons"][model] = gains(told, setting)
    every = [row for part in out["comparisons"].values() for row in part.values()]
    for row, p in zip(every, evidence.holm([row["p"] for row in every]), strict=True):
        row["p_holm"] = float(p)
    out["detectable"] = detectable(folds[len(folds) - 1], seeds, setting, folder, len(every))
    last = {len(folds) - 1: folds[len(folds) - 1]}
    out["learned"] = {
        sides: learned(sides, folds if sides == "real" else last, seeds, setting, folder)
        for sides in ("real", *CLAIMED)
    }
    out["trends"] = {
        kind: float(np.mean([f.trend(kind)[f.sets[3]].mean() for f in folds.values()]))
        for kind in KINDS
    }
    return out


def spans(folds: dict[int, Fold]) -> list[dict[str, Any]]:
    """Return when each set of each fold begins and ends, and how many decisions it has."""
    names = ("train", "stop", "weigh", "test")
    return [
        {name: [str(f.market.time[r[0]]), str(f.market.time[r[-1]]), len(r)]
         for name, r in zip(names, f.sets, strict=True)}
        for f in folds.values()
    ]  # fmt: skip


def estimate(left: list[Job], folds: dict[int, Fold], setting: Setting, workers: int) -> str:
    """Return the sentence that says what is left and how long it takes, measured here."""
    torch.set_num_threads(1)
    (drawn, *_), ready = pictures(folds[0], FRAMES[0], setting), net(FRAMES[0], folds[0]).train()

    def step(k: int) -> float:
        start = time.perf_counter()
        x, _ = drawn.batch(torch.arange(setting.batch_size) + k)
        ready(x).square().sum().backward()
        return time.perf_counter() - start

    seconds = min(step(k) for k in range(5)) / setting.batch_size
    nets = [job for job in left if job.model == "nets"]
    n = setting.num_epochs * sum(len(strided(folds[job.fold], setting)[0]) for job in nets)
    minutes = n * seconds / workers / 60
    return (
        f"{len(nets)} nets left: at most {setting.num_epochs} epochs, {n} pictures x "
        f"{1e3 * seconds:.2f} ms, {workers} at a time: at most {minutes:.0f} minutes; "
        f"{len(left) - len(nets)} fits on numbers, a few minutes"
    )


def run(work: Callable, left: list[Job], workers: int) -> None:
    """Fit what is left, nets of the most pictures first."""
    order = sorted(left, key=lambda job: (job.model != "nets", -job.fold))
    pool: Any = Parallel(n_jobs=workers, return_as="generator_unordered")
    for _ in tqdm(pool(delayed(work)(job) for job in order), total=len(order), unit="fit"):
        pass


def main() -> None:
    """Fit what is missing, then store the table."""
    asked = parser(__doc__, "_build/studies/frames_real")
    asked.add_argument("--seeds", type=int, default=2)
    args = parsed(asked, needs=f"{FILE} and {FUNDING}")
    if args.seeds < 2:
        asked.error("--seeds: two or more, one seed has no scatter")
    start, setting, bars = time.perf_counter(), Setting(), load(args.data / FILE)
    real = market(bars)
    mine = {k: v for k, v in asdict(setting).items() if k != "num_epochs"}  # may be made longer
    folder = claim(args.store, mine | {"data": bars.sha256})
    folds = {k: fold_of(real, k, setting, folder) for k in range(len(setting.shares))}
    every = jobs(args.seeds, setting)
    left = [job for job in every if not (folder / job.folder / "p.npy").is_file()]
    if left:
        tqdm.write(estimate(left, folds, setting, args.jobs))
    run(lambda job: fitted(job, folds[job.fold], setting, folder) and None, left, args.jobs)
    stored = {
        "setting": asdict(setting), "claimed": CLAIMED, "frames": FRAMES, "decisions": len(real.up),
        "stand_in": f"{FILE}: Binance for Bybit; «micro» at {setting.size} px for B0 to B5",
        **verdict(real, args.seeds, setting, folder, args.data),
    }  # fmt: skip
    results.save(
        "frames_real", stored, seed=list(range(args.seeds)), device=training.describe(),
        command="SETRADE_DATA=<folder> make study STUDY=frames_real",
        seconds=time.perf_counter() - start,
        data={f: results.sha256(args.data / f) for f in (FILE, FUNDING)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
