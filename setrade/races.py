"""Races against peers, and how many times faster ours was, on every processor that ran them.

``make bench`` stores them in ``book/results/bench.json``, a record for each processor beside the
others. A ratio travels badly: it depends on vector units, caches and the memory behind them. So
what a chapter quotes is the least of all records, and it says on what that was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setrade import results
from setrade.errors import ArgumentError, number

NAME = "bench"
MEMORIES = ("kept", "fresh")  # freed memory stays in the process, or is as the C library has it
PROVENANCE = ("machine", "versions")


@dataclass(frozen=True)
class Least:
    """The least ratio of all processors that ran a race: ``where`` it was, and who ran it."""

    ratio: float
    where: str
    ran: tuple[str, ...]

    def __str__(self) -> str:
        return self.say("times")

    def say(self, unit: str) -> str:
        """Return it in words: two digits, rounded down, so that it holds on every processor."""
        least = f"{_down(self.ratio):,.10g} {unit}"
        if len(self.ran) == 1:
            return f"{least} on {self.where}"
        return f"at least {least} on {len(self.ran)} processors, least on {self.where}"


def _down(ratio: float) -> float:
    """Return a ratio rounded down to two digits."""
    if ratio <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(ratio)) - 1)
    return float(f"{math.floor(ratio / unit + 1e-9) * unit:.2g}")


def processor() -> str:
    """Return the processor's name; where Linux tells them, its family and model with it.

    Virtual machines often hide the name: all of a maker's may share one.
    """
    name, _, _ = results.machine().rpartition(", ")
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    parts = [re.search(rf"^{key}\s*: (\d+)$", text, re.M) for key in ("cpu family", "model")]
    if not all(parts):
        return name
    family, model = (part[1] for part in parts if part)
    return f"{name} (family {family}, model {model})"


def records() -> dict[str, dict[str, Any]]:
    """Return every stored record by its processor; its ``rows`` by the name of the race.

    Raises:
        ResultError: ``bench.json`` is missing, half written, or no record of processors.
    """
    found = results.load(NAME)["results"]
    if not isinstance(found, dict):
        raise results.ResultError(f"book/results/{NAME}.json is no record of processors")
    for name, record in found.items():
        whole = isinstance(record, Mapping) and {*PROVENANCE, "rows"} <= record.keys()
        if not whole or not isinstance(record["rows"], Mapping):
            raise results.ResultError(f"book/results/{NAME}.json: {name} is not a whole record")
    return found


def store(rows: Mapping[str, Mapping[str, Any]], *, on: str | None = None) -> Path:
    """Put races beside those that are stored, in place of this processor's older ones.

    Args:
        rows: name of the race -> "kept" and "fresh" -> medians and ratios, as ``race`` makes
            them; each receives the commit it was run at.
        on: what ran them; None: `processor`.
    """
    exists = any((place / f"{NAME}.json").is_file() for place in (results.FOLDER, results.STORED))
    found, on = records() if exists else {}, processor() if on is None else on
    made = {name: {"commit": results.commit(), **row} for name, row in rows.items()}
    older = found.get(on, {}).get("rows", {})
    here = {"machine": results.machine(), "versions": results.versions()}
    found = found | {on: here | {"rows": older | made}}
    return results.save(NAME, found, command="make bench", seed=0, seconds=0)


def ratios(row: str, name: str, memory: str = "kept") -> dict[str, float]:
    """Return one ratio of a race on each processor that ran it so.

    Raises:
        ResultError: none did, or what is noted is no ratio.
    """
    try:
        noted = {on: x["ratios"] for on, x in _noted(row, memory).items()}
        seen = {on: x[name]["seen"] for on, x in noted.items() if name in x}
        found = {on: number(f"{name} on {on}", x) for on, x in seen.items()}
    except (ArgumentError, KeyError, TypeError) as error:
        raise results.ResultError(f"book/results/{NAME}.json: {row} is damaged: {error}") from error
    if not found:
        said = f"book/results/{NAME}.json has no ratio {name!r} of {row}, memory {memory}"
        raise results.ResultError(f"{said}: run `make bench`")
    return found


def milliseconds(row: str, memory: str = "kept") -> dict[str, dict[str, float]]:
    """Return each contender's median milliseconds on each processor that ran a race so.

    Raises:
        ResultError: a processor noted none.
    """
    try:
        return {on: x["median_ms"] for on, x in _noted(row, memory).items()}
    except (KeyError, TypeError) as error:
        raise results.ResultError(f"book/results/{NAME}.json: {row} is damaged: {error}") from error


def _noted(row: str, memory: str) -> dict[str, dict[str, Any]]:
    """Return what each processor noted of a race, under one way to treat memory."""
    rows = {on: record["rows"].get(row, {}) for on, record in records().items()}
    return {on: found[memory] for on, found in rows.items() if memory in found}


def least(row: str, name: str, memory: str = "kept") -> Least:
    """Return the least ratio over all processors.

    Args:
        row: name of the race, such as ``"test_gasf_against_pyts[64]"``.
        name: of the peer, or of another ratio that the race notes.
        memory: "kept": the process keeps freed memory, as `make` sets it; "fresh": the C
            library's own way, as users start a process.
    """
    found = ratios(row, name, memory)
    where = min(found, key=found.__getitem__)
    return Least(found[where], where, tuple(found))
