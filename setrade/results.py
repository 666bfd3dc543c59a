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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

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
EXACT = 17  # of a float that is read back as it was
KEYS = ("command", "seed", "data_sha256", "commit", "versions", "machine", "device", "seconds")


class ResultError(ValueError):
    """A result cannot be stored, or a stored one is missing, cut short or lacks its provenance."""


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
    made = record.get("commit")
    if not isinstance(made, str) or made.endswith("+") or made == UNKNOWN or _head() is None:
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

    Raises:
        ResultError: ``name`` is no file's, or a value cannot be stored (see `plain`).
    """
    path = FOLDER / _file(name)
    record = {
        "command": command,
        "seed": seed,
        "data_sha256": {} if data is None else data,
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "device": device,
        "seconds": seconds,
    }
    record = plain(record, EXACT, "record") | {"results": plain(results)}
    if not isinstance(took := record["seconds"], int | float | None):
        raise ResultError(f"record.seconds is {took!r:.60}, and no number")
    record["seconds"] = took if took is None else round(took, 1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return path


def _file(name: str) -> str:
    """Return the name of a result's file; refuse what lies elsewhere or no disk can hold."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name.encode()) <= 200:
        raise ResultError(f"{name!r:.60} is no name of a result: text of 1 to 200 bytes")
    if PurePath(f"{name}.json").name != f"{name}.json":
        raise ResultError(f"{name!r:.60} is no name of a result: it names another folder")
    return f"{name}.json"


def plain(value: Any, digits: int = DIGITS, at: str = "results") -> Any:
    """Return what JSON can hold, through dicts, dataclasses, lists, arrays, tensors and frames.

    Floats keep so many ``digits``; NaN, infinity and missing values become null. Labels of dicts,
    Series and frames become text, and times, spans of time and paths too.

    Raises:
        ResultError: names the place, from ``at`` on, of what JSON cannot hold; or of two labels
            that are one as text.
    """
    try:
        return _plain(value, digits, at)
    except (AttributeError, RuntimeError, TypeError) as error:  # too deep, or it gives no values
        raise ResultError(f"{at} cannot be stored: {error}") from error


def _plain(value: Any, digits: int, at: str) -> Any:
    if is_dataclass(type(value)):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "mM":
        value = np.where(np.isnat(value), np.array(None), value.astype(str))
    if isinstance(value, Mapping | pd.Series | pd.DataFrame):
        return _labelled(value, digits, at)
    if hasattr(value, "tolist"):  # of arrays, their numbers, tensors, indices
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return [_plain(item, digits, f"{at}[{k}]") for k, item in enumerate(value)]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, date | timedelta | PurePath):
        return str(value)
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:  # of no kind that JSON knows; too long an integer
        raise ResultError(f"{at} cannot be stored: {error}") from error
    return value


def _labelled(value: Any, digits: int, at: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for label, item in value.items():
        if (text := str(label)) in out:
            raise ResultError(f"{at} cannot be stored: two of its labels are {text!r}")
        out[text] = _plain(item, digits, f"{at}.{text}")
    return out


def load(name: str) -> dict[str, Any]:
    """Return a stored result with its provenance; raise `ResultError` if it is not whole."""
    path = FOLDER / _file(name)
    path = path if path.is_file() else STORED / path.name
    if not path.is_file():
        raise ResultError(f"book/results/{name}.json is missing: run `make study STUDY={name}`")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, or no text
        raise ResultError(f"book/results/{name}.json is not whole: {error}") from error
    if not isinstance(record, dict):
        raise ResultError(f"book/results/{name}.json holds no record but {str(record)[:40]}")
    missing = [key for key in (*KEYS, "results") if key not in record]
    if missing:
        raise ResultError(f"book/results/{name}.json lacks {', '.join(missing)}")
    return record
