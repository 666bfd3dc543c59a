"""What a disk can refuse, as errors of the journal."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path
from typing import Any

from setrade.bybit.orders import Intent, Order, text
from setrade.errors import ArgumentError
from setrade.live.types import LISTED, OPEN, TABLES, Bar, Wish, pack, unpack

__all__ = ["Journal", "JournalError", "JournalFullError"]


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


# ---- The journal: every bar, signal, decision, order and fill, written before it is acted on.
#
# SQLite in WAL mode. Lines gather in one transaction; `Journal.commit` puts them on disk and is
# called before anything leaves the process, so that there is no order without its line. After a
# kill -9 the newest ``state`` row says which bar was finished last; what was begun after it is
# done again, under the same names.


class Journal:
    """One run's memory, in one file.

    Args:
        path: of the SQLite file, made if it is not there.
        durable: each commit survives the loss of power, at the price of one flush to the disk;
            False: it survives the death of the process only.
        patience: seconds to wait for a process that still writes to it.

    Raises:
        JournalError: the file is something else, or another process writes to it.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, durable: bool = True, patience: float = 5.0
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise ArgumentError("path", path, "the path of a file")
        self.path, self._lock, self._closed = os.fspath(path), threading.RLock(), False
        with typed():
            # autocommit off by hand: transactions begin with a line and end with `commit`
            self.db = sqlite3.connect(path, timeout=patience, check_same_thread=False)
            self.db.isolation_level = None
            self.db.execute("PRAGMA locking_mode=EXCLUSIVE")  # one run, one writer
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self.db.executescript(TABLES)
            self._reserve = Path(f"{self.path}.reserve")
            if self.path != ":memory:":
                self._reserve.write_bytes(bytes(RESERVE))
        self.lost: JournalError | None = None  # why nothing is written any more

    def _write(self, sql: str, *values: Any) -> None:
        if self.lost is not None:
            return
        with self._lock, typed():
            if not self.db.in_transaction:
                self.db.execute("BEGIN")
            self.db.execute(sql, values)

    def commit(self) -> None:
        """Put all lines on disk; to be called before anything is acted on."""
        with self._lock, typed():
            if self.db.in_transaction and self.lost is None:
                self.db.execute("COMMIT")

    @readable()
    def _read(self, sql: str, *values: Any) -> list[tuple]:
        return self.db.execute(sql, values).fetchall()

    def _forget(self) -> None:
        """Take back the lines that are not on disk."""
        with self._lock, suppress(sqlite3.Error):
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    def release(self) -> None:
        """Give the disk the room that was kept back for the last orders."""
        self._forget()
        self._reserve.unlink(missing_ok=True)

    def give_up(self, why: JournalError) -> None:
        """Write nothing any more: a position that is closed unwritten is better than one left.

        Only what closes a position may be sent after this. ``lost`` keeps why.
        """
        self._forget()
        self.lost = why

    def close(self) -> None:
        """Commit and close; closing twice does no harm."""
        if self._closed:
            return
        self._closed = True
        try:
            self.commit()
        finally:
            self.db.close()
            self._reserve.unlink(missing_ok=True)

    @readable()
    def setting(self, name: str, value: Any) -> None:
        """Keep a setting of the run; raise `JournalError` if the journal is another run's."""
        mine = pack({"value": value})
        self._write("INSERT OR IGNORE INTO settings VALUES (?, ?)", name, mine)
        kept = self._read("SELECT value FROM settings WHERE name = ?", name)[0][0]
        if kept != mine:
            old = unpack(kept)["value"]
            raise JournalError(f"journal {self.path}: made with {name} {old}, not {value}")

    def bar(self, bar: Bar, *, history: bool = False) -> None:
        """Write a bar, once."""
        self._write("INSERT OR IGNORE INTO bars VALUES (?,?,?,?,?,?,?)", *bar, int(history))

    def signal(self, time_ns: int, wish: Wish) -> None:
        """Write what the model said after the bar that opened at ``time_ns``."""
        row = (wish.position, wish.confidence, wish.source)
        self._write("INSERT OR REPLACE INTO signals VALUES (?,?,?,?)", time_ns, *row)

    def decision(self, time_ns: int, kind: str, **figures: Any) -> None:
        """Write what the risk manager decided in the bar that opened at ``time_ns``."""
        self._line("decisions", time_ns, kind, figures)

    def event(self, kind: str, **figures: Any) -> None:
        """Write something that is not of the market: a start, a fault, a stop."""
        self._line("events", time.time_ns(), kind, figures)

    def _line(self, table: str, at: int, kind: str, figures: dict[str, Any]) -> None:
        sql = f"INSERT INTO {table} (time, kind, figures) VALUES (?,?,?)"
        self._write(sql, at, kind, pack(figures))

    def intent(self, intent: Intent) -> None:
        """Write an order and put it on disk; only then may it be sent."""
        row = (intent.link_id, intent.decided.value, pack(intent.record()), OPEN, "")
        self._write("INSERT INTO intents VALUES (?,?,?,?,?)", *row)
        self.commit()

    def outcome(self, link_id: str, status: str, reason: str = "") -> None:
        """Write what became of an order."""
        sql = "UPDATE intents SET status = ?, reason = ? WHERE link_id = ?"
        self._write(sql, status, reason, link_id)

    def order(self, order: Order) -> None:
        """Write an order as the broker has it, with its fill if there is one."""
        status = OPEN if order.is_open else order.status
        if order.filled:
            row = (order.link_id, text(order.filled), order.average)
            self._write("INSERT OR REPLACE INTO fills VALUES (?,?,?)", *row)
        self.outcome(order.link_id, status, order.reason)

    @readable()
    def known(self, link_id: str) -> tuple[Intent, str] | None:
        """Return an order's intent and status; None if there is none of that name."""
        sql = "SELECT record, status FROM intents WHERE link_id = ?"
        found = ((Intent.from_record(unpack(r)), s) for r, s in self._read(sql, link_id))
        return next(found, None)

    @readable()
    def unfinished(self) -> list[Intent]:
        """Return the orders whose fate is not known, oldest first."""
        sql = "SELECT record FROM intents WHERE status = ? ORDER BY time, rowid"
        return [Intent.from_record(unpack(row[0])) for row in self._read(sql, OPEN)]

    def intents_since(self, time_ns: int) -> int:
        """Return how many orders were decided at or after a time."""
        return self._read("SELECT count(*) FROM intents WHERE time >= ?", time_ns)[0][0]

    def finish(self, time_ns: int, **figures: Any) -> None:
        """Say that the bar that opened at ``time_ns`` is done, and put it on disk."""
        self._write("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", time_ns, pack(figures))
        self.commit()

    @readable()
    def state(self) -> tuple[int, dict[str, Any]] | None:
        """Return the last finished bar and its figures; None in a new journal."""
        rows = self._read("SELECT time, figures FROM state")
        return next(((int(at), unpack(figures)) for at, figures in rows), None)

    def bars(self, first: int, last: int = 2**62) -> list[Bar]:
        """Return the bars that open in [first, last], oldest first."""
        sql = f"SELECT {', '.join(Bar._fields)} FROM bars WHERE time BETWEEN ? AND ? ORDER BY time"
        return [Bar(*row) for row in self._read(sql, first, last)]

    def said(self, time_ns: int) -> Wish | None:
        """Return the signal of a bar; None if there is none."""
        sql = "SELECT position, confidence, source FROM signals WHERE time = ?"
        return next((Wish(*row) for row in self._read(sql, time_ns)), None)

    def counts(self) -> dict[str, int]:
        """Return how many lines each table has."""
        return {t: self._read(f"SELECT count(*) FROM {t}")[0][0] for t in LISTED}
