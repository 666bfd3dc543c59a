"""`Stream`: closed bars, trades and local books of Bybit's public streams, and what was missed.

A thread of ours keeps the connection; messages wait in a bounded queue and are taken apart by
whoever iterates, so that a book is always the book as of the last event handed out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

from setrade.bybit import connection, events
from setrade.bybit.connection import Backoff, Lost, Message, Note, StreamError
from setrade.bybit.constants import STREAMS
from setrade.bybit.events import Backfill, BookHandler, Event, Gap, Handler, KlineHandler, Topic
from setrade.bybit.http import checked_url
from setrade.errors import ArgumentError, choice, flag, integer, number
from setrade.orderbook import BookStateError, OrderBook, Snapshots

LOG = logging.getLogger(__name__)
HANDLERS: dict[str, type[Handler]] = {
    "orderbook": BookHandler, "kline": KlineHandler, "publicTrade": events.TradeHandler
}  # fmt: skip


class Dispatcher:
    """Hands each item of the queue to its topic's handler; returns the events that it brings.

    ``resync`` is called with a book's topic and the connection's number to ask for a snapshot.
    """

    def __init__(
        self, topics: Mapping[str, Topic], backfill: Backfill | None,
        resync: Callable[[str, int], None],
    ) -> None:  # fmt: skip
        self.handlers: dict[str, Handler] = {n: HANDLERS[t.kind](t) for n, t in topics.items()}
        books = (h for h in self.handlers.values() if isinstance(h, BookHandler))
        self.books = {handler.topic.symbol: handler for handler in books}
        self.backfill, self._resync = backfill, resync
        self.counters: Counter[str] = Counter()
        self.epoch = 0

    def dispatch(self, item: connection.Item) -> Sequence[Event]:
        """Return the events of one item; what the exchange sent cannot make it raise."""
        found: Sequence[Event] = []
        if isinstance(item, Message):
            taken = self.handlers[item.topic].take(item.body)
            found = taken if isinstance(taken, list) else [] if taken is None else [taken]
        elif isinstance(item, Lost):
            found = [self.handlers[item.topic].overflowed(item.messages)]
        elif item.kind == "up":
            self.epoch = int(item.text)
        else:
            ends = [handler.disconnected() for handler in self.handlers.values()]
            found = [gap for gap in ends if gap is not None]
        for event in found:
            if isinstance(event, Gap):
                return self._mended(item, found)
        return found

    def _mended(self, item: connection.Item, found: Sequence[Event]) -> list[Event]:
        """Ask for a snapshot of a lost book, and for the bars of a gap; count what is left."""
        handler = None if isinstance(item, Note) else self.handlers[item.topic]
        if isinstance(handler, BookHandler):
            self._resync(handler.topic.name, self.epoch)
        mended: list[Event] = []
        for event in found:
            if isinstance(event, Gap) and event.reason == "missing":
                mended += self._backfilled(handler, event)
            else:
                mended.append(event)
        self.counters["gaps"] += sum(isinstance(event, Gap) for event in mended)
        return mended

    def _backfilled(self, handler: Handler | None, gap: Gap) -> Sequence[Event]:
        """Return the missing bars that can be fetched; what cannot stays a gap."""
        if self.backfill is None or not isinstance(handler, KlineHandler):
            return [gap]
        try:
            found = [*handler.backfilled(gap, self.backfill)]
        except Exception as error:  # the caller's helper failed: the gap stays, the stream too
            LOG.info("backfill failed: %s", type(error).__name__)
            self.counters["backfill_failed"] += 1
            return [gap]
        self.counters["backfilled"] += sum(isinstance(event, events.Kline) for event in found)
        return found


class Stream:
    """Closed bars, trades and local books of Bybit's public streams.

    Iterate over it (``for`` or ``async for``) to receive `Kline`, `Trade`, `BookUpdate` and
    `Gap` events in the order received. Use it as a context manager, or call `close`. Several
    readers may share it.

    Bars come once each, when closed, in order; a bar that was missed (while the connection was
    down, or because the queue was full) is reported as a `Gap` before the bar that
    follows it, and is never invented. Trades come once each; what a dead connection may have
    missed is a `Gap` of unknown size. A book that met a gap, a reordering, a delta before its
    snapshot or a delete of an absent level is given up with a `Gap`, and comes back with a
    `BookUpdate` whose ``snapshot`` is True.

    Args:
        topics: one or several, as `events.parse` takes them.
        base_url: ``ws://host:port`` or ``wss://host``; None: the exchange's own.
        category: linear, inverse, spot or option.
        testnet: use the testnet's host.
        queue: messages that may wait, books and the rest counted apart. When full, the message
            that comes is left out, counted in ``counters["drops"]`` and reported as a `Gap`.
        silence: seconds without a message of a bar or book topic after which the connection
            counts as dead (bars come at least every 60 s; trades may pause for longer).
        timeout: seconds to open a connection, to be answered, to receive a first snapshot.
        backoff: how to wait between connections and between snapshots of a book.
        backfill: called as ``backfill(symbol, interval, start, end)``, half open, when bars are
            missing, in the reader's thread; returns candles, as `Rest.klines` does. What it
            brings is handed out marked ``backfilled``; what it does not bring stays a `Gap`.

    Raises:
        ArgumentError: names the argument; nothing has been sent then.
    """

    topics: Mapping[str, Topic] = {}

    def __init__(
        self, topics: str | Iterable[str], base_url: str | None = None, *,
        category: str = "linear", testnet: bool = False, queue: int = 10_000,
        silence: float = 90.0, timeout: float = 10.0, backoff: Backoff | None = None,
        backfill: Backfill | None = None,
    ) -> None:  # fmt: skip
        if backfill is not None and not callable(backfill):
            allowed = "a function of symbol, interval, start, end; or None"
            raise ArgumentError("backfill", backfill, allowed)
        if backoff is not None and not isinstance(backoff, Backoff):
            raise ArgumentError("backoff", backoff, "a Backoff or None")
        self.topics = events.parse_all(topics, category)
        host = STREAMS[flag("testnet", testnet)]
        base = host if base_url is None else base_url
        parts = checked_url(base, ("ws", "wss"))
        public = f"{parts.scheme}://{parts.netloc}/v5/public/{category}"
        self._queue = connection.MessageQueue(integer("queue", queue, 1))
        self._supervisor = connection.Supervisor(
            self.topics, self._queue, backoff=backoff or Backoff(),
            url=public if parts.path in ("", "/") else base,
            silence=number("silence", silence, 0.0, above=True),
            timeout=number("timeout", timeout, 0.0, above=True),
        )  # fmt: skip
        self._dispatcher = Dispatcher(self.topics, backfill, self._supervisor.resync)
        self._ready: deque[Event] = deque()
        self._lock = threading.RLock()
        self._state = "new"

    def start(self) -> Self:
        """Connect in the background; iterating does it too."""
        with self._lock:
            if self._state == "new":
                self._state = "running"
                self._supervisor.start()
        return self

    def close(self) -> None:
        """End the connection and its thread; iterating ends then."""
        self._state = "closed"  # without the lock: a reader may hold it for long, backfilling
        self._supervisor.close()
        self._queue.note("closed")

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
            if not self._queue.wait(left):
                return None

    def _work(self) -> None:
        """Dispatch items until there is an event or nothing is left."""
        with self._lock:
            while not self.closed and not self._ready:
                item = self._queue.take()
                if item is None:
                    return
                if isinstance(item, Note) and item.kind in ("closed", "failed"):
                    self._state = item.kind
                    self._queue.note(item.kind)  # for the other readers that wait
                else:
                    self._ready.extend(self._dispatcher.dispatch(item))

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

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        self.start()
        while True:
            if self._dispatcher.backfill:  # it asks the exchange: that would hold up other tasks
                await asyncio.to_thread(self._work)
            else:
                self._work()
            event = self._pop()
            if event is not None:
                return event
            if self.closed:
                raise StopAsyncIteration
            await self._news()

    async def _news(self) -> None:
        """Wait, without a thread, until the queue has something."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: future.done() or future.set_result(None))

        if self._queue.call_when_ready(wake):
            await future

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self.close)  # it waits for the thread to end

    @property
    def counters(self) -> Counter[str]:
        """What has happened so far, by name; zero where nothing has.

        ``connects reconnects refused deaths silences nacks no_answer no_snapshot resyncs
        maintenance`` of the connection; ``gaps drops backfilled backfill_failed`` of the data;
        ``duplicate late revised malformed`` and the faults of a local book (``gap stale
        absent_level ...``), ``ignored`` book messages between a fault and the next snapshot.
        """
        handlers = [handler.faults for handler in self._dispatcher.handlers.values()]
        total = Counter(drops=sum(list(self._queue.dropped.values())))
        for counts in (self._dispatcher.counters, self._supervisor.counters, *handlers):
            total.update(dict(counts))  # copied in one step: other threads go on counting
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
        return len(self._queue)

    def book(self, symbol: str, levels: int | None = None) -> Snapshots:
        """Return a copy of a local book, as of the last event that was handed out.

        Args:
            symbol: one whose book is among the topics.
            levels: how many a side; None: as many as both sides have.

        Raises:
            ArgumentError: no such topic, or more levels than there are.
            BookStateError: the book is not valid now: no snapshot yet, or none since a fault.
        """
        return self._valid_book(symbol).snapshot(levels)

    def levels(self, symbol: str, side: str) -> list[tuple[str, str]]:
        """Return all ``(price, size)`` of ``"bid"`` or ``"ask"``, best first, as sent."""
        return self._valid_book(symbol).levels(side)

    def _valid_book(self, symbol: str) -> OrderBook:
        handler = self._dispatcher.books[choice("symbol", symbol, self._dispatcher.books)]
        if not handler.valid or handler.needs_resync:
            raise BookStateError("not_valid", f"{symbol}: no snapshot since the last fault")
        return handler.book

    def __repr__(self) -> str:
        return f"Stream({', '.join(self.topics)})"
