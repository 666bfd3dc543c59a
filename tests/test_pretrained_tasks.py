"""The study of borrowed weights on regimes and books: who knows is right, and nothing is shared."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import pretrained_tasks as pt
import transfer

from setrade import regimes

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"train": 60, "validation": 40, "test": 60, "num_epochs": 1}


@pytest.fixture(autouse=True)
def short_book(monkeypatch):
    monkeypatch.setattr(pt, "BOOK", pt.BOOK | {"n": 1_500, "filled": 8, "spoofs": 8})


def test_the_filter_is_that_of_the_chain_it_is_told():
    market = regimes.planted(4_000, seed=5, volatility=pt.VOLATILITY, drift=pt.DRIFT, stay=pt.STAY)
    p = pt.filtered(np.log(market.candles["close"].to_numpy()))
    np.testing.assert_allclose(p.sum(1), 1)
    y = market.regime.cat.codes.to_numpy()[1:]
    assert (p.argmax(1) == y).mean() > 0.6
    sure = p.max(1)  # a chance of 0.8 comes true in about four of five
    for low, high in ((0.5, 0.7), (0.7, 0.9)):
        rows = (sure > low) & (sure <= high)
        assert (p.argmax(1) == y)[rows].mean() == pytest.approx(sure[rows].mean(), abs=0.06)


def test_the_filter_knows_nothing_of_later_bars():
    rng = np.random.default_rng(0)
    log = rng.normal(size=200).cumsum() * 0.003
    whole, part = pt.filtered(log), pt.filtered(log[:120])
    np.testing.assert_array_equal(whole[:119], part)


@pytest.mark.parametrize(("make", "channels"), [(pt.regime_task, 3), (pt.book_task, 2)])
def test_a_task_is_whole_and_can_be_answered(make, channels):
    size = SMALL | {"train": 300, "test": 300}
    x, plain, y, parts, best = make(1, size)
    assert x.shape[1:] == (channels, transfer.SIZE, transfer.SIZE)
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    assert len(x) == len(plain) == len(y)
    assert np.isfinite(plain).all()
    assert len(set(np.concatenate(parts).tolist())) == sum(map(len, parts))
    assert set(y[parts[0]]) == {0, 1, 2}
    truth = y[parts[2]]
    shares = np.bincount(truth, minlength=3) / len(truth)
    assert best.shape == (len(truth), 3)
    assert (best.argmax(1) == truth).mean() > shares.max() + 0.05


@pytest.fixture
def market(monkeypatch):
    """Return the regimes' task of a seed with windows in place of pictures, and its market."""
    monkeypatch.setattr(transfer, "pictures", lambda windows, kind: windows)
    windows, _, y, parts, best = pt.regime_task(2, SMALL)
    n = len(windows)
    made = regimes.planted(
        transfer.BARS + pt.BETWEEN * n, seed=2, volatility=pt.VOLATILITY, drift=pt.DRIFT,
        stay=pt.STAY,
    )  # fmt: skip
    ends = transfer.BARS - 1 + pt.BETWEEN * np.arange(n)
    return windows, y, parts, best, made, ends


def test_a_picture_ends_at_its_bar_and_best_knows_no_later_one(market):
    windows, y, parts, best, made, ends = market
    close = made.candles["close"].to_numpy()
    np.testing.assert_array_equal(windows[:, 3, -1], close[ends])
    np.testing.assert_array_equal(y, made.regime.cat.codes.to_numpy()[ends])
    for k in (0, len(best) - 1):
        until = close[: ends[parts[2][k]] + 1]
        np.testing.assert_array_equal(pt.filtered(np.log(until))[-1], best[k])


def test_pictures_of_two_parts_share_no_bar(market):
    windows, _, parts, *_ = market
    seen = [{tuple(bar) for w in windows[rows] for bar in w.T} for rows in parts]
    for before, after in pairwise(seen):
        assert before.isdisjoint(after)


def test_a_heat_map_knows_no_later_snapshot(monkeypatch):
    draw = pt.orderbook.synthetic
    x, plain, _, parts, _ = pt.book_task(1, SMALL)
    row = parts[2][0]  # sizes are scaled by the training part, which ends before
    last = int(np.floor(1_500 * 0.75))  # where the test begins, and its first picture ends

    def altered(*args, **kwargs):
        made = draw(*args, **kwargs)
        books = made.books
        later = np.arange(len(books)) > last
        sizes = {
            name: np.where(later[:, None], 3 * getattr(books, name), getattr(books, name))
            for name in ("bid_size", "ask_size")
        }
        return replace(made, books=replace(books, **sizes))

    monkeypatch.setattr(pt.orderbook, "synthetic", altered)
    other, numbers, *_ = pt.book_task(1, SMALL)
    assert torch.equal(x[row], other[row])
    np.testing.assert_array_equal(plain[row], numbers[row])
    assert not torch.equal(x[row + 1 :], other[row + 1 :])


def test_a_small_run():
    rows = [{"measures": pt.work({"task": "heat maps", "seed": s}, SMALL)} for s in range(2)]
    made = pt.table(rows)
    assert set(made["right"]) == {*transfer.ARMS, pt.BEST}
    for a, b in pt.PAIRS:
        gap = made["right"][a]["estimate"] - made["right"][b]["estimate"]
        assert made["less"][f"{a} - {b}"]["estimate"] == pytest.approx(gap)
        assert made["less"][f"{a} - {b}"]["low"] <= made["less"][f"{a} - {b}"]["high"]
    assert {v["word"] for v in made["learned"].values()} <= {"learned", "not learned"}
