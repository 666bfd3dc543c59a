"""What a frame of candles must be, and one error that names all that it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from setrade.errors import ArgumentError

PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume")
DAY = pd.Timedelta(days=1)
UTC_NAMES = ("UTC", "Etc/UTC", "UTC+00:00", "tzutc()")
INTERVALS = 'a pandas offset that divides one day, such as "1min", "15min", "1h" or "1D"'
SHOWN = 5


class Fault(NamedTuple):
    """One kind of fault: its name, a sentence, and the bars that have it (may be empty)."""

    kind: str
    message: str
    times: pd.Index


class CandleError(ValueError):
    """A frame of candles is not what it should be; ``faults`` lists everything found."""

    def __init__(self, faults: list[Fault], name: str = "candles") -> None:
        self.faults, self.name = faults, name
        lines = "".join(f"\n- {f.kind}: {f.message}{_listed(f.times)}" for f in faults)
        super().__init__(f"{name}: {len(faults)} kind{'s' * (len(faults) > 1)} of fault{lines}")


def _listed(times: pd.Index) -> str:
    """Name the first few bars and the count of all."""
    if not len(times):
        return ""
    names = ", ".join(str(t) for t in times[:SHOWN])
    return f" ({len(times)}: {names}{', ...' if len(times) > SHOWN else ''})"


def parse_interval(name: str, value: str | pd.Timedelta) -> pd.Timedelta:
    """Return the length of a bar; raise `ArgumentError` if it does not divide one day."""
    try:
        offset = to_offset(value) if isinstance(value, str) else value
        length = DAY if offset == to_offset("1D") else pd.Timedelta(offset)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ArgumentError(name, value, INTERVALS) from error
    if not isinstance(value, str | pd.Timedelta) or not pd.Timedelta(0) < length <= DAY or DAY % length:
        raise ArgumentError(name, value, INTERVALS)
    return length


def common_step(index: pd.DatetimeIndex) -> pd.Timedelta | None:
    """Return the most frequent step between stamps (the shortest of equals), None below two."""
    stamps = index.dropna().unique().sort_values().as_unit("ns").asi8
    if len(stamps) < 2:
        return None
    steps, counts = np.unique(np.diff(stamps), return_counts=True)
    return pd.Timedelta(int(steps[counts.argmax()]), unit="ns")


def bar_interval(candles: pd.DataFrame) -> pd.Timedelta:
    """Return the length of one bar, read off a frame of at least two candles.

    Args:
        candles: a frame that passes `check`.

    Returns:
        The step between neighbouring stamps.

    Raises:
        ArgumentError: fewer than two bars, so that there is no step to read.
    """
    step = common_step(candles.index) if isinstance(candles, pd.DataFrame) else None  # type: ignore[arg-type]
    if step is None:
        raise ArgumentError("candles", candles, "a frame of at least two candles")
    return step


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
    length = None if interval is None else parse_interval("interval", interval)
    faults = list(_faults(candles, length))
    if faults:
        raise CandleError(faults)


def _faults(candles: pd.DataFrame, length: pd.Timedelta | None) -> Iterator[Fault]:
    """Yield every fault, the frame's first, then the index's, then the values'."""
    nowhere = pd.Index([])
    if not isinstance(candles, pd.DataFrame):
        yield Fault("type", f"a DataFrame is needed, got {type(candles).__name__}", nowhere)
        return
    if tuple(candles.columns) not in (COLUMNS, (*COLUMNS, "turnover")):
        wanted = f"columns must be {' '.join(COLUMNS)} (turnover optional), in this order"
        yield Fault("columns", f"{wanted}; got {' '.join(map(str, candles.columns))}", nowhere)
    if not len(candles):
        yield Fault("empty", "there is no bar", nowhere)
        return
    if isinstance(candles.index, pd.DatetimeIndex):
        yield from _index_faults(candles.index, length)
    else:
        kind = type(candles.index).__name__
        yield Fault("index", f"a DatetimeIndex in UTC is needed, got {kind}", nowhere)
    yield from _value_faults(candles)


def _index_faults(index: pd.DatetimeIndex, length: pd.Timedelta | None) -> Iterator[Fault]:
    """Yield what is wrong with the stamps."""
    if index.name != "time":
        yield Fault("name", f"the index must be named time, got {index.name!r}", index[:0])
    if str(index.tz) not in UTC_NAMES:
        zone = "naive (no zone)" if index.tz is None else f"in {index.tz}"
        yield Fault("zone", f"stamps must be in UTC, they are {zone}", index[:0])
    if index.hasnans:
        rows = np.flatnonzero(index.isna())
        yield Fault("stamp", f"no stamp in rows {', '.join(map(str, rows[:SHOWN]))}", index[rows])
        index = index.dropna()
    if (repeated := index.duplicated()).any():
        yield Fault("duplicates", "stamps repeat", index[repeated].unique())
    if not index.is_monotonic_increasing:
        back = np.flatnonzero(np.diff(index.asi8) < 0) + 1
        yield Fault("order", "stamps jump back", index[back])
    yield from _grid_faults(index, length)


def _grid_faults(index: pd.DatetimeIndex, length: pd.Timedelta | None) -> Iterator[Fault]:
    """Yield a wrong interval, stamps off the grid of midnight UTC, and gaps."""
    step = common_step(index)
    if length is not None and step is not None and step != length:
        yield Fault("interval", f"bars are {step} apart, not {length}", index[:0])
    step = length if step is None else step
    if step is None:
        return
    if step > DAY or DAY % step:
        yield Fault("interval", f"bars are {step} apart, which does not divide a day", index[:0])
        return
    on_grid = index.as_unit("ns").asi8 % step.value == 0
    if not on_grid.all():
        yield Fault("grid", f"stamps are not multiples of {step}", index[~on_grid])
    stamps = index[on_grid].unique().sort_values()
    span = len(stamps) and (stamps[-1] - stamps[0]) // step + 1
    if span > len(stamps):
        holes = np.flatnonzero(np.diff(stamps.asi8) > step.as_unit(stamps.unit)._value) + 1
        message = f"{span - len(stamps)} bars are missing, before"
        yield Fault("gaps", message, stamps[holes])


def _value_faults(candles: pd.DataFrame) -> Iterator[Fault]:
    """Yield what is wrong with the numbers."""
    names = [c for c in (*COLUMNS, "turnover") if (candles.columns == c).sum() == 1]
    numeric = [c for c in names if getattr(candles[c].dtype, "kind", "O") in "iuf"]
    for name in sorted(set(names) - set(numeric)):
        yield Fault("dtype", f"{name} must be numbers, is {candles[name].dtype}", candles.index[:0])
    x = {c: candles[c].to_numpy() for c in numeric if isinstance(candles[c].dtype, np.dtype)}
    rules: list[tuple[str, str, np.ndarray]] = []
    for c, v in x.items():
        if v.dtype.kind == "f":
            rules += [("nan", f"{c} is NaN", np.isnan(v)), ("infinite", f"{c}", np.isinf(v))]
        if c in PRICES:
            rules.append(("price", f"{c} is zero or negative", v <= 0))
        else:
            rules.append(("volume", f"{c} is negative", v < 0))
    if all(c in x for c in PRICES):
        top, bottom = np.maximum(x["open"], x["close"]), np.minimum(x["open"], x["close"])
        rules.append(("ohlc", "high is below open, low or close", x["high"] < np.maximum(top, x["low"])))
        rules.append(("ohlc", "low is above open or close", x["low"] > bottom))
    for kind, message, at in rules:
        if at.any():
            yield Fault(kind, message, candles.index[at])
