"""Topics: read, checked against what the exchange offers, before anything is sent.

https://bybit-exchange.github.io/docs/v5/ws/connect and the pages of the public topics.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from setrade.bybit import constants
from setrade.errors import ArgumentError
from setrade.orderbook import BookStateError, OrderBook

# Levels a side; 500 is gone since 2025-09. Level 1 comes as snapshots only.
DEPTHS: dict[str, tuple[int, ...]] = dict.fromkeys(constants.CATEGORIES, (1, 50, 200, 1000))
DEPTHS["option"] = (25, 100)
KINDS = ("kline", "orderbook", "publicTrade")
ARGS_A_REQUEST = 10  # spot takes no more; the others' limit is 21,000 characters


@dataclass(frozen=True)
class Topic:
    """One subscription: ``name`` as the exchange writes it, and its parts."""

    name: str
    kind: str
    symbol: str
    interval: str = ""
    step_ms: int = 0  # length of a bar
    depth: int = 0


def parse(text: str, category: str = "linear") -> Topic:
    """Return the topic that ``text`` names.

    Args:
        text: ``kline.{interval}.{symbol}`` with a pandas offset or Bybit's code
            (``kline.15min.BTCUSDT``, ``kline.15.BTCUSDT``), ``orderbook.{depth}.{symbol}`` or
            ``publicTrade.{symbol}``.
        category: linear, inverse, spot or option.

    Raises:
        ArgumentError: unknown kind, interval, depth or category, or no symbol.
    """
    constants.category(category)
    parts = text.split(".") if isinstance(text, str) else []
    kind = parts[0] if parts else ""
    if kind not in KINDS or len(parts) != (2 if kind == "publicTrade" else 3):
        allowed = "kline.{interval}.{symbol}, orderbook.{depth}.{symbol} or publicTrade.{symbol}"
        raise ArgumentError("topics", text, allowed)
    symbol = constants.symbol(parts[-1])
    if kind == "kline":
        bar = constants.interval(constants.from_code(parts[1]))
        return Topic(f"kline.{bar.code}.{symbol}", kind, symbol, bar.name, bar.ms)
    if kind == "orderbook":
        depths = DEPTHS[category]
        if parts[1] not in map(str, depths):
            raise ArgumentError("depth", parts[1], f"{', '.join(map(str, depths))} ({category})")
        return Topic(text, kind, symbol, depth=int(parts[1]))
    return Topic(text, kind, symbol)


def parse_all(topics: str | Iterable[str], category: str = "linear") -> dict[str, Topic]:
    """Return topics by their exchange name; raise if one is unknown or doubled, or none given."""
    if isinstance(topics, str) or not isinstance(topics, Iterable):
        topics = [topics]  # type: ignore[list-item]
    found: dict[str, Topic] = {}
    for text in topics:
        topic = parse(text, category)
        books = [t.symbol for t in found.values() if t.kind == "orderbook"]
        if topic.name in found or (topic.kind == "orderbook" and topic.symbol in books):
            raise ArgumentError("topics", text, "each topic once, and one book a symbol")
        found[topic.name] = topic
    if not found:
        raise ArgumentError("topics", topics, "at least one topic")
    return found


def requests(names: Iterable[str]) -> list[list[str]]:
    """Split topics into requests of at most ten, which every category takes."""
    names = list(names)
    return [names[i : i + ARGS_A_REQUEST] for i in range(0, len(names), ARGS_A_REQUEST)]


# ---- What a stream hands out: closed bars, trades, book updates, and what it knows it missed.


COLUMNS = ("open", "high", "low", "close", "volume", "turnover")


@dataclass(frozen=True, slots=True)
class Kline:
    """One closed bar.

    ``time`` is the bar's open in UTC; ``volume`` and ``turnover`` are in the units that the
    category uses. ``revised`` marks a bar that was sent before with other figures;
    ``filled`` one that was fetched after a gap instead of streamed.
    """

    topic: str
    symbol: str
    interval: str
    time: pd.Timestamp
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    revised: bool = False
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Trade:
    """One public trade; ``side`` is +1 where the taker bought, -1 where he sold."""

    topic: str
    symbol: str
    time: pd.Timestamp
    price: float
    size: float
    side: int
    id: str


class BookUpdate(NamedTuple):
    """The local book took one message in; `Stream.book` gives the levels.

    ``time_ms`` is the exchange's clock, ``update_id`` its ``u``; ``best_bid`` and
    ``best_ask`` are None where a side is empty; ``snapshot`` is True where the book was
    overwritten as a whole. (A tuple, because books send thousands of these a second.)
    """

    topic: str
    symbol: str
    time_ms: int
    update_id: int
    best_bid: float | None
    best_ask: float | None
    snapshot: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Something was missed on one topic; nothing is ever put in its place.

    ``reason`` says how it was noticed: ``"missing"`` (bars between the last one and the one
    that came), ``"overflow"`` (our own queue was full), ``"reconnect"`` (trades that the
    connection may have missed), or, for books, a fault's name. For bars ``first`` and
    ``last`` are the opens of the first and last missing bar and ``count`` is how many; for
    messages dropped by overflow ``count`` is how many. Zero means unknown.
    """

    topic: str
    symbol: str
    reason: str
    count: int = 0
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None


Event = Kline | Trade | BookUpdate | Gap


def to_candles(klines: list[Kline]) -> pd.DataFrame:
    """Return streamed bars of one topic as candles.

    Args:
        klines: closed bars in the order received; a revised bar replaces the earlier one.

    Returns:
        A frame with the columns of the book and ``turnover``, index ``time`` in UTC. Gaps stay
        gaps: `candles.check` names them.

    Raises:
        ArgumentError: the list is empty, or holds something else or several topics.
    """
    allowed = "closed bars of one topic, at least one"
    if not isinstance(klines, list) or not all(isinstance(k, Kline) for k in klines):
        raise ArgumentError("klines", klines, allowed)
    if len({k.topic for k in klines}) != 1:
        raise ArgumentError("klines", klines, allowed)
    latest = {k.time: k for k in klines}
    rows = [latest[time] for time in sorted(latest)]
    index = pd.DatetimeIndex([k.time for k in rows], name="time").as_unit("us")
    return pd.DataFrame({c: [getattr(k, c) for k in rows] for c in COLUMNS}, index=index)


# ---- Closed bars and trades, checked for sequence, duplicates and sense.


MALFORMED = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)
LAST_MS = 2**43  # in the year 2248; what lies beyond is no time
RECENT_TRADES = 10_000  # ids remembered to recognise a trade that is sent twice


def stamp(ms: int) -> pd.Timestamp:
    """Return an exchange time in milliseconds as a UTC stamp."""
    return pd.Timestamp(ms, unit="ms", tz="UTC")


def kline(
    topic: Topic,
    time: pd.Timestamp,
    figures: Sequence[float],
    *,
    revised: bool = False,
    filled: bool = False,
) -> Kline:
    """Return a bar as an event; ``figures`` in the order of ``COLUMNS``."""
    first, high, low, close, volume, turnover = figures
    return Kline(
        topic.name, topic.symbol, topic.interval, time,
        first, high, low, close, volume, turnover, revised, filled,
    )  # fmt: skip


def closes_a_bar(message: Mapping[str, Any]) -> bool:
    """Tell whether a kline message has a closed bar, or cannot be read (to be counted)."""
    data = message.get("data")
    if not isinstance(data, list):
        return True
    return any(not isinstance(bar, Mapping) or bar.get("confirm") is not False for bar in data)


class KlineKeeper:
    """Turns kline messages of one topic into closed bars, in order, each once.

    ``faults`` counts bars left out: ``duplicate`` (sent again, the same), ``late`` (older than
    the newest, never seen) and ``malformed`` (off the grid, prices that make no bar); and
    ``revised`` ones, which are handed on with that mark.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.faults: Counter[str] = Counter()
        self.newest = -1  # open of the newest closed bar, ms
        self._figures: tuple[float, ...] = ()

    def take(self, message: Mapping[str, Any]) -> list[Kline | Gap]:
        """Return what a message brings: nothing, a bar, or a gap and the bar after it."""
        events: list[Kline | Gap] = []
        try:
            bars = [(b["start"], self._read(b)) for b in message["data"] if b["confirm"] is True]
        except MALFORMED:
            self.faults["malformed"] += 1
            return events
        for start, figures in sorted(bars):
            events += self._place(start, figures)
        return events

    def _read(self, bar: Mapping[str, Any]) -> tuple[float, ...]:
        start, step = bar["start"], self.topic.step_ms
        figures = tuple(float(bar[name]) for name in COLUMNS)
        first, high, low, close, volume, turnover = figures
        sound = 0 < low <= min(first, close) and max(first, close) <= high < math.inf
        sound = sound and 0 <= volume < math.inf and 0 <= turnover < math.inf
        timely = type(start) is int and 0 <= start < LAST_MS and start % step == 0
        if not timely or bar["end"] != start + step - 1 or not sound:
            raise ValueError("no bar of this topic")
        return figures

    def _place(self, start: int, figures: tuple[float, ...]) -> list[Kline | Gap]:
        step, newest = self.topic.step_ms, self.newest
        if start < newest:
            self.faults["late"] += 1
            return []
        if start == newest and figures == self._figures:
            self.faults["duplicate"] += 1
            return []
        revised = start == newest
        self.faults["revised"] += revised
        self.newest, self._figures = start, figures
        bar = kline(self.topic, stamp(start), figures, revised=revised)
        if newest < 0 or start <= newest + step:
            return [bar]
        return [self._gap(newest + step, start - step), bar]

    def _gap(self, first: int, last: int) -> Gap:
        """Return the gap from bar ``first`` to bar ``last`` (opens in ms, both missing)."""
        count = (last - first) // self.topic.step_ms + 1
        name, symbol = self.topic.name, self.topic.symbol
        return Gap(name, symbol, "missing", count, stamp(first), stamp(last))


class TradeKeeper:
    """Hands on each public trade once; ``faults`` counts ``duplicate`` and ``malformed``."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.faults: Counter[str] = Counter()
        self.newest: pd.Timestamp | None = None
        self._seen: set[str] = set()
        self._order: deque[str] = deque()

    def take(self, message: Mapping[str, Any]) -> list[Trade]:
        """Return the trades of a message that were not seen before."""
        try:
            trades = [self._read(row) for row in message["data"]]
        except MALFORMED:
            self.faults["malformed"] += 1
            return []
        return [trade for trade in trades if self._is_new(trade)]

    def _read(self, row: Mapping[str, Any]) -> Trade:
        price, size, side = float(row["p"]), float(row["v"]), {"Buy": 1, "Sell": -1}[row["S"]]
        timely = type(row["T"]) is int and 0 <= row["T"] < LAST_MS
        if not (timely and 0 < price < math.inf and 0 < size < math.inf):
            raise ValueError("time, price or size out of range")
        symbol = self.topic.symbol
        return Trade(self.topic.name, symbol, stamp(row["T"]), price, size, side, str(row["i"]))

    def _is_new(self, trade: Trade) -> bool:
        if trade.id in self._seen:
            self.faults["duplicate"] += 1
            return False
        self._seen.add(trade.id)
        self._order.append(trade.id)
        if len(self._order) > RECENT_TRADES:
            self._seen.discard(self._order.popleft())
        self.newest = trade.time
        return True


# ---- A local book that asks for a new snapshot as soon as it can no longer be trusted.


class BookKeeper:
    """Applies the messages of one book topic in order and notices every fault.

    A gap or reordering (``u`` does not follow), a delta before the snapshot, a delete of an
    absent level, a crossed or too deep book, and a message that cannot be read, all make the
    book invalid and ``needs_resync`` true; only a snapshot (or ``u == 1``) mends it. A delta
    that is older than the book (``stale``: sent twice, or still under way from before) is left
    out and counted. ``take`` never raises: what the exchange sends must not end the stream.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.faults: Counter[str] = Counter()
        self.ignored = 0
        self.needs_resync = False
        self._name, self._symbol = topic.name, topic.symbol
        self._restart()

    def _restart(self) -> None:
        self.book = OrderBook(self.topic.depth, strict=True)
        self.valid = False

    def take(self, message: Mapping[str, Any]) -> BookUpdate | Gap | None:
        """Apply one message; return the update, the fault just met, or None (left out)."""
        if self.needs_resync and not self._overwrites(message):
            self.ignored += 1  # under way from before the resync; counted, not applied
            return None
        book = self.book
        try:
            whole = book.apply(message)
        except BookStateError as error:
            return self._fault(error.kind)
        except (ArgumentError, ArithmeticError):
            return self._fault("malformed")
        if not whole or book.symbol != self._symbol:
            return self._fault("malformed")
        self.valid, self.needs_resync = True, False
        u = book.update_id
        return BookUpdate(
            self._name, self._symbol, book.time_ms, u, book.best_bid, book.best_ask,
            u == 1 or message["type"] == "snapshot",
        )  # fmt: skip

    @staticmethod
    def _overwrites(message: Mapping[str, Any]) -> bool:
        """Tell whether a message brings the whole book: a snapshot, or ``u == 1``."""
        data = message.get("data")
        reset = isinstance(data, Mapping) and data.get("u") == 1
        return reset or message.get("type") == "snapshot"

    def _fault(self, kind: str) -> Gap | None:
        self.faults[kind] += 1
        if kind == "stale":
            return None
        return self.lose(kind)

    def lose(self, reason: str) -> Gap:
        """Give the book up until the next snapshot, for a reason of ours or the feed's."""
        self._restart()
        self.needs_resync = True
        return Gap(self.topic.name, self.topic.symbol, reason)


# ---- Missing bars, fetched by the caller's helper and held to the same rules as streamed ones.


Fill = Callable[[str, str, pd.Timestamp, pd.Timestamp], pd.DataFrame]


def fetch(fill: Fill, topic: Topic, gap: Gap) -> dict[int, list[float]]:
    """Return what ``fill`` brings for a gap: figures by the bar's open in ms.

    Rows that are no bars (NaN, a high below a low) are left out: their gap stays.
    """
    assert gap.first is not None
    assert gap.last is not None
    end = gap.last + pd.Timedelta(topic.step_ms, unit="ms")
    frame = fill(topic.symbol, topic.interval, gap.first, end)
    figures = frame.reindex(columns=list(COLUMNS)).to_numpy(np.float64)
    first, high, low, last, volume, _ = figures.T
    sound = (low > 0) & (low <= np.minimum(first, last)) & (high >= np.maximum(first, last))
    sound &= np.isfinite(high) & (volume >= 0)
    opens = pd.DatetimeIndex(frame.index).tz_convert("UTC").as_unit("ms").asi8
    return dict(zip(opens[sound].tolist(), figures[sound].tolist(), strict=True))


def events(topic: Topic, gap: Gap, found: dict[int, list[float]]) -> Iterator[Kline | Gap]:
    """Yield the bars of a gap that were found, and gaps for those that were not, in order."""
    assert gap.first is not None
    step = topic.step_ms
    start = gap.first.value // 10**6
    missing = 0
    for k in range(gap.count + 1):
        time = start + k * step
        here = k < gap.count and time in found
        if missing and (here or k == gap.count):
            first, last = stamp(time - missing * step), stamp(time - step)
            yield Gap(topic.name, topic.symbol, gap.reason, missing, first, last)
            missing = 0
        if here:
            yield kline(topic, stamp(time), found[time], filled=True)
        else:
            missing += 1
