"""Which bars a request means, which of them are missing, and how to ask for those."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from tqdm import tqdm

from setrade import candles
from setrade.bybit import http
from setrade.bybit.constants import MOST_BARS, PRICES, DataError, GapError, Interval
from setrade.bybit.http import COLUMNS, Bars, join
from setrade.errors import ArgumentError
from setrade.files import atomic_path


def closed_opens(first_ns: int, last_ns: int, now_ms: int, interval: Interval) -> np.ndarray:
    """Return the opens (ms) in [first, last) of the bars that have closed by ``now_ms``."""
    ns = interval.ms * 1_000_000
    begin = -(-first_ns // ns) * interval.ms  # ceil: the exchange would floor
    end = -(-last_ns // ns) * interval.ms
    return np.arange(begin, min(end, now_ms // interval.ms * interval.ms), interval.ms)


def windows(
    missing: np.ndarray, interval: Interval, size: int = MOST_BARS
) -> Iterator[tuple[int, int]]:
    """Yield the first and the last open of each request for the missing bars.

    A window never holds more than ``size`` bars: of a larger one the exchange would return
    the newest only. A stretch of bars that are known already is jumped over.
    """
    starts = np.flatnonzero(np.diff(missing, prepend=-interval.ms * 2) != interval.ms)
    for run in np.split(missing, starts[1:]):
        for k in range(0, len(run), size):
            part = run[k : k + size]
            yield int(part[0]), int(part[-1])


def month(stamps: np.ndarray) -> np.ndarray:
    """Return the month of each stamp (ms), as ``datetime64[M]``."""
    return stamps.astype("M8[ms]").astype("M8[M]")


# ---- Downloaded bars kept as one parquet file a month, so that a killed download goes on.
#
# A file is written atomically, so that a name stands for whole contents only. It carries what it
# holds and a sha256 of its numbers; one that is cut short, altered or of another series is not
# used: it is logged as a warning, and its bars are fetched again. Only closed bars are ever
# stored, as many of a month as are known; what is missing is found by listing.


LOG = logging.getLogger(__name__)


class DamagedError(Exception):
    """A file of the cache does not hold what its name says."""


class Cache:
    """The bars of one series: host, category, symbol, interval, price kind.

    Args:
        folder: the cache; None keeps everything in memory.
        series: the names of the folders below it, ``(host, category, symbol, interval)``.
        price: ``"trade"``, ``"mark"`` or ``"index"``.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, series: tuple[str, ...], price: str
    ) -> None:
        if not isinstance(folder, str | os.PathLike | None):
            raise ArgumentError("cache", folder, "a folder, or None")
        self.columns = COLUMNS[price]
        self.key = "/".join((*series, price))
        self.folder = None if folder is None else Path(folder, *series, price)
        self._months: dict[str, Bars] = {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of this series; a killed one leaves no lock behind."""
        if self.folder is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            yield

    def get(self, opens: np.ndarray) -> Bars:
        """Return those of the bars that open at ``opens`` (ms) which are known."""
        names = [str(m) for m in np.unique(month(opens))]
        known = join([self._load(name) for name in names], len(self.columns))
        return known.where(np.isin(known.stamps, opens, assume_unique=True))

    def add(self, bars: Bars) -> None:
        """Keep bars that were missing, month by month, each month's file renamed in place."""
        months = month(bars.stamps)
        for each in np.unique(months):
            name = str(each)
            parts = [self._load(name), bars.where(months == each)]
            self._months[name] = merged = join(parts, len(self.columns))
            if self.folder is not None:
                write(self.folder / f"{name}.parquet", merged, self.columns, self.key)

    def _load(self, name: str) -> Bars:
        """Return one month, from memory or from its file; empty if there is none to trust."""
        if name not in self._months:
            self._months[name] = join([], len(self.columns))
            path = None if self.folder is None else self.folder / f"{name}.parquet"
            if path is not None and path.exists():
                try:
                    self._months[name] = read(path, self.columns, self.key)
                except DamagedError as error:
                    LOG.warning("cache: %s: %s; its bars are fetched again", path, error)
        return self._months[name]


def digest(bars: Bars) -> bytes:
    """Return the sha256 of stamps and values, as hexadecimal bytes."""
    both = np.ascontiguousarray(bars.stamps, "<i8"), np.ascontiguousarray(bars.values, "<f8")
    return hashlib.sha256(b"".join(x.tobytes() for x in both)).hexdigest().encode()


def write(path: Path, bars: Bars, columns: tuple[str, ...], key: str) -> None:
    """Put a file in place whole, or not at all."""
    arrays = [pa.array(bars.stamps), *(pa.array(bars.values[:, k]) for k in range(len(columns)))]
    marks = {"setrade.series": key.encode(), "setrade.sha256": digest(bars)}
    table = pa.table(arrays, names=["time", *columns], metadata=marks)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read(path: Path, columns: tuple[str, ...], key: str) -> Bars:
    """Return a file's bars.

    Raises:
        DamagedError: it is no parquet file, holds another series, or its sha256 is wrong.
    """
    raw = pa.BufferReader(path.read_bytes())  # what the disk refuses is not damage
    try:
        table = pq.read_table(raw, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"cannot be read ({str(error).splitlines()[0]})") from error
    marks = table.schema.metadata or {}
    if marks.get(b"setrade.series") != key.encode() or table.column_names != ["time", *columns]:
        raise DamagedError(f"does not hold {key}")
    if table.schema.types != [pa.int64(), *[pa.float64()] * len(columns)]:
        raise DamagedError("columns of another type")
    stamps, *values = (column.to_numpy() for column in table.columns)
    bars = Bars(stamps, np.column_stack(values))
    if marks.get(b"setrade.sha256") != digest(bars):
        raise DamagedError("its numbers are not those that were written")
    if (np.diff(stamps) <= 0).any() or (month(stamps).astype(str) != path.stem).any():
        raise DamagedError("stamps out of order or of another month")
    return bars


# ---- Bars asked for window by window, checked, kept, and put together again.


LONG = 10  # requests from which on a progress bar is shown
Get = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Series:
    """What is asked for: one price of one symbol at one interval."""

    symbol: str
    interval: Interval
    category: str
    price: str

    def page(self, get: Get, first: int, last: int) -> http.Bars:
        """Ask for the bars that open from ``first`` to ``last`` (ms, both included).

        Raises:
            DataError, CandleError: what came is not that, or cannot be.
        """
        # The end just before the next open: the same bars whether or not it is inclusive.
        bounds = {"start": first, "end": last + self.interval.ms - 1, "limit": MOST_BARS}
        query = {"category": self.category, "interval": self.interval.code} | bounds
        result = get(self.symbol, PRICES[self.price], **query)["result"]
        if result.get("symbol", self.symbol) != self.symbol or "list" not in result:
            raise DataError(f"klines: asked for {self.symbol}, got {str(result)[:60]}")
        bars = http.klines(result["list"], self.price)
        inside = (bars.stamps >= first) & (bars.stamps <= last)  # a dead symbol sends others
        bars = bars.where(inside)
        http.check(bars, self.interval, self.price)
        return bars


def download(series: Series, get: Get, opens: np.ndarray, cache: Cache) -> http.Bars:
    """Return the bars that open at ``opens`` (ms), fetching what the cache lacks.

    Each page is in the cache before the next is asked for.
    """
    with cache.locked():
        known = cache.get(opens)
        missing = np.setdiff1d(opens, known.stamps, assume_unique=True)
        asked = list(windows(missing, series.interval))
        name = f"{series.symbol} {series.interval.name}"
        # A long download shows its bar wherever TQDM_DISABLE does not forbid it.
        quiet: dict[str, Any] = {} if len(asked) >= LONG else {"disable": True}
        with tqdm(total=len(missing), desc=name, unit=" bars", leave=False, **quiet) as progress:
            for first, last in asked:
                cache.add(series.page(get, first, last))
                progress.update((last - first) // series.interval.ms + 1)
        return cache.get(opens)


def assemble(
    bars: http.Bars, opens: np.ndarray, series: Series, *, keep_gaps: bool
) -> pd.DataFrame:
    """Return the frame of candles, after a last look: every bar once, in order, sane.

    Raises:
        GapError: bars are missing and ``keep_gaps`` is not set.
        CandleError: the whole has a fault that no page had.
    """
    missing = http.times(np.setdiff1d(opens, bars.stamps, assume_unique=True))
    if len(missing) and not keep_gaps:
        raise GapError(series.symbol, series.interval.name, missing)
    table = http.frame(bars, series.price)
    if len(missing):
        table.attrs["missing"] = [t.isoformat() for t in missing]
    else:
        candles.check(table, series.interval.name)
    return table
