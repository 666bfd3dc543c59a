"""The length of a bar: read from text, and read off a frame."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from setrade.errors import ArgumentError

SECOND, DAY = 1_000_000_000, 86_400_000_000_000  # ns
ALLOWED = 'a pandas offset of 1 s or more that divides a day: "1min", "15min", "1h", "1D" ...'


def parse_interval(name: str, value: str | pd.Timedelta) -> pd.Timedelta:
    """Return the length of a bar; raise `ArgumentError` if it does not divide one day."""
    try:
        offset = to_offset(value) if isinstance(value, str) else value
        day = isinstance(offset, pd.offsets.Day)  # a Day is no Timedelta in pandas 3
        length = pd.Timedelta(days=offset.n) if day else pd.Timedelta(cast(Any, offset))
        known = isinstance(value, str | pd.Timedelta) and SECOND <= length.value <= DAY
    except (ValueError, TypeError, AttributeError) as error:
        raise ArgumentError(name, value, ALLOWED) from error
    if not known or DAY % length.value:
        raise ArgumentError(name, value, ALLOWED)
    return cast(pd.Timedelta, length)


def common_step(index: pd.DatetimeIndex) -> int | None:
    """Return the most frequent step in ns (the shortest of equals), None below two stamps."""
    stamps = np.unique(index.dropna().as_unit("ns").asi8)
    if len(stamps) < 2:
        return None
    steps, counts = np.unique(np.diff(stamps), return_counts=True)
    return int(steps[counts.argmax()])


def bar_interval(candles: pd.DataFrame) -> pd.Timedelta:
    """Return the length of one bar, read off a frame of at least two candles.

    Args:
        candles: a frame that passes `check`.

    Returns:
        The most frequent step between neighbouring stamps.

    Raises:
        ArgumentError: fewer than two bars, so that there is no step to read.
    """
    index = candles.index if isinstance(candles, pd.DataFrame) else None
    step = common_step(index) if isinstance(index, pd.DatetimeIndex) else None
    if step is None:
        raise ArgumentError("candles", candles, "a frame of at least two candles")
    return cast(pd.Timedelta, pd.Timedelta(step, unit="ns"))


def stamps(first: pd.Timestamp, interval: pd.Timedelta, count: int) -> pd.DatetimeIndex:
    """Return ``count`` stamps in UTC from ``first`` on, named ``time``, without a frequency.

    A frequency would be lost by the first CSV or parquet file, and frames compare unequal.
    """
    us = first.value // 1000 + interval.value // 1000 * np.arange(count)
    return pd.DatetimeIndex(us.astype("M8[us]"), name="time").tz_localize("UTC")
