"""GET requests through pybit's client under one retry policy, and their answers as numbers.

Tried again: what passes by the table of `codes` (HTTP 409, 429 and 5xx; timeouts, rate limits,
server errors), connections dropped or cut, answers that are no JSON. Never: 403 (an address that
asks on stays banned), 10001 (wrong parameters stay wrong), 10002 (a clock that is off stays off).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

import numpy as np
import pandas as pd
import requests
import tenacity
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP

from setrade.bybit import codes, constants
from setrade.bybit.constants import AccessError, DataError, ExchangeError, UnreachableError
from setrade.candles.checks import LAYOUTS
from setrade.errors import ArgumentError, flag, instance, integer, number

RATE_LIMIT, RESET_HEADER, WRONG_PARAMETER = 10006, "X-Bapi-Limit-Reset-Timestamp", 10001
FORBIDDEN = (
    "HTTP 403, not tried again: this address sent more than 600 requests in 5 s (then stop "
    "for 10 minutes), or is in a region that the exchange does not serve"
)
LOG = logging.getLogger(__name__)
T = TypeVar("T")


class MalformedAnswerError(Exception):
    """An answer that is JSON, but not the exchange's envelope."""

    status_code = 409


def is_passing(error: BaseException) -> bool:
    """Say whether the same request may well succeed a little later."""
    if isinstance(error, FailedRequestError | InvalidRequestError):
        return codes.passes(int(error.status_code or 0))
    cut = requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError
    return isinstance(
        error, cut | requests.ConnectionError | requests.Timeout | MalformedAnswerError
    )


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
    """``tries`` in all; waits double from ``first`` to ``longest`` seconds, by calls of ``sleep``.

    Each wait has up to ``first`` seconds of jitter added, so that clients which failed
    together do not come back together. A rate limit that names its end is waited for, up to
    ``longest``.
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
            stop=tenacity.stop_after_attempt(self.tries), sleep=self.sleep, wait=self._wait,
            retry=tenacity.retry_if_exception(is_passing), reraise=True,
        )  # fmt: skip
        return retrying(function)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Return seconds before the next try; log what failed without the signed request."""
        doubling = tenacity.wait_exponential(multiplier=self.first, max=self.longest)
        backoff = doubling(state) + tenacity.wait_random(0, self.first)(state)
        error = state.outcome.exception() if state.outcome else None
        wait = min(self.longest, max(backoff, reset_wait(error, time.time())))
        kind, code = type(error).__name__, getattr(error, "status_code", "-")
        LOG.info("try %d: %s (%s), next in %.2f s", state.attempt_number, kind, code, wait)
        return wait


def _hide_signature(record: logging.LogRecord) -> bool:
    """Take the signature out of the headers that pybit logs where it is told to."""
    record.msg = re.sub(r"('X-BAPI-SIGN': ')\w+", r"\1***", str(record.msg))
    return True


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

    endpoint = ""  # scheme, host and port

    def __init__(
        self, base_url: str | None = None, testnet: bool = False, *, demo: bool = False,
        timeout: float = 10.0, retry: Retry | None = None,
    ) -> None:  # fmt: skip
        timeout = number("timeout", timeout, 0, above=True)
        testnet, demo = flag("testnet", testnet), flag("demo", demo)
        self.retry = instance("retry", retry or Retry(), Retry, "a Retry or None")
        log = logging.getLogger("pybit._http_manager")
        log.addFilter(_hide_signature)
        handlers = list(log.handlers)
        # pybit shall try once, and no code repeat it (an empty set would mean its defaults).
        once: dict[str, Any] = {"max_retries": 1, "retry_codes": {None}}
        self.http: Any = _Http(testnet=testnet, demo=demo, timeout=timeout, **once)
        log.handlers[:] = handlers  # pybit adds one more at every construction
        if base_url is not None:
            checked_url(base_url, ("http", "https"))
            self.http.endpoint = base_url.rstrip("/")
        self.endpoint = self.http.endpoint

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint!r})"

    def get(self, method: str, **query: Any) -> dict[str, Any]:
        """Call one of pybit's GET methods, such as ``"get_kline"``; return the whole envelope.

        ``query`` is its parameters; None means left out.

        Raises:
            AccessError: HTTP 403, after one try.
            UnreachableError: still failing after the last try.
            ExchangeError: any other refusal, after one try.
        """
        asked = {k: v for k, v in query.items() if v is not None}
        try:
            return self.retry.call(lambda: self._once(method, asked))
        except (FailedRequestError, InvalidRequestError, MalformedAnswerError,
                requests.RequestException) as error:  # fmt: skip
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


def checked_url(value: Any, schemes: tuple[str, str]) -> SplitResult:
    """Return the parts of a base URL of one of two schemes."""
    parts = urlsplit(value) if isinstance(value, str) else None
    query = parts and parts.query and "http" in schemes  # there pybit adds the path
    if parts is None or parts.scheme not in schemes or not parts.netloc or query:
        raise ArgumentError("base_url", value, f'"{schemes[1]}://host", "{schemes[0]}://host:port"')
    return parts


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turn the failure to read an answer about ``what`` into a `DataError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise DataError(f"{what}: {type(error).__name__}: {error}") from error


COLUMNS = {"trade": LAYOUTS[1], "mark": LAYOUTS[0][:4], "index": LAYOUTS[0][:4]}


class Bars(NamedTuple):
    """Bars by stamp: ``stamps`` (n,) int64, ms, rising; ``values`` (n, columns) float64."""

    stamps: np.ndarray
    values: np.ndarray

    def where(self, mask: np.ndarray) -> Bars:
        """Return the bars chosen by a mask."""
        return Bars(self.stamps[mask], self.values[mask])


def join(parts: list[Bars], columns: int) -> Bars:
    """Return all bars of several sets that share none, oldest first."""
    stamps = np.concatenate([np.empty(0, np.int64), *(p.stamps for p in parts)])
    values = np.concatenate([np.empty((0, columns)), *(p.values for p in parts)])
    order = np.argsort(stamps, kind="stable")
    return Bars(stamps[order], values[order])


def klines(rows: list[list[str]], price: str) -> Bars:
    """Turn a page of klines, newest first as sent, into bars, oldest first.

    ``rows`` are lists of decimal strings, ``[start, open, high, low, close, volume, turnover]``,
    for mark and index prices without the last two.

    Raises:
        DataError: a row of another width, no number, or a stamp sent twice.
    """
    width = 1 + len(COLUMNS[price])
    with parsing("klines"):
        if not set(map(len, rows)) <= {width}:
            raise ValueError(f"rows of {sorted(set(map(len, rows)))} fields, not {width}")
        stamps = moments(row[0] for row in rows)
        flat = list(map(float, chain.from_iterable(rows)))
    order = np.argsort(stamps, kind="stable")
    table, stamps = np.array(flat, np.float64).reshape(-1, width)[order], stamps[order]
    twice = np.flatnonzero(np.diff(stamps) == 0)
    if len(twice):
        raise DataError(f"klines: the bar of {times(stamps[twice])[0]} was sent twice")
    return Bars(stamps, table[:, 1:])


def moments(stamps: Iterable[Any]) -> np.ndarray:
    """Return stamps as sent (ms) as int64 (n,); ValueError for one that is no time by 2200."""
    found = [int(str(stamp)) for stamp in stamps]
    if found and not 0 <= min(found) <= max(found) <= constants.LAST_NS // 1_000_000:
        raise ValueError(f"stamps from {min(found)} to {max(found)}")
    return np.array(found, np.int64)


def times(stamps: np.ndarray) -> pd.DatetimeIndex:
    """Return stamps in ms as an index of candles."""
    us = np.asarray(stamps, np.int64) * 1000
    return pd.DatetimeIndex(us.astype("M8[us]"), name="time").tz_localize("UTC")


def frame(bars: Bars, price: str) -> pd.DataFrame:
    """Return bars as a frame of candles; mark and index prices trade nothing: volume 0."""
    table = pd.DataFrame(bars.values, index=times(bars.stamps), columns=list(COLUMNS[price]))
    return table if price == "trade" else table.assign(volume=0.0)


def trades(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Turn public trades, newest first as sent, into a frame, oldest first.

    Its columns are ``time`` (UTC), ``price``, ``size`` (base coin, contracts on inverse), ``side``
    (+1 the taker bought, -1 sold) and ``id``, as `orderbook.spoofing` wants them.

    Raises:
        DataError: a field is missing, or is no time, side, or finite number above zero.
    """
    with parsing("trades"):
        columns = {
            "time": times(moments(r["time"] for r in rows)),
            "price": np.array([float(r["price"]) for r in rows]),
            "size": np.array([float(r["size"]) for r in rows]),
            "side": np.array([{"Buy": 1, "Sell": -1}[r["side"]] for r in rows], np.int8),
            "id": [str(r["execId"]) for r in rows],
        }
        if not all(0 < x < np.inf for name in ("price", "size") for x in columns[name]):
            raise ValueError("a price or size that is no finite number above zero")
    return pd.DataFrame(columns).iloc[::-1].sort_values("time", kind="stable", ignore_index=True)


Ask = Callable[..., dict[str, Any]]
FIELDS = {
    "status": "status", "base": "baseCoin", "quote": "quoteCoin",
    "tick_size": "tickSize", "qty_step": "qtyStep", "min_qty": "minOrderQty",
    "min_notional": "minNotionalValue", "funding_minutes": "fundingInterval",
    "launched": "launchTime",
}  # fmt: skip
SPOT = {"qty_step": "basePrecision", "min_notional": "minOrderAmt"}


def all_pages(get: Ask, method: str, **query: Any) -> list[dict[str, Any]]:
    """Return the rows of all pages, following ``nextPageCursor`` to the end.

    Raises:
        DataError: a page without a list, or a cursor that is no text or comes back.
    """
    rows, cursor, seen = list[dict[str, Any]](), "", set[str]()
    while cursor not in seen:
        seen.add(cursor)
        result = get(method, **query, cursor=cursor or None)["result"]
        with parsing(method):
            rows += instance("list", result["list"], list, "a list")
            cursor = instance("nextPageCursor", result.get("nextPageCursor") or "", str, "text")
        if not cursor:
            return rows
    raise DataError(f"{method}: page {cursor!r} came twice")


def all_instruments(get: Ask, category: str) -> pd.DataFrame:
    """Return one row a symbol; `DataError` where the answer is no listing."""
    query = {"category": category, "limit": constants.MOST_INSTRUMENTS}
    rows = all_pages(get, "get_instruments_info", **query)
    with parsing("instruments"):
        listed = [instance("symbol", row["symbol"], str, "text") for row in rows]
        names = pd.Index(listed, name="symbol")
        flat = [r | (r.get("priceFilter") or {}) | (r.get("lotSizeFilter") or {}) for r in rows]
    if names.has_duplicates:
        raise DataError("instruments: a symbol came twice")
    fields = FIELDS | (SPOT if category == "spot" else {})
    table = {name: [None if r.get(key) == "" else r.get(key) for r in flat]
             for name, key in fields.items()}  # fmt: skip
    return pd.DataFrame(table, index=names, dtype=object)


def funding_history(ask: Ask, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Return stamps (ms) and rates in [first, last), oldest first.

    Asked for with both bounds (a start alone is an error); a full page holds the newest, so
    the next page ends just before its oldest row.
    """
    found: list[tuple[int, float]] = []
    most, end = constants.MOST_RATES, last - 1
    while end >= first:
        rows = ask(startTime=first, endTime=end, limit=most).get("list") or []
        with parsing("funding"):
            stamps = moments(r["fundingRateTimestamp"] for r in rows).tolist()
            page = [*zip(stamps, (float(r["fundingRate"]) for r in rows), strict=True)]
        found += [(when, rate) for when, rate in page if first <= when <= end]
        if len(rows) < most:
            break
        end = min(end, *(when for when, _ in page)) - 1
    stamps = np.array([when for when, _ in sorted(found)], np.int64)
    rates = np.array([rate for _, rate in sorted(found)], np.float64)
    if not np.isfinite(rates).all():
        raise DataError("funding: a rate is not finite")
    if (np.diff(stamps) == 0).any():
        raise DataError("funding: a time came twice")
    return stamps, rates
