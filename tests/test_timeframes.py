"""Timeframes: joins on closes, weights on the simplex, agreement; and the join that leaks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal
from scipy.optimize import minimize

from setrade import backtest, candles
from setrade.models import TimeframeEnsemble, timeframes

MARKET = candles.synthetic(1200, seed=6).candles
CLASSES = ["sell", "hold", "buy"]


def quarters(n: int) -> pd.DatetimeIndex:
    return pd.date_range("2024-01-01", periods=n, freq="15min", tz="UTC", name="time")


def hourly(bars: pd.DataFrame) -> pd.DataFrame:
    """What each closed hour says: its move, and its close."""
    hour = candles.resample(bars, "1h")
    return pd.DataFrame({"move": hour["close"] / hour["open"] - 1, "close": hour["close"]})


def right(bars: pd.DataFrame) -> pd.DataFrame:
    return timeframes.known_at(hourly(bars), "1h", bars.index)


def by_stamp(bars: pd.DataFrame) -> pd.DataFrame:
    """TRAPS 36, the wrong join: the hour that opened last, closed or not."""
    return hourly(bars).reindex(bars.index, method="ffill")


def one_early(bars: pd.DataFrame) -> pd.DataFrame:
    """A subtler wrong join: closes against opens, one short bar too early... by three quarters."""
    said = hourly(bars)
    return said.set_axis(said.index + pd.Timedelta("15min")).reindex(bars.index, method="ffill")


def test_the_hour_is_known_at_its_close_by_hand():
    said = pd.DataFrame({"p": [0.1, 0.2]}, quarters(8)[::4])
    got = timeframes.known_at(said, "1h", quarters(8))["p"]
    np.testing.assert_array_equal(got, [np.nan] * 3 + [0.1] * 4 + [0.2])


def test_holes_and_ends_are_not_filled():
    said = pd.DataFrame({"p": [0.1, 0.2, 0.4]}, quarters(16)[[0, 4, 12]])
    got = timeframes.known_at(said, "1h", quarters(24))["p"]
    want = [np.nan] * 3 + [0.1] * 4 + [0.2] * 4 + [np.nan] * 4 + [0.4] * 4 + [np.nan] * 5
    np.testing.assert_array_equal(got, want)


def test_the_same_bar_length_is_no_delay():
    said = pd.DataFrame({"p": np.arange(6.0)}, quarters(6))
    pd.testing.assert_frame_equal(timeframes.known_at(said, "15min", quarters(6)), said)


def test_against_pandas_merge_asof():
    """An independent peer: merge on closing times, backwards."""
    said = hourly(MARKET)
    left = pd.DataFrame({"now": MARKET.index + pd.Timedelta("15min")})
    other = said.reset_index(drop=True).assign(now=said.index + pd.Timedelta("1h"))
    want = pd.merge_asof(left, other, on="now")[["move", "close"]].to_numpy()
    np.testing.assert_array_equal(right(MARKET).to_numpy(), want)


def test_closes_aligned_never_look_ahead():
    assert_causal(right, MARKET, cuts=(601, 602, 603, 604, 1198))


@pytest.mark.parametrize("wrong", [by_stamp, one_early])
def test_joins_on_stamps_are_caught_by_truncation(wrong):
    """TRAPS 36: the forming hour changes the past."""
    with pytest.raises(AssertionError, match="the past changed"):
        assert_causal(wrong, MARKET, cuts=(601, 602, 603, 604))


def test_the_wrong_join_earns_what_nobody_could():
    walk = np.sign(by_stamp(MARKET)["move"]).fillna(0.0)
    honest = np.sign(right(MARKET)["move"]).fillna(0.0)
    assert backtest.run(MARKET, walk).equity.iloc[-1] > 1.5
    assert backtest.run(MARKET, honest).equity.iloc[-1] < 1.1


def test_align_stacks_frames_in_order():
    p15 = pd.DataFrame(np.tile([0.2, 0.3, 0.5], (8, 1)), quarters(8), CLASSES)
    p60 = pd.DataFrame(np.tile([0.6, 0.3, 0.1], (2, 1)), quarters(8)[::4], CLASSES)
    got = timeframes.align({"15min": p15, "1h": p60}, quarters(8))
    assert got.shape == (8, 2, 3)
    assert np.isnan(got[:3, 1]).all()
    np.testing.assert_allclose(got[3:, 1], np.tile([0.6, 0.3, 0.1], (5, 1)))
    np.testing.assert_allclose(got[:, 0], p15)


def forecasts(seed: int, n: int = 400, frames: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1, 1, 1], (n, frames))


def drawn(p: np.ndarray, weights: list[float], seed: int) -> np.ndarray:
    """Draw what comes true from a mix of the frames' forecasts."""
    mix = np.tensordot(p, weights, (1, 0))
    return (mix.cumsum(1) < np.random.default_rng(seed).random((len(p), 1))).sum(1)


def test_one_step_of_the_iteration_by_hand():
    p = np.array([[[0.2, 0.8], [0.8, 0.2]], [[0.6, 0.4], [0.3, 0.7]]])
    got = TimeframeEnsemble.fit(("a", "b"), p, np.array([1, 0]), max_iter=1)
    assert got.weights == pytest.approx([(0.8 + 2 / 3) / 2, (0.2 + 1 / 3) / 2])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_equal_a_general_optimiser_s(seed):
    p = forecasts(seed)
    y = drawn(p, [0.5, 0.4, 0.1], seed + 1)
    hit = p[np.arange(len(p)), :, y]
    ours = np.array(TimeframeEnsemble.fit(("a", "b", "c"), p, y, tol=1e-9).weights)
    peer = minimize(
        lambda w: -np.log(hit @ w).mean(), np.full(3, 1 / 3), bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, options={"ftol": 1e-13},
    )  # fmt: skip
    np.testing.assert_allclose(ours, peer.x, atol=2e-3)
    assert np.log(hit @ ours).mean() >= -peer.fun - 1e-7
    assert ours.sum() == pytest.approx(1)
    assert ours.min() >= 0


def test_planted_weights_are_found():
    p = forecasts(0, 20_000)
    got = TimeframeEnsemble.fit(("a", "b", "c"), p, drawn(p, [0.6, 0.3, 0.1], 1))
    np.testing.assert_allclose(got.weights, [0.6, 0.3, 0.1], atol=0.03)


@given(st.integers(0, 10_000))
def test_the_order_of_frames_does_not_matter(seed):
    p = forecasts(seed, 60)
    y = drawn(p, [0.2, 0.3, 0.5], seed)
    one = TimeframeEnsemble.fit(("a", "b", "c"), p, y, tol=1e-8)
    other = TimeframeEnsemble.fit(("c", "b", "a"), p[:, ::-1], y, tol=1e-8)
    np.testing.assert_allclose(one.weights, other.weights[::-1], atol=1e-12)
    pooled = one.combine(p)
    np.testing.assert_allclose(pooled, other.combine(p[:, ::-1]), atol=1e-12)
    np.testing.assert_allclose(pooled.sum(axis=1), 1)
    assert (pooled <= p.max(axis=1) + 1e-12).all()


def test_combine_and_positions_by_hand():
    p = np.array([[[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], [[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]])
    pool = TimeframeEnsemble(("1h", "4h"), (0.75, 0.25))
    np.testing.assert_allclose(pool.combine(p)[0], [0.15, 0.225, 0.625])
    np.testing.assert_allclose(pool.position(p), [0.475, 0.375])
    np.testing.assert_allclose(pool.position(p, unanimous=True), [0.475, 0])
    assert timeframes.agreement_rate(p) == 0.5
    assert timeframes.directions(p).tolist() == [[1, 1], [1, -1]]
    assert TimeframeEnsemble.equal(("a", "b")).weights == (0.5, 0.5)


def test_frames_that_point_nowhere_do_not_agree():
    p = np.full((3, 2, 3), 1 / 3)
    assert not timeframes.agree(p).any()


def test_the_whole_ensemble_is_causal():
    """From candles to position: resample, forecast, align, pool."""

    def soft(frame: pd.DataFrame) -> pd.DataFrame:
        move = np.tanh(200 * (frame["close"] / frame["open"] - 1))
        return pd.DataFrame({"sell": (1 - move) / 3, "hold": 1 / 3, "buy": (1 + move) / 3})

    def positions(bars: pd.DataFrame) -> np.ndarray:
        made = {"15min": soft(bars), "1h": soft(candles.resample(bars, "1h"))}
        p = timeframes.align(made, bars.index)
        known = np.isfinite(p).all(axis=(1, 2))
        out = np.full(len(bars), np.nan)
        pool = TimeframeEnsemble(("15min", "1h"), (0.3, 0.7))
        out[known] = pool.position(p[known], unanimous=True)
        return out

    assert_causal(positions, MARKET, cuts=(601, 602, 603, 604, 1198))


P, Y = forecasts(0, 10), np.zeros(10)
INDEX = quarters(10)
SAID = pd.DataFrame(0.5, INDEX, ["p"])
ABC = ("a", "b", "c")
BAD = [
    (lambda: timeframes.known_at(SAID, "5min", INDEX), "interval"),
    (lambda: timeframes.known_at(SAID, "7min", INDEX), "interval"),
    (lambda: timeframes.known_at(SAID["p"], "1h", INDEX), "values"),
    (lambda: timeframes.known_at(SAID[::-1], "1h", INDEX), "values"),
    (lambda: timeframes.known_at(SAID, "1h", INDEX[::-1]), "index"),
    (lambda: timeframes.known_at(SAID, "1h", INDEX[:1]), "index"),
    (lambda: timeframes.known_at(SAID, "1h", INDEX.tz_localize(None)), "index"),
    (lambda: timeframes.align({"15min": SAID}, INDEX), "forecasts"),
    (lambda: timeframes.align({"15min": SAID, "1h": SAID.add_prefix("x")}, INDEX), "forecasts"),
    (lambda: TimeframeEnsemble(("a", "b"), (0.5, 0.6)), "weights"),
    (lambda: TimeframeEnsemble(("a", "b"), (1.5, -0.5)), "weights"),
    (lambda: TimeframeEnsemble(("a", "b"), (1.0,)), "weights"),
    (lambda: TimeframeEnsemble.fit(ABC, P[:, :, :2], Y), "probabilities"),
    (lambda: TimeframeEnsemble.fit(ABC, np.where(P > 0.9, np.nan, P * np.nan), Y), "probabilities"),
    (lambda: TimeframeEnsemble.fit(ABC, P[0], Y), "probabilities"),
    (lambda: TimeframeEnsemble.fit(ABC, np.tile([0.0, 0.5, 0.5], (10, 3, 1)), Y), "probabilities"),
    (lambda: TimeframeEnsemble.fit(ABC, P, Y[:9]), "y"),
    (lambda: TimeframeEnsemble.fit(ABC, P, Y + 3), "y"),
    (lambda: TimeframeEnsemble.fit(ABC, P, Y + 0.5), "y"),
    (lambda: TimeframeEnsemble.fit(("a",), P, Y), "frames"),
    (lambda: TimeframeEnsemble.fit(ABC, P, Y, tol=0.0), "tol"),
    (lambda: TimeframeEnsemble.fit(ABC, P, Y, max_iter=0), "max_iter"),
    (lambda: TimeframeEnsemble.equal(("a", "b")).combine(P), "probabilities"),
    (lambda: timeframes.agreement_rate(P[0]), "probabilities"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=f"^{name}: got "):
        call()
