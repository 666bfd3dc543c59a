"""Answers of the exchange turned into numbers: decimal strings are cast once, here."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from setrade.candles.checks import spotless
from setrade.candles.faults import LAYOUTS, CandleError, find_faults

from .codes import Interval
from .errors import DataError

COLUMNS = {"trade": LAYOUTS[1], "mark": LAYOUTS[0][:4], "index": LAYOUTS[0][:4]}


class Bars(NamedTuple):
    """Bars by stamp: ``stamps`` (n,) int64, ms, rising; ``values`` (n, columns) float64."""

    stamps: np.ndarray
    values: np.ndarray

    def where(self, mask: np.ndarray) -> Bars:
        """Return the bars chosen by a mask or by positions."""
        return Bars(self.stamps[mask], self.values[mask])


def join(parts: list[Bars], columns: int) -> Bars:
    """Return all bars of several sets that share none, oldest first."""
    stamps = np.concatenate([np.empty(0, np.int64), *(p.stamps for p in parts)])
    values = np.concatenate([np.empty((0, columns)), *(p.values for p in parts)])
    return Bars(stamps, values).where(np.argsort(stamps, kind="stable"))


def klines(rows: list[list[str]], price: str) -> Bars:
    """Turn a page of klines, newest first as sent, into bars, oldest first.

    Args:
        rows: lists of decimal strings, ``[start, open, high, low, close, volume, turnover]``,
            for mark and index prices without the last two.
        price: ``"trade"``, ``"mark"`` or ``"index"``.

    Raises:
        DataError: a row of another width, no number, or a stamp sent twice.
    """
    width = 1 + len(COLUMNS[price])
    if not rows:
        return join([], width - 1)
    try:
        if set(map(len, rows)) != {width}:
            raise ValueError(f"rows of {sorted(set(map(len, rows)))} fields, not {width}")
        table = np.array(list(map(float, chain.from_iterable(rows)))).reshape(-1, width)
    except (TypeError, ValueError) as error:
        raise DataError(f"klines: {error}") from error
    stamps = table[:, 0].astype(np.int64)
    order = np.argsort(stamps, kind="stable")
    twice = np.flatnonzero(np.diff(stamps[order]) == 0)
    if len(twice):
        raise DataError(f"klines: the bar of {times(stamps[order][twice])[0]} was sent twice")
    return Bars(stamps[order], np.ascontiguousarray(table[order, 1:]))


def times(stamps: np.ndarray) -> pd.DatetimeIndex:
    """Return stamps in ms as an index of candles."""
    us = np.asarray(stamps, np.int64) * 1000
    return pd.DatetimeIndex(us.astype("M8[us]"), name="time").tz_localize("UTC")


def frame(bars: Bars, price: str) -> pd.DataFrame:
    """Return bars as a frame of candles; mark and index prices trade nothing: volume 0."""
    table = pd.DataFrame(bars.values, index=times(bars.stamps), columns=list(COLUMNS[price]))
    return table if price == "trade" else table.assign(volume=0.0)


def check(bars: Bars, interval: Interval, price: str) -> None:
    """Refuse bars off the grid or with impossible numbers; holes are not looked at.

    Raises:
        CandleError: with every fault and its time stamps.
    """
    table, ns = frame(bars, price), interval.ms * 1_000_000
    if not len(table) or spotless(table, ns):
        return
    faults = [f for f in find_faults(table, ns) if f.kind not in ("gaps", "interval")]
    if faults:
        raise CandleError(faults, "klines")


def trades(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Turn public trades, newest first as sent, into a frame, oldest first.

    Returns:
        Columns ``time`` (UTC), ``price``, ``size`` (base coin, contracts on inverse), ``side``
        (+1 the taker bought, -1 sold) and ``id``, as `orderbook.spoofing` wants them.
    """
    try:
        side = np.array([{"Buy": 1, "Sell": -1}[r["side"]] for r in rows], np.int8)
        columns = {
            "time": times(np.array([int(r["time"]) for r in rows], np.int64)),
            "price": np.array([float(r["price"]) for r in rows]),
            "size": np.array([float(r["size"]) for r in rows]),
            "side": side,
            "id": [str(r["execId"]) for r in rows],
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"trades: {type(error).__name__}: {error}") from error
    return pd.DataFrame(columns).iloc[::-1].sort_values("time", kind="stable", ignore_index=True)


def funding(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Turn funding rows into times (ms) and decimal rates, in the order sent."""
    try:
        stamps = np.array([int(r["fundingRateTimestamp"]) for r in rows], np.int64)
        rates = np.array([float(r["fundingRate"]) for r in rows], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"funding: {type(error).__name__}: {error}") from error
    if not np.isfinite(rates).all():
        raise DataError("funding: a rate is not finite")
    return stamps, rates
