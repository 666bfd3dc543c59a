"""How far samples lie from a reference, and how far apart samples are independent.

The population stability index is the symmetrised Kullback-Leibler divergence of two histograms,
sum (s - r) ln(s / r), its bins cut so that each holds the same share of the reference.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array, integer

STILL = 0.05  # rows correlated less than this count as independent


def shares(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of each bin: (n, C) samples, (bins - 1, C) inner edges -> (bins, C).

    Half a sample is added to each bin, so that an empty one makes no infinity.
    """
    place = (x[:, None, :] > edges).sum(1)  # (n, C)
    counts = (place[:, None, :] == np.arange(len(edges) + 1)[:, None]).sum(0)
    return (counts + 0.5) / (len(x) + 0.5 * len(counts))


def psi(recent: np.ndarray, reference: np.ndarray, *, bins: int = 10) -> np.ndarray:
    """Return the population stability index of each column.

    Args:
        recent: (n, C) or (n,) samples. reference: (m, C) or (m,), m >= 5 * ``bins``; its
            quantiles are the edges of the bins.
        bins: how many, at least 2.

    Returns:
        (C,), or one number for samples of one axis.

    Raises:
        ArgumentError: NaN, other columns, too few samples.
    """
    bins = integer("bins", bins, 2)
    y = table("reference", reference, 5 * bins)
    x = table("recent", recent, 1)
    if x.shape[1] != y.shape[1]:
        raise ArgumentError("recent", recent, f"{y.shape[1]} columns, as in the reference")
    edges = edges_of(y, bins)
    return divergence(shares(x, edges), shares(y, edges)).reshape(np.shape(recent)[1:])


def table(name: str, value: object, rows: int) -> np.ndarray:
    """Return samples as (n, C) floats, finite, at least ``rows`` of them."""
    x = array(name, value).astype(np.float64)
    if x.ndim > 2 or len(x) < rows:
        raise ArgumentError(name, value, f"at least {rows} rows of samples")
    return x.reshape(len(x), -1)


def edges_of(reference: np.ndarray, bins: int) -> np.ndarray:
    """Return the inner edges (bins - 1, C) of bins that hold equal shares of the reference."""
    return np.quantile(reference, np.arange(1, bins) / bins, axis=0)


def divergence(s: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return the PSI of shares (bins, C) against shares (bins, C): (C,)."""
    return ((s - r) * np.log(s / r)).sum(0)


def spacing(rows: pd.DataFrame) -> int:
    """Return how many rows apart samples count as independent of each other.

    The smallest lag at which, in every column, both the values and their distances from the
    median (volatility comes in clusters) have an autocorrelation below 0.05.

    Args:
        rows: (n, C) in order of time.

    Raises:
        ArgumentError: NaN, a column that never moves, or no such lag up to n / 4.
    """
    x = table("rows", rows, 8)
    x = np.hstack([x, np.abs(x - np.median(x, axis=0))])
    x = x - x.mean(0)
    power = np.abs(np.fft.rfft(x, 2 * len(x), axis=0)) ** 2
    lagged = np.fft.irfft(power, axis=0)[: len(x) // 4 + 1]
    if (np.ptp(x, axis=0) == 0).any():
        raise ArgumentError("rows", rows, "columns that vary")
    calm = (lagged < STILL * lagged[0]).argmax(0)  # 0 where it never is
    if not calm.all():
        raise ArgumentError("rows", rows, "rows that forget the past within a quarter of them")
    return int(calm.max())
