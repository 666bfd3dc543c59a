"""The market as the exchange knows it: books, bars, prices, funding, and the public REST calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from setrade.candles import bar_interval, check
from setrade.errors import ArgumentError, choice
from setrade.orderbook import OrderBook, Snapshots
from setrade.orderbook.synthetic import as_text
from setrade.simulator.wire import (
    CODES,
    MAX_LEVERAGE,
    Clock,
    ListedInstrument,
    Now,
    Refused,
    plain,
    text,
    whole,
)

FIRST_UPDATE = 2  # 1 means "overwrite everything"
COLUMNS = ("open", "high", "low", "close", "volume", "turnover")
FUNDING_RATE = 0.0001
View = tuple[dict[str, str], dict[str, str]]  # bids and asks, {price: size}
Query = Mapping[str, str]
Message = dict[str, Any]  # the ``result`` of a REST call, or what a stream sends
_BOOKS = "orderbook.Snapshots, or Bybit's messages in order of ts, the first a snapshot"
_CANDLES = "a frame of candles, {symbol: frame} or {(symbol, interval): frame}"


class BookSeries:
    """The true book of one symbol, row by row.

    Args:
        source: `orderbook.Snapshots`, or the exchange's own messages, the first a snapshot.

    Row r carries the update id ``FIRST_UPDATE + r``, as `orderbook.messages` numbers them.
    """

    def __init__(self, source: Snapshots | Sequence[Mapping[str, Any]]) -> None:
        self.source = source
        if isinstance(source, Snapshots):
            self.times = source.time.astype("datetime64[ms]").astype(np.int64)
            return
        try:
            self.times = np.array([m["ts"] for m in source], np.int64)
            whole = source[0]["type"] == "snapshot" and (np.diff(self.times) >= 0).all()
        except (TypeError, KeyError, IndexError) as error:
            raise ArgumentError("books", source, _BOOKS) from error
        if not whole:
            raise ArgumentError("books", source, _BOOKS)
        self._book, self._row = OrderBook(), -1

    def row(self, now: int) -> int:
        """Return the row that holds at ``now``.

        assumption: before its first row the book is as in its first row.
        """
        return max(int(np.searchsorted(self.times, now, "right")) - 1, 0)

    def view(self, row: int, depth: int) -> View:
        """Return bids and asks ``{price: size}`` of the best ``depth`` levels, best first."""
        if isinstance(self.source, Snapshots):
            b = self.source
            bids = as_text(b.bid_price[row, :depth], b.bid_size[row, :depth])
            return bids, as_text(b.ask_price[row, :depth], b.ask_size[row, :depth])
        if row < self._row:
            self._book, self._row = OrderBook(), -1
        while self._row < row:
            self._row += 1
            self._book.apply(self.source[self._row])
        bids, asks = (dict(self._book.levels(s)[:depth]) for s in ("bid", "ask"))
        return bids, asks


def full(view: View) -> tuple[list[list[str]], list[list[str]]]:
    """Return all levels of a view as lists of ``[price, size]``."""
    bids, asks = ([[*level] for level in side.items()] for side in view)
    return bids, asks


def aggregate(bars: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return longer bars ``(m, 6)`` made of bars ``(n, 6)``; they begin at rows ``first``."""
    last = np.append(first[1:], len(bars)) - 1
    high, low = np.maximum.reduceat(bars[:, 1], first), np.minimum.reduceat(bars[:, 2], first)
    amounts = np.add.reduceat(bars[:, 4:], first)
    return np.column_stack([bars[first, 0], high, low, bars[last, 3], amounts])


def price_path(bar: np.ndarray) -> list[float]:
    """Return the four prices that a bar ``(6,)`` visits in turn.

    assumption: open, the extreme that its colour suggests (low first in a rising bar), then the
    other, close.
    """
    first, high, low, last = bar[:4].tolist()
    return [first, low, high, last] if last >= first else [first, high, low, last]


def part(bar: np.ndarray, fraction: float, tick: float) -> np.ndarray:
    """Return a bar ``(6,)`` as it stands when ``fraction`` of its time has gone by.

    assumption: the price goes along `price_path` in three equal legs; volume comes evenly. At 1
    this is the bar itself.
    """
    if fraction >= 1:
        return bar
    way, leg = price_path(bar), int(fraction * 3)
    near, far = way[leg], way[leg + 1]
    price = near + (fraction * 3 - leg) * (far - near)
    price = min(max(round(round(price / tick) * tick, 10), min(near, far)), max(near, far))
    seen = [*way[: leg + 1], price]
    amounts = np.round(bar[4:] * fraction, 8)
    return np.array([way[0], max(seen), min(seen), price, *amounts])


@dataclass(frozen=True, eq=False)
class BarSeries:
    """The bars of one symbol and interval, against a clock.

    Args:
        opens: bar opens in ms, ``(n,)``, rising, on the grid of ``step``.
        bars: ``(n, 6)``: open, high, low, close, volume, turnover.
        step: bar length in ms.
        tick: what prices inside a bar are rounded to.
        base: the finer series that this one was made of, if any.
    """

    opens: np.ndarray
    bars: np.ndarray
    step: int
    tick: float
    base: BarSeries | None = None

    @classmethod
    def of(cls, candles: pd.DataFrame, tick: float) -> BarSeries:
        """Make a series of a frame of candles.

        assumption: where no turnover is given, volume trades at the bar's mean price.
        """
        opens = pd.DatetimeIndex(candles.index).as_unit("ms").asi8
        bars = candles.reindex(columns=list(COLUMNS)).to_numpy(np.float64, copy=True)
        missing = np.isnan(bars[:, 5])
        bars[missing, 5] = np.round(bars[missing, 4] * bars[missing, :4].mean(1), 4)
        return cls(opens, bars, int(bar_interval(candles).value // 1_000_000), tick)

    def coarser(self, step: int) -> BarSeries | None:
        """Return the bars of a longer interval, made of these; None where none begins.

        A first bar that would lack its beginning is left out.
        """
        (begins,) = np.nonzero(self.opens % step == 0)
        if not len(begins):
            return None
        bars = aggregate(self.bars[begins[0] :], begins - begins[0])
        return BarSeries(self.opens[begins], bars, step, self.tick, self)

    def at(self, row: int, now: int) -> np.ndarray:
        """Return bar ``row`` as known at ``now``, ``(6,)``."""
        start = int(self.opens[row])
        if start + self.step <= now:
            return self.bars[row]
        if self.base is None:
            return part(self.bars[row], (now - start) / self.step, self.tick)
        low, high = np.searchsorted(self.base.opens, [start, now])
        high = max(high, low + 1)  # a bar that opens just now has its first price
        inside = [self.base.bars[low : high - 1], self.base.at(high - 1, now)]
        return aggregate(np.vstack(inside), np.array([0]))[0]

    def row(self, opened: int) -> int | None:
        """Return the row of the bar that opens at a time in ms; None where there is none."""
        row = int(np.searchsorted(self.opens, opened))
        return row if row < len(self.opens) and self.opens[row] == opened else None

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


def books_of(books: Any, symbol: str) -> dict[str, BookSeries]:
    """Return the books by symbol, whatever form they came in."""
    if isinstance(books, Snapshots | list | tuple):
        books = {symbol: books}
    if not isinstance(books, Mapping | None) or not all(isinstance(s, str) for s in books or {}):
        raise ArgumentError("books", books, "books of one symbol, {symbol: books}, or None")
    return {name: BookSeries(source) for name, source in (books or {}).items()}


class Exchange:
    """Everything that the handlers look up; `serve` describes the arguments."""

    def __init__(
        self, candles: Any, books: Any = None, *, symbol: str = "BTCUSDT",
        category: str = "linear", clock: Now | None = None, now: Any = None, speed: float = 0.0,
        instruments: Iterable[ListedInstrument] = (), funding: Any = None, mark: Any = None,
        index: Any = None,
    ) -> None:  # fmt: skip
        self.category = choice("category", category, ("linear", "inverse", "spot"))
        frames = frames_of("candles", candles, symbol)
        self.books = books_of(books, symbol)
        if not frames and not self.books:
            raise ArgumentError("candles", candles, _CANDLES + ", or else books")
        known = {name: ListedInstrument(name) for name in (*frames, *self.books)}
        for instrument in instruments:
            if not isinstance(instrument, ListedInstrument):
                raise ArgumentError("instruments", instrument, "simulator.ListedInstrument entries")
            known[instrument.symbol] = instrument
        self.instruments = dict(sorted(known.items()))
        # assumption: where no other is given, mark and index follow the last price
        self.bars = {
            kind: {name: self._series(name, group) for name, group in (frames | others).items()}
            for kind, others in (
                ("last", {}),
                ("mark", frames_of("mark", mark, symbol)),
                ("index", frames_of("index", index, symbol)),
            )
        }
        self.clock = clock or Clock(self._end() if now is None else now, speed)
        self.funding = {name: self._funding(name, funding) for name in frames}

    def _series(self, symbol: str, frames: list[pd.DataFrame]) -> dict[int, BarSeries]:
        """Return the bars of one symbol by step; longer intervals are made of the finest."""
        known = self.instruments.get(symbol, ListedInstrument(symbol))
        given = [BarSeries.of(frame, float(known.tick_size)) for frame in frames]
        base = min(given, key=lambda series: series.step)
        made = [base.coarser(s) for s in CODES.values() if s > base.step and s % base.step == 0]
        return {series.step: series for series in (*made, *given) if series is not None}

    def _end(self) -> int:
        """Return the close of the last bar; without bars the stamp of the first book."""
        ends = [b.opens[-1] + b.step for b in map(self.base, self.bars["last"]) if b is not None]
        return int(max(ends) if ends else min(int(book.times[0]) for book in self.books.values()))

    def _funding(self, symbol: str, funding: Any) -> pd.Series:
        """Return funding rates by time in ms; 0.0001 at each funding time by default."""
        given = funding.get(symbol) if isinstance(funding, Mapping) else funding
        if given is not None:
            index = given.index if isinstance(given, pd.Series) else None
            if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
                raise ArgumentError("funding", given, "a Series of rates by UTC time, or a dict")
            times = index.as_unit("ms").asi8
            return pd.Series(given.to_numpy(np.float64), index=times).sort_index()
        bars = self.base(symbol)
        assert bars is not None
        step = self.instruments[symbol].funding_minutes * 60_000
        first = int(-(-bars.opens[0] // step))
        times = np.arange(first, int(bars.opens[-1] + bars.step) // step + 1) * step
        return pd.Series(FUNDING_RATE, index=times)

    def base(self, symbol: str) -> BarSeries | None:
        """Return the finest bars of a symbol."""
        known = self.bars["last"].get(symbol)
        return None if known is None else known[min(known)]

    def instrument(self, symbol: Any) -> ListedInstrument:
        """Return what is listed under a symbol; refuse (10001) what is not."""
        if symbol not in self.instruments:
            raise Refused(10001, "params error: symbol invalid")
        return self.instruments[symbol]

    def series(self, symbol: str, code: Any, kind: str = "last") -> BarSeries:
        """Return the bars of a symbol and interval code; refuse (10001) an unknown interval."""
        self.instrument(symbol)
        found = self.bars[kind].get(symbol, {}).get(CODES.get(code, 0))
        if found is None:  # assumption: an interval finer than the data does not exist here
            raise Refused(10001, "Invalid period!")
        return found

    def price(self, symbol: str, at: int | None = None) -> Decimal:
        """Return the price of the last trade, on the grid of the tick."""
        bid, ask = self.touch(symbol, self.clock() if at is None else at)
        tick = Decimal(self.instruments[symbol].tick_size)
        return ((bid + ask) / 2 / tick).to_integral_value() * tick

    def touch(self, symbol: str, at: int) -> tuple[Decimal, Decimal]:
        """Return best bid and ask: of the book while it lasts, else twice the last trade."""
        book, bars = self.books.get(symbol), self.base(symbol)
        bar = None if bars is None else bars.last(at)
        if book is not None and (bar is None or book.times[0] <= at <= book.times[-1]):
            bids, asks = book.view(book.row(at), 1)
            return Decimal(next(iter(bids))), Decimal(next(iter(asks)))
        if bar is None:
            raise Refused(10001, "params error: symbol has not traded yet")
        tick = Decimal(self.instruments[symbol].tick_size)
        price = (Decimal(text(bar[3])) / tick).to_integral_value() * tick
        return price, price


# ---- The public REST calls: each takes the query's parameters and returns a ``result``.

PAGE = 500  # instruments a page
DAY = 86_400_000
INTERVALS = {"5min": 300_000, "15min": 900_000, "30min": 1_800_000, "1h": 3_600_000,
             "4h": 14_400_000, "1d": DAY}  # fmt: skip
DEPTHS = {"linear": (1000, 25), "inverse": (1000, 25), "spot": (1000, 1)}  # most, default


def category_of(query: Mapping[str, Any]) -> str:
    """Return the category that is asked for; refuse (10001) what is none."""
    if query.get("category") not in (*DEPTHS, "option"):
        raise Refused(10001, "params error: Category is invalid")
    return str(query["category"])


def _category(x: Exchange, query: Query, default: str = "") -> str:
    category = query.get("category", default)
    if category != x.category:
        # assumption: what is served is listed in one category, and unknown in the others
        raise Refused(10001, "params error: Category is invalid")
    return category


def _symbol(x: Exchange, query: Query) -> str:
    return x.instrument(query.get("symbol", "")).symbol


def server_time(x: Exchange, query: Query) -> Message:
    """``GET /v5/market/time``."""
    now = x.clock()
    return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}


def klines(x: Exchange, query: Query, kind: str = "last") -> Message:
    """``GET /v5/market/kline`` and its mark and index sisters, which have five strings a row."""
    category, symbol = _category(x, query, "linear"), query.get("symbol", "")
    bars = x.series(symbol, query.get("interval"), kind)
    limit = whole(query, "limit", 200, 1, 1000)
    start, end = whole(query, "start", None), whole(query, "end", None)
    if start is not None and end is not None and start > end:
        raise Refused(10001, "params error: start must not be after end")
    if x.instruments[symbol].status == "Closed" and start is not None:
        # assumption: a dead symbol answers a window after its end with its last rows
        start = min(start, int(bars.opens[-1]) - (limit - 1) * bars.step)
    rows = [[str(t), *strings(bar)] for t, bar in bars.query(start, end, limit, x.clock())]
    if kind != "last":
        rows = [row[:5] for row in rows]
    elif category == "inverse":  # volume is in quote coin there, turnover in base coin
        rows = [[*row[:5], row[6], row[5]] for row in rows]
    return {"category": category, "symbol": symbol, "list": rows}


def orderbook(x: Exchange, query: Query) -> Message:
    """``GET /v5/market/orderbook``."""
    category, symbol = _category(x, query), _symbol(x, query)
    deepest, default = DEPTHS[category]
    limit = whole(query, "limit", default, 1, deepest)
    book, now = x.books.get(symbol), x.clock()
    if book is None:  # assumption: a coin a side, a tick apart, at the last price
        bid, tick = x.touch(symbol, now)[0], Decimal(x.instruments[symbol].tick_size)
        both = {"b": [[plain(bid), "1"]], "a": [[plain(bid + tick), "1"]]}
        return {"s": symbol, **both, "ts": now, "u": now, "seq": now, "cts": now}
    row = book.row(now)
    bids, asks = full(book.view(row, limit))
    u, stamp = FIRST_UPDATE + row, int(book.times[row])
    return {"s": symbol, "b": bids, "a": asks, "ts": now, "u": u, "seq": u, "cts": stamp}


def recent_trades(x: Exchange, query: Query) -> Message:
    """``GET /v5/market/recent-trade``, newest first.

    assumption: each bar of the finest interval has four trades, at its open, its two extremes
    and its close, of a quarter of its volume each; the forming bar has none yet.
    """
    category, symbol = _category(x, query), _symbol(x, query)
    most = 60 if category == "spot" else 1000
    limit = whole(query, "limit", min(most, 500), 1, most)
    bars = x.base(symbol)
    if bars is None:
        return {"category": category, "list": []}
    closed = int(np.searchsorted(bars.opens, x.clock() - bars.step, "right"))
    rows = range(max(0, closed - -(-limit // 4)), closed)
    trades = [trade for row in rows for trade in bar_trades(bars, symbol, row)]
    return {"category": category, "list": trades[::-1][:limit]}


def bar_trades(bars: BarSeries, symbol: str, row: int) -> list[Message]:
    """Return the four trades that stand for one bar, oldest first."""
    opened, way = int(bars.opens[row]), price_path(bars.bars[row])
    size = text(round(float(bars.bars[row, 4]) / 4, 8))
    sides = ["Buy" if b > a else "Sell" for a, b in zip([way[0], *way[:-1]], way, strict=True)]
    common = {"symbol": symbol, "size": size, "isBlockTrade": False, "isRPITrade": False}
    return [
        common
        | {"execId": f"{symbol}-{opened}-{k}", "time": str(opened + k * bars.step // 4)}
        | {"price": text(price), "side": side, "seq": str(4 * row + k)}
        for k, (price, side) in enumerate(zip(way, sides, strict=True))
    ]


def funding(x: Exchange, query: Query) -> Message:
    """``GET /v5/market/funding/history``, newest first; ``startTime`` alone is an error."""
    category = _category(x, query)
    if category == "spot":
        raise Refused(10001, "params error: Category is invalid")
    symbol = _symbol(x, query)
    limit = whole(query, "limit", 200, 1, 200)
    start, end = whole(query, "startTime", None), whole(query, "endTime", None)
    if start is not None and end is None:
        raise Refused(10001, "params error: endTime is required with startTime")
    last = x.clock() if end is None else min(end, x.clock())
    rates = x.funding.get(symbol, pd.Series(dtype=float, index=pd.Index([], dtype=np.int64)))
    entries = [
        {"symbol": symbol, "fundingRate": text(rate), "fundingRateTimestamp": str(t)}
        for t, rate in rates.loc[start or 0 : last].iloc[: -limit - 1 : -1].items()
    ]
    return {"category": category, "list": entries}


def instruments(x: Exchange, query: Query) -> Message:
    """``GET /v5/market/instruments-info``, by pages that ``nextPageCursor`` links."""
    category = category_of(query)
    entries = [] if category != x.category else list(x.instruments.values())
    if (symbol := query.get("symbol")) and entries:
        entries = [x.instrument(symbol)]
    first, stop = 0, len(entries)
    if category != "spot":  # assumption: spot ignores limit and cursor, as documented
        first = whole({"cursor": query.get("cursor", "").removeprefix("page-")}, "cursor", 0)
        stop = first + whole(query, "limit", PAGE, 1, 1000)
    cursor = f"page-{stop}" if stop < len(entries) else ""
    listing = [entry.listing(category) for entry in entries[first:stop]]
    return {"category": category, "nextPageCursor": cursor, "list": listing}


def _contract(x: Exchange, query: Query) -> tuple[str, list[str]]:
    """Return category and symbols of a question about contracts: the one named, or all."""
    category, symbol = _category(x, query), query.get("symbol")
    if category == "spot":
        raise Refused(10001, "params error: Category is invalid")
    return category, [x.instrument(symbol).symbol] if symbol else list(x.instruments)


def risk_limit(x: Exchange, query: Query) -> Message:
    """``GET /v5/market/risk-limit``; assumption: the lowest tier is all there is."""
    category, names = _contract(x, query)
    tier = {"id": 1, "riskLimitValue": "2000000", "maintenanceMargin": "0.005", "mmDeduction": "",
            "initialMargin": "0.01", "isLowestRisk": 1, "maxLeverage": MAX_LEVERAGE}  # fmt: skip
    listing = [{"symbol": name, **tier} for name in names]
    return {"category": category, "list": listing, "nextPageCursor": ""}


def _day(x: Exchange, symbol: str, at: int) -> np.ndarray | None:
    """Return the bars ``(n, 6)`` of the 24 hours before a time; None before the first."""
    bars = x.base(symbol)
    forming = None if bars is None else bars.last(at)
    if bars is None or forming is None:
        return None
    low, high = np.searchsorted(bars.opens, [at - DAY, at], "right")
    return np.vstack([bars.bars[low : max(low, high - 1)], forming[None, :]])


def _interest(x: Exchange, symbol: str, at: int) -> str:
    """Return the open interest; assumption: as much as was traded in the 24 hours before."""
    day = _day(x, symbol, at)
    return "0" if day is None else text(round(float(day[:, 4].sum()), 8))


def open_interest(x: Exchange, query: Query) -> Message:
    """``GET /v5/market/open-interest``, newest first."""
    category, (symbol, *_) = _contract(x, query)
    step = INTERVALS.get(query.get("intervalTime", ""))
    if step is None or not query.get("symbol"):
        raise Refused(10001, "params error: symbol or intervalTime invalid")
    limit, now = whole(query, "limit", 50, 1, 200), x.clock()
    last = min(whole(query, "endTime", now), now) // step * step
    bars = x.base(symbol)
    start = whole(query, "startTime", int(bars.opens[0]) if bars is not None else now)
    stamps = [t for t in range(last, last - limit * step, -step) if t >= start]
    listing = []
    for t in stamps:
        size = _interest(x, symbol, t)
        half = text(float(size) / 2)
        listing.append({"openInterest": size, "singleOpenInterest": half, "timestamp": str(t)})
    return {"category": category, "symbol": symbol, "list": listing, "nextPageCursor": ""}


def tickers(x: Exchange, query: Query) -> Message:
    """``GET /v5/market/tickers``: of one symbol, or of all that have traded."""
    category, symbol = _category(x, query), query.get("symbol")
    names = [x.instrument(symbol).symbol] if symbol else list(x.instruments)
    return {"category": category, "list": [_ticker(x, name, category) for name in names]}


def _ticker(x: Exchange, symbol: str, category: str) -> Message:
    """Return what the exchange says of a symbol now; a day is the 24 hours before."""
    now, last = x.clock(), x.price(symbol)
    (bid, ask), day = x.touch(symbol, now), _day(x, symbol, now)
    if day is None:  # there is a book only
        day = np.array([[float(last)] * 4 + [0.0, 0.0]])
    change = float(last) / float(day[0, 0]) - 1.0
    entry = {
        "symbol": symbol, "lastPrice": plain(last), "bid1Price": plain(bid), "bid1Size": "1",
        "ask1Price": plain(ask), "ask1Size": "1", "prevPrice24h": text(day[0, 0]),
        "price24hPcnt": text(round(change, 6)), "highPrice24h": text(day[:, 1].max()),
        "lowPrice24h": text(day[:, 2].min()), "volume24h": text(round(day[:, 4].sum(), 8)),
        "turnover24h": text(round(day[:, 5].sum(), 4)),
    }  # fmt: skip
    if category == "spot":
        return entry | {"usdIndexPrice": plain(last)}
    hours, interest = x.instruments[symbol].funding_minutes // 60, _interest(x, symbol, now)
    rates = x.funding.get(symbol)
    coming = None if rates is None else rates.loc[now + 1 :]
    rate = FUNDING_RATE if coming is None or not len(coming) else float(coming.iloc[0])
    hour = max(1, hours) * 3_600_000
    return entry | {
        "indexPrice": plain(last), "markPrice": plain(last), "prevPrice1h": text(day[-1, 0]),
        "openInterest": interest, "openInterestValue": text(float(interest) * float(last)),
        "singleOpenInterest": text(float(interest) / 2),
        "singleOpenInterestValue": text(float(interest) / 2 * float(last)),
        "fundingRate": text(rate), "nextFundingTime": str((now // hour + 1) * hour),
        "fundingIntervalHour": str(max(1, hours)), "fundingCap": "0.00375",
        "predictedDeliveryPrice": "", "basisRate": "", "basis": "", "basisRateYear": "",
        "deliveryFeeRate": "", "deliveryTime": "0", "preOpenPrice": "", "preQty": "",
        "curPreListingPhase": "",
    }  # fmt: skip


ROUTES: dict[str, Callable[[Exchange, Query], Message]] = {
    "/v5/market/time": server_time,
    "/v5/market/kline": klines,
    "/v5/market/mark-price-kline": partial(klines, kind="mark"),
    "/v5/market/index-price-kline": partial(klines, kind="index"),
    "/v5/market/orderbook": orderbook,
    "/v5/market/recent-trade": recent_trades,
    "/v5/market/funding/history": funding,
    "/v5/market/instruments-info": instruments,
    "/v5/market/tickers": tickers,
    "/v5/market/open-interest": open_interest,
    "/v5/market/risk-limit": risk_limit,
}
