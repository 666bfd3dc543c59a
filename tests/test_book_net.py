"""Order-book pictures: what a picture holds, and that the net finds a planted signal."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from setrade import orderbook, training
from setrade.errors import ArgumentError
from setrade.models.book_net import BookNet, BookSet

pytestmark = pytest.mark.usefixtures("one_thread")
TICK = 1e4 * 0.1 / 60_000  # one tick in basis points
SPAN = 16 * TICK  # a row is one tick


def market(signal: float, n: int = 3_000, seed: int = 0) -> orderbook.Snapshots:
    """A book without walls or spoofs."""
    return orderbook.synthetic(n, seed=seed, signal=signal, walls=0, filled=0, spoofs=0).books


def examples(books: orderbook.Snapshots, ends: np.ndarray) -> tuple[training.TensorSet, np.ndarray]:
    """Pictures of ``ends`` and the moves of the next five snapshots."""
    move = orderbook.next_move(books, 5)
    made = BookSet(books, 1 + np.sign(move), ends, span_bps=SPAN)
    return training.TensorSet(*made.batch(torch.arange(len(made)))), move[ends]


def correlation(net: BookNet, data: training.TensorSet, move: np.ndarray) -> float:
    """Rank correlation of P(up) - P(down) with the move."""
    p = training.predict(net, data).softmax(1).numpy()
    return np.asarray(spearmanr(p[:, 2] - p[:, 0], move)[0]).item()


def trained(books: orderbook.Snapshots, seed: int = 0) -> BookNet:
    """A net fitted on the first 60 %."""
    data, _ = examples(books, np.arange(31, int(0.6 * len(books)) - 40))
    training.seed_everything(seed)
    net = BookNet(dropout=0.3)
    training.fit(net, data, num_epochs=6, lr=3e-3, weight_decay=0.01, batch_size=64,
                 device="cpu", progress=False)  # fmt: skip
    return net


@pytest.fixture(scope="module")
def planted():
    """A book whose moves follow the pressure, a net trained on it, and its test pictures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    books = market(1.0)
    net = trained(books)
    torch.set_num_threads(threads)
    return net, *examples(books, np.arange(int(0.6 * 3_000), 2_990))


@pytest.mark.slow
def test_planted_signal_is_found(planted):
    net, data, move = planted
    assert correlation(net, data, move) > 0.2


@pytest.mark.slow
def test_signal_sits_near_the_touch(planted):
    """Hide rows: without the four nearest the mid little is left, without the far ones much."""
    net, data, move = planted
    mean = data.x.mean(0)
    left = {}
    for name, rows in (("near", [*range(12, 20)]), ("far", [*range(8), *range(24, 32)])):
        x = data.x.clone()
        x[:, :, rows] = mean[:, rows]
        left[name] = correlation(net, training.TensorSet(x, data.y), move)
    assert left["far"] > 0.15
    assert left["near"] < 0.7 * left["far"]


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is():
    """The same book with fair coins for moves: the correlation is that of chance."""
    books = market(0.0, seed=1)
    data, move = examples(books, np.arange(1_800, 2_990))
    assert abs(correlation(trained(books), data, move)) < 0.12


def test_picture_by_hand():
    """One bid and one ask, 3 and 1 BTC; the largest size drawn is 3."""
    time = np.array(["2024-01-01", "2024-01-02"], "datetime64[ns]")
    books = orderbook.Snapshots(time, *[np.full((2, 1), v) for v in (98.5, 3.0, 101.5, 1.0)])
    made = BookSet(books, np.ones(2), np.array([1]), rows=4, span_bps=200, window=2, largest=3)
    x, y = made.batch(torch.tensor([0]))
    expected = torch.zeros(1, 2, 4, 2)
    expected[0, 0, 3], expected[0, 1, 0] = 1.0, float(np.log(2) / np.log(4))
    torch.testing.assert_close(x, expected)
    assert y.tolist() == [1]
    clipped = BookSet(books, np.ones(2), np.array([1]), rows=4, span_bps=200, window=2, largest=1)
    assert clipped.batch(torch.tensor([0]))[0].max() == 1


@torch.no_grad()
def test_every_snapshot_counts():
    """Each column reaches the answer, the newest too: strided convolutions may drop it."""
    training.seed_everything(0)
    net = BookNet(rows=8).eval()
    x = torch.rand(1, 2, 8, 32, generator=torch.Generator().manual_seed(0))
    before = net(x)
    for column in range(32):
        other = x.clone()
        other[..., column] += 0.5
        assert not torch.equal(net(other), before), column


@torch.no_grad()
def test_rows_are_told_apart():
    """A mean over pixels would forget the row; this net does not."""
    training.seed_everything(0)
    net, x = BookNet(rows=8).eval(), torch.zeros(2, 2, 8, 16)
    x[0, 0, 4], x[1, 0, 7] = 1.0, 1.0
    assert not torch.allclose(*net(x), atol=1e-4)


def test_pictures_know_no_future():
    books, ends = market(0.5, 200), np.array([50, 99])
    y = np.zeros(200)
    full = BookSet(books, y, ends).batch(torch.arange(2))[0]
    cut = BookSet(books[:100], y[:100], ends).batch(torch.arange(2))[0]
    assert torch.equal(full, cut)


def test_values_and_classes():
    books, y = market(0.5, 200), np.linspace(0, 1, 200)
    made = BookSet(books, y, np.arange(40, 60), kind="value")
    target = made.batch(torch.tensor([3]))[1]
    assert target.dtype == torch.float32
    assert abs(target.item() - y[43]) < 1e-6


@pytest.mark.slow
def test_recorded_book_learns_something():
    """The first half of the real recording: better than a coin (the study has the interval)."""
    folder = os.environ.get("SETRADE_DATA")
    if folder is None:
        pytest.skip("SETRADE_DATA is not set: no recorded book")
    import pandas as pd

    raw = pd.read_parquet(Path(folder) / "binance_btcusdt_perp_l2top20_20240808.parquet")
    sides = [raw[[f"{side}{k}" for k in range(1, 21)]].to_numpy()
             for side in ("bidp", "bidq", "askp", "askq")]  # fmt: skip
    stamps = pd.to_datetime(raw.ts, unit="ms").to_numpy("datetime64[ns]")
    books = orderbook.Snapshots(stamps, *sides)[:3_000]
    net = trained(books)
    data, move = examples(books, np.arange(1_800, 2_990))
    assert correlation(net, data, move) > 0.0


BOOKS = market(0.5, 200)
Y, ENDS = np.zeros(200), np.array([50])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: BookNet(rows=0), "rows"),
        (lambda: BookNet(hidden=0), "hidden"),
        (lambda: BookNet(kernel=0), "kernel"),
        (lambda: BookNet(dropout=1.0), "dropout"),
        (lambda: BookNet(num_classes=0), "num_classes"),
        (lambda: BookNet()(torch.zeros(1, 2, 31, 32)), "x"),
        (lambda: BookNet()(torch.zeros(1, 3, 32, 32)), "x"),
        (lambda: BookNet()(torch.zeros(1, 2, 32, 8)), "x"),
        (lambda: BookSet([1], Y, ENDS), "books"),  # type: ignore[arg-type]
        (lambda: BookSet(BOOKS, Y[:9], ENDS), "targets"),
        (lambda: BookSet(BOOKS, np.full(200, np.nan), ENDS), "targets"),
        (lambda: BookSet(BOOKS, Y + 0.5, ENDS), "targets"),
        (lambda: BookSet(BOOKS, Y, np.array([30])), "ends"),
        (lambda: BookSet(BOOKS, Y, np.array([200])), "ends"),
        (lambda: BookSet(BOOKS, Y, np.array([50.0])), "ends"),
        (lambda: BookSet(BOOKS, Y, ENDS, window=0), "window"),
        (lambda: BookSet(BOOKS, Y, ENDS, rows=0), "rows"),
        (lambda: BookSet(BOOKS, Y, ENDS, span_bps=0), "span_bps"),
        (lambda: BookSet(BOOKS, Y, ENDS, largest=0), "largest"),
        (lambda: BookSet(BOOKS, Y, ENDS, kind="both"), "kind"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ArgumentError) as error:
        call()
    assert error.value.name == name
