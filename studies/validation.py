"""Which validation lies least? Six ways to split, on markets whose true skill is known.

    make study STUDY=validation        # about three minutes on two cores

A market has five features, each an autoregression that forgets slowly; the label is the sum of the
next ten returns, so that labels overlap; returns also share a slow drift that no feature knows.
**null**: no feature foretells. **planted**: a constant mixture of features does. **drifting**: a
mixture does that itself wanders, so that the past goes stale.
A learner is fitted on the whole history, and the truth is how it does afterwards: its correlation
with the label (IC) and the Sharpe ratio of trading its sign, computed from the equations of the
market, with no noise of a test. In the drifting market afterwards means the bars that follow. Each
way to split estimates these two from the history alone; its bias is the mean of estimate less
truth, its RMSE the root of the mean square. A discovery is a trading mean above zero at 5 %,
one-sided, by the means of stretches of forty bars.
Each run is a line of ``_build/studies/validation.jsonl``; a study that was cut short goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.stats import t as student

from setrade import labels, results
from setrade.patterns import wilson
from setrade.study import Store, grid, run
from setrade.study.command import busy_seconds
from setrade.study.store import RunConfig
from setrade.study.summary import interval, t_interval

BARS, HORIZON, GROUPS = 1_200, 10, 6  # days, say: a history of 3.3 years
MEMORY = np.array([0.90, 0.95, 0.97, 0.98, 0.99])  # of the features, a bar
SLOW, DRIFT = 0.95, 0.20  # memory of the drift that no feature knows, and its size
SKILL = {"null": 0.0, "planted": 0.12, "drifting": 0.12}  # sd of what a bar's features foretell
FORGET = 0.997  # memory of the wandering mixture
EMBARGO, BLOCK, LEVEL, YEAR = 20, 40, 0.05, 365
NEIGHBOURS, RIDGE, FRESH = 5, 10.0, 2_000
WORLDS, LEARNERS = tuple(SKILL), ("ridge", "neighbours")
SCHEMES = (
    "shuffled k-fold", "k-fold in blocks", "purged k-fold", "purged and embargoed", "walk-forward",
    "CPCV",
)  # fmt: skip
SECONDS = 5  # a run of 20 draws on one idle core
Pieces = list[tuple[np.ndarray, np.ndarray]]  # (train, test) rows


@dataclass(frozen=True)
class Market:
    """Features (n, 5), the mixture (n, 5) that rules after each bar, returns (n,) that follow."""

    x: np.ndarray
    mixture: np.ndarray
    returns: np.ndarray

    @property
    def label(self) -> np.ndarray:
        """Return the sum of the ``HORIZON`` returns after each of the first n - HORIZON bars."""
        total = np.r_[0.0, self.returns.cumsum()]
        return total[HORIZON:-1] - total[: -HORIZON - 1]


def autoregression(memory: np.ndarray, shape: tuple[int, int], rng: np.random.Generator):
    """Return columns of variance 1 that keep ``memory`` of the bar before, stationary from 0."""
    noise = rng.standard_normal(shape) * np.sqrt(1 - memory**2)
    noise[0] /= np.sqrt(1 - memory**2)
    return np.stack([lfilter([1.0], [1.0, -m], e) for m, e in zip(memory, noise.T, strict=True)], 1)


def draw(world: str, seed: int, n: int = BARS + HORIZON) -> Market:
    """Return a market; the same seed gives the same features and noise in every world."""
    rng = np.random.default_rng(seed)
    x = autoregression(MEMORY, (n, 5), rng)
    drift = DRIFT * autoregression(np.array([SLOW]), (n, 1), rng)[:, 0]
    noise = rng.standard_normal(n)
    fixed = np.tile(rng.standard_normal(5), (n, 1))
    wander = autoregression(np.full(5, FORGET), (n, 5), rng)
    mixture = wander if world == "drifting" else fixed / np.linalg.norm(fixed[0])
    mixture = SKILL[world] * mixture / (np.sqrt(5) if world == "drifting" else 1)
    return Market(x, mixture, (mixture * x).sum(axis=1) + drift + noise)


# ---- Learners. What is foretold is the label less its training mean: a direction.


def ridge(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a linear forecast with a small penalty on its weights."""
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    return lambda new: new @ weights


def neighbours(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the mean label of the five nearest training rows, less the mean of all."""
    old, target = x.astype(np.float32), y - y.mean()
    size = (old**2).sum(axis=1) / 2

    def forecast(new: np.ndarray) -> np.ndarray:
        apart = size - new.astype(np.float32) @ old.T  # half the squared distance, up to a constant
        near = np.argpartition(apart, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        return target[near].mean(axis=1)

    return forecast


FIT = {"ridge": ridge, "neighbours": neighbours}


# ---- Ways to split: histories, each a list of (train, test).


def without(test: np.ndarray, n: int) -> np.ndarray:
    """Return the rows that are not in a test set."""
    return np.setdiff1d(np.arange(n), test)


def blocked(groups: int, tests: int, embargo: int) -> list[labels.Split]:
    """Return purged splits of the history; a label reads the bars after its own up to t + 10."""
    end = np.arange(BARS + HORIZON) + float(HORIZON)
    end[BARS:] = np.nan
    return labels.combinatorial(
        BARS + HORIZON, lookback=1, horizon=HORIZON, groups=groups, tests=tests,
        embargo=embargo, end=end,
    )  # fmt: skip


def histories(scheme: str, seed: int) -> list[Pieces]:
    """Return the histories that a way to split gives: one, or for CPCV five."""
    rows = np.arange(BARS)
    parts = np.array_split(rows, GROUPS)
    if scheme == "shuffled k-fold":
        mixed = np.random.default_rng(seed).permutation(rows)
        return [[(without(p, BARS), np.sort(p)) for p in np.array_split(mixed, GROUPS)]]
    if scheme == "k-fold in blocks":
        return [[(without(p, BARS), p) for p in parts]]
    if scheme == "walk-forward":
        starts = [int(part[0]) for part in parts[2:]]
        return [[(rows[: s - HORIZON], p) for s, p in zip(starts, parts[2:], strict=True)]]
    if scheme == "CPCV":
        splits = blocked(GROUPS, 2, EMBARGO)
        table = labels.paths(GROUPS, 2).tolist()
        return [[(splits[k].train, p) for k, p in zip(r, parts, strict=True)] for r in table]
    embargo = EMBARGO if scheme == "purged and embargoed" else 0
    return [[(s.train, s.test) for s in blocked(GROUPS, 1, embargo)]]


# ---- What a history says, and what is true.


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return a correlation; 0 where one of the two does not vary."""
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 1e-12 else 0.0


def significant(gains: np.ndarray) -> bool:
    """Return whether the mean is above zero, by Student's t on means of whole stretches."""
    means = gains[: len(gains) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=1)
    bar = student.ppf(1 - LEVEL, len(means) - 1)
    return bool(means.mean() > bar * means.std(ddof=1) / np.sqrt(len(means)))


def estimate(market: Market, fit: Callable, paths: list[Pieces]) -> tuple[float, float, bool]:
    """Return IC, yearly Sharpe ratio and discovery: figures are means over the histories."""
    y, figures, traded, known = market.label, [], [], {}
    for pieces in paths:
        guess, tested = np.zeros(BARS), np.zeros(BARS, bool)
        for train, test in pieces:
            name = train.tobytes()  # a CPCV model serves two groups
            known[name] = known.get(name) or fit(market.x[train], y[train])
            guess[test], tested[test] = known[name](market.x[test]), True
        gains = np.sign(guess[tested]) * market.returns[:BARS][tested]
        figures.append((correlation(guess[tested], y[tested]), sharpe(gains)))
        traded.append(gains)
    ic, ratio = np.mean(figures, axis=0).tolist()
    return ic, ratio, significant(np.mean(traded, axis=0))


def sharpe(gains: np.ndarray) -> float:
    """Return the yearly Sharpe ratio of gains a bar."""
    return float(gains.mean() / gains.std() * np.sqrt(YEAR))


def ahead(mixture: np.ndarray) -> np.ndarray:
    """Return what a bar's features foretell of the label, a weight a feature: memories summed."""
    return mixture * (1 - MEMORY**HORIZON) / (1 - MEMORY)


def label_variance(mixture: np.ndarray) -> float:
    """Return the variance of a label under a constant mixture: features, drift and noise."""
    steps = np.abs(np.subtract.outer(np.arange(HORIZON), np.arange(HORIZON)))
    features = (mixture**2 * (MEMORY ** steps[..., None]).sum(axis=(0, 1))).sum()
    return float(features + DRIFT**2 * (SLOW**steps).sum() + HORIZON)


def truth(forecast: Callable, mixture: np.ndarray, fresh: np.ndarray) -> tuple[float, float]:
    """Return the true IC and yearly Sharpe ratio of a forecast while ``mixture`` (5,) rules.

    ``fresh`` (m, 5) are independent draws of features. Noise is not drawn: its part is known.
    """
    guess, told = forecast(fresh), fresh @ ahead(mixture)
    ic = correlation(guess, told) * told.std() / np.sqrt(label_variance(mixture))
    gain = float((np.sign(guess) * (fresh @ mixture)).mean())
    risk = np.sqrt(1 + DRIFT**2 + (mixture**2).sum() - gain**2)
    return float(ic), float(gain / risk * np.sqrt(YEAR))


def mixtures(market: Market, world: str, seed: int) -> np.ndarray:
    """Return the mixtures under which a fitted learner will trade: the bars after the history."""
    now = market.mixture[BARS]
    if world != "drifting":
        return now[None]
    later = np.array([0, 50, 100, 150, 200])[:, None]  # a group's length, in five steps
    noise = np.random.default_rng(70_000 + seed).standard_normal((5, 5))
    fade = FORGET ** np.r_[0, np.full(4, 50)][:, None]
    out = [now]
    for k in range(1, len(later)):
        step = SKILL[world] / np.sqrt(5) * np.sqrt(1 - fade[k] ** 2) * noise[k]
        out.append(fade[k] * out[-1] + step)
    return np.array(out)


def one(world: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield, for each learner of one market, the truth and every estimate."""
    market, plans = draw(world, seed), {scheme: histories(scheme, seed) for scheme in SCHEMES}
    fresh = np.random.default_rng(50_000 + seed).standard_normal((FRESH, 5))
    rows = mixtures(market, world, seed)
    for learner, fit in FIT.items():
        forecast = fit(market.x[:BARS], market.label)
        true = np.mean([truth(forecast, row, fresh) for row in rows], axis=0).tolist()
        found = {scheme: estimate(market, fit, plan) for scheme, plan in plans.items()}
        yield {"learner": learner, "truth": true, "found": found}


def work(config: RunConfig) -> dict[str, Any]:
    """Return the draws of one run."""
    seeds = range(config["part"] * config["draws"], (config["part"] + 1) * config["draws"])
    return {"rows": [row for seed in seeds for row in one(config["world"], seed)]}


def table(rows: list[dict[str, Any]], samples: int = 2_000) -> dict[str, Any]:
    """Return, by way to split, bias, RMSE and scatter of IC and Sharpe ratio, and discoveries.

    ``gap`` is the RMSE less that of the way with the least; markets are redrawn together for it.
    """
    true = np.array([row["truth"] for row in rows])
    said = np.array([[row["found"][scheme] for scheme in SCHEMES] for row in rows], float)
    chosen = np.random.default_rng(0).integers(0, len(rows), (samples, len(rows)))
    out: dict[str, Any] = {scheme: {} for scheme in SCHEMES}
    for k, name in enumerate(("ic", "sharpe")):
        lies = said[:, :, k] - true[:, k, None]  # (markets, ways)
        rmse, drawn = np.sqrt((lies**2).mean(axis=0)), np.sqrt((lies**2)[chosen].mean(axis=1))
        least = rmse.argmin()
        for j, scheme in enumerate(SCHEMES):
            value, low, high = t_interval(lies[:, j])
            gap = drawn[:, j] - drawn[:, least]
            out[scheme][name] = {
                "bias": {"value": value, "low": low, "high": high},
                "rmse": interval(rmse[j], drawn[:, j]), "gap": interval(rmse[j] - rmse[least], gap),
                "scatter": float(lies[:, j].std(ddof=1)),
            }  # fmt: skip
    hits = said[:, :, 2].sum(axis=0).astype(int)
    shares = wilson(hits, np.full(len(SCHEMES), len(rows))).tolist()
    for scheme, n, (low, high) in zip(SCHEMES, hits.tolist(), shares, strict=True):
        out[scheme]["discoveries"] = {"value": n / len(rows), "low": low, "high": high}
    return {"truth": dict(zip(("ic", "sharpe"), true.mean(axis=0).tolist(), strict=True))} | out


def main() -> None:
    """Say the cost, run what is missing, then store the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=20, help="runs of each market (%(default)s)")
    parser.add_argument("--draws", type=int, default=20, help="markets a run (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--store", type=Path, default=Path("_build/studies"))
    args = parser.parse_args()
    start = time.perf_counter()
    configs = grid(world=WORLDS, part=range(args.parts), draws=[args.draws])
    names = ("BARS", "HORIZON", "GROUPS", "SLOW", "DRIFT", "SKILL", "FORGET", "EMBARGO", "BLOCK",
             "LEVEL", "NEIGHBOURS", "RIDGE", "FRESH")  # fmt: skip
    setting = {name.lower(): globals()[name] for name in names} | {"memory": MEMORY.tolist()}
    store = Store(args.store / "validation.jsonl", "validation", {}, setting=setting)
    left = len(store.missing(configs))
    minutes = left * SECONDS * args.draws / 20 / 60 / args.jobs
    print(f"validation: {left} runs to go, about {minutes:.0f} minutes on {args.jobs} idle cores")
    report = run(work, configs, store, n_jobs=args.jobs)
    rows = store.of(configs)
    tables = {
        world: {
            learner: table([
                row for r in rows if r["config"]["world"] == world
                for row in r["measures"]["rows"] if row["learner"] == learner
            ])
            for learner in LEARNERS
        }
        for world in WORLDS
    }  # fmt: skip
    stored = {
        "setting": setting, "draws": args.parts * args.draws, "tables": tables,
        "machinery": vars(report) | {"busy_seconds": round(busy_seconds(rows), 1)},
    }  # fmt: skip
    results.save(
        "validation", stored, command="make study STUDY=validation",
        seed=list(range(args.parts * args.draws)), seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
