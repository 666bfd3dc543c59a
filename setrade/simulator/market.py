"""Books as an exchange serves them: a view of the true book, and what changed in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from setrade.candles import bar_interval, check
from setrade.errors import ArgumentError, choice
from setrade.orderbook import OrderBook, Snapshots
from setrade.simulator.wire import (
    CATEGORIES,
    CODES,
    Clock,
    Instrument,
    Now,
    Refused,
    listed,
    text,
    whole,
)

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


# ---- Candles as an exchange serves them: strings, newest first, the last one still forming.


COLUMNS = ("open", "high", "low", "close", "volume", "turnover")


def aggregate(rows: np.ndarray) -> np.ndarray:
    """Return one bar, shape ``(6,)``, made of consecutive bars ``(n, 6)``."""
    return np.array(
        [rows[0, 0], rows[:, 1].max(), rows[:, 2].min(), rows[-1, 3], *rows[:, 4:].sum(0)]
    )


def part(bar: np.ndarray, fraction: float, tick: float) -> np.ndarray:
    """Return a bar ``(6,)`` as it stands when ``fraction`` of its time has gone by.

    assumption: the price goes in three equal legs, open to the nearer extreme that its colour
    suggests (low first in a rising bar), to the other extreme, to the close; volume comes
    evenly. At 1 this is the bar itself.
    """
    if fraction >= 1:
        return bar
    first, high, low, last = bar[:4]
    way = [first, low, high, last] if last >= first else [first, high, low, last]
    leg = int(fraction * 3)
    near, far = way[leg], way[leg + 1]
    price = near + (fraction * 3 - leg) * (far - near)
    price = min(max(round(round(price / tick) * tick, 10), min(near, far)), max(near, far))
    seen = [*way[: leg + 1], price]
    amounts = np.round(bar[4:] * fraction, 8)
    return np.array([first, max(seen), min(seen), price, *amounts])


class Tape:
    """The bars of one symbol and interval, against a clock.

    Args:
        opens: bar opens in ms, ``(n,)``, rising, on the grid of ``step``.
        bars: ``(n, 6)``: open, high, low, close, volume, turnover.
        step: bar length in ms.
        tick: what prices inside a bar are rounded to.
        base: the finer tape that this one was made of, if any.
    """

    def __init__(
        self,
        opens: np.ndarray,
        bars: np.ndarray,
        step: int,
        tick: float,
        base: Tape | None = None,
    ) -> None:
        self.opens, self.bars, self.step, self.tick, self.base = opens, bars, step, tick, base

    @classmethod
    def of(cls, candles: pd.DataFrame, tick: float) -> Tape:
        """Make a tape of a frame of candles.

        assumption: where no turnover is given, volume trades at the bar's mean price.
        """
        opens = pd.DatetimeIndex(candles.index).as_unit("ms").asi8
        bars = candles.reindex(columns=list(COLUMNS)).to_numpy(np.float64, copy=True)
        missing = np.isnan(bars[:, 5])
        bars[missing, 5] = np.round(bars[missing, 4] * bars[missing, :4].mean(1), 4)
        return cls(opens, bars, int(bar_interval(candles).value // 1_000_000), tick)

    def coarser(self, step: int) -> Tape | None:
        """Return the bars of a longer interval, made of these; None where none begins.

        A first bar that would lack its beginning is left out.
        """
        (begins,) = np.nonzero(self.opens % step == 0)
        if not len(begins):
            return None
        b, first = self.bars[begins[0] :], begins - begins[0]
        bars = np.column_stack(
            [
                b[first, 0],
                np.maximum.reduceat(b[:, 1], first),
                np.minimum.reduceat(b[:, 2], first),
                b[np.append(first[1:], len(b)) - 1, 3],
                np.add.reduceat(b[:, 4], first),
                np.add.reduceat(b[:, 5], first),
            ]
        )
        return Tape(self.opens[begins], bars, step, self.tick, self)

    def at(self, row: int, now: int) -> np.ndarray:
        """Return bar ``row`` as known at ``now``, ``(6,)``."""
        start = int(self.opens[row])
        if start + self.step <= now:
            return self.bars[row]
        if self.base is None:
            return part(self.bars[row], (now - start) / self.step, self.tick)
        low, high = np.searchsorted(self.base.opens, [start, now])
        high = max(high, low + 1)  # a bar that opens just now has its first price
        last = self.base.at(high - 1, now)
        return aggregate(np.vstack([self.base.bars[low : high - 1], last]))

    def last(self, now: int) -> np.ndarray | None:
        """Return the newest bar that has begun, as known at ``now``; None before the first."""
        row = int(np.searchsorted(self.opens, now, "right")) - 1
        return None if row < 0 else self.at(row, now)

    def query(
        self, start: int | None, end: int | None, limit: int, now: int
    ) -> list[tuple[int, np.ndarray]]:
        """Return ``(open ms, bar)`` pairs, newest first, of one page.

        ``start`` is floored to the bar that contains it; bars that open at ``end`` count; of a
        window longer than ``limit`` the newest bars are returned.
        """
        low, high = 0, int(np.searchsorted(self.opens, now, "right"))
        if start is not None:
            low = int(np.searchsorted(self.opens, start - start % self.step))
        if end is not None:
            high = min(high, int(np.searchsorted(self.opens, end, "right")))
        rows = range(high - 1, max(low, high - limit) - 1, -1)
        return [(int(self.opens[row]), self.at(row, now)) for row in rows]


def strings(bar: np.ndarray) -> list[str]:
    """Return a bar's figures as the exchange writes them."""
    return [text(x) for x in bar.tolist()]


# ---- The state of the exchange: clock, bars, books, instruments, funding.


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


# ---- The public REST calls: each takes the query's parameters and returns a ``result``.


Query = Mapping[str, str]
Result = dict[str, Any]
PAGE = 500  # instruments a page
DEPTHS = {"linear": (1000, 25), "inverse": (1000, 25), "spot": (1000, 1), "option": (25, 1)}


def _category(x: Exchange, query: Query, default: str | None = None) -> str:
    category = query.get("category", default)
    if category not in CATEGORIES or category != x.category:
        # assumption: what is served is listed in one category, and unknown in the others
        raise Refused(10001, "params error: Category is invalid")
    return category


def server_time(x: Exchange, query: Query) -> Result:
    """``GET /v5/market/time``."""
    now = x.clock()
    return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}


def klines(kind: str) -> Callable[[Exchange, Query], Result]:
    """``GET /v5/market/kline`` and its mark and index sisters, which have five strings a row."""

    def answer(x: Exchange, query: Query) -> Result:
        category, symbol = _category(x, query, "linear"), query.get("symbol", "")
        tape = x.tape(symbol, query.get("interval"), kind)
        limit = whole(query, "limit", 200, 1, 1000) or 200
        start, end = whole(query, "start", None), whole(query, "end", None)
        if start is not None and end is not None and start > end:
            raise Refused(10001, "params error: start must not be after end")
        if x.instruments[symbol].status == "Closed" and start is not None:
            # assumption: a dead symbol answers a window after its end with its last rows
            start = min(start, int(tape.opens[-1]) - (limit - 1) * tape.step)
        page = tape.query(start, end, limit, x.clock())
        rows = [[str(opened), *strings(bar)] for opened, bar in page]
        if kind != "last":
            rows = [row[:5] for row in rows]
        elif category == "inverse":  # volume is in quote coin there, turnover in base coin
            rows = [[*row[:5], row[6], row[5]] for row in rows]
        return {"category": category, "symbol": symbol, "list": rows}

    return answer


def orderbook(x: Exchange, query: Query) -> Result:
    """``GET /v5/market/orderbook``."""
    category, symbol = _category(x, query), query.get("symbol", "")
    x.instrument(symbol)
    deepest, default = DEPTHS[category]
    limit = whole(query, "limit", default, 1, deepest) or default
    if symbol not in x.books:
        raise Refused(10001, "params error: no book of this symbol in the simulator")
    book, now = x.books[symbol], x.clock()
    row = book.row(now)
    bids, asks = full(book.view(row, limit))
    u, stamp = FIRST_UPDATE + row, int(book.times[row])
    return {"s": symbol, "b": bids, "a": asks, "ts": now, "u": u, "seq": u, "cts": stamp}


def recent_trades(x: Exchange, query: Query) -> Result:
    """``GET /v5/market/recent-trade``, newest first.

    assumption: each bar of the finest interval has four trades, at its open, its two extremes
    and its close, of a quarter of its volume each; the forming bar has none yet.
    """
    category, symbol = _category(x, query), query.get("symbol", "")
    x.instrument(symbol)
    most = 60 if category == "spot" else 1000
    limit = whole(query, "limit", min(most, 500), 1, most) or most
    tape = x.base(symbol)
    if tape is None:
        return {"category": category, "list": []}
    closed = int(np.searchsorted(tape.opens, x.clock() - tape.step, "right"))
    rows = range(max(0, closed - -(-limit // 4)), closed)
    trades = [trade for row in rows for trade in bar_trades(tape, symbol, row)]
    return {"category": category, "list": trades[::-1][:limit]}


def bar_trades(tape: Any, symbol: str, row: int) -> list[Result]:
    """Return the four trades that stand for one bar, oldest first."""
    first, high, low, last, volume, _ = tape.bars[row].tolist()
    way = [first, low, high, last] if last >= first else [first, high, low, last]
    sides = ["Buy" if b > a else "Sell" for a, b in zip([first, *way[:-1]], way, strict=True)]
    return [
        {
            "execId": f"{symbol}-{tape.opens[row]}-{k}",
            "symbol": symbol,
            "price": text(price),
            "size": text(round(volume / 4, 8)),
            "side": side,
            "time": str(int(tape.opens[row]) + k * tape.step // 4),
            "isBlockTrade": False,
            "isRPITrade": False,
            "seq": str(4 * row + k),
        }
        for k, (price, side) in enumerate(zip(way, sides, strict=True))
    ]


def funding(x: Exchange, query: Query) -> Result:
    """``GET /v5/market/funding/history``, newest first; ``startTime`` alone is an error."""
    category, symbol = _category(x, query), query.get("symbol", "")
    if category == "spot":
        raise Refused(10001, "params error: Category is invalid")
    x.instrument(symbol)
    limit = whole(query, "limit", 200, 1, 200) or 200
    start, end = whole(query, "startTime", None), whole(query, "endTime", None)
    if start is not None and end is None:
        raise Refused(10001, "params error: endTime is required with startTime")
    rates = x.funding.get(symbol)
    rates = {} if rates is None else dict(zip(rates.index, rates.to_numpy(), strict=True))
    last = x.clock() if end is None else min(end, x.clock())
    times = [int(t) for t in rates if (start or 0) <= t <= last][::-1][:limit]
    entries = [
        {"symbol": symbol, "fundingRate": text(rates[t]), "fundingRateTimestamp": str(t)}
        for t in times
    ]
    return {"category": category, "list": entries}


def instruments(x: Exchange, query: Query) -> Result:
    """``GET /v5/market/instruments-info``, by pages that ``nextPageCursor`` links."""
    category = _category(x, query)
    entries = list(x.instruments.values())
    if symbol := query.get("symbol"):
        entries = [x.instrument(symbol)]
    if category != "spot":  # assumption: spot ignores limit and cursor, as documented
        limit = whole(query, "limit", PAGE, 1, 1000) or PAGE
        first = whole({"cursor": query.get("cursor", "").removeprefix("page-")}, "cursor", 0) or 0
        rest, entries = entries[first + limit :], entries[first : first + limit]
        cursor = f"page-{first + limit}" if rest else ""
    else:
        cursor = ""
    listing = [entry.listing(category) for entry in entries]
    return {"category": category, "nextPageCursor": cursor, "list": listing}


ROUTES: dict[str, Callable[[Exchange, Query], Result]] = {
    "/v5/market/time": server_time,
    "/v5/market/kline": klines("last"),
    "/v5/market/mark-price-kline": klines("mark"),
    "/v5/market/index-price-kline": klines("index"),
    "/v5/market/orderbook": orderbook,
    "/v5/market/recent-trade": recent_trades,
    "/v5/market/funding/history": funding,
    "/v5/market/instruments-info": instruments,
}
