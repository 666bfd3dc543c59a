"""Closed bars and trades, checked for sequence, duplicates and sense."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from .events import COLUMNS, Gap, Kline, Trade
from .topics import Topic

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
