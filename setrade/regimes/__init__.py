"""Market regimes read off the market alone, never off the net that they are to explain."""

from setrade.regimes.hmm import fit_hmm, observations
from setrade.regimes.rules import Agreement, agreement, planted

from .hmm import HMM
from .rules import REGIMES, by_rules
from .transitions import (
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
