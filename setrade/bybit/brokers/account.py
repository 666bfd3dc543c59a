"""The paper account: the backtest's own record and rules, moved order by order."""

from __future__ import annotations

import math

import numpy as np

from setrade.backtest.account import LEDGER, fill, new_accounts, pay_funding, set_bounds
from setrade.backtest.bar import Bar, force_exit
from setrade.costs import Costs, fill_price
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
