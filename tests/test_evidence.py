"""Intervals cover, searching is paid for, and bad input is named."""

from __future__ import annotations

from itertools import combinations
from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import backtest, candles, evidence
from setrade.costs import Costs

NOISE = np.random.default_rng(0).normal(0, 0.01, (960, 20))


def ar1(n: int, phi: float, seed: int) -> np.ndarray:
    from scipy.signal import lfilter

    return lfilter([1.0], [1.0, -phi], np.random.default_rng(seed).normal(size=n))


def test_interval_is_repeatable_and_holds_its_estimate():
    first = evidence.interval(np.mean, NOISE[:, 0], seed=1, n_samples=200)
    again = evidence.interval(np.mean, NOISE[:, 0], seed=1, n_samples=200)
    assert first == again
    assert first.estimate == NOISE[:, 0].mean()
    assert first.low < first.estimate < first.high
    assert first.estimate in first
    assert first.high + 1 not in first


def test_interval_of_a_mean_agrees_with_theory_on_independent_returns():
    x = NOISE[:, 0]
    got = evidence.interval(np.mean, x, seed=0, n_samples=2000, block=1.0)
    half = 1.96 * x.std() / sqrt(len(x))
    assert got.high - got.low == pytest.approx(2 * half, rel=0.1)


def test_blocks_widen_the_interval_of_dependent_returns():
    """With phi = 0.8 the mean's variance is 9 times what independence says."""
    x = ar1(4000, 0.8, seed=3)
    alone = evidence.interval(np.mean, x, seed=0, block=1.0, n_samples=400)
    blocks = evidence.interval(np.mean, x, seed=0, n_samples=400)
    assert evidence.block_length(x) > 5
    ratio = (blocks.high - blocks.low) / (alone.high - alone.low)
    assert 2.2 < ratio < 3.8


def test_interval_covers_the_truth_about_as_often_as_it_says():
    hits = [
        0.0 in evidence.interval(np.mean, ar1(300, 0.3, seed), seed=seed, n_samples=200)
        for seed in range(100)
    ]
    assert 0.85 <= np.mean(hits) <= 0.99


def test_what_moves_both_cancels_in_a_paired_difference():
    rng = np.random.default_rng(5)
    market = rng.normal(0, 0.05, 500)
    a, b = market + 0.001, market + rng.normal(0, 1e-5, 500)
    got = evidence.paired_difference(np.mean, a, b, seed=0, n_samples=300)
    assert got.low > 0.00099
    assert 0.0 in evidence.interval(np.mean, a, seed=0, n_samples=300)
    same = evidence.paired_difference(np.mean, a, a, seed=0, n_samples=50)
    assert (same.low, same.estimate, same.high) == (0, 0, 0)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.integers(0, 5))
def test_bounds_scale_with_the_returns(scale, seed):
    x = NOISE[:200, 1]
    one = evidence.interval(np.mean, x, seed=seed, n_samples=50, block=4.0)
    many = evidence.interval(np.mean, scale * x, seed=seed, n_samples=50, block=4.0)
    assert many.low == pytest.approx(scale * one.low, abs=1e-12)
    assert many.high == pytest.approx(scale * one.high, abs=1e-12)


def test_probabilistic_sharpe_by_hand():
    """For ±1 around 0.1 the skew is 0 and the kurtosis 1, so the variance term is 1."""
    x = np.tile([1.0, -1.0], 50) + 0.1
    s = 0.1 / np.std(x, ddof=1)
    expected = 0.5 * (1 + erf(s * sqrt(99) / sqrt(2)))
    assert evidence.sharpe(x) == pytest.approx(s)
    assert evidence.probabilistic_sharpe(x) == pytest.approx(expected, abs=1e-12)
    assert evidence.probabilistic_sharpe(x, s) == pytest.approx(0.5)


def test_expected_best_sharpe_agrees_with_simulation():
    draws = np.random.default_rng(0).normal(0, 0.3, (20_000, 50)).max(axis=1).mean()
    assert evidence.expected_best_sharpe(50, 0.09) == pytest.approx(draws, rel=0.02)


def test_deflation_takes_away_the_best_of_noise():
    """The best of twenty noise series looks good alone, and like luck once the search counts."""
    ratios = [evidence.sharpe(x) for x in NOISE.T]
    best = NOISE[:, int(np.argmax(ratios))]
    assert evidence.probabilistic_sharpe(best) > 0.95
    assert evidence.deflated_sharpe(best, 20, float(np.var(ratios, ddof=1))) < 0.9


def slow_pbo(x: np.ndarray, blocks: int) -> float:
    """The algorithm as printed, one combination at a time."""
    parts = np.array_split(x, blocks)
    below = []
    for chosen in combinations(range(blocks), blocks // 2):
        rest = [i for i in range(blocks) if i not in chosen]
        inside, outside = (np.concatenate([parts[i] for i in k]) for k in (chosen, rest))
        best = int(np.argmax(inside.mean(0) / inside.std(0)))
        out = outside.mean(0) / outside.std(0)
        w = (out <= out[best]).sum() / (x.shape[1] + 1)
        below.append(np.log(w / (1 - w)) <= 0)
    return float(np.mean(below))


@pytest.mark.parametrize("seed", range(3))
def test_overfitting_probability_equals_the_algorithm_as_printed(seed):
    x = np.random.default_rng(seed).normal(0, 1, (96, 7))
    assert evidence.overfitting_probability(x, 8) == pytest.approx(slow_pbo(x, 8))


def test_overfitting_probability_tells_skill_from_noise():
    skilled = NOISE.copy()
    skilled[:, 3] += 0.004
    assert evidence.overfitting_probability(skilled) < 0.01
    noise = [
        evidence.overfitting_probability(np.random.default_rng(s).normal(size=(320, 30)), 8)
        for s in range(12)
    ]
    assert 0.35 < np.mean(noise) < 0.65


def test_superior_ability_finds_skill_and_nothing_in_noise():
    base = np.zeros(960)
    assert evidence.superior_ability(base, NOISE, seed=0, reps=300).consistent > 0.05
    skilled = NOISE.copy()
    skilled[:, 3] += 0.002
    found = evidence.superior_ability(base, skilled, seed=0, reps=300)
    assert found.lower <= found.consistent <= found.upper < 0.01


BARS = candles.synthetic(1500, seed=0).candles
FOLLOW = np.sign(BARS["close"].diff(10).fillna(0)).to_numpy()


def test_every_figure_lies_in_its_interval():
    result = backtest.run(BARS, FOLLOW)
    got = evidence.metric_intervals(result, seed=0, n_samples=200)
    assert list(got.index) == list(backtest.METRICS)
    assert got["estimate"].to_dict() == result.metrics()
    bounded = got.dropna()
    assert len(bounded) == 8
    assert (bounded["low"] < bounded["high"]).all()
    inside = bounded["estimate"].between(bounded["low"], bounded["high"])
    assert inside.drop("max_drawdown").all()  # reshuffling can only shift this one


def test_few_trades_have_no_interval():
    got = evidence.metric_intervals(backtest.run(BARS, np.ones(1500)), seed=0, n_samples=20)
    assert got.loc[["win_rate", "profit_factor"], "low"].isna().all()


def test_an_edge_dies_where_the_fee_says():
    got = evidence.cost_sensitivity(BARS, FOLLOW, [0, 2, 5, 10])
    assert got["annual_return"].is_monotonic_decreasing
    assert got.loc[0.0, "fees"] == 0
    ahead = np.sign(BARS["open"].shift(-2) - BARS["open"].shift(-1)).fillna(0).to_numpy()
    fee = evidence.break_even_fee(BARS, ahead)  # an oracle has an edge to lose
    assert 1 < fee < 100
    for change, wins in ((-0.1, True), (0.1, False)):
        end = backtest.run(BARS, ahead, costs=Costs(fee_bps=fee + change)).equity.iloc[-1]
        assert (end > 1) == wins
    assert evidence.break_even_fee(BARS, -ahead) == 0
    assert evidence.break_even_fee(BARS, ahead, high=0.5) == np.inf


X = NOISE[:, 0]
BAD = [
    (evidence.metric_intervals, (3,), {"seed": 0}, "result"),
    (evidence.cost_sensitivity, (BARS, FOLLOW, []), {}, "fees_bps"),
    (evidence.cost_sensitivity, (BARS, FOLLOW, [-1]), {}, "fees_bps"),
    (evidence.break_even_fee, (BARS, FOLLOW), {"high": 0}, "high"),
    (evidence.interval, (np.mean, X[:3]), {"seed": 0}, "returns"),
    (evidence.interval, (np.mean, ["a", "b"]), {"seed": 0}, "returns"),
    (evidence.interval, (np.mean, np.append(X, np.nan)), {"seed": 0}, "returns"),
    (evidence.interval, (np.mean, X), {"seed": -1}, "seed"),
    (evidence.interval, (np.mean, X), {"seed": 0, "level": 1.5}, "level"),
    (evidence.interval, (np.mean, X), {"seed": 0, "block": 0.5}, "block"),
    (evidence.interval, (np.mean, X), {"seed": 0, "n_samples": 1}, "n_samples"),
    (evidence.paired_difference, (np.mean, X, X[1:]), {"seed": 0}, "second"),
    (evidence.block_length, (X[:2],), {}, "returns"),
    (evidence.probabilistic_sharpe, (X, np.inf), {}, "benchmark"),
    (evidence.expected_best_sharpe, (1, 0.1), {}, "n_trials"),
    (evidence.expected_best_sharpe, (5, -0.1), {}, "variance"),
    (evidence.overfitting_probability, (NOISE, 7), {}, "n_blocks"),
    (evidence.overfitting_probability, (NOISE[:20], 16), {}, "n_blocks"),
    (evidence.overfitting_probability, (X,), {}, "returns"),
    (evidence.superior_ability, (X[1:], NOISE), {"seed": 0}, "models"),
    (evidence.superior_ability, (X, NOISE), {"seed": 0, "reps": 1}, "reps"),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "name"), BAD)
def test_bad_input_is_named(function, args, kwargs, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        function(*args, **kwargs)


def test_returns_that_do_not_vary_have_no_sharpe():
    assert np.isnan(evidence.sharpe(np.full(20, 0.01)))
    assert evidence.block_length(np.full(20, 0.01)) == 1.0
