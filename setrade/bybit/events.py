"""What a stream is asked for (topics) and what it hands out (events), checked on the way.

https://bybit-exchange.github.io/docs/v5/ws/connect and the pages of the public topics.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from setrade.bybit import constants
from setrade.candles.checks import valid_bar
from setrade.errors import ArgumentError, choice
from setrade.orderbook import BookStateError, OrderBook

# Levels a side; 500 is gone since 2025-09. Level 1 comes as snapshots only.
DEPTHS: dict[str, tuple[int, ...]] = dict.fromkeys(constants.CATEGORIES, (1, 50, 200, 1000))
DEPTHS["option"] = (25, 100)
RPI, RPI_DEPTH = "rpi", 50
KINDS = ("kline", "orderbook", "publicTrade")
ARGS_A_REQUEST = 10  # spot takes no more; the others' limit is 21,000 characters
COLUMNS = ("open", "high", "low", "close", "volume", "turnover")
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)
LAST_MS = 2**43  # in the year 2248; what lies beyond is no time
DAY_MS, REACH = 86_400_000, 30  # a bar may lie a day and 30 bars ahead of our clock
RECENT_TRADES = 10_000  # ids remembered to recognise a trade that is sent twice


@dataclass(frozen=True)
class Topic:
    """One subscription: ``name`` as the exchange writes it, and its parts."""

    name: str
    kind: str
    symbol: str
    interval: str = ""
    step_ms: int = 0  # length of a bar
    depth: int = 0
    rpi: bool = False  # a book whose levels name retail price improvement orders apart


def parse(text: str, category: str = "linear") -> Topic:
    """Return the topic that ``text`` names.

    It is ``kline.{interval}.{symbol}`` with a pandas offset or Bybit's code
    (``kline.15min.BTCUSDT``, ``kline.15.BTCUSDT``), ``orderbook.{depth}.{symbol}``,
    ``orderbook.rpi.{symbol}`` (50 levels with the retail price improvement orders, which only
    people can trade against) or ``publicTrade.{symbol}``.

    Raises:
        ArgumentError: unknown kind, interval, depth or category, or no symbol.
    """
    choice("category", category, DEPTHS)
    parts = text.split(".") if isinstance(text, str) else []
    kind = parts[0] if parts else ""
    if kind not in KINDS or len(parts) != (2 if kind == "publicTrade" else 3):
        allowed = "kline.{interval}.{symbol}, orderbook.{depth}.{symbol} or publicTrade.{symbol}"
        raise ArgumentError("topics", text, allowed)
    symbol = constants.symbol(parts[-1])
    if kind == "kline":
        choice("category", category, constants.TRADED)  # of options there are no bars
        bar = constants.interval(constants.from_code(parts[1]))
        return Topic(f"kline.{bar.code}.{symbol}", kind, symbol, bar.name, bar.ms)
    if kind == "publicTrade":
        return Topic(text, kind, symbol)
    if parts[1] == RPI and category != "option":
        return Topic(text, kind, symbol, depth=RPI_DEPTH, rpi=True)
    choice("depth", parts[1], [*map(str, DEPTHS[category])])
    return Topic(text, kind, symbol, depth=int(parts[1]))


def two_fields(message: Mapping[str, Any], rpi: bool) -> Mapping[str, Any]:
    """Return a book message whose levels have two fields each; three are price, size, RPI size.

    With ``rpi`` both sizes are added: a level is gone when neither has anything left. Else the
    orders that only people can trade against are left out.
    """
    data = message.get("data")
    if not isinstance(data, Mapping):
        return message
    first = next(iter(data["b"] or data["a"]), ())
    if len(first) < 3:
        return message
    sides: dict[str, list] = {"b": [], "a": []}
    for side, levels in sides.items():
        for price, size, more, *_ in data[side]:
            left = Decimal(size) + Decimal(more) if rpi else Decimal(size)
            levels.append([price, format(left, "f") if left else "0"])
    return {**message, "data": {**data, **sides}}


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


@dataclass(frozen=True, slots=True)
class Kline:
    """One closed bar.

    ``time`` is the bar's open in UTC; ``volume`` and ``turnover`` are in the units that the
    category uses. ``revised`` marks a bar that was sent before with other figures;
    ``backfilled`` one that was fetched after a gap instead of streamed.
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
    backfilled: bool = False


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
    """Return streamed bars of one topic, in the order received, as candles with ``turnover``.

    A revised bar replaces the earlier one. Gaps stay gaps: `candles.check` names them.

    Raises:
        ArgumentError: the list is empty, or holds something else or several topics.
    """
    known = isinstance(klines, list) and all(isinstance(k, Kline) for k in klines)
    if not known or len({k.topic for k in klines}) != 1:
        raise ArgumentError("klines", klines, "closed bars of one topic, at least one")
    latest = {k.time: k for k in klines}
    rows = [latest[time] for time in sorted(latest)]
    index = pd.DatetimeIndex([k.time for k in rows], name="time").as_unit("us")
    return pd.DataFrame({c: [getattr(k, c) for k in rows] for c in COLUMNS}, index=index)


def stamp(ms: int) -> pd.Timestamp:
    """Return an exchange time in milliseconds as a UTC stamp."""
    return pd.Timestamp(ms, unit="ms", tz="UTC")


def is_time(value: Any) -> bool:
    """Tell whether a value can be an exchange time in milliseconds."""
    return type(value) is int and 0 <= value < LAST_MS


def closes_a_bar(message: Mapping[str, Any]) -> bool:
    """Tell whether a kline message has a closed bar, or cannot be read (to be counted)."""
    data = message.get("data")
    if not isinstance(data, list):
        return True
    return any(not isinstance(bar, Mapping) or bar.get("confirm") is not False for bar in data)


class Handler:
    """From a topic's messages to its events; what the exchange sends makes none raise.

    ``faults`` counts what was left out.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.faults: Counter[str] = Counter()

    def take(self, message: Mapping[str, Any]) -> Any:
        """Return what a message brings: a list of events, one event, or None."""
        raise NotImplementedError

    def disconnected(self) -> Gap | None:
        """Return what the end of the connection may have cost, None where that shows later."""
        return None

    def gap(self, reason: str, *span: Any) -> Gap:
        """Return a gap of this topic; ``span``: count, first and last, where known."""
        return Gap(self.topic.name, self.topic.symbol, reason, *span)

    def overflowed(self, messages: int) -> Gap:
        """Return the gap of messages that our own queue had no room for."""
        return self.gap("overflow", messages)


class KlineHandler(Handler):
    """Turns kline messages of one topic into closed bars, in order, each once.

    ``faults`` counts bars left out: ``duplicate`` (sent again, the same), ``late`` (older than
    the newest, never seen) and ``malformed`` (off the grid, prices that make no bar, an open
    after the message was sent, or far ahead of both our clock and the newest bar: a false stamp
    would make all the others late); and ``revised`` ones, which are handed on with that mark.
    """

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic)
        self.newest = -1  # open of the newest closed bar, ms
        self._figures: tuple[float, ...] = ()

    def take(self, message: Mapping[str, Any]) -> list[Kline | Gap]:
        """Return what a message brings: nothing, a bar, or a gap and the bar after it."""
        try:
            ahead = max(self.newest, int(time.time() * 1000)) + DAY_MS + REACH * self.topic.step_ms
            last, data = min(message.get("ts", ahead), ahead), message["data"]
            bars = [(b["start"], self._read(b, last)) for b in data if b["confirm"] is True]
        except MALFORMED:
            self.faults["malformed"] += 1
            return []
        return [event for start, figures in sorted(bars) for event in self._place(start, figures)]

    def _read(self, bar: Mapping[str, Any], last: int) -> tuple[float, ...]:
        start, step = bar["start"], self.topic.step_ms
        figures = tuple(float(bar[name]) for name in COLUMNS)
        timely = is_time(start) and start <= last and start % step == 0
        whole = timely and bar["end"] == start + step - 1 and valid_bar(*figures[:5])
        if not whole or not 0 <= figures[5] < math.inf:
            raise ValueError("no bar of this topic")
        return figures

    def _place(self, start: int, figures: tuple[float, ...]) -> list[Kline | Gap]:
        step, newest = self.topic.step_ms, self.newest
        if start < newest or (start, figures) == (newest, self._figures):
            self.faults["late" if start < newest else "duplicate"] += 1
            return []
        self.faults["revised"] += start == newest
        self.newest, self._figures = start, figures
        bar = self.bar(start, figures, revised=start == newest)
        if newest < 0 or start <= newest + step:
            return [bar]
        return [self.missing(range(newest + step, start, step)), bar]

    def bar(self, start: int, figures: Iterable[Any], **marks: bool) -> Kline:
        """Return the bar that opens at ``start`` (ms); ``figures`` in the order of COLUMNS."""
        t = self.topic
        return Kline(t.name, t.symbol, t.interval, stamp(start), *figures, **marks)

    def missing(self, opens: range) -> Gap:
        """Return the gap of the bars that open at ``opens`` (ms)."""
        return self.gap("missing", len(opens), stamp(opens[0]), stamp(opens[-1]))

    def backfilled(self, gap: Gap, backfill: Backfill) -> Iterator[Kline | Gap]:
        """Yield the bars of a gap that ``backfill`` brings, and gaps for the others, in order.

        Rows that are no bars (NaN, a high below a low) are left out: their gap stays.
        """
        assert gap.first is not None
        first, step = gap.first.value // 10**6, self.topic.step_ms
        opens = range(first, first + gap.count * step, step)
        frame = backfill(self.topic.symbol, self.topic.interval, gap.first, stamp(opens.stop))
        rows = frame.reindex(columns=list(COLUMNS)).to_numpy(np.float64).tolist()
        times = pd.DatetimeIndex(frame.index).tz_convert("UTC").as_unit("ms").asi8.tolist()
        found = {t: row for t, row in zip(times, rows, strict=True) if valid_bar(*row[:5])}
        for t in sorted(filter(opens.__contains__, found)):
            if t > first:
                yield self.missing(range(first, t, step))
            yield self.bar(t, found[t], backfilled=True)
            first = t + step
        if first < opens.stop:
            yield self.missing(range(first, opens.stop, step))


class TradeHandler(Handler):
    """Hands on each public trade once; ``faults`` counts ``duplicate`` and ``malformed``."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic)
        self.newest: pd.Timestamp | None = None
        self._seen: OrderedDict[str, None] = OrderedDict()  # ids, oldest first

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
        if not (is_time(row["T"]) and 0 < price < math.inf and 0 < size < math.inf):
            raise ValueError("time, price or size out of range")
        symbol, name = choice("s", row["s"], [self.topic.symbol]), self.topic.name
        return Trade(name, symbol, stamp(row["T"]), price, size, side, str(row["i"]))

    def _is_new(self, trade: Trade) -> bool:
        if trade.id in self._seen:
            self.faults["duplicate"] += 1
            return False
        self._seen[trade.id] = None
        if len(self._seen) > RECENT_TRADES:
            self._seen.popitem(last=False)
        self.newest = trade.time
        return True

    def disconnected(self) -> Gap | None:
        """Return a gap of unknown size since the newest trade."""
        return None if self.newest is None else self.gap("reconnect", 0, self.newest)


class BookHandler(Handler):
    """Applies the messages of one book topic in order and notices every fault.

    A gap or reordering (``u`` does not follow), a delta before the snapshot, a delete of an
    absent level, a crossed or too deep book, and a message that cannot be read, all make the
    book invalid and ``needs_resync`` true; only a snapshot (or ``u == 1``) mends it. A delta
    that is older than the book (``stale``: sent twice, or still under way from before) is left
    out and counted.
    """

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic)
        self.needs_resync = False
        self._name, self._symbol = topic.name, topic.symbol
        self._restart()

    def _restart(self) -> None:
        self.book = OrderBook(self.topic.depth, strict=True)
        self.valid = False

    def take(self, message: Mapping[str, Any]) -> BookUpdate | Gap | None:
        """Apply one message; return the update, the fault just met, or None (left out)."""
        if self.needs_resync and message.get("type") != "snapshot":
            data = message.get("data")
            if not isinstance(data, Mapping) or data.get("u") != 1:  # it brings no whole book
                self.faults["ignored"] += 1  # under way from before the resync; not applied
                return None
        book = self.book
        try:
            whole = book.apply(two_fields(message, self.topic.rpi))
        except BookStateError as error:
            return self._fault(error.kind)
        except MALFORMED:  # an ArgumentError is a ValueError
            return self._fault("malformed")
        if not whole or book.symbol != self._symbol:
            return self._fault("malformed")
        self.valid, self.needs_resync = True, False
        u = book.update_id
        return BookUpdate(
            self._name, self._symbol, book.time_ms, u, book.best_bid, book.best_ask,
            u == 1 or message["type"] == "snapshot",
        )  # fmt: skip

    def _fault(self, kind: str) -> Gap | None:
        self.faults[kind] += 1
        return None if kind == "stale" else self.lose(kind)

    def lose(self, reason: str) -> Gap:
        """Give the book up until the next snapshot, for a reason of ours or the feed's."""
        self._restart()
        self.needs_resync = True
        return self.gap(reason)

    def disconnected(self) -> Gap | None:
        """Give up a book that was valid: what it misses from now on is unknown."""
        return self.lose("reconnect") if self.valid else None

    def overflowed(self, messages: int) -> Gap:
        """Give up a book of which our own queue had no room for some messages."""
        return self.lose("overflow")


Backfill = Callable[[str, str, pd.Timestamp, pd.Timestamp], pd.DataFrame]
