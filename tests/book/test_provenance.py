"""A stale, failed or unexecuted cell is found, and the message says how to fix it."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import provenance
import pytest
from compare import Tolerance
from provenance import BOOK, CHAPTERS, faults

import book

SOURCES = sorted(CHAPTERS.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
def test_notebook_is_executed_and_up_to_date(source):
    assert faults(source) == []


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Return a chapter and its notebook, copied to where they may be spoiled."""
    for name in ("chapters", "book"):
        (tmp_path / name).mkdir()
    (tmp_path / "setrade").symlink_to(provenance.ROOT / "setrade")
    (tmp_path / "book" / "results").symlink_to(BOOK / "results")
    source = SOURCES[0]
    shutil.copy(source, tmp_path / "chapters" / source.name)
    notebook = tmp_path / "book" / f"{source.stem}.ipynb"
    shutil.copy(BOOK / notebook.name, notebook)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "BOOK", tmp_path / "book")
    return tmp_path / "chapters" / source.name, notebook


def spoil(path, change):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    change(notebook, [c for c in notebook["cells"] if c["cell_type"] == "code"])
    path.write_text(json.dumps(notebook), encoding="utf-8")


def test_an_untouched_copy_is_clean(copy):
    assert faults(copy[0]) == []


def test_a_changed_source_is_stale(copy):
    source, _ = copy
    source.write_text(source.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    (fault,) = faults(source)
    assert "stale" in fault
    assert f"make book CHAPTERS={source.stem}" in fault


def rewritten(source, change):
    text = source.read_text(encoding="utf-8")
    source.write_text(changed := change(text), encoding="utf-8")
    assert changed != text


WORDS = "\n# %% [markdown]\n# A sentence that was not there.\n"
CAPTION = '"caption": "'


@pytest.mark.parametrize(
    "change",
    [lambda t: t + WORDS, lambda t: t.replace(CAPTION, CAPTION + "Now: ", 1)],
    ids=["text", "caption"],
)
def test_where_only_text_changed_nothing_runs(copy, change, monkeypatch):
    source, path = copy
    monkeypatch.setattr(book, "CHAPTERS", source.parent)
    monkeypatch.setattr(book, "BOOK", path.parent)
    monkeypatch.delattr(book, "execute")
    before = json.loads(path.read_text(encoding="utf-8"))
    rewritten(source, change)
    assert book.command_execute([source.stem], force=False) == 0
    after = json.loads(path.read_text(encoding="utf-8"))
    assert faults(source) == []
    assert after["cells"] != before["cells"]
    old, new = (nb["metadata"]["setrade"] for nb in (before, after))
    assert old.pop("source_sha256") != new.pop("source_sha256")
    assert old == new  # seconds, device and outputs are those of the run


CODE = "\n# %%\nprint(1 + 1)\n"


def shown(code):
    return next(cell for cell in code if cell["outputs"])


def helper(path):
    spoil(path, lambda nb, _: nb["metadata"]["setrade"].update(helpers_sha256="0"))


@pytest.mark.parametrize(
    "spoiling",
    [
        lambda source, _: rewritten(source, lambda t: t + CODE),
        lambda _, path: helper(path),
        lambda _, path: spoil(path, lambda _, code: code[1].update(execution_count=None)),
        lambda _, path: spoil(path, lambda _, code: shown(code)["outputs"].clear()),
        lambda _, path: path.unlink(),
        lambda _, path: path.write_text("{", encoding="utf-8"),
    ],
    ids=["code", "helper", "unexecuted", "outputs", "missing", "torn"],
)
def test_outputs_are_not_taken_over_where_they_may_be_old(copy, spoiling):
    source, path = copy
    rewritten(source, lambda t: t + WORDS)
    assert provenance.reworded(source) is not None
    spoiling(source, path)
    assert provenance.reworded(source) is None


def test_a_missing_notebook_is_named(copy):
    copy[1].unlink()
    assert "is missing" in faults(copy[0])[0]


CHANGES = {
    "unexecuted": (lambda nb, code: code[1].update(execution_count=None), "not executed"),
    "out of order": (lambda nb, code: code[1].update(execution_count=99), "not executed"),
    "failed": (
        lambda nb, code: code[0]["outputs"].append(
            {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
        ),
        "failed with ValueError",
    ),
    "stderr": (
        lambda nb, code: code[0]["outputs"].append(
            {"output_type": "stream", "name": "stderr", "text": ["a warning"]}
        ),
        "wrote to stderr",
    ),
    "helpers": (
        lambda nb, code: nb["metadata"]["setrade"].update(helpers_sha256="0"),
        "a helper module or stored result it uses changed",
    ),
    "no provenance": (lambda nb, code: nb["metadata"].pop("setrade"), "has no provenance"),
    "an edited number": (
        lambda nb, code: next(o for c in code for o in c["outputs"] if "text" in o).update(
            text=["0.99\n"]
        ),
        "changed by hand",
    ),
    "an edited figure": (
        lambda nb, code: next(
            o["data"] for c in code for o in c["outputs"] if "image/png" in o.get("data", {})
        ).update({"image/png": "AAAA"}),
        "changed by hand",
    ),
    "an edited cell": (lambda nb, code: code[2].update(source=["1"]), "changed by hand"),
    "edited prose": (
        lambda nb, code: next(c for c in nb["cells"] if c["cell_type"] == "markdown").update(
            source=["0.99 of all"]
        ),
        "changed by hand",
    ),
    "a missing cell of prose": (
        lambda nb, code: nb["cells"].remove(
            next(c for c in nb["cells"] if c["cell_type"] == "markdown")
        ),
        "changed by hand",
    ),
    "a missing last cell": (lambda nb, code: nb["cells"].pop(), "changed by hand"),
    "one more cell": (lambda nb, code: nb["cells"].append(nb["cells"][1]), "changed by hand"),
    "a tolerance that its chapter does not have": (
        lambda nb, code: code[2]["metadata"].update(tolerance={"decimals": 9, "effect": 10}),
        "cell",
    ),
    "no list of outputs": (lambda nb, code: code[1].pop("outputs"), "torn or no notebook"),
    "no execution count": (lambda nb, code: code[1].pop("execution_count"), "torn or no notebook"),
    "no metadata of a cell": (lambda nb, code: code[1].pop("metadata"), "torn or no notebook"),
    "a cell that is none": (lambda nb, code: nb["cells"].insert(0, None), "torn or no notebook"),
    "no hash of its source": (
        lambda nb, code: nb["metadata"]["setrade"].pop("source_sha256"),
        "torn or no notebook",
    ),
    "another format": (lambda nb, code: nb.update(nbformat=3), "is in notebook format 3"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_spoiled_notebook_is_found(copy, name):
    change, words = CHANGES[name]
    spoil(copy[1], change)
    found = faults(copy[0])
    assert len(found) == 1
    assert words in found[0]
    assert copy[0].stem in found[0]
    assert "make book CHAPTERS=" in found[0]


@pytest.mark.parametrize("text", ["", "{", '{"cells": [', "[]", '{"metadata": {}}'])
def test_a_torn_notebook_is_named_and_executed_again(copy, text):
    copy[1].write_text(text, encoding="utf-8")
    (found,) = faults(copy[0])
    assert f"book/{copy[1].name} is torn or no notebook" in found
    assert f"make book CHAPTERS={copy[0].stem}" in found  # `execute` runs whatever has a fault


def test_a_killed_execution_leaves_the_old_notebook_whole(copy):
    """`tools/book.py execute` is killed while a chapter runs."""
    before = copy[1].read_bytes()
    folder = copy[1].parent.parent
    for name in ("tools", "pyproject.toml", "jupytext.toml"):
        (folder / name).symlink_to(Path(book.__file__).parent.parent / name)
    copy[0].write_text("# %%\nimport time\ntime.sleep(60)\n", encoding="utf-8")
    code = (
        "import sys, pathlib; sys.path[:0] = ['tools', '.']; import provenance, book; "
        "root = pathlib.Path('.').resolve(); provenance.ROOT = root; "
        "provenance.BOOK = book.BOOK = root / 'book'; "
        "provenance.CHAPTERS = book.CHAPTERS = root / 'chapters'; "
        "print('ready', flush=True); book.command_execute([], force=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"ready"
    assert process.stdout.readline(5).startswith(b"[1/1]")
    time.sleep(3)
    process.kill()
    process.wait()
    assert copy[1].read_bytes() == before
    assert [p.name for p in copy[1].parent.iterdir() if p.suffix == ".tmp"] == []


def test_the_first_cell_says_how_to_install_the_package():
    for source in SOURCES:
        notebook = json.loads((BOOK / f"{source.stem}.ipynb").read_text(encoding="utf-8"))
        first = notebook["cells"][0]
        assert first["metadata"]["jupyter"]["source_hidden"] is True
        assert "".join(first["source"]) == provenance.INSTALL
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", provenance.INSTALL], capture_output=True, text=True,
        encoding="utf-8", cwd="/",
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install '.[cpu]'" in done.stderr


def test_a_declared_tolerance_is_told_to_the_reader():
    told = 0
    for source in SOURCES:
        notebook = json.loads((BOOK / f"{source.stem}.ipynb").read_text(encoding="utf-8"))
        cells = notebook["cells"]
        for cell, after in itertools.pairwise(cells):
            if tolerance := Tolerance.of(cell["metadata"]):
                assert "".join(after["source"]) == f"*{tolerance.words()} on other processors*"
                told += 1
    assert told > 0


def test_a_tolerance_that_cannot_be_meant_is_named_with_its_cell(copy, monkeypatch, capsys):
    source, notebook = copy
    source.write_text('# %% tolerance={"decimals": 0.3, "effect": 0.1}\nx = 1\n', encoding="utf-8")
    monkeypatch.setattr(book, "CHAPTERS", source.parent)
    before = notebook.read_bytes()
    assert book.command_execute([], force=True) == 1
    said = capsys.readouterr().err
    assert "wider than the effect" in said
    assert "the cell that starts «x = 1»" in said
    assert notebook.read_bytes() == before


def test_prose_in_a_helper_does_not_make_a_chapter_stale(tmp_path, monkeypatch):
    (tmp_path / "setrade").mkdir()
    (tmp_path / "book" / "results").mkdir(parents=True)
    helper = tmp_path / "setrade" / "idea.py"
    (tmp_path / "setrade" / "__init__.py").write_text("", encoding="utf-8")
    source = tmp_path / "01_x.py"
    source.write_text("from setrade import idea\n", encoding="utf-8")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "BOOK", tmp_path / "book")
    helper.write_text('"""One."""\nX = 1  # a number\n', encoding="utf-8")
    before = provenance.helper_hash(source)
    helper.write_text('"""Another."""\nX = 1\n', encoding="utf-8")
    assert provenance.helper_hash(source) == before
    helper.write_text('"""One."""\nX = 2\n', encoding="utf-8")
    assert provenance.helper_hash(source) != before


@pytest.mark.parametrize(
    "text", ['results.load("a")', 'print("a.json")', 'results.load(\n    "a"\n)']
)
def test_a_result_that_is_read_counts_named_or_not(tmp_path, monkeypatch, text):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "claims.yml").write_text("", encoding="utf-8")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "BOOK", tmp_path / "book")
    source = tmp_path / "chapters" / "x.py"
    source.write_text(text, encoding="utf-8")
    told = []
    for name, content in (("a", "1"), ("a", "2"), ("b", "1")):
        path = tmp_path / "book" / "results" / f"{name}.json"
        path.write_text(content, encoding="utf-8")
        told.append(provenance.helper_hash(source))
    assert told[0] != told[1] == told[2]


def test_a_syntax_tree_reads_the_same_on_every_python():
    """What `ast.dump` says differs: 3.12 has more fields, 3.13 leaves empty lists out."""
    text = 'class A:\n    """Doc."""\n\n    x = f"{1:>{2}}"\n'
    assert provenance._code_only(text) == (
        "Module(body=[ClassDef(name='A', body=[Assign(targets=[Name(id='x', ctx=Store())], "
        "value=JoinedStr(values=[FormattedValue(value=Constant(value=1), conversion=-1, "
        "format_spec=JoinedStr(values=[Constant(value='>'), FormattedValue("
        "value=Constant(value=2), conversion=-1)]))]))])])"
    )


def test_long_notebooks_are_compared_first():
    notebooks = [BOOK / f"{source.stem}.ipynb" for source in SOURCES]
    took = [
        json.loads(path.read_text(encoding="utf-8"))["metadata"]["setrade"]["seconds"]
        for path in book.longest_first(notebooks)
    ]
    assert took == sorted(took, reverse=True)
    assert len(took) == len(notebooks)
