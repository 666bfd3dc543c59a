"""Execute chapters into notebooks, check them, build the site.

python tools/book.py execute [NAME ...]   chapters whose code or helpers changed; where only text
                                          did, the outputs stay and the text is put around them
python tools/book.py check [NAME ...]     stale, failed, unexecuted or edited cells
python tools/book.py notebooks [NAME ...] run every cell again, compare what it prints
python tools/book.py build                _build/html, warnings are errors
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from compare import ToleranceError
from environments import ENVIRONMENTS, OTHER
from environments import environment as variables
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from provenance import BOOK, CHAPTERS, ROOT, cells_of, faults, outputs_hash, record, reworded
from traitlets.config import Config

from setrade.files import write_atomic

# Sphinx unpickles a million nodes, none of them garbage: looking through all of them again and
# again takes two thirds of a build in which nothing changed.
SELDOM = "import gc; gc.set_threshold(500_000, 20, 50)"
SITE = f"{SELDOM}; from jupyter_book.cli.main import main; main()"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def sources(names: list[str]) -> list[Path]:
    """Return the chapters named (by stem or by number), or all of them."""
    every = sorted(CHAPTERS.glob("*.py"))
    if not names:
        return every
    chosen = [p for p in every if any(p.stem == n or p.stem.startswith(n) for n in names)]
    if not chosen:
        raise SystemExit(f"no chapter matches {names}; there are {[p.stem for p in every]}")
    return chosen


def execute(source: Path) -> float:
    """Run one chapter from top to bottom and store it with its outputs; return seconds."""
    notebook: Any = jupytext.read(source)
    notebook["metadata"] = nbformat.from_dict({"kernelspec": KERNEL})
    notebook.cells = cells_of(source)
    start = time.perf_counter()
    where = {"metadata": {"path": str(BOOK)}}
    # A kernel that can encrypt what it says warns, for every chapter, when it is not asked to.
    asked = Config(KernelManager={"transport_encryption": "auto"})
    client = NotebookClient(
        notebook, timeout=600, resources=where, coalesce_streams=True, config=asked
    )
    client.execute()
    seconds = time.perf_counter() - start
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"  # the same on every machine: small diffs
        cell.metadata.pop("execution", None)
    notebook["metadata"]["language_info"] = {"name": "python"}
    made = record(source, seconds) | {"outputs_sha256": outputs_hash(notebook.cells)}
    notebook["metadata"]["setrade"] = made
    # Whole or not at all: a run that is killed here leaves the notebook that was there.
    write_atomic(BOOK / f"{source.stem}.ipynb", nbformat.writes(notebook) + "\n")
    return seconds


def command_execute(names: list[str], force: bool) -> int:
    """Execute what is stale (or all that is named, with ``force``), saying which and why."""
    todo = [s for s in sources(names) if force or faults(s)]
    for number, source in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {source.stem} ...", end=" ", flush=True)
        try:
            if not force and (notebook := reworded(source)) is not None:
                write_atomic(BOOK / f"{source.stem}.ipynb", nbformat.writes(notebook) + "\n")
                print("only its text changed", flush=True)
                continue
            print(f"{execute(source):.1f} s", flush=True)
        except (CellExecutionError, ToleranceError) as error:
            print("failed")
            print(error, file=sys.stderr)
            return 1
    print(f"{len(todo)} chapters made, {len(sources(names)) - len(todo)} up to date")
    return command_check(names) if todo else 0


def command_check(names: list[str]) -> int:
    """Print every fault of the executed notebooks; return 1 if there is one."""
    found = [fault for source in sources(names) for fault in faults(source)]
    print("\n".join(found) or "every notebook is executed and up to date")
    return 1 if found else 0


def longest_first(notebooks: list[Path]) -> list[Path]:
    """Return notebooks by the seconds that they took when they were stored.

    Two lanes take them in turns: a long one that came last would leave the other lane idle.
    """

    def seconds(path: Path) -> float:
        return json.loads(path.read_text(encoding="utf-8"))["metadata"]["setrade"]["seconds"]

    return sorted(notebooks, key=seconds, reverse=True)


def command_notebooks(names: list[str], environment: str, moved: Path | None) -> int:
    """Execute notebooks again and compare what each cell prints with what is stored.

    Args:
        names: Chapters by name or number; empty: all.
        environment: One of `environments.ENVIRONMENTS`.
        moved: Where to store the numbers that moved, or None.
    """
    if command_check(names):
        return 1
    books = map(str, longest_first([BOOK / f"{source.stem}.ipynb" for source in sources(names)]))
    flags = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-q"]
    flags += ["-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    flags += ["--moved", str(moved)] if moved else []
    set_by = "the caller's" if ENVIRONMENTS[environment] is None else environment
    print(f"{len(sources(names))} notebooks, environment: {set_by}", flush=True)
    command = [sys.executable, "-m", "pytest", *flags, *books]
    # Two notebooks share the cores: threads that spin while they wait take them from each
    # other. What a caller sets wins.
    env = {"OMP_WAIT_POLICY": "passive"} | variables(environment)
    return subprocess.run(command, cwd=ROOT, env=env).returncode


def command_build() -> int:
    """Build the site with warnings as errors; print where it is."""
    import offers
    import site_pages

    site_pages.write_all()
    html, text = offers.HTML, offers.state()
    command = [sys.executable, "-c", SITE, "build", "-W", "-n", "--keep-going", "-q", str(ROOT)]
    code = subprocess.run(command, cwd=ROOT).returncode
    if code == 0:
        offers.stamp(html, text)
        offers.offer()
        print(f"The book is at {html.relative_to(ROOT)}/index.html")
    return code


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("command", choices=("execute", "check", "notebooks", "build"))
    parser.add_argument("names", nargs="*", help="chapters by name or number; default: all")
    parser.add_argument("--force", action="store_true", help="execute even what is up to date")
    several = [*ENVIRONMENTS, "other"]
    parser.add_argument("--environment", choices=several, default="pinned", metavar="NAME",
                        help=f"numeric environment of `notebooks`: {several}")  # fmt: skip
    parser.add_argument("--moved", type=Path, help="where `notebooks` stores what moved")
    return parser.parse_intermixed_args()


def main() -> int:
    """Run one command."""
    args = arguments()
    os.environ["TQDM_DISABLE"] = "1"  # no stored output holds a progress bar
    if args.command == "execute":
        return command_execute(args.names, args.force)
    if args.command == "notebooks":
        chosen = OTHER if args.environment == "other" else args.environment
        return command_notebooks(args.names, chosen, args.moved)
    return command_check(args.names) if args.command == "check" else command_build()


if __name__ == "__main__":
    sys.exit(main())
