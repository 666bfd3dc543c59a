"""Three questions a section: laid out as they should be, and answered in a browser by keys."""

from __future__ import annotations

import json
import textwrap

import pytest
import quiz
import reading
from provenance import BOOK, CHAPTERS
from test_browser import CHROMIUM, browser, context, settle, site, tab  # noqa: F401
from test_site import page

# A project asks by the checks of its steps, and needs no questions.
NAMES = sorted(p.stem for p in CHAPTERS.glob("*.py") if not reading.PROJECT.fullmatch(p.stem))
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
GOOD = """\
1:
- &q
  ask: Which?
  right: This
  because: It is.
  wrong:
    That: It is not.
    "No": Nor is this.
- *q
- *q
"""


def notebook(name: str) -> dict:
    return json.loads((BOOK / f"{name}.ipynb").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_every_numbered_section_asks_three_questions(name):
    wanted = sorted(set(quiz.sections(notebook(name))))
    assert wanted, name
    assert sorted(quiz.load(name)) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_neither_place_nor_length_gives_the_answer_away(name):
    questions = [q for rows in quiz.load(name).values() for q in rows]
    assert len({q.ask for q in questions}) == len(questions)
    first = sum(q.shuffled()[0][0] for q in questions)
    longest = sum(max(q.answers, key=lambda a: len(a[0])) == q.answers[0] for q in questions)
    assert 0 < first < 0.6 * len(questions)
    assert longest <= 0.4 * len(questions)


def test_no_file_is_left_over_and_no_project_has_one():
    assert {p.stem for p in quiz.FOLDER.iterdir()} == set(NAMES)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("", "", None),
        ("1:", "one:", "numbers of sections"),
        ("- *q\n- *q", "- *q", "three questions"),
        ("because:", "reason:", "ask, right, because and wrong"),
        ("    That: It is not.\n", "", "two or three answers"),
        ('"No"', "No", "quote"),
        ("That:", "This:", "the same"),
        ("It is.", "''", "every part is a text"),
        ("1:", "1: [", "one.yml"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, monkeypatch, old, new, why):
    monkeypatch.setattr(quiz, "FOLDER", tmp_path)
    (tmp_path / "one.yml").write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    if why is None:
        assert [len(rows) for rows in quiz.load("one").values()] == [3]
        assert quiz.load("another") == {}
        return
    with pytest.raises(quiz.QuizError, match=why):
        quiz.load("one")


def test_questions_stand_at_the_end_of_their_section():
    text = """\
    # A chapter

    ## 1 First
    text
    ```python
    # no heading
    ```
    (label)=
    ## 2 Second
    """
    cells = [
        {"cell_type": "markdown", "source": textwrap.dedent(text)},
        {"cell_type": "code", "source": "## 3 a comment"},
        {"cell_type": "markdown", "source": ["more\n", "\n", "## Summary\n", "end"]},
    ]
    made = quiz.placed({"cells": cells}, "one", {1, 2})["cells"]
    first, end = made[0]["source"], made[2]["source"]
    assert first.index("{quiz} one 1") > first.index("no heading")
    assert first.index("{quiz} one 1") < first.index("(label)=\n## 2")
    assert end.index("more") < end.index("{quiz} one 2") < end.index("## Summary")
    assert made[1]["source"] == "## 3 a comment"
    assert first.count("{quiz}") == end.count("{quiz}") == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_chapter_asks_in_every_section(name):
    boxes = page(f"book/{name}.html").select("details.quiz")
    homes = [
        next(h for s in box.find_parents("section") if (h := s.find("h2", recursive=False)))
        for box in boxes
    ]
    numbers = sorted(quiz.load(name))
    assert [int(home.text.split()[0]) for home in homes] == numbers
    assert [len(box.select(".quiz-question")) for box in boxes] == [3] * len(numbers)


def opened(tab, address: str, name: str):  # noqa: F811
    """Return the first questions of a chapter's page, unfolded."""
    tab.goto(f"{address}/book/{name}.html")
    settle(tab)
    box = tab.locator("details.quiz").first
    box.locator("summary").first.click()
    return box.locator(".quiz-question").first


@in_a_browser
@pytest.mark.enable_socket
def test_an_answer_is_chosen_by_keys_and_says_why(tab, site):  # noqa: F811
    question = opened(tab, site, "03_se_math")
    asked = quiz.load("03_se_math")[1][0].shuffled()
    status = question.locator("[role=status]")
    assert status.text_content() == ""
    question.locator("input").first.focus()
    tab.keyboard.press("Space")
    for right, _, said in asked:
        text = status.text_content()
        assert text.startswith("Right. " if right else "Not so. ")
        plain = said.split("$")[0]
        assert plain in text
        tab.keyboard.press("ArrowDown")
    assert question.locator("input").count() == len(asked)
    assert tab.faults == []


@in_a_browser
@pytest.mark.enable_socket
def test_with_scripts_off_the_answer_is_behind_a_fold(browser, site):  # noqa: F811
    without = browser.new_context(java_script_enabled=False)
    silent = without.new_page()
    silent.goto(f"{site}/book/03_se_math.html")
    silent.locator("details.quiz > summary").first.click()
    question = silent.locator(".quiz-question").first
    _, because = quiz.load("03_se_math")[1][0].answers[0]
    assert not question.get_by_text(because[:20]).last.is_visible()
    question.locator("details > summary").click()
    assert question.locator("details").get_by_text(because[:20]).is_visible()
    without.close()
