"""Bybit's names and limits, the arguments that they allow, and the errors of this package.

Sources: https://bybit-exchange.github.io/docs/v5/enum (intervals, categories) and the pages
of the market endpoints (limits), as of 2026-07.
"""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from setrade.candles.checks import parse_interval
from setrade.errors import ArgumentError, Pickled

CODES = {
    "1min": "1", "3min": "3", "5min": "5", "15min": "15", "30min": "30", "1h": "60",
    "2h": "120", "4h": "240", "6h": "360", "12h": "720", "1D": "D",
}  # fmt: skip
CATEGORIES = ("linear", "inverse", "spot", "option")
TRADED = CATEGORIES[:3]  # here, and of which there are bars
PRICES = {"trade": "get_kline", "mark": "get_mark_price_kline", "index": "get_index_price_kline"}
DEEPEST = {"linear": 1000, "inverse": 1000, "spot": 1000, "option": 25}
MOST_TRADES = {"linear": 1000, "inverse": 1000, "spot": 60, "option": 1000}
MOST_BARS, MOST_RATES, MOST_INSTRUMENTS = 1000, 200, 500
STREAMS = {False: "wss://stream.bybit.com", True: "wss://stream-testnet.bybit.com"}
LAST_NS = 7_258_118_400_000_000_000  # the year 2200
SYMBOL = re.compile(r"[A-Z0-9]{2,30}(?:-[A-Z0-9]{1,15}){0,4}")


class Interval(NamedTuple):
    """A bar length: its pandas offset, the exchange's code, and milliseconds."""

    name: str
    code: str
    ms: int


LENGTHS = {parse_interval("interval", name).value: name for name in CODES}


def interval(value: str | pd.Timedelta) -> Interval:
    """Return the exchange's interval for a pandas offset such as ``"15min"`` or ``"1h"``.

    Raises:
        ArgumentError: no bar length, or one that the exchange does not offer. Its weekly and
            monthly bars are not offered here: a frame of candles divides the day.
    """
    try:
        length = parse_interval("interval", value).value
        name = LENGTHS[length]
    except (ArgumentError, KeyError) as error:
        raise ArgumentError("interval", value, "one of " + ", ".join(CODES)) from error
    return Interval(name, CODES[name], length // 1_000_000)


def from_code(text: str) -> str:
    """Return the pandas offset of an exchange's code (``"60"``); pass anything else on."""
    return {code: name for name, code in CODES.items()}.get(str(text), text)


def symbol(value: str) -> str:
    """Return a symbol that is written as the exchange writes them: ``BTCUSDT``.

    Whether it exists only the exchange can say; text that cannot be one is never sent.
    """
    if not isinstance(value, str) or not SYMBOL.fullmatch(value):
        raise ArgumentError("symbol", value, "capital letters and digits, such as 'BTCUSDT'")
    return value


def moment(name: str, value: str | datetime) -> int:
    """Return ISO text with a zone, or an aware datetime, as nanoseconds since 1970.

    Raises:
        ArgumentError: naive, not a time, before 1970 or after 2200; ``name`` names it.
    """
    allowed = 'a time from 1970 on with its zone, such as "2024-01-01T00:00Z"'
    stamp: Any = pd.NaT
    with contextlib.suppress(ValueError, OverflowError):  # so are times out of pandas' bounds
        if isinstance(value, str | datetime):
            stamp = pd.Timestamp(value).as_unit("ns")
    if stamp is pd.NaT or stamp.tzinfo is None or not 0 <= stamp.value <= LAST_NS:
        raise ArgumentError(name, value, allowed)
    return stamp.value


def span(start: str | datetime, end: str | datetime) -> tuple[int, int]:
    """Return a half-open span in nanoseconds; the end must lie after the start."""
    first, last = moment("start", start), moment("end", end)
    if last <= first:
        raise ArgumentError("end", end, f"a time after start ({start})")
    return first, last


class ExchangeError(Pickled, RuntimeError):
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


class GapError(Pickled, DataError):
    """Bars are missing; ``missing`` lists them, the message names the first."""

    def __init__(self, symbol: str, interval: str, missing: pd.DatetimeIndex) -> None:
        self.symbol, self.interval, self.missing = symbol, interval, missing
        super().__init__(
            f"{symbol} {interval}: {len(missing)} bars missing, the first {missing[0]}, "
            f'the last {missing[-1]}; gaps="keep" returns the others'
        )


class ArchiveError(Pickled, ValueError):
    """A downloaded archive is damaged or not of the kind that was expected."""

    def __init__(self, path: str | Path, what: str) -> None:
        self.path = Path(path)
        super().__init__(f"{self.path.name}: {what}")
