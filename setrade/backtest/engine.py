"""The engine: what happens in one bar, and the loop over bars, compiled.

A bar has three moments. At its open: funding, levels that the open jumped over, then the
decision taken after the last close. Inside it: stops, targets and liquidation, the worse one
first. At its close: the account is valued. `run` and `run_many` both drive this one loop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from setrade.costs import Rates, affordable, fill_price
from setrade.risk import (
    DAILY_LOSS,
    END,
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

from .account import close_trade, fill, mark_open_trade, pay_funding, set_ruin

DUST = 1e-12  # of equity: a smaller change of position is rounding, not an order


class Market(NamedTuple):
    """What the loop reads, arrays (n,); ``atr`` and the funding arrays may be empty."""

    time: np.ndarray
    day_length: int
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    atr: np.ndarray
    funding_open: np.ndarray
    funding_inside: np.ndarray


class Plan(NamedTuple):
    """How a score becomes a position, and when positions are followed up.

    A negative ``threshold`` means that the score is the position; else the position is
    ``size`` in the score's direction wherever the score is further than that from zero.
    """

    threshold: float
    size: float
    rebalance: bool
    close_at_end: bool


@njit(cache=True)
def wanted(score: float, plan: Plan) -> float:
    """Return the position that a score asks for."""
    if plan.threshold < 0:
        return score
    if abs(score) <= plan.threshold:
        return 0.0
    return plan.size if score > 0 else -plan.size


@njit(cache=True)
def force_exit(a, t: int, high: float, low: float, m: Market, rates: Rates, ledger) -> None:
    """Close the position if this bar, as far as ``high`` and ``low``, reaches a level."""
    side = 1.0 if a.units > 0 else -1.0
    reason, price = exit_price(side, m.open[t], high, low, a.stop, a.target, a.ruin)
    if reason == STAY:
        return
    fee_rate, slippage = rates.taker, rates.stop_slippage
    if reason == TARGET:  # a resting order: maker fee, no slippage
        fee_rate, slippage = rates.maker, 0.0
    if reason == LIQUIDATION:  # what lies beyond bankruptcy is the insurance fund's loss
        least = liquidation_price(a.cash, a.units, a.entry, 0.0, fee_rate, slippage)
        price = side * max(side * price, side * least)
    close_trade(a, t, price, fee_rate, slippage, reason, ledger)
    a.pending = 0.0


@njit(cache=True)
def add(a, t: int, side: float, value: float, m: Market, rules: Rules, rates: Rates) -> bool:
    """Spend ``value`` on a larger position, its fee included, unless a guard refuses."""
    price, known = m.open[t], t - 1
    atr = m.atr[known] if len(m.atr) else math.nan
    if refusal(price, m.close[known], a.age, atr, a.halted != 0, rules):
        return False
    new = a.units == 0
    units = affordable(value, fill_price(price, side, rates.slippage), rates.fee)
    fill(a, side * units, price, rates.fee, rates.slippage)
    if new:
        a.opened_at = t
        distance = math.inf if math.isinf(rules.stop_atr) else rules.stop_atr * atr
        a.stop, a.target = levels(side, a.entry, distance, rules.take_profit)
    return True


@njit(cache=True)
def follow(a, t: int, m: Market, rules: Rules, rates: Rates, ledger) -> None:
    """Trade at the open towards what is wanted; what a guard refuses stays pending."""
    price, want = m.open[t], a.wanted
    if a.units != 0 and want * a.units <= 0:
        close_trade(a, t, price, rates.fee, rates.slippage, SIGNAL, ledger)
    a.pending = 0.0
    equity = a.cash + a.units * (price - a.entry)
    change = abs(want) * equity - abs(a.units) * price
    side = 1.0 if want > 0 else -1.0
    if change > DUST * equity:
        a.pending = 0.0 if add(a, t, side, change, m, rules, rates) else 1.0
    elif want != 0 and change < -DUST * equity:
        fill(a, side * change / price, price, rates.fee, rates.slippage)


@njit(cache=True)
def start_day(a, t: int, m: Market) -> None:
    """On the first bar of a UTC day, lift the halt and count the day's loss anew."""
    day = m.time[t] // m.day_length
    if day != a.day:
        a.day, a.day_start, a.halted = day, a.equity, 0.0


@njit(cache=True)
def open_bar(a, t: int, want: float, m: Market, rules, rates, plan: Plan, ledger) -> None:
    """At the open: funding, levels jumped over, then the decision of the last close."""
    if a.units != 0:
        if len(m.funding_open):
            pay_funding(a, m.funding_open[t], m.open[t])
            set_ruin(a, rules, rates)
        force_exit(a, t, m.open[t], m.open[t], m, rates, ledger)
    if want != a.wanted:
        a.wanted, a.pending = want, 1.0
    if not math.isinf(rules.daily_loss):
        start_day(a, t, m)
    if a.halted != 0:
        if a.units != 0:
            close_trade(a, t, m.open[t], rates.fee, rates.slippage, DAILY_LOSS, ledger)
            a.pending = 0.0
    elif a.pending != 0 or (plan.rebalance and a.units != 0):
        follow(a, t, m, rules, rates, ledger)
        set_ruin(a, rules, rates)


@njit(cache=True)
def inside_bar(a, t: int, m: Market, rules: Rules, rates: Rates, ledger) -> None:
    """Between open and close: funding, then stop, target and liquidation."""
    if a.units == 0:
        return
    a.held += 1
    if len(m.funding_inside) and m.funding_inside[t] != 0:
        pay_funding(a, m.funding_inside[t], m.open[t])
        set_ruin(a, rules, rates)
    force_exit(a, t, m.high[t], m.low[t], m, rates, ledger)


@njit(cache=True)
def close_bar(a, t: int, m: Market, rules: Rules) -> None:
    """At the close: value the account, add the bar's return to the sums."""
    equity = a.cash + a.units * (m.close[t] - a.entry)
    if equity != a.equity:
        change = equity / a.equity - 1.0
        a.return_sum += change
        a.return_squares += change * change
        a.downside_squares += min(change, 0.0) ** 2
        a.peak = max(a.peak, equity)
        a.drawdown = min(a.drawdown, equity / a.peak - 1.0)
        a.equity = equity
    if not math.isinf(rules.daily_loss) and day_lost(equity, a.day_start, rules.daily_loss):
        a.halted = 1.0
    if not math.isinf(rules.max_stale):
        still = m.high[t] == m.low[t] and (t == 0 or m.close[t] == m.close[t - 1])
        a.age = a.age + 1.0 if still else 0.0


@njit(cache=True)
def simulate(a, score, m: Market, rules: Rules, rates: Rates, plan: Plan, ledger, curves) -> None:
    """Move the account ``a`` over all bars.

    Args:
        a: one record of ``ACCOUNT``, changed in place.
        score: (n,) decided after each bar's close; see `Plan`.
        ledger: (rows, 10) to be filled, or (0, 10) for none.
        curves: (3, n) to receive equity, cash and units at each close, or (3, 0) for none.
    """
    n = len(m.close)
    for t in range(n):
        if t > 0:
            open_bar(a, t, wanted(score[t - 1], plan), m, rules, rates, plan, ledger)
            inside_bar(a, t, m, rules, rates, ledger)
            if t == n - 1 and plan.close_at_end and a.units != 0:
                close_trade(a, t, m.close[t], rates.fee, rates.slippage, END, ledger)
        elif not math.isinf(rules.daily_loss):
            start_day(a, t, m)
        close_bar(a, t, m, rules)
        if curves.shape[1]:
            curves[0, t], curves[1, t], curves[2, t] = a.equity, a.cash, a.units
    mark_open_trade(a, n - 1, m.close[n - 1], ledger)


@njit(cache=True, parallel=True)
def simulate_many(accounts, scores, series, m, rules, rates, plans, curves) -> None:
    """Run one `simulate` a parameter set, on all cores; no ledger, curves only if asked for.

    Args:
        accounts: (sets,) records. scores: (k, n); ``series`` (sets,) says which row is whose.
        rules, rates, plans: (sets, fields) tables of `Rules`, `Rates` and `Plan`.
        curves: (sets, n) to receive equity, or (sets, 0) for none.
    """
    for s in prange(len(accounts)):
        r, c, p = rules[s], rates[s], plans[s]
        rule = Rules(r[0], r[1], r[2], r[3], r[4], r[5])
        rate = Rates(c[0], c[1], c[2], c[3], c[4])
        plan = Plan(p[0], p[1], p[2] != 0, p[3] != 0)
        whole = np.empty((3, curves.shape[1]))
        simulate(
            accounts[s], scores[series[s]], m, rule, rate, plan, np.empty((0, 10)), whole
        )
        if curves.shape[1]:
            curves[s] = whole[0]
