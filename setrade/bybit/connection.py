"""The thread that keeps a WebSocket connected, and the bounded queue that it fills."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn
from uuid import uuid4

import aiohttp
import numpy as np
import tenacity

from setrade.bybit.events import Topic, closes_a_bar, requests
from setrade.errors import number

LOG = logging.getLogger(__name__)
PING = 20.0  # seconds, as the exchange asks for
# Seconds that the other side has to say goodbye: it may be gone, and nobody waits for it.
FAREWELL = aiohttp.ClientWSTimeout(ws_close=0.1)  # pyright: ignore[reportCallIssue]
REFUSALS = 5  # subscriptions refused in a row, none accepted: it is not a passing fault
COMMAND = "COMMAND_RESP"  # the type of an answer on the stream of options
LISTENING = "already subscribed"  # said no, but it is what was wanted
STATUS = "system.status"  # maintenance
HOPELESS = 403  # the address is banned, or its region is not served
BANNED = (
    "HTTP 403, not tried again: too many connections from this address (wait ten minutes), or "
    "a region that the exchange does not serve"
)


class StreamError(RuntimeError):
    """The stream cannot go on: every subscription is refused, or the address is banned."""


class DisconnectedError(ConnectionError):
    """A connection has to be given up; the text is the name of the counter of its reason."""


class Message(NamedTuple):
    """What the exchange sent on one topic."""

    topic: str
    body: Any


class Lost(NamedTuple):
    """``messages`` of a topic were left out because the queue was full."""

    topic: str
    messages: int


class Note(NamedTuple):
    """What happened to the connection: "up" (its number), "down", "closed" or "failed" (why)."""

    kind: str
    text: str


Item = Message | Lost | Note


class MessageQueue:
    """A queue in the order received; ``put`` never waits for the reader and never raises.

    Books and the rest (bars, trades) are lanes counted apart, so that a flood of book updates
    cannot push out a bar. When a lane holds ``limit`` messages, one that comes is left out and
    counted, and a `Lost` takes its place: the reader learns of it before what came after.
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
            known = topic in self._lost  # its `Lost` still waits: nothing may overtake that
            if not known and self._waiting[lane] < self.limit:
                self._waiting[lane] += 1
                self._add(lane, Message(topic, body))
                return
            self._lost[topic] += 1
            self.dropped[topic] += 1
            if not known:
                self._add("", Lost(topic, 0))

    def note(self, kind: str, text: str = "") -> None:
        """Add a note of our own, which is never left out."""
        with self._news:
            self._add("", Note(kind, text))

    def _add(self, lane: str, item: Item) -> None:
        self._items.append((lane, item))
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
            return Lost(item.topic, self._lost.pop(item.topic)) if isinstance(item, Lost) else item

    def wait(self, seconds: float | None) -> bool:
        """Wait until there is something to take; return whether there is."""
        with self._news:
            return self._news.wait_for(lambda: bool(self._items), seconds)

    def call_when_ready(self, wake: Callable[[], None]) -> bool:
        """Call ``wake`` once, from another thread, at the next news; False: there is some now."""
        with self._news:
            if not self._items:
                self._wakes.append(wake)
            return not self._items

    def __len__(self) -> int:
        return len(self._items)


class Backoff:
    """Waits that double from ``first`` to ``cap`` seconds, each scattered over its upper half.

    A connection that lasted ``healthy`` seconds starts the count anew.
    """

    def __init__(
        self, first: float = 0.5, cap: float = 30.0, *, healthy: float = 60.0,
        seed: int | np.random.Generator | None = None,
    ) -> None:  # fmt: skip
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
        """Return as `wait`; 0 when ``pause``, the seconds since the last time, is long enough."""
        if pause >= self.healthy:
            self.failures = 0
            return 0.0
        return self.wait()

    def fresh(self) -> Backoff:
        """Return a backoff of the same waits that has seen no failure."""
        return Backoff(self.first, self.cap, healthy=self.healthy, seed=self._draw.spawn(1)[0])


def is_answer(message: Mapping[str, Any]) -> bool:
    """Tell whether a message without a topic answers a request to listen.

    Linear, inverse and spot name the request's ``op``; options answer `COMMAND`, without ``op``
    and ``req_id``. A refusal without ``op`` can be of nothing else: pings are not refused.
    """
    op = message.get("op")
    if op in ("subscribe", "unsubscribe") or message.get("type") == COMMAND:
        return True
    return not op and message.get("success") is False


class SubscriptionState:
    """What one connection owes us: answers to requests, snapshots, and a word now and then.

    An answer, and a book's first snapshot, must come within ``timeout`` seconds; each topic but
    those of trades, which come as they please, must be heard from within ``silence`` seconds.
    """

    def __init__(self, topics: Mapping[str, Topic], silence: float, timeout: float) -> None:
        self.topics, self.silence, self.timeout = topics, silence, timeout
        self.acks, self.refusal = 0, ""
        self.asked: dict[str, float] = {}  # request id -> when, oldest first
        self._ops: dict[str, str] = {}  # request id -> what was asked for
        self.snapshots: dict[str, float] = {}  # book topic -> when it was asked for
        self.pending: set[str] = set()  # books that will be asked for anew
        self.due: asyncio.Queue[str] = asyncio.Queue()  # those whose turn has come
        now = time.monotonic()
        self._heard = {n: now for n, t in topics.items() if t.kind != "publicTrade"}

    def request(self, op: str, names: Iterable[str]) -> dict[str, Any]:
        """Return a subscribe or unsubscribe request, noted as asked."""
        now, req_id = time.monotonic(), str(uuid4())
        self.asked[req_id], self._ops[req_id] = now, op
        if op == "subscribe":
            self.snapshots.update({n: now for n in names if self.topics[n].kind == "orderbook"})
        return {"op": op, "req_id": req_id, "args": list(names)}

    def answer(self, message: Mapping[str, Any]) -> None:
        """Take the exchange's answer to a request; raise if it says no.

        That of options bears no id: it answers the oldest request, and lists what failed.
        """
        lists = message.get("data") if message.get("type") == COMMAND else None
        failed = lists.get("failTopics") if isinstance(lists, Mapping) else None
        req_id = str(message.get("req_id") or "")
        if not req_id and self.asked:
            req_id = next(iter(self.asked))
        op = message.get("op") or self._ops.get(req_id, "")
        self.asked.pop(req_id, None)
        said = str(message.get("ret_msg") or "")
        if failed or (message.get("success") is not True and LISTENING not in said):
            self.refusal = said or f"failed: {failed}"
            raise DisconnectedError("nacks")
        self.acks += op == "subscribe"

    def heard(self, name: str, message: Mapping[str, Any]) -> None:
        """Note that a topic has sent something."""
        if name in self._heard:
            self._heard[name] = time.monotonic()
        if self.snapshots and message.get("type") == "snapshot":
            self.snapshots.pop(name, None)

    def check(self) -> None:
        """Raise if something that is owed has not come in time."""
        late, now = self.timeout, time.monotonic()
        owed = {"no_answer": (self.asked, late), "no_snapshot": (self.snapshots, late),
                "silences": (self._heard, self.silence)}  # fmt: skip
        for reason, (since, limit) in owed.items():
            if any(now - then > limit for then in since.values()):
                raise DisconnectedError(reason)


class Supervisor:
    """Keeps the connection of one stream up; puts what arrives into ``queue``.

    One thread runs an event loop of its own with aiohttp's client. A connection ends when the
    other side ends it, answers no ping, owes something for too long or refuses; then another is
    opened, after a wait that grows. (aiohttp's heartbeat alone would not do: a line can answer
    pings and bring nothing.)

    ``counters`` counts ``connects reconnects refused`` (did not open) ``deaths silences nacks
    no_answer no_snapshot resyncs maintenance unreadable`` (messages of no topic of ours). The
    arguments are those of `Stream`.
    """

    def __init__(
        self, topics: Mapping[str, Topic], queue: MessageQueue, *, url: str, silence: float,
        timeout: float, backoff: Backoff,
    ) -> None:  # fmt: skip
        self.topics, self.queue, self.url = topics, queue, url
        self.silence, self.timeout, self.backoff = silence, timeout, backoff
        self.counters: Counter[str] = Counter()
        self.epoch, self.failure = 0, ""
        self.connected, self.heard_at = False, math.nan  # time.monotonic() of the last message
        self.state = SubscriptionState(topics, silence, timeout)
        self._refused_in_a_row = 0
        self._book_waits = {n: backoff.fresh() for n, t in topics.items() if t.kind == "orderbook"}
        self._asked_at: dict[str, float] = {}
        self._closing = False  # a cancel alone may be lost: before the loop, or in a failing group
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bybit-stream", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()
        self._started.wait()

    def close(self, timeout: float = 10.0) -> None:
        """End the thread and its connection."""
        self._closing = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(timeout)

    def resync(self, name: str, epoch: int) -> None:
        """Ask for a new snapshot of a book that was lost on connection ``epoch``."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and so has the stream
                self._loop.call_soon_threadsafe(self._schedule, name, epoch)

    def _schedule(self, name: str, epoch: int) -> None:
        state, loop = self.state, asyncio.get_running_loop()
        if epoch == self.epoch and name not in state.pending:
            state.pending.add(name)
            pause = loop.time() - self._asked_at.get(name, -math.inf)
            loop.call_later(self._book_waits[name].again(pause), state.due.put_nowait, name)

    def _run(self) -> None:
        try:
            asyncio.run(self._stay_connected())
        except asyncio.CancelledError:
            LOG.debug("closed")
        except StreamError as error:
            self.failure = str(error)
        except Exception as error:  # a fault of ours must not leave a reader waiting for ever
            LOG.exception("the stream's supervisor failed")
            self.failure = f"the supervisor failed: {error!r}"
        self._started.set()
        self.queue.note("failed" if self.failure else "closed", self.failure)

    async def _stay_connected(self) -> None:
        """Connect, and again, until cancelled or refused for good."""
        task = asyncio.current_task()
        assert task is not None
        self._task, self._loop = task, asyncio.get_running_loop()  # in this order: see `close`
        self._started.set()
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(DisconnectedError),
            wait=lambda _: self.backoff.wait(self._lasted),
        )
        async with aiohttp.ClientSession(trust_env=True) as session:
            await retrying(self._connect, session)

    async def _connect(self, session: aiohttp.ClientSession) -> NoReturn:
        """Open, subscribe and watch one connection until it is to be given up."""
        if self._closing:
            raise asyncio.CancelledError
        self.counters["reconnects"] += self.epoch > 0
        self.epoch, self._lasted = self.epoch + 1, 0.0
        self.state = SubscriptionState(self.topics, self.silence, self.timeout)
        socket, opened, reason = await self._open(session), time.monotonic(), ""
        self.queue.note("up", str(self.epoch))
        try:
            self.connected = True
            await self._use(socket)
        except* DisconnectedError as errors:
            reason = str(errors.exceptions[0])
        finally:
            self.connected = False
            await socket.close()
        self.queue.note("down", reason)
        self._lasted = time.monotonic() - opened
        self._count(reason)
        raise asyncio.CancelledError if self._closing else DisconnectedError(reason)

    async def _open(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self.timeout):
                # aiohttp looks for a proxy by the scheme, and what people set is HTTPS_PROXY.
                url = "http" + self.url.removeprefix("ws")
                socket = await session.ws_connect(
                    url, timeout=FAREWELL, heartbeat=PING, max_msg_size=0
                )
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            self.counters["refused"] += 1
            LOG.info("connection refused: %s", type(error).__name__)
            if isinstance(error, aiohttp.WSServerHandshakeError) and error.status == HOPELESS:
                raise StreamError(BANNED) from None
            raise DisconnectedError("refused") from error
        self.counters["connects"] += 1
        return socket

    async def _use(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Subscribe, then read, watch, ping and ask anew, until one of these raises."""
        for names in requests(self.topics):
            await self._send(socket, self.state.request("subscribe", names))
        async with asyncio.TaskGroup() as group:
            for work in (self._read, self._watch, self._ping, self._ask_anew):
                group.create_task(work(socket))

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, message: Any) -> None:
        try:
            await socket.send_json(message)
        except (aiohttp.ClientError, OSError) as error:
            raise DisconnectedError("deaths") from error

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            try:
                body = json.loads(message.data)
            except (TypeError, ValueError, RecursionError) as error:  # TypeError: not even text
                raise DisconnectedError("deaths") from error
            self.receive(body)
        raise DisconnectedError("deaths")

    async def _watch(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await asyncio.sleep(min(1.0, self.silence / 4, self.timeout / 4))
            self.state.check()

    async def _ping(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send the exchange's own ping, which it wants beside the protocol's."""
        while True:
            await asyncio.sleep(PING)
            await self._send(socket, {"op": "ping"})

    async def _ask_anew(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Subscribe anew to the books that were lost; the exchange answers with a snapshot."""
        while True:
            name = await self.state.due.get()
            self.state.pending.discard(name)
            self._asked_at[name] = asyncio.get_running_loop().time()
            self.counters["resyncs"] += 1
            for op in ("unsubscribe", "subscribe"):
                await self._send(socket, self.state.request(op, [name]))

    def receive(self, message: Any) -> None:
        """Sort one message into the queue.

        Raises:
            DisconnectedError: it cannot even be sorted, or says no to a subscription.
        """
        self.heard_at = time.monotonic()
        if not isinstance(message, dict):
            raise DisconnectedError("deaths")
        name = message.get("topic")
        if name is None:
            if is_answer(message):
                self.state.answer(message)
            return
        if name == STATUS:
            self.counters["maintenance"] += 1
            LOG.warning("the exchange announces: %s", message.get("data"))
            return
        topic = self.topics.get(name) if isinstance(name, str) else None
        if topic is None:
            self.counters["unreadable"] += 1
            return
        self.state.heard(name, message)
        if topic.kind != "kline" or closes_a_bar(message):
            self.queue.put("books" if topic.kind == "orderbook" else "rest", name, message)

    def _count(self, reason: str) -> None:
        """Count an end, and give up where subscriptions are refused again and again.

        One that is accepted beside the refused one (of a symbol that was delisted, say) does not
        make up for it; a connection that lasted does.
        """
        self.counters[reason] += 1
        LOG.info("connection given up: %s %s", reason, self.state.refusal)
        refused, lasted = reason == "nacks", self._lasted >= self.backoff.healthy
        self._refused_in_a_row += refused
        if lasted or (self.state.acks and not refused):
            self._refused_in_a_row = 0
        if self._refused_in_a_row >= REFUSALS:
            names, why = ", ".join(self.topics), self.state.refusal
            raise StreamError(f"{names} refused {REFUSALS} times in a row: {why}")
