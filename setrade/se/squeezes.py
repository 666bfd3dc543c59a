"""Five ways to squeeze a window of bars into one number a channel.

Each is a weighted sum over the bars. They differ in who sets the weights: nobody (mean), the
data (max), the clock (last, ewm) or the training (ewm's half-life, attention).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, choice, integer, number
from setrade.se.checks import check_finite, check_window


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
            torch.full((self.channels,), start), requires_grad=bool(learned)
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

    It starts from small random scores, that is close to the mean. Source: Cao et al., "GCNet",
    ICCV workshops 2019, equation 2 (global attention pooling).
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
