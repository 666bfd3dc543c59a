"""Orders inside the paper broker: what is left of them, and what they meet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from setrade.orderbook import Snapshots

from ..orders import Intent
from .base import OPEN, Order


@dataclass
class Ticket:
    """An order at work; quantities in floats, as the account counts."""

    intent: Intent
    number: int
    status: str = "new"
    filled: float = 0.0
    value: float = 0.0
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """True while the order can still fill."""
        return self.status in OPEN

    @property
    def left(self) -> float:
        """What is still to trade, signed."""
        return self.intent.sign * (float(self.intent.qty) - self.filled)

    @property
    def limit(self) -> float:
        """The worst price it takes: infinite for a market order."""
        price = self.intent.price
        return self.intent.sign * math.inf if price is None else float(price)

    def reduced(self, held: float) -> float:
        """Return what may trade of what is left, given the position (``reduce_only``)."""
        if not self.intent.reduce_only:
            return self.left
        if held * self.left >= 0:
            return 0.0
        return self.intent.sign * min(abs(self.left), abs(held))

    def take(self, units: float, price: float) -> None:
        """Note a fill of ``units`` (signed) at a price after slippage."""
        self.filled += abs(units)
        self.value += abs(units) * price
        whole = self.filled >= float(self.intent.qty)
        self.status = "filled" if whole else "partly_filled"

    def end(self, reason: str) -> None:
        """End it with what it has."""
        self.status, self.reason = "cancelled", reason

    def order(self) -> Order:
        """Return the order as others see it."""
        intent = self.intent
        return Order(
            intent.link_id, f"paper-{self.number}", intent.symbol, intent.side, intent.qty,
            intent.price, self.status, Decimal(repr(self.filled)),
            self.value / self.filled if self.filled else None, intent.reduce_only, self.reason,
        )  # fmt: skip


def against_book(units: float, limit: float, book: Snapshots) -> tuple[float, float]:
    """Return how many units trade against a book at once, and their average price.

    Args:
        units: signed quantity wanted.
        limit: worst price (infinite with the sign of ``units``: any).
        book: one row.

    Returns:
        Signed units, fewer than wanted where the visible levels within the limit hold no
        more, and the average price (NaN for none).
    """
    price, size = book.bid_price[0], book.bid_size[0]
    if units > 0:
        price, size = book.ask_price[0], book.ask_size[0]
    within = price <= limit if units > 0 else price >= limit
    sizes = np.where(within, size, 0.0)
    before = sizes.cumsum() - sizes
    taken = np.clip(abs(units) - before, 0.0, sizes)
    total = float(taken.sum())
    if total >= abs(units) * (1 - 1e-15):
        total = abs(units)  # not one rounding less than was asked for
    return math.copysign(total, units), float(taken @ price / taken.sum()) if total else math.nan


def inside_bar(limit: float, sign: int, high: float, low: float) -> bool:
    """Tell whether a bar traded through a resting limit price; a touch is not enough."""
    return low < limit if sign > 0 else high > limit


def record(book: Snapshots) -> dict[str, Any]:
    """Return one row of books as plain numbers, for a journal."""
    names = ("bid_price", "bid_size", "ask_price", "ask_size")
    return {"time": str(book.time[0])} | {n: getattr(book, n).tolist() for n in names}
