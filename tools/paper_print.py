"""Print single pages of the built site with Chromium, and name what paper would cut.

A page is laid out as wide as its column on paper. What is a little too wide there, such as a table
of twelve columns, is set in smaller type, down to `SMALLEST`; what is still too wide is a fault.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

CSS, SCRIPT = (Path(__file__).with_name(f"paper.{kind}") for kind in ("css", "js"))
WIDTH = 680  # CSS pixels of A4 between margins of 15 mm
HEIGHT = 980  # and from its top margin to its foot
SMALLEST = 8  # CSS pixels: 6 points, as in a footnote
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# Scripts turn questions into buttons, solutions into folds and figures into moving pictures: on
# paper the page stands as it is without them. Only formulas need theirs.
UNWANTED = "**/_static/**/*.js*"


class Leaf(NamedTuple):
    """A page of the book, as the table of contents has it."""

    part: str
    title: str
    address: str  # of the page on the site
    level: int = 1  # 2 below a chapter


class Printed(NamedTuple):
    """A page that was printed."""

    leaf: Leaf
    path: Path
    headings: list[tuple[int, str, str]]  # level, text, place
    smaller: int  # how many tables, formulas and blocks of code got smaller type


def chromium() -> str:
    """Return the browser that prints, or say what to install."""
    found = (shutil.which(name) for name in ("chromium", "google-chrome", "chrome"))
    if path := next(filter(None, found), None):
        return path
    raise SystemExit("no Chromium found: install chromium or google-chrome")


def opened(browser: Any, address: str) -> Any:
    """Return a page as it stands on paper, its formulas set."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1000})

    def answer(route: Any) -> None:
        known = "/mathjax/" in route.request.url
        (route.continue_ if known else route.abort)()

    page.route(UNWANTED, answer)
    page.emulate_media(media="print", color_scheme="light")
    page.goto(address)
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.add_style_tag(path=CSS)
    page.add_script_tag(path=SCRIPT)
    return page


def contents(browser: Any, first: Path) -> list[Leaf]:
    """Return the pages of a book in reading order, from the navigation of its first page."""
    page = opened(browser, first.resolve().as_uri())
    try:
        rows = page.evaluate("() => paper.contents()")
    finally:
        page.close()
    return [Leaf(r["part"], r["title"], r["href"], r["level"]) for r in rows]


def printed(
    browser: Any, leaf: Leaf, target: Path, pages: list[str]
) -> tuple[Printed | None, list[str]]:
    """Print one page; where something would be cut, return its faults and write nothing.

    Args:
        browser: A running Chromium.
        leaf: The page.
        target: Where to write.
        pages: The addresses of the book: links to other pages of the site are left out.
    """
    page = opened(browser, leaf.address)
    try:
        faults = page.evaluate("given => paper.ready(given)", {"title": leaf.title, "pages": pages})
        found = page.evaluate("given => paper.fit(given)", {"smallest": SMALLEST, "height": HEIGHT})
        if faults := faults + found["faults"]:
            return None, [f"{leaf.title}: {fault}" for fault in faults]
        headings = [tuple(row) for row in page.evaluate("() => paper.headings()")]
        page.pdf(path=target, prefer_css_page_size=True, print_background=True)
        return Printed(leaf, target, headings, found["smaller"]), []
    finally:
        page.close()
