"""Private calls: keys from the environment, a session that signs, orders placed exactly once."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
import tenacity
from pybit.exceptions import FailedRequestError, InvalidRequestError

from setrade.bybit import codes, orders
from setrade.bybit.constants import AccessError, DataError, ExchangeError
from setrade.bybit.http import FORBIDDEN, Retry, Session, all_pages, parsing, reset_wait
from setrade.bybit.orders import Order, OrderRequest, OrderUnknownError, text
from setrade.errors import ArgumentError, Pickled, choice, flag, instance, number

HIDDEN = "***"


class KeysError(RuntimeError):
    """The environment has no usable keys; names the variables, never their values."""


class Unpicklable:
    """What holds keys is not pickled or copied."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds keys: it is not pickled or copied")


class Secret(Unpicklable, str):
    """Text that travels as it is and prints as ``***``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)


class Keys(Unpicklable):
    """A key pair; ``clean`` takes it out of a text, for an exchange may echo it."""

    __slots__ = ("key", "secret", "venue")

    def __init__(self, venue: str, key: str, secret: str) -> None:
        self.venue, self.key, self.secret = venue, Secret(key), Secret(secret)

    @classmethod
    def from_environment(cls, venue: str) -> Keys:
        """Return the keys in ``BYBIT_<VENUE>_API_KEY`` and ``BYBIT_<VENUE>_API_SECRET``.

        Raises:
            KeysError: one is missing, or is not the plain word that a key is.
        """
        names = [f"BYBIT_{venue.upper()}_API_{part}" for part in ("KEY", "SECRET")]
        found = {name: os.environ.get(name, "") for name in names}
        missing = [name for name, text in found.items() if not re.fullmatch("[!-~]{8,}", text)]
        if missing:
            raise KeysError(f"set {' and '.join(missing)} in the environment to a key of {venue}")
        return cls(venue, *found.values())

    def clean(self, text: str) -> str:
        """Return a text without the keys."""
        return text.replace(self.secret, HIDDEN).replace(self.key, HIDDEN)

    def __repr__(self) -> str:
        return f"Keys({self.venue})"


LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class OrderReply:
    """What became of a request that changes something.

    ``state``: ``"done"``; ``"refused"`` (it was not done, and will not be); ``"wait"`` (not
    done, for a reason that passes); ``"unknown"`` (the answer is lost: it may have been done);
    ``"before"`` (it had been done before); ``"odd"`` (refused by a code that nobody describes).
    """

    state: str
    code: int = 0
    message: str = ""
    wait: float = 0.0
    order_id: str = ""


class SignedSession(Unpicklable, Session):
    """A session that signs; its keys print as ``***`` and are in no message it raises.

    ``base_url`` is on this machine, or None: keys are sent nowhere else but to Bybit.
    """

    def __init__(
        self, keys: Keys, base_url: str | None, timeout: float, retry: Retry | None
    ) -> None:
        host = urlsplit(base_url).hostname if isinstance(base_url, str) else None
        if base_url is not None and host not in LOOPBACK:
            raise ArgumentError("base_url", base_url, "None, or an address on this machine")
        testnet, demo = keys.venue == "testnet", keys.venue == "demo"
        super().__init__(base_url, testnet, demo=demo, timeout=timeout, retry=retry)
        self.http.api_key, self.http.api_secret = keys.key, keys.secret
        self._clean = keys.clean

    def _typed(self, method: str, error: Exception) -> ExchangeError:
        typed = super()._typed(method, error)
        typed.message = self._clean(typed.message)
        typed.args = (self._clean(str(typed)),)
        return typed

    def send(self, method: str, **fields: Any) -> OrderReply:
        """Call one of pybit's POST methods once; only HTTP 403 raises, as `AccessError`."""
        try:
            result = getattr(self.http, method)(**fields)["result"]
            return OrderReply("done", order_id=str(result["orderId"]))
        except Exception as error:  # whatever it is, the request may have arrived
            reply = self._judge(error)
        if reply.code == 403:
            raise AccessError(method, 403, FORBIDDEN)
        return reply

    def _judge(self, error: Exception) -> OrderReply:
        """Say what an error tells about the request."""
        code = int(getattr(error, "status_code", 0) or 0)
        text = self._clean(str(getattr(error, "message", "") or type(error).__name__))
        if not isinstance(error, FailedRequestError | InvalidRequestError):
            unsent = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)
            return OrderReply("refused" if isinstance(error, unsent) else "unknown", code, text)
        state = FATES[codes.fate(code), codes.passes(code)]
        wait = max(self.retry.first, reset_wait(error, time.time())) if state == "wait" else 0.0
        return OrderReply(state, code, text, min(wait, self.retry.longest))


FATES = {  # of the table of codes -> what it makes of a request
    ("none", False): "refused", ("none", True): "wait", ("maybe", True): "unknown",
    ("done", False): "before", ("odd", False): "odd",
}  # fmt: skip
STATES = {
    "Created": "new", "New": "new", "Untriggered": "new", "Triggered": "new", "Active": "new",
    "PendingCancel": "new", "PartiallyFilled": "partly_filled", "Filled": "filled",
    "Rejected": "rejected", "Cancelled": "cancelled", "Deactivated": "cancelled",
    "PartiallyFilledCanceled": "cancelled",
}  # fmt: skip


def encode(request: OrderRequest, category: str) -> dict[str, Any]:
    """Return the body of ``/v5/order/create``; every number is plain decimal text."""
    body: dict[str, Any] = {
        "category": category, "symbol": request.symbol, "side": request.side.capitalize(),
        "orderType": "Market" if request.price is None else "Limit",
        "qty": text(request.qty), "orderLinkId": request.client_order_id,
    }  # fmt: skip
    if request.price is not None:
        body |= {"price": text(request.price), "timeInForce": "GTC"}
    return body | {"reduceOnly": request.reduce_only, "positionIdx": 0}


def _amount(value: Any, empty: str = "none") -> Decimal:
    """Return a figure of an answer, exact, finite and not negative; ``empty`` stands for none."""
    written = empty if value in ("", None) else str(value)
    return orders.decimal("amount", written) if Decimal(written) else Decimal(0)


def decode(entry: Mapping[str, Any]) -> Order:
    """Return an order from an entry of ``/v5/order/realtime`` or ``history``; else `DataError`."""
    with parsing(f"order {entry}"):
        kind = choice("orderType", entry["orderType"], ("Limit", "Market", "UNKNOWN"))
        price = _amount(entry["price"]) if kind == "Limit" else None
        average = float(_amount(entry.get("avgPrice"), "0")) or None
        state, reason = STATES[entry["orderStatus"]], entry.get("rejectReason", "")
        names = ("orderLinkId", "orderId", "symbol")
        link, number, symbol = (instance(k, entry[k], str, "text") for k in names)
        side = choice("side", entry["side"], ("Buy", "Sell")).lower()
        return Order(
            link, number, symbol, side, _amount(entry["qty"]), price,
            state, _amount(entry["cumExecQty"], "0"), average,
            flag("reduceOnly", entry.get("reduceOnly", False)),
            "" if reason == "EC_NoError" else reason,
        )  # fmt: skip


class HedgeModeError(DataError):
    """The account holds long and short apart (hedge mode): these brokers do not trade that."""


def read_position(entries: list[dict[str, Any]], symbol: str) -> float:
    """Return the signed size of a symbol from the entries of ``/v5/position/list``.

    Raises:
        HedgeModeError: an entry of one side of hedge mode.
        DataError: no entry of the symbol, or none that says whether it is held, and how much.
    """
    with parsing(f"position of {symbol}"):
        rows = [e for e in entries if e.get("symbol", symbol) == symbol]
        hedged = any(int(e.get("positionIdx") or 0) for e in rows)
    if hedged:
        raise HedgeModeError(f"{symbol} is in hedge mode: switch it to one-way mode")
    with parsing(f"position of {symbol}"):
        if not rows:
            raise ValueError("the answer has no entry of it")
        return float(sum(map(_held, rows)))


def _held(entry: Mapping[str, Any]) -> Decimal:
    """Return the signed size of an entry; ValueError where only its side or its size is told."""
    sign = {"Buy": 1, "Sell": -1, "": 0, "None": 0}[entry["side"]]
    size = _amount(entry["size"], "none" if sign else "0")
    if size and not sign:
        raise ValueError(f"a size of {size} without a side")
    return sign * size


def read_equity(result: Mapping[str, Any]) -> float:
    """Return the total from ``/v5/account/wallet-balance``."""
    with parsing("equity"):
        return number("totalEquity", float(result["list"][0]["totalEquity"]))


DUPLICATE = (110072, 170141, 10014)
COINS = ("USDT", "USDC")  # that linear contracts settle in
MOST_ORDERS = 50  # a page
TRIES = 5  # of one order, all under one name
REMEMBERED = 1_000  # orders whose symbol is known
FIRST_LOOK, LONGEST_LOOK = 0.05, 1.0  # seconds between looks


class NotDoneError(Pickled, Exception):
    """A request has to be sent again, after ``wait`` seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        self.wait = wait
        super().__init__(message)


class OrderClient:
    """Places, finds and cancels orders by their own names.

    An accepted order must have become visible within ``settle`` seconds.
    """

    def __init__(self, session: SignedSession, category: str, settle: float) -> None:
        self.session, self.category, self.settle = session, category, settle
        self._symbols: dict[str, str] = {}  # of the newest orders

    def _until(self, name: str, wanted: Callable[[Order | None], bool]) -> Order | None:
        """Return an order as soon as it is as wanted, or as it is ``settle`` seconds later."""
        looking = tenacity.Retrying(
            stop=tenacity.stop_after_delay(self.settle), wait=self._until_settled,
            retry=tenacity.retry_if_result(lambda order: not wanted(order)),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )  # fmt: skip
        try:
            return looking(self.find, name)
        except (ExchangeError, DataError) as error:
            failure = OrderUnknownError(name, f"could not be looked up: {error}")
        raise failure  # outside the handler: a chained cause would print what the host echoed

    def _until_settled(self, state: tenacity.RetryCallState) -> float:
        """Return seconds between looks: doubling, and the last look when the time is up."""
        wait = tenacity.wait_exponential(multiplier=FIRST_LOOK, max=LONGEST_LOOK)(state)
        return max(0.0, min(wait, self.settle - (state.seconds_since_start or 0.0)))

    def _until_done(self, name: str, request: Callable[[], Order]) -> Order:
        """Return what ``request`` comes to, sent anew while it is not done."""
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(TRIES), reraise=True,
            retry=tenacity.retry_if_exception_type(NotDoneError),
            wait=lambda state: getattr(state.outcome and state.outcome.exception(), "wait", 0.0),
        )  # fmt: skip
        try:
            return retrying(request)
        except NotDoneError as error:
            last = f"not done in {TRIES} tries, the last: {error}"
        raise OrderUnknownError(name, last)

    def place(self, request: OrderRequest) -> Order:
        """Send an order; return it as the exchange took it, or raise what became of it."""
        self._remember(request.client_order_id, request.symbol)
        return self._until_done(request.client_order_id, lambda: self._place(request))

    def _place(self, request: OrderRequest) -> Order:
        """Send once; where the answer is lost, look whether the order has come into being.

        Where it is not there after the time in which it must have shown, the next try goes out
        under the same name, so that even now the two cannot both come into being.
        """
        reply = self.session.send("place_order", **encode(request, self.category))
        if reply.state == "done":  # how it fares is for `Broker.order` to say
            return Order.of(request, reply.order_id)
        if reply.state == "wait":
            raise NotDoneError(reply.message, reply.wait)
        named = reply.state == "before" and reply.code in DUPLICATE
        found = None if reply.state == "refused" else self.look(request.client_order_id)
        if found is not None:
            return orders.same(found, request)
        if reply.state == "unknown" or named:
            raise NotDoneError(f"no clear answer, {reply.message}")
        raise orders.OrderRejectedError(request.client_order_id, reply.code, reply.message)

    def look(self, name: str) -> Order | None:
        """Return an order, waiting up to ``settle`` seconds for it to show; None if it does not.

        Raises:
            OrderUnknownError: the exchange could not be asked.
        """
        return self._until(name, lambda order: order is not None)

    def find(self, name: str, like: str = "") -> Order | None:
        """Return an order as it is now, from among the open and the ended ones.

        ``like`` names another order of its symbol, which makes looking up quicker.
        """
        symbol = self._symbols.get(name) or self._symbols.get(like)
        scopes = [{"symbol": symbol}] if symbol else [{"settleCoin": coin} for coin in COINS]
        for method, scope in product(("get_open_orders", "get_order_history"), scopes):
            for order in map(decode, self.listed(method, orderLinkId=name, **scope)):
                if order.client_order_id == name:
                    self._remember(name, order.symbol)
                    return order
        return None

    def _remember(self, name: str, symbol: str) -> None:
        """Note the symbol of an order: to name it makes looking up quicker."""
        self._symbols[name] = symbol
        if len(self._symbols) > REMEMBERED:
            del self._symbols[next(iter(self._symbols))]

    def listed(self, method: str, **query: Any) -> list[dict[str, Any]]:
        """Return the list of a private or public GET of this category."""
        result = self.session.get(method, category=self.category, **query)["result"]
        if not isinstance(result.get("list"), list):
            raise DataError(f"{method}: the answer has no list")
        return result["list"]

    def pages(self, method: str, **query: Any) -> list[dict[str, Any]]:
        """Return all pages of the list of a GET of this category."""
        query |= {"limit": MOST_ORDERS, "category": self.category}
        return all_pages(self.session.get, method, **query)

    def cancel(self, name: str) -> Order:
        """Cancel an order and return it as it ended; to cancel twice does no harm.

        Raises:
            OrderNotFoundError: there is none of that name.
            OrderRejectedError: refused for another reason.
            OrderUnknownError: it could not be learned whether it was cancelled.
        """
        return self._until_done(name, lambda: self._cancel(name))

    def _cancel(self, name: str) -> Order:
        """Return the order if it has ended, else ask once for its end and wait for it to show."""
        order = self.look(name)
        if order is None:
            raise orders.OrderNotFoundError(name, "the exchange knows none")
        if not order.is_open:
            return order
        reply = self.session.send(
            "cancel_order", category=self.category, symbol=order.symbol, orderLinkId=name
        )
        if reply.state == "wait":
            raise NotDoneError(reply.message, reply.wait)
        ended = self._until(name, lambda now: now is not None and not now.is_open)
        if ended is not None and not ended.is_open:
            return ended
        if reply.code in codes.CANCELLED:  # the listing lags behind what the exchange has said
            return replace(ended or order, status="cancelled")
        if reply.state in ("refused", "odd"):
            raise orders.OrderRejectedError(name, reply.code, reply.message)
        raise NotDoneError("still open after a request to cancel it", FIRST_LOOK)
