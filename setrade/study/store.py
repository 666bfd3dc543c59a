"""One line a run: a file that survives a kill, refuses other data, and is never rewritten.

The first line is the header: the study's name, the sha256 of its data, and the setting that all
runs share. Every other line is one run, written by a single append. A line that is cut short can
only come from a full disk or a power cut; it is reported, and moved aside when that is asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from setrade.files import write_atomic
from setrade.study.errors import StudyError
from setrade.study.grid import Cell, key

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
