"""Long bars out of the window of short ones, as known at its end and not a bar earlier."""

from __future__ import annotations

import pandas as pd

from setrade import candles
from setrade.candles.intervals import parse_interval
from setrade.errors import ArgumentError, integer


class Timeframe:
    """Cuts the newest complete bars of one length out of a window of shorter bars.

    A long bar is complete when its last short bar has closed; the one that is forming is left
    out. ``needs`` is how many short bars it takes, wherever the window ends.

    Args:
        interval: length of the bars that are wanted, such as "15min".
        step: length of the window's own bars, such as "1min".
        count: how many are wanted.

    Raises:
        ArgumentError: long bars cannot be made of such short ones.
    """

    def __init__(self, interval: str, step: str, count: int) -> None:
        self.interval, self.count = interval, integer("count", count, 2)
        length, own = parse_interval("interval", interval).value, parse_interval("step", step).value
        if length % own:
            raise ArgumentError("interval", interval, f"bars of {step}, or a multiple")
        self.ratio, self.length = length // own, length
        self.needs = self.count * self.ratio + self.ratio - 1

    def span(self, window: pd.DataFrame) -> pd.DataFrame:
        """Return the short bars that the newest complete long ones are made of.

        Raises:
            ArgumentError: the window is too short.
        """
        if len(window) < self.needs:
            allowed = f"{self.needs} bars or more, for {self.count} of {self.interval}"
            raise ArgumentError("window", window, allowed)
        stamps = window.index[-2:].as_unit("ns").asi8  # type: ignore[attr-defined]
        forming = int(2 * stamps[1] - stamps[0]) % self.length * self.ratio // self.length
        end = len(window) - forming
        return window.iloc[end - self.count * self.ratio : end]

    def __call__(self, window: pd.DataFrame) -> pd.DataFrame:
        """Return the newest ``count`` complete bars.

        Raises:
            ArgumentError: the window is too short.
            CandleError: it has faults.
        """
        bars = self.span(window)
        return bars if self.ratio == 1 else candles.resample(bars, self.interval)
