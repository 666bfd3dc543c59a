"""Risk rules over plain numbers, compiled, so that backtest and live pipeline share them.

`Risk` holds the parameters for people; `Risk.rules` gives the same as numbers, where an
infinite limit means none. Nothing here keeps state: whoever calls keeps the account.
"""

from __future__ import annotations

from .parameters import Risk, Rules
from .rules import (
    DAILY_LOSS,
    END,
    LIQUIDATION,
    OPEN,
    REASONS,
    REFUSALS,
    SIGNAL,
    STAY,
    STOP,
    TARGET,
    by_confidence,
    day_lost,
    exit_price,
    exposure,
    levels,
    liquidation_price,
    refusal,
)

__all__ = [
    "DAILY_LOSS",
    "END",
    "LIQUIDATION",
    "OPEN",
    "REASONS",
    "REFUSALS",
    "SIGNAL",
    "STAY",
    "STOP",
    "TARGET",
    "Risk",
    "Rules",
    "by_confidence",
    "day_lost",
    "exit_price",
    "exposure",
    "levels",
    "liquidation_price",
    "refusal",
]
