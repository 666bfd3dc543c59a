"""Evidence: intervals, the price of searching, and whether a study could have seen what it seeks.

A figure without its interval is an anecdote, the best of many tries is a biased one, and a study
that finds nothing says little until it is known what it would have found.
"""

from setrade.evidence.forecasts import LossDifference, diebold_mariano
from setrade.evidence.multiple import (
    Overfitting,
    SuperiorAbility,
    clusters,
    deflated_sharpe,
    effective_tries,
    expected_best_sharpe,
    holm,
    min_track_record,
    overfitting,
    overfitting_probability,
    probabilistic_sharpe,
    sharpe,
    superior_ability,
)
from setrade.evidence.power import Detectable, Learned, constant_loss, detectable, learned, plant
from setrade.evidence.statistics import (
    ConfidenceInterval,
    block_length,
    bounds,
    break_even_fee,
    cost_sensitivity,
    interval,
    metric_intervals,
    paired_difference,
    resample,
    t_interval,
    widened,
)

__all__ = [
    "ConfidenceInterval",
    "Detectable",
    "Learned",
    "LossDifference",
    "Overfitting",
    "SuperiorAbility",
    "block_length",
    "bounds",
    "break_even_fee",
    "clusters",
    "constant_loss",
    "cost_sensitivity",
    "deflated_sharpe",
    "detectable",
    "diebold_mariano",
    "effective_tries",
    "expected_best_sharpe",
    "holm",
    "interval",
    "learned",
    "metric_intervals",
    "min_track_record",
    "overfitting",
    "overfitting_probability",
    "paired_difference",
    "plant",
    "probabilistic_sharpe",
    "resample",
    "sharpe",
    "superior_ability",
    "t_interval",
    "widened",
]
