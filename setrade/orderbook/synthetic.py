"""A synthetic book in which orders and a signal are planted; the messages that lead to a book."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from setrade.compiled import kernel
from setrade.errors import ArgumentError, generator, integer, number
from setrade.orderbook.book import Snapshots, snapshots

# ---- Where large orders go: walls, orders that fill, spoofs.


PLANTED = ["kind", "side", "tick", "size", "start", "end", "eaten"]
SLOT = 40  # snapshots for each short-lived order, so that no two overlap
TRIES = 200


def plant(
    bid: np.ndarray, walls: int, filled: int, spoofs: int, *, levels: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the planted orders for a path of best bids (in ticks), by start."""
    n = len(bid)
    rows = [_wall(bid, levels, rng) for _ in range(walls)]
    kinds = rng.permutation(["filled"] * filled + ["spoof"] * spoofs)
    width = n // max(len(kinds), 1)
    for slot, kind in enumerate(kinds):
        for _ in range(TRIES):
            order = _short(bid, str(kind), slot * width, width, rng)
            if order and not any(_clash(order, other) for other in rows):
                rows.append(order)
                break
    frame = pd.DataFrame(rows, columns=PLANTED)
    return frame.sort_values("start", kind="stable", ignore_index=True)


def _wall(bid, levels: int, rng) -> tuple:
    """A large order 4 to 8 ticks from the touch, that rests for 15 to 35 % of the time."""
    n, side = len(bid), int(rng.choice([1, -1]))
    start = int(rng.integers(1, int(0.6 * n)))
    planned = start + int(rng.integers(int(0.15 * n), int(0.35 * n)))
    tick = _tick(bid, start, side, int(rng.integers(4, 9)))
    end, eaten = _first_eaten(bid, tick, side, start, planned)
    return ("wall", side, tick, float(rng.integers(12, 21)), start, end, eaten)


def _short(bid, kind: str, begin: int, width: int, rng) -> tuple | None:
    """A large order 1 to 3 ticks from the touch; None where the path leaves no room."""
    side, away = int(rng.choice([1, -1])), int(rng.integers(1, 4))
    start = begin + int(rng.integers(1, max(width - 20, 2)))
    tick = _tick(bid, start, side, away)
    planned = min(start + int(rng.integers(3, 13)), begin + width - 1)
    size = float(rng.integers(8, 17))
    if kind == "filled":
        end, eaten = _first_eaten(bid, tick, side, start, begin + width - 1)
        return (kind, side, tick, size, start, end, True) if eaten and end > start + 2 else None
    touch = bid[start:planned] if side == 1 else bid[start:planned] + 1
    near = np.flatnonzero(touch == tick)  # pulled before it is the best price
    end = start + int(near[0]) if len(near) else planned
    return (kind, side, tick, size, start, end, False) if end >= start + 3 else None


def _tick(bid, start: int, side: int, away: int) -> int:
    return int(bid[start]) - away if side == 1 else int(bid[start]) + 1 + away


def _first_eaten(bid, tick: int, side: int, start: int, planned: int) -> tuple[int, bool]:
    """Return the row from which the order is gone, and whether a move ate it."""
    path = bid[start:planned]
    hit = np.flatnonzero(path < tick if side == 1 else path + 1 > tick)
    return (start + int(hit[0]), True) if len(hit) else (planned, False)


def _clash(a: tuple, b: tuple) -> bool:
    """True when both stand at one price of one side at the same time."""
    same_place = a[1:3] == b[1:3]
    return same_place and a[4] <= b[5] and b[4] <= a[5]


# ---- The book itself.


LOT = 0.001


@dataclass(frozen=True, eq=False)
class SyntheticBook:
    """Snapshots and trades, and the truth behind them.

    ``trades`` has columns ``time`` (UTC), ``price``, ``size``, ``side`` (+1 the taker bought).
    ``planted`` has one row a planted order: ``kind`` (wall, filled, spoof), ``side`` (+1 bid,
    -1 ask), ``price``, ``size``, ``start`` and ``end`` (rows of ``books``; shown in
    start <= row < end), ``eaten`` (True: a trade ended it; False: it was cancelled, or it
    lasts to the end). ``pressure`` of shape ``(N,)`` in [-1, 1] is the latent state that
    tilts the sizes near the touch and, as far as ``signal`` says, the next move.
    """

    books: Snapshots
    trades: pd.DataFrame
    planted: pd.DataFrame
    pressure: np.ndarray


def synthetic(
    n: int,
    *,
    seed: int | np.random.Generator,
    signal: float = 0.0,
    levels: int = 20,
    walls: int = 4,
    filled: int = 8,
    spoofs: int = 8,
    move_rate: float = 0.15,
    price: float = 60_000.0,
    tick: float = 0.1,
    interval: str = "100ms",
) -> SyntheticBook:
    """Draw ``n`` snapshots of a book whose price moves by single ticks.

    Args:
        n: snapshots, at least 100 and 40 for each filled order or spoof.
        seed: seed or generator.
        signal: 0: the next move is a fair coin, whatever the book shows; 1: under full
            pressure every move goes with it.
        levels: levels a side, one a tick; from 10 on.
        walls: large orders that rest for long, some way from the touch.
        filled: large orders near the touch that trade soon.
        spoofs: large orders near the touch, gone before they trade.
        move_rate: chance of a move from one snapshot to the next, up to 1.
        price: where the best bid starts.
        tick: price step.
        interval: time between snapshots, a pandas offset.

    Returns:
        `SyntheticBook`. Every move trades the whole best level; prices are multiples of the
        tick, sizes of 0.001. Of filled orders and spoofs as many are planted as the path
        gives room for, at most one in each stretch of 40 snapshots.
    """
    n, levels = integer("n", n, 100), integer("levels", levels, 10)
    signal, rate = number("signal", signal, 0, 1), number("move_rate", move_rate, 0, 1)
    counts = [integer(k, v, 0, n) for k, v in
              (("walls", walls), ("filled", filled), ("spoofs", spoofs))]  # fmt: skip
    if (least := SLOT * (counts[1] + counts[2])) > n:
        raise ArgumentError("n", n, f">= {SLOT} * (filled + spoofs) = {least}")
    start = round(number("price", price, 0, above=True) / number("tick", tick, 0, above=True))
    if start <= n + levels:
        raise ArgumentError("price", price, f"above tick * (n + levels) = {tick * (n + levels):g}")
    step = _step(interval)
    from scipy.signal import lfilter  # slow to import, and only needed here

    rng = generator(seed)
    pressure = np.tanh(lfilter([np.sqrt(1 - 0.95**2)], [1, -0.95], rng.normal(size=n)))
    moves = _moves(rng.random(n), rate, signal * pressure)
    bid = start + np.concatenate([[0], moves[:-1].cumsum()])
    planted = plant(bid, *counts, levels=levels, rng=rng)
    sizes = _sizes(bid, pressure, planted, levels, rng)
    books = _snapshots(bid, sizes, tick, step)
    trades = _trades(books, moves, rng)
    planted = planted.assign(price=(planted.tick * tick).round(10)).drop(columns="tick")
    return SyntheticBook(books, trades, planted, pressure)


def _step(interval: str) -> pd.Timedelta:
    try:
        step = pd.Timedelta(interval)
    except (TypeError, ValueError) as error:
        raise ArgumentError("interval", interval, "a time such as '100ms'") from error
    if not step > pd.Timedelta(0):
        raise ArgumentError("interval", interval, "a time above zero")
    return step


def _moves(draw: np.ndarray, rate: float, tilt: np.ndarray) -> np.ndarray:
    """Return +1, 0 or -1 for the step after each snapshot."""
    up = draw < rate / 2 * (1 + tilt)
    down = draw >= 1 - rate / 2 * (1 - tilt)
    return up.astype(int) - down


def _sizes(bid, pressure, planted: pd.DataFrame, levels: int, rng) -> np.ndarray:
    """Return sizes of shape ``(2, n, levels)``, planted orders on top."""
    n, low = len(bid), int(bid.min()) - levels
    noise = rng.normal(size=(2, int(bid.max()) - low + levels + 2))
    shocks, draws = rng.normal(size=(2, n, levels)), rng.random((2, n, levels))
    sizes = np.empty((2, n, levels))
    _background(bid - low, pressure, noise, shocks, draws, sizes)
    sizes = np.maximum(np.round(sizes / LOT), 1)
    orders = planted[["side", "tick", "size", "start", "end"]].to_numpy(np.int64)
    for side, tick, size, start, end in orders:
        rows = np.arange(start, end)
        level = bid[rows] - tick if side == 1 else tick - bid[rows] - 1
        seen = (level >= 0) & (level < levels)
        sizes[0 if side == 1 else 1, rows[seen], level[seen]] += np.round(size / LOT)
    return np.round(sizes * LOT, 3)


@kernel
def _background(bid, pressure, noise, shocks, draws, sizes):
    """Sizes that fall with distance; each tick has its own noise and changes now and then."""
    seen, shown = np.full(noise.shape, -1), np.zeros(noise.shape)
    for t in range(len(bid)):
        for side in range(2):
            for d in range(sizes.shape[2]):
                k = bid[t] - d if side == 0 else bid[t] + 1 + d
                near = np.exp(-d / 3.0)
                if seen[side, k] != t - 1 or t == 0 or draws[side, t, d] < 0.1 + 0.5 * near:
                    noise[side, k] = 0.9 * noise[side, k] + 0.436 * shocks[side, t, d]
                    tilt = (1.0 - 2.0 * side) * 0.5 * pressure[t] * near
                    mean = 1.0 + 2.0 * np.exp(-d)
                    shown[side, k] = mean * np.exp(0.25 * noise[side, k] + tilt)
                sizes[side, t, d] = shown[side, k]
                seen[side, k] = t


def _snapshots(bid: np.ndarray, sizes: np.ndarray, tick: float, step: pd.Timedelta) -> Snapshots:
    steps = np.arange(sizes.shape[2])
    time = np.datetime64("2024-01-01", "ns") + np.arange(len(bid)) * step.to_timedelta64()
    bids, asks = bid[:, None] - steps, bid[:, None] + 1 + steps
    return Snapshots(time, (bids * tick).round(10), sizes[0], (asks * tick).round(10), sizes[1])


def _trades(books: Snapshots, moves: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """A move eats the whole best level; one step in five a small order nibbles at it."""
    draw, n = rng.random((2, len(moves))), len(moves)
    nibble = (moves == 0) & (draw[0] < 0.2)
    side = np.where(nibble, np.where(draw[1] < 0.5, 1, -1), moves)
    share = np.where(nibble, 0.05, 1.0)
    rows = np.flatnonzero((side != 0) & (np.arange(n) < n - 1))
    buys = side[rows] == 1
    best = np.where(buys, books.ask_price[rows, 0], books.bid_price[rows, 0])
    size = np.where(buys, books.ask_size[rows, 0], books.bid_size[rows, 0]) * share[rows]
    half = (books.time[1] - books.time[0]) // 2
    return pd.DataFrame({
        "time": pd.DatetimeIndex(books.time[rows] + half, tz="UTC"),
        "price": best,
        "size": np.maximum(size.round(3), LOT),
        "side": side[rows],
    })  # fmt: skip


# ---- The messages that lead to a book.


Levels = dict[str, str]  # price -> size, as sent


def messages(
    books: Snapshots, *, symbol: str = "BTCUSDT", first_update: int = 2
) -> Iterator[dict[str, Any]]:
    """Yield the stream that leads to ``books``: a snapshot, then a delta for each further row.

    A delta holds the levels whose size changed, and a size of ``"0"`` for each level that
    left the visible book, as the exchange sends it. ``u`` rises by one from
    ``first_update`` (not 1, which would mean a snapshot). Levels of size 0 are left out.
    """
    u, books = integer("first_update", first_update, 2), snapshots("books", books)
    before: tuple[Levels, Levels] | None = None
    stamps = books.time.astype("datetime64[ms]").astype(np.int64)
    for row in range(len(books)):
        now = (
            as_text(books.bid_price[row], books.bid_size[row]),
            as_text(books.ask_price[row], books.ask_size[row]),
        )
        bids, asks = map(changes, before or ({}, {}), now)
        yield {
            "topic": f"orderbook.{books.levels}.{symbol}",
            "type": "delta" if before else "snapshot",
            "ts": int(stamps[row]),
            "data": {"s": symbol, "b": bids, "a": asks, "u": u + row, "seq": u + row},
        }
        before = now


def as_text(prices: np.ndarray, sizes: np.ndarray) -> Levels:
    """Return the levels above zero as decimal text."""
    pairs = [(p, s) for p, s in zip(prices, sizes, strict=True) if s > 0]
    text = np.format_float_positional
    return {text(p, trim="-"): text(s, trim="-") for p, s in pairs}


def changes(before: Levels, now: Levels) -> list[list[str]]:
    """Return the levels that changed, with size "0" for those that left."""
    changed = [[p, s] for p, s in now.items() if before.get(p) != s]
    return changed + [[p, "0"] for p in before if p not in now]
