"""Every word of the glossary is explained where the book uses it first, and the tool can tell."""

from __future__ import annotations

import pytest
import terms
from provenance import BOOK


def test_every_term_is_explained_where_it_is_used_first():
    assert [tuple(use) for use in terms.unexplained()] == []


def test_the_glossary_is_in_alphabetical_order_and_names_nothing_twice():
    spelled = [term.lower().replace("–", "-").replace("-", " ") for term in terms.glossary()]
    assert spelled == sorted(set(spelled))


def test_everyday_words_are_terms_and_the_pages_are_those_of_the_book():
    assert set(terms.glossary()) >= terms.EVERYDAY
    assert terms.pages()[:4] == ["intro", "00_first_light", "00_primer_channels", "00_primer_words"]
    assert all((BOOK / f"{p}.md").is_file() or p[:2].isalnum() for p in terms.pages())


@pytest.fixture
def book(monkeypatch):
    """Return a function: texts of pages, terms -> for each term whether it is explained first."""

    def write(texts, *words):
        names = [f"page {i}" for i in range(len(texts))]
        shown = {
            name: terms.SKIPPED.sub(terms.blank, text)
            for name, text in zip(names, texts, strict=True)
        }
        monkeypatch.setattr(terms, "pages", lambda: names)
        monkeypatch.setattr(terms, "prose", shown.__getitem__)
        return [use and (use.page, use.explained) for use in map(terms.first, words)]

    return write


@pytest.mark.parametrize(
    ("text", "explained"),
    [
        ("A {term}`gate` opens.", True),
        ("Two {term}`gates <gate>` open.", True),
        ("Look {term}`there <gate>`.", True),
        ("A **gate** is a number.", True),
        ("The **opening of a gate** is a number.", True),
        ("gate\n: A number.", True),
        ("A gate opens. A {term}`gate` is a number.", False),
        ("A gate opens, **not a door**.", False),
        ("Gates\nopen.", False),
        ("- gates", False),
        ("| gate |\n|---|", False),
        ("```{note}\nA gate opens.\n```", False),
        ("{term}`door`s and gates", False),
        ("```{prf:definition} Gate\n:label: def-gate\n\nA **gate** is a number.\n```", True),
        ("```{prf:proof}\nA gate opens.\n```", False),
    ],
)
def test_a_first_use(book, text, explained):
    assert book([text], "gate") == [("page 0", explained)]


@pytest.mark.parametrize(
    "text",
    [
        "Call `gate` or ``a gate``.",
        "$gate$ and $$\na gate\n$$",
        "```python\ngate = 1\n```",
        "```{note}\n:name: gate\nWords.\n```\nMore `code`.",
        "```{prf:definition} A gate\n:label: def-gate\n\nSee {prf:ref}`gate`.\n```",
        "# The gate",
        "(a-gate)=",
        "See {ref}`gate`, [gate](gate.md) <!-- gate -->",
        "A gateway, an investigated agate, a sub-gate.",
    ],
)
def test_what_is_no_use(book, text):
    assert book([text, "**gate**"], "gate") == [("page 1", True)]


def test_forms_and_breaks(book):
    text = "Order\nbooks, time–delay embeddings, an AUC, frequencies."
    words = ("order book", "time-delay embedding", "AUC", "frequency")
    assert book([text], *words) == [("page 0", False)] * 4
    assert book(["An auc, orders of books, timed."], *words[:3]) == [None] * 3


def test_an_everyday_word_counts_from_where_it_is_explained(book):
    assert book(["We call it a day.", "A **call** is a right."], "call") == [("page 1", True)]
    assert book(["We call it a day."], "call") == [None]


def test_a_page_later_is_too_late(book):
    assert book(["A twin.", "{term}`twin`"], "twin") == [("page 0", False)]


def test_the_command_line_names_what_is_missing(book, monkeypatch, capsys):
    book(["Twins and gates. A **door**."])
    monkeypatch.setattr(terms, "glossary", lambda: ["twin", "door", "window"])
    assert terms.main() == 1
    said = capsys.readouterr().out
    assert "page 0 | twin | Twins and gates. A **door**." in said
    assert "nowhere | window" in said
    assert "1 of 3 terms" in said
