"""Windows of candles that hold one classical chart pattern each, or none, and where it is.

A shape is a row of knots ``(time, level)``: time from 0 to 1 over the pattern's span, level in
units of its height. A bearish twin is its bullish one upside down, and a two-sided shape is
drawn either way up with equal chance.

Source: R. Edwards and J. Magee, Technical Analysis of Stock Trends (1948), for the shapes;
A. Lo, H. Mamaysky and J. Wang, Foundations of Technical Analysis (2000), section II.A, for the
idea of writing them down as a sequence of extrema.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.candles import COLUMNS
from setrade.candles.market import START
from setrade.compiled import kernel
from setrade.errors import ArgumentError, generator, integer, number

Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """Knots; ``bias`` is what textbooks expect next (-1, 0, +1); ``two_sided``: either way up."""

    knots: Knots
    bias: int
    two_sided: bool = False


def _even(*levels: float) -> Knots:
    """Return knots at equal distances in time."""
    return tuple((i / (len(levels) - 1), level) for i, level in enumerate(levels))


def _mirrored(shape: Shape) -> Shape:
    """Return the shape upside down."""
    return Shape(tuple((t, 1 - level) for t, level in shape.knots), -shape.bias)


_HEAD = Shape(_even(0.0, 0.62, 0.3, 1.0, 0.3, 0.62, 0.15), -1)
_TOP = Shape(((0, 0.0), (0.3, 1.0), (0.52, 0.5), (0.74, 1.0), (1, 0.35)), -1)
_ASCENDING = Shape(_even(0.0, 1.0, 0.3, 1.0, 0.55, 1.0, 0.78), 1)
_FLAG = Shape(
    ((0, 0.0), (0.28, 1.0), (0.43, 0.72), (0.57, 0.92), (0.72, 0.62), (0.86, 0.82), (1, 0.54)), 1
)
_PENNANT = Shape(
    ((0, 0.0), (0.28, 1.0), (0.44, 0.62), (0.6, 0.93), (0.74, 0.7), (0.87, 0.87), (1, 0.77)),
    0, two_sided=True,
)  # fmt: skip
_SYMMETRIC = Shape(_even(0.35, 1.0, 0.0, 0.84, 0.18, 0.68, 0.34), 0, two_sided=True)
_CUP = Shape(
    (*((0.78 * u, (2 * u - 1) ** 2) for u in (i / 8 for i in range(9))), (0.9, 0.68), (1, 0.9)), 1
)

SHAPES: dict[str, Shape] = {
    "head_and_shoulders": _HEAD,
    "inverse_head_and_shoulders": _mirrored(_HEAD),
    "double_top": _TOP,
    "double_bottom": _mirrored(_TOP),
    "ascending_triangle": _ASCENDING,
    "descending_triangle": _mirrored(_ASCENDING),
    "symmetric_triangle": _SYMMETRIC,
    "bull_flag": _FLAG,
    "bear_flag": _mirrored(_FLAG),
    "pennant": _PENNANT,
    "cup_and_handle": _CUP,
}
NAMES = ("none", *SHAPES)
BIAS = np.array([0, *(shape.bias for shape in SHAPES.values())])
BIAS.flags.writeable = False


def tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return times and levels (shapes, most knots), knots of each shape, and two-sided flags."""
    most = max(len(shape.knots) for shape in SHAPES.values())
    times, levels = np.ones((2, len(SHAPES), most))
    for row, shape in enumerate(SHAPES.values()):
        times[row, : len(shape.knots)], levels[row, : len(shape.knots)] = np.transpose(shape.knots)
    counts = np.array([len(shape.knots) for shape in SHAPES.values()])
    return times, levels, counts, np.array([shape.two_sided for shape in SHAPES.values()])


# ---- A shape becomes a noisy path, a path becomes candles.
#
# All draws come from the one generator that is passed in, window after window, so that the first
# k windows do not depend on how many follow.


MEMORY = 0.8  # autocorrelation of the deviations from the ideal line
JITTER = 0.04  # standard deviation of a knot's level, in pattern heights
DRIFT = 0.6  # standard deviation of a window's return, in steps of a random walk as long
BLOCKS = np.array([1, 4, 8, 12])  # bars that stay together when «none» is shuffled
WICK = 0.4  # half-normal scale of a wick, in standard deviations of a bar's return


@kernel
def zigzag(rng, times, levels, span, warp, tilt, flip, out):
    """Fill ``out[:span]`` with a shape: legs of warped length between knots of jittered level."""
    legs = len(times) - 1
    at, level = np.zeros(legs + 1), np.empty(legs + 1)
    for k in range(legs + 1):
        level[k] = (1 - levels[k] if flip else levels[k]) + JITTER * rng.standard_normal()
        if k:
            stretch = math.exp(warp * rng.standard_normal())
            at[k] = at[k - 1] + (times[k] - times[k - 1]) * stretch
    leg = 0
    for j in range(span):
        t = at[legs] * j / (span - 1)
        while leg < legs - 1 and t > at[leg + 1]:
            leg += 1
        share = (t - at[leg]) / (at[leg + 1] - at[leg])
        out[j] = level[leg] + share * (level[leg + 1] - level[leg]) + tilt * (j / (span - 1) - 0.5)


@kernel
def blur(rng, path, span, noise):
    """Add mean-reverting deviations of standard deviation ``noise`` to ``path[:span]``."""
    deviation = noise * rng.standard_normal()
    for j in range(span):
        path[j] += deviation
        fresh = math.sqrt(1 - MEMORY * MEMORY) * noise
        deviation = MEMORY * deviation + fresh * rng.standard_normal()


@kernel
def embed(rng, path, span, visible, end, steps):
    """Fill ``steps`` (L,): a lead-in, the visible part of ``path`` ending at bar ``end``, a rest.

    Outside the pattern the steps are those of a random walk with the pattern's mean square.
    The lead-in then gets a drift such that the return of the whole window is one drawn without
    regard to the pattern. ``steps[0]`` is the first bar's own.
    """
    square = 0.0
    for j in range(1, span):
        square += (path[j] - path[j - 1]) ** 2
    size, first, total = math.sqrt(square / (span - 1)), end - visible + 1, 0.0
    for t in range(len(steps)):
        if first < t <= end:
            steps[t] = path[t - first] - path[t - first - 1]
        else:
            steps[t] = size * rng.standard_normal()
        total += steps[t] if t else 0.0
    drift = (DRIFT * size * math.sqrt(len(steps)) * rng.standard_normal() - total) / first
    for t in range(1, first + 1):
        steps[t] += drift


@kernel
def shuffle(rng, steps):
    """Shuffle ``steps[1:]`` in blocks: the same bars, return and volatility, no pattern left."""
    n, block = len(steps) - 1, BLOCKS[rng.integers(0, len(BLOCKS))]
    shift = rng.integers(0, n)
    rolled = np.empty(n)
    for t in range(n):
        rolled[t] = steps[1 + (t + shift) % n]
    blocks = -(-n // block)
    order = np.empty(blocks, np.int64)
    for k in range(blocks):
        order[k] = k
    for k in range(blocks - 1, 0, -1):
        other = rng.integers(0, k + 1)
        order[k], order[other] = order[other], order[k]
    t = 1
    for k in order:
        for j in range(k * block, min(n, (k + 1) * block)):
            steps[t] = rolled[j]
            t += 1


@kernel
def candles(rng, steps, vol, out):
    """Write candles (5, L) whose log returns are ``steps`` scaled to a mean square of vol²."""
    n, square = len(steps), 0.0
    for t in range(1, n):
        square += steps[t] ** 2
    scale, level, before = vol / math.sqrt(square / (n - 1)), 0.0, 0.0
    for t in range(n):
        move = scale * steps[t]
        before, level = level, level + move
        top, bottom = max(before, level), min(before, level)
        out[0, t], out[3, t] = math.exp(before), math.exp(level)
        out[1, t] = math.exp(top + WICK * vol * abs(rng.standard_normal()))
        out[2, t] = math.exp(bottom - WICK * vol * abs(rng.standard_normal()))
        busy = 0.3 * rng.standard_normal() + 0.3 * min(abs(move) / vol, 3.0)
        out[4, t] = 100.0 * math.exp(busy)


@kernel
def draw(rng, shape, span, noise, warp, tilt, share, after, vol, tables, out):
    """Draw one window (5, L) of shape number ``shape``; -1: of none. Return first and last bar."""
    times, levels, counts, two_sided = tables
    row = shape if shape >= 0 else rng.integers(0, len(counts))
    n, k = out.shape[1], counts[row]
    flip = two_sided[row] and rng.random() < 0.5
    path, steps = np.empty(span), np.empty(n)
    zigzag(rng, times[row, :k], levels[row, :k], span, warp, tilt, flip, path)
    blur(rng, path, span, noise)
    visible, end = max(2, round(share * span)), n - 1 - after
    embed(rng, path, span, visible, end, steps)
    if shape < 0:
        shuffle(rng, steps)
    candles(rng, steps, vol, out)
    return (end - visible + 1, end) if shape >= 0 else (-1, -1)


@kernel
def draw_all(rng, kinds, spans, noise, warp, tilt, share, after, vol, tables, out, ends):
    """Draw every window of ``kinds`` (N,), 0 is none; spans to vol are its settings, (N,) each."""
    for i in range(len(kinds)):
        ends[i] = draw(
            rng, kinds[i] - 1, spans[i], noise[i], warp, tilt[i], share[i], after[i], vol[i],
            tables, out[i],
        )  # fmt: skip


# ---- The generator.


SMALLEST_SPAN = 12  # bars; below it the legs of most shapes are one bar long
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

    def __post_init__(self) -> None:
        for name, x in vars(self).items():
            n = len(self.windows)
            if len(x) != n or x.ndim != (3 if name == "windows" else 1):
                raise ArgumentError(name, x, f"{n} rows, as many as windows has")

    def __len__(self) -> int:
        return len(self.kind)

    def frame(self, i: int) -> pd.DataFrame:
        """Return window i as a frame of hourly candles."""
        i = integer("i", i, 0, len(self) - 1)
        index = pd.date_range(START, periods=self.windows.shape[2], freq="h", name="time")
        return pd.DataFrame(dict(zip(COLUMNS, self.windows[i], strict=True)), index=index)


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
    rng = generator(seed)
    u = np.random.default_rng(rng.integers(2**63)).random((n, 7))  # a row a window
    share = shares[0] + u[:, 2] * (shares[1] - shares[0])
    kind = classes[(u[:, 0] * len(classes)).astype(np.int64)]
    deviation = noises[0] + u[:, 1] * (noises[1] - noises[0])
    rest = np.where(share < 1, 0, (u[:, 5] * (after + 1)).astype(np.int64))
    windows, ends = np.empty((n, 5, length)), np.empty((n, 2), np.int64)
    draw_all(
        rng, kind, shortest + (u[:, 3] * (longest - shortest + 1)).astype(np.int64), deviation,
        warp, trend * (2 * u[:, 4] - 1), share, rest, _volatility(u[:, 6]), tables(), windows, ends,
    )  # fmt: skip
    windows[:, :4] *= 100.0
    start, end = ends.T.copy()
    return Drawn(windows, kind, start, end, *_box(windows, start, end), deviation, share)


def _volatility(u: np.ndarray) -> np.ndarray:
    """Return log-normal volatilities from uniform numbers."""
    from scipy.special import ndtri

    return VOL * np.exp(VOL_SPREAD * ndtri(np.clip(u, 1e-12, 1 - 1e-12)))
