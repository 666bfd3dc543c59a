"""Many markets at once: their common bars, who leads whom, who was left out, and alike windows.

A panel is a table with one row a bar and one column a coin. Coins of one bar move together, which
is what a net may learn from, what leaks from one coin to another, and why so many coins count for
so few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import t as student

from setrade.candles import bar_interval
from setrade.errors import ArgumentError, array, generator, integer, number, paired, timed

SEEN, NEW = "seen", "new"


def aligned(bars: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the closes (n, m) of several coins on the bars that all of them have.

    Args:
        bars: candles by symbol, two coins or more, all of one interval and stamped by their open.
            Stamps are all that can be compared: bars stamped by their close look like any others.

    Raises:
        ArgumentError: a symbol twice (its case does not count), another interval, a coin without
            a bar in common with those before it, closes that are not finite and above 0, or a hole
            in what is common, which nothing may bridge.
    """
    if not isinstance(bars, Mapping) or len(bars) < 2:
        raise ArgumentError("bars", bars, "candles of two coins or more, by symbol")
    names = [str(name).strip().upper() for name in bars]
    if again := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ArgumentError("bars", again[0], "each symbol once")
    closes = {str(name): _close(str(name), table) for name, table in bars.items()}
    first = next(iter(closes.values()))
    step, common = first.index[1] - first.index[0], first.index
    for name, close in closes.items():
        if close.index[1] - close.index[0] != step:
            raise ArgumentError("bars", name, f"bars of {step}, as the first coin has")
        common = common.intersection(close.index)
        if len(common) < 2:
            raise ArgumentError("bars", name, "a coin with bars in common with those before it")
    table = pd.DataFrame({name: close.reindex(common) for name, close in closes.items()})
    if (np.diff(table.index) != step).any():
        raise ArgumentError("bars", list(bars), "no hole in what is common: nothing bridges one")
    return timed("bars", table, even=True)


def _close(name: str, table: Any) -> pd.Series:
    """Return the closes of one coin, at evenly spaced stamps."""
    if not isinstance(table, pd.DataFrame) or "close" not in table or len(table) < 2:
        raise ArgumentError("bars", name, "a DataFrame with a column close, two bars or more")
    x = array("bars", timed("bars", table)["close"], ndim=1)
    bar_interval(table)
    if x.min() <= 0:
        raise ArgumentError("bars", name, "closes above 0")
    return table["close"].astype(np.float64)


# ---- Lead and lag.


def lead_lag(first: pd.Series, second: pd.Series, max_lag: int) -> pd.Series:
    """Return the correlation of ``first`` at each bar with ``second`` so many bars later.

    Args:
        first, second: returns (n,) of two coins at the same stamps, evenly spaced, finite.
        max_lag: bars, at most a quarter of the series.

    Returns:
        (2 max_lag + 1,) by lag from -max_lag to max_lag. Above 0 ``first`` leads; below 0 it
        follows. Each uses all pairs of bars that exist, and mean and spread of the whole series.

    Raises:
        ArgumentError: no time, other stamps, a gap, NaN, or a series that does not vary.
    """
    for name, value in (("first", first), ("second", second)):
        if not isinstance(value, pd.Series):
            raise ArgumentError(name, value, "a Series of returns indexed by time")
        timed(name, value, even=True)
    a, b = (array(n, x, ndim=1, min_length=8) for n, x in (("first", first), ("second", second)))
    if len(a) != len(b):
        raise ArgumentError("second", second, f"the {len(a)} bars that first has")
    paired("second", second, first)
    most = integer("max_lag", max_lag, 0, len(a) // 4)
    a, b = _unit("first", a), _unit("second", b)
    n = len(a)
    found = {lag: a[max(0, -lag) : n - max(0, lag)] @ b[max(0, lag) : n - max(0, -lag)] / n
             for lag in range(-most, most + 1)}  # fmt: skip
    return pd.Series(found, name="correlation").rename_axis("lag")


def _unit(name: str, x: np.ndarray) -> np.ndarray:
    """Return a series with mean 0 and spread 1."""
    x = x.astype(np.float64)
    x = x / max(np.abs(x).max(), np.finfo(float).tiny)  # squares neither vanish nor overflow
    spread = x.std()
    if not spread > 1e-12:
        raise ArgumentError(name, float(spread), "returns that vary")
    return (x - x.mean()) / spread


# ---- Coins and time left out.


@dataclass(frozen=True)
class PanelFold:
    """Which coins are new (m,) and which bars are seen and new (n,); bars between are neither."""

    new_coins: np.ndarray
    seen_time: np.ndarray
    new_time: np.ndarray

    def cell(self, coins: str, time: str) -> np.ndarray:
        """Return a mask (n, m) of the examples of ``"seen"`` or ``"new"`` coins and time."""
        for name, value in (("coins", coins), ("time", time)):
            if value not in (SEEN, NEW):
                raise ArgumentError(name, value, f"{SEEN!r} or {NEW!r}")
        column = self.new_coins if coins == NEW else ~self.new_coins
        row = self.new_time if time == NEW else self.seen_time
        return row[:, None] & column[None, :]


def leave_out(
    symbols: Sequence[str], n_bars: int, *, folds: int, start: int, gap: int, seed: int
) -> list[PanelFold]:
    """Split coins into folds, each new once, and time at ``start``: four cells a fold.

    Args:
        symbols: (m,) names, each once.
        n_bars: rows of the panel.
        folds: of coins, from 2 to m.
        start: first row of the new time.
        gap: rows before ``start`` that belong to neither time: those whose outcome or whose window
            reaches across, so that many as the target looks ahead and the window looks back.
        seed: of the draw of the folds.

    Raises:
        ArgumentError: names the argument.
    """
    if isinstance(symbols, str) or not isinstance(symbols, Sequence | np.ndarray | pd.Index):
        raise ArgumentError("symbols", symbols, "names of coins")
    names = [x.strip().upper() if isinstance(x, str) else "" for x in symbols]
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise ArgumentError("symbols", names, "two names or more, each once")
    n, count = integer("n_bars", n_bars, 3), integer("folds", folds, 2, len(names))
    begin = integer("start", start, 1, n - 1)
    left = integer("gap", gap, 0, begin - 1)
    fold = generator(seed).permutation(np.arange(len(names)) % count)
    bar = np.arange(n)
    return [PanelFold(fold == k, bar < begin - left, bar >= begin) for k in range(count)]


# ---- How many examples so many coins are worth.


@dataclass(frozen=True)
class ClusteredMean:
    """A mean whose values come in clusters: its error, and the error of independent values."""

    mean: float
    error: float
    naive_error: float
    clusters: int

    @property
    def design_effect(self) -> float:
        """Return how many values count for one: the ratio of the two variances."""
        if self.naive_error == 0:
            return 1.0 if self.error == 0 else float("inf")
        return (self.error / self.naive_error) ** 2

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return Student's interval with one degree of freedom less than clusters."""
        q = 0.5 + number("level", level, 0.5, 0.999) / 2
        half = float(student.ppf(q, self.clusters - 1)) * self.error
        return self.mean - half, self.mean + half


def clustered_mean(values: Any, clusters: Any) -> ClusteredMean:
    """Return the mean of values (n,) whose neighbours in a cluster are not independent.

    Args:
        values: (n,) finite, such as whether a forecast of a coin at an hour was right.
        clusters: (n,) integers, such as the day; two or more. Clusters count as independent,
            so they should be longer than what values remember.

    Source: B. Moulton (1990); A. C. Cameron and D. L. Miller (2015), section II, with G / (G - 1).
    """
    x = array("values", values, ndim=1).astype(np.float64)
    group = array("clusters", clusters, ndim=1)
    paired("clusters", clusters, values)
    if group.dtype.kind not in "iu" or len(group) != len(x):
        raise ArgumentError("clusters", clusters, f"{len(x)} integers")
    _, number_of = np.unique(group, return_inverse=True)
    count = int(number_of.max()) + 1
    if count < 2:
        raise ArgumentError("clusters", count, "two clusters or more")
    mean, n = float(x.mean()), len(x)
    apart = x - mean
    if np.abs(apart).max() <= 1e-12 * np.abs(x).max():  # what rounding leaves of one number
        apart, x = np.zeros(n), np.full(n, mean)
    sums = np.bincount(number_of, apart)
    error = np.sqrt(count / (count - 1) * (sums @ sums)) / n
    return ClusteredMean(mean, float(error), float(x.std(ddof=1) / np.sqrt(n)), count)


# ---- Windows that are alike.


def neighbours(query: Any, reference: Any, *, asked: Any, known: Any, k: int) -> np.ndarray:
    """Find the ``k`` windows most like each query among those whose outcome was known by then.

    Args:
        query: (q, d) numbers that describe windows: a net's embedding, or the window itself.
        reference: (r, d) windows of any coin.
        asked: (q,) bars at whose close each query is asked, integers.
        known: (r,) bars at whose close each reference's *outcome* is known. With the ends of the
            windows in their place, coins of the same hours answer for each other.
        k: how many.

    Returns:
        Rows of ``reference`` (q, k), nearest first, ties by row, all with ``known <= asked``.

    Raises:
        ArgumentError: a bad argument, or a query with fewer than ``k`` known windows.
    """
    x, past = (array(name, value, ndim=2).astype(np.float64)
               for name, value in (("query", query), ("reference", reference)))  # fmt: skip
    if past.shape[1] != x.shape[1]:
        raise ArgumentError("reference", reference, f"{x.shape[1]} numbers a window")
    frames = isinstance(query, pd.DataFrame) and isinstance(reference, pd.DataFrame)
    if frames and list(query.columns) != list(reference.columns):
        raise ArgumentError("reference", reference, "the columns of query, in their order")
    now, since = _bars("asked", asked, len(x)), _bars("known", known, len(past))
    paired("asked", asked, query)
    paired("known", known, reference)
    k = integer("k", k, 1, len(past))
    out = np.empty((len(x), k), np.int64)
    for i, row in enumerate(x):
        open_ = np.flatnonzero(since <= now[i])
        if len(open_) < k:
            raise ArgumentError("k", k, f"at most {len(open_)}, the windows known by query {i}")
        order = np.argsort(cdist(row[None], past[open_])[0], kind="stable")[:k]
        out[i] = open_[order]
    return out


def _bars(name: str, value: Any, length: int) -> np.ndarray:
    """Return (length,) bar numbers."""
    x = array(name, value, ndim=1)
    if x.dtype.kind not in "iu" or len(x) != length:
        raise ArgumentError(name, value, f"{length} integers, numbers of bars")
    return x
