"""What the studies of real books compute by hand: F1, ranks, planted sides, causal extremes."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import f1_score

from setrade import orderbook

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "studies"))

import book_judge
import book_venues
import books_real


def test_f1_of_counts_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, call, block = rng.integers(0, 3, 500), rng.integers(0, 3, 500), np.arange(500) // 50
    counts = book_judge.tables(call, y, block)
    assert counts.shape == (10, 3, 3)
    assert book_judge.f1_macro(counts.sum(0)) == pytest.approx(f1_score(y, call, average="macro"))


def test_rank_correlation_of_all_blocks_is_spearmans():
    rng = np.random.default_rng(1)
    x = rng.normal(size=600).round(1)  # with ties
    y, block = x + rng.normal(size=600), np.arange(600) // 60
    weight = book_judge.redrawn(10, 200)
    value, drawn = book_judge.rank_drawn(x, y, block, weight)
    assert value == pytest.approx(spearmanr(x, y)[0])
    assert drawn.min() < value < drawn.max()


def test_a_planted_side_is_there_and_moves_keep_their_size():
    rng = np.random.default_rng(2)
    move, lean = np.r_[rng.normal(size=990), np.full(10, np.nan)], rng.choice([-1.0, 1.0], 1000)
    full = books_real.tilted(move, lean, 1.0, 10, 0)[:990, 0]
    none = books_real.tilted(move, lean, 0.0, 10, 0)[:990, 0]
    assert (np.sign(full) == lean[:990]).all()
    assert np.allclose(np.sort(np.abs(full)), np.sort(np.abs(move[:990])))
    assert abs(np.corrcoef(np.sign(none), lean[:990])[0, 1]) < 0.1


def test_the_even_grid_knows_nothing_later():
    books = orderbook.synthetic(600, seed=1, filled=2, spoofs=2, walls=1).books  # at 100 ms
    grid, flow, extremes = book_venues.even(books, books, 1.0, 5.0)
    cut = books[:400]
    early, part, seen = book_venues.even(cut, cut, 1.0, 5.0)
    n = len(early)
    assert n < len(grid)
    assert np.array_equal(grid.bid_size[:n], early.bid_size)
    assert np.array_equal(flow[:n], part)
    assert np.array_equal(extremes[:n], seen)
    at = books.at(grid.time)
    low = [books.bid_price[a + 1 : b + 1, 0].min() for a, b in pairwise(at)]
    assert extremes[1:, 0].tolist() == low
