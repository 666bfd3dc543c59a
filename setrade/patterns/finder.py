"""A finder made of rules: smooth, take the extrema, compare their levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.candles import check
from setrade.candles import windows as cut
from setrade.errors import ArgumentError, array, integer, number

from .kernels import find_all
from .shapes import NAMES

CLOSE, SHORTEST = 3, 16
# Where one window satisfies several rules, the one that asks for more speaks first.
ORDER = np.array([NAMES.index(name) - 1 for name in (
    "head_and_shoulders", "bull_flag", "bear_flag", "pennant", "cup_and_handle",
    "inverse_head_and_shoulders", "symmetric_triangle", "ascending_triangle",
    "descending_triangle", "double_top", "double_bottom",
)])  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What the rules say of N windows, a column for each name in ``NAMES[1:]``.

    ``mask`` (N, 11) bool, several may be true; ``start`` and ``end`` (N, 11) first and last bar
    inside the window, -1 where the mask is false.
    """

    mask: np.ndarray
    start: np.ndarray
    end: np.ndarray

    @property
    def kind(self) -> np.ndarray:
        """One class a window (N,), a number into ``NAMES``: the most demanding rule that holds."""
        ordered = self.mask[:, ORDER]
        return np.where(ordered.any(1), ORDER[ordered.argmax(1)] + 1, 0)


def _options(bandwidth: float, swing: float, tolerance: float, fresh: int, n: int):
    """Return the finder's settings, checked."""
    return (
        number("bandwidth", bandwidth, 0.1, n),
        number("swing", swing, 0, 1),
        number("tolerance", tolerance, 0, 1),
        integer("fresh", fresh, 1, n),
    )


def _closes(windows: np.ndarray) -> np.ndarray:
    """Return the closes (N, n) of candles (N, 5, n), checked."""
    allowed = f"candles (N, 5, n), n at least {SHORTEST}, finite, closes > 0"
    x = array("windows", windows, ndim=3)
    if x.shape[1] != 5 or x.shape[2] < SHORTEST:
        raise ArgumentError("windows", windows, allowed)
    close = np.array(x[:, CLOSE], np.float64, order="C")  # a read-only view compiles anew
    if not (close > 0).all():
        raise ArgumentError("windows", float(close.min()), allowed)
    return close


def find(
    windows: np.ndarray,
    *,
    bandwidth: float = 0.7,
    swing: float = 0.06,
    tolerance: float = 0.4,
    fresh: int = 10,
) -> Found:
    """Find the chart patterns that end at the last bars of each window, by rules alone.

    The closes' logs are smoothed by a Gaussian kernel inside the window, their alternating
    extrema taken, and the last five to seven compared as Lo, Mamaysky and Wang (2000) define
    the patterns. Nothing outside the window is read. The defaults were chosen on synthetic
    training windows (``studies/chart_patterns.py``).

    Args:
        windows: candles (N, 5, n), n at least 16.
        bandwidth: of the kernel, in bars.
        swing: least move between two extrema, as a share of the window's smoothed range.
        tolerance: how unequal "equal" levels may be, in heights of the pattern.
        fresh: the last extremum used lies among this many last bars.

    Returns:
        A `Found`.

    Raises:
        ArgumentError: names the argument.
    """
    close = _closes(windows)
    options = _options(bandwidth, swing, tolerance, fresh, close.shape[1])
    found = np.zeros((len(close), len(NAMES) - 1), bool)
    spans = np.full((*found.shape, 2), -1)
    find_all(close, *options, found, spans)
    return Found(found, spans[..., 0], spans[..., 1])


def scan(candles: pd.DataFrame, length: int = 64, **options: float) -> pd.DataFrame:
    """Run `find` on the window that ends at each bar: causal by construction.

    Args:
        candles: n checked bars.
        length: bars of a window.
        options: as `find` takes them.

    Returns:
        float32 frame (n, 11) on the index of ``candles``: 1 where the pattern is seen after that
        bar, else 0; the first ``length - 1`` rows, which have no whole window, are NaN.

    Raises:
        CandleError: the candles are at fault.
        ArgumentError: names the argument.
    """
    check(candles)
    length = integer("length", length, SHORTEST, len(candles))
    seen = np.full((len(candles), len(NAMES) - 1), np.nan, np.float32)
    seen[length - 1 :] = find(cut(candles, length), **options).mask  # type: ignore[arg-type]
    return pd.DataFrame(seen, index=candles.index, columns=list(NAMES[1:]))
