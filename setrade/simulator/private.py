"""The signed calls: who may ask, and what an account answers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from aiohttp import web

from setrade.errors import ArgumentError, number
from setrade.simulator.account import MAKER, TAKER, ZERO, Account, Entry, Params, RestingOrder
from setrade.simulator.market import Exchange, category_of
from setrade.simulator.wire import (
    EXTRA,
    MAX_LEVERAGE,
    Now,
    Refused,
    plain,
    positive,
    wall_ms,
    whole,
)

AHEAD = 1000  # ms that a client's clock may be ahead
TOPICS = ("order", "execution", "position", "wallet")
NO_RIGHTS = ("Wallet", "Options", "CopyTrading", "BlockTrade", "Exchange", "NFT", "Affiliate")
BATCH = 20  # orders of one request


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
        if not isinstance(params, Mapping):
            raise Refused(10001, "params error: body is no object")
        answer, scoped = ROUTES[request.method, request.path]
        if scoped and category_of(params) != self.exchange.category:
            # assumption: what is served is listed in one category, and nothing in the others
            if posted:
                raise Refused(10001, "params error: symbol invalid in this category")
            return {"category": params["category"], "list": [], "nextPageCursor": ""}
        return answer(self, account, params)

    def create(self, account: Account, body: Params) -> Entry:
        """``POST /v5/order/create``: accepted now, at work when the delay is over."""
        made = account.accept(body)
        for order in made:
            if self.delay:
                order.status = "Created"
                asyncio.get_running_loop().call_later(self.delay, account.work, order)
            else:
                account.work(order)
        return made[0].ids()

    def amend(self, account: Account, body: Params) -> Entry:
        """``POST /v5/order/amend``."""
        order = _open_order(account, body)
        account.amend(order, body)
        return order.ids()

    def cancel(self, account: Account, body: Params) -> Entry:
        """``POST /v5/order/cancel``."""
        order = _open_order(account, body)
        account.cancel(order)
        return order.ids()

    def batch(self, account: Account, body: Params, one: Callable[..., Entry]) -> Entry:
        """``POST /v5/order/{create,amend,cancel}-batch``: each by itself, each with its code."""
        wanted = body.get("request")
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= BATCH:
            raise Refused(10001, f"params error: request must hold 1 to {BATCH} orders")
        done, codes = [], []
        for entry in wanted:
            names = {n: str(entry.get(n) or "") for n in ("symbol", "orderId", "orderLinkId")}
            made = {"category": body["category"], **names}
            try:
                made |= one(self, account, {**entry, "category": body["category"]})
                codes.append({"code": 0, "msg": "OK"})
            except Refused as refusal:
                codes.append({"code": refusal.code, "msg": refusal.message})
            created = str(self.exchange.clock()) if made["orderId"] else ""
            done.append(made | ({"createAt": created} if one is PrivateApi.create else {}))
        return {"list": done, EXTRA: {"list": codes}}

    def cancel_all(self, account: Account, body: Params) -> Entry:
        """``POST /v5/order/cancel-all``."""
        self._scope(body)
        orders = [o for o in _find(account, body) if o.is_open]
        for order in orders:
            account.cancel(order)
        return {"list": [order.ids() for order in orders], "success": "1"}

    def realtime(self, account: Account, query: Params) -> Entry:
        """``GET /v5/order/realtime``: open orders; one that is named, in any state."""
        self._scope(query)
        named = query.get("orderId") or query.get("orderLinkId")
        ended = whole(query, "openOnly", 0, 0, 2) > 0
        found = [o for o in _find(account, query) if named or o.is_open != ended]
        return _listing(query, [o.entry() for o in found], 20, 50)

    def history(self, account: Account, query: Params) -> Entry:
        """``GET /v5/order/history``."""
        found = [o.entry() for o in _find(account, query) if not o.is_open]
        return _listing(query, _within(query, found, "createdTime"), 20, 50)

    def executions(self, account: Account, query: Params) -> Entry:
        """``GET /v5/execution/list``."""
        found = (e for e in account.executions if _fits(account, query, e))
        kind = query.get("execType")
        found = [e for e in found if kind in (None, "", e["execType"])]
        return _listing(query, _within(query, found, "execTime"), 50, 100)

    def closed_pnl(self, account: Account, query: Params) -> Entry:
        """``GET /v5/position/closed-pnl``."""
        found = [e for e in account.closed if query.get("symbol") in (None, "", e["symbol"])]
        return _listing(query, _within(query, found, "updatedTime"), 50, 100)

    def positions(self, account: Account, query: Params) -> Entry:
        """``GET /v5/position/list``: the symbol named, held or not, or all that are held."""
        if query.get("category") == "spot":
            raise Refused(10001, "params error: Category is invalid")
        self._scope(query, coins=("settleCoin",))
        symbol = query.get("symbol")
        if symbol:
            self.exchange.instrument(symbol)
        names = [symbol] if symbol else [s for s, p in account.positions.items() if p.size]
        rows = (account.position_entry(name) for name in names)
        found = [row for row in rows if symbol or _fits(account, query, row)]
        return _listing(query, found, 20, 200)

    def set_leverage(self, account: Account, body: Params) -> Entry:
        """``POST /v5/position/set-leverage``."""
        symbol = self._contract(body)
        both = [positive(n, body.get(n)) for n in ("buyLeverage", "sellLeverage")]
        if both[0] != both[1] or not 1 <= both[0] <= Decimal(MAX_LEVERAGE):
            raise Refused(10001, "params error: buy leverage and sell leverage invalid")
        if both[0] == account.leverage(symbol):
            raise Refused(110043, "leverage not modified")
        before = account.leverage(symbol)
        account.leverages[symbol] = both[0]
        if sum(account.margin()) > account.equity():
            account.leverages[symbol] = before
            raise Refused(110012, "Insufficient available balance")
        return {}

    def switch_mode(self, account: Account, body: Params) -> Entry:
        """``POST /v5/position/switch-mode``: one-way (0) is the only mode here."""
        if body.get("mode") not in (0, 3) or not (body.get("symbol") or body.get("coin")):
            raise Refused(10001, "params error: mode invalid")
        if self.exchange.category == "spot":
            raise Refused(10001, "params error: Category is invalid")
        if body["mode"] == 3:  # assumption: as of a contract that has no hedge mode
            raise Refused(110029, "Hedge mode is not supported for this symbol")
        raise Refused(110025, "Position mode is not modified")

    def trading_stop(self, account: Account, body: Params) -> Entry:
        """``POST /v5/position/trading-stop``: stop and target of a whole position."""
        held = account.position(symbol := self._contract(body))
        other = [n for n in ("trailingStop", "activePrice") if body.get(n) not in (None, "", "0")]
        if body.get("positionIdx", 0) != 0 or body.get("tpslMode") == "Partial" or other:
            # assumption: this exchange knows stops of whole one-way positions only
            raise Refused(10001, "params error: a stop that this simulator does not know")
        if not held.size:
            raise Refused(10001, "can not set tp/sl/ts for zero position")
        tick = Decimal(self.exchange.instruments[symbol].tick_size)
        sign, price = (1 if held.size > 0 else -1), self.exchange.price(symbol)
        stops = dict(held.stops)
        for name, beyond in (("takeProfit", sign), ("stopLoss", -sign)):
            if body.get(name) in (None, ""):
                continue
            level = ZERO if str(body[name]).strip("0.") == "" else positive(name, body[name])
            if level % tick or (level and beyond * (level - price) <= 0):
                raise Refused(10001, f"{name} {body[name]} set for this position is out of place")
            stops.pop(name, None)
            stops |= {name: level} if level else {}
        if stops == held.stops:
            raise Refused(34040, "not modified")
        held.stops = stops
        account.tell("position", account.position_entry(symbol))
        return {}

    def _contract(self, body: Params) -> str:
        """Return the symbol of a call about a position."""
        if self.exchange.category == "spot":
            raise Refused(10001, "params error: Category is invalid")
        return self.exchange.instrument(body.get("symbol")).symbol

    def wallet(self, account: Account, query: Params) -> Entry:
        """``GET /v5/account/wallet-balance``."""
        if query.get("accountType") != "UNIFIED":
            raise Refused(10001, "accountType only support UNIFIED.")
        entry, wanted = account.wallet(), query.get("coin")
        if wanted:
            names = wanted.split(",")
            entry["coin"] = [coin for coin in entry["coin"] if coin["coin"] in names]
        return {"list": [entry]}

    def fee_rates(self, account: Account, query: Params) -> Entry:
        """``GET /v5/account/fee-rate``."""
        symbol = query.get("symbol")
        names = [self.exchange.instrument(symbol).symbol] if symbol else self.exchange.instruments
        rates = {"takerFeeRate": plain(TAKER), "makerFeeRate": plain(MAKER)}
        return {"list": [{"symbol": name, **rates} for name in names]}

    def account_info(self, account: Account, query: Params) -> Entry:
        """``GET /v5/account/info``."""
        return {
            "unifiedMarginStatus": 5, "marginMode": "REGULAR_MARGIN", "isMasterTrader": False,
            "spotHedgingStatus": "OFF", "updatedTime": str(self.exchange.clock()),
            "dcpStatus": "OFF", "timeWindow": 0, "smpGroup": 0,
        }  # fmt: skip

    def key_info(self, account: Account, query: Params) -> Entry:
        """``GET /v5/user/query-api``."""
        key = next(name for name, known in self.accounts.items() if known is account)
        rights: dict[str, list[str]] = {name: [] for name in NO_RIGHTS} | {
            "ContractTrade": ["Order", "Position"], "Spot": ["SpotTrade"],
            "Derivatives": ["DerivativesTrade"],
        }  # fmt: skip
        return {
            "id": "1", "note": "simulator", "apiKey": key, "readOnly": 0, "secret": "",
            "permissions": rights, "ips": ["127.0.0.1"], "type": 1, "deadlineDay": 90,
            "expiredAt": "2100-01-01T00:00:00Z", "createdAt": "2020-01-01T00:00:00Z",
            "unified": 0, "uta": 1, "userID": 1 + list(self.accounts).index(key), "inviterID": 0,
            "vipLevel": "No VIP", "mktMakerLevel": "0", "affiliateID": 0, "rsaPublicKey": "",
            "isMaster": True, "parentUid": "0", "kycLevel": "LEVEL_DEFAULT", "kycRegion": "",
        }  # fmt: skip

    def transactions(self, account: Account, query: Params) -> Entry:
        """``GET /v5/account/transaction-log``: what moved money, one entry an execution."""
        kinds = {"Trade": "TRADE", "Funding": "SETTLEMENT"}
        rows = [{
            "id": e["execId"], "symbol": e["symbol"], "category": e["category"], "side": e["side"],
            "transactionTime": e["execTime"], "type": kinds[e["execType"]], "qty": e["execQty"],
            "size": "", "currency": e["feeCurrency"], "tradePrice": e["execPrice"],
            "funding": e["execFee"] if e["execType"] == "Funding" else "",
            "fee": e["execFee"] if e["execType"] == "Trade" else "0", "cashFlow": e["execPnl"],
            "change": "", "cashBalance": "", "feeRate": e["feeRate"], "bonusChange": "",
            "tradeId": e["execId"], "orderId": e["orderId"], "orderLinkId": e["orderLinkId"],
        } for e in account.executions]  # fmt: skip
        named = [r for r in rows if query.get("category") in (None, "", r["category"])]
        return _listing(query, _within(query, named, "transactionTime"), 20, 50)

    def _scope(self, query: Params, coins: tuple[str, ...] = ("baseCoin", "settleCoin")) -> None:
        """Refuse a question about contracts that names none of symbol and coins."""
        given = any(query.get(name) for name in ("symbol", *coins))
        if self.exchange.category == "linear" and not given:
            raise Refused(10001, "params error: symbol or settleCoin is required")


def _open_order(account: Account, body: Params) -> RestingOrder:
    """Return the open order that a request names."""
    if not (body.get("orderId") or body.get("orderLinkId")):
        raise Refused(10001, "params error: orderId or orderLinkId is required")
    order = next((o for o in _find(account, body) if o.is_open), None)
    if order is None:
        raise Refused(110001, "order not exists or too late to cancel")
    return order


def _fits(account: Account, query: Params, entry: Params) -> bool:
    """Say whether an entry is of the symbol, the coins and the names that are asked for."""
    x, rules = account.exchange, account.exchange.instruments[entry["symbol"]]
    coins = {"settleCoin": rules.settles(x.category), "baseCoin": rules.base}
    facts = {name: entry.get(name) for name in ("symbol", "orderId", "orderLinkId")} | coins
    return all(query.get(name) in (None, "", value) for name, value in facts.items())


def _find(account: Account, query: Params) -> list[RestingOrder]:
    """Return the orders that a request asks for; one still on its way does not exist yet."""
    known = (o for o in account.orders if o.status != "Created")
    return [o for o in known if _fits(account, query, o.ids() | {"symbol": o.symbol})]


def _within(query: Params, entries: Iterable[Entry], stamp: str) -> list[Entry]:
    """Return the entries whose time lies between ``startTime`` and ``endTime``."""
    first, last = whole(query, "startTime", 0), whole(query, "endTime", 1 << 62)
    return [entry for entry in entries if first <= int(entry[stamp]) <= last]


def _listing(query: Params, entries: list[Entry], default: int, most: int) -> Entry:
    """Return a page of entries, newest first, and the cursor of the next."""
    limit = whole(query, "limit", default, 1, most)
    first = whole({"cursor": str(query.get("cursor") or "").removeprefix("page-")}, "cursor", 0)
    page = entries[::-1][first : first + limit]
    cursor = f"page-{first + limit}" if first + limit < len(entries) else ""
    return {"category": query.get("category", ""), "list": page, "nextPageCursor": cursor}


Route = tuple[Callable[[PrivateApi, Account, Params], Entry], bool]  # True: of a category
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/v5/order/create"): (PrivateApi.create, True),
    ("POST", "/v5/order/amend"): (PrivateApi.amend, True),
    ("POST", "/v5/order/cancel"): (PrivateApi.cancel, True),
    ("POST", "/v5/order/cancel-all"): (PrivateApi.cancel_all, True),
    ("POST", "/v5/order/create-batch"): (partial(PrivateApi.batch, one=PrivateApi.create), True),
    ("POST", "/v5/order/amend-batch"): (partial(PrivateApi.batch, one=PrivateApi.amend), True),
    ("POST", "/v5/order/cancel-batch"): (partial(PrivateApi.batch, one=PrivateApi.cancel), True),
    ("GET", "/v5/order/realtime"): (PrivateApi.realtime, True),
    ("GET", "/v5/order/history"): (PrivateApi.history, True),
    ("GET", "/v5/execution/list"): (PrivateApi.executions, True),
    ("GET", "/v5/position/list"): (PrivateApi.positions, True),
    ("GET", "/v5/position/closed-pnl"): (PrivateApi.closed_pnl, True),
    ("POST", "/v5/position/set-leverage"): (PrivateApi.set_leverage, True),
    ("POST", "/v5/position/switch-mode"): (PrivateApi.switch_mode, True),
    ("POST", "/v5/position/trading-stop"): (PrivateApi.trading_stop, True),
    ("GET", "/v5/account/fee-rate"): (PrivateApi.fee_rates, True),
    ("GET", "/v5/account/wallet-balance"): (PrivateApi.wallet, False),
    ("GET", "/v5/account/info"): (PrivateApi.account_info, False),
    ("GET", "/v5/account/transaction-log"): (PrivateApi.transactions, False),
    ("GET", "/v5/user/query-api"): (PrivateApi.key_info, False),
}
