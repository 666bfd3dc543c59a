"""How often, and how long, something that an exchange does not do is asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from setrade.bybit import ExchangeError
from setrade.bybit.brokers import OrderUnknownError

PASSING = (ExchangeError, OrderUnknownError, OSError)  # the last: what a network raises
LONGEST = 15.0  # seconds between two tries to close


def insist(work: Callable[[], Any], *, tries: int = 5, first: float = 0.2) -> Any:
    """Call ``work`` until it does not fail for a passing reason; waits double between tries."""
    for k in range(tries):
        try:
            return work()
        except PASSING:
            if k == tries - 1:
                raise
            time.sleep(first * 2**k)
    raise AssertionError("unreachable")


def waits(patience: float, *, first: float = 0.2, longest: float = LONGEST) -> Iterator[float]:
    """Yield seconds to wait between tries, doubling up to ``longest``, for ``patience`` seconds.

    There is one value more than there are waits: the last, 0, belongs to the last try.
    """
    end, wait = time.monotonic() + patience, first
    while (left := end - time.monotonic()) > 0:
        yield min(wait, left)
        wait = min(2 * wait, longest)
    yield 0.0
