"""One question to every frame: is this a frame of candles?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .faults import LAYOUTS, UTC_NAMES, CandleError, find_faults
from .intervals import DAY, parse_interval
from .kernels import even_steps, valid_amounts, valid_prices


def check(candles: pd.DataFrame, interval: str | pd.Timedelta | None = None) -> None:
    """Raise one error that names every fault of a frame of candles, or return nothing.

    Looked for: wrong type, empty, wrong columns, non-numeric columns, index of another kind,
    name or zone, missing stamps, duplicates, wrong order, wrong interval, stamps off the grid,
    gaps, NaN, infinities, prices that are not positive, OHLC violations, negative volume.

    Args:
        candles: the frame, one row a bar, oldest first.
        interval: the bar length that it should have; None takes the most frequent step.

    Raises:
        CandleError: with ``.faults``, a list of ``Fault(kind, message, times)``.
        ArgumentError: ``interval`` is no bar length.
    """
    length = None if interval is None else parse_interval("interval", interval).value
    if not _spotless(candles, length) and (faults := list(find_faults(candles, length))):
        raise CandleError(faults)


def _spotless(candles: pd.DataFrame, length: int | None) -> bool:
    """Say yes, in one pass over memory, to the usual frame that has no fault."""
    if not isinstance(candles, pd.DataFrame) or tuple(candles.columns) not in LAYOUTS:
        return False
    index, columns = candles.index, [candles[c].to_numpy() for c in candles.columns]
    if not isinstance(index, pd.DatetimeIndex) or index.name != "time" or len(index) < 2:
        return False
    if str(index.tz) not in UTC_NAMES or any(
        c.dtype != np.float64 or not c.flags.c_contiguous for c in columns
    ):
        return False
    step, first = int(np.diff(index[:2].as_unit("ns").asi8)[0]), index[:1].as_unit("ns").asi8[0]
    if step <= 0 or DAY % step or first % step or (length is not None and step != length):
        return False
    stamps = index.asi8
    return bool(
        even_steps(stamps, stamps[1] - stamps[0])
        and valid_prices(*columns[:4])
        and all(valid_amounts(c) for c in columns[4:])
    )
