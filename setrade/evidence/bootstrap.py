"""Intervals by the stationary bootstrap: how far a figure moves when history is reshuffled.

Bars are drawn in stretches of random length, so that the dependence between neighbours is
kept. Source: Politis and Romano (1994), The Stationary Bootstrap; the work is ``arch``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from setrade.errors import ArgumentError, array, integer, number

Statistic = Callable[[np.ndarray], "float | np.ndarray"]


@dataclass(frozen=True)
class Interval:
    """An estimate between its bounds; ``level`` is the share of bootstrap samples inside."""

    estimate: float
    low: float
    high: float
    level: float

    def __contains__(self, value: float) -> bool:
        """Say whether ``value`` lies between the bounds."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


def block_length(returns: np.ndarray) -> float:
    """Return the mean block length in periods that suits ``returns`` ``(T,)``, at least 1.

    Source: Politis and White (2004), corrected by Patton, Politis and White (2009).
    """
    from arch.bootstrap import optimal_block_length

    x = array("returns", returns, ndim=1, min_length=8).astype(float)
    if np.ptp(x) == 0:
        return 1.0
    # The squared returns carry the clustering that the returns themselves hide.
    best = max(optimal_block_length(v)["stationary"].to_numpy(float)[0] for v in (x, x**2))
    return float(np.clip(np.nan_to_num(best, nan=1.0), 1.0, len(x) / 4))


def resample(
    statistic: Statistic,
    returns: np.ndarray,
    *,
    seed: int,
    n_samples: int = 1000,
    block: float | None = None,
) -> np.ndarray:
    """Return ``statistic`` on ``n_samples`` reshuffled histories.

    Args:
        statistic: takes returns of the shape given, gives a number or a vector.
        returns: ``(T,)`` or ``(T, k)``; the rows of k series stay together.
        seed: of the draw.
        n_samples: how many histories.
        block: mean block length in periods; None: ``block_length`` of the (first) series.

    Returns:
        ``(n_samples, k)``, one row a history; k is 1 for a number.
    """
    from arch.bootstrap import StationaryBootstrap

    x = array("returns", returns).astype(float)
    if x.ndim > 2 or len(x) < 8:
        raise ArgumentError("returns", returns, "(T,) or (T, k) returns, 8 periods or more")
    n = integer("n_samples", n_samples, 10)
    length = block_length(x if x.ndim == 1 else x[:, 0]) if block is None else block
    length = number("block", length, 1.0, len(x))
    # arch takes fractional mean lengths, though its hint says int.
    draw = StationaryBootstrap(length, x, seed=integer("seed", seed, 0))  # type: ignore[arg-type]
    return np.atleast_2d(draw.apply(lambda v: np.atleast_1d(statistic(v)), n))


def interval(
    statistic: Statistic,
    returns: np.ndarray,
    *,
    seed: int,
    level: float = 0.95,
    n_samples: int = 1000,
    block: float | None = None,
) -> Interval:
    """Return a number computed on returns, with its percentile interval.

    Histories on which the number is undefined (NaN) count neither way. Arguments as in
    ``resample``; ``level`` is the share of histories between the bounds.
    """
    level = number("level", level, 0.5, 0.999)
    drawn = resample(statistic, returns, seed=seed, n_samples=n_samples, block=block)[:, 0]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(np.asarray(returns, float))), float(low), float(high), level)


def paired_difference(
    statistic: Statistic,
    first: np.ndarray,
    second: np.ndarray,
    *,
    seed: int,
    level: float = 0.95,
    n_samples: int = 1000,
    block: float | None = None,
) -> Interval:
    """Return ``statistic(first) - statistic(second)`` with its interval, on the same histories.

    Both series ``(T,)`` are reshuffled alike, so what moves both cancels. Arguments as in
    ``interval``.
    """
    a, b = (
        array("first", first, ndim=1).astype(float),
        array("second", second, ndim=1).astype(float),
    )
    if len(a) != len(b):
        raise ArgumentError("second", second, f"{len(a)} returns, as many as the first has")

    def difference(x: np.ndarray) -> float:
        return float(statistic(x[:, 0])) - float(statistic(x[:, 1]))

    both = np.column_stack([a, b])
    return interval(difference, both, seed=seed, level=level, n_samples=n_samples, block=block)
