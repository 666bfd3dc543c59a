"""Every number in prose has something behind it, and the tool that says so is no rubber stamp."""

from __future__ import annotations

import json
import re
from collections import Counter

import prose
import pytest
from behind import Source, ledger, read
from compare import Number
from provenance import CHAPTERS, ROOT
from stated import plain, stated

from setrade.evidence import claims
from setrade.results import load

SOURCES = sorted(CHAPTERS.glob("*.py"))
GLOSSARY = "book/glossary.md"


@pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
def test_every_number_in_prose_has_a_source(source):
    found = prose.lines(read(source), only_lacking=True)
    assert not found, "\n".join(found)


@pytest.fixture
def told(tmp_path):
    """Return a function: prose, code, what it printed -> verdicts on the numbers in prose."""

    def write(text, code="x = 1", printed="", metadata="", more=""):
        source = tmp_path / "chapter.py"
        words = "\n".join(f"# {line}".rstrip() for line in text.split("\n"))
        head = f"# %% [markdown]\n# ## 1 A section\n#\n{words}\n\n"
        source.write_text(f"{head}# %%{metadata}\n{code}\n\n{more}", encoding="utf-8")
        output = {"output_type": "stream", "name": "stdout", "text": printed}
        cells = [
            {"cell_type": "code", "source": "import generated", "outputs": []},
            {"cell_type": "code", "source": code, "outputs": [output]},
            {"cell_type": "markdown", "source": "*± 0.03 on other processors*"},
        ]
        notebook = tmp_path / "chapter.ipynb"
        notebook.write_text(json.dumps({"cells": cells}), encoding="utf-8")
        chapter = read(source, notebook)
        return [prose.verdict(number, chapter) for number in chapter.stated]

    return write


def test_a_made_up_number_is_found(told):
    assert told("It earns 4.71 a year.", "print(y)", "3.14\n") == ["MISSING"]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("The net earns 0.43 of it.", "0.4321"),
        ("It is right in 43 % of the cases.", "0.4321"),
        ("It is right in 43 % of the cases.", "43.21%"),
        ("It loses 43.2 per cent.", "-0.4321"),
        ("A trade earns 4.3 bps.", "0.00043"),
        ("There are 1,234,567 of them.", "1234567"),
        ("There are 1.23 million of them.", "1,234,567"),
        ("It comes out at $1 + 2.21 = 3.21$.", "3.2101"),
        ("About 300 of them.", "291"),
    ],
)
def test_a_rounded_number_is_matched(told, text, printed):
    assert told(text, "print(y)", printed) == ["printed: print(y)"]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("The net earns 0.44 of it.", "0.4321"),
        ("The net earns 0.4321 of it.", "0.43"),
        ("It is right in 44 % of the cases.", "0.4321"),
        ("It is gone near 67.", "68.03"),
        ("It is gone near\n67. The engine closes it.", "68.03"),
        ("There are 1,234,568 of them.", "1234567"),
        ("About 300 of them.", "251"),
        ("It comes out at $1 + 2.21 = 3.22$.", "3.21"),
    ],
)
def test_a_wrong_last_digit_is_not(told, text, printed):
    assert told(text, "print(y)", printed) == ["MISSING"]


def test_code_holds_a_number_too(told):
    assert told("It is at least 0.85.", "assert x > 0.85") == ["literal: assert x > 0.85"]
    assert told("In all 35,040.", "bars = 365 * 96") == ["literal: bars = 365 * 96"]
    assert told("The newest 48 bars.", "WINDOW = 48") == ["parameter: WINDOW = 48"]


@pytest.mark.parametrize(
    "text",
    [
        "Call `f(0.77)`, and ``g(0.78)``.",
        "With $x = y^{0.77} + z$ and $$ 0.78 x. $$",
        "```python\nf(0.77)\n```",
        "```{note}\n:width: 0.77\nWords.\n```",
        "```{prf:definition} Words\n:label: def-77\nSee {prf:ref}`prop-77`.\n```",
        "See chapter 77, {ref}`a-0.77`, [there](http://x.org/0.77) and ResNet-77.",
        "## 7.7 A heading",
        "7. The seventh",
        "*You need* nothing. *Runs* in under 77 s on two cores.",
        "<!-- 0.77 -->",
        "The 95 % interval is wide, and so is the 95 % block-bootstrap interval.",
    ],
)
def test_what_is_no_prose_is_skipped(told, text):
    assert told(text) == []


def test_a_directive_and_a_table_are_prose():
    text = "```{admonition} What 1.5 means\n:class: tip\nIt is 2.5.\n```\n\n| 3.5 | x |\n"
    assert [s.number.text for s in stated(text, 0, 0)] == ["1.5", "2.5", "3.5"]
    assert ":class:" not in plain(text)
    box = "```{prf:theorem} Of 1.5\n:label: thm-2\n\nIt is 2.5.\n```\n\n```{prf:proof}\n3.5\n```\n"
    assert [s.number.text for s in stated(box, 0, 0)] == ["1.5", "2.5", "3.5"]
    assert not {"prf", "label"} & set(re.findall(r"\w+", plain(box)))


def test_the_end_of_a_directive_is_no_beginning_of_code():
    text = (
        "```{note}\nIt is 1.5.\n```\n\nIt is 2.5.\n\n```{tip}\n3.5\n```\n```python\nf(4.5)\n```\n"
    )
    assert [s.number.text for s in stated(text, 0, 0)] == ["1.5", "2.5", "3.5"]


def test_a_short_number_needs_a_source_that_is_near(told):
    far = "# %% [markdown]\n# ## 2 Elsewhere\n#\n# It is 0.4 there, and 0.432 there.\n"
    assert told("Words.", "print(y)", "0.4 0.432", more=far) == ["MISSING", "printed: print(y)"]


def test_a_claim_needs_words_that_say_so(told):
    assert told("It earns 47.3 % a year.") == ["MISSING"]
    assert told("They claim 47.3 % a year.") == ["claimed: claims.yml#se-annual-return"]


def test_a_citation_and_a_note_are_sources(told):
    assert told("It is 6.1 times faster {cite:p}`tan2019`.") == ["cited"]
    assert told("It is 6.1 times faster. And {cite:p}`tan2019`.") == ["MISSING"]
    noted = "<!-- number: 0.05, 60,000 by example -->\nSay 0.05, or 60,000."
    assert told(noted) == ["note: by example"] * 2


def test_a_note_that_names_a_file_is_held_to_it(told):
    text = "<!-- number: {} from setrade/costs.py -->\nA taker pays {} bps."
    assert told(text.format(5.5, 5.5)) == ["note: from setrade/costs.py"]
    assert told(text.format(5.7, 5.7)) == ["MISSING: setrade/costs.py does not hold it"]
    gone = text.format(5.5, 5.5).replace("costs.py", "gone.py")
    assert told(gone) == ["MISSING: setrade/gone.py does not hold it"]


TRAINED = ' tolerance={"decimals": 0.03, "effect": 0.05}'


def test_a_trained_number_without_an_assert_is_named(told):
    named = told("It is right in 0.43 of them.", "print(score)", "0.43", TRAINED)
    assert named == ["TRAINED, no assert: print(score)"]


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("assert 0.38 < score < 0.48", True),
        ("assert 38 < 100 * score", False),  # in other units: no bound that can be read
        ("assert other > 0.4", False),  # of something else
        ("assert score > other", False),  # no literal
        ("assert score > -5", False),  # far from it
    ],
)
def test_an_assert_has_to_bound_what_was_trained(told, claim, holds):
    text, more = "It is right in 0.43 of them.", f"# %%\n{claim}\n"
    (said,) = told(text, "print(score)", "0.43", TRAINED, more)
    assert said == ("printed: print(score)" if holds else "TRAINED, no assert: print(score)")


def test_an_edited_cell_keeps_what_it_printed_and_a_missing_notebook_is_no_crash(tmp_path):
    source, notebook = tmp_path / "chapter.py", tmp_path / "chapter.ipynb"
    source.write_text("# %% [markdown]\n# It is 0.43.\n\n# %%\nprint(new)\n", encoding="utf-8")
    output = {"output_type": "stream", "name": "stdout", "text": "0.43"}
    cells = [{"cell_type": "code", "source": "print(old)", "outputs": [output]}]
    notebook.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    for path, said in ((notebook, "printed: print(new)"), (tmp_path / "gone.ipynb", "MISSING")):
        chapter = read(source, path)
        assert [prose.verdict(number, chapter) for number in chapter.stated] == [said]


@pytest.mark.parametrize(
    ("text", "said"), [("0.045", 2), ("5,528", 4), ("60,000", 1), ("1.20", 3), ("−15.7", 3)]
)
def test_how_many_digits_say_something(text, said):
    assert prose.digits(Number.read(text)) == said


def test_the_command_line_says_what_is_missing(monkeypatch, capsys, tmp_path):
    source = tmp_path / "chapter.py"
    source.write_text("# %% [markdown]\n# It is 0.4711.\n", encoding="utf-8")
    monkeypatch.setattr(prose, "sources", lambda names: [source])
    monkeypatch.setattr("sys.argv", ["prose.py", "--missing"])
    assert prose.main() == 1
    assert "chapter | (top) | 0.4711 | It is 0.4711. | MISSING" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["prose.py"])
    assert prose.main() == 0


def counted() -> list[float]:
    """Return what the first pages count: claims, trainings, versions, chapters."""
    rows = claims.ledger()
    study = load("se_real")["results"]
    trained = sum(len(study["learned"][net]["gain"]) for net in study["models"])
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    versions = [float(v) for v in re.findall(r"Python :: (3\.\d+)", project)]
    plain_rows = [row for row in rows if row.verdict == "holds" and not row.stand_in]
    arithmetic = [row for row in plain_rows if row.rule in ("equals", "test")]
    by_verdict = Counter(row.verdict for row in rows)
    by_stand_in = Counter(row.verdict for row in rows if row.stand_in)
    counts = [*by_verdict.values(), *by_stand_in.values(), len(plain_rows), len(arithmetic)]
    chapters = [float(s.stem[:2]) for s in SOURCES if s.stem[:2].isdigit()]
    return [len(rows), trained, *versions, *counts, *chapters]


@pytest.mark.parametrize("page", ["README.md", "book/intro.md", "book/notation.md", GLOSSARY])
def test_every_number_of_the_other_pages_has_a_source(page):
    gap = load("se_real")["results"]["table"]["sharpe"]["mean"]["difference"]
    known = [*counted(), *gap.values()] if page != GLOSSARY else []
    sources = [Source(value, "stored", "counted") for value in known]
    for number in stated((ROOT / page).read_text(encoding="utf-8"), 0, 0):
        why = number.notes.get(abs(number.number.value))
        claimed = [s for s in ledger() if s.kind == "claimed" and number.claimed]
        held = why and not prose.lacking(prose.noted(number, why))
        small = prose.small(number)
        assert held or small or any(prose.fits(number, s) for s in sources + claimed), number
