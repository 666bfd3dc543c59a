"""Hansen's test on markets whose truth is known: how often it errs, and how often it finds skill.

    make study STUDY=spa_size_power        # about five minutes on one core

500 days, ten models, no benchmark but zero. **Size**: no model has skill, and a test at 5 % should
reject in about 5 of 100 draws; once with independent normal returns of equal risk, once with risks
that differ tenfold, once with heavy tails that share a market, once with returns that depend on
those before. **Power**: one quiet model has a Sharpe ratio of 2.4 a year, nine have none and ten
times its risk. Beside the test stands ``arch``'s, which does not divide by the standard error.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter
from tqdm import tqdm

from setrade import evidence, results

DAYS, MODELS, LEVEL = 500, 10, 0.05
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


def rejections(market: Market, draws: int, reps: int, *, also: bool) -> dict[str, dict]:
    """Return how often the test rejects, and with ``also`` how often the peer does."""
    mine, theirs = [], []
    for seed in tqdm(range(draws), desc=market.__name__):
        models = market(np.random.default_rng(seed))
        zero = np.zeros(DAYS)
        mine.append(evidence.superior_ability(zero, models, seed=seed, reps=reps).consistent)
        if also:
            theirs.append(peer(models, seed, reps))
    return {"studentised": share(mine)} | ({"arch": share(theirs)} if also else {})


def main() -> None:
    """Draw every market, count rejections, and store the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=600)
    parser.add_argument("--reps", type=int, default=400)
    args = parser.parse_args()
    start = time.perf_counter()
    size = {
        market.__name__: rejections(market, args.draws, args.reps, also=market is unequal)
        for market in (equal, unequal, heavy, dependent)
    }
    power = rejections(skilled, args.draws, args.reps, also=True)
    results.save(
        "spa_size_power",
        {
            "draws": args.draws, "reps": args.reps, "days": DAYS, "models": MODELS,
            "level": LEVEL, "sharpe_a_year": SKILL / QUIET * 365**0.5,
            "size": size, "power": power,
        },
        command="make study STUDY=spa_size_power",
        seed=list(range(args.draws)),
        seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
