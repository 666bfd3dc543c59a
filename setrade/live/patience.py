"""How often, and how long, something that an exchange does not do is asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from setrade.bybit import ExchangeError
from setrade.bybit.brokers import OrderUnknownError

PASSING = (ExchangeError, OrderUnknownError, OSError)  # the last: what a network raises
TRIES, FIRST = 5, 0.2  # seconds of the first wait
LONGEST = 15.0  # seconds between two tries to close
T = TypeVar("T")


def insist(work: Callable[[], T]) -> T:
    """Return ``work()``, tried again while it fails for a passing reason; waits double."""
    retrying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=FIRST),
        retry=retry_if_exception_type(PASSING),
        reraise=True,
    )
    return retrying(work)


def waits(patience: float) -> Iterator[float]:
    """Yield seconds to wait between tries, doubling up to ``LONGEST``, for ``patience`` seconds.

    There is one value more than there are waits: the last, 0, belongs to the last try.
    """
    end, wait = time.monotonic() + patience, FIRST
    while (left := end - time.monotonic()) > 0:
        yield min(wait, left)
        wait = min(2 * wait, LONGEST)
    yield 0.0
