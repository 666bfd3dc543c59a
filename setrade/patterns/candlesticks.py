"""Candlestick patterns as labels, with TA-Lib as the teacher; several may hold at one bar.

TA-Lib measures "long", "short" and "small" by averages over earlier bars (10 for bodies and for
doji, 5 for "near"), so it needs a warm-up. Hammer and hanging man are one shape: TA-Lib calls it a
hammer at or below the low of the bar before, a hanging man at or above its high. That
is all the trend it looks at. Its morning and evening star want the middle body to gap away
from the first, which a market that never closes hardly ever does.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.candles import check
from setrade.errors import ArgumentError

# name: (TA-Lib function, sign of its answer that counts)
CANDLESTICKS: dict[str, tuple[str, int]] = {
    "doji": ("CDLDOJI", 1),
    "dragonfly_doji": ("CDLDRAGONFLYDOJI", 1),
    "gravestone_doji": ("CDLGRAVESTONEDOJI", 1),
    "long_legged_doji": ("CDLLONGLEGGEDDOJI", 1),
    "bullish_engulfing": ("CDLENGULFING", 1),
    "bearish_engulfing": ("CDLENGULFING", -1),
    "hammer": ("CDLHAMMER", 1),
    "hanging_man": ("CDLHANGINGMAN", -1),
    "morning_star": ("CDLMORNINGSTAR", 1),
    "evening_star": ("CDLEVENINGSTAR", -1),
    "three_white_soldiers": ("CDL3WHITESOLDIERS", 1),
    "three_black_crows": ("CDL3BLACKCROWS", -1),
}
WARM_UP = 13  # rows; the longest of the teacher's look-backs, so that all labels start together


def prices(candles: pd.DataFrame) -> list[np.ndarray]:
    """Return open, high, low, close as float64, checked and longer than the warm-up."""
    check(candles)
    if len(candles) <= WARM_UP:
        raise ArgumentError("candles", candles, f"more than {WARM_UP} bars, the warm-up")
    return [candles[name].to_numpy(np.float64) for name in ("open", "high", "low", "close")]


def candlestick_labels(candles: pd.DataFrame) -> pd.DataFrame:
    """Say which candlestick patterns are complete at each bar, as TA-Lib defines them.

    Args:
        candles: n checked bars, more than 13.

    Returns:
        float32 frame (n, 12) on the index of ``candles``, a column for each name in
        ``CANDLESTICKS``: 1 or 0, known at that bar's close. The first 13 rows, where the
        teacher has no averages and answers 0, are NaN.

    Raises:
        CandleError: the candles are at fault.
        ArgumentError: too few bars.

    Source: TA-Lib 0.6, functions ``CDL*`` with their default settings.
    """
    import talib

    columns = prices(candles)
    said = {}
    for name, (function, sign) in CANDLESTICKS.items():
        answer = getattr(talib, function)(*columns)
        said[name] = (np.sign(answer) == sign).astype(np.float32)
    labels = pd.DataFrame(said, index=candles.index)
    labels.iloc[:WARM_UP] = np.nan
    return labels
