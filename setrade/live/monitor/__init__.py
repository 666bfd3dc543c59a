"""Figures of a run, for Prometheus and for the status page, and alerts when inputs drift.

The pipeline pushes what happens (`Monitor`); what can be looked up is read when somebody asks
(`facts`), so that watching costs the run next to nothing.
"""

from __future__ import annotations

from .core import STAGES, Monitor
from .facts import Facts, Line
from .gpu import gpu

__all__ = ["STAGES", "Facts", "Line", "Monitor", "gpu"]
