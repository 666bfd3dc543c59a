"""When a price level grew by a large order, and when that order was gone again."""

from __future__ import annotations

import numpy as np

from ..compiled import kernel


@kernel
def episodes(ticks, size, min_size):
    """Return ``start, end, grown, level`` of every large order that came and went.

    ``ticks`` and ``size`` have shape ``(N, levels)``; ticks are >= 0 and rise away from the
    touch. ``level`` is where the order stood in row ``start``. A price that was beyond the
    worst visible level in the row before is unknown there and starts nothing; an order that
    drops out of sight ends nothing.
    """
    n, levels = ticks.shape
    span = ticks.max() + 1
    last, seen = np.zeros(span), np.full(span, -1)  # last size of a tick, and in which row
    since, base, grown = np.full(span, -1), np.zeros(span), np.zeros(span)
    place = np.zeros(span, np.int64)
    waiting = [np.int64(0) for _ in range(0)]
    found = [(np.int64(0), np.int64(0), 0.0, np.int64(0)) for _ in range(0)]
    for i in range(n):
        for j in range(levels):
            k, s = ticks[i, j], size[i, j]
            known = i > 0 and (seen[k] == i - 1 or k <= ticks[i - 1, levels - 1])
            before = last[k] if seen[k] == i - 1 else 0.0
            if known and since[k] < 0 and s - before >= min_size:
                since[k], base[k], grown[k], place[k] = i, before, s - before, j
                waiting.append(k)
            last[k], seen[k] = s, i
        kept = [np.int64(0) for _ in range(0)]
        for k in waiting:
            if seen[k] != i and k > ticks[i, levels - 1]:
                since[k] = -1
            elif since[k] < i and (last[k] if seen[k] == i else 0.0) <= base[k] + grown[k] / 2:
                found.append((since[k], np.int64(i), grown[k], place[k]))
                since[k] = -1
            else:
                kept.append(k)
        waiting = kept
    start, end = np.empty(len(found), np.int64), np.empty(len(found), np.int64)
    amount, level = np.empty(len(found)), np.empty(len(found), np.int64)
    for i in range(len(found)):
        start[i], end[i], amount[i], level[i] = found[i]
    return start, end, amount, level
