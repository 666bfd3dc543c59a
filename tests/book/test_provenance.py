"""A stale, failed or unexecuted cell is found, and the message says how to mend it."""

from __future__ import annotations

import json
import shutil

import provenance
import pytest
from provenance import BOOK, CHAPTERS, faults

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
    notebook = json.loads(path.read_text())
    change(notebook, [c for c in notebook["cells"] if c["cell_type"] == "code"])
    path.write_text(json.dumps(notebook))


def test_an_untouched_copy_is_clean(copy):
    assert faults(copy[0]) == []


def test_a_changed_source_is_stale(copy):
    source, _ = copy
    source.write_text(source.read_text() + "\n# changed\n")
    (fault,) = faults(source)
    assert "stale" in fault
    assert f"make book CHAPTERS={source.stem}" in fault


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


def test_prose_in_a_helper_does_not_make_a_chapter_stale(tmp_path, monkeypatch):
    (tmp_path / "setrade").mkdir()
    (tmp_path / "book" / "results").mkdir(parents=True)
    helper = tmp_path / "setrade" / "idea.py"
    (tmp_path / "setrade" / "__init__.py").write_text("")
    source = tmp_path / "01_x.py"
    source.write_text("from setrade import idea\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "BOOK", tmp_path / "book")
    helper.write_text('"""One."""\nX = 1  # a number\n')
    before = provenance.helper_hash(source)
    helper.write_text('"""Another."""\nX = 1\n')
    assert provenance.helper_hash(source) == before
    helper.write_text('"""One."""\nX = 2\n')
    assert provenance.helper_hash(source) != before
