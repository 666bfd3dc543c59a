"""The book as a PDF: every page of the built site printed, joined and checked.

python tools/paper.py                            the book, into _build/paper
python tools/paper.py --pages book/03_se_math.html   only these pages, to look at
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import offers
import paper_check
import paper_front
from paper_join import FOOT, joined, pages_of, trim
from paper_print import FLAGS, Leaf, Printed, chromium, contents, printed

from setrade.files import write_atomic

FILE = offers.PAPER / f"{offers.NAME}.pdf"


@contextmanager
def browser() -> Iterator[Any]:
    """Yield a running Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield made
        finally:
            made.close()


def print_all(tab: Any, leaves: list[Leaf], folder: Path) -> tuple[list[Printed], list[str]]:
    """Print pages into a folder; return them, and what would be cut."""
    pieces, found = [], []
    pages = [leaf.address for leaf in leaves]
    for number, leaf in enumerate(leaves):
        piece, faults = printed(tab, leaf, folder / f"{number:03d}.pdf", pages)
        found += faults
        if piece:
            trim(piece.path)
            pieces.append(piece)
    return pieces, found


def front(tab: Any, leaves: list[Leaf], pieces: list[Printed], folder: Path) -> Printed:
    """Print title and contents: once to count their pages, and once with the numbers."""
    pages = [leaf.address for leaf in leaves]

    def made(numbers: dict[str, int]) -> Printed:
        first = paper_front.written(folder, leaves, numbers)
        piece, faults = printed(tab, first, folder / "front.pdf", pages)
        if piece is None:
            raise SystemExit("\n".join(faults))
        return piece._replace(headings=[])

    numbers, at = {}, pages_of(made({}).path) + 1
    for piece in pieces:
        numbers[piece.leaf.address] = at
        at += pages_of(piece.path)
    return made(numbers)


def book(
    html: Path, target: Path, first: str = offers.PAGE, only: list[str] | None = None
) -> list[str]:
    """Write a site's book as a PDF; return its faults, with which nothing is written.

    Args:
        html: The folder of the built site.
        target: The file to write.
        first: The page whose navigation lists the book.
        only: Addresses below ``html``; None: all pages.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, browser() as tab:
        folder = Path(name)
        leaves = contents(tab, html / first)
        if only:
            kept = {(html / each).resolve().as_uri() for each in only}
            leaves = [leaf for leaf in leaves if leaf.address in kept]
        pieces, found = print_all(tab, leaves, folder)
        if found:
            return found
        pieces.insert(0, front(tab, leaves, pieces, folder))
        whole = folder / "whole.pdf"
        found = joined(pieces, whole, paper_front.NAME, "The setrade authors")
        found += paper_check.faults(whole, FOOT + 4)
        if not found or only:
            write_atomic(target, whole.read_bytes())
            note(target, pieces)
    return found


def note(target: Path, pieces: list[Printed]) -> None:
    """Store how many pages the book has, and which chapter begins where."""
    at, rows = 1, []
    for piece in pieces:
        smaller = piece.smaller
        rows.append({"title": piece.leaf.title, "page": at, "smaller": smaller})
        at += pages_of(piece.path)
    made = {"pages": at - 1, "bytes": target.stat().st_size, "chapters": rows}
    write_atomic(target.with_suffix(".json"), json.dumps(made, indent=1) + "\n")


def main() -> int:
    """Write the book; return 1 where something is wrong with it."""
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--pages", nargs="+", help="addresses below _build/html; default: all")
    parser.add_argument("--html", type=Path, default=offers.HTML, help="the built site")
    args = parser.parse_args()
    target = FILE.with_name("pages.pdf") if args.pages else FILE
    found = book(args.html, target, only=args.pages)
    if found:
        print("\n".join(found))
        return 1
    pages = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))["pages"]
    print(f"{target.name}: {pages} pages, {target.stat().st_size / 1e6:.1f} MB")
    offers.stamp(target, offers.stamped(args.html))  # what is printed is the site, old or new
    offers.offer()
    return 0


if __name__ == "__main__":
    sys.exit(main())
