"""HTTP: counting, faults, headers and the envelope around every call."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from . import public
from .exchange import Exchange
from .faults import AFTER, BEFORE, Fault, Faults
from .wire import Refused, envelope, wall_ms

LIMIT = 50  # requests in the window that the headers speak of
PAGES = {
    "http_403": (403, "<html><head><title>403 Forbidden</title></head>"
             "<body>access too frequent, or your region is not served</body></html>"),
    "http_429": (429, "<html><body>Too many visits. Exceeded the API Rate Limit.</body></html>"),
    "http_500": (500, "<html><body>Internal Server Error</body></html>"),
}  # fmt: skip
RESET = {"rate_limit_future": 1, "rate_limit_past": -1}
Call = Callable[[web.Request], Awaitable[dict[str, Any]]]


class Gateway:
    """What stands between the socket and the handlers."""

    def __init__(self, exchange: Exchange, faults: Faults, errors: list[BaseException]) -> None:
        self.exchange, self.faults, self.errors = exchange, faults, errors
        self.requests: Counter[str] = Counter()

    def public(self, handler: Callable[[Exchange, Any], dict[str, Any]]) -> Any:
        """Return the aiohttp handler of a public call."""

        async def call(request: web.Request) -> dict[str, Any]:
            return handler(self.exchange, request.query)

        return self.wrap(call)

    def wrap(self, call: Call) -> Any:
        """Return an aiohttp handler that answers with an envelope, unless a fault strikes."""

        async def handle(request: web.Request) -> web.StreamResponse:
            before = self.faults.take(BEFORE, request.path)
            if before is not None:
                return self._instead(before)
            answer = await self._carry_out(call, request)
            after = self.faults.take(AFTER, request.path)
            return (
                self._json(answer) if after is None else await self._spoil(after, answer, request)
            )

        return handle

    async def _carry_out(self, call: Call, request: web.Request) -> dict[str, Any]:
        try:
            return envelope(await call(request), self.exchange.clock())
        except Refused as refusal:
            return envelope(None, self.exchange.clock(), refusal.code, refusal.message)

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

    def routes(self) -> list[web.RouteDef]:
        """Return the public routes."""
        return [web.get(path, self.public(f)) for path, f in public.ROUTES.items()]
