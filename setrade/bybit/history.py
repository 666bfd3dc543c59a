"""Downloaded bars on disk, one parquet file a month, so that a killed download goes on.

A file is written atomically, so that a name stands for whole contents only. It carries what it
holds and a sha256 of its numbers; one that is cut short, altered or of another series is not
used: it is logged as a warning, and its bars are fetched again. Only closed bars are ever
stored, as many of a month as are known.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from setrade.bybit.http import COLUMNS, Bars, join
from setrade.errors import ArgumentError
from setrade.files import atomic_path

LOG = logging.getLogger(__name__)


class DamagedError(Exception):
    """A file of the cache does not hold what its name says."""


def month(stamps: np.ndarray) -> np.ndarray:
    """Return the month of each stamp (ms), as ``datetime64[M]``."""
    return stamps.astype("M8[ms]").astype("M8[M]")


class Cache:
    """The bars of one ``series`` (host, category, symbol, interval) and price, below a folder."""

    def __init__(self, folder: str | os.PathLike[str], series: tuple[str, ...], price: str) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise ArgumentError("cache", folder, "a folder, or None")
        self.columns = COLUMNS[price]
        self.key = "/".join((*series, price))
        self.folder = Path(folder, *series, price)
        self._months: dict[str, Bars] = {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of this series; a killed one leaves no lock behind."""
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
            write(self.folder / f"{name}.parquet", merged, self.columns, self.key)

    def _load(self, name: str) -> Bars:
        """Return one month, from memory or from its file; empty if there is none to trust."""
        if name not in self._months:
            self._months[name] = join([], len(self.columns))
            path = self.folder / f"{name}.parquet"
            if path.exists():
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
