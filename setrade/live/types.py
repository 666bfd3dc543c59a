"""The tables of the journal, and the one row that says where a bar's work ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, integer, number

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


# ---- The newest bars, as the model sees them, and what a model is.


class SignalLike(Protocol):
    """What a model answers: `signals.Signal` is one."""

    @property
    def position(self) -> float: ...
    @property
    def confidence(self) -> float: ...
    @property
    def source(self) -> str: ...


COLUMNS = pd.Index(Bar._fields[1:])

# From candles, or from what the features stage makes of them, to a signal.
Model = Callable[[Any], SignalLike]
Features = Callable[[pd.DataFrame], Any]


class ModelError(RuntimeError):
    """The model failed, or said something that is no signal; the cause is chained."""


class Window:
    """The newest ``length`` bars without a hole, in a table that is kept.

    Args:
        length: bars at most, at least 2.
        least: bars from which on it counts as whole; None: ``length``.
    """

    def __init__(self, length: int, least: int | None = None) -> None:
        self.length = integer("window", length, 2)
        self.least = length if least is None else integer("least", least, 2, length)
        # Twice the room: bars move only once in ``length`` bars, and always lie in one piece.
        self._times = np.empty(2 * self.length, np.int64)
        self._figures = np.empty((2 * self.length, len(Bar._fields) - 1))
        self._first = self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    def push(self, bars: Iterable[Bar]) -> None:
        """Take bars in, oldest first."""
        for bar in bars:
            if self._end == len(self._times):
                self._first, keep = 0, self.length - 1
                self._times[:keep] = self._times[-keep:]
                self._figures[:keep] = self._figures[-keep:]
                self._end = keep
            self._times[self._end], self._figures[self._end] = bar[0], bar[1:]
            self._end += 1
            self._first = max(self._first, self._end - self.length)

    def clear(self) -> None:
        """Forget all: bars are missing."""
        self._first = self._end = 0

    @property
    def whole(self) -> bool:
        """True when it holds as many bars as some model wants."""
        return len(self) >= self.least

    def frame(self) -> pd.DataFrame:
        """Return the window as candles, a copy."""
        span = slice(self._first, self._end)
        index = pd.DatetimeIndex(self._times[span].copy(), tz="UTC", name="time")
        return pd.DataFrame(self._figures[span].copy(), index, COLUMNS)


def ask(model: Model, features: Features | None, window: Window, limit: float) -> Wish:
    """Return what the model says about a window.

    Args:
        model: gets the candles, or what ``features`` makes of them.
        limit: largest position allowed.

    Raises:
        ModelError: it raised, or its position or confidence is out of range.
    """
    try:
        x: Any = window.frame()
        signal = model(x if features is None else features(x))
        return Wish(
            number("position", signal.position, -limit, limit),
            number("confidence", signal.confidence, 0.0, 1.0),
            str(signal.source),
        )
    except Exception as error:  # whatever it is, nothing may be traded on it
        raise ModelError(f"the model failed: {type(error).__name__}: {error}") from error


def bars_of(candles: pd.DataFrame) -> list[Bar]:
    """Return the rows of candles as bars."""
    if not isinstance(candles, pd.DataFrame) or not isinstance(candles.index, pd.DatetimeIndex):
        raise ArgumentError("candles", candles, "a DataFrame of candles")
    times = candles.index.as_unit("ns").asi8.tolist()
    rows = candles[list(Bar._fields[1:])].to_numpy(np.float64).tolist()
    return [Bar(time, *row) for time, row in zip(times, rows, strict=True)]
