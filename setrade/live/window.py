"""The newest bars, as the model sees them, and what a model is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, integer, number

from .schema import Bar, Wish


class Signal(Protocol):
    """What a model answers: `signals.Signal` is one."""

    @property
    def position(self) -> float: ...
    @property
    def confidence(self) -> float: ...
    @property
    def source(self) -> str: ...


# From candles, or from what the features stage makes of them, to a signal.
Model = Callable[[Any], Signal]
Features = Callable[[pd.DataFrame], Any]


class ModelError(RuntimeError):
    """The model failed, or said something that is no signal; the cause is chained."""


class Window:
    """The newest ``length`` bars without a hole."""

    def __init__(self, length: int) -> None:
        self.length = integer("window", length, 2)
        self._bars: deque[Bar] = deque(maxlen=self.length)

    def push(self, bars: Iterable[Bar]) -> None:
        """Take bars in, oldest first."""
        self._bars.extend(bars)

    def clear(self) -> None:
        """Forget all: bars are missing."""
        self._bars.clear()

    @property
    def whole(self) -> bool:
        """True when it holds as many bars as the model wants."""
        return len(self._bars) == self.length

    def frame(self) -> pd.DataFrame:
        """Return the window as candles, a copy."""
        table = np.array(self._bars, dtype=np.float64)
        times = np.array([bar.time for bar in self._bars], dtype=np.int64)
        index = pd.DatetimeIndex(times, tz="UTC", name="time")
        return pd.DataFrame(table[:, 1:], index, list(Bar._fields[1:]))


def ask(model: Model, features: Features | None, window: Window, limit: float) -> Wish:
    """Return what the model says about a window.

    Args:
        model: gets the candles, or what ``features`` makes of them.
        limit: largest position allowed.

    Raises:
        ModelError: it raised, or its position or confidence is out of range.
    """
    try:
        x: Any = window.frame()
        signal = model(x if features is None else features(x))
        return Wish(
            number("position", signal.position, -limit, limit),
            number("confidence", signal.confidence, 0.0, 1.0),
            str(signal.source),
        )
    except Exception as error:  # whatever it is, nothing may be traded on it
        raise ModelError(f"the model failed: {type(error).__name__}: {error}") from error


def bars_of(candles: pd.DataFrame) -> list[Bar]:
    """Return the rows of candles as bars."""
    if not isinstance(candles, pd.DataFrame) or not isinstance(candles.index, pd.DatetimeIndex):
        raise ArgumentError("candles", candles, "a DataFrame of candles")
    times = candles.index.as_unit("ns").asi8.tolist()
    rows = candles[list(Bar._fields[1:])].to_numpy(np.float64).tolist()
    return [Bar(time, *row) for time, row in zip(times, rows, strict=True)]
