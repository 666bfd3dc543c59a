"""Brokers behind one interface: on paper, on the testnet, on a demo account.

`PaperBroker` is what everything uses unless told otherwise. The real ones read their keys from
the environment, never print them, and send each order once.
"""

from __future__ import annotations

from .base import (
    Broker,
    Order,
    OrderConflictError,
    OrderError,
    OrderNotFoundError,
    OrderRejectedError,
    OrderUnknownError,
)
from .exchange import ExchangeBroker, MainnetRefusedError
from .journal import Journal, JournalError
from .keys import KeysError
from .paper import PaperBroker
from .venues import DemoBroker, TestnetBroker

__all__ = [
    "Broker",
    "DemoBroker",
    "ExchangeBroker",
    "Journal",
    "JournalError",
    "KeysError",
    "MainnetRefusedError",
    "Order",
    "OrderConflictError",
    "OrderError",
    "OrderNotFoundError",
    "OrderRejectedError",
    "OrderUnknownError",
    "PaperBroker",
    "TestnetBroker",
]
