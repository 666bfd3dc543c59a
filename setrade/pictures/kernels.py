"""The compiled part: volume by price level, and the two planes that are not candles."""

from __future__ import annotations

import numpy as np
from numba import prange

from setrade.charts.kernels import row_of
from setrade.compiled import kernel


@kernel
def _spread(profile, volume, high, low, top, bottom):
    """Add one candle's volume to the rows (float64) that it passes through, evenly."""
    rows = profile.shape[0]
    span = top - bottom
    if not high > low or not span > 0.0:
        profile[row_of(high, bottom, top, rows)] += volume
        return
    # Row r reaches from r to r + 1 in these units; its centre is where its price is drawn.
    first = (top - high) / span * (rows - 1) + 0.5
    last = (top - low) / span * (rows - 1) + 0.5
    if not last > first:  # a range too small to be told from none
        profile[row_of(high, bottom, top, rows)] += volume
        return
    for row in range(int(first), min(int(last), rows - 1) + 1):
        share = (min(last, row + 1.0) - max(first, row)) / (last - first)
        profile[row] += volume * share


@kernel(parallel=True)
def fill_profile(windows, limits, profile):
    """Fill profile (N, rows) with the volume of windows (N, 5, n) by price level."""
    for k in prange(windows.shape[0]):
        profile[k] = 0.0
        bottom, top = limits[k, 0], limits[k, 1]
        for i in range(windows.shape[2]):
            high = min(max(windows[k, 1, i], bottom), top)
            low = min(max(windows[k, 2, i], bottom), top)
            _spread(profile[k], windows[k, 4, i], high, low, top, bottom)


@kernel
def _nearest(x):
    """Return the nearest whole number, halves away from zero."""
    return int(x + 0.5) if x >= 0.0 else -int(0.5 - x)


@kernel(parallel=True)
def paint_profile(profile, plane_number, out):
    """Paint rows of out (N, C, H, W) in 255 * volume / the window's largest row."""
    for k in prange(out.shape[0]):
        largest = profile[k].max()
        for row in range(out.shape[2]):
            share = profile[k, row] / largest if largest > 0.0 else 0.0
            out[k, plane_number, row] = np.uint8(_nearest(255.0 * share))


@kernel(parallel=True)
def paint_imbalance(imbalance, plane_number, out):
    """Paint imbalance (N, levels, n) into out: level 1 on top, 128 balanced, 1 and 255 ends."""
    levels, n = imbalance.shape[1], imbalance.shape[2]
    height, width = out.shape[2], out.shape[3]
    for k in prange(out.shape[0]):
        plane = out[k, plane_number]
        for level in range(levels):
            first, end = level * height // levels, (level + 1) * height // levels
            for i in range(n):
                value = np.uint8(128 + _nearest(127.0 * imbalance[k, level, i]))
                plane[first, i * width // n : (i + 1) * width // n] = value
            for row in range(first + 1, end):
                plane[row] = plane[first]
