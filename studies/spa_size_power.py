"""Hansen's test on markets whose truth is known: how often it errs, and how often it finds skill.

    make study STUDY=spa_size_power        # about three minutes on two cores

500 days, ten models, no benchmark but zero. **Size**: no model has skill, and a test at 5 % should
reject in about 5 of 100 draws; once with independent normal returns of equal risk, once with risks
that differ tenfold, once with heavy tails that share a market, once with returns that depend on
those before. **Power**: one quiet model has a Sharpe ratio of 2.4 a year, nine have none and ten
times its risk. Beside the test stands ``arch``'s, which does not divide by the standard error.
Each run of fifty draws is a line of ``_build/studies/spa_size_power.jsonl``; a study that was cut
short goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

from setrade import evidence, results
from setrade.study import Store, grid, run
from setrade.study.command import busy_seconds
from setrade.study.store import Row, RunConfig

DAYS, MODELS, LEVEL, PART = 500, 10, 0.05, 50
SECONDS = 6.0  # a run on one idle core, on average
QUIET, SKILL = 0.002, 0.00025  # a day
Market = Callable[[np.random.Generator], np.ndarray]


def equal(rng: np.random.Generator) -> np.ndarray:
    """Return normal returns (days, models) of one risk."""
    return rng.normal(0, QUIET, (DAYS, MODELS))


def unequal(rng: np.random.Generator) -> np.ndarray:
    """Return normal returns whose risks lie between 0.2 % and 2 % a day."""
    return rng.normal(0, np.geomspace(QUIET, 10 * QUIET, MODELS), (DAYS, MODELS))


def heavy(rng: np.random.Generator) -> np.ndarray:
    """Return returns with Student's tails (4 degrees of freedom), half of them the market's."""
    own, market = rng.standard_t(4, (DAYS, MODELS)), rng.standard_t(4, (DAYS, 1))
    return QUIET * (own + market)


def dependent(rng: np.random.Generator) -> np.ndarray:
    """Return returns that keep three tenths of the one before."""
    return np.asarray(lfilter([1.0], [1.0, -0.3], unequal(rng), axis=0))


def skilled(rng: np.random.Generator) -> np.ndarray:
    """Return one quiet model with skill, and nine volatile ones with none."""
    good, noise = rng.normal(SKILL, QUIET, (DAYS, 1)), rng.normal(0, 10 * QUIET, (DAYS, MODELS - 1))
    return np.hstack([good, noise])


MARKETS = {market.__name__: market for market in (equal, unequal, heavy, dependent, skilled)}
ASKED = (unequal, skilled)  # of the peer too


def peer(models: np.ndarray, seed: int, reps: int) -> float:
    """Return the consistent p-value of ``arch``'s test."""
    from arch.bootstrap import SPA

    test = SPA(np.zeros(DAYS), -models, reps=reps, seed=seed)
    test.compute()
    return float(test.pvalues["consistent"])


def share(p_values: list[float]) -> dict[str, float]:
    """Return the share of rejections with the 95 % interval of a share (Wilson)."""
    from setrade.patterns import wilson

    hits, n = sum(p <= LEVEL for p in p_values), len(p_values)
    low, high = wilson(np.array([hits]), np.array([n]))[0]
    return {"measured": hits / n, "low": float(low), "high": float(high)}


def work(config: RunConfig) -> dict[str, Any]:
    """Return the p-values of one run's draws: of the test, and where it is asked the peer's."""
    market, reps = MARKETS[config["market"]], config["reps"]
    found: dict[str, list[float]] = {"studentised": []} | ({"arch": []} if market in ASKED else {})
    for seed in range(config["part"] * PART, (config["part"] + 1) * PART):
        models = market(np.random.default_rng(seed))
        spa = evidence.superior_ability(np.zeros(DAYS), models, seed=seed, reps=reps)
        found["studentised"].append(spa.consistent)
        if "arch" in found:
            found["arch"].append(peer(models, seed, reps))
    return found


def rejections(rows: list[Row], market: str) -> dict[str, dict[str, float]]:
    """Return how often each test rejects on one market."""
    mine = [row["measures"] for row in rows if row["config"]["market"] == market]
    return {name: share([p for one in mine for p in one[name]]) for name in mine[0]}


def main() -> None:
    """Say the cost, draw what is missing, count rejections, and store the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=600, help="a multiple of 50 (%(default)s)")
    parser.add_argument("--reps", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--store", type=Path, default=Path("_build/studies"))
    args = parser.parse_args()
    start = time.perf_counter()
    configs = grid(market=MARKETS, part=range(args.draws // PART), reps=[args.reps])
    setting = {"days": DAYS, "models": MODELS, "quiet": QUIET, "skill": SKILL, "draws a run": PART}
    store = Store(args.store / "spa_size_power.jsonl", "spa_size_power", {}, setting=setting)
    left = len(store.missing(configs))
    minutes = left * SECONDS / 60 / args.jobs
    print(f"spa_size_power: {left} runs to go, about {minutes:.0f} minutes on {args.jobs} cores")
    report = run(work, configs, store, n_jobs=args.jobs)
    rows = store.of(configs)
    size = {name: rejections(rows, name) for name in MARKETS if name != "skilled"}
    results.save(
        "spa_size_power",
        {
            "draws": args.draws, "reps": args.reps, "days": DAYS, "models": MODELS,
            "level": LEVEL, "sharpe_a_year": SKILL / QUIET * 365**0.5,
            "size": size, "power": rejections(rows, "skilled"),
            "machinery": vars(report) | {"busy_seconds": round(busy_seconds(rows), 1)},
        },
        command="make study STUDY=spa_size_power",
        seed=list(range(args.draws)),
        seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
