"""The numbers in prose: what a page says in words, without its code, formulas, links and labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from compare import NUMBER, Number

UNIT = re.compile(r"\s?(%|per ?cent|bps?\b|basis points?|million|thousand|billion)")
HEDGES = r"about|around|nearly|almost|roughly|some|near|over|under|below|above|up to|of|than|most"
HEDGE = re.compile(rf"(?:\b(?:{HEDGES}|least|within|between)|≈|~)\s*$", re.I)
LABELS = r"(?:chapters?|parts?|sections?|figures?|exercises?|pages?|§|step|rule)"
CLAIMS = re.compile(
    r"claim|started from|(?:SE|EfficientNet)\s+chapter|publish|\bpapers?\b|reports\b", re.I
)
NOTE = re.compile(r"<!-- number: (.*?) (from|by) (.*?)\s*-->", re.S)
CITE = "\N{REFERENCE MARK}"
CLOCK = re.compile(r"\d?\d:\d\d")
STRIPPED = [  # what is no prose, and what stands for it
    (r"<!--.*?-->", ""),
    (r"^(`{3,})\{[\w:-]+\}([^\n]*)\n(.*?)^\1$", r"\2\n\3"),  # a directive: its words are prose
    (r"^```\w*\n.*?^```$", ""),  # code
    (r"^:[\w-]+:[^\n]*$", ""),  # an option of a directive
    (r"^```(?:\{[\w:-]+\})?", ""),
    (r"^\([\w-]+\)=$", ""),
    (r"\*Runs\* in under \d+ s on\s+two\s+cores", ""),
    (r"\{cite:?\w*\}`[^`]*`", CITE),
    (r"\{[\w:]+\}`[^`]*`", "ref"),
    (r"``[^`]*``|`[^`]*`", "code"),
    (r"\[([^\]]*)\]\([^)]*\)", r"\1"),
    (r"https?://\S+", ""),
    (r"\$\$.*?\$\$|\$[^$]+\$", lambda m: result_of(m.group())),
    (r"^#+ (?:[\d.]+ )?", ""),
    (r"^\s*\d\. ", ""),
    (rf"\b{LABELS}\s+[A-Z]?\d+(?:(?:,| and| to|–)\s*\d+)*", "label"),
    (r"[A-Za-z]+\d*-\d[\d.]*|\bmacOS \d+", "name"),  # ResNet-50
    (r"\b95 (?:%|percent)(?=\s(?:[\w-]+\s)?intervals?\b)", "level"),
    (r"(\d),(?!\d)", r"\1 ,"),  # a comma that ends a number is none of its thousands
]


@dataclass(frozen=True)
class Stated:
    """A number in prose."""

    number: Number
    unit: str
    around: str
    cell: int
    section: int
    hedged: bool = False  # «about 300»
    clock: bool = False  # part of a time, 13:45
    claimed: bool = False  # its paragraph, or the one before, tells what others claim
    cited: bool = False  # its sentence cites a source
    notes: dict[float, str] = field(default_factory=dict)  # why, by number


def result_of(math: str) -> str:
    """Return the number that a formula states: all of it, or what it comes out at."""
    inside = math.strip("$ \n").replace("\\,", "").replace("\\%", "%").replace("{,}", ",")
    alone = re.fullmatch(r"[+\-−]?[\d.,]*\d ?%?", inside)
    last = re.search(r"(?:=|\\approx)\s*([+\-−]?\d[\d,]*(?:\.\d+)? ?%?)[.,]?$", inside)
    return alone.group() if alone else last.group(1) if last else "formula"


def plain(markdown: str) -> str:
    """Return the prose of a markdown cell."""
    for pattern, instead in STRIPPED:
        markdown = re.sub(pattern, instead, markdown, flags=re.M | re.S | re.I)
    return markdown


def numbers(text: str) -> Iterator[re.Match[str]]:
    """Yield the places of the numbers in a text."""
    return (m for m in NUMBER.finditer(text) if re.search(r"\d", m.group()))


def notes(markdown: str) -> dict[float, str]:
    """Return what hidden comments say of numbers: <!-- number: 0.5 by definition -->."""
    return {
        abs(Number.read(m.group()).value): f"{how} {' '.join(why.split())}"
        for what, how, why in NOTE.findall(markdown)
        for m in numbers(what.replace(", ", " "))
    }


def stated(part: str, cell: int, section: int, whole: str = "") -> Iterator[Stated]:
    """Yield the numbers in the prose of a part of a markdown cell, ``whole``."""
    noted, before = notes(whole or part), ""
    for paragraph in re.split(r"\n\s*\n", plain(part)):
        claimed, before = bool(CLAIMS.search(before + paragraph)), paragraph
        for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z*\"«(])", " ".join(paragraph.split())):
            clock = {i for m in CLOCK.finditer(sentence) for i in range(*m.span())}
            for m in numbers(sentence):
                unit = UNIT.match(sentence, m.end())
                yield Stated(
                    number=Number.read(m.group().rstrip(".")),  # the end of a sentence
                    unit=unit.group(1) if unit else "",
                    around=sentence[max(0, m.start() - 34) : m.end() + 24],
                    cell=cell,
                    section=section,
                    hedged=bool(HEDGE.search(sentence[: m.start()])),
                    clock=m.start() in clock,
                    claimed=claimed,
                    cited=CITE in sentence,
                    notes=noted,
                )
