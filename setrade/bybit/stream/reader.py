"""From messages to events: one keeper a topic, and the account of what was missed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import fills
from .bars import KlineKeeper, TradeKeeper
from .books import BookKeeper
from .events import Event, Gap, Kline
from .inbox import Lost, Message, Note
from .topics import Topic

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
        fill: fills.Fill | None,
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
            found = fills.fetch(self.fill, keeper.topic, gap)
        except Exception as error:  # the caller's helper failed: the gap stays, the stream too
            LOG.info("fill failed: %s", type(error).__name__)
            self.counters["fill_failed"] += 1
            found = {}
        for event in fills.events(keeper.topic, gap, found):
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
