"""The account that a backtest moves bar by bar, and what each fill does to it.

One record of plain numbers. ``cash`` is realised money only: equity is cash plus the open
position's unrealised profit, so a short sale never looks like income (it is none).
"""

from __future__ import annotations

import threading

import numpy as np

from setrade.costs import Rates, compiled, fee, fill_price, funding_paid
from setrade.risk import OPEN, Rules, liquidation_price

FIELDS = (
    # the account after the last close
    "cash", "units", "entry", "equity", "stop", "target", "ruin", "lower", "upper",
    # what is wanted, and what waits
    "wanted", "pending", "halted", "day", "day_start", "age",
    # the trade that is open
    "opened_at", "bought", "bought_value", "sold_value", "trade_fees", "trade_funding",
    # sums over the run
    "fees", "funding", "traded", "held", "trades", "wins", "gains", "losses",
    "peak", "trough", "drawdown", "return_sum", "return_squares", "downside_squares",
)  # fmt: skip
ACCOUNT = np.dtype([(name, np.float64) for name in FIELDS])
# One row of the ledger; ``side`` is +1 or −1, ``reason`` a place in ``risk.REASONS``.
COLUMNS = ("opened", "closed", "side", "size", "bought_value", "sold_value", "fees", "funding",
           "reason")  # fmt: skip
LEDGER = np.dtype([(name, np.float64) for name in COLUMNS])


def new_accounts(count: int, equity: float) -> np.ndarray:
    """Return ``count`` accounts that hold ``equity`` in cash and nothing else."""
    accounts = np.zeros(count, ACCOUNT)
    for name in ("cash", "equity", "peak", "trough", "day_start"):
        accounts[name] = equity
    accounts["day"] = -1.0
    return accounts


class Scratch(threading.local):
    """Room for the ledger and the statements of one run, kept from run to run in each thread.

    A run fills a small part of what it might need; fresh pages for all would cost more than
    the run itself.
    """

    ledger = np.empty(0, LEDGER)
    book = np.empty((0, 4))

    def room(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a ledger for 2 n + 1 trades and a book for n statements; contents are junk."""
        if len(self.book) < n:
            self.ledger, self.book = np.empty(2 * n + 1, LEDGER), np.empty((n, 4))
        return self.ledger[: 2 * n + 1], self.book[:n]


scratch = Scratch()


@compiled
def fill(a, units: float, price: float, fee_rate: float, slippage: float) -> None:
    """Buy (``units`` > 0) or sell: charge the leg once, realise what is closed."""
    before = a.cash + a.units * (price - a.entry)
    filled = fill_price(price, units, slippage)
    charge = fee(filled, units, fee_rate)
    value = abs(units) * filled
    if a.units * units >= 0:
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
    a.ruin = liquidation_price(
        a.cash, a.units, a.entry, rules.inverse_leverage, rates.taker, rates.stop_slippage
    )
    if a.units > 0:
        a.lower, a.upper = max(a.stop, a.ruin), a.target
    else:
        a.lower, a.upper = a.target, min(a.stop, a.ruin)


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
def write(a, bar: int, side: float, reason: int, row) -> None:
    """Add a finished trade to the sums and to its row of the ledger."""
    gross = side * (a.sold_value - a.bought_value)
    profit = gross - a.trade_fees - a.trade_funding
    if reason != OPEN:
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
        write(a, bar, 1.0 if a.units > 0 else -1.0, OPEN, row)
