"""What a journal remembers of the inputs: the run's first ones, and the newest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..drift import INPUTS
from ..drift.inputs import COLUMNS, history
from ..journal import Journal

FIRST = "SELECT time, {} FROM bars ORDER BY time LIMIT ?"
NEWEST = "SELECT time, {} FROM bars WHERE time > ? ORDER BY time DESC LIMIT ?"


def remembered(journal: Journal, first: int, newest: int, before: int) -> Iterator[dict]:
    """Yield inputs by name: of the ``first`` oldest bars, then of the ``newest``.

    What lies between is left out, so that a restart after a year is quick; each bar comes once.

    Args:
        before: bars of the window that each one is measured in.
    """
    ask, columns = journal.db.execute, ", ".join(COLUMNS)
    old = ask(FIRST.format(columns), (first + before - 1,)).fetchall() if first else []
    since = old[-1][0] if old else -1
    young = ask(NEWEST.format(columns), (since, newest + before - 1)).fetchall()[::-1]
    for rows in (old, young):
        if len(rows) >= before:
            for row in history(np.array(rows, float)[:, 1:].T, before):
                yield dict(zip(INPUTS, row.tolist(), strict=True))
