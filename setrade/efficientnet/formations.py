"""A planted picture task on which more pixels, channels and layers can each pay.

Every window is a random walk with one large candle hidden in it. The class is its form (which
needs fine detail) together with the trend before it (which needs the context): a hammer and a
hanging man are the same candle, one after a fall, the other after a rise.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from setrade.charts import candlesticks
from setrade.errors import ArgumentError, integer

FORMS = ("long lower wick", "long upper wick", "long body up", "long body down")
CLASSES = tuple(f"{form} after a {trend}" for form in FORMS for trend in ("fall", "rise"))
N_BARS, SIDE = 20, 80  # bars in a window; side of the picture before it is averaged down
DRIFT, WICK, LENGTH = 0.6, 0.8, 3.0  # in standard deviations of a bar's body


def draw_formations(n: int, *, seed: int) -> tuple[np.ndarray, Tensor]:
    """Draw windows with a planted candle, and their classes.

    Args:
        n: how many windows.
        seed: of the draw.

    Returns:
        Candles float64 ``(n, 5, N_BARS)`` as `charts.candlesticks` takes them, and classes int64
        ``(n,)``, the index in ``CLASSES``: twice the form, plus 1 after a rise.
    """
    n, rng = integer("n", n, 1), np.random.default_rng(integer("seed", seed, 0))
    form, rise = rng.integers(0, len(FORMS), n), rng.integers(0, 2, n)
    body = rng.normal(size=(n, N_BARS))
    wicks = rng.exponential(WICK, (2, n, N_BARS))  # upper, lower
    row, place = np.arange(n), rng.integers(N_BARS // 2, N_BARS - 2, n)
    before = np.arange(N_BARS) < place[:, None]
    recent = before & (np.arange(N_BARS) >= place[:, None] - 8)
    body += np.where(recent, DRIFT * (2 * rise[:, None] - 1), 0.0)
    size = LENGTH * rng.uniform(0.7, 1.3, n)
    body[row, place] = np.select([form == 2, form == 3], [size, -size], body[row, place] / 3)
    wicks[0, row, place] = np.where(form == 1, size, wicks[0, row, place] / 3)
    wicks[1, row, place] = np.where(form == 0, size, wicks[1, row, place] / 3)
    close = 100 + body.cumsum(1)
    opened = close - body
    high, low = np.maximum(opened, close) + wicks[0], np.minimum(opened, close) - wicks[1]
    windows = np.stack([opened, high, low, close, np.ones_like(close)], 1)
    return windows, torch.as_tensor(2 * form + rise)


def draw_pictures(n: int, side: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Draw the windows of `draw_formations` as candlestick charts of a given side.

    Each chart is painted at ``SIDE`` pixels and averaged down, so a smaller side shows the same
    picture with less detail.

    Args:
        n: how many pictures.
        side: in pixels, up to ``SIDE``.
        seed: of the draw.

    Returns:
        Pictures float32 ``(n, 3, side, side)`` in [0, 1] and classes int64 ``(n,)``.
    """
    windows, y = draw_formations(n, seed=seed)
    return averaged(candlesticks(windows, SIDE, SIDE, volume=False), side), y


def averaged(pictures: np.ndarray, side: int) -> Tensor:
    """Return uint8 pictures ``(n, C, H, W)`` as float32 ``(n, C, side, side)`` in [0, 1]."""
    if pictures.dtype != np.uint8 or pictures.ndim != 4:
        raise ArgumentError("pictures", pictures, "uint8 (n, channels, height, width)")
    side = integer("side", side, 1, min(pictures.shape[2:]))
    parts = torch.as_tensor(pictures).split(256)
    return torch.cat([F.interpolate(p.float(), (side, side), mode="area") for p in parts]) / 255
