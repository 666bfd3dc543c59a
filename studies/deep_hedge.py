"""A net that hedges, against delta and against delta with its settings tuned, five seeds.

    make study STUDY=deep_hedge

A call of 30 days at the money was sold on a price without drift at 60 % volatility; it is hedged
once a day. Without costs the hedge of least variance is known, the delta. With costs (50, 6.5 and 0
bps a side) nets are trained on the mean of the worst twentieth, and judged on 20,000 fresh paths
against delta, and against delta at another volatility with a band, both chosen on paths that no
judge sees. Two minutes.
"""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import numpy as np
import torch

from setrade import evidence, options, results, toys
from setrade.costs import Costs
from setrade.training import seed_everything

SIGMA, YEARS, STEPS = 0.6, 30 / 365, 30
RATES, SEEDS, SHARE = (0.005, 0.00065, 0.0), range(5), 0.05
UPDATES, PATHS = 250, 20_000
FACTORS, BANDS = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5), (0.0, 0.02, 0.05, 0.1)
LEFT = YEARS * (1 - np.arange(STEPS) / STEPS)


def banded(delta: np.ndarray, band: float) -> np.ndarray:
    """Return units that move to the edge of a band around delta, when they leave it."""
    held, out = np.zeros(len(delta)), np.empty_like(delta)
    for t in range(delta.shape[1]):
        held = out[:, t] = np.clip(held, delta[:, t] - band, delta[:, t] + band)
    return out


def profit(paths: np.ndarray, units: np.ndarray, rate: float) -> np.ndarray:
    """Return what is left of the premium on each path."""
    costs = Costs(1e4 * rate, 0.0, 0.0)
    owed = np.maximum(paths[:, -1] - 1, 0) - options.price("call", 1.0, 1.0, YEARS, SIGMA)
    return options.hedge(paths, units, costs=costs).net - owed


def delta(paths: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """Return deltas (n, steps) at a multiple of the true volatility."""
    return options.greeks("call", paths[:, :-1], 1.0, LEFT, SIGMA * factor).delta


def tuned(rate: float) -> tuple[float, float]:
    """Return the factor and the band that lose least in the worst twentieth of tuning paths."""
    paths = toys.walks(20_000, STEPS, YEARS, SIGMA, 777)
    tries = {
        (f, b): options.expected_shortfall(profit(paths, banded(delta(paths, f), b), rate), SHARE)
        for f, b in product(FACTORS, BANDS)
    }
    return min(tries, key=lambda pair: tries[pair])


def trained(rate: float, seed: int, share: float) -> toys.HedgeNet:
    """Return a net trained on fresh paths."""
    seed_everything(seed)
    net = toys.HedgeNet(SIGMA, YEARS)
    return toys.train_hedge(net, STEPS, rate, seed=seed, share=share, updates=UPDATES)


def held(net: toys.HedgeNet, x: torch.Tensor) -> np.ndarray:
    """Return the units that a net holds."""
    with torch.no_grad():
        return net(x).double().numpy()


def one_rate(rate: float, paths: np.ndarray) -> dict[str, Any]:
    """Return shortfalls of all ways at one cost, the nets' by seed."""
    factor, band = tuned(rate)
    x = torch.from_numpy(paths).float()
    ways = {"delta": delta(paths), "tuned": banded(delta(paths, factor), band)}
    found = {
        name: float(options.expected_shortfall(profit(paths, units, rate), SHARE))
        for name, units in ways.items()
    }
    nets = []
    for seed in SEEDS:
        units = held(trained(rate, seed, SHARE), x)
        nets.append(float(options.expected_shortfall(profit(paths, units, rate), SHARE)))
        print(f"rate {rate:g}, seed {seed}: {nets[-1]:.5f} against {found}", flush=True)
    gains = {name: evidence.t_interval(value - np.array(nets)) for name, value in found.items()}
    return found | {
        "nets": nets, "factor": factor, "band": band,
        "gain": {n: list(g) for n, g in gains.items()},
    }  # fmt: skip


def learned_delta(paths: np.ndarray) -> dict[str, list[float]]:
    """Return how far nets without costs are from delta, and their deviation beside delta's."""
    x, known = torch.from_numpy(paths).float(), delta(paths)
    gaps, ratios = [], []
    for seed in SEEDS:
        units = held(trained(0.0, seed, 1.0), x)
        gaps.append(float(np.abs(units - known).mean()))
        ratios.append(float(profit(paths, units, 0.0).std() / profit(paths, known, 0.0).std()))
    return {"mean_gap": gaps, "deviation_ratio": ratios}


def main() -> None:
    """Train all nets, judge them, and store what they lose."""
    start = time.perf_counter()
    paths = toys.walks(PATHS, STEPS, YEARS, SIGMA, 4_242)
    stored = {
        "rates": {f"{1e4 * rate:g}": one_rate(rate, paths) for rate in RATES},
        "delta": learned_delta(paths),
        "setting": {"sigma": SIGMA, "days": 30, "steps": STEPS, "share": SHARE,
                    "paths": PATHS, "updates": UPDATES},
    }  # fmt: skip
    results.save(
        "deep_hedge", stored, command="make study STUDY=deep_hedge", seed=list(SEEDS),
        seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
