"""What a net costs: parameters, and multiply-adds as a library counts them."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from setrade.errors import integer


def count_parameters(net: nn.Module) -> int:
    """Return the number of trained numbers; the running statistics of batch norm are not."""
    return sum(p.numel() for p in net.parameters())


def multiply_adds(net: nn.Module, side: int, in_channels: int = 3) -> int:
    """Return the multiply-adds of convolutions and linear layers for one picture.

    The paper calls these FLOPS; PyTorch's counter counts a multiplication and an addition as
    two. Norms, activations and gates' products are left out, as in the paper. A net on the
    ``meta`` device is counted without computing anything.

    Args:
        net: takes pictures (1, in_channels, side, side).
        side: of the picture, in pixels.
        in_channels: of the picture.
    """
    shape = (1, integer("in_channels", in_channels, 1), *[integer("side", side, 1)] * 2)
    parameter = next(net.parameters())
    training = net.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(shape, device=parameter.device, dtype=parameter.dtype))
    net.train(training)
    return counter.get_total_flops() // 2
