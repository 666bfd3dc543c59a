"""The files of the registered test: what each must hold, and bars before joined with those after.

`registered` imports it; it runs nothing by itself. Nothing is mended: a missing file, a hole, bars
that begin too early or too late, and a file that changed are refused, with their names and times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import picture_folds

from setrade import candles, results
from setrade.errors import array
from setrade.files import atomic_path
from setrade.study import Data, StudyError
from setrade.study.store import FUNDING, HOURS

LATER = pd.Timestamp("2025-01-01", tz="UTC")
REHEARSED = pd.Timestamp("2024-07-01", tz="UTC")
FILES = {  # name: bars before 2025, bars from then on, length
    "btc_1h": (HOURS, "bybit_btcusdt_perp_1h_2025on.parquet", "1h"),
    "btc_15m": (
        "bybit_btcusdt_perp_15m_202311on.parquet", "bybit_btcusdt_perp_15m_2025on.parquet",
        "15min",
    ),
    "eth_1h": ("bybit_ethusdt_perp_1h.parquet", "bybit_ethusdt_perp_1h_2025on.parquet", "1h"),
    "sol_1h": ("bybit_solusdt_perp_1h.parquet", "bybit_solusdt_perp_1h_2025on.parquet", "1h"),
    "funding": (FUNDING, "bybit_btcusdt_funding_8h_2025on.parquet", "8h"),
}  # fmt: skip
LEAST_DAYS = 56  # of a test


# ---- Bars: those before, joined with those after.


def named(folder: Path | None, file: str, variable: str) -> Path:
    """Return the path of a file; raise StudyError if it is not there."""
    path = None if folder is None else Path(folder) / file
    if path is None or not path.is_file():
        where = f"no folder: set {variable}" if path is None else f"not in {folder} ({variable})"
        raise StudyError(f"{file} is missing: {where}")
    return path


def stamps(path: Path, columns: tuple[str, ...]) -> pd.DatetimeIndex:
    """Return the times of a file's rows; raise StudyError if it is no table or lacks a column."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} is no parquet file that can be read: {error}") from error
    if lacks := [name for name in ("ts", *columns) if name not in table]:
        raise StudyError(f"{path} lacks the columns {lacks}")
    if not len(table):
        raise StudyError(f"{path} has no rows")
    return pd.DatetimeIndex(pd.to_datetime(table["ts"], unit="ms", utc=True))


def rates_of(path: Path) -> pd.DataFrame:
    """Return settlements as (n, 1) by time; raise StudyError for holes, doubles and no numbers."""
    time = stamps(path, ("rate",))
    steps = time[1:] - time[:-1]
    if len(wrong := time[1:][(steps <= pd.Timedelta(0)) | (steps > pd.Timedelta("8h"))]):
        raise StudyError(f"{path}: no settlement within 8 hours before {wrong[0]}, or out of order")
    rate = array("rate", pd.read_parquet(path)["rate"].to_numpy(), ndim=1).astype(float)
    return pd.DataFrame({"rate": rate}, time)


def table_of(path: Path, length: str) -> pd.DataFrame:
    """Return the checked rows of a file, by time; raise for what is wrong with it."""
    if length == "8h":
        return rates_of(path)
    stamps(path, candles.COLUMNS)
    return candles.read(path, length)[list(candles.COLUMNS)]


def require_later(path: Path, length: str) -> None:
    """Raise StudyError unless a file's first row is that of 2025."""
    first = stamps(path, ())[0]
    if first < LATER:
        raise StudyError(f"{path} holds bars of {first.year}, the first is {first}: not from 2025")
    if first - LATER >= pd.Timedelta(length):
        raise StudyError(f"{path} begins at {first}, not at {LATER}")


@dataclass(frozen=True)
class Bars:
    """The files of a reading, joined, where the test begins, and where each file's ends."""

    files: dict[str, Data]
    start: pd.Timestamp
    ends: dict[str, pd.Timestamp]


def sources(data: Path | None, later: Path | None, rehearse: bool) -> dict[str, list[Path]]:
    """Return the files that are read, by name; raise StudyError for the first that is missing."""
    found = {k: [named(data or later, f, "SETRADE_DATA")] for k, (f, _, _) in FILES.items()}
    if not rehearse:
        for name, (_, file, length) in FILES.items():
            found[name].append(named(later, file, "SETRADE_LATER"))
            require_later(found[name][1], length)
    return found


def shas_of(paths: dict[str, list[Path]]) -> dict[str, str]:
    """Return the sha256 of every file, by its name."""
    return {path.name: results.sha256(path) for both in paths.values() for path in both}


def join(name: str, paths: list[Path], start: pd.Timestamp) -> pd.DataFrame:
    """Return all rows of a file and its later part; raise where they do not meet."""
    length = FILES[name][2]
    parts = [table_of(path, length) for path in paths]
    if len(parts) > 1:
        gap = parts[1].index[0] - parts[0].index[-1]
        if not pd.Timedelta(0) < gap <= pd.Timedelta(length):
            ends = f"{parts[0].index[-1]}, {paths[1]} begins at {parts[1].index[0]}"
            raise StudyError(f"{paths[0]} ends at {ends}: they do not meet")
    whole = pd.concat(parts)
    days = (whole.index[-1] + pd.Timedelta(length) - start) // pd.Timedelta("1D")
    if days < LEAST_DAYS:
        raise StudyError(f"{paths[-1]} has {max(days, 0)} days from {start}: at least {LEAST_DAYS}")
    return whole


def prepare(paths: dict[str, list[Path]], where: Path, start: pd.Timestamp) -> Bars:
    """Write joined files, once, and return them; each reading belongs to its files for good.

    Raises:
        StudyError: a file is at fault, or not the one that the reading began with.
        CandleError: bars with holes and other faults, by their times.
    """
    joined = {name: join(name, both, start) for name, both in paths.items()}
    picture_folds.claim(where, shas_of(paths) | {"start": str(start)})
    files = {}
    days = {k: (t.index[-1] + pd.Timedelta(FILES[k][2])).floor("D") for k, t in joined.items()}
    for name, table in joined.items():
        path = where / "bars" / f"{name}.parquet"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            ts = pd.DatetimeIndex(table.index).as_unit("ms").asi8
            with atomic_path(path) as temporary:
                table.reset_index(drop=True).assign(ts=ts).to_parquet(temporary)
        files[name] = Data.of(path)
    paid = {k: min(v, days["funding"]) if k.startswith("btc") else v for k, v in days.items()}
    return Bars(files, start, paid)


@lru_cache(maxsize=1)
def hours_of(data: Data, begin: str, end: pd.Timestamp) -> picture_folds.Bars:
    """Return hours as the picture studies take them; they have no hole."""
    frame = data.read().loc[begin:]
    frame = frame[frame.index < end]
    return picture_folds.Bars(frame, np.zeros(len(frame), int), data.sha256, "btc_1h")
