"""One line a run: a file that survives a kill, refuses other data, and is never rewritten.

The first line is the header: the study's name and the sha256 of its data. Every other line is
one run, written by a single append. A line that is cut short can only come from a full disk or
a power cut; it is reported, and moved aside when that is asked for.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setrade.study.errors import StudyError
from setrade.study.grid import Cell, key

Row = dict[str, Any]


class Store:
    """The runs of one study in a JSON-lines file.

    Args:
        path: the file; made with its folder when it is not there.
        study: name of the study.
        data: name to sha256 of everything that the runs read.
        repair: move a last line that is cut short to ``<path>.torn`` instead of refusing it.

    Raises:
        StudyError: the file belongs to another study or other data, or a line is not whole.
    """

    def __init__(
        self, path: str | Path, study: str, data: Mapping[str, str], *, repair: bool = False
    ) -> None:
        self.path = Path(path)
        self.header = {"study": study, "data_sha256": dict(data)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if repair:
            self._move_torn_line()
        if self.path.exists() and self.path.stat().st_size:
            self._refuse_other_study()
        else:
            self._append(self.header)

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
        with open(self.path.with_suffix(".lock"), "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StudyError(f"another process is running the study {self.path}") from None
            yield

    def _append(self, row: Mapping[str, Any]) -> None:
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
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

    def _lines(self) -> list[Row]:
        raw = self.path.read_bytes()
        lines = raw.splitlines(keepends=True)
        out = []
        for number, line in enumerate(lines, 1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("no end of line")
                out.append(json.loads(line))
            except ValueError as error:
                where = f"{self.path}, line {number} of {len(lines)}"
                raise StudyError(
                    f"{where}, is cut short ({error}); --repair moves a last line aside "
                    "and repeats its run"
                ) from None
        return out

    def _refuse_other_study(self) -> None:
        header = self._lines()[0]
        for name, mine in self.header.items():
            if header.get(name) != mine:
                raise StudyError(f"{self.path} holds {name} {header.get(name)}, not {mine}")

    def _move_torn_line(self) -> None:
        if not self.path.exists():
            return
        raw = self.path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            self.path.with_suffix(".torn").write_bytes(raw[whole:])
            os.truncate(self.path, whole)
