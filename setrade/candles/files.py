"""The reader's own candles, from a CSV or a parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError

from .checks import check
from .faults import COLUMNS, CandleError, Fault

TIME_NAMES = ("time", "timestamp", "ts", "date", "datetime", "open_time", "opentime", "start",
              "start_time", "starttime", "start_at", "open time", "t")  # fmt: skip
UNITS = ((1e9, 1e8, 1e11), (1e6, 1e11, 1e14), (1e3, 1e14, 1e17), (1, 1e17, 1e19))  # ns, from, to
SHORT = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "vol": "volume"}


def read(
    path: str | Path, interval: str | pd.Timedelta | None = None, *, tz: str | None = None
) -> pd.DataFrame:
    """Read candles from a CSV or parquet file of your own, and check them.

    The time column is found by its name (``time``, ``timestamp``, ``ts``, ``date``,
    ``open_time``, ``start`` ...) or is a parquet file's index; it holds each bar's open, as a
    number of s, ms, us or ns since 1970 (told apart by size) or as ISO text. Other columns
    are left out. Nothing is mended: rows stay in the file's order, and faults are raised.

    Args:
        path: a file that ends in ``.csv``, ``.csv.gz`` or ``.parquet``.
        interval: the bar length that you expect; None takes the most frequent step.
        tz: the zone of stamps that carry none, such as ``"UTC"``; without it they are refused.

    Returns:
        A frame of candles that passes `check`, float64 (float32 where parquet has it).

    Raises:
        ArgumentError: no such file, another ending, no time column, stamps without zone.
        CandleError: what `check` finds in the file.
    """
    table = _table(path)
    table.columns = [str(c).strip().lower() for c in table.columns]
    table = table.rename(columns={k: v for k, v in SHORT.items() if v not in table.columns})
    time = _time(table, path, tz)
    kept = [c for c in (*COLUMNS, "turnover") if c in table.columns]
    candles = table[kept].set_axis(pd.DatetimeIndex(time, name="time"), axis=0)
    candles = pd.DataFrame({name: _numbers(column) for name, column in candles.items()})
    _refuse_descending(candles)
    check(candles, interval)
    return candles


def _table(path: str | Path) -> pd.DataFrame:
    """Load the file as it is."""
    if not isinstance(path, str | Path) or not Path(path).is_file():
        raise ArgumentError("path", path, "the path of an existing .csv, .csv.gz or .parquet file")
    name = str(path).lower()
    try:
        if name.endswith((".parquet", ".pq")):
            table = pd.read_parquet(path)
            stamped = isinstance(table.index, pd.DatetimeIndex)
            return table.reset_index(names="time") if stamped else table
        if name.endswith((".csv", ".csv.gz")):
            return pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise ArgumentError("path", path, f"a file that can be read ({error})") from error
    raise ArgumentError("path", path, "a file that ends in .csv, .csv.gz or .parquet")


def _numbers(column: pd.Series) -> pd.Series:
    """Turn text that holds numbers (as exchanges send them) into float64; leave other text."""
    if column.dtype == np.float32:
        return column
    try:
        return column.astype(np.float64)
    except (ValueError, TypeError):
        return column


def _time(table: pd.DataFrame, path: str | Path, tz: str | None) -> pd.Series:
    """Find the time column and return it in UTC."""
    found = [c for c in TIME_NAMES if c in table.columns]
    if not found:
        seen = " ".join(table.columns)
        raise ArgumentError("path", path, f"a file with a time column; its columns are: {seen}")
    stamps = cast(pd.Series, table[found[0]])
    if stamps.dtype.kind in "iuf":
        return _from_number(stamps, path)
    if stamps.dtype.kind != "M":
        stamps = _from_text(stamps, path)
    if getattr(stamps.dtype, "tz", None) is None:
        stamps = _localize(stamps, tz)
    return stamps.dt.tz_convert("UTC").dt.as_unit("us")


def _localize(stamps: pd.Series, tz: str | None) -> pd.Series:
    """Give stamps without a zone the zone that the reader named."""
    if tz is None:
        raise ArgumentError("tz", tz, 'a zone such as "UTC": the file\'s stamps carry none')
    try:
        return stamps.dt.tz_localize(tz)
    except (ValueError, TypeError, KeyError) as error:
        allowed = f"a zone in which every stamp exists once ({error})"
        raise ArgumentError("tz", tz, allowed) from error


def _from_number(stamps: pd.Series, path: str | Path) -> pd.Series:
    """Turn s, ms, us or ns since 1970 into UTC; all rows must be in one unit."""
    for ns, low, high in UNITS:
        if len(stamps) and stamps.between(low, high).all():
            whole = (stamps * int(ns)).astype(np.int64)
            return pd.to_datetime(whole, unit="ns", utc=True).dt.as_unit("us")
    allowed = "a file with times in s, ms, us or ns since 1970, one unit in all rows"
    raise ArgumentError("path", path, allowed)


def _from_text(stamps: pd.Series, path: str | Path) -> pd.Series:
    """Parse ISO text, with zone (mixed offsets end in UTC) or without."""
    text = stamps.astype("str").str.strip()
    if len(text) and text.str.fullmatch(r"\d{9,19}").all():  # numbers, as exchanges send them
        return _from_number(text.astype(np.int64), path)
    zoned = text.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True)
    if zoned.any() and not zoned.all():
        without = text[~zoned].iloc[0]
        raise ArgumentError("path", path, f"a zone in every stamp (first without: {without})")
    try:
        return pd.to_datetime(text, format="ISO8601", utc=bool(zoned.any()))
    except ValueError as error:
        raise ArgumentError("path", path, f"a file with ISO 8601 stamps ({error})") from error


def _refuse_descending(candles: pd.DataFrame) -> None:
    """Name the mend for files that begin with the newest bar, as many exchanges' do."""
    if len(candles) > 1 and candles.index.is_monotonic_decreasing:
        message = "the newest bar comes first; reverse the rows of the file (tac, or .iloc[::-1])"
        raise CandleError([Fault("order", message, candles.index[:1])])
