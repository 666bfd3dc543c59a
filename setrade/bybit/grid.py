"""Which bars a request means, which of them are missing, and how to ask for those."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .codes import MOST_BARS, Interval


def closed_opens(first_ns: int, last_ns: int, now_ms: int, interval: Interval) -> np.ndarray:
    """Return the opens (ms) in [first, last) of the bars that have closed by ``now_ms``."""
    ns = interval.ms * 1_000_000
    begin = -(-first_ns // ns) * interval.ms  # ceil: the exchange would floor
    end = -(-last_ns // ns) * interval.ms
    return np.arange(begin, min(end, now_ms // interval.ms * interval.ms), interval.ms)


def windows(
    missing: np.ndarray, interval: Interval, size: int = MOST_BARS
) -> Iterator[tuple[int, int]]:
    """Yield the first and the last open of each request for the missing bars.

    A window never holds more than ``size`` bars: of a larger one the exchange would return
    the newest only. A stretch of bars that are known already is jumped over.
    """
    starts = np.flatnonzero(np.diff(missing, prepend=-interval.ms * 2) != interval.ms)
    for run in np.split(missing, starts[1:]):
        for k in range(0, len(run), size):
            part = run[k : k + size]
            yield int(part[0]), int(part[-1])


def month(stamps: np.ndarray) -> np.ndarray:
    """Return the month of each stamp (ms), as ``datetime64[M]``."""
    return stamps.astype("M8[ms]").astype("M8[M]")
