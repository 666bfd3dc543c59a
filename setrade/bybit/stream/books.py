"""A local book that asks for a new snapshot as soon as it can no longer be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from setrade.errors import ArgumentError
from setrade.orderbook import BookStateError, OrderBook

from .events import BookUpdate, Gap
from .topics import Topic


class BookKeeper:
    """Applies the messages of one book topic in order and notices every fault.

    A gap or reordering (``u`` does not follow), a delta before the snapshot, a delete of an
    absent level, a crossed or too deep book, and a message that cannot be read, all make the
    book invalid and ``needs_resync`` true; only a snapshot (or ``u == 1``) mends it. A delta
    that is older than the book (``stale``: sent twice, or still under way from before) is left
    out and counted. ``take`` never raises: what the exchange sends must not end the stream.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.faults: Counter[str] = Counter()
        self.ignored = 0
        self.needs_resync = False
        self._name, self._symbol = topic.name, topic.symbol
        self._restart()

    def _restart(self) -> None:
        self.book = OrderBook(self.topic.depth, strict=True)
        self.valid = False

    def take(self, message: Mapping[str, Any]) -> BookUpdate | Gap | None:
        """Apply one message; return the update, the fault just met, or None (left out)."""
        if self.needs_resync and not self._overwrites(message):
            self.ignored += 1  # under way from before the resync; counted, not applied
            return None
        book = self.book
        try:
            whole = book.apply(message)
        except BookStateError as error:
            return self._fault(error.kind)
        except (ArgumentError, ArithmeticError):
            return self._fault("malformed")
        if not whole or book.symbol != self._symbol:
            return self._fault("malformed")
        self.valid, self.needs_resync = True, False
        u = book.update_id
        return BookUpdate(
            self._name, self._symbol, book.time_ms, u, book.best_bid, book.best_ask,
            u == 1 or message["type"] == "snapshot",
        )  # fmt: skip

    @staticmethod
    def _overwrites(message: Mapping[str, Any]) -> bool:
        """Tell whether a message brings the whole book: a snapshot, or ``u == 1``."""
        data = message.get("data")
        reset = isinstance(data, Mapping) and data.get("u") == 1
        return reset or message.get("type") == "snapshot"

    def _fault(self, kind: str) -> Gap | None:
        self.faults[kind] += 1
        if kind == "stale":
            return None
        return self.lose(kind)

    def lose(self, reason: str) -> Gap:
        """Give the book up until the next snapshot, for a reason of ours or the feed's."""
        self._restart()
        self.needs_resync = True
        return Gap(self.topic.name, self.topic.symbol, reason)
