"""Sphinx extension: a word that leads to the glossary shows its definition where a mouse rests.

As the `title` of the link: no script, and a screen reader can read it too.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes


def definitions(app: Any) -> dict[str, str]:
    """Return the text of each definition by the id of its term."""
    place = next((d for d in app.env.found_docs if d.endswith("glossary")), None)
    if place is None:
        return {}
    items = app.env.get_doctree(place).findall(nodes.definition_list_item)
    return {
        name: item[-1].astext().replace("\n", " ")
        for item in items
        for term in item.findall(nodes.term)
        for name in term["ids"]
    }


def _tips(app: Any, doctree: Any, _docname: str) -> None:
    """Give each link to a term its definition."""
    if app.builder.format != "html":
        return
    links = [n for n in doctree.findall(nodes.reference) if "#term-" in n.get("refuri", "")]
    told = definitions(app) if links else {}
    for link in links:
        link["reftitle"] = told.get(link["refuri"].partition("#")[2], "")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", _tips)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
