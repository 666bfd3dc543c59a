"""Follow a move: with learned gates and weights, or by a plain rule.

The momentum strategy of the chapter we started from adds up raw features, so that a feature
in large units decides alone and one that is never negative never sells. Here features are
standardised and carry learned signed weights (source: that strategy, and Hu 2018 for the gate).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from setrade.candles import check
from setrade.errors import ArgumentError, integer, number
from setrade.se import SEBlock

from .record import Signal


class SEMomentum(nn.Module):
    """The sum of the newest features, each times its gate and its own signed weight.

    strength = tanh(sum over c of weight_c * gate_c * x_c at the newest bar), in (-1, 1).

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
    log_price = pd.Series(np.log(candles["close"].to_numpy(float)), candles.index)
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
