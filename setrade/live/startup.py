"""Before the first decision: what the journal remembers, or else the history of the source."""

from __future__ import annotations

from .desk import FIGURES
from .guards import BarGuard
from .journal import Journal, JournalError
from .schema import Bar
from .sources import Source
from .trader import Trader
from .window import Window


async def start(
    source: Source, trader: Trader, journal: Journal, window: Window, guard: BarGuard
) -> list[Bar]:
    """Bring trader, window and guard to where they were, or warm them up.

    Returns:
        Bars that the journal has and the trader has not finished.
    """
    journal.setting("step", source.step)
    newest = trader.resume()
    if newest < 0:
        for bar in await source.history():
            if guard.judge(bar) in ("", "gap"):
                journal.bar(bar, history=True)
                trader.warm(bar)
        trader.save()
        newest = guard.newest
    begun = journal.bars(newest + 1)
    known = journal.bars(newest - (window.length - 1) * source.step, newest)
    window.push(without_holes(known, source.step))
    guard.newest = begun[-1].time if begun else newest
    journal.event("start", newest=newest, begun=len(begun))
    journal.commit()
    return begun


def without_holes(bars: list[Bar], step: int) -> list[Bar]:
    """Return the newest bars that follow each other without a hole."""
    for k in range(len(bars) - 1, 0, -1):
        if bars[k].time != bars[k - 1].time + step:
            return bars[k:]
    return bars


def may_hold(journal: Journal) -> bool:
    """Tell whether the last run on a journal may have left a position; unreadable: it may."""
    try:
        kept = journal.state()
        held = kept is not None and kept[1]["account"][FIGURES.index("units")] != 0
        return bool(held or journal.unfinished())
    except (JournalError, LookupError, TypeError):
        return True
