"""Has what a model sees moved away from what it learned on? PSI says how far, KS how surely.

The population stability index is the symmetrised Kullback-Leibler divergence of two histograms,
sum (s - r) ln(s / r), its bins cut so that each holds the same share of the reference. By custom
0.1 is worth a look and 0.25 an alarm (Siddiqi, Credit Risk Scorecards, 2006). But chance alone
makes PSI about (bins - 1)(1/n + 1/m) for n recent and m reference samples (Yurdakul, Statistical
Properties of Population Stability Index, 2018), so no line here lies below what chance reaches.

Both assume independent samples. Rows computed over overlapping windows are not: a stretch of 14
equal rows counts as one, and p-values of overlapping rows are far too small. So only one row in
``every`` is kept, from the reference as well as from the stream; `spacing` proposes how many.
"""

from __future__ import annotations

from .distance import psi, spacing
from .drift import LINES, STATES, Change, Drift, Reading
from .inputs import INPUTS, inputs
from .watch import Watch

__all__ = [
    "INPUTS",
    "LINES",
    "STATES",
    "Change",
    "Drift",
    "Reading",
    "Watch",
    "inputs",
    "psi",
    "spacing",
]
