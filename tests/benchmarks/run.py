"""Run the races and store them; a bound that is missed is shown, a wrong value stops the run.

    python tests/benchmarks/run.py          # all
    python tests/benchmarks/run.py se       # bench_se.py

Each file runs twice, in processes of its own: one keeps freed memory, one takes it fresh
(`allocator`). Its races are stored once both have ended well, so that a run that is killed or
fails leaves whole what was stored before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import allocator
from racing import ROWS

from setrade import races

FOLDER = Path(__file__).resolve().parent
COLUMNS = "{:64} {:5} {:>10} {:>10}  {:6} {}"


def run(file: Path, memory: str) -> dict[str, Any] | None:
    """Return a file's races under one way to treat memory; None if a value was wrong."""
    print(f"\n{file.name}, memory {memory}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(file)]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.json")
        env = allocator.environment(memory) | {ROWS: str(rows)}
        failed = subprocess.run(command, env=env, check=False).returncode
        return None if failed else json.loads(rows.read_text(encoding="utf-8"))


def by_device(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return rows by what ran them, from the rows of each way to treat memory."""
    sorted_rows: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(dict))
    for memory, rows in found.items():
        for name, row in rows.items():
            where = row.pop("on", None) or races.processor()
            sorted_rows[where][name][memory] = row
    return sorted_rows


def noted(ran: dict[str, set[str]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield where, race, memory and ratio of all that ran."""
    for where, names in ran.items():
        rows = races.records()[where]["rows"]
        for name in sorted(names):
            for memory in races.MEMORIES:
                for ratio in rows[name].get(memory, {}).get("ratios", {}):
                    yield where, name, memory, ratio


def table(ran: dict[str, set[str]]) -> str:
    """Return every ratio that was run, what was asked, and what other processors have."""
    records, missed = races.records(), 0
    lines = [COLUMNS.format("race: ratio", "mem.", "here", "asked", "", "elsewhere")]
    for where, name, memory, ratio in noted(ran):
        now = records[where]["rows"][name][memory]["ratios"][ratio]
        others = races.ratios(name, ratio, memory)
        elsewhere = ", ".join(f"{seen:.4g} {on}" for on, seen in others.items() if on != where)
        asked = "" if now["bound"] is None else f"{now['bound']:.4g}"
        verdict = {None: "", True: "met", False: "MISSED"}[now["met"]]
        missed += now["met"] is False
        label = f"{name.removeprefix('test_')}: {ratio}"
        lines.append(COLUMNS.format(label, memory, f"{now['seen']:.4g}", asked, verdict, elsewhere))
    return "\n".join([*lines, f"on {', '.join(ran)}: {missed} bounds missed"])


def main(words: list[str], folder: Path = FOLDER) -> int:
    """Run the files that are named, all without a name; return 1 if a value was wrong."""
    files = sorted(file for word in words or ["*"] for file in folder.glob(f"bench_{word}.py"))
    if not files:
        print(f"no tests/benchmarks/bench_{' '.join(words)}.py", file=sys.stderr)
        return 1
    ran: dict[str, set[str]] = defaultdict(set)
    for file in files:
        found = {}
        for memory in races.MEMORIES:
            rows = run(file, memory)
            if rows is None:
                print(f"{file.name} fails: nothing of it is stored", file=sys.stderr)
                return 1
            found[memory] = rows
        for where, rows in by_device(found).items():
            races.store(rows, on=where)
            ran[where] |= rows.keys()
    print(f"\n{table(ran)}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main(sys.argv[1:]))
