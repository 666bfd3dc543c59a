"""Geometric rules over the extrema of a smoothed path, one small function a family.

Each takes the levels and bars of consecutive alternating extrema, upright: a bearish twin is
asked by turning the levels upside down. ``tol`` is how unequal equal levels may be, in heights
of the pattern.

Source: A. Lo, H. Mamaysky and J. Wang, Foundations of Technical Analysis, Journal of Finance
55(4), 2000, definitions 1 to 5, extended to flags, pennants and cups.
"""

from __future__ import annotations

import numpy as np

from ..compiled import kernel

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
