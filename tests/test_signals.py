"""Signals: one record for nets and rules; standardised, signed, causal."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_causal

from setrade import candles, signals
from setrade.errors import ArgumentError
from setrade.models.se_momentum import SEMomentum
from setrade.training import seed_everything

NOW = pd.Timestamp("2024-01-01", tz="UTC")
MARKET = candles.synthetic(600, seed=2).candles


def test_signal_from_probabilities_by_hand():
    got = signals.from_probabilities(NOW, np.array([0.1, 0.3, 0.6]))
    assert got.position == pytest.approx(0.5)
    assert got.confidence == pytest.approx(0.6)
    assert (got.direction, got.source) == ("buy", "net")
    quiet = signals.from_probabilities(NOW, np.array([0.1, 0.3, 0.6]), threshold=0.5)
    assert (quiet.position, quiet.direction) == (0, "hold")
    with pytest.raises(FrozenInstanceError):
        got.position = 1.0


def test_signals_of_the_same_values_are_equal_on_every_python():
    when = pd.Timestamp("2024-01-01", tz="UTC")
    for time in (pd.NaT, when):  # NaT: pictures alone have no time
        made = [signals.Signal(time, 0.5, 0.6, attention={"roc": 0.1}) for _ in range(2)]
        assert made[0] == made[1]
    assert signals.Signal(when, 0.5, 0.6) != signals.Signal(pd.NaT, 0.5, 0.6)
    assert signals.Signal(when, 0.5, 0.6) != (when, 0.5, 0.6)
    assert len({signals.Signal(when, 0.5, 0.6), signals.Signal(when, 0.5, 0.6)}) == 1


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_swapping_sell_and_buy_mirrors_the_position(raw):
    p = np.array(raw) / sum(raw)
    one, other = (signals.from_probabilities(NOW, q) for q in (p, p[::-1].copy()))
    assert one.position == pytest.approx(-other.position)
    assert one.confidence == other.confidence


def net(channels: int = 3) -> SEMomentum:
    seed_everything(0)
    made = SEMomentum(channels, reduction=1)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([1.0, -1.0, 0.5]))
    return made


def test_se_momentum_is_the_gated_signed_sum():
    x = torch.randn(6, 3, 10)
    made = net()
    gates = made.se.gates(x)
    by_hand = torch.tanh(gates[:, 0] * x[:, 0, -1] - gates[:, 1] * x[:, 1, -1]
                         + 0.5 * gates[:, 2] * x[:, 2, -1])  # fmt: skip
    torch.testing.assert_close(made(x), by_hand)


def test_se_momentum_can_sell_where_the_raw_sum_cannot():
    """TRAPS 12: RSI is never negative, so a sum of raw features is never short."""
    rsi = torch.full((1, 1, 5), 20.0)
    raw_sum = rsi[0, 0, -1]
    assert raw_sum > 0
    seed_everything(0)
    made = SEMomentum(1, reduction=1)
    with torch.no_grad():
        made.weight.fill_(1.0)
    assert made((rsi - 50) / 15).item() < 0


def test_se_momentum_signals_carry_direction_strength_and_attention():
    x = torch.randn(6, 3, 10)
    times = pd.date_range(NOW, periods=6, freq="1h")
    made = net()
    got = made.signals(x, times, ["a", "b", "c"], threshold=0.2)
    strength = made(x).detach().numpy()
    for signal, s, time in zip(got, strength, times, strict=True):
        assert signal.time == time
        assert signal.position == (np.sign(s) if abs(s) > 0.2 else 0)
        assert signal.confidence == pytest.approx(abs(s), abs=1e-6)
        assert set(signal.attention) == {"a", "b", "c"}
        assert signal.source == "se_momentum"


def test_se_momentum_learns_a_planted_sign():
    """The next move is minus the second feature: the learned weights say so."""
    seed_everything(1)
    x = torch.randn(800, 3, 6)
    y = -torch.sign(x[:, 1, -1])
    made = SEMomentum(3, reduction=1)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        ((made(x) - y) ** 2).mean().backward()
        optimizer.step()
    weight = made.weight.detach()
    assert weight[1] < -1
    assert weight[[0, 2]].abs().max() < 0.3 * weight[1].abs()


def test_momentum_follows_a_move_and_rests_on_a_flat_price():
    up = MARKET.iloc[:60].copy()
    path = 100 * np.exp(np.cumsum(np.tile([0.004, -0.001], 30)))
    for name in ("open", "high", "low", "close"):
        up[name] = path
    position = signals.momentum(up, lookback=10)
    assert position.iloc[10:].eq(1).all()
    assert position.iloc[:10].eq(0).all()
    flat = up.assign(open=5.0, high=5.0, low=5.0, close=5.0)
    assert signals.momentum(flat, lookback=10).eq(0).all()


def test_momentum_does_not_depend_on_units():
    scaled = MARKET * [9.0, 9.0, 9.0, 9.0, 3.0]
    assert signals.momentum(scaled).equals(signals.momentum(MARKET))


def test_nothing_is_seen_early():
    assert_causal(lambda f: signals.momentum(f), MARKET)


def test_rule_based_is_the_last_momentum():
    got = signals.rule_based(MARKET)
    assert got.position == signals.momentum(MARKET).iloc[-1]
    assert (got.time, got.source, got.probabilities) == (MARKET.index[-1], "rule", None)


BAD = [
    (lambda: signals.Signal(NOW, 2.0, 0.5), "position"),
    (lambda: signals.Signal(NOW, np.nan, 0.5), "position"),
    (lambda: signals.Signal(NOW, 0.0, 1.5), "confidence"),
    (lambda: signals.Signal(NOW, 0.0, 0.5, source="guess"), "source"),
    (lambda: signals.from_probabilities(NOW, [0.5, 0.5]), "probabilities"),
    (lambda: signals.from_probabilities(NOW, [0.5, 0.5, 0.5]), "probabilities"),
    (lambda: signals.from_probabilities(NOW, [0.5, np.nan, 0.5]), "probabilities"),
    (lambda: signals.from_probabilities(NOW, [0.2, 0.3, 0.5], threshold=2), "threshold"),
    (lambda: net().signals(torch.zeros(2, 3, 4), MARKET.index[:1], list("abc")), "times"),
    (lambda: net().signals(torch.zeros(1, 3, 4), MARKET.index[:1], list("ab")), "times"),
    (lambda: signals.momentum(MARKET, lookback=1), "lookback"),
    (lambda: signals.momentum(MARKET, lookback=10_000), "lookback"),
    (lambda: signals.momentum(MARKET, threshold=-1), "threshold"),
    (lambda: signals.rule_based(MARKET, lookback=0), "lookback"),
    (lambda: SEMomentum(0), "channels"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        call()


@pytest.mark.parametrize("shares", [(0.8, 0.8), (1.0, 0.5)])
def test_shares_that_sum_to_more_than_one_do_not_blend(shares):
    """Each lies in [0, 1], and the position would still leave its bounds."""
    index = pd.date_range("2024-01-01", periods=3, freq="1h", tz="UTC")
    probabilities = pd.DataFrame([shares] * 3, index, ["a", "b"])
    long = pd.Series(1.0, index)
    with pytest.raises(ArgumentError, match="probabilities"):
        signals.blend_by_regime({"a": long, "b": long}, probabilities)
    whole = signals.blend_by_regime({"a": long, "b": long}, probabilities / sum(shares))
    assert whole.tolist() == pytest.approx([1.0] * 3)


def test_rules_by_regime_may_spell_utc_in_their_own_way():
    stamps = pd.date_range("2024-01-01", periods=6, freq="1h", tz="UTC")
    position = pd.Series([1, -1, 1, 1, -1, 0.5], stamps)
    regime = pd.Series(pd.Categorical(list("uudduu")), stamps)
    shares = pd.DataFrame({"u": 0.4, "d": 0.6}, stamps)
    asks = (
        lambda p: signals.choose_regimes(p, regime, min_bars=1),
        lambda p: signals.gate_by_regime(p, regime, {"u": 1, "d": 0}).tolist(),
        lambda p: signals.blend_by_regime({"u": p, "d": -position}, shares).tolist(),
    )
    for ask in asks:
        for index in (stamps.tz_convert("Etc/UTC"), stamps.as_unit("s")):
            assert ask(position.set_axis(index)) == ask(position)
        with pytest.raises(ArgumentError, match="index"):
            ask(position.set_axis(stamps + pd.Timedelta("1h")))


@pytest.mark.parametrize("share", [0.1, 0.49, 0.51])
def test_shares_of_regimes_are_whole(share):
    stamps = pd.date_range("2024-01-01", periods=3, freq="1h", tz="UTC")
    rule, shares = pd.Series(1.0, stamps), pd.DataFrame({"u": [0.5, share, np.nan]}, stamps)
    shares["d"] = [0.5, share, np.nan]
    with pytest.raises(ArgumentError, match="^probabilities: .* rows of 1"):
        signals.blend_by_regime({"u": rule, "d": rule}, shares)
    sound = shares.assign(u=[0.5, 0.25, np.nan], d=[0.5, 0.75, np.nan])
    assert signals.blend_by_regime({"u": rule, "d": rule}, sound).tolist() == [1, 1, 0]
