"""What a hidden Markov model of regimes sees: how far the price moved, and how wildly."""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.candles import check
from setrade.errors import ArgumentError, integer

ONE_BASIS_POINT = 1e-4  # added to the range: a bar that never moved has a logarithm too


def observations(candles: pd.DataFrame, window: int = 1) -> pd.DataFrame:
    """Return move and volatility after each bar, from the bars up to it.

    ``move`` is the log return over ``window`` bars, over the square root of ``window``.
    ``volatility`` is log(0.0001 + mean over ``window`` bars of log(high / low)). With
    ``window`` 1 no two rows share a bar; with more they overlap, rows depend on each other
    beyond what a Markov chain knows, and its probabilities become too sure of themselves.

    Args:
        candles: n checked bars, more than ``window``.
        window: bars that one row describes.

    Returns:
        float64 DataFrame (n, 2); NaN in the first ``window`` rows.

    Raises:
        CandleError: the candles have faults.
        ArgumentError: ``window`` below 1, or too few bars.
    """
    check(candles)
    window = integer("window", window, 1)
    if len(candles) <= window:
        raise ArgumentError("candles", candles, f"more than window = {window} bars")
    logs = {name: np.log(candles[name].to_numpy(float)) for name in ("high", "low", "close")}
    out = np.full((len(candles), 2), np.nan)
    out[window:, 0] = (logs["close"][window:] - logs["close"][:-window]) / np.sqrt(window)
    # A windowed view, not a running sum: a running sum would carry rounding from old bars.
    spans = np.lib.stride_tricks.sliding_window_view(logs["high"] - logs["low"], window)
    out[window:, 1] = np.log(ONE_BASIS_POINT + spans[1:].mean(axis=1))
    return pd.DataFrame(out, candles.index, ["move", "volatility"])
