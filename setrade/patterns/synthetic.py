"""The generator: windows of candles that hold one chart pattern each, or none, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, integer, number

from .drawing import draw_all
from .shapes import NAMES, tables

SMALLEST_SPAN = 12  # bars; below it the legs of most shapes are one bar long
START = pd.Timestamp("2024-01-01", tz="UTC")
VOL, VOL_SPREAD = 0.004, 0.5  # median of a bar's volatility, and the deviation of its log
Range = float | tuple[float, float]


@dataclass(frozen=True)
class Drawn:
    """N windows and the truth about them.

    ``windows`` (N, 5, length) candles, ``kind`` (N,) a number into ``NAMES``; ``start`` and
    ``end`` (N,) the pattern's first and last visible bar (-1 for none), ``low`` and ``high``
    (N,) the prices that enclose it (NaN for none), ``noise`` and ``completeness`` (N,) as drawn.
    """

    windows: np.ndarray
    kind: np.ndarray
    start: np.ndarray
    end: np.ndarray
    low: np.ndarray
    high: np.ndarray
    noise: np.ndarray
    completeness: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    def frame(self, i: int) -> pd.DataFrame:
        """Return window i as a frame of hourly candles."""
        index = pd.date_range(START, periods=self.windows.shape[2], freq="h", name="time")
        columns = ("open", "high", "low", "close", "volume")
        return pd.DataFrame(dict(zip(columns, self.windows[i], strict=True)), index=index)


def _range(name: str, value: Range, low: float, high: float) -> tuple[float, float]:
    """Return the two ends of a range, given as one number or as a pair."""
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2:
        raise ArgumentError(name, value, "a number, or a pair (lowest, highest)")
    first, last = (number(name, end, low, high) for end in ends)
    if first > last:
        raise ArgumentError(name, value, "a pair whose first number is not the larger one")
    return first, last


def _kinds(kinds: Sequence[str]) -> np.ndarray:
    """Return names as numbers into ``NAMES``."""
    if isinstance(kinds, str) or not isinstance(kinds, Sequence) or not len(kinds):
        raise ArgumentError("kinds", kinds, "a sequence of pattern names, at least one")
    for name in kinds:
        if name not in NAMES:
            raise ArgumentError("kinds", name, "names among " + ", ".join(NAMES))
    return np.array([NAMES.index(name) for name in kinds])


def _spans(span: tuple[int, int], length: int, after: int) -> tuple[int, int]:
    """Return the shortest and the longest span, checked against the window."""
    if not isinstance(span, tuple | list) or len(span) != 2:
        raise ArgumentError("span", span, "a pair (shortest, longest) of bars")
    longest = length - after - 1
    first = integer("span", span[0], SMALLEST_SPAN, longest)
    return first, integer("span", span[1], first, longest)


def _box(windows: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest low and the highest high between ``start`` and ``end``, NaN for none."""
    bar = np.arange(windows.shape[2])
    outside = (bar < start[:, None]) | (bar > end[:, None])
    low = np.where(outside, np.inf, windows[:, 2]).min(axis=1)
    high = np.where(outside, -np.inf, windows[:, 1]).max(axis=1)
    return np.where(start < 0, np.nan, low), np.where(start < 0, np.nan, high)


def synthetic(
    n: int,
    *,
    seed: int | np.random.Generator,
    length: int = 64,
    kinds: Sequence[str] = NAMES,
    span: tuple[int, int] = (26, 46),
    noise: Range = 0.06,
    warp: float = 0.25,
    trend: float = 0.15,
    completeness: Range = 1.0,
    after: int = 4,
) -> Drawn:
    """Draw windows with one chart pattern each, made so that its class cannot be guessed cheaply.

    A pattern is a zigzag through the knots of its shape, with deviations around it, after a
    lead-in of random-walk bars. Three cheap cues are taken away. The mean square of the log
    returns is drawn without regard to the class. So is the return of the whole window: the
    lead-in's drift makes up for the pattern's. And ``none`` is a window with a pattern whose
    returns were shuffled, in blocks of 1, 4, 8 or 12 bars: the same returns in another order.

    Args:
        n: windows, at least 1; the first k of them do not depend on it.
        seed: seed (an integer from 0 on) or generator.
        length: bars of a window.
        kinds: the classes to draw from, each equally often on average.
        span: shortest and longest pattern in bars; ``length - after - 1`` at most.
        noise: standard deviation of the deviations, in pattern heights; a number or a range.
        warp: standard deviation of the log of each leg's length: the time warp.
        trend: the pattern is tilted by up to this share of its height, either way.
        completeness: share of the pattern that has happened by the last bar; a number or a range.
        after: a complete pattern is followed by 0 to ``after`` random-walk bars.

    Returns:
        A `Drawn`.

    Raises:
        ArgumentError: names the argument.
    """
    n, length = integer("n", n, 1), integer("length", length, SMALLEST_SPAN + 1)
    after, classes = integer("after", after, 0, length - SMALLEST_SPAN - 1), _kinds(kinds)
    shortest, longest = _spans(span, length, after)
    noises = _range("noise", noise, 0, 10)
    shares = _range("completeness", completeness, 0.1, 1)
    warp, trend = number("warp", warp, 0, 2), number("trend", trend, 0, 2)
    if not isinstance(seed, np.random.Generator):
        seed = np.random.default_rng(integer("seed", seed, 0))
    u = np.random.default_rng(seed.integers(2**63)).random((n, 7))  # a row a window
    share = shares[0] + u[:, 2] * (shares[1] - shares[0])
    kind = classes[(u[:, 0] * len(classes)).astype(np.int64)]
    deviation = noises[0] + u[:, 1] * (noises[1] - noises[0])
    rest = np.where(share < 1, 0, (u[:, 5] * (after + 1)).astype(np.int64))
    windows, ends = np.empty((n, 5, length)), np.empty((n, 2), np.int64)
    draw_all(
        seed, kind, shortest + (u[:, 3] * (longest - shortest + 1)).astype(np.int64), deviation,
        warp, trend * (2 * u[:, 4] - 1), share, rest, _volatility(u[:, 6]), tables(), windows, ends,
    )  # fmt: skip
    windows[:, :4] *= 100.0
    start, end = ends.T.copy()
    return Drawn(windows, kind, start, end, *_box(windows, start, end), deviation, share)


def _volatility(u: np.ndarray) -> np.ndarray:
    """Return log-normal volatilities from uniform numbers."""
    from scipy.special import ndtri

    return VOL * np.exp(VOL_SPREAD * ndtri(np.clip(u, 1e-12, 1 - 1e-12)))
