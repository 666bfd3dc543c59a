"""The compiled part: check candles, and paint them straight into the RGB planes.

A rectangle is painted by its edges: an exclusive or of its colour into its first row and into
the row after its last, then one pass down the plane that lets each row take over the one
above (an integral image with exclusive or in place of addition). A tall candle thus costs as
much as a short one, and the pass runs at the speed of memory.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
from numba import prange

from ..compiled import at_most, kernel
from .colours import AVERAGE, BODY, VOLUME, WICK

FAULTS = (
    "finite numbers",
    "low <= open, close <= high",
    "a volume of at least zero",
    "prices inside the range; outside='clip' draws them on the edge",
)


def threads_for(n: int) -> AbstractContextManager[None]:
    """Let parallel loops inside use one thread for each four of ``n`` pictures, at most all.

    On a busy machine a second thread may wait milliseconds for a core. A batch earns that
    back; a single picture, which takes microseconds, does not.
    """
    return at_most(max(1, n // 4))


@kernel
def row_of(price, low, high, rows):
    """Return the row of a price: the nearest, ties away from the middle, top = high.

    With u = (price - low) - (high - price), |u| <= high - low holds in floating point too
    (rounding is monotone), so the row is inside the panel without any clipping; and u changes
    sign exactly when prices do, so that a mirrored chart mirrors exactly.
    """
    half, odd = rows // 2, rows % 2
    span = high - low
    u = ((price - low) - (high - price)) / span if span > 0.0 else 0.0
    steps = int(abs(u) * (0.5 * (rows - 1)) + 0.5 * odd)
    return half - 1 + odd - steps if u >= 0.0 else half + steps


@kernel
def inside_row(price, low, high, rows):
    """Return the row of a price, the edge's for one outside (which the caller allowed)."""
    return row_of(min(max(price, low), high), low, high, rows)


@kernel
def _geometry(window, low, high, shape, volume_rows):
    """Return (n, 8): kind, left, right, rows of high, body (first, end), low + 1, volume top."""
    (height, width), n = shape, window.shape[1]
    rows = height - volume_rows - 1 if volume_rows else height
    gap = 1 if width // n >= 3 else 0
    parts = np.empty((n, 8), np.int64)
    largest = window[4].max() if volume_rows else 0.0
    for i in range(n):
        first, last = window[0, i], window[3, i]
        a, b = inside_row(first, low, high, rows), inside_row(last, low, high, rows)
        parts[i, 0] = 2 if first == last else (0 if last > first else 1)
        parts[i, 1], parts[i, 2] = i * width // n, (i + 1) * width // n - gap
        parts[i, 3] = inside_row(window[1, i], low, high, rows)
        parts[i, 4], parts[i, 5] = min(a, b), max(a, b) + 1
        parts[i, 6] = inside_row(window[2, i], low, high, rows) + 1
        tall = window[4, i] / largest * volume_rows if largest > 0.0 else 0.0
        parts[i, 7] = height - int(tall + 0.5)
    return parts


@kernel
def _candle(plane, part, inks):
    """Mark the edges of the wick above and below the body, the body and the volume bar."""
    kind, left, right, top = part[0], part[1], part[2], part[3]
    first, end, bottom, volume_top = part[4], part[5], part[6], part[7]
    wick, body = inks[WICK + kind] ^ inks[0], inks[BODY + kind] ^ inks[0]
    volume, height, middle = inks[VOLUME + kind] ^ inks[0], plane.shape[0], (left + right - 1) // 2
    plane[top, middle] ^= wick
    plane[first, middle] ^= wick
    if end < bottom:
        plane[end, middle] ^= wick
        if bottom < height:
            plane[bottom, middle] ^= wick
    for column in range(left, right):
        plane[first, column] ^= body
    if end < height:
        for column in range(left, right):
            plane[end, column] ^= body
    if volume_top < height:
        for column in range(left, right):
            plane[volume_top, column] ^= volume


@kernel
def _fill_down(plane, ground):
    """Turn edges into areas: each row takes over the row above; row 0 the background."""
    for column in range(plane.shape[1]):
        plane[0, column] ^= ground
    for row in range(1, plane.shape[0]):
        above, here = plane[row - 1], plane[row]
        for column in range(here.shape[0]):
            here[column] ^= above[column]


@kernel
def _average(plane, closes, length, low, high, colour, rows):
    """Paint one moving average as a connected line over the columns of each candle."""
    n, width, previous = closes.shape[0], plane.shape[1], -1
    for i in range(length - 1, n):
        mean = closes[i - length + 1 : i + 1].mean()
        row = inside_row(mean, low, high, rows)
        left, right = i * width // n, (i + 1) * width // n
        plane[row, left:right] = colour
        if previous >= 0:
            plane[min(row, previous) : max(row, previous) + 1, left] = colour
        previous = row


@kernel
def _picture(picture, window, low, high, inks, lengths, volume_rows):
    """Paint one window into one picture (channels, height, width)."""
    shape = picture.shape[1], picture.shape[2]
    rows = shape[0] - volume_rows - 1 if volume_rows else shape[0]
    parts = _geometry(window, low, high, shape, volume_rows)
    for channel in range(picture.shape[0]):
        plane, colours = picture[channel], inks[channel]
        plane[:] = 0
        for i in range(parts.shape[0]):
            _candle(plane, parts[i], colours)
        _fill_down(plane, colours[0])
        for k in range(lengths.shape[0]):
            ink = colours[AVERAGE + k]
            _average(plane, window[3], lengths[k], low, high, ink, rows)


@kernel(parallel=True)
def paint(windows, limits, inks, lengths, volume_rows, out):
    """Paint windows (N, 5, n) in ``inks`` (channels, inks) into out (N, channels, H, W)."""
    for k in prange(windows.shape[0]):
        low, high = limits[k, 0], limits[k, 1]
        _picture(out[k], windows[k], low, high, inks, lengths, volume_rows)


@kernel
def _fault(window, i):
    """Return the number of the first entry of FAULTS that candle i breaks, or -1."""
    first, high, low, last, volume = window[:, i]
    if not np.isfinite(first + high + low + last + volume):
        return 0
    if low > min(first, last) or high < max(first, last):
        return 1
    return 2 if volume < 0.0 else -1


@kernel
def find_faults(windows):
    """Return (N,): 0, or 1 + fault * n + candle for the first faulty candle of a window."""
    n = windows.shape[2]
    found = np.zeros(windows.shape[0], np.int64)
    for k in range(windows.shape[0]):
        for i in range(n):
            fault = _fault(windows[k], i)
            if fault >= 0:
                found[k] = 1 + fault * n + i
                break
    return found


@kernel
def find_outside(windows, limits):
    """Return (N,): 0, or the code of the first candle that leaves its price range."""
    n = windows.shape[2]
    found = np.zeros(windows.shape[0], np.int64)
    for k in range(windows.shape[0]):
        for i in range(n):
            if windows[k, 1, i] > limits[k, 1] or windows[k, 2, i] < limits[k, 0]:
                found[k] = 1 + 3 * n + i
                break
    return found
