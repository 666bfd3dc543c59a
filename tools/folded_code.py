"""Sphinx extension: on the site, code that draws a figure and checks are folded behind words.

A quarter of all code lines draws or asserts. Whoever reads for the argument wants the figure and
trusts the check; whoever doubts opens it. Notebooks, and the book on paper, show all code.
"""

from __future__ import annotations

import ast
from typing import Any

from docutils import nodes

FIGURE, CHECK = "How the figure is drawn", "The check"


def words(code: str) -> str | None:
    """Return behind which words a cell's code is folded, or None: it stays open.

    A figure's code ends in ``plt.show()``. A check is made of asserts, alone or in loops.
    """
    try:
        statements = ast.parse(code).body
    except SyntaxError:  # a command of IPython
        return None
    if any(ast.unparse(s) == "plt.show()" for s in statements):
        return FIGURE
    return CHECK if statements and all(map(_asserts, statements)) else None


def _asserts(statement: ast.stmt) -> bool:
    """Return whether a statement does nothing but assert."""
    if isinstance(statement, ast.For):
        return all(map(_asserts, statement.body))
    return isinstance(statement, ast.Assert)


def _fold(app: Any, doctree: Any, _docname: str) -> None:
    """Put the source of each such cell into a box that opens without a script."""
    if app.builder.name != "html":
        return
    for source in list(doctree.findall(nodes.container)):
        if source.get("nb_element") != "cell_code_source":
            continue
        if told := words(source.astext()):
            opened = f'<details class="code-fold"><summary>{told}</summary>'
            source.parent.replace(
                source,
                [nodes.raw("", opened, format="html"), source,
                 nodes.raw("", "</details>", format="html")],
            )  # fmt: skip


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", _fold)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
