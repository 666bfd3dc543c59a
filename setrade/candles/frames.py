"""Longer bars from shorter ones, and windows that are views."""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, integer

from .checks import COLUMNS, bar_interval, check, parse_interval


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
    length, step = parse_interval("interval", interval), bar_interval(candles)
    if length % step:
        raise ArgumentError("interval", interval, f"a multiple of the bars' own {step}")
    ratio = length // step
    first = int(-(candles.index[0].value // step.value) % ratio)
    count = (len(candles) - first) // ratio
    if count < 1:
        raise ArgumentError("candles", candles, f"at least one complete bar of {length}")
    body = candles.iloc[first : first + count * ratio]
    x = {c: body[c].to_numpy().reshape(count, ratio) for c in body.columns}
    joined = {"open": x["open"][:, 0], "high": x["high"].max(1), "low": x["low"].min(1),
              "close": x["close"][:, -1]}  # fmt: skip
    joined |= {c: v.sum(1) for c, v in x.items() if c not in joined}
    return pd.DataFrame(joined, index=pd.DatetimeIndex(body.index[::ratio], freq=None))


def windows(candles: pd.DataFrame, length: int, stride: int = 1) -> np.ndarray:
    """Cut candles into overlapping windows without copying them.

    Args:
        candles: a frame that passes `check`.
        length: bars in a window.
        stride: bars from one window's start to the next one's.

    Returns:
        A read-only view (N, 5, length) of one copy of the frame, channels in the order open
        high low close volume, oldest bar first; window k starts at bar k * stride. float32
        if all columns are, else float64. N = (bars - length) // stride + 1.

    Raises:
        CandleError: the frame has faults.
        ArgumentError: ``length`` is longer than the frame; ``length`` or ``stride`` below 1.
    """
    check(candles)
    length = integer("length", length, 1, len(candles))
    stride = integer("stride", stride, 1)
    columns = [candles[c].to_numpy() for c in COLUMNS]
    single = all(c.dtype == np.float32 for c in columns)
    table = np.empty((len(columns), len(candles)), np.float32 if single else np.float64)
    for row, column in zip(table, columns, strict=True):
        row[:] = column
    view = np.lib.stride_tricks.sliding_window_view(table, length, axis=1)
    return view[:, ::stride].swapaxes(0, 1)
