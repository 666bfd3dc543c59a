"""Orders on the wire: written as decimal text, read back into `Order`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from setrade.errors import number

from ..errors import DataError
from ..orders import Instrument, Intent, text
from .base import Order

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
