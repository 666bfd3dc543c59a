"""What a frame of candles must be: the length of its bars, the law of a bar, every fault named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numba.extending import register_jitable
from pandas.tseries.frequencies import to_offset

from setrade.compiled import kernel
from setrade.errors import FIRST, LAST, UTC_NAMES, ArgumentError, Pickled, timed

SECOND, HOUR, DAY = 1_000_000_000, 3_600_000_000_000, 86_400_000_000_000  # ns
A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": DAY}  # by unit of stamps
SPAN = [int(np.datetime64(f"{y}-01-01").astype(int)) for y in (FIRST, LAST + 1)]  # days from 1970
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


def parse_offset(name: str, value: str | pd.Timedelta) -> pd.Timedelta:
    """Return how long after midnight UTC days begin; raise `ArgumentError` outside one day."""
    allowed = 'whole seconds from "0s" to less than a day: days that begin at 16:00 UTC have "16h"'
    try:
        length = pd.Timedelta(value) if isinstance(value, str | pd.Timedelta) else pd.NaT
    except ValueError as error:
        raise ArgumentError(name, value, allowed) from error
    if length is pd.NaT or not 0 <= length.value < DAY or length.value % SECOND:
        raise ArgumentError(name, value, allowed)
    return cast(pd.Timedelta, length)


def begin_of_days(candles: pd.DataFrame) -> int:
    """Return how long after midnight UTC (ns) the days of a frame begin: what `read` noted."""
    noted = candles.attrs.get("offset")
    return 0 if noted is None else int(parse_offset('candles.attrs["offset"]', noted).value)


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
    clock = isinstance(index, pd.DatetimeIndex) and len(index) > 1
    step = common_step(timed("candles", index)) if clock else None
    if step is None:
        raise ArgumentError("candles", candles, "a frame of at least two candles")
    return cast(pd.Timedelta, pd.Timedelta(step, unit="ns"))


def stamps(first: pd.Timestamp, interval: pd.Timedelta, count: int) -> pd.DatetimeIndex:
    """Return ``count`` stamps in UTC from ``first`` on, named ``time``, without a frequency.

    A frequency would be lost by the first CSV or parquet file, and frames compare unequal.
    """
    us = first.value // 1000 + interval.value // 1000 * np.arange(count)
    return pd.DatetimeIndex(us.astype("M8[us]"), name="time").tz_localize("UTC")


# ---- The rules of `check` as single passes over memory: fast to say yes, mute about the rest.


@register_jitable  # one text for Python and for kernels
def orderly(open_, high, low, close, volume):
    """Say whether figures lie as those of a bar do: prices inside its range, a volume >= 0."""
    inside = (low <= open_) & (open_ <= high) & (low <= close) & (close <= high)
    return inside & (volume >= 0) & (volume < np.inf)  # NaN fails


@register_jitable
def valid_bar(open_, high, low, close, volume):
    """Say whether figures make a bar: orderly, and of finite prices above zero."""
    return orderly(open_, high, low, close, volume) & (low > 0) & (high < np.inf)


@kernel(nogil=True)
def even_steps(stamps, step):
    """Say whether the integers (n,) rise by ``step`` throughout."""
    bad = 0
    for t in range(1, len(stamps)):
        bad += (stamps[t] - stamps[t - 1]) != step
    return bad == 0


STRETCH = 1024  # bars whose extremes are kept together


@kernel(nogil=True)
def look_at(open_, high, low, close, volume, low_bits, high_bits):
    """Return how many bars are not `orderly`, the least of ``low_bits`` and the most of the others.

    These two are low and high as the integers of the same bits.
    """
    bad, lowest, highest = 0, low_bits[0], high_bits[0]
    for t in range(len(open_)):
        bad += not orderly(open_[t], high[t], low[t], close[t], volume[t])
        lowest, highest = min(lowest, low_bits[t]), max(highest, high_bits[t])
    return bad, lowest, highest


@kernel(nogil=True)
def check_and_range(stamps, open_, high, low, close, volume):
    """Return whether stamps are even and every bar valid, and the extremes of each `STRETCH`.

    The columns (n,) are contiguous and of float64. The extremes are the lowest low and the highest
    high, (k,) each, of bars 0 to 1023, 1024 to 2047 and so on; they mean nothing where a bar is at
    fault.

    Floats above zero rise as the integers do that are made of the same bits, and extremes of
    integers are found by whole vectors; a negative number or a zero among the lows stays below
    all others, an infinity above. So `valid_bar` need not be asked of each bar. To ask it, and to
    look for the extremes in two passes more over floats, which must mind NaN, takes 1.4 times as
    long (measured, n = 200).
    """
    n, bad = len(open_), 0
    low_bits, high_bits = low.view(np.int64), high.view(np.int64)
    ends = np.empty((2, (n + STRETCH - 1) // STRETCH), np.int64)
    for k in range(ends.shape[1]):
        i, j = k * STRETCH, (k + 1) * STRETCH
        wrong, ends[0, k], ends[1, k] = look_at(
            open_[i:j], high[i:j], low[i:j], close[i:j], volume[i:j],
            low_bits[i:j], high_bits[i:j],
        )  # fmt: skip
        bad += wrong
    lows, highs = ends[0].view(np.float64), ends[1].view(np.float64)
    for k in range(len(lows)):
        bad += not ((lows[k] > 0) & (highs[k] < np.inf))
    return bad == 0 and even_steps(stamps, stamps[1] - stamps[0]), lows, highs


# ---- The faults of a frame, found one by one.


PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume")
LAYOUTS = (COLUMNS, (*COLUMNS, "turnover"))
SHOWN = 3


class CandleFault(NamedTuple):
    """One kind of fault: its name, a sentence, and the bars that have it (may be empty)."""

    kind: str
    message: str
    times: Any


class CandleError(Pickled, ValueError):
    """A frame of candles is not what it should be; ``faults`` lists everything found."""

    def __init__(self, faults: list[CandleFault], name: str = "candles") -> None:
        self.faults, self.name = faults, name
        lines = "".join(f"\n- {f.kind}: {f.message}{_listed(f.times)}" for f in faults)
        super().__init__(f"{name}: {len(faults)} fault{'s' * (len(faults) > 1)} found{lines}")


def _listed(times: Any) -> str:
    """Name the first few bars and the count of all."""
    if not len(times):
        return ""
    names = ", ".join(str(t) for t in times[:SHOWN])
    return f" ({len(times)}: {names}{', ...' if len(times) > SHOWN else ''})"


def find_faults(candles: pd.DataFrame, length: int | None) -> Iterator[CandleFault]:
    """Yield every fault: the frame's first, then the index's, then the values'."""
    if not isinstance(candles, pd.DataFrame):
        kind = f"{type(candles).__module__.partition('.')[0]}.{type(candles).__name__}"
        mend = ': .to_pandas(), then .set_index("time")' * hasattr(candles, "to_pandas")
        yield CandleFault("type", f"a pandas DataFrame is needed, got {kind}{mend}", ())
        return
    if tuple(candles.columns) not in LAYOUTS:
        wanted = f"columns must be {' '.join(COLUMNS)} (turnover optional), in this order"
        yield CandleFault("columns", f"{wanted}; got {' '.join(map(str, candles.columns))}", ())
    if not len(candles):
        yield CandleFault("empty", "there is no bar", ())
        return
    index = candles.index
    if isinstance(index, pd.DatetimeIndex):
        if ((index.year < FIRST) | (index.year > LAST)).any():  # such stamps cannot be shown
            yield CandleFault("range", f"stamps must lie in the years {FIRST} to {LAST}", ())
            return
        yield from _index_faults(index, length, begin_of_days(candles))
    else:
        kind = type(index).__name__
        yield CandleFault("index", f"a DatetimeIndex in UTC is needed, got {kind}", ())
    yield from _value_faults(candles)


def _index_faults(index: pd.DatetimeIndex, length: int | None, begin: int) -> Iterator[CandleFault]:
    """Yield what is wrong with the stamps."""
    if index.name != "time":
        yield CandleFault("name", f"the index must be named time, got {index.name!r}", ())
    if str(index.tz) not in UTC_NAMES:
        zone = "naive (no zone)" if index.tz is None else f"in {index.tz}"
        yield CandleFault("zone", f"stamps must be in UTC, they are {zone}", ())
    if index.hasnans:
        rows = np.flatnonzero(index.isna())
        yield CandleFault(
            "stamp", f"no stamp in rows {', '.join(map(str, rows[:SHOWN]))}", index[rows]
        )
        index = index.dropna()
    if (repeated := index.duplicated()).any():
        yield CandleFault("duplicates", "stamps repeat", index[repeated].unique())
    if not index.is_monotonic_increasing:
        back = np.flatnonzero(np.diff(index.asi8) < 0) + 1
        yield CandleFault("order", "stamps jump back", index[back])
    yield from _grid_faults(index, length, begin)


def _grid_faults(index: pd.DatetimeIndex, length: int | None, begin: int) -> Iterator[CandleFault]:
    """Yield a wrong interval, stamps off the grid of midnight (or another begin), and gaps."""
    step = common_step(index)
    if length is not None and step is not None and step != length:
        apart, wanted = pd.Timedelta(step, unit="ns"), pd.Timedelta(length, unit="ns")
        yield CandleFault("interval", f"bars are {apart} apart, not {wanted}", ())
    step = length if step is None else step
    if step is None:
        return
    if DAY % step or step < SECOND:
        apart = f"bars are {pd.Timedelta(step, unit='ns')} apart, which does not divide a day"
        weeks = " (weeks and months are out of scope: bring days)" * (step > DAY)
        yield CandleFault("interval", f"{apart} into seconds or more{weeks}", ())
        return
    stamps = index.as_unit("ns").asi8 - begin
    if (off := stamps % step != 0).any():
        yield CandleFault("grid", _off_grid(stamps, step, begin), index[off])
    on_grid = np.unique(stamps[~off])
    holes = np.diff(on_grid) // step - 1
    if holes.any():
        before = pd.DatetimeIndex(on_grid[1:][holes > 0] + begin, tz="UTC")
        message = f"missing bars: {holes.sum()}, in holes that end before"
        weekly = step == DAY and len(holes) > 3 and (before.day_of_week < 2).mean() > 0.5
        daily = step < DAY and len(before) > 2 and len(set(before.time)) == 1
        if weekly or daily:
            when = "at weekends" if weekly else "outside trading hours"
            message = f"no bars {when} (stock calendars are out of scope); {message}"
        yield CandleFault("gaps", message, before)


def _off_grid(stamps: np.ndarray, step: int, begin: int) -> str:
    """Say what is wrong with stamps off the grid, and the option for days of another begin."""
    message = "stamps are not multiples of the interval"
    late = int(stamps[0] + begin) % step
    if (stamps % step != stamps[0] % step).any() or late % SECOND:
        return message
    offset = f"{late // HOUR}h" if late % HOUR == 0 else f"{late // SECOND}s"
    return f"{message}; all lie {offset} after one: opens of such days are read with \
offset='{offset}' (kept in candles.attrs), closes with stamp='close'"


def _value_faults(candles: pd.DataFrame) -> Iterator[CandleFault]:
    """Yield what is wrong with the numbers."""
    x: dict[str, np.ndarray] = {}
    for name in (c for c in LAYOUTS[1] if list(candles.columns).count(c) == 1):
        column = candles[name]
        if not isinstance(column.dtype, np.dtype) or column.dtype.kind not in "iuf":
            yield CandleFault("dtype", f"{name} must be NumPy numbers, is {column.dtype}", ())
            continue
        x[name] = column.to_numpy(np.float64)
        if (infinite := np.isinf(x[name])).any():
            yield CandleFault("infinite", f"{name} is infinite", candles.index[infinite])
            x[name] = np.where(infinite, np.nan, x[name])  # said once, not again below
        if (lost := np.isnan(x[name]) & ~infinite).any():
            yield CandleFault("nan", f"{name} is NaN", candles.index[lost])
    for kind, message, at in _rules(x):
        if at.any():
            yield CandleFault(kind, message, candles.index[at])


def _rules(x: dict[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield kind, message and the rows that break each rule; NaN breaks none."""
    for name, values in x.items():
        if name in PRICES:
            yield "price", f"{name} is zero or negative", values <= 0
        else:
            yield "volume", f"{name} is negative", values < 0
    if all(c in x for c in PRICES):
        low, high = x["low"], x["high"]
        under = (high < low) | (high < x["open"]) | (high < x["close"])
        yield "ohlc", "high is below open, low or close", under
        yield "ohlc", "low is above open or close", (low > x["open"]) | (low > x["close"])


def check(candles: pd.DataFrame, interval: str | pd.Timedelta | None = None) -> None:
    """Raise one error that names every fault of a frame of candles, or return nothing.

    Looked for: wrong type, empty, wrong columns, non-numeric columns, index of another kind,
    name or zone, missing stamps, duplicates, wrong order, wrong interval, stamps off the grid,
    gaps, NaN, infinities, prices that are not positive, OHLC violations, negative volume.
    The grid counts from midnight UTC, or from ``candles.attrs["offset"]``, as `read` notes it.

    Args:
        candles: the frame, one row a bar, oldest first.
        interval: the bar length that it should have; None takes the most frequent step.

    Raises:
        CandleError: with ``.faults``, a list of ``CandleFault(kind, message, times)``.
        ArgumentError: ``interval`` is no bar length.
    """
    length = None if interval is None else parse_interval("interval", interval).value
    if not spotless(candles, length) and (faults := list(find_faults(candles, length))):
        raise CandleError(faults)


def spotless(candles: pd.DataFrame, length: int | None = None) -> bool:
    """Say yes to the usual frame that has no fault, in as few looks at memory as that takes."""
    if not isinstance(candles, pd.DataFrame) or tuple(candles.columns) not in LAYOUTS:
        return False
    index = candles.index
    kinds = {t.kind if isinstance(t, np.dtype) else "O" for t in candles.dtypes}
    if not isinstance(index, pd.DatetimeIndex) or index.name != "time" or len(index) < 2:
        return False
    if str(index.tz) not in UTC_NAMES or not kinds <= set("iuf"):
        return False
    if not on_grid(candles):
        return False
    stamps, day = index.asi8, A_DAY[index.unit]
    if length is not None and int(stamps[1] - stamps[0]) * (DAY // day) != length:
        return False
    rows = as_rows(candles).astype(np.float64, copy=False)
    sound, _, _ = check_and_range(stamps, *rows[:5])
    traded = rows[5:]  # turnover, if there is any; a NaN passes neither comparison
    return bool(sound and traded.min(initial=0.0) >= 0 and traded.max(initial=0.0) < np.inf)


def on_grid(candles: pd.DataFrame) -> bool:
    """Tell whether even stamps in UTC are on the grid of days, and in years that can be shown.

    Bars last a second or more, divide a day and start with it, or at multiples of their length
    after it. Looked at are the first two stamps and the last; there must be two.
    """
    stamps, day = candles.index.asi8, A_DAY[candles.index.unit]  # type: ignore[attr-defined]
    first, last, step = int(stamps[0]), int(stamps[-1]), int(stamps[1]) - int(stamps[0])
    if candles.attrs.get("offset") is not None:
        first -= begin_of_days(candles) * day // DAY
    seen = SPAN[0] * day <= int(stamps[0]) and last < SPAN[1] * day
    return seen and step * A_DAY["s"] >= day and day % step == 0 and first % step == 0


def as_rows(candles: pd.DataFrame) -> np.ndarray:
    """Return one contiguous row a column (C, n), floats; no copy where the frame is one block."""
    table = candles.to_numpy()
    if table.dtype != np.float32:
        table = table.astype(np.float64, copy=False)
    return np.ascontiguousarray(table.T)
