"""Compare all chapters under many numeric environments: what moves, and how far.

    make robust                    # ten environments, ten times as long as make notebooks
    make robust CHAPTERS="05 13"   # some chapters: shown, not stored

Every environment runs each notebook from top to bottom and compares what it prints with what is
stored (tools/compare.py). A cell may differ from the stored number by what it declares, and no
cell may come near that: the bound is `SHARE` of it. One environment is kept as soon as it is
whole, so that a run which is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from setrade import results
from setrade.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from environments import ENVIRONMENTS  # noqa: E402

PARTS = ROOT / "_build" / "robust"
SHARE = 0.7  # of a declared tolerance: what lies above it is too near to trust


def state(names: list[str]) -> str:
    """Return a short hash of the notebooks and chapters asked for."""
    digest = hashlib.sha256(" ".join(names).encode())
    for notebook in sorted((ROOT / "book").glob("*.ipynb")):
        digest.update(notebook.read_bytes())
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
    if not moved.is_file():
        raise SystemExit(f"{environment}: no notebook ran\n{done.stdout[-3000:]}{done.stderr}")
    found = json.loads(moved.read_text(encoding="utf-8"))
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


def main() -> int:
    """Run every environment, show the table, store it if all chapters took part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="chapters by name or number; default: all")
    names = parser.parse_args().names
    mark, found = state(names), {}
    for number, name in enumerate(tqdm(ENVIRONMENTS, desc="environments")):
        found[name] = run(name, names, PARTS / f"{mark}-{number:02d}.json")
        for failed in found[name]["failed"]:
            tqdm.write(f"{name}: {failed['chapter']} cell {failed['cell']}: {failed['why']}")
    moved = rows(found)
    print(table(found, moved))
    near = [row for row in moved if row["declared"] > SHARE]
    failed = sum(len(seen["failed"]) for seen in found.values())
    if not names:
        runs = {name: {k: seen[k] for k in ("cells", "seconds")} for name, seen in found.items()}
        for name, seen in found.items():
            runs[name] |= {"failed": len(seen["failed"]), "moved": len(seen["moved"])}
        seconds = sum(seen["seconds"] for seen in found.values())
        stored = {"share_allowed": SHARE, "environments": runs, "cells": moved}
        results.save("robust", stored, command="make robust", seed=None, seconds=seconds)
    print(f"{failed} cells failed; {len(near)} above {SHARE} of what they declare")
    return int(bool(near or failed))


if __name__ == "__main__":
    sys.exit(main())
