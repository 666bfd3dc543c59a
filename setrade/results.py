"""Stored results: what took too long for a chapter, with all that is needed to repeat it.

A result is one JSON file in ``book/results``. Chapters render it and recompute a small part.
An installed copy has no ``book``: it brings the results, reads them from the package, and saves
its own in ``results`` below the working directory, where they go before those it brought.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from setrade.files import write_atomic

_PACKED = Path(str(files("setrade") / "_book"))  # the wheel's copy; no checkout has it
INSTALLED = _PACKED.is_dir()
BOOK = _PACKED if INSTALLED else Path(__file__).resolve().parent.parent / "book"
STORED = BOOK / "results"  # what came with the package
FOLDER = Path("results") if INSTALLED else STORED  # where results go, and are looked for first
ROOT = BOOK.parent  # the project, whose commit a result names
UNKNOWN = "unknown"  # the commit where git cannot tell: no git, no repository, none it trusts
PACKAGES = ("numpy", "pandas", "numba", "TA-Lib", "torch", "timm", "scikit-learn", "xgboost-cpu",
            "xgboost", "captum", "onnxruntime", "onnxruntime-gpu")  # fmt: skip
DIGITS = 7  # of stored floats: what lies beyond differs between processors
KEYS = ("command", "seed", "data_sha256", "commit", "versions", "machine", "device", "seconds")


class ResultError(ValueError):
    """A stored result is missing, cut short or lacks its provenance."""


def sha256(path: str | Path) -> str:
    """Return the sha256 of a file, as hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*args: str) -> str | None:
    """Return what git says of the project; None where it is not there or refuses."""
    # a git hook names its own repository in these
    hidden = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *args]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, encoding="utf-8", errors="replace",
            check=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip()


def _head() -> str | None:
    """Return the newest commit; None if git cannot tell, or has another project's.

    A tree that was unpacked inside somebody's repository is not at its top, or not in its commits.
    """
    answer = _git("rev-parse", "--show-prefix", "HEAD", "HEAD:setrade")
    below, head, *_ = [*(answer or "").split("\n"), ""]
    return head if not below and head else None


def commit() -> str:
    """Return the git commit of the working tree, with ``+`` when its code differs.

    What lies in ``book/`` is made by the code: results, notebooks, the ledger's numbers.
    Where git cannot tell (a tree from a ZIP file, no git, one that refuses), `UNKNOWN`.
    """
    head = _head()
    changed = _git("status", "--porcelain", "-uno", "--", ":/", ":(top,exclude)book")
    return UNKNOWN if head is None or changed is None else head + ("+" if changed else "")


def same_code(record: dict[str, Any], *paths: str) -> bool:
    """Return whether files or folders of the project are now what they were for a loaded result.

    A result made between commits (``+``) or at an unknown one is never known to be; nor is any
    where git cannot tell.
    """
    made = record["commit"]
    if made.endswith("+") or made == UNKNOWN or _head() is None:
        return False
    return _git("diff", "--name-only", made, "--", *paths) == ""


def machine() -> str:
    """Return the processor's name and the number of cores this process may use."""
    info = Path("/proc/cpuinfo")  # of Linux
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    names = [x for x in text.splitlines() if x.startswith("model name")]
    other = platform.processor() or platform.machine()
    name = names[0].split(":")[1].strip() if names else other
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def versions() -> dict[str, str]:
    """Return the versions of Python and of what computes; a package that is absent is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def save(
    name: str,
    results: Any,
    *,
    command: str,
    seed: int | list[int] | None,
    seconds: float,
    data: dict[str, str] | None = None,
    device: str = "cpu",
) -> Path:
    """Write ``book/results/<name>.json`` atomically; return its path.

    Arrays become lists; floats keep seven digits, and NaN and infinity become null.
    ``data`` maps each input's name to its sha256 (empty: computed from the seed alone);
    ``command`` is what a reader types to repeat it.
    """
    record = {
        "command": command,
        "seed": seed,
        "data_sha256": data or {},
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "device": device,
        "seconds": round(seconds, 1),
        "results": plain(results),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    write_atomic(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return path


def plain(value: Any) -> Any:
    """Return what JSON can hold, through dicts, lists and arrays."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def load(name: str) -> dict[str, Any]:
    """Return a stored result with its provenance; raise `ResultError` if it is not whole."""
    path = FOLDER / f"{name}.json"
    path = path if path.is_file() else STORED / path.name
    if not path.is_file():
        raise ResultError(f"book/results/{name}.json is missing: run `make study STUDY={name}`")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise ResultError(f"book/results/{name}.json is not whole: {error}") from error
    if not isinstance(record, dict):
        raise ResultError(f"book/results/{name}.json holds no record but {str(record)[:40]}")
    missing = [key for key in (*KEYS, "results") if key not in record]
    if missing:
        raise ResultError(f"book/results/{name}.json lacks {', '.join(missing)}")
    return record
