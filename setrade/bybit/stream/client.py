"""`Stream`: what a reader holds in hand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from setrade.errors import ArgumentError, choice, integer, number
from setrade.orderbook import BookStateError, Snapshots

from .backoff import Backoff
from .books import BookKeeper
from .inbox import Inbox
from .reader import Reader
from .reading import Reading
from .supervisor import Supervisor
from .topics import parse_all


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
