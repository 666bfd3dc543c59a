"""Topics: read, checked against what the exchange offers, before anything is sent.

https://bybit-exchange.github.io/docs/v5/ws/connect and the pages of the public topics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from setrade.errors import ArgumentError

from .. import codes

# Levels a side; 500 is gone since 2025-09. Level 1 comes as snapshots only.
DEPTHS: dict[str, tuple[int, ...]] = dict.fromkeys(codes.CATEGORIES, (1, 50, 200, 1000))
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
    codes.category(category)
    parts = text.split(".") if isinstance(text, str) else []
    kind = parts[0] if parts else ""
    if kind not in KINDS or len(parts) != (2 if kind == "publicTrade" else 3):
        allowed = "kline.{interval}.{symbol}, orderbook.{depth}.{symbol} or publicTrade.{symbol}"
        raise ArgumentError("topics", text, allowed)
    symbol = codes.symbol(parts[-1])
    if kind == "kline":
        bar = codes.interval(codes.from_code(parts[1]))
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
