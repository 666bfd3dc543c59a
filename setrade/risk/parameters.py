"""What the risk rules are asked to hold to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from setrade.errors import ArgumentError, integer, number


class Rules(NamedTuple):
    """`Risk` as compiled code reads it: an infinite limit never binds."""

    stop_atr: float
    take_profit: float
    inverse_leverage: float
    daily_loss: float
    max_jump: float
    max_stale: float


@dataclass(frozen=True)
class Risk:
    """Parameters of every risk rule; None switches a rule off.

    Args:
        max_position: largest position allowed, as a fraction of equity (1: no leverage).
        stop_atr: stop this many average true ranges from the entry.
        take_profit: target this many stop distances from the entry (needs ``stop_atr``).
        atr_bars: bars of the average true range (Wilder).
        max_leverage: liquidate when position value over equity reaches it; above
            ``max_position`` and 1. None: only when nothing would be left (bankruptcy).
        daily_loss: fraction of the day's first equity that may be lost in a UTC day.
        max_jump: refuse new exposure when the price is this fraction away from the last close.
        max_stale: refuse new exposure when the price has not moved for more bars than this.
        min_confidence: at or below this confidence nothing is held.
        full_confidence: from this confidence on the whole position is held.

    Raises:
        ArgumentError: a parameter is outside its range, or a target has no stop.
    """

    max_position: float = 1.0
    stop_atr: float | None = None
    take_profit: float | None = None
    atr_bars: int = 14
    max_leverage: float | None = None
    daily_loss: float | None = None
    max_jump: float | None = None
    max_stale: int | None = None
    min_confidence: float = 0.0
    full_confidence: float = 1.0

    def __post_init__(self) -> None:
        number("max_position", self.max_position, 0.0, 100.0, above=True)
        integer("atr_bars", self.atr_bars, 2)
        for name, top in (("stop_atr", 1e6), ("take_profit", 1e6), ("max_jump", 1e6)):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), 0.0, top, above=True)
        if self.daily_loss is not None:
            number("daily_loss", self.daily_loss, 0.0, 1.0, above=True)
        if self.max_stale is not None:
            integer("max_stale", self.max_stale, 0)
        if self.max_leverage is not None:
            number("max_leverage", self.max_leverage, max(1.0, self.max_position), above=True)
        if self.take_profit is not None and self.stop_atr is None:
            allowed = "None without stop_atr: it counts in stop distances"
            raise ArgumentError("take_profit", self.take_profit, allowed)
        number("min_confidence", self.min_confidence, 0.0, 1.0)
        number("full_confidence", self.full_confidence, self.min_confidence, 1.0, above=True)

    def rules(self) -> Rules:
        """Return the numbers that compiled code reads."""

        def limit(value: float | None) -> float:
            return math.inf if value is None else float(value)

        return Rules(
            limit(self.stop_atr), limit(self.take_profit), 1.0 / limit(self.max_leverage),
            limit(self.daily_loss), limit(self.max_jump), limit(self.max_stale),
        )  # fmt: skip
