"""One WebSocket connection: what it subscribed to, and the queue of what it is sent."""

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

from setrade.simulator.account import TOPICS, Account, Accounts
from setrade.simulator.faults import BOOK as BOOK_FAULTS
from setrade.simulator.faults import LINK, SUBSCRIBE, Fault, Faults
from setrade.simulator.market import (
    FIRST_UPDATE,
    Exchange,
    View,
    bar_trades,
    changes,
    full,
    strings,
)
from setrade.simulator.wire import CODES, Refused, wall_ms

MOST_QUEUED = 200_000  # messages; an exchange drops a reader that is slower than that
PATIENCE = 10.0  # seconds
_numbers = count(1)


@dataclass
class Feed:
    """One subscription of one connection, as far as faults change it."""

    shift: int = 0  # taken from every update id, after a reset to 1
    held: str | None = None  # a message that the next one overtakes


class Connection:
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
            await asyncio.wait_for(self._queue.join(), PATIENCE)
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


# ---- What a topic says at a moment: klines, trades and books as stream messages.


DEPTHS = (1, 50, 200, 1000)
Message = dict[str, Any]


def parse(x: Exchange, topic: Any) -> tuple[str, str, str]:
    """Return kind, argument and symbol of a public topic; refuse what does not exist."""
    parts = topic.split(".") if isinstance(topic, str) else []
    if len(parts) == 2 and parts[0] == "publicTrade":
        parts.insert(1, "")
    if len(parts) == 3 and parts[2] in x.instruments:
        kind, argument, symbol = parts
        if kind == "kline" and argument in CODES:
            x.tape(symbol, argument)
            return kind, argument, symbol
        known = argument.isdecimal() and int(argument) in DEPTHS and symbol in x.books
        if (kind == "orderbook" and known) or kind == "publicTrade":
            return kind, argument, symbol
    raise Refused(10404, f"error:handler not found,topic:{topic}")


def kline(x: Exchange, topic: str, code: str, symbol: str, at: int) -> Message | None:
    """Return the push of a kline topic at time ``at``; None where the tape has no such bar.

    On a multiple of the interval the bar that has just closed is confirmed.
    """
    tape = x.tape(symbol, code)
    start = at - at % tape.step - (tape.step if at % tape.step == 0 else 0)
    row = int(np.searchsorted(tape.opens, start))
    if row == len(tape.opens) or tape.opens[row] != start:
        return None
    figures = dict(
        zip(
            ("open", "high", "low", "close", "volume", "turnover"),
            strings(tape.at(row, at)),
            strict=True,
        )
    )
    entry = {"start": start, "end": start + tape.step - 1, "interval": code, **figures}
    entry |= {"confirm": at == start + tape.step, "timestamp": at}
    return {"topic": topic, "type": "snapshot", "ts": at, "data": [entry]}


def trades(x: Exchange, topic: str, symbol: str, at: int) -> Message | None:
    """Return the trades of the bar that closes at ``at``."""
    tape = x.base(symbol)
    row = -1 if tape is None else int(np.searchsorted(tape.opens, at - tape.step))
    if tape is None or row == len(tape.opens) or tape.opens[row] != at - tape.step:
        return None
    data = [
        {"T": int(t["time"]), "s": symbol, "S": t["side"], "v": t["size"], "p": t["price"]}
        | {"L": "PlusTick" if t["side"] == "Buy" else "MinusTick", "i": t["execId"], "BT": False}
        for t in bar_trades(tape, symbol, row)
    ]
    return {"topic": topic, "type": "snapshot", "ts": at, "data": data}


def snapshot(topic: str, symbol: str, view: View, row: int, stamp: int) -> Message:
    """Return a whole book as a message."""
    bids, asks = full(view)
    u = FIRST_UPDATE + row
    data = {"s": symbol, "b": bids, "a": asks, "u": u, "seq": u}
    return {"topic": topic, "type": "snapshot", "ts": stamp, "data": data, "cts": stamp}


def delta(topic: str, symbol: str, before: View, now: View, row: int, stamp: int) -> Message:
    """Return what changed in a book as a message.

    assumption: a row of the tape is one update, pushed even where no visible level changed.
    """
    bids, asks = changes(before[0], now[0]), changes(before[1], now[1])
    u = FIRST_UPDATE + row
    data = {"s": symbol, "b": bids, "a": asks, "u": u, "seq": u}
    return {"topic": topic, "type": "delta", "ts": stamp, "data": data, "cts": stamp}


# ---- What happens on the market between two readings of the clock, in order of time.


FUND, MATCH, BOOK, TELL = range(4)  # the order of what happens at the same time
LOOKS = 12  # looks a bar at resting orders: they meet every corner of the price's way
Event = tuple[int, int, str]  # time in ms, what, symbol or topic


def grid(step: int, since: int, until: int, what: int, name: str) -> Iterator[Event]:
    """Yield events at the multiples of ``step`` in (since, until]."""
    return ((at, what, name) for at in range((since // step + 1) * step, until + 1, step))


def schedule(
    x: Exchange,
    accounts: Iterable[Account],
    topics: Iterable[str],
    updates: int,
    since: int,
    until: int,
) -> Iterator[Event]:
    """Yield the events in (since, until] in order of time.

    Args:
        x: the market.
        accounts: whose resting orders and positions matter.
        topics: what streams listen to.
        updates: pushes of a forming bar between open and close.
        since: ms, told already.
        until: ms, to be told.
    """
    feeds: list[Iterable[Event]] = [*_private(x, list(accounts), since, until)]
    for topic in topics:
        kind, *rest, symbol = topic.split(".")
        if kind == "kline":
            step = x.tape(symbol, rest[0]).step // (updates + 1)
            feeds.append(grid(step, since, until, TELL, topic))
        elif kind == "publicTrade" and (tape := x.base(symbol)) is not None:
            feeds.append(grid(tape.step, since, until, TELL, topic))
    for symbol, book in x.books.items():
        low, high = np.searchsorted(book.times, [since, until], "right")
        stamps = book.times[max(low, 1) : high].tolist()
        feeds.append([(stamp, BOOK, symbol) for stamp in stamps])
    return heapq.merge(*feeds)


def _private(
    x: Exchange, accounts: list[Account], since: int, until: int
) -> Iterator[Iterable[Event]]:
    """Yield the feeds that open orders and positions ask for."""
    resting = {o.symbol for a in accounts for o in a.orders if o.is_open}
    for symbol in sorted(resting):
        if (tape := x.base(symbol)) is not None:
            yield grid(tape.step // LOOKS, since, until, MATCH, symbol)
        else:
            times = x.books[symbol].times
            inside = times[(times > since) & (times <= until)].tolist()
            yield [(at, MATCH, symbol) for at in inside]
    for symbol in sorted({s for a in accounts for s, p in a.positions.items() if p.size} | resting):
        if symbol in x.funding:
            times = x.funding[symbol].index
            yield [(int(at), FUND, symbol) for at in times[(times > since) & (times <= until)]]


# ---- All connections together: the market's events, told to those who asked.


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
            message = kline(self.exchange, topic, rest[0], symbol, at)
        else:
            message = trades(self.exchange, topic, symbol, at)
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
                await self.broadcast(snapshot(topic, symbol, now, row, stamp))
            else:
                await self.broadcast(delta(topic, symbol, before, now, row, stamp))

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


# ---- What clients say on a stream, and what they are answered.


MOST_ARGS = 21_000  # characters
subscriptions_Message = dict[str, Any]


class Desk:
    """Where streams are opened.

    Args:
        hub: the connections.
        accounts: who may open a private stream.
        ack_delay: seconds until a subscription is acknowledged. assumption: as long as a near
            network takes; pybit loses its callback when the answer comes at once.
    """

    def __init__(self, hub: Hub, accounts: Accounts, ack_delay: float) -> None:
        self.hub, self.accounts, self.ack_delay = hub, accounts, ack_delay

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Hold one connection from handshake to end."""
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        connection = Connection(ws, request)
        self.hub.connections.add(connection)
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await self._answer(connection, message.data)
        finally:
            self.hub.connections.discard(connection)
            connection.end()
        return ws

    async def _answer(self, connection: Connection, raw: str) -> None:
        try:
            message = json.loads(raw)
            op, args = message.get("op"), message.get("args") or []
        except (json.JSONDecodeError, AttributeError):
            message, op, args = {}, None, []
        ack = {"success": True, "ret_msg": "", "conn_id": connection.name}
        ack |= {"req_id": message.get("req_id", ""), "op": op}
        if op == "ping" and connection.private:
            pong = {"req_id": ack["req_id"], "op": "pong", "args": [str(wall_ms())]}
            connection.send(pong | {"conn_id": connection.name})
        elif op == "ping":
            connection.send(ack | {"ret_msg": "pong"})
        elif op == "unsubscribe":
            for topic in args:
                connection.feeds.pop(topic, None)
            connection.send(ack)
        else:
            await self._decide(connection, op, args, ack)

    async def _decide(
        self, connection: Connection, op: Any, args: Any, ack: subscriptions_Message
    ) -> None:
        """Answer a login or a subscription with success, or with the reason of its failure."""
        try:
            if op == "auth" and connection.private:
                connection.key = self.accounts.login(args)
                connection.send(ack)
            elif op == "subscribe" and isinstance(args, list):
                await self._subscribe(connection, args, ack)
            else:
                raise Refused(10001, f"unknown op: {op}")
        except Refused as refusal:
            connection.send(ack | {"success": False, "ret_msg": refusal.message})

    async def _subscribe(
        self, connection: Connection, args: list[Any], ack: subscriptions_Message
    ) -> None:
        """Acknowledge, then send the snapshot of each book."""
        fault = self.hub.faults.take(SUBSCRIBE, str(args[0]) if args else "")
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
        async with self.hub.lock:
            if kind != "instant_ack":
                connection.send(ack)
            for topic in args:
                if topic.startswith("orderbook."):
                    self._open_book(connection, topic, kind == "delta_first")
                connection.feeds[topic] = Feed()

    def _check(self, connection: Connection, topic: Any) -> None:
        if not connection.private:
            parse(self.hub.exchange, topic)
        elif connection.key is None:
            raise Refused(10003, "Request not authorized")
        elif topic not in TOPICS:
            raise Refused(10404, f"error:handler not found,topic:{topic}")

    def _open_book(self, connection: Connection, topic: str, delta_first: bool) -> None:
        """Send the snapshot that opens a book; after a delta of nothing for ``delta_first``."""
        symbol, view, row = self.hub.book(topic)
        stamp = int(self.hub.exchange.books[symbol].times[row])
        if delta_first:
            connection.send(delta(topic, symbol, view, view, row, stamp))
        connection.send(snapshot(topic, symbol, view, row, stamp))
