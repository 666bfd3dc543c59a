"""`serve`: from candles and books to an exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .clock import Now
from .exchange import Exchange
from .faults import Fault
from .server import Server


def serve(
    candles: Any = None,
    books: Any = None,
    faults: Iterable[Fault] = (),
    *,
    port: int = 0,
    updates: int = 3,
    ack_delay: float = 0.02,
    keys: Mapping[str, str] | None = None,
    balance: float = 10_000.0,
    order_delay: float = 0.0,
    login_clock: Now | None = None,
    **market: Any,
) -> Server:
    """Return an exchange on loopback, a context manager with ``.http_url`` and ``.ws_url``.

    Args:
        candles: a frame of candles, ``{symbol: frame}`` or ``{(symbol, interval): frame}``;
            longer intervals are made of the finest one.
        books: `orderbook.Snapshots`, a list of the exchange's own messages, or a dict of
            either by symbol.
        faults: `Fault` entries, fired in order as their chances come.
        port: 0 takes a free one.
        updates: pushes of a forming bar between its open and its close.
        ack_delay: seconds until a subscription is acknowledged.
        keys: secrets by API key, for private calls; each key has an account of its own.
        balance: USDT that an account begins with.
        order_delay: seconds until an accepted order exists, for placement is asynchronous.
        login_clock: what signed timestamps are compared with, in ms; the wall's by default.
        **market: ``symbol`` ("BTCUSDT") of what comes without one; ``category`` ("linear");
            ``now``, the clock's first reading (the close of the last bar, or the first row
            of the book where there are no bars); ``speed`` (0: the clock stands until
            `Server.advance`); ``clock``, a `Clock` or any callable that returns ms;
            ``instruments``, `Instrument` entries; ``funding``, a Series of rates or a dict
            of them; ``mark`` and ``index``, candles of those prices.

    Returns:
        A `Server`: ``requests`` counts by path, `inject`, `advance` and `publish` act on it.

    Raises:
        ArgumentError: an argument that it cannot use.
        CandleError: a frame that `candles.check` refuses.
    """
    exchange = Exchange(candles, books, **market)
    return Server(
        exchange, faults, port, updates, ack_delay, keys=keys, balance=balance,
        order_delay=order_delay, login_clock=login_clock,
    )  # fmt: skip
