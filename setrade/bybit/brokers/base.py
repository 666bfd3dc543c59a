"""What every broker can be asked, what it answers, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, runtime_checkable

import pandas as pd

from ..orders import Intent, text

STATUSES = ("new", "partly_filled", "filled", "cancelled", "rejected")
OPEN = ("new", "partly_filled")
TARGET = "target"  # strategy of the orders that `Broker.target` makes, apart from all others


class OrderError(RuntimeError):
    """Something about an order; ``link_id`` names it."""

    def __init__(self, link_id: str, message: str) -> None:
        self.link_id = link_id
        super().__init__(f"order {link_id}: {message}")


class OrderRejectedError(OrderError):
    """The broker refused the order: it does not exist. ``code`` is the exchange's."""

    def __init__(self, link_id: str, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(link_id, f"refused, {message} (code {code})")


class OrderUnknownError(OrderError):
    """Nobody knows whether the order exists: ask again by its name before sending another."""


class OrderNotFoundError(OrderError):
    """There is no order of that name."""


class OrderConflictError(OrderError):
    """An order of that name exists, but with other figures; ``order`` is the one that exists."""

    def __init__(self, order: Order, intent: Intent) -> None:
        self.order, self.intent = order, intent
        super().__init__(
            order.link_id,
            f"exists as {order.side} {text(order.qty)}, wanted {intent.side} {text(intent.qty)}",
        )


@dataclass(frozen=True)
class Order:
    """An order as the broker knows it.

    ``filled`` is the quantity traded so far, ``average`` its mean price (None before the first
    fill), ``status`` one of ``STATUSES``, ``reason`` why it ended unfilled, if it did.
    """

    link_id: str
    order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal | None
    status: str
    filled: Decimal = Decimal(0)
    average: float | None = None
    reduce_only: bool = False
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """True while the order can still fill."""
        return self.status in OPEN


@runtime_checkable
class Broker(Protocol):
    """The interface that paper, testnet and demo share.

    ``submit`` is idempotent: the same intent, sent twice, is one order.
    """

    def submit(self, intent: Intent) -> Order:
        """Send an order; return it as the broker took it."""
        ...

    def target(
        self, symbol: str, fraction: float, *, decided: pd.Timestamp, price: float
    ) -> list[Order]:
        """Send what leads to a position of ``fraction`` of equity."""
        ...

    def cancel(self, link_id: str) -> Order:
        """Cancel an open order; return it as it ended."""
        ...

    def order(self, link_id: str) -> Order | None:
        """Return an order by its name; None if there is none."""
        ...

    def open_orders(self, symbol: str) -> list[Order]:
        """Return the orders that can still fill, oldest first."""
        ...

    def position(self, symbol: str) -> float:
        """Return the signed size held, in base coin."""
        ...

    def equity(self) -> float:
        """Return the worth of the account, in quote coin."""
        ...


def same(order: Order, intent: Intent) -> Order:
    """Return the order if it is what the intent asked for; else raise `OrderConflictError`."""
    if (order.symbol, order.side, order.price) != (intent.symbol, intent.side, intent.price):
        raise OrderConflictError(order, intent)
    # a reduce-only order may have been cut down to the position by the exchange
    if order.qty != intent.qty and not (intent.reduce_only and order.qty < intent.qty):
        raise OrderConflictError(order, intent)
    return order
