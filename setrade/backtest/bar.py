"""What happens in one bar, compiled.

A bar has three moments. At its open: funding, levels that the open jumped over, then the
decision taken after the last close. Inside it: stops, targets and liquidation, the worse one
first. At its close: the account is valued. A live loop may drive the same three steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from setrade.costs import Rates, affordable, compiled, fill_price
from setrade.risk import (
    DAILY_LOSS,
    LIQUIDATION,
    SIGNAL,
    STAY,
    TARGET,
    Rules,
    day_lost,
    exit_price,
    levels,
    liquidation_price,
    refusal,
)

from .account import close_trade, fill, pay_funding, set_bounds

DUST = 1e-12  # of equity: a smaller change of position is rounding, not an order


class Bar(NamedTuple):
    """One bar as plain numbers; ``previous`` and ``atr`` were known before it opened."""

    number: int
    open: float
    high: float
    low: float
    close: float
    previous: float
    atr: float
    day: int
    funding_open: float
    funding_inside: float


@compiled
def force_exit(a, bar: Bar, high: float, low: float, rates: Rates, row) -> None:
    """Close the position if this bar, as far as ``high`` and ``low``, reaches a level."""
    if a.lower < low and high < a.upper:
        return
    side = 1.0 if a.units > 0 else -1.0
    reason, price = exit_price(side, bar.open, high, low, a.stop, a.target, a.ruin)
    if reason == STAY:
        return
    fee_rate, slippage = rates.taker, rates.stop_slippage
    if reason == TARGET:  # a resting order: maker fee, no slippage
        fee_rate, slippage = rates.maker, 0.0
    if reason == LIQUIDATION:  # what lies beyond bankruptcy is the insurance fund's loss
        least = liquidation_price(a.cash, a.units, a.entry, 0.0, fee_rate, slippage)
        price = side * max(side * price, side * least)
    close_trade(a, bar.number, price, fee_rate, slippage, reason, row)
    a.pending = 0.0


@compiled
def add(a, bar: Bar, side: float, value: float, rules: Rules, rates: Rates) -> bool:
    """Spend ``value`` on a larger position, its fee included, unless a guard refuses."""
    if refusal(bar.open, bar.previous, a.age, bar.atr, a.halted != 0, rules):
        return False
    new = a.units == 0
    filled = fill_price(bar.open, side, rates.slippage)
    fill(a, side * affordable(value, filled, rates.fee), bar.open, rates.fee, rates.slippage)
    if new:
        a.opened_at = bar.number
        distance = math.inf if math.isinf(rules.stop_atr) else rules.stop_atr * bar.atr
        a.stop, a.target = levels(side, a.entry, distance, rules.take_profit)
    return True


@compiled
def follow(a, bar: Bar, rules: Rules, rates: Rates, row) -> None:
    """Trade at the open towards what is wanted; what a guard refuses stays pending."""
    price, want = bar.open, a.wanted
    if a.units != 0 and want * a.units <= 0:
        close_trade(a, bar.number, price, rates.fee, rates.slippage, SIGNAL, row)
    a.pending = 0.0
    equity = a.cash + a.units * (price - a.entry)
    change = abs(want) * equity - abs(a.units) * price
    side = 1.0 if want > 0 else -1.0
    if change > DUST * equity:
        a.pending = 0.0 if add(a, bar, side, change, rules, rates) else 1.0
    elif want != 0 and change < -DUST * equity:
        fill(a, side * change / price, price, rates.fee, rates.slippage)
    set_bounds(a, rules, rates)


@compiled
def start_day(a, day: int) -> None:
    """On the first bar of a UTC day, lift the halt and count the day's loss anew."""
    if day != a.day:
        a.day, a.day_start, a.halted = day, a.equity, 0.0


@compiled
def open_bar(a, bar: Bar, want: float, rebalance: bool, rules: Rules, rates: Rates, row) -> None:
    """At the open: funding, levels jumped over, then the decision of the last close."""
    if a.units != 0:
        if bar.funding_open != 0:
            pay_funding(a, bar.funding_open, bar.open)
            set_bounds(a, rules, rates)
        force_exit(a, bar, bar.open, bar.open, rates, row)
    if want != a.wanted:
        a.wanted, a.pending = want, 1.0
    start_day(a, bar.day)
    if a.halted != 0:
        if a.units != 0:
            close_trade(a, bar.number, bar.open, rates.fee, rates.slippage, DAILY_LOSS, row)
            a.pending = 0.0
    elif a.pending != 0 or (rebalance and a.units != 0):
        follow(a, bar, rules, rates, row)


@compiled
def inside_bar(a, bar: Bar, rules: Rules, rates: Rates, row) -> None:
    """Between open and close: funding, then stop, target and liquidation."""
    if a.units == 0:
        return
    a.held += 1.0
    if bar.funding_inside != 0:
        pay_funding(a, bar.funding_inside, bar.open)
        set_bounds(a, rules, rates)
    force_exit(a, bar, bar.high, bar.low, rates, row)


@compiled
def close_bar(a, bar: Bar, rules: Rules) -> None:
    """After the close, with ``a.equity`` valued: the day's loss, and whether the feed moves."""
    if day_lost(a.equity, a.day_start, rules.daily_loss):
        a.halted = 1.0
    still = bar.high == bar.low and bar.close == bar.previous
    a.age = a.age + 1.0 if still else 0.0
