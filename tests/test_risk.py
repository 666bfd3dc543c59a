"""The risk rules one by one, with numbers that a reader can check in the head."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_causal

from setrade import candles, risk
from setrade.errors import ArgumentError
from setrade.risk import Risk

NEVER_LOW, NEVER_HIGH = -math.inf, math.inf


def test_levels_by_hand():
    assert risk.levels(1.0, 100.0, 5.0, 2.0) == (95.0, 110.0)
    assert risk.levels(-1.0, 100.0, 5.0, 2.0) == (105.0, 90.0)
    assert risk.levels(1.0, 100.0, math.inf, math.inf) == (-math.inf, math.inf)
    assert risk.levels(-1.0, 100.0, 5.0, math.inf) == (105.0, -math.inf)


@pytest.mark.parametrize(
    ("side", "first", "high", "low", "stop", "target", "liquidation", "reason", "price"),
    [
        (1, 100, 104, 96, 95, 110, 0, risk.STAY, 0),
        (1, 100, 104, 95, 95, 110, 0, risk.STOP, 95),  # touching is enough
        (1, 100, 110, 99, 95, 110, 0, risk.TARGET, 110),
        (1, 100, 112, 94, 95, 110, 0, risk.STOP, 95),  # TRAPS 20: both touched, the worse first
        (1, 93, 97, 92, 95, 110, 0, risk.STOP, 93),  # gap through the stop: the open
        (1, 115, 116, 112, 95, 110, 0, risk.TARGET, 115),  # gap over the target: the open
        (1, 100, 101, 89, 95, 110, 97, risk.LIQUIDATION, 97),  # the nearer level comes first
        (1, 80, 81, 79, 95, 110, 90, risk.LIQUIDATION, 80),  # gap beyond both
        (-1, 100, 104, 96, 105, 90, math.inf, risk.STAY, 0),
        (-1, 100, 106, 89, 105, 90, math.inf, risk.STOP, 105),
        (-1, 100, 104, 89, 105, 90, math.inf, risk.TARGET, 90),
        (-1, 107, 108, 106, 105, 90, math.inf, risk.STOP, 107),
        (-1, 100, 120, 99, 130, 90, 110, risk.LIQUIDATION, 110),
    ],
)
def test_exit_price(side, first, high, low, stop, target, liquidation, reason, price):
    assert risk.exit_price(side, first, high, low, stop, target, liquidation) == (reason, price)


def test_a_stop_checked_on_the_close_only_would_miss_this():
    """TRAPS 20: the bar falls through the stop and comes back; its close shows nothing."""
    first, high, low, close, stop = 100.0, 101.0, 90.0, 100.5, 95.0
    assert not close <= stop
    assert risk.exit_price(1.0, first, high, low, stop, math.inf, 0.0)[0] == risk.STOP


@given(
    side=st.sampled_from([-1.0, 1.0]),
    moves=st.tuples(*[st.floats(-20, 20)] * 3),
    distance=st.floats(0.1, 20),
    ratio=st.floats(0.1, 5),
)
def test_mirror_of_an_exit(side, moves, distance, ratio):
    """Reflect prices about 100 and change the side: same reason, reflected price."""
    first = 100 + moves[0]
    high, low = first + abs(moves[1]), first - abs(moves[2])
    stop, target = risk.levels(side, 100.0, distance, ratio)
    mirror_stop, mirror_target = risk.levels(-side, 100.0, distance, ratio)
    liquidation = NEVER_LOW if side > 0 else NEVER_HIGH
    ours = risk.exit_price(side, first, high, low, stop, target, liquidation)
    theirs = risk.exit_price(
        -side, 200 - first, 200 - low, 200 - high, mirror_stop, mirror_target, -liquidation
    )
    assert ours[0] == theirs[0]
    if ours[0] != risk.STAY:
        assert ours[1] == pytest.approx(200 - theirs[1], rel=1e-12)


def test_liquidation_by_hand():
    # long 2 units at 100 with 100 of money: leverage 2; at 10 x: 2x = 10 (100 + 2 (x - 100))
    assert risk.liquidation_price(100.0, 2.0, 100.0, 0.1, 0.0, 0.0) == pytest.approx(1000 / 18)
    # nothing left: 100 + 2 (x - 100) = 0
    assert risk.liquidation_price(100.0, 2.0, 100.0, 0.0, 0.0, 0.0) == pytest.approx(50.0)
    # short 1 unit at 100 with 100: gone when the price has doubled
    assert risk.liquidation_price(100.0, -1.0, 100.0, 0.0, 0.0, 0.0) == pytest.approx(200.0)
    # bought outright: no fall ruins it
    assert risk.liquidation_price(100.0, 1.0, 100.0, 0.0, 0.0, 0.0) <= 0


@given(
    units=st.floats(0.5, 5) | st.floats(-5, -0.5),
    inverse=st.floats(0, 0.09),
    fee=st.floats(0, 0.01),
    slip=st.floats(0, 0.01),
)
def test_closing_at_the_liquidation_price_leaves_what_it_says(units, inverse, fee, slip):
    cash, entry = 100.0, 100.0
    x = risk.liquidation_price(cash, units, entry, inverse, fee, slip)
    filled = x * (1 - math.copysign(slip, units))
    left = cash + units * (filled - entry) - fee * abs(units) * filled
    assert left == pytest.approx(abs(units) * x * inverse, abs=1e-9)


def test_refusals():
    rules = Risk(stop_atr=2.0, max_jump=0.1, max_stale=3).rules()

    def why(price=100.0, previous=100.0, age=0.0, atr=1.0, halted=False):
        return risk.REFUSALS[risk.refusal(price, previous, age, atr, halted, rules)]

    assert why() == ""
    assert why(halted=True) == "halted"
    assert (why(age=3.0), why(age=4.0)) == ("", "stale")
    assert (why(price=109.9), why(price=110.1), why(price=89.0)) == ("", "jump", "jump")
    assert why(atr=math.nan) == "no_atr"
    assert risk.refusal(1e9, 1.0, 1e9, math.nan, False, Risk().rules()) == 0


def test_day_lost():
    assert not risk.day_lost(95.01, 100.0, 0.05)
    assert risk.day_lost(95.0, 100.0, 0.05)
    assert not risk.day_lost(0.0, 100.0, math.inf)


def test_exposure_by_confidence():
    assert [risk.exposure(c, 0.4, 0.8) for c in (0.2, 0.4, 0.6, 0.8, 1.0)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    scaled = risk.by_confidence(
        np.array([1.0, -1.0, 0.5]),
        np.array([0.6, 0.8, 0.1]),
        Risk(min_confidence=0.4, full_confidence=0.8),
    )
    assert scaled == pytest.approx([0.5, -1.0, 0.0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_position", 0), ("max_position", -1), ("max_position", math.nan),
        ("max_position", "1"),
        ("stop_atr", 0), ("stop_atr", -2), ("stop_atr", math.inf), ("take_profit", 2.0),
        ("atr_bars", 1), ("atr_bars", 14.0), ("max_leverage", 1.0), ("max_leverage", 0.5),
        ("daily_loss", 0), ("daily_loss", 1.5), ("max_jump", 0), ("max_stale", -1),
        ("max_stale", 2.5), ("min_confidence", -0.1), ("full_confidence", 0.0),
        ("full_confidence", 1.1),
    ],
)  # fmt: skip
def test_bad_parameters_name_themselves(name, value):
    with pytest.raises(ArgumentError, match=name):
        Risk(**{name: value})


@pytest.mark.parametrize(
    ("name", "position", "confidence"),
    [
        ("position", [np.nan], [0.5]),
        ("position", [], []),
        ("confidence", [1.0], [1.5]),
        ("confidence", [1.0, 1.0], [0.5]),
        ("confidence", [1.0], [np.nan]),
        ("confidence", [1.0], [-0.1]),
    ],
)
def test_bad_confidences(name, position, confidence):
    with pytest.raises(ArgumentError, match=name):
        risk.by_confidence(np.array(position), np.array(confidence), Risk())


def test_volatility_target_by_hand():
    """Moves of 1 % a bar, 4 bars a year: 2 % a year, so half of 1 asks for a quarter of 4 %."""
    close = 100 * np.exp(0.01 * np.array([0, 1, 0, 1, 0, 1, 0, 1]))
    sized = risk.by_volatility(np.ones(8), close, 0.01, 4.0, halflife=1.0)
    assert sized == pytest.approx([0, 0, *[0.5] * 6])  # two half-lives to warm up
    bold = risk.by_volatility(-np.ones(8), close, 0.1, 4.0, halflife=1.0, limit=2.0)
    assert bold[2:] == pytest.approx(-2.0)  # the target asks for 5
    still = risk.by_volatility(np.ones(8), np.full(8, 100.0), 0.1, 4.0, halflife=1.0)
    assert not still.any()  # nothing moved: no forecast, no position


def test_volatility_target_weighs_by_age():
    """Half-life 1: the newest square counts 4, the one before 2, the oldest 1, over 7."""
    moves = np.array([0.01, 0.03, 0.02])
    close = 100 * np.exp(np.r_[0.0, moves.cumsum()])
    sized = risk.by_volatility(np.ones(4), close, 0.01, 1.0, halflife=1.0)
    forecast = math.sqrt((4 * 0.02**2 + 2 * 0.03**2 + 0.01**2) / 7)
    assert sized[3] == pytest.approx(0.01 / forecast)


def test_volatility_target_looks_at_the_past_only():
    bars = candles.synthetic(400, seed=1).candles

    def compute(frame):
        close = frame["close"].to_numpy()
        return risk.by_volatility(np.ones(len(close)), close, 0.3, 35_040, halflife=20.0)

    assert_causal(compute, bars)


def test_volatility_target_holds_what_it_promises():
    """Volatility that triples half-way: the scaled account swings alike in both halves."""
    rng = np.random.default_rng(0)
    moves = rng.normal(0, np.repeat([0.01, 0.03], 2_000))
    close = 100 * np.exp(moves.cumsum())
    sized = risk.by_volatility(np.ones(4_000), close, 0.2, 365.0, halflife=20.0, limit=5.0)
    earned = sized[:-1] * np.diff(close) / close[:-1]
    halves = [x.std() * math.sqrt(365) for x in (earned[100:1_999], earned[2_100:])]
    assert halves == pytest.approx([0.2, 0.2], rel=0.1)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"close": np.ones(3)}, "close"), ({"close": np.zeros(4)}, "close"),
        ({"position": [0.0, math.nan, 0, 0]}, "position"), ({"target": 0.0}, "target"),
        ({"periods": -1.0}, "periods"), ({"halflife": 0.0}, "halflife"), ({"limit": 0}, "limit"),
    ],
)  # fmt: skip
def test_volatility_target_refuses(change, name):
    good = {"position": np.ones(4), "close": np.ones(4), "target": 0.2, "periods": 365.0}
    with pytest.raises(ArgumentError, match=name):
        risk.by_volatility(**(good | {"halflife": 2.0} | change))


def test_positions_meet_prices_and_confidences_of_their_own_stamps():
    stamps = pd.date_range("2024-01-01", periods=60, freq="1h", tz="UTC")
    held, sure = pd.Series(np.tile([1.0, -0.5], 30), stamps), pd.Series(0.6, stamps)
    close = pd.Series(100 * 1.01 ** np.sin(np.arange(60)), stamps)
    size = {"target": 0.2, "periods": 8760, "halflife": 5}
    sized = risk.by_volatility(held.to_numpy(), close.to_numpy(), **size)
    for index in (stamps, stamps.tz_convert("Etc/UTC"), stamps.as_unit("ms")):
        np.testing.assert_array_equal(
            risk.by_volatility(held, close.set_axis(index), **size), sized
        )
        assert risk.by_confidence(held, sure.set_axis(index), Risk())[0] == pytest.approx(0.6)
    later = stamps + pd.Timedelta("1h")
    with pytest.raises(ArgumentError, match="^close: .* same stamps"):
        risk.by_volatility(held, close.set_axis(later), **size)
    with pytest.raises(ArgumentError, match="^confidence: .* same stamps"):
        risk.by_confidence(held, sure.set_axis(later), Risk())
    with pytest.raises(ArgumentError, match="^close: .* evenly spaced"):
        risk.by_volatility(held.drop(stamps[9]), close.drop(stamps[9]), **size)
