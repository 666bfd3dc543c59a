"""A bar-by-bar backtest to trust: decisions fill at the next open, every cost is charged.

The position decided after bar t is filled at the open of bar t + 1; the last bar's decision
is never filled. Equity is cash plus unrealised profit, valued at each close. Chapter 17
writes a small engine by hand and finds the two equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from setrade.costs import Costs
from setrade.errors import number
from setrade.metrics import Drawdown
from setrade.risk import Risk, by_confidence

from .account import COLUMNS, LEDGER, new_accounts, scratch
from .inputs import instance, market, plain, position_array
from .loop import Plan, simulate
from .many import grid, run_many
from .result import METRICS, Result

__all__ = ["METRICS", "Costs", "Drawdown", "Result", "Risk", "grid", "run", "run_many"]


def run(
    candles: pd.DataFrame,
    position: Any,
    *,
    costs: Costs | None = None,
    funding: pd.Series | None = None,
    risk: Risk | None = None,
    rebalance: bool = False,
    confidence: Any = None,
    order: str = "taker",
    equity: float = 1.0,
    close_at_end: bool = False,
) -> Result:
    """Backtest positions on candles.

    What is bought is sized after its fee: from flat, position f spends f · equity, the fee
    included. A change of sign closes first, then opens with what is left. A position is held,
    not rebalanced, while ``position`` does not change, unless ``rebalance`` asks for it; after
    a stop, target, liquidation or daily halt the account stays flat until it does change.
    What a guard refuses is tried again at the next open.

    Args:
        candles: (n bars) that pass `candles.check`, at least two.
        position: (n,) or a Series on the candles' index: fraction of equity wanted after
            bar t, in [−max_position, max_position].
        costs: fees and slippage; default ``Costs()``.
        funding: Series of decimal rates by funding time (UTC); longs pay when positive. At a
            bar's open it is charged on what was held into that bar, inside a bar on what is
            held after its open; always on the value at that bar's open.
        risk: limits, stops and guards; default ``Risk()``: no stop, positions within ±1,
            liquidation when nothing is left.
        rebalance: trade back to the wanted fraction at every open.
        confidence: (n,) in [0, 1] to scale positions with (`risk.by_confidence`).
        order: "taker", or "maker": maker fee, no slippage, and the assumption that the order
            is filled at the open all the same, which flatters.
        equity: the account's money at the start, above zero.
        close_at_end: close what is open at the last close, at its cost. Otherwise the open
            position is valued at the last close and listed with reason "open".

    Returns:
        `Result`.

    Raises:
        CandleError: the candles have faults.
        ArgumentError: names the argument; positions of another length or index, NaN or outside
            the limits are never clipped.
    """
    charged, limits = instance("costs", costs, Costs), instance("risk", risk, Risk)
    stops, days = limits.stop_atr is not None, limits.daily_loss is not None
    m = market(candles, funding, limits, needs_atr=stops, needs_days=days)
    wanted = position_array(position, candles.index, limits.max_position)
    if confidence is not None:
        part = position_array(confidence, candles.index, 1.0, name="confidence")
        wanted = plain(by_confidence(wanted, part, limits))
    n = len(wanted)
    plan = Plan(-1.0, 1.0, bool(rebalance), bool(close_at_end), False)
    accounts = new_accounts(1, number("equity", equity, 0.0, above=True))
    ledger, book = scratch.room(n)
    rules, rates = limits.rules(), charged.rates(order)
    count = simulate(accounts[0], wanted, m, rules, rates, plan, ledger, book, np.empty(0))
    rows = ledger.view((np.float64, len(COLUMNS)))[: int(accounts["trades"][0])].copy()
    ledger, book = rows.view(LEDGER)[:, 0], book[:count].copy()
    return Result(candles, charged, funding, limits, order, ledger, book, accounts[0])
