"""The candles of a study, and the proof that they are still the ones it began with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from setrade import candles
from setrade.results import sha256
from setrade.study.errors import StudyError


@dataclass(frozen=True)
class Data:
    """A file of candles by its path and the sha256 it had when the study began."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str | Path) -> Data:
        """Return the file as it is now.

        Raises:
            StudyError: there is no such file.
        """
        if not Path(path).is_file():
            raise StudyError(f"no candles at {path}: SETRADE_DATA names the folder they are in")
        return cls(str(path), sha256(path))

    def read(self) -> pd.DataFrame:
        """Return the checked candles, read once a process.

        Raises:
            StudyError: the file is not the one that the study began with.
            CandleError: the candles have faults, with their times.
        """
        return _read(self)


@lru_cache(maxsize=4)
def _read(data: Data) -> pd.DataFrame:
    now = Data.of(data.path)
    if now != data:
        raise StudyError(
            f"{data.path} changed under the study: sha256 {now.sha256[:12]}…, "
            f"it began with {data.sha256[:12]}…; put the old file back or start a new store"
        )
    return candles.read(data.path)


StudyData = dict[str, Data]  # name in the cell -> file
