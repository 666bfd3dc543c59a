"""Brokers that trade at Bybit: each order is sent once, whatever happens to its answer."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import count, takewhile
from typing import Any

import pandas as pd

from setrade.bybit import codes, constants, order_client, orders
from setrade.bybit.constants import DataError, ExchangeError
from setrade.bybit.http import Retry, parsing
from setrade.bybit.orders import Instrument, Order, OrderRequest, OrderRuleError
from setrade.costs import Costs
from setrade.errors import ArgumentError, choice, number

VENUES = ("testnet", "demo", "mainnet")
SWITCH = "SETRADE_ALLOW"
UNKNOWN_SYMBOL = 10001
LINEAR_ONLY = '"linear": spot has no positions to close, and inverse sizes count dollars, not coins'
FRESH = 900.0  # seconds that steps and minima are taken as they were told


class MainnetRefusedError(RuntimeError):
    """Real money was named once only."""


class ExchangeBroker(order_client.Unpicklable):
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
        category: ``"linear"``, in one-way mode. Spot holds coins and no positions, and inverse
            contracts are counted in dollars and paid in coins: both are refused.
        costs: what `target` expects to pay; default ``Costs()``.
        timeout, retry: as `Session` takes them.
        settle: seconds in which an accepted order must have become visible.
        journal: a `setrade.live.Journal` that takes each order before it is sent, and what
            became of it; None (as in the live pipeline, which writes by itself): nothing is kept.

    Raises:
        ArgumentError: names the argument; an address that is not this machine's.
        KeysError: the environment has no keys.
        MainnetRefusedError: real money was named once only.
    """

    def __init__(
        self, venue: str, *, base_url: str | None = None, category: str = "linear",
        costs: Costs | None = None, timeout: float = 10.0, settle: float = 5.0,
        retry: Retry | None = None, journal: Any = None,
    ) -> None:  # fmt: skip
        self.venue = choice("venue", venue, VENUES)
        if venue == "mainnet" and os.environ.get(SWITCH) != "mainnet":
            raise MainnetRefusedError(f"orders for real money: set {SWITCH}=mainnet as well")
        if category != "linear":
            raise ArgumentError("category", category, LINEAR_ONLY)
        self.category = category
        if not isinstance(costs, Costs | None):
            raise ArgumentError("costs", costs, "a Costs or None")
        number("settle", settle, 0.0)
        keys = order_client.Keys.from_environment(venue)
        self._session = order_client.SignedSession(keys, base_url, timeout, retry)
        self._client = order_client.OrderClient(self._session, self.category, settle)
        self._rates, self._journal = (costs or Costs()).rates(), journal
        self._instruments: dict[str, tuple[Instrument, float]] = {}  # and when it was asked
        self._parts: dict[str, list[str]] = {}  # names of what an order was sent as
        self._newest: dict[str, pd.Timestamp] = {}  # decision, by symbol

    def __repr__(self) -> str:
        session = getattr(self, "_session", None)  # a repr must not fail while __init__ does
        return f"{type(self).__name__}({session.endpoint if session else 'not connected'})"

    def instrument(self, symbol: str) -> Instrument:
        """Return the steps and minima of a symbol, asked for every quarter of an hour.

        The exchange changes them at times. While it cannot be asked, the last ones hold.

        Raises:
            ArgumentError: the exchange does not list it.
        """
        constants.symbol(symbol)
        known, asked = self._instruments.get(symbol, (None, -math.inf))
        if known is not None and time.monotonic() - asked < FRESH:
            return known
        try:
            rules = self._listing(symbol)
        except (ExchangeError, DataError):
            if known is None:
                raise
            return known
        self._instruments[symbol] = rules, time.monotonic()
        return rules

    def _listing(self, symbol: str) -> Instrument:
        """Ask for the rules of a symbol."""
        try:
            found = self._client.listed("get_instruments_info", symbol=symbol)
        except ExchangeError as error:
            if error.code != UNKNOWN_SYMBOL:
                raise
            found = []
        if not found:
            raise ArgumentError("symbol", symbol, f"a {self.category} symbol that is listed")
        with parsing(f"instrument {symbol}"):
            return Instrument.from_listing(found[0])

    def _anew(self, symbol: str) -> tuple[Instrument, bool]:
        """Ask for the rules of a symbol now; return them, and whether they have changed."""
        before, _ = self._instruments.get(symbol, (None, 0.0))
        if before is not None:
            self._instruments[symbol] = before, -math.inf
        rules = self.instrument(symbol)
        return rules, rules != before

    def submit(self, request: OrderRequest) -> Order:
        """Send an order once and return it as the exchange took it; `Instrument` rounds.

        Raises:
            ArgumentError, OrderRuleError: nothing has been sent.
            OrderRejectedError: the exchange refused; the order does not exist.
            OrderConflictError: an order of that name exists with other figures.
            OrderUnknownError: its fate could not be learned; ask `order` before anything else.
            AccessError: HTTP 403.
        """
        if not isinstance(request, OrderRequest):
            raise ArgumentError("request", request, "an OrderRequest")
        return self._submit(request)

    def _submit(self, request: OrderRequest, near: Decimal | None = None) -> Order:
        """Check an order, its value at a price near the market, then send it."""
        symbol = request.symbol
        try:
            rules = self.instrument(symbol)
        except (ExchangeError, DataError, ArgumentError):
            if not request.reduce_only:
                raise
            rules, _ = self._instruments.get(symbol, (None, 0.0))
            return self._noted(request, rules)  # what closes is not kept back for a listing
        try:
            rules.check(request, lambda: near or self._mark(symbol))
        except OrderRuleError:  # by rules that may have been told long ago
            rules, _ = self._anew(symbol)
            request = rules.closable(request)
            rules.check(request, lambda: near or self._mark(symbol))
        return self._noted(request, rules)

    def _noted(self, request: OrderRequest, rules: Instrument | None) -> Order:
        """Send an order, in the journal before it goes out and when it is known."""
        if self._journal is None:
            return self._place(request, rules)
        if self._journal.known(request.client_order_id) is None:
            self._journal.request(request)
        try:
            order = self._place(request, rules)
        except orders.OrderRejectedError as error:
            self._journal.outcome(request.client_order_id, "rejected", str(error))
            raise
        else:
            self._journal.order(order)
            return order
        finally:
            self._journal.commit()

    def _place(self, request: OrderRequest, rules: Instrument | None) -> Order:
        """Send an order; where the rules have just changed, one that reduces by the new ones."""
        try:
            return self._place_parts(request, rules)
        except orders.OrderRejectedError as error:
            if rules is None or error.code not in codes.RULES:
                raise
            rules, changed = self._anew(request.symbol)
            if not changed or not request.reduce_only:
                raise
        return self._place_parts(rules.closable(request), rules)

    def _place_parts(self, request: OrderRequest, rules: Instrument | None) -> Order:
        """Send an order, in parts if it is above the largest; return them as one."""
        whole = [request] if rules is None else orders.parts(request, rules)
        self._remember(request.client_order_id, [part.client_order_id for part in whole])
        sent: list[Order] = []
        for part in whole:
            try:
                sent.append(self._client.place(part))
            except orders.OrderRejectedError as error:
                if not sent or error.code != codes.NOTHING_TO_REDUCE:
                    raise
                break  # what is held ended before the last part
        last = replace(sent[-1], client_order_id=request.client_order_id)
        return sent[0] if len(whole) == 1 else orders.together([*sent[:-1], last])

    def _mark(self, symbol: str) -> Decimal | None:
        """Return a price that a market order is valued at; None where none is told."""
        for method, name in (("get_positions", "markPrice"), ("get_tickers", "lastPrice")):
            try:
                rows = self._client.listed(method, symbol=symbol)
                return orders.decimal(name, rows[0][name])
            except (DataError, LookupError, TypeError, ArgumentError):
                continue  # an empty list, a field that is missing: the exchange will judge
        return None

    def target(
        self, symbol: str, fraction: float, *, decided: pd.Timestamp, price: float
    ) -> list[Order]:
        """Send what leads from the position held to ``fraction`` of equity, at about ``price``.

        Quantities are cut down to the step; what falls below the smallest order is left out.
        Called again for the same decision, it finds the orders that exist and adds none; only
        a turn that stopped half way is gone on with. The order that reduces comes first.
        """
        rules, near = self.instrument(symbol), orders.decimal("price", price)
        number("fraction", fraction, -100.0, 100.0)
        at = pd.Timestamp(constants.moment("decided", decided), tz="UTC")
        sent = self._sent(symbol, at)
        equity, held = self.equity(), self.position(symbol)
        if sent and not (len(sent) == 1 and sent[0].reduce_only and held == 0):
            return sent
        for units in orders.legs(fraction, equity, held, float(near), self._rates):
            request = orders.target_request(units, held, symbol, float(near), at, rules)
            held += units
            if request is None:
                if self._journal is not None:
                    self._journal.decision(at.value, "too_small", units=units)
                continue
            try:
                sent.append(self._submit(request, near))
            except orders.OrderConflictError as error:  # somebody else's, sized a little apart
                sent.append(error.order)
        return sent

    def _sent(self, symbol: str, decided: pd.Timestamp) -> list[Order]:
        """Return the orders that exist of a decision.

        Only the first decision after a start, or one repeated, can have been sent before; for
        the others the exchange need not be asked.
        """
        newest = self._newest.get(symbol)
        self._newest[symbol] = decided if newest is None else max(decided, newest)
        if newest is not None and decided > newest:
            return []
        found = map(self.order, orders.target_names(symbol, decided.value))
        return [order for order in found if order is not None]

    def cancel(self, client_order_id: str) -> Order:
        """Cancel an open order, as `OrderClient.cancel` does."""
        names = self._names(client_order_id)
        order = orders.together([self._client.cancel(name) for name in names])
        if self._journal is not None:
            self._journal.order(order)
            self._journal.commit()
        return order

    def order(self, client_order_id: str) -> Order | None:
        """Return an order as the exchange has it now; None if it knows none of that name."""
        last = self._client.find(client_order_id)
        if last is None or not last.reduce_only:
            return last
        earlier = (self._client.find(name) for name in self._names(client_order_id)[:-1])
        return orders.together([*(order for order in earlier if order is not None), last])

    def _names(self, client_order_id: str) -> list[str]:
        """Return the names of what an order was sent as, its own last."""
        if client_order_id not in self._parts:  # sent before this process began
            ask = partial(self._client.find, like=client_order_id)
            found = takewhile(ask, (orders.part_name(client_order_id, k) for k in count(1)))
            self._remember(client_order_id, [*found, client_order_id])
        return self._parts[client_order_id]

    def _remember(self, client_order_id: str, names: list[str]) -> None:
        self._parts[client_order_id] = names
        if len(self._parts) > order_client.REMEMBERED:
            del self._parts[next(iter(self._parts))]

    def open_orders(self, symbol: str) -> list[Order]:
        """Return the orders that can still fill, oldest first."""
        entries = self._client.pages("get_open_orders", symbol=constants.symbol(symbol))
        return [order for order in map(order_client.decode, entries[::-1]) if order.is_open]

    def position(self, symbol: str) -> float:
        """Return the signed size held."""
        entries = self._client.listed("get_positions", symbol=constants.symbol(symbol))
        return order_client.read_position(entries, symbol)

    def user(self) -> str | None:
        """Return whose account it is, a number; None where the exchange does not say, asked once.

        A new key of the same account has the same number.
        """
        with suppress(Exception):  # it hinders nothing: a position may wait for this start
            return str(self._session.http.get_api_key_information()["result"]["userID"])
        return None

    def equity(self) -> float:
        """Return the worth of the unified account, in dollars."""
        balance = self._session.get("get_wallet_balance", accountType="UNIFIED")
        return order_client.read_equity(balance["result"])


class TestnetBroker(ExchangeBroker):
    """Orders on Bybit's testnet: real rules, play money, thin books."""

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, **settings: Any) -> None:
        super().__init__("testnet", **settings)


class DemoBroker(ExchangeBroker):
    """Orders on a demo account: play money at the main market's prices."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("demo", **settings)
