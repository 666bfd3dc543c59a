"""The book as an EPUB: formulas are MathML, folds are open, and a broken file is named."""

from __future__ import annotations

import re
import zipfile

import pytest

pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: run `make`")
import epub_book
import epub_check
import epub_pages
from provenance import BOOK
from sphinx.application import Sphinx

CONF = """
extensions = ["epub_pages"]
project = epub_title = "Small"
version = "1"
author = copyright = "A"
epub_identifier = "small"
epub_uid = "book"
epub_use_index = False
epub_show_urls = "no"
epub_css_files = []
"""
INDEX = """
Small
=====

.. toctree::

   two

A formula :math:`a_i^2` and

.. math:: \\sum_{i=1}^n x_i

.. raw:: html

   <details class="quiz" open="open"><summary>Three</summary>
   <style scoped>p { color: red }</style><p>Why?</p></details>
"""
TWO = """
Two
===

See :doc:`index`.
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished EPUB of two pages, with a formula and a fold."""
    folder = tmp_path_factory.mktemp("small")
    for name, text in (("conf.py", CONF), ("index.rst", INDEX), ("two.rst", TWO)):
        (folder / name).write_text(text, encoding="utf-8")
    app = Sphinx(folder, folder, folder / "out", folder / "trees", "epub", status=None)
    app.build()
    assert app.statuscode == 0
    (built,) = (folder / "out").glob("*.epub")
    epub_book.finished(built, folder / "small.epub")
    return folder / "small.epub"


def test_a_formula_is_mathml_and_a_fold_is_open(small):
    assert epub_check.faults(small) == []
    with zipfile.ZipFile(small) as archive:
        page = archive.read("index.xhtml").decode()
        package = archive.read("content.opf").decode()
    assert len(re.findall("<math ", page)) == 2
    assert '<div class="quiz"><p class="fold">Three</p>' in page
    assert "scoped" not in page
    assert "\\sum" not in page
    assert 'href="index.xhtml" media-type="application/xhtml+xml" properties="mathml"' in package


def test_the_site_keeps_its_own_way_with_formulas_and_folds(small):
    folder = small.parent
    app = Sphinx(folder, folder, folder / "site", folder / "trees", "html", status=None)
    app.build()
    page = (folder / "site" / "index.html").read_text(encoding="utf-8")
    assert "\\(a_i^2\\)" in page
    assert "<math " not in page
    assert '<details class="quiz" open="open">' in page


@pytest.mark.parametrize("text", [r"\unknownmacro x", r"\frac{a", r"a_{"])
def test_a_formula_without_mathml_is_named(text):
    with pytest.raises(epub_pages.FormulaError, match=re.escape(repr(text))):
        epub_pages.mathml(text, display=False)


def test_every_formula_of_the_book_is_written_in_mathml():
    texts = [path.read_text(encoding="utf-8") for path in BOOK.glob("*.md")]
    formulas = [f for text in texts for f in re.findall(r"(?<!\$)\$([^$\n]+)\$(?!\$)", text)]
    assert len(formulas) > 20
    for formula in formulas:
        assert epub_pages.mathml(formula, display=False).startswith("<math")


def rewritten(source, target, name: str, change):
    """Write an EPUB once more with one file changed, or left out where it becomes None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            text = old.read(entry)
            if entry.filename == name:
                text = change(text)
            if text is not None:
                new.writestr(entry.filename, text)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("mimetype", lambda t: b"text/plain", "the first file is no mimetype"),
        ("META-INF/container.xml", lambda t: None, "missing: 'META-INF/container.xml'"),
        ("content.opf", lambda t: t[:200], "cannot be read"),
        ("content.opf", lambda t: t.replace(b"small", b"unknown"), "it has no identifier"),
        ("content.opf", lambda t: t.replace(b' properties="mathml"', b""), "are not declared"),
        ("content.opf", lambda t: t.replace(b' properties="nav"', b""), "0 tables of contents"),
        ("nav.xhtml", lambda t: re.sub(rb"<a .*?</a>", b"", t, flags=re.DOTALL), "lists nothing"),
        ("two.xhtml", lambda t: None, "listed, but missing: two.xhtml"),
        ("two.xhtml", lambda t: t.replace(b"</h1>", b""), "two.xhtml is no XML"),
        ("two.xhtml", lambda t: t.replace(b"index.xhtml", b"gone.xhtml"), "leads nowhere: gone"),
        ("two.xhtml", lambda t: t.replace(b"index.xhtml", b"index.xhtml#x"), "no such place"),
        ("two.xhtml", lambda t: t.replace(b"<h1>", b"<h1><img src='_static/epub.css'/>"),
         "a picture without words"),
        ("two.xhtml", lambda t: t.replace(b"<h1>", b"<h1><script/>"), "has no script"),
        ("two.xhtml", lambda t: t.replace(b"<h1>", b"<h1 class='math'>\\(x"), "left as TeX"),
        ("two.xhtml", lambda t: t.replace(b"<h1>", b"<h1 id='two'>"), "two places are called"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(small, tmp_path, name, change, said):
    rewritten(small, tmp_path / "broken.epub", name, change)
    found = epub_check.faults(tmp_path / "broken.epub")
    assert any(said in fault for fault in found), found


def test_no_archive_at_all_is_named(tmp_path):
    (tmp_path / "x.epub").write_bytes(b"nothing")
    (found,) = epub_check.faults(tmp_path / "x.epub")
    assert found.startswith("cannot be read")


@pytest.mark.skipif(not epub_book.FILE.is_file(), reason="no EPUB is built: run `make pdf`")
def test_the_whole_book_as_an_epub():
    assert epub_check.faults(epub_book.FILE) == []
    assert epub_book.FILE.stat().st_size < 20e6
    with zipfile.ZipFile(epub_book.FILE) as archive:
        pages = {n: archive.read(n).decode() for n in archive.namelist() if n.endswith(".xhtml")}
    assert sum(text.count("<math ") for text in pages.values()) > 1_000
    nav = pages["nav.xhtml"]
    chapters = [name for name in pages if re.match(r"book/(\d\d[a-z]?|[AE]\d)_", name)]
    assert len(chapters) > 30
    assert [name for name in chapters if f'href="{name}"' not in nav] == []  # built when it was
    assert any('class="quiz"' in text for text in pages.values())
