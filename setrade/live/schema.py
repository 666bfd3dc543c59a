"""The tables of the journal, and the one row that says where a bar's work ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

# ``times`` are nanoseconds since 1970 (UTC); ``figures`` are JSON, which gives each float back
# to the last digit.
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
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT);
"""
LISTED = ("bars", "signals", "decisions", "intents", "fills", "events")
OPEN = "open"  # an intent whose fate is not known yet
FILLED = "filled"  # one that came about


class Bar(NamedTuple):
    """One closed bar; ``time`` is its open in ns since 1970."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Row:
    """Where the account stands after a bar."""

    time: int
    close: float
    want: float
    units: float
    equity: float
    orders: int
    note: str = ""


@dataclass(frozen=True)
class Wish:
    """A signal as the journal keeps it: what `signals.Signal` and it have in common."""

    position: float
    confidence: float
    source: str


def pack(figures: dict[str, Any]) -> str:
    """Return figures as JSON; infinities and NaN are kept (Python reads them back)."""
    return json.dumps(figures)


def unpack(text: str) -> dict[str, Any]:
    """Return what `pack` wrote."""
    return json.loads(text)
