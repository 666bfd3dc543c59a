"""Sphinx extension: names in code lead to the API, and the API shows an example of each name.

Only what is imported from `setrade` on the same page is linked, as the syntax tree has it. (The
library sphinx-codeautolink also follows the types of variables, but it takes every page apart
again, which trebles the time of a build, and ends where a section has no title, as the solutions
of sphinx-exercise have none.)
"""

from __future__ import annotations

import ast
import re
from typing import Any

from examples import code_cells, examples, imported

# What Pygments makes of a dotted name; the name of an argument (no space before «=») is none.
CHAIN = re.compile(
    r'(?<!<span class="o">\.</span>)<span class="nn?">([\w.]+)</span>'
    r'((?:<span class="o">\.</span><span class="n">\w+</span>)*)(?!<span class="o">=</span>)'
)
PART = re.compile(r'<span class="n">(\w+)</span>')
CODE = re.compile(r'(?<=<div class="highlight"><pre>).*?(?=</pre></div>)', re.DOTALL)


def meanings(cells: list[str]) -> dict[str, str]:
    """Return the dotted home of each name of a page; none of those that it gives to its own."""
    tree = ast.parse("\n".join(cells))
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    own |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return {name: home for name, home in imported(tree).items() if name not in own}


def linked(html: str, names: dict[str, str], address: dict[str, str]) -> str:
    """Return highlighted code in which the names of the API are links.

    Args:
        html: What Pygments made of one block.
        names: The dotted home of each name.
        address: Where each dotted name is documented.
    """

    def link(match: re.Match[str]) -> str:
        first, rest = match[1], PART.findall(match[2])
        home = names.get(first, first)  # `from setrade.costs import …` names a module in full
        for taken in range(len(rest), -1, -1):
            target = address.get(".".join([home, *rest[:taken]]))
            if target:
                at = match.start()
                ends = [match.end(1) + len("</span>") - at]
                ends += [m.end() + match.start(2) - at for m in PART.finditer(match[2])]
                shown = match[0][: ends[taken]]
                return f'<a class="api" href="{target}">{shown}</a>{match[0][ends[taken] :]}'
        return match[0]

    return CHAIN.sub(link, html)


def _link(app: Any, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Link the code of a notebook's page."""
    if not page.startswith("book/") or not str(app.env.doc2path(page)).endswith(".ipynb"):
        return
    names = meanings(code_cells(page.removeprefix("book/")))
    address = {
        name: f"{app.builder.get_relative_uri(page, entry.docname)}#{entry.node_id}"
        for name, entry in app.env.domains["py"].objects.items()
        if name.startswith("setrade.")
    }
    body = context["body"]
    context["body"] = CODE.sub(lambda block: linked(block[0], names, address), body)


def _example(_app: Any, what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Add an example to the text of a name; a module and an attribute have none."""
    if what in ("function", "class", "exception") and name in (found := examples()):
        lines += found[name].lines()


def _skip(_app: Any, _what: str, _name: str, obj: Any, _skips: bool, _options: Any) -> bool | None:
    """Leave out the fields of a named tuple that only say their number: its signature has them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field") else None


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx; the example comes after napoleon (500) has read the docstring."""
    app.connect("autodoc-process-docstring", _example, priority=900)
    app.connect("autodoc-skip-member", _skip)
    app.connect("html-page-context", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
