"""A thread that runs an aiohttp application on one loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiohttp import web

HOST = "127.0.0.1"


class Host:
    """The event loop of the simulator, in a thread of its own.

    Args:
        port: 0 takes a free one.
        app: makes the application, in the loop.
        leave: called in the loop at the end, before the application is cleaned up.

    ``errors`` keeps what failed inside, for the thread that uses the simulator.
    """

    def __init__(
        self, port: int, app: Callable[[], web.Application], leave: Callable[[], None]
    ) -> None:
        self.port, self.errors = port, list[BaseException]()
        self._app, self._leave = app, leave
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    def start(self) -> None:
        """Start the thread, and return when the port answers; raise what prevented it."""
        self._thread.start()
        self._ready.wait()
        if self.errors:
            self._thread.join(timeout=10)
            raise self.errors[0]

    def stop(self) -> None:
        """Stop serving, and wait until the thread has ended."""
        with contextlib.suppress(RuntimeError):  # the loop may have ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the loop, and wait; raise here what failed there."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=600)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the background of the loop; to be called inside it."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._ready.set()
            self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await self.up()
        self._ready.set()
        await self._stop.wait()
        for task in list(self._tasks):
            task.cancel()
        self._leave()
        await self._runner.cleanup()

    async def up(self) -> None:
        """Listen on the port: the same one after a spell of refusing."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name != "nt":  # there it would share the port with another program
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((HOST, self.port))
            self.port = sock.getsockname()[1]
            self._site = web.SockSite(self._runner, sock)
            await self._site.start()
        except OSError:
            sock.close()
            raise

    async def down(self, seconds: float, hang_up: Callable[[], None]) -> None:
        """Refuse connections for a while, and hang up on those that there are."""
        await self._site.stop()
        hang_up()
        self.spawn(self._later(seconds, self.up))

    async def _later(self, seconds: float, then: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(seconds)
        await then()
