"""The diagrams that stand in the book are those that the script draws, and each is explained."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import diagrams
import jupytext
import pytest
import reading
from provenance import BOOK, CHAPTERS

DRAWN = diagrams.files()
SVG = "{http://www.w3.org/2000/svg}"
FIGURE = re.compile(
    r":::\{figure-md\} (fig-diagram-[a-z-]+)\n!\[([^\]]+)\]\(_static/diagrams/(\w+\.svg)\)\n\n"
    r"(.+?)\n:::",
    re.S,
)


@pytest.fixture(scope="module")
def placed():
    """Return (label, alt text, file, caption) of every diagram in the book."""
    pages = [page.read_text(encoding="utf-8") for page in sorted(BOOK.glob("*.md"))]
    found = [f for page in pages for f in FIGURE.findall(page)]
    for source in sorted(CHAPTERS.glob("*.py")):
        cells = jupytext.read(source).cells
        found += [f for c in cells if c.cell_type == "markdown" for f in FIGURE.findall(c.source)]
    return found


def test_the_files_are_what_the_script_draws():
    assert {p.name for p in diagrams.FOLDER.glob("*.svg")} == set(DRAWN)
    for name, text in DRAWN.items():
        assert (diagrams.FOLDER / name).read_text(encoding="utf-8") == text, name


@pytest.mark.parametrize("name", DRAWN)
def test_a_diagram_says_what_it_is_to_those_who_do_not_see_it(name):
    root = ElementTree.fromstring(DRAWN[name])
    assert root.get("role") == "img"
    told = {element.get("id"): element.text for element in root if element.get("id")}
    assert set((root.get("aria-labelledby") or "").split()) == set(told)
    assert root.findtext(f"{SVG}desc", "").endswith(".")


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_drawn_outside_the_paper(name):
    root = ElementTree.fromstring(DRAWN[name])
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    for element in root.iter(f"{SVG}text"):
        size = 6.2 if "small" in element.get("class", "") else 7.4  # of a letter, about
        length, x = size * len(element.text or ""), float(element.get("x", "nan"))
        left = x if "left" in element.get("class", "") else x - length / 2
        assert left > 0, element.text
        assert left + length < width, element.text
        assert 6 <= float(element.get("y", "nan")) <= height - 6, element.text
    for element in root.iter(f"{SVG}rect"):
        if (element.get("class") or "") != "paper":
            assert float(element.get("x", "nan")) + float(element.get("width", "nan")) <= width
            assert float(element.get("y", "nan")) + float(element.get("height", "nan")) <= height


def test_every_diagram_stands_on_one_page_with_its_own_words(placed):
    assert sorted(file for _, _, file, _ in placed) == sorted(DRAWN)
    for _, alt, file, caption in placed:
        desc = ElementTree.fromstring(DRAWN[file]).findtext(f"{SVG}desc")
        assert " ".join(alt.split()) == desc
        assert caption.endswith(".")


def test_the_map_has_every_part_and_leads_from_what_a_part_builds_on():
    parts = {part.caption: part for part in reading.parts()}
    assert set(diagrams.PARTS) == set(parts) - {"Appendices"}
    before = {"Before you start": set()}
    todo = dict(diagrams.NEEDS)
    while todo:  # a part stands where all that it builds on stands already: no circle
        ready = [name for name, needs in todo.items() if set(needs) <= set(before)]
        assert ready, todo
        for name in ready:
            needs = todo.pop(name)
            before[name] = set(needs).union(*(before[other] for other in needs))
    for caption in diagrams.PARTS:
        wanted = {reading.short(other) for other in parts[caption].needs}
        assert wanted <= before[reading.short(caption)], caption
