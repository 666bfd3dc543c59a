"""Notebooks under nbval: numbers are compared as numbers (tools/compare.py), not as text.

``--moved FILE`` stores which cells failed, and every number that was not printed as stored with
what it took of its tolerance: `make robust` collects these.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compare import Comparison, ToleranceError, compare
from nbval.plugin import IPyNbCell

SEEN: dict[str, Any] = {"cells": 0, "chapters": {}, "failed": [], "moved": []}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where to store what moved."""
    parser.addoption("--moved", type=Path, help="JSON file for the numbers that moved")


def advice(cell: IPyNbCell) -> str:
    """Say what helps where an output is not as stored."""
    name = Path(cell.parent.path).stem
    return (
        f"If chapters/{name}.py or what it uses was changed: make book CHAPTERS={name}. If the "
        'number depends on training: give the cell a tolerance, # %% tolerance={"decimals": '
        '0.01, "effect": 0.05}. If it was edited by hand: make execute FORCE=1 '
        f"CHAPTERS={name}."
    )


def compare_outputs(self: IPyNbCell, test: list, ref: list, skip_compare: Any = None) -> bool:
    """Compare one executed cell with what is stored; nbval's own compares text."""
    try:
        found = compare(ref, test, self.cell.metadata)
    except ToleranceError as error:
        found = Comparison([str(error)], [])
    if found.moved:
        numbers = [vars(m) for m in found.moved]
        self.user_properties.append(("moved", numbers))
    self.comparison_traceback = [f"  {text}\n" for text in found.differences]
    if found.differences:
        self.comparison_traceback.append(f"  {advice(self)}\n")
    return not found.differences


IPyNbCell.compare_outputs = compare_outputs


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what moved and what failed, from every worker."""
    if report.when == "call":
        path, _, cell = report.nodeid.partition("::")
        where = {"chapter": Path(path).stem, "cell": int(cell.split()[-1])}
        SEEN["cells"] += 1
        SEEN["chapters"][where["chapter"]] = SEEN["chapters"].get(where["chapter"], 0) + 1
        SEEN["failed"] += [where | {"why": report.longreprtext[-2000:]}] if report.failed else []
        found = [value for key, value in report.user_properties if key == "moved"]
        SEEN["moved"] += [where | {"numbers": numbers} for numbers in found]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Store what moved, in the order of the chapters."""
    path = session.config.getoption("--moved")
    if path is not None and not hasattr(session.config, "workerinput"):
        SEEN["moved"].sort(key=lambda m: (m["chapter"], m["cell"]))
        path.write_text(json.dumps(SEEN, indent=1) + "\n", encoding="utf-8")
