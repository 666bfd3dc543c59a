"""Gates by regime, as a typed record and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array, integer


@dataclass(frozen=True)
class AttentionRecord:
    """What the gates said after one bar, and what the market was like then."""

    time: pd.Timestamp
    regime: str
    weights: dict[str, float]


@dataclass(frozen=True)
class AttentionReport:
    """Gates (n, C) as a frame indexed by time, with the regime (n,) of each row."""

    weights: pd.DataFrame
    regime: pd.Series

    def records(self) -> Iterator[AttentionRecord]:
        """Yield one record a bar, in the order of time."""
        names = list(self.weights.columns)
        rows = zip(self.weights.index, self.regime, self.weights.to_numpy(), strict=True)
        for time, regime, row in rows:
            weights = dict(zip(names, row.tolist(), strict=True))
            yield AttentionRecord(time, str(regime), weights)

    def table(self) -> pd.DataFrame:
        """Return the mean gate of each feature (rows) in each regime that occurs (columns)."""
        return self.weights.groupby(self.regime.astype(str)).mean().T

    def contrast(self) -> pd.DataFrame:
        """Return `table` less each feature's mean over all bars: what a regime changes."""
        return self.table().sub(self.weights.mean(), axis=0)

    def top(self, k: int = 3) -> dict[str, list[tuple[str, float]]]:
        """Return the ``k`` features with the highest mean gate in each regime."""
        table = self.table()
        k = integer("k", k, 1, len(table))
        best = {str(n): table[n].sort_values(ascending=False, kind="stable") for n in table}
        return {
            regime: [(str(feature), float(gate)) for feature, gate in column.head(k).items()]
            for regime, column in best.items()
        }


def report(
    gates: np.ndarray, features: Sequence[str], regime: pd.Series, times: pd.DatetimeIndex
) -> AttentionReport:
    """Join gates with the regime of the bar at which each window ended.

    Args:
        gates: (n, C), in [0, 1].
        features: C names.
        regime: labels by time, from the market alone; rows not in ``times`` are not used.
        times: (n,) the bars at which the windows end.

    Returns:
        An `AttentionReport`.

    Raises:
        ArgumentError: shapes that do not fit, gates outside [0, 1], or a time without a regime.
    """
    weights = array("gates", gates, ndim=2)
    if weights.shape[1] != len(features) or weights.min() < 0 or weights.max() > 1:
        raise ArgumentError("gates", gates, f"(n, {len(features)}) numbers in [0, 1]")
    if len(times) != len(weights):
        raise ArgumentError("times", times, f"{len(weights)} times, one a row of gates")
    there = regime.reindex(times)
    if there.isna().any():
        first = times[int(there.isna().to_numpy().argmax())]
        raise ArgumentError("regime", regime, f"a label at every time; there is none at {first}")
    frame = pd.DataFrame(weights, index=times, columns=list(features))
    return AttentionReport(frame, there)
