"""What a chapter was made from: its source, the helper modules it uses, where it ran."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS, BOOK, PACKAGE = ROOT / "chapters", ROOT / "book", ROOT / "setrade"
VERSIONS = ("numpy", "pandas", "numba", "TA-Lib", "torch", "timm", "scikit-learn", "matplotlib")


def _module_file(dotted: str) -> Path | None:
    """Return the file of a ``setrade`` module, or None when it is a name inside one."""
    base = ROOT.joinpath(*dotted.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imports(tree: ast.AST, package: str) -> set[str]:
    """Return the dotted ``setrade`` names that a syntax tree imports, relative ones too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, base]).rstrip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "setrade"}


def _code_only(tree: ast.AST) -> str:
    """Dump a tree without docstrings, so that prose alone never makes a notebook stale."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = body[1:]  # type: ignore[attr-defined]
    return ast.dump(tree)


def helpers_of(source: Path) -> list[Path]:
    """Return the files of every ``setrade`` module that a chapter imports, directly or not."""
    seen: dict[Path, None] = {}
    todo = [source]
    while todo:
        file = todo.pop()
        inside = file.relative_to(ROOT).with_suffix("").parts
        package = ".".join(inside[:-1])
        for name in sorted(_imports(ast.parse(file.read_text()), package)):
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
        digest.update(_code_only(ast.parse(file.read_text())).encode())
    text = source.read_text()
    for stored in (*sorted((BOOK / "results").glob("*.json")), BOOK / "claims.yml"):
        if stored.name in text:
            digest.update(stored.read_bytes())
    return digest.hexdigest()


def record(source: Path, seconds: float) -> dict[str, object]:
    """Return what a notebook says about its own making."""
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {
        "source": source.relative_to(ROOT).as_posix(),
        "source_sha256": source_hash(source),
        "helpers_sha256": helper_hash(source),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in VERSIONS},
        "device": device,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
    }


def faults(source: Path) -> list[str]:
    """Return what is wrong with the executed notebook of a chapter; empty when all is well."""
    name, fix = source.stem, f"mend it with: make book CHAPTERS={source.stem}"
    path = BOOK / f"{name}.ipynb"
    if not path.is_file():
        return [f"{name}: book/{name}.ipynb is missing; {fix}"]
    notebook = json.loads(path.read_text())
    made = notebook["metadata"].get("setrade")
    if made is None:
        return [f"{name}: has no provenance, it was not made by `make book`; {fix}"]
    found = []
    if made["source_sha256"] != source_hash(source):
        found.append(f"{name}: stale, chapters/{name}.py changed since it was executed; {fix}")
    if made["helpers_sha256"] != helper_hash(source):
        found.append(f"{name}: stale, a helper module or stored result it uses changed; {fix}")
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        where = f"{name}: code cell {number}"
        if cell["source"] and cell["execution_count"] != number:
            found.append(f"{where} was not executed in order; {fix}")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"{where} failed with {output['ename']}; {fix}")
            if output.get("name") == "stderr":
                found.append(f"{where} wrote to stderr: {''.join(output['text'])[:80]!r}; {fix}")
    return found
