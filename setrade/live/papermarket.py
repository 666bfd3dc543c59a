"""How a paper broker is shown what happened inside a bar."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd

from setrade.bybit.brokers import PaperBroker

BAND = 1e-3  # how far a bar must trade beyond a resting order to fill it on paper
TICK = 1_000  # ns: the moments of one bar that a paper broker is shown are told apart by these


class PaperMarket:
    """Shows a paper broker the moments of a bar as the backtest sees them, as tiny bars.

    A recorded bar says that a level was reached, not when; so the open, then each level at
    which an order fills, then the close are shown one after another. Moments that the broker's
    own journal has already are not shown again.
    """

    def __init__(self, broker: PaperBroker) -> None:
        self.broker = broker
        told = [e["time"] for e in broker.journal.entries if e["kind"] == "bar"]
        self._newest = pd.Timestamp(told[-1]).value if told else -1

    def next(self, time_ns: int) -> int:
        """Return a time, or the first one after it that has not been shown yet."""
        return max(time_ns, self._newest + TICK)

    def show(self, time_ns: int, price: float) -> None:
        """Show one price."""
        self._tell(time_ns, price, price)

    def through(self, time_ns: int, price: float, side: float) -> None:
        """Trade through a resting order of ``side`` (+1: a buy) at ``price``, from its far side."""
        self._tell(time_ns, price * (1 + side * BAND), price * (1 - side * BAND))

    def _tell(self, time_ns: int, start: float, end: float) -> None:
        """Show a bar that goes from ``start`` to ``end`` and back."""
        if time_ns <= self._newest:
            return
        at, low, high = pd.Timestamp(time_ns, tz="UTC"), min(start, end), max(start, end)
        self.broker.on_bar(SimpleNamespace(time=at, open=start, high=high, low=low, close=start))
        self._newest = time_ns
