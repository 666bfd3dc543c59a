"""What the paper broker is told by the market, and how that is remembered.

The journal holds what the broker was told (orders, bars, books that mattered, funding), each
written before it is acted on; the fills that follow are written too, for people. What was told
is enough to do it all again: a broker that is given an old journal replays it and stands
where the other one stopped, to the last digit.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from setrade.bybit import constants
from setrade.bybit.broker import Journal
from setrade.bybit.matching import Engine, PaperAccount, record
from setrade.bybit.orders import (
    Instrument,
    Intent,
    Order,
    OrderNotFoundError,
    OrderRejectedError,
    decimal,
    same,
    text,
)
from setrade.costs import Costs
from setrade.errors import ArgumentError, choice, number
from setrade.orderbook import Snapshots

MODES = ("bar", "book")


class PaperCore:
    """Account, engine and journal of one symbol; `PaperBroker` describes the arguments."""

    def __init__(
        self,
        symbol: str,
        *,
        equity: float = 10_000.0,
        costs: Costs | None = None,
        order: str = "taker",
        against: str = "bar",
        instrument: Instrument | None = None,
        max_leverage: float | None = None,
        journal: Any = None,
    ) -> None:
        self.symbol, self.against = constants.symbol(symbol), choice("against", against, MODES)
        if costs is not None and not isinstance(costs, Costs):
            raise ArgumentError("costs", costs, "a Costs or None")
        if instrument is not None and not isinstance(instrument, Instrument):
            raise ArgumentError("instrument", instrument, "an Instrument or None")
        self.costs, self.instrument = costs or Costs(), instrument
        start = number("equity", equity, 0.0, above=True)
        account = PaperAccount(start, self.costs, order, max_leverage)
        self._engine = Engine(self.symbol, account, against == "book", instrument, self._filled)
        self._known_fills = 0
        self._unshown: Snapshots | None = None  # a book seen, but not yet written down
        self.journal = Journal(journal)
        self._open(
            symbol=self.symbol, equity=start, costs=vars(self.costs), order=order,
            against=self.against, max_leverage=max_leverage,
            instrument=instrument and {k: text(v) for k, v in vars(instrument).items()
                                       if not isinstance(v, str | None)},
        )  # fmt: skip

    def _open(self, **account: Any) -> None:
        """Begin the journal, or do again what an old one tells."""
        entries = list(self.journal.entries)
        if not entries:
            self.journal.write("account", **account)
            return
        if entries[0] != {"kind": "account", **account}:
            raise ArgumentError("journal", entries[0], f"the journal of an account {account}")
        self._known_fills = sum(entry["kind"] == "fill" for entry in entries)
        for entry in entries[1:]:
            told = {name: value for name, value in entry.items() if name != "kind"}
            if entry["kind"] in self._engine.inputs:
                self._engine.inputs[entry["kind"]](**told)

    def _tell(self, kind: str, **told: Any) -> None:
        """Write down what the engine is about to be told, then tell it."""
        self.journal.write(kind, **told)
        self._engine.inputs[kind](**told)

    def _filled(self, **figures: Any) -> None:
        """Write down a fill, unless the journal that is being replayed has it."""
        if self._known_fills:
            self._known_fills -= 1
        else:
            self.journal.write("fill", **figures)

    def on_bar(self, bar: Any, *, funding_open: float = 0.0, funding_inside: float = 0.0) -> None:
        """Live through a closed bar (bar mode).

        Args:
            bar: anything with ``time`` (UTC), ``open high low close``: a `Kline`, for one.
            funding_open: rate charged at its open, on what was held into it.
            funding_inside: sum of the rates inside it, charged at its open's price on what is
                held after the open.

        Raises:
            ArgumentError: book mode, prices that make no bar, or a bar that is not newer than
                the last.
        """
        choice("against", self.against, ("bar",))
        time = pd.Timestamp(constants.moment("bar.time", bar.time), tz="UTC")
        names = ("open", "high", "low", "close")
        prices = [number(f"bar.{n}", getattr(bar, n), 0.0, above=True) for n in names]
        first, high, low, last = prices
        if not low <= min(first, last) <= max(first, last) <= high:
            raise ArgumentError("bar", prices, "low <= open, close <= high")
        if self._engine.time is not None and time <= self._engine.time:
            raise ArgumentError("bar", time, f"a bar after {self._engine.time}")
        rates = [number("funding_open", funding_open), number("funding_inside", funding_inside)]
        self._tell("bar", time=time.isoformat(), prices=prices, funding=rates)

    def on_book(self, book: Snapshots) -> None:
        """Look at the newest book, one row (book mode).

        Raises:
            ArgumentError: bar mode, several rows, or another kind of thing.
        """
        choice("against", self.against, ("book",))
        if not isinstance(book, Snapshots) or len(book) != 1:
            raise ArgumentError("book", book, "orderbook.Snapshots of one row")
        if self._engine.matters(book):
            self._unshown = None
            self._tell("book", **record(book))
        else:
            self._unshown = book

    def _show_book(self) -> None:
        """Write down the book that an order is about to meet."""
        if self._unshown is not None:
            book, self._unshown = self._unshown, None
            self._tell("book", **record(book))

    def fund(self, time: pd.Timestamp, rate: float, price: float) -> None:
        """Charge funding (longs pay when ``rate`` > 0) on the value held at ``price``."""
        at = pd.Timestamp(constants.moment("time", time), tz="UTC").isoformat()
        number("price", price, 0.0, above=True)
        self._tell("funding", time=at, rate=number("rate", rate, -1.0, 1.0), price=float(price))

    @property
    def fees(self) -> float:
        """Fees paid so far."""
        return self._engine.account.fees

    @property
    def funding(self) -> float:
        """Funding paid so far (negative: received)."""
        return self._engine.account.funding


# ---- A broker that trades on paper, with the backtest's accounting.


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
        at = pd.Timestamp(constants.moment("decided", decided), tz="UTC").isoformat()
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
