"""What a chapter was made from: its source, the helper modules it uses, where it ran."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from compare import Tolerance, ToleranceError, joined
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS, BOOK, PACKAGE = ROOT / "chapters", ROOT / "book", ROOT / "setrade"
FORMAT = 4  # of notebooks, the only one that Jupyter writes today
NETS = ("training.fit(", "training.device(", "Predictor.load(", "run_config(")  # choose a device
LOADED = re.compile(r'results\.load\(\s*"(\w+)"')
VERSIONS = ("numpy", "pandas", "numba", "TA-Lib", "torch", "timm", "scikit-learn", "matplotlib")
INSTALL = """\
import importlib.util

if importlib.util.find_spec("setrade") is None:
    raise ModuleNotFoundError(
        "This notebook needs the book's package, setrade. In the folder that holds "
        "the book's pyproject.toml: pip install '.[cpu]' (with a GPU: '.[gpu]'), "
        "then restart the kernel."
    )"""


def _module_file(dotted: str) -> Path | None:
    """Return the file of a ``setrade`` module, or None when it is a name inside one."""
    base = ROOT.joinpath(*dotted.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


# A module is read by nearly every chapter: its text is taken apart once, and not 29 times.
@functools.cache
def _imports(text: str, package: str) -> frozenset[str]:
    """Return the dotted ``setrade`` names that a source imports, relative ones too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, base]).rstrip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(name for name in found if name.split(".")[0] == "setrade")


@functools.cache
def _code_only(text: str) -> str:
    """Dump a source without docstrings, so that prose alone never makes a notebook stale."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = body[1:]  # type: ignore[attr-defined]
    return _told(tree)


def _told(node: object) -> str:
    """Return a syntax tree as text, the same on every Python (`ast.dump` is not)."""
    if isinstance(node, list):
        return f"[{', '.join(map(_told, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.JoinedStr):  # 3.12 ends a nested format with an empty text
        fields["values"] = [v for v in node.values if getattr(v, "value", None) != ""]
    return f"{type(node).__name__}({', '.join(f'{n}={_told(v)}' for n, v in fields.items())})"


def helpers_of(source: Path) -> list[Path]:
    """Return the files of every ``setrade`` module that a chapter imports, directly or not."""
    seen: dict[Path, None] = {}
    todo = [source]
    while todo:
        file = todo.pop()
        inside = file.relative_to(ROOT).with_suffix("").parts
        package = ".".join(inside[:-1])
        for name in sorted(_imports(file.read_text(encoding="utf-8"), package)):
            module = _module_file(name)
            if module is not None and module not in seen:
                seen[module] = None
                todo.append(module)
    return sorted(seen)


def source_hash(source: Path) -> str:
    """Return the sha256 of a chapter's text."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def helper_hash(source: Path) -> str:
    """Return one sha256 over the code of the helper modules, stored results and ledger it reads."""
    digest = hashlib.sha256()
    for file in helpers_of(source):
        digest.update(file.relative_to(ROOT).as_posix().encode())
        digest.update(_code_only(file.read_text(encoding="utf-8")).encode())
    text = source.read_text(encoding="utf-8")
    loaded = set(LOADED.findall(text))  # a chapter may load a result that it does not name
    for stored in (*sorted((BOOK / "results").glob("*.json")), BOOK / "claims.yml"):
        if stored.name in text or stored.stem in loaded:
            digest.update(stored.read_bytes())
    return digest.hexdigest()


def cells_of(source: Path) -> list[Any]:
    """Return the cells that a chapter's notebook has, before it is executed.

    A folded first one says how to install a missing package; behind each declared tolerance stand
    its words, for the reader.
    """
    hidden = {"tags": ["remove-cell"], "jupyter": {"source_hidden": True}}
    cells = [new_code_cell(INSTALL, metadata=hidden)]
    for cell in jupytext.read(source).cells:
        cells.append(cell)
        try:
            tolerance = Tolerance.of(cell.metadata)
        except ToleranceError as error:
            start = cell.source.partition("\n")[0]
            raise ToleranceError(f"{error}, in the cell that starts «{start}»") from None
        if tolerance is not None:
            cells.append(new_markdown_cell(f"*{tolerance.words()} on other processors*"))
    return cells


def outputs_hash(cells: list[Any]) -> str:
    """Return one sha256 over what the code cells of a notebook hold and show, figures too."""
    digest = hashlib.sha256()
    for cell in cells:
        if cell["cell_type"] == "code":
            shown = [_shown(output) for output in cell["outputs"]]
            digest.update(json.dumps([joined(cell["source"]), shown], sort_keys=True).encode())
    return digest.hexdigest()


def _shown(output: Mapping[str, Any]) -> dict[str, str]:
    """Return an output's texts: a notebook in memory holds strings, a stored one lists of lines."""
    data = {mime: joined(value) for mime, value in output.get("data", {}).items()}
    return data | {key: joined(output[key]) for key in ("name", "text", "ename") if key in output}


def device_of(source: Path) -> str:
    """Return the device that a chapter's nets were on; "cpu" if it neither trains nor infers."""
    from setrade import training

    used = any(word in source.read_text(encoding="utf-8") for word in NETS)
    return training.describe() if used else "cpu"


def record(source: Path, seconds: float) -> dict[str, object]:
    """Return what a notebook says about its own making."""
    import torch

    return {
        "source": source.relative_to(ROOT).as_posix(),
        "source_sha256": source_hash(source),
        "helpers_sha256": helper_hash(source),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in VERSIONS},
        "device": device_of(source),
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
    }


def faults(source: Path) -> list[str]:
    """Return what is wrong with the executed notebook of a chapter; empty when all is well."""
    name, fix = source.stem, f"fix it with: make book CHAPTERS={source.stem}"
    path = BOOK / f"{name}.ipynb"
    if not path.is_file():
        return [f"{name}: book/{name}.ipynb is missing; {fix}"]
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        made, version = notebook["metadata"].get("setrade"), notebook["nbformat"]
        if version != FORMAT:
            return [f"{name}: is in notebook format {version}, the book is in {FORMAT}; {fix}"]
        if made is None or "outputs_sha256" not in made:
            return [f"{name}: has no provenance, it was not made by `make book`; {fix}"]
        return [f"{name}: {text}; {fix}" for text in _found(source, made, notebook["cells"])]
    except ToleranceError as error:
        return [f"{name}: {error}; change it in chapters/{source.name}, then {fix}"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{name}: book/{name}.ipynb is torn or no notebook ({error!r}); {fix}"]


def reworded(source: Path) -> Any | None:
    """Return a chapter's notebook with its new text around the stored outputs.

    None where it must run: there is no sound notebook of it, or its code or what the code reads
    has changed. Text, captions and declared tolerances are not executed, so they make no output
    old; what a cell printed is held against the tolerance by `make notebooks`.
    """
    path = BOOK / f"{source.stem}.ipynb"
    try:
        stored: Any = nbformat.reads(path.read_text(encoding="utf-8"), nbformat.NO_CONVERT)
        made, old = stored["metadata"]["setrade"], _code(stored["cells"])
        sound = stored["nbformat"] == FORMAT and made["outputs_sha256"] == outputs_hash(old)
        sound &= not any(_failed(number, cell) for number, cell in enumerate(old, 1))
        new = cells_of(source)
        same = [joined(c["source"]) for c in old] == [c["source"] for c in _code(new)]
        if not (sound and same and made["helpers_sha256"] == helper_hash(source)):
            return None
        for cell, ran in zip(_code(new), old, strict=True):
            cell["outputs"], cell["execution_count"] = ran["outputs"], ran["execution_count"]
        made["source_sha256"] = source_hash(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # missing, torn or of another make: it is executed anew
    for number, cell in enumerate(new):
        cell["id"] = f"cell-{number:03d}"  # as `book.execute` numbers them
    stored["cells"] = new
    return stored


def _code(cells: list[Any]) -> list[Any]:
    """Return the code cells among cells."""
    return [cell for cell in cells if cell["cell_type"] == "code"]


def _found(source: Path, made: Mapping[str, Any], cells: list[Any]) -> list[str]:
    """Return what is wrong with a notebook that can be read."""
    code = _code(cells)
    found = _stale(source, made)
    for number, cell in enumerate(code, 1):
        found += [f"code cell {number} {text}" for text in _failed(number, cell)]
    if not found and made["outputs_sha256"] != outputs_hash(code):
        return ["outputs were changed by hand since it was executed"]
    return found or _edited(source, cells)


def _edited(source: Path, cells: list[Any]) -> list[str]:
    """Return the first cell that is not the chapter's: text, code, or what metadata declares."""
    wanted = [(c["cell_type"], c["source"], dict(c["metadata"])) for c in cells_of(source)]
    there = [(c["cell_type"], joined(c["source"]), c["metadata"]) for c in cells]
    if wanted == there:
        return []
    pairs = enumerate(zip(wanted, there, strict=False))
    first = next((n for n, (a, b) in pairs if a != b), min(len(wanted), len(there)))
    return [f"cell {first} was changed by hand, it is not that of chapters/{source.name}"]


def _stale(source: Path, made: Mapping[str, Any]) -> list[str]:
    """Return which of a notebook's sources changed since it was executed."""
    found = []
    if made["source_sha256"] != source_hash(source):
        found.append(f"stale, chapters/{source.name} changed since it was executed")
    if made["helpers_sha256"] != helper_hash(source):
        found.append("stale, a helper module or stored result it uses changed")
    return found


def _failed(number: int, cell: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with one executed cell."""
    found = []
    if cell["source"] and cell["execution_count"] != number:
        found.append("was not executed in order")
    for output in cell["outputs"]:
        if output["output_type"] == "error":
            found.append(f"failed with {output['ename']}")
        if output.get("name") == "stderr":
            found.append(f"wrote to stderr: {joined(output['text'])[:80]!r}")
    return found
