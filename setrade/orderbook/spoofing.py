"""Large orders that appear near the touch and vanish unfilled, scored from 0 to 1."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import ArgumentError, number
from .episodes import episodes
from .snapshots import Snapshots

COLUMNS = ["side", "price", "size", "start", "end", "ticks_away", "seconds", "traded", "score"]
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
    min_size = number("min_size", min_size, 0, above=True)
    tick = number("tick", tick, 0, above=True)
    near = number("near_ticks", near_ticks, 0, above=True)
    brief = number("brief_seconds", brief_seconds, 0, above=True)
    _check_trades(trades)
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
    found["seconds"] = life / np.timedelta64(1, "s")
    unfilled = 1 - np.minimum(1, found.traded / found["size"])
    found["score"] = unfilled * np.exp(-found.ticks_away / near - found.seconds / brief)
    return found[COLUMNS].sort_values(["end", "start", "side"], ignore_index=True)


def _check_trades(trades: pd.DataFrame) -> None:
    wanted = {"time", "price", "size", "side"}
    if not isinstance(trades, pd.DataFrame) or not wanted <= set(trades.columns):
        raise ArgumentError("trades", trades, f"a DataFrame with columns {sorted(wanted)}")
    zoned = isinstance(trades.time.dtype, pd.DatetimeTZDtype)
    if not zoned or not trades.time.is_monotonic_increasing:
        raise ArgumentError("trades.time", trades.time.dtype, "UTC stamps in order")
    figures = trades[["price", "size"]].to_numpy(float)
    if not np.isfinite(figures).all() or (figures <= 0).any():
        raise ArgumentError("trades", trades, "finite prices and sizes above zero")
    if not trades.side.isin([1, -1]).all():
        raise ArgumentError("trades.side", trades.side.unique(), "+1 (taker bought) or -1")


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
