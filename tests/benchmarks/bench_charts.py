"""Candlestick charts against Pillow and mplfinance, and against filling the same buffer."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from setrade import charts

N, BARS, SIZE = 256, 60, 224
NAMES = ["open", "high", "low", "close", "volume"]


def windows(n_windows: int = N, n: int = BARS) -> np.ndarray:
    rng = np.random.default_rng(0)
    close = 100.0 + rng.normal(0, 0.3, (n_windows, n)).cumsum(axis=1)
    first = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    high = np.maximum(first, close) + rng.exponential(0.2, close.shape)
    low = np.minimum(first, close) - rng.exponential(0.2, close.shape)
    return np.stack([first, high, low, close, rng.gamma(2.0, 1.0, close.shape)], axis=1)


def pillow(window: np.ndarray) -> np.ndarray:
    """Draw one chart with Pillow: wick, body and volume bar of each candle."""
    image = Image.new("RGB", (SIZE, SIZE))
    draw = ImageDraw.Draw(image)
    low, scale = window[2].min(), 178 / (window[1].max() - window[2].min())
    rows = np.rint(178 - (window[:4] - low) * scale).astype(int).T.tolist()
    tall = np.rint(window[4] / window[4].max() * 44).astype(int).tolist()
    for i, (first, high, bottom, last) in enumerate(rows):
        left, right = i * SIZE // BARS, (i + 1) * SIZE // BARS - 2
        body, wick = ((130, 205, 245), (70, 125, 155)) if last < first else ((190, 75, 0),) * 2
        middle = (left + right) // 2
        draw.line((middle, high, middle, bottom), wick)
        draw.rectangle((left, min(first, last), right, max(first, last)), body)
        draw.rectangle((left, SIZE - tall[i], right, SIZE), wick)
    return np.asarray(image).transpose(2, 0, 1)


def mplfinance_chart(frame: pd.DataFrame) -> np.ndarray:
    """Draw one chart with mplfinance at 224 x 224 pixels into memory."""
    import matplotlib.pyplot as plt
    import mplfinance as mpf

    figure, _ = mpf.plot(
        frame, type="candle", volume=True, axisoff=True, returnfig=True, figsize=(2.24, 2.24)
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=100)
    plt.close(figure)
    pixels = np.frombuffer(buffer.getvalue(), np.uint8).reshape(SIZE, SIZE, 4)
    return pixels[..., :3].transpose(2, 0, 1)


def test_candlesticks_224(race):
    """224 x 224 of 60 candles, RGB included: 15 x Pillow, within 4 x of refilling the buffer."""
    x = windows()
    out = np.empty((N, 3, SIZE, SIZE), np.uint8)
    assert pillow(x[0]).shape == out.shape[1:]
    times = race(
        lambda: charts.candlesticks(x, out=out),
        pillow_of_16=lambda: [pillow(w) for w in x[: N // 16]],
        refill=lambda: out.fill(0),
    )
    race.bound("pillow", 16 * times["pillow_of_16"] / times["ours"], 15)
    race.bound("refill", times["refill"] / times["ours"], 0.25)
    race.note("pictures_a_second", N / times["ours"])


def test_candlesticks_against_mplfinance(race):
    """At least 1,000 times mplfinance, picture for picture."""
    pytest.importorskip("mplfinance")
    x = windows()
    out = np.empty((N, 3, SIZE, SIZE), np.uint8)
    index = pd.date_range("2024-01-01", periods=BARS, freq="15min")
    frame = pd.DataFrame(x[0].T, index=index, columns=NAMES)
    times = race(
        lambda: charts.candlesticks(x, out=out), mplfinance_1=lambda: mplfinance_chart(frame)
    )
    race.bound("mplfinance", N * times["mplfinance_1"] / times["ours"], 1000)


def test_candlesticks_64(race):
    """64 x 64 of 32 candles, what the small nets of the book are trained on, with averages."""
    x = windows(1024, 32)
    out = np.empty((1024, 3, 64, 64), np.uint8)
    options = {"out": out, "averages": (5, 20)}
    race(lambda: charts.candlesticks(x, 64, 64, **options), refill=lambda: out.fill(0))
