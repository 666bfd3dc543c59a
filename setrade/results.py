"""Stored results: what took too long for a chapter, with all that is needed to repeat it.

A result is one JSON file in ``book/results``. Chapters render it and recompute a small part.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "book" / "results"
PACKAGES = (
    "numpy",
    "pandas",
    "numba",
    "TA-Lib",
    "torch",
    "timm",
    "scikit-learn",
    "xgboost-cpu",
    "captum",
    "onnxruntime",
)
DIGITS = 7  # of stored floats: what lies beyond differs between processors
KEYS = ("command", "seed", "data_sha256", "commit", "versions", "machine", "device", "seconds")


class ResultError(ValueError):
    """A stored result is missing, cut short or lacks its provenance."""


def sha256(path: str | Path) -> str:
    """Return the sha256 of a file, as hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*args: str) -> str:
    command = ["git", "-C", str(FOLDER.parent.parent), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """Return the git commit of the working tree, with ``+`` when its code differs.

    What lies in ``book/`` is made by the code: results, notebooks, the ledger's numbers.
    """
    changed = _git("status", "--porcelain", "-uno", "--", ":/", ":(top,exclude)book")
    return _git("rev-parse", "HEAD") + ("+" if changed else "")


def same_code(record: dict[str, Any], *paths: str) -> bool:
    """Return whether files or folders of the project are now what they were for a loaded result.

    A result made between commits (``+``) is never known to be.
    """
    made = record["commit"]
    return not made.endswith("+") and not _git("diff", "--name-only", made, "--", *paths)


def machine() -> str:
    """Return the processor's name and the number of cores this process may use."""
    info = Path("/proc/cpuinfo")
    names = (
        [x for x in info.read_text().splitlines() if x.startswith("model name")]
        if info.exists()
        else []
    )
    name = names[0].split(":")[1].strip() if names else platform.processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


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
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "machine": machine(),
        "device": device,
        "seconds": round(seconds, 1),
        "results": plain(results),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    os.replace(temporary, path)
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
    if not path.is_file():
        raise ResultError(f"book/results/{name}.json is missing: run `make study STUDY={name}`")
    try:
        record = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ResultError(f"book/results/{name}.json is not whole: {error}") from error
    missing = [key for key in (*KEYS, "results") if key not in record]
    if missing:
        raise ResultError(f"book/results/{name}.json lacks {', '.join(missing)}")
    return record
