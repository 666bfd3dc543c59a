"""Market regimes read off the market alone, never off the net that they are to explain."""

from setrade.regimes.hmm import HMM, DegenerateWarning, fit_hmm, observations
from setrade.regimes.rules import REGIMES, Agreement, agreement, by_rules, planted
from setrade.regimes.transitions import (
    expected_duration,
    spells,
    stationary,
    transition_intervals,
    transition_matrix,
)

__all__ = [
    "HMM",
    "REGIMES",
    "Agreement",
    "DegenerateWarning",
    "agreement",
    "by_rules",
    "expected_duration",
    "fit_hmm",
    "observations",
    "planted",
    "spells",
    "stationary",
    "transition_intervals",
    "transition_matrix",
]
