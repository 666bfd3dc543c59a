"""Forward returns and the three classes 0 sell, 1 hold, 2 buy.

Timing, the same everywhere: a decision after bar t has seen bars up to and including t, and
fills at the open of t+1. A label therefore measures from that open, never from a close.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.costs import Costs
from setrade.errors import ArgumentError, integer, number

SELL, HOLD, BUY = 0, 1, 2


def prices(candles: pd.DataFrame, *columns: str) -> list[np.ndarray]:
    """Return price columns as float64 arrays; raise `ArgumentError` unless finite and > 0."""
    if not isinstance(candles, pd.DataFrame) or not set(columns) <= set(candles.columns):
        raise ArgumentError("candles", candles, "a DataFrame with columns " + ", ".join(columns))
    values = [candles[name].to_numpy(np.float64) for name in columns]
    for name, value in zip(columns, values, strict=True):
        bad = ~(np.isfinite(value) & (value > 0))
        if bad.any():
            row = int(bad.argmax())
            where = f"finite prices > 0 ({name} at {candles.index[row]})"
            raise ArgumentError("candles", float(value[row]), where)
    return values


def forward_return(candles: pd.DataFrame, horizon: int) -> pd.Series:
    """Return what a position taken after bar t earns over ``horizon`` bars, before costs.

    Row t is ``open[t+1+horizon] / open[t+1] - 1``: decided on bars up to t, filled at the next
    open, closed at the open ``horizon`` bars later.

    Args:
        candles: n bars, oldest first.
        horizon: bars held, at least 1.

    Returns:
        A float Series (n,) on the index of ``candles``; the last ``horizon + 1`` rows have no
        complete future and are NaN.

    Raises:
        ArgumentError: a price is not finite and positive, or there are too few bars.
    """
    (opens,) = prices(candles, "open")
    horizon = integer("horizon", horizon, 1)
    if len(opens) < horizon + 2:
        raise ArgumentError("candles", candles, f"at least horizon + 2 = {horizon + 2} bars")
    out = np.full(len(opens), np.nan)
    out[: -horizon - 1] = opens[horizon + 1 :] / opens[1:-horizon] - 1
    return pd.Series(out, index=candles.index, name="forward_return")


def break_even(costs: Costs) -> tuple[float, float]:
    """Return the forward returns (short, long) at which a taker's round trip earns nothing.

    With fee f and slippage s a side, a long pays ``(1+s)(1+f)`` at its entry and receives
    ``(1-s)(1-f)`` at its exit, a short the other way round; both as fractions, short < 0 < long.
    """
    if not isinstance(costs, Costs):
        raise ArgumentError("costs", costs, "a costs.Costs")
    fee, slippage = costs.fee_bps * 1e-4, costs.slippage_bps * 1e-4
    long = (1 + slippage) * (1 + fee) / ((1 - slippage) * (1 - fee))
    return 1 / long - 1, long - 1


def sell_hold_buy(
    returns: pd.Series, costs: Costs | None = None, *, multiple: float = 1.0
) -> pd.Series:
    """Return the class of each forward return: trade only where the move pays the round trip.

    2 (buy) where the return exceeds ``multiple`` times the long break-even, 0 (sell) where it is
    below ``multiple`` times the short one, else 1 (hold).

    Args:
        returns: forward returns (n,) as fractions; NaN where there is no complete future.
        costs: fees and slippage a side; default ``Costs()``.
        multiple: how many round trips a move has to pay; 0 asks for the sign alone.

    Returns:
        A float Series (n,) of 0.0, 1.0, 2.0, and NaN where ``returns`` is NaN.

    Raises:
        ArgumentError: ``returns`` is not a Series of numbers, or a return is infinite.
    """
    if not isinstance(returns, pd.Series) or returns.dtype.kind != "f" or returns.empty:
        raise ArgumentError("returns", returns, "a Series of floats, as forward_return gives")
    if np.isinf(returns).any():
        raise ArgumentError("returns", np.inf, "finite returns, or NaN where there is no future")
    multiple = number("multiple", multiple, 0)
    short, long = (multiple * level for level in break_even(Costs() if costs is None else costs))
    classes = np.where(returns > long, BUY, np.where(returns < short, SELL, HOLD)).astype(float)
    return pd.Series(classes, index=returns.index, name="label").where(returns.notna())


def class_shares(labels: pd.Series) -> dict[str, float]:
    """Return the share of sell, hold and buy among the rows that have a label; they sum to 1."""
    known = labels.dropna()
    if known.empty or not known.isin((SELL, HOLD, BUY)).all():
        raise ArgumentError("labels", labels, "labels 0, 1, 2 (or NaN), at least one of them")
    return {
        name: float((known == value).mean())
        for name, value in (("sell", SELL), ("hold", HOLD), ("buy", BUY))
    }
