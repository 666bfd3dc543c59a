"""Intervals cover, searching is paid for, and bad input is named."""

from __future__ import annotations

from itertools import combinations
from math import erf, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, rankdata

from setrade import backtest, candles, evidence, metrics
from setrade.costs import Costs
from setrade.errors import ArgumentError

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
        w = rankdata(out)[best] / (x.shape[1] + 1)
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


def quiet_skill(seed: int, n: int = 500) -> np.ndarray:
    """One quiet model with skill among nine volatile ones without."""
    rng = np.random.default_rng(seed)
    return np.hstack([rng.normal(0.00025, 0.002, (n, 1)), rng.normal(0, 0.02, (n, 9))])


def test_a_quiet_skilled_model_is_not_hidden_by_volatile_ones():
    """An unstudentised test finds 2 of 40."""
    zero, found = np.zeros(500), 0
    for seed in range(40):
        p = evidence.superior_ability(zero, quiet_skill(seed), seed=seed, reps=200, block=1.0)
        found += p.consistent <= 0.05
    assert found >= 20


def test_the_test_errs_as_often_as_it_says():
    wrong = 0
    for seed in range(200):
        models = quiet_skill(seed)
        models[:, 0] -= 0.00025
        p = evidence.superior_ability(np.zeros(500), models, seed=seed, reps=200, block=1.0)
        wrong += p.consistent <= 0.05
    assert 2 <= wrong <= 20


def hansen(d: np.ndarray, block: float, reps: int, seed: int) -> np.ndarray:
    """The paper's p-values (lower, consistent, upper), one lag and one history at a time."""
    rng, n, p = np.random.default_rng(seed), len(d), 1 / block
    away, mean = d - d.mean(0), d.mean(0)
    variance = (away**2).mean(0)
    for i in range(1, n):
        kernel = (1 - i / n) * (1 - p) ** i + i / n * (1 - p) ** (n - i)
        variance = variance + 2 * kernel * (away[:-i] * away[i:]).sum(0) / n
    w = np.sqrt(variance)
    statistic = max((sqrt(n) * mean / w).max(), 0)
    keep = mean >= -np.sqrt(variance / n * 2 * np.log(np.log(n)))
    hits = np.zeros(3)
    for _ in range(reps):
        rows, at = np.empty(n, int), 0
        for t in range(n):
            at = rng.integers(n) if t == 0 or rng.random() < p else (at + 1) % n
            rows[t] = at
        for j, centre in enumerate((np.maximum(mean, 0), np.where(keep, mean, 0), mean)):
            hits[j] += max((sqrt(n) * (d[rows].mean(0) - centre) / w).max(), 0) >= statistic
    return hits / reps


@pytest.mark.parametrize("seed", range(3))
def test_superior_ability_is_hansens(seed):
    models = quiet_skill(seed, 120) - np.r_[0, 0, 0.008, np.zeros(7)]
    mine = evidence.superior_ability(np.zeros(120), models, seed=seed, reps=2000, block=4.0)
    theirs = hansen(models, 4.0, 400, seed)
    assert (mine.lower, mine.consistent, mine.upper) == pytest.approx(tuple(theirs), abs=0.09)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 50), st.floats(0.01, 100), st.permutations(range(10)))
def test_neither_leverage_nor_order_changes_the_answer(seed, leverage, order):
    models, zero = quiet_skill(seed), np.zeros(500)
    plain = evidence.superior_ability(zero, models, seed=0, reps=100, block=2.0)
    models[:, 1] *= leverage
    other = evidence.superior_ability(zero, models[:, order], seed=0, reps=100, block=2.0)
    assert other.consistent == pytest.approx(plain.consistent, abs=0.011)
    assert other.statistic == pytest.approx(plain.statistic)
    assert order[other.best] == plain.best
    assert plain.lower <= plain.consistent <= plain.upper


def test_models_that_are_all_worse_have_p_one():
    worse = evidence.superior_ability(np.zeros(960), NOISE - 0.01, seed=0, reps=100)
    assert (worse.lower, worse.consistent, worse.upper) == (1, 1, 1)
    assert worse.statistic == 0


def test_copies_of_the_benchmark_are_named():
    import pandas as pd

    frame = pd.DataFrame(NOISE[:, :3], columns=["a", "b", "c"])
    for copy in (NOISE[:, 1], NOISE[:, 1] + 0.001, NOISE[:, 1] * (1 + 1e-15)):
        with pytest.raises(ValueError, match=r"models: got .*benchmark; a, b, c do not vary"):
            evidence.superior_ability(NOISE[:, 1], frame.assign(a=copy, c=copy), seed=0)
    with pytest.raises(ValueError, match=r"models.*; 0 do not vary"):
        evidence.superior_ability(np.zeros(960), np.c_[np.zeros(960), NOISE], seed=0)


def test_copies_share_their_rank():
    """Six copies of one strategy: no choice among them is better than the median."""
    assert evidence.overfitting_probability(np.tile(NOISE[:, :1], 6), 8) == 1
    idle = np.hstack([NOISE[:, :2] - 0.0005, np.zeros((960, 18))])
    assert evidence.overfitting_probability(idle, 8) > 0.5
    assert evidence.overfitting_probability(np.zeros((960, 3)), 8) == 1


@settings(max_examples=20, deadline=None)
@given(arrays(float, (24, 5), elements=st.integers(-3, 3).map(float)), st.permutations(range(5)))
def test_ties_do_not_depend_on_the_order_of_strategies(x, order):
    if (np.ptp(x, axis=0) == 0).any():
        return
    got = evidence.overfitting_probability(x, 6)
    assert evidence.overfitting_probability(x[:, order], 6) == pytest.approx(got)
    assert evidence.overfitting_probability(x * 7, 6) == pytest.approx(got)
    assert 0 <= got <= 1


def test_a_constant_gain_has_no_ratio_to_be_ranked_by():
    with pytest.raises(ValueError, match=r"returns.*; 1, 2 are constant"):
        evidence.overfitting_probability(np.c_[NOISE[:, 0], np.full((960, 2), 1e-4), X], 8)


def test_the_probability_of_overfitting_scatters_around_a_half():
    coins = np.random.default_rng(3).normal(size=(320, 20))
    got = evidence.overfitting(coins, 8, seed=0, n_samples=60)
    assert got.probability == evidence.overfitting_probability(coins, 8)
    assert 0.4 < got.luck < 0.6
    assert got.scatter > 0.05
    assert got.low < 0.4
    assert got.high > 0.6
    skilled = coins + np.r_[np.zeros(19), 0.5]
    assert evidence.overfitting(skilled, 8, seed=0, n_samples=60).probability < got.low


def test_holm_by_hand():
    assert evidence.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert evidence.holm([0.2]) == [0.2]
    assert evidence.holm([0.5, 0.5, 0.9]).tolist() == [1, 1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_nothing_and_bonferroni(p):
    got, p = evidence.holm(p), np.array(p)
    assert (got >= p).all()
    assert (got <= np.minimum(p * len(p), 1)).all()
    assert (np.diff(got[np.argsort(p, kind="stable")]) >= 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 9))
def test_copies_are_one_try(n_bets, copies, seed):
    rng = np.random.default_rng(seed)
    bets = rng.normal(size=(400, n_bets))
    tries = np.repeat(bets, copies, axis=1) * rng.uniform(0.5, 3, n_bets * copies)
    assert evidence.effective_tries(tries) == n_bets
    labels = evidence.clusters(tries)
    assert labels.tolist() == np.repeat(np.arange(n_bets), copies).tolist()
    assert evidence.effective_tries(np.c_[tries, np.zeros((400, 2))]) == n_bets + 1
    assert evidence.effective_tries(np.zeros((400, n_bets))) == 1


def test_a_record_as_long_as_it_must_be():
    """With so many periods the probabilistic ratio of the same figures reaches the level."""
    x = NOISE[:, 3] + 0.0005
    need = evidence.min_track_record(x)
    s = evidence.sharpe(x)
    error = s * np.sqrt(len(x) - 1) / norm_ppf(evidence.probabilistic_sharpe(x))
    assert need == pytest.approx(1 + (1.6448536 * error / s) ** 2)
    assert evidence.min_track_record(x, benchmark=1.0) == np.inf
    assert np.isnan(evidence.min_track_record(np.full(20, 0.01)))
    assert np.isnan(evidence.probabilistic_sharpe(np.zeros(20)))


def norm_ppf(p: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)


def test_few_folds_deserve_wider_bounds():
    assert evidence.widened(0, -1, 1, 8) == pytest.approx((-1.2898, 1.2898), abs=1e-4)
    low, high = evidence.widened(1.0, 0.5, 2.0, 3)
    assert (1 - low, high - 1) == pytest.approx((0.5 * 2.688, 2.688), abs=1e-3)
    values = np.array([0.1, 0.3, 0.2, 0.5])
    mean, low, high = evidence.t_interval(values)
    half = 3.182446305 * values.std(ddof=1) / 2
    assert (mean, low, high) == pytest.approx((0.275, 0.275 - half, 0.275 + half), rel=1e-6)
    assert evidence.t_interval([5.0]) == evidence.t_interval([5.0, 5.0]) == (5, 5, 5)


def test_a_bound_may_be_infinite_and_is_never_nan():
    """One loss among a hundred trades: many histories have none."""
    profits = np.r_[np.full(99, 0.5), -1.0]
    got = evidence.interval(metrics.profit_factor, profits, seed=0, n_samples=400)
    assert got.low > 0
    assert got.high == np.inf
    never = evidence.interval(lambda _: float("nan"), profits, seed=0, n_samples=20)
    assert np.isnan([never.low, never.high]).all()


@given(arrays(float, (30, 2), elements=st.sampled_from([-np.inf, -1.0, 0.5, 2.0, np.inf, np.nan])))
def test_bounds_are_ordered_and_undefined_only_where_nothing_is_defined(drawn):
    got = evidence.bounds(drawn)
    assert (np.isnan(got) == np.isnan(drawn).all(axis=0)[:, None]).all()
    assert (got[:, 0] <= got[:, 1])[~np.isnan(got[:, 0])].all()


def test_blocks_of_returns_that_say_nothing():
    assert evidence.block_length(1e-4 * (1 + 1e-15 * NOISE[:, 0])) == 1
    assert evidence.block_length(np.tile([0.01, -0.01], 40)) >= 1


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
    (evidence.superior_ability, (X, NOISE), {"seed": 0, "block": 0.5}, "block"),
    (evidence.superior_ability, (X, np.full_like(NOISE, np.nan)), {"seed": 0}, "models"),
    (evidence.overfitting, (NOISE,), {"seed": 0, "n_samples": 2}, "n_samples"),
    (evidence.holm, ([0.1, np.nan],), {}, "p_values"),
    (evidence.holm, ([0.1, 1.5],), {}, "p_values"),
    (evidence.holm, ([],), {}, "p_values"),
    (evidence.clusters, (NOISE, 1.0), {}, "correlation"),
    (evidence.min_track_record, (X, 0.0, 1.0), {}, "level"),
    (evidence.widened, (0, -1, 1, 1), {}, "n_folds"),
    (evidence.widened, (1, 0.5, 1.5, 4), {"students": "False"}, "students"),
    (evidence.t_interval, ([1.0, np.nan],), {}, "values"),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "name"), BAD)
def test_bad_input_is_named(function, args, kwargs, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        function(*args, **kwargs)


@pytest.mark.parametrize("n", [2, 10, 1000, 10**12, 2**53])
def test_the_best_of_any_number_of_tries_is_finite(n):
    assert np.isfinite(found := evidence.expected_best_sharpe(n, 1.0))
    assert found < np.sqrt(2 * np.log(n))  # what it comes near
    assert np.isfinite(evidence.widened(0, -1, 1, 8, tests=n)).all()
    if n <= 1000:  # as the source writes it
        share = float(np.euler_gamma)
        first, second = norm.ppf(1 - 1 / n), norm.ppf(1 - 1 / (n * np.e))
        assert found == pytest.approx((1 - share) * first + share * second, rel=1e-12)


def test_returns_that_do_not_vary_have_no_sharpe():
    assert np.isnan(evidence.sharpe(np.full(20, 0.01)))
    assert evidence.block_length(np.full(20, 0.01)) == 1.0


def stamped(values, start="2024-01-01"):
    return pd.Series(values, pd.date_range(start, periods=len(values), tz="UTC"))


def test_records_out_of_order_or_of_other_days_are_refused():
    """Returns of two strategies were once paired by place, whatever their stamps said."""
    rng = np.random.default_rng(0)
    base, other = stamped(rng.normal(0, 0.01, 40)), stamped(rng.normal(0, 0.01, 40))
    models = pd.DataFrame({"a": other, "b": base * 0.5})
    later = models.set_axis(models.index + pd.Timedelta("1D"))
    mean = {"statistic": np.mean, "seed": 0, "n_samples": 20}
    for call in (
        lambda: evidence.superior_ability(base, later, seed=0, reps=100),
        lambda: evidence.paired_difference(first=base, second=later["a"], **mean),
    ):
        with pytest.raises(ArgumentError, match="same stamps"):
            call()
    for call in (
        lambda: evidence.superior_ability(base, models[::-1], seed=0, reps=100),
        lambda: evidence.superior_ability(base[::-1], models, seed=0, reps=100),
        lambda: evidence.paired_difference(first=base, second=other[::-1], **mean),
        lambda: evidence.interval(returns=base[::-1], **mean),
        lambda: evidence.block_length(base[::-1]),
        lambda: evidence.probabilistic_sharpe(base.iloc[np.r_[0, 0, 2:40]]),
        lambda: evidence.overfitting_probability(models[::-1], 4),
        lambda: evidence.clusters(models[::-1]),
    ):
        with pytest.raises(ArgumentError, match="rises"):
            call()


@pytest.mark.parametrize("statistic", ["mean", None, lambda x: None, lambda x: "a",
                                       lambda x: 1j, lambda x: np.ones((2, 2)),
                                       lambda x: np.ones(2)])  # fmt: skip
def test_a_statistic_that_gives_no_number_is_named(statistic):
    x = np.random.default_rng(0).normal(0, 0.01, 20)
    with pytest.raises(ArgumentError, match="statistic"):
        evidence.interval(statistic, x, seed=0, n_samples=10)


@pytest.mark.parametrize("power", [-1000, -530, 530, 990])
def test_nothing_depends_on_the_scale_of_returns(power):
    rng = np.random.default_rng(0)
    x, models = rng.normal(0.001, 0.01, 64), rng.normal(0, 0.01, (64, 4))
    big, many = np.ldexp(x, power), np.ldexp(models, power)
    for f in (evidence.probabilistic_sharpe, evidence.min_track_record, evidence.block_length):
        assert f(big) == pytest.approx(f(x), rel=1e-9)
    assert evidence.overfitting_probability(many, 4) == evidence.overfitting_probability(models, 4)
    np.testing.assert_array_equal(evidence.clusters(many), evidence.clusters(models))
    one, other = (
        evidence.superior_ability(b, m, seed=0, reps=100) for b, m in ((x, models), (big, many))
    )
    assert one.consistent == other.consistent
    assert one.statistic == pytest.approx(other.statistic)


def test_bounds_that_cross_are_not_widened():
    with pytest.raises(ArgumentError, match="low: got 1.5"):
        evidence.widened(1.0, 1.5, 0.5)
