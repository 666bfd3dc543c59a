"""Walls: large resting orders that lie together in price and time, found by DBSCAN."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import integer, number
from .snapshots import Snapshots

COLUMNS = ["row", "side", "offset_bps", "size", "price"]


def large_levels(books: Snapshots, min_size: float) -> pd.DataFrame:
    """Return every level of at least ``min_size``, one a row, in order of time.

    Columns: ``row`` of the snapshot, ``side`` (+1 bid, -1 ask), ``offset_bps`` from that
    snapshot's mid, ``size`` in base coin, ``price``.
    """
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
    points = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
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
