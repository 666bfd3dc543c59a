"""Market data over REST: bars, books, trades, funding, instruments, the server's clock."""

from __future__ import annotations

import os
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd

from setrade.bybit import constants, http
from setrade.bybit.constants import DataError
from setrade.bybit.history import Cache, Series, assemble, closed_opens, download
from setrade.bybit.http import Retry, Session, all_instruments, funding_history
from setrade.errors import ArgumentError, choice, integer

if TYPE_CHECKING:
    from setrade.orderbook import Snapshots


class Rest:
    """Bybit's public market data, checked before it is asked for and when it arrives.

    Nothing here needs a key or takes one. All requests go through one retry policy (`Retry`).

    Args:
        base_url: another host, such as the simulator's; None: the exchange.
        testnet: the exchange's testnet instead of its main host.
        timeout: seconds without an answer before a try counts as failed.
        retry: how often and how patiently to try again.
    """

    def __init__(
        self,
        base_url: str | None = None,
        testnet: bool = False,
        *,
        timeout: float = 10.0,
        retry: Retry | None = None,
    ) -> None:
        self.session = Session(base_url, testnet, timeout=timeout, retry=retry)

    def __repr__(self) -> str:
        return f"Rest({self.session.endpoint!r})"

    def server_time(self) -> pd.Timestamp:
        """Return the exchange's clock, in UTC."""
        result = self.session.get("get_server_time")["result"]
        try:
            return pd.Timestamp(int(result["timeNano"]), unit="ns", tz="UTC")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"server time: got {result}") from error

    def klines(
        self,
        symbol: str,
        interval: str | pd.Timedelta,
        start: str | datetime,
        end: str | datetime,
        *,
        category: str = "linear",
        price: str = "trade",
        cache: str | os.PathLike[str] | None = None,
        gaps: str = "raise",
    ) -> pd.DataFrame:
        """Return every closed bar that opens in [start, end), each once, oldest first.

        Closed is what the server's clock says. Each request names both bounds of at most
        1,000 bars. With a cache, what is in it is not asked for again, and an interrupted
        download goes on where it stopped. Long downloads show a progress bar.

        Args:
            symbol: such as ``"BTCUSDT"``.
            interval: a pandas offset, ``"1min"`` to ``"1D"``.
            start: time with its zone; the first bar is the first that opens at or after it.
            end: time with its zone, excluded; in the future it means the last closed bar.
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
        category = constants.category(category, having=("linear", "inverse", "spot"))
        price, gaps = constants.price(price, category), choice("gaps", gaps, ("raise", "keep"))
        first, last = constants.span(start, end)
        host = urlsplit(self.session.endpoint).netloc.replace(":", "-")
        kept = Cache(cache, (host, category, symbol, step.name), price)
        opens = closed_opens(first, last, self.server_time().value // 1_000_000, step)
        if not len(opens):
            allowed = f"a span in which a {step.name} bar opens and has closed"
            raise ArgumentError("start", f"[{start}, {end})", allowed)
        series = Series(symbol, step, category, price)
        bars = download(series, self.session.about, opens, kept)
        return assemble(bars, opens, series, keep_gaps=gaps == "keep")

    def orderbook(self, symbol: str, depth: int = 25, *, category: str = "linear") -> Snapshots:
        """Return the order book as it is now, one row: as many levels as both sides have.

        Args:
            symbol: such as ``"BTCUSDT"``.
            depth: levels a side: 1 to 1000, options 1 to 25.
            category: ``"linear"``, ``"inverse"``, ``"spot"`` or ``"option"``.

        Raises:
            ArgumentError: a depth that is not offered, or an unknown symbol.
            BookStateError: the book that came is crossed or has an empty side.
        """
        from setrade.orderbook import OrderBook  # brings numba

        symbol, category = constants.symbol(symbol), constants.category(category)
        depth = constants.depth(depth, category)
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

        Args:
            symbol: such as ``"BTCUSDT"``.
            limit: 1 to 1000, spot 1 to 60; None: as many as there are. No way to page back.
            category: ``"linear"``, ``"inverse"``, ``"spot"`` or ``"option"``.
        """
        symbol, category = constants.symbol(symbol), constants.category(category)
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
        by a fixed interval. ``.attrs["interval_minutes"]`` is the symbol's interval today.

        Returns:
            A Series by funding time (UTC), as `backtest.run` takes it.
        """
        symbol = constants.symbol(symbol)
        category = constants.category(category, having=("linear", "inverse"))
        first, last = (-(-ns // 1_000_000) for ns in constants.span(start, end))

        def ask(method: str, **more: int) -> dict[str, Any]:
            return self.session.about(symbol, method, category=category, **more)["result"]

        info = ask("get_instruments_info").get("list") or []
        stamps, rates = funding_history(partial(ask, "get_funding_rate_history"), first, last)
        if not info and not len(stamps):  # some hosts answer an unknown symbol with nothing
            raise ArgumentError("symbol", symbol, "a symbol that the exchange lists")
        series = pd.Series(rates, index=http.times(stamps), name="funding")
        series.attrs["interval_minutes"] = int(info[0]["fundingInterval"]) if info else None
        return series

    def instruments(self, category: str = "linear") -> pd.DataFrame:
        """Return every instrument of a category, by symbol; all pages are followed.

        Returns:
            Columns ``status base quote tick_size qty_step min_qty min_notional
            funding_minutes launched``. Steps and minima stay decimal strings, as the exchange
            wrote them; what an instrument has not is None.
        """
        return all_instruments(self.session.get, constants.category(category))
