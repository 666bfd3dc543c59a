"""What a book says: where it leans, its walls, the cost of its depth, spoofs, and its picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import prange

from setrade.buffers import output
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, choice, flag, integer, number, places
from setrade.orderbook.book import Snapshots, snapshots, tape


def depth_imbalance(books: Snapshots) -> np.ndarray:
    """Return the imbalance of the best 1, 2, ... levels, shape ``(N, levels)``.

    Column k is (bids - asks) / (bids + asks) of the sizes of the best k + 1 levels, within
    [-1, 1]. Source: for one level Gould and Bonart
    (2016), queue imbalance; deeper levels as in the seeds' order-book picture.
    """
    snapshots("books", books)
    bids, asks = books.bid_size.cumsum(1), books.ask_size.cumsum(1)
    return (bids - asks) / (bids + asks)


def microprice(books: Snapshots) -> np.ndarray:
    """Return the mid weighted by the opposite sizes of the best level, shape ``(N,)``.

    A heavy bid pulls it towards the ask. It lies between best bid and best ask. Source:
    Stoikov (2018), introduction, where it is called the weighted mid-price.
    """
    snapshots("books", books)
    bid, ask = books.bid_size[:, 0], books.ask_size[:, 0]
    return (bid * books.ask_price[:, 0] + ask * books.bid_price[:, 0]) / (bid + ask)


def next_move(books: Snapshots, horizon: int) -> np.ndarray:
    """Return how far the mid moves over the next ``horizon`` snapshots, in basis points.

    Shape ``(N,)``; the last ``horizon`` are NaN, for their future is not known. A label,
    never an input.
    """
    snapshots("books", books)
    horizon = integer("horizon", horizon, 1, len(books) - 1)
    mid, move = books.mid(), np.full(len(books), np.nan)
    move[:-horizon] = (mid[horizon:] / mid[:-horizon] - 1) * 1e4
    return move


def order_flow_imbalance(books: Snapshots) -> np.ndarray:
    """Return what each snapshot added to the best bid less what it added to the best ask, ``(N,)``.

    In base coin; the first is 0. A bid that improves adds its whole size, one that falls takes
    away the size before, one that stays adds the difference; asks count the other way round, so
    buying and cancelled asks are above zero. Sums over a stretch are its order-flow imbalance.
    Source: Cont, Kukanov and Stoikov (2014), equation 3.
    """
    snapshots("books", books)
    flow = np.zeros(len(books))
    for sign, price, size in (
        (1, books.bid_price[:, 0], books.bid_size[:, 0]),
        (-1, -books.ask_price[:, 0], books.ask_size[:, 0]),
    ):
        better, worse = price[1:] >= price[:-1], price[1:] <= price[:-1]
        flow[1:] += sign * (better * size[1:] - worse * size[:-1])
    return flow


# ---- Walls: large resting orders that lie together in price and time.


def large_levels(books: Snapshots, min_size: float) -> pd.DataFrame:
    """Return every level of at least ``min_size``, one a row, in order of time.

    Columns: ``row`` of the snapshot, ``side`` (+1 bid, -1 ask), ``offset_bps`` from that
    snapshot's mid, ``size`` in base coin, ``price``.
    """
    snapshots("books", books)
    min_size = number("min_size", min_size, 0, above=True)
    mid = books.mid()
    parts = []
    for side, price, size in (
        (1, books.bid_price, books.bid_size),
        (-1, books.ask_price, books.ask_size),
    ):
        row, level = np.nonzero(size >= min_size)
        offset = (price[row, level] / mid[row] - 1) * 1e4
        parts.append((row, np.full(len(row), side), offset, size[row, level], price[row, level]))
    columns = [np.concatenate(x) for x in zip(*parts, strict=True)]
    names = ("row", "side", "offset_bps", "size", "price")
    points = pd.DataFrame(dict(zip(names, columns, strict=True)))
    return points.sort_values("row", kind="stable", ignore_index=True)


def clusters(
    books: Snapshots,
    *,
    min_size: float,
    seconds: float = 1.0,
    bps: float = 0.05,
    min_points: int = 10,
) -> pd.DataFrame:
    """Group large levels that are neighbours in time and in price offset.

    Two levels are neighbours when ``(dt / seconds)**2 + (doffset / bps)**2 <= 1``. It looks at
    the whole series: a description of the past, never an input to a forecast. Bids and asks
    are grouped apart. Source: Ester et al. (1996), DBSCAN, from scikit-learn.

    Args:
        books: the snapshots.
        min_size: what counts as large, in base coin.
        seconds: reach in time.
        bps: reach in price offset, basis points.
        min_points: neighbours (itself included) that make a level the core of a cluster.

    Returns:
        One row a cluster, by start: ``side``, ``start``, ``end`` (rows of ``books``, end
        included), ``offset_bps`` and ``price`` (medians), ``size`` (mean), ``points``.
    """
    seconds, bps = number("seconds", seconds, 0, above=True), number("bps", bps, 0, above=True)
    min_points = integer("min_points", min_points, 1)
    points = large_levels(books, min_size)
    points["cluster"] = _labels(books, points, seconds, bps, min_points)
    found = points[points.cluster >= 0].groupby(["side", "cluster"]).agg(
        start=("row", "min"), end=("row", "max"), offset_bps=("offset_bps", "median"),
        price=("price", "median"), size=("size", "mean"), points=("size", "size"),
    )  # fmt: skip
    found = found.reset_index().drop(columns="cluster")
    return found.sort_values(["start", "price"], ignore_index=True)


def _labels(books: Snapshots, points: pd.DataFrame, seconds: float, bps: float, n: int):
    from sklearn.cluster import DBSCAN  # slow to import, wanted here only

    labels = np.full(len(points), -1)
    elapsed = (books.time - books.time[0]) / np.timedelta64(1, "s")
    for side in (1, -1):
        of = (points.side == side).to_numpy()
        if of.any():
            where = points[of]
            x = np.column_stack([elapsed[where.row] / seconds, where.offset_bps / bps])
            labels[of] = DBSCAN(eps=1.0, min_samples=n).fit_predict(x)
    return labels


# ---- Market impact.


def walk(books: Snapshots, sizes: np.ndarray, side: str) -> np.ndarray:
    """Return the average price a market order of each size pays in each snapshot.

    Args:
        books: N snapshots.
        sizes: shape ``(S,)``, base coin, above zero.
        side: ``"buy"`` walks up the asks, ``"sell"`` down the bids.

    Returns:
        float64 of shape ``(N, S)``; NaN where the visible levels hold less than the size.
    """
    snapshots("books", books)
    sizes = array("sizes", sizes, ndim=1)
    if sizes.min() <= 0:
        raise ArgumentError("sizes", sizes.min(), "sizes above zero")
    buy = choice("side", side, ("buy", "sell")) == "buy"
    price, size = (books.ask_price, books.ask_size) if buy else (books.bid_price, books.bid_size)
    depth = size.cumsum(1)
    left = sizes[None, :, None] - (depth - size)[:, None, :]  # still wanted at each level
    taken = np.clip(left, 0, size[:, None, :])  # (N, S, levels)
    average = np.einsum("nsl,nl->ns", taken, price) / sizes
    return np.where(sizes <= depth[:, -1:], average, np.nan)


def slippage_bps(books: Snapshots, sizes: np.ndarray, side: str) -> np.ndarray:
    """Return how much worse than the mid the order fills, in basis points, ``(N, S)``."""
    snapshots("books", books)
    mid = books.mid()[:, None]
    sign = 1 if choice("side", side, ("buy", "sell")) == "buy" else -1
    return sign * (walk(books, sizes, side) / mid - 1) * 1e4


@dataclass(frozen=True)
class PowerLaw:
    """cost = ``coefficient`` * size ** ``exponent``; ``low`` and ``high`` bound the exponent."""

    coefficient: float
    exponent: float
    low: float
    high: float

    def __post_init__(self) -> None:
        number("coefficient", self.coefficient, 0, above=True)
        for name in ("exponent", "low", "high"):
            number(name, getattr(self, name))

    def __call__(self, sizes: np.ndarray) -> np.ndarray:
        return self.coefficient * array("sizes", sizes).astype(float) ** self.exponent


def fit_power_law(
    sizes: np.ndarray,
    cost: np.ndarray,
    *,
    seed: int,
    block: int = 50,
    draws: int = 500,
    level: float = 0.95,
) -> PowerLaw:
    """Fit a power law to the mean cost by least squares on logarithms.

    The square-root law says 0.5 (Toth et al. 2011, eq. 1); here the exponent is free, and the
    interval from a moving-block bootstrap over snapshots says whether 0.5 is in it.

    Args:
        sizes: shape ``(S,)``, at least 3 different sizes above zero.
        cost: shape ``(N, S)``, above zero on average; NaN is refused: a size that some
            snapshot cannot fill would be averaged over the deep snapshots only.
        seed: of the bootstrap.
        block: snapshots a block; longer than the book's memory.
        draws: bootstrap resamples.
        level: of the interval, 0.5 to 0.999.
    """
    from arch.bootstrap import MovingBlockBootstrap

    sizes = array("sizes", sizes, ndim=1, min_length=3).astype(float)
    cost = array("cost", cost, ndim=2).astype(float)
    if cost.shape[1] != len(sizes) or sizes.min() <= 0 or len(np.unique(sizes)) < 3:
        raise ArgumentError("sizes", sizes, "3 or more different sizes > 0, one a cost column")
    if cost.mean(0).min() <= 0:
        raise ArgumentError("cost", float(cost.mean(0).min()), "mean costs above zero")
    block = integer("block", block, 1, len(cost))

    def fit(sample: np.ndarray) -> np.ndarray:
        return np.polyfit(np.log(sizes), np.log(sample.mean(0)), 1)

    tail = (1 - number("level", level, 0.5, 0.999)) / 2
    exponent, intercept = fit(cost)
    bootstrap = MovingBlockBootstrap(block, cost, seed=integer("seed", seed, 0))
    drawn = bootstrap.apply(fit, integer("draws", draws, 20))[:, 0]
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return PowerLaw(float(np.exp(intercept)), float(exponent), float(low), float(high))


# ---- Large orders that appear near the touch and vanish unfilled.


MAX_TICKS = 10_000_000


def spoofing(
    books: Snapshots,
    trades: pd.DataFrame,
    *,
    min_size: float,
    tick: float,
    near_ticks: float = 5.0,
    brief_seconds: float = 2.0,
) -> pd.DataFrame:
    """Find large orders that came and went, and score how spoof-like each was.

    An episode starts when the size at one price grows by ``min_size`` or more from one
    snapshot to the next, and ends when at least half of that growth is gone again. Orders
    that leave the visible levels, or still rest at the end, are no episodes. The score is::

        unfilled * exp(-ticks_away / near_ticks) * exp(-seconds / brief_seconds)

    where unfilled = 1 - min(1, traded / size). It says what the order did, not what its
    owner meant: intent is not in the data. An episode is known from its end on, and depends
    on nothing after it.

    Args:
        books: N snapshots.
        trades: columns ``time`` (UTC, in order), ``price``, ``size``, ``side`` (+1 the taker
            bought); what filled an order is what traded at its price against its side.
        min_size: growth that counts as a large order, base coin.
        tick: the price step; every price is a multiple of it.
        near_ticks: distance from the touch at which the score has fallen to 1/e.
        brief_seconds: life at which the score has fallen to 1/e.

    Returns:
        One row an episode, by end: ``side`` (+1 bid, -1 ask), ``price``, ``size`` (the
        growth), ``start`` and ``end`` (rows of ``books``: shown in start <= row < end),
        ``ticks_away`` from its side's best price at the start, ``seconds``, ``traded``,
        ``score``.
    """
    snapshots("books", books)
    min_size = number("min_size", min_size, 0, above=True)
    tick = number("tick", tick, 0, above=True)
    near = number("near_ticks", near_ticks, 0, above=True)
    brief = number("brief_seconds", brief_seconds, 0, above=True)
    tape("trades", trades, set())
    sides = []
    for side, price, size in (
        (1, books.bid_price, books.bid_size),
        (-1, books.ask_price, books.ask_size),
    ):
        ticks, low = _grid(price, tick, side)
        start, end, grown, level = episodes(ticks, size, min_size)
        at = ticks[start, level]
        traded = _traded(books, trades, side, low - side * at, start, end, tick)
        away = at - ticks[start, 0]
        sides.append(np.column_stack([np.full(len(start), side), price[start, level], grown,
                                      start, end, away, traded]))  # fmt: skip
    columns = ["side", "price", "size", "start", "end", "ticks_away", "traded"]
    found = pd.DataFrame(np.concatenate(sides), columns=columns)
    found = found.astype({"side": int, "start": int, "end": int, "ticks_away": int})
    life = books.time[found.end] - books.time[found.start]
    found.insert(6, "seconds", life / np.timedelta64(1, "s"))
    unfilled = 1 - np.minimum(1, found.traded / found["size"])
    found["score"] = unfilled * np.exp(-found.ticks_away / near - found.seconds / brief)
    return found.sort_values(["end", "start", "side"], ignore_index=True)


@kernel
def episodes(ticks, size, min_size):
    """Return ``start, end, grown, level`` of every large order that came and went.

    ``ticks`` and ``size`` have shape ``(N, levels)``; ticks are >= 0 and rise away from the
    touch. ``level`` is where the order stood in row ``start``. A price that was beyond the
    worst visible level in the row before is unknown there and starts nothing; an order that
    drops out of sight ends nothing.
    """
    n, levels = ticks.shape
    span = ticks.max() + 1
    last, seen = np.zeros(span), np.full(span, -1)  # last size of a tick, and in which row
    since, base, grown = np.full(span, -1), np.zeros(span), np.zeros(span)
    place = np.zeros(span, np.int64)
    waiting = [np.int64(0) for _ in range(0)]
    found = [(np.int64(0), np.int64(0), 0.0, np.int64(0)) for _ in range(0)]
    for i in range(n):
        for j in range(levels):
            k, s = ticks[i, j], size[i, j]
            known = i > 0 and (seen[k] == i - 1 or k <= ticks[i - 1, levels - 1])
            before = last[k] if seen[k] == i - 1 else 0.0
            if known and since[k] < 0 and s - before >= min_size:
                since[k], base[k], grown[k], place[k] = i, before, s - before, j
                waiting.append(k)
            last[k], seen[k] = s, i
        kept = [np.int64(0) for _ in range(0)]
        for k in waiting:
            if seen[k] != i and k > ticks[i, levels - 1]:
                since[k] = -1
            elif since[k] < i and (last[k] if seen[k] == i else 0.0) <= base[k] + grown[k] / 2:
                found.append((since[k], np.int64(i), grown[k], place[k]))
                since[k] = -1
            else:
                kept.append(k)
        waiting = kept
    return _as_arrays(found)


@kernel
def _as_arrays(found):
    """Return a list of episodes as four arrays."""
    start, end = np.empty(len(found), np.int64), np.empty(len(found), np.int64)
    grown, level = np.empty(len(found)), np.empty(len(found), np.int64)
    for i in range(len(found)):
        start[i], end[i], grown[i], level[i] = found[i]
    return start, end, grown, level


def _grid(price: np.ndarray, tick: float, side: int) -> tuple[np.ndarray, int]:
    """Return ticks k >= 0 that rise away from the touch, and low: price tick = low - side * k."""
    exact = price / tick
    ticks = np.rint(exact).astype(np.int64)
    if np.abs(exact - ticks).max() > 1e-3:
        raise ArgumentError("tick", tick, "a step of which every price is a multiple")
    low = int(ticks.max()) if side == 1 else int(ticks.min())
    ticks = (low - ticks) if side == 1 else (ticks - low)
    if ticks.max() > MAX_TICKS:
        raise ArgumentError("tick", tick, f"prices spread over at most {MAX_TICKS} ticks")
    return ticks, low


def _traded(
    books: Snapshots,
    trades: pd.DataFrame,
    side: int,
    at: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    tick: float,
) -> np.ndarray:
    """Return what traded against each order at its price, from start to end, both included."""
    hits = trades[trades.side == -side]
    stamps = pd.DatetimeIndex(hits.time).tz_convert(None).to_numpy()
    row = np.searchsorted(books.time, stamps)  # seen first in this snapshot
    width = len(books) + 1
    key = np.rint(hits.price.to_numpy() / tick).astype(np.int64) * width + row
    order = np.argsort(key, kind="stable")
    total = np.concatenate([[0.0], hits["size"].to_numpy(float)[order].cumsum()])
    first = np.searchsorted(key[order], at * width + start)
    last = np.searchsorted(key[order], at * width + end, side="right")
    return total[last] - total[first]


# ---- The book as a picture.


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Pictures of the book and what they leave out.

    ``volume`` has shape ``(B, 2, rows, window)``: channel 0 bids, channel 1 asks; row 0 is
    the highest price, column 0 the oldest snapshot; in base coin, or its log(1 + volume).
    ``outside`` has shape ``(B, 2, window)``: volume of levels beyond the rows, never logged.
    ``edges_bps`` has shape ``(rows + 1,)``: the rows' edges from the reference, falling.
    """

    volume: np.ndarray
    outside: np.ndarray
    edges_bps: np.ndarray


def heatmap(
    books: Snapshots,
    *,
    rows: int = 64,
    span_bps: float = 5.0,
    window: int | None = None,
    ends: np.ndarray | None = None,
    reference: str = "mid",
    log: bool = False,
    out: np.ndarray | None = None,
) -> Heatmap:
    """Draw windows of the book; every level's volume lands in exactly one row, or outside.

    Args:
        books: N snapshots.
        rows: price rows, of equal height.
        span_bps: the rows reach from this far above the reference to this far below it, in
            basis points; a price on a row's upper edge belongs to that row.
        window: snapshots (columns) a picture; all N by default.
        ends: shape ``(B,)``, the newest row of ``books`` in each picture; by default only
            the last. A picture depends on no snapshot after its end.
        reference: ``"mid"`` centres each column on its own mid price; ``"fixed"`` centres
            all columns on the mid of the picture's newest snapshot, so that moves show.
        log: True for log(1 + volume).
        out: a kept buffer of shape ``(B, 2, rows, window)``, float32 or float64.

    Returns:
        `Heatmap`; ``volume`` is ``out`` where given, else a new float32 array.

    Raises:
        ArgumentError: an argument is out of range, or a window begins before the first
            snapshot.
    """
    snapshots("books", books)
    rows, span = integer("rows", rows, 1), number("span_bps", span_bps, 0, 9_999, above=True)
    fixed = choice("reference", reference, ("mid", "fixed")) == "fixed"
    n = len(books)
    window = n if window is None else integer("window", window, 1, n)
    newest = places("ends", [n - 1] if ends is None else ends, window - 1, n - 1)
    shape = (len(newest), 2, rows, window)
    volume = output(out, shape, dtypes=("float32", "float64"))
    outside = np.zeros((len(newest), 2, window))
    sides = (books.bid_price, books.bid_size, books.ask_price, books.ask_size)
    _fill(*sides, books.mid(), newest, span, fixed, volume, outside)
    if flag("log", log):
        np.log1p(volume, out=volume)
    return Heatmap(volume, outside, np.linspace(span, -span, rows + 1))


@kernel(parallel=True)
def _fill(bid_price, bid_size, ask_price, ask_size, mid, ends, span, fixed, out, outside):
    rows, window = out.shape[2], out.shape[3]
    for b in prange(len(ends)):
        out[b] = 0.0
        for j in range(window):
            i = ends[b] - window + 1 + j
            centre = mid[ends[b]] if fixed else mid[i]
            for side in range(2):
                price = bid_price[i] if side == 0 else ask_price[i]
                size = bid_size[i] if side == 0 else ask_size[i]
                for k in range(len(price)):
                    bps = (price[k] / centre - 1.0) * 1e4
                    row = int(np.floor((span - bps) * rows / (2.0 * span)))
                    if 0 <= row < rows:
                        out[b, side, row, j] += size[k]
                    else:
                        outside[b, side, j] += size[k]
