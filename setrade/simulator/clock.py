"""The exchange's clock: it stands still, is moved by hand, or runs at any speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pandas as pd

from ..errors import ArgumentError, number

Now = Callable[[], int]


def to_ms(name: str, value: Any) -> int:
    """Return a moment (UTC timestamp, ISO text with zone, or milliseconds) in milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        stamp = pd.Timestamp(value)
        if stamp.tzinfo is not None:
            return int(stamp.value // 1_000_000)
    except (TypeError, ValueError):
        pass
    raise ArgumentError(name, value, "a moment with its zone, or integer milliseconds")


def duration_ms(name: str, value: Any) -> int:
    """Return a length of time (text, Timedelta, or milliseconds) in milliseconds, from 0 on."""
    try:
        length = value if isinstance(value, int) else int(pd.Timedelta(value).value // 1_000_000)
        if length >= 0 and not isinstance(value, bool):
            return length
    except (TypeError, ValueError):
        pass
    raise ArgumentError(name, value, 'a length such as "1h", a Timedelta, or milliseconds >= 0')


class Clock:
    """A clock that can be called for its time, in milliseconds since 1970.

    Args:
        start: the first reading, a moment with its zone or milliseconds.
        speed: market seconds a second; 0 (the default) stands still until `advance`.
    """

    def __init__(self, start: Any, speed: float = 0.0) -> None:
        self.speed = number("speed", speed, 0.0, 1e7)
        self._start, self._origin = to_ms("start", start), time.monotonic()

    def __call__(self) -> int:
        return self._start + int(self.speed * (time.monotonic() - self._origin) * 1000)

    def advance(self, duration: Any) -> int:
        """Move on by a length of time, and return the new reading."""
        self._start += duration_ms("duration", duration)
        return self()
