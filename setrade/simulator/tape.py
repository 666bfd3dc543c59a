"""Candles as an exchange serves them: strings, newest first, the last one still forming."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..candles import bar_interval
from .wire import text

COLUMNS = ("open", "high", "low", "close", "volume", "turnover")


def aggregate(rows: np.ndarray) -> np.ndarray:
    """Return one bar, shape ``(6,)``, made of consecutive bars ``(n, 6)``."""
    return np.array(
        [rows[0, 0], rows[:, 1].max(), rows[:, 2].min(), rows[-1, 3], *rows[:, 4:].sum(0)]
    )


def part(bar: np.ndarray, fraction: float, tick: float) -> np.ndarray:
    """Return a bar ``(6,)`` as it stands when ``fraction`` of its time has gone by.

    assumption: the price goes in three equal legs, open to the nearer extreme that its colour
    suggests (low first in a rising bar), to the other extreme, to the close; volume comes
    evenly. At 1 this is the bar itself.
    """
    if fraction >= 1:
        return bar
    first, high, low, last = bar[:4]
    way = [first, low, high, last] if last >= first else [first, high, low, last]
    leg = int(fraction * 3)
    near, far = way[leg], way[leg + 1]
    price = near + (fraction * 3 - leg) * (far - near)
    price = min(max(round(round(price / tick) * tick, 10), min(near, far)), max(near, far))
    seen = [*way[: leg + 1], price]
    amounts = np.round(bar[4:] * fraction, 8)
    return np.array([first, max(seen), min(seen), price, *amounts])


class Tape:
    """The bars of one symbol and interval, against a clock.

    Args:
        opens: bar opens in ms, ``(n,)``, rising, on the grid of ``step``.
        bars: ``(n, 6)``: open, high, low, close, volume, turnover.
        step: bar length in ms.
        tick: what prices inside a bar are rounded to.
        base: the finer tape that this one was made of, if any.
    """

    def __init__(
        self,
        opens: np.ndarray,
        bars: np.ndarray,
        step: int,
        tick: float,
        base: Tape | None = None,
    ) -> None:
        self.opens, self.bars, self.step, self.tick, self.base = opens, bars, step, tick, base

    @classmethod
    def of(cls, candles: pd.DataFrame, tick: float) -> Tape:
        """Make a tape of a frame of candles.

        assumption: where no turnover is given, volume trades at the bar's mean price.
        """
        opens = pd.DatetimeIndex(candles.index).as_unit("ms").asi8
        bars = candles.reindex(columns=list(COLUMNS)).to_numpy(np.float64, copy=True)
        missing = np.isnan(bars[:, 5])
        bars[missing, 5] = np.round(bars[missing, 4] * bars[missing, :4].mean(1), 4)
        return cls(opens, bars, int(bar_interval(candles).value // 1_000_000), tick)

    def coarser(self, step: int) -> Tape | None:
        """Return the bars of a longer interval, made of these; None where none begins.

        A first bar that would lack its beginning is left out.
        """
        (begins,) = np.nonzero(self.opens % step == 0)
        if not len(begins):
            return None
        b, first = self.bars[begins[0] :], begins - begins[0]
        bars = np.column_stack(
            [
                b[first, 0],
                np.maximum.reduceat(b[:, 1], first),
                np.minimum.reduceat(b[:, 2], first),
                b[np.append(first[1:], len(b)) - 1, 3],
                np.add.reduceat(b[:, 4], first),
                np.add.reduceat(b[:, 5], first),
            ]
        )
        return Tape(self.opens[begins], bars, step, self.tick, self)

    def at(self, row: int, now: int) -> np.ndarray:
        """Return bar ``row`` as known at ``now``, ``(6,)``."""
        start = int(self.opens[row])
        if start + self.step <= now:
            return self.bars[row]
        if self.base is None:
            return part(self.bars[row], (now - start) / self.step, self.tick)
        low, high = np.searchsorted(self.base.opens, [start, now])
        high = max(high, low + 1)  # a bar that opens just now has its first price
        last = self.base.at(high - 1, now)
        return aggregate(np.vstack([self.base.bars[low : high - 1], last]))

    def last(self, now: int) -> np.ndarray | None:
        """Return the newest bar that has begun, as known at ``now``; None before the first."""
        row = int(np.searchsorted(self.opens, now, "right")) - 1
        return None if row < 0 else self.at(row, now)

    def query(
        self, start: int | None, end: int | None, limit: int, now: int
    ) -> list[tuple[int, np.ndarray]]:
        """Return ``(open ms, bar)`` pairs, newest first, of one page.

        ``start`` is floored to the bar that contains it; bars that open at ``end`` count; of a
        window longer than ``limit`` the newest bars are returned.
        """
        low, high = 0, int(np.searchsorted(self.opens, now, "right"))
        if start is not None:
            low = int(np.searchsorted(self.opens, start - start % self.step))
        if end is not None:
            high = min(high, int(np.searchsorted(self.opens, end, "right")))
        rows = range(high - 1, max(low, high - limit) - 1, -1)
        return [(int(self.opens[row]), self.at(row, now)) for row in rows]


def strings(bar: np.ndarray) -> list[str]:
    """Return a bar's figures as the exchange writes them."""
    return [text(x) for x in bar.tolist()]
