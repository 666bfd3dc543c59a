"""Every figure by hand, against empyrical, and at its degenerate edges."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from setrade import evidence, metrics
from setrade.errors import ArgumentError

DAYS = pd.date_range("2024-01-01", periods=5, freq="1D", tz="UTC", name="time")
R = np.array([0.10, -0.05, 0.02, -0.01])


def test_periods_of_a_year_that_never_closes():
    quarter = pd.date_range("2024", periods=9, freq="15min", tz="UTC")
    assert metrics.periods_per_year(quarter) == 365 * 96
    assert metrics.periods_per_year(DAYS) == 365


def test_returns_by_hand():
    assert metrics.returns([100, 110, 99]) == pytest.approx([0.1, -0.1])
    assert metrics.returns([1.0, 0.5, 0.0, 0.0]) == pytest.approx([-0.5, -1.0, 0.0])


def test_figures_by_hand():
    mean, variance = 0.015, ((0.085) ** 2 + 0.065**2 + 0.005**2 + 0.025**2) / 3
    growth = 1.10 * 0.95 * 1.02 * 0.99
    assert metrics.annual_return(R, 365) == pytest.approx(growth ** (365 / 4) - 1)
    assert metrics.volatility(R, 365) == pytest.approx(math.sqrt(variance * 365))
    assert metrics.sharpe(R, 365) == pytest.approx(mean / math.sqrt(variance) * math.sqrt(365))
    downside = math.sqrt((0.05**2 + 0.01**2) / 4)
    assert metrics.sortino(R, 365) == pytest.approx(mean / downside * math.sqrt(365))
    assert metrics.max_drawdown(R) == pytest.approx(-0.05)
    assert metrics.calmar(R, 365) == pytest.approx((growth ** (365 / 4) - 1) / 0.05)


def test_drawdown_from_the_start_counts():
    assert metrics.max_drawdown([-0.5, 1.0]) == pytest.approx(-0.5)


@settings(deadline=None)
@given(
    arrays(np.float64, st.integers(3, 60), elements=st.integers(-200, 200).map(lambda i: i / 1000))
)
def test_agreement_with_empyrical(r):
    empyrical = pytest.importorskip("empyrical")
    if r.std() < 1e-6 or (r >= 0).all():
        return  # degenerate: the two define it differently, tested below
    s = pd.Series(r)
    year = {"annualization": 365}
    theirs = {
        "annual_return": empyrical.annual_return(s, **year),
        "volatility": empyrical.annual_volatility(s, **year),
        "sharpe": empyrical.sharpe_ratio(s, **year),
        "sortino": empyrical.sortino_ratio(s, **year),
        "calmar": empyrical.calmar_ratio(s, **year),
        "max_drawdown": empyrical.max_drawdown(s),
    }
    for name, ours in metrics.from_returns(r, 365).items():
        assert ours == pytest.approx(theirs[name], rel=1e-9, abs=1e-12), name


def test_sharpe_of_a_closed_form_series():
    """TRAPS 17: +2 %, −1 % in turn. Percent over fraction, √252 and per-trade are all caught."""
    r = np.tile([0.02, -0.01], 500)
    n, periods = len(r), 365 * 96
    right = 0.005 / (0.015 * math.sqrt(n / (n - 1))) * math.sqrt(periods)
    assert metrics.sharpe(r, periods) == pytest.approx(right, rel=1e-12)
    percent_over_fraction = (r * 100).mean() / r.std(ddof=1) * math.sqrt(periods)
    stock_market = r.mean() / r.std(ddof=1) * math.sqrt(252)
    assert percent_over_fraction == pytest.approx(100 * right)
    assert abs(stock_market / right - 1) > 0.9


def test_sortino_of_equal_losses():
    """TRAPS 18: the std of equal losses is 0, so the wrong version is infinite."""
    r = np.array([0.03, -0.01, 0.03, -0.01])
    assert np.std(r[r < 0]) == 0
    assert metrics.sortino(r, 1.0) == pytest.approx(0.01 / math.sqrt(0.0002 / 4))


def test_profit_factor():
    """TRAPS 19: {10, −5, 20, −10} is 30 / 15; over all absolute profits it would be 0.67."""
    profits = np.array([10.0, -5.0, 20.0, -10.0])
    assert metrics.profit_factor(profits) == 2.0
    assert profits[profits > 0].sum() / np.abs(profits).sum() == pytest.approx(2 / 3)


def test_zero_profit_trades_are_trades_and_no_wins():
    assert metrics.win_rate([5.0, 0.0, -1.0, 2.0]) == 0.5


def test_degenerate_figures():
    flat, up = np.zeros(10), np.full(10, 0.01)
    for name in ("sharpe", "sortino", "calmar"):
        assert math.isnan(getattr(metrics, name)(flat, 365)), name
    for name in ("sortino", "calmar"):
        assert getattr(metrics, name)(up, 365) == math.inf, name
    assert math.isnan(metrics.sharpe(up, 365))
    assert math.isnan(metrics.sharpe(-up, 365))
    assert math.isnan(metrics.sharpe([0.1], 365))
    assert metrics.sortino(-up, 365) == pytest.approx(-math.sqrt(365))
    assert metrics.volatility(up, 365) == 0
    assert math.isnan(metrics.volatility([0.1], 365))
    assert math.isnan(metrics.win_rate([]))
    assert math.isnan(metrics.profit_factor([]))
    assert metrics.profit_factor([1.0]) == math.inf
    assert metrics.profit_factor([-1.0]) == 0
    assert metrics.max_drawdown(up) == 0


@example(1e-14, 3, 9.0)
@given(st.floats(-0.5, 0.5), st.integers(2, 3000), st.floats(1e-3, 1e9))
def test_a_steady_rate_has_no_sharpe_ratio(rate, n, start):
    """Up to rounding, whatever the rate, the length and the account's size."""
    equity = start * (1 + rate) ** np.minimum(np.arange(n), 600 // max(abs(rate), 0.3))
    r = metrics.returns(equity[: max(2, np.flatnonzero(equity > 1e-290).max() + 1)])
    r = r[r != 0] if (r != 0).any() else r  # after the exponent's end it stands still
    assert math.isnan(metrics.sharpe(r, 365))
    assert not metrics.volatility(r, 365) > 0


def test_small_returns_that_vary_have_a_sharpe_ratio():
    for size in (1e-4, 1e-8, 1e-13):
        assert metrics.sharpe(R * size, 365) == pytest.approx(metrics.sharpe(R, 365))


def test_nobody_loses_more_than_everything():
    for name in ("annual_return", "calmar"):
        with pytest.raises(ArgumentError, match="returns"):
            getattr(metrics, name)([0.1, -1.01], 365)
    with pytest.raises(ArgumentError, match="returns"):
        metrics.max_drawdown([-1.5])
    assert metrics.calmar([0.1, -1.0, 0.0], 365) == -1


def test_months_after_ruin_return_nothing():
    index = pd.date_range("2024-01-01", periods=90, freq="1D", tz="UTC")
    equity = pd.Series(np.where(np.arange(90) < 20, 1.0, 0.0), index)
    assert metrics.monthly_returns(equity).loc[2024, [1, 2, 3]].tolist() == [-1, 0, 0]


def test_a_ruined_account():
    equity = pd.Series([1.0, 2.0, 0.0, 0.0, 0.0], DAYS)
    r = metrics.returns(equity)
    assert metrics.annual_return(r, 365) == -1
    assert metrics.max_drawdown(r) == -1
    assert metrics.drawdown(equity) == (-1.0, DAYS[1], DAYS[2], None)


def test_drawdown_dates():
    equity = pd.Series([100.0, 120, 90, 120, 110], DAYS)
    assert metrics.drawdown(equity) == (-0.25, DAYS[1], DAYS[2], DAYS[3])
    assert metrics.drawdown(equity.iloc[:3]).recovery is None
    rising = pd.Series([1.0, 2, 3, 4, 5], DAYS)
    assert metrics.drawdown(rising) == (0.0, DAYS[0], DAYS[0], DAYS[0])


def test_many_curves_at_once():
    r = np.random.default_rng(0).normal(0, 0.01, (3, 4, 50))
    for name, values in metrics.from_returns(r, 365).items():
        assert values.shape == (3, 4)
        one = metrics.from_returns(r[1, 2], 365)[name]
        assert values[1, 2] == pytest.approx(one, rel=1e-12), name


def test_monthly_returns():
    index = pd.date_range("2023-12-30", "2024-02-01", freq="1D", tz="UTC")
    equity = pd.Series(np.linspace(1.0, 2.0, len(index)), index)
    table = metrics.monthly_returns(equity)
    assert table.shape == (2, 12)
    assert table.loc[2023, 12] == pytest.approx(equity.iloc[1] / equity.iloc[0] - 1)
    assert (1 + table.stack()).prod() == pytest.approx(2.0)
    assert math.isnan(table.loc[2023, 1])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: metrics.returns([1.0]), "equity"),
        (lambda: metrics.returns([0.0, 1.0]), "equity"),
        (lambda: metrics.returns([1.0, -1.0]), "equity"),
        (lambda: metrics.returns([1.0, 0.0, 1.0]), "equity"),
        (lambda: metrics.returns([1.0, math.nan]), "equity"),
        (lambda: metrics.returns("equity"), "equity"),
        (lambda: metrics.sharpe([], 365), "returns"),
        (lambda: metrics.sharpe([0.1, math.nan], 365), "returns"),
        (lambda: metrics.sharpe(R, 0), "periods"),
        (lambda: metrics.sharpe(R, "365"), "periods"),
        (lambda: metrics.annual_return(R, -1), "periods"),
        (lambda: metrics.win_rate([math.nan]), "profits"),
        (lambda: metrics.profit_factor("x"), "profits"),
        (lambda: metrics.drawdown(np.ones(3)), "equity"),
        (lambda: metrics.monthly_returns(pd.Series([1.0, 2.0])), "equity"),
        (lambda: metrics.periods_per_year(DAYS[:1]), "index"),
        (lambda: metrics.periods_per_year(DAYS[::-1]), "index"),
        (lambda: metrics.periods_per_year([1, 2]), "index"),
    ],
)
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ArgumentError, match=name):
        call()


STAMPED = pd.Series([0.01, -0.02, 0.03], pd.date_range("2024-01-01", periods=3, tz="UTC"))
OF_RETURNS = [
    *(
        lambda r, f=f: f(r, 365.0)
        for f in (metrics.annual_return, metrics.volatility, metrics.sharpe, metrics.sortino,
                  metrics.calmar, metrics.from_returns)
    ),
    metrics.max_drawdown,
    lambda r: metrics.returns(1 + r),
]  # fmt: skip


@pytest.mark.parametrize("figure", OF_RETURNS)
def test_returns_out_of_order_and_frames_that_lie_across_are_refused(figure):
    """A frame (time, strategies) was once read along its columns, a reversed record as it stood."""
    figure(STAMPED)
    for bad in (STAMPED[::-1], STAMPED.iloc[[0, 0, 1]], STAMPED.iloc[[1, 0, 2]]):
        with pytest.raises(ArgumentError, match="rises"):
            figure(bad)
    with pytest.raises(ArgumentError, match="time on the last axis"):
        figure(STAMPED.to_frame())


@pytest.mark.parametrize("power", [-1000, -530, 530, 990])
def test_ratios_do_not_depend_on_the_scale_however_small_or_large(power):
    """Squares of 1e-160 vanish: the Sharpe ratio was once NaN there, Sortino's infinite."""
    for figure in (metrics.sharpe, metrics.sortino):
        assert figure(np.ldexp(R, power), 365.0) == pytest.approx(figure(R, 365.0), rel=1e-12)
    assert metrics.volatility(np.ldexp(R, power), 1.0) == pytest.approx(
        np.ldexp(metrics.volatility(R, 1.0), power), rel=1e-12
    )
    assert metrics.profit_factor(np.ldexp(R, power)) == pytest.approx(metrics.profit_factor(R))
    assert metrics.profit_factor([1e308, 1e308, -1e308]) == 2.0


def test_a_fall_after_gains_beyond_any_float():
    lucky = np.r_[np.full(20, 1e30), -0.5, 0.1]
    assert metrics.max_drawdown(lucky) == pytest.approx(-0.5)
    assert metrics.max_drawdown(np.r_[lucky, -1.0]) == -1.0
    assert metrics.max_drawdown(np.full(20, 1e30)) == 0.0


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_a_rate_in_single_precision_has_no_sharpe_ratio_either(kind):
    """The mean of float32 numbers, taken in float32, is not one of them: 1.6e8 came out."""
    same = np.full(60, 0.001, kind)
    assert math.isnan(metrics.sharpe(same, 365.0))
    assert metrics.volatility(same, 365.0) == 0
    plain = metrics.annual_return(same.astype(float), 365.0)
    assert metrics.annual_return(same, 365.0) == plain
    if kind != np.float16:  # which has three digits
        curve = np.cumprod(np.full(60, 1.001, kind))
        assert math.isnan(metrics.sharpe(metrics.returns(curve), 365.0))
        assert math.isnan(evidence.sharpe(metrics.returns(curve)))


def test_single_precision_that_varies_keeps_its_sharpe_ratio():
    r = np.random.default_rng(0).normal(0.001, 0.01, 300)
    wide = metrics.sharpe(r, 365.0)
    assert metrics.sharpe(r.astype(np.float32), 365.0) == pytest.approx(wide, rel=1e-5)
    curve = np.cumprod(1 + r).astype(np.float32)
    assert metrics.sharpe(metrics.returns(curve), 365.0) == pytest.approx(
        metrics.sharpe(r[1:], 365.0), rel=1e-3
    )
    few = np.array([0.5, 0.5, 0.501], np.float32)  # 1 in 500 is no rounding
    assert metrics.sharpe(few, 1.0) == pytest.approx(867.2, rel=1e-3)


def test_periods_run_forwards_too():
    months = pd.period_range("2024-01", periods=3, freq="M")
    curve = pd.Series([1.0, 2.0, 3.0], months)
    assert metrics.returns(curve).tolist() == [1.0, 0.5]
    with pytest.raises(ArgumentError, match="equity.*rises"):
        metrics.returns(curve.iloc[::-1])
