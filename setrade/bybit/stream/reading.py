"""Reading a stream: one event after the other, in a thread or in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from types import TracebackType
from typing import Self

from setrade.errors import number

from .events import Event
from .inbox import Inbox, Note
from .reader import Reader
from .supervisor import Supervisor


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
