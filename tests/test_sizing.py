"""Sizes: Kelly against the best of a grid, the environment against `backtest.run`, check_env."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pandas as pd
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_causal
from stable_baselines3.common.env_checker import check_env as check_for_agents

from setrade import backtest, candles, sizing
from setrade.backtest import Costs, Risk
from setrade.candles import CandleError
from setrade.costs import FREE
from setrade.errors import ArgumentError
from setrade.toys import two_states

BARS = candles.synthetic(400, seed=3, interval="8h").candles
SEEN = sizing.observations(BARS)
FUNDING = pd.Series(0.0004, BARS.index[::2])
FIRST = 27  # bar of the first observation


def walked(positions: np.ndarray, start: int | None = None, **setting) -> tuple[np.ndarray, list]:
    """Return equity at each close of an episode of positions, and the rewards on the way."""
    env = sizing.SizingEnv(BARS, **setting)
    env.reset(seed=0, options=None if start is None else {"start": start})
    equity, rewards = [1.0], []
    for wanted in positions:
        _, reward, ruined, _, told = env.step(np.array([wanted], np.float32))
        equity.append(told["equity"])
        rewards.append(reward)
        if ruined:
            break
    return np.array(equity), rewards


# ---- Kelly.


def test_kelly_by_hand():
    assert sizing.kelly_binary(0.6) == pytest.approx(0.2)
    assert sizing.kelly_binary(0.5, 2.0) == pytest.approx(0.25)
    assert sizing.kelly_binary(0.4) == 0
    np.testing.assert_allclose(
        sizing.kelly([0.01, -0.02, 0.001], 0.04, cost=0.002), [0.2, -0.45, 0]
    )
    assert sizing.kelly(0.01, 0.04).shape == ()


@given(chance=st.floats(0.01, 0.99), odds=st.floats(0.1, 10))
def test_no_stake_grows_faster_than_kelly(chance, odds):
    def grows(f):
        return chance * np.log1p(f * odds) + (1 - chance) * np.log1p(-f)

    best = sizing.kelly_binary(chance, odds)
    assert (grows(np.linspace(0, 0.999, 200)) <= grows(best) + 1e-12).all()


def test_rolling_kelly_is_a_mean_over_a_variance():
    close = BARS["close"].to_numpy()
    r = close[51:101] / close[50:100] - 1
    want = np.clip(0.5 * r.mean() / r.var(ddof=1), -0.7, 0.7)
    found = sizing.rolling_kelly(BARS["close"], 50, fraction=0.5, limit=0.7)
    assert found[100] == pytest.approx(want)
    assert not found[:50].any()
    assert not sizing.rolling_kelly(np.full(40, 3.0), 5).any()


def test_two_states_grow_fastest_at_the_size_that_is_known():
    made = two_states(40_000, seed=0)
    best, state = made.best(), made.state.to_numpy()

    def grows(pair):
        done = backtest.run(made.candles, pair[state], costs=FREE, rebalance=True)
        return np.log(done.equity.iloc[-1])

    assert best == pytest.approx(np.array(made.mean) / 0.01, rel=0.01)
    for other in (0.5 * best, 2 * best - 0.01, best[::-1]):
        assert grows(np.clip(other, -1, 1)) < grows(best)


def test_two_states_move_as_they_say():
    made = two_states(20_000, seed=1)
    close = made.candles["close"]
    r = (close / made.candles["open"] - 1).to_numpy()[1:]
    for state in (0, 1):
        seen = r[made.state.to_numpy()[:-1] == state]
        assert seen.mean() == pytest.approx(made.mean[state], abs=0.004)
        assert seen.std() == pytest.approx(0.1, rel=0.01)


# ---- Observations.


def test_observations_by_hand():
    price = np.log(BARS["close"])
    square = price.diff() ** 2
    v = square.ewm(halflife=27).mean() ** 0.5
    assert SEEN["move_3"].iloc[200] == pytest.approx(price.diff(3).iloc[200] / v.iloc[200] / 3**0.5)
    usual = BARS["volume"].iloc[176:200].median()
    assert SEEN["volume"].iloc[200] == pytest.approx(np.log(BARS["volume"].iloc[200] / usual))
    assert SEEN.iloc[:FIRST].isna().all(axis=None)
    assert np.isfinite(SEEN.iloc[FIRST:]).all(axis=None)
    flat = BARS.assign(open=5.0, high=5.0, low=5.0, close=5.0)
    assert not sizing.observations(flat).filter(like="move").iloc[FIRST:].to_numpy().any()


def test_observations_do_not_look_ahead():
    assert_causal(sizing.observations, BARS)
    assert_causal(lambda bars: sizing.rolling_kelly(bars["close"], 20), BARS)


def test_what_an_agent_sees_does_not_look_ahead():
    """Row i is what the agent saw at bar FIRST + i, with an account that traded on the way."""

    def seen(bars):
        env = sizing.SizingEnv(bars)
        rows, over = [env.reset(seed=0)[0]], False
        while not over:
            wanted = np.tanh(rows[-1][:1])  # depends on what was seen
            row, _, _, over, _ = env.step(wanted)
            rows.append(row)
        return np.array(rows)

    assert_causal(seen, BARS, offset=FIRST)


# ---- The environment.


def test_one_step_by_hand():
    """1 buys a half at the open, a fee of 1 % and slippage of 1 %; the open profit is marked."""
    rate, env = 0.01, sizing.SizingEnv(BARS, costs=Costs(100, 0, 100))
    env.reset()
    seen, reward, ruined, over, told = env.step(np.array([0.5], np.float32))
    bar = BARS.iloc[FIRST + 1]
    filled = bar.open * (1 + rate)
    units = 0.5 / (filled * (1 + rate))
    equity = 1 - units * filled * rate + units * (bar.close - filled)
    assert reward == pytest.approx(np.log(equity))
    assert told["equity"] == pytest.approx(equity)
    assert told["cash"] == pytest.approx(1 - units * filled * rate)
    assert seen[-2] == pytest.approx(units * bar.close / equity, rel=1e-6)
    assert seen[-1] == pytest.approx(units * (bar.close - filled) / equity, rel=1e-5)
    assert not ruined
    assert not over


SETTINGS = (
    {"costs": FREE},
    {"costs": Costs(50, 20, 30)},
    {"funding": FUNDING},
    {"rebalance": False, "funding": FUNDING},
    {"risk": Risk(max_position=3.0, max_leverage=3.5)},
    {"costs": Costs(tick=0.5, lot=0.001), "short": False},
    {"risk": Risk(daily_loss=0.01), "funding": FUNDING},
)


@pytest.mark.parametrize("setting", SETTINGS, ids=[", ".join(s) for s in SETTINGS])
def test_an_episode_is_the_backtest(setting):
    rng, most = np.random.default_rng(5), setting.get("risk", Risk()).max_position
    low = 0.0 if setting.get("short") is False else -most
    n = len(BARS) - FIRST - 1
    wanted = np.repeat(rng.uniform(low, most, n // 2 + 1), 2)[:n].astype(np.float32)
    equity, rewards = walked(wanted, **setting)
    told = {k: v for k, v in setting.items() if k != "short"}
    told.setdefault("rebalance", True)
    done = backtest.run(BARS.iloc[FIRST:], np.r_[wanted, 0].astype(float), **told)
    np.testing.assert_allclose(equity, done.equity, rtol=1e-12)
    assert np.exp(np.sum(rewards)) == pytest.approx(equity[-1], rel=1e-12)


def test_liquidation_costs_the_position_and_not_the_episode():
    far = Risk(max_position=20.0, max_leverage=21.0)
    equity, rewards = walked(np.full(60, 20.0), risk=far, costs=FREE, rebalance=False)
    assert len(equity) == 61
    assert (np.diff(equity[-5:]) == 0).all()
    assert 0.9 < equity[-1] < 0.96  # what is left: a 20th, at a leverage of 21
    assert np.isfinite(rewards).all()


def test_bankruptcy_ends_the_episode():
    doubled = BARS.copy()
    doubled.iloc[FIRST + 2 :, :4] *= 3.0
    env = sizing.SizingEnv(doubled, costs=FREE)
    env.reset()
    env.step(np.array([-1.0], np.float32))
    seen, reward, ruined, over, told = env.step(np.array([-1.0], np.float32))
    assert ruined
    assert not over
    assert told["equity"] == 0
    assert -14 < reward < np.log(1e-5)
    assert np.isfinite(seen).all()
    with pytest.raises(ArgumentError, match="after an episode's end"):
        env.step(np.array([0.0], np.float32))


@pytest.mark.parametrize("setting", [{}, {"length": 40}, {"funding": FUNDING}])
def test_the_checkers_have_nothing_to_say(setting):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("setrade/Sizing-v0", candles=BARS, **setting).unwrapped
        check_env(env)
        check_for_agents(env)


def test_many_accounts_are_each_one_account():
    rng = np.random.default_rng(0)
    many = sizing.SizingVectorEnv(5, BARS, length=50, funding=FUNDING)
    seen, told = many.reset(seed=4)
    ones = [sizing.SizingEnv(BARS, length=50, funding=FUNDING) for _ in range(5)]
    starts = told["bar"].tolist()
    assert len(set(starts)) > 1
    for env, start, row in zip(ones, starts, seen, strict=True):
        np.testing.assert_array_equal(env.reset(options={"start": start})[0], row)
    for step in range(50):
        wanted = rng.uniform(-1, 1, (5, 1)).astype(np.float32)
        rows, rewards, _, over, infos = many.step(wanted)
        for i, env in enumerate(ones):
            row, reward, _, ended, info = env.step(wanted[i])
            last = infos["final_obs"][i] if over[i] else rows[i]
            np.testing.assert_array_equal(row, last)
            assert reward == rewards[i]
            assert info["equity"] == infos["equity"][i]
            assert ended == over[i] == (step == 49)
    assert infos["_final_obs"].all()
    assert (rows[:, -2:] == 0).all()  # new episodes hold nothing


def test_a_seed_makes_episodes_again():
    many = sizing.SizingVectorEnv(8, BARS, length=50)
    first, again = (many.reset(seed=7)[1]["bar"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = many.reset()[1]["bar"]
    assert (other != first).any()
    one = sizing.SizingEnv(BARS, length=50)
    bars = [one.reset(seed=s)[1]["bar"] for s in (1, 1, 2, 3)]
    assert bars[0] == bars[1]
    assert len(set(bars)) > 1


# ---- Bad input.

ACTIONS = {
    "outside the box": np.array([1.01]),
    "below the box": np.array([-1.01]),
    "NaN": np.array([np.nan]),
    "infinite": np.array([np.inf]),
    "two": np.array([0.1, 0.2]),
    "of another shape": np.array([[0.1]]),
    "text": "0.1",
    "nothing": None,
    "a number": 0.5,
}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_that_is_none_is_refused(name):
    env = sizing.SizingEnv(BARS)
    env.reset()
    with pytest.raises(ArgumentError, match="action"):
        env.step(ACTIONS[name])
    assert env.step(np.array([0.5], np.float32))[1] != 0  # nothing moved, the episode goes on


@pytest.mark.parametrize("name", ["outside the box", "NaN", "two", "text", "nothing"])
def test_actions_that_are_none_are_refused(name):
    many = sizing.SizingVectorEnv(1, BARS)
    with pytest.raises(ArgumentError, match="reset"):
        many.step(np.zeros((1, 1)))
    many.reset(seed=0)
    with pytest.raises(ArgumentError, match="action"):
        many.step(ACTIONS[name])


HOLED = BARS.drop(BARS.index[50])
SHIFTED, GAPPED = FUNDING.shift(10_000, freq="1D"), SEEN.drop(BARS.index[99]).reindex(BARS.index)
BAD = {
    "a hole": ({"candles": HOLED}, CandleError, "hole|missing|gap"),
    "funding of another time": ({"funding": SHIFTED}, ArgumentError, "funding"),
    "features of another index": ({"features": SEEN.iloc[1:]}, ArgumentError, "features"),
    "features of another length": ({"features": SEEN.to_numpy()[1:]}, ArgumentError, "features"),
    "features with a hole": ({"features": GAPPED}, ArgumentError, "bar 99"),
    "features that are never known": ({"features": SEEN * np.nan}, ArgumentError, "features"),
    "an episode longer than the bars": ({"length": 400}, ArgumentError, "length"),
    "no length": ({"length": 0}, ArgumentError, "length"),
    "costs of another kind": ({"costs": 5.5}, ArgumentError, "costs"),
    "risk of another kind": ({"risk": "none"}, ArgumentError, "risk"),
    "short in words": ({"short": "yes"}, ArgumentError, "short"),
    "rebalance in words": ({"rebalance": None}, ArgumentError, "rebalance"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    given, error, said = BAD[name]
    with pytest.raises(error, match=said):
        sizing.SizingEnv(**{"candles": BARS, **given})


@pytest.mark.parametrize("start", [FIRST - 1, len(BARS) - 1, 5.0, "now"])
def test_a_start_outside_the_bars_is_named(start):
    with pytest.raises(ArgumentError, match="start"):
        sizing.SizingEnv(BARS).reset(options={"start": start})


def test_the_callers_frame_may_change_afterwards():
    """The environment keeps no view: an account earns what the bars said when it was made."""
    frame = BARS.copy()
    env = sizing.SizingEnv(frame, features=np.zeros(len(frame)), costs=FREE)
    frame.iloc[:, :4] = 1.0
    env.reset(seed=0)
    told = [env.step(np.ones(1, np.float32))[4]["equity"] for _ in range(20)]
    open_, close = BARS["open"].to_numpy(), BARS["close"].to_numpy()
    assert told[0] == pytest.approx(close[1] / open_[1])
    assert np.std(told) > 0


@pytest.mark.parametrize("kind", ["one", "many"])
@pytest.mark.parametrize(
    ("given", "name"),
    [({"seed": -1}, "seed"), ({"seed": True}, "seed"), ({"seed": 1.5}, "seed"),
     ({"options": {"strat": 100}}, "options"), ({"options": "x"}, "options")],
)  # fmt: skip
def test_resets_that_cannot_be_are_named(kind, given, name):
    env = sizing.SizingEnv(BARS) if kind == "one" else sizing.SizingVectorEnv(2, BARS)
    with pytest.raises(ArgumentError, match=f"^{name}: got"):
        env.reset(**given)


def test_numbers_that_kelly_cannot_divide_are_named():
    assert sizing.kelly(np.array(0.1), 0.1).shape == ()
    with pytest.raises(ArgumentError, match="^variance: got"):
        sizing.kelly(1e300, 1e-300)


@pytest.mark.parametrize(
    ("bars", "scales", "name"), [(BARS, (3, 3), "scales"), (BARS[:20], (1, 27), "candles")]
)
def test_observations_that_cannot_be_are_named(bars, scales, name):
    with pytest.raises(ArgumentError, match=f"^{name}: got"):
        sizing.observations(bars, scales=scales)


@pytest.mark.parametrize(
    "given", [{"n": 250_001}, {"n": 200_000, "mean": (-0.4, -0.4), "spread": 0.5}]
)
def test_two_states_stay_within_what_numbers_hold(given):
    with pytest.raises(ArgumentError, match="^n: got"):
        two_states(seed=0, **given)


def test_figures_of_kelly_have_the_same_stamps_and_columns():
    stamps = pd.date_range("2024-01-01", periods=30, freq="1h", tz="UTC")
    mean, variance = pd.Series(0.01, stamps), pd.Series(np.linspace(1, 2, 30), stamps)
    right = sizing.kelly(mean.to_numpy(), variance.to_numpy())
    for index in (stamps, stamps.tz_convert("Etc/UTC"), stamps.as_unit("s")):
        np.testing.assert_array_equal(sizing.kelly(mean, variance.set_axis(index)), right)
    table = pd.DataFrame({"a": mean, "b": 2 * mean})
    for m, v in (
        (mean, variance[::-1]),
        (mean, variance.set_axis(stamps + pd.Timedelta("1h"))),
        (table, table[["b", "a"]]),
    ):
        with pytest.raises(ArgumentError, match="^variance: "):
            sizing.kelly(m, v)


def test_kelly_bridges_no_gap():
    stamps = pd.date_range("2024-01-01", periods=30, freq="1h", tz="UTC")
    close = pd.Series(100 + np.sin(np.arange(30)), stamps)
    assert len(sizing.rolling_kelly(close, 5)) == 30
    with pytest.raises(ArgumentError, match="^close: .* evenly spaced"):
        sizing.rolling_kelly(close.drop(stamps[9]), 5)


def test_features_may_spell_utc_in_their_own_way():
    bars = candles.synthetic(100, seed=1).candles
    known = pd.DataFrame({"a": np.arange(100.0) / 100}, bars.index)
    for index in (bars.index.tz_convert("Etc/UTC"), bars.index.as_unit("s")):
        env = sizing.SizingEnv(bars, features=known.set_axis(index))
        assert env.reset()[0][0] == 0.0
    far = bars.set_axis(pd.date_range("2500", periods=100, freq="1h", tz="UTC", unit="s"))
    with pytest.raises(CandleError):
        sizing.SizingEnv(far)
