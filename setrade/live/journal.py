"""The journal: every bar, signal, decision, order and fill, written before it is acted on.

SQLite in WAL mode. Lines gather in one transaction; `Journal.commit` puts them on disk and is
called before anything leaves the process, so that there is no order without its line. After a
kill -9 the newest ``state`` row says which bar was finished last; what was begun after it is
done again, under the same names.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pandas as pd

from setrade.bybit.orders import Order, OrderRequest, text
from setrade.errors import ArgumentError, flag, number
from setrade.live.types import Bar, OrderLine
from setrade.signals import SOURCES, Signal

# Times are nanoseconds since 1970 (UTC); figures are JSON, which gives each float back to the
# last digit, NaN and infinities too. Names of tables and columns are those of the first version
# (``link_id`` is the client order id), so that an old journal can be gone on with; the last two
# lines drop what its models said of a bar that was not finished, for it was scaled already.
TABLES = """
CREATE TABLE IF NOT EXISTS bars (
    time INTEGER PRIMARY KEY, open REAL, high REAL, low REAL, close REAL, volume REAL,
    history INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS signals (
    time INTEGER PRIMARY KEY, position REAL, confidence REAL, source TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY, time INTEGER, kind TEXT, figures TEXT);
CREATE TABLE IF NOT EXISTS intents (
    link_id TEXT PRIMARY KEY, time INTEGER, record TEXT, status TEXT, reason TEXT);
CREATE TABLE IF NOT EXISTS fills (
    link_id TEXT PRIMARY KEY, filled TEXT, average REAL);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, time INTEGER, kind TEXT, figures TEXT);
CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), time INTEGER,
    figures TEXT);
CREATE TABLE IF NOT EXISTS shadow (
    time INTEGER, checkpoint TEXT, position REAL, confidence REAL, seconds REAL,
    PRIMARY KEY (time, checkpoint)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT);
DELETE FROM signals WHERE time > (SELECT time FROM state)
    AND (SELECT user_version FROM pragma_user_version) = 0;
PRAGMA user_version = 1;
"""
LISTED = ("bars", "signals", "decisions", "intents", "fills", "events")
OPEN, FILLED = "open", "filled"  # an order whose fate is not known yet; one that came about
RESERVE = 256 * 1024  # bytes of a file kept back: room for the last orders on a full disk
FAILED = (sqlite3.DatabaseError, OSError, UnicodeDecodeError)  # SQLite may quote a damaged file
UNREADABLE = (*FAILED, ValueError, LookupError, TypeError, ArithmeticError, RecursionError)


class JournalError(RuntimeError):
    """The journal cannot be read or written; nothing was acted on."""

    @classmethod
    def unreadable(cls, error: Exception) -> JournalError:
        """Return the error of a line that cannot be read."""
        return cls(f"journal: cannot be read: {type(error).__name__}: {error}")

    @classmethod
    def unwritten(cls, error: Exception, path: str = "") -> JournalError:
        """Return what SQLite or the file system raised as an error of the journal."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) == ENOSPC
        return (JournalFullError if full else JournalError)(f"journal{path}: {error}")


class JournalFullError(JournalError):
    """The disk took no more of the journal; no order goes out without a line in it."""


class JournalBusyError(JournalError):
    """Another process holds the journal, and cares for what stands in it."""


class Journal:
    """One run's memory, in one file.

    Args:
        path: of the SQLite file, made if it is not there.
        durable: each commit survives the loss of power; False: the death of the process only.
        busy_timeout: seconds to wait for a process that still writes to it.

    ``lost`` is why nothing is written any more, None while all is.

    Raises:
        JournalError: the file is something else. JournalBusyError: another run holds it.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, durable: bool = True, busy_timeout: float = 5.0
    ) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):  # SQLite forgets ""
            raise ArgumentError("path", path, "the path of a file")
        durable, wait = flag("durable", durable), number("busy_timeout", busy_timeout, 0.0)
        self.path, self._lock, self._closed = os.fspath(path), threading.RLock(), False
        self.lost: JournalError | None = None
        self._reserve = Path(f"{self.path}.reserve")
        try:
            # autocommit off by hand: transactions begin with a line and end with `commit`
            self.db = sqlite3.connect(path, timeout=wait, check_same_thread=False)
            self.db.isolation_level = None
            self.db.execute("PRAGMA locking_mode=EXCLUSIVE")  # one run, one writer
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self.db.executescript(TABLES)
            if self.path != ":memory:":
                owner = f"process {os.getpid()}, since {pd.Timestamp.now('UTC'):%Y-%m-%d %H:%M} UTC"
                self._reserve.write_bytes(f"{owner}\n".encode().ljust(RESERVE, b"\0"))
        except FAILED as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                told = f"journal {self.path}: another run holds it ({self._owner()})"
                raise JournalBusyError(told) from error
            raise JournalError.unwritten(error, f" {self.path}") from error

    def _owner(self) -> str:
        """Return who holds the journal, as that run has written into its reserve."""
        with suppress(OSError, UnicodeDecodeError):
            first = self._reserve.read_bytes().partition(b"\n")[0].decode()
            return first if first.startswith("process ") else "another process"
        return "another process"

    def _write(self, sql: str, *values: Any) -> None:
        if self.lost is not None:
            return
        try:
            with self._lock:
                if not self.db.in_transaction:
                    self.db.execute("BEGIN")
                self.db.execute(sql, values)
        except FAILED as error:
            raise JournalError.unwritten(error) from error

    def commit(self) -> None:
        """Put all lines on disk; to be called before anything is acted on."""
        try:
            with self._lock:
                if self.lost is None and self.db.in_transaction:
                    self.db.execute("COMMIT")
        except FAILED as error:
            raise JournalError.unwritten(error) from error

    def _read(self, sql: str, *values: Any, make: Callable[..., Any] = lambda *row: row) -> list:
        """Return what ``make`` makes of each row."""
        try:
            return [make(*row) for row in self.db.execute(sql, values)]
        except UNREADABLE as error:
            raise JournalError.unreadable(error) from error

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For lines that nothing depends on: what cannot be written is left out.

        Raises:
            JournalError: the lines before them were lost with them.
        """
        with self._lock:
            begun = self.db.in_transaction
            try:
                yield
            except JournalError:
                if begun and not self.db.in_transaction:
                    raise

    def _forget(self) -> None:
        """Take back the lines that are not on disk."""
        with self._lock, suppress(sqlite3.Error):
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    def release(self) -> None:
        """Give the disk the room that was kept back for the last orders."""
        self._forget()
        with suppress(OSError):  # a room that cannot be given back must not stop what comes next
            self._reserve.unlink(missing_ok=True)

    def give_up(self, why: JournalError) -> None:
        """Write nothing any more; only what closes a position may be sent after this."""
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

    def setting(self, name: str, value: Any) -> None:
        """Keep one setting of the run, as `settings` does."""
        self.settings(**{name: value})

    def settings(self, **values: Any) -> None:
        """Keep settings of the run; raise `JournalError` if the journal is another run's.

        The error names all that differ. What an older journal does not know is kept from now on.
        """
        kept = {name: self.kept(name) for name in values}
        differ = [f"{name} {kept[name]}, not {value}" for name, value in values.items()
                  if kept[name] not in (None, value)]  # fmt: skip
        if differ:
            raise JournalError(f"journal {self.path}: made with {'; '.join(differ)}")
        for name, value in values.items():
            if value is not None and kept[name] is None:
                self.keep(name, value)

    def keep(self, name: str, value: Any) -> None:
        """Write a value (JSON) under a name, in place of an older one."""
        told = json.dumps({"value": value})
        self._write("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, told)

    def kept(self, name: str) -> Any:
        """Return the value that was kept under a name; None if there is none."""
        sql = "SELECT value FROM settings WHERE name = ?"
        found = self._read(sql, name, make=lambda told: json.loads(told)["value"])
        return found[0] if found else None

    def bar(self, bar: Bar, *, history: bool = False) -> None:
        """Write a bar, once."""
        self._write("INSERT OR IGNORE INTO bars VALUES (?,?,?,?,?,?,?)", *bar, int(history))

    def signal(self, time_ns: int, signal: Signal) -> None:
        """Write what the model said after the bar that opened at ``time_ns``."""
        row = (signal.position, signal.confidence, signal.model or signal.source)
        self._write("INSERT OR REPLACE INTO signals VALUES (?,?,?,?)", time_ns, *row)

    def shadow(self, time_ns: int, checkpoint: str, signal: Signal, seconds: float) -> None:
        """Write what a checkpoint that gives no orders would have said, and how long it took."""
        row = (time_ns, checkpoint, signal.position, signal.confidence, seconds)
        self._write("INSERT OR REPLACE INTO shadow VALUES (?,?,?,?,?)", *row)

    def pairs(self, checkpoint: str) -> list[tuple[int, float, float, float]]:
        """Return (time, position, the shadow's position, its seconds) where both have spoken."""
        sql = """SELECT time, signals.position, shadow.position, seconds FROM shadow
            JOIN signals USING (time) WHERE checkpoint = ? ORDER BY time"""
        return self._read(sql, checkpoint)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the figures of all events of a kind, oldest first."""
        sql = "SELECT figures FROM events WHERE kind = ? ORDER BY id"
        return self._read(sql, kind, make=_figures)

    def decision(self, time_ns: int, kind: str, **figures: Any) -> None:
        """Write what the risk manager decided in the bar that opened at ``time_ns``."""
        sql = "INSERT INTO decisions (time, kind, figures) VALUES (?,?,?)"
        self._write(sql, time_ns, kind, json.dumps(figures))

    def event(self, kind: str, **figures: Any) -> None:
        """Write something that is not of the market: a start, a fault, a stop."""
        sql = "INSERT INTO events (time, kind, figures) VALUES (?,?,?)"
        self._write(sql, time.time_ns(), kind, json.dumps(figures))

    def request(self, request: OrderRequest) -> None:
        """Write an order and put it on disk; only then may it be sent."""
        row = (request.client_order_id, request.decided.value, json.dumps(request.record()))
        self._write("INSERT INTO intents VALUES (?,?,?,?,?)", *row, OPEN, "")
        self.commit()

    def outcome(self, client_order_id: str, status: str, reason: str = "") -> None:
        """Write what became of an order."""
        sql = "UPDATE intents SET status = ?, reason = ? WHERE link_id = ?"
        self._write(sql, status, reason, client_order_id)

    def order(self, order: Order) -> None:
        """Write an order as the broker has it, with its fill if there is one."""
        if order.filled:
            row = (order.client_order_id, text(order.filled), order.average)
            self._write("INSERT OR REPLACE INTO fills VALUES (?,?,?)", *row)
        status = OPEN if order.is_open else order.status
        self.outcome(order.client_order_id, status, order.reason)

    def known(self, client_order_id: str) -> tuple[OrderRequest, str] | None:
        """Return an order's request and status; None if there is none of that name."""
        if self.lost is not None:  # what cannot be written may not be readable either
            return None
        sql = "SELECT record, status FROM intents WHERE link_id = ?"
        found = self._read(sql, client_order_id, make=lambda text, status: (_request(text), status))
        return found[0] if found else None

    def unfinished(self) -> list[OrderRequest]:
        """Return the orders whose fate is not known, oldest first."""
        sql = "SELECT record FROM intents WHERE status = ? ORDER BY time, rowid"
        return self._read(sql, OPEN, make=_request)

    def requests_since(self, time_ns: int) -> int:
        """Return how many orders were decided at or after a time."""
        return self._read("SELECT count(*) FROM intents WHERE time >= ?", time_ns)[0][0]

    def finish(self, time_ns: int, **figures: Any) -> None:
        """Say that the bar that opened at ``time_ns`` is done, and put it on disk."""
        self._write("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", time_ns, json.dumps(figures))
        self.commit()

    def state(self) -> tuple[int, dict[str, Any]] | None:
        """Return the last finished bar and its figures; None in a new journal."""
        sql = "SELECT time, figures FROM state"
        found = self._read(sql, make=lambda at, figures: (int(at), _figures(figures)))
        return found[0] if found else None

    def bars(self, first: int, last: int = 2**62) -> list[Bar]:
        """Return the bars that open in [first, last], oldest first."""
        sql = f"{BARS} WHERE time BETWEEN ? AND ? ORDER BY time"
        return self._read(sql, first, last, make=_bar)

    def oldest_bars(self, count: int) -> list[Bar]:
        """Return the first ``count`` bars of the run, oldest first."""
        return self._read(f"{BARS} ORDER BY time LIMIT ?", count, make=_bar)

    def newest_bars(self, count: int, after: int = -1) -> list[Bar]:
        """Return the newest ``count`` bars that open after a time, oldest first."""
        sql = f"{BARS} WHERE time > ? ORDER BY time DESC LIMIT ?"
        return self._read(sql, after, count, make=_bar)[::-1]

    def newest_orders(self, count: int) -> list[OrderLine]:
        """Return the newest orders, newest first."""

        def line(at: int, record: str, status: str, reason: str, filled: str | None, average: Any):
            order = json.loads(record)
            qty = f"{float(filled or order['qty']):.8g}"
            price = None if average is None else float(average)
            return OrderLine(int(at), order["side"], qty, price, status, reason)

        columns = "intents.time, record, status, reason, filled, average"
        sql = f"""SELECT {columns} FROM intents LEFT JOIN fills USING (link_id)
            ORDER BY intents.time DESC, intents.rowid DESC LIMIT ?"""
        return self._read(sql, count, make=line)

    def said(self, time_ns: int) -> Signal | None:
        """Return the signal of a bar; None if there is none. A model's name is its source."""
        sql = "SELECT position, confidence, source FROM signals WHERE time = ?"

        def line(position: float, confidence: float, source: str) -> Signal:
            known = source in SOURCES
            who, model = (source, "") if known else (SOURCES[0], source)
            at = pd.Timestamp(time_ns, tz="UTC")
            return Signal(at, position, confidence, source=who, model=model)

        found = self._read(sql, time_ns, make=line)
        return found[0] if found else None

    def counts(self) -> dict[str, int]:
        """Return how many lines each table has."""
        return {t: self._read(f"SELECT count(*) FROM {t}")[0][0] for t in LISTED}


BARS = f"SELECT {', '.join(Bar._fields)} FROM bars"


def _bar(*row: Any) -> Bar:
    """Return the bar of a line, whose cells SQLite keeps whatever they are."""
    return Bar(int(row[0]), *map(float, row[1:]))


def _figures(text: str) -> dict[str, Any]:
    """Return the figures of a line: a dict, as it was written."""
    if not isinstance(found := json.loads(text), dict):
        raise ValueError(f"figures must be a dict, found {text[:60]}")
    return found


def _request(text: str) -> OrderRequest:
    """Return the order that a line tells of."""
    return OrderRequest.from_record(json.loads(text))
