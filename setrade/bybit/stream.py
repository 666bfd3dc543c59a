"""Public streams over pybit that survive what pybit does not, and say what they missed.

A thread of ours supervises the connection: it rebuilds it with growing, scattered waits when
it dies, falls silent or is refused, subscribes anew, and asks for a new snapshot of a book
that can no longer be trusted. Messages wait in a bounded queue and are taken apart by
whoever iterates, so that a book is always the book as of the last event handed out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pandas as pd

from setrade.bybit import events
from setrade.bybit.connection import Backoff, Inbox, Lost, Message, Note, Supervisor
from setrade.bybit.events import (
    BookKeeper,
    BookUpdate,
    Event,
    Gap,
    Kline,
    KlineKeeper,
    Topic,
    Trade,
    TradeKeeper,
    parse_all,
    to_candles,
)
from setrade.errors import ArgumentError, choice, integer, number
from setrade.orderbook import BookStateError, Snapshots

__all__ = [
    "Backoff",
    "BookUpdate",
    "Event",
    "Gap",
    "Kline",
    "Stream",
    "StreamError",
    "Trade",
    "to_candles",
]


# ---- From messages to events: one keeper a topic, and the account of what was missed.


LOG = logging.getLogger(__name__)
Keeper = BookKeeper | KlineKeeper | TradeKeeper
KEEPERS: dict[str, type[Keeper]] = {
    "orderbook": BookKeeper,
    "kline": KlineKeeper,
    "publicTrade": TradeKeeper,
}


class Reader:
    """Takes items of the inbox in order; returns the events that each one brings.

    Args:
        topics: what is subscribed.
        fill: brings missing bars, or None.
        resync: called with a book topic and the connection's number to ask for a snapshot.
    """

    def __init__(
        self,
        topics: Mapping[str, Topic],
        fill: events.Fill | None,
        resync: Callable[[str, int], None],
    ) -> None:
        self.keepers: dict[str, Keeper] = {
            name: KEEPERS[topic.kind](topic) for name, topic in topics.items()
        }
        self.books = {k.topic.symbol: k for k in self.keepers.values() if isinstance(k, BookKeeper)}
        self.fill, self._resync = fill, resync
        self.counters: Counter[str] = Counter()
        self.epoch = 0

    def take(self, item: Message | Lost | Note) -> list[Event]:
        """Return the events of one item; what the exchange sent cannot make it raise."""
        found: list[Event] = []
        if isinstance(item, Message):
            found = self._message(self.keepers[item.topic], item.body)
        elif isinstance(item, Lost):
            found = [self._lost(item)]
        elif item.kind == "down":
            found = list(self._down())
        elif item.kind == "up":
            self.epoch = int(item.text)
        for event in found:
            if isinstance(event, Gap):
                self.counters["gaps"] += 1
        return found

    def _message(self, keeper: Keeper, body: Mapping[str, Any]) -> list[Event]:
        if isinstance(keeper, BookKeeper):
            event = keeper.take(body)
            if isinstance(event, Gap):
                self._resync(keeper.topic.name, self.epoch)
            return [] if event is None else [event]
        found: list[Event] = []
        for event in keeper.take(body):
            if isinstance(event, Gap) and isinstance(keeper, KlineKeeper) and self.fill:
                found += self._filled(keeper, event)
            else:
                found.append(event)
        return found

    def _lost(self, item: Lost) -> Gap:
        """Report messages that our own queue had no room for."""
        keeper = self.keepers[item.topic]
        if isinstance(keeper, BookKeeper):
            self._resync(item.topic, self.epoch)
            return keeper.lose("overflow")
        return Gap(item.topic, keeper.topic.symbol, "overflow", item.messages)

    def _down(self) -> Iterator[Event]:
        """The connection is gone: books are worth nothing, trades may have been missed."""
        for name, keeper in self.keepers.items():
            if isinstance(keeper, BookKeeper) and keeper.valid:
                yield keeper.lose("reconnect")
            elif isinstance(keeper, TradeKeeper) and keeper.newest is not None:
                yield Gap(name, keeper.topic.symbol, "reconnect", first=keeper.newest)

    def _filled(self, keeper: KlineKeeper, gap: Gap) -> Iterator[Event]:
        """Hand out the missing bars that can be fetched; what cannot stays a gap."""
        assert self.fill is not None
        try:
            found = events.fetch(self.fill, keeper.topic, gap)
        except Exception as error:  # the caller's helper failed: the gap stays, the stream too
            LOG.info("fill failed: %s", type(error).__name__)
            self.counters["fill_failed"] += 1
            found = {}
        for event in events.events(keeper.topic, gap, found):
            self.counters["filled"] += isinstance(event, Kline)
            yield event

    def totals(self) -> Counter[str]:
        """Return the counters of reader and keepers together."""
        total = Counter(dict(self.counters))
        for keeper in self.keepers.values():
            total.update(dict(keeper.faults))
            if isinstance(keeper, BookKeeper):
                total["ignored"] += keeper.ignored
        return total


# ---- Reading a stream: one event after the other, in a thread or in an event loop.


class StreamError(RuntimeError):
    """The stream cannot go on: every subscription is refused, or the address is banned."""


class Reading:
    """Takes items out of the inbox, turns them into events, hands these out one by one.

    Args:
        inbox: where the socket's thread puts messages.
        supervisor: fills the inbox; started when the first event is asked for.
        reader: turns items into events.
    """

    def __init__(self, inbox: Inbox, supervisor: Supervisor, reader: Reader) -> None:
        self._inbox, self._supervisor, self._reader = inbox, supervisor, reader
        self._ready: deque[Event] = deque()
        self._lock = threading.RLock()  # several readers may share a stream
        self._state = "new"

    def start(self) -> Self:
        """Connect in the background; iterating does it too."""
        with self._lock:
            if self._state == "new":
                self._state = "running"
                self._supervisor.start()
        return self

    def close(self) -> None:
        """End the connection and its threads; iterating ends then."""
        self._state = "closed"  # without the lock: a reader may hold it for long, filling a gap
        self._supervisor.close()
        self._inbox.note("closed")

    @property
    def closed(self) -> bool:
        """True after `close`, or when the stream failed for good."""
        return self._state in ("closed", "failed")

    def get(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None after ``timeout`` seconds without one, or at the end.

        Raises:
            StreamError: the stream cannot go on.
        """
        self.start()
        deadline = None if timeout is None else time.monotonic() + number("timeout", timeout, 0.0)
        while True:
            self._work()
            event = self._pop()
            if event is not None or self.closed:
                return event
            left = None if deadline is None else deadline - time.monotonic()
            if not self._inbox.wait(left):
                return None

    def _work(self) -> None:
        """Take items apart until there is an event or nothing is left."""
        with self._lock:
            while not self.closed and not self._ready:
                item = self._inbox.take()
                if item is None:
                    return
                if isinstance(item, Note) and item.kind in ("closed", "failed"):
                    self._state = item.kind
                else:
                    self._ready.extend(self._reader.take(item))

    def _pop(self) -> Event | None:
        with self._lock:
            if self._state == "failed":
                raise StreamError(self._supervisor.failure)
            return self._ready.popleft() if self._ready and not self.closed else None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self.close)  # it waits for threads to end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        self.start()
        loop = asyncio.get_running_loop()
        while True:
            if self._reader.fill:  # it asks the exchange, which would hold up the other tasks
                await asyncio.to_thread(self._work)
            else:
                self._work()
            event = self._pop()
            if event is not None:
                return event
            if self.closed:
                raise StopAsyncIteration
            await self._news(loop)

    async def _news(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait, without a thread, until the inbox has something."""
        future: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: future.done() or future.set_result(None))

        if self._inbox.call_when_ready(wake):
            await future

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# ---- `Stream`: what a reader holds in hand.


class Stream(Reading):
    """Closed bars, trades and local books of Bybit's public streams.

    Iterate over it (``for`` or ``async for``) to receive `Kline`, `Trade`, `BookUpdate` and
    `Gap` events in the order received. Use it as a context manager, or call `close`.

    Bars come once each, when closed, in order; a bar that was missed (while the connection was
    down, or because the queue was full) is reported as a `Gap` before the bar that
    follows it, and is never invented. Trades come once each; what a dead connection may have
    missed is a `Gap` of unknown size. A book that met a gap, a reordering, a delta before its
    snapshot or a delete of an absent level is given up with a `Gap`, and comes back with a
    `BookUpdate` whose ``snapshot`` is True.

    Args:
        topics: one or several of ``kline.{interval}.{symbol}``, ``orderbook.{depth}.{symbol}``
            and ``publicTrade.{symbol}``; intervals as pandas offsets or Bybit's codes.
        base_url: ``ws://host:port`` or ``wss://host``; None: the exchange's own.
        category: linear, inverse, spot or option.
        testnet: use the testnet's host.
        queue: messages that may wait, books and the rest counted apart. When full, the message
            that comes is left out, counted in ``counters["drops"]`` and reported as a `Gap`.
        silence: seconds without a message of a bar or book topic after which the connection
            counts as dead (bars come at least every 60 s; trades may pause for longer).
        timeout: seconds to open a connection, to be answered, to receive a first snapshot.
        backoff: how to wait between connections and between snapshots of a book.
        fill: called as ``fill(symbol, interval, start, end)``, half open, when bars are missing,
            in the reader's thread; returns candles, as `Rest.klines` does. What it brings is
            handed out marked ``filled``; what it does not bring stays a `Gap`.

    Raises:
        ArgumentError: names the argument; nothing has been sent then.
    """

    def __init__(
        self,
        topics: str | Iterable[str],
        base_url: str | None = None,
        *,
        category: str = "linear",
        testnet: bool = False,
        queue: int = 10_000,
        silence: float = 90.0,
        timeout: float = 10.0,
        backoff: Backoff | None = None,
        fill: Callable[[str, str, pd.Timestamp, pd.Timestamp], pd.DataFrame] | None = None,
    ) -> None:
        if fill is not None and not callable(fill):
            raise ArgumentError("fill", fill, "a function of symbol, interval, start, end; or None")
        if backoff is not None and not isinstance(backoff, Backoff):
            raise ArgumentError("backoff", backoff, "a Backoff or None")
        self.topics = parse_all(topics, category)
        inbox = Inbox(integer("queue", queue, 1))
        supervisor = Supervisor(
            self.topics,
            inbox,
            address={"url": _url(base_url, category), "category": category, "testnet": testnet},
            silence=number("silence", silence, 0.0, above=True),
            timeout=number("timeout", timeout, 0.0, above=True),
            backoff=backoff or Backoff(),
        )
        super().__init__(inbox, supervisor, Reader(self.topics, fill, supervisor.resync))

    @property
    def counters(self) -> Counter[str]:
        """What has happened so far, by name; zero where nothing has.

        ``connects reconnects refused deaths silences nacks no_answer no_snapshot resyncs``
        of the connection; ``gaps drops filled fill_failed`` of the data; ``duplicate late
        revised malformed`` and the faults of a local book (``gap stale absent_level ...``),
        ``ignored`` book messages between a fault and the next snapshot.
        """
        # copies, taken in one step each: other threads go on counting
        total = self._reader.totals() + Counter(dict(self._supervisor.counters))
        total["drops"] = sum(list(self._inbox.dropped.values()))
        return total

    @property
    def connected(self) -> bool:
        """True while there is a connection; False from its death to the next one."""
        return self._supervisor.connected

    @property
    def age(self) -> float:
        """Seconds since the exchange last sent anything (NaN: it never has)."""
        return time.monotonic() - self._supervisor.heard_at

    @property
    def waiting(self) -> int:
        """Messages that wait to be read."""
        return len(self._inbox)

    def book(self, symbol: str, levels: int | None = None) -> Snapshots:
        """Return a copy of a local book, as of the last event that was handed out.

        Args:
            symbol: one whose book is among the topics.
            levels: how many a side; None: as many as both sides have.

        Raises:
            ArgumentError: no such topic, or more levels than there are.
            BookStateError: the book is not valid now: no snapshot yet, or none since a fault.
        """
        return self._keeper(symbol).book.snapshot(levels)

    def levels(self, symbol: str, side: str) -> list[tuple[str, str]]:
        """Return all ``(price, size)`` of ``"bid"`` or ``"ask"``, best first, as sent."""
        return self._keeper(symbol).book.levels(side)

    def _keeper(self, symbol: str) -> BookKeeper:
        keeper = self._reader.books[choice("symbol", symbol, self._reader.books)]
        if not keeper.valid or keeper.needs_resync:
            raise BookStateError("not_valid", f"{symbol}: no snapshot since the last fault")
        return keeper

    def __repr__(self) -> str:
        return f"Stream({', '.join(getattr(self, 'topics', ()))})"


def _url(base_url: Any, category: str) -> str | None:
    """Return the address of a category's public stream; None: pybit knows it."""
    if base_url is None:
        return None
    parts = urlsplit(base_url) if isinstance(base_url, str) else None
    if parts is None or parts.scheme not in ("ws", "wss") or not parts.netloc:
        raise ArgumentError("base_url", base_url, '"ws://host:port", "wss://host", or None')
    if parts.path not in ("", "/"):
        return base_url
    return f"{parts.scheme}://{parts.netloc}/v5/public/{category}"
