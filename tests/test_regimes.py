"""Regimes by rules: each rule on a market made for it, causality, transitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from laws import assert_causal

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
