"""Missing bars, fetched by a helper of the caller's and held to the same rules as streamed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from .bars import kline, stamp
from .events import COLUMNS, Gap, Kline
from .topics import Topic

Fill = Callable[[str, str, pd.Timestamp, pd.Timestamp], pd.DataFrame]


def fetch(fill: Fill, topic: Topic, gap: Gap) -> dict[int, list[float]]:
    """Return what ``fill`` brings for a gap: figures by the bar's open in ms.

    Rows that are no bars (NaN, a high below a low) are left out: their gap stays.
    """
    assert gap.first is not None
    assert gap.last is not None
    end = gap.last + pd.Timedelta(topic.step_ms, unit="ms")
    frame = fill(topic.symbol, topic.interval, gap.first, end)
    figures = frame.reindex(columns=list(COLUMNS)).to_numpy(np.float64)
    first, high, low, last, volume, _ = figures.T
    sound = (low > 0) & (low <= np.minimum(first, last)) & (high >= np.maximum(first, last))
    sound &= np.isfinite(high) & (volume >= 0)
    opens = pd.DatetimeIndex(frame.index).tz_convert("UTC").as_unit("ms").asi8
    return dict(zip(opens[sound].tolist(), figures[sound].tolist(), strict=True))


def events(topic: Topic, gap: Gap, found: dict[int, list[float]]) -> Iterator[Kline | Gap]:
    """Yield the bars of a gap that were found, and gaps for those that were not, in order."""
    assert gap.first is not None
    step = topic.step_ms
    start = gap.first.value // 10**6
    missing = 0
    for k in range(gap.count + 1):
        time = start + k * step
        here = k < gap.count and time in found
        if missing and (here or k == gap.count):
            first, last = stamp(time - missing * step), stamp(time - step)
            yield Gap(topic.name, topic.symbol, gap.reason, missing, first, last)
            missing = 0
        if here:
            yield kline(topic, stamp(time), found[time], filled=True)
        else:
            missing += 1
