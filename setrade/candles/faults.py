"""Every way in which a frame can fail to be candles, found one by one, and their error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .intervals import DAY, common_step

PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume")
LAYOUTS = (COLUMNS, (*COLUMNS, "turnover"))
UTC_NAMES = ("UTC", "Etc/UTC", "UTC+00:00", "tzutc()")
SHOWN = 3


class Fault(NamedTuple):
    """One kind of fault: its name, a sentence, and the bars that have it (may be empty)."""

    kind: str
    message: str
    times: Any


class CandleError(ValueError):
    """A frame of candles is not what it should be; ``faults`` lists everything found."""

    def __init__(self, faults: list[Fault], name: str = "candles") -> None:
        self.faults, self.name = faults, name
        lines = "".join(f"\n- {f.kind}: {f.message}{_listed(f.times)}" for f in faults)
        super().__init__(f"{name}: {len(faults)} fault{'s' * (len(faults) > 1)} found{lines}")


def _listed(times: Any) -> str:
    """Name the first few bars and the count of all."""
    if not len(times):
        return ""
    names = ", ".join(str(t) for t in times[:SHOWN])
    return f" ({len(times)}: {names}{', ...' if len(times) > SHOWN else ''})"


def find_faults(candles: pd.DataFrame, length: int | None) -> Iterator[Fault]:
    """Yield every fault: the frame's first, then the index's, then the values'."""
    if not isinstance(candles, pd.DataFrame):
        yield Fault("type", f"a DataFrame is needed, got {type(candles).__name__}", ())
        return
    if tuple(candles.columns) not in LAYOUTS:
        wanted = f"columns must be {' '.join(COLUMNS)} (turnover optional), in this order"
        yield Fault("columns", f"{wanted}; got {' '.join(map(str, candles.columns))}", ())
    if not len(candles):
        yield Fault("empty", "there is no bar", ())
        return
    if isinstance(candles.index, pd.DatetimeIndex):
        yield from _index_faults(candles.index, length)
    else:
        kind = type(candles.index).__name__
        yield Fault("index", f"a DatetimeIndex in UTC is needed, got {kind}", ())
    yield from _value_faults(candles)


def _index_faults(index: pd.DatetimeIndex, length: int | None) -> Iterator[Fault]:
    """Yield what is wrong with the stamps."""
    if index.name != "time":
        yield Fault("name", f"the index must be named time, got {index.name!r}", ())
    if str(index.tz) not in UTC_NAMES:
        zone = "naive (no zone)" if index.tz is None else f"in {index.tz}"
        yield Fault("zone", f"stamps must be in UTC, they are {zone}", ())
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


def _grid_faults(index: pd.DatetimeIndex, length: int | None) -> Iterator[Fault]:
    """Yield a wrong interval, stamps off the grid of midnight UTC, and gaps."""
    step = common_step(index)
    if length is not None and step is not None and step != length:
        apart, wanted = pd.Timedelta(step, unit="ns"), pd.Timedelta(length, unit="ns")
        yield Fault("interval", f"bars are {apart} apart, not {wanted}", ())
    step = length if step is None else step
    if step is None:
        return
    if DAY % step:
        apart = pd.Timedelta(step, unit="ns")
        yield Fault("interval", f"bars are {apart} apart, which does not divide a day", ())
        return
    stamps = index.as_unit("ns").asi8
    if (off := stamps % step != 0).any():
        yield Fault("grid", "stamps are not multiples of the interval", index[off])
    on_grid = np.unique(stamps[~off])
    holes = np.diff(on_grid) // step - 1
    if holes.any():
        before = pd.DatetimeIndex(on_grid[1:][holes > 0], tz="UTC")
        yield Fault("gaps", f"missing bars: {holes.sum()}, in holes that end before", before)


def _value_faults(candles: pd.DataFrame) -> Iterator[Fault]:
    """Yield what is wrong with the numbers."""
    x: dict[str, np.ndarray] = {}
    for name in (c for c in LAYOUTS[1] if list(candles.columns).count(c) == 1):
        column = candles[name]
        if not isinstance(column.dtype, np.dtype) or column.dtype.kind not in "iuf":
            yield Fault("dtype", f"{name} must be NumPy numbers, is {column.dtype}", ())
            continue
        x[name] = column.to_numpy(np.float64)
        if (infinite := np.isinf(x[name])).any():
            yield Fault("infinite", f"{name} is infinite", candles.index[infinite])
            x[name] = np.where(infinite, np.nan, x[name])  # said once, not again below
        if (lost := np.isnan(x[name]) & ~infinite).any():
            yield Fault("nan", f"{name} is NaN", candles.index[lost])
    for kind, message, at in _rules(x):
        if at.any():
            yield Fault(kind, message, candles.index[at])


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
