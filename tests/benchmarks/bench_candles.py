"""Windows of a million bars cost at most one copy of the frame."""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade import candles

BARS = 1_000_000
FRAME = candles.synthetic(BARS, seed=0).candles


def test_windows_cost_at_most_one_copy(race):
    medians = race(
        lambda: candles.windows(FRAME, 60),
        frame_copy=lambda: FRAME.copy(),
        array_copy=lambda: FRAME.to_numpy(copy=True),
    )
    copy = min(medians["frame_copy"], medians["array_copy"])
    race.bound("a_copy", copy / medians["ours"], 0.9)


def test_windows_of_a_row_major_frame(race):
    """A frame made from an (n, 5) array has to be turned: its columns are not contiguous."""
    rows = np.ascontiguousarray(FRAME.to_numpy())
    frame = pd.DataFrame(rows, FRAME.index, FRAME.columns, copy=False)
    medians = race(lambda: candles.windows(frame, 60), turned=lambda: np.ascontiguousarray(rows.T))
    race.bound("turned", medians["turned"] / medians["ours"], 0.25)


def test_check_of_a_spotless_frame(race):
    """One pass in numba against the same questions in NumPy."""
    o, h, low, c, v = (FRAME[name].to_numpy() for name in candles.COLUMNS)

    def in_numpy() -> bool:
        inside = (low <= np.minimum(o, c)) & (h >= np.maximum(o, c)) & (low > 0) & (v >= 0)
        finite = np.isfinite(FRAME.to_numpy()).all()
        return bool(inside.all() and finite and (np.diff(FRAME.index.asi8) == 900_000_000).all())

    assert in_numpy()
    medians = race(lambda: candles.check(FRAME), numpy=in_numpy)
    race.bound("numpy", medians["numpy"] / medians["ours"], 1)
