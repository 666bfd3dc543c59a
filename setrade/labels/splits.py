"""Train, validation and test sets that share no bar, in the order of time.

An example is a window that ends at bar t: its input is bars t-lookback+1 … t, its label looks
at bars t+1 … end[t]. Two examples leak into each other as soon as these spans overlap. Later
sets keep their examples; earlier ones give up theirs (the purge), and ``embargo`` more bars.

Source: M. López de Prado, Advances in Financial Machine Learning (2018), section 7.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from setrade.errors import ArgumentError, array, integer, number


@dataclass(frozen=True)
class Split:
    """Three arrays of bar numbers at which windows end; increasing, without a common bar."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def last_bars(n_bars: int, horizon: int) -> np.ndarray:
    """Return, for each bar t, the last bar that a forward return looks at: t+1+horizon, or NaN."""
    n_bars, horizon = integer("n_bars", n_bars, 1), integer("horizon", horizon, 1)
    end = np.arange(n_bars, dtype=np.float64) + 1 + horizon
    return np.where(end < n_bars, end, np.nan)


def bars_used(ends_at: np.ndarray, lookback: int, end: np.ndarray) -> np.ndarray:
    """Return a mask (n_bars,): bars read by windows ending at ``ends_at``, or by their labels."""
    edges = np.zeros(len(end) + 1, dtype=np.int64)
    np.add.at(edges, ends_at - lookback + 1, 1)
    np.add.at(edges, end[ends_at].astype(np.int64) + 1, -1)
    return edges.cumsum()[:-1] > 0


def _end(n_bars: int, horizon: int, end: np.ndarray | None) -> np.ndarray:
    """Return the last bar of each label, from the horizon or as given, checked."""
    if end is None:
        return last_bars(n_bars, horizon)
    end = array("end", end, ndim=1, finite=False).astype(np.float64)
    known = end[np.isfinite(end)]
    t = np.flatnonzero(np.isfinite(end))
    if len(end) != n_bars or (known <= t).any() or (known >= n_bars).any():
        raise ArgumentError("end", end, f"{n_bars} bar numbers, t < end[t] < n_bars, or NaN")
    return end


def _between(
    start: int, stop: int, limit: int, first: int, lookback: int, end: np.ndarray
) -> np.ndarray:
    """Return t in [start, stop) with a window from ``first`` on and a label before ``limit``."""
    t = np.arange(max(start, first + lookback - 1), stop)
    return t[end[t] < limit]  # NaN, no label, compares false


def _cut(
    edges: Sequence[int], first: int, lookback: int, embargo: int, end: np.ndarray
) -> list[np.ndarray]:
    """Return the sets between consecutive ``edges``, each purged against the next."""
    sets = []
    for i, (start, stop) in enumerate(pairwise(edges)):
        final = i == len(edges) - 2
        next_window = max(stop, first + lookback - 1) - lookback + 1
        limit = len(end) if final else next_window - embargo
        sets.append(_between(start, stop, limit, first, lookback, end))
    return sets


def _whole(sets: list[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Return the sets, or say which is empty."""
    for name, rows in zip(names, sets, strict=True):
        if not len(rows):
            raise ArgumentError(name, 0, "at least one example after purge and embargo: more bars")
    return sets


def chronological(
    n_bars: int,
    *,
    lookback: int,
    horizon: int,
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15),
    embargo: int = 0,
    first: int = 0,
    end: np.ndarray | None = None,
) -> Split:
    """Return one split in time order: by default 70 % train, 15 % validation, 15 % test.

    Args:
        n_bars: bars of the series.
        lookback: bars of a window.
        horizon: bars of the label, as in ``forward_return``.
        fractions: shares of the bars from ``first`` on, in time order; they sum to 1.
        embargo: bars left unused between one set's last label bar and the next set's first
            window, beside the purge.
        first: first bar with complete channels (the warm-up ends before it).
        end: last bar of each label (n_bars,), NaN where there is none, as ``triple_barrier``
            gives it; default: t+1+horizon.

    Returns:
        A `Split` of bar numbers t at which windows end. The test set keeps every example of its
        bars; train and validation lose those whose label reaches into the next set's windows.

    Raises:
        ArgumentError: names the argument, or the set that would be empty.
    """
    n_bars, lookback = integer("n_bars", n_bars, 3), integer("lookback", lookback, 1)
    embargo, first = integer("embargo", embargo, 0), integer("first", first, 0, n_bars - 1)
    if len(fractions) != 3 or any(
        number("fractions", f, 0, 1, above=True) is None for f in fractions
    ):
        raise ArgumentError("fractions", fractions, "three shares > 0")
    if abs(sum(fractions) - 1) > 1e-9:
        raise ArgumentError("fractions", fractions, "three shares that sum to 1")
    span = n_bars - first
    stops = [first + round(span * share) for share in np.cumsum(fractions)]
    sets = _cut([first, *stops], first, lookback, embargo, _end(n_bars, horizon, end))
    return Split(*_whole(sets, ("train", "validation", "test")))


def walk_forward(
    n_bars: int,
    *,
    lookback: int,
    horizon: int,
    train: int,
    test: int,
    validation: int = 0,
    expanding: bool = True,
    embargo: int = 0,
    first: int = 0,
    end: np.ndarray | None = None,
) -> list[Split]:
    """Return consecutive splits: train on the past, test on the next ``test`` bars, move on.

    The test blocks lie side by side, so that their predictions join into one series; bars left
    over at the end that fill no whole block are not used. Other arguments as `chronological`.

    Args:
        train: bars of the first training stretch (and of each one, if it rolls).
        test: bars of a test block, and the step.
        validation: bars between train and test for early stopping; 0: an empty set.
        expanding: True keeps all the past, False rolls a stretch of ``train`` bars.

    Returns:
        A list of `Split`, oldest first.

    Raises:
        ArgumentError: names the argument, or the set that would be empty.
    """
    n_bars, lookback = integer("n_bars", n_bars, 3), integer("lookback", lookback, 1)
    train, test = integer("train", train, 1), integer("test", test, 1)
    validation, embargo = integer("validation", validation, 0), integer("embargo", embargo, 0)
    first, label_end = integer("first", first, 0, n_bars - 1), _end(n_bars, horizon, end)
    head = first + train + validation
    if head + test > n_bars:
        raise ArgumentError(
            "n_bars", n_bars, f"at least first + train + validation + test = {head + test}"
        )
    splits = []
    for start in range(head, n_bars - test + 1, test):
        begin = first if expanding else start - validation - train
        edges = [begin, start - validation, start, start + test]
        if not validation:
            edges.pop(1)
        sets = _cut(edges, begin, lookback, embargo, label_end)
        names = ("train", "validation", "test") if validation else ("train", "test")
        _whole(sets, names)
        splits.append(Split(sets[0], sets[1] if validation else np.empty(0, np.int64), sets[-1]))
    return splits
