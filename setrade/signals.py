"""Signals: the one record of what a net or a rule wants, and rules that depend on the regime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, integer, number
from setrade.rule_signals import SOURCES, Signal, from_probabilities, momentum, rule_based
from setrade.se import SEBlock

__all__ = [
    "SOURCES",
    "SEMomentum",
    "Signal",
    "blend_by_regime",
    "choose_regimes",
    "from_probabilities",
    "gate_by_regime",
    "momentum",
    "rule_based",
]


class SEMomentum(nn.Module):
    """Momentum: the sum of the newest features, each times its gate and its own signed weight.

    strength = tanh(sum over c of weight_c * gate_c * x_c at the newest bar), in (-1, 1).
    The momentum strategy of the chapter we started from adds up raw features, so that a feature
    in large units decides alone, and one that is never negative never sells. Here they are
    standardised and carry learned signs (source: that strategy, and Hu 2018 for the gate).

    Args:
        channels: number of standardised features, C.
        reduction: of the SE block.
        squeeze: a name in ``se.SQUEEZES``.
    """

    def __init__(self, channels: int, reduction: int = 4, squeeze: str = "mean") -> None:
        super().__init__()
        self.se = SEBlock(channels, reduction, squeeze)
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map standardised windows (B, C, T) to strengths (B,)."""
        return (self.se.gates(x) * x[:, :, -1] @ self.weight).tanh()

    @torch.no_grad()
    def signals(
        self, x: Tensor, times: pd.DatetimeIndex, features: list[str], threshold: float = 0.2
    ) -> list[Signal]:
        """Return one signal a window: long above ``threshold``, short below minus it, else flat.

        Args:
            x: standardised windows (n, C, T).
            times: (n,) opens of the bars at which the windows end.
            features: C names.
            threshold: in [0, 1).
        """
        threshold = number("threshold", threshold, 0, 0.999)
        if len(times) != len(x) or len(features) != x.shape[1]:
            raise ArgumentError("times", times, f"{len(x)} times and {x.shape[1]} features")
        strength = self(x).cpu().double().numpy()  # in this order: Apple's GPUs have no float64
        made = []
        for time, s, gate in zip(times, strength, self.se.gates(x).tolist(), strict=True):
            position = float(np.sign(s)) if abs(s) > threshold else 0.0
            gates = dict(zip(features, gate, strict=True))
            made.append(Signal(time, position, float(abs(s)), None, gates, "se_momentum"))
        return made


# ---- Positions that depend on the regime.
#
# A regime known after bar t may change the position that is filled at the open of t + 1, and
# so the return of bar t + 1. `choose_regimes` learns from that pairing, on training bars.


def _series(name: str, value: object, index: pd.Index | None = None) -> pd.Series:
    """Return a Series of finite numbers on ``index``, or say what is wrong."""
    allowed = "a Series of finite numbers" + ("" if index is None else " on the regime's index")
    if not isinstance(value, pd.Series) or value.empty or value.dtype.kind not in "iuf":
        raise ArgumentError(name, value, allowed)
    if not np.isfinite(value.to_numpy(float)).all():
        raise ArgumentError(name, value, allowed)
    if index is not None and not value.index.equals(index):
        raise ArgumentError(name, value, allowed)
    return value.astype(float)


def _labels(regime: object) -> pd.Series:
    """Return a categorical Series of regimes, or say what is wrong."""
    if not isinstance(regime, pd.Series) or not isinstance(regime.dtype, pd.CategoricalDtype):
        raise ArgumentError("regime", regime, "a categorical Series, as regimes.by_rules gives")
    return regime


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
        Regime -> 1.0 (its mean return is above zero, or it is too rare) or 0.0.

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
    if set(weights) != set(names):
        raise ArgumentError("weights", sorted(weights), f"one for each of {names}")
    factor = np.array([weights[name] for name in names], float)
    if not (np.abs(factor) <= 1).all():
        raise ArgumentError("weights", dict(weights), "numbers in [-1, 1]")
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
    names = list(probabilities.columns)
    if set(positions) != set(names):
        raise ArgumentError("positions", sorted(positions), f"one for each of {names}")
    total = pd.Series(0.0, probabilities.index, name="position")
    for name in names:
        total += probabilities[name] * _series("positions", positions[name], total.index)
    return total.fillna(0.0)
