"""The exchange in a box: its wire form, its clock, its orders, and every fault it can show.

The peer is the unmodified pybit client: it must not be able to tell, and each fault must do
to it what an exchange's would.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP, WebSocket

from setrade import candles, orderbook, simulator
from setrade.errors import ArgumentError
from setrade.simulator import Clock, Fault, ListedInstrument, SimulatorError, serve
from setrade.simulator.__main__ import main
from setrade.simulator.market import BarSeries, part
from setrade.simulator.wire import plain, positive, text

BARS = candles.synthetic(400, seed=1, interval="15min").candles
STEP = 900_000
OPENS = BARS.index.as_unit("ms").asi8
COLUMNS = ["open", "high", "low", "close", "volume"]
BOOKS = orderbook.synthetic(1_000, seed=1).books
KEYS = {"paper": "never printed"}


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    """Keep pybit's log and its dying threads out of the test report."""
    import logging

    logging.disable(logging.CRITICAL)
    hook, threading.excepthook = threading.excepthook, lambda _: None
    yield
    threading.excepthook = hook
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def server():
    """One exchange for all tests that only read; its clock stands in the middle of a bar."""
    with serve(BARS, BOOKS, now=int(OPENS[300]) + STEP // 2) as running:
        yield running


def client(running, key: str | None = None, **options) -> HTTP:
    """Return pybit's own client, pointed at the simulator."""
    secret = KEYS.get(key or "", "wrong") if key else None
    http = HTTP(api_key=key, api_secret=secret, **options)
    http.endpoint = running.http_url
    return http


@contextmanager
def stream(running, channel: str = "linear", **options):
    """Open pybit's own stream, its host rewritten to the simulator's."""

    class Local(WebSocket):
        def _connect(self, url):
            super()._connect(f"{running.ws_url}/v5{url.split('/v5')[1]}")

    ws = Local(channel, testnet=False, retries=2, **options)
    try:
        yield ws
    finally:
        ws.exit()


def until(condition, seconds: float = 5.0) -> bool:
    """Wait until a condition holds; say whether it did."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def get(running, path: str, **query):
    """Ask without any client library."""
    url = f"{running.http_url}{path}?{urlencode(query)}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def strings(frame: pd.DataFrame) -> list[list[str]]:
    """Return closed bars as the wire has them, newest first, without turnover."""
    rows = zip(frame.index.as_unit("ms").asi8, frame[COLUMNS].to_numpy(), strict=True)
    return [[str(t), *(repr(x).removesuffix(".0") for x in row.tolist())] for t, row in rows][::-1]


# --- the wire form, by hand -------------------------------------------------------------


def three_bars() -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=3, freq="1h", tz="UTC", name="time")
    return pd.DataFrame(
        {
            "open": [100.0, 101.0, 104.5],
            "high": [102.0, 106.0, 104.5],
            "low": [99.0, 100.0, 98.5],
            "close": [101.0, 104.5, 99.0],
            "volume": [10.0, 0.00001, 2.5],
            "turnover": [1000.0, 0.001, 250.0],
        },
        index=times,
    )


def test_three_bars_by_hand():
    with serve(three_bars()) as running:
        answer = get(running, "/v5/market/kline", symbol="BTCUSDT", interval="60")
    assert answer["retCode"] == 0
    assert answer["retMsg"] == "OK"
    assert answer["time"] == 1704078000000
    assert answer["result"] == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "list": [
            ["1704074400000", "104.5", "104.5", "98.5", "99", "2.5", "250"],
            ["1704070800000", "101", "106", "100", "104.5", "0.00001", "0.001"],
            ["1704067200000", "100", "102", "99", "101", "10", "1000"],
        ],
    }


def test_inverse_swaps_volume_and_turnover_and_mark_has_five_strings():
    with serve(three_bars(), category="inverse", symbol="BTCUSD") as running:
        page = client(running).get_kline(category="inverse", symbol="BTCUSD", interval=60, limit=1)
        mark = client(running).get_mark_price_kline(
            category="inverse", symbol="BTCUSD", interval=60, limit=1
        )
    assert page["result"]["list"] == [
        ["1704074400000", "104.5", "104.5", "98.5", "99", "250", "2.5"]
    ]
    assert mark["result"]["list"] == [["1704074400000", "104.5", "104.5", "98.5", "99"]]


def test_a_forming_bar_by_hand():
    """Half of the way of a rising bar: from its low half way to its high."""
    bar = np.array([100.0, 110.0, 90.0, 105.0, 8.0, 800.0])
    assert part(bar, 0.0, 0.1).tolist() == [100, 100, 100, 100, 0, 0]
    assert part(bar, 1 / 3, 0.1).tolist()[:4] == [100, 100, 90, 90]
    assert part(bar, 0.5, 0.1).tolist() == [100, 100, 90, 100, 4, 400]
    assert part(bar, 1.0, 0.1).tolist() == bar.tolist()


@given(st.lists(st.floats(10, 100), min_size=4, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_a_forming_bar_only_grows(prices, a, b):
    low, first, last, high = sorted(prices)
    bar = np.array([first, high, low, last, 5.0, 50.0])
    early, late = part(bar, min(a, b), 0.01), part(bar, max(a, b), 0.01)
    assert low <= late[2] <= early[2] <= early[3] <= early[1] <= late[1] <= high
    assert early[4] <= late[4] <= 5.0
    assert early[0] == late[0] == first


@given(st.floats(1e-8, 1e8))
def test_decimal_strings_have_no_exponent_and_lose_nothing(x):
    assert "e" not in text(x)
    assert float(text(x)) == x
    assert "E" not in plain(Decimal(str(x)))
    assert Decimal(plain(Decimal(str(x)))) == Decimal(str(x))


@pytest.mark.parametrize("raw", ["1e-05", "0", "-1", "", " 1", "1,0", "nan", "0x1", 1, 0.5, None])
def test_what_is_no_positive_decimal_string_is_refused(raw):
    with pytest.raises(simulator.wire.Refused, match="qty"):
        positive("qty", raw)


# --- klines against the source ------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    start=st.none() | st.integers(-5, 410),
    length=st.none() | st.integers(0, 420),
    limit=st.integers(1, 1000),
    offset=st.integers(0, STEP - 1),
)
def test_any_window_is_the_slice_of_the_source(server, start, length, limit, offset):
    """Floored start, inclusive end, nothing that has not begun, newest rows of too many."""
    query = {"symbol": "BTCUSDT", "interval": "15", "limit": limit}
    low, high = 0, 300
    if start is not None:
        query["start"] = int(OPENS[0]) + start * STEP + offset
        low = max(start, 0)
    if length is not None:
        query["end"] = int(OPENS[0]) + ((start or 0) + length) * STEP + offset
        high = min((start or 0) + length, 300)
    got = get(server, "/v5/market/kline", **query)["result"]["list"]
    expected = BARS.iloc[low : max(high + 1, 0)].iloc[-limit:] if high >= low else BARS.iloc[:0]
    assert [row[0] for row in got] == [str(t) for t in expected.index.as_unit("ms").asi8[::-1]]
    closed = expected[expected.index < BARS.index[300]]
    assert [row[:6] for row in got if row[0] != str(OPENS[300])] == strings(closed)


def test_the_last_bar_is_still_forming(server):
    newest = client(server).get_kline(symbol="BTCUSDT", interval=15, limit=1)["result"]["list"][0]
    whole = BARS.iloc[300]
    assert newest[0] == str(OPENS[300])
    assert float(newest[1]) == whole["open"]
    assert float(newest[5]) == round(whole["volume"] / 2, 8)
    assert whole["low"] <= float(newest[3]) <= float(newest[4]) <= float(newest[2]) <= whole["high"]
    last = client(server).get_public_trade_history(category="linear", symbol="BTCUSDT", limit=1)
    assert last["result"]["list"][0]["price"] == text(BARS["close"].iloc[299])


def test_longer_intervals_are_made_of_the_finest(server):
    """Against `candles.resample`, which knows nothing of the simulator."""
    http = client(server)
    for code, offset in (("30", "30min"), ("60", "1h"), ("240", "4h"), ("D", "1D")):
        expected = candles.resample(BARS.iloc[:300], offset)
        page = http.get_kline(symbol="BTCUSDT", interval=code, limit=1000)["result"]["list"]
        got = np.array(page[::-1], float)[: len(expected)]
        assert got[:, 0].tolist() == expected.index.as_unit("ms").asi8.tolist()
        np.testing.assert_allclose(got[:, 1:6], expected[COLUMNS], rtol=1e-12)
    forming = np.array(http.get_kline(symbol="BTCUSDT", interval="240")["result"]["list"][0], float)
    inside = BARS.iloc[288:300]  # three closed hours of the running four
    assert forming[1] == inside["open"].iloc[0]
    assert forming[2] >= inside["high"].max()


def test_several_symbols_and_intervals():
    """Own frames where given, and their own clockwork; the rest is made of the finest."""
    hours = candles.resample(BARS, "1h")
    other = candles.synthetic(100, seed=2, interval="1h").candles
    given = {("BTCUSDT", "15min"): BARS, ("BTCUSDT", "1h"): hours, "ETHUSDT": other}
    with serve(given, now=BARS.index[-1]) as running:
        http = client(running)
        page = http.get_kline(symbol="BTCUSDT", interval=60, limit=2)["result"]["list"]
        assert page[1][:6] == strings(hours.iloc[-2:-1])[0]
        page = http.get_kline(symbol="ETHUSDT", interval=60, limit=3)["result"]["list"]
        assert [row[:6] for row in page][1:] == strings(other.iloc[97:99])
        assert get(running, "/v5/market/kline", symbol="ETHUSDT", interval="15")["retCode"] == 10001
        listed = http.get_instruments_info(category="linear")["result"]["list"]
    assert [entry["symbol"] for entry in listed] == ["BTCUSDT", "ETHUSDT"]


def test_a_longer_bar_without_its_beginning_is_left_out():
    """Data from 00:15 on have no bar of 00:00; before them there is nothing to see."""
    with serve(BARS.iloc[1:], now=BARS.index[0]) as running:
        query = {"symbol": "BTCUSDT", "interval": "60"}
        assert get(running, "/v5/market/kline", **query)["result"]["list"] == []
        running.advance("3h")
        page = get(running, "/v5/market/kline", **query)["result"]["list"]
    assert [int(row[0]) for row in page] == OPENS[[12, 8, 4]].tolist()
    assert float(page[0][4]) == BARS["open"].iloc[12]


def test_mark_prices_of_ones_own():
    mark = BARS.assign(**{c: BARS[c] * 1.5 for c in COLUMNS[:4]})
    with serve(BARS, mark=mark) as running:
        http = client(running)
        rows = [
            ask(category="linear", symbol="BTCUSDT", interval=15, limit=1)["result"]["list"][0]
            for ask in (http.get_kline, http.get_mark_price_kline, http.get_index_price_kline)
        ]
    assert rows[1] == strings(mark.iloc[-1:])[0][:5]
    assert rows[2] == rows[0][:5]


def test_a_dead_symbol_answers_outside_the_window():
    dead = ListedInstrument("BTCUSDT", status="Closed")
    with serve(BARS, instruments=[dead], now=int(OPENS[-1]) + 10**9) as running:
        start = int(OPENS[-1]) + 100 * STEP
        query = {"symbol": "BTCUSDT", "interval": "15", "start": start, "end": start + STEP}
        got = get(running, "/v5/market/kline", **query)["result"]["list"]
    assert got
    assert all(int(row[0]) < start for row in got)


def test_coarser_bars_know_only_the_past():
    """The truncation law: a bar as known now does not depend on what comes later."""
    now = int(OPENS[150]) + STEP // 3
    whole, cut = (BarSeries.of(frame, 0.1).coarser(4 * STEP) for frame in (BARS, BARS.iloc[:151]))
    assert whole is not None
    assert cut is not None
    row = int(np.searchsorted(whole.opens, now, "right")) - 1
    assert whole.at(row, now).tolist() == cut.at(row, now).tolist()


# --- the other public calls, by pybit ------------------------------------------------------


def test_book_time_and_headers(server):
    http = client(server, return_response_headers=True)
    body, _, headers = http.get_orderbook(category="linear", symbol="BTCUSDT", limit=3)
    book, row = body["result"], len(BOOKS) - 1  # the clock is past the book's last row
    sides = (("b", BOOKS.bid_price, BOOKS.bid_size), ("a", BOOKS.ask_price, BOOKS.ask_size))
    for side, prices, sizes in sides:
        expected = np.column_stack([prices[row, :3], sizes[row, :3]])
        np.testing.assert_array_equal(np.array(book[side], float), expected)
    assert book["s"] == "BTCUSDT"
    assert book["u"] == book["seq"] == row + 2
    assert {"X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp"} <= set(headers)
    stamp = http.get_server_time()[0]["result"]
    assert stamp == {
        "timeSecond": str(server.now() // 1000),
        "timeNano": str(server.now() * 1_000_000),
    }


def test_without_books_there_is_a_level_a_side(market):
    book = get(market, "/v5/market/orderbook", category="linear", symbol="BTCUSDT")["result"]
    ((bid, size),), ((ask, _),) = book["b"], book["a"]
    last = entries(client(market, "paper").get_tickers(**LINEAR))[0]["lastPrice"]
    assert (bid, size, Decimal(ask) - Decimal(bid)) == (last, "1", Decimal("0.1"))
    assert book["ts"] == market.now()


def test_instruments_come_by_pages():
    """More than a page holds: the cursor leads through all of them, once each."""
    extra = [ListedInstrument(f"C{n:04d}USDT") for n in range(1_203)]
    with serve(BARS, instruments=extra) as running:
        http, seen, cursor, pages = client(running), [], None, 0
        while cursor != "":
            result = http.get_instruments_info(category="linear", cursor=cursor)["result"]
            seen += [entry["symbol"] for entry in result["list"]]
            cursor, pages = result["nextPageCursor"], pages + 1
        one = http.get_instruments_info(category="linear", symbol="C0007USDT")["result"]["list"]
    assert pages == 3
    assert len(seen) == len(set(seen)) == 1_204
    assert one[0]["priceFilter"] == {"tickSize": "0.1"}
    assert one[0]["fundingInterval"] == 480
    assert one[0]["lotSizeFilter"]["minNotionalValue"] == "5"


def test_funding_needs_an_end_with_its_start(server):
    http = client(server)
    asked = {"category": "linear", "symbol": "BTCUSDT"}
    with pytest.raises(InvalidRequestError, match="endTime is required"):
        http.get_funding_rate_history(**asked, startTime=int(OPENS[0]))
    got = http.get_funding_rate_history(**asked, startTime=int(OPENS[0]), endTime=int(OPENS[-1]))[
        "result"
    ]["list"]
    times = [int(entry["fundingRateTimestamp"]) for entry in got]
    assert times == sorted(times, reverse=True)
    assert max(times) <= server.now()
    assert set(np.diff(times)) == {-480 * 60_000}
    assert got[0]["fundingRate"] == "0.0001"


def test_funding_of_ones_own():
    rates = pd.Series([0.00012, -0.00003], index=BARS.index[[32, 64]])
    with serve(BARS, funding={"BTCUSDT": rates}) as running:
        got = client(running).get_funding_rate_history(category="linear", symbol="BTCUSDT")
    assert [e["fundingRate"] for e in got["result"]["list"]] == ["-0.00003", "0.00012"]


def test_recent_trades_are_newest_first_and_add_up(server):
    answer = client(server).get_public_trade_history(category="linear", symbol="BTCUSDT", limit=400)
    trades = pd.DataFrame(answer["result"]["list"])
    assert pd.to_numeric(trades["time"]).is_monotonic_decreasing
    volume = trades["size"].astype(float).sum()
    assert volume == pytest.approx(BARS["volume"].iloc[200:300].sum())


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("kline", {"symbol": "NOPE", "interval": "15"}, "symbol"),
        ("kline", {"symbol": "BTCUSDT", "interval": "7"}, "period"),
        ("kline", {"symbol": "BTCUSDT", "interval": "5"}, "period"),
        ("kline", {"symbol": "BTCUSDT", "interval": "15", "limit": 1001}, "limit"),
        ("kline", {"symbol": "BTCUSDT", "interval": "15", "limit": 0}, "limit"),
        ("kline", {"symbol": "BTCUSDT", "interval": "15", "start": "x"}, "start"),
        ("kline", {"symbol": "BTCUSDT", "interval": "15", "start": 2, "end": 1}, "start"),
        ("kline", {"symbol": "BTCUSDT", "interval": "15", "category": "spot"}, "Category"),
        ("orderbook", {"symbol": "BTCUSDT"}, "Category"),
        ("orderbook", {"symbol": "BTCUSDT", "category": "linear", "limit": 1001}, "limit"),
        ("recent-trade", {"symbol": "BTCUSDT", "category": "linear", "limit": 1001}, "limit"),
        ("funding/history", {"symbol": "BTCUSDT", "category": "linear", "limit": 201}, "limit"),
        ("instruments-info", {"category": "bonds"}, "Category"),
    ],
)
def test_wrong_parameters_answer_10001(server, path, query, message):
    answer = get(server, f"/v5/market/{path}", **query)
    assert answer["retCode"] == 10001
    assert message in answer["retMsg"]
    assert answer["result"] == {}


def test_requests_are_counted_by_path():
    with serve(BARS) as running:
        client(running).get_server_time()
        for _ in range(3):
            client(running).get_kline(symbol="BTCUSDT", interval=15)
        with pytest.raises(urllib.error.HTTPError):
            get(running, "/v5/nowhere")
        assert running.requests["/v5/market/kline"] == 3
        assert running.requests["/v5/market/time"] == 1
        assert running.requests["/v5/nowhere"] == 1
        assert running.requests["/v5/market/orderbook"] == 0


# --- REST faults, as pybit meets them ------------------------------------------------------

REST_EFFECTS = {
    "rate_limit_past": (ValueError, "non-negative"),
    "http_403": (FailedRequestError, "rate limit"),
    "http_429": (FailedRequestError, "not 200"),
    "http_500": (FailedRequestError, "not 200"),
    "bad_json": (FailedRequestError, "decode json"),
    "cut_body": (requests.exceptions.ChunkedEncodingError, "IncompleteRead"),
    "drop": (requests.exceptions.ConnectionError, "closed connection"),
}


@pytest.mark.parametrize("kind", REST_EFFECTS)
def test_rest_faults_break_pybit(server, kind):
    error, match = REST_EFFECTS[kind]
    before, http = server.requests["/v5/market/kline"], client(server)
    server.inject(Fault(kind))
    with pytest.raises(error, match=match):
        http.get_kline(symbol="BTCUSDT", interval=15)
    assert server.requests["/v5/market/kline"] == before + 1  # pybit never asks again
    assert http.get_kline(symbol="BTCUSDT", interval=15)["retCode"] == 0


@pytest.mark.parametrize(("kind", "least", "most"), [
    ("rate_limit_future", 0.2, 10.0),
    ("rate_limit_bare", 1.9, 12.0),  # two seconds by pybit's own rule
    ("slow", 0.25, 10.0),
])  # fmt: skip
def test_rest_faults_that_pybit_waits_out(server, kind, least, most):
    server.inject(Fault(kind, seconds=0.3))
    begun = time.monotonic()
    assert client(server).get_kline(symbol="BTCUSDT", interval=15)["retCode"] == 0
    assert least < time.monotonic() - begun < most


def test_a_slow_answer_outlasts_the_client(server):
    server.inject(Fault("slow", seconds=1.5))
    with pytest.raises(requests.exceptions.ReadTimeout):
        client(server, timeout=1).get_kline(symbol="BTCUSDT", interval=15)


def test_three_tries_in_all(server):
    server.inject(Fault("rate_limit_future", times=3, seconds=0.02))
    before = server.requests["/v5/market/time"]
    with pytest.raises(FailedRequestError, match="exceeded maximum"):
        client(server).get_server_time()
    assert server.requests["/v5/market/time"] == before + 3


def test_faults_come_in_order_and_only_where_they_belong():
    faults = [
        Fault("http_500", path="/v5/market/time"),
        Fault("http_429", times=2, after=1),
        Fault("bad_json"),
    ]
    with serve(BARS, faults=faults) as running:
        codes = []
        for path in ["kline"] * 4 + ["time"] * 2:
            query = {"symbol": "BTCUSDT", "interval": "15"} if path == "kline" else {}
            answer = requests.get(f"{running.http_url}/v5/market/{path}", query, timeout=5)
            sound = answer.status_code != 200 or answer.text.endswith("}")
            codes.append(answer.status_code if sound else "bad")
        assert codes == ["bad", 429, 429, 200, 500, 200]
        assert dict(running.faults.fired) == {"bad_json": 1, "http_429": 2, "http_500": 1}
        assert running.faults.pending == 0


def test_the_403_page_is_html(server):
    server.inject(Fault("http_403"))
    answer = requests.get(f"{server.http_url}/v5/market/time", timeout=5)
    assert answer.status_code == 403
    assert answer.text.startswith("<html>")


# --- streams -------------------------------------------------------------------------------


@pytest.mark.parametrize("updates", [0, 3, 6, 7, 12])
def test_every_bar_closes_however_often_it_is_told_of(updates):
    with serve(BARS, now=BARS.index[100], updates=updates) as running, stream(running) as ws:
        pushes: list[dict] = []
        ws.kline_stream(15, "BTCUSDT", pushes.append)
        assert until(lambda: len(running.topics) == 1)
        running.advance("2h")
        assert until(lambda: sum(p["data"][0]["confirm"] for p in pushes) == 8)


def test_klines_form_and_close():
    """Chapter 20's lesson: three pushes of a forming bar for each that has closed."""
    with serve(BARS, now=BARS.index[100]) as running, stream(running) as ws:
        pushes: list[dict] = []
        ws.kline_stream(15, "BTCUSDT", pushes.append)
        ws.kline_stream(60, "BTCUSDT", pushes.append)
        assert until(lambda: len(running.topics) == 2)
        running.advance("2h")
        assert until(lambda: len(pushes) == 8 * 4 + 2 * 4)
    fine = [p["data"][0] for p in pushes if p["topic"] == "kline.15.BTCUSDT"]
    closed = [bar for bar in fine if bar["confirm"]]
    assert [bar["confirm"] for bar in fine] == [False, False, False, True] * 8
    got = np.array([[bar[c] for c in COLUMNS] for bar in closed], float)
    np.testing.assert_array_equal(got, BARS[COLUMNS].iloc[100:108])
    assert [bar["start"] for bar in closed] == OPENS[100:108].tolist()
    assert all(bar["end"] == bar["start"] + STEP - 1 for bar in fine)
    assert [p["ts"] for p in pushes] == sorted(p["ts"] for p in pushes)


def test_trades_are_told_when_their_bar_closes():
    with serve(BARS, now=BARS.index[100]) as running, stream(running) as ws:
        pushes: list[dict] = []
        ws.trade_stream("BTCUSDT", pushes.append)
        assert until(lambda: running.topics)
        running.advance(bars=2)
        assert until(lambda: len(pushes) == 2)
    prices = [float(trade["p"]) for trade in pushes[0]["data"]]
    assert prices[0] == BARS["open"].iloc[100]
    assert prices[-1] == BARS["close"].iloc[100]


def test_a_clock_of_its_own_replays_at_speed():
    clock = Clock(BARS.index[100], speed=36_000)  # ten hours a second
    with serve(BARS, clock=clock, updates=1) as running, stream(running) as ws:
        pushes: list[dict] = []
        ws.kline_stream(15, "BTCUSDT", pushes.append)
        assert until(lambda: len(pushes) > 20)
        running.exchange.clock = lambda: 0
        with pytest.raises(ArgumentError, match="clock"):
            running.advance("1h")
    starts = [p["data"][0]["start"] for p in pushes]
    assert starts == sorted(starts)
    assert set(np.diff(starts)) <= {0, STEP}


@pytest.mark.parametrize("depth", [1, 50])
def test_pybits_book_equals_the_true_one(depth):
    with serve(None, BOOKS) as running, stream(running) as ws:
        states: list[dict] = []
        ws.orderbook_stream(depth, "BTCUSDT", lambda m: states.append(json.loads(json.dumps(m))))
        assert until(lambda: states)
        running.advance(updates=300)
        assert until(lambda: len(states) == 301)
    for row in (0, 1, 150, 300):
        book = states[row]["data"]
        for side, prices, sizes in (
            ("b", BOOKS.bid_price, BOOKS.bid_size), ("a", BOOKS.ask_price, BOOKS.ask_size),
        ):  # fmt: skip
            kept = sizes[row] > 0
            truth = dict(zip(prices[row][kept][:depth], sizes[row][kept][:depth], strict=True))
            assert {float(p): float(s) for p, s in book[side]} == truth
        assert book["u"] == row + 2


def test_messages_are_served_as_they_were_recorded():
    """An archive's own messages instead of snapshots lead to the same books."""
    messages = list(orderbook.messages(BOOKS[:200]))
    received: list[list[dict]] = []
    for source in (messages, BOOKS[:200]):
        with serve(None, source) as running:
            raw: list[dict] = []
            options = {"callback_function": raw.append, "restart_on_error": False}
            with stream(running, **options) as ws:
                ws.orderbook_stream(50, "BTCUSDT", print)
                assert until(lambda raw=raw: len(raw) == 2)
                running.advance(updates=150)
                assert until(lambda raw=raw: len(raw) == 152)
            received.append([{**m, "topic": ""} for m in raw[1:]])
    for ours, theirs in zip(*received, strict=True):
        assert ours["ts"] == theirs["ts"]
        assert ours["data"]["u"] == theirs["data"]["u"]
        for side in "ab":
            assert sorted(ours["data"][side]) == sorted(theirs["data"][side])


def book_after(fault: Fault, rows: int = 40):
    """Run pybit's stream through one fault; return its last state, the truth, its health."""
    with serve(None, BOOKS, [fault]) as running, stream(running) as ws:
        states: list[dict] = []
        ws.orderbook_stream(50, "BTCUSDT", states.append)
        until(lambda: states or not ws.is_connected())
        for _ in range(rows):
            running.advance(updates=1)
        until(lambda: states and states[-1]["data"]["u"] >= rows + 2, 1.0)
        alive, seen = ws.is_connected(), len(states)
        true = running.exchange.books["BTCUSDT"]
        truth = true.view(true.row(running.now()), 50)
        book = states[-1]["data"] if states else {"b": [], "a": [], "u": 0}
        connections = running.requests["/v5/public/linear"]
        assert running.faults.fired[fault.kind] == fault.times
    same = dict(map(tuple, book["b"])) == truth[0] and dict(map(tuple, book["a"])) == truth[1]
    return same, alive, seen, connections


@pytest.mark.parametrize("kind", ["nack", "delta_first"])
def test_these_faults_kill_pybits_stream_before_it_begins(kind):
    _same, alive, seen, connections = book_after(Fault(kind))
    assert not alive
    assert not seen
    assert connections == 1


@pytest.mark.parametrize("kind", ["delete_absent", "down"])
def test_these_faults_end_pybits_stream_for_good(kind):
    _same, alive, seen, _connections = book_after(Fault(kind, after=10, seconds=0.3))
    assert not alive
    assert seen < 20


def test_a_gap_leaves_pybit_with_a_wrong_book_and_no_word():
    same, alive, seen, _connections = book_after(Fault("gap", times=15, after=10), rows=26)
    assert alive
    assert not same
    assert seen == 27 - 15


def test_reordered_deltas_are_applied_silently():
    """Some pair of neighbours touches one level twice: its older size stays."""
    same, alive, seen, _connections = book_after(Fault("reorder", times=15, after=5))
    assert alive
    assert seen == 41
    assert not same


def test_a_reset_is_merged_instead_of_taken():
    """A level that left just then is not named in the new book: pybit keeps it for ever."""
    left = [
        row for row in range(5, 35)
        if set(BOOKS.bid_price[row - 1]) - set(BOOKS.bid_price[row])
    ]  # fmt: skip
    same, alive, _seen, _connections = book_after(Fault("reset_u1", after=left[0] - 1))
    assert alive
    assert not same


def test_silence_is_not_noticed():
    same, alive, seen, connections = book_after(Fault("silence", after=10))
    assert alive
    assert seen == 11
    assert not same
    assert connections == 1


@pytest.mark.parametrize("kind", ["abort", "close"])
def test_cut_lines_are_mended_by_pybit_when_it_may_reconnect(kind):
    """The one thing it does well; what was sent meanwhile is lost."""
    with serve(None, BOOKS, [Fault(kind, after=5)]) as running, stream(running) as ws:
        states: list[dict] = []
        ws.orderbook_stream(50, "BTCUSDT", states.append)
        assert until(lambda: states)
        running.advance(updates=10)
        assert until(lambda: running.requests["/v5/public/linear"] == 2)
        assert until(lambda: running.topics)
        before = len(states)
        running.advance(updates=1)
        assert until(lambda: len(states) > before)


class Hesitant(dict):
    """A client that loses its time slice just after it has sent its subscription."""

    def __setitem__(self, key, value):
        time.sleep(0.01)
        super().__setitem__(key, value)


@pytest.mark.parametrize(("faults", "survives"), [([], True), ([Fault("instant_ack")], False)])
def test_an_instant_ack_beats_pybits_registration(faults, survives):
    """The race, with its window widened from microseconds to 10 ms so that it is certain."""
    with serve(None, BOOKS, faults) as running, stream(running) as ws:
        ws.subscriptions = Hesitant()
        states: list[dict] = []
        ws.orderbook_stream(50, "BTCUSDT", states.append)
        until(lambda: states or not ws.is_connected())
        assert bool(states) == ws.is_connected() == survives


def test_the_listener_comes_back_on_its_port():
    fault = Fault("down", seconds=0.3)
    with serve(BARS, BOOKS, [fault], now=BOOKS_START) as running, stream(running) as ws:
        ws.orderbook_stream(50, "BTCUSDT", print)
        assert until(lambda: running.topics)
        running.advance(updates=1)
        with pytest.raises(requests.exceptions.ConnectionError):
            client(running).get_server_time()
        assert until(lambda: _answers(running))


BOOKS_START = int(BOOKS.time[0].astype("datetime64[ms]").astype(np.int64))


def _answers(running) -> bool:
    try:
        return client(running).get_server_time()["retCode"] == 0
    except requests.exceptions.ConnectionError:
        return False


def test_stream_answers_by_hand():
    """Acks, pongs and refusals as raw messages."""
    with serve(BARS, BOOKS) as running:
        raw: list[dict] = []
        options = {"callback_function": raw.append, "restart_on_error": False}
        with stream(running, **options) as ws:
            for message in (
                {"op": "subscribe", "req_id": "r1", "args": ["kline.15.BTCUSDT"]},
                {"op": "subscribe", "req_id": "r2", "args": ["orderbook.500.BTCUSDT"]},
                {"op": "subscribe", "req_id": "r3", "args": ["kline.15.BTCUSDT"] * 2000},
                {"op": "unsubscribe", "req_id": "r4", "args": ["kline.15.BTCUSDT"]},
                {"op": "order.create", "req_id": "r5"},
            ):
                ws.ws.send(json.dumps(message))
            ws.ws.send("not json")
            assert until(lambda: len(raw) == 6)
            assert not running.topics
    assert [m["success"] for m in raw] == [True, False, False, True, False, False]
    assert raw[0] | {"conn_id": ""} == {
        "success": True, "ret_msg": "", "conn_id": "", "req_id": "r1", "op": "subscribe",
    }  # fmt: skip
    assert raw[1]["ret_msg"] == "error:handler not found,topic:orderbook.500.BTCUSDT"


def test_publish_reaches_its_listeners():
    with serve(BARS) as running, stream(running) as ws:
        got: list[dict] = []
        ws.kline_stream(15, "BTCUSDT", got.append)
        assert until(lambda: running.topics)
        running.publish({"topic": "kline.15.BTCUSDT", "type": "snapshot", "ts": 1, "data": ["x"]})
        assert until(lambda: got)
        assert got[0]["data"] == ["x"]


# --- private calls ---------------------------------------------------------------------------


@pytest.fixture
def market():
    """A market that a paper account may trade, its clock at bar 100."""
    with serve(BARS, keys=KEYS, now=BARS.index[100]) as running:
        yield running


LINEAR = {"category": "linear", "symbol": "BTCUSDT"}


def place(http: HTTP, side="Buy", kind="Market", qty="0.1", **more):
    return http.place_order(**LINEAR, side=side, orderType=kind, qty=qty, **more)["result"]


def wallet(http: HTTP) -> dict[str, Decimal]:
    entry = http.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0]
    return {name: Decimal(entry[name]) for name in ("totalEquity", "totalWalletBalance")}


def test_a_round_trip_by_hand(market):
    """Bought at 27,739.6 and sold at 27,7xx: the balance moves by the profit less two fees."""
    http = client(market, "paper")
    place(http)
    market.advance(bars=1)
    place(http, "Sell", orderLinkId="out")
    fills = http.get_executions(category="linear")["result"]["list"]
    bought, sold = (Decimal(fill["execPrice"]) for fill in reversed(fills))
    assert abs(float(bought) - BARS["open"].iloc[100]) <= 0.05
    assert abs(float(sold) - BARS["open"].iloc[101]) <= 0.05
    fees = (bought + sold) * Decimal("0.1") * Decimal("0.00055")
    assert sum(Decimal(fill["execFee"]) for fill in fills) == fees
    expected = Decimal(10_000) + (sold - bought) * Decimal("0.1") - fees
    assert wallet(http) == {"totalEquity": expected, "totalWalletBalance": expected}
    assert http.get_positions(**LINEAR)["result"]["list"][0]["size"] == "0"
    assert [fill["orderLinkId"] for fill in fills] == ["out", ""]


def test_a_limit_order_rests_until_the_market_trades_through(market):
    http = client(market, "paper")
    window = BARS.iloc[100:140]
    limit = Decimal(str(round(float(window["low"].min()) + 20, 1)))
    first = int(np.flatnonzero(window["low"].to_numpy() < float(limit))[0])
    place(http, kind="Limit", price=str(limit), orderLinkId="bid")
    for bar in range(first):
        market.advance(bars=1)
        assert http.get_open_orders(**LINEAR)["result"]["list"][0]["orderStatus"] == "New", bar
    market.advance(bars=1)
    assert http.get_open_orders(**LINEAR)["result"]["list"] == []
    done = http.get_order_history(category="linear", orderLinkId="bid")["result"]["list"][0]
    assert done["orderStatus"] == "Filled"
    assert Decimal(done["avgPrice"]) == limit
    fill = http.get_executions(category="linear", orderLinkId="bid")["result"]["list"][0]
    assert fill["isMaker"]
    assert fill["feeRate"] == "0.0002"


def test_an_order_does_not_see_the_bar_before_it(market):
    """Placed in the middle of a bar below a price that the bar has left behind: it rests."""
    row = next(r for r in range(100, 200) if BARS["close"].iloc[r] > BARS["open"].iloc[r] + 40)
    market.advance(int(OPENS[row] - OPENS[100]) + STEP * 2 // 3)  # at the high, the low is past
    http = client(market, "paper")
    low = float(BARS["low"].iloc[row])
    price = int(low) + 5 if low + 5 < BARS["close"].iloc[row] else int(low) + 1
    place(http, kind="Limit", price=str(price), orderLinkId="late")
    market.advance(STEP - STEP * 2 // 3)
    status = http.get_open_orders(**LINEAR, orderLinkId="late")["result"]["list"][0]
    assert status["orderStatus"] == "New"


def test_time_in_force(market):
    http = client(market, "paper")
    far, near = "20000", "40000"
    place(http, kind="Limit", price=far, timeInForce="IOC", orderLinkId="ioc")
    place(http, kind="Limit", price=near, timeInForce="PostOnly", orderLinkId="post")
    place(http, kind="Limit", price=near, orderLinkId="crosses")
    got = {
        order["orderLinkId"]: (order["orderStatus"], order["avgPrice"])
        for order in http.get_order_history(category="linear")["result"]["list"]
    }
    assert got["ioc"] == ("Cancelled", "")
    assert got["post"] == ("Cancelled", "")
    assert got["crosses"][0] == "Filled"
    assert abs(float(got["crosses"][1]) - BARS["open"].iloc[100]) <= 0.05  # not at its limit


def test_cancelling(market):
    http = client(market, "paper")
    order = place(http, kind="Limit", price="20000", orderLinkId="x")
    assert http.cancel_order(**LINEAR, orderLinkId="x")["result"] == order
    with pytest.raises(InvalidRequestError, match="too late") as late:
        http.cancel_order(**LINEAR, orderId=order["orderId"])
    assert late.value.status_code == 110001
    place(http, kind="Limit", price="20000")
    with pytest.raises(InvalidRequestError, match="orderId or orderLinkId is required"):
        http.cancel_order(**LINEAR)
    assert len(http.cancel_all_orders(**LINEAR)["result"]["list"]) == 1


def test_longs_pay_funding_three_times_a_day(market):
    http = client(market, "paper")
    place(http)
    market.advance("1D")
    paid = [
        fill for fill in http.get_executions(category="linear")["result"]["list"]
        if fill["execType"] == "Funding"
    ]  # fmt: skip
    assert len(paid) == 3
    expected = sum(Decimal(f["execPrice"]) * Decimal("0.1") * Decimal("0.0001") for f in paid)
    assert sum(Decimal(f["execFee"]) for f in paid) == expected > 0


def test_a_flipped_position_starts_anew(market):
    http = client(market, "paper")
    place(http, qty="0.1")
    market.advance(bars=1)
    place(http, "Sell", qty="0.3")
    held = http.get_positions(**LINEAR)["result"]["list"][0]
    assert held["side"] == "Sell"
    assert held["size"] == "0.2"
    assert abs(float(held["avgPrice"]) - BARS["open"].iloc[101]) <= 0.05


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"qty": 0.00001}, 10001),  # pybit makes "1e-05" of it
        ({"qty": "0.0005"}, 10001),
        ({"qty": "0.1005"}, 10001),
        ({"qty": "2000"}, 10001),
        ({"kind": "Limit", "price": "30000.05"}, 10001),
        ({"kind": "Limit"}, 10001),
        ({"kind": "Stop"}, 10001),
        ({"side": "Long"}, 10001),
        ({"timeInForce": "GTD"}, 10001),
        ({"orderLinkId": "x" * 37}, 10001),
        ({"takeProfit": "40000"}, 10001),
        ({"kind": "Limit", "price": "2000", "qty": "0.001"}, 110094),
        ({"qty": "50"}, 110007),
        ({"reduceOnly": True}, 110017),
        ({"orderLinkId": "taken"}, 110072),
    ],
)
def test_orders_that_break_a_rule(market, more, code):
    http = client(market, "paper")
    place(http, kind="Limit", price="20000", orderLinkId="taken")
    with pytest.raises(InvalidRequestError) as refused:
        place(http, **more)
    assert refused.value.status_code == code
    assert len(http.get_open_orders(**LINEAR)["result"]["list"]) == 1


@pytest.mark.parametrize(
    ("key", "secret", "drift", "code"),
    [("nobody", "x", 0, 10003), ("paper", "x", 0, 10004), ("paper", None, -60_000, 10002),
     ("paper", None, 60_000, 10002)],
)  # fmt: skip
def test_signatures_are_verified(key, secret, drift, code):
    clock = lambda: int(time.time() * 1000) + drift  # noqa: E731
    with serve(BARS, keys=KEYS, login_clock=clock) as running:
        http = HTTP(api_key=key, api_secret=secret or KEYS["paper"], max_retries=1)
        http.endpoint = running.http_url
        http.retry_codes = set()
        with pytest.raises(InvalidRequestError) as refused:
            http.get_wallet_balance(accountType="UNIFIED")
        assert refused.value.status_code == code
        assert KEYS["paper"] not in str(refused.value)


@pytest.mark.parametrize(("kind", "placed"), [
    ("drop", True), ("cut_body", True), ("bad_json", True), ("slow", True),
    ("http_500", False), ("http_429", False),
])  # fmt: skip
def test_a_lost_answer_says_nothing_about_the_order(market, kind, placed):
    """Both kinds look alike from outside: only a query by orderLinkId tells them apart."""
    http = client(market, "paper", timeout=1)
    market.inject(Fault(kind, path="/v5/order/create", seconds=1.2))
    with pytest.raises((FailedRequestError, requests.exceptions.RequestException)):
        place(http, orderLinkId="mine")
    found = http.get_open_orders(**LINEAR, orderLinkId="mine")["result"]["list"]
    assert [order["orderStatus"] for order in found] == ["Filled"] * placed
    if placed:  # sent again blindly, the link id is what prevents a second position
        with pytest.raises(InvalidRequestError, match="duplicate"):
            place(http, orderLinkId="mine")


def test_each_key_has_an_account_of_its_own():
    keys = {"one": "a", "two": "b"}
    with serve(BARS, keys=keys, now=BARS.index[100]) as running:
        one, two = (HTTP(api_key=k, api_secret=s) for k, s in keys.items())
        one.endpoint = two.endpoint = running.http_url
        place(one, orderLinkId="same")
        place(two, "Sell", orderLinkId="same")
        sides = [h.get_positions(**LINEAR)["result"]["list"][0]["side"] for h in (one, two)]
    assert sides == ["Buy", "Sell"]


def test_placement_is_asynchronous():
    with serve(BARS, keys=KEYS, order_delay=0.2, now=BARS.index[100]) as running:
        http = client(running, "paper")
        place(http, orderLinkId="late")
        query = {**LINEAR, "orderLinkId": "late"}
        assert http.get_open_orders(**query)["result"]["list"] == []
        assert until(lambda: http.get_open_orders(**query)["result"]["list"])


def test_books_price_the_orders_when_there_are_some():
    with serve(None, BOOKS, keys=KEYS) as running:
        http = client(running, "paper")
        place(http, qty="0.01")
        place(http, "Sell", qty="0.01")
        fills = http.get_executions(category="linear")["result"]["list"]
    assert [float(fill["execPrice"]) for fill in reversed(fills)] == [
        BOOKS.ask_price[0, 0], BOOKS.bid_price[0, 0],
    ]  # fmt: skip


def test_a_spot_market_buy_is_sized_by_value():
    with serve(BARS, keys=KEYS, category="spot", now=BARS.index[100]) as running:
        http = client(running, "paper")
        http.place_order(
            category="spot", symbol="BTCUSDT", side="Buy", orderType="Market", qty="1000"
        )
        fill = http.get_executions(category="spot")["result"]["list"][0]
    assert Decimal("970") < Decimal(fill["execValue"]) <= 1000


def test_the_private_stream_tells_what_happened(market):
    with stream(market, "private", api_key="paper", api_secret=KEYS["paper"]) as ws:
        got: list[dict] = []
        ws.order_stream(got.append)
        ws.execution_stream(got.append)
        ws.position_stream(got.append)
        assert until(lambda: len(market.topics) == 3)
        place(client(market, "paper"))
        assert until(lambda: len(got) == 3)
    assert {message["topic"] for message in got} == {"order", "execution", "position"}
    assert [m["data"][0]["orderStatus"] for m in got if m["topic"] == "order"] == ["Filled"]


def test_the_private_stream_wants_a_signature(market):
    with stream(market, "private", api_key="paper", api_secret="wrong") as ws:
        assert until(lambda: not ws.is_connected())


# --- what ordinary clients call ------------------------------------------------------------

ORDER_KEYS = """orderId orderLinkId parentOrderLinkId blockTradeId symbol price qty side isLeverage
    positionIdx orderStatus createType cancelType rejectReason avgPrice leavesQty leavesValue
    cumExecQty cumExecValue cumExecFee timeInForce orderType stopOrderType orderIv marketUnit
    triggerPrice takeProfit stopLoss tpslMode ocoTriggerBy tpLimitPrice slLimitPrice tpTriggerBy
    slTriggerBy triggerDirection triggerBy lastPriceOnCreated basePrice reduceOnly closeOnTrigger
    placeType smpType smpGroup smpOrderId createdTime updatedTime cumFeeDetail category
    brokerOrderPrice closedPnl feeCurrency slippageToleranceType slippageTolerance rpiTakerAccess
    rpiMatchedQty"""
EXECUTION_KEYS = """symbol orderId orderLinkId side orderPrice orderQty leavesQty createType
    orderType stopOrderType execFee execFeeV2 execId execPrice execQty execType execValue execTime
    feeCurrency isMaker feeRate tradeIv markIv markPrice indexPrice underlyingPrice blockTradeId
    closedSize seq extraFees category isLeverage execPnl"""
POSITION_KEYS = """positionIdx riskId riskLimitValue symbol side size avgPrice positionValue
    autoAddMargin positionStatus leverage breakEvenPrice markPrice liqPrice positionIM
    positionIMByMp positionMM positionMMByMp takeProfit stopLoss trailingStop sessionAvgPrice delta
    gamma vega theta unrealisedPnl curRealisedPnl cumRealisedPnl adlRankIndicator createdTime
    updatedTime openTime seq isReduceOnly mmrSysUpdatedTime leverageSysUpdatedTime tpslMode
    bustPrice positionBalance tradeMode category entryPrice"""
WALLET_KEYS = """accountType accountIMRate accountMMRate totalEquity totalWalletBalance
    totalMarginBalance totalAvailableBalance totalPerpUPL totalInitialMargin
    totalMaintenanceMargin accountIMRateByMp accountMMRateByMp totalInitialMarginByMp
    totalMaintenanceMarginByMp accountLTV coin"""
COIN_KEYS = """coin equity usdValue walletBalance locked spotHedgingQty borrowAmount
    accruedInterest totalOrderIM totalPositionIM totalPositionMM unrealisedPnl cumRealisedPnl bonus
    marginCollateral collateralSwitch colRes spotBorrow free availableToWithdraw
    availableToBorrow"""
USUAL = {**LINEAR, "side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "20000"}


def entries(answer: dict) -> list[dict]:
    return answer["result"]["list"]


def test_every_documented_key_is_there(market):
    """The keys of Bybit's pages on orders, executions, positions and wallet (2026-07)."""
    got: list[dict] = []
    http = client(market, "paper")
    with stream(market, "private", api_key="paper", api_secret=KEYS["paper"]) as ws:
        for listen in (ws.order_stream, ws.execution_stream, ws.position_stream, ws.wallet_stream):
            listen(got.append)
        assert until(lambda: len(market.topics) == 4)
        place(http)
        assert until(lambda: {m["topic"] for m in got} == set(market.topics))
    told = {message["topic"]: message["data"][0] for message in got}
    asked = {
        "order": entries(http.get_order_history(**LINEAR))[0],
        "execution": entries(http.get_executions(**LINEAR))[0],
        "position": entries(http.get_positions(**LINEAR))[0],
        "wallet": entries(http.get_wallet_balance(accountType="UNIFIED"))[0],
    }
    keys = {"order": ORDER_KEYS, "execution": EXECUTION_KEYS, "position": POSITION_KEYS,
            "wallet": WALLET_KEYS}  # fmt: skip
    for topic, names in keys.items():
        assert set(names.split()) - asked[topic].keys() == set(), topic
        assert set(names.split()) - told[topic].keys() == set(), topic
    assert set(COIN_KEYS.split()) <= asked["wallet"]["coin"][0].keys()
    assert told["wallet"]["totalEquity"] == asked["wallet"]["totalEquity"]


def test_a_wallet_adds_up(market):
    http = client(market, "paper")
    place(http)
    place(http, kind="Limit", price="20000")
    market.advance(bars=3)
    money = entries(http.get_wallet_balance(accountType="UNIFIED"))[0]
    held = entries(http.get_positions(**LINEAR))[0]
    d = {name: Decimal(money[name]) for name in WALLET_KEYS.split()[3:10]}
    assert d["totalEquity"] == d["totalWalletBalance"] + d["totalPerpUPL"]
    assert d["totalPerpUPL"] == Decimal(held["unrealisedPnl"])
    assert d["totalInitialMargin"] == Decimal(held["positionIM"]) + Decimal("200")  # 10 times
    assert d["totalAvailableBalance"] == d["totalEquity"] - d["totalInitialMargin"]


def test_the_market_in_a_line(market):
    http = client(market, "paper")
    (line,) = entries(http.get_tickers(**LINEAR))
    bid, last, ask = (Decimal(line[n]) for n in ("bid1Price", "lastPrice", "ask1Price"))
    assert bid <= last <= ask
    assert abs(float(last) - BARS["open"].iloc[100]) <= 0.05
    day = BARS.iloc[4:100]
    assert float(line["highPrice24h"]) == pytest.approx(day["high"].max(), rel=1e-3)
    assert float(line["volume24h"]) == pytest.approx(day["volume"].sum(), rel=0.05)
    assert int(line["nextFundingTime"]) > market.now()
    interest = entries(http.get_open_interest(**LINEAR, intervalTime="1h", limit=3))
    assert [int(a["timestamp"]) - int(b["timestamp"]) for a, b in itertools.pairwise(interest)] == [
        3_600_000, 3_600_000,
    ]  # fmt: skip
    assert entries(http.get_risk_limit(**LINEAR))[0]["maxLeverage"] == "100.00"
    assert entries(http.get_fee_rates(**LINEAR))[0] == {
        "symbol": "BTCUSDT", "takerFeeRate": "0.00055", "makerFeeRate": "0.0002",
    }  # fmt: skip
    assert http.get_account_info()["result"]["marginMode"] == "REGULAR_MARGIN"
    mine = http.get_api_key_information()["result"]
    assert (mine["apiKey"], mine["userID"]) == ("paper", 1 + list(market.accounts).index("paper"))
    with pytest.raises(InvalidRequestError):
        http.get_open_interest(**LINEAR, intervalTime="7min")


def test_leverage_bounds_what_can_be_opened(market):
    http = client(market, "paper")

    def set_to(lever: str):
        return http.set_leverage(**LINEAR, buyLeverage=lever, sellLeverage=lever)

    for lever, code in (("10", 110043), ("101", 10001), ("0.5", 10001)):
        with pytest.raises(InvalidRequestError) as refused:
            set_to(lever)
        assert refused.value.status_code == code
    set_to("1")
    with pytest.raises(InvalidRequestError, match="110007"):
        place(http, qty="0.5")  # about 13,900 on 10,000
    place(http, qty="0.3")
    with pytest.raises(InvalidRequestError, match="110007"):
        place(http, qty="0.3")  # what is held binds margin too
    set_to("5")
    place(http, qty="0.3")
    with pytest.raises(InvalidRequestError, match="110012"):
        set_to("1")
    for mode, code in ((0, 110025), (3, 110029)):
        with pytest.raises(InvalidRequestError) as refused:
            http.switch_position_mode(**LINEAR, mode=mode)
        assert refused.value.status_code == code


def test_amending(market):
    http = client(market, "paper")
    http.place_order(**USUAL, orderLinkId="a")
    http.amend_order(**LINEAR, orderLinkId="a", price="21000.1", qty="0.2")
    (order,) = entries(http.get_open_orders(**LINEAR))
    assert (order["price"], order["qty"], order["orderStatus"]) == ("21000.1", "0.2", "New")
    for change, code in (
        ({"price": "21000.15"}, 10001),
        ({"qty": "0.0005"}, 10001),
        ({"price": "21000.1"}, 10001),
        ({}, 10001),
        ({"qty": "90"}, 110007),
    ):
        with pytest.raises(InvalidRequestError) as refused:
            http.amend_order(**LINEAR, orderLinkId="a", **change)
        assert refused.value.status_code == code
    with pytest.raises(InvalidRequestError, match="110001"):
        http.amend_order(**LINEAR, orderLinkId="nobody", price="1")
    http.amend_order(**LINEAR, orderLinkId="a", price="40000")  # now it meets the market
    assert entries(http.get_positions(**LINEAR))[0]["size"] == "0.2"


def test_batches_answer_one_by_one(market):
    http = client(market, "paper")
    one = {k: v for k, v in USUAL.items() if k != "category"}
    made = http.place_batch_order(category="linear", request=[
        one | {"orderLinkId": "a"}, one | {"orderLinkId": "a"}, one | {"price": "20000.05"},
    ])  # fmt: skip
    assert [c["code"] for c in made["retExtInfo"]["list"]] == [0, 110072, 10001]
    assert [bool(o["orderId"]) for o in entries(made)] == [True, False, False]
    changed = http.amend_batch_order(category="linear", request=[
        {"symbol": "BTCUSDT", "orderLinkId": "a", "price": "19000"}])  # fmt: skip
    assert changed["retExtInfo"]["list"] == [{"code": 0, "msg": "OK"}]
    gone = http.cancel_batch_order(
        category="linear",
        request=[
            {"symbol": "BTCUSDT", "orderLinkId": "a"},
            {"symbol": "BTCUSDT", "orderLinkId": "a"},
        ],
    )
    assert [c["code"] for c in gone["retExtInfo"]["list"]] == [0, 110001]
    assert entries(http.get_order_history(**LINEAR))[0]["price"] == "19000"
    for bad in ([], [one] * 21):
        with pytest.raises(InvalidRequestError):
            http.place_batch_order(category="linear", request=bad)


def test_a_stop_closes_the_position(market):
    http = client(market, "paper")
    with pytest.raises(InvalidRequestError, match="zero position"):
        http.set_trading_stop(**LINEAR, stopLoss="20000", positionIdx=0, tpslMode="Full")
    place(http)
    entry = Decimal(entries(http.get_positions(**LINEAR))[0]["avgPrice"])
    low = float(BARS["low"].iloc[100:160].min())
    stop = str(Decimal(int(low) + 5))
    for bad in ({"stopLoss": str(entry + 100)}, {"takeProfit": str(entry - 100)},
                {"stopLoss": "20000.05"}, {"trailingStop": "5"}):  # fmt: skip
        with pytest.raises(InvalidRequestError, match="10001"):
            http.set_trading_stop(**LINEAR, positionIdx=0, tpslMode="Full", **bad)
    http.set_trading_stop(**LINEAR, stopLoss=stop, positionIdx=0, tpslMode="Full")
    with pytest.raises(InvalidRequestError, match="34040"):
        http.set_trading_stop(**LINEAR, stopLoss=stop, positionIdx=0, tpslMode="Full")
    assert entries(http.get_positions(**LINEAR))[0]["stopLoss"] == stop
    market.advance(bars=60)
    assert entries(http.get_positions(**LINEAR))[0]["size"] == "0"
    last = entries(http.get_order_history(**LINEAR))[0]
    assert (last["createType"], last["orderStatus"]) == ("CreateByStopLoss", "Filled")
    assert Decimal(last["avgPrice"]) <= Decimal(stop)
    (closed,) = entries(http.get_closed_pnl(**LINEAR))
    assert Decimal(closed["closedPnl"]) < (Decimal(stop) - entry) * Decimal("0.1")
    log = entries(http.get_transaction_log())
    assert {row["type"] for row in log} <= {"TRADE", "SETTLEMENT"}
    assert len([row for row in log if row["type"] == "TRADE"]) == 2


def test_orders_above_the_largest():
    """One that opens is refused; one that only reduces is split, as the exchange does."""
    listed = ListedInstrument("BTCUSDT", max_qty="0.3", max_market_qty="0.1")
    with serve(BARS, keys=KEYS, now=BARS.index[100], instruments=[listed]) as running:
        http = client(running, "paper")
        lots = entries(http.get_instruments_info(**LINEAR))[0]["lotSizeFilter"]
        assert (lots["maxMktOrderQty"], lots["maxOrderQty"]) == ("0.1", "0.3")
        with pytest.raises(InvalidRequestError, match="maximum"):
            place(http, qty="0.2")
        place(http, kind="Limit", price="40000", qty="0.25")
        first = place(http, "Sell", qty="9", reduceOnly=True, orderLinkId="out")
        assert first["orderLinkId"] == "out"
        ended = entries(http.get_order_history(**LINEAR))
        assert [o["qty"] for o in ended] == ["0.05", "0.1", "0.1", "0.25"]
        assert entries(http.get_positions(**LINEAR))[0]["size"] == "0"
        place(http, qty="0.1")
        place(http, "Sell", qty="0", reduceOnly=True, closeOnTrigger=True)  # whatever is held
        assert entries(http.get_positions(**LINEAR))[0]["size"] == "0"


def test_categories_and_coins_are_kept_apart(market):
    http = client(market, "paper")
    place(http)
    http.place_order(**USUAL, orderLinkId="rests")
    for scope, found in (({"settleCoin": "USDT"}, 1), ({"settleCoin": "USDC"}, 0),
                         ({"baseCoin": "BTC"}, 1), ({"baseCoin": "ETH"}, 0)):  # fmt: skip
        assert len(entries(http.get_open_orders(category="linear", **scope))) == found
    assert entries(http.get_positions(category="linear", settleCoin="USDC")) == []
    assert len(entries(http.get_positions(category="linear", settleCoin="USDT"))) == 1
    for ask in (http.get_open_orders, http.get_order_history, http.get_executions):
        assert entries(ask(category="option", symbol="BTCUSDT")) == []
        with pytest.raises(InvalidRequestError, match="Category"):
            ask(category="bonds", symbol="BTCUSDT")
    for change in (http.cancel_order, http.amend_order):
        with pytest.raises(InvalidRequestError, match="category"):
            change(category="option", symbol="BTCUSDT", orderLinkId="rests", price="1")
    with pytest.raises(InvalidRequestError, match="symbol or settleCoin"):
        http.cancel_all_orders(category="linear")
    assert entries(http.cancel_all_orders(category="linear", settleCoin="USDC")) == []
    assert len(entries(http.get_open_orders(**LINEAR))) == 1
    money = entries(http.get_wallet_balance(accountType="UNIFIED", coin="BTC"))[0]
    assert money["coin"] == []
    assert entries(http.get_instruments_info(category="spot")) == []


def test_pages_of_orders(market):
    http = client(market, "paper")
    for n in range(5):
        http.place_order(**USUAL, orderLinkId=f"n{n}")
    seen, cursor = [], None
    while cursor != "":
        result = http.get_open_orders(**LINEAR, limit=2, cursor=cursor)["result"]
        seen += [o["orderLinkId"] for o in result["list"]]
        cursor = result["nextPageCursor"]
    assert seen == ["n4", "n3", "n2", "n1", "n0"]
    http.cancel_all_orders(**LINEAR)
    assert len(entries(http.get_open_orders(**LINEAR, openOnly=1))) == 5


def test_spot_sells_what_is_held():
    with serve(BARS, keys=KEYS, category="spot", now=BARS.index[100]) as running:
        http = client(running, "paper")
        spot = {"category": "spot", "symbol": "BTCUSDT", "orderType": "Market"}
        with pytest.raises(InvalidRequestError, match="170131"):
            http.place_order(**spot, side="Sell", qty="0.01")
        http.place_order(**spot, side="Buy", qty="0.1", marketUnit="baseCoin")
        with pytest.raises(InvalidRequestError, match="170131"):
            http.place_order(**spot, side="Sell", qty="0.1")  # the fee was taken in coins
        with pytest.raises(InvalidRequestError, match="170131"):
            http.place_order(**spot, side="Buy", qty="9000")
        money = entries(http.get_wallet_balance(accountType="UNIFIED"))[0]
        coins = {c["coin"]: Decimal(c["walletBalance"]) for c in money["coin"]}
        assert coins["BTC"] == Decimal("0.1") * (1 - Decimal("0.00055"))
        price = Decimal(entries(http.get_executions(category="spot"))[0]["execPrice"])
        assert coins["USDT"] == 10_000 - Decimal("0.1") * price
        assert Decimal(money["totalEquity"]) == coins["USDT"] + coins["BTC"] * price
        http.place_order(**spot, side="Sell", qty="0.099")
        with pytest.raises(InvalidRequestError, match="Category"):
            http.get_positions(category="spot", symbol="BTCUSDT")


def test_inverse_is_quoted_and_not_traded():
    with serve(BARS, symbol="BTCUSD", category="inverse", keys=KEYS) as running:
        http = client(running, "paper")
        inverse = {"category": "inverse", "symbol": "BTCUSD"}
        assert entries(http.get_tickers(**inverse))[0]["symbol"] == "BTCUSD"
        assert entries(http.get_instruments_info(**inverse))[0]["settleCoin"] == "BTC"
        assert entries(http.get_positions(**inverse))[0]["size"] == "0"
        with pytest.raises(InvalidRequestError, match="inverse"):
            http.place_order(**inverse, side="Buy", orderType="Market", qty="100")


# --- the simulator's own behaviour -----------------------------------------------------------


def test_a_failure_inside_surfaces_in_the_clients_test():
    """A clock that cannot tell the time breaks the replay; the ``with`` block raises it."""
    calls = iter([0, 0])

    def use():
        with serve(BARS, clock=lambda: int(OPENS[10]) + next(calls)) as running:
            until(lambda: running.errors)

    with pytest.raises(SimulatorError, match="could not start|failed"):
        use()


def test_two_servers_share_a_machine_but_not_a_port():
    before = set(threading.enumerate())  # an earlier test's client may still be ending
    with serve(BARS) as one, serve(BARS) as two:
        assert one.http_url != two.http_url
        with pytest.raises(SimulatorError, match="could not start"):
            serve(BARS, port=int(one.http_url.rsplit(":", 1)[1])).__enter__()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: Fault("http_404"), "kind"),
        (lambda: Fault("drop", times=0), "times"),
        (lambda: Fault("drop", after=-1), "after"),
        (lambda: Fault("slow", seconds=-1.0), "seconds"),
        (lambda: Fault("drop", path=3), "path"),
        (lambda: serve(), "candles"),
        (lambda: serve([1, 2]), "candles"),
        (lambda: serve(BARS.drop(columns="open")), "open"),
        (lambda: serve({"A": BARS, 3: BARS}), "candles"),
        (lambda: serve(BARS, [{"type": "delta", "ts": 1}]), "books"),
        (lambda: serve(BARS, [3]), "books"),
        (lambda: serve(BARS, 3), "books"),
        (lambda: serve(BARS, {3: BOOKS}), "books"),
        (lambda: serve(BARS, funding=[0.1]), "funding"),
        (lambda: serve(BARS, funding=pd.Series([0.1])), "funding"),
        (lambda: serve(BARS, keys={"paper": ""}), "keys"),
        (lambda: serve({("A", "1h"): BARS}), "interval"),
        (lambda: serve(BARS, faults=["drop"]), "fault"),
        (lambda: serve(BARS, category="bonds"), "category"),
        (lambda: serve(BARS, now="2024-01-01"), "start"),
        (lambda: serve(BARS, speed=-1.0), "speed"),
        (lambda: serve(BARS, port=70_000), "port"),
        (lambda: serve(BARS, updates=-1), "updates"),
        (lambda: serve(BARS, ack_delay=-1.0), "ack_delay"),
        (lambda: serve(BARS, keys=KEYS, balance=-1.0), "balance"),
        (lambda: serve(BARS, keys=KEYS, order_delay=-1.0), "order_delay"),
        (lambda: serve(BARS, instruments=["BTCUSDT"]), "instruments"),
        (lambda: ListedInstrument("X", tick_size="1e-05"), "tick_size"),
        (lambda: ListedInstrument("X", status="Paused"), "status"),
        (lambda: Clock("yesterday"), "start"),
        (lambda: Clock(0).advance("-1h"), "duration"),
        (lambda: Clock(0).advance(-1), "duration"),
    ],
)
def test_bad_input_names_the_argument(call, names):
    with pytest.raises(ValueError, match=names):
        call()


@pytest.mark.parametrize(
    ("more", "names"),
    [({}, "duration"), ({"bars": 0}, "bars"), ({"updates": 10**6}, "updates"),
     ({"bars": 1, "updates": 1}, "duration"), ({"duration": "soon"}, "duration")],
)  # fmt: skip
def test_bad_advances(server, more, names):
    with pytest.raises(ArgumentError, match=names):
        server.advance(**more)
    with pytest.raises(ArgumentError, match="message"):
        server.publish({"topic": "x"})


# --- the command line --------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="nobody can send Ctrl-C to one process of Windows")
def test_the_command_serves_a_file_until_it_is_interrupted(tmp_path):
    BARS.to_csv(tmp_path / "bars.csv")
    command = [
        sys.executable, "-m", "setrade.simulator", "--candles", str(tmp_path / "bars.csv"),
        "--symbol", "ETHUSDT", "--speed", "0", "--start", str(BARS.index[200]),
        "--fault", "http_500:1:/v5/market/time", "--key", "paper:local",
    ]  # fmt: skip
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8")
    assert process.stdout is not None
    http = HTTP()
    http.endpoint = process.stdout.readline().split()[0]
    with pytest.raises(FailedRequestError):
        http.get_server_time()
    page = http.get_kline(symbol="ETHUSDT", interval=15, limit=3)["result"]["list"]
    process.send_signal(2)
    out, err = process.communicate(timeout=10)
    assert [int(row[0]) for row in page] == OPENS[200:197:-1].tolist()
    assert (process.returncode, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["1", "/v5/market/kline"], ["1", "/v5/market/time"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--fault", "http_404"], "kind: got 'http_404'"),
        (["--key", "x"], "NAME:SECRET"),
        (["--bars", "0"], "--bars"),
        (["--books", "-1"], "--books"),
        (["--start", "garbage"], "--start"),
        (["--start", "2024-01-05T00:00"], "--start"),
        (["--start", "NaT"], "--start"),
        (["--candles", "nowhere.csv"], "--candles: got 'nowhere.csv'"),
    ],
)
def test_the_command_refuses_nonsense(capsys, arguments, error):
    try:
        status = main(arguments)
    except SystemExit as refused:  # argparse leaves by itself
        status = refused.code
    assert status == 2
    assert error in capsys.readouterr().err
