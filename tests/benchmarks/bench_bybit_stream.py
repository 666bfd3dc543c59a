"""Speed of a stream's local book, from a decoded message to the event that it becomes.

Timed is what one delta costs once it is decoded JSON: the topic's handler checks that it
follows, applies it to the book (200 levels a side), and makes the event with the best
prices. A second test adds what surrounds it: decoding, the bounded queue, sorting. Rates count
this thread's processor time, so that a busy machine does not fail them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from bench_orderbook import DELTAS, DEPTH, feed

from setrade.bybit.connection import MessageQueue
from setrade.bybit.events import BookHandler, BookUpdate, parse, parse_all
from setrade.bybit.stream import Dispatcher
from setrade.orderbook import OrderBook

NAME = f"orderbook.{DEPTH}.BTCUSDT"


def messages_of(levels: int) -> list[dict]:
    """The feed of the book's own bench, under the topic's symbol."""
    return [{**m, "topic": NAME, "data": {**m["data"], "s": "BTCUSDT"}} for m in feed(levels)]


def deltas_a_second(work: Callable[[], None]) -> float:
    """Return the best rate of five runs, by processor time."""
    seconds = []
    for _ in range(5):
        start = time.thread_time()
        work()
        seconds.append(time.thread_time() - start)
    return DELTAS / min(seconds)


@pytest.mark.parametrize("levels", [1, 4])
def test_deltas_of_a_supervised_book(race, levels):
    messages = messages_of(levels)

    def ours() -> None:
        handler = BookHandler(parse(NAME))
        for message in messages:
            event = handler.take(message)
        assert isinstance(event, BookUpdate)

    def bare() -> None:
        book = OrderBook(DEPTH)
        for message in messages:
            book.apply(message)

    race(ours, bare_book=bare)
    race.bound("deltas_a_second", deltas_a_second(ours), 200_000)


def test_from_text_to_event(race):
    """Decode, queue, take, apply: all that Python does for one delta of one level."""
    texts = [json.dumps(message) for message in messages_of(1)]

    def ours() -> None:
        queue = MessageQueue(DELTAS + 1)
        dispatcher = Dispatcher(parse_all(NAME), None, lambda *_: None)
        for text in texts:
            message = json.loads(text)
            queue.put("books", message["topic"], message)
            item = queue.take()
            assert item is not None
            dispatcher.dispatch(item)
        assert dispatcher.books["BTCUSDT"].valid

    race(ours)
    race.bound("deltas_a_second", deltas_a_second(ours), 50_000)
