"""Sending an order so that it exists once, whatever happens to the answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..errors import DataError, ExchangeError
from ..orders import Intent
from .base import (
    Order,
    OrderNotFoundError,
    OrderRejectedError,
    OrderUnknownError,
    same,
)
from .orderwire import read_order
from .wire import Wire

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
