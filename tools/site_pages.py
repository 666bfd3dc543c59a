"""Pages of the site that are written from the project itself: API, claims, execution times."""

from __future__ import annotations

import ast
import hashlib
import json

import claims_page
import reading
from examples import examples
from provenance import BOOK, CHAPTERS, PACKAGE

from setrade.files import write_atomic

FOLDER = BOOK / "generated"


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each public module, by name.

    A folder shows its face only: what its ``__init__`` lists in ``__all__``.
    """
    files = [*PACKAGE.glob("[!_]*.py"), *PACKAGE.glob("*/__init__.py")]
    named = {(f.parent.name if f.stem == "__init__" else f.stem): f for f in files}
    return {name: ast.parse(named[name].read_text(encoding="utf-8")) for name in sorted(named)}


def borrowed(name: str, tree: ast.Module) -> list[str]:
    """Return the names that a module has from another public module: documented there.

    A face may have them by way of a file of its own folder.
    """
    found = []
    for node in tree.body:
        source = (getattr(node, "module", "") or "").split(".")
        if isinstance(node, ast.ImportFrom) and source[0] == "setrade":
            names = [alias.asname or alias.name for alias in node.names]
            if source[1:2] != [name]:
                found += names
            elif len(source) > 2:
                inside = PACKAGE.joinpath(*source[1:]).with_suffix(".py")
                there = borrowed(name, ast.parse(inside.read_text(encoding="utf-8")))
                found += [each for each in names if each in there]
    return found


def api_pages() -> dict[str, str]:
    """Return a page for each module, and one that lists them."""
    every = modules()
    first = {name: (ast.get_docstring(tree) or "").split("\n")[0] for name, tree in every.items()}
    rows = [f"| [setrade.{name}](api_{name}.md) | {first[name]} |" for name in every]
    head = ["(api)=", "# API reference", "", "One module an idea, in alphabetical order.", ""]
    pages = {"api": "\n".join([*head, "| module | what it holds |", "|---|---|", *rows, ""])}
    for name, tree in every.items():
        options = ["   :members:", f"   :exclude-members: {', '.join(borrowed(name, tree))}"]
        shown = [repr(e) for n, e in examples().items() if n.startswith(f"setrade.{name}.")]
        # Sphinx reads a page again when its text changes: the examples are no part of it.
        stamp = f"% examples: {hashlib.sha256(''.join(shown).encode()).hexdigest()[:12]}"
        body = [stamp, "", "```{eval-rst}", f".. automodule:: setrade.{name}", *options, "```"]
        pages[f"api_{name}"] = "\n".join([f"# setrade.{name}", "", *body, ""])
    return pages


def execution_times() -> str:
    """Return the page of stored timings: how long each chapter took, and on what."""
    rows, total = [], 0.0
    for source in sorted(CHAPTERS.glob("*.py")):
        notebook = json.loads((BOOK / f"{source.stem}.ipynb").read_text(encoding="utf-8"))
        made = notebook["metadata"]["setrade"]
        total += made["seconds"]
        name, v = source.stem, made["versions"]
        rows.append(
            f"| [{name}](../{name}.ipynb) | {made['seconds']:.1f} "
            f"| {made['device']}, {made['threads']} threads "
            f"| python {v['python']}, torch {v['torch']} | `{made['source_sha256'][:12]}` |"
        )
    return "\n".join([
        "(execution-times)=", "# Execution times", "",
        "How long each chapter took when its stored outputs were made. Each notebook carries",
        "these figures, with the hash of its source and all versions, in its own metadata.", "",
        "| chapter | seconds | device | versions | source |", "|---|---:|---|---|---|", *rows,
        f"| **all** | **{total:.1f}** | | | |", "",
    ])  # fmt: skip


def write_all() -> None:
    """Write the generated pages, touching only files whose text changed."""
    FOLDER.mkdir(exist_ok=True)
    pages = api_pages() | {"execution_times": execution_times(), "claims": claims_page.page()}
    pages["parts"] = reading.table()  # no page of its own: the intro takes it in
    for old in set(FOLDER.glob("*.md")) - {FOLDER / f"{name}.md" for name in pages}:
        old.unlink()
    for name, text in pages.items():
        path = FOLDER / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomic(path, text)
