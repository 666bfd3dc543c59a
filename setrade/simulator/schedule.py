"""What happens on the market between two readings of the clock, in order of time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import numpy as np

from .account import Account
from .exchange import Exchange

FUND, MATCH, BOOK, TELL = range(4)  # the order of what happens at the same time
LOOKS = 12  # looks a bar at resting orders: they meet every corner of the price's way
Event = tuple[int, int, str]  # time in ms, what, symbol or topic


def grid(step: int, since: int, until: int, what: int, name: str) -> Iterator[Event]:
    """Yield events at the multiples of ``step`` in (since, until]."""
    return ((at, what, name) for at in range((since // step + 1) * step, until + 1, step))


def schedule(
    x: Exchange,
    accounts: Iterable[Account],
    topics: Iterable[str],
    updates: int,
    since: int,
    until: int,
) -> Iterator[Event]:
    """Yield the events in (since, until] in order of time.

    Args:
        x: the market.
        accounts: whose resting orders and positions matter.
        topics: what streams listen to.
        updates: pushes of a forming bar between open and close.
        since: ms, told already.
        until: ms, to be told.
    """
    feeds: list[Iterable[Event]] = [*_private(x, list(accounts), since, until)]
    for topic in topics:
        kind, *rest, symbol = topic.split(".")
        if kind == "kline":
            step = x.tape(symbol, rest[0]).step // (updates + 1)
            feeds.append(grid(step, since, until, TELL, topic))
        elif kind == "publicTrade" and (tape := x.base(symbol)) is not None:
            feeds.append(grid(tape.step, since, until, TELL, topic))
    for symbol, book in x.books.items():
        low, high = np.searchsorted(book.times, [since, until], "right")
        stamps = book.times[max(low, 1) : high].tolist()
        feeds.append([(stamp, BOOK, symbol) for stamp in stamps])
    return heapq.merge(*feeds)


def _private(
    x: Exchange, accounts: list[Account], since: int, until: int
) -> Iterator[Iterable[Event]]:
    """Yield the feeds that open orders and positions ask for."""
    resting = {o.symbol for a in accounts for o in a.orders if o.is_open}
    for symbol in sorted(resting):
        if (tape := x.base(symbol)) is not None:
            yield grid(tape.step // LOOKS, since, until, MATCH, symbol)
        else:
            times = x.books[symbol].times
            inside = times[(times > since) & (times <= until)].tolist()
            yield [(at, MATCH, symbol) for at in inside]
    for symbol in sorted({s for a in accounts for s, p in a.positions.items() if p.size} | resting):
        if symbol in x.funding:
            times = x.funding[symbol].index
            yield [(int(at), FUND, symbol) for at in times[(times > since) & (times <= until)]]
