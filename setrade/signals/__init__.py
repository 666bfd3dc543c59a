"""From what a net says, or a rule, to a position: one record for all of them."""

from .conditioned import blend_by_regime, choose_regimes, gate_by_regime
from .momentum import SEMomentum, momentum, rule_based
from .record import CLASSES, SOURCES, Signal, from_probabilities

__all__ = [
    "CLASSES",
    "SOURCES",
    "SEMomentum",
    "Signal",
    "blend_by_regime",
    "choose_regimes",
    "from_probabilities",
    "gate_by_regime",
    "momentum",
    "rule_based",
]
