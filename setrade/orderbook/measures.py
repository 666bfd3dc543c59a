"""Where the book leans: depth imbalance at every depth, and the microprice."""

from __future__ import annotations

import numpy as np

from ..errors import integer
from .snapshots import Snapshots


def depth_imbalance(books: Snapshots) -> np.ndarray:
    """Return the imbalance of the best 1, 2, ... levels, shape ``(N, levels)``.

    Column k is (bids - asks) / (bids + asks) of the sizes of the best k + 1 levels, within
    [-1, 1]. Source: for one level Gould and Bonart
    (2016), queue imbalance; deeper levels as in the seeds' order-book picture.
    """
    bids, asks = books.bid_size.cumsum(1), books.ask_size.cumsum(1)
    return (bids - asks) / (bids + asks)


def microprice(books: Snapshots) -> np.ndarray:
    """Return the mid weighted by the opposite sizes of the best level, shape ``(N,)``.

    A heavy bid pulls it towards the ask. It lies between best bid and best ask. Source:
    Stoikov (2018), introduction, where it is called the weighted mid-price.
    """
    bid, ask = books.bid_size[:, 0], books.ask_size[:, 0]
    return (bid * books.ask_price[:, 0] + ask * books.bid_price[:, 0]) / (bid + ask)


def next_move(books: Snapshots, horizon: int) -> np.ndarray:
    """Return how far the mid moves over the next ``horizon`` snapshots, in basis points.

    Shape ``(N,)``; the last ``horizon`` are NaN, for their future is not known. A label,
    never an input.
    """
    horizon = integer("horizon", horizon, 1, len(books) - 1)
    mid, move = books.mid(), np.full(len(books), np.nan)
    move[:-horizon] = (mid[horizon:] / mid[:-horizon] - 1) * 1e4
    return move
