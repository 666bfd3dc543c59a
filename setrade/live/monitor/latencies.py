"""The newest durations of each stage, kept in rings, for quantiles that are exact."""

from __future__ import annotations

import math

import numpy as np

from setrade.errors import integer, number

SHARES = (0.5, 0.95, 0.99)


class Latencies:
    """Durations by stage.

    Args:
        size: how many of each stage are kept.
    """

    def __init__(self, size: int = 1024) -> None:
        self.size = integer("size", size, 1)
        self._rings: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    @property
    def stages(self) -> list[str]:
        """Names of the stages that anything was added to."""
        return list(self._rings)

    def add(self, stage: str, seconds: float) -> None:
        """Keep a duration."""
        ring = self._rings.setdefault(stage, np.full(self.size, np.nan))
        count = self._counts.get(stage, 0)
        ring[count % self.size] = seconds
        self._counts[stage] = count + 1

    def quantile(self, stage: str, share: float) -> float:
        """Return the smallest kept duration that ``share`` of them do not exceed; NaN if none."""
        share, count = number("share", share, 0.0, 1.0), self._counts.get(stage, 0)
        if not count:
            return math.nan
        kept = self._rings[stage][: min(count, self.size)]
        return float(np.quantile(kept, share, method="inverted_cdf"))

    def quantiles(self, stage: str) -> tuple[float, ...]:
        """Return p50, p95 and p99 in seconds."""
        return tuple(self.quantile(stage, share) for share in SHARES)
