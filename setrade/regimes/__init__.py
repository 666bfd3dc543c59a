"""Market regimes read off the market alone, never off the net that they are to explain."""

from .rules import REGIMES, by_rules
from .transitions import transition_matrix

__all__ = ["REGIMES", "by_rules", "transition_matrix"]
