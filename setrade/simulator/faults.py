"""What an exchange does to its clients, on demand and in order."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from setrade.errors import ArgumentError, choice, integer, number

BEFORE = ("rate_limit_future", "rate_limit_past", "rate_limit_bare")
BEFORE += ("http_403", "http_429", "http_500")
AFTER = ("bad_json", "cut_body", "slow", "drop")
REST = BEFORE + AFTER
SUBSCRIBE = ("nack", "delta_first", "instant_ack")
BOOK = ("gap", "reorder", "delete_absent", "reset_u1")
LINK = ("silence", "abort", "close", "down")
STREAM = SUBSCRIBE + BOOK + LINK
KINDS = REST + STREAM


@dataclass(frozen=True)
class Fault:
    """One fault that waits for its chance.

    REST faults strike the next request: those of ``BEFORE`` instead of it, those of ``AFTER``
    once it has been carried out, so that an order is placed and only its answer is lost.
    Stream faults strike the next subscription (``SUBSCRIBE``), book delta (``BOOK``) or
    message (``LINK``).

    Args:
        kind: one of ``KINDS``.
        times: how many chances in a row it takes, from 1 on.
        path: strike only where the request's path, or the stream's topic, begins with it.
        after: how many chances it lets pass first.
        seconds: how long ``slow`` holds an answer back, ``down`` refuses connections, and
            ``rate_limit_future`` lies in the future.

    Raises:
        ArgumentError: unknown kind, or a figure out of range.
    """

    kind: str
    times: int = 1
    path: str | None = None
    after: int = 0
    seconds: float = 0.5

    def __post_init__(self) -> None:
        choice("kind", self.kind, KINDS)
        integer("times", self.times, 1)
        integer("after", self.after, 0)
        number("seconds", self.seconds, 0.0, 3600.0)
        if self.path is not None and not isinstance(self.path, str):
            raise ArgumentError("path", self.path, "a string, or None for every path")


class Faults:
    """The faults still to come; safe to fill from one thread and to take from another.

    ``fired`` counts by kind what has struck.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.fired: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._queue: list[tuple[Fault, list[int]]] = []
        self.inject(*faults)

    def inject(self, *faults: Fault) -> None:
        """Queue more faults behind the others."""
        for fault in faults:
            if not isinstance(fault, Fault):
                raise ArgumentError("fault", fault, "a simulator.Fault")
            with self._lock:
                self._queue.append((fault, [fault.after, fault.times]))

    def take(self, kinds: Iterable[str], path: str) -> Fault | None:
        """Return the first fault in the queue that fits this chance, and count it."""
        with self._lock:
            for entry in self._queue:
                fault, left = entry
                if fault.kind not in kinds or not path.startswith(fault.path or ""):
                    continue
                if left[0]:
                    left[0] -= 1
                    continue
                left[1] -= 1
                if not left[1]:
                    self._queue.remove(entry)
                self.fired[fault.kind] += 1
                return fault
        return None

    def withdraw(self) -> int:
        """Forget all strikes still to come; return how many they were."""
        with self._lock:
            left = sum(left[1] for _, left in self._queue)
            self._queue.clear()
        return left

    @property
    def pending(self) -> int:
        """How many strikes are still to come."""
        with self._lock:
            return sum(left[1] for _, left in self._queue)
