"""Kernels of the generator: a shape becomes a noisy path, a path becomes candles.

All draws come from the one generator that is passed in, window after window, so that the first
k windows do not depend on how many follow.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import kernel

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
