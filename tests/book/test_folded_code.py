"""Code of figures and checks is folded; what the text explains stays open."""

from __future__ import annotations

import folded_code
import jupytext
import pytest
from provenance import CHAPTERS
from test_site import page


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("fig, ax = plt.subplots()\nax.plot(x)\nplt.show()", folded_code.FIGURE),
        ("assert x == 1\nassert y", folded_code.CHECK),
        ("for a in b:\n    for c in a:\n        assert c", folded_code.CHECK),
        ("x = 1\nassert x", None),
        ("for a in b:\n    c = a\n    assert c", None),
        ("print(x)", None),
        ("%time x", None),
        ("", None),
    ],
)
def test_what_is_folded(code, words):
    assert folded_code.words(code) == words


@pytest.mark.parametrize("source", sorted(CHAPTERS.glob("*.py")), ids=lambda s: s.stem)
def test_a_page_folds_each_of_them_and_nothing_else(source):
    cells = [c.source for c in jupytext.read(source).cells if c.cell_type == "code"]
    wanted = [told for told in map(folded_code.words, cells) if told]
    boxes = page(f"book/{source.stem}.html").select("details.code-fold")
    assert [box.summary.text for box in boxes] == wanted
    assert not any(box.select(".cell_output, img") for box in boxes)
