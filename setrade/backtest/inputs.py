"""What a backtest is given, checked and turned into arrays.

The checks run once over compiled arrays; only a frame that fails them is handed to
`candles.check`, which names every fault, so that a good frame costs next to nothing.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd
import talib

from setrade import candles as bars
from setrade.costs import Costs, compiled, funding_by_bar
from setrade.errors import ArgumentError, array
from setrade.risk import Risk

from .loop import Market

Given = TypeVar("Given", Costs, Risk)
COLUMNS = pd.Index(bars.COLUMNS)
NS_PER_DAY = 86_400_000_000_000


def plain(x: np.ndarray) -> np.ndarray:
    """Return a contiguous read-only view: one kind of array, so that code compiles once."""
    view = np.ascontiguousarray(x).view()
    view.flags.writeable = False
    return view


EMPTY = plain(np.empty(0))


def instance(name: str, value: Given | None, kind: type[Given]) -> Given:
    """Return ``value``, or the default for None; raise if it is of another class."""
    if value is not None and not isinstance(value, kind):
        raise ArgumentError(name, value, f"a {kind.__name__} or None")
    return kind() if value is None else value


@compiled
def _regular(time: np.ndarray) -> bool:
    """Tell whether stamps are evenly spaced and rising (no early exit: it would not vectorise)."""
    step, good = time[1] - time[0], True
    for t in range(1, len(time)):
        good &= time[t] - time[t - 1] == step
    return good and step > 0


@compiled
def _sound(first, high, low, close, volume) -> bool:
    """Tell whether every bar is finite, positive and has its extremes outside its body."""
    good = True
    for t in range(len(first)):
        good &= (low[t] > 0) & (low[t] <= first[t]) & (low[t] <= close[t])
        good &= (high[t] >= first[t]) & (high[t] >= close[t]) & (high[t] < np.inf)
        good &= (volume[t] >= 0) & (volume[t] < np.inf)
    return good


@compiled
def _first_outside(x: np.ndarray, limit: float) -> int:
    """Return where |x| first exceeds the limit or is NaN; −1 if nowhere."""
    for t in range(len(x)):
        if not abs(x[t]) <= limit:
            return t
    return -1


def frame_arrays(candles: pd.DataFrame) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return stamps (n,) and open, high, low, close (n,) of candles that pass `candles.check`.

    Raises:
        CandleError: the frame has faults; all are named.
        ArgumentError: fewer than two bars: a decision needs a next open.
    """
    quick = (
        isinstance(candles, pd.DataFrame)
        and isinstance(candles.index, pd.DatetimeIndex)
        and candles.index.name == "time"
        and str(candles.index.tz) == "UTC"
        and candles.columns.equals(COLUMNS)
        and len(candles) > 1
    )
    if quick and (table := candles.to_numpy()).dtype == np.float64:
        time, columns = plain(candles.index.asi8), [plain(column) for column in table.T]  # type: ignore[union-attr]
        if _regular(time) and _on_grid(candles.index) and _sound(*columns):
            return time, columns[:4]
    bars.check(candles)
    if len(candles) < 2:
        raise ArgumentError("candles", candles, "at least two bars: a decision needs a next open")
    columns = [plain(candles[name].to_numpy(np.float64)) for name in bars.COLUMNS[:4]]
    return plain(candles.index.asi8), columns  # type: ignore[union-attr]


def _on_grid(index: pd.Index) -> bool:
    """Tell whether bars start on multiples of their own length, which divides a day."""
    day = day_length(index)
    first, step = index.asi8[0], index.asi8[1] - index.asi8[0]  # type: ignore[attr-defined]
    return day % step == 0 and first % step == 0


def day_length(index: pd.Index) -> int:
    """Return a day in the index's own unit of time."""
    return NS_PER_DAY // pd.Timedelta(1, unit=index.unit).as_unit("ns")._value  # type: ignore[attr-defined]


def position_array(
    position: Any, index: pd.Index, limit: float, *, name: str = "position"
) -> np.ndarray:
    """Return positions (n,) as float64, one a bar, none outside the limit.

    Args:
        position: a Series on the candles' own index, or an array of their length.
        index: of the candles. limit: ``Risk.max_position``. name: for errors.

    Raises:
        ArgumentError: another length or index, NaN, or a position outside [−limit, limit].
    """
    if isinstance(position, pd.Series) and not (
        position.index is index or position.index.equals(index)
    ):
        raise ArgumentError(name, position, "a Series on the candles' own index")
    values = array(name, position, ndim=1, finite=False)
    if len(values) != len(index):
        raise ArgumentError(name, position, f"{len(index)} values, one a bar")
    values = plain(values.astype(np.float64, copy=False))
    if not (-limit <= values.min() and values.max() <= limit):  # NaN fails both
        bad = _first_outside(values, limit)
        allowed = f"numbers in [{-limit:g}, {limit:g}] (first fault at bar {bad}, {index[bad]})"
        raise ArgumentError(name, float(values[bad]), allowed)
    return values


def market(
    candles: pd.DataFrame,
    funding: pd.Series | None,
    risk: Risk,
    *,
    needs_atr: bool,
    needs_days: bool,
) -> Market:
    """Return what the loop reads; the average true range is Wilder's, NaN while it warms up.

    Raises:
        CandleError, ArgumentError: as `frame_arrays` and `costs.funding_by_bar`; or fewer bars
            than the average true range needs.
    """
    time, (first, high, low, close) = frame_arrays(candles)
    at_open, inside = (EMPTY, EMPTY) if funding is None else funding_by_bar(candles.index, funding)  # type: ignore[arg-type]
    atr = talib.ATR(high, low, close, risk.atr_bars) if needs_atr else EMPTY
    days = time // day_length(candles.index) if needs_days else EMPTY.astype(np.int64)
    atr, days, at_open, inside = map(plain, (atr, days, at_open, inside))
    reach = float(low.min()), float(high.max())
    return Market(first, high, low, close, atr, days, at_open, inside, *reach)
