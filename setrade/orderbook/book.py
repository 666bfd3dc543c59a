"""A local book, kept up to date from Bybit's snapshot and delta messages.

Bybit's rules: a snapshot, or ``u == 1``, overwrites everything; a size of zero deletes the
level. That ``u`` rises by one from message to message is not promised, so a jump is taken
for a gap: the book says that it is not valid until the next snapshot.
https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError, integer
from .side import Side
from .snapshots import Snapshots

FAULTS = ("delta_before_snapshot", "gap", "stale", "absent_level", "crossed", "too_deep")
BREAKING = ("delta_before_snapshot", "gap", "crossed", "too_deep")  # only a snapshot mends these


class BookStateError(ValueError):
    """The book cannot be trusted; ``kind`` is one of ``FAULTS``, or says what is missing."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


class OrderBook:
    """A book that knows when it no longer agrees with the exchange.

    Args:
        depth: levels a side that the feed promises; a side that grows deeper has missed a
            delete and breaks the book. None: not checked.
        strict: raise `BookStateError` where `apply` meets a fault, instead of only counting.

    ``faults`` counts what `apply` met: ``stale`` (an old or repeated delta, left out) and
    ``absent_level`` (a delete of nothing) are harmless; ``delta_before_snapshot``, ``gap``,
    ``crossed`` and ``too_deep`` break the book until the next snapshot. Deltas that arrive
    while it is broken are left out and counted in ``ignored``.
    """

    def __init__(self, depth: int | None = None, *, strict: bool = False) -> None:
        self.depth = None if depth is None else integer("depth", depth, 1)
        self.strict = strict
        self.faults: Counter[str] = Counter()
        self.ignored = 0
        self.symbol: str | None = None
        self.update_id, self.time_ms = -1, -1
        self._bids, self._asks = Side(), Side()
        self._broken = "no snapshot yet"

    @property
    def is_valid(self) -> bool:
        """True from a snapshot on, until a gap, a crossing or another breaking fault."""
        return not self._broken

    @property
    def best_bid(self) -> float | None:
        """The highest bid; None when the book is not valid or the side is empty."""
        return self._bids.prices[-1] if not self._broken and self._bids.prices else None

    @property
    def best_ask(self) -> float | None:
        """The lowest ask; None when the book is not valid or the side is empty."""
        return self._asks.prices[0] if not self._broken and self._asks.prices else None

    def apply(self, message: Mapping[str, Any]) -> bool:
        """Take one message of the stream, in the order received; return ``is_valid``.

        Args:
            message: decoded JSON with ``type``, ``ts`` (ms), and ``data`` that holds ``s, b,
                a, u``; prices and sizes are decimal strings.

        Raises:
            ArgumentError: the message is not a book message of this symbol, or a level of it
                is no number; the book is broken by it.
            BookStateError: the feed has a fault and ``strict`` is set.
        """
        try:
            kind, stamp, data = message["type"], message["ts"], message["data"]
            symbol, bids, asks, u = data["s"], data["b"], data["a"], data["u"]
            follows = self._begin(kind, symbol, u, stamp)
            absent = self._bids.update(bids) + self._asks.update(asks) if follows else 0
        except (KeyError, TypeError, ValueError) as error:
            self._broken = self._broken or "a malformed message"
            raise ArgumentError("message", message, _ALLOWED) from error
        if not follows:
            return self._leave_out(u)
        self.update_id, self.time_ms = u, stamp
        if absent:
            self.faults["absent_level"] += absent
        return self._judge(absent)

    def _begin(self, kind: str, symbol: str, u: int, stamp: int) -> bool:
        """Empty the book for a snapshot; return whether the message's levels are to be taken."""
        if type(u) is not int or type(stamp) is not int:
            raise ValueError("u and ts are integers")
        if symbol != self.symbol and self.symbol is not None:
            raise ValueError(f"a message of {symbol!r} for the book of {self.symbol!r}")
        if kind == "snapshot" or (u == 1 and kind == "delta"):
            self._bids, self._asks, self.symbol, self._broken = Side(), Side(), symbol, ""
            return True
        if kind != "delta":
            raise ValueError(f"type {kind!r}")
        return not self._broken and u == self.update_id + 1

    def _judge(self, absent: int) -> bool:
        """Look at the book after an update: crossed, too deep, or sound."""
        bids, asks = self._bids.prices, self._asks.prices
        if bids and asks and bids[-1] >= asks[0]:
            return self._fault("crossed", f"best bid {bids[-1]:g} >= best ask {asks[0]:g}")
        if self.depth is not None and max(len(bids), len(asks)) > self.depth:
            return self._fault("too_deep", f"more than {self.depth} levels on a side")
        if absent and self.strict:
            raise BookStateError("absent_level", f"u={self.update_id} deletes unknown levels")
        return True

    def _leave_out(self, u: int) -> bool:
        """Count a delta that does not follow the last update, or follows a fault."""
        if self.symbol is None:
            return self._fault("delta_before_snapshot", f"delta u={u} before any snapshot")
        if self._broken:
            self.ignored += 1
            return False
        text = f"u went from {self.update_id} to {u}"
        return self._fault("stale" if u <= self.update_id else "gap", text)

    def _fault(self, kind: str, text: str) -> bool:
        self.faults[kind] += 1
        if kind in BREAKING:
            self._broken = f"{kind}: {text}"
        if self.strict:
            raise BookStateError(kind, text)
        return self.is_valid

    def levels(self, side: str) -> list[tuple[str, str]]:
        """Return all ``(price, size)`` of ``"bid"`` or ``"ask"``, best first, as sent.

        Raises:
            BookStateError: the book is not valid.
        """
        if side not in ("bid", "ask"):
            raise ArgumentError("side", side, "'bid' or 'ask'")
        self._require_valid()
        if side == "ask":
            return [self._asks.levels[p] for p in self._asks.prices]
        return [self._bids.levels[p] for p in reversed(self._bids.prices)]

    def snapshot(self, levels: int | None = None) -> Snapshots:
        """Return a copy of the best ``levels`` (None: as many as both sides have), N = 1.

        Raises:
            BookStateError: the book is not valid, or a side has no level.
            ArgumentError: a side has fewer levels than asked for.
        """
        self._require_valid()
        bids, asks = self._bids.prices, self._asks.prices
        available = min(len(bids), len(asks))
        if not available:
            raise BookStateError("empty", "one side of the book has no level")
        n = available if levels is None else integer("levels", levels, 1, available)
        time = np.array([self.time_ms], "datetime64[ms]")
        sides = *self._bids.arrays(bids[: -n - 1 : -1]), *self._asks.arrays(asks[:n])
        return Snapshots(time, *sides)

    def _require_valid(self) -> None:
        if self._broken:
            raise BookStateError(self._broken.split(":")[0], f"book not valid: {self._broken}")


_ALLOWED = "a snapshot or delta of one symbol: type, ts, data {s, b, a, u}, decimal strings"
