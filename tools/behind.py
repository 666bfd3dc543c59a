"""What may stand behind a number in prose: outputs, literals, stored results, the ledger."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import yaml
from compare import Number, flat
from provenance import BOOK, ROOT
from stated import UNIT, Stated, numbers, stated

RAW = 12  # a longer list in a stored result is data, and no figure that a text would quote
PARTS = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Constant)


@dataclass(frozen=True)
class Source:
    """A number that may stand behind one in prose."""

    value: float
    kind: str  # printed, literal, parameter, stored or claimed
    where: str
    cell: int = -1
    section: int = -1
    unit: str = ""
    trained: bool = False  # printed by a cell that declares a tolerance


@dataclass
class Chapter:
    """A chapter's numbers: those in prose, what may stand behind them, its asserts."""

    name: str
    sections: list[str] = field(default_factory=lambda: ["(top)"])
    stated: list[Stated] = field(default_factory=list)
    known: list[Source] = field(default_factory=list)
    asserts: list[ast.Assert] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)


def folded(node: ast.AST) -> float | None:
    """Return the value of an expression of literals, or None."""
    if not isinstance(node, ast.expr) or not all(isinstance(n, PARTS) for n in ast.walk(node)):
        return None
    try:
        value = eval(compile(ast.Expression(node), "", "eval"))
        return float(value) if type(value) in (int, float) and abs(value) < 1e15 else None
    except (ArithmeticError, TypeError, ValueError):
        return None


def literals(code: ast.AST) -> Iterator[tuple[float, bool]]:
    """Yield the literals of code, products of them too; whether they stand in a string."""
    for node in ast.walk(code):
        if (value := folded(node)) is not None:
            yield value, False
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((Number.read(m.group()).value, True) for m in numbers(node.value))


def leaves(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a stored result with their paths."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if "#" in path else f"{path}#{key}")
    elif isinstance(value, list) and len(value) <= RAW:
        for number, item in enumerate(value):
            yield from leaves(item, f"{path}.{number}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


@cache
def held(name: str) -> tuple[Source, ...]:
    """Return the numbers that a file of the project holds; none where there is no such file."""
    path = ROOT / name
    if not path.is_file():
        return ()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return tuple(Source(value, "stored", name) for value, _ in literals(ast.parse(text)))
    if path.suffix == ".json":
        return tuple(Source(v, "stored", p) for p, v in leaves(json.loads(text), name))
    return tuple(Source(Number.read(m.group()).value, "stored", name) for m in numbers(text))


@cache
def ledger() -> tuple[Source, ...]:
    """Return what is claimed, as the ledger of claims has it: its number and those in words."""
    found = []
    for row in yaml.safe_load((BOOK / "claims.yml").read_text(encoding="utf-8")):
        said = [Number.read(m.group()).value for m in numbers(row["claim"])]
        values = [*said, *(v for _, v in leaves(row.get("claimed"), ""))]
        found += [Source(v, "claimed", f"claims.yml#{row['id']}") for v in values]
        found += [Source(v, "stored", f"claims.yml#{row['id']}.measured")
                  for _, v in leaves(row.get("measured"), "")]  # fmt: skip
    return tuple(found)


def printed(cells: list[Any], notebook: Path) -> dict[int, list[str]]:
    """Return what each code cell printed, by its place; an edited cell keeps what it had."""
    if not notebook.is_file():
        return {}
    every = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    ran = [c for c in every if c["cell_type"] == "code"]
    places = [i for i, c in enumerate(cells) if c.cell_type == "code"]
    then, now = ["".join(c["source"]) for c in ran], [cells[i].source for i in places]
    found = {}
    for _, a, b, c, d in SequenceMatcher(None, then, now, autojunk=False).get_opcodes():
        for old, place in zip(ran[a:b], places[c:d], strict=False):
            kinds = flat(old["outputs"])
            shown = ("stdout", "text/plain", "text/markdown")
            found[place] = [text for kind in shown for text in kinds.get(kind, [])]
    return found


def behind(cell: Any, texts: list[str], place: int, section: int) -> Iterator[Source]:
    """Yield the numbers of one code cell: what it printed, then what it holds."""
    tree, trained = ast.parse(cell.source), "tolerance" in cell.metadata
    lines = [ast.unparse(node).split("\n")[0][:60] for node in tree.body] or [""]
    for text in texts:
        for m in numbers(text):
            unit = UNIT.match(text, m.end())
            yield Source(Number.read(m.group()).value, "printed", lines[-1], place, section,
                         unit.group(1) if unit else "", trained)  # fmt: skip
    if "plt.show()" in cell.source:
        return  # widths and places of a figure
    for node, line in zip(tree.body, lines, strict=False):
        target = ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else ""
        for value, quoted in literals(node):
            named = quoted or re.fullmatch(r"[A-Z0-9_, ()]+", target)
            yield Source(value, "parameter" if named else "literal", line, place, section)


def read(source: Path, notebook: Path | None = None) -> Chapter:
    """Return the numbers of a chapter and what may stand behind them."""
    chapter = Chapter(source.stem, cells=jupytext.read(source).cells)
    shown = printed(chapter.cells, notebook or BOOK / f"{source.stem}.ipynb")
    for place, cell in enumerate(chapter.cells):
        if cell.cell_type == "code":
            section = len(chapter.sections) - 1
            chapter.known += behind(cell, shown.get(place, []), place, section)
            tree = ast.walk(ast.parse(cell.source))
            chapter.asserts += [node for node in tree if isinstance(node, ast.Assert)]
            continue
        for part in re.split(r"^(?=## )", cell.source, flags=re.M):
            if part.startswith("## "):
                chapter.sections.append(re.sub(r"[# `]+", " ", part.split("\n")[0]).strip())
            chapter.stated += stated(part, place, len(chapter.sections) - 1, cell.source)
    code = "\n".join(c.source for c in chapter.cells if c.cell_type == "code")
    names = set(re.findall(r"""load\(["'](\w+)["']\)""", code))
    for name in sorted(names | ({"bench"} if "races." in code else set())):
        chapter.known += held(f"book/results/{name}.json") + held(f"studies/{name}.py")
    chapter.known += ledger()
    return chapter
