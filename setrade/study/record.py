"""The record of one run: what it measured or how it failed, and what is needed to repeat it."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from functools import cache
from typing import Any

from setrade import results
from setrade.study.errors import StudyError
from setrade.study.grid import Cell, key
from setrade.study.store import Row

Work = Callable[[Cell], dict[str, Any]]  # cell -> measures that JSON can hold


def begin(cell: Cell, commit: str) -> Row:
    """Return the part of a run's row that is known before; ``started`` in seconds since 1970."""
    return {"key": key(cell), "cell": cell, "commit": commit, "started": round(time.time(), 3)}


def attempt(work: Work, cell: Cell, commit: str, device: str = "cpu") -> Row:
    """Return the row of one run, done or failed, with what is needed to repeat it.

    ``device`` is the kind that the study's header names.
    """
    row = begin(cell, commit)
    start = time.perf_counter()
    try:
        row |= {"status": "ok", "measures": storable(work(cell))}
    except Exception:  # recorded with its traceback: one bad run must not stop a thousand
        row |= {"status": "failed", "error": traceback.format_exc(limit=8)}
    return row | {"seconds": round(time.perf_counter() - start, 3)} | surroundings(device)


def died(begun: Row, error: Exception) -> Row:
    """Return the row of a run that `begin` began and that took its worker with it."""
    why = {"status": "failed", "error": f"its worker died: {error}"}
    return begun | why | {"seconds": round(time.time() - begun["started"], 3)} | surroundings(None)


def storable(measures: dict[str, Any]) -> dict[str, Any]:
    """Return the measures of a run; raise `StudyError` for one that a line of JSON cannot hold."""
    for name, value in measures.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise StudyError(f"measure {name!r} cannot be stored: {error}") from error
    return measures


def surroundings(device: str | None) -> dict[str, Any]:
    """Return versions, machine and device: a GPU's name, "cpu", or "unknown" for None."""
    if device in (None, "cpu"):  # torch is slow to import
        return {**_versions(), "device": device or "unknown"}
    from setrade.training import describe

    return {**_versions(), "device": describe(device)}


@cache
def _versions() -> dict[str, Any]:
    return {"versions": results.versions(), "machine": results.machine()}
