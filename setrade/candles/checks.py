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
    if not spotless(candles, length) and (faults := list(find_faults(candles, length))):
        raise CandleError(faults)


def spotless(candles: pd.DataFrame, length: int | None = None) -> bool:
    """Say yes, in one pass over memory, to the usual frame that has no fault."""
    if not isinstance(candles, pd.DataFrame) or tuple(candles.columns) not in LAYOUTS:
        return False
    index = candles.index
    kinds = {t.kind if isinstance(t, np.dtype) else "O" for t in candles.dtypes}
    if not isinstance(index, pd.DatetimeIndex) or index.name != "time" or len(index) < 2:
        return False
    if str(index.tz) not in UTC_NAMES or not kinds <= set("iuf"):
        return False
    first, second = (int(t) for t in index[:2].as_unit("ns").asi8)
    step = second - first
    if step <= 0 or DAY % step or first % step or (length is not None and step != length):
        return False
    stamps, rows = index.asi8, as_rows(candles)
    return (
        even_steps(stamps, stamps[1] - stamps[0])
        and valid_prices(*rows[:4])
        and all(valid_amounts(row) for row in rows[4:])
    )


def as_rows(candles: pd.DataFrame) -> np.ndarray:
    """Return one contiguous row a column (C, n), floats; no copy where the frame is one block."""
    table = candles.to_numpy()
    if table.dtype != np.float32:
        table = table.astype(np.float64, copy=False)
    return np.ascontiguousarray(table.T)
