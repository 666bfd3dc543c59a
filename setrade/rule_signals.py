"""The signal, one record of what a net or a rule says, and the plain momentum rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.candles import check
from setrade.errors import ArgumentError, array, choice, integer, number
from setrade.labels import CLASSES

SOURCES = ("net", "se_momentum", "rule", "ensemble")


@dataclass(frozen=True)
class Signal:
    """What is wanted after the bar that opened at ``time``: to be filled at the next bar's open.

    ``position`` is a fraction of equity in [-1, 1], ``confidence`` in [0, 1], ``probabilities``
    of sell, hold and buy (None from a rule), ``attention`` a gate by feature (None without
    gates), ``source`` one of ``SOURCES``, ``model`` the name of the model that spoke, where
    there are several, ``agreement`` the share of an ensemble that agrees (NaN from one alone).
    """

    time: pd.Timestamp
    position: float
    confidence: float
    probabilities: tuple[float, float, float] | None = None
    attention: dict[str, float] | None = None
    source: str = "net"
    model: str = ""
    agreement: float = math.nan

    def __post_init__(self) -> None:
        p, c = self.position, self.confidence
        if type(p) is type(c) is float and -1 <= p <= 1 and 0 <= c <= 1 and self.source in SOURCES:
            return  # one is made a bar: what is sound costs no call
        number("position", self.position, -1, 1)
        number("confidence", self.confidence, 0, 1)
        choice("source", self.source, SOURCES)

    def __eq__(self, other: object) -> bool:
        # From 3.13 on a dataclass asks each field, and NaT (pictures alone have no time) says no.
        return vars(self) == vars(other) if isinstance(other, Signal) else NotImplemented

    @property
    def direction(self) -> str:
        """Return "sell", "hold" or "buy", by the sign of the position."""
        return CLASSES[int(np.sign(self.position)) + 1]


def from_probabilities(
    time: pd.Timestamp,
    probabilities: np.ndarray,
    *,
    threshold: float = 0.0,
    attention: dict[str, float] | None = None,
    source: str = "net",
) -> Signal:
    """Return the signal of one example's class probabilities.

    The position is P(buy) - P(sell), and 0 where its size does not exceed ``threshold``; the
    confidence is the largest probability.

    Args:
        time: open of the bar that was decided on.
        probabilities: (3,) of sell, hold, buy; they sum to 1.
        threshold: in [0, 1].
        attention: gate by feature.
        source: one of ``SOURCES``.
    """
    p = array("probabilities", probabilities, ndim=1).astype(float)
    if p.shape != (3,) or p.min() < 0 or abs(p.sum() - 1) > 1e-4:
        raise ArgumentError("probabilities", p, "sell, hold, buy: three shares that sum to 1")
    lean = float(p[2] - p[0])
    position = lean if abs(lean) > number("threshold", threshold, 0, 1) else 0.0
    return Signal(time, position, float(p.max()), (p[0], p[1], p[2]), attention, source)


def momentum(candles: pd.DataFrame, *, lookback: int = 48, threshold: float = 0.5) -> pd.Series:
    """Return the plain rule beside it: follow a move that is large for its own volatility.

    The move of the last ``lookback`` bars is divided by what a random walk of the same returns
    would make of it; the position is +1 above ``threshold``, -1 below minus it, else 0.

    Args:
        candles: n checked bars.
        lookback: bars, at least 2.
        threshold: in standard deviations, >= 0.

    Returns:
        Positions (n,) after each bar; 0 while there is too little history, and on a flat price.
    """
    check(candles)
    lookback = integer("lookback", lookback, 2, len(candles) - 1)
    threshold = number("threshold", threshold, 0)
    return follow_moves(candles["close"], lookback, threshold)


def follow_moves(close: pd.Series, lookback: int, threshold: float) -> pd.Series:
    """Return what `momentum` returns, of closes and settings that have been checked."""
    log_price = pd.Series(np.log(close.to_numpy(float)), close.index)
    steps = log_price.diff()
    spread = steps.rolling(lookback).std() * np.sqrt(lookback)
    # Equal steps leave a rounding error of 1e-18 as their spread: no volatility to compare with.
    move = log_price.diff(lookback) / spread.where(spread > 1e-12)
    position = np.sign(move).where(move.abs() > threshold, 0.0)
    return position.fillna(0.0).rename("position")


def rule_based(candles: pd.DataFrame, *, lookback: int = 48, threshold: float = 0.5) -> Signal:
    """Return the newest bar's momentum as a `Signal`: what is left when every net has failed."""
    position = momentum(candles, lookback=lookback, threshold=threshold)
    last = float(position.iloc[-1])
    return Signal(candles.index[-1], last, abs(last), source="rule")
