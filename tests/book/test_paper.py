"""The book on paper: printed whole, joined with its links, or what is wrong is named."""

from __future__ import annotations

import json
from contextlib import nullcontext

import offers
import pytest
from test_browser import CHROMIUM, browser  # noqa: F401  a fixture

pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed: run `make`")
import paper  # noqa: E402
import paper_check  # noqa: E402
import paper_front  # noqa: E402
from paper_print import Leaf, contents, printed  # noqa: E402

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
pytestmark = pytest.mark.enable_socket

NAV = """<div class="bd-sidebar-primary"><nav class="bd-links"><p class="caption">I Parts</p><ul>
<li class="toctree-l1"><a href="one.html">1 One</a></li>
<li class="toctree-l2"><a href="two.html#x">Two (a)</a></li></ul></nav></div>"""
FIRST = '<h1>First</h1><p><a href="two.html#low">two</a> <a href="#x">none</a></p>'
ONE = """<h1>One</h1><h2 id="part">A part</h2><p><a href="two.html#low">low</a>
<a href="two.html">top</a> <a href="https://example.org/">out</a> <a href="gone.html">gone</a></p>
<details class="quiz"><summary>Three quick questions</summary><p>Why?</p>
<details class="quiz-fold"><summary>Answer</summary><p>Because.</p></details></details>"""
TWO = '<h1>Two</h1><div style="height:1500px"></div><h2 id="low">Low</h2><p>at the end</p>'


def write(folder, name: str, body: str, nav: str = ""):
    """Write a page as the site has it, and return where it is."""
    path = folder / f"{name}.html"
    path.write_text(
        f"<!DOCTYPE html><meta charset='utf-8'><title>t</title>{nav}"
        f"<article class='bd-article'>{body}</article>",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def site(tmp_path):
    """A book of three pages."""
    for name, body in (("first", FIRST), ("one", ONE), ("two", TWO)):
        write(tmp_path, name, body, NAV)
    return tmp_path


def one(tab, source, target):
    """Print a page that stands alone; return its faults."""
    leaf = Leaf("", "t", source.resolve().as_uri())
    return printed(tab, leaf, target, [leaf.address])[1]


@needs_chromium
def test_a_page_that_fits_is_printed(browser, tmp_path):  # noqa: F811
    source = write(tmp_path, "page", "<h1>One</h1><pre>x = 1</pre>")
    assert one(browser, source, tmp_path / "page.pdf") == []
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")


LONG = "x" * 400


@needs_chromium
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f"<pre>{LONG}</pre>", "pre too wide"),
        (f"<table><tr><td style='white-space:nowrap'>{LONG}</table>", "table too wide"),
        ("<svg style='min-width:900px' height='9'></svg>", "svg too wide"),
        ("<p style='position:absolute;left:-60px'>left</p>", "p too wide: left"),
        ("<svg width='9' style='min-height:1200px'></svg>", "svg too tall"),
        ("<img alt='A picture.' src='gone.png'>", "img cannot be read: gone.png"),
    ],
    ids=["code", "table", "wide", "left", "tall", "missing"],
)
def test_what_would_be_cut_is_named_and_not_printed(browser, tmp_path, body, said):  # noqa: F811
    (found,) = one(browser, write(tmp_path, "page", body), tmp_path / "page.pdf")
    assert found.startswith(f"t: {said}")
    assert not (tmp_path / "page.pdf").exists()


@needs_chromium
@pytest.mark.parametrize(
    "body",
    [
        f"<div class='highlight'><pre>{LONG}</pre></div>",
        f"<div class='cell_output'><div class='highlight'><pre>{LONG}</pre></div></div>",
        f"<table><tr><td style='white-space:nowrap'>{LONG[:110]}</table>",
        f"<p>{LONG}</p>",
    ],
    ids=["code wraps", "a long line of output wraps", "a table gets smaller", "text wraps"],
)
def test_what_is_a_little_too_wide_is_made_to_fit(browser, tmp_path, body):  # noqa: F811
    target = tmp_path / "page.pdf"
    assert one(browser, write(tmp_path, "page", body), target) == []
    text = pypdf.PdfReader(target).pages[0].extract_text().replace("\n", "")
    assert text.count("x") == body.count("x")
    assert paper_check.faults(target) == []


@needs_chromium
def test_the_order_is_that_of_the_navigation(browser, site):  # noqa: F811
    leaves = contents(browser, site / "first.html")
    assert [(x.part, x.title, x.level) for x in leaves] == [
        ("", "First", 1), ("I Parts", "1 One", 1), ("I Parts", "Two (a)", 2)
    ]  # fmt: skip


def book(site, monkeypatch, tab):
    """Join the small book; return its faults, and the file as it is read."""
    monkeypatch.setattr(paper, "browser", lambda: nullcontext(tab))
    target = site / "book.pdf"
    found = paper.book(site, target, first="first.html")
    return found, pypdf.PdfReader(target) if target.exists() else None


def targets(reader, number: int) -> list:
    """Return where the links of a page lead: a page's number, or an address."""
    pages = {page.indirect_reference.idnum: n for n, page in enumerate(reader.pages, 1)}
    found = []
    for link in (each.get_object() for each in reader.pages[number - 1].get("/Annots", [])):
        there = link["/Dest"][0].idnum if "/Dest" in link else None
        found.append(pages[there] if there else link["/A"]["/URI"])
    return found


@needs_chromium
def test_links_outline_and_numbers_of_a_joined_book(browser, site, monkeypatch):  # noqa: F811
    found, reader = book(site, monkeypatch, browser)
    assert found == []
    # 1 title, 2 contents, 3 first, 4 one, 5 and 6 two
    assert len(reader.pages) == 6
    assert targets(reader, 2) == [3, 4, 5]
    assert targets(reader, 3) == [6]
    assert targets(reader, 4) == [6, 5, "https://example.org/"]
    texts = [page.extract_text() for page in reader.pages]
    assert [text.split()[-1] for text in texts[1:]] == ["2", "3", "4", "5", "6"]
    assert "Two (a)" in texts[5], "the title in the foot, with its brackets"
    assert "Answer: Because." in texts[3]
    entries = list(walk(reader.outline))
    assert [entry["/Title"] for entry in entries] == [
        "Contents", "First", "I Parts", "1 One", "A part", "Two (a)", "Low"
    ]  # fmt: skip
    assert reader.get_destination_page_number(entries[-1]) == 5


def walk(outline):
    """Yield every entry of an outline."""
    for item in outline:
        if isinstance(item, list):
            yield from walk(item)
        else:
            yield item


@needs_chromium
def test_a_fault_of_any_page_stops_the_book(browser, site, monkeypatch):  # noqa: F811
    write(site, "two", f"<h1>Two</h1><pre>{LONG}</pre>", NAV)
    found, reader = book(site, monkeypatch, browser)
    assert found == [f"Two (a): pre too wide: {LONG[:60]}"]
    assert reader is None


@needs_chromium
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<p style='break-after:page'>a</p><p style='break-after:page'>&nbsp;</p><p>b</p>",
         "page 2 is blank"),
        ("<p>a</p><div style='width:900px'>b</div>", "was shrunk to"),
    ],
    ids=["blank", "shrunk"],
)  # fmt: skip
def test_a_page_that_was_printed_is_checked(browser, tmp_path, body, said):  # noqa: F811
    target = tmp_path / "page.pdf"
    assert one(browser, write(tmp_path, "page", body), target) == []
    (found,) = paper_check.faults(target)
    assert said in found


@needs_chromium
def test_text_outside_its_page_is_named(browser, tmp_path):  # noqa: F811
    target = tmp_path / "page.pdf"
    assert one(browser, write(tmp_path, "page", "<p>a</p>"), target) == []
    writer = pypdf.PdfWriter(target)
    writer.pages[0].mediabox.left = 100
    writer.write(target)
    assert paper_check.faults(target) == ["page 1: outside the page: 'a'"]


def test_the_contents_escape_titles_and_say_numbers():
    leaves = [Leaf("", "A & B", "file:///a.html"), Leaf("I", "C", "file:///c.html", 2)]
    text = paper_front.page(leaves, {"file:///a.html": 7})
    assert "A &amp; B" in text
    assert ">7</span>" in text
    assert ">000</span>" in text
    assert '<li class="deeper">' in text


@pytest.mark.parametrize("kinds", [(), ("pdf",), ("epub",), ("pdf", "epub")])
def test_a_link_is_there_when_its_file_is(tmp_path, kinds):
    html, made = tmp_path / "html", tmp_path / "paper"
    (html / "book").mkdir(parents=True)
    made.mkdir()
    page = html / offers.PAGE
    page.write_text('<p>a</p><div id="offers" class="x"></div><p>b</p>', encoding="utf-8")
    for turn in (("pdf", "epub"), kinds):  # what was offered before and has gone is taken back
        for old in made.iterdir():
            old.unlink()
        for kind in turn:
            (made / f"{offers.NAME}.{kind}").write_bytes(b"x" * 100_000)
        for _ in range(2):
            offers.offer(html, made)
        text = page.read_text(encoding="utf-8")
        for kind in offers.KINDS:
            there = (html / f"{offers.NAME}.{kind}").is_file()
            assert there == (kind in turn) == (f'href="../{offers.NAME}.{kind}"' in text)
        assert text.startswith('<p>a</p><div id="offers" class="x">')
        assert text.endswith("</div><p>b</p>")


def test_a_file_of_an_earlier_text_is_named_so(tmp_path):
    html, made = tmp_path / "html", tmp_path / "paper"
    (html / "book").mkdir(parents=True)
    made.mkdir()
    page = html / offers.PAGE
    page.write_text('<div id="offers"></div>', encoding="utf-8")
    for kind, of in (("pdf", offers.state()), ("epub", "0" * 64)):
        file = made / f"{offers.NAME}.{kind}"
        file.write_bytes(b"x" * 100_000)
        offers.stamp(file, of)
    assert [p.suffix for p in offers.offer(html, made)] == [".pdf", ".epub"]
    assert page.read_text(encoding="utf-8").count("of an earlier text") == 1
    assert "EPUB</a> (0.1 MB, of an earlier text)" in page.read_text(encoding="utf-8")
    (made / f"{offers.NAME}.pdf.state").unlink()  # made before files were stamped
    offers.offer(html, made)
    assert page.read_text(encoding="utf-8").count("of an earlier text") == 2


def test_of_a_site_that_nobody_stamped_no_state_is_known(tmp_path):
    (tmp_path / "html").mkdir()
    assert offers.stamped(tmp_path / "html") == "" != offers.state()
    offers.stamp(tmp_path / "html", "a")
    assert offers.stamped(tmp_path / "html") == "a"
    assert list((tmp_path / "html").iterdir()) == []  # beside the site, and no part of it


def test_the_state_of_the_text_is_that_of_every_page(tmp_path):
    (tmp_path / "book" / "_static" / "diagrams").mkdir(parents=True)
    states = [offers.state(tmp_path)]
    for name in ("_toc.yml", "_config.yml", "book/a.ipynb", "book/b.md", "book/c.yml", "book/d.bib",
                 "book/_static/diagrams/e.svg"):  # fmt: skip
        (tmp_path / name).write_text("x", encoding="utf-8")
        states.append(offers.state(tmp_path))
    assert len(set(states)) == len(states)


BOOK = paper.FILE


@pytest.mark.skipif(not BOOK.is_file(), reason="the PDF is not built: run `make pdf`")
def test_the_whole_book_on_paper():
    reader = pypdf.PdfReader(BOOK)
    told = json.loads(BOOK.with_suffix(".json").read_text(encoding="utf-8"))
    assert len(reader.pages) == told["pages"] > 500
    assert BOOK.stat().st_size < 60e6
    lost = [t for n in range(1, told["pages"] + 1) for t in targets(reader, n)
            if isinstance(t, str) and not t.startswith(("http", "mailto"))]  # fmt: skip
    assert lost == []
    outline = [item["/Title"] for item in walk(reader.outline)]
    assert {row["title"] for row in told["chapters"][1:]} <= set(outline)
