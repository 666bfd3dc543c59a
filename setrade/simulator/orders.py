"""An order: read from the wire, held to the instrument's rules, written back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .instruments import Instrument
from .wire import Refused, plain, positive

ZERO = Decimal(0)
OPEN = ("New", "PartiallyFilled")
CONDITIONAL = ("triggerPrice", "takeProfit", "stopLoss", "trailingStop")


@dataclass
class Order:
    """One order and what has become of it; ``sign`` is +1 for a buy."""

    number: int
    category: str
    symbol: str
    side: str
    kind: str
    qty: Decimal
    price: Decimal
    time_in_force: str
    link: str
    reduce_only: bool
    created: int
    status: str = "New"
    updated: int = 0
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fee: Decimal = ZERO
    reason: str = "EC_NoError"
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = f"{self.number:08x}-0000-4000-8000-{self.created:012x}"
        self.updated = self.created

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "Buy" else -1

    @property
    def is_open(self) -> bool:
        """True while the order can still fill."""
        return self.status in OPEN

    def entry(self) -> dict[str, Any]:
        """Return the order as the exchange lists it."""
        average = plain(self.value / self.filled) if self.filled else ""
        left = self.qty - self.filled if self.is_open else ZERO
        return {
            "orderId": self.id,
            "orderLinkId": self.link,
            "symbol": self.symbol,
            "side": self.side,
            "orderType": self.kind,
            "price": plain(self.price),
            "qty": plain(self.qty),
            "timeInForce": self.time_in_force,
            "orderStatus": self.status,
            "rejectReason": self.reason,
            "avgPrice": average,
            "leavesQty": plain(left),
            "cumExecQty": plain(self.filled),
            "cumExecValue": plain(self.value),
            "cumExecFee": plain(self.fee),
            "reduceOnly": self.reduce_only,
            "positionIdx": 0,
            "createdTime": str(self.created),
            "updatedTime": str(self.updated),
        }


def read(body: Mapping[str, Any], rules: Instrument, last: Decimal, number: int, now: int) -> Order:
    """Return the order that a request asks for.

    Args:
        body: the decoded request of ``/v5/order/create``.
        rules: the instrument's steps and minima.
        last: the price that a market order is valued at.
        number: running number, of which the order id is made.
        now: the exchange's time, ms.

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
    return Order(
        number, body["category"], rules.symbol, body["side"], body["orderType"], qty, price,
        force, link, bool(body.get("reduceOnly")), now,
    )  # fmt: skip


def _quantity(body: Mapping[str, Any], rules: Instrument, price: Decimal, last: Decimal) -> Decimal:
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
