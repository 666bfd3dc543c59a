"""What one connection owes us: answers to requests, snapshots, and a word now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .topics import Topic


class Link:
    """The open questions of one connection; written by the socket's thread, read by another.

    Args:
        topics: what is subscribed. Trades are not expected to come regularly; of the other
            topics each must be heard from within ``silence`` seconds.
        silence: seconds without a message after which a topic counts as dead.
        timeout: seconds for the answer to a request, and for a book's first snapshot.
    """

    def __init__(self, topics: Mapping[str, Topic], silence: float, timeout: float) -> None:
        self.topics, self.silence, self.timeout = topics, silence, timeout
        self.nacks: list[str] = []
        self.acks = 0
        self._lock = threading.Lock()
        self._asked: dict[str, float] = {}  # request id -> when
        self._answered: set[str] = set()  # answers that came before their request was noted
        self._snapshots: dict[str, float] = {}  # book topic -> when it was asked for
        now = time.monotonic()
        self._heard = {n: now for n, t in topics.items() if t.kind != "publicTrade"}

    def ask(self, req_id: str) -> None:
        """Note a request that was just sent."""
        with self._lock:
            if req_id not in self._answered:  # an instant answer can win the race
                self._asked[req_id] = time.monotonic()
            self._answered.discard(req_id)

    def expect(self, names: Iterable[str]) -> None:
        """Expect a snapshot of each topic from now on; to be called before asking for it."""
        now = time.monotonic()
        with self._lock:
            self._snapshots.update({n: now for n in names if self.topics[n].kind == "orderbook"})

    def answer(self, message: Mapping[str, Any]) -> None:
        """Take the exchange's answer to a request."""
        req_id = str(message.get("req_id", ""))
        with self._lock:
            if self._asked.pop(req_id, None) is None:
                self._answered.add(req_id)
            if message.get("success") is True:
                self.acks += message.get("op") == "subscribe"
            else:
                self.nacks.append(str(message.get("ret_msg", "")))

    def heard(self, name: str, message: Mapping[str, Any]) -> None:
        """Note that a topic has sent something."""
        if name in self._heard:
            self._heard[name] = time.monotonic()
        if self._snapshots and message.get("type") == "snapshot":
            with self._lock:
                self._snapshots.pop(name, None)

    def complaint(self) -> str | None:
        """Return why the connection should be given up, None while all is well."""
        now = time.monotonic()
        with self._lock:
            if self.nacks:
                return "nack"
            if any(now - asked > self.timeout for asked in self._asked.values()):
                return "no_answer"
            if any(now - asked > self.timeout for asked in self._snapshots.values()):
                return "no_snapshot"
        if any(now - heard > self.silence for heard in self._heard.values()):
            return "silence"
        return None
