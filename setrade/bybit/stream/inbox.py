"""The bounded queue between the socket's thread and whoever reads, with a stated policy.

Books and the rest (bars, trades) are counted apart, so that a flood of book updates cannot
push out a bar. When a lane is full, the message that came is left out and counted, and a
note of the loss takes its place in the queue: the reader learns of it before it sees what
came after, a book is then asked for anew, a bar or trade is reported as missed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple


class Message(NamedTuple):
    """What the exchange sent on one topic."""

    topic: str
    body: Any


class Lost(NamedTuple):
    """``messages`` of a topic were left out because the queue was full."""

    topic: str
    messages: int


class Note(NamedTuple):
    """Something that happened to the connection: "up" or "down", and why."""

    kind: str
    text: str


Item = Message | Lost | Note


class Inbox:
    """A queue in the order received; ``put`` never waits for the reader and never raises.

    Args:
        limit: messages that each of the two lanes (books, the rest) holds at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.dropped: Counter[str] = Counter()  # by topic, over the stream's life
        self._lost: Counter[str] = Counter()  # by topic, not yet told
        self._items: deque[tuple[str, Item]] = deque()  # with the lane of each
        self._waiting: Counter[str] = Counter()  # messages a lane
        self._news = threading.Condition()
        self._wakes: list[Callable[[], None]] = []

    def put(self, lane: str, topic: str, body: Any) -> None:
        """Add a message, or count it as lost where its lane is full."""
        with self._news:
            if topic in self._lost:  # its note still waits: nothing may overtake that
                self._lost[topic] += 1
                self.dropped[topic] += 1
                return
            if self._waiting[lane] < self.limit:
                self._waiting[lane] += 1
                self._items.append((lane, Message(topic, body)))
            else:
                self._lost[topic] = 1
                self.dropped[topic] += 1
                self._items.append(("", Lost(topic, 0)))
            self._tell()

    def note(self, kind: str, text: str = "") -> None:
        """Add a note of our own, which is never left out."""
        with self._news:
            self._items.append(("", Note(kind, text)))
            self._tell()

    def _tell(self) -> None:
        self._news.notify_all()
        wakes, self._wakes = self._wakes, []
        for wake in wakes:
            wake()

    def take(self) -> Item | None:
        """Return the oldest item, None when there is nothing."""
        with self._news:
            if not self._items:
                return None
            lane, item = self._items.popleft()
            self._waiting[lane] -= 1
            if isinstance(item, Lost):
                return Lost(item.topic, self._lost.pop(item.topic))
            return item

    def wait(self, seconds: float | None) -> bool:
        """Wait until there is something to take; return whether there is."""
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._news:
            while not self._items:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._news.wait(left)
            return True

    def call_when_ready(self, wake: Callable[[], None]) -> bool:
        """Call ``wake`` once, from another thread, at the next news; False: there is some now."""
        with self._news:
            if self._items:
                return False
            self._wakes.append(wake)
            return True

    def __len__(self) -> int:
        return len(self._items)
