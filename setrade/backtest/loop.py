"""The loop over bars, compiled: one account, or one account a parameter set on all cores."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from setrade.compiled import kernel
from setrade.costs import Rates, compiled
from setrade.risk import END, Rules

from .account import close_trade, mark_open_trade
from .bar import Bar, close_bar, inside_bar, open_bar


class Market(NamedTuple):
    """What the loop reads, arrays (n,); days, ATR and the funding arrays may be empty.

    ``lowest`` and ``highest`` are the extremes of all bars: no level beyond them is ever reached.
    """

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    atr: np.ndarray
    day: np.ndarray
    funding_open: np.ndarray
    funding_inside: np.ndarray
    lowest: float
    highest: float


class Plan(NamedTuple):
    """How a score becomes a position, and when positions are followed up.

    A negative ``threshold`` means that the score is the position; else the position is
    ``size`` in the score's direction wherever the score is further than that from zero.
    """

    threshold: float
    size: float
    rebalance: bool
    close_at_end: bool
    keep_sums: bool


@compiled
def wanted(score: float, plan: Plan) -> float:
    """Return the position that a score asks for."""
    if plan.threshold < 0:
        return score
    if abs(score) <= plan.threshold:
        return 0.0
    return plan.size if score > 0 else -plan.size


@compiled
def next_event(
    a, t: int, score, high, low, reach, fund_open, fund_inside, rules: Rules, plan: Plan
) -> int:
    """Return the first bar from t on in which anything but the price can change.

    Between events an account stands still, so that the loop only has to value it. ``reach`` is
    the lowest and the highest price of all bars.
    """
    flat, last = a.units == 0, len(high) - 1  # the last bar is an event: it may close things
    free = flat or len(fund_open) == 0
    watched = rules.daily_loss < math.inf or rules.max_stale < math.inf
    if watched or a.pending != 0 or (plan.rebalance and not flat):
        last = t
    if free and (flat or (a.lower < reach[0] and reach[1] < a.upper)):
        # No price and no funding matters: a fifth of a run's time is saved by not looking.
        while t < last and wanted(score[t - 1], plan) == a.wanted:
            t += 1
        last = t
    while (
        t < last
        and wanted(score[t - 1], plan) == a.wanted
        and (flat or (a.lower < low[t] and high[t] < a.upper))
        and (free or (fund_open[t] == 0 and fund_inside[t] == 0))
    ):
        t += 1
    return t


@compiled
def add_returns(a, first: int, last: int, close) -> None:
    """Add up the returns of a standing account over bars [first, last)."""
    cash, units, entry, equity = a.cash, a.units, a.entry, a.equity
    total, squares, downside = a.return_sum, a.return_squares, a.downside_squares
    peak, trough, drawdown = a.peak, a.trough, a.drawdown
    for t in range(first, last):
        worth = cash + units * (close[t] - entry)
        change = worth / equity - 1.0 if equity > 0 else 0.0  # ruined: no more returns
        total += change
        squares += change * change
        downside += min(change, 0.0) ** 2
        if worth > peak:  # the fall since the last peak is over
            drawdown, peak, trough = min(drawdown, trough / peak - 1.0), worth, worth
        trough, equity = min(trough, worth), worth
    a.return_sum, a.return_squares, a.downside_squares = total, squares, downside
    a.peak, a.trough, a.drawdown, a.equity = peak, trough, drawdown, equity


@compiled
def draw(cash: float, units: float, entry: float, first: int, last: int, close, curve) -> None:
    """Write the equity of a standing account at the closes of bars [first, last)."""
    for t in range(first, last):
        curve[t] = cash + units * (close[t] - entry)


@compiled
def expand(book, close) -> np.ndarray:
    """Return equity, cash and units at every close, (3, n), from the statements of `simulate`."""
    n = len(close)
    curves = np.empty((3, n))
    for k in range(len(book)):
        first, cash, units, entry = int(book[k, 0]), book[k, 1], book[k, 2], book[k, 3]
        last = int(book[k + 1, 0]) if k + 1 < len(book) else n
        draw(cash, units, entry, first, last, close, curves[0])
        curves[1, first:last], curves[2, first:last] = cash, units
    return curves


@compiled
def simulate(
    a, score, m: Market, rules: Rules, rates: Rates, plan: Plan, ledger, book, curve
) -> int:
    """Move the account ``a`` over all bars; return how many statements ``book`` received.

    Args:
        a: one record of ``ACCOUNT``, changed in place.
        score: (n,) decided after each bar's close; see `Plan`.
        ledger: (rows,) of ``LEDGER``; with too few, the last row is written over.
        book: (n, 4) to receive bar, cash, units and entry after each event, or (0, 4).
        curve: (n,) to receive equity at each close, or (0,).
    """
    n, last, t, count = len(m.close), len(ledger) - 1, 0, 0
    # taken out of the tuple once: to do so in the loop would count references at each bar
    opens, high, low, close, atr, day = m.open, m.high, m.low, m.close, m.atr, m.day
    fund_open, fund_inside, reach = m.funding_open, m.funding_inside, (m.lowest, m.highest)
    while t < n:
        known = max(t - 1, 0)
        bar = Bar(
            t, opens[t], high[t], low[t], close[t], close[known],
            atr[known] if len(atr) else math.nan,
            day[t] if len(day) else 0,
            fund_open[t] if len(fund_open) else 0.0,
            fund_inside[t] if len(fund_inside) else 0.0,
        )  # fmt: skip
        want = wanted(score[t - 1], plan) if t else 0.0
        open_bar(a, bar, want, plan.rebalance, rules, rates, ledger[min(int(a.trades), last)])
        row = ledger[min(int(a.trades), last)]
        inside_bar(a, bar, rules, rates, row)
        if t == n - 1 and plan.close_at_end and a.units != 0:
            close_trade(a, t, bar.close, rates.fee, rates.slippage, END, row)
        event = n
        if t < n - 1:
            event = next_event(
                a, t + 1, score, high, low, reach, fund_open, fund_inside, rules, plan
            )
        a.held += event - t - 1 if a.units != 0 else 0
        if plan.keep_sums:
            add_returns(a, t, event, close)
        else:
            a.equity = a.cash + a.units * (close[event - 1] - a.entry)
        if len(curve):
            draw(a.cash, a.units, a.entry, t, event, close, curve)
        if len(book):
            book[count, 0], book[count, 1], book[count, 2] = t, a.cash, a.units
            book[count, 3] = a.entry
            count += 1
        close_bar(a, bar, rules)
        t = event
    a.drawdown = min(a.drawdown, a.trough / a.peak - 1.0)
    mark_open_trade(a, n - 1, close[n - 1], ledger[min(int(a.trades), last)])
    return count


@kernel(parallel=True, error_model="numpy")
def simulate_many(accounts, scores, series, m, rules, rates, plans, rows, curves) -> None:
    """Run one `simulate` a parameter set, on all cores; no ledger, curves only if asked for.

    Args:
        accounts: (sets,) records. scores: (k, n); ``series`` (sets,) says which row is whose.
        rules, rates, plans: (sets, fields) tables of `Rules`, `Rates` and `Plan`.
        rows: (sets,) of ``LEDGER``, scratch.
        curves: (sets, n) to receive equity, or (sets, 0) for none.
    """
    for s in prange(len(accounts)):
        r, c, p = rules[s], rates[s], plans[s]
        rule = Rules(r[0], r[1], r[2], r[3], r[4], r[5])
        rate = Rates(c[0], c[1], c[2], c[3], c[4])
        plan = Plan(p[0], p[1], p[2] != 0, p[3] != 0, True)
        row, nothing = rows[s : s + 1], np.empty((0, 4))
        simulate(accounts[s], scores[series[s]], m, rule, rate, plan, row, nothing, curves[s])
