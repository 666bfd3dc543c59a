"""What can go wrong between a request and a frame of bars, each with its own type."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


class ExchangeError(RuntimeError):
    """The exchange refused a request; ``code`` is its retCode or the HTTP status."""

    def __init__(self, path: str, code: int, message: str) -> None:
        self.path, self.code, self.message = path, code, message
        super().__init__(f"{path}: {message} (code {code})")


class AccessError(ExchangeError):
    """HTTP 403: this address is over the limit, or in a region that is not served.

    It is raised at once and never tried again: asking on lengthens the ban.
    """


class UnreachableError(ExchangeError):
    """Every try failed for a reason that usually passes; ``tries`` says how many there were."""

    def __init__(self, path: str, code: int, message: str, tries: int) -> None:
        self.tries = tries
        super().__init__(path, code, f"gave up after {tries} tries, the last: {message}")


class DataError(ValueError):
    """The exchange's answer is not what was asked for: other symbol, repeats, no numbers."""


class GapError(DataError):
    """Bars are missing; ``missing`` lists them, the message names the first."""

    def __init__(self, symbol: str, interval: str, missing: pd.DatetimeIndex) -> None:
        self.symbol, self.interval, self.missing = symbol, interval, missing
        super().__init__(
            f"{symbol} {interval}: {len(missing)} bars missing, the first {missing[0]}, "
            f'the last {missing[-1]}; gaps="keep" returns the others'
        )


class ArchiveError(ValueError):
    """A downloaded archive is damaged or not of the kind that was expected."""

    def __init__(self, path: str | Path, what: str) -> None:
        self.path = Path(path)
        super().__init__(f"{self.path.name}: {what}")
