"""Sphinx extension: what the pages of the book need to be pages of an EPUB.

A reader of EPUBs runs no script. So formulas are MathML, folds are open, diagrams are pictures, and
of the site's style sheets only those of code and of `book/_static/reader.css` are kept.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from sphinx.util import logging

STYLES = ("pygments.css", "epub.css", "reader.css")
# pandas styles its tables with an element that XHTML does not know.
SCOPED = re.compile(r"<style scoped>.*?</style>", re.DOTALL)
TAGS = (
    (re.compile(r"<details((?: class=\"[^\"]*\")?)[^>]*>"), r"<div\1>"),
    (re.compile(r"</details>"), "</div>"),
    (re.compile(r"<summary[^>]*>"), '<p class="fold">'),
    (re.compile(r"</summary>"), "</p>"),
    (re.compile(r"<table border=\"1\""), "<table"),
)
TEX = re.compile(r">[^<]*\\[A-Za-z][^<]*<")


class FormulaError(ValueError):
    """A formula has no MathML."""


def mathml(text: str, display: bool) -> str:
    """Return a formula as MathML, or say which one has none.

    Raises:
        FormulaError: If it cannot be read, or something of it would be shown as TeX.
    """
    from latex2mathml.converter import convert

    braces = re.sub(r"\\.", "", text)  # escaped ones are signs
    if braces.count("{") != braces.count("}"):
        raise FormulaError(f"no MathML for {text!r}: a brace is open")
    try:
        made = convert(text.strip(), display="block" if display else "inline")
    except Exception as error:  # it raises a dozen of its own, and some of Python's
        raise FormulaError(f"no MathML for {text!r}: {error!r}") from None
    if left := TEX.search(made):
        raise FormulaError(f"no MathML for {text!r}: {left[0][1:-1]!r} is left as it was")
    return made


def _formula(node: Any) -> nodes.raw:
    """Return a formula as it stands in the page; one without MathML is a warning: a fault."""
    display = isinstance(node, nodes.math_block)
    try:
        made = mathml(node.astext(), display)
    except FormulaError as error:
        logging.getLogger(__name__).warning(str(error), location=node)
        made = escape(node.astext())
    kind = "div" if display else "span"
    where = f' id="{node["ids"][0]}"' if node["ids"] else ""
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    return nodes.raw("", f'<{kind} class="math"{where}>{number}{made}</{kind}>', format="html")


def unfolded(text: str) -> str:
    """Return a piece of HTML without folds and without what XHTML does not know."""
    text = SCOPED.sub("", text)
    for pattern, instead in TAGS:
        text = pattern.sub(instead, text)
    return text


def _resolve(app: Any, doctree: Any, _docname: str) -> None:
    """Open the folds of a page, and write its formulas."""
    if app.builder.name != "epub":
        return
    for node in [*doctree.findall(nodes.math), *doctree.findall(nodes.math_block)]:
        node.replace_self(_formula(node))
    for raw in list(doctree.findall(nodes.raw)):
        if "html" in raw["format"]:
            raw.replace_self(nodes.raw("", unfolded(raw.astext()), format="html"))


def _plain(app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Leave the site's scripts and most of its style sheets out of a page."""
    if app.builder.name == "epub":
        sheets = context["css_files"]
        context["css_files"] = [s for s in sheets if s.filename.split("/")[-1] in STYLES]
        context["script_files"] = []


def _begin(app: Any) -> None:
    """Leave out the index of modules, which belongs to the site."""
    if app.builder.name == "epub":
        app.config.html_domain_indices = False


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _begin, priority=100)
    app.connect("doctree-resolved", _resolve, priority=900)
    app.connect("html-page-context", _plain, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
