"""The public REST calls: each takes the query's parameters and returns a ``result``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .books import FIRST_UPDATE, full
from .exchange import Exchange
from .tape import strings
from .wire import CATEGORIES, Refused, text, whole

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
