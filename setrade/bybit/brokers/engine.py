"""What happens on paper: a state that only moves when it is told something.

Told the same things in the same order, it always comes to the same end; the journal of
`PaperBroker` rests on that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from setrade.costs import fill_price
from setrade.orderbook import Snapshots

from ..orders import Instrument, Intent, decimal, legs
from .account import PaperAccount
from .targets import target_intent
from .tickets import Ticket, against_book, inside_bar


class Engine:
    """Orders, account and prices of one symbol.

    Args:
        symbol: what is traded.
        account: where fills are booked.
        by_book: orders meet books at once, instead of bars later.
        instrument: steps to cut targets down to, or None.
        on_fill: called with the figures of each fill.
    """

    def __init__(
        self,
        symbol: str,
        account: PaperAccount,
        by_book: bool,
        instrument: Instrument | None,
        on_fill: Callable[..., None],
    ) -> None:
        self.symbol, self.account, self.by_book = symbol, account, by_book
        self.instrument, self._on_fill = instrument, on_fill
        self.tickets: dict[str, Ticket] = {}
        self._working: list[Ticket] = []
        self.decided: dict[str, list[str]] = {}  # names of the orders of each target
        self.wish: tuple[float, str] | None = None  # a target that waits for the next open
        self.book: Snapshots | None = None
        self.price: float | None = None
        self.time: pd.Timestamp | None = None  # of the newest bar
        self.inputs = {
            "submit": self.submit, "target": self.target, "cancel": self.cancel,
            "bar": self.bar, "book": self.see_book, "funding": self.funding,
        }  # fmt: skip

    def submit(self, intent: dict[str, Any]) -> None:
        """Take an order; in book mode it trades at once."""
        ticket = self._ticket(Intent.from_record(intent))
        if self.by_book:
            self._meet_book(ticket)

    def _ticket(self, intent: Intent) -> Ticket:
        ticket = Ticket(intent, len(self.tickets) + 1)
        self.tickets[intent.link_id] = ticket
        self._working.append(ticket)
        return ticket

    def working(self) -> list[Ticket]:
        """Return the orders that can still fill, oldest first."""
        self._working = [ticket for ticket in self._working if ticket.is_open]
        return self._working

    def cancel(self, link_id: str) -> None:
        """End an order."""
        self.tickets[link_id].end("cancelled")

    def target(self, fraction: float, decided: str, price: float | None) -> None:
        """Go for a position: at the next open, or, in book mode, now."""
        self.decided[decided] = []
        if not self.by_book:
            self.wish = (fraction, decided)
            return
        worth = price if price is not None else self.price
        assert worth is not None
        for ticket in self._legs(fraction, decided, worth):
            self._meet_book(ticket)

    def _legs(self, fraction: float, decided: str, price: float) -> list[Ticket]:
        """Return the orders that lead to a target, taken in but not yet traded."""
        account, tickets = self.account, []
        held, rates = account.units, account.rates
        if self.by_book:  # the book's own levels are the slippage
            rates = rates._replace(slippage=0.0)
        for units in legs(fraction, account.equity(price), held, price, rates):
            closing, held = held * units < 0, held + units
            size = self.instrument.floor(abs(units)) if self.instrument else abs(units)
            if not size:
                continue
            at, qty = pd.Timestamp(decided), decimal("qty", size)
            tickets.append(
                self._ticket(target_intent(self.symbol, units, qty, at, closing=closing))
            )
        self.decided[decided] = [t.intent.link_id for t in tickets]
        return tickets

    def funding(self, time: str, rate: float, price: float) -> None:
        """Charge funding on what is held."""
        self.account.fund(rate, price)

    def bar(self, time: str, prices: list[float], funding: list[float]) -> None:
        """Live through one bar: its open, what lies between, its close."""
        first, high, low, last = prices
        self.time = pd.Timestamp(time)
        self._fund_and_force(funding[0], first, first, first)
        for ticket in self.working():
            self._meet_open(ticket, first)
        if self.wish is not None:
            (fraction, decided), self.wish = self.wish, None
            for ticket in self._legs(fraction, decided, first):
                self._meet_open(ticket, first)
        self._fund_and_force(funding[1], first, high, low)
        for ticket in self.working():
            if inside_bar(ticket.limit, ticket.intent.sign, high, low):
                self._fill(ticket, ticket.left, ticket.limit, self.account.rates.maker, 0.0)
        self.price = last

    def _fund_and_force(self, rate: float, first: float, high: float, low: float) -> None:
        if rate:
            self.account.fund(rate, first)
        held = self.account.units
        if self.account.liquidate(first, high, low):
            self._on_fill(link_id="", units=-held, price=None, reason="liquidation")
            self.wish = None

    def _meet_open(self, ticket: Ticket, first: float) -> None:
        """Trade at a bar's open: market orders, and limit orders that it satisfies."""
        sign, rates = ticket.intent.sign, self.account.rates
        if sign * first > sign * ticket.limit:
            return
        slippage = rates.slippage
        price = first
        if sign * fill_price(first, sign, slippage) > sign * ticket.limit:
            price, slippage = ticket.limit, 0.0
        self._fill(ticket, ticket.left, price, rates.fee, slippage)

    def see_book(self, time: str, **levels: list[list[float]]) -> None:
        """Look at a new book; resting orders that it trades through fill at their price."""
        arrays = {name: np.array(rows) for name, rows in levels.items()}
        self.look(Snapshots(np.array([time], "datetime64[ns]"), **arrays))
        assert self.price is not None
        self._fund_and_force(0.0, self.price, self.price, self.price)
        for ticket in self.working():
            if self._through(ticket):
                self._fill(ticket, ticket.left, ticket.limit, self.account.rates.maker, 0.0)

    def look(self, book: Snapshots) -> None:
        """Note a book that changes nothing but what the position is worth."""
        self.book, self.price = book, float(book.mid()[0])

    def matters(self, book: Snapshots) -> bool:
        """Tell whether a book would fill a resting order or force the position to close."""
        self.look(book)
        assert self.price is not None
        resting = any(map(self._through, self.working()))
        return resting or not self.account.is_safe(self.price)

    def _through(self, ticket: Ticket) -> bool:
        assert self.book is not None
        ask, bid = float(self.book.ask_price[0, 0]), float(self.book.bid_price[0, 0])
        return ticket.limit > ask if ticket.intent.sign > 0 else ticket.limit < bid

    def _meet_book(self, ticket: Ticket) -> None:
        """Trade against the book at once; a market order's rest is cancelled."""
        assert self.book is not None
        wanted = ticket.reduced(self.account.units)
        units, price = against_book(wanted, ticket.limit, self.book)
        if units:
            self._fill(ticket, units, price, self.account.rates.taker, 0.0)
        if ticket.is_open and ticket.intent.price is None:
            ticket.end("book_too_thin" if wanted else "nothing_to_reduce")

    def _fill(
        self, ticket: Ticket, units: float, price: float, fee_rate: float, slippage: float
    ) -> None:
        held = self.account.units
        if ticket.intent.reduce_only:
            allowed = ticket.reduced(held)
            units = allowed if abs(allowed) < abs(units) else units
            if not units:
                ticket.end("nothing_to_reduce")
                return
        filled = self.account.trade(units, price, fee_rate, slippage)
        ticket.take(units, filled)
        if ticket.is_open and ticket.intent.reduce_only and not self.account.units:
            ticket.end("nothing_to_reduce")
        self._on_fill(link_id=ticket.intent.link_id, units=units, price=filled, reason="order")
