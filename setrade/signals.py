"""Signals: the one record of what a net or a rule wants, the plain rule, and rules by regime."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.candles import check
from setrade.errors import ArgumentError, array, choice, integer, number, same_index, timed
from setrade.labels import CLASSES

__all__ = [
    "SOURCES", "Signal", "blend_by_regime", "choose_regimes", "from_probabilities",
    "gate_by_regime", "momentum", "rule_based",
]  # fmt: skip

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
        p, c, who = self.position, self.confidence, self.source
        plain = type(p) is type(c) is float and type(who) is str
        if plain and -1 <= p <= 1 and 0 <= c <= 1 and who in SOURCES:
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

    The position is P(buy) - P(sell), and 0 where its size does not exceed ``threshold`` or the
    two tie; the confidence is the largest probability.

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
    choice("source", source, SOURCES)
    position = lean if abs(lean) > number("threshold", threshold, 0, 1) else 0.0
    return Signal(time, position, float(p.max()), (p[0], p[1], p[2]), attention, source)


def momentum(candles: pd.DataFrame, *, lookback: int = 48, threshold: float = 0.5) -> pd.Series:
    """Return the plain rule: follow a move that is large for its own volatility.

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


# ---- Positions that depend on the regime.
#
# A regime known after bar t may change the position that is filled at the open of t + 1, and
# so the return of bar t + 1. `choose_regimes` learns from that pairing, on training bars.


def _series(name: str, value: object, index: pd.Index | None = None) -> pd.Series:
    """Return a Series of finite numbers on ``index``, or say what is wrong."""
    allowed = "a Series of finite numbers" + ("" if index is None else " on the regime's index")
    if not isinstance(value, pd.Series) or value.empty or value.dtype.kind not in "iuf":
        raise ArgumentError(name, value, allowed)
    timed(name, value, needed=False)
    array(name, value, ndim=1)
    if index is None:
        return value.astype(float)
    if not same_index(value.index, index):
        raise ArgumentError(name, value, allowed)
    return pd.Series(value.to_numpy(float), index)  # one spelling of UTC: pandas aligns by it


def _labels(regime: object) -> pd.Series:
    """Return a categorical Series of regimes, or say what is wrong."""
    if not isinstance(regime, pd.Series) or not isinstance(regime.dtype, pd.CategoricalDtype):
        raise ArgumentError("regime", regime, "a categorical Series, as regimes.by_rules gives")
    return timed("regime", regime, needed=False)


def choose_regimes(
    returns: pd.Series, regime: pd.Series, *, min_bars: int = 200
) -> dict[str, float]:
    """Return which regimes a strategy earned in, after costs, on training bars.

    Args:
        returns: (n,) what the strategy's account earned in each bar, costs paid; from the
            training span only.
        regime: (n,) categorical, known **after** each bar, on the same index. The return of a
            bar is put down to the regime known before it.
        min_bars: a regime with fewer bars is kept as it is: too little to judge by.

    Returns:
        Regime -> 1.0 (its mean return is above zero, or it is too rare) or 0.0: a strategy that
        stayed flat earned nothing there.

    Raises:
        ArgumentError: names the argument that cannot be used.
    """
    known = _labels(regime).shift(1)
    returns = _series("returns", returns, regime.index)
    min_bars = integer("min_bars", min_bars, 1)
    names = list(regime.cat.categories)
    groups = returns.groupby(known, observed=False)
    mean, count = groups.mean(), groups.size()
    return {n: float(count[n] < min_bars or mean[n] > 0) for n in names}


def gate_by_regime(
    position: pd.Series, regime: pd.Series, weights: Mapping[str, float]
) -> pd.Series:
    """Return a position times the weight of the regime known after each bar.

    Args:
        position: (n,) in [-1, 1].
        regime: (n,) categorical, known after each bar, on the same index.
        weights: one a regime, in [-1, 1]; 0 stands aside, -1 does the opposite.

    Returns:
        (n,); 0 where the regime is missing.

    Raises:
        ArgumentError: names the argument, or the regime that has no weight.
    """
    labels = _labels(regime)
    position = _series("position", position, regime.index)
    names = list(labels.cat.categories)
    if not isinstance(weights, Mapping) or set(weights) != set(names):
        raise ArgumentError("weights", weights, f"one for each of {names}")
    factor = np.array([number("weights", weights[name], -1, 1) for name in names])
    codes = labels.cat.codes.to_numpy()
    scaled = np.where(codes >= 0, factor[codes], 0.0) * position.to_numpy()
    return pd.Series(scaled + 0.0, position.index, name="position")  # + 0.0: no minus zero


def blend_by_regime(positions: Mapping[str, pd.Series], probabilities: pd.DataFrame) -> pd.Series:
    """Return the expected position: each regime's own rule times the regime's probability.

    Args:
        positions: regime -> (n,) position of the rule for that regime.
        probabilities: (n, k) filtered probabilities, a column a regime.

    Returns:
        (n,); 0 where the probabilities are missing.

    Raises:
        ArgumentError: names the argument that cannot be used.
    """
    if not isinstance(probabilities, pd.DataFrame) or probabilities.empty:
        raise ArgumentError("probabilities", probabilities, "a DataFrame, a column a regime")
    timed("probabilities", probabilities, needed=False)
    shares, names = array("probabilities", probabilities, finite=False), list(probabilities.columns)
    if (shares < 0).any() or (np.abs(shares.sum(axis=1) - 1) > 1e-6).any():  # NaN: missing
        raise ArgumentError("probabilities", probabilities, "shares, rows of 1 in all or NaN")
    if not isinstance(positions, Mapping) or set(positions) != set(names):
        raise ArgumentError("positions", positions, f"one for each of {names}")
    total = pd.Series(0.0, probabilities.index, name="position")
    for name, share in zip(names, shares.T, strict=True):
        total += share * _series("positions", positions[name], total.index)
    return total.fillna(0.0)
