"""Fees, slippage and funding: hand figures, the bar that a rate falls into, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setrade import costs
from setrade.costs import FREE, Costs
from setrade.errors import ArgumentError

HOURS = pd.date_range("2024-01-01", periods=24, freq="1h", tz="UTC", name="time")
EIGHT = pd.date_range("2024-01-01", periods=3, freq="8h", tz="UTC")


def test_bps_become_decimals():
    rates = Costs(fee_bps=5.5, maker_fee_bps=2.0, slippage_bps=1.0).rates()
    assert rates == pytest.approx((0.00055, 0.0001, 0.00055, 0.0002, 0.0001, 0, 0))


def test_maker_orders_pay_less_and_do_not_slip_but_stops_still_do():
    rates = Costs(5.5, 2.0, 1.0).rates("maker")
    assert (rates.fee, rates.slippage, rates.stop_slippage) == pytest.approx((2e-4, 0.0, 1e-4))


def test_slippage_is_always_against_us():
    assert costs.fill_price(100.0, 1.0, 0.01) == pytest.approx(101.0)
    assert costs.fill_price(100.0, -1.0, 0.01) == pytest.approx(99.0)


def test_a_budget_covers_its_own_fee():
    units = costs.affordable(101.0, 100.0, 0.01)
    assert units == pytest.approx(1.0)
    assert units * 100 + costs.fee(100.0, units, 0.01) == pytest.approx(101.0)


def test_longs_pay_shorts():
    assert costs.funding_paid(2.0, 100.0, 0.001) == pytest.approx(0.2)
    assert costs.funding_paid(-2.0, 100.0, 0.001) == pytest.approx(-0.2)


def test_free_is_free():
    assert FREE.rates() == (0.0,) * 7


def test_funding_falls_on_opens_of_hourly_bars():
    at_open, inside = costs.funding_by_bar(HOURS, pd.Series([0.1, 0.2, 0.3], EIGHT))
    assert at_open[[0, 8, 16]] == pytest.approx([0.1, 0.2, 0.3])
    assert at_open.sum() == pytest.approx(0.6)
    assert not inside.any()


def test_funding_inside_a_daily_bar_is_summed_and_outside_the_span_left_aside():
    days = pd.date_range("2024-01-01", periods=2, freq="1D", tz="UTC")
    times = pd.date_range("2023-12-31 16:00", periods=8, freq="8h", tz="UTC")
    at_open, inside = costs.funding_by_bar(days, pd.Series(np.arange(8) / 100, times))
    assert at_open == pytest.approx([0.01, 0.04])
    assert inside == pytest.approx([0.02 + 0.03, 0.05 + 0.06])


def test_funding_does_not_depend_on_the_unit_of_the_index():
    funding = pd.Series([0.1, 0.2, 0.3], EIGHT.as_unit("s"))
    np.testing.assert_array_equal(
        costs.funding_by_bar(HOURS.as_unit("ms"), funding)[0],
        costs.funding_by_bar(HOURS.as_unit("ns"), funding)[0],
    )


@pytest.mark.parametrize("name", ["fee_bps", "maker_fee_bps", "slippage_bps"])
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, 5_001, "5", None, True])
def test_bad_costs_name_the_argument(name, value):
    with pytest.raises(ArgumentError, match=name):
        Costs(**{name: value})


def test_unknown_order_kind():
    with pytest.raises(ArgumentError, match="order"):
        Costs().rates("limit")


@pytest.mark.parametrize(
    "funding",
    [
        [0.1, 0.2],
        pd.Series([0.1, 0.2]),
        pd.Series([0.1, 0.2, 0.3], EIGHT.tz_localize(None)),
        pd.Series([0.1, 0.2, 0.3], EIGHT.tz_convert("Asia/Tokyo")),
        pd.Series([0.1, 0.2, 0.3], EIGHT[::-1]),
        pd.Series([0.1, 0.2, 0.3], EIGHT[[0, 0, 1]]),
        pd.Series([0.1, 0.1, 0.3], EIGHT[[0, 0, 1]] + pd.to_timedelta([0, 11, 0], "ms")),
        pd.Series([0.1, 0.1, 0.3], EIGHT[[0, 0, 1]] + pd.to_timedelta([-400, 400, 0], "ms")),
        pd.Series([0.1, np.nan, 0.3], EIGHT),
        pd.Series([0.1, 2.0, 0.3], EIGHT),
        pd.Series(["a", "b", "c"], EIGHT),
        pd.Series([0.1, 0.2, 0.3], EIGHT + pd.Timedelta(days=9)),
        pd.Series([], pd.DatetimeIndex([], tz="UTC"), dtype=float),
    ],
)
def test_bad_funding(funding):
    with pytest.raises(ArgumentError, match="funding"):
        costs.funding_by_bar(HOURS, funding)


def test_the_square_root_law_by_hand():
    """An order of 1 % of a day's value moves the price by a tenth of the day's volatility."""
    assert costs.impact(1e6, 1e8, 0.03) == pytest.approx(0.003)
    assert costs.impact(4e6, 1e8, 0.03) == pytest.approx(0.006)  # four times as large: twice
    assert costs.impact(1e6, 1e8, 0.03, coefficient=0.5) == pytest.approx(0.0015)
    assert costs.impact(0.0, 1e8, 0.03) == 0.0


@given(st.floats(1e-5, 0.05), st.floats(1e5, 1e11), st.floats(1e-3, 0.2), st.floats(0.1, 3))
def test_at_capacity_impact_eats_the_edge(edge, value, volatility, coefficient):
    size = costs.capacity(edge, value, volatility, coefficient=coefficient)
    assert costs.impact(size, value, volatility, coefficient=coefficient) == pytest.approx(edge)
    assert costs.capacity(-edge, value, volatility) == 0.0


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: costs.impact(-1.0, 1e8, 0.03), "value"),
        (lambda: costs.impact(1.0, 0.0, 0.03), "day_value"),
        (lambda: costs.impact(1.0, 1e8, float("nan")), "day_volatility"),
        (lambda: costs.capacity(float("nan"), 1e8, 0.03), "edge"),
        (lambda: costs.capacity(0.01, 1e8, 0.0), "day_volatility"),
        (lambda: costs.capacity(0.01, 1e8, 0.03, coefficient=0.0), "coefficient"),
    ],
)
def test_impact_refuses(call, name):
    with pytest.raises(ArgumentError, match=name):
        call()
