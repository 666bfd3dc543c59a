"""A synthetic book in which walls, filled orders and spoofs are planted, and a signal may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..compiled import kernel
from ..errors import ArgumentError, integer, number
from .planting import plant
from .snapshots import Snapshots

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
    counts = [integer(k, v, 0) for k, v in
              (("walls", walls), ("filled", filled), ("spoofs", spoofs))]  # fmt: skip
    if 40 * (counts[1] + counts[2]) > n:
        raise ArgumentError("n", n, f">= 40 * (filled + spoofs) = {40 * (filled + spoofs)}")
    start = round(number("price", price, 0, above=True) / number("tick", tick, 0, above=True))
    if start <= n + levels:
        raise ArgumentError("price", price, f"above tick * (n + levels) = {tick * (n + levels):g}")
    step = _step(interval)
    if not isinstance(seed, np.random.Generator):
        seed = integer("seed", seed, 0)
    rng = np.random.default_rng(seed)
    from scipy.signal import lfilter  # slow to import, and only needed here

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
