"""Pictures: encoders by name, stacks of them, three sources in three channels, and `to_input`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
import torch
from numba import prange
from torch import Tensor

from setrade.buffers import apart
from setrade.candles import bar_interval, check
from setrade.charts import (
    COLOURS,
    as_windows,
    candlesticks,
    price_limits,
    refuse_faults,
    row_of,
    threads_for,
)
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, choice, integer
from setrade.gramian import gadf, gasf, transition_field
from setrade.orderbook import Snapshots, depth_imbalance
from setrade.orderbook.book import snapshots
from setrade.recurrence import recurrence


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


# ---- From pictures to what a net is given.


def to_input(
    pictures: np.ndarray | Tensor,
    bounds: Sequence[float] | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Map pictures to float32 ``(B, C, H, W)`` in [0, 1].

    uint8 pictures are divided by 255. Float pictures go linearly from ``bounds`` to [0, 1]:
    a Gramian field's -1 becomes 0. Nothing is clipped. The mean and the standard deviation
    that pretrained weights want are the business of those weights, not of this map.

    Args:
        pictures: uint8 or float ``(B, C, H, W)``, or ``(B, H, W)`` for one channel; a NumPy
            array, or a tensor on any device (the result is on the same one, with gradients).
        bounds: the values that become 0 and 1; (-1, 1) by default. Float pictures only, since
            uint8 always means 0 to 255.
        out: kept float32 tensor of the result's shape on the same device.

    Returns:
        float32 tensor ``(B, C, H, W)``, ``out`` itself when it is given.

    Raises:
        ArgumentError: wrong type or shape, empty, NaN, a value outside ``bounds``.
    """
    x = _picture_tensor(pictures)  # (B, C, H, W)
    low, high = _bounds(x, bounds)
    if out is None:
        whole = x.dtype == torch.uint8
        return x.float().div(255.0) if whole else ((x - low) / (high - low)).float()
    _refuse_unfit(out, x)
    return out.copy_(x).sub_(low).div_(high - low)


def _picture_tensor(pictures: Any) -> Tensor:
    """Return pictures as a tensor (B, C, H, W), sharing memory where it can."""
    allowed = "uint8 or float pictures (B, C, H, W) or (B, H, W), not empty"
    if not isinstance(pictures, np.ndarray | Tensor):
        raise ArgumentError("pictures", pictures, allowed)
    if str(pictures.dtype).removeprefix("torch.") not in ("uint8", "float32", "float64"):
        raise ArgumentError("pictures", pictures.dtype, allowed)
    if pictures.ndim not in (3, 4) or 0 in pictures.shape:
        raise ArgumentError("pictures", pictures, allowed)
    if np.ma.is_masked(pictures):
        raise ArgumentError("pictures", pictures, "no masked values")
    if isinstance(pictures, Tensor) and (pictures.is_meta or pictures.layout != torch.strided):
        raise ArgumentError(
            "pictures", (pictures.device, pictures.layout), "a dense tensor with data"
        )
    if isinstance(pictures, np.ndarray):
        # torch warns about read-only memory, which is only read here.
        # It knows no step backwards, and none off the grid of the type.
        steps = any(s < 0 or s % pictures.itemsize for s in pictures.strides)
        fits = pictures.flags.writeable and pictures.flags.aligned and not steps
        pictures = torch.from_numpy(np.asarray(pictures if fits else pictures.copy()))
    return pictures if pictures.ndim == 4 else pictures.unsqueeze(1)


def _bounds(x: Tensor, bounds: Sequence[float] | None) -> tuple[float, float]:
    """Return the values that become 0 and 1; refuse pictures that leave them."""
    if x.dtype == torch.uint8:
        if bounds is not None:
            raise ArgumentError("bounds", bounds, "None for uint8 pictures, which are 0 to 255")
        return 0.0, 255.0
    ends = array("bounds", (-1.0, 1.0) if bounds is None else bounds, ndim=1)
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ArgumentError("bounds", bounds, "two numbers, the first below the second")
    low, high = ends
    least, most = (float(v) for v in torch.aminmax(x.detach()))
    if not (low <= least and most <= high):  # NaN fails as well
        raise ArgumentError("pictures", (least, most), f"values in [{low:g}, {high:g}] (bounds)")
    return float(low), float(high)


def _refuse_unfit(out: Any, x: Tensor) -> None:
    """Raise unless ``out`` can hold the result for ``x``."""
    shape = tuple(x.shape)
    fits = isinstance(out, Tensor) and out.dtype == torch.float32 and tuple(out.shape) == shape
    if not fits or out.device != x.device:
        raise ArgumentError("out", out, f"a float32 tensor of shape {shape} on {x.device}")
    if torch.is_grad_enabled() and (x.requires_grad or out.requires_grad):
        raise ArgumentError("out", out, "None where gradients are wanted")
    if any(n > 1 and step == 0 for n, step in zip(out.shape, out.stride(), strict=True)):
        raise ArgumentError("out", out, "a place of its own for every pixel")
    apart(out, x)


# ---- Encoders and stacks of them.


CLOSE = 3


@dataclass(frozen=True)
class Encoder:
    """A function that draws windows, and the values that it gives.

    Args:
        draw: ``draw(windows, *extras, out=...)`` from ``(B, 5, n)`` to uint8 or float32
            pictures ``(B, C, H, W)`` or ``(B, H, W)``, into ``out`` unless that is None.
        bounds: the least and the largest value of float pictures; None for uint8.
    """

    draw: Callable[..., np.ndarray]
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not callable(self.draw):
            raise ArgumentError("draw", self.draw, "a function of windows")
        ends = self.bounds
        if ends is not None and not (len(array("bounds", ends, ndim=1)) == 2 and ends[0] < ends[1]):
            raise ArgumentError("bounds", ends, "None, or two numbers, the first below the second")


# Functions of the module: those of a call could not be sent to a worker that is spawned.


def _candles(x: np.ndarray, out: Any = None, *, size: int, **options: Any) -> np.ndarray:
    return candlesticks(x, size, size, out=out, **options)


def _close(draw: Any, x: np.ndarray, out: Any = None, *, size: int, **options: Any) -> np.ndarray:
    return draw(x[:, CLOSE], size, out=out, **options)


def _recurrence(x: Any, out: Any = None, *, size: int, dim=1, delay=1, quantile=0.1) -> np.ndarray:
    """Threshold at a quantile of each picture's distances, so that no unit of price matters."""
    bars = size + (dim - 1) * delay
    if x.shape[-1] != bars:
        raise ArgumentError("windows", x, f"{bars} bars: recurrence plots are not resized")
    return recurrence(x[:, CLOSE], dim, delay, quantile=quantile, out=out)


def _of(draw: Any, bounds: Any, size: int, /, **options: Any) -> Encoder:
    signature(draw).bind(None, None, size=size, **options)  # a TypeError now, not in a worker
    return Encoder(partial(draw, size=size, **options), bounds)


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "candles": partial(_of, _candles, None),
    "gasf": partial(_of, partial(_close, gasf), (-1.0, 1.0)),
    "gadf": partial(_of, partial(_close, gadf), (-1.0, 1.0)),
    "transition": partial(_of, partial(_close, transition_field), (0.0, 1.0)),
    "recurrence": partial(_of, _recurrence, (0.0, 1.0)),
}


def encoder(name: str, size: int, **options: Any) -> Encoder:
    """Return a named encoder for square pictures; all but ``"candles"`` draw the close.

    Args:
        name: one of ``ENCODERS``.
        size: side of the picture in pixels. A recurrence plot takes windows of exactly
            ``size + (dim - 1) * delay`` bars, Gramian and transition fields of at least ``size``,
            candles of at most ``size``.
        options: what the encoder takes besides, such as ``colours="seed"``.

    Raises:
        ArgumentError: an unknown name or a bad size.
    """
    return ENCODERS[choice("name", name, ENCODERS)](integer("size", size, 2), **options)


class Stack:
    """Encoders drawn on top of each other as channels, into buffers that are kept.

    A call returns a view of a kept buffer: it holds until the next call. The bytes kept are
    ``nbytes``, for each picture its own bytes as drawn and four for each number that the net
    is given.

    Args:
        encoders: `Encoder` objects of pictures of one size.

    Raises:
        ArgumentError: there is no encoder, or one is no `Encoder`.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        good = isinstance(encoders, Sequence) and all(isinstance(e, Encoder) for e in encoders)
        if not good or not encoders:
            raise ArgumentError("encoders", encoders, "a sequence of at least one Encoder")
        self.encoders = tuple(encoders)
        self._drawn: list[np.ndarray | None] = [None] * len(self.encoders)
        self._input = torch.empty(0)

    @property
    def nbytes(self) -> int:
        """How many bytes the kept buffers hold now."""
        return sum(x.nbytes for x in self._drawn if x is not None) + self._input.nbytes

    def __call__(self, windows: np.ndarray, *extras: np.ndarray) -> Tensor:
        """Draw windows ``(B, 5, n)``; return float32 ``(B, C, H, W)`` in [0, 1].

        Raises:
            ArgumentError: as the encoders; or their pictures differ in size.
        """
        n = len(windows)
        drawn = [self._draw(i, windows, extras) for i in range(len(self.encoders))]
        if len({p.shape[-2:] for p in drawn}) > 1:
            raise ArgumentError("encoders", [p.shape for p in drawn], "pictures of one size")
        channels = [p.shape[1] if p.ndim == 4 else 1 for p in drawn]
        shape = (sum(channels), *drawn[0].shape[-2:])
        if len(self._input) < n or self._input.shape[1:] != shape:
            self._input = torch.empty((n, *shape))
        result = self._input[:n]
        for part, picture, e in zip(result.split(channels, 1), drawn, self.encoders, strict=True):
            to_input(picture, e.bounds, out=part)
        return result

    def _draw(self, i: int, windows: np.ndarray, extras: tuple[np.ndarray, ...]) -> np.ndarray:
        """Draw with encoder i, into its kept buffer where that is long enough."""
        kept, n = self._drawn[i], len(windows)
        if kept is not None and len(kept) >= n:
            return self.encoders[i].draw(windows, *extras, out=kept[:n])
        self._drawn[i] = picture = self.encoders[i].draw(windows, *extras, out=None)
        return picture


# ---- Candles, volume by price and the book's imbalance in one picture.


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
    x, outside = as_windows(windows), choice("outside", outside, ("error", "clip"))
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
    for source in (windows, imbalance) if out is not None else ():
        apart(out, source)
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
    snapshots("books", books)
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
