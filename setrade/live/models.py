"""The book's nets and its rule as models of the pipeline, each on bars of its own length.

A net is asked on bars of the length that it was trained on, made of the pipeline's shorter ones
(1 minute into 15, say); between two of them its answer stands. An `Ensemble` pools several
timeframes and says how far they agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import pandas as pd

from setrade import candles
from setrade.channels import WARM_UP
from setrade.errors import ArgumentError
from setrade.inference import Predictor, Spec, from_candles
from setrade.models import TimeframeEnsemble
from setrade.models.timeframes import directions
from setrade.pictures import encoder
from setrade.signals import Signal, rule_based

from .timeframe import Timeframe


@dataclass(frozen=True)
class Answer:
    """What a model says: `Signal`'s fields, the model's name as source, and the agreement."""

    position: float
    confidence: float
    source: str
    probabilities: tuple[float, float, float] | None = None
    attention: dict[str, float] | None = None
    agreement: float = nan


class Net:
    """A `Predictor` on the newest complete bars.

    Args:
        predictor: the net and how it is fed.
        step: length of the window's bars.
        interval: bars that the net is given; None: those that it was trained on.
        foreign: let it be other ones; its answers then mean nothing (for timing).

    ``needs`` is how many bars the window must have. Pictures are drawn into a kept buffer.

    Raises:
        ArgumentError: bars that the net was not trained on, or that cannot be made.
    """

    def __init__(
        self, predictor: Predictor, step: str, *, interval: str | None = None,
        foreign: bool = False,
    ) -> None:  # fmt: skip
        trained = predictor.spec.interval
        if interval not in (None, trained) and not foreign:
            raise ArgumentError("interval", interval, f"{trained}: the net was trained on no other")
        self.predictor = predictor
        self.spec: Spec = replace(predictor.spec, interval=interval or trained)
        self.frame = Timeframe(self.spec.interval, step, history(self.spec))
        self.needs = self.frame.needs
        self._drawn: np.ndarray | None = None
        self._last: tuple[pd.Timestamp, np.ndarray, Signal] | None = None

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return the signal after the newest complete bar."""
        span = self.frame.span(window)
        newest, figures = span.index[-1], span.to_numpy()
        last = self._last
        if last is not None and last[0] == newest and np.array_equal(last[1], figures):
            return last[2]  # nothing new has closed
        bars = self.frame(window)
        signal = self.predictor.predict(self.images(bars), [bars.index[-1]])[0]
        self._last = newest, figures.copy(), signal
        return signal

    def images(self, bars: pd.DataFrame) -> np.ndarray:
        """Return what the net is given after the newest of its bars, one example."""
        given, length = self.spec.preprocessing, self.frame.count
        if self.spec.kind == "windows":
            return from_candles(bars, self.spec, 1)[0]
        draw = encoder(given["encoder"], self.spec.input_shape[-1], **given["options"]).draw
        self._drawn = draw(candles.windows(bars, length), out=self._drawn)
        return self._drawn


def history(spec: Spec) -> int:
    """Return how many bars a net's input is made of.

    Windows of channels get their warm-up twice: after it once, averages that never forget
    still tell where the window began, in the fifth digit of a probability.
    """
    if spec.kind == "pictures":
        return int(spec.preprocessing["bars"])
    return spec.input_shape[1] + 2 * WARM_UP


class Rule:
    """The plain momentum rule, on bars of any length.

    Args:
        step: length of the window's bars. interval: of those that it looks at; None: the same.
        lookback, threshold: as `signals.momentum` takes them.
    """

    def __init__(
        self, step: str, *, interval: str | None = None, lookback: int = 48, threshold: float = 0.5
    ) -> None:
        self.frame = Timeframe(interval or step, step, lookback + 1)
        self.needs, self.lookback, self.threshold = self.frame.needs, lookback, threshold

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return the signal after the newest complete bar."""
        bars = self.frame(window)
        return rule_based(bars, lookback=self.lookback, threshold=self.threshold)


class Ensemble:
    """Members pooled with equal weights, with the share of them that points where the pool does.

    Args:
        members: each a `Net` or a `Rule`; two at least.

    ``needs`` is the most that a member needs.
    """

    def __init__(self, members: Sequence[Net | Rule]) -> None:
        if len(members) < 2:
            raise ArgumentError("members", members, "two models or more")
        self.members, self.needs = tuple(members), max(m.needs for m in members)
        names = tuple(f"{type(m).__name__} {m.frame.interval}" for m in members)
        self.pool = TimeframeEnsemble.equal(names)

    def __call__(self, window: pd.DataFrame) -> Answer:
        """Return the pooled answer; its ``agreement`` is in [0, 1]."""
        said = [member(window) for member in self.members]
        shares = np.array([[share(signal) for signal in said]])  # (1, members, 3)
        sell, hold, buy = map(float, self.pool.combine(shares)[0])
        agreement = float((directions(shares)[0] == np.sign(buy - sell)).mean())
        gates = next((s.attention for s in said if s.attention), None)
        p = (sell, hold, buy)
        return Answer(buy - sell, max(p), "ensemble", p, gates, agreement)


def share(signal: Signal) -> tuple[float, float, float]:
    """Return probabilities of sell, hold and buy; a rule's position counts as certainty."""
    if signal.probabilities is not None:
        return signal.probabilities
    up, down = max(signal.position, 0.0), max(-signal.position, 0.0)
    return down, 1.0 - up - down, up
