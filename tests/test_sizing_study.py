"""The study of sizes: nothing looks ahead, rewards are the account's, plants show."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import sizing_agents as sa
import sizing_real as sr

from setrade import candles, sizing
from setrade.backtest import Costs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def market() -> sa.Market:
    bars = candles.synthetic(900, seed=2, interval="8h").candles
    paid = pd.Series(1e-4, bars.index)
    return sa.Market(
        bars, sizing.observations(bars), paid, Costs(), ((400, 500, 700), (600, 700, 900))
    )


def altered(m: sa.Market, first: int) -> sa.Market:
    """Return a market whose bars from ``first`` on are others."""
    bars = m.candles.copy()
    bars.iloc[first:, :4] *= 3.0
    bars.iloc[first:, 4] *= np.linspace(0.1, 9, len(bars) - first)
    return replace(m, candles=bars, features=sizing.observations(bars))


def test_plain_sizes_do_not_look_ahead(market):
    full, other = (sa.plain(m, 0) for m in (market, altered(market, 600)))
    for name, wanted in full.items():
        assert len(wanted) == 201
        assert np.abs(wanted).max() <= 1
        np.testing.assert_array_equal(wanted[:101], other[name][:101], err_msg=name)


def test_an_agent_is_trained_before_its_test(market):
    """What comes after bar 600 changes neither its training nor what it holds before."""
    made, other = (sa.fit(m, 0, 3, 8_192, checks=2) for m in (market, altered(market, 600)))
    assert (made.growth, made.constant) == (other.growth, other.constant)
    np.testing.assert_array_equal(made.positions[:101], other.positions[:101])
    assert np.abs(made.positions).max() > 0
    assert made.positions[-1] == 0


def test_an_agent_earns_what_the_backtest_says(market):
    span = market.spans(0)[2]
    part = market.part(span.start, span.stop)
    made = sa.fit(market, 0, 1, 4_096, checks=1)
    env = sizing.SizingVectorEnv(1, **part)
    env.reset(seed=0)
    rewards = [env.step(w.astype(np.float32))[1][0] for w in made.positions[:-1, None]]
    assert np.mean(rewards) == pytest.approx(sa.growth(sa.played(made.positions, part)), rel=1e-9)


def test_in_random_order_bars_are_the_same_bars(market):
    mixed = sa.shuffled(market, 0, 1)
    candles.check(mixed.candles)
    assert len(mixed.candles) == 500
    for part in (slice(0, 400), slice(400, 500)):
        moves = [np.sort((m.candles["high"] / m.candles["low"])[part]) for m in (market, mixed)]
        np.testing.assert_allclose(*moves, rtol=1e-9)
    assert mixed.candles["close"].iloc[499] == pytest.approx(market.candles["close"].iloc[499])


def test_the_planted_market_rewards_its_best_sizes():
    m, best = sa.planted(46_000)
    part = m.part(0, m.folds[0][0])
    up = part["features"].iloc[:, 0].to_numpy() > 0
    pairs = (best, 0.3 * best, np.zeros(2), -best)
    grown = [sa.growth(sa.played(np.where(up, p[1], p[0]), part)) for p in pairs]
    assert grown == sorted(grown, reverse=True)


def test_a_gap_has_an_interval_that_holds_it():
    rng = np.random.default_rng(0)
    base = rng.normal(0, 0.01, 600)
    gap = sr.against(base[:, None] + rng.normal(0.002, 0.005, (600, 3)), base, 200)
    assert gap["growth"]["low"] < gap["growth"]["estimate"] < gap["growth"]["high"]
    assert gap["growth"]["estimate"] == pytest.approx(0.002 * sa.YEAR, rel=0.3)
    assert gap["p"] < 0.05
    same = sr.against(base[:, None], base, 200)
    assert same["growth"]["estimate"] == same["sharpe"]["low"] == 0
    assert same["p"] == 1.0
