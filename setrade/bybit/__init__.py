"""Bybit's market data over REST, streams and public archives, and brokers.

`Rest` asks the exchange (or the simulator) and returns frames of candles, books, trades and
funding; `archives` reads the files that the exchange publishes. Nothing that is returned has
lost, invented or reordered a bar: what cannot be had whole is an error with its own type.
`Stream` hands out closed bars, trades and local books, and what it knows it missed.
`PaperBroker`, `TestnetBroker` and `DemoBroker` take orders behind one interface.
"""

from setrade.bybit import archives
from setrade.bybit.broker import DemoBroker, TestnetBroker
from setrade.bybit.connection import Backoff, StreamError
from setrade.bybit.constants import (
    AccessError,
    ArchiveError,
    DataError,
    ExchangeError,
    GapError,
    UnreachableError,
)
from setrade.bybit.http import Retry
from setrade.bybit.orders import OrderRequest
from setrade.bybit.paper import PaperBroker
from setrade.bybit.rest import Rest
from setrade.bybit.stream import Stream

__all__ = [
    "AccessError", "ArchiveError", "Backoff", "DataError", "DemoBroker", "ExchangeError",
    "GapError", "OrderRequest", "PaperBroker", "Rest", "Retry", "Stream", "StreamError",
    "TestnetBroker", "UnreachableError", "archives",
]  # fmt: skip
