"""What a rule on bars sees, as three numbers a bar that need no units.

A model with channels of its own brings its own columns; these are for any model.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from setrade.errors import ArgumentError, array, integer

INPUTS = ("return", "range", "volume")
COLUMNS = ["high", "low", "close", "volume"]


def newest(bars: np.ndarray) -> np.ndarray:
    """Return the newest bar's inputs, each against the bars before it in the window.

    Args:
        bars: (..., 4, L) high, low, close and volume, newest last, L >= 4.

    Returns:
        (..., 3): log return over the spread of earlier ones, range and volume over the mean of
        earlier ones. NaN or infinite where those are zero: nothing ever moved.
    """
    x = array("bars", bars, min_length=4).astype(np.float64)
    if x.ndim < 2 or x.shape[-2] != 4:
        raise ArgumentError("bars", bars, "(..., 4, L): high, low, close, volume")
    high, low, close, volume = np.moveaxis(x, -2, 0)
    moves = np.diff(np.log(close), axis=-1)
    span = high - low
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(
            [moves[..., -1] / moves[..., :-1].std(-1),
             span[..., -1] / span[..., :-1].mean(-1),
             volume[..., -1] / volume[..., :-1].mean(-1)], axis=-1,
        )  # fmt: skip


def history(bars: np.ndarray, length: int) -> np.ndarray:
    """Return `newest` of each window of ``length`` bars: (4, n) -> (n - length + 1, 3)."""
    x = array("bars", bars, ndim=2, min_length=4)
    length = integer("length", length, 4, x.shape[1])
    return newest(sliding_window_view(x, length, axis=1).swapaxes(0, 1))


def inputs(candles: pd.DataFrame, length: int = 48) -> pd.DataFrame:
    """Return each bar's inputs, against the ``length`` - 1 bars before it.

    Args:
        candles: n >= ``length`` bars. length: bars of a window, at least 4.

    Returns:
        (n - length + 1, 3) ``return range volume``, by time; see `newest`.
    """
    rows = history(candles[COLUMNS].to_numpy(np.float64).T, length)
    return pd.DataFrame(rows, candles.index[length - 1 :], list(INPUTS))
