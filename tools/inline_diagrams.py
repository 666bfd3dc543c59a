"""Sphinx extension: put the book's diagrams into the page itself, so that they follow its theme.

As an ``<img>`` an SVG knows only the system's colours, not the button for dark pages. A notebook in
plain Jupyter, and every other format than HTML, shows the file as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes

FOLDER = "book/_static/diagrams/"


def _inline(app: Any, doctree: Any, _docname: str) -> None:
    """Replace each diagram of a page by its SVG."""
    if app.builder.format != "html" or app.builder.name == "epub":
        return
    for image in list(doctree.findall(nodes.image)):
        if image["uri"].startswith(FOLDER):
            text = Path(app.srcdir, image["uri"]).read_text(encoding="utf-8")
            image.replace_self(nodes.raw("", text, format="html"))


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", _inline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
