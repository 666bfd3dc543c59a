"""Gates over channels and over bars: scSE beside each other, CBAM one after the other.

Sources: Roy, Navab, Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation in Fully
Convolutional Networks", MICCAI 2018, https://arxiv.org/abs/1803.02579; Woo, Park, Lee, Kweon,
"CBAM: Convolutional Block Attention Module", ECCV 2018, https://arxiv.org/abs/1807.06521.
Where the papers gate the places of a picture, these gate the bars of a window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from setrade.errors import ArgumentError, choice, integer
from setrade.se.block import Excitation, SEBlock
from setrade.se.checks import check_window
from setrade.se.squeezes import SQUEEZES, Squeeze

COMBINE = {"add": torch.add, "max": torch.maximum}


class ConcurrentSE(nn.Module):
    """scSE: the window gated by channel and, beside it, gated by bar; the two combined.

    The gate of a bar is one linear score of that bar's channels through a sigmoid, so it
    depends on no other bar (Roy 2018, section 2.2).

    Args:
        channels: number of channels C.
        reduction: ratio r of the channel gates.
        squeeze: a name from ``SQUEEZES`` or a ``Squeeze``, for the channel gates.
        combine: ``"add"`` as in the paper, or ``"max"`` of the two, element by element.

    Raises:
        ArgumentError: naming the argument that is of the wrong type or out of range.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 4,
        squeeze: str | Squeeze = "mean",
        combine: str = "add",
    ) -> None:
        super().__init__()
        self.block = SEBlock(channels, reduction, squeeze)
        self.combine = choice("combine", combine, COMBINE)
        self.score = nn.Linear(self.block.channels, 1)
        nn.init.xavier_normal_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def gates(self, x: Tensor) -> Tensor:
        """Return the channel gates ``(B, C)``."""
        return self.block.gates(x)

    def time_gates(self, x: Tensor) -> Tensor:
        """Return the gates of the bars ``(B, T)``."""
        check_window(x, self.block.channels, self.score.weight.dtype)
        return self.score(x.transpose(1, 2)).squeeze(-1).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return the two gated windows combined, ``(B, C, T)``."""
        by_channel = x * self.gates(x)[:, :, None]
        return COMBINE[self.combine](by_channel, x * self.time_gates(x)[:, None, :])


class CBAM(nn.Module):
    """Channel gates from mean and max through one shared net, then gates over the bars.

    The gate of a bar comes from a convolution over the mean and the largest channel of the
    bars around it (Woo 2018, equations 2 and 3, without the batch norm of the authors' code).
    The paper pads on both sides: then the newest bars, which matter most, are judged half by
    padding. By default all padding goes to the old side, and a bar's gate looks only back.

    Args:
        channels: number of channels C.
        reduction: ratio r of the shared net.
        kernel: length of the convolution in bars, odd; 7 in the paper.
        causal: False pads on both sides, as in the paper.

    Raises:
        ArgumentError: naming the argument that is of the wrong type or out of range.
    """

    def __init__(
        self, channels: int, reduction: int = 4, kernel: int = 7, causal: bool = True
    ) -> None:
        super().__init__()
        self.excite = Excitation(channels, reduction)
        self.channels = self.excite.channels
        self.mean, self.max = SQUEEZES["mean"](channels), SQUEEZES["max"](channels)
        if integer("kernel", kernel, 1) % 2 == 0:
            raise ArgumentError("kernel", kernel, "an odd number of bars")
        side = (kernel - 1) // 2
        self.padding = (kernel - 1, 0) if causal else (side, side)
        self.conv = nn.Conv1d(2, 1, kernel)
        nn.init.xavier_normal_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def gates(self, x: Tensor) -> Tensor:
        """Return the channel gates ``(B, C)``."""
        check_window(x, self.channels, self.conv.weight.dtype)
        return (self.excite(self.mean(x)) + self.excite(self.max(x))).sigmoid()

    def time_gates(self, x: Tensor) -> Tensor:
        """Return the gates of the bars ``(B, T)`` for windows already gated by channel."""
        check_window(x, self.channels, self.conv.weight.dtype)
        pooled = torch.stack([x.mean(1), x.amax(1)], 1)  # (B, 2, T)
        return self.conv(F.pad(pooled, self.padding)).squeeze(1).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, C, T)`` gated by channel, then by bar."""
        x = x * self.gates(x)[:, :, None]
        return x * self.time_gates(x)[:, None, :]
