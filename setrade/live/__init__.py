"""The live pipeline: from closed bars to orders, with the backtest's own rules, and a journal.

Source, guard, model, risk manager, orders: small stages on one event loop
(`Pipeline`). The risk manager is the backtest's compiled account, moved bar by bar
(`RiskAccount`), so that a replay gives what `backtest.run` gives. Everything is in a SQLite file
before it is acted on (`Journal`), under names that follow from the bar, so that a process that
dies at any point goes on without an order lost or doubled. ``python -m setrade.live --help`` runs
it.
"""

# ruff: noqa: E402 - what may be interrupted has to be said before the rest is imported
from __future__ import annotations

import os
import signal
import sys


def _leave(code: int, frame: object) -> None:
    """End ``python -m setrade.live`` in one line while it is still reading its modules."""
    words = " ".join(sys.argv[1:]).replace("=", " ").split()
    named = words[words.index("--journal") + 1 :] if "--journal" in words else []
    waits = os.path.exists([*named, "run.sqlite"][0])
    told = "; a position of an older run may be held" if waits else ""
    os.write(2 if waits else 1, f"ended: interrupt, before anything was begun{told}\n".encode())
    os._exit(4 if waits else 0)


if sys.argv[:1] == ["-m"]:  # so it is while Python looks for what -m has named
    signal.signal(signal.SIGINT, _leave)

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
