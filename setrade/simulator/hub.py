"""All connections together: the market's events, told to those who asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from . import topics
from .account import Account
from .books import View, full
from .connection import Connection, Feed
from .exchange import Exchange
from .faults import BOOK as BOOK_FAULTS
from .faults import LINK, Fault, Faults
from .schedule import BOOK, FUND, MATCH, schedule


class Hub:
    """Who is connected, and how far the market has been told.

    Args:
        exchange: the market.
        faults: what is to go wrong.
        updates: pushes of a forming bar between its open and its close.
        down: called with seconds to stop listening for a while.
    """

    def __init__(
        self,
        exchange: Exchange,
        faults: Faults,
        updates: int,
        down: Callable[[float], Awaitable[None]],
    ) -> None:
        self.exchange, self.faults, self.updates, self.down = exchange, faults, updates, down
        self.accounts: dict[str, Account] = {}
        self.connections: set[Connection] = set()
        self.upto = exchange.clock()
        self.rows = {s: tape.row(self.upto) for s, tape in exchange.books.items()}
        self.views: dict[str, View] = {}
        self.lock = asyncio.Lock()  # one event, or one subscription, at a time
        self._telling = asyncio.Lock()

    def book(self, topic: str) -> tuple[str, View, int]:
        """Return symbol, the view last told, and its row, of an order book topic."""
        _, depth, symbol = topic.split(".")
        row = self.rows[symbol]
        if topic not in self.views:
            self.views[topic] = self.exchange.books[symbol].view(row, int(depth))
        return symbol, self.views[topic], row

    def subscribed(self) -> list[str]:
        """Return all topics that anybody listens to, in order of their names."""
        return sorted({topic for c in self.connections if not c.gone for topic in c.feeds})

    async def run_until(self, now: int) -> None:
        """Let everything up to ``now`` happen, and tell it."""
        async with self._telling:
            since, self.upto = self.upto, max(now, self.upto)
            span = self.updates, since, self.upto
            events = schedule(self.exchange, self.accounts.values(), self.subscribed(), *span)
            for number, (at, what, name) in enumerate(events):
                async with self.lock:
                    if what in (FUND, MATCH):
                        self._private(at, what, name)
                    elif what == BOOK:
                        await self._tell_book(name)
                    else:
                        await self._tell(name, at)
                if number % 64 == 63:
                    await asyncio.sleep(0)

    def _private(self, at: int, what: int, symbol: str) -> None:
        for account in self.accounts.values():
            if what == MATCH:
                account.match(symbol, at)
            else:
                account.fund(symbol, float(self.exchange.funding[symbol].loc[at]), at)

    async def _tell(self, topic: str, at: int) -> None:
        kind, *rest, symbol = topic.split(".")
        if kind == "kline":
            message = topics.kline(self.exchange, topic, rest[0], symbol, at)
        else:
            message = topics.trades(self.exchange, topic, symbol, at)
        if message is not None:
            await self.broadcast(message)

    async def _tell_book(self, symbol: str) -> None:
        tape = self.exchange.books[symbol]
        row = self.rows[symbol] = self.rows[symbol] + 1
        stamp = int(tape.times[row])
        for topic in [t for t in self.views if t.endswith(f".{symbol}")]:
            depth = int(topic.split(".")[1])
            before, now = self.views[topic], tape.view(row, depth)
            self.views[topic] = now
            if depth == 1:  # level 1 sends snapshots only
                await self.broadcast(topics.snapshot(topic, symbol, now, row, stamp))
            else:
                await self.broadcast(topics.delta(topic, symbol, before, now, row, stamp))

    async def broadcast(self, message: dict[str, Any]) -> None:
        """Send a message to all that listen to its topic, each with its own faults."""
        for connection in list(self.connections):
            feed = connection.feeds.get(message["topic"])
            if feed is not None and not (connection.silent or connection.gone):
                await self._send(connection, feed, message)

    async def flush(self) -> None:
        """Wait until all that was queued has been handed over."""
        for connection in list(self.connections):
            await connection.flush()

    def tell_owner(self, key: str, topic: str, entries: list[dict[str, Any]]) -> None:
        """Send a private topic to the connections that this key opened."""
        message = {"topic": topic, "creationTime": self.exchange.clock(), "data": entries}
        for connection in list(self.connections):
            if connection.key == key and topic in connection.feeds:
                connection.send(message)

    async def _send(self, connection: Connection, feed: Feed, message: dict[str, Any]) -> None:
        fault = self.faults.take(LINK, message["topic"])
        if fault is not None:
            await self._break(connection, fault)
        elif message["type"] == "delta":
            self._send_delta(connection, feed, message)
        else:
            connection.send(message)

    async def _break(self, connection: Connection, fault: Fault) -> None:
        """Do to a connection what a fault of its line asks for; the message is lost."""
        if fault.kind == "silence":  # pings are still answered: only the data stops
            connection.silent = True
        elif fault.kind == "abort":
            connection.abort()
        elif fault.kind == "close":
            await connection.close()
        else:
            await self.down(fault.seconds)

    def _send_delta(self, connection: Connection, feed: Feed, message: dict[str, Any]) -> None:
        """Send a delta, or what a fault of the book makes of it."""
        fault = self.faults.take(BOOK_FAULTS, message["topic"])
        kind = None if fault is None else fault.kind
        data = dict(message["data"])
        if kind == "reset_u1":
            # assumption: the overwriting message with u = 1 calls itself a delta
            bids, asks = full(self.views[message["topic"]])
            feed.shift = data["u"] - 1
            data |= {"b": bids, "a": asks}
        elif kind == "delete_absent":
            data["b"] = [*data["b"], [_absent(self.views[message["topic"]]), "0"]]
        data["u"] -= feed.shift
        held, feed.held = feed.held, None
        ready = json.dumps({**message, "data": data})
        if kind == "reorder" and held is None:
            feed.held = ready
        elif kind != "gap":
            connection.send(ready)
        if held is not None:
            connection.send(held)


def _absent(view: View) -> str:
    """Return a bid price that the book does not hold."""
    price = min(map(float, view[0]), default=1.0) / 2
    while f"{price:.1f}" in view[0]:
        price /= 2
    return f"{price:.1f}"
