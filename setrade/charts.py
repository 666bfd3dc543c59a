"""Candlestick charts as arrays: every pixel has a reason, and a batch is one call.

A chart of ``n`` candles has two panels. The upper one holds bodies, wicks and moving
averages; the lowest ``height // VOLUME_PART`` rows hold the volume bars, with one empty row
between the two. Row 0 is the highest price, column 0 belongs to the oldest candle. Candle
``i`` owns the columns ``i * width // n`` to ``(i + 1) * width // n - 1``, so that any number
of candles fills the width exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import pandas as pd
from numba import prange

from setrade.buffers import output
from setrade.candles import COLUMNS
from setrade.compiled import at_most, kernel
from setrade.errors import ArgumentError, array, choice, flag, integer, number, timed

__all__ = ["COLOURS", "INKS", "VOLUME_PART", "candlesticks", "reference_range", "smallest_span"]


# ---- Inks and colours.
#
# A colour map is data: one RGB triple for each ink. ``"safe"`` takes sky blue and vermilion
# from Okabe and Ito's set and makes up much lighter than down, so that the two differ in
# brightness too and survive every common colour blindness, and a grey printer. ``"seed"`` is
# the green and red of the chapter we started from, where a close equal to the open is green.


AVERAGE_INKS = 3
INKS = (
    "background",
    "up",  # bodies: close > open
    "down",  # close < open
    "flat",  # close == open
    "up_wick", "down_wick", "flat_wick",
    "up_volume", "down_volume", "flat_volume",
    "average_1", "average_2", "average_3",
)  # fmt: skip
BODY, WICK, VOLUME, AVERAGE = (INKS.index(x) for x in ("up", "up_wick", "up_volume", "average_1"))

Colour = tuple[int, int, int]
YELLOW, PINK, GREEN = (240, 228, 66), (204, 121, 167), (0, 158, 115)


def _map(
    bodies: tuple[Colour, ...], wicks: tuple[Colour, ...], lines: tuple[Colour, ...]
) -> np.ndarray:
    """Return a read-only table (inks, 3); up, down, flat in this order; volume like wicks."""
    table = np.array([(0, 0, 0), *bodies, *wicks, *wicks, *lines], np.uint8)
    table.flags.writeable = False
    return table


def _grey(*levels: int) -> tuple[Colour, ...]:
    """Return one grey for each level."""
    return tuple((x, x, x) for x in levels)


_SEED = ((0, 255, 0), (255, 0, 0), (0, 255, 0))
COLOURS: dict[str, np.ndarray] = {
    "safe": _map(
        ((130, 205, 245), (190, 75, 0), (160, 160, 160)),
        ((70, 125, 155), (115, 45, 0), (95, 95, 95)),
        (YELLOW, PINK, GREEN),
    ),
    "seed": _map(_SEED, _SEED, ((255, 255, 0), (255, 0, 255), (0, 255, 255))),
    "grey": _map(_grey(255, 130, 190), _grey(150, 80, 115), _grey(225, 105, 60)),
}


def palette(colours: str | np.ndarray) -> np.ndarray:
    """Return the colour table (inks, channels), by name or checked, as uint8 in C order."""
    if isinstance(colours, np.ndarray):
        if colours.dtype != np.uint8 or colours.ndim != 2 or len(colours) != len(INKS):
            raise ArgumentError("colours", colours, f"a uint8 array ({len(INKS)}, channels)")
        return colours.copy(order="C")
    return COLOURS[choice("colours", colours, COLOURS)].copy(order="C")


# ---- Candles checked, and painted straight into the RGB planes.
#
# A rectangle is painted by its edges: an exclusive or of its colour into its first row and into
# the row after its last, then one pass down the plane that lets each row take over the one
# above (an integral image with exclusive or in place of addition). A tall candle thus costs as
# much as a short one, and the pass runs at the speed of memory. To paint each rectangle pixel by
# pixel gives the same pictures in twice the time (measured, n = 250).


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


# ---- Windows checked, and their price ranges.


VOLUME_PART = 5  # the volume panel takes height // VOLUME_PART rows


def as_windows(windows: np.ndarray | pd.DataFrame) -> np.ndarray:
    """Return a float64 copy (N, 5, n) in C order; one frame becomes N = 1."""
    if isinstance(windows, pd.DataFrame):
        if missing := [name for name in COLUMNS if name not in windows.columns]:
            raise ArgumentError("windows", windows, f"a column each for {', '.join(missing)}")
        timed("windows", windows, even=True)
        windows = array("windows", windows[list(COLUMNS)], ndim=2, finite=False).T[None]
    x = array("windows", windows, ndim=3, finite=False)
    if x.shape[1] != len(COLUMNS):
        raise ArgumentError("windows", windows, "shape (N, 5, n): open high low close volume")
    return np.array(x, np.float64, order="C")


def _refuse(faults: np.ndarray, x: np.ndarray, name: str) -> None:
    """Raise for the first window with a fault, naming window, bar and figures."""
    if not faults.any():
        return
    window = int(np.flatnonzero(faults)[0])
    code, bar = divmod(int(faults[window]) - 1, x.shape[2])
    figures = tuple(float(v) for v in x[window, :, bar])
    raise ArgumentError(name, figures, f"{FAULTS[code]} (window {window}, candle {bar})")


def refuse_faults(x: np.ndarray) -> None:
    """Raise ``ArgumentError`` if a candle is not finite or contradicts itself."""
    _refuse(find_faults(x), x, "windows")


def _finite_span(limits: np.ndarray, name: str) -> np.ndarray:
    """Return ``limits`` (N, 2) unless a difference overflows, which would have no row."""
    with np.errstate(over="ignore"):
        span = limits[:, 1] - limits[:, 0]
    if not np.isfinite(span).all():
        raise ArgumentError(name, float(span.max()), "highest - lowest price a finite number")
    return limits


def price_limits(
    x: np.ndarray, price_range: str | Sequence[float] | np.ndarray, outside: str
) -> np.ndarray:
    """Return the lowest and highest price drawn, (N, 2); refuse others unless to be clipped."""
    if isinstance(price_range, str):
        if price_range != "window":
            raise ArgumentError("price_range", price_range, "'window', (low, high) or (N, 2)")
        limits = np.stack([x[:, 2].min(axis=1), x[:, 1].max(axis=1)], axis=1)
        return _finite_span(limits, "windows")
    given = array("price_range", price_range, min_length=2)
    if given.shape not in ((2,), (len(x), 2)) or not (given[..., 0] < given[..., 1]).all():
        allowed = f"'window', (low, high) or shape ({len(x)}, 2), with low < high"
        raise ArgumentError("price_range", price_range, allowed)
    limits = np.array(np.broadcast_to(given, (len(x), 2)), np.float64, order="C")
    _finite_span(limits, "price_range")
    if outside == "error":
        _refuse(find_outside(x, limits), x, "price_range")
    return limits


def reference_range(windows: np.ndarray | pd.DataFrame, span: float) -> np.ndarray:
    """Return the range of ``span`` around each window's last close: calm windows look calm.

    Args:
        windows: candles ``(N, 5, n)`` or one DataFrame, prices above zero.
        span: half the height of the range as a share of the last close, such as 0.05.

    Returns:
        float64 array ``(N, 2)``: last close * (1 - span), last close * (1 + span). It knows
        nothing that came after the window.

    Raises:
        ArgumentError: a faulty candle, a last close that is not positive, ``span`` not in (0, 1].
    """
    last = _last_close(windows)[1]
    share = number("span", span, 0.0, 1.0, above=True)
    return last[:, None] * np.array([1.0 - share, 1.0 + share])


def smallest_span(windows: np.ndarray | pd.DataFrame) -> np.ndarray:
    """Return the least ``span`` that ``reference_range`` needs to hold each window, ``(N,)``.

    Take a high quantile of it over training windows, and draw with ``outside="clip"``.

    Raises:
        ArgumentError: a faulty candle, or a last close that is not positive.
    """
    x, last = _last_close(windows)
    highest, lowest = x[:, 1].max(axis=1), x[:, 2].min(axis=1)
    return np.maximum(highest - last, last - lowest) / last


def _last_close(windows: np.ndarray | pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return checked windows (N, 5, n) and their last closes (N,)."""
    x = as_windows(windows)
    refuse_faults(x)
    last = x[:, 3, -1]
    if not (last > 0).all():
        raise ArgumentError("windows", float(last.min()), "a last close above zero")
    return x, last


def _lengths(averages: Sequence[int], n_bars: int) -> np.ndarray:
    """Return the lengths of the moving averages as an int64 array."""
    if isinstance(averages, str) or not isinstance(averages, Sequence | np.ndarray):
        raise ArgumentError("averages", averages, "a sequence of lengths in bars")
    if len(averages) > AVERAGE_INKS:
        raise ArgumentError("averages", averages, f"at most {AVERAGE_INKS} lengths")
    return np.array([integer("averages", k, 1, n_bars) for k in averages], np.int64)


def candlesticks(
    windows: np.ndarray | pd.DataFrame,
    height: int = 224,
    width: int = 224,
    *,
    volume: bool = True,
    averages: Sequence[int] = (),
    colours: str | np.ndarray = "safe",
    price_range: str | Sequence[float] | np.ndarray = "window",
    outside: str = "error",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Draw candlestick charts, on all cores.

    A price goes to the nearest row, ties away from the middle row, so that a chart of -p is
    the chart of p upside down with up and down exchanged. (One case is undecided: without
    volume and with an even ``height`` there is no middle row, and a price at the exact middle
    goes to the row above it.) A body is never less than one row high. Where each candle owns
    three columns or more, the rightmost stays empty. The wick runs down the middle column of
    the body, the left of the two middle ones when the body is even. A window whose prices are
    all the same is a flat line at mid height. Volume bars are scaled by the largest volume of
    their own window; a volume below half a row leaves no mark.

    Args:
        windows: candles ``(N, 5, n)``, rows open, high, low, close, volume (what
            ``candles.windows`` gives), or one DataFrame with these columns.
        height: rows, at least 3, or 5 with volume.
        width: columns, at least one for each candle.
        volume: draw volume bars in the lowest ``height // VOLUME_PART`` rows.
        averages: lengths in bars of up to three simple moving averages of the close, computed
            inside the window: the first ``k - 1`` candles carry no average of length ``k``.
        colours: a name in ``COLOURS``, or a uint8 array ``(len(INKS), channels)``.
        price_range: ``"window"`` (each window from its lowest low to its highest high, which
            hides how volatile it was), one pair ``(low, high)`` for all, or an array ``(N, 2)``
            such as ``reference_range`` gives.
        outside: what to do with a price outside a given range: ``"error"``, or ``"clip"`` to
            draw it on the edge. A candle wholly outside keeps its colour and is one row high.
        out: uint8 buffer ``(N, 3, height, width)`` to draw into.

    Returns:
        uint8 array ``(N, 3, height, width)``; ``out`` itself when it is given. With a palette
        of another number of channels, that number takes the place of 3.

    Raises:
        ArgumentError: an argument has a wrong type, shape or value; the candles are not finite,
            contradict themselves or have a negative volume; there are more candles than
            columns; a price lies outside the range.
    """
    x = as_windows(windows)  # (N, 5, n) float64, C order
    volume = flag("volume", volume)
    rows = integer("height", height, VOLUME_PART if volume else 3)
    columns = integer("width", width, 1)
    if columns < x.shape[2]:
        allowed = f"at least {x.shape[2]} columns for {x.shape[2]} candles, or fewer candles"
        raise ArgumentError("width", width, allowed)
    inks = palette(colours)
    lengths = _lengths(averages, x.shape[2])
    choice("outside", outside, ("error", "clip"))
    refuse_faults(x)
    limits = price_limits(x, price_range, outside)
    canvas = output(out, (len(x), inks.shape[1], rows, columns), windows, ("uint8",))
    with threads_for(len(x)):
        paint(x, limits, inks.T.copy(), lengths, rows // VOLUME_PART if volume else 0, canvas)
    return canvas
