"""Three real books on an even grid, their features, classes and folds; it runs nothing by itself.

`books_real` and `flow_real` import it. Bitstamp's 24 hours (1 May 2015) are rebuilt from single
orders; GDAX gives an hour (24 April 2018, top 20 each second), Binance 5.7 minutes (8 August 2024,
top 20 each 52 ms). A row holds the last sound book at or before its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import real_book

from setrade import orderbook
from setrade.orderbook import Snapshots

ORDERS = "bitstamp_btcusd_l3_events_20150501.parquet"
GDAX = "gdax_btcusd_l2top20_1s_20180424.parquet"
FILES = (ORDERS, GDAX, real_book.BOOK, real_book.TRADES)
LAGS, FLOWS, DEPTHS = (1, 2, 5, 10, 30), (1, 5, 10, 30), (1, 3, 5, 10, 20)  # s, s, levels
HORIZONS, MAIN = (1, 5, 10, 30, 60), 10  # s; the claims are judged at MAIN
FEE_BPS = 5.5  # a taker's, each side: today's, for all three


# ---- The books, on an even grid.


@dataclass(frozen=True, eq=False)
class Venue:
    """One book on an even grid.

    ``flow``: order-flow imbalance added up from the beginning. ``extremes`` (N, 2): the lowest
    best bid and the highest best ask since the grid time before.
    """

    name: str
    books: Snapshots
    flow: np.ndarray
    extremes: np.ndarray
    step: float  # s
    folds: int
    horizons: tuple[int, ...]
    block: float  # s, of the bootstrap
    thin: int  # every so many rows train

    def rows(self, seconds: float) -> int:
        """Return how many rows a stretch of time has."""
        return round(seconds / self.step)


def even(
    books: Snapshots, events: Snapshots, step: float, begin: float
) -> tuple[Snapshots, np.ndarray, np.ndarray]:
    """Return the books on a grid from ``begin`` s on, with flow and extremes of all events."""
    unit = np.timedelta64(round(step * 1e9), "ns")
    first = books.time[0] + np.timedelta64(round(begin * 1e9), "ns")
    grid = np.arange(first, books.time[-1] + np.timedelta64(1, "ns"), unit)
    at, last = books.at(grid), events.at(grid)
    sides = [getattr(books, k)[at] for k in ("bid_price", "bid_size", "ask_price", "ask_size")]
    flow = orderbook.order_flow_imbalance(events).cumsum()[last]
    low, high = (np.searchsorted(events.time, grid - unit, side="right"), last + 1)
    bids, asks = events.bid_price[:, 0], events.ask_price[:, 0]
    cut = np.minimum(np.stack([low, high], 1), len(bids) - 1).ravel()
    least = np.minimum.reduceat(bids, cut)[::2]
    most = np.maximum.reduceat(asks, cut)[::2]
    none = low >= high  # nothing happened: the book stood
    extremes = np.stack([np.where(none, sides[0][:, 0], least),
                         np.where(none, sides[2][:, 0], most)], 1)  # fmt: skip
    return Snapshots(grid, *sides), flow, extremes


def orders(folder: Path) -> pd.DataFrame:
    """Return Bitstamp's events as `orderbook.rebuild` takes them."""
    raw = pd.read_parquet(folder / ORDERS)
    return pd.DataFrame({
        "time": pd.to_datetime(raw["timestamp"], unit="ms", utc=True), "id": raw["id"],
        "price": raw["price"], "size": raw["volume"] / 1e8,
        "side": np.where(raw["direction"] == "bid", 1, -1), "action": raw["action"],
    })  # fmt: skip


def bitstamp(folder: Path) -> Venue:
    """Return the day of single orders; its first hour, while the book fills, is left out."""
    events = orders(folder)
    made, every = orderbook.rebuild(events), orderbook.rebuild(events, None, levels=1)
    grid = even(made.books, every.books, 1.0, 3600.0)
    return Venue("bitstamp", *grid, 1.0, 4, HORIZONS, 600.0, 8)


def bitstamp_facts(folder: Path) -> dict[str, Any]:
    """Return what the rebuilding met, beside a reader that takes every message as it comes."""
    events = orders(folder)
    made, naive = orderbook.rebuild(events), orderbook.rebuild(events, remember=False)
    hours = [[float(x.crossed[k : k + 3600].mean()) for k in range(0, len(x.time) - 60, 3600)]
             for x in (naive, made)]  # fmt: skip
    return {
        "events": len(events), "odd": made.odd, "seconds": len(made.time),
        "crossed_naive": naive.crossed.mean(), "crossed": made.crossed.mean(),
        "crossed_naive_by_hour": hours[0], "crossed_by_hour": hours[1],
        "traded": made.trades["size"].sum(), "trades": len(made.trades),
        "picture": ghosts(naive, made),
    }  # fmt: skip


def ghosts(naive: orderbook.Rebuilt, made: orderbook.Rebuilt) -> dict[str, Any]:
    """Return best prices by minute of the rebuilt book, and the naive reader's, crossed or not."""
    rows = np.arange(0, len(made.time), 300)
    right = made.books.at(made.time[rows])
    out = {"minutes": rows / 60, "crossed_naive": naive.crossed[rows].astype(int)}
    for name, x in (("bid", made.books.bid_price), ("ask", made.books.ask_price)):
        out[name] = np.where(right < 0, np.nan, x[right, 0])
    return out


def top20(folder: Path, file: str) -> Snapshots:
    """Return a file of the top 20 levels."""
    raw = pd.read_parquet(folder / file)
    stamps = pd.to_datetime(raw["ts"], unit="ms").to_numpy()
    sides = [raw[[f"{name}{level}" for level in range(1, 21)]].to_numpy()
             for name in ("bidp", "bidq", "askp", "askq")]  # fmt: skip
    return Snapshots(stamps, *sides)


def gdax(folder: Path) -> Venue:
    """Return the hour; its flow is that between seconds, for it comes each second."""
    books = top20(folder, GDAX)
    return Venue("gdax", *even(books, books, 1.0, 60.0), 1.0, 3, HORIZONS, 120.0, 1)


def binance(folder: Path) -> Venue:
    """Return the minutes, four looks a second."""
    books = top20(folder, real_book.BOOK)
    return Venue("binance", *even(books, books, 0.25, 30.0), 0.25, 3, HORIZONS[:3], 15.0, 1)


VENUES: dict[str, Callable[[Path], Venue]] = {
    "bitstamp": bitstamp, "gdax": gdax, "binance": binance,
}  # fmt: skip


@cache
def venue(name: str, folder: Path) -> Venue:
    """Return a venue, made once a process."""
    return VENUES[name](folder)


# ---- Features, classes, folds.


@cache
def features(v: Venue) -> dict[str, np.ndarray]:
    """Return groups of features (N, k), each known at its row; NaN where history is too short."""
    mid = np.log(v.books.mid()) * 1e4
    touch = (v.books.bid_size[:, 0] + v.books.ask_size[:, 0]) / 2
    usual = pd.Series(touch).rolling(v.rows(300), min_periods=v.rows(10)).mean().to_numpy()

    def ago(x: np.ndarray, seconds: int) -> np.ndarray:
        k = v.rows(seconds)
        return np.r_[np.full(k, np.nan), x[k:] - x[:-k]]

    depth = orderbook.depth_imbalance(v.books)
    return {
        "past": np.column_stack([ago(mid, s) for s in LAGS]),
        "imbalance": depth[:, [d - 1 for d in DEPTHS]],
        "flow": np.column_stack([ago(v.flow, s) / usual for s in FLOWS]),
        "spread": (1e4 * v.books.spread() / v.books.mid())[:, None],
    }


SETS = {
    "past moves": ("past",), "imbalance": ("imbalance",), "order flow": ("flow",),
    "book": ("past", "imbalance", "flow", "spread"),
}  # fmt: skip


@cache
def inputs(v: Venue, name: str) -> np.ndarray:
    """Return one set of features (N, k), float64; each is squeezed by arcsinh: tails are long."""
    every = features(v)
    return np.arcsinh(np.hstack([every[group] for group in SETS[name]]))


@cache
def moves(v: Venue) -> np.ndarray:
    """Return moves of the mid in basis points, (N, horizons); NaN at the end."""
    return np.column_stack([orderbook.next_move(v.books, v.rows(h)) for h in v.horizons])


WINDOW = 32  # rows of the grid that a net sees


@dataclass(frozen=True)
class Fold:
    """Rows of one fold; labels of one part end before the next begins."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@cache
def folds(v: Venue, seen: float = 0.4) -> list[Fold]:
    """Return the folds of a walk forward."""
    n, gap = len(v.books), v.rows(max(v.horizons))
    start = max(v.rows(max(LAGS)), WINDOW, v.rows(10)) + 1
    edges = np.linspace(seen * n, n - v.rows(max(v.horizons)), v.folds + 1).astype(int)
    out = []
    for first, last in pairwise(edges):
        late = int(0.8 * first)
        out.append(Fold(np.arange(start, late - gap, v.thin), np.arange(late, first - gap, v.thin),
                        np.arange(first, last, 2)))  # fmt: skip
    return out


def classes(move: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return 0 down, 1 flat, 2 up by the training part's threshold; -1 where it is not known."""
    edge = np.nanquantile(np.abs(move[train]), 1 / 3)
    return np.where(np.isnan(move), -1, 1 + (move > edge) - (move < -edge)).astype(np.int64)


def shares(y: np.ndarray) -> np.ndarray:
    """Return class shares, one example added to each."""
    return (np.bincount(y, minlength=3) + 1) / (len(y) + 3)
