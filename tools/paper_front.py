"""The first pages of the book on paper: its title, and its contents with page numbers."""

from __future__ import annotations

from html import escape
from pathlib import Path

from paper_print import Leaf

from setrade.files import write_atomic

NAME = "Squeeze, Excite, Measure"
ABOUT = "Deep learning for crypto trading, with every claim computed again"
HOW = (
    "Printed from the pages of the site. Folds are open: a solution follows its exercise, and an "
    "answer its question. Moving pictures stand still, with their words. Source files of the "
    "package and the index of the site are left out; its reference is an appendix."
)


def _line(leaf: Leaf, number: int | None) -> str:
    """Return one line of the contents."""
    kind = ' class="deeper"' if leaf.level > 1 else ""
    shown = "000" if number is None else str(number)
    return (
        f'<li{kind}><a href="{escape(leaf.address)}">{escape(leaf.title)}</a><span></span>'
        f'<span class="paper-number">{shown}</span></li>'
    )


def page(leaves: list[Leaf], numbers: dict[str, int]) -> str:
    """Return title page and contents.

    Args:
        leaves: The pages of the book, in order.
        numbers: The first page of each by address; one that is missing gets three digits.
    """
    lines, part = [], ""
    for leaf in leaves:
        if leaf.part != part:
            part = leaf.part
            lines.append(f"</ol><h2>{escape(part)}</h2><ol>")
        lines.append(_line(leaf, numbers.get(leaf.address)))
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{NAME}</title>'
        "<style>body{font-family:system-ui,sans-serif}</style><article class='bd-article'>"
        f'<div class="paper-title"><h1>{NAME}</h1><p>{ABOUT}</p><p>The setrade authors</p>'
        f"<p><small>{HOW}</small></p></div>"
        f'<nav class="paper-contents"><h1>Contents</h1><ol>{"".join(lines)}</ol></nav></article>'
    )


def written(folder: Path, leaves: list[Leaf], numbers: dict[str, int]) -> Leaf:
    """Write the first pages into a folder; return them as a page to print."""
    path = folder / "front.html"
    write_atomic(path, page(leaves, numbers))
    return Leaf("", "Contents", path.resolve().as_uri())
