"""The face of the simulator: `serve`, and the `Server` under the caller's control."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from aiohttp import web

from ..errors import ArgumentError, integer, number
from .clock import Clock, duration_ms
from .exchange import Exchange
from .faults import Fault, Faults
from .host import HOST, Host
from .hub import Hub
from .private import ROUTES, Accounts
from .rest import Gateway
from .subscriptions import Desk

POLL = 0.005  # seconds between looks at a running clock
STREAMS = ("/v5/public/{category:spot|linear|inverse|option}", "/v5/private")


class SimulatorError(RuntimeError):
    """The simulator itself failed; the cause is chained."""


class Server:
    """A running exchange; made by `serve`, used as a context manager.

    ``faults.fired`` counts the faults that have struck, ``faults.pending`` those to come;
    ``exchange`` is the market itself, the truth that clients can be compared with.
    """

    def __init__(
        self, exchange: Exchange, faults: Iterable[Fault], port: int, updates: int,
        ack_delay: float, **accounts: Any,
    ) -> None:  # fmt: skip
        self.exchange, self.faults = exchange, Faults(faults)
        self._hub = Hub(exchange, self.faults, integer("updates", updates, 0, 1000), self._down)
        self._accounts = Accounts(exchange, tell=self._hub.tell_owner, **accounts)
        self._hub.accounts = self._accounts.by_key
        self._desk = Desk(self._hub, self._accounts, number("ack_delay", ack_delay, 0.0, 60.0))
        self._host = Host(integer("port", port, 0, 65_535), self._app, self._hang_up)
        self._gateway = Gateway(exchange, self.faults, self._host.errors)

    def _app(self) -> web.Application:
        """Return the application, made in the loop that will run it."""
        app = web.Application(middlewares=[self._gateway.watch])
        app.add_routes(self._gateway.routes())
        app.add_routes([web.get(path, self._desk.serve) for path in STREAMS])
        for method, path, handler in ROUTES:
            call = partial(self._accounts.call, handler=handler)
            app.router.add_route(method, path, self._gateway.wrap(call))
        clock = self.exchange.clock
        if not isinstance(clock, Clock) or clock.speed:
            self._host.spawn(self._pump())
        return app

    @property
    def http_url(self) -> str:
        """The base address of the REST calls."""
        return f"http://{HOST}:{self._host.port}"

    @property
    def ws_url(self) -> str:
        """The base address of the streams, without a path."""
        return f"ws://{HOST}:{self._host.port}"

    @property
    def requests(self) -> Counter[str]:
        """How many requests each path had so far; a stream's path counts its connections."""
        return Counter(self._gateway.requests)

    @property
    def topics(self) -> list[str]:
        """What is listened to at this moment."""
        return self._hub.subscribed()

    def now(self) -> int:
        """Return the exchange's time in ms."""
        return self.exchange.clock()

    def inject(self, *faults: Fault) -> None:
        """Queue faults behind those that still wait."""
        for fault in faults:
            self.faults.inject(fault)

    def advance(
        self, duration: Any = None, *, bars: int | None = None, updates: int | None = None
    ) -> int:
        """Move the clock on, tell the streams what happened meanwhile, return the new time.

        Args:
            duration: a length of time; or instead of it
            bars: so many bars of the finest interval; or
            updates: to the time of that many further rows of the (first) book.

        Returns:
            The clock in ms, when all messages have been handed to the operating system.

        Raises:
            ArgumentError: not exactly one of the three, or a clock that is not a `Clock`.
        """
        if [duration, bars, updates].count(None) != 2:
            given = {"duration": duration, "bars": bars, "updates": updates}
            raise ArgumentError("duration", given, "one of duration, bars and updates")
        if not isinstance(self.exchange.clock, Clock):
            raise ArgumentError("clock", self.exchange.clock, "a simulator.Clock, to be moved")
        if bars is not None:
            duration = integer("bars", bars, 1) * self._bar()
        elif updates is not None:
            duration = self._until_update(integer("updates", updates, 1))
        now = self.exchange.clock.advance(duration_ms("duration", duration))
        self._host.do(self._catch_up(now))
        return now

    def _bar(self) -> int:
        """Return the length of the finest bar in ms."""
        steps = [step for tapes in self.exchange.tapes["last"].values() for step in tapes]
        if not steps:
            raise ArgumentError("bars", 0, "a simulator that was given candles")
        return min(steps)

    def _until_update(self, updates: int) -> int:
        """Return the ms from now to the time of a further row of the first book."""
        tape = next(iter(self.exchange.books.values()), None)
        row = -1 if tape is None else tape.row(self.now()) + updates
        if tape is None or row >= len(tape):
            raise ArgumentError("updates", updates, "as many rows as a book still has")
        return max(int(tape.times[row]) - self.now(), 0)

    def publish(self, message: dict[str, Any]) -> None:
        """Send a message of your own to all that listen to its ``topic``."""
        if not isinstance(message, dict) or not {"topic", "type"} <= message.keys():
            raise ArgumentError("message", message, "a dict with topic and type")
        self._host.do(self._publish(message))

    async def _publish(self, message: dict[str, Any]) -> None:
        await self._hub.broadcast(message)
        await self._hub.flush()

    async def _catch_up(self, now: int) -> None:
        await self._hub.run_until(now)
        await self._hub.flush()

    async def _pump(self) -> None:
        """Follow a clock that runs by itself."""
        while True:
            await self._hub.run_until(self.exchange.clock())
            await asyncio.sleep(POLL)

    async def _down(self, seconds: float) -> None:
        await self._host.down(seconds, self._hang_up)

    def _hang_up(self) -> None:
        for connection in list(self._hub.connections):
            connection.abort()

    def __enter__(self) -> Server:
        try:
            self._host.start()
        except Exception as error:
            raise SimulatorError(f"the simulator could not start: {error}") from error
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._host.stop()
        if self._host.errors and error is None:
            first = self._host.errors[0]
            raise SimulatorError(f"the simulator failed: {first!r}") from first
