"""The map of the parts: which needs which, and how long a part takes to read.

What a chapter needs is what its line «*You need*» names. Minutes are counted, not measured: prose
at 150 words a minute, since formulas and tables stand in it, code at 15 lines, and half a minute
for each figure. Exercises are left out: their time is the reader's. So are the projects, pages
named E1 to E7, one at the end of a part: a reader works at one for an evening.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import jupytext
import yaml
from provenance import BOOK, CHAPTERS, ROOT
from stated import plain

WORDS, LINES, FIGURE = 150, 15, 0.5  # a minute, a minute, minutes
PROJECT = re.compile(r"E([1-7])_\w+")  # its part; a project is no chapter, and has its own form
LOOKED_UP = ("glossary", "references")  # nobody reads them from the first word to the last


class Part(NamedTuple):
    """A part of the book, its pages in order, and the other parts that they build on."""

    caption: str
    pages: tuple[str, ...]
    needs: tuple[str, ...]
    minutes: int


def toc() -> dict[str, list[str]]:
    """Return the pages of each part that are written by hand, by its caption."""
    text = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = {
        part["caption"]: [c["file"].removeprefix("book/") for c in part["chapters"]]
        for part in text["parts"]
    }
    return {
        caption: [n for n in names if "generated" not in n and n not in LOOKED_UP]
        for caption, names in parts.items()
    }


@cache
def cells(name: str) -> list[tuple[str, str]]:
    """Return the kind and the text of a page's cells; a page of Markdown is one."""
    source = CHAPTERS / f"{name}.py"
    if source.is_file():
        return [(c.cell_type, c.source) for c in jupytext.read(source).cells]
    return [("markdown", (BOOK / f"{name}.md").read_text(encoding="utf-8"))]


def minutes(name: str) -> float:
    """Return how long a page takes to read."""
    total = 0.0
    for kind, text in cells(name):
        if kind == "markdown":
            text, *rest = re.split(r"^## Exercises$", text, maxsplit=1, flags=re.M)
            total += len(plain(text).split()) / WORDS + FIGURE * text.count("{figure-md}")
            if rest:
                break
        elif "plt.show()" in text:
            total += FIGURE
        else:
            total += len([x for x in text.splitlines() if x.strip()]) / LINES
    return total


def labels() -> dict[str, str]:
    """Return the page of each label that a chapter begins with."""
    names = [name for pages in toc().values() for name in pages]
    first = {name: re.match(r"\(([\w-]+)\)=", cells(name)[0][1]) for name in names}
    return {m.group(1): name for name, m in first.items() if m}


def needed(name: str) -> set[str]:
    """Return the pages that a page names behind «You need»."""
    head = cells(name)[0][1]
    line = re.search(r"\*You need\*(.*?)(?:\*Runs\*|\n\n|\Z)", head, re.S)
    found = re.findall(r"\{ref\}`([\w-]+)`", line.group(1)) if line else []
    return {labels()[label] for label in found}


def parts() -> list[Part]:
    """Return the parts in the order of the book."""
    home = {name: caption for caption, pages in toc().items() for name in pages}
    told = []
    for caption, every in toc().items():
        pages = [name for name in every if not PROJECT.fullmatch(name)]
        wanted = {home[other] for name in pages for other in needed(name)} - {caption}
        needs = tuple(c for c in toc() if c in wanted)
        told.append(Part(caption, tuple(pages), needs, round(sum(map(minutes, pages)))))
    return told


def short(caption: str) -> str:
    """Return a part's number, or its words where it has none."""
    return m.group() if (m := re.match(r"[IVX]+(?= )", caption)) else caption


def table() -> str:
    """Return the table of the parts as Markdown."""
    rows = ["| part | builds on | minutes to read |", "|---|---|---:|"]
    page_labels = {page: label for label, page in labels().items()}
    for part in parts():
        first = page_labels[part.pages[0]]
        needs = ", ".join(map(short, part.needs)) or "–"
        rows.append(f"| {{ref}}`{part.caption} <{first}>` | {needs} | {part.minutes} |")
    rows.append(f"| all | | {sum(part.minutes for part in parts()):,} |")
    return "\n".join([*rows, ""])
