"""Random walks whose regimes are known: volatility (and, if wished, drift) by state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from setrade.candles import Market
from setrade.candles.intervals import parse_interval, stamps
from setrade.errors import ArgumentError, array, integer, number

START = pd.Timestamp("2024-01-01", tz="UTC")


def planted(
    n_bars: int,
    *,
    seed: int,
    volatility: Sequence[float] = (0.001, 0.003),
    drift: Sequence[float] | None = None,
    stay: float = 0.995,
    interval: str | pd.Timedelta = "15min",
) -> Market:
    """Draw a random walk with planted regimes.

    Regimes follow a Markov chain that keeps its state with probability ``stay`` and otherwise
    picks one of the others alike. Bar t's log return is normal with the drift and volatility
    of bar t's regime. Without drift nothing foretells the direction of any bar.

    Args:
        n_bars: number of candles.
        seed: of every draw.
        volatility: standard deviation of a bar's log return, one a regime, at least two.
        drift: mean log return a bar, one a regime; default zeros.
        stay: in (0, 1).
        interval: bar length.

    Returns:
        A `candles.Market`: ``regime`` is a categorical Series (n_bars,) of "regime_0" …, the
        one that rules bar t **itself**; ``informative`` is empty.

    Raises:
        ArgumentError: names what cannot be used.
    """
    n, length = integer("n_bars", n_bars, 1), parse_interval("interval", interval)
    sd = array("volatility", volatility, ndim=1, min_length=2).astype(float)
    if (sd <= 0).any():
        raise ArgumentError("volatility", volatility, "numbers > 0, at least two")
    mean = np.zeros(len(sd)) if drift is None else array("drift", drift, ndim=1).astype(float)
    if len(mean) != len(sd):
        raise ArgumentError("drift", drift, f"{len(sd)} numbers, one a regime")
    if number("stay", stay, 0, 1, above=True) == 1:
        raise ArgumentError("stay", stay, "a number below 1")
    rng = np.random.default_rng(integer("seed", seed, 0))
    jumps = np.where(rng.random(n) > stay, rng.integers(1, len(sd), n), 0)
    state = jumps.cumsum() % len(sd)
    close = 30_000.0 * np.exp((mean[state] + sd[state] * rng.standard_normal(n)).cumsum())
    first = np.r_[30_000.0, close[:-1]]
    wick = np.exp(0.5 * sd[state, None] * np.abs(rng.standard_normal((n, 2))))
    columns = {
        "open": first, "high": np.maximum(first, close) * wick[:, 0],
        "low": np.minimum(first, close) / wick[:, 1], "close": close,
        "volume": np.full(n, 100.0),
    }  # fmt: skip
    index = stamps(START, length, n)
    kinds = pd.CategoricalDtype([f"regime_{i}" for i in range(len(sd))])
    regime = pd.Series(pd.Categorical.from_codes(state, dtype=kinds), index, name="regime")
    return Market(pd.DataFrame(columns, index), regime, {})
