"""A broker that trades on paper, with the backtest's accounting."""

from __future__ import annotations

import pandas as pd

from setrade.errors import ArgumentError, choice, number

from .. import codes
from ..orders import Intent
from ..orders.instrument import decimal
from .base import Order, OrderNotFoundError, OrderRejectedError, same
from .paper_core import PaperCore

NOTHING_TO_REDUCE, NO_PRICE = 110017, 110094  # codes of the exchange for the like


class PaperBroker(PaperCore):
    """One symbol on paper, behind the same interface as the real brokers.

    Args:
        symbol: such as ``"BTCUSDT"``; orders in others are refused.
        equity: money at the start, above zero.
        costs: fees and slippage; default ``Costs()``.
        order: what market orders are charged as in bar mode, "taker" or "maker".
        against: ``"bar"``: market orders wait for the next `on_bar` and fill at its open, with
            slippage; limit orders fill at their price, at the maker fee, when a bar trades
            through it. ``"book"``: market orders fill at once against the last `on_book`, level
            by level, and what the visible levels cannot fill is cancelled.
        instrument: steps and minima that orders must keep to; None: none.
        max_leverage: liquidate when position over equity reaches it; None: when nothing is left.
        journal: a list, a path or None; one that has entries is replayed first.

    Raises:
        ArgumentError: names the argument; or a journal that another kind of account wrote.
    """

    def submit(self, intent: Intent) -> Order:
        """Take an order; one that was sent before is not taken again.

        Raises:
            ArgumentError: another symbol.
            OrderRuleError: against the instrument's steps or minima.
            OrderRejectedError: nothing to reduce, or no book yet.
            OrderConflictError: an order of that name exists with other figures.
        """
        if not isinstance(intent, Intent):
            raise ArgumentError("intent", intent, "an Intent")
        choice("symbol", intent.symbol, (self.symbol,))
        known = self._engine.tickets.get(intent.link_id)
        if known is not None:
            return same(known.order(), intent)
        self._check(intent)
        self._show_book()
        self._tell("submit", intent=intent.record())
        return self._engine.tickets[intent.link_id].order()

    def _check(self, intent: Intent) -> None:
        """Hold an order to the rules before it is taken."""
        if self.instrument is not None:
            qty = self.instrument.quantity(intent.qty)
            price = intent.price and self.instrument.price(intent.price)
            last = self._engine.price
            if not intent.reduce_only and (price or last):
                self.instrument.value(qty, price or decimal("price", last))
        held = self._engine.account.units
        if intent.reduce_only and held * intent.sign >= 0:
            raise OrderRejectedError(intent.link_id, NOTHING_TO_REDUCE, "no position to reduce")
        self._require_book(intent.link_id)

    def _require_book(self, link_id: str) -> None:
        if self.against == "book" and self._engine.book is None:
            raise OrderRejectedError(link_id, NO_PRICE, "no book seen yet")

    def target(
        self, symbol: str, fraction: float, *, decided: pd.Timestamp, price: float | None = None
    ) -> list[Order]:
        """Ask for a position of ``fraction`` of equity.

        In bar mode it is sized and filled at the next bar's open, as `backtest.run` does, and
        nothing is returned yet; in book mode at once, sized at ``price``, or at the mid. A
        decision that was told before is not carried out again.
        """
        choice("symbol", symbol, (self.symbol,))
        want = number("fraction", fraction, -100.0, 100.0)
        at = pd.Timestamp(codes.moment("decided", decided), tz="UTC").isoformat()
        worth = None if price is None else number("price", price, 0.0, above=True)
        self._require_book(at)
        if at not in self._engine.decided:
            self._show_book()
            self._tell("target", fraction=want, decided=at, price=worth)
        return [self._engine.tickets[name].order() for name in self._engine.decided[at]]

    def cancel(self, link_id: str) -> Order:
        """Cancel an open order; one that has ended is returned as it is.

        Raises:
            OrderNotFoundError: no order of that name.
        """
        ticket = self._engine.tickets.get(link_id)
        if ticket is None:
            raise OrderNotFoundError(str(link_id), "there is none")
        if ticket.is_open:
            self._tell("cancel", link_id=link_id)
        return ticket.order()

    def order(self, link_id: str) -> Order | None:
        """Return an order by its name; None if there is none."""
        ticket = self._engine.tickets.get(link_id)
        return None if ticket is None else ticket.order()

    def open_orders(self, symbol: str) -> list[Order]:
        """Return the orders that can still fill, oldest first."""
        choice("symbol", symbol, (self.symbol,))
        return [ticket.order() for ticket in self._engine.working()]

    def position(self, symbol: str) -> float:
        """Return the signed size held."""
        choice("symbol", symbol, (self.symbol,))
        return self._engine.account.units

    def equity(self) -> float:
        """Return cash plus the open position's profit at the last price seen."""
        account, price = self._engine.account, self._engine.price
        return account.cash if price is None else account.equity(price)
