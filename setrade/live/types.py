"""What passes between the parts of a run: a bar, a row of the account, a snapshot, a model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError
from setrade.signals import Signal

Model = Callable[[Any], Signal]  # from a window of candles to a signal


class ModelError(RuntimeError):
    """The model failed, or said something that is no signal; the cause is chained."""


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
    target_position: float
    units: float
    equity: float
    orders: int
    note: str = ""


@dataclass(frozen=True)
class OrderLine:
    """One order, as a list shows it; ``price`` is what it filled at on average."""

    time: int
    side: str
    qty: str
    price: float | None
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Reading:
    """One column's distance from the reference: PSI, KS distance, its p-value, and the state."""

    name: str
    psi: float
    ks: float
    p: float
    state: str


@dataclass(frozen=True)
class Snapshot:
    """A run at a glance; None, NaN or empty where nothing is known yet.

    ``about`` is broker, account, source and mode in words.
    ``state`` is "starting", "trading", "flat" or "halted" and ``why`` says more; ``day`` is the
    day's result and ``limit`` the loss that ends it, parts of equity; ``stale_timeout`` is the
    seconds without a bar until all is closed; ``latency`` is p50, p95 and p99 in seconds by stage;
    ``queues`` is bars that wait, and places.
    """

    state: str = "starting"
    why: str = ""
    symbol: str = ""
    about: dict[str, str] = field(default_factory=dict)
    step: int = 0
    time: int | None = None
    age: float = math.nan
    stale_timeout: float | None = None
    close: float = math.nan
    units: float = 0.0
    equity: float = math.nan
    target_position: float = 0.0
    day: float = math.nan
    limit: float | None = None
    levels: tuple[str, ...] = ()
    level: int = 0
    budget: float | None = None
    source: str = ""
    confidence: float = math.nan
    agreement: float = math.nan
    latency: dict[str, tuple[float, ...]] = field(default_factory=dict)
    drift: dict[str, list[Reading]] = field(default_factory=dict)
    learning: dict[str, str] = field(default_factory=dict)
    queues: dict[str, tuple[int, int]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    stream: dict[str, float] = field(default_factory=dict)
    gpu: dict[str, float] = field(default_factory=dict)
    orders: list[OrderLine] = field(default_factory=list)

    def json(self) -> str:
        """Return everything as JSON; null where a number is not known."""
        strict = json.loads(json.dumps(vars(self), default=vars), parse_constant=lambda nan: None)
        return json.dumps(strict)


def bars_of(candles: pd.DataFrame) -> list[Bar]:
    """Return the rows of candles as bars."""
    if not isinstance(candles, pd.DataFrame) or not isinstance(candles.index, pd.DatetimeIndex):
        raise ArgumentError("candles", candles, "a DataFrame of candles")
    try:
        times = candles.index.as_unit("ns").asi8.tolist()
        rows = candles[list(Bar._fields[1:])].to_numpy(np.float64).tolist()
        return [Bar(time, *row) for time, row in zip(times, rows, strict=True)]
    except (ValueError, TypeError, KeyError) as error:
        allowed = f"one column of numbers each, stamps of the years 1678 to 2261 ({error})"
        raise ArgumentError("candles", candles, allowed) from error
