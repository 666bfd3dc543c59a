"""One record for what a net says, or a rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array, choice, number

CLASSES = ("sell", "hold", "buy")
SOURCES = ("net", "se_momentum", "rule")


@dataclass(frozen=True)
class Signal:
    """A wish after the bar that opened at ``time``: to be filled at the next bar's open.

    ``position`` is a fraction of equity in [-1, 1], ``confidence`` in [0, 1], ``probabilities``
    of sell, hold and buy (None from a rule), ``attention`` a gate by feature (None without
    gates), ``source`` one of ``SOURCES``.
    """

    time: pd.Timestamp
    position: float
    confidence: float
    probabilities: tuple[float, float, float] | None = None
    attention: dict[str, float] | None = None
    source: str = "net"

    def __post_init__(self) -> None:
        number("position", self.position, -1, 1)
        number("confidence", self.confidence, 0, 1)
        choice("source", self.source, SOURCES)

    def __eq__(self, other: object) -> bool:
        # From 3.13 on a dataclass asks each field, and NaT (pictures alone have no time) says no.
        return vars(self) == vars(other) if isinstance(other, Signal) else NotImplemented

    @property
    def direction(self) -> str:
        """Return "sell", "hold" or "buy", by the sign of the position."""
        return CLASSES[int(np.sign(self.position)) + 1]


def from_probabilities(
    time: pd.Timestamp,
    probabilities: np.ndarray,
    *,
    threshold: float = 0.0,
    attention: dict[str, float] | None = None,
    source: str = "net",
) -> Signal:
    """Return the signal of one example's class probabilities.

    The position is P(buy) - P(sell), and 0 where its size does not exceed ``threshold``; the
    confidence is the largest probability.

    Args:
        time: open of the bar that was decided on.
        probabilities: (3,) of sell, hold, buy; they sum to 1.
        threshold: in [0, 1].
        attention: gate by feature.
        source: one of ``SOURCES``.
    """
    p = array("probabilities", probabilities, ndim=1).astype(float)
    if p.shape != (3,) or p.min() < 0 or abs(p.sum() - 1) > 1e-4:
        raise ArgumentError("probabilities", p, "sell, hold, buy: three shares that sum to 1")
    wish = float(p[2] - p[0])
    position = wish if abs(wish) > number("threshold", threshold, 0, 1) else 0.0
    return Signal(time, position, float(p.max()), (p[0], p[1], p[2]), attention, source)
