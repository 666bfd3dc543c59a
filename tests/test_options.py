"""Black-76 against QuantLib and against fifty digits; implied volatility at its edges; hedges."""

# ruff: noqa: C408
from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
import QuantLib as ql
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import options, toys
from setrade.costs import FREE, Costs
from setrade.errors import ArgumentError

EPS = np.finfo(float).eps
KIND = {"call": ql.Option.Call, "put": ql.Option.Put}


def exact(kind, forward, strike, s):
    """Return the textbook's formula at sixty digits: there a difference keeps enough of them."""
    with mp.workdps(60):
        sign = 1 if kind == "call" else -1
        f, k, s = mp.mpf(forward), mp.mpf(strike), mp.mpf(s)
        d = mp.log(f / k) / s + s / 2
        return sign * (f * mp.ncdf(sign * d) - k * mp.ncdf(sign * (d - s)))


def book(seed, n):
    """Return n contracts that an exchange might list, with volatilities and rates."""
    rng = np.random.default_rng(seed)
    forward = rng.uniform(100, 100_000, n)
    years, sigma = rng.uniform(0.003, 2, n), rng.uniform(0.1, 2, n)
    strike = forward * np.exp(rng.uniform(-3, 3, n) * sigma * np.sqrt(years))
    kind = np.where(rng.random(n) < 0.5, "call", "put")
    return kind, forward, strike, years, sigma, rng.uniform(-0.05, 0.1, n)


def test_a_price_by_hand():
    """At the money with s = 1: F (N(1/2) − N(−1/2)) = F erf(1 / √8)."""
    for kind in options.KINDS:
        by_hand = 100 * math.erf(1 / math.sqrt(8))
        assert options.price(kind, 100.0, 100.0, 1.0, 1.0) == pytest.approx(by_hand, rel=1e-15)


def test_prices_and_greeks_are_quantlibs():
    kind, forward, strike, years, sigma, rate = book(1, 1_000)
    ours = options.price(kind, forward, strike, years, sigma, rate=rate)
    greeks = options.greeks(kind, forward, strike, years, sigma, rate=rate)
    for i in range(len(kind)):
        payoff = ql.PlainVanillaPayoff(KIND[str(kind[i])], float(strike[i]))
        s, discount = float(sigma[i] * np.sqrt(years[i])), float(np.exp(-rate[i] * years[i]))
        f, t = float(forward[i]), float(years[i])
        theirs = ql.BlackCalculator(payoff, f, s, discount)
        assert ours[i] == pytest.approx(theirs.value(), rel=1e-10)
        assert greeks.delta[i] == pytest.approx(theirs.deltaForward(), rel=1e-10)
        assert greeks.gamma[i] == pytest.approx(theirs.gammaForward(), rel=1e-10)
        assert greeks.vega[i] == pytest.approx(theirs.vega(t), rel=1e-10)
        decay = rate[i] * theirs.value() - theirs.gammaForward() * (f * sigma[i]) ** 2 / 2
        assert greeks.theta[i] == pytest.approx(decay, rel=1e-9)
        assert greeks.rho[i] == pytest.approx(-t * theirs.value(), rel=1e-10)


@pytest.mark.parametrize("s", [1e-9, 1e-5, 1e-3, 0.01, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("moneyness", [0.0, 1e-9, -1e-4, 0.01, -0.2, 0.5, 4.0, -0.9])
def test_prices_keep_their_digits_far_from_the_money(moneyness, s):
    strike = 100 * (1 + moneyness)
    for kind in options.KINDS:
        true = exact(kind, 100.0, strike, s)
        if true > 1e-290:
            ours = options.price(kind, 100.0, strike, 1.0, s)
            assert float(abs(ours / true - 1)) < 1e-10


def test_greeks_are_the_gradients_of_the_price():
    kind, forward, strike, years, sigma, rate = book(2, 200)
    f, t, v, r = (torch.tensor(x, requires_grad=True) for x in (forward, years, sigma, rate))
    sign, k = torch.tensor(np.where(kind == "call", 1.0, -1.0)), torch.tensor(strike)
    d = torch.log(f / k) / (v * t.sqrt()) + v * t.sqrt() / 2
    n = torch.special.ndtr
    worth = torch.exp(-r * t) * sign * (f * n(sign * d) - k * n(sign * (d - v * t.sqrt())))
    delta, years_, vega, rho = torch.autograd.grad(worth.sum(), (f, t, v, r), create_graph=True)
    (gamma,) = torch.autograd.grad(delta.sum(), f)
    greeks = options.greeks(kind, forward, strike, years, sigma, rate=rate)
    for mine, theirs in zip(greeks, (delta, gamma, vega, -years_, rho), strict=True):
        np.testing.assert_allclose(mine, theirs.detach(), rtol=1e-8)


def test_greeks_at_the_kink():
    for kind, side in (("call", 1.0), ("put", -1.0)):
        forward = np.array([90.0, 100, 110])
        g = options.greeks(kind, forward, 100.0, 0.0, 0.5)
        expected = [0.0, 0.5, 1.0] if side > 0 else [-1.0, -0.5, 0.0]
        np.testing.assert_array_equal(g.delta, expected)
        np.testing.assert_array_equal(g.gamma, [0.0, np.nan, 0.0])
        np.testing.assert_array_equal(g.theta, [0.0, np.nan, 0.0])
        np.testing.assert_array_equal(g.vega, [0.0, 0.0, 0.0])


def test_at_expiry_a_price_is_what_the_contract_pays():
    paid = options.price(["call", "put"], 100.0, [90.0, 130.0], 0.0, 0.5)
    np.testing.assert_array_equal(paid, [10.0, 30.0])
    assert options.price("call", 100.0, 90.0, 2.0, 0.0, rate=0.1) == 10 * math.exp(-0.2)


# ---- Implied volatility.


def test_a_hundred_thousand_volatilities_come_back_in_a_fifth_of_a_second():
    kind, forward, strike, years, sigma, rate = book(3, 100_000)
    paid = options.price(kind, forward, strike, years, sigma, rate=rate)
    call = (kind, paid, forward, strike, years)
    options.implied_volatility("call", 5.0, 100.0, 100.0, 0.1)  # compiles
    seconds = []
    for _ in range(5):
        start = time.process_time()
        found = options.implied_volatility(*call, rate=rate)
        seconds.append(time.process_time() - start)
    vega = options.greeks(kind, forward, strike, years, sigma, rate=rate).vega
    # A digit of the price that is rounded moves the answer by that digit over vega, no more.
    allowed = 1e-13 + 30 * EPS * (paid + forward + strike) / (vega * sigma)
    assert (np.abs(found / sigma - 1) <= allowed).all()
    assert min(seconds) < 0.2


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(options.KINDS),
    st.floats(-12, 12),
    st.floats(1e-4, 30),
    st.floats(1e-4, 5),
)
def test_the_answer_gives_the_price_back(kind, x, sigma, years):
    forward, strike = 100.0, 100.0 * math.exp(x)
    paid = options.price(kind, forward, strike, years, sigma)
    found = options.implied_volatility(kind, paid, forward, strike, years)
    bound = forward if kind == "call" else strike
    if math.isnan(found):
        assert paid >= bound * (1 - 4 * EPS)
    elif paid > 1e-290:
        again = options.price(kind, forward, strike, years, found)
        assert again == pytest.approx(paid, rel=1e-11)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(options.KINDS), st.floats(-60, 60), st.floats(0, 1, exclude_max=True))
def test_any_price_between_the_bounds_has_a_volatility(kind, x, share):
    forward, strike = 1.0, math.exp(x)
    side = 1 if kind == "call" else -1
    low, high = max(side * (forward - strike), 0.0), forward if kind == "call" else strike
    paid = low + share * (high - low)
    found = options.implied_volatility(kind, paid, forward, strike, 1.0)
    if low < paid < high * (1 - 4 * EPS):
        assert found >= 0
        again = options.price(kind, forward, strike, 1.0, found)
        assert again == pytest.approx(paid, rel=1e-11, abs=1e-290)


@pytest.mark.parametrize(
    ("kind", "paid", "forward", "strike", "years", "expected"),
    [
        ("call", 10.0, 100, 90, 1, 0.0),  # the intrinsic value itself
        ("call", 9.99, 100, 90, 1, np.nan),  # below it
        ("call", 100.0, 100, 90, 1, np.nan),  # worth the forward: no volatility is enough
        ("call", 101.0, 100, 90, 1, np.nan),
        ("put", 90.0, 100, 90, 1, np.nan),
        ("put", 10.0, 90, 100, 1, 0.0),
        ("put", 5.0, 100, 90, 0, np.nan),  # expires now: no time for any volatility
        ("call", np.nan, 100, 90, 1, np.nan),
        ("call", 0.0, 100, 120, 1, 0.0),
        ("call", 5e-324, 100, 1e6, 1e-6, "any"),
    ],
)
def test_the_edges_of_implied_volatility(kind, paid, forward, strike, years, expected):
    found = options.implied_volatility(kind, paid, forward, strike, years)
    if expected == "any":
        assert math.isnan(found) or found >= 0
    else:
        np.testing.assert_equal(found, expected)


def test_one_bad_quote_spoils_no_other():
    paid = np.array([np.nan, 1e9, 12.0, 0.0])
    found = options.implied_volatility("call", paid, 100.0, 100.0, 1.0)
    alone = options.implied_volatility("call", 12.0, 100.0, 100.0, 1.0)
    np.testing.assert_array_equal(found, [np.nan, np.nan, alone, 0.0])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("kind", "straddle"), ("kind", ["call", "x"]), ("kind", 1), ("forward", 0.0),
        ("forward", -5.0), ("forward", np.nan), ("strike", 0.0), ("strike", np.inf),
        ("years", -0.01), ("years", 400.0), ("years", np.nan), ("price", -1e-9),
        ("price", np.inf), ("price", "12"), ("rate", 5.0),
    ],
)  # fmt: skip
def test_what_is_no_option_is_named(argument, value):
    call = dict(kind="call", price=np.full(2, 12.0), forward=100.0, strike=100.0, years=0.5)
    with pytest.raises(ArgumentError, match=argument):
        options.implied_volatility(**(call | {argument: value}))


def test_shapes_that_do_not_go_together_are_named():
    with pytest.raises(ArgumentError, match="volatility"):
        options.price("call", 100.0, np.ones(3), 0.5, np.ones(2))


# ---- Arbitrage.


def test_parity_holds_for_prices_of_one_volatility_and_shows_what_a_quote_is_off():
    _, forward, strike, years, sigma, rate = book(4, 500)
    call = options.price("call", forward, strike, years, sigma, rate=rate)
    put = options.price("put", forward, strike, years, sigma, rate=rate)
    off = options.parity(call, put, forward, strike, years, rate=rate)
    assert (np.abs(off) <= 8 * EPS * (forward + strike)).all()
    off = options.parity(call + 3, put, forward, strike, years, rate=rate)
    np.testing.assert_allclose(off, 3, atol=1e-9)


def test_butterflies_of_a_model_cost_something_and_a_bent_quote_shows():
    strike = np.array([60.0, 80, 90, 105, 130, 180])
    call = options.price("call", 100.0, strike, 0.5, 0.8)
    assert (options.butterflies(strike, call) > 0).all()
    call[3] += 5  # too dear: sell it, buy its neighbours
    assert (options.butterflies(strike, call) < 0).tolist() == [False, False, True, False]
    np.testing.assert_allclose(options.butterflies([1.0, 2, 4], [3.0, 2, 0]), [0.0], atol=1e-15)


def test_calendars():
    years = [0.1, 0.2, 0.4]
    growing = np.array([[0.8], [0.7], [0.7]])
    expected = np.diff(growing[:, 0] ** 2 * years)[:, None]
    np.testing.assert_allclose(options.calendars(years, growing), expected)
    assert options.calendars(years, [[0.8], [0.5], [0.5]])[0, 0] < 0


@pytest.mark.parametrize(
    ("function", "call", "argument"),
    [
        ("butterflies", dict(strike=[1.0, 3, 2], call=[3.0, 2, 1]), "strike"),
        ("butterflies", dict(strike=[1.0, 2, 3], call=[3.0, 2]), "call"),
        ("butterflies", dict(strike=[1.0, 2, 3], call=[3.0, 2, np.nan]), "call"),
        ("calendars", dict(years=[0.2, 0.1], volatility=[[1.0], [1.0]]), "years"),
        ("calendars", dict(years=[0.1, 0.2], volatility=[[1.0]]), "volatility"),
        ("hedge", dict(price=[1.0, 2, 3], units=[1.0]), "units"),
        ("hedge", dict(price=[1.0, -2, 3], units=[1.0, 1]), "price"),
        ("hedge", dict(price=[1.0, 2], units=[np.nan]), "units"),
        ("hedge", dict(price=[1.0, 2], units=[1.0], funding=[2.0]), "funding"),
        ("hedge", dict(price=np.ones((2, 3)), units=np.ones((3, 2))), "units"),
        ("hedge", dict(price=[1.0, 2], units=[1.0], costs=5.5), "costs"),
        ("expected_shortfall", dict(profits=[1.0], share=0.0), "share"),
        ("expected_shortfall", dict(profits=[np.nan]), "profits"),
    ],
)  # fmt: skip
def test_bad_input_is_named(function, call, argument):
    with pytest.raises(ArgumentError, match=argument):
        getattr(options, function)(**call)


# ---- Hedges.


def test_a_hedge_with_a_pencil():
    """Buy 2 at 100, sell 1 at 110, sell 1 at 121; 1 % a side; 10 % funding at the second fill."""
    done = options.hedge(
        [100.0, 110.0, 121.0], [2.0, 1.0], costs=Costs(100, 0, 0), funding=[0.1, 0.0]
    )
    assert done.gross == pytest.approx(2 * 10 + 11)
    assert done.fees == pytest.approx(0.01 * (2 * 100 + 110 + 121))
    assert done.funding == pytest.approx(0.1 * 2 * 110)
    assert done.net == pytest.approx(31 - 4.31 - 22)


def slow_hedge(price, units, rate, funding):
    """Return net profit by keeping cash: a second way to the same number."""
    cash, held = 0.0, 0.0
    for t, p in enumerate(price):
        cash -= held * p * (funding[t - 1] if t else 0.0)
        wanted = units[t] if t < len(units) else 0.0
        cash -= (wanted - held) * p + abs(wanted - held) * p * rate
        held = wanted
    return cash


def test_a_hedge_equals_keeping_cash():
    rng = np.random.default_rng(5)
    price = 100 * np.exp(rng.normal(0, 0.05, (20, 31)).cumsum(axis=1))
    units, funding = rng.normal(size=(20, 30)), rng.normal(0, 1e-3, 30)
    net = options.hedge(price, units, costs=Costs(5.5, 2, 1), funding=funding).net
    slow = [slow_hedge(p, u, 6.5e-4, funding) for p, u in zip(price, units, strict=True)]
    np.testing.assert_allclose(net, slow, rtol=1e-10)


def test_delta_hedging_replicates_the_option_and_faster_is_better():
    """The error shrinks with the root of the number of steps (Boyle and Emanuel 1980)."""
    errors = []
    for n in (25, 100, 400):
        rng = np.random.default_rng(6)
        dt, sigma = 0.1 / n, 0.6
        moves = rng.normal(-(sigma**2) * dt / 2, sigma * math.sqrt(dt), (4_000, n))
        path = 100 * np.exp(np.c_[np.zeros(4_000), moves.cumsum(axis=1)])
        left = 0.1 - dt * np.arange(n)
        delta = options.greeks("call", path[:, :-1], 100.0, left, sigma).delta
        gain = options.hedge(path, delta, costs=FREE).net
        owed = np.maximum(path[:, -1] - 100, 0) - options.price("call", 100.0, 100.0, 0.1, sigma)
        errors.append((gain - owed).std())
        assert abs((gain - owed).mean()) < 4 * errors[-1] / math.sqrt(4_000)
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, rtol=0.1)


def test_expected_shortfall():
    assert options.expected_shortfall(np.arange(-10.0, 10), 0.1) == 9.5
    assert options.expected_shortfall([-4.0, -2, 0, 0], 0.375) == pytest.approx((4 + 0.5 * 2) / 1.5)
    rng = np.random.default_rng(7)
    normal = rng.normal(size=400_000)  # φ(1.645) / 0.05 for a normal
    assert options.expected_shortfall(normal, 0.05) == pytest.approx(2.0627, abs=0.02)


# ---- The net that hedges, and the study on real bars.


def test_walks_have_no_drift_and_the_volatility_asked_for():
    paths = toys.walks(20_000, 10, 0.25, 0.8, 0)
    assert (paths[:, 0] == 1).all()
    assert paths[:, -1].mean() == pytest.approx(1, abs=4 * paths[:, -1].std() / 141)
    assert np.log(paths[:, -1]).std() == pytest.approx(0.4, rel=0.02)


def test_what_the_net_is_trained_on_is_what_the_ledger_says():
    paths = toys.walks(50, 6, 0.1, 0.6, 1)
    units = np.random.default_rng(1).random((50, 6))
    theirs = toys.hedged(torch.tensor(paths), torch.tensor(units), 0.004)
    owed = np.maximum(paths[:, -1] - 1, 0)
    ledger = options.hedge(paths, units, costs=Costs(40, 0, 0)).net - owed
    np.testing.assert_allclose(theirs, ledger, rtol=1e-6, atol=1e-7)


def test_a_net_holds_what_lies_in_its_band_and_learns():
    torch.manual_seed(0)
    net = toys.HedgeNet(0.6, 0.1)
    x = torch.from_numpy(toys.walks(2_000, 8, 0.1, 0.6, 2)).float()
    with torch.no_grad():
        units, (centre, half) = net(x), net.band(x)
        before = toys.hedged(x, units, 0.0).var()
    assert ((units - centre).abs() <= half + 1e-6).all()
    still = torch.diff(units, dim=1) == 0
    moved = (units - centre).abs()[:, 1:] >= half[:, 1:] - 1e-6
    assert (still | moved).all()
    toys.train_hedge(net, 8, 0.0, seed=0, updates=40)
    with torch.no_grad():
        assert toys.hedged(x, net(x), 0.0).var() < 0.6 * before


def test_the_study_decides_on_the_close_before_each_fill():
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "studies"))
    import hedge_real

    index = pd.date_range("2020-12-01", "2021-03-01", freq="1h", tz="UTC", name="time")
    moves = np.random.default_rng(0).normal(0, 0.01, len(index))
    close = 100 * np.exp(moves.cumsum())
    bars = pd.DataFrame({"open": close * 1.001, "close": close}, index)
    rates = pd.Series(1e-4, index[::8] + pd.Timedelta("11ms"))
    week = hedge_real.weeks(bars, rates)
    at = index.get_indexer([pd.Timestamp("2021-01-11", tz="UTC")])[0]
    first = bars["open"].iloc[at]
    assert week["fills"][1, 5] == bars["open"].iloc[at + 5] / first
    assert week["known"][1, 5] == close[at + 4] / first
    assert np.flatnonzero(week["funding"][1]).tolist() == list(range(7, 168, 8))
    later = bars.copy()
    later.iloc[at:] *= 3.0  # another future: what was known on Monday stays
    other = hedge_real.weeks(later, rates)
    assert other["sigma"][1] == week["sigma"][1]
    assert other["signal"][1] == week["signal"][1]


STAMPS = pd.date_range("2024-01-01", periods=11, freq="1h", tz="UTC")
FORWARD = pd.Series(np.linspace(100, 110, 11), STAMPS)
UNLIKE = pd.Series(np.linspace(0.5, 0.6, 11), STAMPS[::-1])


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: options.price("call", FORWARD, 100, 0.5, x),
        lambda x: options.price("call", FORWARD, 100, x, 0.5),
        lambda x: options.price("call", FORWARD, 100, 0.5, 0.5, rate=x),
        lambda x: options.greeks("put", FORWARD, 100 * x, 0.5, 0.5).delta,
        lambda x: options.implied_volatility("call", 20 * x, FORWARD, 100, 0.5),
        lambda x: options.parity(20 * x, 5, FORWARD, 100, 0.5),
        lambda x: options.parity(20 * FORWARD / 100, x, 100, 100, 0.5),
    ],
)
def test_figures_of_one_moment_have_one_stamp(ask):
    x = pd.Series(UNLIKE.to_numpy(), STAMPS)
    for index in (STAMPS.tz_convert("Etc/UTC"), STAMPS.as_unit("s")):
        np.testing.assert_array_equal(ask(x.set_axis(index)), ask(x))
    with pytest.raises(ArgumentError, match="same stamps"):
        ask(UNLIKE)
    with pytest.raises(ArgumentError, match="frame"):
        ask(x.to_frame())


def test_kinds_have_the_stamps_of_the_prices():
    with pytest.raises(ArgumentError, match="same stamps"):
        options.price(pd.Series("call", STAMPS[::-1]), FORWARD, 100, 0.5, 0.5)


def test_a_hedge_runs_with_its_stamps():
    units, rates = pd.Series(1.0, STAMPS[:-1]), pd.Series(0.001, STAMPS[1:])
    done = options.hedge(FORWARD, units, funding=rates)
    assert done.gross == pytest.approx(10)
    plain = options.hedge(FORWARD.to_numpy(), np.ones(10), funding=np.full(10, 0.001))
    assert done.net == plain.net
    for name, bad in (
        ("price", {"price": FORWARD[::-1]}),
        ("units", {"units": units.set_axis(STAMPS[1:])}),
        ("funding", {"funding": rates.set_axis(STAMPS[:-1])}),
    ):
        with pytest.raises(ArgumentError, match=f"^{name}: "):
            options.hedge(**{"price": FORWARD, "units": units, "funding": rates} | bad)
    for name in ("units", "funding"):
        with pytest.raises(ArgumentError, match=f"^{name}: .* index that rises"):
            options.hedge(
                np.ones(11), **({"units": np.ones(10)} | {name: pd.Series(0.1, STAMPS[9::-1])})
            )
