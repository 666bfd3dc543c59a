"""How long the sentences are: `python tools/voice.py [CHAPTER ...]`; `--short` lists short ones.

Short sentences are crisp on one page and tire over hours, because the reasons fall between them.
Counted is prose: code, tables, lists, captions and headings are not, nor are formulas on their own.
"""

from __future__ import annotations

import re
import statistics
import sys
from typing import NamedTuple

import reading
from stated import plain

FEW = 7  # a sentence of fewer words is short
MEDIAN, SHARE = (14, 18), 0.10  # of the whole book: words of its middle sentence, short ones
DROPPED = [  # what is no prose
    (r"^:::+\{figure-md\}.*?^:::+$", ""),
    (r"^#+ [^\n]*$", ""),  # headings
    (r"^(`{3,})\{([\w:-]+)\}[^\n]*$", r"\1{\2}"),  # the title of a box
    (r"^\$\$(.*?)\$\$$", r"$\1$"),
    (r"\n\s*\n(?=\$)", "\n"),  # a formula on its own line goes on with the sentence before it
]
NO_PROSE = re.compile(r"\||[-*+] |\d+\. |!\[|<|:::|\*You need\*|[\w-]+$|\*\*.{,40}\*\*$")
END = re.compile(r"(?<=[.!?…])[*»”\")]*\s+(?=[A-Z«“\"*(\d])")
WORD = re.compile(r"[^\W_]+(?:['’.,-][^\W_]+)*")


class Length(NamedTuple):
    """The sentences of a page: how many, the middle one's words, which share is short."""

    sentences: int
    median: float
    short: float


def sentences(name: str) -> list[str]:
    """Return the sentences of a page's prose."""
    found = []
    for kind, text in reading.cells(name):
        if kind == "markdown":
            for pattern, instead in DROPPED:
                text = re.sub(pattern, instead, text, flags=re.M | re.S)
            for paragraph in re.split(r"\n\s*\n", plain(text)):
                lines = " ".join(paragraph.split())
                if not NO_PROSE.match(lines):
                    found += [s for s in END.split(lines) if WORD.search(s)]
    return found


def words(sentence: str) -> int:
    """Return how many words a sentence has; a formula or a piece of code is one."""
    return len(WORD.findall(sentence))


def length(texts: list[str]) -> Length:
    """Return what there is to say of sentences."""
    counts = [words(text) for text in texts]
    short = sum(n < FEW for n in counts)
    return Length(len(counts), statistics.median(counts), short / len(counts))


def pages() -> list[str]:
    """Return the chapters in the order of the book."""
    every = [name for names in reading.toc().values() for name in names]
    return [name for name in every if name[1].isdigit()]


def main() -> int:
    """Print a line for each chapter and one for the book; return 1 outside the bounds."""
    asked = [a for a in sys.argv[1:] if not a.startswith("-")]
    names = [n for n in pages() if not asked or any(n.startswith(a) for a in asked)]
    every = {name: sentences(name) for name in names}
    for name, texts in every.items():
        n, median, short = length(texts)
        print(f"{name:28} {n:5} sentences, median {median:4.1f} words, {short:4.0%} under {FEW}")
        if "--short" in sys.argv:
            print(*(f"    {text}" for text in texts if words(text) < FEW), sep="\n")
    n, median, short = length([text for texts in every.values() for text in texts])
    print(f"{'all':28} {n:5} sentences, median {median:4.1f} words, {short:4.0%} under {FEW}")
    return int(not (MEDIAN[0] <= median <= MEDIAN[1] and short < SHARE))


if __name__ == "__main__":
    sys.exit(main())
