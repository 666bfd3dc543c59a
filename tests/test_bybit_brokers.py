"""Brokers: rules and names of orders, paper against the backtest, Bybit against the simulator."""

from __future__ import annotations

import copy
import gc
import json
import logging
import pickle
import re
import subprocess
import sys
import traceback
import tracemalloc
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import backtest, candles, orderbook, simulator
from setrade.bybit import AccessError, Retry, paper
from setrade.bybit.broker import (
    DemoBroker,
    ExchangeBroker,
    MainnetRefusedError,
    TestnetBroker,
)
from setrade.bybit.order_client import KeysError
from setrade.bybit.orders import (
    Broker,
    Instrument,
    OrderConflictError,
    OrderError,
    OrderNotFoundError,
    OrderRejectedError,
    OrderRequest,
    OrderRuleError,
    OrderUnknownError,
    client_order_id,
    decimal,
    legs,
    text,
)
from setrade.bybit.paper import PaperBroker, replay_lines
from setrade.costs import Costs, funding_by_bar
from setrade.errors import ArgumentError
from setrade.live.journal import Journal, JournalError
from setrade.live.trader import Trader
from setrade.live.types import bars_of
from setrade.signals import Signal
from setrade.simulator.account import read as exchange_reads
from setrade.simulator.wire import ListedInstrument, Refused
from studies import torture_stream

NOW = pd.Timestamp("2024-01-01T12:00Z")
BTC = Instrument("BTCUSDT", *map(Decimal, ("0.1", "0.001", "0.001", "5")), Decimal("1190"))
MARKET = candles.synthetic(600, seed=3).candles
CREATE = "/v5/order/create"
KEY, SECRET = "QqPublicKeyOfATest", "ZzSecretOfATest9876543210"
QUICK = {"timeout": 0.4, "settle": 0.3, "retry": Retry(first=0.01, longest=0.02)}


def buy(qty="0.01", **more) -> OrderRequest:
    return OrderRequest("BTCUSDT", more.pop("side", "buy"), qty, more.pop("decided", NOW), **more)


# ---- decimals and rules


def test_numbers_leave_as_plain_text():
    assert text(decimal("qty", 0.00001)) == "0.00001"  # str() of the float says 1e-05
    assert str(0.00001) == "1e-05"
    assert text(decimal("qty", "1e-7")) == "0.0000001"
    assert text(decimal("qty", 1e20)) == "100000000000000000000"
    assert text(Decimal("1.500")) == "1.5"
    assert text(Decimal("100")) == "100"
    assert decimal("qty", 0.1) + decimal("qty", 0.2) == Decimal("0.3")


NO_NUMBERS = [0, -1, float("nan"), "nan", "inf", True, None, "x", [1], b"1", 10**5000, "1_000",
              "\uff11", "1e999999", "1e400", Decimal("sNaN")]  # fmt: skip


@pytest.mark.parametrize("value", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
@pytest.mark.parametrize("name", ["price", "quantity"])
def test_what_is_no_positive_number_is_refused(name, value):
    with pytest.raises(ArgumentError) as error:
        getattr(BTC, name)(value)
    assert error.value.name in ("price", "qty")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None, "x", True])
def test_what_is_no_size_is_not_cut_down(value):
    with pytest.raises(ArgumentError, match="value"):
        BTC.floor(value)


@pytest.mark.parametrize("value", [1e15, 1e17, 1e30, 1e300])
def test_a_large_size_is_cut_down_as_any_other(value):
    assert float(BTC.floor(value)) == value
    assert BTC.floor(-value) == 0


@pytest.mark.parametrize("record", [{}, 5, None, [], "x", {"symbol": "BTCUSDT"}])
def test_what_is_no_record_of_an_order_is_named(record):
    with pytest.raises(ArgumentError, match="record"):
        OrderRequest.from_record(record)


def test_rounding_by_hand():
    assert BTC.price("60000.1") == Decimal("60000.1")
    assert [BTC.price(60000.17, rounding=r) for r in ("down", "up", "nearest")] == [
        Decimal("60000.1"), Decimal("60000.2"), Decimal("60000.2")]  # fmt: skip
    assert BTC.quantity(0.0019, rounding="down") == Decimal("0.001")
    assert BTC.floor(0.30000000000000004) == Decimal("0.3")
    assert BTC.floor(0.1 * 3 - 0.079) == BTC.floor(0.22099999999999997) == Decimal("0.221")
    assert BTC.floor(0.0009) == 0
    for call in (
        lambda: BTC.price("60000.17"),  # rounded only if asked for
        lambda: BTC.quantity("0.0015"),
        lambda: BTC.quantity("0.0001"),
        lambda: BTC.quantity("1191"),
        lambda: BTC.price("0.04", rounding="down"),
        lambda: BTC.value(Decimal("0.001"), Decimal("4999")),
    ):
        with pytest.raises(OrderRuleError):
            call()
    with pytest.raises(ArgumentError, match="rounding"):
        BTC.price("1", rounding="sideways")


@given(
    st.decimals("0.0001", "3000", allow_nan=False, places=4),
    st.decimals("0.01", "100000", allow_nan=False, places=2),
)
def test_rules_agree_with_the_exchange(qty, price):
    """Parity: what we would send is what the simulator's own rules take, and the reverse."""
    body = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit",
            "qty": text(qty), "price": text(price)}  # fmt: skip
    try:
        exchange_reads(body, ListedInstrument("BTCUSDT"), Decimal(price), 1, 0)
        theirs = True
    except Refused:
        theirs = False
    try:
        BTC.value(BTC.quantity(qty), BTC.price(price))
        ours = True
    except OrderRuleError:
        ours = False
    assert ours == theirs


@given(st.floats(1e-3, 1e6), st.sampled_from(["down", "up", "nearest"]))
def test_rounding_lands_on_the_grid_within_one_step(value, rounding):
    price = BTC.price(value, rounding=rounding) if value >= 0.2 else Decimal("0.1")
    assert price % BTC.tick_size == 0
    if value >= 0.2:
        assert abs(price - Decimal(str(value))) < BTC.tick_size
    assert "e" not in text(price).lower()


def test_rules_come_from_either_listing():
    entry = ListedInstrument("BTCUSDT").listing("linear")
    assert Instrument.from_listing(entry) == BTC
    row = {"symbol": "X", "tick_size": "0.5", "qty_step": "1", "min_qty": "1", "min_notional": "5"}
    assert Instrument.from_listing(row).tick_size == Decimal("0.5")
    spot = Instrument.from_listing(ListedInstrument("BTCUSDT").listing("spot"))
    assert spot.min_notional == 5
    with pytest.raises(ArgumentError, match="entry"):
        Instrument.from_listing({"symbol": "X"})


# ---- names


def test_names_are_short_stable_and_different():
    names = {buy(decided=NOW + pd.Timedelta(minutes=m), leg=leg).client_order_id
             for m in range(50) for leg in range(3)}  # fmt: skip
    assert len(names) == 150
    assert max(map(len, names)) <= 36
    name = buy().client_order_id
    assert name == buy("5").client_order_id  # the decision's name, not the figures'
    assert name == client_order_id("setrade", "BTCUSDT", NOW.value, 0)
    assert buy(strategy="other").client_order_id != name
    code = (
        "from setrade.bybit.orders import OrderRequest; "
        "print(OrderRequest('BTCUSDT', 'buy', '0.01', '2024-01-01T12:00Z').client_order_id)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert run.stdout.strip() == name  # in another process too
    assert OrderRequest.from_record(json.loads(json.dumps(buy(price="1").record()))) == buy(
        price="1"
    )


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("symbol", "btc"),
        ("side", "long"),
        ("qty", -1),
        ("qty", float("nan")),
        ("price", 0),
        ("price", "NaN"),
        ("decided", pd.Timestamp("2024-01-01")),
        ("decided", pd.NaT),
        ("reduce_only", 1),
        ("strategy", "much too long"),
        ("strategy", ""),
        ("leg", -1),
    ],
)
def test_bad_intents_are_named(argument, value):
    good = {"symbol": "BTCUSDT", "side": "buy", "qty": "1", "decided": NOW}
    with pytest.raises(ArgumentError) as error:
        OrderRequest(**good | {argument: value})
    assert error.value.name == argument


# ---- sizing and paper


def test_legs_by_hand():
    free = Costs(0.0, 0.0, 0.0).rates()
    assert legs(0.5, 1000.0, 0.0, 100.0, free) == [5.0]
    assert legs(-0.5, 1000.0, 5.0, 100.0, free) == [-5.0, -5.0]  # close, then open
    assert legs(0.25, 1000.0, 5.0, 100.0, free) == [-2.5]
    assert legs(0.0, 1000.0, -2.0, 100.0, free) == [2.0]
    assert legs(0.5, 1000.0, 5.0, 100.0, free) == []
    assert legs(1.0, -1.0, 0.0, 100.0, free) == []
    (all_in,) = legs(1.0, 1000.0, 0.0, 100.0, Costs(100.0, 0.0, 0.0).rates())
    assert all_in * 100 * 1.01 == pytest.approx(1000.0, abs=1e-12)  # its fee included


def drive(broker: PaperBroker, position: np.ndarray, market: pd.DataFrame, funding=None):
    """Send the same decisions as `backtest.run` takes; return equity after each bar."""
    zeros = np.zeros(len(market))
    at, inside = (zeros, zeros) if funding is None else funding_by_bar(market.index, funding)
    equity, last = [], 0.0
    for k, row in enumerate(market.itertuples()):
        if k and position[k - 1] != last:
            last = position[k - 1]
            broker.target("BTCUSDT", float(last), decided=row.Index)
        bar = SimpleNamespace(time=row.Index, open=row.open, high=row.high, low=row.low,
                              close=row.close)  # fmt: skip
        broker.on_bar(bar, funding_open=at[k], funding_inside=inside[k])
        equity.append(broker.equity())
    return np.array(equity)


def positions(n: int, seed: int, hold: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(np.round(rng.uniform(-1, 1, n // hold + 1), 2), hold)[:n]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_paper_and_backtest_come_to_the_same_equity(seed):
    rng = np.random.default_rng(seed)
    hours = pd.to_timedelta(np.arange(17) * 480 + 7 * (np.arange(17) % 2), unit="min")
    funding = pd.Series(rng.normal(0, 3e-4, 17), MARKET.index[0] + hours)
    position = positions(len(MARKET), seed)
    result = backtest.run(MARKET, position, funding=funding, equity=10_000.0)
    broker = PaperBroker("BTCUSDT", equity=10_000.0)
    equity = drive(broker, position, MARKET, funding)
    np.testing.assert_allclose(equity, result.equity, rtol=1e-9)
    assert broker.fees == pytest.approx(result.metrics()["fees"], rel=1e-9)
    assert broker.funding == pytest.approx(result.metrics()["funding"], rel=1e-9)
    assert broker.position("BTCUSDT") == pytest.approx(result.units.iloc[-1], rel=1e-9)


def test_paper_and_backtest_agree_when_the_account_is_ruined():
    """A short into a rise of 150 % loses everything, at the same bar and to the same cent."""
    market = MARKET.iloc[:60].copy()
    market.loc[market.index[30:], ["open", "high", "low", "close"]] *= 2.5
    market.loc[market.index[29], "high"] = market["close"].iloc[30]
    position = np.full(60, -1.0)
    result = backtest.run(market, position, equity=10_000.0)
    equity = drive(PaperBroker("BTCUSDT", equity=10_000.0), position, market)
    assert result.equity.iloc[-1] == 0
    np.testing.assert_allclose(equity, result.equity, atol=1e-9)


@pytest.mark.parametrize("order", ["taker", "maker"])
@pytest.mark.parametrize("leverage", [None, 1.1])
def test_paper_and_backtest_agree_on_costs_and_leverage(order, leverage):
    position, costs = positions(200, 5) * 1.0, Costs(20.0, 7.0, 13.0)
    position[50:150] = -1.0  # held into a drift that 1.1 times equity does not bear
    market = MARKET.iloc[:200].copy()
    prices = ["open", "high", "low", "close"]
    market[prices] = market[prices].mul(np.exp(np.linspace(0, 0.6, 200)), axis=0)
    market["high"] = market[prices].max(axis=1)
    market["low"] = market[prices].min(axis=1)
    risk = backtest.Risk(max_leverage=leverage)
    result = backtest.run(market, position, costs=costs, order=order, risk=risk, equity=500.0)
    assert ("liquidation" in set(result.trades["reason"])) == (leverage is not None)
    broker = PaperBroker("BTCUSDT", equity=500.0, costs=costs, order=order, max_leverage=leverage)
    np.testing.assert_allclose(drive(broker, position, market), result.equity, rtol=1e-9)


def test_the_wrong_sizing_would_be_seen():
    """Sized without its fee, as if it cost nothing, the curve leaves the backtest's by bps."""
    position = positions(len(MARKET), 0)
    result = backtest.run(MARKET, position, equity=10_000.0)
    wrong = drive(PaperBroker("BTCUSDT", equity=10_000.0, costs=Costs(5.4)), position, MARKET)
    assert abs(wrong[-1] / result.equity.iloc[-1] - 1) > 1e-5


def bar(minute: int, first: float, high: float, low: float, last: float) -> SimpleNamespace:
    time = NOW + pd.Timedelta(minutes=minute)
    return SimpleNamespace(time=time, open=first, high=high, low=low, close=last)


def test_a_paper_trade_by_hand():
    broker = PaperBroker("BTCUSDT", equity=1000.0, costs=Costs(10.0, 5.0, 0.0))
    order = broker.submit(buy("2"))
    assert order.status == "new"
    broker.on_bar(bar(1, 100, 110, 95, 104))
    filled = broker.order(order.client_order_id)
    assert (filled.status, filled.average, filled.filled) == ("filled", 100.0, 2)
    assert broker.equity() == pytest.approx(1000 - 0.2 + 2 * 4)  # fee 10 bps of 200
    broker.fund(NOW + pd.Timedelta(minutes=2), 0.001, 104.0)
    assert broker.funding == pytest.approx(0.208)
    exit_at = broker.submit(buy("5", side="sell", price="120", reduce_only=True, leg=1))
    broker.on_bar(bar(2, 110, 120, 105, 115))
    assert broker.order(exit_at.client_order_id).status == "new"  # touched, not traded through
    broker.on_bar(bar(3, 115, 121, 110, 118))
    ended = broker.order(exit_at.client_order_id)
    assert (ended.filled, ended.average) == (2, 120.0)  # cut down to the position
    assert broker.position("BTCUSDT") == 0
    assert broker.equity() == pytest.approx(1000 - 0.2 + 2 * 20 - 0.208 - 240 * 5e-4)
    with pytest.raises(OrderRejectedError, match="reduce"):
        broker.submit(buy("1", side="sell", reduce_only=True, leg=2))


def test_a_limit_that_the_open_satisfies_fills_there_and_never_worse():
    broker = PaperBroker("BTCUSDT", equity=1000.0, costs=Costs(10.0, 5.0, 50.0))
    good = broker.submit(buy("1", price="105"))
    close = broker.submit(buy("1", price="100.2", leg=1))
    broker.on_bar(bar(1, 100, 101, 99.9, 100))
    assert broker.order(good.client_order_id).average == pytest.approx(100.5)
    assert broker.order(close.client_order_id).average == pytest.approx(100.2)


def small_book(bid: float = 99.0, ask: float = 101.0, second: int = 0) -> orderbook.Snapshots:
    time = np.array([f"2024-01-01T12:00:{second:02d}"], "datetime64[ns]")
    sizes = np.array([[1.0, 2.0]])
    return orderbook.Snapshots(
        time, np.array([[bid, bid - 1]]), sizes, np.array([[ask, ask + 1]]), sizes
    )


def test_paper_against_a_book_by_hand():
    broker = PaperBroker("BTCUSDT", equity=1000.0, costs=Costs(0.0, 0.0, 77.0), against="book")
    with pytest.raises(OrderRejectedError, match="no book"):
        broker.submit(buy("2"))
    broker.on_book(small_book())
    order = broker.submit(buy("2"))  # 1 at 101, 1 at 102: the levels are the slippage
    assert (order.status, order.average) == ("filled", 101.5)
    assert broker.equity() == pytest.approx(1000 + 2 * (100 - 101.5))
    thin = broker.submit(buy("5", leg=1))
    assert (thin.status, thin.filled, thin.reason) == ("cancelled", 3, "book_too_thin")
    limit = broker.submit(buy("2", price="101", leg=2))  # one fills at once, one rests
    assert (limit.status, limit.filled) == ("partly_filled", 1)
    assert [o.client_order_id for o in broker.open_orders("BTCUSDT")] == [limit.client_order_id]
    broker.on_book(small_book(99, 101, 1))
    assert broker.order(limit.client_order_id).is_open  # a touch is not enough
    broker.on_book(small_book(98, 100, 2))
    assert broker.order(limit.client_order_id).status == "filled"
    flat = broker.target("BTCUSDT", 0.0, decided=NOW)
    assert sum(o.filled for o in flat) == 3  # what the visible bids take


def test_cancelling_on_paper():
    broker = PaperBroker("BTCUSDT")
    order = broker.submit(buy("0.1", price="50"))
    assert broker.cancel(order.client_order_id).status == "cancelled"
    assert broker.cancel(order.client_order_id).status == "cancelled"
    broker.on_bar(bar(1, 60, 61, 40, 45))
    assert broker.position("BTCUSDT") == 0
    with pytest.raises(OrderNotFoundError):
        broker.cancel("nobody")
    assert broker.order("nobody") is None


def test_an_order_sent_twice_is_one_order():
    broker = PaperBroker("BTCUSDT")
    assert broker.submit(buy()) == broker.submit(buy())
    broker.on_bar(bar(1, 100, 101, 99, 100))
    assert broker.position("BTCUSDT") == 0.01
    with pytest.raises(OrderConflictError, match=r"exists as buy 0\.01, wanted buy 0\.02"):
        broker.submit(buy("0.02"))


def test_a_turn_that_stopped_half_way_is_gone_on_with(exchange):
    broker = TestnetBroker(base_url=exchange.http_url, **QUICK)
    broker.submit(buy("0.1"))
    close = OrderRequest("BTCUSDT", "sell", "0.1", NOW, reduce_only=True, strategy="target")
    broker.submit(close)  # and here the process died
    again = TestnetBroker(base_url=exchange.http_url, **QUICK)
    orders = again.target("BTCUSDT", -0.5, decided=NOW, price=30_000.0)
    assert [(o.side, o.reduce_only) for o in orders] == [("sell", True), ("sell", False)]
    assert orders[0].client_order_id == close.client_order_id
    assert again.position("BTCUSDT") < -0.1


def test_a_decision_told_twice_is_carried_out_once_on_paper():
    broker = PaperBroker("BTCUSDT")
    for _ in range(2):
        assert broker.target("BTCUSDT", 0.5, decided=NOW) == []
    broker.on_bar(bar(1, 100, 101, 99, 100))
    (order,) = broker.target("BTCUSDT", 0.1, decided=NOW)
    broker.on_bar(bar(2, 120, 121, 119, 120))
    assert broker.position("BTCUSDT") == float(order.filled)


def test_paper_keeps_to_the_instrument_if_there_is_one():
    broker = PaperBroker("BTCUSDT", instrument=BTC)
    for bad in (buy("0.0001"), buy("0.0015"), buy("0.01", price="100.05"), buy(price="100")):
        with pytest.raises(OrderRuleError):
            broker.submit(bad)
    assert broker.state()["orders"] == []
    broker.target("BTCUSDT", 0.5, decided=NOW)
    broker.on_bar(bar(1, 30_000, 30_000, 30_000, 30_000))
    assert Decimal(str(broker.position("BTCUSDT"))) % BTC.qty_step == 0


def test_a_strict_account_refuses_what_the_exchange_would():
    """3 USDT buy nothing; ticks, steps, largest quantities and margin bind as there."""
    poor = PaperBroker.strict("BTCUSDT", equity=3.0)
    assert poor.target("BTCUSDT", 1.0, decided=NOW) == []
    poor.on_bar(bar(1, 30_000, 30_000, 30_000, 30_000))
    assert (poor.position("BTCUSDT"), poor.equity()) == (0.0, 3.0)
    broker = PaperBroker.strict("BTCUSDT", equity=10_000.0)
    broker.on_bar(bar(1, 30_000, 30_000, 30_000, 30_000))
    for bad in (buy("0.0001"), buy("0.0015"), buy(price="100.05"), buy("501"), buy("0.001")):
        if bad.qty == Decimal("0.001"):
            assert broker.submit(bad).is_open  # worth 30
        else:
            with pytest.raises(OrderRuleError):
                broker.submit(bad)
    with pytest.raises(OrderRejectedError, match="110007"):
        broker.submit(buy("3.5", leg=1))  # 105,000 on 10 times 10,000
    broker.submit(buy("3", leg=2))
    with pytest.raises(OrderRejectedError, match="110007"):
        broker.submit(buy("0.5", price="29000", leg=3))  # what waits binds margin too
    broker.on_bar(bar(2, 30_000, 30_000, 30_000, 30_000))
    broker.submit(buy("3", side="sell", reduce_only=True, leg=4))  # closing needs none
    broker.on_bar(bar(3, 30_000, 30_000, 30_000, 30_000))
    assert broker.position("BTCUSDT") == pytest.approx(0.001)


@pytest.mark.parametrize(("fraction", "equity", "reason"), [
    (11.0, 10_000.0, "no_margin"), (2.0, 10_000_000.0, "above_the_maximum"), (9.0, 10_000.0, ""),
])  # fmt: skip
def test_a_target_that_the_exchange_would_refuse_opens_nothing(fraction, equity, reason):
    broker = PaperBroker.strict("BTCUSDT", equity=equity, leverage=10.0)
    broker.target("BTCUSDT", fraction, decided=NOW)
    broker.on_bar(bar(1, 30_000, 30_000, 30_000, 30_000))
    (order,) = broker.target("BTCUSDT", fraction, decided=NOW)
    assert (order.status, order.reason) == (("rejected", reason) if reason else ("filled", ""))
    assert (broker.position("BTCUSDT") == 0) == bool(reason)
    again = PaperBroker.strict("BTCUSDT", equity=equity, leverage=10.0)
    again.restore(json.loads(json.dumps(broker.state())))
    assert again.target("BTCUSDT", fraction, decided=NOW) == [order]


def test_a_strict_account_closes_more_than_the_largest_market_order():
    small = Instrument("BTCUSDT", *map(Decimal, ("0.1", "0.001", "0.001", "5", "1", "2")))
    broker = PaperBroker("BTCUSDT", equity=200_000.0, instrument=small)
    for leg in range(3):
        broker.submit(buy("1", leg=leg))
    broker.on_bar(bar(1, 30_000, 30_000, 30_000, 30_000))
    broker.submit(buy("3", side="sell", reduce_only=True, leg=3))
    broker.submit(buy("2", price="20000", leg=4))  # limit orders may be larger
    broker.on_bar(bar(2, 30_000, 30_000, 30_000, 30_000))
    assert broker.position("BTCUSDT") == 0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-3_000, 3_000).filter(bool), min_size=1, max_size=12))
def test_a_strict_account_is_flat_when_its_steps_add_up_to_nothing(steps):
    """Whatever was traded, one order over what is held leaves nothing, not a rounding."""
    broker, held = PaperBroker("BTCUSDT", equity=1e7, instrument=BTC), 0
    for k, step in enumerate(steps):
        side = "buy" if step > 0 else "sell"
        broker.submit(buy(Decimal(abs(step)) / 1000, side=side, leg=k))
        broker.on_bar(bar(k + 1, 30_000, 30_000, 30_000, 30_000))
        held += step
        assert Decimal(repr(broker.position("BTCUSDT"))) == Decimal(held) / 1000
    if held:
        left = BTC.floor(abs(broker.position("BTCUSDT")))
        broker.submit(buy(left, side="sell" if held > 0 else "buy", reduce_only=True, leg=50))
        broker.on_bar(bar(99, 30_000, 30_000, 30_000, 30_000))
    assert broker.position("BTCUSDT") == 0


def test_a_strict_account_pays_funding_every_eight_hours():
    """From 12:00 to 12:00: at 16:00, 00:00 and 08:00, on what is held into these opens."""
    broker = PaperBroker.strict("BTCUSDT", costs=Costs(0.0, 0.0, 0.0))
    broker.submit(buy("0.1"))
    for hour in range(25):
        broker.on_bar(bar(60 * hour, 30_000, 30_000, 30_000, 30_000))
    assert broker.funding == pytest.approx(3 * 0.1 * 30_000 * 1e-4)
    told = PaperBroker.strict("BTCUSDT", costs=Costs(0.0, 0.0, 0.0), funding_rate=0.0)
    told.submit(buy("0.1"))
    for hour in range(25):
        told.on_bar(bar(60 * hour, 30_000, 30_000, 30_000, 30_000), funding_open=0.001)
    assert told.funding == pytest.approx(24 * 0.1 * 30_000 * 1e-3)  # not before it was held
    short = PaperBroker.strict("BTCUSDT", funding_minutes=60)
    short.submit(buy("0.1", side="sell"))
    for hour in range(3):
        short.on_bar(bar(60 * hour, 30_000, 30_000, 30_000, 30_000))
    assert short.funding == pytest.approx(-2 * 0.1 * 30_000 * 1e-4)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("symbol", lambda b: PaperBroker("btc")),
        ("leverage", lambda b: PaperBroker("BTCUSDT", leverage=0.5)),
        ("funding_rate", lambda b: PaperBroker("BTCUSDT", funding_rate=float("nan"))),
        ("funding_minutes", lambda b: PaperBroker("BTCUSDT", funding_minutes=0)),
        ("equity", lambda b: PaperBroker("BTCUSDT", equity=0)),
        ("costs", lambda b: PaperBroker("BTCUSDT", costs=5)),
        ("against", lambda b: PaperBroker("BTCUSDT", against="air")),
        ("order", lambda b: PaperBroker("BTCUSDT", order="x")),
        ("instrument", lambda b: PaperBroker("BTCUSDT", instrument="x")),
        ("state", lambda b: b.restore({"kind": 7})),
        ("request", lambda b: b.submit("buy")),
        ("symbol", lambda b: b.submit(OrderRequest("ETHUSDT", "buy", 1, NOW))),
        ("fraction", lambda b: b.target("BTCUSDT", float("nan"), decided=NOW)),
        ("decided", lambda b: b.target("BTCUSDT", 1.0, decided=pd.Timestamp("2024-01-01"))),
        ("bar", lambda b: b.on_bar(bar(1, 100, 99, 98, 100))),
        ("bar.high", lambda b: b.on_bar(bar(1, 100, float("nan"), 98, 100))),
        ("bar", lambda b: (b.on_bar(bar(1, 9, 9, 9, 9)), b.on_bar(bar(1, 9, 9, 9, 9)))),
        ("bar", lambda b: b.on_bar(SimpleNamespace(**vars(bar(1, 9, 9, 9, 9)) | {"time": 10**30}))),
        ("funding_open", lambda b: b.on_bar(bar(1, 9, 9, 9, 9), funding_open=1e9)),
        ("funding_inside", lambda b: b.on_bar(bar(1, 9, 9, 9, 9), funding_inside=-1.5)),
        ("against", lambda b: b.on_book(small_book())),
        ("rate", lambda b: b.fund(NOW, float("inf"), 100.0)),
        ("symbol", lambda b: b.position("ETHUSDT")),
    ],
)
def test_bad_input_to_paper_is_named(name, call):
    with pytest.raises(ArgumentError) as error:
        call(PaperBroker("BTCUSDT"))
    assert error.value.name == name


# ---- where a paper broker stands


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**9), st.integers(0, 3))
def test_a_broker_killed_anywhere_goes_on_from_its_journal(where, seed):
    """Kill it after anything that it was told; what it has not kept is told again."""
    market, position = MARKET.iloc[:40], positions(40, seed)
    rows = list(market.rename_axis("time").reset_index().itertuples())
    told, last = [], 0.0
    for k, row in enumerate(rows):
        if k and position[k - 1] != last:
            last = float(position[k - 1])
            told.append(partial(PaperBroker.target, symbol="BTCUSDT", fraction=last,
                                decided=row.time))  # fmt: skip
        told.append(partial(PaperBroker.on_bar, bar=row))
    broker, kept = PaperBroker("BTCUSDT"), []
    for tell in told:
        kept.append(json.dumps(broker.state()))
        tell(broker)
    at = where % len(told)
    again = PaperBroker("BTCUSDT")
    again.restore(json.loads(kept[at]))
    for tell in told[at:]:
        tell(again)
    assert again.equity() == broker.equity()
    assert again.state() == broker.state()


class Killed(BaseException):
    """What kill -9 is to a process: nobody handles it."""


class Dying(Journal):
    """A journal whose process dies right before, or right after, one of its commits."""

    left, before = -1, False

    def commit(self):
        self.left -= 1
        if self.left == 0 and self.before:
            raise Killed
        super().commit()
        if self.left == 0:
            raise Killed


def paper_run(path, bars, commits=-1, *, before=False):
    """Trade on paper until the end, or until killed; return whether it was."""
    journal, broker = Dying(path, durable=False), PaperBroker("BTCUSDT")
    journal.left, journal.before = commits, before
    trader = Trader(journal, broker, "BTCUSDT", 60 * 10**9, equity=10_000.0,
                    risk=backtest.Risk(stop_atr=1.0, take_profit=1.0))  # fmt: skip
    try:
        trader.resume()
        for k, row in enumerate(bars):
            if k < 20 and trader.newest < row.time:
                trader.warm(row)
                trader.save()
            elif trader.newest < row.time:
                wish = Signal(pd.Timestamp(row.time, tz="UTC"), (0.5, -0.5, 0.3)[k // 3 % 3], 1.0)
                trader.on_bar(row, wish)
    except Killed:
        journal.db.rollback()  # what was not committed is not there
        return True
    finally:
        journal.left = -1
        journal.close()
    return False


def everything(path):
    """Return orders and fills, and where account and paper broker stand."""
    journal = Journal(path)
    orders, fills = (
        journal.db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        for table in ("intents", "fills")
    )
    found = orders, fills, journal.state(), journal.kept("paper")
    journal.close()
    return found


@pytest.mark.parametrize("before", [True, False])
def test_a_run_on_paper_killed_at_any_commit_is_one_run(tmp_path, before):
    """Exactly once: the orders, their fills and the account are those of a run nobody killed."""
    market = MARKET.iloc[:50].set_axis(pd.date_range(NOW, periods=50, freq="1min"))
    bars = bars_of(market)
    paper_run(tmp_path / "whole", bars)
    whole = everything(tmp_path / "whole")
    assert len(whole[0]) == len(whole[1]) > 20
    for k in range(22, 64, 5):
        path = tmp_path / f"{k}"
        assert paper_run(path, bars, k, before=before)
        assert paper_run(path, bars, 3, before=before)  # and again, soon after the start
        assert not paper_run(path, bars)
        assert everything(path) == whole, k


def test_orders_against_books_are_replayed_too():
    broker = PaperBroker("BTCUSDT", against="book")
    for second in range(5):
        broker.on_book(small_book(99 - second, 101 - second, second))
        broker.submit(buy("0.5", leg=2 * second))
        broker.submit(buy("0.25", price=str(100 - second), leg=2 * second + 1))
    broker.target("BTCUSDT", -0.1, decided=NOW)
    again = PaperBroker("BTCUSDT", against="book")
    again.restore(json.loads(json.dumps(broker.state())))
    assert again.position("BTCUSDT") == broker.position("BTCUSDT") != 0
    assert again.equity() == broker.equity()
    assert again.open_orders("BTCUSDT") == broker.open_orders("BTCUSDT")
    assert again.target("BTCUSDT", -0.1, decided=NOW) == broker.target("BTCUSDT", 1.0, decided=NOW)
    with pytest.raises(OrderRejectedError, match="no book seen yet"):
        again.submit(buy("0.5", leg=50))  # what it saw before may be long gone


@pytest.mark.parametrize(("name", "value"), [
    ("account", [float("nan")] * 6), ("account", [10**400] * 6), ("account", ["1"] * 6),
    ("newest", "x"), ("newest", None), ("newest", 1.5), ("newest", 10**30), ("decided", "x"),
    ("price", "x"), ("price", float("nan")), ("price", 0.0), ("waiting", "ab"), ("waiting", [1]),
    ("waiting", [float("nan"), 5]), ("waiting", [1.0, 2**62]), ("orders", "twice"),
    *(("orders", {at: bad}) for at, bad in [
        (1, "weird"), (1, []), (2, "x"), (2, float("nan")), (2, -1.0), (2, 9.0),
        (3, float("inf")), (4, None)]),
])  # fmt: skip
def test_a_state_that_no_account_can_have_is_refused_whole(name, value):
    broker = PaperBroker("BTCUSDT")
    broker.on_bar(bar(1, 100, 101, 99, 100))
    broker.submit(buy("0.5", price="90"))
    state = json.loads(json.dumps(broker.state()))
    again = PaperBroker("BTCUSDT")
    if name == "orders":
        (order,) = state["orders"]
        changed = [value.get(k, x) for k, x in enumerate(order)] if value != "twice" else order
        value = [order, changed] if value == "twice" else [changed]
    before = again.state()
    with pytest.raises(ArgumentError, match="state"):
        again.restore(state | {name: value})
    assert again.state() == before
    again.restore(state)
    assert again.state() == broker.state()


def test_a_journal_says_what_is_wrong_with_it(tmp_path):
    kept = PaperBroker("BTCUSDT", equity=5.0).state()
    for bad in (None, {}, kept, kept | {"account": [1.0]}, kept | {"orders": [[{}]]}):
        with pytest.raises(ArgumentError, match="state"):
            PaperBroker("BTCUSDT", equity=5.0 if bad is not kept else 6.0).restore(bad)
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"kind": "account"}\n{"kind": \n')
    with pytest.raises(ArgumentError, match="journal"):
        replay_lines(PaperBroker("BTCUSDT"), path)
    path.write_bytes(b'{"kind": \n{"kind": "bar"}\n')
    with pytest.raises(ArgumentError, match="journal"):
        replay_lines(PaperBroker("BTCUSDT"), path)


def test_the_lines_of_an_older_paper_broker_are_lived_through(tmp_path):
    """What the first version wrote; its last line was cut short by a crash."""
    told = PaperBroker("BTCUSDT", equity=1000.0)
    account = {"symbol": "BTCUSDT", "equity": 1000.0, "costs": vars(Costs()), "order": "taker",
               "against": "bar", "max_leverage": None, "instrument": None}  # fmt: skip
    request = {"symbol": "BTCUSDT", "side": "buy", "qty": "2", "decided": NOW.isoformat(),
               "price": None, "reduce_only": False, "strategy": "live", "leg": 10}  # fmt: skip
    lines = [
        {"kind": "account", **account},
        {"kind": "submit", "intent": request},
        {"kind": "bar", "time": NOW.isoformat(), "prices": [100.0] * 4, "funding": [0.0, 0.0]},
        {"kind": "fill", "link_id": "live-x", "units": 2.0, "price": 100.01, "reason": "order"},
    ]
    path = tmp_path / "run.sqlite.paper"
    told_lines = "".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "ba'
    path.write_text(told_lines, encoding="utf-8")
    replay_lines(told, path)
    assert (told.position("BTCUSDT"), told.newest) == (2.0, NOW.value)
    assert told.fees == pytest.approx(2 * 100.01 * 5.5e-4)
    assert told.order(OrderRequest.from_record(request).client_order_id).status == "filled"


def test_what_a_broker_remembers_does_not_grow_with_its_age(monkeypatch):
    """Ten times the age: the same memory, and a state that is as small."""
    monkeypatch.setattr(paper, "REMEMBERED", 50)
    sizes, held, broker = [], [], PaperBroker("BTCUSDT")
    tracemalloc.start()
    for k in range(2_200):
        if k % 2:
            broker.submit(buy("0.01", side="sell" if k % 4 == 1 else "buy",
                              decided=NOW + pd.Timedelta(minutes=k)))  # fmt: skip
        broker.on_bar(bar(k, 100.0, 101.0, 99.0, 100.0))
        if k in (219, 2_199):
            sizes.append(len(json.dumps(broker.state())))
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] < sizes[0] * 1.05
    assert held[1] < held[0] + 100_000  # bytes
    assert max(sizes) < 8_192
    again = PaperBroker("BTCUSDT")
    again.restore(json.loads(json.dumps(broker.state())))
    assert again.state() == broker.state()


# ---- the exchange


@pytest.fixture
def keys(monkeypatch):
    for venue in ("TESTNET", "DEMO", "MAINNET"):
        monkeypatch.setenv(f"BYBIT_{venue}_API_KEY", KEY)
        monkeypatch.setenv(f"BYBIT_{venue}_API_SECRET", SECRET)
    monkeypatch.delenv("SETRADE_ALLOW", raising=False)


@pytest.fixture
def exchange(keys):
    with simulator.serve(MARKET, keys={KEY: SECRET}) as running:
        yield running


def test_every_broker_has_the_same_interface(exchange):
    assert isinstance(PaperBroker("BTCUSDT"), Broker)
    assert isinstance(TestnetBroker(base_url=exchange.http_url), Broker)
    assert isinstance(DemoBroker(base_url=exchange.http_url), Broker)


def test_hosts_and_venues(keys, monkeypatch):
    assert "api-testnet.bybit.com" in repr(TestnetBroker())
    assert "api-demo.bybit.com" in repr(DemoBroker())
    with pytest.raises(MainnetRefusedError, match="SETRADE_ALLOW=mainnet"):
        ExchangeBroker("mainnet")
    monkeypatch.setenv("SETRADE_ALLOW", "yes")
    with pytest.raises(MainnetRefusedError):
        ExchangeBroker("mainnet")
    monkeypatch.setenv("SETRADE_ALLOW", "mainnet")
    assert "api.bybit.com" in repr(ExchangeBroker("mainnet"))
    monkeypatch.delenv("BYBIT_DEMO_API_SECRET")
    with pytest.raises(KeysError, match="BYBIT_DEMO_API_SECRET") as error:
        DemoBroker()
    assert "API_KEY" not in str(error.value)
    for argument, value in [("venue", "paper"), ("base_url", "https://example.com"),
                            ("category", "option"), ("settle", -1.0), ("costs", 1),
                            ("timeout", 0.0)]:  # fmt: skip
        with pytest.raises(ArgumentError) as bad:
            ExchangeBroker(**{"venue": "testnet"} | {argument: value})
        assert bad.value.name == argument


def test_what_cannot_be_written_is_not_done(tmp_path, exchange):
    """A full disk: the broker raises and has not traded."""
    journal = Journal(tmp_path / "j.sqlite")
    broker = TestnetBroker(base_url=exchange.http_url, journal=journal, **QUICK)
    journal.close()
    with pytest.raises(JournalError, match="closed database"):
        broker.submit(buy())
    assert exchange.requests[CREATE] == 0


def test_a_round_trip_on_the_simulator(exchange, tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    broker = TestnetBroker(base_url=exchange.http_url, journal=journal, **QUICK)
    assert broker.equity() == 10_000
    assert broker.position("BTCUSDT") == 0
    order = broker.submit(buy("0.1"))
    done = broker.order(order.client_order_id)
    assert (done.status, done.filled, done.order_id) == ("filled", Decimal("0.1"), order.order_id)
    assert broker.position("BTCUSDT") == 0.1
    resting = broker.submit(buy("0.1", price="10000", leg=1))
    assert [o.client_order_id for o in broker.open_orders("BTCUSDT")] == [resting.client_order_id]
    assert broker.cancel(resting.client_order_id).status == "cancelled"
    assert broker.cancel(resting.client_order_id).status == "cancelled"
    turned = broker.target("BTCUSDT", -0.5, decided=NOW, price=float(MARKET["close"].iloc[-1]))
    assert [(o.side, o.reduce_only) for o in turned] == [("sell", True), ("sell", False)]
    held = broker.position("BTCUSDT")
    worth = -held * float(MARKET["close"].iloc[-1]) / broker.equity()
    assert worth == pytest.approx(0.5, abs=0.005)
    again = TestnetBroker(base_url=exchange.http_url, **QUICK)  # after a restart, say
    for repeat in (broker, again):
        same = repeat.target("BTCUSDT", -0.5, decided=NOW, price=25_000.0)
        assert [o.order_id for o in same] == [o.order_id for o in turned]
    assert broker.position("BTCUSDT") == held
    assert broker.order("nobody") is None
    with pytest.raises(OrderNotFoundError):
        broker.cancel("nobody")
    assert journal.counts()["intents"] == 4
    assert journal.known(resting.client_order_id) == (buy("0.1", price="10000", leg=1), "cancelled")
    journal.close()


def test_nothing_is_sent_that_breaks_a_rule(exchange):
    broker = TestnetBroker(base_url=exchange.http_url, **QUICK)
    for bad in (buy("0.0001"), buy("0.0015"), buy("0.01", price="100.05"), buy("2000"),
                buy("0.001", price="100")):  # fmt: skip
        with pytest.raises(OrderRuleError):
            broker.submit(bad)
    with pytest.raises(ArgumentError, match="symbol"):
        broker.submit(OrderRequest("NOSUCHUSDT", "buy", 1, NOW))
    with pytest.raises(ArgumentError, match="request"):
        broker.submit({"qty": 1})
    assert exchange.requests[CREATE] == 0


def test_small_quantities_are_sent_as_plain_text(keys):
    listed = simulator.ListedInstrument("BTCUSDT", qty_step="0.00001", min_qty="0.00001",
                                  min_notional="0.1")  # fmt: skip
    with simulator.serve(MARKET, keys={KEY: SECRET}, instruments=[listed]) as running:
        broker = TestnetBroker(base_url=running.http_url, **QUICK)
        broker.submit(buy(0.00001))  # sent as "1e-05" the simulator refuses it, as Bybit does
        assert broker.position("BTCUSDT") == 0.00001


LOST = ("drop", "cut_body", "bad_json", "slow", "http_500", "http_429", "rate_limit_bare",
        "rate_limit_past", "rate_limit_future")  # fmt: skip


@pytest.mark.parametrize("fault", LOST)
def test_an_order_whose_answer_is_lost_exists_once(exchange, fault):
    broker = TestnetBroker(base_url=exchange.http_url, **QUICK)
    exchange.inject(simulator.Fault(fault, path=CREATE, seconds=0.6 if fault == "slow" else 0.2))
    order = broker.submit(buy())
    assert exchange.faults.fired[fault] == 1
    assert broker.order(order.client_order_id).status == "filled"
    assert broker.position("BTCUSDT") == 0.01
    happened_anyway = fault in ("drop", "cut_body", "bad_json", "slow")
    assert exchange.requests[CREATE] == (1 if happened_anyway else 2)
    broker.submit(buy())  # and sent again it is still one
    assert broker.position("BTCUSDT") == 0.01


@pytest.mark.parametrize("fault", LOST)
def test_a_cancel_whose_answer_is_lost_ends_the_order(exchange, fault):
    broker, cancel = TestnetBroker(base_url=exchange.http_url, **QUICK), "/v5/order/cancel"
    order = broker.submit(buy("0.1", price="10000"))
    exchange.inject(simulator.Fault(fault, path=cancel, seconds=0.6 if fault == "slow" else 0.2))
    assert broker.cancel(order.client_order_id).status == "cancelled"
    assert exchange.faults.fired[fault] == 1
    assert broker.open_orders("BTCUSDT") == []


def test_a_state_that_cannot_be_read_changes_nothing():
    rich, poor = PaperBroker("BTCUSDT", equity=9_000.0), PaperBroker("BTCUSDT", equity=1_000.0)
    torn = {name: value for name, value in rich.state().items() if name != "price"}
    with pytest.raises(ArgumentError, match="state"):
        poor.restore(torn)
    assert poor.equity() == 1_000.0


def test_a_blind_resend_would_double():
    """The wrong version: a client that sends again under a new name holds twice as much."""
    with simulator.serve(MARKET, keys={KEY: SECRET}) as running:
        from pybit.unified_trading import HTTP

        client = HTTP(api_key=KEY, api_secret=SECRET)
        client.endpoint = running.http_url
        running.inject(simulator.Fault("drop", path=CREATE))
        sent = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy",
                "orderType": "Market", "qty": "0.01"}  # fmt: skip
        for _ in range(2):
            try:
                client.place_order(**sent)
                break
            except Exception:
                continue
        held = client.get_positions(category="linear", symbol="BTCUSDT")["result"]["list"][0]
        assert held["size"] == "0.02"


def test_orders_through_every_lost_answer_with_late_orders():
    found = torture_stream.lost_answers(each=1)
    assert (found["missing"], found["doubled"]) == (0, 0)
    assert sum(found["faults"].values()) == len(torture_stream.ANSWERS)


def test_an_order_whose_fate_stays_unknown_says_so(exchange):
    broker = TestnetBroker(base_url=exchange.http_url, timeout=0.3, settle=0.1,
                           retry=Retry(tries=2, first=0.01))  # fmt: skip
    broker.instrument("BTCUSDT")
    exchange.inject(simulator.Fault("drop", path=CREATE))
    exchange.inject(simulator.Fault("drop", path="/v5/order/realtime", times=9))
    with pytest.raises(OrderUnknownError, match=buy().client_order_id):
        broker.submit(buy())
    assert exchange.requests[CREATE] == 1  # not sent again while nobody knows


def test_403_is_tried_once(exchange):
    broker = TestnetBroker(base_url=exchange.http_url, **QUICK)
    broker.instrument("BTCUSDT")
    exchange.inject(simulator.Fault("http_403", path=CREATE))
    with pytest.raises(AccessError):
        broker.submit(buy())
    assert exchange.requests[CREATE] == 1


def test_a_refusal_is_final_and_typed(exchange):
    broker = TestnetBroker(base_url=exchange.http_url, **QUICK)
    with pytest.raises(OrderRejectedError, match="110007") as error:
        broker.submit(buy("1000"))
    assert error.value.code == 110007
    assert isinstance(error.value, OrderError)
    assert exchange.requests[CREATE] == 1


def test_a_name_that_exists_with_other_figures_is_a_conflict(exchange):
    TestnetBroker(base_url=exchange.http_url, **QUICK).submit(buy("0.01", price="20000"))
    restarted = TestnetBroker(base_url=exchange.http_url, **QUICK)
    with pytest.raises(OrderConflictError) as error:
        restarted.submit(buy("0.02", price="20000"))
    assert error.value.order.qty == Decimal("0.01")


# ---- secrets


def everything_about(thing, depth: int = 4) -> list[str]:
    """Return texts of an object and of what hangs on it, as a debugger would show them."""
    texts = [repr(thing), str(thing), f"{thing}", f"{thing!r:>5}"]
    if depth and hasattr(thing, "__dict__"):
        texts.append(str(vars(thing)))
        for value in vars(thing).values():
            texts += everything_about(value, depth - 1)
    return texts


def test_keys_appear_nowhere(exchange, caplog, tmp_path):
    """Reprs, attributes, logs at the finest level, tracebacks with locals, pickles, copies."""
    for name in ("", "pybit", "pybit._http_manager", "urllib3", "aiohttp", "setrade"):
        caplog.set_level(logging.DEBUG, logger=name)
    journal = Journal(tmp_path / "j.sqlite")
    broker = TestnetBroker(base_url=exchange.http_url, journal=journal, **QUICK)
    broker._session.http.log_requests = True  # what a curious reader would switch on
    broker.submit(buy())
    texts = everything_about(broker)
    for fault in ("http_403", "http_500", "drop", "bad_json"):
        exchange.inject(simulator.Fault(fault, path=CREATE))
    exchange.inject(simulator.Fault("drop", path="/v5/order/realtime", times=9))
    dead = TestnetBroker(base_url="http://127.0.0.1:9", **QUICK)
    failures = [
        lambda: broker.submit(buy(leg=1)),
        lambda: broker.submit(buy(leg=2)),
        lambda: broker.submit(buy("1000", leg=3)),
        lambda: broker.order("x"),
        dead.equity,
        lambda: dead.submit(buy()),
        lambda: pickle.dumps(broker),
        lambda: copy.deepcopy(broker),
        lambda: pickle.dumps(broker._session),
        lambda: ExchangeBroker("mainnet"),
    ]
    caught = 0
    for failure in failures:
        try:
            failure()
        except Exception as error:
            caught += 1
            whole = traceback.TracebackException.from_exception(error, capture_locals=True)
            texts += ["".join(whole.format()), repr(error), str(vars(error))]
    assert caught >= 8
    texts += [caplog.text, *journal.db.iterdump(), repr(gc.get_referents(broker))]
    assert "X-BAPI-API-KEY" in caplog.text  # pybit did log its headers
    assert "'X-BAPI-SIGN': '***'" in caplog.text
    assert not re.search("SIGN': '[0-9a-f]", caplog.text)
    found = [t[max(0, t.find(s) - 200) :][:300] for s in (KEY, SECRET) for t in texts if s in t]
    assert not found, found[0]


def test_unusable_keys_are_refused_without_being_shown(monkeypatch):
    for bad in ("", "short", "has a space in it", "new\nline-injected-header"):
        monkeypatch.setenv("BYBIT_TESTNET_API_KEY", bad)
        monkeypatch.setenv("BYBIT_TESTNET_API_SECRET", SECRET)
        with pytest.raises(KeysError) as error:
            TestnetBroker()
        assert SECRET not in str(error.value)
        assert not bad or bad not in str(error.value)


def test_an_echoed_key_is_taken_out_of_messages(keys):
    from setrade.bybit.order_client import Keys

    made = Keys.from_environment("testnet")
    assert made.clean(f"bad key {KEY} and {SECRET}") == "bad key *** and ***"
    with pytest.raises(TypeError):
        pickle.dumps(made.key)
    with pytest.raises(TypeError):
        copy.copy(made)
