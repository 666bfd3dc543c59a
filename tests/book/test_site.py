"""The built site is whole and asks nobody else for anything."""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import urlparse

import last_changed
import pytest
from bs4 import BeautifulSoup
from provenance import CHAPTERS, ROOT

HTML = ROOT / "_build" / "html"
PAGES = sorted(
    p.relative_to(HTML).as_posix() for p in HTML.rglob("*.html") if "_static" not in p.parts
)
CONTENT = [p for p in PAGES if p.startswith("book/")]
LOADED = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src",
    "audio": "src", "embed": "src", "object": "data", "link": "href",
}  # fmt: skip
NOT_FETCHED = {"canonical", "next", "prev", "search", "index", "author", "copyright"}


@cache
def page(name: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / name).read_text(encoding="utf-8"), "html.parser")


@cache
def targets(name: str) -> frozenset[str]:
    return frozenset(element["id"] for element in page(name).find_all(id=True))


def test_the_site_is_built():
    assert (HTML / "index.html").is_file(), "run `make book` first"
    built = {p for p in PAGES if p.startswith("book/")}
    assert {f"book/{s.stem}.html" for s in CHAPTERS.glob("*.py")} <= built
    for name in ("intro", "notation", "glossary", "references", "generated/api"):
        assert f"book/{name}.html" in built


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_from_elsewhere(name):
    for tag, attribute in LOADED.items():
        for element in page(name).find_all(tag):
            if tag == "link" and NOT_FETCHED & set(element.get("rel", [])):
                continue
            target = urlparse(element.get(attribute, ""))
            if target.scheme == "data":
                continue
            assert not target.netloc, f"{element} loads from {target.netloc}"
            if target.path:
                assert ((HTML / name).parent / target.path).resolve().is_file(), element
    for style in page(name).find_all("style"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", style.text)


def test_no_stylesheet_loads_from_elsewhere():
    for css in HTML.rglob("*.css"):
        text = css.read_text(errors="replace", encoding="utf-8")
        outside = re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^)'\"\s]+)", text)
        assert not outside, f"{css.name}: {outside}"


@pytest.mark.parametrize("name", CONTENT)
def test_every_image_has_an_alt_text_that_is_a_sentence(name):
    for image in page(name).select("article img"):
        alt = image.get("alt", "")
        assert len(alt.split()) >= 6, f"{image.get('src')}: {alt!r}"
        assert alt.endswith((".", "?")), f"{image.get('src')}: {alt!r}"


@pytest.mark.parametrize("name", CONTENT)
def test_links_inside_the_site_lead_somewhere(name):
    for link in page(name).select("article a[href]"):
        target = urlparse(link["href"])
        if target.scheme or target.netloc:
            continue
        file = (HTML / name).parent / target.path if target.path else HTML / name
        assert file.resolve().is_file(), link
        if target.fragment and file.suffix == ".html":
            inside = targets(file.resolve().relative_to(HTML.resolve()).as_posix())
            assert target.fragment in inside, f"{name}: nothing at {link['href']}"


def test_notebooks_can_be_downloaded_and_searched():
    name = sorted(CHAPTERS.glob("*.py"))[0].stem
    links = [a["href"] for a in page(f"book/{name}.html").select("a[href$='.ipynb']")]
    assert any((HTML / "book" / link).resolve().is_file() for link in links)
    assert "Squeeze" in (HTML / "searchindex.js").read_text(encoding="utf-8") or "squeez" in (
        HTML / "searchindex.js"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CONTENT)
def test_no_formula_is_left_as_source(name):
    """A display formula inside a list item, say, is shown with its dollar signs."""
    article = BeautifulSoup(str(page(name).find("article")), "html.parser")
    for element in article.select("pre, code, .math, .highlight, .output"):
        element.decompose()
    assert not re.findall(r".{0,40}\$.{0,40}", article.get_text())


@pytest.mark.parametrize("name", [n for n in CONTENT if n.startswith("book/generated/api_")])
def test_every_reference_page_documents_something(name):
    assert page(name).select("article dl.py dt.sig"), "an empty page: were its names excluded?"


@pytest.mark.parametrize("name", CONTENT)
def test_a_link_to_a_term_shows_its_definition(name):
    for link in page(name).select("article a.reference[href*='#term-']"):
        assert len(link.get("title", "").split()) >= 3, link


def test_a_page_says_when_it_last_changed_where_git_knows():
    for name in CONTENT:
        stamp = page(name).select_one(".last-updated")
        if last_changed.day(name.removesuffix(".html")):
            assert re.search(r"updated on [1-3]?\d [A-Z][a-z]+ 20\d\d\.", stamp.text), name
        else:
            assert stamp is None, name


def test_a_day_is_told_as_people_say_it():
    assert last_changed.words("2026-03-07") == "7 March 2026"
    assert last_changed.dates().get("chapters/03_se_math.py", "2026-01-01") > "2025"
