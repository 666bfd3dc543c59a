"""A journal of JSON lines: written before what it says is done, readable after a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from setrade.bybit import constants
from setrade.bybit.constants import ExchangeError
from setrade.bybit.http import Retry
from setrade.bybit.order_client import (
    Keys,
    Placer,
    Wire,
    fields,
    loopback,
    read_equity,
    read_order,
    read_position,
)
from setrade.bybit.orders import (
    TARGET,
    Instrument,
    Intent,
    Order,
    OrderConflictError,
    decimal,
    legs,
)
from setrade.costs import Costs, Rates
from setrade.errors import ArgumentError, choice, number


class JournalError(ValueError):
    """A journal that cannot be read; names the line."""


class Journal:
    """Entries in order, in a list or in a file.

    Args:
        to: a list to append to, the path of a file to append to, or None for a list of its own.
            A file's last line, if a crash cut it short, is removed first: what it began to say
            was not done.

    A line is with the operating system before `write` returns, which survives the death of
    the process (kill -9), though not that of the machine.
    """

    def __init__(self, to: list[dict[str, Any]] | str | os.PathLike[str] | None = None) -> None:
        self.path: Path | None = None
        self._list: list[dict[str, Any]] = to if isinstance(to, list) else []
        if to is None or isinstance(to, list):
            return
        if not isinstance(to, str | os.PathLike):
            raise ArgumentError("journal", to, "a list, a path, or None")
        self.path = Path(to)
        whole = _read(self.path)[1] if self.path.exists() else 0
        self._file = self.path.open("ab", buffering=0)
        self._file.truncate(whole)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All entries, oldest first; those of a file are read from it, and not held in memory."""
        return self._list if self.path is None else _read(self.path)[0]

    def write(self, kind: str, **fields: Any) -> None:
        """Append one entry; raise, with nothing kept, if it cannot be written whole."""
        entry = {"kind": kind, **fields}
        if self.path is None:
            self._list.append(entry)
        else:
            self._append(json.dumps(entry, allow_nan=False).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        """Write a line whole or not at all: a full disk must not leave half of one."""
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError("the journal's disk took only a part of the line")
        except OSError:
            self._file.truncate(end)
            raise

    def close(self) -> None:
        """Close the file, if there is one."""
        if self.path is not None:
            self._file.close()


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the entries of a file and the length of its whole lines in bytes."""
    raw = path.read_bytes()
    whole = raw.rfind(b"\n") + 1
    entries = []
    for row, line in enumerate(raw[:whole].splitlines(), 1):
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise JournalError(f"{path.name}, line {row}: {error}") from error
    return entries, whole


# ---- From a position that is wanted to orders at an exchange, each decision carried out once.


CLOSING, OPENING = 0, 1  # legs


def target_intent(
    symbol: str, units: float, qty: Decimal, decided: pd.Timestamp, *, closing: bool
) -> Intent:
    """Return one leg of a target; the leg says whether it reduces, so that names stay the same."""
    side, leg = "buy" if units > 0 else "sell", CLOSING if closing else OPENING
    return Intent(symbol, side, qty, decided, reduce_only=closing, strategy=TARGET, leg=leg)


class Targets:
    """Sends the legs of targets.

    Args:
        submit: sends an intent, given a price near the market to value it at.
        find: looks an order up by its name.
        rates: what trading is expected to cost.
        journal: where what was too small to send is noted.
    """

    def __init__(
        self,
        submit: Callable[[Intent, Decimal], Order],
        find: Callable[[str], Order | None],
        rates: Rates,
        journal: Journal,
    ) -> None:
        self._submit, self._find, self._rates, self._journal = submit, find, rates, journal
        self._newest: dict[str, pd.Timestamp] = {}  # decision, by symbol

    def sent(self, symbol: str, decided: pd.Timestamp) -> list[Order]:
        """Return the orders that exist of a decision.

        Only the first decision after a start, or one repeated, can have been sent before; for
        the others the exchange need not be asked.
        """
        newest = self._newest.get(symbol)
        self._newest[symbol] = decided if newest is None else max(decided, newest)
        if newest is not None and decided > newest:
            return []
        names = [
            target_intent(symbol, 1.0, Decimal(1), decided, closing=closing).link_id
            for closing in (True, False)
        ]
        return [order for order in map(self._find, names) if order is not None]

    def go(
        self,
        rules: Instrument,
        fraction: float,
        decided: pd.Timestamp,
        price: Decimal,
        account: Callable[[], tuple[float, float]],
    ) -> list[Order]:
        """Carry out a decision, or what is left of it; return its orders, closing one first.

        Args:
            rules: of the symbol. fraction: of equity. decided: when. price: near the market.
            account: returns equity and the signed size held.
        """
        orders = self.sent(rules.symbol, decided)
        equity, held = account()
        closed = len(orders) == 1 and orders[0].reduce_only and held == 0
        if orders and not closed:  # only a turn that stopped half way is gone on with
            return orders
        for units in legs(fraction, equity, held, float(price), self._rates):
            closing, held = held * units < 0, held + units
            qty = rules.floor(abs(units))
            if not qty or (not closing and qty * price < rules.min_notional):
                self._journal.write("too_small", symbol=rules.symbol, units=units)
                continue
            intent = target_intent(rules.symbol, units, qty, decided, closing=closing)
            try:
                orders.append(self._submit(intent, price))
            except OrderConflictError as error:  # somebody else sent it, sized a little apart
                orders.append(error.order)
        return orders


# ---- Brokers that talk to Bybit: each order is sent once, whatever happens to its answer.


VENUES = ("testnet", "demo", "mainnet")
SWITCH = "SETRADE_ALLOW"
UNKNOWN_SYMBOL = 10001


class MainnetRefusedError(RuntimeError):
    """Real money was named once only."""


class ExchangeBroker:
    """Orders at Bybit, behind the same interface as `PaperBroker`.

    Use `TestnetBroker` or `DemoBroker`. Real money has to be named twice: here as
    ``"mainnet"``, and in the environment as ``SETRADE_ALLOW=mainnet``.

    An order is checked against the instrument's steps and minima before it is sent, and goes
    out under a name that the exchange takes once. When its answer is lost it is looked up by
    that name; only when it cannot be found for ``settle`` seconds is it sent again, under the
    same name, so that at most one of the two can come into being.

    Args:
        venue: ``"testnet"``, ``"demo"`` or ``"mainnet"``; names the keys' variables too:
            ``BYBIT_TESTNET_API_KEY`` and ``BYBIT_TESTNET_API_SECRET``, and so on.
        base_url: a simulator on this machine; None: the exchange.
        category: linear, inverse or spot. One-way positions.
        costs: what `target` expects to pay; default ``Costs()``.
        timeout: seconds to wait for an answer.
        settle: seconds in which an accepted order must have become visible.
        retry: how patiently to repeat reads; None: `Retry` as it stands.
        journal: a list or a path: intents before they are sent, answers after; None: a list.

    Raises:
        ArgumentError: names the argument; an address that is not this machine's.
        KeysError: the environment has no keys.
        MainnetRefusedError: real money was named once only.
    """

    def __init__(
        self,
        venue: str,
        *,
        base_url: str | None = None,
        category: str = "linear",
        costs: Costs | None = None,
        timeout: float = 10.0,
        settle: float = 5.0,
        retry: Retry | None = None,
        journal: Any = None,
    ) -> None:
        self.venue = choice("venue", venue, VENUES)
        if venue == "mainnet" and os.environ.get(SWITCH) != "mainnet":
            raise MainnetRefusedError(f"orders for real money: set {SWITCH}=mainnet as well")
        self.category = constants.category(category, having=("linear", "inverse", "spot"))
        if costs is not None and not isinstance(costs, Costs):
            raise ArgumentError("costs", costs, "a Costs or None")
        patience, address = number("settle", settle, 0.0), loopback(base_url)
        self._wire = Wire(Keys.from_environment(venue), address, timeout, retry)
        self._placer = Placer(self._wire, self.category, patience)
        self.journal = Journal(journal)
        rates = (costs or Costs()).rates()
        self._targets = Targets(self._submit, self._placer.find, rates, self.journal)
        self._instruments: dict[str, Instrument] = {}

    def __repr__(self) -> str:
        wire = getattr(self, "_wire", None)  # a repr must not fail while __init__ does
        return f"{type(self).__name__}({wire.endpoint if wire else 'not connected'})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a broker holds keys: it is not pickled or copied, make a new one")

    def instrument(self, symbol: str) -> Instrument:
        """Return the steps and minima of a symbol, asked for once.

        Raises:
            ArgumentError: the exchange does not list it.
        """
        constants.symbol(symbol)
        if symbol not in self._instruments:
            try:
                found = self._placer.listed("get_instruments_info", symbol=symbol)
            except ExchangeError as error:
                if error.code != UNKNOWN_SYMBOL:
                    raise
                found = []
            if not found:
                raise ArgumentError("symbol", symbol, f"a {self.category} symbol that is listed")
            self._instruments[symbol] = Instrument.from_listing(found[0])
        return self._instruments[symbol]

    def submit(self, intent: Intent) -> Order:
        """Send an order once and return it as the exchange took it.

        Nothing is rounded here: ``broker.instrument(symbol).price(x, rounding="down")`` does it
        where that is wanted, and ``quantity`` likewise.

        Raises:
            ArgumentError, OrderRuleError: nothing has been sent.
            OrderRejectedError: the exchange refused; the order does not exist.
            OrderConflictError: an order of that name exists with other figures.
            OrderUnknownError: its fate could not be learned; ask `order` before anything else.
            AccessError: HTTP 403.
        """
        if not isinstance(intent, Intent):
            raise ArgumentError("intent", intent, "an Intent")
        return self._submit(intent, intent.price)

    def _submit(self, intent: Intent, near: Decimal | None) -> Order:
        """Check an order, its value at a price near the market, then send it."""
        rules = self.instrument(intent.symbol)
        body = fields(intent, rules, self.category)
        if not intent.reduce_only and rules.min_notional:
            rules.value(intent.qty, near or self._mark(intent.symbol))
        self.journal.write("intent", link_id=intent.link_id, **intent.record())
        order = self._placer.place(intent, body)
        self.journal.write("order", link_id=order.link_id, id=order.order_id, status=order.status)
        return order

    def _mark(self, symbol: str) -> Decimal:
        """Return the mark price, which a market order is valued at."""
        return Decimal(self._placer.listed("get_positions", symbol=symbol)[0]["markPrice"])

    def target(
        self, symbol: str, fraction: float, *, decided: pd.Timestamp, price: float
    ) -> list[Order]:
        """Send what leads from the position held to ``fraction`` of equity, at about ``price``.

        Quantities are cut down to the step; what falls below the smallest order is left out.
        Called again for the same decision, it finds the orders that exist and adds none.

        Returns:
            The orders, the one that reduces first; none where nothing is to be done.
        """
        rules, near = self.instrument(symbol), decimal("price", price)
        number("fraction", fraction, -100.0, 100.0)
        at = pd.Timestamp(constants.moment("decided", decided), tz="UTC")
        return self._targets.go(
            rules, fraction, at, near, lambda: (self.equity(), self.position(symbol))
        )

    def cancel(self, link_id: str) -> Order:
        """Cancel an open order; one that has ended is returned as it is.

        Raises:
            OrderNotFoundError, OrderRejectedError, OrderUnknownError.
        """
        self.journal.write("cancel", link_id=link_id)
        return self._placer.cancel(link_id)

    def order(self, link_id: str) -> Order | None:
        """Return an order as the exchange has it now; None if it knows none of that name."""
        return self._placer.find(link_id)

    def open_orders(self, symbol: str) -> list[Order]:
        """Return the orders that can still fill, oldest first."""
        entries = self._placer.listed("get_open_orders", symbol=constants.symbol(symbol))
        return [order for order in map(read_order, entries[::-1]) if order.is_open]

    def position(self, symbol: str) -> float:
        """Return the signed size held."""
        return read_position(self._placer.listed("get_positions", symbol=constants.symbol(symbol)))

    def equity(self) -> float:
        """Return the worth of the unified account, in dollars."""
        return read_equity(self._wire.get("get_wallet_balance", accountType="UNIFIED")["result"])


# ---- The brokers that play with nobody's money.


class TestnetBroker(ExchangeBroker):
    """Orders on Bybit's testnet: real rules, play money, thin books."""

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, **settings: Any) -> None:
        super().__init__("testnet", **settings)


class DemoBroker(ExchangeBroker):
    """Orders on a demo account: play money at the main market's prices."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("demo", **settings)
