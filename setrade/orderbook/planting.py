"""Where the synthetic book's large orders go: walls, orders that fill, spoofs."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ["kind", "side", "tick", "size", "start", "end", "eaten"]
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
    frame = pd.DataFrame(rows, columns=COLUMNS)
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
