"""A journal of JSON lines: written before what it says is done, readable after a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from setrade.errors import ArgumentError


class JournalError(ValueError):
    """A journal that cannot be read; names the line."""


class Journal:
    """Entries in order, in a list or in a file.

    Args:
        to: a list to append to, the path of a file to append to, or None for a list of its own.
            A file's last line, if a crash cut it short, is removed first: what it began to say
            was not done.

    A line is with the operating system before `write` returns, which survives the death of
    the process (kill -9), though not that of the machine.
    """

    def __init__(self, to: list[dict[str, Any]] | str | os.PathLike[str] | None = None) -> None:
        self.path: Path | None = None
        self._list: list[dict[str, Any]] = to if isinstance(to, list) else []
        if to is None or isinstance(to, list):
            return
        if not isinstance(to, str | os.PathLike):
            raise ArgumentError("journal", to, "a list, a path, or None")
        self.path = Path(to)
        whole = _read(self.path)[1] if self.path.exists() else 0
        self._file = self.path.open("ab", buffering=0)
        self._file.truncate(whole)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All entries, oldest first; those of a file are read from it, and not held in memory."""
        return self._list if self.path is None else _read(self.path)[0]

    def write(self, kind: str, **fields: Any) -> None:
        """Append one entry; raise, with nothing kept, if it cannot be written whole."""
        entry = {"kind": kind, **fields}
        if self.path is None:
            self._list.append(entry)
        else:
            self._append(json.dumps(entry, allow_nan=False).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        """Write a line whole or not at all: a full disk must not leave half of one."""
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError("the journal's disk took only a part of the line")
        except OSError:
            self._file.truncate(end)
            raise

    def close(self) -> None:
        """Close the file, if there is one."""
        if self.path is not None:
            self._file.close()


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the entries of a file and the length of its whole lines in bytes."""
    raw = path.read_bytes()
    whole = raw.rfind(b"\n") + 1
    entries = []
    for number, line in enumerate(raw[:whole].splitlines(), 1):
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise JournalError(f"{path.name}, line {number}: {error}") from error
    return entries, whole
