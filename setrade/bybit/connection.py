"""The bounded queue between the socket's thread and whoever reads, with a stated policy.

Books and the rest (bars, trades) are counted apart, so that a flood of book updates cannot
push out a bar. When a lane is full, the message that came is left out and counted, and a
note of the loss takes its place in the queue: the reader learns of it before it sees what
came after, a book is then asked for anew, a bar or trade is reported as missed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import websocket
from pybit.unified_trading import WebSocket
from websocket import WebSocketBadStatusException

from setrade.bybit.events import Topic, closes_a_bar, requests
from setrade.errors import number


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


# ---- Waiting longer after each failure, with jitter, so that nothing hot-loops or herds.


class Backoff:
    """Waits that double up to a cap, each scattered over its upper half.

    Args:
        first: seconds before the first retry, above zero.
        cap: largest wait in seconds.
        healthy: a connection that lasted this many seconds starts the count anew.
        seed: of the scatter (a seed or a generator; None: from the system).
    """

    def __init__(
        self,
        first: float = 0.5,
        cap: float = 30.0,
        *,
        healthy: float = 60.0,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.first = number("first", first, 0.0, above=True)
        self.cap = number("cap", cap, self.first)
        self.healthy = number("healthy", healthy, 0.0)
        self.failures = 0
        self._draw = np.random.default_rng(seed)

    def wait(self, lasted: float = 0.0) -> float:
        """Return the seconds to wait after a connection that lasted ``lasted`` seconds."""
        if lasted >= self.healthy:
            self.failures = 0
        full = min(self.cap, self.first * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return full * float(self._draw.uniform(0.5, 1.0))

    def again(self, pause: float) -> float:
        """Return the seconds to wait before asking again, ``pause`` seconds after the last time.

        Zero when that was long enough ago; otherwise as `wait`.
        """
        if pause >= self.healthy:
            self.failures = 0
            return 0.0
        return self.wait()

    def fresh(self) -> Backoff:
        """Return a backoff of the same waits that has seen no failure."""
        return Backoff(self.first, self.cap, healthy=self.healthy, seed=self._draw.spawn(1)[0])


# ---- What one connection owes us: answers to requests, snapshots, and a word now and then.


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


# ---- One connection of pybit's WebSocket, used as a pipe: it opens, delivers, dies; no more.
#
# pybit reconnects from inside its own callbacks, where a refused try ends the stream for good,
# and it keeps a book that trusts what it is sent. So its callback is replaced by ours, which
# sees every raw message, and its reconnection is switched off: whoever holds the connection
# sees that it died and builds another.


# Without a handler of its own Python prints a library's warnings to stderr.
logging.getLogger("pybit").addHandler(logging.NullHandler())


class DeadError(ConnectionError):
    """The connection could not be opened, or is gone."""


class Connection(WebSocket):
    """A connection at an address of our choice, which opens within a deadline or not at all.

    Args:
        url: ``ws://`` or ``wss://`` with host and path; None: the exchange's own.
        category: linear, inverse, spot or option.
        raw: called in the socket's thread with each decoded message.
        died: called, once or more, when the connection ended or met an error.
        testnet: use the testnet's host.
        cancelled: asked while it opens; True gives up.
        timeout: seconds for the connection to open.

    Raises:
        DeadError: it did not open.
    """

    def __init__(
        self,
        url: str | None,
        category: str,
        raw: Callable[[Any], None],
        died: Callable[[], None],
        *,
        cancelled: Callable[[], bool] = lambda: False,
        testnet: bool = False,
        timeout: float = 10.0,
    ) -> None:
        self._url, self._died, self._cancelled = url, died, cancelled
        self._deadline = time.monotonic() + timeout
        self.error: BaseException | None = None
        self.attempting_connection, self.opened = False, time.monotonic()
        super().__init__(
            category, testnet=testnet, callback_function=raw, restart_on_error=False, retries=2
        )
        self.opened = time.monotonic()

    def _connect(self, url: str) -> None:
        try:
            super()._connect(self._url or url)
        except (OSError, websocket.WebSocketException) as error:
            self.shut()
            raise DeadError(f"{type(self.error or error).__name__}") from (self.error or error)

    def is_connected(self) -> bool:
        """Tell whether the socket is open; end pybit's waiting when it never will be."""
        connected = bool(super().is_connected())
        if self.attempting_connection and not connected and hasattr(self, "wst"):
            if self.error is not None or not self.wst.is_alive():
                raise DeadError("refused")
            if time.monotonic() > self._deadline or self._cancelled():
                raise DeadError("did not open in time")
        return connected

    @property
    def is_alive(self) -> bool:
        """True while messages can still come."""
        return self.error is None and self.wst.is_alive() and self.is_connected()

    @property
    def age(self) -> float:
        """Seconds since the connection opened."""
        return time.monotonic() - self.opened

    def request(self, op: str, topics: list[str]) -> str:
        """Send a subscribe or unsubscribe request; return its id, which the answer repeats."""
        req_id = str(uuid4())
        try:
            self.ws.send(json.dumps({"op": op, "req_id": req_id, "args": topics}))
        except (OSError, websocket.WebSocketException) as error:
            raise DeadError(f"{op}: {type(error).__name__}") from error
        return req_id

    def _on_error(self, error: BaseException) -> None:
        """Remember what ended the connection (pybit would raise it in the socket's thread)."""
        self.error, self.exited = error, True
        self._died()

    def _on_close(self) -> None:
        self._died()

    def shut(self, timeout: float = 2.0) -> None:
        """Close at once, without waiting for the other side; join the socket's thread."""
        self.exited = True
        self._stop_custom_ping_timer()
        app, thread = getattr(self, "ws", None), getattr(self, "wst", None)
        if app is None:
            return
        app.keep_running, pipe = False, app.sock
        with contextlib.suppress(OSError, AttributeError, websocket.WebSocketException):
            pipe.send_close()  # polite where the other side still listens
        with contextlib.suppress(OSError, AttributeError):
            pipe.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        if thread is not None:
            thread.join(timeout)


# ---- The thread that keeps a stream connected: it rebuilds, waits, watches, asks anew.


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
