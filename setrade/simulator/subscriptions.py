"""What clients say on a stream, and what they are answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import WSMsgType, web

from . import topics
from .connection import Connection, Feed
from .faults import SUBSCRIBE
from .hub import Hub
from .private import TOPICS, Accounts
from .wire import Refused, wall_ms

MOST_ARGS = 21_000  # characters
Message = dict[str, Any]


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

    async def _decide(self, connection: Connection, op: Any, args: Any, ack: Message) -> None:
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

    async def _subscribe(self, connection: Connection, args: list[Any], ack: Message) -> None:
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
            topics.parse(self.hub.exchange, topic)
        elif connection.key is None:
            raise Refused(10003, "Request not authorized")
        elif topic not in TOPICS:
            raise Refused(10404, f"error:handler not found,topic:{topic}")

    def _open_book(self, connection: Connection, topic: str, delta_first: bool) -> None:
        """Send the snapshot that opens a book; after a delta of nothing for ``delta_first``."""
        symbol, view, row = self.hub.book(topic)
        stamp = int(self.hub.exchange.books[symbol].times[row])
        if delta_first:
            connection.send(topics.delta(topic, symbol, view, view, row, stamp))
        connection.send(topics.snapshot(topic, symbol, view, row, stamp))
