"""Regimes by rules that a person can check: trend, volatility, liquidity, or none of these.

Each rule compares the newest bars with the stretch before them, so nothing is seen early and
no threshold is in the units of one symbol.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.candles import check
from setrade.errors import ArgumentError, integer, number

REGIMES = ("trending_up", "trending_down", "ranging", "high_volatility", "low_liquidity")


def efficiency(close: pd.Series, window: int) -> pd.Series:
    """Return Kaufman's efficiency ratio, signed: net move over the path walked, in [-1, 1].

    Args:
        close: (n,) closes.
        window: bars of the move.

    Returns:
        (n,); NaN in the first ``window`` rows, 0 where the price did not move at all.

    Source: P. Kaufman, Trading Systems and Methods, chapter on adaptive techniques.
    """
    steps = close.diff()
    path = steps.abs().rolling(window).sum()
    # A rolling sum of zeros can leave 1e-17 behind: count the moves instead.
    moved = steps.ne(0).rolling(window).sum() > 0
    return (close.diff(window) / path).where(moved | path.isna(), 0.0)


def _share_below(values: pd.Series, history: int) -> pd.Series:
    """Return the share of the last ``history`` values that the newest one is at least equal to."""
    return values.rolling(history).rank(method="max", pct=True)


def by_rules(
    candles: pd.DataFrame,
    *,
    window: int = 48,
    history: int = 960,
    trend: float = 0.3,
    extreme: float = 0.1,
) -> pd.Series:
    """Return the regime after each bar, from the bars up to it.

    The first rule that applies decides: ``low_liquidity`` where the mean volume of the last
    ``window`` bars is among the lowest ``extreme`` share of the last ``history`` bars;
    ``high_volatility`` where the standard deviation of returns is among the highest;
    ``trending_up`` or ``trending_down`` where the signed efficiency ratio is beyond ``trend``;
    else ``ranging``.

    Args:
        candles: n checked bars.
        window: bars that describe now.
        history: bars that now is compared with, at least twice ``window``.
        trend: efficiency beyond which a move is a trend, in (0, 1).
        extreme: share of history that counts as extreme, in (0, 0.5].

    Returns:
        A categorical Series (n,) with the categories ``REGIMES``; missing until ``window`` +
        ``history`` bars are there.

    Raises:
        CandleError: the candles are at fault.
        ArgumentError: a parameter is out of range, or there are too few bars.
    """
    check(candles)
    window = integer("window", window, 2)
    history = integer("history", history, 2 * window)
    trend = number("trend", trend, 0, 1, above=True)
    extreme = number("extreme", extreme, 0, 0.5, above=True)
    if len(candles) <= window + history:
        raise ArgumentError("candles", candles, f"more than window + history = {window + history}")
    close = candles["close"]
    volatility = close.pct_change().rolling(window).std()
    quiet = _share_below(candles["volume"].rolling(window).mean(), history) <= extreme
    wild = _share_below(volatility, history) > 1 - extreme
    move = efficiency(close, window)
    rules = [quiet, wild, move > trend, move < -trend]
    names = ["low_liquidity", "high_volatility", "trending_up", "trending_down"]
    label = pd.Series(np.select(rules, names, "ranging"), index=candles.index, dtype=object)
    label.iloc[: window + history - 1] = None
    return label.astype(pd.CategoricalDtype(list(REGIMES))).rename("regime")
