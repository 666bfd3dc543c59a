"""Snapshots written as the stream that would have led to them, in Bybit's format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import integer
from .snapshots import Snapshots

Levels = dict[str, str]


def messages(
    books: Snapshots, *, symbol: str = "BTCUSDT", first_update: int = 2
) -> Iterator[dict[str, Any]]:
    """Yield one snapshot message, then one delta for each further row of ``books``.

    A delta holds the levels whose size changed, and a size of ``"0"`` for each level that
    left the visible book, as the exchange sends it. ``u`` rises by one from
    ``first_update`` (not 1, which would mean a snapshot). Levels of size 0 are left out.
    """
    u = integer("first_update", first_update, 2)
    before: tuple[Levels, Levels] | None = None
    stamps = books.time.astype("datetime64[ms]").astype(np.int64)
    for row in range(len(books)):
        now = (
            _levels(books.bid_price[row], books.bid_size[row]),
            _levels(books.ask_price[row], books.ask_size[row]),
        )
        bids, asks = map(_changes, before or ({}, {}), now)
        yield {
            "topic": f"orderbook.{books.levels}.{symbol}",
            "type": "delta" if before else "snapshot",
            "ts": int(stamps[row]),
            "data": {"s": symbol, "b": bids, "a": asks, "u": u + row, "seq": u + row},
        }
        before = now


def _levels(prices: np.ndarray, sizes: np.ndarray) -> Levels:
    return {_text(p): _text(s) for p, s in zip(prices, sizes, strict=True) if s > 0}


def _text(x: float) -> str:
    return np.format_float_positional(x, trim="-")


def _changes(before: Levels, now: Levels) -> list[list[str]]:
    changed = [[p, s] for p, s in now.items() if before.get(p) != s]
    return changed + [[p, "0"] for p in before if p not in now]
