"""From a window to its extrema, and from the extrema to the patterns that end at its last bars."""

from __future__ import annotations

import math

import numpy as np

from ..compiled import kernel
from . import rules

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
            if m == 6 and rules.head_and_shoulders(y, bar[count - m :], tol):
                note(found, spans, HS + way, first, last)
            if m == 5 and rules.double_top(y, bar[count - m :], tol):
                note(found, spans, TOP + way, first, last)


@kernel
def judge_poles(x, bar, count, tol, n, found, spans):
    """Ask for a pole and then a channel or a wedge of 4 to 8 extrema."""
    for m in range(9, 4, -1):
        if count < m:
            continue
        first, last = bar[count - m], bar[count - 1]
        sign = 1.0 if x[count - m + 1] > x[count - m] else -1.0
        if rules.has_pole(tail(x, count, m, sign), bar[count - m :], n):
            rest = tail(x, count, m - 1, sign)
            if rules.converging(rest):
                note(found, spans, PENNANT, first, last)
            elif rules.falling_channel(rest, tol):
                note(found, spans, BULL if sign > 0 else BEAR, first, last)


@kernel
def judge_triangles(x, bar, count, tol, found, spans):
    """Ask for triangles of 5 to 7 extrema."""
    for m in range(7, 4, -1):
        if count < m:
            continue
        first, last, y = bar[count - m], bar[count - 1], tail(x, count, m, 1.0)
        if rules.converging(y):
            note(found, spans, SYMMETRIC, first, last)
        elif rules.ascending_triangle(y, tol):
            note(found, spans, ASCENDING, first, last)
        elif rules.ascending_triangle(tail(x, count, m, -1.0), tol):
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
            if shallow and rules.cup(path, left, right, low, high, tol):
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
