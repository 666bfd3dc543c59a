"""Lists that come in pages: instruments by cursor, funding by stamp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from .codes import MOST_INSTRUMENTS, MOST_RATES
from .errors import DataError
from .parse import funding

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
