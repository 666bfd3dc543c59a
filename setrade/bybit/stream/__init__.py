"""Public streams over pybit that survive what pybit does not, and say what they missed.

A thread of ours supervises the connection: it rebuilds it with growing, scattered waits when
it dies, falls silent or is refused, subscribes anew, and asks for a new snapshot of a book
that can no longer be trusted. Messages wait in a bounded queue and are taken apart by
whoever iterates, so that a book is always the book as of the last event handed out.
"""

from __future__ import annotations

from .backoff import Backoff
from .client import Stream
from .events import BookUpdate, Event, Gap, Kline, Trade, to_candles
from .reading import StreamError

__all__ = [
    "Backoff",
    "BookUpdate",
    "Event",
    "Gap",
    "Kline",
    "Stream",
    "StreamError",
    "Trade",
    "to_candles",
]
