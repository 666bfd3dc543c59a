"""The live pipeline: from closed bars to orders, with the backtest's own rules, and a journal.

Source, guard, model, risk manager, orders: small stages on one event loop
(`Pipeline`). The risk manager is the backtest's compiled account, moved bar by bar
(`RiskAccount`), so that a replay gives what `backtest.run` gives. Everything is in a SQLite file
before it is acted on (`Journal`), under names that follow from the bar, so that a process that
dies at any point goes on without an order lost or doubled. ``python -m setrade.live --help`` runs
it.
"""

from __future__ import annotations

from setrade.live.account import Move, RiskAccount
from setrade.live.failover import Failover, FailoverError
from setrade.live.journal import Journal, JournalError, JournalFullError
from setrade.live.pipeline import BarGuard, KillSwitch, Pipeline, RunReport, Window
from setrade.live.sources import BarEvent, Recorded, Source, Streamed
from setrade.live.trader import Executor, HeldError, Trader, UnattendedError
from setrade.live.types import Bar, ModelError, Row

__all__ = [
    "Bar", "BarEvent", "BarGuard", "Executor", "Failover", "FailoverError", "HeldError", "Journal",
    "JournalError", "JournalFullError", "KillSwitch", "ModelError", "Move", "Pipeline", "Recorded",
    "RiskAccount", "Row", "RunReport", "Source", "Streamed", "Trader", "UnattendedError", "Window",
]  # fmt: skip
