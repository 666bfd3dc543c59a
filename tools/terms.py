"""Find the first use of each term of the glossary, in the order of the book.

python tools/terms.py    one line for each term that is used before it is explained; 1 if any

A first use is explained where it is a ``{term}`` role, which links to the glossary, or where the
words are in bold or the head of a definition list, as the house writes where it defines. Headings,
code, formulas, comments, labels and links are no uses.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import jupytext
import yaml
from provenance import BOOK, CHAPTERS, ROOT

# Terms that are everyday words too: nobody can tell by their letters in which sense they stand, so
# only one explained use anywhere is asked for.
EVERYDAY = {
    "body", "call", "delta", "gap", "hole", "ink", "journal", "loss", "persistence", "power",
    "premium", "touch", "window",
}  # fmt: skip
SKIPPED = re.compile(
    r"""<!--.*?-->                        # what is no use of a word
    | ^`{3}(?!\{)[^`]*?^`{3}$             # code
    | ^[`:]{3,}\{[\w:-]+\}[^\n]*$         # a directive, which has braces; its words are prose
    | ^[`:]{3,}$ | ^:[\w-]+:[^\n]*$ | ^\([\w-]+\)=$ | ^\#+\ [^\n]*$
    | \$\$.*?\$\$ | \$[^$\n]+\$
    | (?P<kept>\{term\}`[^`]*`) | \{[\w:]+\}`[^`]*` | ``[^`]+`` | `[^`]+`
    | !?\[[^\]]*\]\([^)]*\)""",
    re.M | re.S | re.X,
)
EXPLAINED = re.compile(r"\{term\}`([^`]*)`|\*\*(.+?)\*\*|^([^\n]+)(?=\n: )", re.S | re.M)


class Use(NamedTuple):
    """Where a term is used first, and whether it is explained there."""

    term: str
    page: str
    around: str
    explained: bool


def glossary() -> list[str]:
    """Return the terms, as the glossary spells them."""
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    return re.findall(r"^(\S.*)\n    \S", text.split("```{glossary}\n")[1], re.M)


def pages() -> list[str]:
    """Return the names of the pages that are written by hand, in the order of the book."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]
    names = [file.removeprefix("book/") for file in files if "generated" not in file]
    return [name for name in names if name not in ("glossary", "references")]


def blank(found: re.Match[str]) -> str:
    """Return spaces in place of what is no use of a word, so that places stay."""
    return found["kept"] or re.sub(r"[^\n]", " ", found.group())


@cache
def prose(name: str) -> str:
    """Return a page's text; whatever is no use of a word is blank."""
    source = CHAPTERS / f"{name}.py"
    if source.is_file():
        cells = [c.source for c in jupytext.read(source).cells if c.cell_type == "markdown"]
        text = "\n\n".join(cells)
    else:
        text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    return SKIPPED.sub(blank, text)


def pattern(term: str) -> re.Pattern[str]:
    """Return what matches a term in prose: plural or not, over a line's end, dash or space."""
    words = r"[\s\-–]+".join(map(re.escape, re.split(r"[\s–-]+", term)))
    stem = words.removesuffix("y")
    end = "(?:y|ies)" if stem != words and term[-2] not in "aeiou" else "(?:e?s)?"
    flags = 0 if term.isupper() else re.I
    return re.compile(rf"(?<![\w-]){stem if end[3] == 'y' else words}{end}(?![\w-])", flags)


def explained(name: str) -> Iterator[tuple[int, int, str]]:
    """Yield from where to where a page explains, and what a role names there."""
    for m in EXPLAINED.finditer(prose(name)):
        target = re.search(r"<(.+)>$", m.group(1) or "")
        yield *m.span(), " ".join((target.group(1) if target else m.group(1) or "").split())


def first(term: str) -> Use | None:
    """Return the first use of a term, or None where no page uses it."""
    for name in pages():
        text, told = prose(name), list(explained(name))
        named = [a for a, _, target in told if target.lower() == term.lower()]
        found = [m.start() for m in pattern(term).finditer(text)]
        inside = [x for x in found if any(a <= x < b for a, b, _ in told)]
        places = [*named, *inside] if term in EVERYDAY else [*named, *found]
        if places:
            place = min(places)
            around = " ".join(text[max(0, place - 40) : place + 40].split())
            return Use(term, name, around, place in [*named, *inside])
    return None


def unexplained() -> list[Use]:
    """Return the first uses that explain nothing; a term that no page uses is one too."""
    uses = [first(term) or Use(term, "nowhere", "", False) for term in glossary()]
    return [use for use in uses if not use.explained]


def main() -> int:
    """Print what is used before it is explained."""
    found = unexplained()
    for use in sorted(found, key=lambda u: (*pages(), "nowhere").index(u.page)):
        print(f"{use.page} | {use.term} | {use.around}")
    total = len(glossary())
    print(f"{total - len(found)} of {total} terms are explained where they are used first")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
