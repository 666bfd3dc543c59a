"""The squeeze-and-excitation block, at one scale and at several (Hu 2018, sections 3.1-3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, integer
from setrade.se.checks import check_window, tracing
from setrade.se.squeezes import Squeeze, make_squeeze


class Excitation(nn.Module):
    """Two linear layers with a ReLU between, through ``max(1, channels // reduction)`` units.

    Weights are drawn from torch's generator with mean 0 and standard deviation
    ``sqrt(2 / (in + out))`` (Glorot), biases start at 0. Linear layers on the pooled vector,
    not 1x1 convolutions on a pooled map: equal to rounding and faster.

    Args:
        channels: number of channels C.
        reduction: the ratio r between channels and hidden units, at least 1.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.channels = integer("channels", channels, 1)
        self.hidden = max(1, self.channels // integer("reduction", reduction, 1))
        self.reduce = nn.Linear(self.channels, self.hidden)
        self.expand = nn.Linear(self.hidden, self.channels)
        for layer in (self.reduce, self.expand):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Return the gates' logits ``(B, C)`` for the squeezed ``z`` ``(B, C)``."""
        return self.expand(self.reduce(z).relu())


class SEBlock(nn.Module):
    """Multiply each channel by a gate in (0, 1) computed from all channels of the window.

    Args:
        channels: number of channels C.
        reduction: ratio r; the hidden layer has ``max(1, C // r)`` units.
        squeeze: a name from ``SQUEEZES``, or a ``Squeeze`` of C channels.

    Raises:
        ArgumentError: naming the argument that is of the wrong type or out of range.
    """

    def __init__(self, channels: int, reduction: int = 4, squeeze: str | Squeeze = "mean") -> None:
        super().__init__()
        self.excite = Excitation(channels, reduction)
        self.channels = self.excite.channels
        self.squeeze = make_squeeze(squeeze, self.channels)

    def gates(self, x: Tensor) -> Tensor:
        """Return the gates ``(B, C)`` of the windows ``x`` ``(B, C, T)``."""
        check_window(x, self.channels, self.excite.reduce.weight.dtype)
        return self.excite(self.squeeze(x)).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, C, T)`` with each channel multiplied by its gate."""
        return x * self.gates(x)[:, :, None]


class MultiScaleSE(nn.Module):
    """One SE block a scale, each on its own newest bars, fused by learned weights.

    A scale of 15 squeezes the newest 15 bars of the window. The fused gate of a channel is a
    weighted mean of its gates at the scales; the weights are a softmax over the scales, one
    set a channel, learned, equal at the start. So every scale takes part and the fused gate
    stays in (0, 1).

    Args:
        channels: number of channels C.
        scales: distinct lengths in bars, none longer than the windows to come.
        reduction: ratio r of each block.
        squeeze: a name from ``SQUEEZES``, used at every scale.

    Raises:
        ArgumentError: naming the argument; ``scales`` when a window is shorter than a scale.
    """

    def __init__(
        self,
        channels: int,
        scales: Sequence[int] = (5, 15, 60),
        reduction: int = 4,
        squeeze: str = "mean",
    ) -> None:
        super().__init__()
        if not isinstance(scales, Sequence) or isinstance(scales, str) or not len(scales):
            raise ArgumentError("scales", scales, "at least one length in bars")
        self.scales = tuple(integer("scales", s, 1) for s in scales)
        if len(set(self.scales)) < len(self.scales):
            raise ArgumentError("scales", scales, "distinct lengths in bars")
        if isinstance(squeeze, Squeeze):  # one object at all scales would share its weights
            raise ArgumentError("squeeze", squeeze, "a name: each scale makes its own")
        self.blocks = nn.ModuleList(SEBlock(channels, reduction, squeeze) for _ in self.scales)
        self.channels = integer("channels", channels, 1)
        self.fusion = nn.Parameter(torch.zeros(len(self.scales), self.channels))

    def fusion_weights(self) -> Tensor:
        """Return how much each scale counts in each channel, ``(scales, C)``; columns sum to 1."""
        return self.fusion.softmax(0)

    def scale_gates(self, x: Tensor) -> Tensor:
        """Return the gates of every scale before fusion, ``(B, scales, C)``."""
        check_window(x, self.channels, self.fusion.dtype)
        if not tracing() and x.shape[-1] < max(self.scales):
            allowed = f"no scale longer than the window of {x.shape[-1]} bars"
            raise ArgumentError("scales", self.scales, allowed)
        parts = [
            block.gates(x[..., -scale:])  # type: ignore[operator]
            for block, scale in zip(self.blocks, self.scales, strict=True)
        ]
        return torch.stack(parts, 1)

    def gates(self, x: Tensor) -> Tensor:
        """Return the fused gates ``(B, C)`` of the windows ``x`` ``(B, C, T)``."""
        return (self.scale_gates(x) * self.fusion_weights()).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, C, T)`` with each channel multiplied by its fused gate."""
        return x * self.gates(x)[:, :, None]
