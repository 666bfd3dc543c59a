"""Squeeze and excitation on channel tensors ``(batch, channels, time)``, newest bar last.

A squeeze turns each channel's window into one number, an excitation turns these numbers into
gates between 0 and 1, and the block multiplies each channel by its gate. Whatever a block
here computes for a window, it computes from that window alone.

Source: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018,
https://arxiv.org/abs/1709.01507.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from setrade.errors import ArgumentError, choice, flag, integer, number

__all__ = [
    "CBAM", "SQUEEZES", "AttentionSqueeze", "CachedSE", "ConcurrentSE", "EwmSqueeze", "Excitation",
    "LastSqueeze", "MaxSqueeze", "MeanSqueeze", "MultiHeadSE", "MultiScaleSE", "SEBlock", "Squeeze",
]  # fmt: skip


def tracing() -> bool:
    """Tell whether ``torch.jit.trace`` or the ONNX exporter is recording."""
    return torch.jit.is_tracing()  # type: ignore[attr-defined]


def check_window(x: Any, channels: int, dtype: torch.dtype | None = None) -> None:
    """Refuse what is no window ``(B, C, T)`` of ``channels`` channels.

    A trace (as for ONNX) sees no shapes worth refusing, and is let through.

    Raises:
        ArgumentError: naming ``x``: not a float tensor of three axes, empty, of another
            channel count, or of another dtype than ``dtype`` outside autocast.
    """
    if tracing():
        return
    shape = f"a float tensor (batch, {channels}, time), no axis empty"
    if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[1] != channels:
        raise ArgumentError("x", x, shape)
    held = x.layout == torch.strided and x.is_floating_point()
    if x.shape[0] == 0 or x.shape[2] == 0 or not held:
        raise ArgumentError("x", x, shape)
    if dtype not in (None, x.dtype) and not torch.is_autocast_enabled(x.device.type):
        raise ArgumentError("x", x.dtype, f"dtype {dtype}, that of the block's weights")


def check_finite(z: Tensor) -> None:
    """Refuse NaN and infinity in the squeezed vector ``z`` ``(B, C)``.

    A fault in any bar that the squeeze looked at shows here, at the price of B x C numbers and
    not B x C x T. Only in eager mode on a CPU: elsewhere the look would stall the device or
    break the graph, and a NaN goes on into the gates instead.

    Raises:
        ArgumentError: naming ``x`` and the sample and channel of the first fault.
    """
    if z.device.type != "cpu" or torch.compiler.is_compiling() or tracing():
        return
    if torch._C._functorch.is_functorch_wrapped_tensor(z):  # type: ignore[attr-defined]
        return  # inside vmap and the like: there is no one value to look at
    if math.isfinite(z.detach().sum()):
        return
    faults = (~z.isfinite()).nonzero()
    if len(faults):
        sample, channel = faults[0].tolist()
        where = f"first fault in sample {sample}, channel {channel}; drop warm-up rows"
        raise ArgumentError("x", z[sample, channel].item(), f"finite values ({where})")


# ---- Squeezes.
#
# Each is a weighted sum over the bars. They differ in who sets the weights: nobody (mean), the
# data (max), the clock (last, ewm) or the training (ewm's half-life, attention).


class Squeeze(nn.Module):
    """A pooling over time, ``(B, C, T) -> (B, C)``, that can show its weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = integer("channels", channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one number a channel, ``(B, C)``, for the windows ``x`` ``(B, C, T)``.

        Raises:
            ArgumentError: naming ``x``: wrong shape, empty, or not finite where looked at.
        """
        check_window(x, self.channels)
        z = self._pool(x)
        check_finite(z)
        return z

    def weights(self, x: Tensor) -> Tensor:
        """Return what each bar counts for, ``(B, C, T)``; each channel's weights sum to 1."""
        check_window(x, self.channels)
        return self._weights(x)

    def _weights(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _pool(self, x: Tensor) -> Tensor:
        return (x * self._weights(x)).sum(-1)


class MeanSqueeze(Squeeze):
    """The mean of all bars: no bar counts more than another (Hu 2018, equation 2)."""

    def _weights(self, x: Tensor) -> Tensor:
        return torch.full_like(x, 1.0 / x.shape[-1])

    def _pool(self, x: Tensor) -> Tensor:
        return x.mean(-1)


class MaxSqueeze(Squeeze):
    """The largest bar of each channel; equal largest bars share the weight."""

    def _weights(self, x: Tensor) -> Tensor:
        top = (x == x.amax(-1, keepdim=True)).to(x.dtype)
        return top / top.sum(-1, keepdim=True)

    def _pool(self, x: Tensor) -> Tensor:
        return x.amax(-1)


class LastSqueeze(Squeeze):
    """The newest bar alone."""

    def _weights(self, x: Tensor) -> Tensor:
        newest = torch.arange(x.shape[-1], device=x.device) == x.shape[-1] - 1
        return newest.to(x.dtype).expand_as(x)

    def _pool(self, x: Tensor) -> Tensor:
        return x[..., -1]


class EwmSqueeze(Squeeze):
    """An exponentially weighted mean with one half-life a channel, in bars.

    The half-life is a parameter: training may lengthen or shorten each channel's memory.
    Its logarithm is what is learned, so that it stays positive.

    Args:
        channels: number of channels.
        halflife: where every channel starts, in bars.
        learned: False keeps the half-life fixed.
    """

    def __init__(self, channels: int, halflife: float = 10.0, *, learned: bool = True) -> None:
        super().__init__(channels)
        start = math.log(number("halflife", halflife, 0.0, above=True))
        self.log_halflife = nn.Parameter(
            torch.full((self.channels,), start), requires_grad=flag("learned", learned)
        )

    @property
    def halflife(self) -> Tensor:
        """The half-life of each channel in bars, ``(C,)``."""
        return self.log_halflife.exp()

    def _weights(self, x: Tensor) -> Tensor:
        steps = x.shape[-1]
        age = torch.arange(steps - 1, -1, -1, device=x.device, dtype=x.dtype)
        decay = -math.log(2.0) * age / self.halflife[:, None]  # (C, T)
        return decay.softmax(-1).to(x.dtype).expand_as(x)


class AttentionSqueeze(Squeeze):
    """Learned attention: one linear score a bar, softmax over the bars, shared by all channels.

    It starts from random scores (Glorot's), so that an untrained one weighs bars unevenly. Source:
    Cao et al., "GCNet", ICCV workshops 2019, equation 2 (global attention pooling).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.score = nn.Linear(self.channels, 1)
        nn.init.xavier_normal_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def _weights(self, x: Tensor) -> Tensor:
        scores = self.score(x.transpose(1, 2)).squeeze(-1)  # (B, T)
        return scores.softmax(-1)[:, None, :].to(x.dtype).expand_as(x)


SQUEEZES: dict[str, type[Squeeze]] = {
    "mean": MeanSqueeze,
    "max": MaxSqueeze,
    "last": LastSqueeze,
    "ewm": EwmSqueeze,
    "attention": AttentionSqueeze,
}


def make_squeeze(squeeze: str | Squeeze, channels: int) -> Squeeze:
    """Return the squeeze of that name, or the given one if it fits ``channels``.

    Raises:
        ArgumentError: an unknown name, another type, or a squeeze of other channels.
    """
    if not isinstance(squeeze, Squeeze):
        return SQUEEZES[choice("squeeze", squeeze, SQUEEZES)](channels)
    if squeeze.channels != channels:
        raise ArgumentError("squeeze", squeeze, f"a squeeze of {channels} channels")
    return squeeze


# ---- The block, at one scale and at several (Hu 2018, sections 3.1-3.2).


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


# ---- Several heads: what attention's heads (Vaswani et al., "Attention Is All You Need", 2017,
# section 3.2.2) are to bars, these are to channels. The block and its diversity are ours.

RUNNING: dict[str, Callable[[Tensor], Tensor]] = {  # squeezes of the bars up to each, (B, C, T)
    "mean": lambda x: x.cumsum(-1) / torch.arange(1, x.shape[-1] + 1, device=x.device),
    "max": lambda x: x.cummax(-1).values,
    "last": lambda x: x,
}
STILL = 1e-5  # root mean square below which gates do not move: what rounding leaves


class MultiHeadSE(nn.Module):
    """Several heads, each with a squeeze and an excitation of its own; their gates fused.

    The fused gate is a mean of the heads' gates by learned weights; `views` leaves them apart.

    Args:
        channels: number of channels C.
        heads: number of heads H.
        reduction: ratio r of each head.
        squeeze: a name from ``SQUEEZES`` for all heads, or one a head.
        causal: a gate for each bar, of the bars up to it, by squeezes in ``RUNNING``.

    Raises:
        ArgumentError: naming the argument that is of the wrong type or out of range.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 4,
        reduction: int = 4,
        squeeze: str | Sequence[str] = "mean",
        *,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.channels, heads = integer("channels", channels, 1), integer("heads", heads, 1)
        names = [squeeze] * heads if isinstance(squeeze, str) else squeeze
        if not isinstance(names, Sequence) or len(names) != heads:
            raise ArgumentError("squeeze", squeeze, f"a name, or {heads} of them, one a head")
        self.causal = flag("causal", causal)
        self.squeeze = tuple(choice("squeeze", n, RUNNING if causal else SQUEEZES) for n in names)
        self.blocks = nn.ModuleList(SEBlock(channels, reduction, name) for name in self.squeeze)
        self.fusion = nn.Parameter(torch.zeros(heads, self.channels))

    def fusion_weights(self) -> Tensor:
        """Return how much each head counts in each channel, ``(heads, C)``; columns sum to 1."""
        return self.fusion.softmax(0)

    def head_gates(self, x: Tensor) -> Tensor:
        """Return the gates of every head before fusion, ``(B, heads, C)``."""
        check_window(x, self.channels, self.fusion.dtype)
        return torch.stack([block.gates(x) for block in self.blocks], 1)  # type: ignore[operator]

    def gates(self, x: Tensor) -> Tensor:
        """Return the fused gates ``(B, C)`` of the windows ``x``: those of its newest bar."""
        return (self.head_gates(x) * self.fusion_weights()).sum(1)

    def bar_gates(self, x: Tensor) -> Tensor:
        """Return the fused gates of every bar, ``(B, C, T)``, each from the bars up to it."""
        check_window(x, self.channels, self.fusion.dtype)
        if not self.causal:
            raise ArgumentError("causal", False, "True, for gates that differ from bar to bar")
        check_finite(x.detach().abs().amax(2))
        parts = [
            block.excite(RUNNING[name](x).transpose(1, 2)).sigmoid()  # type: ignore[operator]
            for name, block in zip(self.squeeze, self.blocks, strict=True)
        ]  # (B, T, C) each
        return (torch.stack(parts, 2) * self.fusion_weights()).sum(2).transpose(1, 2)

    def views(self, x: Tensor) -> Tensor:
        """Return the window once a head, each times its gates: ``(B, heads, C, T)``."""
        if self.causal:
            raise ArgumentError("causal", True, "False: views gate old bars by the newest too")
        return x[:, None] * self.head_gates(x)[..., None]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, C, T)`` with each channel multiplied by its fused gate."""
        return x * (self.bar_gates(x) if self.causal else self.gates(x)[:, :, None])

    def likeness(self, x: Tensor) -> Tensor:
        """Return the cosine of each pair of heads, in [-1, 1], over a batch ``x``.

        A head says its gates less their mean over the batch; where they stand still, pairs are 1.
        """
        gates = self.head_gates(x)
        if min(gates.shape[:2]) < 2:
            raise ArgumentError("x", x, "two windows or more, in a block of two heads or more")
        moves = (gates - gates.mean(0)).transpose(0, 1).flatten(1)  # (heads, B * C)
        a, b = torch.triu_indices(len(moves), len(moves), offset=1)
        still = moves.square().mean(1) <= STILL**2
        return torch.where(still[a] | still[b], 1.0, F.cosine_similarity(moves[a], moves[b]))

    def diversity(self, x: Tensor) -> Tensor:
        """Return 1 less the mean size of `likeness`: 0 where all heads say one thing, at most 1."""
        return 1 - self.likeness(x).abs().mean()

    def penalty(self, x: Tensor) -> Tensor:
        """Return the mean square of `likeness`, in [0, 1], to add to a loss against collapse."""
        return self.likeness(x).square().mean()


class CachedSE(nn.Module):
    """Recompute a block's gates every ``every`` steps, and use the kept ones in between.

    For live use, where the gates move slowly. Kept gates are dropped when they would be another
    market's or another time's: on ``reset()``, on a new ``symbol``, when ``step`` goes backwards,
    and when batch size, dtype or device change. One object serves one symbol at a time; after
    loading new weights call ``reset()``. For inference: no gradient flows into the gates. It keeps
    state in Python, so export the block inside it instead.

    Args:
        block: any block with ``gates(x) -> (B, C)`` whose forward is ``x`` times its gates.
        every: how many steps gates are kept; 1 recomputes always.

    Raises:
        ArgumentError: naming the argument that is of the wrong type or out of range.
    """

    def __init__(self, block: nn.Module, every: int) -> None:
        super().__init__()
        alone = callable(getattr(block, "gates", None)) and not hasattr(block, "time_gates")
        if not alone or getattr(block, "causal", False):
            raise ArgumentError("block", block, "a block that only multiplies by gates(x)")
        self.block, self.every = block, integer("every", every, 1)
        self.reset()

    def reset(self) -> None:
        """Forget the kept gates: the next call computes its own."""
        self.kept: Tensor | None = None
        self.key: tuple[Hashable, ...] | None = None
        self.made_at = self.last_step = 0

    def gates(self, x: Tensor, step: int, symbol: Hashable = None) -> Tensor:
        """Return the gates ``(B, C)`` to use at ``step``, kept or computed from ``x``."""
        step = integer("step", step, 0)
        if not isinstance(x, Tensor) or x.ndim != 3:
            raise ArgumentError("x", x, "a float tensor (batch, channels, time)")
        key = (symbol, x.shape[:2], x.dtype, x.device)
        old = step < self.last_step or step - self.made_at >= self.every
        kept = self.kept
        if kept is None or key != self.key or old:
            with torch.no_grad():
                kept = self.kept = self.block.gates(x)  # type: ignore[operator]
            self.key, self.made_at = key, step
        self.last_step = step  # only now: a refused window must not count as seen
        return kept

    def forward(self, x: Tensor, step: int, symbol: Hashable = None) -> Tensor:
        """Return ``x`` ``(B, C, T)`` times the gates kept for this step and symbol.

        Args:
            x: the windows, newest bar last.
            step: the number of the bar, counting up, at least 0.
            symbol: what market ``x`` is from; any hashable, such as a tuple, one a row.
        """
        return x * self.gates(x, step, symbol)[:, :, None]


# ---- Gates over channels and over bars.
#
# Sources: Roy, Navab, Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation in Fully
# Convolutional Networks", MICCAI 2018, https://arxiv.org/abs/1803.02579; Woo, Park, Lee, Kweon,
# "CBAM: Convolutional Block Attention Module", ECCV 2018, https://arxiv.org/abs/1807.06521.
# Where the papers gate the places of a picture, these gate the bars of a window.


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
        self.padding = (kernel - 1, 0) if flag("causal", causal) else (side, side)
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
