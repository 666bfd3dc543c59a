"""From a position that is wanted to orders at an exchange, each decision carried out once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pandas as pd

from setrade.costs import Rates

from ..orders import Instrument, Intent, legs
from .base import TARGET, Order, OrderConflictError
from .journal import Journal

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
