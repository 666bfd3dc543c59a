"""What a stream hands out: closed bars, trades, book updates, and what it knows it missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from setrade.errors import ArgumentError

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
