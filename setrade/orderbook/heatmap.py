"""The book as a picture: rows are price levels, columns are time, intensity is volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import prange

from ..compiled import kernel
from ..errors import ArgumentError, array, choice, integer, number
from .snapshots import Snapshots


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Pictures of the book and what they leave out.

    ``volume`` has shape ``(B, 2, rows, window)``: channel 0 bids, channel 1 asks; row 0 is
    the highest price, column 0 the oldest snapshot; in base coin, or its log(1 + volume).
    ``outside`` has shape ``(B, 2, window)``: volume of levels beyond the rows, never logged.
    ``edges_bps`` has shape ``(rows + 1,)``: the rows' edges from the reference, falling.
    """

    volume: np.ndarray
    outside: np.ndarray
    edges_bps: np.ndarray


def heatmap(
    books: Snapshots,
    *,
    rows: int = 64,
    span_bps: float = 5.0,
    window: int | None = None,
    ends: np.ndarray | None = None,
    reference: str = "mid",
    log: bool = False,
    out: np.ndarray | None = None,
) -> Heatmap:
    """Draw windows of the book; every level's volume lands in exactly one row, or outside.

    Args:
        books: N snapshots.
        rows: price rows, of equal height.
        span_bps: the rows reach from this far above the reference to this far below it, in
            basis points; a price on a row's upper edge belongs to that row.
        window: snapshots (columns) a picture; all N by default.
        ends: shape ``(B,)``, the newest row of ``books`` in each picture; by default only
            the last. A picture depends on no snapshot after its end.
        reference: ``"mid"`` centres each column on its own mid price; ``"fixed"`` centres
            all columns on the mid of the picture's newest snapshot, so that moves show.
        log: True for log(1 + volume).
        out: a kept buffer of shape ``(B, 2, rows, window)``, float32 or float64.

    Returns:
        `Heatmap`; ``volume`` is ``out`` where given, else a new float32 array.

    Raises:
        ArgumentError: an argument is out of range, or a window begins before the first
            snapshot.
    """
    rows, span = integer("rows", rows, 1), number("span_bps", span_bps, 0, 9_999, above=True)
    fixed = choice("reference", reference, ("mid", "fixed")) == "fixed"
    n = len(books)
    window = n if window is None else integer("window", window, 1, n)
    newest = np.array([n - 1]) if ends is None else array("ends", ends, ndim=1)
    if newest.dtype.kind not in "iu" or newest.min() < window - 1 or newest.max() >= n:
        raise ArgumentError("ends", ends, f"integers from {window - 1} to {n - 1}")
    shape = (len(newest), 2, rows, window)
    if out is None:
        out = np.empty(shape, np.float32)
    elif not _fits(out, shape):
        raise ArgumentError("out", out, f"a writeable C-ordered float array of shape {shape}")
    outside = np.zeros((len(newest), 2, window))
    sides = (books.bid_price, books.bid_size, books.ask_price, books.ask_size)
    _fill(*sides, books.mid(), newest.astype(np.int64), span, fixed, out, outside)
    if log:
        np.log1p(out, out=out)
    return Heatmap(out, outside, np.linspace(span, -span, rows + 1))


def _fits(out: object, shape: tuple[int, ...]) -> bool:
    if not isinstance(out, np.ndarray) or out.shape != shape:
        return False
    return out.dtype in (np.float32, np.float64) and out.flags.c_contiguous and out.flags.writeable


@kernel(parallel=True)
def _fill(bid_price, bid_size, ask_price, ask_size, mid, ends, span, fixed, out, outside):
    rows, window = out.shape[2], out.shape[3]
    for b in prange(len(ends)):
        out[b] = 0.0
        for j in range(window):
            i = ends[b] - window + 1 + j
            centre = mid[ends[b]] if fixed else mid[i]
            for side in range(2):
                price = bid_price[i] if side == 0 else ask_price[i]
                size = bid_size[i] if side == 0 else ask_size[i]
                for k in range(len(price)):
                    bps = (price[k] / centre - 1.0) * 1e4
                    row = int(np.floor((span - bps) * rows / (2.0 * span)))
                    if 0 <= row < rows:
                        out[b, side, row, j] += size[k]
                    else:
                        outside[b, side, j] += size[k]
