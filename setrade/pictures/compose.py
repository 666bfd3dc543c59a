"""Three sources, three channels: candles, volume by price, and the book's imbalance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from setrade.candles import bar_interval, check
from setrade.charts import COLOURS, candlesticks
from setrade.charts.kernels import threads_for
from setrade.charts.scale import as_windows, price_limits, refuse_faults
from setrade.errors import ArgumentError, array, integer
from setrade.orderbook import Snapshots, depth_imbalance
from setrade.pictures.kernels import fill_profile, paint_imbalance, paint_profile

# Candles in grey in channel 0; the other two channels are painted over afterwards.
_CANDLES_ONLY = np.zeros_like(COLOURS["grey"])
_CANDLES_ONLY[:, 0] = COLOURS["grey"][:, 0]


def volume_profile(
    windows: np.ndarray | pd.DataFrame,
    rows: int,
    *,
    price_range: str | Sequence[float] | np.ndarray = "window",
    outside: str = "error",
) -> np.ndarray:
    """Return the volume traded at each price level of each window.

    Candles do not say where inside a bar the volume was: it is spread evenly from low to
    high. The levels are the pixel rows of ``charts.candlesticks`` without volume bars, so the
    two top and bottom levels, which prices reach from one side only, are half as high.

    Args:
        windows: candles ``(N, 5, n)`` or one DataFrame.
        rows: price levels, at least 3; row 0 is the highest price.
        price_range: as in ``charts.candlesticks``.
        outside: as in ``charts.candlesticks``.

    Returns:
        float64 ``(N, rows)``, in the unit of the volume; each row sums to its window's volume.

    Raises:
        ArgumentError: a bad argument, by name.
    """
    x = as_windows(windows)
    profile = np.empty((len(x), integer("rows", rows, 3)))
    refuse_faults(x)
    limits = price_limits(x, price_range, outside)
    with threads_for(len(x)):
        fill_profile(x, limits, profile)
    return profile


def compose(
    windows: np.ndarray | pd.DataFrame,
    imbalance: np.ndarray,
    height: int = 224,
    width: int = 224,
    *,
    price_range: str | Sequence[float] | np.ndarray = "window",
    outside: str = "error",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Draw three-channel pictures: candles, volume profile, order-book imbalance.

    Channel 0: candles in grey, over the whole height, ``COLOURS["grey"]`` (up brightest).
    Channel 1: the volume profile on the same price rows, 255 at the window's busiest row, the
    same in every column. Channel 2: the imbalance of the book, a bar in its own columns, the
    best level on top, deeper ones below; 128 is balanced, 255 all bids, 1 all asks.

    Args:
        windows: candles ``(N, 5, n)``, or one DataFrame.
        imbalance: within [-1, 1], ``(N, n)`` or ``(N, levels, n)``, as `book_imbalance` gives.
            There is no default: without a book, stack other encoders (`Stack`).
        height: rows, at least 3 and at least one for each level.
        width: columns, at least one for each candle.
        price_range: as in ``charts.candlesticks``.
        outside: as in ``charts.candlesticks``.
        out: uint8 buffer ``(N, 3, height, width)`` to draw into.

    Returns:
        uint8 ``(N, 3, height, width)``; ``out`` itself when it is given.

    Raises:
        ArgumentError: a bad argument, by name.
    """
    x = as_windows(windows)
    lean = _checked_imbalance(imbalance, x, integer("height", height, 3))
    options = {"price_range": price_range, "outside": outside}
    colours = {"volume": False, "colours": _CANDLES_ONLY}
    pictures = candlesticks(x, height, width, out=out, **options, **colours)
    profile = volume_profile(x, height, **options)
    with threads_for(len(x)):
        paint_profile(profile, 1, pictures)
        paint_imbalance(lean, 2, pictures)
    return pictures


def _checked_imbalance(imbalance: np.ndarray, x: np.ndarray, height: int) -> np.ndarray:
    """Return the imbalance as float64 (N, levels, n) in C order."""
    lean = array("imbalance", imbalance)
    lean = lean[:, None] if lean.ndim == 2 else lean
    if lean.ndim != 3 or (len(lean), lean.shape[-1]) != (len(x), x.shape[2]):
        allowed = f"shape ({len(x)}, {x.shape[2]}) or ({len(x)}, levels, {x.shape[2]})"
        raise ArgumentError("imbalance", imbalance, allowed)
    if not 1 <= lean.shape[1] <= height:
        raise ArgumentError("imbalance", imbalance, f"at most {height} levels, one a row")
    if np.abs(lean).max() > 1.0:
        raise ArgumentError("imbalance", float(np.abs(lean).max()), "values in [-1, 1]")
    return np.array(lean, np.float64, order="C")


def book_imbalance(
    candles: pd.DataFrame, books: Snapshots, length: int, stride: int = 1
) -> np.ndarray:
    """Return the depth imbalance of every window's bars, known when each bar closed.

    A bar takes the last snapshot at or before its close. That snapshot must have been taken
    during the bar: an older one says nothing about it, and is refused instead of carried on.

    Args:
        candles: a frame that passes ``candles.check``, two bars or more.
        books: snapshots.
        length: bars in a window.
        stride: bars from one window's start to the next one's.

    Returns:
        float64 ``(N, levels, length)``, a read-only view; the windows of
        ``candles.windows(candles, length, stride)``, level 1 first.

    Raises:
        CandleError: the frame has faults.
        ArgumentError: a bad argument, or a bar without a snapshot, with its time.
    """
    check(candles)
    if not isinstance(books, Snapshots):
        raise ArgumentError("books", books, "orderbook.Snapshots")
    length = integer("length", length, 1, len(candles))
    stride = integer("stride", stride, 1)
    opens = pd.DatetimeIndex(candles.index)
    rows = books.at(opens + bar_interval(candles))  # (bars,)
    taken = books.time[np.maximum(rows, 0)]
    empty = (rows < 0) | (taken < opens.tz_convert(None).to_numpy())
    if empty.any():
        first = str(opens[int(np.flatnonzero(empty)[0])])
        allowed = f"a snapshot in every bar; {int(empty.sum())} have none, the first at {first}"
        raise ArgumentError("books", books, allowed)
    lean = np.ascontiguousarray(depth_imbalance(books[rows]).T)  # (levels, bars)
    view = np.lib.stride_tricks.sliding_window_view(lean, length, axis=1)
    return view[:, ::stride].swapaxes(0, 1)
