"""A small net that names the regime now, and the one that comes next, from past bars.

Its teacher may know the future: hindsight labels (planted truth, or a hidden Markov model's
smoothed states) are legitimate as *targets* of training bars, like any forward return, and
call for the same purge. Its inputs are windows that end at the bar which is named.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.errors import ArgumentError, array, choice, integer
from setrade.models.se_trader import ConvEncoder
from setrade.se import SEBlock
from setrade.se.checks import check_window

ENCODERS = ("conv", "gru")


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
        self.kind = choice("encoder", encoder, ENCODERS)
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
