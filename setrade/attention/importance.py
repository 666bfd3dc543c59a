"""How much a net loses without a channel: two measures that do not trust its gates.

Source: L. Breiman, Random Forests (2001), section 10, for permutation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.errors import ArgumentError, integer

Loss = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def _loss(net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """Return the mean loss of the net in eval mode; the mode it was in is restored."""
    was = net.training
    net.eval()
    value = float(loss(net(x), y))
    net.train(was)
    return value


def _checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return windows (n, C, T) and n targets, at least two."""
    if not isinstance(x, Tensor) or x.ndim != 3 or len(x) < 2:
        raise ArgumentError("x", x, "a tensor (n, channels, time), two windows or more")
    if not isinstance(y, Tensor) or len(y) != len(x):
        raise ArgumentError("y", y, f"{len(x)} targets, one a window")
    return x, y


def permutation_importance(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    seed: int,
    loss: Loss = F.cross_entropy,
    repeats: int = 5,
) -> Tensor:
    """Return by how much the loss rises when a channel's windows are dealt to other examples.

    Args:
        net: maps (n, C, T) to what ``loss`` takes.
        x: windows (n, C, T) that the net was not trained on.
        y: (n,) targets.
        seed: of the permutations, the same for every channel.
        loss: of outputs and targets, averaged.
        repeats: permutations to average over.

    Returns:
        (C,); about 0, on either side, where the net does not use the channel.
    """
    x, y = _checked(x, y)
    generator = torch.Generator().manual_seed(integer("seed", seed, 0))
    orders = [
        torch.randperm(len(x), generator=generator) for _ in range(integer("repeats", repeats, 1))
    ]
    base, rise = _loss(net, x, y, loss), torch.zeros(x.shape[1])
    for c in range(x.shape[1]):
        mixed = x.clone()
        for order in orders:
            mixed[:, c] = x[order, c]
            rise[c] += (_loss(net, mixed, y, loss) - base) / len(orders)
    return rise


def ablation_importance(
    net: nn.Module, x: Tensor, y: Tensor, *, loss: Loss = F.cross_entropy, value: float = 0.0
) -> Tensor:
    """Return by how much the loss rises when a channel is held at one value.

    Args: as in ``permutation_importance``; ``value`` is 0, the training mean of a standardised
    channel. The net is not trained again.

    Returns:
        (C,).
    """
    x, y = _checked(x, y)
    base, rise = _loss(net, x, y, loss), torch.zeros(x.shape[1])
    for c in range(x.shape[1]):
        held = x.clone()
        held[:, c] = value
        rise[c] = _loss(net, held, y, loss) - base
    return rise
