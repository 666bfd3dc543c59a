"""Streams: the handlers by hand and by law, the whole against the simulator over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import socket
import threading
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from aiohttp import WSMsgType, web
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import served
from pybit.unified_trading import WebSocket

from setrade import candles, orderbook, simulator
from setrade.bybit import connection
from setrade.bybit.connection import Backoff, Lost, Message, MessageQueue, StreamError
from setrade.bybit.events import (
    BookHandler,
    BookUpdate,
    Gap,
    Kline,
    KlineHandler,
    Trade,
    TradeHandler,
    parse,
    requests,
    to_candles,
)
from setrade.bybit.stream import Stream
from setrade.errors import ArgumentError
from studies import torture_stream

MARKET = candles.synthetic(60, seed=0, interval="1min").candles
QUICK = {"first": 0.01, "cap": 0.05}
MINUTE = 60_000


def serve(candles=MARKET, **settings):
    return simulator.serve(candles, now=MARKET.index[0], ack_delay=0.0, **settings)


def wait_for(happens, seconds: float = 20.0) -> None:
    """Wait until something happens; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.005)


def ready(exchange, *topics: str) -> None:
    """Wait until the exchange knows what is listened to."""
    wait_for(lambda: set(topics or ["kline.1.BTCUSDT"]) <= set(exchange.topics))


def quick_stream(exchange, topics="kline.1min.BTCUSDT", **settings) -> Stream:
    return Stream(topics, exchange.ws_url, backoff=Backoff(**QUICK), **settings)


# ---- topics


def test_topics_take_offsets_and_codes_alike():
    assert parse("kline.15min.BTCUSDT") == parse("kline.15.BTCUSDT")
    topic = parse("kline.1h.BTCUSDT")
    assert (topic.name, topic.interval, topic.step_ms) == ("kline.60.BTCUSDT", "1h", 60 * MINUTE)
    assert parse("orderbook.200.BTCUSDT").depth == 200
    assert [len(r) for r in requests(map(str, range(23)))] == [10, 10, 3]


@pytest.mark.parametrize(
    ("topics", "name"),
    [
        ("ticker.BTCUSDT", "topics"),
        ("kline.BTCUSDT", "topics"),
        ("kline.7min.BTCUSDT", "interval"),
        ("kline.1min.btcusdt", "symbol"),
        ("orderbook.500.BTCUSDT", "depth"),
        ("orderbook.20.BTCUSDT", "depth"),
        ("orderbook.x.BTCUSDT", "depth"),
        ("publicTrade.", "symbol"),
        ([], "topics"),
        (7, "topics"),
        (["kline.1.BTCUSDT", "kline.1min.BTCUSDT"], "topics"),
        (["orderbook.50.BTCUSDT", "orderbook.200.BTCUSDT"], "topics"),
    ],
)
def test_bad_topics_are_named_before_anything_is_sent(topics, name):
    with pytest.raises(ArgumentError) as error:
        Stream(topics)
    assert error.value.name == name


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("base_url", "http://127.0.0.1:1"),
        ("base_url", 7),
        ("category", "futures"),
        ("testnet", "False"),
        ("queue", 0),
        ("queue", 1.5),
        ("silence", 0.0),
        ("silence", float("nan")),
        ("timeout", -1.0),
        ("backoff", 1.0),
        ("backfill", "rest"),
    ],
)
def test_bad_settings_are_named(argument, value):
    with pytest.raises(ArgumentError) as error:
        Stream("kline.1min.BTCUSDT", **{argument: value})
    assert error.value.name == argument


# ---- waiting


def test_waits_double_to_a_cap_and_are_scattered():
    backoff = Backoff(1.0, 8.0, healthy=60.0, seed=0)
    waits = [backoff.wait() for _ in range(6)]
    for wait, full in zip(waits, [1, 2, 4, 8, 8, 8], strict=True):
        assert full / 2 <= wait <= full
    assert backoff.wait(lasted=61.0) <= 1.0  # a healthy connection starts the count anew
    assert len(set(waits)) == 6
    assert backoff.again(pause=100.0) == 0.0
    for bad in ({"first": 0.0}, {"cap": 0.1}, {"healthy": -1.0}):
        with pytest.raises(ArgumentError):
            Backoff(**bad)


# ---- the queue


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=80))
def test_the_queue_hands_out_or_counts_every_message_in_order(steps):
    queue, sent = MessageQueue(3), Counter()
    out: dict[str, list] = {"a": [], "b": []}

    def take():
        item = queue.take()
        if isinstance(item, Message):
            out[item.topic].append(item.body)
        elif isinstance(item, Lost):
            assert item.messages > 0
            out[item.topic] += [None] * item.messages

    for topic, put in steps:
        if put:
            queue.put(topic, topic, sent[topic])
            sent[topic] += 1
        else:
            take()
    while len(queue):
        take()
    for topic, bodies in out.items():
        # what is missing is announced where it is missing: the place of each body is its number
        assert len(bodies) == sent[topic]
        assert all(b is None or b == place for place, b in enumerate(bodies))
        assert bodies.count(None) == queue.dropped[topic]


def test_a_flood_of_books_pushes_out_no_bar():
    queue = MessageQueue(5)
    for k in range(1000):
        queue.put("books", "book", k)
    queue.put("rest", "kline", "bar")
    items = []
    while (item := queue.take()) is not None:
        items.append(item)
    assert Message("kline", "bar") in items
    assert Lost("book", 995) in items
    assert queue.dropped == {"book": 995}


# ---- bars and trades


def bar_message(minute: int, close: float = 100.0, confirm: bool = True, **changes) -> dict:
    start = minute * MINUTE
    bar = {"start": start, "end": start + MINUTE - 1, "interval": "1", "open": "100",
           "close": str(close), "high": "110", "low": "90", "volume": "3", "turnover": "300",
           "confirm": confirm, "timestamp": start + MINUTE} | changes  # fmt: skip
    return {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": start, "data": [bar]}


def test_bars_by_hand():
    handler = KlineHandler(parse("kline.1min.BTCUSDT"))
    (bar,) = handler.take(bar_message(10))
    assert bar.time == pd.Timestamp(10 * MINUTE, unit="ms", tz="UTC")
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (100, 110, 90, 100, 3)
    assert handler.take(bar_message(11, confirm=False)) == []  # still forming
    assert len(handler.take(bar_message(11))) == 1
    assert handler.take(bar_message(11)) == []  # sent twice
    (revised,) = handler.take(bar_message(11, close=101.0))
    assert revised.revised
    assert revised.close == 101
    assert handler.take(bar_message(9)) == []  # late
    gap, bar = handler.take(bar_message(15))
    minutes = [int(t.value // 10**9 // 60) for t in (gap.first, gap.last, bar.time)]
    assert (gap.reason, gap.count, minutes) == ("missing", 3, [12, 14, 15])
    assert handler.faults == {"duplicate": 1, "revised": 1, "late": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"open": "nan"},
        {"high": "inf"},
        {"low": "105"},
        {"close": "-1"},
        {"volume": "-1"},
        {"start": 10 * MINUTE + 1},
        {"end": 11 * MINUTE},
        {"open": None},
        {"start": "600000"},
    ],
)
def test_what_makes_no_bar_is_counted_and_becomes_a_gap(changes):
    handler = KlineHandler(parse("kline.1min.BTCUSDT"))
    handler.take(bar_message(9))
    assert handler.take(bar_message(10, **changes)) == []
    assert handler.faults["malformed"] == 1
    assert [type(e) for e in handler.take(bar_message(11))] == [Gap, Kline]
    assert handler.take({"data": "nonsense"}) == []


WORDS = ["s", "b", "a", "u", "start", "end", "confirm", "open", "low", "p", "v", "S", "T", "i"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text("09.-e"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "s",
                    "b",
                    "a",
                    "u",
                    "start",
                    "end",
                    "confirm",
                    "open",
                    "close",
                    "high",
                    "low",
                    "p",
                    "v",
                    "S",
                    "T",
                    "i",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["snapshot", "delta", 5]), JSON, JSON)
def test_nothing_that_json_can_say_makes_a_handler_raise(kind, stamp, data):
    message = {"topic": "x", "type": kind, "ts": stamp, "data": data}
    book = BookHandler(parse("orderbook.50.BTCUSDT"))
    KlineHandler(parse("kline.1min.BTCUSDT")).take(message)
    TradeHandler(parse("publicTrade.BTCUSDT")).take(message)
    book.take(message)
    book.take(MESSAGES[0])
    book.take(message)
    for changes in ({"start": stamp}, {"open": stamp}, {"volume": data}, {"end": data}):
        KlineHandler(parse("kline.1min.BTCUSDT")).take(bar_message(3, **changes))
    row = {"T": 5, "s": "BTCUSDT", "S": "Sell", "v": "0.1", "p": "100.5", "i": "x1"}
    for name in row:
        TradeHandler(parse("publicTrade.BTCUSDT")).take({"data": [row | {name: stamp}]})
    levels = copy.deepcopy(MESSAGES[1])
    levels["data"]["b"] = [[stamp, data]]
    book.take(MESSAGES[0])
    book.take(levels)


FUTURE = pd.Timestamp("2199-01-01T00:00Z").value // 10**9 // 60  # a minute far ahead


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("sent", [9 * MINUTE, FUTURE * MINUTE, "x", None, float("nan")])
def test_a_bar_of_the_far_future_does_not_make_the_true_ones_late(sent, first):
    handler = KlineHandler(parse("kline.1min.BTCUSDT"))
    assert first or handler.take(bar_message(9))
    assert handler.take(bar_message(FUTURE) | {"ts": sent}) == []
    assert [type(e) for e in handler.take(bar_message(10))] == [Kline]
    assert handler.faults == {"malformed": 1, "revised": 0}


def test_a_message_that_says_no_time_is_judged_by_our_clock():
    handler = KlineHandler(parse("kline.1min.BTCUSDT"))
    assert handler.take({"data": bar_message(FUTURE)["data"]}) == []
    assert len(handler.take({"data": bar_message(9)["data"]})) == 1


def test_a_year_that_is_missing_is_mended_without_a_list_of_its_bars():
    handler = KlineHandler(parse("kline.1min.BTCUSDT"))
    handler.take(bar_message(0))
    gap, _ = handler.take(bar_message(25_000_000))  # 47 years
    times = pd.DatetimeIndex([24_999_999 * 60 * 10**9, 0, 60 * 60 * 10**9], tz="UTC")
    frame = pd.DataFrame(1.0, times, ["open", "high", "low", "close", "volume", "turnover"])
    start = time.perf_counter()
    found = list(handler.backfilled(gap, lambda *_: frame))
    assert time.perf_counter() - start < 1.0
    assert [getattr(e, "count", 1) for e in found] == [59, 1, 24_999_938, 1]
    assert found[0].first == gap.first
    assert found[3].time == gap.last


def test_trades_of_another_symbol_are_malformed():
    handler = TradeHandler(parse("publicTrade.BTCUSDT"))
    row = {"T": 5, "s": "ETHUSDT", "S": "Sell", "v": "0.1", "p": "100.5", "i": "x1"}
    assert handler.take({"data": [row]}) == []
    assert handler.faults == {"malformed": 1}


def test_trades_come_once():
    handler = TradeHandler(parse("publicTrade.BTCUSDT"))
    row = {"T": 5, "s": "BTCUSDT", "S": "Sell", "v": "0.1", "p": "100.5", "i": "x1"}
    (trade,) = handler.take({"data": [row, row]})
    assert isinstance(trade, Trade)
    assert (trade.side, trade.price, trade.size, trade.id) == (-1, 100.5, 0.1, "x1")
    assert handler.take({"data": [row | {"i": "x2", "p": "0"}]}) == []
    assert handler.faults == {"duplicate": 1, "malformed": 1}


def test_bars_become_candles_that_pass_the_check():
    handler = KlineHandler(parse("kline.1min.BTCUSDT"))
    bars = [e for m in (10, 11, 12) for e in handler.take(bar_message(m))]
    bars += handler.take(bar_message(12, close=105.0))
    frame = to_candles(bars)
    candles.check(frame, "1min")
    assert frame["close"].tolist() == [100, 100, 105]  # the revised bar replaces the first
    for bad in ([], "x", [1]):
        with pytest.raises(ArgumentError, match="klines"):
            to_candles(bad)


# ---- books

BOOKS = orderbook.synthetic(300, seed=1, levels=50, filled=2, spoofs=2).books
MESSAGES = list(orderbook.messages(BOOKS))
ROWS = {m["data"]["u"]: i for i, m in enumerate(MESSAGES)}
FIELDS = ("bid_price", "bid_size", "ask_price", "ask_size")


def equals_truth(book: orderbook.OrderBook) -> bool:
    truth, row = book.snapshot(), ROWS[book.update_id]
    return all(np.array_equal(getattr(truth, f)[0], getattr(BOOKS, f)[row]) for f in FIELDS)


def snapshot_of(row: int) -> dict:
    return next(iter(orderbook.messages(BOOKS[row : row + 1], first_update=row + 2)))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from(["ok", "ok", "ok", "drop", "swap", "repeat", "snapshot", "absent"]),
        max_size=60,
    )
)
def test_a_valid_book_is_the_true_book(steps):
    """The law: whatever is lost, doubled or reordered, a book that calls itself valid is true."""
    handler = BookHandler(parse("orderbook.50.BTCUSDT"))
    feed, row = [MESSAGES[0]], 0
    for step in steps:
        row += 1
        if step == "swap":
            feed += [MESSAGES[row + 1], MESSAGES[row]]
            row += 1
        elif step == "absent":
            message = copy.deepcopy(MESSAGES[row])
            message["data"]["b"].append(["1.5", "0"])
            feed.append(message)
        elif step != "drop":
            feed += [snapshot_of(row) if step == "snapshot" else MESSAGES[row]]
            feed += [MESSAGES[row]] * (step == "repeat")
    for message in feed:
        handler.take(message)
        if handler.valid and not handler.needs_resync:
            assert equals_truth(handler.book)
        else:
            assert handler.book.best_bid is None


@pytest.mark.parametrize("fault", ["gap", "reorder", "delta_first", "absent", "crossed", "symbol"])
def test_each_fault_asks_for_a_snapshot_and_a_snapshot_mends_it(fault):
    handler = BookHandler(parse("orderbook.50.BTCUSDT"))
    if fault != "delta_first":
        assert handler.take(MESSAGES[0]).snapshot
    message = copy.deepcopy(MESSAGES[1])
    if fault in ("gap", "reorder"):
        message = MESSAGES[2]
    elif fault == "absent":
        message["data"]["a"].append(["999999.9", "0"])
    elif fault == "crossed":
        message["data"]["b"].append(["999999.9", "1"])
    elif fault == "symbol":
        message["data"]["s"] = "ETHUSDT"
    gap = handler.take(message)
    assert isinstance(gap, Gap)
    assert handler.needs_resync
    assert handler.take(MESSAGES[1]) is None  # left out until the snapshot
    assert handler.take(snapshot_of(7)).snapshot
    assert not handler.needs_resync
    assert equals_truth(handler.book)
    assert isinstance(handler.take(MESSAGES[8]), BookUpdate)
    assert equals_truth(handler.book)


def test_a_reset_to_one_overwrites():
    handler = BookHandler(parse("orderbook.50.BTCUSDT"))
    handler.take(MESSAGES[0])
    handler.take(MESSAGES[5])  # a gap
    reset = copy.deepcopy(snapshot_of(9)) | {"type": "delta"}
    reset["data"]["u"] = 1
    update = handler.take(reset)
    assert update.snapshot
    assert update.update_id == 1
    assert [float(p) for p, _ in handler.book.levels("bid")] == BOOKS.bid_price[9].tolist()


class PybitsBook:
    """The local book that pybit keeps itself, without its connection."""

    def __init__(self) -> None:
        self.manager = object.__new__(WebSocket)
        self.manager.data = {}

    def apply(self, message: dict) -> None:
        self.manager._process_delta_orderbook(copy.deepcopy(message), "book")

    def bids(self) -> dict[float, float]:
        return {float(p): float(s) for p, s in self.manager.data["book"]["b"]}


def true_bids(row: int) -> dict[float, float]:
    return dict(zip(BOOKS.bid_price[row], BOOKS.bid_size[row], strict=True))


def test_parity_with_pybits_own_book_while_nothing_goes_wrong():
    theirs, ours = PybitsBook(), BookHandler(parse("orderbook.50.BTCUSDT"))
    for row, message in enumerate(MESSAGES):
        theirs.apply(message)
        ours.take(message)
        bids = {float(p): float(s) for p, s in ours.book.levels("bid")}
        assert bids == theirs.bids() == true_bids(row)


def test_the_wrong_book_diverges_and_does_not_notice():
    """Trap 34: pybit's book applies what comes, as it comes; it is wrong and looks right."""
    moved = (BOOKS.bid_price[1:] != BOOKS.bid_price[:-1]).any(1)
    lost = int(np.flatnonzero(moved)[2]) + 1  # a message in which levels come and go
    theirs, ours = PybitsBook(), BookHandler(parse("orderbook.50.BTCUSDT"))
    wrong, events = 0, []
    for row in [row for row in range(len(MESSAGES)) if row != lost]:
        with contextlib.suppress(StopIteration):  # a delete of an absent level, which kills it
            theirs.apply(MESSAGES[row])
        wrong += theirs.bids() != true_bids(row)
        events.append(ours.take(MESSAGES[row]))
    assert wrong > 10
    assert sum(isinstance(e, Gap) for e in events) == 1
    assert not ours.valid


# ---- over loopback


def test_bars_arrive_closed_and_equal_to_the_source():
    with serve() as exchange, quick_stream(exchange) as stream:
        ready(exchange)
        exchange.advance(bars=20)
        bars = [stream.get(20) for _ in range(20)]
        assert stream.get(0) is None  # the forming bar is not handed out
        frame = to_candles(bars)
        pd.testing.assert_frame_equal(
            frame[list(candles.COLUMNS)], MARKET.iloc[:20], check_freq=False, check_exact=True,
            check_index_type=False,
        )  # fmt: skip


def test_bars_missed_while_down_are_reported_not_invented():
    with serve() as exchange, quick_stream(exchange) as stream:
        ready(exchange)
        exchange.advance(bars=2)
        assert isinstance(stream.get(20), Kline)
        stream.get(20)
        exchange.inject(simulator.Fault("abort"))
        exchange.advance(bars=3)
        ready_again = exchange.requests["/v5/public/linear"] + 1
        wait_for(lambda: exchange.requests["/v5/public/linear"] >= ready_again)
        ready(exchange)
        exchange.advance(bars=1)
        gap, bar = stream.get(20), stream.get(20)
        assert isinstance(gap, Gap)
        assert (gap.count, gap.first, gap.last) == (3, MARKET.index[2], MARKET.index[4])
        assert isinstance(bar, Kline)
        assert bar.time == MARKET.index[5]
        assert stream.counters["reconnects"] == 1
        assert stream.counters["gaps"] == 1


@pytest.mark.parametrize("brings", ["all", "one", "error"])
def test_a_gap_is_backfilled_as_far_as_the_helper_brings_bars(brings):
    asked = []

    def backfill(symbol, interval, start, end):
        asked.append((symbol, interval, start, end))
        if brings == "error":
            raise RuntimeError("no network")
        whole = MARKET[(MARKET.index >= start) & (MARKET.index < end)]
        return whole if brings == "all" else whole.iloc[1:2]

    with serve() as exchange, quick_stream(exchange, backfill=backfill) as stream:
        ready(exchange)
        exchange.advance(bars=1)
        stream.get(20)
        exchange.publish(_published(4))
        events = [stream.get(20)]
        while not (isinstance(events[-1], Kline) and not events[-1].backfilled):
            events.append(stream.get(20))
            assert events[-1] is not None
    kinds = ["f" if isinstance(e, Kline) and e.backfilled else type(e).__name__[0] for e in events]
    assert kinds == {"all": list("fffK"), "one": list("GfGK"), "error": list("GK")}[brings]
    assert asked == [("BTCUSDT", "1min", MARKET.index[1], MARKET.index[4])]


def _published(row: int) -> dict:
    """The message of one closed bar of the market, to be sent out of turn."""
    start, bar = int(MARKET.index[row].value // 10**6), MARKET.iloc[row]
    data = {"start": start, "end": start + MINUTE - 1, "interval": "1", "confirm": True}
    data |= {"turnover": "1", "timestamp": start + MINUTE} | {c: str(bar[c]) for c in bar.index}
    return {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": start, "data": [data]}


def test_backfilling_with_rest():
    from setrade.bybit import Rest

    with serve() as exchange:
        rest = Rest(exchange.http_url)
        with quick_stream(exchange, backfill=rest.klines) as stream:
            ready(exchange)
            exchange.advance(bars=1)
            stream.get(20)
            exchange.inject(simulator.Fault("abort"))
            exchange.advance(bars=6)
            wait_for(lambda: stream.counters["connects"] >= 2)
            ready(exchange)
            exchange.advance(bars=1)
            bars = [stream.get(20) for _ in range(7)]
    assert [b.time for b in bars] == list(MARKET.index[1:8])
    assert [b.backfilled for b in bars] == [True] * 6 + [False]
    assert [b.close for b in bars] == MARKET["close"].iloc[1:8].tolist()


def test_async_iteration_sees_the_same():
    async def read(exchange, stream):
        seen = []
        tell = asyncio.to_thread(lambda: (ready(exchange), exchange.advance(bars=5)))
        task = asyncio.create_task(tell)
        async for event in stream:
            seen.append(event)
            if len(seen) == 5:
                break
        await task
        waiting = asyncio.create_task(anext(stream, None))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await asyncio.to_thread(stream.close)  # ends a reader that waits
        assert await asyncio.wait_for(waiting, 5) is None
        return seen

    with serve() as exchange, quick_stream(exchange) as stream:
        seen = asyncio.run(read(exchange, stream))
    assert [bar.time for bar in seen] == list(MARKET.index[:5])


def test_a_full_queue_is_counted_and_reported():
    with serve() as exchange, quick_stream(exchange, queue=4) as stream:
        ready(exchange)
        exchange.advance(bars=10)
        wait_for(lambda: stream.counters["drops"] >= 6)
        events = [stream.get(20) for _ in range(5)]
        assert [type(e) for e in events] == [Kline] * 4 + [Gap]
        assert (events[-1].reason, events[-1].count) == ("overflow", 6)
        exchange.advance(bars=1)
        missing, bar = stream.get(20), stream.get(20)  # and the bars are named when the next comes
        assert (missing.reason, missing.count) == ("missing", 6)
        assert bar.time == MARKET.index[10]
        assert stream.counters["drops"] == 6


def test_a_full_queue_of_books_brings_a_new_snapshot():
    topic = "orderbook.50.BTCUSDT"
    with serve(None, books=BOOKS) as exchange, quick_stream(exchange, topic, queue=5) as stream:
        ready(exchange, topic)
        exchange.advance(updates=50)
        wait_for(lambda: stream.counters["drops"] > 0)
        events = list(iter(lambda: stream.get(2.0), None))
        assert Gap(topic, "BTCUSDT", "overflow") in events
        assert events[-1].snapshot
        row = ROWS[events[-1].update_id]
        assert np.array_equal(stream.book("BTCUSDT").bid_price[0], BOOKS.bid_price[row])
        assert stream.counters["resyncs"] >= 1


def test_a_book_is_not_handed_out_before_it_is_known():
    topic = "orderbook.50.BTCUSDT"
    with serve(None, books=BOOKS) as exchange, quick_stream(exchange, topic) as stream:
        with pytest.raises(orderbook.BookStateError):
            stream.book("BTCUSDT")
        with pytest.raises(ArgumentError, match="symbol"):
            stream.book("ETHUSDT")
        assert stream.get(20).snapshot
        copy_of_it = stream.book("BTCUSDT")
        exchange.advance(updates=3)
        for _ in range(3):
            stream.get(20)
        assert np.array_equal(copy_of_it.bid_size[0], BOOKS.bid_size[0])  # a copy stays as it is
        assert float(stream.levels("BTCUSDT", "ask")[0][0]) == BOOKS.ask_price[3, 0]


def test_book_deltas_through_every_stream_fault():
    found = torture_stream.books_through_faults(deltas=1_000, each=2, seed=3)
    assert set(found["faults"]) == set(simulator.STREAM)
    assert found["undetected_divergences"] == 0
    assert found["not_recovered"] == 0
    assert found["updates_compared"] > 800
    assert sum(found["gaps_reported"].values()) >= 12


def test_instant_acks_kill_nobody():
    found = torture_stream.instant_acks(connections=40)
    assert found == {"connections": 40, "instant_acks": 40, "dead": 0, "reconnected": 0}


def test_a_topic_that_stays_refused_is_an_error_not_a_loop():
    with serve() as exchange, quick_stream(exchange, "kline.1min.NOSUCH") as stream:
        with pytest.raises(StreamError, match=r"kline\.1\.NOSUCH.*handler not found"):
            next(stream)
        assert stream.counters["nacks"] == 5
        assert stream.closed


def test_a_book_that_breaks_at_every_update_is_not_asked_for_at_every_update():
    topic = "orderbook.50.BTCUSDT"
    faults = [simulator.Fault("gap", times=1000)]
    with (
        serve(None, books=BOOKS, faults=faults) as exchange,
        Stream(topic, exchange.ws_url, backoff=Backoff(0.1, 1.0, seed=0)) as stream,
    ):
        ready(exchange, topic)
        start = time.monotonic()
        while time.monotonic() < start + 1.0:
            exchange.advance(updates=1)
            stream.get(0.005)
        assert stream.counters["resyncs"] <= 12
        assert stream.counters["connects"] == 1


def test_an_exchange_that_is_down_is_tried_with_growing_waits():
    with serve() as exchange:
        exchange.inject(simulator.Fault("down", seconds=1.0))
        with Stream("kline.1min.BTCUSDT", exchange.ws_url,
                    backoff=Backoff(0.05, 0.4, seed=0)) as stream:  # fmt: skip
            ready(exchange)
            exchange.advance(bars=1)
            time.sleep(0.7)
            assert 1 <= stream.counters["refused"] <= 10  # not hundreds
            wait_for(lambda: stream.counters["connects"] >= 2)
            ready(exchange)
            exchange.advance(bars=2)
            bar = stream.get(20)
            assert isinstance(bar, Kline)


@pytest.fixture
def raw_server():
    """A socket that answers every connection with fixed bytes, or not at all."""
    servers = []

    def start(reply: bytes | None):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        count = []

        def run():
            held = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                count.append(1)
                held.append(connection)
                if reply is not None:
                    connection.recv(4096)
                    connection.sendall(reply)
                    connection.close()

        threading.Thread(target=run, daemon=True).start()
        return f"ws://127.0.0.1:{server.getsockname()[1]}", count

    yield start
    for server in servers:
        server.close()


def test_403_is_tried_once(raw_server):
    url, count = raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    with Stream("kline.1min.BTCUSDT", url, backoff=Backoff(**QUICK)) as stream:
        with pytest.raises(StreamError, match="403"):
            next(stream)
        time.sleep(0.2)
    assert len(count) == 1


def test_a_host_that_never_answers_is_given_up(raw_server):
    url, count = raw_server(None)
    start = time.monotonic()
    with Stream("kline.1min.BTCUSDT", url, timeout=0.2, backoff=Backoff(**QUICK)) as stream:
        assert stream.get(1.0) is None
        assert 2 <= stream.counters["refused"] <= 6
    assert time.monotonic() - start < 4
    assert len(count) <= 7


@contextlib.contextmanager
def saying(first: str, then: str, heard: list[str] | None = None, *, autoping: bool = True):
    """A server that says one text on its first connection, and another on those that follow.

    What it is told goes into ``heard``.
    """
    texts = iter([first])

    async def talk(request):
        socket = web.WebSocketResponse(autoping=autoping)
        await socket.prepare(request)
        await socket.send_str(next(texts, then))
        async for message in socket:
            if heard is not None and message.type == WSMsgType.TEXT:
                heard.append(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/v5/public/linear", talk)
    with served(app) as port:
        yield f"ws://127.0.0.1:{port}"


@pytest.mark.parametrize("text", ["{", "[1]", "null", "[" * 100_000])
def test_what_is_no_message_ends_the_connection_and_another_is_built(text):
    with (
        saying(text, json.dumps(bar_message(7))) as url,
        Stream("kline.1min.BTCUSDT", url, backoff=Backoff(**QUICK)) as stream,
    ):
        assert isinstance(stream.get(20), Kline)
        assert (stream.counters["deaths"], stream.counters["connects"]) == (1, 2)


def test_readers_that_wait_all_hear_that_the_stream_has_failed(raw_server):
    url, _ = raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    heard = []
    with Stream("kline.1min.BTCUSDT", url, backoff=Backoff(**QUICK)) as shared:

        def read():
            try:
                shared.get(20)
            except StreamError as error:
                heard.append(str(error))

        readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
        for reader in readers:
            reader.start()
        wait_for(lambda: len(heard) == 3, 10)


def test_a_close_before_the_loop_has_started_is_not_lost(monkeypatch):
    begun, go = threading.Event(), threading.Event()
    stay = connection.Supervisor._stay_connected

    async def late(self):
        begun.set()
        go.wait(10)
        await stay(self)

    monkeypatch.setattr(connection.Supervisor, "_stay_connected", late)
    shared = Stream("kline.1min.BTCUSDT", "ws://127.0.0.1:9", backoff=Backoff(**QUICK))
    starting = threading.Thread(target=shared.start)
    starting.start()
    begun.wait(10)
    shared.close()
    go.set()
    starting.join(10)
    wait_for(lambda: not shared._supervisor._thread.is_alive())
    assert shared.counters["connects"] == shared.counters["refused"] == 0


def test_it_pings_as_bybit_asks(monkeypatch):
    monkeypatch.setattr(connection, "PING", 0.05)
    heard: list[str] = []
    with (
        saying(json.dumps(bar_message(7)), json.dumps(bar_message(8)), heard) as url,
        Stream("kline.1min.BTCUSDT", url, backoff=Backoff(**QUICK)) as stream,
    ):
        assert isinstance(stream.get(20), Kline)
        wait_for(lambda: {"op": "ping"} in [json.loads(text) for text in heard])


def test_a_line_that_answers_no_ping_is_dead(monkeypatch):
    monkeypatch.setattr(connection, "PING", 0.1)
    with (
        saying(*[json.dumps(bar_message(k)) for k in (7, 8)], autoping=False) as url,
        Stream("kline.1min.BTCUSDT", url, backoff=Backoff(**QUICK)) as stream,
    ):
        assert isinstance(stream.get(20), Kline)
        wait_for(lambda: stream.counters["deaths"] >= 1)


def test_a_proxy_that_the_environment_names_is_asked(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        proxy.settimeout(20)
        with Stream("kline.1min.BTCUSDT", "ws://192.0.2.1:80", backoff=Backoff(**QUICK)) as stream:
            stream.start()
            line = proxy.accept()[0]
            assert b"192.0.2.1" in line.recv(200)
            line.close()


def test_messages_without_sense_do_no_harm():
    with serve() as exchange, quick_stream(exchange) as stream:
        ready(exchange)
        for data in ("nonsense", [{}], [{"confirm": True}], None):
            exchange.publish({"topic": "kline.1.BTCUSDT", "type": "snapshot", "data": data})
        exchange.advance(bars=1)
        assert isinstance(stream.get(20), Kline)
        assert stream.counters["malformed"] == 4
        assert stream.counters["connects"] == 1


def test_threads_end_on_close_and_closing_twice_is_fine():
    before = set(threading.enumerate())
    with serve() as exchange:
        running = set(threading.enumerate())
        with quick_stream(exchange) as stream:
            ready(exchange)
            assert len(set(threading.enumerate()) - running) >= 1
        stream.close()
        assert stream.closed
        assert stream.get(0.1) is None
        assert list(stream) == []
        deadline = time.monotonic() + 2
        while set(threading.enumerate()) - running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert set(threading.enumerate()) <= running
    assert set(threading.enumerate()) <= before | running


def test_a_stream_that_was_never_started_can_be_closed():
    stream = Stream("kline.1min.BTCUSDT", "ws://127.0.0.1:9")
    stream.close()
    assert stream.get(0.1) is None
    assert repr(stream) == "Stream(kline.1.BTCUSDT)"


def test_what_a_monitor_asks_for():
    async def look(exchange, stream):
        async with stream:
            await asyncio.to_thread(ready, exchange)
            assert stream.connected
            await asyncio.to_thread(lambda: exchange.advance(bars=3))
            await asyncio.to_thread(wait_for, lambda: stream.waiting >= 3)
            assert 0 <= stream.age < 20
        assert not stream.connected
        assert stream.closed

    with serve() as exchange:
        stream = quick_stream(exchange)
        assert np.isnan(stream.age)
        asyncio.run(look(exchange, stream))


def test_trades_that_a_dead_connection_may_have_missed_are_a_gap():
    topic = "publicTrade.BTCUSDT"
    with serve() as exchange, quick_stream(exchange, topic) as stream:
        ready(exchange, topic)
        exchange.advance(bars=1)
        trades = [stream.get(20) for _ in range(4)]
        assert all(isinstance(t, Trade) for t in trades)
        exchange.inject(simulator.Fault("abort"))
        exchange.advance(bars=1)
        gap = stream.get(20)
        assert (gap.reason, gap.first) == ("reconnect", trades[-1].time)


# ---- what each category says


def acked(category: str, ask: dict, failed: list[str] | None = None) -> dict:
    """Return the documented answer to a subscription of a category."""
    if category == "option":
        good = [name for name in ask["args"] if name not in (failed or [])]
        return {"success": True, "conn_id": "c", "type": "COMMAND_RESP",
                "data": {"failTopics": failed or [], "successTopics": good}}  # fmt: skip
    return {"success": not failed, "conn_id": "c", "req_id": ask["req_id"], "op": "subscribe",
            "ret_msg": f"error:handler not found,topic:{failed[0]}" if failed else ""}  # fmt: skip


@contextlib.contextmanager
def answering(category: str, answer):
    """A server that sends what ``answer`` makes of each subscription: a list of messages."""

    async def talk(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            ask = json.loads(message.data)
            if ask["op"] == "subscribe":
                for said in answer(ask):
                    await socket.send_json(said)
        return socket

    app = web.Application()
    app.router.add_get(f"/v5/public/{category}", talk)
    with served(app) as port:
        yield f"ws://127.0.0.1:{port}"


TRADED = {"topic": "publicTrade.BTC", "type": "snapshot", "ts": 1, "data": [
    {"T": 1_700_000_000_000, "s": "BTC", "S": "Buy", "v": "1", "p": "5", "i": "t1", "BT": False,
     "RPI": False}]}  # fmt: skip


@pytest.mark.parametrize("category", ["linear", "inverse", "spot", "option"])
def test_the_answer_of_each_category_is_an_answer(category):
    def answer(ask):
        return [acked(category, ask), TRADED]

    with (
        answering(category, answer) as url,
        Stream("publicTrade.BTC", url, category=category, timeout=0.4, silence=30.0,
               backoff=Backoff(**QUICK)) as stream,
    ):  # fmt: skip
        assert isinstance(stream.get(10), Trade)
        time.sleep(1.0)  # an answer that was not understood would be missed by now
        assert stream.connected
        assert (stream.counters["connects"], stream.counters["no_answer"]) == (1, 0)


@pytest.mark.parametrize("category", ["linear", "option"])
def test_a_topic_that_is_refused_beside_a_good_one_is_an_error(category):
    """A delisted symbol: what is accepted on the same connection must not hide it."""

    def answer(ask):
        bad = [name for name in ask["args"] if name.endswith("GONE")]
        return [acked(category, ask, bad), TRADED]

    topics = ["publicTrade.BTC", *(f"publicTrade.A{k}" for k in range(9)), "publicTrade.GONE"]
    with (
        answering(category, answer) as url,
        Stream(topics, url, category=category, backoff=Backoff(**QUICK)) as stream,
        pytest.raises(StreamError, match="GONE"),
    ):
        list(stream)


def test_listening_already_is_no_refusal():
    def answer(ask):
        said = {"success": False, "ret_msg": f"error:already subscribed,topic:{ask['args'][0]}",
                "conn_id": "c", "req_id": "", "op": "subscribe"}  # fmt: skip
        return [said, {"topic": "system.status", "ts": 1, "data": [{"state": "ongoing"}]}, TRADED]

    with (
        answering("linear", answer) as url,
        Stream("publicTrade.BTC", url, backoff=Backoff(**QUICK)) as stream,
    ):
        assert isinstance(stream.get(10), Trade)
        assert (stream.counters["nacks"], stream.counters["maintenance"]) == (0, 1)


def test_options_have_no_bars():
    with pytest.raises(ArgumentError, match="category"):
        parse("kline.1.BTC-29MAR24-60000-C", "option")


def rpi_message(kind: str, u: int, bids: list, asks: list, topic="orderbook.rpi.BTCUSDT") -> dict:
    return {"topic": topic, "type": kind, "ts": u, "cts": u,
            "data": {"s": "BTCUSDT", "b": bids, "a": asks, "u": u, "seq": u}}  # fmt: skip


def test_books_with_orders_for_people_only():
    """Three fields a level: both sizes on the topic that asks for them, the first elsewhere."""
    whole = [["99", "1", "0.5"], ["98", "0", "2"]], [["101", "1", "0"]]
    handler = BookHandler(parse("orderbook.rpi.BTCUSDT"))
    handler.take(rpi_message("snapshot", 7, *whole))
    assert handler.book.levels("bid") == [("99", "1.5"), ("98", "2")]
    handler.take(rpi_message("delta", 8, [["99", "0", "0.25"], ["98", "0", "0"]], []))
    assert handler.book.levels("bid") == [("99", "0.25")]
    plain = BookHandler(parse("orderbook.50.BTCUSDT"))
    name = "orderbook.50.BTCUSDT"
    plain.take(rpi_message("snapshot", 7, [["99", "1", "0.5"]], [["101", "1", "3"]], name))
    assert plain.valid
    assert plain.book.levels("bid") == [("99", "1")]
    with pytest.raises(ArgumentError):
        parse("orderbook.rpi.BTC-29MAR24-60000-C", "option")
