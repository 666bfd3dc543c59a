"""HMM regimes: the filter against brute force and hmmlearn, causality, hindsight caught."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal
from scipy.stats import multivariate_normal

from setrade import backtest, candles, regimes
from setrade.regimes.hmm import forward, log_sum

MARKET = regimes.planted(4000, seed=1, volatility=(0.001, 0.003))


@pytest.fixture(scope="module")
def model() -> regimes.HMM:
    return regimes.fit_hmm(MARKET.candles[:2500], 2, window=1, restarts=3, seed=0)


def chain(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A random start and transition."""
    return rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k), k)


def run_forward(x, start, move, means, covariances):
    """Call the kernel as the model does."""
    factor = np.linalg.cholesky(covariances)
    norm = -np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
    norm -= x.shape[1] / 2 * np.log(2 * np.pi)
    out, evidence = np.empty((len(x), len(start))), np.empty(len(x))
    logs = np.log(start), np.log(move)
    forward(x, *logs, means, np.linalg.inv(factor), norm, out, evidence)
    return np.exp(out), evidence


def brute_force(x, start, move, means, covariances):
    """P(state t | rows up to t) as a sum over every path; also log p(rows)."""
    k, rows = len(start), []
    density = np.array(
        [[multivariate_normal.pdf(row, means[j], covariances[j]) for j in range(k)] for row in x]
    )
    total = np.nan
    for t in range(len(x)):
        share = np.zeros(k)
        for path in product(range(k), repeat=t + 1):
            p = start[path[0]] * density[0, path[0]]
            for u in range(1, t + 1):
                p *= move[path[u - 1], path[u]] * density[u, path[u]]
            share[path[-1]] += p
        total = share.sum()
        rows.append(share / total)
    return np.array(rows), np.log(total)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 3), st.integers(1, 6))
def test_filter_equals_the_sum_over_all_paths(seed, k, n):
    rng = np.random.default_rng(seed)
    start, move = chain(rng, k)
    means, root = rng.normal(0, 1, (k, 2)), rng.normal(0, 1, (k, 2, 2))
    covariances = root @ root.transpose(0, 2, 1) + 0.3 * np.eye(2)
    x = rng.normal(0, 1.5, (n, 2))
    got, evidence = run_forward(x, start, move, means, covariances)
    want, total = brute_force(x, start, move, means, covariances)
    np.testing.assert_allclose(got, want, atol=1e-12)
    assert evidence.sum() == pytest.approx(total)


def test_two_bars_by_hand():
    """Densities 2 : 1 and 1 : 4, even start, stay 0.9."""
    x = np.array([[0.0], [1.0]])
    means, sd = np.array([[0.0], [1.0]]), 1 / np.sqrt(2 * np.log(2))
    covariances = np.full((2, 1, 1), sd**2)  # density ratio at distance 1: exp(-1/2 / sd^2) = 1/2
    move = np.array([[0.9, 0.1], [0.1, 0.9]])
    got, _ = run_forward(x, np.array([0.5, 0.5]), move, means, covariances)
    np.testing.assert_allclose(got[0], [2 / 3, 1 / 3])
    before = np.array([2 / 3 * 0.9 + 1 / 3 * 0.1, 2 / 3 * 0.1 + 1 / 3 * 0.9])
    after = before * [1, 2]
    np.testing.assert_allclose(got[1], after / after.sum())


def test_log_sum_survives_extremes():
    assert log_sum(np.array([-1000.0, -1000.0])) == pytest.approx(-1000 + np.log(2))
    assert log_sum(np.array([-np.inf, -np.inf])) == -np.inf
    assert log_sum(np.array([0.0, -np.inf])) == 0


def test_each_row_is_hmmlearns_last_posterior_of_that_prefix(model):
    rows, peer = model.rows(MARKET.candles)[model.window :], model.to_hmmlearn()
    got = model.filtered(MARKET.candles).to_numpy()[model.window :]
    for t in (0, 1, 2, 10, 500, 2600, 3900):
        np.testing.assert_allclose(got[t], peer.predict_proba(rows[: t + 1])[-1], atol=1e-9)
    assert model.score(MARKET.candles) == pytest.approx(peer.score(rows) / len(rows))


def test_filtered_probabilities_never_look_ahead(model):
    cuts = (1500, 2600, 3998)
    assert_causal(model.filtered, MARKET.candles, cuts=cuts)
    assert_causal(lambda c: model.regime(c).cat.codes, MARKET.candles, cuts=cuts)
    assert_causal(lambda c: model.ahead(model.filtered(c), 24), MARKET.candles, cuts=cuts)
    for window in (1, 24):
        assert_causal(lambda c, w=window: regimes.observations(c, w), MARKET.candles, cuts=cuts)


@pytest.mark.parametrize("wrong", ["predict", "predict_proba"])
def test_hindsight_is_caught_by_the_truncation_law(model, wrong):
    """TRAPS 9: Viterbi and smoothing over the whole history change the past."""

    def states(frame):
        return getattr(model.to_hmmlearn(), wrong)(model.rows(frame)[model.window :])

    with pytest.raises(AssertionError, match="the past changed"):
        assert_causal(states, MARKET.candles, offset=model.window, cuts=range(1500, 3900, 20))


def test_hindsight_earns_on_a_random_walk_and_the_filter_does_not():
    """TRAPS 9 in money: follow three states of 12-bar moves, after fees."""
    bars = regimes.planted(6000, seed=0).candles
    model = regimes.fit_hmm(bars[:3000], 3, order="move", restarts=1)
    assert model.names == ("falling", "flat", "rising")
    path = model.to_hmmlearn().predict(model.rows(bars)[12:])
    filtered = model.regime(bars).cat.codes.to_numpy()[12:]
    sharpes = [
        backtest.run(bars[3000:], states[2988:] - 1.0).metrics()["sharpe"]
        for states in (path, filtered)
    ]
    assert sharpes[0] > 3 > 0 > sharpes[1]


def test_planted_regimes_are_found_and_named_by_volatility(model):
    assert model.names == ("calm", "wild")
    truth = MARKET.regime.cat.rename_categories(list(model.names))
    found = regimes.agreement(truth[2500:], model.regime(MARKET.candles)[2500:])
    assert found.rand > 0.8
    assert found.kappa is not None
    assert found.kappa > 0.9
    assert model.means[0, 1] < model.means[1, 1]
    assert model.start.sum() == pytest.approx(1)


def test_the_first_start_escapes_the_optimum_that_k_means_falls_into():
    """Two halves by sign explain single bars nearly as well; k-means begins there."""
    bars = regimes.planted(4000, seed=0).candles
    model = regimes.fit_hmm(bars, 2, window=1, restarts=3)
    first, *others = model.log_likelihoods
    assert first > max(others) + 0.1
    assert model.score(bars) == pytest.approx(first, abs=0.01)


def test_three_levels_of_volatility_are_found_causally():
    market = regimes.planted(10_000, seed=0, volatility=(0.001, 0.0017, 0.0029), stay=0.99)
    model = regimes.fit_hmm(market.candles[:6000], 3, restarts=1)
    truth = market.regime.cat.rename_categories(list(model.names))[6000:]
    found = regimes.agreement(truth, model.regime(market.candles)[6000:])
    assert found.kappa is not None
    assert found.kappa > 0.75


def test_order_by_move():
    drift = (0.002, -0.002)
    market = regimes.planted(3000, seed=3, volatility=(0.001, 0.001), drift=drift)
    model = regimes.fit_hmm(market.candles, 2, window=1, order="move", restarts=1)
    assert model.names == ("falling", "rising")
    truth = market.regime.cat.rename_categories(["rising", "falling"])
    kappa = regimes.agreement(truth, model.regime(market.candles)).kappa
    assert kappa is not None
    assert kappa > 0.8
    assert regimes.fit_hmm(market.candles, 4, restarts=1).names[0] == "state_0"


def test_units_do_not_matter(model):
    scaled = MARKET.candles * [7.0, 7.0, 7.0, 7.0, 0.01]
    np.testing.assert_allclose(model.filtered(scaled), model.filtered(MARKET.candles), atol=1e-9)


def test_ahead_by_hand_and_in_the_long_run(model):
    now = pd.DataFrame([[1.0, 0.0]], columns=list(model.names))
    np.testing.assert_allclose(model.ahead(now).iloc[0], model.transition[0])
    np.testing.assert_allclose(
        model.ahead(now, 2).iloc[0], model.transition[0] @ model.transition, atol=1e-12
    )
    matrix = pd.DataFrame(model.transition, model.names, model.names)
    np.testing.assert_allclose(
        model.ahead(now, 5000).iloc[0], regimes.stationary(matrix), atol=1e-9
    )


def test_planted_market_keeps_its_word():
    market = regimes.planted(60_000, seed=5, volatility=(0.001, 0.002, 0.004), drift=(0, 0, 1e-4))
    candles.check(market.candles)
    steps = np.log(market.candles["close"] / market.candles["open"])
    spread = steps.groupby(market.regime, observed=True).std()
    np.testing.assert_allclose(spread, [0.001, 0.002, 0.004], rtol=0.03)
    stay = np.diag(regimes.transition_matrix(market.regime))
    np.testing.assert_allclose(stay, 0.995, atol=0.001)
    assert regimes.planted(50, seed=5).candles.equals(regimes.planted(50, seed=5).candles)


def test_flat_bars_have_observations():
    flat = MARKET.candles.copy()
    flat.iloc[100:140, :4] = flat["close"].iloc[99]
    flat.iloc[140, 0] = flat["close"].iloc[99]
    flat.iloc[140, 1] = max(flat.iloc[140, 1], flat["close"].iloc[99])
    flat.iloc[140, 2] = min(flat.iloc[140, 2], flat["close"].iloc[99])
    rows = regimes.observations(flat)
    assert rows.iloc[1:].notna().all().all()
    assert rows["volatility"].iloc[120] == pytest.approx(np.log(1e-4))


BAD = [
    ({"n_states": 1}, "n_states"),
    ({"n_states": 2.5}, "n_states"),
    ({"n_states": 11}, "n_states"),
    ({"window": 0}, "window"),
    ({"window": 9999}, "candles"),
    ({"order": "size"}, "order"),
    ({"restarts": 0}, "restarts"),
    ({"seed": -1}, "seed"),
    ({"n_iter": 0}, "n_iter"),
]


@pytest.mark.parametrize(("change", "name"), BAD)
def test_bad_parameters_are_named(change, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        regimes.fit_hmm(MARKET.candles[:1000], **change)


def test_bad_frames_are_named(model):
    with pytest.raises(ValueError, match="^candles: got"):
        regimes.fit_hmm(MARKET.candles[:150], 2)
    still = MARKET.candles[:500].copy()
    still.iloc[:, :4] = 100.0
    with pytest.raises(ValueError, match="prices that move"):
        regimes.fit_hmm(still, 2)
    with pytest.raises(candles.CandleError):
        model.filtered(MARKET.candles.iloc[::-1])
    with pytest.raises(ValueError, match="^probabilities: got"):
        model.ahead(pd.DataFrame([[0.5, 0.5]], columns=["a", "b"]))
    with pytest.raises(ValueError, match="^steps: got"):
        model.ahead(model.filtered(MARKET.candles), 0)


PLANTED = [
    ({"n_bars": 0}, "n_bars"),
    ({"volatility": (0.001,)}, "volatility"),
    ({"volatility": (0.001, 0.0)}, "volatility"),
    ({"volatility": (0.001, np.nan)}, "volatility"),
    ({"drift": (0.0,)}, "drift"),
    ({"stay": 1}, "stay"),
    ({"stay": 0}, "stay"),
    ({"seed": -1}, "seed"),
    ({"interval": "7min"}, "interval"),
]


@pytest.mark.parametrize(("change", "name"), PLANTED)
def test_bad_plantings_are_named(change, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        regimes.planted(**({"n_bars": 100, "seed": 0} | change))
