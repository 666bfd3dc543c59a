"""Chart patterns found by rules over extrema, and candlestick patterns labelled by TA-Lib.

The rules take the levels and bars of consecutive alternating extrema of a smoothed path, upright:
a bearish twin is asked by turning the levels upside down. ``tol`` is how unequal equal levels may
be, in heights of the pattern.

Source: A. Lo, H. Mamaysky and J. Wang, Foundations of Technical Analysis, Journal of Finance
55(4), 2000, definitions 1 to 5, extended to flags, pennants and cups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.candles import check
from setrade.candles import windows as cut
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, integer, number
from setrade.patterns.synthetic import NAMES

STEP = 0.08  # least fall or rise from one extremum to the next of its kind, in heights
POLE = 1.6  # a pole is this much higher than what follows it


@kernel
def head_and_shoulders(x, bar, tol):
    """Judge left shoulder, neck, head, neck, right shoulder, and a fall after it: (6,)."""
    left, neck_1, head, neck_2, right, last = x[0], x[1], x[2], x[3], x[4], x[5]
    neck, height = (neck_1 + neck_2) / 2, head - (neck_1 + neck_2) / 2
    if not left > neck_1 or height <= 0:
        return False
    even = abs(left - right) < tol * height and abs(neck_1 - neck_2) < tol * height
    shoulder = min(left, right)
    tall = max(left, right) < head - 0.15 * height and shoulder > neck + 0.15 * height
    lean = (bar[2] - bar[0]) / max(1, bar[4] - bar[2])
    return even and tall and 0.4 < lean < 2.5 and last < right - 0.7 * (right - neck)


@kernel
def double_top(x, bar, tol):
    """Judge a rise, a top, a valley, an equal top, a fall of most of the valley's depth: (5,)."""
    start, first, valley, second, last = x[0], x[1], x[2], x[3], x[4]
    depth, height = (first + second) / 2 - valley, (first + second) / 2 - start
    if not first > start or depth <= 0 or height <= 0:
        return False
    deep = depth > 0.25 * height and start < valley + 0.1 * height
    lean = (bar[2] - bar[1]) / max(1, bar[3] - bar[2])
    equal = abs(first - second) < 0.6 * tol * height
    return deep and equal and 0.3 < lean < 3.0 and last < second - 0.7 * depth


@kernel
def edges(x):
    """Return the least and the largest step between like extrema: highs, then lows, in heights."""
    top = 0 if x[0] > x[1] else 1
    steps = np.array([np.inf, -np.inf, np.inf, -np.inf])
    low = high = x[0]
    for k in range(1, len(x)):
        low, high = min(low, x[k]), max(high, x[k])
        if k > 1:
            side = 0 if k % 2 == top else 2
            steps[side] = min(steps[side], x[k] - x[k - 2])
            steps[side + 1] = max(steps[side + 1], x[k] - x[k - 2])
    return steps / (high - low)


@kernel
def ascending_triangle(x, tol):
    """Judge level highs over rising lows, at least two of each: (5,) or more."""
    steps = edges(x)
    level = steps[0] > -0.5 * tol and steps[1] < 0.5 * tol
    return level and steps[2] > STEP


@kernel
def converging(x):
    """Judge falling highs over rising lows."""
    steps = edges(x)
    return steps[1] < -STEP and steps[2] > STEP


@kernel
def falling_channel(x, tol):
    """Judge highs and lows that fall alike."""
    steps = edges(x)
    falls = steps[1] < -STEP and steps[3] < -STEP
    return falls and abs((steps[0] + steps[1]) - (steps[2] + steps[3])) < 2 * tol


@kernel
def has_pole(x, bar, n_bars):
    """Judge whether the first leg is a pole: high, quick, and not given back by the rest."""
    low = high = x[1]
    for k in range(2, len(x)):
        low, high = min(low, x[k]), max(high, x[k])
    leg = x[1] - x[0]
    quick = bar[1] - bar[0] <= 0.6 * (n_bars - 1 - bar[0])
    return leg > POLE * (high - low) and quick and low > x[0] + 0.35 * leg


@kernel
def cup(path, left, right, low, high, tol):
    """Judge closes between two rims: equal rims, and a parabola that explains 85 % of them."""
    if right - left < 14:
        return False
    depth = (path[left] + path[right]) / 2 - low
    if depth <= 0 or abs(path[left] - path[right]) > tol * depth:
        return False
    uu = vv = uv = 0.0
    part = path[left : right + 1]
    mean = part.mean()
    for j in range(len(part)):
        u = (2.0 * j / (len(part) - 1) - 1.0) ** 2 - 1 / 3
        uu, vv, uv = uu + u * u, vv + (part[j] - mean) ** 2, uv + u * (part[j] - mean)
    share = uv * uv / (uu * vv)
    return uv > 0 and share > 0.85 and high < max(path[left], path[right]) + 0.15 * depth


# Columns of the result; the bearish or inverse twin follows its shape.
HS, _, TOP, _, ASCENDING, DESCENDING, SYMMETRIC, BULL, BEAR, PENNANT, CUP = range(11)


@kernel
def smooth(x, bandwidth):
    """Return ``x`` (n,) under a Gaussian kernel of that standard deviation in bars."""
    n, reach = len(x), int(4 * bandwidth) + 1
    out = np.empty(n)
    for i in range(n):
        total = weight = 0.0
        for j in range(max(0, i - reach), min(n, i + reach + 1)):
            w = math.exp(-0.5 * ((i - j) / bandwidth) ** 2)
            total += w * x[j]
            weight += w
        out[i] = total / weight
    return out


@kernel
def extrema(path, threshold):
    """Return the bars of alternating extrema: each lies ``threshold`` beyond the one before.

    The first is the path's highest or lowest bar before its first such move; the last may still
    be running.
    """
    bars, count = np.empty(len(path), np.int64), 0
    top = bottom = 0
    direction = 0
    for t in range(1, len(path)):
        if path[t] > path[top]:
            top = t
        if path[t] < path[bottom]:
            bottom = t
        if direction >= 0 and path[top] - path[t] > threshold:
            bars[count], direction, bottom = top, -1, t
            count += 1
        elif direction <= 0 and path[t] - path[bottom] > threshold:
            bars[count], direction, top = bottom, 1, t
            count += 1
    bars[count] = top if direction > 0 else bottom
    return bars[: count + 1] if direction else bars[:0]


@kernel
def note(found, spans, kind, first, last):
    """Mark a pattern; of several of one kind the first asked, the most recent, stays."""
    if not found[kind]:
        found[kind], spans[kind, 0], spans[kind, 1] = True, first, last


@kernel
def tail(x, count, m, sign):
    """Return the last m of the first ``count`` levels, times ``sign``."""
    out = np.empty(m)
    for k in range(m):
        out[k] = sign * x[count - m + k]
    return out


@kernel
def judge_tops(x, bar, count, tol, found, spans):
    """Ask for head and shoulders and double tops among the last extrema, either way up."""
    for m in (6, 5):
        if count < m:
            continue
        first, last = bar[count - m], bar[count - 1]
        for way in range(2):
            y = tail(x, count, m, 1.0 - 2.0 * way)
            if m == 6 and head_and_shoulders(y, bar[count - m :], tol):
                note(found, spans, HS + way, first, last)
            if m == 5 and double_top(y, bar[count - m :], tol):
                note(found, spans, TOP + way, first, last)


@kernel
def judge_poles(x, bar, count, tol, n, found, spans):
    """Ask for a pole and then a channel or a wedge of 4 to 8 extrema."""
    for m in range(9, 4, -1):
        if count < m:
            continue
        first, last = bar[count - m], bar[count - 1]
        sign = 1.0 if x[count - m + 1] > x[count - m] else -1.0
        if has_pole(tail(x, count, m, sign), bar[count - m :], n):
            rest = tail(x, count, m - 1, sign)
            if converging(rest):
                note(found, spans, PENNANT, first, last)
            elif falling_channel(rest, tol):
                note(found, spans, BULL if sign > 0 else BEAR, first, last)


@kernel
def judge_triangles(x, bar, count, tol, found, spans):
    """Ask for triangles of 5 to 7 extrema."""
    for m in range(7, 4, -1):
        if count < m:
            continue
        first, last, y = bar[count - m], bar[count - 1], tail(x, count, m, 1.0)
        if converging(y):
            note(found, spans, SYMMETRIC, first, last)
        elif ascending_triangle(y, tol):
            note(found, spans, ASCENDING, first, last)
        elif ascending_triangle(tail(x, count, m, -1.0), tol):
            note(found, spans, DESCENDING, first, last)


@kernel
def judge_cup(path, bar, tol, found, spans):
    """Ask for a cup between any earlier high and the last one, and a shallow dip after it."""
    n, count = len(path), len(bar)
    for r in range(count - 1, max(0, count - 4), -1):
        right = bar[r]
        if r + 1 >= count or path[bar[r + 1]] > path[right]:
            continue  # no dip after it: not a right rim
        handle = path[right:].min()
        for k in range(r - 2, -1, -2):
            left = bar[k]
            low, high = path[left : right + 1].min(), path[left : right + 1].max()
            shallow = path[right] - handle < 0.5 * (path[right] - low)
            if shallow and cup(path, left, right, low, high, tol):
                note(found, spans, CUP, left, n - 1)


@kernel
def find_one(close, bandwidth, swing, tol, fresh, found, spans):
    """Mark the patterns of one window of closes (n,) in ``found`` (11,) and ``spans`` (11, 2)."""
    path = smooth(np.log(close), bandwidth)
    threshold = swing * (path.max() - path.min())
    bar = extrema(path, threshold)
    x = path[bar]
    for skip in range(3):  # the newest extrema may be the start of what comes next
        count = len(bar) - skip
        if count < 5 or bar[count - 1] < len(close) - fresh:
            break
        judge_tops(x, bar, count, tol, found, spans)
        judge_poles(x, bar, count, tol, len(close), found, spans)
        judge_triangles(x, bar, count, tol, found, spans)
    if len(bar) >= 3:
        judge_cup(path, bar, tol, found, spans)


@kernel
def find_all(close, bandwidth, swing, tol, fresh, found, spans):
    """Mark the patterns of each row of ``close`` (N, n)."""
    for i in range(len(close)):
        find_one(close[i], bandwidth, swing, tol, fresh, found[i], spans[i])


# ---- The finder: smooth, take the extrema, compare their levels.


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
    n = close.shape[1]
    options = (
        number("bandwidth", bandwidth, 0.1, n), number("swing", swing, 0, 1),
        number("tolerance", tolerance, 0, 1), integer("fresh", fresh, 1, n),
    )  # fmt: skip
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


# ---- Candlestick patterns as labels; several may hold at one bar.
#
# TA-Lib measures "long", "short" and "small" by averages over earlier bars (10 for bodies and for
# doji, 5 for "near"), so it needs a warm-up. Hammer and hanging man are one shape: TA-Lib calls
# it a hammer at or below the low of the bar before, a hanging man at or above its high. That
# is all the trend it looks at. Its morning and evening star want the middle body to gap away
# from the first, which a market that never closes hardly ever does.


# name: (TA-Lib function, sign of its answer that counts)
CANDLESTICKS: dict[str, tuple[str, int]] = {
    "doji": ("CDLDOJI", 1),
    "dragonfly_doji": ("CDLDRAGONFLYDOJI", 1),
    "gravestone_doji": ("CDLGRAVESTONEDOJI", 1),
    "long_legged_doji": ("CDLLONGLEGGEDDOJI", 1),
    "bullish_engulfing": ("CDLENGULFING", 1),
    "bearish_engulfing": ("CDLENGULFING", -1),
    "hammer": ("CDLHAMMER", 1),
    "hanging_man": ("CDLHANGINGMAN", -1),
    "morning_star": ("CDLMORNINGSTAR", 1),
    "evening_star": ("CDLEVENINGSTAR", -1),
    "three_white_soldiers": ("CDL3WHITESOLDIERS", 1),
    "three_black_crows": ("CDL3BLACKCROWS", -1),
}
WARM_UP = 13  # rows; the longest of TA-Lib's look-backs, so that all labels start together


def prices(candles: pd.DataFrame) -> list[np.ndarray]:
    """Return open, high, low, close as float64, checked and longer than the warm-up."""
    check(candles)
    if len(candles) <= WARM_UP:
        raise ArgumentError("candles", candles, f"more than {WARM_UP} bars, the warm-up")
    return [candles[name].to_numpy(np.float64) for name in ("open", "high", "low", "close")]


def candlestick_labels(candles: pd.DataFrame) -> pd.DataFrame:
    """Say which candlestick patterns are complete at each bar, as TA-Lib defines them.

    Args:
        candles: n checked bars, more than 13.

    Returns:
        float32 frame (n, 12) on the index of ``candles``, a column for each name in
        ``CANDLESTICKS``: 1 or 0, known at that bar's close. The first 13 rows, where the
        TA-Lib has no averages and answers 0, are NaN.

    Raises:
        CandleError: the candles are at fault.
        ArgumentError: too few bars.

    Source: TA-Lib 0.6, functions ``CDL*`` with their default settings.
    """
    import talib

    columns = prices(candles)
    said = {}
    for name, (function, sign) in CANDLESTICKS.items():
        answer = getattr(talib, function)(*columns)
        said[name] = (np.sign(answer) == sign).astype(np.float32)
    labels = pd.DataFrame(said, index=candles.index)
    labels.iloc[:WARM_UP] = np.nan
    return labels
