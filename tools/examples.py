"""An example for each name of the API: the shortest cell of a chapter that calls it, or a test.

Nothing is written for the purpose: every example is run and checked with all others, and leads to
the page where it is explained.
"""

from __future__ import annotations

import ast
import functools
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provenance import BOOK, CHAPTERS, ROOT

LINES = 14  # an example that is longer explains something else
WIDTH = 88
PLOTTING = ("plt.", "ax.", "axes")


@dataclass(frozen=True)
class Example:
    """Some lines of code, and the page or the file that they are from."""

    code: str
    page: str
    file: str

    @property
    def cost(self) -> tuple[bool, bool, bool, int]:
        """Return what makes an example worse: a test, a figure, nothing but checks, length."""
        drawing = any(word in self.code for word in PLOTTING)
        checks = self.code.startswith(("assert ", "np.testing."))
        return not self.page, drawing, checks, len(self.code.splitlines())

    @property
    def fits(self) -> bool:
        """Return whether it is short and narrow enough for a page."""
        lines = self.code.splitlines()
        return len(lines) <= LINES and max(map(len, lines)) <= WIDTH

    def lines(self) -> list[str]:
        """Return it as reStructuredText."""
        source = f"From :doc:`/{self.page}`." if self.page else f"From ``{self.file}``."
        code = textwrap.indent(self.code, "   ").splitlines()
        return ["", ".. rubric:: Example", "", source, "", ".. code-block:: python", "", *code, ""]


def imported(tree: ast.Module) -> dict[str, str]:
    """Return the dotted home of each name that code has from `setrade`."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "setrade":
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def called(tree: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """Yield what code calls, dotted; for `inference.Predictor.load` also the class."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        parts, part = [], node.func
        while isinstance(part, ast.Attribute):
            parts.append(part.attr)
            part = part.value
        if isinstance(part, ast.Name) and part.id in names:
            whole = ".".join([names[part.id], *reversed(parts)])
            yield whole
            yield whole.rpartition(".")[0]


def code_cells(name: str) -> list[str]:
    """Return the code of a notebook, cell by cell."""
    notebook = json.loads((BOOK / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = [c["source"] for c in notebook["cells"] if c["cell_type"] == "code"]
    return ["".join(source) for source in cells]


def of_chapters() -> Iterator[tuple[ast.AST, dict[str, str], Example]]:
    """Yield the cells of all chapters, with what names mean in them."""
    for source in sorted(CHAPTERS.glob("*.py")):
        cells = code_cells(source.stem)
        names = imported(ast.parse("\n".join(cells)))
        for code in cells:
            yield ast.parse(code), names, Example(code, f"book/{source.stem}", "")


def of_tests(folder: Path = ROOT / "tests") -> Iterator[tuple[ast.AST, dict[str, str], Example]]:
    """Yield what stands in each test without arguments: it needs nothing else to be read."""
    for path in sorted(folder.glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        names = imported(tree)
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or node.args.args or node.decorator_list:
                continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                rows = text.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
                code = textwrap.dedent("\n".join(rows))
                yield node, names, Example(code, "", f"tests/{path.name}")


@functools.cache
def examples() -> dict[str, Example]:
    """Return the best example of each name: from a chapter, without a figure, short."""
    best: dict[str, Example] = {}
    for tree, names, example in [*of_chapters(), *of_tests()]:
        if not example.code.strip() or not example.fits:
            continue
        for name in set(called(tree, names)):
            if name not in best or example.cost < best[name].cost:
                best[name] = example
    return best
