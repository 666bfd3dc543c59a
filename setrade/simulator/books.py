"""Books as an exchange serves them: a view of the true book, and what changed in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..orderbook import OrderBook, Snapshots
from .wire import text

FIRST_UPDATE = 2  # 1 means "overwrite everything"
View = tuple[dict[str, str], dict[str, str]]


class BookTape:
    """The true book of one symbol, row by row.

    Args:
        source: `orderbook.Snapshots`, or the exchange's own messages (archive or stream), the
            first of them a snapshot.

    Row r carries the update id ``FIRST_UPDATE + r``, as `orderbook.messages` numbers them.
    """

    def __init__(self, source: Snapshots | Sequence[Mapping[str, Any]]) -> None:
        self.source = source
        self.cursor = -1
        if isinstance(source, Snapshots):
            self.times = source.time.astype("datetime64[ms]").astype(np.int64)
            return
        try:
            self.times = np.array([m["ts"] for m in source], np.int64)
            whole = source[0]["type"] == "snapshot" and (np.diff(self.times) >= 0).all()
        except (TypeError, KeyError, IndexError) as error:
            raise ArgumentError("books", source, _ALLOWED) from error
        if not whole:
            raise ArgumentError("books", source, _ALLOWED)
        self._book, self._row = OrderBook(), -1

    def __len__(self) -> int:
        return len(self.times)

    def row(self, now: int) -> int:
        """Return the row that holds at ``now``.

        assumption: before its first row the book is as in its first row.
        """
        return max(int(np.searchsorted(self.times, now, "right")) - 1, 0)

    def view(self, row: int, depth: int) -> View:
        """Return bids and asks ``{price: size}`` of the best ``depth`` levels, best first."""
        if isinstance(self.source, Snapshots):
            b = self.source
            bids = _levels(b.bid_price[row, :depth], b.bid_size[row, :depth])
            return bids, _levels(b.ask_price[row, :depth], b.ask_size[row, :depth])
        if row < self._row:
            self._book, self._row = OrderBook(), -1
        while self._row < row:
            self._row += 1
            self._book.apply(self.source[self._row])
        bids, asks = (dict(self._book.levels(s)[:depth]) for s in ("bid", "ask"))
        return bids, asks


_ALLOWED = "orderbook.Snapshots, or Bybit's messages in order of ts, the first a snapshot"


def _levels(prices: np.ndarray, sizes: np.ndarray) -> dict[str, str]:
    held = sizes > 0
    return dict(zip(map(text, prices[held].tolist()), map(text, sizes[held].tolist()), strict=True))


def changes(before: dict[str, str], now: dict[str, str]) -> list[list[str]]:
    """Return the levels that changed, with size "0" for those that left."""
    changed = [[p, s] for p, s in now.items() if before.get(p) != s]
    return changed + [[p, "0"] for p in before if p not in now]


def full(view: View) -> tuple[list[list[str]], list[list[str]]]:
    """Return all levels of a view as lists of ``[price, size]``."""
    bids, asks = view
    return [[*level] for level in bids.items()], [[*level] for level in asks.items()]
