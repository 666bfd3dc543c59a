"""One WebSocket connection: what it subscribed to, and the queue of what it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from itertools import count
from typing import Any

from aiohttp import web

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
