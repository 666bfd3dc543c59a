"""The streams: who is connected and subscribed, and the broadcaster that tells them all news."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from setrade.orderbook.synthetic import changes
from setrade.simulator import faults
from setrade.simulator.account import Account
from setrade.simulator.faults import Fault, Faults
from setrade.simulator.market import (
    COLUMNS,
    FIRST_UPDATE,
    Exchange,
    Message,
    View,
    bar_trades,
    full,
    strings,
)
from setrade.simulator.private import TOPICS, PrivateApi
from setrade.simulator.wire import CODES, Refused, text, wall_ms

STREAMED = ("1", "50", "200", "1000")  # levels of the books that are streamed
MOST_QUEUED = 200_000  # messages; an exchange drops a reader that is slower than that
FLUSH_TIMEOUT = 10.0  # seconds
MOST_ARGS = 21_000  # characters of a subscription
FUND, MATCH, BOOK, TELL = range(4)  # the order of what happens at the same time
LOOKS = 12  # looks a bar at resting orders: they meet every corner of the price's way
Event = tuple[int, int, str]  # time in ms, what, symbol or topic
_numbers = count(1)


@dataclass
class Feed:
    """One subscription of one connection, as far as faults change it."""

    shift: int = 0  # taken from every update id, after a reset to 1
    held: str | None = None  # a message that the next one overtakes


class ClientConnection:
    """A client's connection; `send` never waits, a task of its own does the writing."""

    def __init__(self, ws: web.WebSocketResponse, request: web.Request) -> None:
        self.ws, self.private = ws, request.path == "/v5/private"
        self.key: str | None = None  # whose private stream this is, once it has logged in
        self.name = f"sim-{next(_numbers):08d}"
        self.feeds: dict[str, Feed] = {}
        self.silent = self.gone = False
        self._transport = request.transport
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                if not self.gone:
                    await self.ws.send_str(message)
            except (ConnectionError, RuntimeError):
                self.gone = True
            finally:
                self._queue.task_done()

    def send(self, message: Any) -> None:
        """Queue a message (a dict, or text as it is); a silent connection swallows it."""
        if self.silent or self.gone:
            return
        self._queue.put_nowait(message if isinstance(message, str) else json.dumps(message))
        if self._queue.qsize() > MOST_QUEUED:
            self.abort()

    async def flush(self) -> None:
        """Wait until all that was queued has been handed to the operating system.

        assumption: a client that takes nothing for ten seconds is disconnected.
        """
        try:
            await asyncio.wait_for(self._queue.join(), FLUSH_TIMEOUT)
        except TimeoutError:
            self.abort()
            self._discard()

    def abort(self) -> None:
        """Cut the line: a reset instead of a farewell."""
        self.gone = True
        if self._transport is None or self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # linger 0 turns the close into a reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def close(self) -> None:
        """Say farewell as the protocol has it, after what was queued."""
        await self.flush()
        self.gone = True
        with contextlib.suppress(ConnectionError, RuntimeError, asyncio.TimeoutError):
            await asyncio.wait_for(self.ws.close(code=1001, message=b"server restarts"), 1.0)

    def end(self) -> None:
        """Stop writing; the handler has left."""
        self.gone = True
        self._writer.cancel()
        self._discard()

    def _discard(self) -> None:
        """Empty the queue, so that nobody waits for it."""
        while not self._queue.empty():
            self._queue.get_nowait()
            self._queue.task_done()


def every(step: int, since: int, until: int, what: int, name: str) -> Iterator[Event]:
    """Yield events at the multiples of ``step`` in (since, until]."""
    return ((at, what, name) for at in range((since // step + 1) * step, until + 1, step))


def inside(times: np.ndarray, since: int, until: int, what: int, name: str) -> list[Event]:
    """Return events at those of the ``times`` in order that lie in (since, until]."""
    low, high = np.searchsorted(times, [since, until], "right")
    return [(at, what, name) for at in times[low:high].tolist()]


# ---- What the streams say: each topic at a moment.


def check_topic(x: Exchange, topic: Any) -> None:
    """Refuse a public topic that does not exist."""
    match topic.split(".") if isinstance(topic, str) else []:
        case ["kline", code, symbol] if symbol in x.instruments and code in CODES:
            x.series(symbol, code)
        case ["publicTrade", symbol] if symbol in x.instruments:
            pass
        case ["orderbook", depth, symbol] if symbol in x.books and depth in STREAMED:
            pass
        case _:
            raise Refused(10404, f"error:handler not found,topic:{topic}")


def push(x: Exchange, topic: str, at: int) -> Message | None:
    """Return what a kline or trade topic says at time ``at``; None where there is no such bar."""
    kind, *rest, symbol = topic.split(".")
    data = _kline(x, symbol, rest[0], at) if kind == "kline" else _trades(x, symbol, at)
    return {"topic": topic, "type": "snapshot", "ts": at, "data": data} if data else None


def _kline(x: Exchange, symbol: str, code: str, at: int) -> list[Message]:
    """Return the bar under way; at a multiple of the interval the one just closed, confirmed."""
    bars = x.series(symbol, code)
    start = (at - 1) // bars.step * bars.step
    if (row := bars.row(start)) is None:
        return []
    entry = {"start": start, "end": start + bars.step - 1, "interval": code, "timestamp": at}
    figures = dict(zip(COLUMNS, strings(bars.at(row, at)), strict=True))
    return [entry | figures | {"confirm": at == start + bars.step}]


def _trades(x: Exchange, symbol: str, at: int) -> list[Message]:
    """Return the trades of the bar that closes at ``at``."""
    bars = x.base(symbol)
    if bars is None or (row := bars.row(at - bars.step)) is None:
        return []
    return [
        {"T": int(t["time"]), "s": symbol, "S": t["side"], "v": t["size"], "p": t["price"]}
        | {"L": "PlusTick" if t["side"] == "Buy" else "MinusTick", "i": t["execId"], "BT": False}
        for t in bar_trades(bars, symbol, row)
    ]


class Broadcaster:
    """Who is connected, and how far the market has been told to those who asked.

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
        self.connections: set[ClientConnection] = set()
        self.upto = exchange.clock()
        self.rows = {symbol: book.row(self.upto) for symbol, book in exchange.books.items()}
        self.views: dict[str, View] = {}
        self.lock = asyncio.Lock()  # one event, or one subscription, at a time
        self._telling = asyncio.Lock()

    def view(self, topic: str) -> View:
        """Return the levels last told of an order book topic."""
        if topic not in self.views:
            _, depth, symbol = topic.split(".")
            book, row = self.exchange.books[symbol], self.rows[symbol]
            self.views[topic] = book.view(row, int(depth))
        return self.views[topic]

    def book(self, topic: str, before: View | None = None) -> Message:
        """Return a whole book as a message or, with the view before it, what changed in it.

        assumption: a row of the book is one update, pushed even where no visible level changed.
        """
        symbol, view = topic.split(".")[2], self.view(topic)
        row = self.rows[symbol]
        u, stamp = FIRST_UPDATE + row, int(self.exchange.books[symbol].times[row])
        bids, asks = full(view) if before is None else map(changes, before, view)
        data = {"s": symbol, "b": bids, "a": asks, "u": u, "seq": u}
        kind = "snapshot" if before is None else "delta"
        return {"topic": topic, "type": kind, "ts": stamp, "data": data, "cts": stamp}

    def subscribed(self) -> list[str]:
        """Return all topics that anybody listens to, in order of their names."""
        return sorted({topic for c in self.connections if not c.gone for topic in c.feeds})

    async def run_until(self, now: int) -> None:
        """Let everything up to ``now`` happen, and tell it."""
        async with self._telling:
            since, self.upto = self.upto, max(now, self.upto)
            events = heapq.merge(*self._events(since, self.upto))
            for number, (at, what, name) in enumerate(events):
                async with self.lock:
                    await self._happen(at, what, name)
                if number % 64 == 63:
                    await asyncio.sleep(0)

    def _events(self, since: int, until: int) -> Iterator[Iterable[Event]]:
        """Yield what happens in (since, until], each kind in order of time."""
        x, accounts, span = self.exchange, self.accounts.values(), (since, until)
        resting = {o.symbol for a in accounts for o in a.orders if o.is_open}
        resting |= {s for a in accounts for s, p in a.positions.items() if p.stops}
        for symbol in resting:
            if (bars := x.base(symbol)) is not None:
                yield every(bars.step // LOOKS, *span, MATCH, symbol)
            else:
                yield inside(x.books[symbol].times, *span, MATCH, symbol)
        for symbol in resting.union(s for a in accounts for s, p in a.positions.items() if p.size):
            if symbol in x.funding:
                yield inside(x.funding[symbol].index.to_numpy(), *span, FUND, symbol)
        for topic in self.subscribed():
            kind, *rest, symbol = topic.split(".")
            if kind == "kline":
                step = x.series(symbol, rest[0]).step
                yield every(step // (self.updates + 1), *span, TELL, topic)
                if step % (self.updates + 1):  # else one of them is the close
                    yield every(step, *span, TELL, topic)
            elif kind == "publicTrade" and (bars := x.base(symbol)) is not None:
                yield every(bars.step, *span, TELL, topic)
        for symbol, book in x.books.items():  # the first row holds from the beginning
            yield inside(book.times[1:], *span, BOOK, symbol)

    async def _happen(self, at: int, what: int, name: str) -> None:
        if what == BOOK:
            await self._tell_book(name)
        elif what == TELL and (message := push(self.exchange, name, at)) is not None:
            await self.broadcast(message)
        for account in self.accounts.values():
            if what == MATCH:
                account.match(name, at)
            elif what == FUND:
                account.fund(name, float(self.exchange.funding[name].loc[at]), at)

    async def _tell_book(self, symbol: str) -> None:
        self.rows[symbol] += 1
        for topic in [t for t in self.views if t.endswith(f".{symbol}")]:
            before = self.views.pop(topic)
            whole = topic.startswith("orderbook.1.")  # level 1 sends snapshots only
            await self.broadcast(self.book(topic, None if whole else before))

    async def broadcast(self, message: Message) -> None:
        """Send a message to all that listen to its topic, each with its own faults."""
        for connection in list(self.connections):
            feed = connection.feeds.get(message["topic"])
            if feed is None or connection.silent or connection.gone:
                continue
            if (fault := self.faults.take(faults.LINK, message["topic"])) is not None:
                await self._break(connection, fault)
            elif message["type"] == "delta":
                self._send_delta(connection, feed, message)
            else:
                connection.send(message)

    async def flush(self) -> None:
        """Wait until all that was queued has been handed over."""
        for connection in list(self.connections):
            await connection.flush()

    def tell_owner(self, key: str, topic: str, entry: Message) -> None:
        """Send a private topic to the connections that this key opened."""
        message = {"topic": topic, "creationTime": self.exchange.clock(), "data": [entry]}
        for connection in list(self.connections):
            if connection.key == key and topic in connection.feeds:
                connection.send(message)

    async def _break(self, connection: ClientConnection, fault: Fault) -> None:
        """Do to a connection what a fault of its line asks for; the message is lost."""
        if fault.kind == "silence":  # pings are still answered: only the data stops
            connection.silent = True
        elif fault.kind == "abort":
            connection.abort()
        elif fault.kind == "close":
            await connection.close()
        else:
            await self.down(fault.seconds)

    def _send_delta(self, connection: ClientConnection, feed: Feed, message: Message) -> None:
        """Send a delta, or what a fault of the book makes of it."""
        fault = self.faults.take(faults.BOOK, message["topic"])
        kind = None if fault is None else fault.kind
        data = dict(message["data"])
        if kind == "reset_u1":
            # assumption: the overwriting message with u = 1 calls itself a delta
            bids, asks = full(self.views[message["topic"]])
            feed.shift = data["u"] - 1
            data |= {"b": bids, "a": asks}
        elif kind == "delete_absent":
            bids, _ = self.views[message["topic"]]
            lower = text(min(map(float, bids), default=1.0) / 2)
            data["b"] = [*data["b"], [lower, "0"]]
        data["u"] -= feed.shift
        held, feed.held = feed.held, None
        ready = json.dumps({**message, "data": data})
        if kind == "reorder" and held is None:
            feed.held = ready
        elif kind != "gap":
            connection.send(ready)
        if held is not None:
            connection.send(held)


class WebSocketEndpoint:
    """Where streams are opened, and what clients say on them is answered.

    Args:
        broadcaster: the connections.
        private: who may open a private stream.
        ack_delay: seconds until a subscription is acknowledged. assumption: as long as a near
            network takes; pybit loses its callback when the answer comes at once.
    """

    def __init__(self, broadcaster: Broadcaster, private: PrivateApi, ack_delay: float) -> None:
        self.broadcaster, self.private, self.ack_delay = broadcaster, private, ack_delay

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Hold one connection from handshake to end."""
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        connection = ClientConnection(ws, request)
        self.broadcaster.connections.add(connection)
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await self._answer(connection, message.data)
        finally:
            self.broadcaster.connections.discard(connection)
            connection.end()
        return ws

    async def _answer(self, connection: ClientConnection, raw: str) -> None:
        try:
            message = json.loads(raw)
            op, args = message.get("op"), message.get("args") or []
        except (json.JSONDecodeError, AttributeError):
            message, op, args = {}, None, []
        ack = {"success": True, "ret_msg": "", "conn_id": connection.name}
        ack |= {"req_id": message.get("req_id", ""), "op": op}
        try:
            await self._act(connection, op, args, ack)
        except Refused as refusal:
            connection.send(ack | {"success": False, "ret_msg": refusal.message})

    async def _act(self, connection: ClientConnection, op: Any, args: Any, ack: Message) -> None:
        """Do what a client asks for and acknowledge it; `Refused` says why not."""
        if op == "ping" and connection.private:
            pong = {"req_id": ack["req_id"], "op": "pong", "args": [str(wall_ms())]}
            connection.send(pong | {"conn_id": connection.name})
        elif op == "ping":
            connection.send(ack | {"ret_msg": "pong"})
        elif op == "unsubscribe":
            for topic in args:
                connection.feeds.pop(topic, None)
            connection.send(ack)
        elif op == "auth" and connection.private:
            connection.key = self.private.login(args)
            connection.send(ack)
        elif op == "subscribe" and isinstance(args, list):
            await self._subscribe(connection, args, ack)
        else:
            raise Refused(10001, f"unknown op: {op}")

    async def _subscribe(self, connection: ClientConnection, args: list[Any], ack: Message) -> None:
        """Acknowledge, then send the snapshot of each book."""
        fault = self.broadcaster.faults.take(faults.SUBSCRIBE, str(args[0]) if args else "")
        kind = None if fault is None else fault.kind
        if kind == "instant_ack":
            await connection.ws.send_str(json.dumps(ack))
        else:
            await asyncio.sleep(self.ack_delay)
        if kind == "nack":
            raise Refused(10404, f"error:handler not found,topic:{args[0]}")
        if len(json.dumps(args)) > MOST_ARGS:
            raise Refused(10001, "error:args too long")
        # assumption: one bad topic fails its whole request
        for topic in args:
            self._check(connection, topic)
        async with self.broadcaster.lock:
            if kind != "instant_ack":
                connection.send(ack)
            for topic in args:
                if topic.startswith("orderbook."):
                    if kind == "delta_first":  # of nothing
                        before = self.broadcaster.view(topic)
                        connection.send(self.broadcaster.book(topic, before))
                    connection.send(self.broadcaster.book(topic))
                connection.feeds[topic] = Feed()

    def _check(self, connection: ClientConnection, topic: Any) -> None:
        if not connection.private:
            check_topic(self.broadcaster.exchange, topic)
        elif connection.key is None:
            raise Refused(10003, "Request not authorized")
        elif topic not in TOPICS:
            raise Refused(10404, f"error:handler not found,topic:{topic}")
