"""Triple-barrier labels: how a trade with a target, a stop and a time limit would have ended.

Source: M. López de Prado, Advances in Financial Machine Learning (2018), section 3.4; here with
the entry at the next open and with intrabar highs and lows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import talib

from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, integer, number
from setrade.labels.targets import prices


@kernel
def _scan(opens, highs, lows, width, above, below, horizon):
    """Walk from each entry to the first barrier; NaN rows where the future is not complete."""
    n = len(opens)
    label = np.full(n, np.nan)
    end = np.full(n, np.nan)
    gain = np.full(n, np.nan)
    for t in range(n - horizon - 1):
        if not width[t] > 0:
            continue
        entry = opens[t + 1]
        top, floor = entry + above * width[t], entry - below * width[t]
        last, kind, price = t + 1 + horizon, 1.0, opens[t + 1 + horizon]
        for u in range(t + 1, t + 1 + horizon):
            up = highs[u] >= top and opens[u] > floor  # a gap through one side met that one first
            down = lows[u] <= floor and opens[u] < top
            if up or down:
                last = u
                # Both inside one bar: nobody knows which came first, so it pays neither a long
                # nor a short (label hold), and a long is booked at its loss.
                kind = 1.0 if up and down else (2.0 if up else 0.0)
                price = min(floor, opens[u]) if down else max(top, opens[u])  # gaps: the open
                break
        label[t], end[t], gain[t] = kind, last, price / entry - 1
    return label, end, gain


def _widths(candles: pd.DataFrame, scale: str | np.ndarray, period: int) -> np.ndarray:
    """Return one unit of barrier distance a bar, in price: ATR, volatility, or as given."""
    opens, highs, lows, closes = prices(candles, "open", "high", "low", "close")
    if isinstance(scale, str):
        if scale == "atr":
            return talib.ATR(highs, lows, closes, period)
        if scale == "volatility":
            moves = pd.Series(np.log(closes)).diff()
            return moves.rolling(period).std().to_numpy() * closes
        raise ArgumentError("scale", scale, "'atr', 'volatility' or an array of price distances")
    width = array("scale", scale, ndim=1, finite=False).astype(np.float64)
    if len(width) != len(opens) or (width <= 0).any() or np.isinf(width).any():
        raise ArgumentError("scale", scale, f"{len(opens)} finite distances > 0, or NaN")
    return width


def triple_barrier(
    candles: pd.DataFrame,
    *,
    upper: float = 2.0,
    lower: float = 2.0,
    horizon: int = 24,
    scale: str | np.ndarray = "atr",
    period: int = 14,
) -> pd.DataFrame:
    """Return which barrier a position taken after bar t meets first, and at which bar.

    The entry is the open of t+1. The barriers lie ``upper`` and ``lower`` units of ``scale[t]``
    above and below it and are checked on the high and low of bars t+1 … t+horizon; the time
    barrier is the open of t+1+horizon. A bar that touches both is counted against both a long
    and a short (the worse first): hold.

    Args:
        candles: n bars, oldest first.
        upper: distance of the upper barrier, in units of ``scale``.
        lower: distance of the lower barrier, in units of ``scale``.
        horizon: bars until the time barrier.
        scale: "atr" (Wilder's), "volatility" (rolling standard deviation of log returns times
            the close), or an array (n,) of distances in price known after bar t.
        period: bars of the ATR or of the volatility.

    Returns:
        A DataFrame (n rows): ``label`` 0.0 lower, 1.0 time or both, 2.0 upper; ``end`` the number
        of the last bar that the label looked at, for purging; ``gain`` the fraction a long earns
        before costs (where one bar touched both: its loss).
        NaN where the scale is not warm, and in the last ``horizon + 1`` rows: labels that happen
        to be decided early there are left out too, for they would all be moves and no holds.

    Raises:
        ArgumentError: names the argument that cannot be used.
    """
    upper, lower = number("upper", upper, 0, above=True), number("lower", lower, 0, above=True)
    horizon, period = integer("horizon", horizon, 1), integer("period", period, 2)
    opens, highs, lows = prices(candles, "open", "high", "low")
    if len(opens) < horizon + 2:
        raise ArgumentError("candles", candles, f"at least horizon + 2 = {horizon + 2} bars")
    width = _widths(candles, scale, period)
    label, end, gain = _scan(opens, highs, lows, width, upper, lower, horizon)
    return pd.DataFrame({"label": label, "end": end, "gain": gain}, index=candles.index)
