"""The paper account: the backtest's own record and rules, moved order by order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from setrade.backtest.engine import (
    LEDGER,
    Bar,
    fill,
    force_exit,
    new_accounts,
    pay_funding,
    set_bounds,
)
from setrade.bybit.broker import target_intent
from setrade.bybit.orders import OPEN, Instrument, Intent, Order, decimal, legs
from setrade.costs import Costs, fill_price
from setrade.orderbook import Snapshots
from setrade.risk import Risk


class PaperAccount:
    """Cash, position and what they are worth, as `backtest.run` keeps them.

    Args:
        equity: money at the start.
        costs: fees and slippage.
        order: "taker" or "maker": what a decision is charged as.
        max_leverage: liquidate there, as `Risk` has it; None: when nothing is left.
    """

    def __init__(self, equity: float, costs: Costs, order: str, max_leverage: float | None) -> None:
        self._a = new_accounts(1, equity)[0]
        self._row = np.zeros(1, LEDGER)[0]
        self.rates = costs.rates(order)
        self._rules = Risk(max_leverage=max_leverage).rules()

    @property
    def units(self) -> float:
        """Signed size held."""
        return float(self._a["units"])

    @property
    def cash(self) -> float:
        """Realised money."""
        return float(self._a["cash"])

    @property
    def fees(self) -> float:
        """Fees paid so far."""
        return float(self._a["fees"])

    @property
    def funding(self) -> float:
        """Funding paid so far (negative: received)."""
        return float(self._a["funding"])

    def equity(self, price: float) -> float:
        """Cash plus the open position's profit at ``price``."""
        a = self._a
        return float(a["cash"] + a["units"] * (price - a["entry"])) if a["units"] else self.cash

    def trade(self, units: float, price: float, fee_rate: float, slippage: float) -> float:
        """Buy (``units`` > 0) or sell; return the price after slippage.

        A trade through zero is two: the close, then the opening of the rest.
        """
        a, held = self._a, self.units
        if held * units < 0 and abs(units) > abs(held):
            self.trade(-held, price, fee_rate, slippage)
            return self.trade(units + held, price, fee_rate, slippage)
        fill(a, units, price, fee_rate, slippage)
        if a["units"] == 0:
            a["entry"] = 0.0
        elif held == 0:
            a["stop"], a["target"] = math.copysign(math.inf, -units), math.copysign(math.inf, units)
        set_bounds(a, self._rules, self.rates)
        return fill_price(price, units, slippage)

    def fund(self, rate: float, price: float) -> None:
        """Charge funding on what is held."""
        if self.units:
            pay_funding(self._a, rate, price)
            set_bounds(self._a, self._rules, self.rates)

    def is_safe(self, price: float) -> bool:
        """Tell whether a price leaves the position as it is."""
        return not self.units or bool(self._a["lower"] < price < self._a["upper"])

    def liquidate(self, first: float, high: float, low: float) -> bool:
        """Close what a bar with these prices forces to close; return whether it did."""
        if not self.units:
            return False
        bar = Bar(0, first, high, low, first, first, math.nan, 0, 0.0, 0.0)
        force_exit(self._a, bar, high, low, self.rates, self._row)
        return self.units == 0


# ---- Orders inside the paper broker: what is left of them, and what they meet.


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


# ---- What happens on paper: a state that only moves when it is told something.
#
# Told the same things in the same order, it always comes to the same end; the journal of
# `PaperBroker` rests on that.


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
