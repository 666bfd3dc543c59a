"""`Race`: time several callables in turns, in one process, and note the ratios.

A ratio that stays below what was asked is noted and shown, and fails nothing: what a processor
can do is its own affair. Only a wrong value fails, by a plain ``assert`` in the test.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import allocator
import pytest

ROWS = "SETRADE_RACES"  # names the file that a run's races go to
RACES: dict[str, dict[str, Any]] = {}


class Race:
    """The races of one test: call it with the contenders, then say what is asked of the ratios."""

    def __init__(self, name: str) -> None:
        self.name, self.memory = name, allocator.memory()
        self.row: dict[str, Any] = {"ratios": {}}

    def __call__(
        self,
        ours: Callable[[], Any],
        *,
        seconds: float = 3.0,
        rounds: int = 50,
        clocked: bool = False,
        on: str | None = None,
        **peers: Callable[[], Any],
    ) -> dict[str, float]:
        """Return each one's median seconds, and note each peer's ratio to ours.

        All contenders are called once to warm up, then in turns, so that a slow spell of the
        machine hits all alike. Each takes part for ``seconds`` or ``rounds`` at most, but three
        rounds at least. A contender that is ``clocked`` returns its seconds. ``on`` names the
        device that is raced, where it is not the processor.
        """
        contenders = {"ours": ours} | peers
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for call in contenders.values():
            call()
        ran = 0
        while ran < 3 or (sum(map(sum, times.values())) < seconds * len(times) and ran < rounds):
            for name, call in contenders.items():
                times[name].append(call() if clocked else _clock(call))
            ran += 1
        medians = {name: median(t) for name, t in times.items()}
        shown = {name: float(f"{t * 1e3:.4g}") for name, t in medians.items()}
        self.row |= {"rounds": ran, "median_ms": shown} | ({} if on is None else {"on": on})
        for name in peers:
            self.note(name, medians[name] / medians["ours"])
        return medians

    def note(self, name: str, seen: float) -> None:
        """Note a ratio or a rate of which nothing is asked."""
        self.bound(name, seen, None)

    def bound(self, name: str, seen: float, least: float | dict[str, float] | None) -> None:
        """Note a ratio or a rate, and whether it is at least what is asked.

        Args:
            name: of a peer (its plain ratio is replaced), or of what is counted.
            seen: measured.
            least: asked; by "kept" and "fresh" where it is not the same of both; None: nothing.
        """
        asked = least.get(self.memory) if isinstance(least, dict) else least
        met = None if asked is None else bool(seen >= asked)
        self.row["ratios"][name] = {"seen": float(f"{seen:.4g}"), "bound": asked, "met": met}


def _clock(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.fixture
def race(request):
    """Return the `Race` of a test."""
    run = Race(request.node.name)
    yield run
    if run.row["ratios"]:
        RACES[run.name] = run.row


def pytest_sessionfinish():
    """Write this run's races where ``make bench`` asks for them."""
    if ROWS in os.environ:
        Path(os.environ[ROWS]).write_text(json.dumps(RACES), encoding="utf-8")
