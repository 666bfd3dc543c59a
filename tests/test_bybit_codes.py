"""The table of error codes: every row against a broker, and one kind of failure at a time.

The peer is a tiny exchange on loopback that answers what a test says.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from decimal import Decimal

import pandas as pd
import pytest
from aiohttp import web
from loopback import served

from setrade.bybit import ExchangeError, Rest, Retry, TestnetBroker, UnreachableError, codes
from setrade.bybit.broker import ExchangeBroker
from setrade.bybit.constants import DataError
from setrade.bybit.order_client import HedgeModeError
from setrade.bybit.orders import (
    Instrument,
    OrderError,
    OrderRejectedError,
    OrderRequest,
    OrderRuleError,
    OrderUnknownError,
    part_name,
    parts,
)
from setrade.errors import ArgumentError

NOW = pd.Timestamp("2024-01-01T12:00Z")
KEY, SECRET = "QqPublicKeyOfATest", "ZzSecretOfATest9876543210"
LISTED = {
    "symbol": "BTCUSDT", "status": "Trading", "fundingInterval": 480,
    "priceFilter": {"tickSize": "0.1"},
    "lotSizeFilter": {"maxOrderQty": "20", "maxMktOrderQty": "10", "minOrderQty": "0.001",
                      "qtyStep": "0.001", "minNotionalValue": "5"},
}  # fmt: skip
HELD = {"symbol": "BTCUSDT", "side": "Buy", "size": "25", "positionIdx": 0, "markPrice": "30000"}
CREATE, CANCEL, OPEN = "/v5/order/create", "/v5/order/cancel", "/v5/order/realtime"
POSITION, INSTRUMENT = "/v5/position/list", "/v5/market/instruments-info"


class Venue:
    """Answers by path: a list, a dict, a ``(code, message)`` pair, or a function of the query."""

    def __init__(self) -> None:
        self.orders: dict[str, dict] = {}
        self.asked: list[tuple[str, dict]] = []
        self.answers: dict = {
            INSTRUMENT: [LISTED], POSITION: [HELD], CREATE: self.take, CANCEL: self.end,
            OPEN: self.find, "/v5/order/history": [], "/v5/market/tickers": [],
        }  # fmt: skip

    def take(self, body):
        name = body["orderLinkId"]
        if name in self.orders:
            return 110072, "OrderLinkedID is duplicate"
        self.orders[name] = {
            "orderId": f"id-{name}", "orderLinkId": name, "symbol": body["symbol"],
            "side": body["side"], "orderType": body["orderType"], "price": body.get("price", "0"),
            "qty": body["qty"], "orderStatus": "New" if "price" in body else "Filled",
            "cumExecQty": "0" if "price" in body else body["qty"], "avgPrice": "30000",
            "reduceOnly": body["reduceOnly"], "rejectReason": "EC_NoError",
        }  # fmt: skip
        return {"orderId": f"id-{name}", "orderLinkId": name}

    def end(self, body):
        self.orders[body["orderLinkId"]]["orderStatus"] = "Cancelled"
        return {"orderId": "x"}

    def find(self, query):
        return [o for n, o in self.orders.items() if query.get("orderLinkId", n) == n]

    def count(self, path):
        return sum(asked == path for asked, _ in self.asked)

    async def answer(self, request):
        query = dict(request.query) or json.loads(await request.text() or "{}")
        self.asked.append((request.path, query))
        found = self.answers[request.path]
        found = found(query) if callable(found) else found
        code, text = found if isinstance(found, tuple) else (0, "OK")
        if 400 <= code < 600:
            return web.Response(status=code, text=text)
        result = {} if isinstance(found, tuple) else found
        result = {"list": result} if isinstance(result, list) else result
        return web.json_response({"retCode": code, "retMsg": text, "result": result, "time": 1})

    @contextmanager
    def running(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        with served(app) as port:
            yield f"http://127.0.0.1:{port}"


@pytest.fixture
def venue(monkeypatch):
    monkeypatch.setenv("BYBIT_TESTNET_API_KEY", KEY)
    monkeypatch.setenv("BYBIT_TESTNET_API_SECRET", SECRET)
    made = Venue()
    with made.running() as made.url:
        yield made


def broker(venue, settle=0.05, **more) -> ExchangeBroker:
    return TestnetBroker(base_url=venue.url, timeout=2.0, settle=settle,
                         retry=Retry(tries=3, first=0.001, longest=0.002), **more)  # fmt: skip


def order(side="buy", qty="0.01", **more) -> OrderRequest:
    return OrderRequest("BTCUSDT", side, qty, more.pop("decided", NOW), **more)


ROWS = [pytest.param(row, id=str(row.code)) for row in codes.ROWS]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_and_what_becomes_of_an_order(venue, row):
    """Answered once, the order having come into being or not, as the row says it may have."""
    taken, place = [], venue.take

    def once(body):
        if not taken:
            taken.append(1)
            if row.order != "none":  # it had come into being all the same
                place(body)
            return row.code, "said the exchange"
        return place(body)

    venue.answers[CREATE] = once
    made, name = broker(venue), order().client_order_id
    if row.order == "none" and not row.passes:
        with pytest.raises((OrderRejectedError, ExchangeError)) as error:
            made.submit(order())
        assert error.value.code == row.code
        assert (venue.count(CREATE), len(venue.orders)) == (1, 0)
    else:
        assert made.submit(order()).client_order_id == name
        assert venue.count(CREATE) == (2 if row.order == "none" else 1)
        assert list(venue.orders) == [name]


@pytest.mark.parametrize("row", [r for r in ROWS if r.values[0].order == "maybe"])
def test_an_open_fate_that_came_to_nothing_is_sent_again_under_its_name(venue, row):
    answers = iter([(row.code, "said the exchange")])
    venue.answers[CREATE] = lambda body: next(answers, None) or venue.take(body)
    assert broker(venue).submit(order()).status in ("new", "filled")
    assert (venue.count(CREATE), len(venue.orders)) == (2, 1)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_and_a_question(venue, row):
    """What passes is asked again; what does not ends at once with its code."""
    answers = iter([(row.code, "said the exchange")])
    venue.answers[POSITION] = lambda query: next(answers, None) or [HELD]
    made = broker(venue)
    if row.passes:
        assert made.position("BTCUSDT") == 25.0
        venue.answers[POSITION] = (row.code, "for ever")
        with pytest.raises(UnreachableError) as error:
            made.position("BTCUSDT")
        assert (error.value.code, error.value.tries) == (row.code, 3)
    else:
        with pytest.raises(ExchangeError) as error:
            made.position("BTCUSDT")
        assert error.value.code == row.code
        assert venue.count(POSITION) == 1


@pytest.mark.parametrize("code", [110001, 110008, 110010, 110079, 170139, 170142, 170147, 170213])
def test_a_cancel_that_is_done_already_while_the_listing_lags(venue, code):
    """The first answer is lost, the second says that it is over, the listing lags 0.3 s."""
    made, said = broker(venue, settle=2.0), iter([(504, "lost")])
    name = made.submit(order(price="20000")).client_order_id
    due = []

    def end(body):
        due.append(time.monotonic() + 0.3)
        return next(said, (code, "said the exchange"))

    def find(query):
        if due and time.monotonic() > due[0]:
            venue.orders[name]["orderStatus"] = "Cancelled"
        return venue.find(query)

    venue.answers |= {CANCEL: end, OPEN: find}
    assert made.cancel(name).status == "cancelled"


def test_a_cancel_that_the_listing_never_shows(venue):
    made = broker(venue)
    name = made.submit(order(price="20000")).client_order_id
    venue.answers[CANCEL] = (110010, "The order has been cancelled")
    assert made.cancel(name).status == "cancelled"  # the exchange has said so
    venue.answers[CANCEL] = (110008, "The order has been completed or cancelled.")
    with pytest.raises(OrderUnknownError):  # filled or not, nobody says
        made.cancel(name)
    venue.answers[CANCEL] = (10005, "Permission denied")
    with pytest.raises(OrderRejectedError, match="10005"):
        made.cancel(name)


def test_a_code_that_nobody_describes_is_looked_into(venue):
    venue.answers[CREATE] = (987_654, "new in this version")
    with pytest.raises(OrderRejectedError, match="987654"):
        broker(venue).submit(order())
    assert venue.count(CREATE) == 1
    take = venue.take
    venue.answers[CREATE] = lambda body: (take(body), (987_654, "but taken"))[1]
    assert broker(venue).submit(order(leg=1)).order_id


# ---- what the door refuses


@pytest.mark.parametrize("category", ["spot", "inverse", "option", "futures", None, 7])
def test_what_is_not_linear_is_refused_at_the_door(venue, category):
    with pytest.raises(ArgumentError, match=r"category.*linear.*spot.*inverse"):
        broker(venue, category=category)
    assert not venue.asked


@pytest.mark.parametrize("index", [1, 2, "1"])
def test_hedge_mode_is_refused_by_name(venue, index):
    sides = [HELD | {"positionIdx": index}, HELD | {"positionIdx": 2, "side": "Sell"}]
    venue.answers |= {POSITION: sides, "/v5/account/wallet-balance": [{"totalEquity": "9"}]}
    with pytest.raises(HedgeModeError, match="hedge mode"):
        broker(venue).position("BTCUSDT")
    with pytest.raises(HedgeModeError):
        broker(venue).target("BTCUSDT", 0.0, decided=NOW, price=30_000.0)


# ---- fields that are missing


@pytest.mark.parametrize("entry", [
    [], {}, None, "x", [None], [{}], [HELD | {"size": None, "side": None}], [HELD | {"size": "x"}],
    [HELD | {"symbol": "ETHUSDT"}], [HELD | {"side": "Long"}], [HELD | {"size": "nan"}],
    [HELD | {"size": "1e400"}], [HELD | {"size": "-1"}], [HELD | {"size": True}],
    [HELD | {"size": ""}], [HELD | {"side": ""}], [HELD | {"side": "None"}],
])  # fmt: skip
def test_a_position_that_was_not_told_is_not_flat(venue, entry):
    venue.answers[POSITION] = {"list": entry}
    with pytest.raises((ExchangeError, DataError)):
        broker(venue).position("BTCUSDT")


@pytest.mark.parametrize(
    "entry",
    [
        [],
        [{}],
        [HELD | {"markPrice": ""}],
        [HELD | {"markPrice": None}],
        [HELD | {"markPrice": "0"}],
    ],
)
def test_an_order_needs_no_mark_price(venue, entry):
    """The smallest value is a courtesy of ours: the exchange checks it in any case."""
    venue.answers[POSITION] = entry
    assert broker(venue).submit(order()).status in ("new", "filled")
    venue.answers["/v5/market/tickers"] = [{"lastPrice": "300"}]
    with pytest.raises(OrderRuleError, match="at least 5"):
        broker(venue).submit(order(leg=1))


@pytest.mark.parametrize("interval", [None, "", "absent", 480, "480"])
def test_a_funding_interval_that_is_not_told(venue, interval):
    entry = {k: v for k, v in LISTED.items() if k != "fundingInterval"}
    venue.answers[INSTRUMENT] = [entry | ({} if interval == "absent" else
                                          {"fundingInterval": interval})]  # fmt: skip
    rate = {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": "1704067200000"}
    venue.answers["/v5/market/funding/history"] = [rate]
    rest = Rest(venue.url, retry=Retry(tries=1))
    got = rest.funding("BTCUSDT", "2024-01-01T00:00Z", "2024-01-02T00:00Z")
    wanted = 480 if str(interval) == "480" else None
    assert got.attrs["interval_minutes"] == wanted


@pytest.mark.parametrize("entry", [
    {"priceFilter": None}, {"lotSizeFilter": None}, {"lotSizeFilter": {"qtyStep": ""}},
    {"priceFilter": {"tickSize": "x"}}, {"priceFilter": {}},
])  # fmt: skip
def test_a_listing_without_steps_is_typed(venue, entry):
    venue.answers[INSTRUMENT] = [LISTED | entry]
    with pytest.raises(DataError, match="instrument BTCUSDT"):
        broker(venue).instrument("BTCUSDT")


@pytest.mark.parametrize("change", [
    {"orderStatus": "Novel"}, {"orderStatus": None}, {"cumExecQty": "x"}, {"side": None},
    {"side": "Hold"}, {"orderType": "Odd"}, {"orderType": None}, {"reduceOnly": "false"},
    {"orderId": None}, {"symbol": 5}, {"qty": ""}, {"cumExecQty": []},
    *({name: bad} for name in ("qty", "price", "cumExecQty", "avgPrice")
      for bad in ("NaN", "sNaN", "Infinity", "1e400", "-1", "1_0", True)),
])  # fmt: skip
def test_an_order_that_cannot_be_read_is_typed(venue, change):
    made = broker(venue)
    name = made.submit(order(price="20000")).client_order_id
    venue.orders[name] |= change
    with pytest.raises(DataError):
        made.order(name)


@pytest.mark.parametrize("change", [{"qty": "NaN"}, {"orderLinkId": None}, {"orderType": "Odd"}])
def test_an_order_that_cannot_be_read_is_not_taken_for_one_that_is_not_there(venue, change):
    made = broker(venue)
    name = made.submit(order(price="20000")).client_order_id
    venue.answers[OPEN] = [venue.orders[name] | change]
    venue.answers[CREATE] = 504, "the answer is lost"
    with pytest.raises(OrderUnknownError, match="could not be looked up"):
        made.submit(order(price="20000"))
    assert venue.count(CREATE) == 2  # it was not sent again
    with pytest.raises(DataError):
        made.open_orders("BTCUSDT")


@pytest.mark.parametrize("result", [
    {"list": ""}, {"list": {}}, {"list": 5}, {"list": [], "nextPageCursor": [1]},
])  # fmt: skip
def test_open_orders_that_were_not_told_are_not_none(venue, result):
    venue.answers[OPEN] = result
    with pytest.raises(DataError, match="get_open_orders"):
        broker(venue).open_orders("BTCUSDT")


@pytest.mark.parametrize("entry", [
    {"orderType": "Market", "price": "0", "qty": "0", "reduceOnly": True},  # closes all there is
    {"orderType": "UNKNOWN", "price": "", "avgPrice": ""},
])  # fmt: skip
def test_orders_of_others_do_not_hide_ours(venue, entry):
    made = broker(venue)
    name = made.submit(order(price="20000")).client_order_id
    venue.orders["other"] = venue.orders[name] | {"orderLinkId": ""} | entry
    assert name in [one.client_order_id for one in made.open_orders("BTCUSDT")]


@pytest.mark.parametrize(("state", "status"), [
    ("Created", "new"), ("New", "new"), ("Untriggered", "new"), ("Triggered", "new"),
    ("Active", "new"), ("PendingCancel", "new"), ("PartiallyFilled", "partly_filled"),
    ("Filled", "filled"), ("Rejected", "rejected"), ("Cancelled", "cancelled"),
    ("PartiallyFilledCanceled", "cancelled"), ("Deactivated", "cancelled"),
])  # fmt: skip
def test_every_state_of_an_order(venue, state, status):
    made = broker(venue)
    name = made.submit(order(price="20000")).client_order_id
    venue.orders[name]["orderStatus"] = state
    assert made.order(name).status == status


# ---- rules that change, and orders above the largest


def changed(**filters) -> dict:
    lots = LISTED["lotSizeFilter"] | {k: v for k, v in filters.items() if k != "tickSize"}
    tick = {"tickSize": filters.get("tickSize", "0.1")}
    return LISTED | {"lotSizeFilter": lots, "priceFilter": tick}


def test_a_finer_tick_is_learned_from_our_own_refusal(venue):
    made = broker(venue)
    made.instrument("BTCUSDT")
    venue.answers[INSTRUMENT] = [changed(tickSize="0.05")]
    assert made.submit(order(price="20000.05")).price == Decimal("20000.05")
    asked = venue.count(INSTRUMENT)
    with pytest.raises(OrderRuleError):
        made.submit(order(price="20000.01", leg=1))
    assert venue.count(INSTRUMENT) == asked + 1


def test_a_coarser_step_is_learned_from_the_exchanges_refusal(venue):
    made, take = broker(venue), venue.take
    made.instrument("BTCUSDT")
    venue.answers[INSTRUMENT] = [changed(qtyStep="0.01", minOrderQty="0.01")]

    def strict(body):
        return take(body) if Decimal(body["qty"]) % Decimal("0.01") == 0 else (10001, "Qty invalid")

    venue.answers[CREATE] = strict
    with pytest.raises(OrderRejectedError, match="10001"):  # nothing that opens is rounded for you
        made.submit(order(qty="0.015"))
    assert made.instrument("BTCUSDT").qty_step == Decimal("0.01")  # the next one is right
    made.submit(order(qty="0.02", leg=1))
    again = broker(venue)
    venue.answers[INSTRUMENT] = [LISTED]
    again.instrument("BTCUSDT")
    venue.answers[INSTRUMENT] = [changed(qtyStep="0.01", minOrderQty="0.01")]
    closed = again.submit(order("sell", "0.015", reduce_only=True, leg=2))  # but it must go out
    assert closed.qty == Decimal("0.01")


def test_rules_are_kept_while_the_exchange_cannot_be_asked(venue, monkeypatch):
    made = broker(venue)
    known = made.instrument("BTCUSDT")
    monkeypatch.setattr("setrade.bybit.broker.FRESH", 0.0)
    venue.answers[INSTRUMENT] = (10016, "Server error")
    assert made.instrument("BTCUSDT") == known
    assert made.submit(order("sell", "0.1", reduce_only=True)).status in ("new", "filled")
    with pytest.raises(UnreachableError):
        broker(venue).submit(order(leg=1))  # never known: nothing is opened by guesses
    closed = broker(venue).submit(order("sell", "0.1", reduce_only=True, leg=2))
    assert closed.client_order_id in venue.orders  # but what closes goes out


@pytest.mark.parametrize("answer", [[], (10001, "params error: symbol invalid")])
@pytest.mark.parametrize("known", [True, False])
def test_what_is_listed_no_more_is_closed_all_the_same(venue, monkeypatch, answer, known):
    made, close = broker(venue), order("sell", "25", reduce_only=True)
    if known:
        made.instrument("BTCUSDT")
        monkeypatch.setattr("setrade.bybit.broker.FRESH", 0.0)
    venue.answers[INSTRUMENT] = answer
    with pytest.raises(ArgumentError, match="that is listed"):
        made.submit(order(leg=1))
    assert made.submit(close).qty == 25
    assert len(venue.orders) == (3 if known else 1)  # in parts, where the largest is known
    assert close.client_order_id in venue.orders


@pytest.mark.parametrize(("held", "sent"), [("0.004", "0.01"), ("0.015", "0.01"), ("0.02", "0.02")])
def test_what_the_steps_have_left_behind_is_closed(venue, held, sent):
    """Bought in finer steps, on old rules; more than is held the exchange cuts down."""
    venue.answers[INSTRUMENT] = [changed(qtyStep="0.01", minOrderQty="0.01")]
    made = broker(venue)
    assert made.submit(order("sell", held, reduce_only=True)).qty == Decimal(sent)
    if held != "0.02":
        with pytest.raises(OrderRuleError):  # nothing that opens is rounded
            made.submit(order("sell", held, leg=1))


def test_an_order_that_closes_goes_out_in_parts(venue):
    made, close = broker(venue), order("sell", "25", reduce_only=True)
    sent = made.submit(close)
    assert (sent.qty, sent.client_order_id) == (25, close.client_order_id)
    assert [o["qty"] for o in venue.orders.values()] == ["10", "10", "5"]
    assert len({*venue.orders}) == 3
    assert max(map(len, venue.orders)) <= 36
    for repeat in (made, broker(venue)):  # the same process, and one that has restarted
        seen = repeat.order(close.client_order_id)
        assert (seen.status, seen.qty, seen.filled, seen.average) == ("filled", 25, 25, 30_000)
        repeat.submit(close)
        assert len(venue.orders) == 3
    for too_large in (order(qty="25", leg=1), order(qty="25", price="20000", leg=1)):
        with pytest.raises(OrderRuleError, match="at most"):
            made.submit(too_large)
    made.submit(order(qty="15", price="20000", leg=2))  # limit orders may be larger


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_crash_between_two_parts_doubles_none(venue, before):
    """The exchange goes away after so many parts; a new process sends the same request."""
    left, take = [before], venue.take

    def dying(body):
        left[0] -= 1
        return take(body) if left[0] >= 0 else (403, "gone")

    venue.answers[CREATE] = dying
    close = order("sell", "25", reduce_only=True)
    with pytest.raises((ExchangeError, OrderError)):
        broker(venue).submit(close)
    assert len(venue.orders) == before
    assert broker(venue).order(close.client_order_id) is None  # not all of it has been sent
    venue.answers[CREATE] = take
    assert broker(venue).submit(close).qty == 25
    assert sorted(o["qty"] for o in venue.orders.values()) == ["10", "10", "5"]


def test_parts_end_where_nothing_is_left_to_reduce(venue):
    take = venue.take
    venue.answers[CREATE] = lambda body: take(body) if not venue.orders else (110017, "zero")
    sent = broker(venue).submit(order("sell", "25", reduce_only=True))
    assert (sent.qty, sent.client_order_id) == (10, order().client_order_id)
    with pytest.raises(OrderRejectedError, match="110017"):
        broker(venue).submit(order("sell", "5", reduce_only=True, leg=1))


@pytest.mark.parametrize("qty", ["0.001", "9.999", "10", "10.001", "20", "20.001", "123.456"])
def test_parts_add_up_and_keep_to_the_largest(qty):
    rules = Instrument.from_listing(LISTED)
    close = order("sell", qty, reduce_only=True)
    made = parts(close, rules)
    assert sum(part.qty for part in made) == Decimal(qty)
    assert all(0 < part.qty <= 10 for part in made)
    names = [part.client_order_id for part in made]
    assert names[-1] == close.client_order_id
    assert names[:-1] == [part_name(names[-1], k + 1) for k in range(len(made) - 1)]


def test_a_cancel_ends_every_part(venue):
    made, close = broker(venue), order("sell", "45", price="40000", reduce_only=True)
    assert made.submit(close).is_open
    assert len(venue.orders) == 3
    ended = made.cancel(close.client_order_id)
    assert (ended.status, ended.qty) == ("cancelled", 45)
    assert {o["orderStatus"] for o in venue.orders.values()} == {"Cancelled"}


def test_all_pages_of_open_orders_are_read(venue):
    made = broker(venue)
    for leg in range(3):
        made.submit(order(price="20000", leg=leg))
    rows = list(venue.orders.values())

    def page(query):
        at = int(query.get("cursor") or 0)
        return {"list": rows[at : at + 1], "nextPageCursor": str(at + 1) if at < 2 else ""}

    venue.answers[OPEN] = page
    assert len(made.open_orders("BTCUSDT")) == 3
