"""Composed pictures, stacks, the map to a net's input, and the streaming loader."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal

from setrade import candles, charts, gramian, orderbook, pictures
from setrade.errors import ArgumentError
from setrade.training.data import Examples

FRAME = candles.synthetic(300, seed=1).candles
WINDOWS = candles.windows(FRAME, 32)


def bars(*rows: tuple[float, ...]) -> np.ndarray:
    """Turn (open, high, low, close, volume) rows into one window (1, 5, n)."""
    return np.array(rows, float).T[None]


def books_of(frame: pd.DataFrame, levels: int = 4, seed: int = 0) -> orderbook.Snapshots:
    """One snapshot a bar, taken one minute after its open; row k drawn after row k - 1."""
    rng = np.random.default_rng(seed)
    mid, steps = frame["open"].to_numpy()[:, None], np.arange(1, levels + 1)
    sizes = rng.gamma(2.0, 1.0, (len(frame), 2, levels)) + 0.01
    time = (pd.DatetimeIndex(frame.index) + pd.Timedelta("1min")).tz_convert(None).to_numpy()
    bid, ask = mid * (1 - 1e-4 * steps), mid * (1 + 1e-4 * steps)
    return orderbook.Snapshots(time, bid, sizes[:, 0], ask, sizes[:, 1])


BOOKS = books_of(FRAME)
LEAN = pictures.book_imbalance(FRAME, BOOKS, 32)


# ---------------------------------------------------------------- to_input


def test_to_input_by_hand():
    drawn = np.array([[[[0, 51, 255]]]], np.uint8)
    assert pictures.to_input(drawn).tolist() == [[[[0.0, pytest.approx(0.2), 1.0]]]]
    field = np.array([[[-1.0, 0.0, 1.0]]], np.float32)  # (B, H, W): one channel
    assert pictures.to_input(field).tolist() == [[[[0.0, 0.5, 1.0]]]]
    assert pictures.to_input(field, (-1.0, 3.0)).tolist() == [[[[0.0, 0.25, 0.5]]]]


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_to_input_out_and_kinds(kind, dtype):
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 255, (2, 3, 4, 5)).astype(dtype)
    drawn = drawn if dtype == np.uint8 else drawn / dtype(127.5) - dtype(1)
    out = torch.empty(2, 3, 4, 5)
    assert pictures.to_input(kind(drawn), out=out) is out
    torch.testing.assert_close(out, pictures.to_input(drawn), rtol=0, atol=1e-7)
    assert out.dtype == torch.float32
    assert float(out.min()) >= 0.0
    assert float(out.max()) <= 1.0


def test_to_input_read_only_and_gradients():
    fixed = np.zeros((1, 3, 2, 2), np.uint8)
    fixed.flags.writeable = False
    assert pictures.to_input(fixed).sum() == 0
    close = torch.linspace(1.0, 2.0, 8, dtype=torch.float64).requires_grad_()
    pictures.to_input(gramian.gadf(close)[None]).sum().backward()
    assert close.grad is not None


# ---------------------------------------------------------------- volume profile


def test_profile_by_hand():
    # Rows for prices 4 3 2 1 0. The first candle passes from 3 to 1: rows of 3 and 1 half,
    # of 2 wholly. The second is a point, at 4; the third makes the range reach down to 0.
    window = bars((1, 3, 1, 3, 8), (4, 4, 4, 4, 5), (0, 0, 0, 0, 1))
    assert pictures.volume_profile(window, 5).tolist() == [[5.0, 2.0, 4.0, 2.0, 1.0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 300), st.integers(1, 50))
def test_profile_conserves_volume(seed, rows, n):
    x = candles.windows(candles.synthetic(60, seed=seed).candles, n, stride=7)
    profile = pictures.volume_profile(x, rows)
    assert profile.min() >= 0.0
    np.testing.assert_allclose(profile.sum(axis=1), x[:, 4].sum(axis=1), rtol=1e-12)


def test_profile_conserves_volume_beyond_the_edge():
    x = np.array(WINDOWS[:5])
    limits = charts.reference_range(x, 0.004)
    profile = pictures.volume_profile(x, 20, price_range=limits, outside="clip")
    np.testing.assert_allclose(profile.sum(axis=1), x[:, 4].sum(axis=1), rtol=1e-12)


def test_profile_agrees_with_a_fine_histogram():
    """Peer: each candle as 20,000 equal lots, dropped into NumPy's histogram."""
    window, rows = WINDOWS[:1], 21
    high, low, volume = window[0, 1], window[0, 2], window[0, 4]
    lots = low + (high - low) * (np.arange(20_000)[:, None] + 0.5) / 20_000
    half = (high.max() - low.min()) / (rows - 1) / 2
    edges = np.linspace(low.min() - half, high.max() + half, rows + 1)
    weights = np.broadcast_to(volume / 20_000, lots.shape)
    expected = np.histogram(lots, edges, weights=weights)[0][::-1]
    got = pictures.volume_profile(window, rows)[0]
    np.testing.assert_allclose(got, expected, atol=2e-4 * volume.sum())


def test_profile_mirrors():
    x = np.array(WINDOWS[:5])
    mirror = np.stack([-x[:, 0], -x[:, 2], -x[:, 1], -x[:, 3], x[:, 4]], axis=1)
    up, down = pictures.volume_profile(x, 51), pictures.volume_profile(mirror, 51)
    np.testing.assert_allclose(up, down[:, ::-1], atol=1e-9 * x[:, 4].sum())


# ---------------------------------------------------------------- compose


def test_compose_by_hand():
    window = bars((0, 4, 0, 2, 6), (2, 2, 2, 2, 2))
    lean = np.array([[[1.0, 0.0], [-1.0, 0.5]]])  # (1, two levels, two bars)
    red, green, blue = pictures.compose(window, lean, 5, 4)[0]
    up, wick, flat = (charts.COLOURS["grey"][charts.INKS.index(x), 0] for x in UP_WICK_FLAT)
    np.testing.assert_array_equal(red[:, 0], [wick, wick, up, up, up])
    np.testing.assert_array_equal(red[:, 2], [0, 0, flat, 0, 0])
    # 6 units over rows 0.5 1 1 1 0.5 of four, and 2 on the middle row: .75 1.5 3.5 1.5 .75
    np.testing.assert_array_equal(green[:, 0], [55, 109, 255, 109, 55])
    assert (green == green[:, :1]).all()
    np.testing.assert_array_equal(blue[:2], [[255, 255, 128, 128]] * 2)
    np.testing.assert_array_equal(blue[2:], [[1, 1, 192, 192]] * 3)


UP_WICK_FLAT = ("up", "up_wick", "flat")


def test_compose_channel_0_is_the_grey_chart_and_planes_do_not_mix():
    got = pictures.compose(WINDOWS, LEAN, 64, 64)
    grey = charts.candlesticks(WINDOWS, 64, 64, volume=False, colours="grey")
    np.testing.assert_array_equal(got[:, 0], grey[:, 0])
    assert (got[:, 1].max(axis=(1, 2)) == 255).all()
    other = pictures.compose(WINDOWS, -LEAN, 64, 64)
    np.testing.assert_array_equal(got[:, :2], other[:, :2])
    np.testing.assert_array_equal(got[:, 2].astype(int), 256 - other[:, 2].astype(int))


def test_compose_takes_one_level_and_reuses_out():
    out = np.full((len(WINDOWS), 3, 40, 64), 99, np.uint8)
    got = pictures.compose(WINDOWS, LEAN[:, 0], 40, 64, out=out)
    assert got is out
    np.testing.assert_array_equal(got, pictures.compose(WINDOWS, LEAN[:, :1], 40, 64))


def test_no_volume_is_a_dark_profile():
    window = bars((1, 2, 1, 2, 0), (2, 3, 2, 3, 0))
    assert pictures.compose(window, np.zeros((1, 2)), 8, 8)[0, 1].max() == 0


def test_book_imbalance_by_hand():
    index = pd.date_range("2024-01-01", periods=3, freq="1min", tz="UTC", name="time")
    frame = pd.DataFrame(dict.fromkeys(candles.COLUMNS, 100.0), index=index)
    seconds = [0, 59, 60, 61, 121, 180]  # 60: the first bar's close, which it may see
    time = np.datetime64("2024-01-01", "ns") + np.array(seconds, "timedelta64[s]")
    bid_size = np.array([[1, 1], [1, 1], [3, 1], [1, 1], [1, 3], [9, 9]], float)
    prices = np.ones((6, 1)) * [100.0, 99.0], np.ones((6, 1)) * [101.0, 102.0]
    books = orderbook.Snapshots(time, prices[0], bid_size, prices[1], np.ones((6, 2)))
    got = pictures.book_imbalance(frame, books, 3)
    # Bar 1 sees second 60, bar 2 second 61, bar 3 second 180, its very close.
    np.testing.assert_allclose(got, [[[0.5, 0.0, 0.8], [1 / 3, 0.0, 0.8]]])


def test_book_imbalance_refuses_a_bar_without_a_snapshot():
    gap = BOOKS[np.delete(np.arange(len(BOOKS)), [40, 41])]
    with pytest.raises(ArgumentError, match=r"2 have none, the first at 2024-01-01 10:00"):
        pictures.book_imbalance(FRAME, gap, 32)
    with pytest.raises(ArgumentError, match="1 have none"):
        pictures.book_imbalance(FRAME, BOOKS[1:], 32)


# ---------------------------------------------------------------- the truncation law


def stacked(frame: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    encoders = [pictures.encoder(name, 24) for name in names]
    return pictures.Stack(encoders)(candles.windows(frame, 24)).numpy()


@pytest.mark.parametrize("name", list(pictures.ENCODERS))
def test_truncation_law_of_every_encoder(name):
    assert_causal(partial(stacked, names=(name,)), FRAME.iloc[:90], offset=23)


def test_truncation_law_of_composed_pictures():
    def draw(frame):
        lean = pictures.book_imbalance(frame, BOOKS, 24)  # the book's own future is there
        return pictures.compose(candles.windows(frame, 24), lean, 32, 48)

    assert_causal(draw, FRAME.iloc[:90], offset=23)


# ---------------------------------------------------------------- stacks


def test_stack_is_its_encoders_side_by_side():
    names = ("candles", "gasf", "gadf", "transition", "recurrence")
    got = pictures.Stack([pictures.encoder(n, 32) for n in names])(WINDOWS)
    assert got.shape == (len(WINDOWS), 7, 32, 32)
    drawn = charts.candlesticks(WINDOWS, 32, 32)
    torch.testing.assert_close(got[:, :3], pictures.to_input(drawn), rtol=0, atol=0)
    field = gramian.gadf(WINDOWS[:, 3], 32)
    torch.testing.assert_close(got[:, 4:5], pictures.to_input(field), rtol=0, atol=0)
    assert set(got[:, 6].unique().tolist()) == {0.0, 1.0}
    assert float(got.min()) >= 0.0
    assert float(got.max()) <= 1.0


def test_stack_keeps_its_buffers():
    stack = pictures.Stack([pictures.encoder("candles", 32), pictures.encoder("gasf", 32)])
    first = stack(WINDOWS[:8])
    where, size = first.data_ptr(), stack.nbytes
    assert size == 8 * 32 * 32 * (3 * (1 + 4) + (4 + 4))
    expected = pictures.Stack(stack.encoders)(WINDOWS[8:13]).clone()
    again = stack(WINDOWS[8:13])
    assert again.data_ptr() == where
    assert stack.nbytes == size
    torch.testing.assert_close(again, expected, rtol=0, atol=0)


def test_direction_is_lost_in_gasf_and_recurrence_and_kept_in_gadf_and_candles():
    """TRAPS 1 on what a net is given: the mirror image of a window."""
    x = np.array(WINDOWS[:3])
    mirror = np.stack([-x[:, 0], -x[:, 2], -x[:, 1], -x[:, 3], x[:, 4]], axis=1)
    for name, same in [("gasf", True), ("recurrence", True), ("gadf", False), ("candles", False)]:
        stack = pictures.Stack([pictures.encoder(name, 32)])
        p, q = stack(x).clone(), stack(mirror)
        assert torch.allclose(p, q, atol=1e-6) is same, name


# ---------------------------------------------------------------- the loader


def targets_of(n: int) -> np.ndarray:
    return np.arange(n) % 3


def test_set_gives_the_pictures_of_its_rows():
    rows = np.array([5, 3, 100, 7])
    data = pictures.PictureSet(
        WINDOWS, targets_of(len(WINDOWS)), pictures.encoder("candles", 32), rows=rows
    )
    assert isinstance(data, Examples)
    assert len(data) == 4
    x, y = data.batch(torch.tensor([2, 0]))
    expected = pictures.to_input(charts.candlesticks(WINDOWS[[100, 5]], 32, 32))
    torch.testing.assert_close(x, expected, rtol=0, atol=0)
    assert y.tolist() == [1, 2]
    assert y.dtype == torch.int64


def test_stream_visits_each_window_once_and_shuffles_by_seed():
    y = np.arange(len(WINDOWS), dtype=float)
    data = pictures.PictureSet(WINDOWS, y, pictures.encoder("gasf", 8))
    seen = [batch for _, batch in data.stream(64)]
    assert [len(batch) for batch in seen] == [64, 64, 64, 64, 13]
    assert seen[0].dtype == torch.float32
    assert torch.cat(seen).tolist() == y.tolist()
    one = torch.cat([batch for _, batch in data.stream(64, seed=3)])
    two = torch.cat([batch for _, batch in data.stream(50, seed=3)])
    assert one.tolist() == two.tolist() != y.tolist()
    assert sorted(one.tolist()) == y.tolist()


def test_set_hands_extras_to_the_encoder():
    draw = partial(pictures.compose, height=32, width=32)
    data = pictures.PictureSet(
        WINDOWS, targets_of(len(WINDOWS)), pictures.Encoder(draw), extras=[LEAN]
    )
    x, _ = data.batch(np.array([9, 2]))
    expected = pictures.compose(WINDOWS[[9, 2]], LEAN[[9, 2]], 32, 32)
    torch.testing.assert_close(x, pictures.to_input(expected), rtol=0, atol=0)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc of Linux")
def test_100_000_windows_stream_in_the_memory_of_one_batch():
    frame = candles.synthetic(100_059, seed=2).candles
    x = candles.windows(frame, 60)
    assert len(x) == 100_000
    data = pictures.PictureSet(x, targets_of(len(x)), pictures.encoder("candles", 64))
    stream = data.stream(256, seed=0)
    count = len(next(stream)[1]) + len(next(stream)[1])
    start = most = resident()
    for _, y in stream:
        count, most = count + len(y), max(most, resident())
    assert count == 100_000
    assert data.stack.nbytes == 256 * 3 * 64 * 64 * (1 + 4)  # as the docstring states: 15.7 MB
    all_pictures = count * 3 * 64 * 64 * (1 + 4)  # 6.1 GB
    assert most - start < 24e6 < all_pictures / 200


# ---------------------------------------------------------------- bad input

ONE = np.zeros((1, 3, 2, 2), np.uint8)
CANDLES = pictures.encoder("candles", 32)
Y = targets_of(len(WINDOWS))
NAN_WINDOWS = np.array(WINDOWS)
NAN_WINDOWS[3, 0, 0] = np.nan
BAD = [
    (pictures.to_input, "pictures", ([[1]],)),
    (pictures.to_input, "pictures", (np.zeros((2, 2), np.uint8),)),
    (pictures.to_input, "pictures", (ONE[:0],)),
    (pictures.to_input, "pictures", (ONE.astype(np.int64),)),
    (pictures.to_input, "pictures", (np.full((1, 2, 2), 1.5),)),
    (pictures.to_input, "pictures", (np.full((1, 2, 2), np.nan),)),
    (pictures.to_input, "bounds", (ONE, (0, 255))),
    (pictures.to_input, "bounds", (np.zeros((1, 2, 2)), (1.0, 1.0))),
    (pictures.to_input, "bounds", (np.zeros((1, 2, 2)), (0.0,))),
    (pictures.to_input, "bounds", (np.zeros((1, 2, 2)), (0.0, 1.0, 2.0))),
    (pictures.volume_profile, "rows", (WINDOWS, 2)),
    (pictures.volume_profile, "windows", (WINDOWS[0], 9)),
    (pictures.volume_profile, "windows", (NAN_WINDOWS, 9)),
    (partial(pictures.volume_profile, price_range="all"), "price_range", (WINDOWS, 9)),
    (pictures.compose, "imbalance", (WINDOWS, None)),
    (pictures.compose, "imbalance", (WINDOWS, LEAN[:, :, :9])),
    (pictures.compose, "imbalance", (WINDOWS, LEAN[:5])),
    (pictures.compose, "imbalance", (WINDOWS, LEAN * 9)),
    (pictures.compose, "imbalance", (WINDOWS, np.where(LEAN > 0.9, np.nan, LEAN))),
    (pictures.compose, "imbalance", (WINDOWS, LEAN, 3)),
    (pictures.compose, "height", (WINDOWS, LEAN, 2)),
    (pictures.compose, "width", (WINDOWS, LEAN, 32, 31)),
    (pictures.compose, "windows", (NAN_WINDOWS, LEAN)),
    (pictures.book_imbalance, "books", (FRAME, None, 32)),
    (pictures.book_imbalance, "length", (FRAME, BOOKS, 301)),
    (pictures.book_imbalance, "stride", (FRAME, BOOKS, 32, 0)),
    (pictures.book_imbalance, "candles", (FRAME.iloc[:0], BOOKS, 32)),
    (pictures.encoder, "name", ("gaf", 32)),
    (pictures.encoder, "size", ("gasf", 1)),
    (pictures.Stack, "encoders", ([],)),
    (pictures.Stack, "encoders", (["gasf"],)),
    (pictures.Stack([CANDLES, pictures.encoder("gasf", 16)]), "encoders", (WINDOWS,)),
    (pictures.Stack([pictures.encoder("recurrence", 16)]), "windows", (WINDOWS,)),
    (pictures.PictureSet, "windows", (WINDOWS[0], Y, CANDLES)),
    (pictures.PictureSet, "targets", (WINDOWS, Y[:-1], CANDLES)),
    (pictures.PictureSet, "targets", (WINDOWS, np.where(Y > 1, np.nan, Y), CANDLES)),
    (pictures.PictureSet, "encoders", (WINDOWS, Y, "candles")),
    (partial(pictures.PictureSet, rows=[0, 269]), "rows", (WINDOWS, Y, CANDLES)),
    (partial(pictures.PictureSet, rows=[0.5]), "rows", (WINDOWS, Y, CANDLES)),
    (partial(pictures.PictureSet, extras=[LEAN[:3]]), "extras", (WINDOWS, Y, CANDLES)),
    (pictures.PictureSet(WINDOWS, Y, CANDLES).stream, "batch_size", (0,)),
    (partial(pictures.PictureSet(WINDOWS, Y, CANDLES).stream, seed=-1), "seed", (8,)),
    (pictures.PictureSet(WINDOWS, Y, CANDLES).batch, "rows", ([269],)),
]


@pytest.mark.parametrize(("function", "name", "arguments"), BAD)
def test_bad_argument_is_named(function, name, arguments):
    with pytest.raises(ValueError, match=name) as caught:
        function(*arguments)
    if name != "candles":  # candles.check has its own error, which names all faults
        assert isinstance(caught.value, ArgumentError)
        assert caught.value.name == name


@pytest.mark.parametrize(
    "out", [torch.empty(1, 3, 2, 3), torch.empty(1, 3, 2, 2, dtype=torch.float64), np.empty(3)]
)
def test_unfit_out_is_refused(out):
    with pytest.raises(ArgumentError, match="^out"):
        pictures.to_input(ONE, out=out)
