"""Bars asked for window by window, checked, kept, and put together again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from setrade import candles

from . import parse
from .cache import Cache
from .codes import MOST_BARS, PRICES, Interval
from .errors import DataError, GapError
from .grid import windows

LONG = 10  # requests from which on a progress bar is shown
Get = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Series:
    """What is asked for: one price of one symbol at one interval."""

    symbol: str
    interval: Interval
    category: str
    price: str

    def page(self, get: Get, first: int, last: int) -> parse.Bars:
        """Ask for the bars that open from ``first`` to ``last`` (ms, both included).

        Raises:
            DataError, CandleError: what came is not that, or cannot be.
        """
        # The end just before the next open: the same bars whether or not it is inclusive.
        bounds = {"start": first, "end": last + self.interval.ms - 1, "limit": MOST_BARS}
        query = {"category": self.category, "interval": self.interval.code} | bounds
        result = get(self.symbol, PRICES[self.price], **query)["result"]
        if result.get("symbol", self.symbol) != self.symbol or "list" not in result:
            raise DataError(f"klines: asked for {self.symbol}, got {str(result)[:60]}")
        bars = parse.klines(result["list"], self.price)
        inside = (bars.stamps >= first) & (bars.stamps <= last)  # a dead symbol sends others
        bars = bars.where(inside)
        parse.check(bars, self.interval, self.price)
        return bars


def download(series: Series, get: Get, opens: np.ndarray, cache: Cache) -> parse.Bars:
    """Return the bars that open at ``opens`` (ms), fetching what the cache lacks.

    Each page is in the cache before the next is asked for.
    """
    with cache.locked():
        known = cache.get(opens)
        missing = np.setdiff1d(opens, known.stamps, assume_unique=True)
        asked = list(windows(missing, series.interval))
        name = f"{series.symbol} {series.interval.name}"
        # A long download shows its bar wherever TQDM_DISABLE does not forbid it.
        quiet: dict[str, Any] = {} if len(asked) >= LONG else {"disable": True}
        with tqdm(total=len(missing), desc=name, unit=" bars", leave=False, **quiet) as progress:
            for first, last in asked:
                cache.add(series.page(get, first, last))
                progress.update((last - first) // series.interval.ms + 1)
        return cache.get(opens)


def assemble(
    bars: parse.Bars, opens: np.ndarray, series: Series, *, keep_gaps: bool
) -> pd.DataFrame:
    """Return the frame of candles, after a last look: every bar once, in order, sane.

    Raises:
        GapError: bars are missing and ``keep_gaps`` is not set.
        CandleError: the whole has a fault that no page had.
    """
    missing = parse.times(np.setdiff1d(opens, bars.stamps, assume_unique=True))
    if len(missing) and not keep_gaps:
        raise GapError(series.symbol, series.interval.name, missing)
    table = parse.frame(bars, series.price)
    if len(missing):
        table.attrs["missing"] = [t.isoformat() for t in missing]
    else:
        candles.check(table, series.interval.name)
    return table
