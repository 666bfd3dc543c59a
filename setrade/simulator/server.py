"""The server: HTTP around the calls, a thread that listens, and `serve`, which starts it all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from setrade.errors import ArgumentError, integer, number
from setrade.simulator import market, private
from setrade.simulator.account import Account
from setrade.simulator.broadcaster import Broadcaster, WebSocketEndpoint
from setrade.simulator.faults import AFTER, BEFORE, Fault, Faults
from setrade.simulator.market import Exchange
from setrade.simulator.private import PrivateApi
from setrade.simulator.wire import Clock, Now, Refused, envelope, wall_ms

HOST = "127.0.0.1"
POLL = 0.005  # seconds between looks at a running clock
STREAMS = ("/v5/public/{category:spot|linear|inverse|option}", "/v5/private")
LIMIT = 50  # requests in the window that the headers speak of
PAGES = {
    "http_403": (403, "<html><head><title>403 Forbidden</title></head>"
             "<body>access too frequent, or your region is not served</body></html>"),
    "http_429": (429, "<html><body>Too many visits. Exceeded the API Rate Limit.</body></html>"),
    "http_500": (500, "<html><body>Internal Server Error</body></html>"),
}  # fmt: skip
RESET = {"rate_limit_future": 1, "rate_limit_past": -1}
Call = Callable[[web.Request], Awaitable[dict[str, Any]]]


class SimulatorError(RuntimeError):
    """The simulator itself failed; the cause is chained."""


class Gateway:
    """What stands between the socket and the handlers: counts, faults, headers, envelopes."""

    def __init__(self, exchange: Exchange, faults: Faults, errors: list[BaseException]) -> None:
        self.exchange, self.faults, self.errors = exchange, faults, errors
        self.requests: Counter[str] = Counter()

    async def public(self, request: web.Request) -> dict[str, Any]:
        """Answer a public call."""
        return market.ROUTES[request.path](self.exchange, request.query)

    async def handle(self, request: web.Request, call: Call) -> web.StreamResponse:
        """Answer a request with an envelope, unless a fault strikes."""
        before = self.faults.take(BEFORE, request.path)
        if before is not None:
            return self._instead(before)
        try:
            answer = envelope(await call(request), self.exchange.clock())
        except Refused as refusal:
            answer = envelope(None, self.exchange.clock(), refusal.code, refusal.message)
        after = self.faults.take(AFTER, request.path)
        return self._json(answer) if after is None else await self._spoil(after, answer, request)

    def _json(self, answer: dict[str, Any], reset: int | None = 0) -> web.Response:
        headers = {"X-Bapi-Limit": str(LIMIT), "X-Bapi-Limit-Status": str(LIMIT - 1)}
        if reset is not None:
            headers["X-Bapi-Limit-Reset-Timestamp"] = str(wall_ms() + reset)
        return web.json_response(answer, headers=headers)

    def _instead(self, fault: Fault) -> web.Response:
        """Answer without doing what was asked."""
        if fault.kind in PAGES:
            status, page = PAGES[fault.kind]
            return web.Response(status=status, text=page, content_type="text/html")
        sign = RESET.get(fault.kind)
        answer = envelope(None, self.exchange.clock(), 10006, "Too many visits!")
        return self._json(answer, None if sign is None else sign * int(fault.seconds * 1000))

    async def _spoil(
        self, fault: Fault, answer: dict[str, Any], request: web.Request
    ) -> web.StreamResponse:
        """Lose or damage the answer to what has been done."""
        body = json.dumps(answer).encode()
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return self._json(answer)
        if fault.kind == "bad_json":
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        if fault.kind == "cut_body":
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()  # after what was written
        return web.Response()

    @web.middleware
    async def watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Count the request; keep an error of the simulator's own for the client's test."""
        self.requests[request.path] += 1
        try:
            return await handler(request)
        except (web.HTTPException, ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            self.errors.append(error)
            raise


class Host:
    """The event loop of the simulator, in a thread of its own.

    Args:
        port: 0 takes a free one.
        app: makes the application, in the loop.
        hang_up: cuts all connections; called in the loop.

    ``errors`` keeps what failed inside, for the thread that uses the simulator.
    """

    def __init__(
        self, port: int, app: Callable[[], web.Application], hang_up: Callable[[], None]
    ) -> None:
        self.port, self.errors = port, list[BaseException]()
        self._app, self._hang_up = app, hang_up
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
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await self.up()
        self._ready.set()
        await self._stop.wait()
        for task in list(self._tasks):
            task.cancel()
        self._hang_up()
        await self._runner.cleanup()

    async def up(self, delay: float = 0.0) -> None:
        """Listen on the port: the same one after a spell of refusing."""
        await asyncio.sleep(delay)
        self._site = web.TCPSite(self._runner, HOST, self.port)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def down(self, seconds: float) -> None:
        """Refuse connections for a while, and hang up on those that there are."""
        await self._site.stop()
        self._hang_up()
        self.spawn(self.up(seconds))


class Server:
    """A running exchange; made by `serve`, used as a context manager.

    ``faults.fired`` counts the faults that have struck, ``faults.pending`` those to come;
    ``exchange`` is the market itself, the truth that clients can be compared with; ``accounts``
    are by API key; ``errors`` keeps what failed inside, and leaving the block raises it.
    """

    def __init__(
        self, exchange: Exchange, faults: Iterable[Fault], port: int, updates: int,
        ack_delay: float, **accounts: Any,
    ) -> None:  # fmt: skip
        self.exchange, self.faults = exchange, Faults(faults)
        self._host = Host(integer("port", port, 0, 65_535), self._app, self._hang_up)
        self.errors = self._host.errors
        updates = integer("updates", updates, 0, 1000)
        self._broadcaster = Broadcaster(exchange, self.faults, updates, self._host.down)
        self._private = PrivateApi(exchange, self._broadcaster.tell_owner, **accounts)
        self.accounts: dict[str, Account] = self._private.accounts
        self._broadcaster.accounts = self.accounts
        self._ack_delay = number("ack_delay", ack_delay, 0.0, 60.0)
        self._gateway = Gateway(exchange, self.faults, self.errors)

    def _app(self) -> web.Application:
        """Return the application, made in the loop that will run it."""
        app, gateway = web.Application(middlewares=[self._gateway.watch]), self._gateway
        endpoint = WebSocketEndpoint(self._broadcaster, self._private, self._ack_delay)
        for path in STREAMS:
            app.router.add_get(path, endpoint.serve)
        for path in market.ROUTES:
            app.router.add_get(path, partial(gateway.handle, call=gateway.public))
        for method, path in private.ROUTES:
            app.router.add_route(method, path, partial(gateway.handle, call=self._private.call))
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
        return self._broadcaster.subscribed()

    def now(self) -> int:
        """Return the exchange's time in ms."""
        return self.exchange.clock()

    def inject(self, *faults: Fault) -> None:
        """Queue faults behind those that still wait."""
        self.faults.inject(*faults)

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
        now = self.exchange.clock.advance(duration)
        self._host.do(self._flushed(self._broadcaster.run_until(now)))
        return now

    def _bar(self) -> int:
        """Return the length of the finest bar in ms."""
        steps = [step for series in self.exchange.bars["last"].values() for step in series]
        if not steps:
            raise ArgumentError("bars", 0, "a simulator that was given candles")
        return min(steps)

    def _until_update(self, updates: int) -> int:
        """Return the ms from now to the time of a further row of the first book."""
        book = next(iter(self.exchange.books.values()), None)
        row = -1 if book is None else book.row(self.now()) + updates
        if book is None or row >= len(book.times):
            raise ArgumentError("updates", updates, "as many rows as a book still has")
        return max(int(book.times[row]) - self.now(), 0)

    def publish(self, message: dict[str, Any]) -> None:
        """Send a message of your own to all that listen to its ``topic``."""
        if not isinstance(message, dict) or not {"topic", "type"} <= message.keys():
            raise ArgumentError("message", message, "a dict with topic and type")
        self._host.do(self._flushed(self._broadcaster.broadcast(message)))

    async def _flushed(self, work: Awaitable[None]) -> None:
        await work
        await self._broadcaster.flush()

    async def _pump(self) -> None:
        """Follow a clock that runs by itself."""
        while True:
            await self._broadcaster.run_until(self.exchange.clock())
            await asyncio.sleep(POLL)

    def _hang_up(self) -> None:
        for connection in list(self._broadcaster.connections):
            connection.abort()

    def __enter__(self) -> Server:
        try:
            self._host.start()
        except Exception as error:
            raise SimulatorError(f"the simulator could not start: {error}") from error
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._host.stop()
        if self.errors and error is None:
            first = self.errors[0]
            raise SimulatorError(f"the simulator failed: {first!r}") from first


def serve(
    candles: Any = None,
    books: Any = None,
    faults: Iterable[Fault] = (),
    *,
    port: int = 0,
    updates: int = 3,
    ack_delay: float = 0.02,
    keys: Mapping[str, str] | None = None,
    balance: float = 10_000.0,
    order_delay: float = 0.0,
    login_clock: Now | None = None,
    **market: Any,
) -> Server:
    """Return an exchange on loopback, a context manager with ``.http_url`` and ``.ws_url``.

    Args:
        candles: a frame of candles, ``{symbol: frame}`` or ``{(symbol, interval): frame}``;
            longer intervals are made of the finest one.
        books: `orderbook.Snapshots`, a list of the exchange's own messages, or a dict of
            either by symbol.
        faults: `Fault` entries, fired in order as their chances come.
        port: 0 takes a free one.
        updates: pushes of a forming bar between its open and its close.
        ack_delay: seconds until a subscription is acknowledged.
        keys: secrets by API key, for private calls; each key has an account of its own.
        balance: USDT that an account begins with.
        order_delay: seconds until an accepted order exists, for placement is asynchronous.
        login_clock: what signed timestamps are compared with, in ms; the wall's by default.
        **market: ``symbol`` ("BTCUSDT") of what comes without one; ``category`` ("linear");
            ``now``, the clock's first reading (the close of the last bar, or the first row
            of the book where there are no bars); ``speed`` (0: the clock stands until
            `Server.advance`); ``clock``, a `Clock` or any callable that returns ms;
            ``instruments``, `ListedInstrument` entries; ``funding``, a Series of rates or a dict
            of them; ``mark`` and ``index``, candles of those prices.

    Returns:
        A `Server`: ``requests`` counts by path, `inject`, `advance` and `publish` act on it.

    Raises:
        ArgumentError: an argument that it cannot use.
        CandleError: a frame that `candles.check` refuses.
    """
    exchange = Exchange(candles, books, **market)
    return Server(
        exchange, faults, port, updates, ack_delay, keys=keys, balance=balance,
        order_delay=order_delay, login_clock=login_clock,
    )  # fmt: skip
