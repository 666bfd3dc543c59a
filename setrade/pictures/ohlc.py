"""The picture and the net of the reference paper: twenty bars in 64 × 60 pixels, black and white.

A bar owns three columns: the left one a dot at the open, the middle one a line from low to high
and the volume, the right one a dot at the close. A moving average as long as the picture runs
through the middles. The vertical axis covers prices and average, so that all scales look alike.
Source: J. Jiang, B. Kelly and D. Xiu (2023), (Re-)Imag(in)ing Price Trends, sections I and II.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numba import prange
from torch import Tensor, nn

from setrade.buffers import output
from setrade.charts import VOLUME_PART, as_windows, refuse_faults, row_of, threads_for
from setrade.compiled import kernel
from setrade.errors import ArgumentError, integer, number

WHITE = np.uint8(255)


@kernel
def _mean_of(closes, bar, length):
    """Return the mean close of ``length`` bars up to ``bar``; NaN where there are fewer."""
    return closes[bar - length + 1 : bar + 1].mean() if bar + 1 >= length else np.nan


@kernel
def _draw(window, bars, volume_rows, plane):
    """Draw the last ``bars`` of a window (5, n) into a black plane (rows, 3 · bars)."""
    first, rows = window.shape[1] - bars, plane.shape[0] - volume_rows - 1
    means = np.array([_mean_of(window[3], first + i, bars) for i in range(bars)])
    low, high, most = window[2, first:].min(), window[1, first:].max(), window[4, first:].max()
    for mean in means:
        if not np.isnan(mean):
            low, high = min(low, mean), max(high, mean)
    for i in range(bars):
        bar = window[:, first + i]
        top, bottom = row_of(bar[1], low, high, rows), row_of(bar[2], low, high, rows)
        plane[row_of(bar[0], low, high, rows), 3 * i] = WHITE
        plane[top : bottom + 1, 3 * i + 1] = WHITE
        plane[row_of(bar[3], low, high, rows), 3 * i + 2] = WHITE
        tall = int(bar[4] / most * volume_rows + 0.5) if most > 0.0 else 0
        plane[plane.shape[0] - tall :, 3 * i + 1] = WHITE
    for column in range(1, 3 * bars - 1):  # the average: a line from middle to middle
        i, part = (column - 1) // 3, (column - 1) % 3
        mean = means[i] if part == 0 else means[i] + (means[i + 1] - means[i]) * (part / 3.0)
        if not np.isnan(mean):
            plane[row_of(mean, low, high, rows), column] = WHITE


@kernel(parallel=True)
def _draw_all(windows, bars, volume_rows, out):
    """Draw windows (N, 5, n) into out (N, 1, rows, 3 · bars)."""
    for k in prange(windows.shape[0]):
        out[k] = 0
        _draw(windows[k], bars, volume_rows, out[k, 0])


def ohlc(
    windows: np.ndarray | pd.DataFrame,
    bars: int = 20,
    height: int = 64,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the last ``bars`` of each window as the reference paper does.

    The average of a bar is the mean close of the ``bars`` bars up to it; one that would need bars
    before the window is left out. A window of 2 · bars - 1 bars has all of them. Rows are those
    of `charts`: the nearest, ties away from the middle.

    Args:
        windows: candles ``(N, 5, n)``, n at least ``bars``, or one DataFrame.
        bars: bars in the picture.
        height: rows; the lowest ``height // 5`` hold the volume, below one empty row.
        out: uint8 buffer ``(N, 1, height, 3 * bars)`` to draw into.

    Returns:
        uint8 array ``(N, 1, height, 3 * bars)`` of 0 and 255; `to_input` makes it 0 and 1.

    Raises:
        ArgumentError: a faulty candle, a window that is too short, or another bad argument.

    Source: Jiang, Kelly and Xiu (2023), section I.
    """
    x = as_windows(windows)
    bars, height = integer("bars", bars, 1), integer("height", height, VOLUME_PART)
    if x.shape[2] < bars:
        raise ArgumentError("windows", windows, f"at least {bars} bars each, those of a picture")
    refuse_faults(x)
    canvas = output(out, (len(x), 1, height, 3 * bars), windows, ("uint8",))
    with threads_for(len(x)):
        _draw_all(x, bars, height // VOLUME_PART, canvas)
    return canvas


class PriceTrends(nn.Module):
    """The paper's net for pictures of twenty bars: three blocks and one linear layer.

    A block is a convolution of 5 × 3, batch normalisation, leaky ReLU and a pool of two rows; the
    first one steps over three rows at a time and spreads its rows by two. 708,866 parameters.

    Args:
        num_classes: outputs; the paper has down and up.
        dropout: share that is left out before the last layer.

    Raises:
        ArgumentError: names the argument.

    Source: Jiang, Kelly and Xiu (2023), section II.
    """

    SHAPE = (1, 64, 60)

    def __init__(self, num_classes: int = 2, dropout: float = 0.5) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            self._block(1, 64, stride=(3, 1), dilation=(2, 1), padding=(12, 1)),
            self._block(64, 128, padding=(2, 1)),
            self._block(128, 256, padding=(2, 1)),
        )
        self.dropout = nn.Dropout(number("dropout", dropout, 0, 0.99))
        self.decide = nn.Linear(256 * 3 * 60, integer("num_classes", num_classes, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @staticmethod
    def _block(inside: int, out: int, **place: tuple[int, int]) -> nn.Sequential:
        """Return one block; ``place`` is stride, dilation and padding."""
        convolution = nn.Conv2d(inside, out, (5, 3), **place)  # type: ignore[arg-type]
        return nn.Sequential(
            convolution, nn.BatchNorm2d(out), nn.LeakyReLU(0.01), nn.MaxPool2d((2, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, 1, 64, 60) in [0, 1] to logits (B, num_classes)."""
        if tuple(x.shape[1:]) != self.SHAPE:
            raise ArgumentError("x", x, "pictures (B, 1, 64, 60), those of twenty bars")
        return self.decide(self.dropout(self.blocks(x).flatten(1)))  # (B, 256 · 3 · 60) inside
