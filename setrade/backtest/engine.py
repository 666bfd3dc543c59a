"""The compiled engine: an account as a record of numbers, and the bars that move it.

``cash`` is realised money only: equity is cash plus the open position's unrealised profit, so a
short sale never looks like income (it is none). A bar has three moments. At its open: funding,
levels that the open jumped over, then the decision taken after the last close. Inside it: stops,
targets and liquidation, the worse one first. At its close: the account is valued. The live loop
drives the same three steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from setrade.candles.checks import STRETCH
from setrade.compiled import kernel
from setrade.costs import (
    Rates,
    affordable,
    compiled,
    fee,
    fill_price,
    funding_paid,
    in_lots,
    on_tick,
)
from setrade.risk import (
    DAILY_LOSS,
    DUST,
    END,
    LEFT_OPEN,
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

FIELDS = (
    # the account after the last close
    "cash", "units", "entry", "equity", "stop", "target", "liquidation_price", "lower", "upper",
    # what is wanted, and what waits
    "wanted", "pending", "halted", "day", "day_start", "age",
    # the trade that is open
    "opened_at", "bought", "bought_value", "sold_value", "trade_fees", "trade_funding",
    # sums over the run
    "fees", "funding", "traded", "held", "trades", "wins", "gains", "losses",
    "peak", "trough", "drawdown", "return_sum", "return_squares", "downside_squares",
)  # fmt: skip
BLOCK = 16  # bars that `stays` looks at together
# Marks that `decide` reads as one number; one, a one in each byte, and the place of the highest.
WORD, ONE, BYTES, TOP = 8, np.uint64(1), np.uint64(0x0101010101010101), np.uint64(56)
ACCOUNT = np.dtype([(name, np.float64) for name in FIELDS])
# One row of the ledger; ``side`` is +1 or −1, ``reason`` a place in ``risk.REASONS``.
LEDGER_COLUMNS = (
    "opened", "closed", "side", "size", "bought_value", "sold_value", "fees", "funding", "reason",
)  # fmt: skip
LEDGER = np.dtype([(name, np.float64) for name in LEDGER_COLUMNS])


def new_accounts(count: int, equity: float) -> np.ndarray:
    """Return ``count`` accounts that hold ``equity`` in cash and nothing else."""
    accounts = np.zeros(count, ACCOUNT)
    for name in ("cash", "equity", "peak", "trough", "day_start"):
        accounts[name] = equity
    accounts["day"] = -1.0
    return accounts


@compiled
def fill(a, units: float, price: float, fee_rate: float, slippage: float) -> None:
    """Buy (``units`` > 0) or sell: charge the leg once, realise what is closed."""
    before = a.cash + a.units * (price - a.entry)
    filled = fill_price(price, units, slippage)
    charge = fee(filled, units, fee_rate)
    value = abs(units) * filled
    if a.units == 0 or (a.units > 0) == (units > 0):  # their product may vanish
        whole = a.units + units
        a.entry = filled if a.units == 0 else (a.entry * a.units + filled * units) / whole
        a.bought += abs(units)
        a.bought_value += value
    else:
        a.cash -= units * (filled - a.entry)
        a.sold_value += value
    a.units += units
    a.cash -= charge
    a.trade_fees += charge
    a.fees += charge
    a.traded += value / before if before > 0 else 0.0


@compiled
def set_bounds(a, rules: Rules, rates: Rates) -> None:
    """Recompute the liquidation price, and the prices between which nothing can happen.

    Needed whenever cash, position, stop or target changed.
    """
    if a.units == 0:
        return
    a.liquidation_price = liquidation_price(
        a.cash, a.units, a.entry, rules.inverse_leverage, rates.taker, rates.stop_slippage
    )
    if a.units > 0:
        a.lower, a.upper = max(a.stop, a.liquidation_price), a.target
    else:
        a.lower, a.upper = a.target, min(a.stop, a.liquidation_price)


@compiled
def pay_funding(a, rate: float, price: float) -> None:
    """Charge funding on what is held."""
    paid = funding_paid(a.units, price, rate)
    a.cash -= paid
    a.trade_funding += paid
    a.funding += paid


@compiled
def close_trade(
    a, bar: int, price: float, fee_rate: float, slippage: float, reason: int, row
) -> None:
    """Close the whole position and write its row."""
    side = 1.0 if a.units > 0 else -1.0
    fill(a, -a.units, price, fee_rate, slippage)
    a.units = 0.0
    if abs(a.cash) <= 1e-12 * a.bought_value:
        a.cash = 0.0  # ruined: what is left is the rounding of the bankruptcy price
    write(a, bar, side, reason, row)
    a.entry = a.bought = a.bought_value = a.sold_value = 0.0
    a.trade_fees = a.trade_funding = 0.0


@compiled
def leave(a, bar: int, price: float, rates: Rates, reason: int, row) -> None:
    """Close the whole position by an order at ``price``, its fill on the tick."""
    price, slippage = on_tick(price, -a.units, rates.slippage, rates.tick)
    close_trade(a, bar, price, rates.fee, slippage, reason, row)


@compiled
def write(a, bar: int, side: float, reason: int, row) -> None:
    """Add a finished trade to the sums and to its row of the ledger."""
    gross = side * (a.sold_value - a.bought_value)
    profit = gross - a.trade_fees - a.trade_funding
    if reason != LEFT_OPEN:
        a.wins += 1.0 if profit > 0 else 0.0
        a.gains += max(profit, 0.0)
        a.losses -= min(profit, 0.0)
    a.trades += 1.0
    row.opened, row.closed, row.side, row.size = a.opened_at, bar, side, a.bought
    row.bought_value, row.sold_value, row.reason = a.bought_value, a.sold_value, reason
    row.fees, row.funding = a.trade_fees, a.trade_funding


@compiled
def mark_open_trade(a, bar: int, price: float, row) -> None:
    """Write the trade that the run leaves open, valued at the last close."""
    if a.units != 0:
        a.sold_value += abs(a.units) * price
        write(a, bar, 1.0 if a.units > 0 else -1.0, LEFT_OPEN, row)


# ---- The three moments of a bar.


class BarPrices(NamedTuple):
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
def force_exit(a, bar: BarPrices, high: float, low: float, rates: Rates, row) -> None:
    """Close the position if this bar, as far as ``high`` and ``low``, reaches a level."""
    reason, price = STAY, 0.0
    side = 1.0 if a.units > 0 else -1.0
    if not (a.lower < low and high < a.upper):
        reason, price = exit_price(side, bar.open, high, low, a.stop, a.target, a.liquidation_price)
    if reason != STAY:
        fee_rate, slippage = rates.taker, rates.stop_slippage
        if reason == TARGET:  # a resting order: maker fee, no slippage
            fee_rate, slippage = rates.maker, 0.0
        if reason == LIQUIDATION:  # what lies beyond bankruptcy is the insurance fund's loss
            least = liquidation_price(a.cash, a.units, a.entry, 0.0, fee_rate, slippage)
            price = side * max(side * price, side * least)
        else:
            price, slippage = on_tick(price, -side, slippage, rates.tick)
        close_trade(a, bar.number, price, fee_rate, slippage, reason, row)
        a.pending = 0.0


@compiled
def add(a, bar: BarPrices, side: float, value: float, rules: Rules, rates: Rates) -> bool:
    """Spend ``value`` on a larger position, its fee included, unless a guard refuses."""
    if refusal(bar.open, bar.previous, a.age, bar.atr, a.halted > 0, rules):
        return False
    new = a.units == 0
    price, slippage = on_tick(bar.open, side, rates.slippage, rates.tick)
    filled = fill_price(price, side, slippage)
    units = affordable(value, filled, rates.fee)
    # `in_lots` knows a lot of 0, but compiled it divides before it asks: 4 % of a run (measured,
    # n = 60)
    if rates.lot > 0:
        units = in_lots(units, rates.lot)
        if units == 0:  # not one lot
            return True
    fill(a, side * units, price, rates.fee, slippage)
    if new:
        a.opened_at = bar.number
        distance = rules.stop_atr * bar.atr if rules.stop_atr < math.inf else math.inf
        a.stop, a.target = levels(side, a.entry, distance, rules.take_profit)
    return True


@compiled
def follow(a, bar: BarPrices, rules: Rules, rates: Rates, row) -> None:
    """Trade at the open towards what is wanted; what a guard refuses stays pending."""
    price, want = bar.open, a.wanted
    if a.units != 0 and (want == 0 or (want > 0) != (a.units > 0)):
        leave(a, bar.number, price, rates, SIGNAL, row)
    a.pending = 0.0
    equity = a.cash + a.units * (price - a.entry)
    if want != 0 and equity > 0:  # with nothing left nothing is sized
        change = abs(want) * equity - abs(a.units) * price
        side = 1.0 if want > 0 else -1.0
        if change > DUST * equity:
            a.pending = 0.0 if add(a, bar, side, change, rules, rates) else 1.0
        elif change < -DUST * equity:
            units = -side * in_lots(-change / price, rates.lot)
            price, slippage = on_tick(price, units, rates.slippage, rates.tick)
            if units != 0:
                fill(a, units, price, rates.fee, slippage)
        set_bounds(a, rules, rates)


@compiled
def start_day(a, day: int) -> None:
    """On the first bar of a UTC day, lift the halt and count the day's loss anew."""
    if day != a.day:
        a.day, a.day_start, a.halted = day, a.equity, 0.0


@compiled
def open_bar(
    a, bar: BarPrices, want: float, rebalance: bool, rules: Rules, rates: Rates, row
) -> None:
    """At the open: funding, levels jumped over, then the decision of the last close."""
    if a.units != 0:
        if bar.funding_open != 0:
            pay_funding(a, bar.funding_open, bar.open)
            set_bounds(a, rules, rates)
        force_exit(a, bar, bar.open, bar.open, rates, row)
    if want != a.wanted:
        a.wanted, a.pending = want, 1.0
    start_day(a, bar.day)
    if a.halted > 0:
        if a.units != 0:
            leave(a, bar.number, bar.open, rates, DAILY_LOSS, row)
            a.pending = 0.0
    elif a.pending > 0 or (rebalance and a.units != 0):
        follow(a, bar, rules, rates, row)


@compiled
def inside_bar(a, bar: BarPrices, rules: Rules, rates: Rates, row) -> None:
    """Between open and close: funding, then stop, target and liquidation."""
    if a.units != 0:
        a.held += 1.0
        if bar.funding_inside != 0:
            pay_funding(a, bar.funding_inside, bar.open)
            set_bounds(a, rules, rates)
        force_exit(a, bar, bar.high, bar.low, rates, row)


@compiled
def watched(rules: Rules) -> bool:
    """Tell whether a rule looks at every close: a limit on the day's loss, or on a still feed."""
    return rules.daily_loss < math.inf or rules.max_stale < math.inf


@compiled
def close_bar(a, bar: BarPrices, rules: Rules) -> None:
    """After the close, with ``a.equity`` valued: the day's loss, and whether the feed moves."""
    if day_lost(a.equity, a.day_start, rules.daily_loss):
        a.halted = 1.0
    still = bar.high == bar.low and bar.close == bar.previous
    a.age = a.age + 1.0 if still else 0.0


# ---- The loop over bars: one account, or one account a parameter set on all cores.


class MarketArrays(NamedTuple):
    """What the loop reads, arrays (n,); days, ATR and the funding arrays may be empty.

    ``lows`` and ``highs`` (k,) are the extremes of each `STRETCH` of bars: while one lasts, no
    level beyond them is reached.
    """

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    atr: np.ndarray
    day: np.ndarray
    funding_open: np.ndarray
    funding_inside: np.ndarray
    lows: np.ndarray
    highs: np.ndarray


class FillOptions(NamedTuple):
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
def wanted(score: float, options: FillOptions) -> float:
    """Return the position that a score asks for."""
    if options.threshold < 0:
        return score
    if abs(score) <= options.threshold:
        return 0.0
    return options.size if score > 0 else -options.size


@compiled
def decide(position, limit: float) -> tuple[np.ndarray, bool]:
    """Return the bars at whose open another position is wanted than at the one before.

    After them stands n, which no run reaches. ``position`` (n,), n at least 2, is what is wanted
    after each bar; before the first it is none. Told beside is whether all lie in [−limit, limit];
    NaN does not.

    Marks are written by whole vectors, then looked at eight at a time, as one number that is
    mostly zero; of one that is not, the lowest mark, which is the earliest on a little-endian
    processor, is taken off until none is left. One loop with a branch a bar, and one for the
    limit, take 1.6 times as long: 6 % of a run (measured, n = 200).
    """
    n, outside = len(position), 0
    marks = np.empty((n + WORD - 1) // WORD * WORD, np.uint8)
    marks[0], marks[1], marks[n:] = 0, position[0] != 0, 0
    for t in range(1, n - 1):  # from 1: so that it is plain that no index wraps around
        marks[t + 1] = position[t] != position[t - 1]
        outside += not abs(position[t]) <= limit
    bars, count = np.empty(n + 1, np.int64), 0
    words = marks.view(np.uint64)
    for k in range(len(words)):
        word = words[k]
        while word != 0:
            rest = word & (word - ONE)
            # below the lowest mark all bits of word ^ rest - 1 are set: one in each byte is kept,
            # and the product adds these up in the highest byte
            bars[count] = WORD * k + np.int64((((word ^ rest) - ONE) & BYTES) * BYTES >> TOP)
            word, count = rest, count + 1
    bars[count] = n
    bars = bars[: count + 1]
    ends = abs(position[0]) <= limit and abs(position[n - 1]) <= limit
    return bars, outside == 0 and ends


@compiled
def stays(lower: float, upper: float, low, high, t: int) -> bool:
    """Tell whether no bar of the block at t leaves a range: all looked at, by whole vectors."""
    left = 0
    for i in range(t, t + BLOCK):
        left += not ((lower < low[i]) & (high[i] < upper))
    return left == 0


@compiled
def next_event(
    a, t: int, turn: int, high, low, lows, highs, fund_open, fund_inside, rules: Rules,
    options: FillOptions,
) -> int:  # fmt: skip
    """Return the first bar from t on in which anything but the price can change.

    Between events an account stands still: `add_returns` and `draw` value it in tight loops.
    To stop at every bar gives the same account, and a run of 100,000 bars takes 6 times as long
    (measured, n = 100).
    ``turn`` is the bar of the next decision; ``lows`` and ``highs`` as in `MarketArrays`.
    Loops stand one after the other, and there is one return: with a loop inside a branch, or with
    two returns, numba counts references to the arrays at each event.
    """
    held, free = a.units != 0, len(fund_open) == 0
    last = min(turn, len(high) - 1)  # the last bar may close things
    if watched(rules) or a.pending > 0 or (options.rebalance and held):
        last = t
    t = t if held else max(t, last)
    k = np.uintp(t // STRETCH)
    while free and t < last and a.lower < lows[k] and highs[k] < a.upper:
        k += ONE
        t = min(last, int(k) * STRETCH)
    while free and t + BLOCK <= last and stays(a.lower, a.upper, low, high, t):
        t += BLOCK
    while (
        t < last
        and a.lower < low[t]
        and high[t] < a.upper
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
def expand(statements, close) -> np.ndarray:
    """Return equity, cash and units at every close, (3, n), from the statements of `simulate`."""
    n = len(close)
    curves = np.empty((3, n))
    for k in range(len(statements)):
        cash, units, entry = statements[k, 1], statements[k, 2], statements[k, 3]
        first = int(statements[k, 0])
        last = int(statements[k + 1, 0]) if k + 1 < len(statements) else n
        draw(cash, units, entry, first, last, close, curves[0])
        curves[1, first:last], curves[2, first:last] = cash, units
    return curves


@compiled
def value_account(a, first: int, last: int, close, keep_sums: bool, curve) -> None:
    """Value a standing account over bars [first, last); fill its part of ``curve`` if wanted."""
    if keep_sums:
        add_returns(a, first, last, close)
    else:
        a.equity = a.cash + a.units * (close[last - 1] - a.entry)
    if len(curve):
        draw(a.cash, a.units, a.entry, first, last, close, curve)


@compiled
def bar_at(t: int, opens, high, low, close, atr, day, funding_open, funding_inside) -> BarPrices:
    """Return bar t, with the close and the average true range that were known before it."""
    i, known = np.uintp(t), np.uintp(max(t - 1, 0))  # unsigned: nothing looks for a negative index
    return BarPrices(
        t, opens[i], high[i], low[i], close[i], close[known],
        atr[known] if len(atr) else math.nan,
        day[i] if len(day) else 0,
        funding_open[i] if len(funding_open) else 0.0,
        funding_inside[i] if len(funding_inside) else 0.0,
    )  # fmt: skip


@compiled
def trade_bar(
    a, bar: BarPrices, want: float, last: bool, rules: Rules, rates: Rates,
    options: FillOptions, ledger,
) -> None:  # fmt: skip
    """Move the account through one bar, up to its close."""
    rows = len(ledger) - 1
    row = ledger[np.uintp(min(int(a.trades), rows))]
    open_bar(a, bar, want, options.rebalance, rules, rates, row)
    row = ledger[np.uintp(min(int(a.trades), rows))]
    inside_bar(a, bar, rules, rates, row)
    if last and options.close_at_end and a.units != 0:
        leave(a, bar.number, bar.close, rates, END, row)


@compiled
def simulate(
    a, bars, position, m: MarketArrays, rules: Rules, rates: Rates, options: FillOptions,
    ledger, statements, curve,
) -> int:  # fmt: skip
    """Move the account ``a`` over all bars; return how many ``statements`` were written.

    Args:
        a: one record of ``ACCOUNT``, changed in place.
        position: (n,), what is wanted after each bar. bars: from `decide`, when that changes.
        ledger: (rows,) of ``LEDGER``; with too few, the last row is written over.
        statements: (rows, 4) to receive bar, cash, units and entry after each event, or (0, 4);
            with too few, the last row is written over, and the count says so.
        curve: (n,) to receive equity at each close, or (0,).
    """
    n, t, k, count = len(m.close), 0, 0, 0
    # taken out of the tuple once: to do so in the loop would count references at each bar
    opens, high, low, close, atr, day = m.open, m.high, m.low, m.close, m.atr, m.day
    fund_open, fund_inside, lows, highs = m.funding_open, m.funding_inside, m.lows, m.highs
    by_bar = watched(rules) or options.keep_sums or len(curve) > 0
    while t < n:
        bar = bar_at(t, opens, high, low, close, atr, day, fund_open, fund_inside)
        want = position[t - 1] if bars[k] == t else a.wanted
        k += bars[k] == t
        trade_bar(a, bar, want, t == n - 1, rules, rates, options, ledger)
        event = next_event(
            a, t + 1, bars[k], high, low, lows, highs, fund_open, fund_inside, rules, options
        )
        a.held += event - t - 1 if a.units != 0 else 0
        if by_bar or event == n:
            value_account(a, t, event, close, options.keep_sums, curve)
        if len(statements):
            i = np.uintp(min(count, len(statements) - 1))
            statements[i, 0], statements[i, 1] = t, a.cash
            statements[i, 2], statements[i, 3] = a.units, a.entry
            count += 1
        if watched(rules):
            close_bar(a, bar, rules)
        t = event
    a.drawdown = min(a.drawdown, a.trough / a.peak - 1.0)
    mark_open_trade(a, n - 1, close[n - 1], ledger[min(int(a.trades), len(ledger) - 1)])
    return count


@kernel(parallel=True, error_model="numpy")
def simulate_many(accounts, scores, series, m, rules, rates, options, rows, curves) -> None:
    """Run one `simulate` a parameter set, on all cores; no ledger, curves only if asked for.

    Args:
        accounts: (sets,) records. scores: (k, n); ``series`` (sets,) says which row is whose.
        rules, rates, options: (sets, fields) tables of `Rules`, `Rates` and `FillOptions`.
        rows: (sets,) of ``LEDGER``, scratch.
        curves: (sets, n) to receive equity, or (sets, 0) for none.
    """
    for s in prange(len(accounts)):
        r, c, o = rules[s], rates[s], options[s]
        rule = Rules(r[0], r[1], r[2], r[3], r[4], r[5])
        rate = Rates(c[0], c[1], c[2], c[3], c[4], c[5], c[6])
        option = FillOptions(o[0], o[1], o[2] != 0, o[3] != 0, True)
        row, nothing, score = rows[s : s + 1], np.empty((0, 4)), scores[series[s]]
        position = np.empty(len(score))
        for t in range(len(score)):
            position[t] = wanted(score[t], option)
        bars, _ = decide(position, math.inf)
        simulate(accounts[s], bars, position, m, rule, rate, option, row, nothing, curves[s])
