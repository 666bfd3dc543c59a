"""Have the gates moved away from where they were when the net was accepted?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, integer, number


def gate_drift(
    gates: pd.DataFrame, reference: pd.DataFrame, *, window: int = 96, level: float = 0.99
) -> pd.DataFrame:
    """Measure how far the recent mean gates lie from the reference, and raise an alert.

    The distance is the mean over channels of \\|recent mean - reference mean\\| in units of the
    reference's standard deviation. The alert's threshold is the ``level`` quantile of the same
    distance inside the reference itself, so ordinary wandering raises none.

    Args:
        gates: (n, C) gates over time, causal: row t uses rows up to t.
        reference: (m, C) gates of the same columns from the validation span, m >= 2 * ``window``.
        window: rows of the recent mean.
        level: share of the reference that must stay below the threshold.

    Returns:
        A frame (n, 3) with ``drift`` (NaN until ``window`` rows are there), ``threshold`` and
        ``alert`` (bool).

    Raises:
        ArgumentError: other columns, too short a reference, NaN or a channel that never moved.
    """
    window, level = integer("window", window, 1), number("level", level, 0.5, 1)
    if not isinstance(reference, pd.DataFrame) or len(reference) < 2 * window:
        raise ArgumentError("reference", reference, f"a frame of 2 * window = {2 * window} rows")
    if not isinstance(gates, pd.DataFrame) or list(gates.columns) != list(reference.columns):
        raise ArgumentError("gates", gates, f"a frame with columns {list(reference.columns)}")
    for name, frame in (("gates", gates), ("reference", reference)):
        if not np.isfinite(frame.to_numpy()).all():
            raise ArgumentError(name, frame, "finite gates")
    mean, spread = reference.mean(), reference.std(ddof=0)
    if (reference.max() == reference.min()).any():
        still = list(reference.columns[reference.max() == reference.min()])
        raise ArgumentError("reference", reference, f"gates that vary; these never do: {still}")

    def distance(frame: pd.DataFrame) -> pd.Series:
        away = (frame.rolling(window).mean() - mean).abs() / spread
        return away.mean(axis=1, skipna=False)

    threshold = float(distance(reference).quantile(level))
    drift = distance(gates)
    return pd.DataFrame({"drift": drift, "threshold": threshold, "alert": drift > threshold})
