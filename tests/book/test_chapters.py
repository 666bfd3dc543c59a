"""The chapters keep the skeleton that every reader may rely on (DESIGN section 5)."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from statistics import median

import jupytext
import pytest
import reading
import yaml
from provenance import BOOK, CHAPTERS, ROOT

SOURCES = sorted(CHAPTERS.glob("*.py"))
# A project, E1 to E7, is a page to work at for an evening: it has the form of the second half of
# this file, and not the skeleton of a chapter. All else that holds of a notebook holds of it.
PROJECTS = [s for s in SOURCES if reading.PROJECT.fullmatch(s.stem)]
LESSONS = [s for s in SOURCES if s not in PROJECTS]
each_notebook = pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
each_chapter = pytest.mark.parametrize("source", LESSONS, ids=[s.stem for s in LESSONS])
each_project = pytest.mark.parametrize("source", PROJECTS, ids=[s.stem for s in PROJECTS])
BOXED = [s for s in SOURCES if s.stem[0].isdigit() and not s.stem.startswith("00_primer")]
BOX = re.compile(r"^(`{3,})\{prf:(\w+)\} \S[^\n]*\n:label: (\S+)\n(.*?)^\1$", re.M | re.S)
PREFIXES = {"definition": "def-", "theorem": "thm-", "proposition": "prop-"}
KINDS = ("Intuition", "Proved", "Measured here", "Open")
SECTIONS = ("## What goes wrong", "## Summary", "## Exercises", "## Further reading")


def text_of(source) -> str:
    return "\n\n".join(c.source for c in jupytext.read(source).cells if c.cell_type == "markdown")


def code_of(source) -> list:
    return [c for c in jupytext.read(source).cells if c.cell_type == "code"]


def notebook_of(source) -> dict:
    return json.loads((BOOK / f"{source.stem}.ipynb").read_text(encoding="utf-8"))


@each_chapter
def test_has_the_parts_of_a_chapter_in_order(source):
    text = text_of(source)
    head = text.split("\n## ")[0]
    assert re.search(r"^\(ch-[a-z0-9-]+\)=\n# .+", text), "starts with a label and a title"
    assert re.search(r"^\*\*[^*]+\?\*\*", head, re.M), "asks its question in bold"
    box = re.search(r"```\{admonition\} What you will do\n:class: tip\n(.*?)```", head, re.S)
    assert box, "has a box «What you will do»"
    assert 3 <= box.group(1).count("\n- ") + box.group(1).startswith("- ") <= 5
    assert "*You need*" in head
    places = [text.find(f"\n{name}") for name in SECTIONS]
    assert -1 not in places, [n for n, p in zip(SECTIONS, places, strict=True) if p < 0]
    assert places == sorted(places)
    numbers = re.findall(r"^## (\d+) ", text, re.M)
    assert numbers == [str(i + 1) for i in range(len(numbers))]
    assert len(numbers) >= 2


@each_notebook
def test_says_how_long_it_runs_and_keeps_to_it(source):
    limit = re.search(r"in under (\d+) s on two cores", text_of(source))
    assert limit, "says «*Runs* in under N s on two cores»"
    assert int(limit.group(1)) <= 60
    assert notebook_of(source)["metadata"]["setrade"]["seconds"] < int(limit.group(1))


@each_notebook
def test_cells_are_short(source):
    cells = [c.source.splitlines() for c in code_of(source)]
    assert max(map(len, cells)) <= 20, max(cells, key=len)
    assert median(map(len, cells)) <= 6
    wide = [line for cell in cells for line in cell if len(line) > 72]
    assert not wide, wide


@each_notebook
def test_one_parameters_cell_and_no_ci_switch(source):
    cells = code_of(source)
    assert sum("parameters" in c.metadata.get("tags", []) for c in cells) == 1
    assert not re.search(r"environ.*\bCI\b|getenv.*\bCI\b", source.read_text(encoding="utf-8"))
    assert "SETRADE_DATA" not in "\n".join(c.source for c in cells if "environ" in c.source)


@each_chapter
def test_exercises_have_folded_solutions(source):
    text = text_of(source)
    asked = re.findall(r"```\{exercise[^\n]*\n:label: (\S+)", text)
    solved = re.findall(r"```\{solution(?:-start)?\} (\S+)\n:class: dropdown", text)
    assert len(asked) >= 2
    assert sorted(asked) == sorted(solved)


@each_chapter
def test_exercises_are_graded_and_one_asks_for_an_evening(source):
    titles = re.findall(r"```\{exercise\} (.+)", text_of(source))
    assert [t for t in titles if not re.fullmatch(r"[^★]+ ★{1,3}", t)] == []
    assert any(t.endswith(" ★★★") for t in titles)


@pytest.mark.parametrize("source", BOXED, ids=[s.stem for s in BOXED])
def test_sorts_what_it_knows_by_kind_before_its_summary(source):
    text = text_of(source)
    title = "```{admonition} Intuition, and what is established\n:class: established\n"
    assert text.count(title) == text.count("Intuition, and what is established") == 1
    inside, _, rest = text.partition(title)[2].partition("\n```\n")
    assert rest.lstrip("\n").startswith("## Summary\n"), "it stands directly before the summary"
    named = [re.match(r"\*([\w ]+)\.\*\s", paragraph) for paragraph in inside.split("\n\n")]
    kinds = [m.group(1) if m else "" for m in named]
    assert kinds == [k for k in KINDS if k in kinds], f"paragraphs are, in this order, {KINDS}"
    assert {"Intuition", "Open"} <= set(kinds)


def test_boxes_are_labelled_once_and_by_their_kind():
    boxes = [box for source in SOURCES for box in BOX.findall(text_of(source))]
    begun = sum(len(re.findall(r"\{prf:(?!ref|proof)", text_of(source))) for source in SOURCES)
    assert len(boxes) == begun, "every box has a title and then a label"
    labels = [label for _, _, label, _ in boxes]
    assert len(labels) == len(set(labels))
    for _, kind, label, _ in boxes:
        assert label.startswith(PREFIXES[kind]), f"{label} is a {kind}"


@each_notebook
def test_what_a_box_states_has_a_proof_or_says_where_it_is(source):
    text = text_of(source)
    for m in BOX.finditer(text):
        _, kind, label, words = m.groups()
        proved = text[m.end() :].lstrip().startswith("```{prf:proof}\n")
        points = re.search(r"\b[Cc]ells?\b|\b[Ss]ections?\b|\{(?:ref|prf:ref|cite:\w)\}`", words)
        assert kind == "definition" or proved or points, label


@each_notebook
def test_every_figure_has_caption_alt_text_and_a_small_file(source):
    for cell in notebook_of(source)["cells"]:
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png is None:
                continue
            meta = cell["metadata"].get("mystnb", {})
            alt = meta.get("image", {}).get("alt", "")
            assert alt.endswith((".", "?")), f"alt text is not a sentence: {alt!r}"
            assert len(alt.split()) >= 6, f"alt text is not a sentence: {alt!r}"
            assert meta["figure"]["caption"].endswith(".")
            assert re.fullmatch(r"fig-[a-z0-9-]+", meta["figure"]["name"])
            assert len(base64.b64decode(png)) < 150_000


@each_notebook
def test_no_result_hides_from_the_comparison(source):
    """A cell whose output is not compared may show a clock or a machine, never a result."""
    for cell in code_of(source):
        tags = cell.metadata.get("tags", [])
        assert not {"raises-exception", "nbval-skip", "nbval-raises-exception"} & set(tags)
        if "nbval-ignore-output" in tags:
            assert re.search(r"time|clock|machine|version|device|cpu", cell.source)


def test_every_chapter_is_in_the_table_of_contents_once():
    listed = re.findall(
        r"file: book/([0-9A-Z]\d[a-z]?_\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8")
    )
    assert [s for s in listed if not reading.PROJECT.fullmatch(s)] == [s.stem for s in LESSONS]
    assert sorted(listed) == [s.stem for s in SOURCES]
    assert {p.stem for p in BOOK.glob("*.ipynb")} == set(listed), "a notebook without a chapter"


@each_notebook
def test_the_table_of_contents_gives_a_chapter_its_number(source):
    number = source.stem.split("_")[0]
    (title,) = re.findall(r"^# (.+)$", text_of(source), re.MULTILINE)[:1]
    shown = f"{int(number) if number.isdigit() else number} {title}"
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    if not source.stem.startswith("00_primer"):
        assert f'file: book/{source.stem}\n        title: "{shown}"' in toc


def test_stored_results_carry_their_provenance():
    from setrade import results

    for path in results.FOLDER.glob("*.json"):
        record = results.load(path.stem)
        assert record["command"].startswith(("make ", "SETRADE_DATA="))
        assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", record["commit"])


def test_config_never_executes_and_asks_nobody():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["execute"]["execute_notebooks"] == "off"
    assert config["launch_buttons"]["thebe"] is False


# ---- Projects: one evening, steps with a check each, and a worked solution that runs.


ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII")
AFTER = ("## What to conclude, and what not", "## Go on")
STEP = re.compile(r"^## Step (\d): .+$", re.M)


def test_a_project_is_told_by_its_name_alone_and_closes_its_part():
    assert [s.stem for s in SOURCES if s.stem.startswith("E")] == [s.stem for s in PROJECTS]
    parts = {reading.short(caption): pages for caption, pages in reading.toc().items()}
    for source in PROJECTS:
        match = reading.PROJECT.fullmatch(source.stem)
        part = parts[ROMAN[int(match.group(1)) - 1]]
        assert [name for name in part if reading.PROJECT.fullmatch(name)] == [source.stem]
        assert part[-1] == source.stem
        assert source.stem not in [name for p in reading.parts() for name in p.pages]


@pytest.mark.parametrize("name", ["E0_x", "E8_x", "E1", "A1_E1_x", "05_E5_x", "E12_x", "e1_x"])
def test_no_other_name_is_that_of_a_project(name):
    assert not reading.PROJECT.fullmatch(name)


@each_project
def test_a_project_has_its_parts_in_order(source):
    text = text_of(source)
    head = text.split("\n## ")[0]
    assert re.match(r"\(ch-evening-[1-7]\)=\n# An evening: .+", text)
    assert re.search(r"^\*\*[^*]+\?\*\*", head, re.M), "asks its question in bold"
    assert "```{admonition} What you will do\n:class: tip\n" in head
    assert "*You need*" in head
    headings = re.findall(r"^## .+$", text, re.M)
    steps = [h for h in headings if STEP.fullmatch(h)]
    assert 4 <= len(steps) <= 6
    before = ["## Why it is worth an evening", "## What is given"]
    assert headings == [*before, *steps, *AFTER]
    assert [int(n) for n in STEP.findall(text)] == list(range(1, len(steps) + 1))
    assert "**your own bars**" in text.partition(steps[0])[0], "says how to put one's own bars in"
    assert len(re.findall(r"^\d\. \*\*", text.partition(AFTER[1])[2], re.M)) == 2


@each_project
def test_each_step_asks_hints_checks_and_then_solves(source):
    """The check stands before the solution, and the solution passes it as a reader's would."""
    label = "ex-" + re.match(r"\(ch-(\S+)\)=", text_of(source)).group(1)
    step, order = 0, {}
    for cell in jupytext.read(source).cells:
        if cell.cell_type == "code":
            order.setdefault(step, []).append(cell.source)
            continue
        for line in cell.source.splitlines():
            if found := STEP.fullmatch(line):
                step = int(found.group(1))
            if line.startswith(("```{", ":label:", ":class:")):
                order.setdefault(step, []).append(line)
    for n in range(1, step + 1):
        text = "\n".join(order[n])
        wanted = (
            "```{exercise} ", f":label: {label}-{n}", "```{admonition} Hint",
            ":class: hint dropdown", f"def check_{n}(", "assert ",
            f"```{{solution-start}} {label}-{n}", ":class: dropdown", f"\ncheck_{n}(",
            "```{solution-end}",
        )  # fmt: skip
        at = 0
        for words in wanted:
            assert words in text[at:], f"step {n}: {words} is missing, or out of order"
            at += text[at:].index(words)
    code = "\n".join(c.source for c in code_of(source))
    assert "plt.show()" in code, "at least one figure"


@each_project
def test_no_check_of_a_solution_stands_open_behind_it(source):
    """Where it would tell the answer to whoever has not opened the solution."""
    cells = jupytext.read(source).cells
    after = [b for a, b in pairwise(cells) if a.source.rstrip().endswith("```{solution-end}\n```")]
    assert [cell.source for cell in after if cell.cell_type == "code"] == []
