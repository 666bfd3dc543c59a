"""Market impact: what it costs to walk the visible book, and the power law that fits it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError, array, choice, integer, number
from .snapshots import Snapshots


def walk(books: Snapshots, sizes: np.ndarray, side: str) -> np.ndarray:
    """Return the average price a market order of each size pays in each snapshot.

    Args:
        books: N snapshots.
        sizes: shape ``(S,)``, base coin, above zero.
        side: ``"buy"`` walks up the asks, ``"sell"`` down the bids.

    Returns:
        float64 of shape ``(N, S)``; NaN where the visible levels hold less than the size.
    """
    sizes = array("sizes", sizes, ndim=1)
    if sizes.min() <= 0:
        raise ArgumentError("sizes", sizes.min(), "sizes above zero")
    buy = choice("side", side, ("buy", "sell")) == "buy"
    price, size = (books.ask_price, books.ask_size) if buy else (books.bid_price, books.bid_size)
    depth = size.cumsum(1)
    left = sizes[None, :, None] - (depth - size)[:, None, :]  # still wanted at each level
    taken = np.clip(left, 0, size[:, None, :])  # (N, S, levels)
    average = np.einsum("nsl,nl->ns", taken, price) / sizes
    return np.where(sizes <= depth[:, -1:], average, np.nan)


def slippage_bps(books: Snapshots, sizes: np.ndarray, side: str) -> np.ndarray:
    """Return how much worse than the mid the order fills, in basis points, ``(N, S)``."""
    mid = books.mid()[:, None]
    sign = 1 if side == "buy" else -1
    return sign * (walk(books, sizes, side) / mid - 1) * 1e4


@dataclass(frozen=True)
class PowerLaw:
    """cost = ``coefficient`` * size ** ``exponent``; ``low`` and ``high`` bound the exponent."""

    coefficient: float
    exponent: float
    low: float
    high: float

    def __call__(self, sizes: np.ndarray) -> np.ndarray:
        return self.coefficient * np.asarray(sizes) ** self.exponent


def fit_power_law(
    sizes: np.ndarray,
    cost: np.ndarray,
    *,
    seed: int,
    block: int = 50,
    draws: int = 500,
    level: float = 0.95,
) -> PowerLaw:
    """Fit a power law to the mean cost by least squares on logarithms.

    The square-root law says 0.5 (Toth et al. 2011, eq. 1); here the exponent is free, and the
    interval from a moving-block bootstrap over snapshots says whether 0.5 is in it.

    Args:
        sizes: shape ``(S,)``, at least 3 different sizes above zero.
        cost: shape ``(N, S)``, above zero on average; NaN is refused: a size that some
            snapshot cannot fill would be averaged over the deep snapshots only.
        seed: of the bootstrap.
        block: snapshots a block; longer than the book's memory.
        draws: bootstrap resamples.
        level: of the interval, 0.5 to 0.999.
    """
    from arch.bootstrap import MovingBlockBootstrap

    sizes, cost = array("sizes", sizes, ndim=1, min_length=3), array("cost", cost, ndim=2)
    if cost.shape[1] != len(sizes) or sizes.min() <= 0 or len(np.unique(sizes)) < 3:
        raise ArgumentError("sizes", sizes, "3 or more different sizes > 0, one a cost column")
    if cost.mean(0).min() <= 0:
        raise ArgumentError("cost", float(cost.mean(0).min()), "mean costs above zero")
    block = integer("block", block, 1, len(cost))

    def fit(sample: np.ndarray) -> np.ndarray:
        return np.polyfit(np.log(sizes), np.log(sample.mean(0)), 1)

    tail = (1 - number("level", level, 0.5, 0.999)) / 2
    exponent, intercept = fit(cost)
    bootstrap = MovingBlockBootstrap(block, cost, seed=integer("seed", seed, 0))
    drawn = bootstrap.apply(fit, integer("draws", draws, 20))[:, 0]
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return PowerLaw(float(np.exp(intercept)), float(exponent), float(low), float(high))
