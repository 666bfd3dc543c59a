"""The live pipeline: from closed bars to orders, with the backtest's own rules, and a journal.

Source, bars, features, model, risk manager, orders: small stages on one event loop
(`Pipeline`). The risk manager is the backtest's compiled account, moved bar by bar (`Desk`), so
that a replay gives what `backtest.run` gives. Everything is in a SQLite file before it is acted
on (`Journal`), under names that follow from the bar, so that a process that dies at any point
goes on without an order lost or doubled. ``python -m setrade.live --help`` runs it.
"""

from __future__ import annotations

from setrade.live.account import Desk, Move
from setrade.live.failover import Failover, FailoverError
from setrade.live.pipeline import BarGuard, KillSwitch
from setrade.live.trader import Executor, HeldError, UnattendedError
from setrade.live.types import Bar, ModelError, Window, Wish

from .journal import Journal, JournalError, JournalFullError
from .pipeline import Pipeline, Report
from .sources import Heard, Recorded, Source, Streamed
from .trader import Row, Trader

__all__ = [
    "Bar",
    "BarGuard",
    "Desk",
    "Executor",
    "Failover",
    "FailoverError",
    "Heard",
    "HeldError",
    "Journal",
    "JournalError",
    "JournalFullError",
    "KillSwitch",
    "ModelError",
    "Move",
    "Pipeline",
    "Recorded",
    "Report",
    "Row",
    "Source",
    "Streamed",
    "Trader",
    "UnattendedError",
    "Window",
    "Wish",
]
