"""What every block of this package refuses, and the price of looking."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from setrade.errors import ArgumentError


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
    if x.shape[0] == 0 or x.shape[2] == 0 or not x.is_floating_point():
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
