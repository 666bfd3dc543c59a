"""The thread that keeps a stream connected: it rebuilds, waits, watches, asks anew."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from websocket import WebSocketBadStatusException

from .backoff import Backoff
from .bars import closes_a_bar
from .connection import Connection, DeadError
from .inbox import Inbox
from .link import Link
from .topics import Topic, requests

LOG = logging.getLogger(__name__)
REFUSALS = 5  # subscriptions refused in a row, none accepted: it is not a passing fault
HOPELESS = 403  # the address is banned, or its region is not served


class Supervisor:
    """Owns the connection of one stream; puts what arrives into ``inbox``.

    ``counters`` counts ``connects reconnects refused`` (did not open) ``deaths silences nacks
    no_answer no_snapshot resyncs unreadable`` (messages of no topic of ours).
    """

    def __init__(
        self,
        topics: Mapping[str, Topic],
        inbox: Inbox,
        *,
        address: Mapping[str, Any],
        silence: float,
        timeout: float,
        backoff: Backoff,
    ) -> None:
        self.topics, self.inbox, self.address = topics, inbox, address
        self.silence, self.timeout, self.backoff = silence, timeout, backoff
        self.counters: Counter[str] = Counter()
        self.epoch, self.failure = 0, ""
        self.connected, self.heard_at = False, math.nan  # time.monotonic() of the last message
        self._refused_in_a_row = 0
        self._stop, self._news = threading.Event(), threading.Event()
        self._wanted: dict[str, float] = {}  # book topic -> when to ask for a snapshot
        self._patience = {n: backoff.fresh() for n, t in topics.items() if t.kind == "orderbook"}
        self._asked_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="bybit-stream", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def close(self, timeout: float = 10.0) -> None:
        """End the thread and its connection."""
        self._stop.set()
        self._news.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def resync(self, name: str, epoch: int) -> None:
        """Ask for a new snapshot of a book that was lost on connection ``epoch``."""
        with self._lock:
            if epoch == self.epoch and name not in self._wanted:
                now = time.monotonic()
                pause = now - self._asked_at.get(name, -math.inf)
                self._wanted[name] = now + self._patience[name].again(pause)
        self._news.set()

    def _run(self) -> None:
        """Connect, watch, wait, and again, until stopped or refused for good."""
        try:
            while not self._stop.is_set():
                lasted = self._one_connection()
                if self.failure or self._stop.wait(self.backoff.wait(lasted)):
                    break
                self.counters["reconnects"] += 1
        except Exception as error:  # a fault of ours must not leave a reader waiting for ever
            LOG.exception("the stream's supervisor failed")
            self.failure = f"the supervisor failed: {error!r}"
        self.inbox.note("failed" if self.failure else "closed", self.failure)

    def _one_connection(self) -> float:
        """Open, subscribe and watch one connection; return the seconds it lasted."""
        link = Link(self.topics, self.silence, self.timeout)
        with self._lock:
            self.epoch += 1
            self._wanted.clear()
        try:
            connection = self._open(link, self.epoch)
        except DeadError as error:
            self.counters["refused"] += 1
            self._judge(error.__cause__)
            LOG.info("connection refused: %s", error)
            return 0.0
        try:
            self.inbox.note("up", str(self.epoch))
            self.connected = True
            reason = self._watch(connection, link)
        except DeadError:
            reason = "death"
        finally:
            self.connected = False
            connection.shut()
        self._count(reason, link)
        self.inbox.note("down", reason)
        return connection.age

    def _open(self, link: Link, epoch: int) -> Connection:
        def raw(message: Any) -> None:
            if epoch == self.epoch:
                self._receive(message, link)

        connection = Connection(
            raw=raw, died=self._news.set, cancelled=self._stop.is_set, timeout=self.timeout,
            **self.address,
        )  # fmt: skip
        self.counters["connects"] += 1
        return connection

    def _judge(self, error: BaseException | None) -> None:
        if isinstance(error, WebSocketBadStatusException) and error.status_code == HOPELESS:
            self.failure = (
                "HTTP 403, not tried again: too many connections from this address (wait ten "
                "minutes), or a region that the exchange does not serve"
            )

    def _receive(self, message: Any, link: Link) -> None:
        """Sort one message into the inbox, in the socket's thread.

        What cannot even be sorted raises, which ends the connection, and a new one is built.
        """
        name, self.heard_at = message.get("topic"), time.monotonic()
        if name is None:
            if message.get("op") in ("subscribe", "unsubscribe"):
                link.answer(message)
                self._news.set()
            return
        topic = self.topics.get(name)
        if topic is None:
            self.counters["unreadable"] += 1
            return
        link.heard(name, message)
        if topic.kind != "kline" or closes_a_bar(message):
            lane = "books" if topic.kind == "orderbook" else "rest"
            self.inbox.put(lane, name, message)

    def _watch(self, connection: Connection, link: Link) -> str:
        """Subscribe; return why the connection has to be given up."""
        link.expect(self.topics)
        for names in requests(self.topics):
            link.ask(connection.request("subscribe", names))
        tick = min(1.0, self.silence / 4, self.timeout / 4)
        while True:
            self._news.wait(self._until_next(tick))
            self._news.clear()
            if self._stop.is_set():
                return "closed"
            if reason := link.complaint():
                return reason
            if not connection.is_alive:
                return "death"
            self._ask_for_snapshots(connection, link)

    def _until_next(self, tick: float) -> float:
        with self._lock:
            due = min(self._wanted.values(), default=math.inf)
        return min(tick, max(0.0, due - time.monotonic()))

    def _ask_for_snapshots(self, connection: Connection, link: Link) -> None:
        """Subscribe anew to the books that were lost; the exchange answers with a snapshot."""
        now = time.monotonic()
        with self._lock:
            names = [n for n, due in self._wanted.items() if due <= now]
            for name in names:
                del self._wanted[name]
                self._asked_at[name] = now
        for name in names:
            self.counters["resyncs"] += 1
            link.ask(connection.request("unsubscribe", [name]))
            link.expect([name])
            link.ask(connection.request("subscribe", [name]))

    def _count(self, reason: str, link: Link) -> None:
        plural = {"death": "deaths", "silence": "silences", "nack": "nacks"}
        if reason != "closed":
            self.counters[plural.get(reason, reason)] += 1
            LOG.info("connection given up: %s %s", reason, "; ".join(link.nacks))
        self._refused_in_a_row = 0 if link.acks else self._refused_in_a_row + bool(link.nacks)
        if self._refused_in_a_row >= REFUSALS:
            names = ", ".join(self.topics)
            self.failure = f"{names} refused {REFUSALS} times in a row: {link.nacks[0]}"
