"""What a net is asked to predict, and which bars it may learn it from.

A decision after bar t has seen bars up to and including t, and fills at the open of t+1. A label
therefore measures from that open, never from a close.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import talib

from setrade.compiled import kernel
from setrade.costs import Costs
from setrade.errors import ArgumentError, array, flag, integer, number, paired, places, timed

SELL, HOLD, BUY = 0, 1, 2
CLASSES = ("sell", "hold", "buy")  # the names of 0, 1, 2, in this order everywhere


def _prices(candles: pd.DataFrame, *columns: str) -> list[np.ndarray]:
    """Return price columns as float64 arrays; raise `ArgumentError` unless finite and > 0."""
    if not isinstance(candles, pd.DataFrame) or not set(columns) <= set(candles.columns):
        raise ArgumentError("candles", candles, "a DataFrame with columns " + ", ".join(columns))
    timed("candles", candles, even=True)
    values = [array("candles", candles[name], ndim=1, finite=False) for name in columns]
    values = [value.astype(np.float64) for value in values]
    for name, value in zip(columns, values, strict=True):
        bad = ~(np.isfinite(value) & (value > 0))
        if bad.any():
            row = int(bad.argmax())
            where = f"finite prices > 0 ({name} at {candles.index[row]})"
            raise ArgumentError("candles", float(value[row]), where)
    return values


def forward_return(candles: pd.DataFrame, horizon: int) -> pd.Series:
    """Return what a position taken after bar t earns over ``horizon`` bars, before costs.

    Row t is ``open[t+1+horizon] / open[t+1] - 1``: decided on bars up to t, filled at the next
    open, closed at the open ``horizon`` bars later.

    Args:
        candles: n bars, oldest first.
        horizon: bars held, at least 1.

    Returns:
        A float Series (n,) on the index of ``candles``; the last ``horizon + 1`` rows have no
        complete future and are NaN.

    Raises:
        ArgumentError: a price is not finite and positive, or there are too few bars.
    """
    (opens,) = _prices(candles, "open")
    horizon = integer("horizon", horizon, 1)
    if len(opens) < horizon + 2:
        raise ArgumentError("candles", candles, f"at least horizon + 2 = {horizon + 2} bars")
    out = np.full(len(opens), np.nan)
    out[: -horizon - 1] = opens[horizon + 1 :] / opens[1:-horizon] - 1
    return pd.Series(out, index=candles.index, name="forward_return")


def break_even(costs: Costs) -> tuple[float, float]:
    """Return the forward returns (short, long) at which a taker's round trip earns nothing.

    With fee f and slippage s a side, a long pays ``(1+s)(1+f)`` at its entry and receives
    ``(1-s)(1-f)`` at its exit, a short the other way round; both as fractions, short < 0 < long.
    """
    if not isinstance(costs, Costs):
        raise ArgumentError("costs", costs, "a costs.Costs")
    fee, slippage = costs.fee_bps * 1e-4, costs.slippage_bps * 1e-4
    long = (1 + slippage) * (1 + fee) / ((1 - slippage) * (1 - fee))
    return 1 / long - 1, long - 1


def sell_hold_buy(
    returns: pd.Series, costs: Costs | None = None, *, multiple: float = 1.0
) -> pd.Series:
    """Return the class of each forward return: trade only where the move pays the round trip.

    2 (buy) where the return exceeds ``multiple`` times the long break-even, 0 (sell) where it is
    below ``multiple`` times the short one, else 1 (hold).

    Args:
        returns: forward returns (n,) as fractions; NaN where there is no complete future.
        costs: fees and slippage a side; default ``Costs()``.
        multiple: how many round trips a move has to pay; 0 asks for the sign alone.

    Returns:
        A float Series (n,) of 0.0, 1.0, 2.0, and NaN where ``returns`` is NaN.

    Raises:
        ArgumentError: ``returns`` is not a Series of numbers, or a return is infinite.
    """
    if not isinstance(returns, pd.Series) or returns.dtype.kind != "f" or returns.empty:
        raise ArgumentError("returns", returns, "a Series of floats, as forward_return gives")
    timed("returns", returns, needed=False)
    x = array("returns", returns, ndim=1, finite=False)
    if np.isinf(x).any():
        raise ArgumentError("returns", np.inf, "finite returns, or NaN where there is no future")
    multiple = number("multiple", multiple, 0)
    short, long = (multiple * level for level in break_even(Costs() if costs is None else costs))
    classes = np.where(x > long, BUY, np.where(x < short, SELL, HOLD)).astype(float)
    return pd.Series(np.where(np.isnan(x), np.nan, classes), returns.index, name="label")


def class_shares(labels: pd.Series | np.ndarray) -> dict[str, float]:
    """Return the share of sell, hold and buy among the rows that have a label; they sum to 1."""
    x = array("labels", labels, ndim=1, finite=False)
    known = x[~np.isnan(x)]
    if not known.size or not np.isin(known, (SELL, HOLD, BUY)).all():
        raise ArgumentError("labels", labels, "labels 0, 1, 2 (or NaN), at least one of them")
    return {name: float((known == value).mean()) for value, name in enumerate(CLASSES)}


# ---- Triple-barrier labels.
#
# Source: M. López de Prado, Advances in Financial Machine Learning (2018), section 3.4; here with
# the entry at the next open and with intrabar highs and lows.


@kernel
def _scan(opens, highs, lows, width, above, below, horizon):
    """Walk from each entry to the first barrier; NaN rows where the future is not complete."""
    n = len(opens)
    label = np.full(n, np.nan)
    end = np.full(n, np.nan)
    gain = np.full(n, np.nan)
    for t in range(n - horizon - 1):
        if not width[t] > 0:
            continue
        entry = opens[t + 1]
        top, floor = entry + above * width[t], entry - below * width[t]
        last, kind, price = t + 1 + horizon, 1.0, opens[t + 1 + horizon]
        for u in range(t + 1, t + 1 + horizon):
            up = highs[u] >= top and opens[u] > floor  # a gap through one side met that one first
            down = lows[u] <= floor and opens[u] < top
            if up or down:
                last = u
                # Both inside one bar: nobody knows which came first, so it pays neither a long
                # nor a short (label hold), and a long is booked at its loss.
                kind = 1.0 if up and down else (2.0 if up else 0.0)
                price = min(floor, opens[u]) if down else max(top, opens[u])  # gaps: the open
                break
        label[t], end[t], gain[t] = kind, last, price / entry - 1
    return label, end, gain


def _widths(candles: pd.DataFrame, scale: str | np.ndarray, period: int) -> np.ndarray:
    """Return one unit of barrier distance a bar, in price: ATR, volatility, or as given."""
    opens, highs, lows, closes = _prices(candles, "open", "high", "low", "close")
    if isinstance(scale, str):
        if scale == "atr":
            return talib.ATR(highs, lows, closes, period)
        if scale == "volatility":
            moves = pd.Series(np.log(closes)).diff()
            return moves.rolling(period).std().to_numpy() * closes
        raise ArgumentError("scale", scale, "'atr', 'volatility' or an array of price distances")
    width = array("scale", scale, ndim=1, finite=False, ordered=True).astype(np.float64)
    paired("scale", scale, candles)
    if len(width) != len(opens) or (width <= 0).any() or np.isinf(width).any():
        raise ArgumentError("scale", scale, f"{len(opens)} finite distances > 0, or NaN")
    return width


def triple_barrier(
    candles: pd.DataFrame,
    *,
    upper: float = 2.0,
    lower: float = 2.0,
    horizon: int = 24,
    scale: str | np.ndarray = "atr",
    period: int = 14,
) -> pd.DataFrame:
    """Return which barrier a position taken after bar t meets first, and at which bar.

    The entry is the open of t+1. The barriers lie ``upper`` and ``lower`` units of ``scale[t]``
    above and below it and are checked on the high and low of bars t+1 … t+horizon; the time
    barrier is the open of t+1+horizon. A bar that touches both is counted against both a long
    and a short (the worse first): hold.

    Args:
        candles: n bars, oldest first.
        upper: distance of the upper barrier, in units of ``scale``.
        lower: distance of the lower barrier, in units of ``scale``.
        horizon: bars until the time barrier.
        scale: "atr" (Wilder's), "volatility" (rolling standard deviation of log returns times
            the close), or an array (n,) of distances in price known after bar t; a Series has
            the stamps of the candles.
        period: bars of the ATR or of the volatility.

    Returns:
        A DataFrame (n rows): ``label`` 0.0 lower, 1.0 time or both, 2.0 upper; ``end`` the number
        of the last bar that the label looked at, for purging; ``gain`` the fraction a long earns
        before costs (where one bar touched both: its loss).
        NaN where the scale is not warm, and in the last ``horizon + 1`` rows: labels that happen
        to be decided early there are left out too, for they would all be moves and no holds.

    Raises:
        ArgumentError: names the argument that cannot be used.
    """
    upper, lower = number("upper", upper, 0, above=True), number("lower", lower, 0, above=True)
    horizon, period = integer("horizon", horizon, 1), integer("period", period, 2)
    opens, highs, lows = _prices(candles, "open", "high", "low")
    if len(opens) < horizon + 2:
        raise ArgumentError("candles", candles, f"at least horizon + 2 = {horizon + 2} bars")
    closes = _prices(candles, "close")[0] if "close" in candles else opens
    if (bad := (lows > np.minimum(opens, closes)) | (highs < np.maximum(opens, closes))).any():
        at = candles.index[int(bad.argmax())]
        raise ArgumentError("candles", candles, f"low <= open, close <= high (not so at {at})")
    width = _widths(candles, scale, period)
    label, end, gain = _scan(opens, highs, lows, width, upper, lower, horizon)
    return pd.DataFrame({"label": label, "end": end, "gain": gain}, index=candles.index)


# ---- Sets that share no bar, in the order of time.
#
# An example is a window that ends at bar t: its input is bars t-lookback+1 … t, its label looks
# at bars t+1 … end[t]. Two examples leak into each other as soon as these spans overlap. Later
# sets keep their examples; earlier ones give up theirs (the purge), and ``embargo`` more bars.
#
# Source: M. López de Prado, Advances in Financial Machine Learning (2018), section 7.4.


@dataclass(frozen=True)
class Split:
    """Three arrays of bar numbers at which windows end; increasing, without a common bar."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        for name, rows in vars(self).items():
            fits = isinstance(rows, np.ndarray) and rows.ndim == 1 and rows.dtype.kind in "iu"
            if not fits or (rows[:1] < 0).any() or (rows[1:] <= rows[:-1]).any():
                raise ArgumentError(name, rows, "an array of rising bar numbers")


def last_bars(n_bars: int, horizon: int) -> np.ndarray:
    """Return, for each bar t, the last bar that a forward return looks at: t+1+horizon, or NaN."""
    n_bars, horizon = integer("n_bars", n_bars, 1), integer("horizon", horizon, 1)
    end = np.arange(n_bars, dtype=np.float64) + 1 + horizon
    return np.where(end < n_bars, end, np.nan)


def bars_used(ends_at: np.ndarray, lookback: int, end: np.ndarray) -> np.ndarray:
    """Return a mask (n_bars,): bars read by windows ending at ``ends_at``, or by their labels."""
    end = array("end", end, ndim=1, finite=False, ordered=True)
    lookback = integer("lookback", lookback, 1, len(end))
    ends_at = places("ends_at", ends_at, lookback - 1, len(end) - 1)
    last = end[ends_at]
    if not ((last > ends_at) & (last < len(end))).all():  # NaN: such a window has no label
        raise ArgumentError("end", end, f"ends_at < end[ends_at] < {len(end)} for every window")
    edges = np.zeros(len(end) + 1, dtype=np.int64)
    np.add.at(edges, ends_at - lookback + 1, 1)
    np.add.at(edges, last.astype(np.int64) + 1, -1)
    return edges.cumsum()[:-1] > 0


def _end(n_bars: int, horizon: int, end: np.ndarray | None) -> np.ndarray:
    """Return the last bar of each label, from the horizon or as given, checked."""
    horizon = integer("horizon", horizon, 1)
    if end is None:
        return last_bars(n_bars, horizon)
    end = array("end", end, ndim=1, finite=False, ordered=True).astype(np.float64)
    known = end[np.isfinite(end)]
    t = np.flatnonzero(np.isfinite(end))
    if len(end) != n_bars or (known <= t).any() or (known >= n_bars).any():
        raise ArgumentError("end", end, f"{n_bars} bar numbers, t < end[t] < n_bars, or NaN")
    return end


def _cut(
    edges: Sequence[int], first: int, lookback: int, embargo: int, end: np.ndarray
) -> list[np.ndarray]:
    """Return the sets between consecutive ``edges``, each purged against the next."""
    sets, earliest = [], first + lookback - 1  # the first bar at which a window ends
    for i, (start, stop) in enumerate(pairwise(edges)):
        next_window = max(stop, earliest) - lookback + 1
        limit = len(end) if i == len(edges) - 2 else next_window - embargo
        t = np.arange(max(start, earliest), stop)
        sets.append(t[end[t] < limit])  # NaN, no label, compares false
    return sets


def _whole(sets: list[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Return the sets, or say which is empty."""
    for name, rows in zip(names, sets, strict=True):
        if not len(rows):
            raise ArgumentError(name, 0, "at least one example after purge and embargo: more bars")
    return sets


def chronological(
    n_bars: int, *, lookback: int, horizon: int,
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15), embargo: int = 0, first: int = 0,
    end: np.ndarray | None = None,
) -> Split:  # fmt: skip
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
    shares = array("fractions", fractions, ndim=1).tolist()
    shares = [number("fractions", share, 0, 1, above=True) for share in shares]
    if len(shares) != 3 or abs(sum(shares) - 1) > 1e-9:
        raise ArgumentError("fractions", fractions, "three shares > 0 that sum to 1")
    span = n_bars - first
    stops = [first + round(span * share) for share in np.cumsum(shares)]
    sets = _cut([first, *stops], first, lookback, embargo, _end(n_bars, horizon, end))
    return Split(*_whole(sets, ("train", "validation", "test")))


def walk_forward(
    n_bars: int, *, lookback: int, horizon: int, train: int, test: int, validation: int = 0,
    expanding: bool = True, embargo: int = 0, first: int = 0, end: np.ndarray | None = None,
) -> list[Split]:  # fmt: skip
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
    head, expanding = first + train + validation, flag("expanding", expanding)
    if head + test > n_bars:
        allowed = f"at least first + train + validation + test = {head + test}"
        raise ArgumentError("n_bars", n_bars, allowed)
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


def combinatorial(
    n_bars: int, *, lookback: int, horizon: int, groups: int = 6, tests: int = 2, embargo: int = 0,
    first: int = 0, end: np.ndarray | None = None,
) -> list[Split]:  # fmt: skip
    """Return a split for each choice of ``tests`` of ``groups`` stretches; the others train.

    Each stretch is tested in several splits, and `paths` joins those into whole histories. With
    ``tests`` = 1 this is purged k-fold. Training may come after the test: only the bars that a
    test example reads, in its window or its label, and ``embargo`` more *after* them are closed
    to it. Other arguments as `chronological`.

    Args:
        groups: stretches that time is cut into, equal to one example, from 2 to 20.
        tests: of them in a test set: fewer than ``groups``, at most 4.
        embargo: bars after each tested stretch (windows and labels) that no training example
            reads, for what fades slowly; what comes before the stretch needs none.

    Returns:
        A list of `Split` with empty validation sets, in the order of ``itertools.combinations``.

    Raises:
        ArgumentError: names the argument, or says that a training set would be empty.

    Source: M. López de Prado, Advances in Financial Machine Learning (2018), sections 7.4, 12.4.
    """
    n_bars, lookback = integer("n_bars", n_bars, 3), integer("lookback", lookback, 1)
    embargo, first = integer("embargo", embargo, 0), integer("first", first, 0, n_bars - 1)
    chosen, last = _chosen(groups, tests), _end(n_bars, horizon, end)
    rows = np.arange(min(first + lookback - 1, n_bars), n_bars)
    rows = rows[np.isfinite(last[rows])]
    if len(rows) < len(chosen[0]):
        raise ArgumentError("n_bars", n_bars, f"{len(chosen[0])} examples or more, one a group")
    begin, stop = rows - lookback + 1, last[rows].astype(np.int64) + 1
    parts, nothing, splits = np.array_split(rows, len(chosen[0])), np.empty(0, np.int64), []
    for tested in chosen:
        test = np.concatenate([part for part, used in zip(parts, tested, strict=True) if used])
        seen = np.r_[0, bars_used(test, lookback, last).cumsum()]  # bars read before each bar
        free = seen[stop] == seen[np.maximum(begin - embargo, 0)]
        splits.append(Split(_whole([rows[free]], ["train"])[0], nothing, test))
    return splits


def _chosen(groups: int, tests: int) -> np.ndarray:
    """Return bool (splits, groups): which groups each split tests."""
    groups = integer("groups", groups, 2, 20)
    tests = integer("tests", tests, 1, min(groups - 1, 4))
    choices = np.array(list(combinations(range(groups), tests)))
    chosen = np.zeros((len(choices), groups), bool)
    chosen[np.arange(len(choices))[:, None], choices] = True
    return chosen


def paths(groups: int = 6, tests: int = 2) -> np.ndarray:
    """Return int (paths, groups): the split of `combinatorial` that a path takes each group from.

    Path p takes a group from the p-th of the splits that test it: with 6 groups and 2 tests, 15
    splits give 5 paths. Each path holds every group once, and no prediction is used twice.
    """
    chosen = _chosen(groups, tests)
    return np.stack([np.flatnonzero(tested) for tested in chosen.T], axis=1)
