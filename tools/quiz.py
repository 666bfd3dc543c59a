"""Sphinx extension: three quick questions at the end of every numbered section of a chapter.

``book/quiz/CHAPTER.yml`` holds them by the number of the section. They stand on the site only: the
notebooks stay as they are executed. `js/quiz.js` turns answers into buttons; with scripts off a
page shows the answers in the same order, and the right one, with its reason, behind a fold.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

FOLDER = Path(__file__).resolve().parent.parent / "book" / "quiz"
HEADING = re.compile(r"## (?:(\d+)[a-z]? )?")
LABEL = re.compile(r"\([\w-]+\)=")
SUMMARY = "Three quick questions"


class QuizError(ValueError):
    """A file of questions is not what it should be."""


class Question(NamedTuple):
    """A question; each answer with what is said when it is chosen; the first answer is right."""

    ask: str
    answers: list[tuple[str, str]]

    def shuffled(self) -> list[tuple[bool, str, str]]:
        """Return (right, answer, what is said) in an order that gives nothing away."""
        rows = [(n == 0, *row) for n, row in enumerate(self.answers)]
        return sorted(rows, key=lambda row: hashlib.sha256((self.ask + row[1]).encode()).digest())


def _question(row: dict[str, Any], where: str) -> Question:
    """Return a question from its row, or say what is wrong with it."""
    if not isinstance(row, dict) or set(row) != {"ask", "right", "because", "wrong"}:
        raise QuizError(f"{where}: a question has ask, right, because and wrong")
    if not isinstance(row["wrong"], dict) or not 2 <= len(row["wrong"]) <= 3:
        raise QuizError(f"{where}: wrong holds two or three answers, each with what is wrong")
    answers = [(row["right"], row["because"]), *row["wrong"].items()]
    texts = [row["ask"], *(text for answer in answers for text in answer)]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise QuizError(f"{where}: every part is a text; quote numbers, yes and no")
    if len({answer for answer, _ in answers}) < len(answers):
        raise QuizError(f"{where}: two answers are the same")
    return Question(row["ask"], answers)


def load(name: str) -> dict[int, list[Question]]:
    """Return the questions of a chapter by section; none where it has no file.

    Raises:
        QuizError: If the file is not laid out as it should be; it names the place.
    """
    path = FOLDER / f"{name}.yml"
    if not path.is_file():
        return {}
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise QuizError(f"{path.name}: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(n, int) for n in table):
        raise QuizError(f"{path.name}: questions stand under the numbers of sections")
    for number, rows in table.items():
        if not isinstance(rows, list) or len(rows) != 3:
            raise QuizError(f"{path.name}, section {number}: three questions a section")
    return {
        number: [_question(r, f"{path.name}, section {number}") for r in rows]
        for number, rows in table.items()
    }


def sections(notebook: dict[str, Any]) -> list[int]:
    """Return the numbers of a notebook's sections, in order."""
    texts = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    found = [HEADING.match(line) for text in texts for line in text.splitlines()]
    return [int(m[1]) for m in found if m and m[1]]


def placed(notebook: dict[str, Any], name: str, numbers: set[int]) -> dict[str, Any]:
    """Return a notebook with a place for its questions before each next heading."""
    open_section = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        lines: list[str] = []
        for line in "".join(cell["source"]).splitlines():
            heading = HEADING.match(line)
            if heading and open_section in numbers:
                at = len(lines)
                while at and (LABEL.fullmatch(lines[at - 1]) or not lines[at - 1]):
                    at -= 1  # a label stays with its heading
                lines[at:at] = ["", f"```{{quiz}} {name} {open_section}", "```", ""]
            if heading:
                open_section = int(heading[1] or 0)
            lines.append(line)
        cell["source"] = "\n".join(lines)
    return notebook


def _place(app: Any, docname: str, source: list[str]) -> None:
    """Put a chapter's questions into its text as Sphinx reads it."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    name = Path(docname).name
    # Also where there is none yet: a page whose dependency is missing is read again.
    app.env.note_dependency(str(FOLDER / f"{name}.yml"))
    questions = load(name)
    if questions:
        source[0] = json.dumps(placed(json.loads(source[0]), name, set(questions)))


def _html(text: str) -> nodes.raw:
    """Return half an element, as it stands in the page."""
    return nodes.raw("", text, format="html")


class Quiz(SphinxDirective):
    """Draw the questions of one section: ``{quiz} CHAPTER SECTION``."""

    required_arguments = 2

    def _text(self, text: str, *classes: str) -> nodes.paragraph:
        """Return a paragraph whose inline marks (math, code, terms) are read."""
        found, messages = self.parse_inline(text)
        return nodes.paragraph(text, "", *found, *messages, classes=list(classes))

    def _drawn(self, question: Question) -> nodes.container:
        """Return one question, its answers, and the right one behind a fold."""
        box = nodes.container(classes=["quiz-question"])
        box += self._text(question.ask, "quiz-ask")
        answers = nodes.bullet_list(classes=["quiz-answers"])
        for right, answer, said in question.shuffled():
            item = nodes.list_item(classes=["quiz-right" if right else "quiz-wrong"])
            item += [self._text(answer), self._text(said, "quiz-said")]
            answers += item
        right, because = question.answers[0]
        box += answers
        box += _html('<details class="quiz-fold"><summary>Answer</summary>')
        box += self._text(f"{right}. {because}")
        box += _html("</details>")
        return box

    def run(self) -> list[nodes.Node]:
        """Return the box."""
        name, number = self.arguments
        start = f'<details class="quiz"><summary>{SUMMARY}</summary>'
        questions = [self._drawn(question) for question in load(name)[int(number)]]
        return [_html(start), *questions, _html("</details>")]


def _add(app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Add the script to pages that ask something."""
    if '<details class="quiz">' in context.get("body", ""):
        app.add_js_file("js/quiz.js", priority=610)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("quiz", Quiz)
    app.connect("source-read", _place)
    app.connect("html-page-context", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
