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
from typing import TypeVar

import requests
import tenacity
from pybit.exceptions import FailedRequestError, InvalidRequestError

from setrade.errors import integer, number

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
