"""Candlestick charts as arrays: every pixel has a reason, and a batch is one call.

A chart of ``n`` candles has two panels. The upper one holds bodies, wicks and moving
averages; the lowest ``height // VOLUME_PART`` rows hold the volume bars, with one empty row
between the two. Row 0 is the highest price, column 0 belongs to the oldest candle. Candle
``i`` owns the columns ``i * width // n`` to ``(i + 1) * width // n - 1``, so that any number
of candles fills the width exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import ArgumentError, choice, integer
from .colours import AVERAGE_INKS, COLOURS, INKS, palette
from .kernels import paint, threads_for
from .scale import (
    VOLUME_PART,
    as_windows,
    price_limits,
    reference_range,
    refuse_faults,
    smallest_span,
)

__all__ = ["COLOURS", "INKS", "VOLUME_PART", "candlesticks", "reference_range", "smallest_span"]


def _canvas(out: np.ndarray | None, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Return ``out`` if it can hold the pictures, or a new array when it is None."""
    if out is None:
        return np.empty(shape, np.uint8)
    fits = isinstance(out, np.ndarray) and out.dtype == np.uint8 and out.shape == shape
    if not (fits and out.flags.c_contiguous and out.flags.writeable):
        raise ArgumentError("out", out, f"a writeable, C-contiguous uint8 array of shape {shape}")
    return out


def _lengths(averages: Sequence[int], n_bars: int) -> np.ndarray:
    """Return the lengths of the moving averages as an int64 array."""
    if isinstance(averages, str) or not isinstance(averages, Sequence | np.ndarray):
        raise ArgumentError("averages", averages, "a sequence of lengths in bars")
    if len(averages) > AVERAGE_INKS:
        raise ArgumentError("averages", averages, f"at most {AVERAGE_INKS} lengths")
    return np.array([integer("averages", k, 1, n_bars) for k in averages], np.int64)


def _flag(name: str, value: bool) -> bool:
    """Return ``value`` if it is True or False; else raise ``ArgumentError``."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(name, value, "True or False")
    return bool(value)


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
    with_volume = _flag("volume", volume)
    rows = integer("height", height, VOLUME_PART if with_volume else 3)
    columns = integer("width", width, 1)
    if columns < x.shape[2]:
        allowed = f"at least {x.shape[2]} columns for {x.shape[2]} candles, or fewer candles"
        raise ArgumentError("width", width, allowed)
    inks = palette(colours)
    lengths = _lengths(averages, x.shape[2])
    choice("outside", outside, ("error", "clip"))
    refuse_faults(x)
    limits = price_limits(x, price_range, outside)
    canvas = _canvas(out, (len(x), inks.shape[1], rows, columns))
    with threads_for(len(x)):
        paint(x, limits, inks.T.copy(), lengths, rows // VOLUME_PART if with_volume else 0, canvas)
    return canvas
