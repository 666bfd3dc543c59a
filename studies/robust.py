"""Compare all chapters under many numeric environments: what moves, and how far.

    make robust                    # chapters that changed since they were last seen: all of them
                                   # take ten times as long as make notebooks
    make robust CHAPTERS="05 13"   # these, changed or not

Every environment runs each notebook from top to bottom and compares what it prints with what is
stored (tools/compare.py). A cell may differ from the stored number by what it declares, and no
cell may come near that: the bound is `SHARE` of it. One environment is kept as soon as it is
whole, so that a run which is stopped goes on where it was. What other chapters did stays stored
as long as their code and outputs are those that were compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from setrade import results
from setrade.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from environments import ENVIRONMENTS  # noqa: E402
from provenance import BOOK  # noqa: E402

from book import sources  # noqa: E402

PARTS = ROOT / "_build" / "robust"
SHARE = 0.7  # of a declared tolerance: what lies above it is too near to trust


def compared(name: str) -> str:
    """Return the hash of what a chapter's notebook holds and shows, as its provenance has it."""
    notebook = json.loads((BOOK / f"{name}.ipynb").read_text(encoding="utf-8"))
    return notebook["metadata"]["setrade"]["outputs_sha256"]


def seen_before(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the stored chapters that are still as they were, and were seen everywhere."""
    every = {source.stem for source in sources([])}
    return {
        name: row
        for name, row in stored.get("chapters", {}).items()
        if name in every
        and row["outputs_sha256"] == compared(name)
        and set(row["environments"]) == set(ENVIRONMENTS)
    }


def state(names: list[str]) -> str:
    """Return a short hash of the notebooks asked for."""
    digest = hashlib.sha256()
    for name in names:
        digest.update((BOOK / f"{name}.ipynb").read_bytes())
    return digest.hexdigest()[:12]


def run(environment: str, names: list[str], kept: Path) -> dict[str, Any]:
    """Return what one environment moved, from its file if it was whole."""
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    PARTS.mkdir(parents=True, exist_ok=True)
    moved = kept.with_suffix(".part")
    command = [sys.executable, str(ROOT / "tools" / "book.py"), "notebooks", *names]
    command += ["--environment", environment, "--moved", str(moved)]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    found = json.loads(moved.read_text(encoding="utf-8")) if moved.is_file() else {}
    # pytest's own word counts too: a worker that died has failed no cell, and ran none.
    if set(found.get("chapters", ())) != set(names) or done.returncode != bool(found["failed"]):
        raise SystemExit(f"{environment}: not every cell ran\n{done.stdout[-3000:]}{done.stderr}")
    found["seconds"] = round(time.perf_counter() - start, 1)
    write_atomic(kept, json.dumps(found, indent=1) + "\n")
    moved.unlink()
    return found


def rows(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each cell that moved anywhere: by how much, and where most."""
    cells: dict[tuple[str, int], dict[str, Any]] = {}
    for environment, seen in found.items():
        for cell in seen["moved"]:
            row = cells.setdefault(
                (cell["chapter"], cell["cell"]),
                {"environments": 0, "declared": 0.0, "rounding": 0, "worst": None},
            )
            row["environments"] += 1
            declared = [n for n in cell["numbers"] if n["declared"]]
            row["rounding"] = max(row["rounding"], len(cell["numbers"]) - len(declared))
            worst = max(declared, key=lambda n: n["share"], default=None)
            if worst is not None and worst["share"] >= row["declared"]:
                row["declared"] = worst["share"]
                row["worst"] = [environment, worst["stored"], worst["printed"]]
    return [
        {"chapter": chapter, "cell": cell} | row for (chapter, cell), row in sorted(cells.items())
    ]


def table(found: dict[str, dict[str, Any]], moved: list[dict[str, Any]]) -> str:
    """Return what was found, as a person reads it."""
    lines = [f"{'environment':42} cells failed moved seconds"]
    for name, seen in found.items():
        counts = f"{seen['cells']:5} {len(seen['failed']):6} {len(seen['moved']):5}"
        lines.append(f"{name:42} {counts} {seen['seconds']:7.0f}")
    lines.append(f"\n{'chapter':26} cell in  share of what it declares")
    for row in moved:
        share = f"{row['declared']:.2f} {row['worst']}" if row["worst"] else "rounding only"
        lines.append(f"{row['chapter']:26} {row['cell']:4} {row['environments']:2}  {share}")
    return "\n".join(lines)


def by_chapter(found: dict[str, dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Return for each chapter what was compared, which cells failed and which moved."""
    moved, cells = rows(found), next(iter(found.values()))["chapters"]
    return {
        name: {
            "outputs_sha256": compared(name),
            "cells": cells[name],
            "environments": list(found),
            "failed": {e: sorted(f["cell"] for f in seen["failed"] if f["chapter"] == name)
                       for e, seen in found.items()
                       if any(f["chapter"] == name for f in seen["failed"])},
            "moved": [{k: v for k, v in row.items() if k != "chapter"}
                      for row in moved if row["chapter"] == name],
        }
        for name in names
    }  # fmt: skip


def keep(found: dict[str, dict[str, Any]], names: list[str], before: dict[str, Any]) -> None:
    """Store the chapters that ran beside those that did not have to."""
    chapters = before | by_chapter(found, names)
    runs = {e: {"chapters": len(names), "seconds": seen["seconds"]} for e, seen in found.items()}
    stored = {"share_allowed": SHARE, "last_run": runs, "chapters": dict(sorted(chapters.items()))}
    seconds = sum(seen["seconds"] for seen in found.values())
    results.save("robust", stored, command="make robust", seed=None, seconds=seconds)


def main() -> int:
    """Run every environment, show the table and store it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="chapters by name or number; default: changed")
    asked = parser.parse_args().names
    before: dict[str, Any] = {}
    with suppress(results.ResultError):  # none stored yet
        before = seen_before(results.load("robust")["results"])
    names = [s.stem for s in sources(asked) if asked or s.stem not in before]
    if not names:
        print("nothing changed since all chapters were seen; CHAPTERS=05 runs one again")
        return 0
    print(f"{len(names)} chapters: {' '.join(names)}", flush=True)
    mark, found = state(names), {}
    for number, name in enumerate(tqdm(ENVIRONMENTS, desc="environments")):
        found[name] = run(name, names, PARTS / f"{mark}-{number:02d}.json")
        for failed in found[name]["failed"]:
            tqdm.write(f"{name}: {failed['chapter']} cell {failed['cell']}: {failed['why']}")
    moved = rows(found)
    print(table(found, moved))
    near = [row for row in moved if row["declared"] > SHARE]
    failed = sum(len(seen["failed"]) for seen in found.values())
    keep(found, names, before)
    print(f"{failed} cells failed; {len(near)} above {SHARE} of what they declare")
    return int(bool(near or failed))


if __name__ == "__main__":
    sys.exit(main())
