"""Evidence: intervals, the price of searching, and tests that count every try.

A figure without its interval is an anecdote, and the best of many tries is a biased one.
Chapter 18 uses these on a strategy that looks wonderful.
"""

from setrade.evidence.statistics import (
    ConfidenceInterval,
    SuperiorAbility,
    block_length,
    break_even_fee,
    cost_sensitivity,
    deflated_sharpe,
    expected_best_sharpe,
    interval,
    metric_intervals,
    overfitting_probability,
    paired_difference,
    probabilistic_sharpe,
    resample,
    sharpe,
    superior_ability,
)

__all__ = [
    "ConfidenceInterval",
    "SuperiorAbility",
    "block_length",
    "break_even_fee",
    "cost_sensitivity",
    "deflated_sharpe",
    "expected_best_sharpe",
    "interval",
    "metric_intervals",
    "overfitting_probability",
    "paired_difference",
    "probabilistic_sharpe",
    "resample",
    "sharpe",
    "superior_ability",
]
