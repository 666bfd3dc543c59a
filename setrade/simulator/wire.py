"""What goes over the wire: decimal strings, the envelope, refusals, interval codes."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np

MINUTE = 60_000
CODES = {str(m): m * MINUTE for m in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)}
CODES["D"] = 1440 * MINUTE
CATEGORIES = ("linear", "inverse", "spot", "option")
PLAIN = re.compile(r"\d+(\.\d+)?")


class Refused(Exception):
    """A request that the exchange answers with a ``retCode`` other than 0."""

    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{code}: {message}")


def wall_ms() -> int:
    """Return the computer's own clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@lru_cache(1 << 16)
def text(x: float) -> str:
    """Return the shortest decimal string that reads back as ``x``, without an exponent."""
    shortest = repr(float(x))
    if "e" in shortest:
        return np.format_float_positional(x, trim="-")
    return shortest.removesuffix(".0")


def plain(x: Decimal) -> str:
    """Return a Decimal without exponent and without trailing zeros."""
    short = f"{x:f}"
    return (short.rstrip("0").rstrip(".") if "." in short else short) or "0"


def envelope(
    result: Mapping[str, Any] | None, now: int, code: int = 0, message: str = "OK"
) -> dict[str, Any]:
    """Return the answer that all REST calls share."""
    return {
        "retCode": code,
        "retMsg": message,
        "result": dict(result or {}),
        "retExtInfo": {},
        "time": now,
    }


def whole(
    query: Mapping[str, str], name: str, default: int | None, low: int = 0, high: int = 1 << 62
) -> int | None:
    """Return an integer parameter of a query; refuse (10001) what is none or out of range."""
    raw = query.get(name, "")
    if raw == "":
        return default
    if not raw.isdecimal() or not low <= int(raw) <= high:
        # assumption: a limit out of range is refused, not cut to the range
        raise Refused(10001, f"params error: {name} invalid")
    return int(raw)


def positive(name: str, raw: Any) -> Decimal:
    """Return a positive decimal string as a Decimal; refuse numbers and exponents.

    ``1e-05``, which pybit makes of the float 0.00001, is refused as the exchange does.
    """
    if not isinstance(raw, str) or not PLAIN.fullmatch(raw) or Decimal(raw) <= 0:
        raise Refused(10001, f"params error: {name} invalid")
    return Decimal(raw)
