"""The account of several assets against a pencil, a slow engine and its laws; plain weights."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setrade import backtest, candles, portfolio
from setrade.costs import FREE, Costs
from setrade.errors import ArgumentError


def market(n=60, m=4, seed=0, missing=False):
    """Return weights, opens and closes; the last asset is listed late where ``missing``."""
    rng = np.random.default_rng(seed)
    index = pd.date_range("2024-01-01", periods=n, freq="1h", tz="UTC", name="time")
    names = [f"C{i}" for i in range(m)]
    closes = 100 * np.exp(rng.normal(0, 0.02, (n, m)).cumsum(axis=0))
    opens = closes * np.exp(rng.normal(0, 0.005, (n, m)))
    weights = rng.normal(0, 0.3, (n, m))
    if missing:
        opens[: n // 2, -1] = closes[: n // 2, -1] = np.nan
        weights[: n // 2, -1] = 0.0
    return tuple(pd.DataFrame(x, index, names) for x in (weights, opens, closes))


def slow(weights, opens, closes, rate, funding):
    """Keep an account by names and a dictionary: a second engine, written another way."""
    cash, held, curve = 1.0, {}, []
    for t, time_ in enumerate(opens.index):
        price = opens.loc[time_]
        cash -= sum(u * price[a] * funding.loc[time_, a] for a, u in held.items())
        worth = cash + sum(u * price[a] for a, u in held.items())
        if t:
            wanted = weights.iloc[t - 1]
            new = {a: wanted[a] * worth / price[a] for a in wanted.index if wanted[a] != 0}
            for a in {*held, *new}:
                trade = new.get(a, 0.0) - held.get(a, 0.0)
                cash -= trade * price[a] + abs(trade) * price[a] * rate
            held = new
        curve.append(cash + sum(u * closes.loc[time_, a] for a, u in held.items()))
    return np.array(curve)


def test_a_ledger_with_a_pencil():
    """Half in A at 100 and half short in B at 50; A closes at 110, B at 45; 1 % a side."""
    index = pd.date_range("2024-01-01", periods=2, freq="1D", tz="UTC")
    opens = pd.DataFrame({"A": [90.0, 100], "B": [60.0, 50]}, index)
    closes = pd.DataFrame({"A": [95.0, 110], "B": [55.0, 45]}, index)
    weights = pd.DataFrame({"A": [0.5, 0], "B": [-0.5, 0]}, index)
    done = portfolio.run(weights, opens, closes, costs=Costs(100, 0, 0), equity=1_000.0)
    assert done.equity.tolist() == pytest.approx([1_000, 1_000 - 10 + 50 + 50])
    assert done.fees.tolist() == pytest.approx([0, 10])
    assert done.turnover.tolist() == pytest.approx([0, 1.0])


@pytest.mark.parametrize("missing", [False, True])
def test_equals_the_slow_engine(missing):
    weights, opens, closes = market(missing=missing)
    rng = np.random.default_rng(1)
    funding = pd.DataFrame(rng.normal(0, 1e-3, opens.shape), opens.index, opens.columns)
    done = portfolio.run(weights, opens, closes, funding=funding)
    np.testing.assert_allclose(done.equity, slow(weights, opens, closes, 6.5e-4, funding))


def test_one_asset_is_the_backtest():
    bars = candles.sample().iloc[:500]
    position = pd.Series(np.where(np.arange(500) % 90 < 45, 1.0, 0.0), bars.index)
    alone = backtest.run(bars, position, costs=FREE)
    tables = (pd.DataFrame({"BTC": x}) for x in (position, bars["open"], bars["close"]))
    together = portfolio.run(*tables, costs=FREE)
    np.testing.assert_allclose(together.equity, alone.equity, rtol=1e-10)
    assert set(together.metrics()) > {"sharpe", "fees", "funding", "turnover"}


@pytest.mark.parametrize("cut", [20, 40, 58])
def test_no_look_into_the_future(cut):
    weights, opens, closes = market()
    full = portfolio.run(weights, opens, closes).equity
    part = portfolio.run(*(x.iloc[: cut + 1] for x in (weights, opens, closes))).equity
    np.testing.assert_array_equal(part, full.iloc[: cut + 1])
    other = [x.copy() for x in (weights, opens, closes)]
    for x in other:
        x.iloc[cut + 1 :] *= 1.7
    np.testing.assert_array_equal(portfolio.run(*other).equity.iloc[: cut + 1], part)


def test_a_ruined_account_stays_at_nothing():
    weights, opens, closes = market()
    weights[:] = 0.0
    weights["C0"] = -1.0
    opens.iloc[30:] *= 5.0
    closes.iloc[30:] *= 5.0
    equity = portfolio.run(weights, opens, closes).equity
    assert (equity.iloc[:29] > 0).all()
    assert (equity.iloc[31:] == 0).all()


def test_a_hundred_and_thirty_six_coins_in_a_fifth_of_a_second():
    tables = market(6_000, 136)
    tables[0].iloc[:] /= 40
    portfolio.run(*(x.iloc[:50] for x in tables))  # compiles
    seconds = []
    for _ in range(3):
        start = time.process_time()
        portfolio.run(*tables)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.2


def test_bad_input_is_named():
    weights, opens, closes = market(missing=True)
    for name, call in {
        "weights": (weights.where(weights != weights.iloc[3, 0]), opens, closes),
        "weights: ": (weights.assign(C3=0.5), opens, closes),
        "C3 has no price": (weights.assign(C3=0.5), opens, closes),
        "opens": (weights, -opens, closes),
        "closes": (weights, opens, closes.iloc[:, ::-1]),
    }.items():
        with pytest.raises(ArgumentError, match=name):
            portfolio.run(*call)
    with pytest.raises(ArgumentError, match="funding"):
        portfolio.run(weights, opens, closes, funding=opens.iloc[:5] * 0)


def test_funding_belongs_to_the_assets_that_it_names():
    weights, opens, closes = market()
    funding = 0 * opens
    with pytest.raises(ArgumentError, match="funding"):
        portfolio.run(weights, opens, closes, funding=funding.iloc[:, ::-1])
    with pytest.raises(ArgumentError, match="weights"):
        portfolio.run(weights.to_numpy(), opens, closes)


def test_agreement_with_vectorbt():
    """Long-only targets at the next open, one purse, equal fees: equity equals at each close."""
    vectorbt = pytest.importorskip("vectorbt")
    weights, opens, closes = market(seed=3)
    weights = weights.abs().div(weights.abs().sum(axis=1), axis=0) * 0.9
    ours = portfolio.run(weights, opens, closes, costs=Costs(10.0, 0, 0))
    theirs = vectorbt.Portfolio.from_orders(
        closes, weights.shift(1), size_type="targetpercent", price=opens, val_price=opens,
        fees=0.001, init_cash=1.0, group_by=True, cash_sharing=True, call_seq="auto",
    )  # fmt: skip
    np.testing.assert_allclose(ours.equity, theirs.value(), rtol=1e-9)


# ---- Weights.


@given(st.integers(0, 99), st.integers(2, 9))
def test_weights_of_gates_sum_to_one_or_to_nothing(seed, m):
    rng = np.random.default_rng(seed)
    gates, base = rng.random((5, m)), rng.dirichlet(np.ones(m), 5)
    long = portfolio.from_gates(gates, base)
    np.testing.assert_allclose(long.sum(1), 1)
    np.testing.assert_allclose(long / long[:, :1], base * gates / (base * gates)[:, :1])
    short = portfolio.from_gates(gates, base, short=True)
    np.testing.assert_allclose(short.sum(1), 0, atol=1e-12)
    assert (np.abs(short).sum(1) <= 1 + 1e-12).all()
    alike = np.full((5, m), 0.3)
    np.testing.assert_allclose(portfolio.from_gates(alike, base), base)
    np.testing.assert_allclose(portfolio.from_gates(alike, base, short=True), 0, atol=1e-12)


def test_gates_that_give_no_weights_are_named():
    good = np.full((2, 3), 0.5)
    for gates, base, name in (
        (good + 1, None, "gates"),
        (good * np.nan, None, "gates"),
        (0 * good, None, "gates"),
        (good, [0.5, 0.5, 0.5], "base"),
        (good, [1.5, -0.5, 0.0], "base"),
        (good, [0.5, 0.5], "base"),
    ):
        with pytest.raises(ArgumentError, match=name):
            portfolio.from_gates(gates, base)
    assert not portfolio.from_gates(0 * good, short=True).any()


def covariance(m=6, seed=0):
    """Return a covariance of two blocks that move together."""
    x = np.random.default_rng(seed).normal(size=(500, m)) * np.linspace(0.01, 0.05, m)
    x[:, : m // 2] += np.random.default_rng(seed + 1).normal(0, 0.02, (500, 1))
    return np.cov(x.T)


def test_independent_assets_by_hand():
    c = np.diag([0.01, 0.04])
    np.testing.assert_allclose(portfolio.inverse_volatility(c), [2 / 3, 1 / 3])
    np.testing.assert_allclose(portfolio.minimum_variance(c), [0.8, 0.2])
    np.testing.assert_allclose(portfolio.hierarchical_risk_parity(c), [0.8, 0.2])


def test_weights_sum_to_one_and_nothing_varies_less():
    c = covariance()
    best = portfolio.minimum_variance(c)
    rng = np.random.default_rng(3)
    for weigh in (portfolio.inverse_volatility, portfolio.hierarchical_risk_parity):
        w = weigh(c)
        assert (w > 0).all()
        assert w.sum() == pytest.approx(1)
        assert w @ c @ w >= best @ c @ best
    for _ in range(50):
        w = best + (move := rng.normal(size=6)) - move.mean()
        assert w @ c @ w >= best @ c @ best


def test_scale_does_not_matter_and_order_follows_the_assets():
    c, order = covariance(), np.array([3, 0, 5, 1, 4, 2])
    for weigh in (
        portfolio.inverse_volatility,
        portfolio.minimum_variance,
        portfolio.hierarchical_risk_parity,
    ):
        np.testing.assert_allclose(weigh(c * 100), weigh(c), rtol=1e-8)
    np.testing.assert_allclose(
        portfolio.minimum_variance(c[np.ix_(order, order)]), portfolio.minimum_variance(c)[order]
    )


def test_a_singular_covariance_is_named():
    few = np.random.default_rng(4).normal(size=(5, 9))
    for bad in (np.cov(few.T), np.ones((2, 2)), np.array([[1.0, 2], [0, 1]]), np.zeros((2, 2))):
        with pytest.raises(ArgumentError, match="covariance"):
            portfolio.minimum_variance(bad)


def test_gates_meet_a_base_of_the_same_assets_and_stamps():
    stamps = pd.date_range("2024-01-01", periods=2, freq="1h", tz="UTC")
    gates = pd.DataFrame([[0.2, 0.8], [0.5, 0.5]], stamps, ["A", "B"])
    shares = pd.DataFrame([[0.7, 0.3], [0.6, 0.4]], stamps, ["A", "B"])
    right = portfolio.from_gates(gates.to_numpy(), shares.to_numpy())
    for index in (stamps, stamps.tz_convert("Etc/UTC"), stamps.as_unit("s")):
        np.testing.assert_array_equal(portfolio.from_gates(gates, shares.set_axis(index)), right)
    other = shares.set_axis(stamps + pd.Timedelta("1h"))
    for bad in (shares[["B", "A"]], shares.iloc[0][::-1], shares[::-1], other):
        with pytest.raises(ArgumentError, match="^base: "):
            portfolio.from_gates(gates, bad)


@pytest.mark.parametrize(
    "weigh",
    [
        portfolio.inverse_volatility,
        portfolio.minimum_variance,
        portfolio.hierarchical_risk_parity,
    ],
)
def test_a_covariance_names_its_assets_once(weigh):
    square = np.array([[1.0, 0.2], [0.2, 2.0]])
    frame = pd.DataFrame(square, ["A", "B"], ["A", "B"])
    np.testing.assert_array_equal(weigh(frame), weigh(square))
    with pytest.raises(ArgumentError, match="^covariance: "):
        weigh(frame.set_axis(["B", "A"], axis=1))


def test_tables_of_an_account_may_spell_utc_in_their_own_way():
    stamps = pd.date_range("2024-01-01", periods=5, freq="1h", tz="UTC")
    prices, weights = pd.DataFrame({"A": 1.0}, stamps), pd.DataFrame({"A": 0.5}, stamps)
    plain = portfolio.run(weights, prices, prices)
    for index in (stamps.tz_convert("Etc/UTC"), stamps.as_unit("s")):
        found = portfolio.run(weights.set_axis(index), prices, prices.set_axis(index))
        pd.testing.assert_series_equal(found.equity, plain.equity)
    with pytest.raises(ArgumentError, match="^weights: "):
        portfolio.run(weights.set_axis(stamps + pd.Timedelta("1h")), prices, prices)
