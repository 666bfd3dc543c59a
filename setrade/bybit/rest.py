"""Market data over REST: bars, books, trades, funding, instruments, the server's clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from tqdm import tqdm

from setrade.bybit import constants, http
from setrade.bybit.constants import MOST_BARS, PRICES, DataError, GapError, Interval
from setrade.bybit.history import Cache
from setrade.bybit.http import Bars, Retry, Session, all_instruments, funding_history, join
from setrade.candles.checks import CandleError, find_faults, spotless
from setrade.errors import ArgumentError, choice, integer
from setrade.orderbook import OrderBook, Snapshots

LONG = 10  # requests from which on a progress bar is shown


@dataclass(frozen=True)
class Series:
    """What is asked for: one price of one symbol at one interval."""

    symbol: str
    interval: Interval
    category: str
    price: str

    def page(self, get: http.Ask, first: int, last: int) -> Bars:
        """Ask for the bars that open from ``first`` to ``last`` (ms, both included).

        Raises:
            DataError: it is not what was asked for.
            CandleError: bars off the grid or with impossible numbers; holes are not looked at.
        """
        # The end just before the next open: the same bars whether or not it is inclusive.
        bounds = {"start": first, "end": last + self.interval.ms - 1, "limit": MOST_BARS}
        query = {"category": self.category, "interval": self.interval.code} | bounds
        result = get(self.symbol, PRICES[self.price], **query)["result"]
        if result.get("symbol", self.symbol) != self.symbol or "list" not in result:
            raise DataError(f"klines: asked for {self.symbol}, got {str(result)[:60]}")
        stamps, values = http.klines(result["list"], self.price)
        inside = (stamps >= first) & (stamps <= last)  # a dead symbol sends others
        bars = Bars(stamps[inside], values[inside])
        table, ns = http.frame(bars, self.price), self.interval.ms * 1_000_000
        if len(table) and not spotless(table, ns):
            faults = [f for f in find_faults(table, ns) if f.kind not in ("gaps", "interval")]
            if faults:
                raise CandleError(faults, "klines")
        return bars


def windows(
    missing: np.ndarray, interval: Interval, size: int = MOST_BARS
) -> Iterator[tuple[int, int]]:
    """Yield the first and the last open of each request for the missing bars.

    A window never holds more than ``size`` bars: of a larger one the exchange would return
    the newest only. A stretch of bars that are known already is jumped over.
    """
    starts = np.flatnonzero(np.diff(missing, prepend=-interval.ms * 2) != interval.ms)
    for run in np.split(missing, starts[1:]):
        for k in range(0, len(run), size):
            part = run[k : k + size]
            yield int(part[0]), int(part[-1])


class Rest:
    """Bybit's public market data, checked before it is asked for and when it arrives.

    Nothing here needs a key or takes one. The arguments are those of `Session`.
    """

    def __init__(
        self, base_url: str | None = None, testnet: bool = False, *, timeout: float = 10.0,
        retry: Retry | None = None,
    ) -> None:  # fmt: skip
        self.session = Session(base_url, testnet, timeout=timeout, retry=retry)

    def __repr__(self) -> str:
        return f"Rest({self.session.endpoint!r})"

    def server_time(self) -> pd.Timestamp:
        """Return the exchange's clock, in UTC."""
        result = self.session.get("get_server_time")["result"]
        with http.parsing(f"server time {result}"):
            return pd.Timestamp(int(result["timeNano"]), unit="ns", tz="UTC")

    def klines(
        self, symbol: str, interval: str | pd.Timedelta, start: str | datetime,
        end: str | datetime, *, category: str = "linear", price: str = "trade",
        cache: str | os.PathLike[str] | None = None, gaps: str = "raise",
    ) -> pd.DataFrame:  # fmt: skip
        """Return every closed bar that opens in [start, end), each once, oldest first.

        Closed is what the server's clock says. Each request names both bounds of at most
        1,000 bars. With a cache, what is in it is not asked for again, and an interrupted
        download goes on where it stopped. Long downloads show a progress bar.

        Args:
            symbol: such as ``"BTCUSDT"``.
            interval: a pandas offset, ``"1min"`` to ``"1D"``.
            start, end: times with their zone; an end in the future means the last closed bar.
            category: ``"linear"``, ``"inverse"`` or ``"spot"``.
            price: ``"trade"``, ``"mark"`` or ``"index"`` (not on spot).
            cache: a folder of parquet files, or None.
            gaps: ``"raise"``, or ``"keep"`` to get the bars there are; ``.attrs["missing"]``
                then lists the others (ISO strings).

        Returns:
            A frame of candles with ``turnover``. Volume is in base coin and turnover in quote
            coin; on inverse contracts it is the other way round. Mark and index prices trade
            nothing: their volume is 0, without turnover.

        Raises:
            ArgumentError: an argument that cannot be asked for, or a symbol that the exchange
                does not know, or no bar of the span has closed.
            GapError: bars are missing; names the first.
            ExchangeError: refused, or still failing after the last try.
            DataError, CandleError: an answer that is not what was asked for.
        """
        symbol, step = constants.symbol(symbol), constants.interval(interval)
        choice("category", category, constants.TRADED)
        choice("price", price, ("trade",) if category == "spot" else tuple(PRICES))
        choice("gaps", gaps, ("raise", "keep"))
        # Opens in ms, up to the newest bar that has closed; ceil: the exchange would floor.
        ms = step.ms
        begin, last = (-(-ns // (ms * 1_000_000)) * ms for ns in constants.span(start, end))
        series = Series(symbol, step, category, price)
        host = urlsplit(self.session.endpoint).netloc.replace(":", "-")
        below = (host, category, symbol, step.name)
        kept = None if cache is None else Cache(cache, below, price)
        now = self.server_time().value // 1_000_000
        opens = np.arange(begin, min(last, now // ms * ms), ms)
        if not len(opens):
            allowed = f"a span in which a {step.name} bar opens and has closed"
            raise ArgumentError("start", f"[{start}, {end})", allowed)
        bars = self._download(series, opens, kept)
        missing = http.times(np.setdiff1d(opens, bars.stamps, assume_unique=True))
        if len(missing) and gaps == "raise":
            raise GapError(symbol, step.name, missing)
        table = http.frame(bars, price)  # its values were checked page by page
        if len(missing):
            table.attrs["missing"] = [t.isoformat() for t in missing]
        return table

    def _download(self, series: Series, opens: np.ndarray, cache: Cache | None) -> Bars:
        """Return the bars that open at ``opens`` (ms), asking for those that the cache lacks.

        Each page is checked, and in the cache, before the next is asked for.
        """
        with nullcontext() if cache is None else cache.locked():
            parts = [] if cache is None else [cache.get(opens)]
            missing = opens if cache is None else np.setdiff1d(opens, parts[0].stamps)
            asked = list(windows(missing, series.interval))
            # A long download shows its bar wherever TQDM_DISABLE does not forbid it.
            quiet: dict[str, Any] = {} if len(asked) >= LONG else {"disable": True}
            name = f"{series.symbol} {series.interval.name}"
            for first, last in tqdm(asked, name, unit=" pages", leave=False, **quiet):
                parts.append(series.page(self.session.about, first, last))
                if cache is not None:
                    cache.add(parts[-1])
        return join(parts, len(http.COLUMNS[series.price]))

    def orderbook(self, symbol: str, depth: int = 25, *, category: str = "linear") -> Snapshots:
        """Return the order book as it is now, one row: as many levels as both sides have.

        ``depth`` is 1 to 1000 levels a side, for options 1 to 25.

        Raises:
            ArgumentError: a depth that is not offered, or an unknown symbol.
            BookStateError: the book that came is crossed or has an empty side.
        """
        constants.symbol(symbol)
        choice("category", category, constants.CATEGORIES)
        depth = integer("depth", depth, 1, constants.DEEPEST[category])
        answer = self.session.about(symbol, "get_orderbook", category=category, limit=depth)
        result, book = answer["result"], OrderBook(depth, strict=True)
        try:
            book.apply({"type": "snapshot", "ts": result.get("ts"), "data": result})
        except ArgumentError as error:
            raise DataError(f"orderbook: {error}") from error
        if book.symbol != symbol:
            raise DataError(f"orderbook: asked for {symbol}, got {book.symbol}")
        return book.snapshot()

    def recent_trades(
        self, symbol: str, limit: int | None = None, *, category: str = "linear"
    ) -> pd.DataFrame:
        """Return the latest public trades, oldest first: time, price, size, side, id.

        ``limit`` is 1 to 1000, on spot 1 to 60; None: that many. There is no way to page back.
        """
        constants.symbol(symbol)
        choice("category", category, constants.CATEGORIES)
        most = constants.MOST_TRADES[category]
        limit = most if limit is None else integer("limit", limit, 1, most)
        answer = self.session.about(
            symbol, "get_public_trade_history", category=category, limit=limit
        )
        return http.trades(answer["result"].get("list") or [])

    def funding(
        self, symbol: str, start: str | datetime, end: str | datetime, *, category: str = "linear"
    ) -> pd.Series:
        """Return the funding rates charged in [start, end), as decimals, oldest first.

        How often a symbol pays differs and changes: pages are followed by their stamps, not
        by a fixed interval. ``.attrs["interval_minutes"]`` is the symbol's interval today, None
        where the exchange does not say.

        Returns:
            A Series by funding time (UTC), as `backtest.run` takes it.
        """
        constants.symbol(symbol)
        choice("category", category, constants.TRADED[:2])
        first, last = (-(-ns // 1_000_000) for ns in constants.span(start, end))

        def ask(method: str, **more: int) -> dict[str, Any]:
            return self.session.about(symbol, method, category=category, **more)["result"]

        info = ask("get_instruments_info").get("list") or []
        stamps, rates = funding_history(partial(ask, "get_funding_rate_history"), first, last)
        if not info and not len(stamps):  # some hosts answer an unknown symbol with nothing
            raise ArgumentError("symbol", symbol, "a symbol that the exchange lists")
        series = pd.Series(rates, index=http.times(stamps), name="funding")
        with http.parsing("funding"):
            minutes = info[0].get("fundingInterval") if info else None  # null or "" for some
            series.attrs["interval_minutes"] = int(minutes) if minutes not in (None, "") else None
        return series

    def instruments(self, category: str = "linear") -> pd.DataFrame:
        """Return every instrument of a category, by symbol; all pages are followed.

        Returns:
            Columns ``status base quote tick_size qty_step min_qty min_notional
            funding_minutes launched``. Steps and minima stay decimal strings, as the exchange
            wrote them; what an instrument has not is None.
        """
        return all_instruments(self.session.get, choice("category", category, constants.CATEGORIES))
