"""What a gate attends to: by regime, against other measures of importance, and over time.

A gate is a number a net computes for itself. Whether it says anything about the market is a
question, and chapter 06 puts it to gates whose right answer is known.
"""

from .drift import gate_drift
from .importance import ablation_importance, permutation_importance
from .report import AttentionRecord, AttentionReport, report

__all__ = [
    "AttentionRecord",
    "AttentionReport",
    "ablation_importance",
    "gate_drift",
    "permutation_importance",
    "report",
]
