"""Buttons to a repository stand only where it publishes; a lost reader is led home."""

from __future__ import annotations

import re

import nbformat
import published
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook
from provenance import ROOT

CONF = """\
extensions = ["myst_nb", "published"]
html_theme = "sphinx_book_theme"
html_title = "A <small> book"
nb_execution_mode = "off"
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Return a function that builds a small book with one notebook and returns its folder."""
    from sphinx.application import Sphinx

    def made(repository: str | None):
        if repository is None:
            monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
        else:
            monkeypatch.setenv("GITHUB_REPOSITORY", repository)
            monkeypatch.setenv("GITHUB_REF_NAME", "trunk")
        (tmp_path / "conf.py").write_text(CONF, encoding="utf-8")
        kernel = {"name": "python3", "display_name": "Python 3"}
        notebook = new_notebook(cells=[new_markdown_cell("# One")], metadata={"kernelspec": kernel})
        nbformat.write(notebook, tmp_path / "index.ipynb")
        source, html = str(tmp_path), str(tmp_path / "html")
        Sphinx(source, source, html, str(tmp_path / "doctrees"), "html", status=None).build()
        return tmp_path / "html"

    return made


def links(page) -> set[str]:
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return {a["href"] for a in soup.find_all("a", href=True) if a["href"].startswith("http")}


def test_a_book_that_is_published_can_be_launched(build):
    found = links(build("ada/engines") / "index.html")
    assert "https://colab.research.google.com/github/ada/engines/blob/trunk/index.ipynb" in found
    assert any(x.startswith("https://mybinder.org/v2/gh/ada/engines/trunk?") for x in found)
    assert "https://github.com/ada/engines" in found


@pytest.mark.parametrize("nobody", [None, "", "no slash", "a/b/c", "x/y?z"])
def test_a_book_that_nobody_publishes_names_no_repository(build, nobody):
    html = build(nobody)
    named = {x for x in links(html / "index.html") if re.search("github|binder|colab", x)}
    assert not {x for x in named if "sphinx" not in x and "executablebooks" not in x}
    assert 'href="index.html"' in (html / "404.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "home"), [
    ("ada/engines", "/engines/"), ("ada/ada.github.io", "/"), ("Ada/ada.github.io", "/"), ("", ""),
])  # fmt: skip
def test_the_way_home_from_any_depth(name, home):
    assert published.home(name) == home


def test_a_lost_reader_finds_home_and_search(build):
    text = (build("ada/engines") / "404.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(text, "html.parser")
    assert soup.find("a")["href"] == "/engines/index.html"
    assert soup.find("form")["action"] == "/engines/search.html"
    assert soup.find("title").text == "No such page: A <small> book"
    assert not re.search(r"<script|<link|url\(", text), "it stands alone"


def test_the_configuration_names_no_address():
    """Whoever publishes is known when it publishes; an address written here would be invented."""
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    assert not re.findall(r"https?://\S+|\bgit@\S+", text)
    config = yaml.safe_load(text)
    assert not config["repository"]["url"]
    assert not config["html"]["baseurl"]
