"""Speed of the local book and of the heat map.

A delta is one message of the stream. Real messages of a few levels and large ones are raced
apart, and the level updates a second that they come to are stored beside the messages.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_orderbook import message

from setrade import orderbook as ob

DEPTH, DELTAS = 200, 20_000


def feed(levels: int) -> list[dict]:
    """A snapshot of 200 levels a side, and deltas that change, delete and restore levels."""
    rng = np.random.default_rng(0)
    sides = {"b": 9_999 - np.arange(DEPTH), "a": 10_001 + np.arange(DEPTH)}
    full = {k: [(f"{p / 10:.1f}", "1") for p in ticks] for k, ticks in sides.items()}
    out, gone = [message("snapshot", 10, full["b"], full["a"])], set()
    for u in range(DELTAS):
        changes: dict[str, list] = {"b": [], "a": []}
        for _ in range(levels):
            key = "b" if rng.random() < 0.5 else "a"
            tick = int(sides[key][int(rng.integers(DEPTH))])
            delete = tick not in gone and rng.random() < 0.3
            (gone.add if delete else gone.discard)(tick)
            changes[key].append(
                (f"{tick / 10:.1f}", "0" if delete else f"{rng.uniform(0.001, 9):.3f}")
            )
        out.append(message("delta", u + 11, changes["b"], changes["a"]))
    return out


@pytest.mark.parametrize("levels", [1, 4])
def test_local_book_at_depth_200(race, levels):
    messages = feed(levels)

    def ours() -> None:
        book = ob.OrderBook(DEPTH)
        for m in messages:
            book.apply(m)
        assert book.is_valid

    class Listed:
        """The plain way: a list a side, searched at every change, sorted at every message."""

        def apply(self, m: dict) -> None:
            if m["type"] == "snapshot":
                self.sides = {k: list(map(list, m["data"][k])) for k in "ba"}
                return
            for key, side in self.sides.items():
                for price, size in m["data"][key]:
                    at = next((i for i, x in enumerate(side) if x[0] == price), None)
                    if at is None:
                        side.append([price, size])
                    elif size == "0":
                        side.pop(at)
                    else:
                        side[at] = [price, size]
                side.sort(key=lambda x: float(x[0]), reverse=key == "b")

    def listed() -> None:
        book = Listed()
        for m in messages[:2_001]:
            book.apply(m)

    medians = race(ours, listed_2000_messages=listed)
    rate = DELTAS / medians["ours"]
    race.bound("messages_a_second", rate, 200_000)
    race.note("levels_a_second", rate * levels)
    race.bound("listed", medians["listed_2000_messages"] * DELTAS / 2_000 / medians["ours"], 5)


def test_heatmap_into_a_kept_buffer(race):
    market = ob.synthetic(5_000, seed=0)
    ends = np.arange(63, 5_000, 5)
    out = np.empty((len(ends), 2, 64, 64), np.float32)

    def ours() -> None:
        ob.heatmap(market.books, rows=64, span_bps=0.3, window=64, ends=ends, out=out)

    def histogram() -> None:
        """NumPy's histogram2d, one picture (of one side) at a time."""
        column, edges = np.repeat(np.arange(64), 20), ((-0.3, 0.3), (0, 64))
        for end in ends[:50]:
            rows = slice(end - 63, end + 1)
            mid = market.books.mid()[rows, None]
            for price, size in ((market.books.bid_price, market.books.bid_size),
                                (market.books.ask_price, market.books.ask_size)):  # fmt: skip
                bps = (price[rows] / mid - 1) * 1e4
                np.histogram2d(bps.ravel(), column, bins=(64, 64),
                               range=edges, weights=size[rows].ravel())  # fmt: skip

    medians = race(ours, histogram2d_50_windows=histogram)
    peer = medians["histogram2d_50_windows"] * len(ends) / 50
    race.bound("histogram2d", peer / medians["ours"], 5)
