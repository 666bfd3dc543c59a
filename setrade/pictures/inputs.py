"""The one place that maps pictures to what a net is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from setrade.errors import ArgumentError, array


def to_input(
    pictures: np.ndarray | Tensor,
    bounds: Sequence[float] | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Map pictures to float32 ``(B, C, H, W)`` in [0, 1].

    uint8 pictures are divided by 255. Float pictures go linearly from ``bounds`` to [0, 1]:
    a Gramian field's -1 becomes 0. Nothing is clipped. The mean and the standard deviation
    that pretrained weights want are the business of those weights, not of this map.

    Args:
        pictures: uint8 or float ``(B, C, H, W)``, or ``(B, H, W)`` for one channel; a NumPy
            array, or a tensor on any device (the result is on the same one, with gradients).
        bounds: the values that become 0 and 1; (-1, 1) by default. Float pictures only, since
            uint8 always means 0 to 255.
        out: kept float32 tensor of the result's shape on the same device.

    Returns:
        float32 tensor ``(B, C, H, W)``, ``out`` itself when it is given.

    Raises:
        ArgumentError: wrong type or shape, empty, NaN, a value outside ``bounds``.
    """
    x = _picture_tensor(pictures)  # (B, C, H, W)
    low, high = _bounds(x, bounds)
    if out is None:
        return (
            x.float().div(255.0) if x.dtype == torch.uint8 else ((x - low) / (high - low)).float()
        )
    _refuse_unfit(out, x)
    return out.copy_(x).sub_(low).div_(high - low)


def _picture_tensor(pictures: Any) -> Tensor:
    """Return pictures as a tensor (B, C, H, W), sharing memory where it can."""
    allowed = "uint8 or float pictures (B, C, H, W) or (B, H, W), not empty"
    if not isinstance(pictures, np.ndarray | Tensor):
        raise ArgumentError("pictures", pictures, allowed)
    if str(pictures.dtype).removeprefix("torch.") not in ("uint8", "float32", "float64"):
        raise ArgumentError("pictures", pictures.dtype, allowed)
    if pictures.ndim not in (3, 4) or 0 in pictures.shape:
        raise ArgumentError("pictures", pictures, allowed)
    if isinstance(pictures, np.ndarray):
        # torch warns about read-only memory, which is only read here.
        pictures = torch.from_numpy(pictures if pictures.flags.writeable else pictures.copy())
    return pictures if pictures.ndim == 4 else pictures.unsqueeze(1)


def _bounds(x: Tensor, bounds: Sequence[float] | None) -> tuple[float, float]:
    """Return the values that become 0 and 1; refuse pictures that leave them."""
    if x.dtype == torch.uint8:
        if bounds is not None:
            raise ArgumentError("bounds", bounds, "None for uint8 pictures, which are 0 to 255")
        return 0.0, 255.0
    ends = array("bounds", (-1.0, 1.0) if bounds is None else bounds, ndim=1)
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ArgumentError("bounds", bounds, "two numbers, the first below the second")
    low, high = ends
    least, most = (float(v) for v in torch.aminmax(x.detach()))
    if not (low <= least and most <= high):  # NaN fails as well
        raise ArgumentError("pictures", (least, most), f"values in [{low:g}, {high:g}] (bounds)")
    return float(low), float(high)


def _refuse_unfit(out: Any, x: Tensor) -> None:
    """Raise unless ``out`` can hold the result for ``x``."""
    shape = tuple(x.shape)
    fits = isinstance(out, Tensor) and out.dtype == torch.float32 and tuple(out.shape) == shape
    if not fits or out.device != x.device:
        raise ArgumentError("out", out, f"a float32 tensor of shape {shape} on {x.device}")
