"""The SE trader: windows of channels -> SE -> encoder -> decision; and a net that names regimes.

Where the gate sits decides what it can say. On the input channels a gate belongs to a named
feature and can be read; after the encoder it belongs to a learned mixture of all features.
Source: J. Hu, L. Shen, G. Sun, Squeeze-and-Excitation Networks (2018), section 3, for the block.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.errors import ArgumentError, array, choice, integer, number
from setrade.se import SQUEEZES, MultiScaleSE, SEBlock, check_finite, check_window

ENCODERS = ("conv", "lstm")
DECISIONS = ("softmax", "tanh")
GATES = ("input", "encoded")
MULTI_SCALE = "multi-scale"


class ConvEncoder(nn.Module):
    """Two 1-D convolutions, padded on the left only: step t sees bars up to t."""

    def __init__(self, channels: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, hidden, kernel)
        self.second = nn.Conv1d(hidden, hidden, kernel)
        self.pad = kernel - 1

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, hidden, T)."""
        x = F.relu(self.first(F.pad(x, (self.pad, 0))))  # (B, hidden, T)
        return F.relu(self.second(F.pad(x, (self.pad, 0))))  # (B, hidden, T)


class LSTMEncoder(nn.Module):
    """One LSTM layer, read at every step."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, hidden, T)."""
        return self.lstm(x.transpose(1, 2))[0].transpose(1, 2)


def _block(
    squeeze: str | None, channels: int, reduction: int, scales: tuple[int, ...]
) -> nn.Module | None:
    """Return the SE block that ``squeeze`` names, or None."""
    if squeeze is None:
        return None
    choice("squeeze", squeeze, (*SQUEEZES, MULTI_SCALE))
    if squeeze == MULTI_SCALE:
        return MultiScaleSE(channels, scales=scales, reduction=reduction)
    return SEBlock(channels, reduction=reduction, squeeze=squeeze)


class SETrader(nn.Module):
    """A small net that answers sell, hold or buy, or a position, from a window of channels.

    The parts draw their weights in the order encoder, decision, SE block. Two nets built from one
    seed therefore share every weight outside the block, and ``squeeze=None`` is a baseline that
    differs in nothing else.

    Args:
        channels: number of input channels, C.
        encoder: "conv" (two causal 1-D convolutions) or "lstm".
        squeeze: a name in ``se.SQUEEZES``, "multi-scale", or None for no SE block.
        gate: "input" gates the named channels before the encoder mixes them (readable), "encoded"
            gates the encoder's outputs, where the chapter we started from drew the block.
        decision: "softmax" (three logits: 0 sell, 1 hold, 2 buy) or "tanh" (a position).
        hidden: width of the encoder.
        reduction: of the SE block.
        scales: bars, for "multi-scale" only.
        dropout: before the decision.

    Raises:
        ArgumentError: names the argument that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        *,
        encoder: str = "conv",
        squeeze: str | None = "mean",
        gate: str = "input",
        decision: str = "softmax",
        hidden: int = 16,
        reduction: int = 4,
        scales: tuple[int, ...] = (5, 15, 60),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, hidden = integer("channels", channels, 1), integer("hidden", hidden, 1)
        choice("encoder", encoder, ENCODERS)
        self.gate = choice("gate", gate, GATES)
        self.decision = choice("decision", decision, DECISIONS)
        self.encoder = {"conv": ConvEncoder, "lstm": LSTMEncoder}[encoder](channels, hidden)
        self.dropout = nn.Dropout(number("dropout", dropout, 0, 0.99))
        self.head = nn.Linear(2 * hidden, 3 if decision == "softmax" else 1)
        self.se = _block(squeeze, channels if gate == "input" else hidden, reduction, scales)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, C, T), newest bar last, to logits (B, 3) or positions (B,) in [-1, 1]."""
        self._check(x)
        if self.se is not None and self.gate == "input":
            x = self.se(x)  # (B, C, T)
        x = self.encoder(x)  # (B, hidden, T)
        if self.se is not None and self.gate == "encoded":
            x = self.se(x)  # (B, hidden, T)
        x = torch.cat([x[:, :, -1], x.mean(2)], dim=1)  # (B, 2 * hidden): newest, and average
        x = self.head(self.dropout(x))  # (B, 3) or (B, 1)
        return x if self.decision == "softmax" else x[:, 0].tanh()

    def gates(self, x: Tensor) -> Tensor:
        """Return the gates in (0, 1) for windows (B, C, T): (B, C), or (B, hidden) if encoded."""
        self._check(x)
        if self.se is None:
            raise ArgumentError("squeeze", None, "a net with an SE block: this one has no gates")
        return cast(SEBlock, self.se).gates(x if self.gate == "input" else self.encoder(x))

    def twin(self) -> SETrader:
        """Return a copy without the SE block that shares, for now, every other weight's value."""
        other = deepcopy(self)
        other.se = None
        return other

    def _check(self, x: Tensor) -> None:
        """Raise unless ``x`` is (B, channels, T) of the weights' dtype, not empty and finite."""
        check_window(x, self.channels, self.head.weight.dtype)
        check_finite(x.detach().sum(2))


# ---- The regime now, and the one that comes next.
#
# The teacher may know the future: hindsight labels (planted truth, or a hidden Markov model's
# smoothed states) are legitimate as *targets* of training bars, like any forward return, and
# call for the same purge. Its inputs are windows that end at the bar which is named.


REGIME_ENCODERS = ("conv", "gru")


class TemporalRegimes(nn.Module):
    """Windows of channels -> SE -> encoder -> two answers: the regime now, the regime later.

    Args:
        channels: number of input channels, C.
        classes: number of regimes, K.
        encoder: "conv" (two causal convolutions, read at the newest step and averaged) or "gru"
            (read at the newest step).
        hidden: width of the encoder.
        squeeze: a name in ``se.SQUEEZES`` for a gate on the input channels, or None.

    Raises:
        ArgumentError: names the argument that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        encoder: str = "conv",
        hidden: int = 16,
        squeeze: str | None = "mean",
    ) -> None:
        super().__init__()
        self.channels, self.classes = (
            integer("channels", channels, 1),
            integer("classes", classes, 2),
        )
        hidden = integer("hidden", hidden, 1)
        self.kind = choice("encoder", encoder, REGIME_ENCODERS)
        if self.kind == "gru":
            self.encoder = nn.GRU(channels, hidden, batch_first=True)
        else:
            self.encoder = ConvEncoder(channels, hidden)
        self.head = nn.Linear(hidden if self.kind == "gru" else 2 * hidden, 2 * classes)
        self.se = None if squeeze is None else SEBlock(channels, 2, squeeze)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, C, T), newest bar last, to logits (B, 2, K): now, later."""
        check_window(x, self.channels, self.head.weight.dtype)
        if self.se is not None:
            x = self.se(x)  # (B, C, T)
        if self.kind == "gru":
            x = self.encoder(x.transpose(1, 2))[0][:, -1]  # (B, hidden)
        else:
            x = self.encoder(x)  # (B, hidden, T)
            x = torch.cat([x[:, :, -1], x.mean(2)], dim=1)  # (B, 2 * hidden)
        return self.head(x).unflatten(1, (2, self.classes))  # (B, 2, K)


class NowAndLater:
    """Training examples with two targets: the regime at a window's end, and ``horizon`` later.

    Args:
        windows: examples whose targets are the regime's codes at ``ends`` (a ``WindowSet``).
        codes: (n,) regime of every bar, 0 … K - 1.
        ends: (m,) bar numbers at which the windows end.
        horizon: bars ahead, at least 1.

    Raises:
        ArgumentError: a target lies beyond the last bar, or is no code.
    """

    def __init__(self, windows: Any, codes: np.ndarray, ends: np.ndarray, horizon: int) -> None:
        codes = array("codes", codes, ndim=1, finite=False).astype(float)
        later = array("ends", ends, ndim=1) + integer("horizon", horizon, 1)
        if later.max() >= len(codes) or len(ends) != len(windows):
            raise ArgumentError("ends", ends, f"{len(windows)} bars, ends + horizon < {len(codes)}")
        if not np.isfinite(codes[later]).all() or codes[later].min() < 0:
            raise ArgumentError("codes", codes, "a code >= 0 at every end + horizon")
        self.windows, self.later = windows, torch.from_numpy(codes[later].astype(np.int64))

    def __len__(self) -> int:
        return len(self.later)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows (B, C, T) and targets (B, 2): now, later."""
        x, now = self.windows.batch(rows)
        return x, torch.stack([now, self.later[rows]], dim=1)


def regime_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, 2, K) against codes (B, 2)."""
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())
