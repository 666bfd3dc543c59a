"""API keys: read from the environment, used to sign, shown to nobody.

The secrets live in a closure. What has to be handed to pybit and requests (the key, in a
header) is a string that prints as ``***``. Neither can be pickled.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
from pybit.exceptions import FailedRequestError, InvalidRequestError

from setrade.bybit.constants import AccessError, DataError, ExchangeError
from setrade.bybit.http import FORBIDDEN, Retry, Session, is_passing, reset_wait
from setrade.bybit.orders import (
    Instrument,
    Intent,
    Order,
    OrderNotFoundError,
    OrderRejectedError,
    OrderUnknownError,
    same,
    text,
)
from setrade.errors import ArgumentError, number

HIDDEN = "***"


class KeysError(RuntimeError):
    """The environment has no usable keys; names the variables, never their values."""


class Secret(str):
    """Text that travels as it is and prints as ``***``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("keys are not pickled or copied")


class Keys:
    """A key pair that can sign; made by `from_environment`.

    ``headers`` is what pybit calls to prepare a private request; ``clean`` takes the keys out
    of a text (an exchange may echo them).
    """

    __slots__ = ("clean", "headers", "venue")

    def __init__(self, venue: str, key: str, secret: str) -> None:
        self.venue = venue
        self.headers: Callable[..., dict[str, str]] = _signer(key, secret)
        self.clean: Callable[[str], str] = _cleaner(key, secret)

    @classmethod
    def from_environment(cls, venue: str) -> Keys:
        """Return the keys in ``BYBIT_<VENUE>_API_KEY`` and ``BYBIT_<VENUE>_API_SECRET``.

        Raises:
            KeysError: one is missing, or is not the plain word that a key is.
        """
        names = [f"BYBIT_{venue.upper()}_API_{part}" for part in ("KEY", "SECRET")]
        missing = [name for name in names if not _usable(os.environ.get(name, ""))]
        if missing:
            raise KeysError(f"set {' and '.join(missing)} in the environment to a key of {venue}")
        return cls(venue, *(os.environ[name] for name in names))

    def __repr__(self) -> str:
        return f"Keys({self.venue})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("keys are not pickled or copied")


def _usable(text: str) -> bool:
    """Tell whether a text can be a key: one printable ASCII word."""
    return len(text) >= 8 and text.isascii() and text.isprintable() and " " not in text


def _signer(key: str, secret: str) -> Callable[..., dict[str, str]]:
    """Return pybit's ``_prepare_headers`` for one key pair.

    https://bybit-exchange.github.io/docs/v5/guide#authentication
    """

    def headers(
        payload: str, recv_window: int, content_type: str = "application/json"
    ) -> dict[str, str]:
        stamp = str(time.time_ns() // 1_000_000)
        signed = f"{stamp}{key}{recv_window}{payload}".encode()
        return {
            "Content-Type": content_type,
            "X-BAPI-API-KEY": Secret(key),
            "X-BAPI-SIGN": Secret(hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()),
            "X-BAPI-SIGN-TYPE": "2",
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": str(recv_window),
        }

    return headers


def _cleaner(key: str, secret: str) -> Callable[[str], str]:
    def clean(text: str) -> str:
        return text.replace(secret, HIDDEN).replace(key, HIDDEN)

    return clean


# ---- Private calls: reads are tried again, what changes something is sent once.


TOO_MANY = (10006, 429)  # refused before it was looked at: it has not been done
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Answer:
    """What became of a request that changes something.

    ``state``: ``"done"``; ``"refused"`` (it was not done, and will not be); ``"wait"`` (not
    done: too many requests); ``"unknown"`` (the answer is lost: it may have been done).
    """

    state: str
    code: int = 0
    message: str = ""
    wait: float = 0.0
    order_id: str = ""


class Wire(Session):
    """A session that signs; its keys are in no attribute, and in no message it raises."""

    def __init__(
        self, keys: Keys, base_url: str | None, timeout: float, retry: Retry | None
    ) -> None:
        venue = keys.venue
        super().__init__(
            base_url, venue == "testnet", demo=venue == "demo", timeout=timeout, retry=retry
        )
        self.http._prepare_headers = keys.headers
        self._clean = keys.clean

    def __repr__(self) -> str:
        return f"Wire({self.endpoint})" if hasattr(self, "http") else "Wire()"

    def _typed(self, method: str, error: Exception) -> ExchangeError:
        typed = super()._typed(method, error)
        typed.message = self._clean(typed.message)
        typed.args = (self._clean(str(typed)),)
        return typed

    def send(self, method: str, **fields: Any) -> Answer:
        """Call one of pybit's POST methods once.

        Raises:
            AccessError: HTTP 403.
        """
        try:
            result = getattr(self.http, method)(**fields)["result"]
            return Answer("done", order_id=str(result["orderId"]))
        except Exception as error:  # whatever it is, the request may have arrived
            answer = self._judge(error)
        if answer.code == 403:
            raise AccessError(method, 403, FORBIDDEN)
        return answer

    def _judge(self, error: Exception) -> Answer:
        """Say what an error tells about the request."""
        code = int(getattr(error, "status_code", 0) or 0)
        text = self._clean(str(getattr(error, "message", "") or type(error).__name__))
        if code in TOO_MANY:
            wait = max(self.retry.first, reset_wait(error, time.time()))
            return Answer("wait", code, text, min(wait, self.retry.longest))
        told = isinstance(error, FailedRequestError | InvalidRequestError)
        if told and not is_passing(error):
            return Answer("refused", code, text)
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return Answer("refused", code, text)
        return Answer("unknown", code, text)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a signing session is not pickled or copied")


def loopback(base_url: str | None) -> str | None:
    """Return an address on this machine, or None; keys are sent nowhere else but to Bybit."""
    if base_url is None:
        return None
    host = urlsplit(base_url).hostname if isinstance(base_url, str) else None
    if host not in LOOPBACK:
        raise ArgumentError("base_url", base_url, "None, or an address on this machine")
    return base_url


# ---- Orders on the wire: written as decimal text, read back into `Order`.


STATES = {
    "Created": "new", "New": "new", "Untriggered": "new", "Triggered": "new",
    "PartiallyFilled": "partly_filled", "Filled": "filled", "Rejected": "rejected",
    "Cancelled": "cancelled", "PartiallyFilledCanceled": "cancelled", "Deactivated": "cancelled",
}  # fmt: skip


def fields(intent: Intent, instrument: Instrument, category: str) -> dict[str, Any]:
    """Return the body of ``/v5/order/create``; every number is plain decimal text.

    Raises:
        OrderRuleError: against the instrument's steps or minima.
    """
    body: dict[str, Any] = {
        "category": category,
        "symbol": intent.symbol,
        "side": intent.side.capitalize(),
        "orderType": "Market" if intent.price is None else "Limit",
        "qty": text(instrument.quantity(intent.qty)),
        "orderLinkId": intent.link_id,
    }
    if intent.price is not None:
        body |= {"price": text(instrument.price(intent.price)), "timeInForce": "GTC"}
    if category == "spot":  # there a market buy is sized by value unless told otherwise
        return body | ({"marketUnit": "baseCoin"} if intent.price is None else {})
    return body | {"reduceOnly": intent.reduce_only, "positionIdx": 0}


def read_order(entry: Mapping[str, Any]) -> Order:
    """Return an order from an entry of ``/v5/order/realtime`` or ``history``.

    Raises:
        DataError: a field is missing or makes no sense.
    """
    try:
        price = Decimal(entry["price"]) if entry["orderType"] == "Limit" else None
        average = float(entry["avgPrice"]) if entry.get("avgPrice") not in (None, "", "0") else None
        state, reason = STATES[entry["orderStatus"]], entry.get("rejectReason", "")
        return Order(
            entry["orderLinkId"], entry["orderId"], entry["symbol"], entry["side"].lower(),
            Decimal(entry["qty"]), price, state, Decimal(entry["cumExecQty"] or "0"), average,
            bool(entry.get("reduceOnly")), "" if reason == "EC_NoError" else reason,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise DataError(f"order: got {dict(entry)}") from error


def read_position(entries: list[dict[str, Any]]) -> float:
    """Return the signed size from the entries of ``/v5/position/list``."""
    sign = {"Buy": 1, "Sell": -1, "": 0, "None": 0}
    try:
        return float(sum(sign[e["side"]] * Decimal(e["size"] or "0") for e in entries))
    except (KeyError, TypeError, ArithmeticError) as error:
        raise DataError(f"position: {type(error).__name__}: {error}") from error


def read_equity(result: Mapping[str, Any]) -> float:
    """Return the total from ``/v5/account/wallet-balance``."""
    try:
        return number("totalEquity", float(result["list"][0]["totalEquity"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"equity: {type(error).__name__}: {error}") from error


# ---- Sending an order so that it exists once, whatever happens to the answers.


DUPLICATE, GONE = 110072, 110001
TRIES = 5  # of one order, all under one name
FIRST_LOOK, LONGEST_LOOK = 0.05, 1.0  # seconds between looks


class Placer:
    """Places, finds and cancels orders by their own names.

    Args:
        wire: the signing session.
        category: of the symbols.
        settle: seconds in which an accepted order must have become visible.
    """

    def __init__(self, wire: Wire, category: str, settle: float) -> None:
        self.wire, self.category, self.settle = wire, category, settle
        self._symbols: dict[str, str] = {}  # of the orders that went out here

    def place(self, intent: Intent, body: Mapping[str, Any]) -> Order:
        """Send an order; return it as the exchange took it, or raise what became of it."""
        name, last = intent.link_id, ""
        self._symbols[name] = intent.symbol
        for _ in range(TRIES):
            answer = self.wire.send("place_order", **body)
            last = answer.message
            if answer.state == "done":
                return _taken(intent, answer.order_id)
            if answer.state == "wait":
                time.sleep(answer.wait)
                continue
            if answer.state == "refused" and answer.code != DUPLICATE:
                raise OrderRejectedError(name, answer.code, answer.message)
            found = self.look(name)
            if found is not None:
                return same(found, intent)
            # not there after the time in which it must have shown: the next try goes out
            # under the same name, so that even now the two cannot both come into being
        raise OrderUnknownError(name, f"no clear answer in {TRIES} tries, the last: {last}")

    def look(self, name: str) -> Order | None:
        """Return an order, waiting up to ``settle`` seconds for it to show; None if it does not.

        Raises:
            OrderUnknownError: the exchange could not be asked.
        """
        deadline, pause = time.monotonic() + self.settle, FIRST_LOOK
        while True:
            try:
                found = self.find(name)
            except (ExchangeError, DataError) as error:
                failure = OrderUnknownError(name, f"could not be looked up: {error}")
            else:
                left = deadline - time.monotonic()
                if found is not None or left <= 0:
                    return found
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_LOOK)
                continue
            raise failure

    def find(self, name: str) -> Order | None:
        """Return an order as it is now, from among the open and the ended ones."""
        symbol = self._symbols.get(name)
        scope = {"symbol": symbol} if symbol else {}
        if not symbol and self.category == "linear":
            scope = {"settleCoin": "USDT"}
        for method in ("get_open_orders", "get_order_history"):
            entries = self.listed(method, orderLinkId=name, **scope)
            orders = [o for o in map(read_order, entries) if o.link_id == name]
            if orders:
                self._symbols[name] = orders[0].symbol
                return orders[0]
        return None

    def listed(self, method: str, **query: Any) -> list[dict[str, Any]]:
        """Return the list of a private or public GET of this category."""
        result = self.wire.get(method, category=self.category, **query)["result"]
        if not isinstance(result.get("list"), list):
            raise DataError(f"{method}: the answer has no list")
        return result["list"]

    def cancel(self, name: str) -> Order:
        """Cancel an order and return it as it ended; to cancel twice does no harm.

        Raises:
            OrderNotFoundError: there is none of that name.
            OrderRejectedError: refused for another reason.
            OrderUnknownError: it could not be learned whether it was cancelled.
        """
        order = self._existing(name)
        for _ in range(TRIES):
            if not order.is_open:
                return order
            answer = self.wire.send(
                "cancel_order", category=self.category, symbol=order.symbol, orderLinkId=name
            )
            if answer.state == "refused" and answer.code != GONE:
                raise OrderRejectedError(name, answer.code, answer.message)
            time.sleep(answer.wait or FIRST_LOOK * (answer.state != "done"))
            order = self._existing(name)
        raise OrderUnknownError(name, f"still open after {TRIES} requests to cancel it")

    def _existing(self, name: str) -> Order:
        order = self.look(name)
        if order is None:
            raise OrderNotFoundError(name, "the exchange knows none")
        return order


def _taken(intent: Intent, order_id: str) -> Order:
    """Return an order that was just accepted; how it fares is for `Broker.order` to say."""
    return Order(
        intent.link_id, order_id, intent.symbol, intent.side, intent.qty, intent.price, "new",
        reduce_only=intent.reduce_only,
    )  # fmt: skip
