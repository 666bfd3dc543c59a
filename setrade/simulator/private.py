"""The private calls: signed, about orders, executions, positions and the wallet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from ..errors import ArgumentError, number
from .account import Account
from .auth import check_call, check_stream
from .clock import Now
from .exchange import Exchange
from .orders import Order
from .wire import Refused, plain, wall_ms, whole

Params = Mapping[str, Any]
Answer = dict[str, Any]
TOPICS = ("order", "execution", "position", "wallet")


class Accounts:
    """The accounts behind the API keys.

    Args:
        exchange: the market.
        keys: secrets by API key.
        balance: USDT that each begins with.
        order_delay: seconds until an accepted order exists: placement is asynchronous.
        login_clock: ms; what signed timestamps are compared with. assumption: a replayed
            market has an old clock, but clients sign with their own, so this is the wall's.
        tell: called with key, topic and entries on each change.
    """

    def __init__(
        self,
        exchange: Exchange,
        keys: Mapping[str, str] | None,
        balance: float,
        order_delay: float,
        login_clock: Now | None,
        tell: Callable[[str, str, list[Answer]], None],
    ) -> None:
        pairs = dict(keys or {}).items()
        if not all(isinstance(x, str) and x for pair in pairs for x in pair):
            raise ArgumentError("keys", list(dict(pairs)), "texts, secrets by API key")
        self.keys, self.exchange = dict(pairs), exchange
        self.delay = number("order_delay", order_delay, 0.0, 60.0)
        self.clock = login_clock or wall_ms
        start = Decimal(str(number("balance", balance, 0.0)))
        self.by_key = {
            key: Account(exchange, start, lambda topic, entries, key=key: tell(key, topic, entries))
            for key in self.keys
        }

    def login(self, args: Any) -> str:
        """Return the key that signs a private stream's ``auth``."""
        return check_stream(self.keys, self.clock, args)

    async def call(self, request: web.Request, handler: Callable[..., Answer]) -> Answer:
        """Verify the signature, then answer."""
        raw = request.raw_path.partition("?")[2]
        if request.method == "POST":
            raw = await request.text()
        account = self.by_key[check_call(self.keys, self.clock, request.headers, raw)]
        params: Params = request.query
        if request.method == "POST":
            try:
                params = json.loads(raw)
            except json.JSONDecodeError as error:
                raise Refused(10001, "params error: body is not JSON") from error
        return handler(self, account, params)

    def create(self, account: Account, body: Params) -> Answer:
        """``POST /v5/order/create``: accepted now, at work when the delay is over."""
        order = account.accept(body)
        if self.delay:
            order.status = "Created"
            asyncio.get_running_loop().call_later(self.delay, _begin, account, order)
        else:
            account.work(order)
        return {"orderId": order.id, "orderLinkId": order.link}

    def cancel(self, account: Account, body: Params) -> Answer:
        """``POST /v5/order/cancel``."""
        found = _find(account, body)
        if not found:
            raise Refused(110001, "order not exists or too late to cancel")
        account.cancel(found[0])
        return {"orderId": found[0].id, "orderLinkId": found[0].link}

    def cancel_all(self, account: Account, body: Params) -> Answer:
        """``POST /v5/order/cancel-all``."""
        symbol = body.get("symbol")
        orders = [o for o in account.orders if o.is_open and symbol in (None, o.symbol)]
        for order in orders:
            account.cancel(order)
        return {"list": [{"orderId": o.id, "orderLinkId": o.link} for o in orders], "success": "1"}

    def realtime(self, account: Account, query: Params) -> Answer:
        """``GET /v5/order/realtime``: open orders; one that is named, in any state."""
        _scope(query)
        named = query.get("orderId") or query.get("orderLinkId")
        orders = _find(account, query) if named else account.orders
        return _listing(query, [o.entry() for o in orders if named or o.is_open])

    def history(self, account: Account, query: Params) -> Answer:
        """``GET /v5/order/history``."""
        named = query.get("orderId") or query.get("orderLinkId")
        orders = _find(account, query) if named else account.orders
        return _listing(query, [o.entry() for o in orders if not o.is_open])

    def executions(self, account: Account, query: Params) -> Answer:
        """``GET /v5/execution/list``."""
        return _listing(query, [e for e in account.executions if _fits(query, e)])

    def positions(self, account: Account, query: Params) -> Answer:
        """``GET /v5/position/list``."""
        _scope(query)
        symbol = query.get("symbol")
        if symbol:
            self.exchange.instrument(symbol)
        names = [symbol] if symbol else [s for s, p in account.positions.items() if p.size]
        return _listing(query, [account.position_entry(name) for name in names])

    def wallet(self, account: Account, query: Params) -> Answer:
        """``GET /v5/account/wallet-balance``."""
        if query.get("accountType") != "UNIFIED":
            raise Refused(10001, "accountType only support UNIFIED.")
        equity, cash = plain(account.equity()), plain(account.balance)
        coin = {"coin": "USDT", "equity": equity, "walletBalance": cash, "usdValue": equity}
        totals = {"totalEquity": equity, "totalWalletBalance": cash}
        return {"list": [{"accountType": "UNIFIED", **totals, "coin": [coin]}]}


def _begin(account: Account, order: Order) -> None:
    order.status = "New"
    account.work(order)


def _fits(query: Params, entry: Params) -> bool:
    wanted = ((name, query.get(name)) for name in ("symbol", "orderId", "orderLinkId"))
    return all(value in (None, "", entry[name]) for name, value in wanted)


def _find(account: Account, query: Params) -> list[Order]:
    """Return the orders that a request names; one still on its way does not exist yet."""
    return [o for o in account.orders if o.status != "Created" and _fits(query, o.entry())]


def _scope(query: Params) -> None:
    if query.get("category") == "linear" and not (query.get("symbol") or query.get("settleCoin")):
        raise Refused(10001, "params error: symbol or settleCoin is required")


def _listing(query: Params, entries: list[Answer]) -> Answer:
    """Return the newest entries first; assumption: one page holds them all up to the limit."""
    limit = whole(query, "limit", 50, 1, 100) or 50
    page = entries[::-1][:limit]
    return {"category": query.get("category", ""), "list": page, "nextPageCursor": ""}


ROUTES = [
    ("POST", "/v5/order/create", Accounts.create),
    ("POST", "/v5/order/cancel", Accounts.cancel),
    ("POST", "/v5/order/cancel-all", Accounts.cancel_all),
    ("GET", "/v5/order/realtime", Accounts.realtime),
    ("GET", "/v5/order/history", Accounts.history),
    ("GET", "/v5/execution/list", Accounts.executions),
    ("GET", "/v5/position/list", Accounts.positions),
    ("GET", "/v5/account/wallet-balance", Accounts.wallet),
]
