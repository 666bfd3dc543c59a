"""Positions by regime: the pairing in time, gates, blends, causality."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_causal

from setrade import backtest, regimes, signals

KIND = pd.CategoricalDtype(["calm", "wild"])
REGIME = pd.Series(pd.Categorical(list("ccwwcw"), list("cw")).rename_categories(["calm", "wild"]))
RETURNS = pd.Series([0.0, -0.1, -0.1, 0.2, 0.1, -0.2])
MARKET = regimes.planted(3000, seed=7, volatility=(0.001, 0.004))


def test_returns_belong_to_the_regime_before_them_by_hand():
    """Bars after calm: -0.1, -0.1, -0.2; bars after wild: 0.2, 0.1."""
    assert signals.choose_regimes(RETURNS, REGIME, min_bars=1) == {"calm": 0.0, "wild": 1.0}
    same_bar = RETURNS.groupby(REGIME, observed=True).mean()
    assert same_bar["wild"] < 0 < same_bar["calm"] + 0.1  # the wrong pairing says otherwise


def test_rare_regimes_are_left_as_they_are():
    assert signals.choose_regimes(RETURNS, REGIME, min_bars=4) == {"calm": 1.0, "wild": 1.0}


def test_gate_by_hand():
    position = pd.Series([1.0, -1.0, 0.5, 1.0, 1.0, -1.0])
    got = signals.gate_by_regime(position, REGIME, {"calm": 0.0, "wild": -1.0})
    assert got.tolist() == [0, 0, -0.5, -1, 0, 1]
    missing = REGIME.where(REGIME.index > 1)
    got = signals.gate_by_regime(position, missing, {"calm": 1.0, "wild": 1.0})
    assert got.tolist() == [0, 0, 0.5, 1, 1, -1]


@given(st.integers(0, 1000))
def test_all_gates_open_change_nothing_and_a_gate_never_adds(seed):
    rng = np.random.default_rng(seed)
    regime = pd.Series(pd.Categorical.from_codes(rng.integers(0, 2, 30), dtype=KIND))
    position = pd.Series(rng.uniform(-1, 1, 30))
    same = signals.gate_by_regime(position, regime, {"calm": 1.0, "wild": 1.0})
    np.testing.assert_array_equal(same, position)
    part = signals.gate_by_regime(position, regime, {"calm": 0.4, "wild": -0.2})
    assert (part.abs() <= position.abs()).all()


def test_blend_by_hand():
    p = pd.DataFrame({"calm": [0.25, np.nan, 1.0], "wild": [0.75, np.nan, 0.0]})
    rules = {"calm": pd.Series([1.0, 1.0, 1.0]), "wild": pd.Series([-1.0, -1.0, -1.0])}
    assert signals.blend_by_regime(rules, p).tolist() == [-0.5, 0, 1]


def test_gated_positions_never_look_ahead():
    model = regimes.fit_hmm(MARKET.candles[:1500], 2, window=1, restarts=1)

    def gated(bars):
        regime = model.regime(bars)
        wish = signals.momentum(bars)
        return signals.gate_by_regime(wish, regime, {"calm": 1.0, "wild": 0.0})

    def blended(bars):
        wish = signals.momentum(bars)
        return signals.blend_by_regime({"calm": wish, "wild": -wish}, model.filtered(bars))

    for compute in (gated, blended):
        assert_causal(compute, MARKET.candles, cuts=(1600, 2998))


def test_a_gate_finds_the_planted_regime_that_pays():
    """Calm bars drift up, wild ones down: long earns in calm only, and the gate says so."""
    market = regimes.planted(8000, seed=1, volatility=(0.001, 0.003), drift=(5e-4, -5e-4))
    bars, half = market.candles, 4000
    model = regimes.fit_hmm(bars[:half], 2, window=1, restarts=3)
    long = pd.Series(1.0, bars.index)
    made = backtest.run(bars[:half], long[:half]).equity.pct_change().fillna(0.0)
    weights = signals.choose_regimes(made, model.regime(bars)[:half])
    assert weights == {"calm": 1.0, "wild": 0.0}
    gated = signals.gate_by_regime(long, model.regime(bars), weights)
    ends = [backtest.run(bars[half:], w[half:]).equity.iloc[-1] for w in (long, gated)]
    assert ends[1] > 1.3 * ends[0]


PLAIN = pd.Series(["a"] * 6)
BAD = [
    (lambda: signals.choose_regimes(RETURNS, PLAIN), "regime"),
    (lambda: signals.choose_regimes(RETURNS[:5], REGIME), "returns"),
    (lambda: signals.choose_regimes(RETURNS * np.nan, REGIME), "returns"),
    (lambda: signals.choose_regimes(RETURNS, REGIME, min_bars=0), "min_bars"),
    (lambda: signals.gate_by_regime(RETURNS, REGIME, {"calm": 1.0}), "weights"),
    (lambda: signals.gate_by_regime(RETURNS, REGIME, {"calm": 1.0, "wild": 2.0}), "weights"),
    (lambda: signals.gate_by_regime(RETURNS, REGIME, {"calm": 1.0, "wild": np.nan}), "weights"),
    (lambda: signals.gate_by_regime(RETURNS[:2], REGIME, {"calm": 1, "wild": 1}), "position"),
    (lambda: signals.blend_by_regime({}, pd.DataFrame({"a": [1.0]})), "positions"),
    (lambda: signals.blend_by_regime({"a": RETURNS}, pd.DataFrame({"a": [1.0]})), "positions"),
    (lambda: signals.blend_by_regime({"a": RETURNS}, RETURNS), "probabilities"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=f"^{name}: got "):
        call()
