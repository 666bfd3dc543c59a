"""The exchange's public archives, read from files that were downloaded by hand.

Trades of a day: ``https://public.bybit.com/trading/<SYMBOL>/<SYMBOL><DATE>.csv.gz`` (contracts)
and ``https://public.bybit.com/spot/<SYMBOL>/<SYMBOL>_<DATE>.csv.gz``. Order books:
``<DATE>_<SYMBOL>_ob500.data.zip`` (``ob200`` since 2025-08-21), the stream's messages as JSON
lines. https://www.bybit.com/derivatives/en/history-data
"""

from __future__ import annotations

import gzip
import json
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd

from setrade.bybit.constants import ArchiveError
from setrade.errors import ArgumentError, integer
from setrade.orderbook import OrderBook, Snapshots

# What each kind of file calls time, price, size, side and id; time's unit in us.
CONTRACTS = ({"timestamp", "side", "size", "price", "trdMatchID"}, "size", "trdMatchID", 1e6)
SPOT = ({"id", "timestamp", "price", "volume", "side"}, "volume", "id", 1e3)
SIDES = {"buy": 1, "sell": -1}
# A zip that wants a password, or is packed in a way unknown here, is a RuntimeError.
# One that is packed in a way for which a package is missing, an ImportError.
BROKEN = (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError,
          lzma.LZMAError, tarfile.TarError, ImportError)  # fmt: skip
FIRST, LAST = 1.2e15, 4.1e15  # us since 1970: the years 2008 to 2099


def trades(path: str | Path) -> pd.DataFrame:
    """Read a day of public trades from a ``.csv`` or ``.csv.gz`` file of the archive.

    Files of older years begin with the newest trade; rows are put in order of time, trades of
    one stamp staying in the file's order (turned round with the file where it runs backwards).

    Returns:
        Columns ``time`` (UTC, us), ``price``, ``size``, ``side`` (+1 the taker bought, -1
        sold) and ``id``, oldest first.

    Raises:
        ArchiveError: cut short, other columns, no trade, or impossible numbers (the first
            line that has them is named).
    """
    table, (_, size, name, unit) = _table(_existing(path))
    numbers = {c: pd.to_numeric(table[c], errors="coerce") for c in ("timestamp", "price", size)}
    side = table["side"].str.lower().map(SIDES)
    good = side.notna() & np.logical_and.reduce(
        [np.isfinite(x) & (x > 0) for x in numbers.values()]
    )
    if not good.all():
        line = int(np.argmin(good.to_numpy()))
        raise ArchiveError(path, f"line {line + 2} is no trade: {table.iloc[line].to_dict()}")
    us = np.rint(numbers["timestamp"].to_numpy() * unit)
    if (far := (us < FIRST) | (us > LAST)).any():
        line, named = int(far.argmax()), "s" if unit == 1e6 else "ms"
        stamp = table["timestamp"].iloc[line]
        raise ArchiveError(
            path, f"line {line + 2}: timestamp {stamp} is not of this century in {named}"
        )
    us = us.astype(np.int64)
    out = pd.DataFrame(
        {
            "time": pd.DatetimeIndex(us.astype("M8[us]")).tz_localize("UTC"),
            "price": numbers["price"].to_numpy(np.float64),
            "size": numbers[size].to_numpy(np.float64),
            "side": side.to_numpy(np.int8),
            "id": table[name].to_numpy(),
        }
    )
    out = out.iloc[::-1] if us[0] > us[-1] else out
    return out.sort_values("time", kind="stable", ignore_index=True)


def _table(path: Path) -> tuple[pd.DataFrame, tuple[set[str], str, str, float]]:
    """Return the file's text by column, and which kind of file it is."""
    try:
        names = list(pd.read_csv(path, nrows=0).columns)
        kind = next((kind for kind in (CONTRACTS, SPOT) if kind[0] <= set(names)), None)
        table = pd.read_csv(path, dtype=str, usecols=list(kind[0]) if kind else [])
    except (*BROKEN, ValueError) as error:
        raise ArchiveError(path, f"cannot be read: {error}") from error
    if kind is None:
        raise ArchiveError(path, f"no file of trades; its columns are {', '.join(names)}")
    if not len(table):
        raise ArchiveError(path, "holds no trade")
    return table, kind


def _existing(path: str | Path) -> Path:
    if not isinstance(path, str | Path) or not Path(path).is_file():
        raise ArgumentError("path", path, "an existing file of the archive")
    return Path(path)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open the one file inside a zip, a gzip, or the plain file."""
    if path.suffix.lower() != ".zip":
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            yield cast(IO[bytes], file)
        return
    with zipfile.ZipFile(path) as archive:
        if len(archive.namelist()) != 1:
            raise ArchiveError(path, f"one file expected inside, found {archive.namelist()}")
        with archive.open(archive.namelist()[0]) as file:
            yield file


def book_messages(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the stream's messages from a ``.zip``, ``.gz`` or plain file of JSON lines, in order.

    Raises:
        ArchiveError: cut short, damaged, or a line that is no JSON object; named by number.
    """
    number, path = 0, _existing(path)
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, 1):
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise ArchiveError(path, f"line {number} is no message: {line[:60]!r}")
                yield message
    except BROKEN as error:
        raise ArchiveError(path, f"cannot be read after line {number}: {error}") from error
    except ArchiveError:
        raise
    except ValueError as error:  # also a number of more digits than Python reads
        raise ArchiveError(path, f"line {number} is no JSON: {error}") from error
    if not number:
        raise ArchiveError(path, "holds no message")


@dataclass
class Replay:
    """What a replay met.

    ``snapshots`` holds the best levels after each message that left the book valid;
    ``invalid`` counts the messages that did not, ``faults`` what `OrderBook` found.
    """

    snapshots: Snapshots
    messages: Counter[str]
    invalid: int
    faults: Counter[str]


def replay(messages: Iterable[dict[str, Any]], levels: int = 10) -> Replay:
    """Run messages of one symbol through `orderbook.OrderBook`; keep the best ``levels`` a side.

    Raises:
        ArgumentError: a message is malformed, or no book had that many levels.
    """
    levels = integer("levels", levels, 1)
    if not np.iterable(messages) or isinstance(messages, str | bytes | dict):
        raise ArgumentError("messages", messages, "decoded JSON objects, one after the other")
    book, kinds, kept, invalid = OrderBook(), Counter[str](), [], 0
    for message in messages:
        if not isinstance(message, dict):
            raise ArgumentError("messages", message, "decoded JSON objects of the stream")
        kinds[str(message.get("type"))] += 1
        if book.apply(message):
            kept.append(book.snapshot(levels))
        else:
            invalid += 1
    if not kept:
        raise ArgumentError("messages", dict(kinds), "messages that begin with a snapshot")
    fields = ("time", "bid_price", "bid_size", "ask_price", "ask_size")
    stacked = (np.concatenate([getattr(s, f) for s in kept]) for f in fields)
    return Replay(Snapshots(*stacked), kinds, invalid, book.faults)
