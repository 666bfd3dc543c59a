"""Momentum as a net: features weighted by their gates, and the signal that follows from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, number, timed
from setrade.se import SEBlock, check_window
from setrade.signals import Signal


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
        check_window(x, len(self.weight))
        if not isinstance(times, pd.Index) or not isinstance(features, list | tuple):
            raise ArgumentError("times", times, "an index of times; and features, a list of names")
        if len(timed("times", times)) != len(x) or len(features) != x.shape[1]:
            raise ArgumentError("times", times, f"{len(x)} times and {x.shape[1]} features")
        strength = self(x).cpu().double().numpy()  # in this order: Apple's GPUs have no float64
        made = []
        for time, s, gate in zip(times, strength, self.se.gates(x).tolist(), strict=True):
            position = float(np.sign(s)) if abs(s) > threshold else 0.0
            gates = dict(zip(features, gate, strict=True))
            made.append(Signal(time, position, float(abs(s)), None, gates, "se_momentum"))
        return made
