"""Longer bars from shorter ones, and windows that are views."""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, integer

from .checks import as_rows, check
from .intervals import bar_interval, parse_interval


def resample(candles: pd.DataFrame, interval: str | pd.Timedelta) -> pd.DataFrame:
    """Join short bars into longer ones; incomplete bars at either end are dropped.

    A long bar is stamped with its own open and known only when its last short bar has closed.
    The first open, highest high, lowest low, last close; volumes (and turnover) are summed.

    Args:
        candles: a frame that passes `check`.
        interval: the longer bar's length, a multiple of the frame's, such as ``"1h"``.

    Returns:
        A new frame of candles on the grid of midnight UTC.

    Raises:
        CandleError: the frame has faults (gaps among them: a sum over a gap would be false).
        ArgumentError: not a multiple, or not one complete bar.
    """
    check(candles)
    length, step = parse_interval("interval", interval).value, bar_interval(candles).value
    if length % step:
        raise ArgumentError("interval", interval, "a multiple of the frame's own bars")
    ratio = length // step
    first = -(candles.index[0].value // step) % ratio
    count = (len(candles) - first) // ratio
    if count < 1:
        raise ArgumentError("candles", candles, f"bars enough for one complete {interval} bar")
    body = candles.iloc[first : first + count * ratio]
    joined: dict[str, np.ndarray] = {}
    for name in map(str, body.columns):
        x = body[name].to_numpy().reshape(count, ratio)
        picks = {"open": x[:, 0], "high": x.max(1), "low": x.min(1), "close": x[:, -1]}
        joined[name] = picks[name] if name in picks else x.sum(1)
    return pd.DataFrame(joined, index=pd.DatetimeIndex(body.index[::ratio].array, name="time"))


class _Kept:
    """Array memory that keeps a shallow frame alive, so that pandas copies before it writes.

    Copy-on-write counts the frames that share memory, not the arrays. As long as windows
    exist, so does this second frame, and a change to the caller's frame does not reach them.
    """

    def __init__(self, frame: pd.DataFrame, memory: np.ndarray) -> None:
        self.frame, self.memory = frame, memory
        self.__array_interface__ = memory.__array_interface__


def windows(candles: pd.DataFrame, length: int, stride: int = 1) -> np.ndarray:
    """Cut candles into overlapping windows without copying them.

    A frame that lies in memory as one block is not copied at all, any other once.

    Args:
        candles: a frame that passes `check`.
        length: bars in a window.
        stride: bars from one window's start to the next one's.

    Returns:
        A read-only view (N, 5, length), channels in the order open high low close volume,
        oldest bar first; window k starts at bar k * stride; N = (bars - length) // stride + 1.
        float32 if all columns are, else float64. Later changes to the frame do not reach it.

    Raises:
        CandleError: the frame has faults.
        ArgumentError: ``length`` is longer than the frame; ``length`` or ``stride`` below 1.
    """
    check(candles)
    length = integer("length", length, 1, len(candles))
    stride = integer("stride", stride, 1)
    body = candles.copy(deep=False) if candles.shape[1] == 5 else candles.iloc[:, :5]
    rows = np.asarray(_Kept(body, as_rows(body)))
    rows.flags.writeable = False
    view = np.lib.stride_tricks.sliding_window_view(rows, length, axis=1)
    return view[:, ::stride].swapaxes(0, 1)
