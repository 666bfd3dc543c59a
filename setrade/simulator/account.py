"""Accounts: their orders, fills, positions and funding, and the signed calls that ask for them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

from aiohttp import web

from setrade.errors import ArgumentError, number
from setrade.simulator.market import Exchange
from setrade.simulator.wire import (
    ListedInstrument,
    Now,
    Refused,
    plain,
    positive,
    text,
    wall_ms,
    whole,
)

ZERO = Decimal(0)
CONDITIONAL = ("triggerPrice", "takeProfit", "stopLoss", "trailingStop")
TAKER, MAKER = Decimal("0.00055"), Decimal("0.0002")  # VIP 0 on perpetuals
LEVERAGE = 10
AHEAD = 1000  # ms that a client's clock may be ahead
TOPICS = ("order", "execution", "position", "wallet")
Entry = dict[str, Any]  # a thing as the exchange lists it
Params = Mapping[str, Any]


@dataclass
class RestingOrder:
    """One order and what has become of it."""

    id: str
    symbol: str
    side: str
    kind: str
    qty: Decimal
    price: Decimal
    time_in_force: str
    link: str
    reduce_only: bool
    created: int
    updated: int
    status: str = "New"
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fee: Decimal = ZERO
    reason: str = "EC_NoError"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "Buy" else -1

    @property
    def is_open(self) -> bool:
        """True while the order can still fill."""
        return self.status == "New"

    def ids(self) -> dict[str, str]:
        """Return the two names of the order."""
        return {"orderId": self.id, "orderLinkId": self.link}

    def entry(self) -> Entry:
        """Return the order as the exchange lists it."""
        average = plain(self.value / self.filled) if self.filled else ""
        left = self.qty - self.filled if self.is_open else ZERO
        return self.ids() | {
            "symbol": self.symbol, "side": self.side, "orderType": self.kind,
            "price": plain(self.price), "qty": plain(self.qty),
            "timeInForce": self.time_in_force, "reduceOnly": self.reduce_only, "positionIdx": 0,
            "orderStatus": self.status, "rejectReason": self.reason,
            "avgPrice": average, "leavesQty": plain(left), "cumExecQty": plain(self.filled),
            "cumExecValue": plain(self.value), "cumExecFee": plain(self.fee),
            "createdTime": str(self.created), "updatedTime": str(self.updated),
        }  # fmt: skip


def read(
    body: Params, rules: ListedInstrument, last: Decimal, number: int, now: int
) -> RestingOrder:
    """Return the order that the body of ``/v5/order/create`` asks for.

    ``last`` is the price that a market order is valued at; the running ``number`` and the time
    ``now`` (ms) make the order id.

    Raises:
        Refused: a field is missing, malformed or against the rules.
    """
    for name, allowed in (("side", ("Buy", "Sell")), ("orderType", ("Market", "Limit"))):
        if body.get(name) not in allowed:
            raise Refused(10001, f"params error: {name} invalid")
    market = body["orderType"] == "Market"
    force = body.get("timeInForce") or ("IOC" if market else "GTC")
    if force not in ("GTC", "IOC", "FOK", "PostOnly"):
        raise Refused(10001, "params error: timeInForce invalid")
    if any(body.get(name) for name in CONDITIONAL) or body.get("positionIdx", 0) != 0:
        # assumption: this exchange knows one-way positions and plain orders only
        raise Refused(10001, "position idx not match position mode, or a conditional order")
    link = body.get("orderLinkId") or ""
    if not isinstance(link, str) or len(link) > 36:
        raise Refused(10001, "params error: orderLinkId invalid")
    price = ZERO if market else positive("price", body.get("price"))
    qty = _quantity(body, rules, price or last, last)
    if price % Decimal(rules.tick_size):
        raise Refused(10001, "params error: price is not a multiple of tickSize")
    return RestingOrder(
        f"{number:08x}-0000-4000-8000-{now:012x}", rules.symbol, body["side"], body["orderType"],
        qty, price, force, link, bool(body.get("reduceOnly")), created=now, updated=now,
    )  # fmt: skip


def _quantity(body: Params, rules: ListedInstrument, price: Decimal, last: Decimal) -> Decimal:
    """Return the quantity in coins, by the rules; assumption: their codes and texts."""
    qty, step = positive("qty", body.get("qty")), Decimal(rules.qty_step)
    by_value = body["category"] == "spot" and body["orderType"] == "Market"
    if by_value and body["side"] == "Buy" and body.get("marketUnit") != "baseCoin":
        qty = qty / last // step * step  # a spot market buy is sized by value
    if qty < Decimal(rules.min_qty):
        raise Refused(10001, "The number of contracts exceeds minimum limit allowed")
    if qty > Decimal(rules.max_qty):
        raise Refused(10001, "The number of contracts exceeds maximum limit allowed")
    if qty % step:
        raise Refused(10001, "params error: qty is not a multiple of qtyStep")
    if not body.get("reduceOnly") and qty * price < Decimal(rules.min_notional):
        raise Refused(110094, f"Order does not meet minimum order value {rules.min_notional}USDT")
    return qty


@dataclass
class Position:
    """Signed size and mean entry price of one symbol."""

    size: Decimal = ZERO
    entry: Decimal = ZERO
    realised: Decimal = ZERO

    def take(self, qty: Decimal, price: Decimal) -> Decimal:
        """Add a signed quantity; return the profit that this realises."""
        old, new = self.size, self.size + qty
        closed = min(abs(old), abs(qty)) if old * qty < 0 else ZERO
        profit = closed * (price - self.entry) * (1 if old > 0 else -1)
        if old * qty >= 0:
            self.entry = (self.entry * abs(old) + price * abs(qty)) / abs(new) if new else ZERO
        elif new * old <= 0:
            self.entry = price if new else ZERO
        self.size, self.realised = new, self.realised + profit
        return profit


class Account:
    """What one API key owns and has asked for.

    Args:
        exchange: where prices and rules come from.
        balance: USDT at the start.
        tell: called with a private topic and its entry whenever something changes.
    """

    def __init__(
        self, exchange: Exchange, balance: Decimal, tell: Callable[[str, Entry], None]
    ) -> None:
        self.exchange, self.balance, self.tell = exchange, balance, tell
        self.orders: list[RestingOrder] = []
        self.executions: list[Entry] = []
        self.positions: dict[str, Position] = {}
        self._numbers = count(1)

    def position(self, symbol: str) -> Position:
        """Return the position of a symbol, flat at first."""
        return self.positions.setdefault(symbol, Position())

    def equity(self) -> Decimal:
        """Return the balance plus what open positions have earned so far."""
        return self.balance + sum((self.profit(s) for s in self.positions), ZERO)

    def profit(self, symbol: str) -> Decimal:
        """Return the unrealised profit of a position at the last price."""
        held = self.position(symbol)
        return held.size * (self.exchange.price(symbol) - held.entry) if held.size else ZERO

    def accept(self, body: Params) -> RestingOrder:
        """Check a request and take the order in; `Refused` if it breaks a rule."""
        x = self.exchange
        if body.get("category") != x.category:
            raise Refused(10001, "params error: Category is invalid")
        rules = x.instrument(body.get("symbol"))
        if rules.status != "Trading":
            raise Refused(10001, "params error: symbol is closed")
        last = x.price(rules.symbol)
        order = read(body, rules, last, next(self._numbers), x.clock())
        if order.link and any(o.link == order.link for o in self.orders):
            raise Refused(110072, "OrderLinkedID is duplicate")
        self._afford(order, last)
        self.orders.append(order)
        return order

    def _afford(self, order: RestingOrder, last: Decimal) -> None:
        held = self.position(order.symbol).size
        if order.reduce_only:
            if held * order.sign >= 0:
                raise Refused(110017, "current position is zero, cannot fix reduce-only order qty")
            order.qty = min(order.qty, abs(held))
        grown = abs(held + order.sign * order.qty) - abs(held)
        if grown * (order.price or last) > self.equity() * LEVERAGE:
            raise Refused(110007, "ab not enough for new order")

    def work(self, order: RestingOrder) -> None:
        """Let an accepted order meet the market for the first time.

        assumption: what can trade fills at once and whole, at the best opposite price.
        """
        order.status = "New"
        bid, ask = self.exchange.touch(order.symbol, self.exchange.clock())
        price = ask if order.sign > 0 else bid
        meets = not order.price or order.sign * (order.price - price) >= 0
        if meets and order.time_in_force != "PostOnly":
            self.fill(order, price, TAKER, self.exchange.clock())
        elif meets or order.time_in_force in ("IOC", "FOK"):
            why = "EC_PostOnlyWillTakeLiquidity" if meets else "EC_NoImmediateQtyToFill"
            self.cancel(order, why)
        else:
            self.tell("order", order.entry())

    def match(self, symbol: str, at: int) -> None:
        """Fill resting orders that the market trades through at time ``at``."""
        for order in self.orders:
            if order.is_open and order.price and order.symbol == symbol and order.created < at:
                bid, ask = self.exchange.touch(symbol, at)
                if order.sign * (order.price - (ask if order.sign > 0 else bid)) > 0:
                    self.fill(order, order.price, MAKER, at)

    def fill(self, order: RestingOrder, price: Decimal, rate: Decimal, at: int) -> None:
        """Fill an order whole: position, balance, fee, execution; then tell."""
        value = order.qty * price
        fee = value * rate
        held = self.position(order.symbol)
        self.balance += held.take(order.sign * order.qty, price) - fee
        order.filled, order.value, order.fee = order.qty, value, fee
        order.status, order.updated = "Filled", at
        ids = order.ids() | {"symbol": order.symbol, "side": order.side, "execType": "Trade"}
        self._record(ids, at, price, order.qty, fee, rate)
        self.tell("order", order.entry())
        self.tell("position", self.position_entry(order.symbol))

    def fund(self, symbol: str, decimal_rate: float, at: int) -> None:
        """Charge funding: longs pay shorts when the rate is positive."""
        held, rate = self.position(symbol), Decimal(text(decimal_rate))
        if held.size:
            price, side = self.exchange.price(symbol, at), "Sell" if held.size > 0 else "Buy"
            fee = held.size * price * rate
            self.balance -= fee
            ids = {"orderId": "", "orderLinkId": "", "symbol": symbol, "side": side}
            self._record(ids | {"execType": "Funding"}, at, price, abs(held.size), fee, rate)

    def cancel(self, order: RestingOrder, reason: str = "EC_PerCancelRequest") -> None:
        """End an open order unfilled."""
        order.status, order.reason, order.updated = "Cancelled", reason, self.exchange.clock()
        self.tell("order", order.entry())

    def _record(
        self, ids: Entry, at: int, price: Decimal, qty: Decimal, fee: Decimal, rate: Decimal
    ) -> None:
        entry = ids | {
            "execId": f"exec-{len(self.executions) + 1:08d}", "execTime": str(at),
            "execPrice": plain(price), "execQty": plain(qty), "execValue": plain(price * qty),
            "execFee": plain(fee), "feeRate": plain(rate), "isMaker": rate == MAKER,
        }  # fmt: skip
        self.executions.append(entry)
        self.tell("execution", entry)

    def position_entry(self, symbol: str) -> Entry:
        """Return a position as the exchange lists it."""
        held = self.position(symbol)
        side = "Buy" if held.size > 0 else "Sell" if held.size < 0 else ""
        return {
            "symbol": symbol, "side": side, "size": plain(abs(held.size)),
            "avgPrice": plain(held.entry), "positionValue": plain(abs(held.size) * held.entry),
            "unrealisedPnl": plain(self.profit(symbol)), "cumRealisedPnl": plain(held.realised),
            "markPrice": plain(self.exchange.price(symbol)), "leverage": str(LEVERAGE),
            "positionIdx": 0,
        }  # fmt: skip


class PrivateApi:
    """The accounts behind the API keys, and the calls about them: signed, or refused.

    Args:
        exchange: the market.
        tell: called with key, topic and entry on each change.
        keys: secrets by API key.
        balance: USDT that each begins with.
        order_delay: seconds until an accepted order exists: placement is asynchronous.
        login_clock: ms; what signed timestamps are compared with. assumption: a replayed
            market has an old clock, but clients sign with their own, so this is the wall's.
    """

    def __init__(
        self,
        exchange: Exchange,
        tell: Callable[[str, str, Entry], None],
        keys: Mapping[str, str] | None,
        balance: float,
        order_delay: float,
        login_clock: Now | None,
    ) -> None:
        self.keys, self.exchange, self.clock = dict(keys or {}), exchange, login_clock or wall_ms
        if not all(isinstance(x, str) and x for pair in self.keys.items() for x in pair):
            raise ArgumentError("keys", list(self.keys), "texts, secrets by API key")
        self.delay = number("order_delay", order_delay, 0.0, 60.0)
        start = Decimal(str(number("balance", balance, 0.0)))
        self.accounts = {key: Account(exchange, start, partial(tell, key)) for key in self.keys}

    def login(self, args: Any) -> str:
        """Return the key that signs a private stream's ``auth``; refuse as `signer` does."""
        if not isinstance(args, list) or len(args) != 3:
            raise Refused(10001, "Params Error")
        key, expires, sign = args
        if key not in self.keys:
            raise Refused(10003, "API key is invalid.")
        if not str(expires).isdecimal() or int(expires) <= self.clock():
            raise Refused(10002, "request expired")
        self._verify(key, f"GET/realtime{expires}", str(sign), "error sign!")
        return key

    def signer(self, headers: Mapping[str, str], text: str) -> str:
        """Return the key of a signed call; ``text`` is the raw query string, or the raw body.

        Raises:
            Refused: 10003 unknown key, 10002 timestamp outside the window, 10004 wrong signature.
        """
        names = ("API-KEY", "TIMESTAMP", "SIGN")
        key, stamp, sign = (headers.get(f"X-BAPI-{name}", "") for name in names)
        window = headers.get("X-BAPI-RECV-WINDOW", "5000")
        if key not in self.keys:
            raise Refused(10003, "API key is invalid.")
        now, timely = self.clock(), stamp.isdecimal() and window.isdecimal()
        if not timely or not now - int(window) <= int(stamp) < now + AHEAD:
            raise Refused(
                10002,
                "invalid request, please check your server timestamp or recv_window param. "
                f"req_timestamp[{stamp}],server_timestamp[{now}],recv_window[{window}]",
            )
        wrong = "error sign! please check your signature generation algorithm."
        self._verify(key, f"{stamp}{key}{window}{text}", sign, wrong)
        return key

    def _verify(self, key: str, payload: str, sign: str, wrong: str) -> None:
        digest = hmac.new(self.keys[key].encode(), payload.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(sign, digest):
            raise Refused(10004, wrong)

    async def call(self, request: web.Request) -> Entry:
        """Verify the signature of a private call, then answer it."""
        posted = request.method == "POST"
        raw = await request.text() if posted else request.raw_path.partition("?")[2]
        account = self.accounts[self.signer(request.headers, raw)]
        try:
            params: Params = json.loads(raw) if posted else request.query
        except json.JSONDecodeError as error:
            raise Refused(10001, "params error: body is not JSON") from error
        return ROUTES[request.method, request.path](self, account, params)

    def create(self, account: Account, body: Params) -> Entry:
        """``POST /v5/order/create``: accepted now, at work when the delay is over."""
        order = account.accept(body)
        if self.delay:
            order.status = "Created"
            asyncio.get_running_loop().call_later(self.delay, account.work, order)
        else:
            account.work(order)
        return order.ids()

    def cancel(self, account: Account, body: Params) -> Entry:
        """``POST /v5/order/cancel``."""
        if not (body.get("orderId") or body.get("orderLinkId")):
            raise Refused(10001, "params error: orderId or orderLinkId is required")
        order = next((o for o in _find(account, body) if o.is_open), None)
        if order is None:
            raise Refused(110001, "order not exists or too late to cancel")
        account.cancel(order)
        return order.ids()

    def cancel_all(self, account: Account, body: Params) -> Entry:
        """``POST /v5/order/cancel-all``."""
        symbol = body.get("symbol")
        orders = [o for o in account.orders if o.is_open and symbol in (None, o.symbol)]
        for order in orders:
            account.cancel(order)
        return {"list": [order.ids() for order in orders], "success": "1"}

    def realtime(self, account: Account, query: Params) -> Entry:
        """``GET /v5/order/realtime``: open orders; one that is named, in any state."""
        _scope(query)
        named = query.get("orderId") or query.get("orderLinkId")
        orders = _find(account, query)
        return _listing(query, [o.entry() for o in orders if named or o.is_open])

    def history(self, account: Account, query: Params) -> Entry:
        """``GET /v5/order/history``."""
        return _listing(query, [o.entry() for o in _find(account, query) if not o.is_open])

    def executions(self, account: Account, query: Params) -> Entry:
        """``GET /v5/execution/list``."""
        return _listing(query, [e for e in account.executions if _fits(query, e)])

    def positions(self, account: Account, query: Params) -> Entry:
        """``GET /v5/position/list``."""
        _scope(query)
        symbol = query.get("symbol")
        if symbol:
            self.exchange.instrument(symbol)
        names = [symbol] if symbol else [s for s, p in account.positions.items() if p.size]
        return _listing(query, [account.position_entry(name) for name in names])

    def wallet(self, account: Account, query: Params) -> Entry:
        """``GET /v5/account/wallet-balance``."""
        if query.get("accountType") != "UNIFIED":
            raise Refused(10001, "accountType only support UNIFIED.")
        equity, cash = plain(account.equity()), plain(account.balance)
        coin = {"coin": "USDT", "equity": equity, "walletBalance": cash, "usdValue": equity}
        totals = {"totalEquity": equity, "totalWalletBalance": cash}
        return {"list": [{"accountType": "UNIFIED", **totals, "coin": [coin]}]}


def _fits(query: Params, entry: Params) -> bool:
    wanted = ((name, query.get(name)) for name in ("symbol", "orderId", "orderLinkId"))
    return all(value in (None, "", entry[name]) for name, value in wanted)


def _find(account: Account, query: Params) -> list[RestingOrder]:
    """Return the orders that a request asks for; one still on its way does not exist yet."""
    return [o for o in account.orders if o.status != "Created" and _fits(query, o.entry())]


def _scope(query: Params) -> None:
    if query.get("category") == "linear" and not (query.get("symbol") or query.get("settleCoin")):
        raise Refused(10001, "params error: symbol or settleCoin is required")


def _listing(query: Params, entries: list[Entry]) -> Entry:
    """Return the newest entries first; assumption: one page holds them all up to the limit."""
    page = entries[::-1][: whole(query, "limit", 50, 1, 100)]
    return {"category": query.get("category", ""), "list": page, "nextPageCursor": ""}


ROUTES = {
    ("POST", "/v5/order/create"): PrivateApi.create,
    ("POST", "/v5/order/cancel"): PrivateApi.cancel,
    ("POST", "/v5/order/cancel-all"): PrivateApi.cancel_all,
    ("GET", "/v5/order/realtime"): PrivateApi.realtime,
    ("GET", "/v5/order/history"): PrivateApi.history,
    ("GET", "/v5/execution/list"): PrivateApi.executions,
    ("GET", "/v5/position/list"): PrivateApi.positions,
    ("GET", "/v5/account/wallet-balance"): PrivateApi.wallet,
}
