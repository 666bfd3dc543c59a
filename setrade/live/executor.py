"""The order executor: each move becomes one named order, in the journal before it is sent.

An order's name follows from the bar and the leg alone. After a crash the same bar is worked
through again and comes to the same names; a name that the journal knows is asked for at the
broker, and only sent, under that same name, where the broker has none. Only what must be closed
now is tried more than once in a bar: each attempt has a name of its own (`Executor.untried`).
"""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pandas as pd

from setrade.bybit.brokers import (
    Broker,
    Order,
    OrderConflictError,
    OrderRejectedError,
    PaperBroker,
)
from setrade.bybit.orders import Instrument, Intent, OrderRuleError, decimal

from .desk import Move
from .journal import Journal
from .papermarket import TICK, PaperMarket
from .schema import FILLED, OPEN


class Executor:
    """Sends moves to a broker and follows each order to its end.

    Args:
        journal: where every order is written first.
        broker: any of `setrade.bybit`'s.
        symbol: what is traded. strategy: first part of the orders' names.
        settle: seconds in which a market order is expected to end.
    """

    def __init__(
        self, journal: Journal, broker: Broker, symbol: str, *, strategy: str = "live",
        settle: float = 5.0,
    ) -> None:  # fmt: skip
        self.journal, self.broker, self.symbol = journal, broker, symbol
        self.strategy, self.settle = strategy, settle
        self.market = PaperMarket(broker) if isinstance(broker, PaperBroker) else None
        self.missed: Move | None = None  # of the last `send`: what was refused or not filled

    def send(self, moves: list[Move], decided: int, leg: int) -> list[Order]:
        """Carry moves out in order, up to one that is missed; return the orders made of them.

        Args:
            moves: from the desk. decided: time of the decision in ns; leg: number of the first.

        Raises:
            JournalError: an order could not be written, and was not sent.
            OrderUnknownError, ExchangeError: an order's fate could not be learned.
        """
        orders: list[Order] = []
        self.missed = None
        for k, move in enumerate(moves, leg):
            intent = self._intent(move, decided, k)
            if intent is None:
                self.journal.decision(decided, "too_small", units=move.units, leg=k)
                continue
            order, whole = self._carry(intent, move, decided + k * TICK)
            orders += [] if order is None else [order]
            if not whole:
                self.missed = move
                break  # the next one was sized for what this one leaves
        return orders

    def untried(self, decided: int, leg: int) -> int:
        """Return the first time from ``decided`` on (ns) after which no order has ended yet."""
        while True:
            known = self.journal.known(self._named("buy", decided, leg).link_id)
            if known is None or known[1] == OPEN:
                return decided
            decided += 1

    def _named(self, side: str, decided: int, leg: int) -> Intent:
        at = pd.Timestamp(decided, tz="UTC")
        return Intent(self.symbol, side, Decimal(1), at, strategy=self.strategy, leg=leg)

    def _carry(self, intent: Intent, move: Move, at: int) -> tuple[Order | None, bool]:
        """Return the order, if there is one, and False if it was refused or not filled."""
        order, known = None, self.journal.known(intent.link_id)
        if known is None:
            self.journal.intent(intent)
        else:
            intent, status = known
            if status != OPEN:
                return self.broker.order(intent.link_id), status == FILLED
            order = self.find(intent)
        order = self._submit(intent, move, at) if order is None else self._follow(order, move, at)
        return order, order is not None and (order.is_open or order.filled >= order.qty)

    def _intent(self, move: Move, decided: int, leg: int) -> Intent | None:
        """Return the order of a move; None where nothing is left to trade.

        A closing move takes what the broker holds, to the last digit. The name must not depend
        on the size: a bar that is worked through again finds the order it has sent.
        """
        units = abs(move.units)
        named = self._named("buy" if move.units > 0 else "sell", decided, leg)
        if self.journal.known(named.link_id) is not None:
            return named
        if move.closing:
            held = self.broker.position(self.symbol)
            units = abs(held) if held * move.units < 0 else 0.0
        qty = self._sized(units, move)
        if not qty:
            return None
        price = self._limit(move) if move.resting and self.market else None
        return replace(named, qty=qty, price=price, reduce_only=move.closing)

    def _rules(self) -> Instrument | None:
        rules: Any = getattr(self.broker, "instrument", None)
        return rules(self.symbol) if callable(rules) else rules  # pyright: ignore

    def _limit(self, move: Move) -> Decimal:
        rules = self._rules()
        exact = decimal("price", move.price)
        return rules.price(exact, rounding="nearest") if rules else exact

    def _sized(self, units: float, move: Move) -> Decimal:
        rules = self._rules()
        if rules is None:
            return decimal("qty", units) if units else Decimal(0)
        qty = rules.floor(units)
        small = not move.closing and qty * decimal("price", move.price) < rules.min_notional
        return Decimal(0) if small else qty

    def _submit(self, intent: Intent, move: Move, at: int) -> Order | None:
        try:
            order = self.broker.submit(intent)
        except (OrderRejectedError, OrderRuleError) as error:
            self.journal.outcome(intent.link_id, "rejected", str(error))
            return None
        except OrderConflictError as error:  # a reduce-only order that the exchange cut down
            order = error.order
        return self._follow(order, move, at)

    def _follow(self, order: Order, move: Move, at: int) -> Order:
        """Watch an order to its end and write what became of it."""
        if self.market is not None and order.is_open:
            at = self.market.next(at)
            if move.resting:
                self.market.through(at, move.price, 1.0 if move.units > 0 else -1.0)
            else:
                self.market.show(at, move.price)
        deadline = time.monotonic() + self.settle
        order = self.broker.order(order.link_id) or order
        while order.is_open and self.market is None and time.monotonic() < deadline:
            time.sleep(0.02)
            order = self.broker.order(order.link_id) or order
        self.journal.order(order)
        self.journal.commit()
        return order

    def find(self, intent: Intent) -> Order | None:
        """Ask the broker for an order by its name, as long as it may take to show."""
        patience = 0.0 if self.market is not None else min(self.settle, 1.0)
        deadline = time.monotonic() + patience
        while True:
            order = self.broker.order(intent.link_id)
            if order is not None or time.monotonic() >= deadline:
                return order
            time.sleep(0.1)

    def settle_open(self, before: int) -> list[str]:
        """After a restart, learn the fate of orders that were decided before a time (ns).

        One that the broker does not know was never sent; its bar is past, so it is given up.

        Returns:
            The names that were given up.
        """
        given_up = []
        for intent in self.journal.unfinished():
            if intent.decided.value >= before:
                continue  # its bar is worked through again
            order = self.find(intent)
            if order is None:
                self.journal.outcome(intent.link_id, "expired", "never sent, its bar is past")
                given_up.append(intent.link_id)
            else:
                self.journal.order(order)
        self.journal.commit()
        return given_up

    def standing(self) -> tuple[float, float]:
        """Return the signed size held and the worth of the account, as the broker says."""
        return self.broker.position(self.symbol), self.broker.equity()
