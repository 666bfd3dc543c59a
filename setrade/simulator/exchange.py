"""The state of the exchange: clock, bars, books, instruments, funding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from ..candles import check
from ..errors import ArgumentError, choice
from ..orderbook import Snapshots
from .books import BookTape
from .clock import Clock, Now
from .instruments import Instrument, listed
from .tape import Tape
from .wire import CODES, Refused, text

FUNDING_RATE = 0.0001
BOOKS = (Snapshots, list, tuple)
_CANDLES = "a frame of candles, {symbol: frame} or {(symbol, interval): frame}"


def frames_of(argument: str, candles: Any, symbol: str) -> dict[str, list[pd.DataFrame]]:
    """Return the frames by symbol, whatever form they came in; each passes `candles.check`."""
    if candles is None:
        return {}
    if isinstance(candles, pd.DataFrame):
        candles = {symbol: candles}
    if not isinstance(candles, Mapping):
        raise ArgumentError(argument, candles, _CANDLES)
    frames: dict[str, list[pd.DataFrame]] = {}
    for key, frame in candles.items():
        name, interval = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        if not isinstance(name, str) or not isinstance(frame, pd.DataFrame):
            raise ArgumentError(argument, candles, _CANDLES)
        check(frame, interval)
        frames.setdefault(name, []).append(frame)
    return frames


def tapes_of(books: Any, symbol: str) -> dict[str, BookTape]:
    """Return the book tapes by symbol, whatever form the books came in."""
    if isinstance(books, BOOKS):
        books = {symbol: books}
    if not isinstance(books, Mapping | None) or not all(isinstance(s, str) for s in books or {}):
        raise ArgumentError("books", books, "books of one symbol, {symbol: books}, or None")
    return {name: BookTape(tape) for name, tape in (books or {}).items()}


class Exchange:
    """Everything that the handlers look up; `serve` describes the arguments."""

    def __init__(
        self, candles: Any, books: Any = None, *, symbol: str = "BTCUSDT",
        category: str = "linear", clock: Now | None = None, now: Any = None, speed: float = 0.0,
        instruments: Iterable[Instrument] = (), funding: Any = None, mark: Any = None,
        index: Any = None,
    ) -> None:  # fmt: skip
        self.category = choice("category", category, ("linear", "inverse", "spot"))
        frames = frames_of("candles", candles, symbol)
        self.books = tapes_of(books, symbol)
        if not frames and not self.books:
            raise ArgumentError("candles", candles, _CANDLES + ", or else books")
        self.instruments = listed([*frames, *self.books], instruments)
        # assumption: where no other is given, mark and index follow the last price
        marks, indices = (
            frames | frames_of(name, given, symbol)
            for name, given in (("mark", mark), ("index", index))
        )
        self.tapes = {
            kind: {name: self._tapes(name, group) for name, group in given.items()}
            for kind, given in {"last": frames, "mark": marks, "index": indices}.items()
        }
        self.clock = clock or Clock(self._end() if now is None else now, speed)
        self.funding = {name: self._funding(name, funding) for name in frames}

    def _tapes(self, symbol: str, frames: list[pd.DataFrame]) -> dict[int, Tape]:
        """Return the tapes of one symbol by step; longer intervals are made of the finest."""
        known = self.instruments.get(symbol, Instrument(symbol))
        tapes = [Tape.of(frame, float(known.tick_size)) for frame in frames]
        tapes.sort(key=lambda tape: tape.step)
        base = tapes[0]
        made = [base.coarser(s) for s in CODES.values() if s > base.step and s % base.step == 0]
        return {tape.step: tape for tape in (*made, *tapes) if tape is not None}

    def _end(self) -> int:
        """Return the close of the last bar; without bars the stamp of the first book."""
        ends = [t.opens[-1] + t.step for t in map(self.base, self.tapes["last"]) if t is not None]
        return int(max(ends) if ends else min(int(tape.times[0]) for tape in self.books.values()))

    def _funding(self, symbol: str, funding: Any) -> pd.Series:
        """Return funding rates by time in ms; 0.0001 at each funding time by default."""
        given = funding.get(symbol) if isinstance(funding, Mapping) else funding
        if given is not None:
            index = given.index if isinstance(given, pd.Series) else None
            if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
                raise ArgumentError("funding", given, "a Series of rates by UTC time, or a dict")
            times = index.as_unit("ms").asi8
            return pd.Series(given.to_numpy(np.float64), index=times).sort_index()
        tape = self.base(symbol)
        assert tape is not None
        step = self.instruments[symbol].funding_minutes * 60_000
        first = int(-(-tape.opens[0] // step))
        times = np.arange(first, int(tape.opens[-1] + tape.step) // step + 1) * step
        return pd.Series(FUNDING_RATE, index=times)

    def base(self, symbol: str) -> Tape | None:
        """Return the finest tape of a symbol."""
        tapes = self.tapes["last"].get(symbol)
        return None if tapes is None else tapes[min(tapes)]

    def instrument(self, symbol: Any) -> Instrument:
        """Return what is listed under a symbol; refuse (10001) what is not."""
        if symbol not in self.instruments:
            raise Refused(10001, "params error: symbol invalid")
        return self.instruments[symbol]

    def tape(self, symbol: str, code: Any, kind: str = "last") -> Tape:
        """Return the bars of a symbol and interval code; refuse (10001) an unknown interval."""
        self.instrument(symbol)
        if code not in CODES:
            raise Refused(10001, "Invalid period!")
        tapes = self.tapes[kind].get(symbol, {})
        if CODES[code] not in tapes:
            # assumption: an interval finer than the data does not exist here
            raise Refused(10001, "Invalid period!")
        return tapes[CODES[code]]

    def price(self, symbol: str, at: int | None = None) -> Decimal:
        """Return the price of the last trade, on the grid of the tick."""
        bid, ask = self.touch(symbol, self.clock() if at is None else at)
        return (bid + ask) / 2

    def touch(self, symbol: str, at: int) -> tuple[Decimal, Decimal]:
        """Return best bid and ask: of the book while it lasts, else twice the last trade."""
        book, tape = self.books.get(symbol), self.base(symbol)
        bar = None if tape is None else tape.last(at)
        if book is not None and (bar is None or book.times[0] <= at <= book.times[-1]):
            bids, asks = book.view(book.row(at), 1)
            return Decimal(next(iter(bids))), Decimal(next(iter(asks)))
        if bar is None:
            raise Refused(10001, "params error: symbol has not traded yet")
        tick = Decimal(self.instruments[symbol].tick_size)
        price = (Decimal(text(bar[3])) / tick).to_integral_value() * tick
        return price, price
