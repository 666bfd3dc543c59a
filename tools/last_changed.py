"""Sphinx extension: the foot of a page says when its text or code last changed.

Git knows. A tree without git (a ZIP file, an installed copy) says nothing, and so does a page that
is made while the site is built.
"""

from __future__ import annotations

import functools
from datetime import date
from typing import Any

from setrade.results import _git


@functools.cache
def dates() -> dict[str, str]:
    """Return the day of the newest commit of every file of the book, one call for all."""
    told = _git("log", "--format=day %cs", "--name-only", "--relative", "--", "chapters", "book")
    found: dict[str, str] = {}
    newest = ""
    for line in (told or "").splitlines():  # newest first
        if line.startswith("day "):
            newest = line.removeprefix("day ")
        elif line:
            found.setdefault(line, newest)
    return found


def words(iso: str) -> str:
    """Return 2026-03-07 as 7 March 2026."""
    read = date.fromisoformat(iso)
    return f"{read.day} {read:%B %Y}"


def day(page: str) -> str | None:
    """Return when a page last changed; None where git does not know it."""
    source = page.replace("book/", "chapters/", 1) + ".py"  # a notebook is made from its chapter
    return dates().get(source) or dates().get(f"{page}.md")


def _stamp(_app: Any, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Tell the theme of a page's day."""
    changed = day(page)
    if changed:
        context["last_updated"] = words(changed)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", _stamp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
