"""Brokers that talk to Bybit: each order is sent once, whatever happens to its answer."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any, NoReturn

import pandas as pd

from setrade.costs import Costs
from setrade.errors import ArgumentError, choice, number

from .. import codes
from ..errors import ExchangeError
from ..orders import Instrument, Intent
from ..orders.instrument import decimal
from ..retry import Retry
from .base import Order
from .journal import Journal
from .keys import Keys
from .orderwire import fields, read_equity, read_order, read_position
from .placing import Placer
from .targets import Targets
from .wire import Wire, loopback

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
        self.category = codes.category(category, having=("linear", "inverse", "spot"))
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
        codes.symbol(symbol)
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
        at = pd.Timestamp(codes.moment("decided", decided), tz="UTC")
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
        entries = self._placer.listed("get_open_orders", symbol=codes.symbol(symbol))
        return [order for order in map(read_order, entries[::-1]) if order.is_open]

    def position(self, symbol: str) -> float:
        """Return the signed size held."""
        return read_position(self._placer.listed("get_positions", symbol=codes.symbol(symbol)))

    def equity(self) -> float:
        """Return the worth of the unified account, in dollars."""
        return read_equity(self._wire.get("get_wallet_balance", accountType="UNIFIED")["result"])
