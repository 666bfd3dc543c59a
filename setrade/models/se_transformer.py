"""A transformer's encoder over windows with SE inside, and the linear forecaster it must beat.

Attention asks which bar to look at, SE which channel. Sources: A. Vaswani et al., Attention Is All
You Need (2017), section 3; J. Hu et al., Squeeze-and-Excitation Networks (2018), section 3, whose
block stands on the residual branch, before the sum; A. Zeng et al., Are Transformers Effective for
Time Series Forecasting? (2023), for `DLinear`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.errors import ArgumentError, choice, flag, integer, number
from setrade.se import MultiHeadSE, check_finite, check_window

DECISIONS = {"softmax": 3, "tanh": 1, "value": 1}
GATES = ("inside", "input")


def positions(time: int, width: int) -> Tensor:
    """Return sines and cosines that tell bars apart, (time, width) (Vaswani 2017, section 3.5).

    Counted from the oldest bar: a bar's row does not depend on how many follow.
    """
    time, width = integer("time", time, 1), integer("width", width, 1)
    pair = torch.arange(0, width, 2)
    angle = torch.arange(time)[:, None] * torch.exp(-math.log(1e4) * pair / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


def later_bars(time: int) -> Tensor:
    """Return the causal mask (time, time): True where column j comes after row i."""
    time = integer("time", time, 1)
    return torch.ones(time, time, dtype=torch.bool).triu(1)


class EncoderLayer(nn.Module):
    """Attention over the bars, then two linear layers a bar, each added to what came in.

    With ``se`` None it is ``nn.TransformerEncoderLayer(..., norm_first=True)``; an SE block scales
    the channels of the second branch before it is added.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        width, heads = integer("width", width, 1), integer("heads", heads, 1)
        dropout = number("dropout", dropout, 0, 0.99)
        if width % heads:
            raise ArgumentError("heads", heads, f"a divisor of the width, {width}")
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.se: MultiHeadSE | None = None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, T, width) to the same; ``mask`` (T, T) is True where nothing may be seen."""
        h = self.norm1(x)
        x = x + self.dropout(self.attention(h, h, h, attn_mask=mask, need_weights=False)[0])
        return x + self.dropout(self.gated(x))

    def gated(self, x: Tensor) -> Tensor:
        """Return the second branch (B, T, width), its channels scaled where there is SE."""
        h = self.branch(x)
        return h if self.se is None else self.se(h.transpose(1, 2)).transpose(1, 2)

    def branch(self, x: Tensor) -> Tensor:
        """Return the second branch (B, T, width) as SE sees it."""
        return self.linear2(self.dropout(F.relu(self.linear1(self.norm2(x)))))


class SETransformer(nn.Module):
    """Windows of channels -> transformer's encoder with SE -> decision at the newest bar.

    The parts draw their weights in the order encoder, decision, SE: ``squeeze=None`` is a baseline
    that differs in nothing else.

    Args:
        channels: number of input channels, C.
        width: of the encoder.
        layers: how many.
        heads: of attention; a divisor of the width.
        se_heads: of each `MultiHeadSE`; 1 is plain SE.
        squeeze: a name in ``se.SQUEEZES``, one a head, or None for no SE.
        gate: "inside" gates every layer's second branch, "input" the named channels (readable).
        decision: "softmax" (three logits: 0 sell, 1 hold, 2 buy), "tanh" (a position) or "value"
            (a forecast).
        causal: no bar sees a later one, in attention and in SE, so that `each_bar` may be asked.
        reduction: of SE.
        dropout: in the encoder and before the decision.

    Raises:
        ArgumentError: names the argument that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 32,
        layers: int = 2,
        heads: int = 4,
        se_heads: int = 1,
        squeeze: str | Sequence[str] | None = "mean",
        gate: str = "inside",
        decision: str = "softmax",
        causal: bool = False,
        reduction: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, self.width = integer("channels", channels, 1), integer("width", width, 1)
        self.gate, self.causal = choice("gate", gate, GATES), flag("causal", causal)
        self.decision = choice("decision", decision, DECISIONS)
        self.embed = nn.Linear(channels, width)
        count = integer("layers", layers, 1)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, dropout) for _ in range(count))
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.head = nn.Linear(width, DECISIONS[decision])
        self.se: MultiHeadSE | None = None
        if squeeze is not None:
            self._add_se(se_heads, reduction, squeeze)

    def _add_se(self, heads: int, reduction: int, squeeze: str | Sequence[str]) -> None:
        """Put SE where ``gate`` says."""

        def block(channels: int) -> MultiHeadSE:
            try:
                return MultiHeadSE(channels, heads, reduction, squeeze, causal=self.causal)
            except ArgumentError as error:
                if error.name != "heads":
                    raise
                raise ArgumentError("se_heads", heads, "an integer, at least 1") from None

        if self.gate == "input":
            self.se = block(self.channels)
            return
        for layer in self.layers:
            layer.se = block(self.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, C, T), newest bar last, to logits (B, 3), or to numbers (B,)."""
        out = self.head(self.dropout(self.norm(self._encode(x)[:, -1])))
        if self.decision == "softmax":
            return out
        return out[:, 0].tanh() if self.decision == "tanh" else out[:, 0]

    def each_bar(self, x: Tensor) -> Tensor:
        """Return what forward would say after each bar, before tanh: (B, outputs, T), if causal."""
        if not self.causal:
            raise ArgumentError("causal", False, "True: else each bar would know the later ones")
        return self.head(self.dropout(self.norm(self._encode(x)))).transpose(1, 2)

    def gates(self, x: Tensor) -> Tensor:
        """Return the gates at the newest bar: (B, C) of the input, or (B, layers, width)."""
        if self.se is not None:
            self._check(x)
            return self.se.gates(x)
        found: list[Tensor] = []
        self._encode(x, gates=found)
        if not found:
            raise ArgumentError("squeeze", None, "a net with SE: this one has no gates")
        return torch.stack(found, 1)

    def bar_weights(self, x: Tensor) -> Tensor:
        """Return how much each bar (row) took from each (column): (B, layers, T, T), of all heads.

        A layer's rows sum to 1 (after ``eval()``: dropout in training drops some and raises the
        others). The mean over the heads of attention.
        """
        found: list[Tensor] = []
        self._encode(x, weights=found)
        return torch.stack(found, 1)

    def _encode(
        self, x: Tensor, gates: list[Tensor] | None = None, weights: list[Tensor] | None = None
    ) -> Tensor:
        """Return (B, T, width); put the layers' gates and attention where lists are given."""
        self._check(x)
        x = (x if self.se is None else self.se(x)).transpose(1, 2)
        x = self.embed(x) + positions(x.shape[1], self.width).to(x)
        mask = later_bars(x.shape[1]).to(x.device) if self.causal else None
        for layer in cast(Iterable[EncoderLayer], self.layers):
            if weights is not None:
                h = layer.norm1(x)
                weights.append(layer.attention(h, h, h, attn_mask=mask)[1])
            if gates is not None and layer.se is not None:
                h = layer.norm1(x)
                seen = x + layer.attention(h, h, h, attn_mask=mask, need_weights=False)[0]
                gates.append(layer.se.gates(layer.branch(seen).transpose(1, 2)))
            x = layer(x, mask)
        return x

    def _check(self, x: Tensor) -> None:
        """Raise unless ``x`` is (B, channels, T) of the weights' dtype, not empty and finite."""
        check_window(x, self.channels, self.embed.weight.dtype)
        check_finite(x.detach().abs().amax(2))


class DLinear(nn.Module):
    """Two linear maps of all bars and channels: one of the trend, one of what it leaves.

    The trend is a moving mean whose ends are held, as in the authors' code. They forecast many
    steps of each channel; this gives one number from all channels.

    Args:
        channels: number of input channels, C.
        time: bars of a window, T.
        kernel: bars of the moving mean, odd; 25 in the paper.
    """

    def __init__(self, channels: int, time: int, kernel: int = 25) -> None:
        super().__init__()
        self.channels, self.time = integer("channels", channels, 1), integer("time", time, 1)
        self.kernel = integer("kernel", kernel, 1)
        if kernel % 2 == 0:
            raise ArgumentError("kernel", kernel, "an odd number of bars")
        self.trend, self.rest = (nn.Linear(channels * time, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (B, C, T) to forecasts (B,)."""
        check_window(x, self.channels, self.trend.weight.dtype)
        if x.shape[2] != self.time:
            raise ArgumentError("x", x, f"windows of {self.time} bars")
        check_finite(x.detach().abs().amax(2))
        side = self.kernel // 2
        trend = F.avg_pool1d(F.pad(x, (side, side), "replicate"), self.kernel, stride=1)
        return (self.trend(trend.flatten(1)) + self.rest((x - trend).flatten(1)))[:, 0]
