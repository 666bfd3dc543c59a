"""Batch norm melts into the convolution before it: one layer fewer, the same function.

Source: B. Jacob et al. (2018), Quantization and Training of Neural Networks, section 3.2.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from setrade.errors import ArgumentError


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return the convolution that does the work of both, in eval mode."""
    if norm.running_mean is None or norm.running_var is None:
        raise ArgumentError("net", norm, "batch norms that keep running statistics")
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # (C',)
    bias = norm.running_mean.new_zeros(len(scale)) if conv.bias is None else conv.bias
    folded = deepcopy(conv)  # keeps subclasses, and so TensorFlow's padding
    folded.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
    folded.bias = nn.Parameter((bias - norm.running_mean) * scale + norm.bias)
    return folded


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """Return a copy in eval mode in which every Conv2d followed by a BatchNorm2d is one Conv2d.

    Pairs are looked for inside ``nn.Sequential``, where one follows the other by construction.

    Raises:
        ArgumentError: ``net`` is no module, or in training mode, where the norms still move.
    """
    if not isinstance(net, nn.Module) or net.training:
        raise ArgumentError("net", type(net).__name__, "a module in eval mode")
    copy = deepcopy(net)
    for parent in copy.modules():
        if isinstance(parent, nn.Sequential):
            for i in range(len(parent) - 1):
                conv, norm = parent[i], parent[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    parent[i], parent[i + 1] = _fold(conv, norm), nn.Identity()
    return copy.requires_grad_(False)
