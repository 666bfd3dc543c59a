"""A bar-by-bar backtest to trust: decisions fill at the next open, every cost is charged.

The position decided after bar t is filled at the open of bar t + 1; the last bar's decision
is never filled. Equity is cash plus unrealised profit, valued at each close. Chapter 17
writes a small engine by hand and finds the two equal.
"""

from __future__ import annotations

from setrade.backtest.many import STEPS, cost_steps, grid, run_many, waterfall
from setrade.backtest.result import METRICS, Result, run
from setrade.costs import Costs
from setrade.risk import Risk

__all__ = [
    "METRICS", "STEPS", "Costs", "Result", "Risk", "cost_steps", "grid", "run", "run_many",
    "waterfall",
]  # fmt: skip
