"""Regimes by rules: each rule on a market made for it, causality, transitions, agreement."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_causal
from scipy.stats import beta
from sklearn.metrics import adjusted_rand_score, cohen_kappa_score

from setrade import candles, regimes
from setrade.regimes.rules import efficiency

MARKET = candles.synthetic(3000, seed=4)


def frame(close: np.ndarray, volume: np.ndarray) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=len(close), freq="15min", tz="UTC", name="time")
    first = np.r_[close[0], close[:-1]]
    top, bottom = np.maximum(first, close), np.minimum(first, close)
    columns = {"open": first, "high": top, "low": bottom, "close": close, "volume": volume}
    return pd.DataFrame(columns, index=index)


def market(last_steps: np.ndarray, last_volume: float = 1.0) -> pd.Series:
    """Return the regimes of 1200 quiet bars followed by the given steps."""
    rng = np.random.default_rng(0)
    steps = np.r_[rng.normal(0, 1, 1200), last_steps]
    volume = rng.uniform(0.9, 1.1, len(steps))
    volume[1200:] *= last_volume
    return regimes.by_rules(frame(20_000 + steps.cumsum(), volume))


UP = np.random.default_rng(1).normal(0, 0.8, 60) + 0.7
CASES = {
    "trending_up": (UP, 1.0),
    "trending_down": (-UP, 1.0),
    "high_volatility": (np.tile([8.0, -8.0], 30), 1.0),
    "low_liquidity": (np.random.default_rng(2).normal(0, 1, 60), 0.2),
    "ranging": (np.tile([1.0, -1.0, 1.0, -1.2], 15), 1.0),
}


@pytest.mark.parametrize("name", CASES)
def test_each_rule_finds_the_market_made_for_it(name):
    assert market(*CASES[name]).iloc[-1] == name


def test_efficiency_by_hand():
    close = pd.Series([10.0, 11.0, 10.0, 12.0, 15.0])
    got = efficiency(close, 3)
    assert got.isna().tolist() == [True, True, True, False, False]
    assert got.iloc[3] == pytest.approx((12 - 10) / (1 + 1 + 2))
    assert got.iloc[4] == pytest.approx((15 - 11) / (1 + 2 + 3))
    assert efficiency(pd.Series([5.0] * 6), 3).iloc[-1] == 0


def test_missing_until_history_is_there_and_never_after():
    got = regimes.by_rules(MARKET.candles)
    assert got.iloc[: 48 + 960 - 1].isna().all()
    assert got.iloc[48 + 960 :].notna().all()
    assert tuple(got.cat.categories) == regimes.REGIMES


def test_nothing_is_seen_early():
    def codes(frame):
        return regimes.by_rules(frame).cat.codes

    assert_causal(codes, MARKET.candles, cuts=(1500, 2200, 2998))


def test_units_do_not_matter():
    scaled = MARKET.candles * [7.0, 7.0, 7.0, 7.0, 0.01]
    assert regimes.by_rules(scaled).equals(regimes.by_rules(MARKET.candles))


def test_transition_matrix_by_hand():
    got = regimes.transition_matrix(pd.Series(["a", "a", "b", "a", None, "b", "b"]))
    assert got.loc["a"].tolist() == [0.5, 0.5]
    assert got.loc["b"].tolist() == [0.5, 0.5]


def test_transition_matrix_finds_the_planted_stay():
    long = candles.synthetic(60_000, seed=0).regime
    got = regimes.transition_matrix(long)
    np.testing.assert_allclose(got.sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(got), 299 / 300, atol=0.001)


def test_a_regime_that_never_occurs_has_no_row_of_shares():
    labels = pd.Series(["a", "a"]).astype(pd.CategoricalDtype(["a", "z"]))
    got = regimes.transition_matrix(labels)
    assert got.loc["z"].isna().all()
    assert got.loc["a", "a"] == 1


BAD = [
    ({"window": 1}, "window"),
    ({"window": 2.5}, "window"),
    ({"history": 50}, "history"),
    ({"history": 5000}, "candles"),
    ({"trend": 0}, "trend"),
    ({"trend": np.nan}, "trend"),
    ({"extreme": 0.6}, "extreme"),
]


@pytest.mark.parametrize(("change", "name"), BAD)
def test_bad_parameters_are_named(change, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        regimes.by_rules(MARKET.candles, **change)


def test_bad_frames_are_named():
    with pytest.raises(candles.CandleError):
        regimes.by_rules(MARKET.candles.iloc[::-1])
    with pytest.raises(ValueError, match="^regime: got"):
        regimes.transition_matrix(pd.Series(["a"]))
    with pytest.raises(ValueError, match="^regime: got"):
        regimes.transition_matrix(["a", "b"])


def test_transition_intervals_by_hand():
    got = regimes.transition_intervals(pd.Series(list("aaaab")), level=0.9)
    row = got.loc[("a", "a")]
    assert (row["count"], row["share"]) == (3, 0.75)
    assert row["low"] == pytest.approx(beta.ppf(0.05, 3.5, 1.5))
    assert row["high"] == pytest.approx(beta.ppf(0.95, 3.5, 1.5))
    assert got.loc["b"][["share", "low", "high"]].isna().all().all()
    shares = got["share"].unstack()
    pd.testing.assert_frame_equal(
        shares, regimes.transition_matrix(pd.Series(list("aaaab"))), check_names=False
    )


def test_transition_intervals_hold_the_truth_as_often_as_they_say():
    inside = []
    for seed in range(120):
        regime = regimes.planted(3000, seed=seed, stay=0.97).regime
        row = regimes.transition_intervals(regime).loc[("regime_0", "regime_0")]
        inside.append(row["low"] <= 0.97 <= row["high"])
    assert 0.88 < np.mean(inside) <= 1


MATRIX = pd.DataFrame([[0.9, 0.1], [0.3, 0.7]], list("ab"), list("ab"))


def test_durations_and_the_long_run_by_hand():
    assert regimes.expected_duration(MATRIX).tolist() == pytest.approx([10, 10 / 3])
    assert regimes.stationary(MATRIX).tolist() == pytest.approx([0.75, 0.25])
    for_ever = pd.DataFrame([[1.0, 0.0], [0.5, 0.5]], list("ab"), list("ab"))
    assert regimes.expected_duration(for_ever)["a"] == np.inf
    assert regimes.stationary(for_ever).tolist() == pytest.approx([1, 0])


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_the_long_run_is_a_fixed_point_of_the_chain(seed, k):
    x = np.random.default_rng(seed).dirichlet(np.ones(k), k)
    share = regimes.stationary(pd.DataFrame(x))
    np.testing.assert_allclose(share @ x, share, atol=1e-9)
    assert share.sum() == pytest.approx(1)
    np.testing.assert_allclose(np.linalg.matrix_power(x, 4096)[0], share, atol=1e-6)


def test_spells_by_hand_and_against_the_formula():
    got = regimes.spells(pd.Series(["a", "a", "b", None, "b", "b"]))
    assert got["regime"].tolist() == ["a", "b", "b"]
    assert got["start"].tolist() == [0, 2, 4]
    assert got["bars"].tolist() == [2, 1, 2]
    regime = regimes.planted(200_000, seed=0, stay=0.99).regime
    whole = regimes.spells(regime).iloc[1:-1].groupby("regime", observed=True)["bars"].mean()
    formula = regimes.expected_duration(regimes.transition_matrix(regime))
    np.testing.assert_allclose(whole, formula, rtol=0.01)


def test_agreement_by_hand():
    first = pd.Series(["a", "a", "b", "b", None])
    second = pd.Series(["a", "a", "b", "a", "b"])
    got = regimes.agreement(first, second)
    assert got.bars == 4
    assert got.confusion.to_numpy().tolist() == [[2, 0], [1, 1]]
    assert got.kappa == pytest.approx((0.75 - 0.5) / 0.5)  # chance: 1/2 * 3/4 + 1/2 * 1/4
    assert got.rand == pytest.approx(adjusted_rand_score([0, 0, 1, 1], [0, 0, 1, 0]))


def test_agreement_with_peers_and_under_new_names():
    rng = np.random.default_rng(0)
    a = pd.Series(rng.choice(list("xyz"), 500))
    b = a.where(rng.random(500) < 0.7, pd.Series(rng.choice(list("xyz"), 500)))
    got = regimes.agreement(a, b)
    assert got.kappa == pytest.approx(cohen_kappa_score(a, b))
    renamed = b.map({"x": "p", "y": "q", "z": "r"})
    assert regimes.agreement(a, renamed).kappa is None
    matched = regimes.agreement(a, renamed, match=True)
    assert matched.kappa == pytest.approx(got.kappa)
    assert matched.rand == pytest.approx(got.rand)
    assert regimes.agreement(a, a).kappa == 1
    shuffled = pd.Series(rng.permutation(a.to_numpy()))
    assert abs(regimes.agreement(a, shuffled).rand) < 0.02


BAD_MATRICES = [
    np.eye(2),
    pd.DataFrame([[1.0, 0.0]]),
    pd.DataFrame([[0.5, 0.6], [0.5, 0.5]]),
    pd.DataFrame([[1.5, -0.5], [0.5, 0.5]]),
    pd.DataFrame([[np.nan, 1.0], [0.5, 0.5]]),
]


@pytest.mark.parametrize("matrix", BAD_MATRICES)
@pytest.mark.parametrize("name", ["expected_duration", "stationary"])
def test_bad_matrices_are_named(name, matrix):
    with pytest.raises(ValueError, match="^matrix: got "):
        getattr(regimes, name)(matrix)


LABELS = pd.Series(["a", "b", "a"])
BAD_LABELS = [
    (lambda: regimes.stationary(pd.DataFrame(np.eye(2))), "matrix"),
    (lambda: regimes.transition_intervals(pd.Series(["a"])), "regime"),
    (lambda: regimes.transition_intervals(LABELS, level=1.0), "level"),
    (lambda: regimes.spells(pd.Series([None, None])), "regime"),
    (lambda: regimes.spells(["a"]), "regime"),
    (lambda: regimes.agreement(["a"], LABELS), "first"),
    (lambda: regimes.agreement(LABELS, LABELS[:2]), "second"),
    (lambda: regimes.agreement(LABELS, pd.Series([None, None, "a"])), "second"),
]


@pytest.mark.parametrize(("call", "name"), BAD_LABELS)
def test_bad_labels_are_named(call, name):
    with pytest.raises(ValueError, match=f"^{name}: got "):
        call()


def test_a_regime_that_is_never_left():
    """Also where its row sums to 1 only up to rounding."""
    for stay in (1.0, 1.0 + 5e-7, 1.0 - 1e-15):
        matrix = pd.DataFrame([[stay, 1 - min(stay, 1)], [0.5, 0.5]], ["a", "b"], ["a", "b"])
        assert regimes.expected_duration(matrix).tolist() == [np.inf, 2.0]
    one = pd.Series(["calm"] * 5, dtype="category")
    assert regimes.transition_matrix(one).to_numpy().tolist() == [[1.0]]
    assert regimes.stationary(regimes.transition_matrix(one)).tolist() == [1.0]


@pytest.mark.parametrize("rate", [1.0, 1.001])
def test_a_market_that_never_changes_is_neither_wild_nor_illiquid(rate):
    """All ties once ranked as the largest: every bar of a flat price was called wild."""
    bars = candles.synthetic(300, seed=0).candles
    level = 100 * rate ** np.arange(301)
    same = bars.assign(open=level[:-1], high=level[1:], low=level[:-1], close=level[1:], volume=5.0)
    kinds = set(regimes.by_rules(same, window=10, history=50).dropna())
    assert kinds == {"ranging" if rate == 1 else "trending_up"}
