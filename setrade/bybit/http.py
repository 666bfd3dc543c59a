"""One retry policy for every request: what passes is tried again, what does not is not.

Tried again: HTTP 409, 429 and 5xx, retCodes 10000 (timeout), 10006 (rate) and 10016 (server),
connections dropped or cut, answers that are no JSON. Never: 403 (an address that asks on
stays banned), 10001 (wrong parameters stay wrong), 10002 (a clock that is off stays off).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import requests
import tenacity
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP

from setrade.bybit.constants import (
    MOST_INSTRUMENTS,
    MOST_RATES,
    AccessError,
    DataError,
    ExchangeError,
    Interval,
    UnreachableError,
)
from setrade.candles.checks import LAYOUTS, CandleError, find_faults, spotless
from setrade.errors import ArgumentError, integer, number

PASSING_STATUS = {409, 429, *range(500, 600)}
PASSING_CODES = {10000, 10006, 10016}
RATE_LIMIT, RESET_HEADER = 10006, "X-Bapi-Limit-Reset-Timestamp"
LOG = logging.getLogger(__name__)
T = TypeVar("T")


class MalformedAnswerError(Exception):
    """An answer that is JSON, but not the exchange's envelope."""

    status_code = 409


def is_passing(error: BaseException) -> bool:
    """Say whether the same request may well succeed a little later."""
    if isinstance(error, FailedRequestError):
        return error.status_code in PASSING_STATUS
    if isinstance(error, InvalidRequestError):
        return error.status_code in PASSING_CODES
    broken = (
        requests.exceptions.ConnectionError,
        requests.exceptions.Timeout,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
        MalformedAnswerError,
    )
    return isinstance(error, broken)


def reset_wait(error: BaseException | None, now: float) -> float:
    """Return the seconds until the rate limit is lifted; 0 if past, unreadable or not said."""
    if not isinstance(error, InvalidRequestError) or error.status_code != RATE_LIMIT:
        return 0.0
    try:
        return max(0.0, int((error.resp_headers or {})[RESET_HEADER]) / 1000 - now)
    except (KeyError, TypeError, ValueError):
        return 0.0


@dataclass(frozen=True)
class Retry:
    """How often and how patiently: waits double from ``first`` to ``longest`` seconds.

    Each wait has up to ``first`` seconds of jitter added, so that clients which failed
    together do not come back together. A rate limit that names its end is waited for, up to
    ``longest``.

    Args:
        tries: tries in all, the first one included.
        first: the first wait, seconds.
        longest: the longest wait, seconds.
        sleep: what waits; tests put a short one here.
    """

    tries: int = 8
    first: float = 0.5
    longest: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        integer("tries", self.tries, 1)
        number("first", self.first, 0)
        number("longest", self.longest, 0)

    def call(self, function: Callable[[], T]) -> T:
        """Return ``function()``, tried again while it fails in a way that passes."""
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.tries),
            retry=tenacity.retry_if_exception(is_passing),
            wait=self._wait,
            sleep=self.sleep,
            before_sleep=_log,
            reraise=True,
        )
        return retrying(function)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next try."""
        doubling = tenacity.wait_exponential(multiplier=self.first, max=self.longest)
        backoff = doubling(state) + tenacity.wait_random(0, self.first)(state)
        error = state.outcome.exception() if state.outcome else None
        return min(self.longest, max(backoff, reset_wait(error, time.time())))


def _log(state: tenacity.RetryCallState) -> None:
    """Say what failed, without the request: it may carry a signature."""
    error = state.outcome.exception() if state.outcome else None
    code, wait = getattr(error, "status_code", "-"), state.next_action.sleep  # type: ignore
    kind = type(error).__name__
    LOG.info("try %d: %s (%s), next in %.2f s", state.attempt_number, kind, code, wait)


# ---- pybit's HTTP client under one retry policy. Market data needs no key, so it has none.


FORBIDDEN = (
    "HTTP 403, not tried again: this address sent more than 600 requests in 5 s (then stop "
    "for 10 minutes), or is in a region that the exchange does not serve"
)
WRONG_PARAMETER = 10001
FAILURES = (
    FailedRequestError, InvalidRequestError, MalformedAnswerError,
    requests.exceptions.RequestException,
)  # fmt: skip


class _Http(HTTP):
    """pybit's client; as a dataclass it would print all its fields, keys among them."""

    __repr__ = object.__repr__


class Session:
    """GET requests to one host, each tried until it succeeds or cannot.

    Orders do not belong here: an order that may have arrived is looked up, never sent again.

    Args:
        base_url: such as ``"http://127.0.0.1:8080"``; None: the exchange's own host.
        testnet, demo: which of the exchange's hosts.
        timeout: seconds without an answer before a try counts as failed.
        retry: the policy; None: `Retry` as it stands.
    """

    def __init__(
        self,
        base_url: str | None = None,
        testnet: bool = False,
        *,
        demo: bool = False,
        timeout: float = 10.0,
        retry: Retry | None = None,
    ) -> None:
        timeout = number("timeout", timeout, 0, above=True)
        for name, value in (("testnet", testnet), ("demo", demo)):
            if not isinstance(value, bool):
                raise ArgumentError(name, value, "True or False")
        self.retry = Retry() if retry is None else retry
        log = logging.getLogger("pybit._http_manager")
        handlers = list(log.handlers)
        self.http: Any = _Http(testnet=testnet, demo=demo)
        log.handlers[:] = handlers  # pybit adds one more at every construction
        # The empty set must be assigned: given to the constructor it means pybit's defaults.
        self.http.retry_codes, self.http.max_retries, self.http.timeout = set(), 1, timeout
        if base_url is not None:
            self.http.endpoint = _url(base_url)

    @property
    def endpoint(self) -> str:
        """Scheme, host and port."""
        return self.http.endpoint

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint!r})"

    def get(self, method: str, **query: Any) -> dict[str, Any]:
        """Call one of pybit's GET methods; return the whole envelope, checked.

        Args:
            method: its name, such as ``"get_kline"``.
            query: its parameters; None means left out.

        Raises:
            AccessError: HTTP 403, after one try.
            UnreachableError: still failing after the last try.
            ExchangeError: any other refusal, after one try.
        """
        asked = {k: v for k, v in query.items() if v is not None}
        try:
            return self.retry.call(lambda: self._once(method, asked))
        except FAILURES as error:
            failure = self._typed(method, error)
        raise failure  # outside the handler: a chained cause would print what the host echoed

    def about(self, symbol: str, method: str, **query: Any) -> dict[str, Any]:
        """Call a GET method about one symbol; as `get`, but say so if the symbol is unknown.

        Raises:
            ArgumentError: the exchange does not list ``symbol``.
        """
        try:
            return self.get(method, symbol=symbol, **query)
        except ExchangeError as error:
            if error.code != WRONG_PARAMETER or "symbol" not in error.message.lower():
                raise
            allowed = f"a symbol that the exchange lists ({error.message})"
            raise ArgumentError("symbol", symbol, allowed) from error

    def _once(self, method: str, query: dict[str, Any]) -> dict[str, Any]:
        """One try: send, and look whether the answer is an envelope with a result."""
        try:
            answer = getattr(self.http, method)(**query)
            whole = answer["retCode"] == 0 and isinstance(answer["result"], dict)
        except (AttributeError, KeyError, TypeError) as error:  # pybit reads it unchecked
            raise MalformedAnswerError("the answer is no envelope") from error
        if not whole:
            raise MalformedAnswerError("the answer has no result")
        return answer

    def _typed(self, method: str, error: Exception) -> ExchangeError:
        """Turn what pybit or requests raised into ours."""
        code = getattr(error, "status_code", 0)
        text = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        if is_passing(error):
            return UnreachableError(method, code, text, self.retry.tries)
        if code == 403 and isinstance(error, FailedRequestError):
            return AccessError(method, code, FORBIDDEN)
        return ExchangeError(method, code, text)


def _url(value: str) -> str:
    """Return a base URL without its trailing slash."""
    allowed = "a URL such as 'https://api.bybit.com'"
    if not isinstance(value, str):
        raise ArgumentError("base_url", value, allowed)
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
        raise ArgumentError("base_url", value, allowed)
    return value.rstrip("/")


# ---- Answers of the exchange turned into numbers: decimal strings are cast once, here.


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


# ---- Lists that come in pages: instruments by cursor, funding by stamp.


Ask = Callable[..., dict[str, Any]]
FIELDS = {
    "status": ("status",), "base": ("baseCoin",), "quote": ("quoteCoin",),
    "tick_size": ("priceFilter", "tickSize"), "qty_step": ("lotSizeFilter", "qtyStep"),
    "min_qty": ("lotSizeFilter", "minOrderQty"),
    "min_notional": ("lotSizeFilter", "minNotionalValue"),
    "funding_minutes": ("fundingInterval",), "launched": ("launchTime",),
}  # fmt: skip
SPOT = {"qty_step": ("lotSizeFilter", "basePrecision"),
        "min_notional": ("lotSizeFilter", "minOrderAmt")}  # fmt: skip


def all_instruments(get: Ask, category: str) -> pd.DataFrame:
    """Follow ``nextPageCursor`` to the end; a cursor that comes back is an error."""
    rows: list[dict[str, Any]] = []
    cursor, seen = "", set[str]()
    while True:
        query = {"category": category, "limit": MOST_INSTRUMENTS, "cursor": cursor or None}
        result = get("get_instruments_info", **query)["result"]
        rows += result.get("list") or []
        cursor = result.get("nextPageCursor") or ""
        if not cursor:
            return _instruments(rows, category)
        if cursor in seen:
            raise DataError(f"instruments: page {cursor!r} came twice")
        seen.add(cursor)


def _instruments(rows: list[dict[str, Any]], category: str) -> pd.DataFrame:
    """Return one row a symbol."""
    names = [str(row.get("symbol")) for row in rows]
    if len(set(names)) < len(names):
        raise DataError("instruments: a symbol came twice")
    fields = FIELDS | (SPOT if category == "spot" else {})
    table = {name: [_field(row, path) for row in rows] for name, path in fields.items()}
    return pd.DataFrame(table, index=pd.Index(names, name="symbol"), dtype=object)


def _field(row: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return a field, or a field of a field, or None."""
    value: Any = row
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return None if value == "" else value


def funding_history(ask: Ask, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Return stamps (ms) and rates in [first, last), oldest first.

    Asked for with both bounds (a start alone is an error); a full page holds the newest, so
    the next page ends just before its oldest row.
    """
    stamps, rates, end = [np.empty(0, np.int64)], [np.empty(0)], last - 1
    while end >= first:
        rows = ask(startTime=first, endTime=end, limit=MOST_RATES).get("list") or []
        when, rate = funding(rows)
        inside = (when >= first) & (when <= end)
        stamps.append(when[inside])
        rates.append(rate[inside])
        if len(rows) < MOST_RATES:
            break
        end = min(end, int(when.min())) - 1
    all_stamps = np.concatenate(stamps)
    order = np.argsort(all_stamps, kind="stable")
    if (np.diff(all_stamps[order]) == 0).any():
        raise DataError("funding: a time came twice")
    return all_stamps[order], np.concatenate(rates)[order]
