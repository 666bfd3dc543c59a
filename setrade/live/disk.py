"""What a disk can refuse, as errors of the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC

RESERVE = 256 * 1024  # bytes of a file kept back: room for the last orders on a full disk


class JournalError(RuntimeError):
    """The journal cannot be read or written; nothing was acted on."""


class JournalFullError(JournalError):
    """The disk took no more of the journal; no order goes out without a line in it."""


@contextmanager
def readable() -> Iterator[None]:
    """Raise whatever keeps a line from being read as a `JournalError`."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError, ValueError, LookupError, TypeError) as error:
        raise JournalError(f"journal: cannot be read: {type(error).__name__}: {error}") from error


@contextmanager
def typed() -> Iterator[None]:
    """Raise what SQLite and the file system raise as a `JournalError`."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) == ENOSPC
        kind = JournalFullError if full else JournalError
        raise kind(f"journal: {error}") from error
