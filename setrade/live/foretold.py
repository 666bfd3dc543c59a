"""For replays: a net's answers to a whole recording, worked out in batches beforehand."""

from __future__ import annotations

import pandas as pd

from setrade import candles
from setrade.candles.intervals import bar_interval
from setrade.errors import ArgumentError, integer
from setrade.inference import from_candles
from setrade.signals import Signal

from .models import Net


class Foretold:
    """A model that looks its answers up; each was made of bars that had closed by then.

    Args:
        net: whose answers they are.
        recorded: candles that the pipeline will replay, without a hole.
        batch: inputs that are made at a time.

    Batches change the last digits of an answer (by about 1e-7), nothing else.

    Raises:
        ArgumentError: bars of another length than the net's model was made for, or too few.
    """

    def __init__(self, net: Net, recorded: pd.DataFrame, *, batch: int = 2_048) -> None:
        step = bar_interval(recorded).value
        if step * net.frame.ratio != net.frame.length:
            raise ArgumentError("recorded", recorded, "bars of the length that the net expects")
        self.net, self.needs = net, net.needs
        bars = recorded if net.frame.ratio == 1 else candles.resample(recorded, net.spec.interval)
        self._signals: dict[int, Signal] = {}
        size, before = integer("batch", batch, 1), net.frame.count - 1
        for first in range(before, len(bars), size):
            part = bars.iloc[first - before : first + size]
            images, times = from_candles(part, net.spec, len(part) - before)
            signals = net.predictor.predict(images, times)
            opens = times.as_unit("ns").asi8.tolist()
            self._signals.update(zip(opens, signals, strict=True))

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return the answer after the newest complete bar of the window."""
        stamps = window.index[-2:].as_unit("ns").asi8  # type: ignore[attr-defined]
        end, length = int(2 * stamps[1] - stamps[0]), self.net.frame.length
        signal = self._signals.get(end - end % length - length)
        if signal is None:
            raise ArgumentError("window", window, f"{self.needs} bars or more of the recording")
        return signal
