"""Bybit's market data over REST, streams and public archives, and brokers.

`Rest` asks the exchange (or the simulator) and returns frames of candles, books, trades and
funding; `archives` reads the files that the exchange publishes. Nothing that is returned has
lost, invented or reordered a bar: what cannot be had whole is an error with its own type.
`Stream` hands out closed bars, trades and local books, and what it knows it missed.
`PaperBroker`, `TestnetBroker` and `DemoBroker` take orders behind one interface.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from setrade.bybit.constants import (
    AccessError,
    ArchiveError,
    DataError,
    ExchangeError,
    GapError,
    UnreachableError,
)
from setrade.bybit.http import Retry, Session

from . import archives
from .rest import Rest

if TYPE_CHECKING:
    from setrade.bybit.broker import DemoBroker, TestnetBroker
    from setrade.bybit.paper import PaperBroker

    from .orders import Instrument, Intent
    from .stream import Backoff, Stream

# Imported when first asked for: they bring numba and the backtest's kernels.
_LATER: dict[str, str] = dict.fromkeys(("Backoff", "Stream"), "stream")
_LATER |= dict.fromkeys(("DemoBroker", "TestnetBroker"), "broker") | {"PaperBroker": "paper"}
_LATER |= dict.fromkeys(("Instrument", "Intent"), "orders")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


__all__ = [
    "AccessError",
    "ArchiveError",
    "Backoff",
    "DataError",
    "DemoBroker",
    "ExchangeError",
    "GapError",
    "Instrument",
    "Intent",
    "PaperBroker",
    "Rest",
    "Retry",
    "Session",
    "Stream",
    "TestnetBroker",
    "UnreachableError",
    "archives",
]
