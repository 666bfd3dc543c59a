"""The live pipeline: from closed bars to orders, with the backtest's own rules, and a journal.

Source, bars, features, model, risk manager, orders: small stages on one event loop
(`Pipeline`). The risk manager is the backtest's compiled account, moved bar by bar (`Desk`), so
that a replay gives what `backtest.run` gives. Everything is in a SQLite file before it is acted
on (`Journal`), under names that follow from the bar, so that a process that dies at any point
goes on without an order lost or doubled. ``python -m setrade.live --help`` runs it.
"""

from __future__ import annotations

from .closing import HeldError, UnattendedError
from .desk import Desk, Move
from .executor import Executor
from .failover import Failover, FailoverError
from .guards import BarGuard, KillSwitch
from .journal import Journal, JournalError, JournalFullError
from .pipeline import Pipeline, Report
from .schema import Bar, Wish
from .sources import Heard, Recorded, Source, Streamed
from .trader import Row, Trader
from .window import ModelError, Window

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
