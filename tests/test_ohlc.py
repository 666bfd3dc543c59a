"""The reference paper's picture and net: pixels by hand, a slow plain version, shapes, faults."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import candles, pictures, training
from setrade.errors import ArgumentError
from setrade.pictures import PriceTrends, ohlc


def walk(n_windows: int, n: int, seed: int = 0) -> np.ndarray:
    """Return random, valid windows (N, 5, n)."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 0.02, (n_windows, n)).cumsum(1))
    first = close * np.exp(rng.normal(0, 0.01, close.shape))
    high = np.maximum(first, close) * np.exp(rng.exponential(0.01, close.shape))
    low = np.minimum(first, close) / np.exp(rng.exponential(0.01, close.shape))
    return np.stack([first, high, low, close, rng.gamma(2.0, 1.0, close.shape)], axis=1)


def plain_row(price: float, low: float, high: float, rows: int) -> int:
    """Return the nearest row, top = high; on a tie the one farther from the middle."""
    if high == low:
        return rows // 2 - 1 + rows % 2
    exact = (high - price) / (high - low) * (rows - 1)
    below, above = int(np.floor(exact)), int(np.ceil(exact))
    if abs(exact - below - 0.5) < 1e-9:
        return below if exact < (rows - 1) / 2 else above
    return round(exact)


def slow(window: np.ndarray, bars: int, height: int) -> np.ndarray:
    """Draw one window (5, n) pixel by pixel, as the docstring says."""
    n, volume_rows = window.shape[1], height // 5
    rows, first = height - volume_rows - 1, n - bars
    means = {
        i: float(np.mean(window[3, first + i - bars + 1 : first + i + 1]))
        for i in range(bars)
        if first + i + 1 >= bars
    }
    low = min([*window[2, first:], *means.values()])
    high = max([*window[1, first:], *means.values()])
    picture = np.zeros((height, 3 * bars), np.uint8)
    for i in range(bars):
        o, h, low_i, c, v = window[:, first + i]
        picture[plain_row(o, low, high, rows), 3 * i] = 255
        for row in range(plain_row(h, low, high, rows), plain_row(low_i, low, high, rows) + 1):
            picture[row, 3 * i + 1] = 255
        picture[plain_row(c, low, high, rows), 3 * i + 2] = 255
        for k in range(int(v / window[4, first:].max() * volume_rows + 0.5)):
            picture[height - 1 - k, 3 * i + 1] = 255
    for i, mean in means.items():
        for part in range(3):
            column, onto = 3 * i + 1 + part, means.get(i + 1)
            if onto is not None:
                value = mean + (onto - mean) * part / 3
            elif part == 0:
                value = mean
            else:
                continue
            picture[plain_row(value, low, high, rows), column] = 255
    return picture


# ---------------------------------------------------------------- the picture


def art(picture: np.ndarray) -> list[str]:
    return ["".join("#" if x else "." for x in row) for row in picture]


def test_two_bars_by_hand():
    # Prices 0 … 4 on five rows, two rows of volume below an empty one (8 - 8 // 5 = 7, less one:
    # six rows of price). The average of two bars is known at the second alone: (1 + 4) / 2.
    window = np.array([[2, 1], [5, 5], [0, 1], [1, 4], [1, 2]], float)[None]
    assert art(ohlc(window, 2, 8)[0, 0]) == [
        ".#..#.",
        ".#..##",
        ".#..#.",
        "##..#.",
        ".###" + "#.",
        ".#....",
        "......",
        ".#..#.",
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(2, 24), st.integers(0, 25), st.sampled_from((20, 41, 64))
)
def test_equal_to_the_plain_version(seed, bars, more, height):
    windows = walk(3, bars + more, seed)
    expected = np.stack([slow(w, bars, height) for w in windows])
    np.testing.assert_array_equal(ohlc(windows, bars, height)[:, 0], expected)


def test_a_picture_has_the_papers_size_and_two_values():
    drawn = ohlc(walk(5, 39))
    assert drawn.shape == (5, 1, 64, 60)
    assert set(np.unique(drawn)) == {0, 255}
    assert not drawn[:, 0, 51].any()  # the row between prices and volume
    x = pictures.to_input(drawn)
    assert x.dtype == torch.float32
    assert set(x.unique().tolist()) == {0.0, 1.0}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-6, 1e6), st.floats(1e-3, 1e9))
def test_scale_of_price_and_volume_does_not_show(seed, price, volume):
    windows = walk(2, 39, seed)
    scaled = windows * np.array([price, price, price, price, volume])[:, None]
    different = (ohlc(windows) != ohlc(scaled)).mean()
    assert different < 0.001  # a price within rounding of an edge may move by one row


def test_only_the_drawn_bars_and_the_closes_before_them_are_read():
    windows = walk(3, 45, 1)
    changed = windows.copy()
    changed[:, :, :6] *= 1.5  # older than the 19 closes that the first average needs
    changed[:, 4, :25] *= 7  # volume before the picture
    np.testing.assert_array_equal(ohlc(windows), ohlc(changed))


def test_the_average_needs_its_bars():
    windows = walk(1, 39, 2)
    short = windows[:, :, 19:]
    with_all, without = ohlc(windows)[0, 0], ohlc(short)[0, 0]
    assert with_all.sum() != without.sum()
    np.testing.assert_array_equal(without, slow(short[0], 20, 64))


def test_prices_that_never_move_are_one_line():
    flat = np.full((1, 5, 39), 7.0)
    drawn = ohlc(flat)[0, 0]
    assert [int(row) for row in np.flatnonzero(drawn[:51].any(1))] == [25]
    quiet = flat.copy()
    quiet[:, 4] = 0
    assert not ohlc(quiet)[0, 0, 52:].any()


def test_a_frame_a_buffer_and_a_batch_agree():
    bars = candles.synthetic(60, seed=3).candles
    windows = candles.windows(bars, 39)
    batch = ohlc(windows)
    for k in (0, len(windows) - 1):
        frame = bars.iloc[k : k + 39]
        np.testing.assert_array_equal(ohlc(frame)[0], batch[k])
    out = np.full((len(windows), 1, 64, 60), 9, np.uint8)
    assert ohlc(windows, out=out) is out
    np.testing.assert_array_equal(out, batch)


def test_bad_input_is_named():
    good = walk(2, 39)
    for name, call in {
        "windows": lambda: ohlc(good[:, :, :19]),
        "bars": lambda: ohlc(good, 0),
        "height": lambda: ohlc(good, 20, 4),
        "out": lambda: ohlc(good, out=np.empty((2, 1, 64, 61), np.uint8)),
    }.items():
        with pytest.raises(ArgumentError, match=f"^{name}"):
            call()
    hole = good.copy()
    hole[1, 3, 7] = np.nan
    with pytest.raises(ArgumentError, match="window 1, candle 7"):
        ohlc(hole)
    with pytest.raises(ArgumentError, match="windows"):
        ohlc(pd.DataFrame({"open": [1.0]}))


# ---------------------------------------------------------------- the net


def test_the_net_has_the_papers_parameters():
    training.seed_everything(0)
    net = PriceTrends()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert sum(count.values()) == 708_866
    assert count["decide"] == 46_080 * 2 + 2
    shapes = []
    x = torch.zeros(1, 1, 64, 60)
    for block in net.blocks.children():
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(64, 13, 60), (128, 6, 60), (256, 3, 60)]
    bound = (6 / (15 * 64 + 15 * 128)) ** 0.5  # Xavier: fan in and fan out
    weight = dict(net.named_parameters())["blocks.1.0.weight"].detach()
    assert 0.95 * bound < float(weight.abs().max()) <= bound
    assert not net.decide.bias.any()


def test_the_net_learns_what_a_picture_shows():
    training.seed_everything(0)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 96)
    windows = walk(96, 39, 4)
    drift = np.exp(np.outer(2.0 * y - 1, np.r_[np.zeros(29), np.arange(1, 11)]) * 0.03)
    windows[:, :4] *= drift[:, None]
    windows[:, 1], windows[:, 2] = windows[:, :4].max(1), windows[:, :4].min(1)
    data = training.TensorSet(pictures.to_input(ohlc(windows)), torch.from_numpy(y))
    net = PriceTrends()
    training.fit(net, data, num_epochs=6, lr=1e-4, batch_size=16, device="cpu", progress=False)
    told = training.predict(net, data).argmax(1).numpy()
    assert (told == y).mean() > 0.9


def test_the_net_refuses_other_pictures():
    net = PriceTrends()
    for shape in ((1, 3, 64, 60), (1, 1, 60, 64), (1, 64, 60)):
        with pytest.raises(ArgumentError, match="^x"):
            net(torch.zeros(shape))
    with pytest.raises(ArgumentError, match="dropout"):
        PriceTrends(dropout=1.0)
    with pytest.raises(ArgumentError, match="num_classes"):
        PriceTrends(num_classes=1)
