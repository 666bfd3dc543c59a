"""Portfolios by rank: ten coins by hand, laws, the drift between two dates, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from setrade.backtest import ranked
from setrade.errors import ArgumentError

NAN = np.nan


def test_ten_coins_by_hand():
    scores = np.arange(10.0)[None]
    w = ranked.weights(scores)
    np.testing.assert_array_equal(w, [[-1, 0, 0, 0, 0, 0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(
        ranked.weights(scores, 5)[0, [0, 1, 2, 8, 9]], [-0.5, -0.5, 0, 0.5, 0.5]
    )
    made = ranked.spread(scores, np.linspace(-0.05, 0.04, 10)[None])
    assert made.gross == pytest.approx([0.09])
    assert made.turnover == pytest.approx([2.0])  # both legs are bought at first
    assert made.net(10) == pytest.approx([0.09 - 0.002])
    assert made.break_even_bps == pytest.approx(450)


def test_a_tie_at_the_edge_is_shared():
    w = ranked.weights(np.array([[3.0, 3, 3, 1, 0, 0]]), 3)  # two a leg
    np.testing.assert_allclose(w, [[1 / 3, 1 / 3, 1 / 3, 0, -0.5, -0.5]])
    assert not ranked.weights(np.full((2, 12), 7.0)).any()


def test_an_absent_coin_is_never_held():
    scores = np.array([[NAN, 5, 1, NAN, 2, 3], [1, 2, 3, 4, 5, 6]])
    w = ranked.weights(scores, 2)
    assert not w[0, [0, 3]].any()
    np.testing.assert_allclose(w[0, [1, 2, 4, 5]], [0.5, -0.5, -0.5, 0.5])
    returns = np.where(np.isnan(scores), NAN, 0.01)
    np.testing.assert_allclose(ranked.spread(scores, returns, parts=2).gross, 0, atol=1e-15)


def test_what_is_kept_costs_only_its_drift():
    scores = np.tile(np.arange(4.0), (3, 1))
    returns = np.array([[0.1, 0, 0, 0.2], [0, 0, 0, 0], [0, 0, 0, 0]])
    made = ranked.spread(scores, returns, parts=4)
    assert made.gross == pytest.approx([0.1, 0, 0])
    # After the first date: long 1.2, short 1.1, of a capital of 1.1; then back to 1 and -1.
    assert made.turnover == pytest.approx([2, 1.2 / 1.1 - 1, 0])
    both = ranked.spread(scores, returns, every=2, parts=4)
    assert both.turnover == pytest.approx([2, 2, 1.2 / 1.1 - 1])


def test_what_is_closed_pays_for_both_ends():
    scores = np.tile(np.arange(4.0), (2, 1))
    returns = np.array([[0.1, 0, 0, 0.2], [0, 0, 0, 0]])
    made = ranked.spread(scores, returns, parts=4, rolled=False)
    assert made.gross == pytest.approx([0.1, 0])
    assert made.turnover == pytest.approx([2 + 1.1 + 1.2, 4])


def test_a_full_turn_trades_twice_both_legs():
    scores = np.array([[0.0, 1, 2, 3], [3, 2, 1, 0]])
    assert ranked.spread(scores, np.zeros((2, 4)), parts=4).turnover == pytest.approx([2, 4])


@given(
    arrays(float, st.tuples(st.integers(1, 5), st.integers(10, 40)), elements=st.integers(0, 9)),
    st.integers(2, 10),
)
def test_laws_of_weights(scores, parts):
    w = ranked.weights(scores, parts)
    np.testing.assert_allclose(w.sum(1), 0, atol=1e-12)
    assert (np.abs(w).sum(1) <= 2 + 1e-12).all()
    np.testing.assert_allclose(ranked.weights(-scores, parts), -w, atol=1e-12)
    np.testing.assert_allclose(ranked.weights(np.exp(scores), parts), w, atol=1e-12)  # ranks only
    order = np.random.default_rng(0).permutation(scores.shape[1])
    np.testing.assert_allclose(ranked.weights(scores[:, order], parts), w[:, order], atol=1e-12)


def test_equal_to_a_sort_where_nothing_ties():
    rng = np.random.default_rng(1)
    scores, returns = rng.normal(size=(30, 47)), rng.normal(0, 0.02, (30, 47))
    expected = []
    for s, r in zip(scores, returns, strict=True):
        order = np.argsort(s)
        expected.append(r[order[-4:]].mean() - r[order[:4]].mean())
    np.testing.assert_allclose(ranked.spread(scores, returns).gross, expected, atol=1e-15)


def test_bad_input_is_named():
    scores, returns = np.arange(20.0).reshape(2, 10), np.zeros((2, 10))
    few = scores.copy()
    few[1, :2] = NAN
    gap = returns.copy()
    gap[1, 9] = NAN
    for name, call in {
        "scores": lambda: ranked.weights(np.where(scores == 3, np.inf, scores)),
        "parts": lambda: ranked.weights(scores, 1),
        "returns": lambda: ranked.spread(scores, gap),
        "every": lambda: ranked.spread(scores, returns, every=0),
        "bps": lambda: ranked.spread(scores, returns).net(-1.0),
    }.items():
        with pytest.raises(ArgumentError, match=f"^{name}"):
            call()
    with pytest.raises(ArgumentError, match="row 1"):
        ranked.weights(few)
    with pytest.raises(ArgumentError, match="^returns"):
        ranked.spread(scores, np.zeros((2, 9)))
    with pytest.raises(ArgumentError, match="capital"):
        ranked.spread(scores, np.tile(np.r_[2.0, np.zeros(9)], (2, 1)))


def test_scores_meet_returns_of_the_same_coins_and_dates():
    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-01", periods=8, tz="UTC")
    scores = pd.DataFrame(rng.random((8, 4)), dates, list("abcd"))
    returns = pd.DataFrame(rng.normal(0, 0.01, (8, 4)), dates, list("abcd"))
    right = ranked.spread(scores.to_numpy(), returns.to_numpy(), parts=2)
    for index in (dates, dates.tz_convert("Etc/UTC"), dates.as_unit("s")):
        found = ranked.spread(scores, returns.set_axis(index), parts=2)
        np.testing.assert_array_equal(found.gross, right.gross)
    other = returns.set_axis(dates + pd.Timedelta("1D"))
    for bad in (returns[returns.columns[::-1]], returns[::-1], other):
        with pytest.raises(ArgumentError, match="^returns: "):
            ranked.spread(scores, bad, parts=2)
    with pytest.raises(ArgumentError, match="^scores: .* index that rises"):
        ranked.spread(scores[::-1], returns[::-1], parts=2)
