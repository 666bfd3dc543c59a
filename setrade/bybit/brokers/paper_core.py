"""What the paper broker is told by the market, and how that is remembered.

The journal holds what the broker was told (orders, bars, books that mattered, funding), each
written before it is acted on; the fills that follow are written too, for people. What was told
is enough to do it all again: a broker that is given an old journal replays it and stands
where the other one stopped, to the last digit.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from setrade.costs import Costs
from setrade.errors import ArgumentError, choice, number
from setrade.orderbook import Snapshots

from .. import codes
from ..orders import Instrument, text
from .account import PaperAccount
from .engine import Engine
from .journal import Journal
from .tickets import record

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
        self.symbol, self.against = codes.symbol(symbol), choice("against", against, MODES)
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
        time = pd.Timestamp(codes.moment("bar.time", bar.time), tz="UTC")
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
        at = pd.Timestamp(codes.moment("time", time), tz="UTC").isoformat()
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
