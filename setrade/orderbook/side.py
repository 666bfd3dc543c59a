"""One side of a local book: sorted prices beside a dictionary of what the exchange sent.

A sorted list with ``bisect`` beats trees here: at a few hundred levels an insertion moves a
few kilobytes, which costs less than one step of interpreted code.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

import numpy as np

INFINITY = float("inf")


class Side:
    """One side: prices in rising order, and each price's strings as the exchange sent them."""

    __slots__ = ("levels", "prices")

    def __init__(self) -> None:
        self.prices: list[float] = []
        self.levels: dict[float, tuple[str, str]] = {}

    def update(self, changes: Iterable[tuple[str, str]]) -> int:
        """Set or delete levels; return how many deletes found nothing to delete."""
        prices, levels, absent = self.prices, self.levels, 0
        for text, amount in changes:
            price, size = float(text), float(amount)
            if 0.0 < size < INFINITY:
                if price not in levels:
                    if not 0.0 < price < INFINITY:
                        raise ValueError("price out of range")
                    insort(prices, price)
                levels[price] = (text, amount)
            elif size != 0.0:
                raise ValueError("size out of range")
            elif levels.pop(price, None) is None:
                absent += 1
            else:
                del prices[bisect_left(prices, price)]
        return absent

    def arrays(self, prices: list[float]) -> list[np.ndarray]:
        """Return prices and sizes of the chosen prices, each of shape ``(1, levels)``."""
        sizes = [float(self.levels[p][1]) for p in prices]
        return [np.array([prices]), np.array([sizes])]
