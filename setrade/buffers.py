"""What the image encoders share: series of either kind in, kept buffers out.

An encoder takes a NumPy array or a torch tensor of series along the last axis and answers in
kind. Torch is never imported here: a tensor can only come from a process that has done so.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array

REAL = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64")
NARROW = ("mps",)  # kinds of devices without float64


def is_tensor(x: Any) -> bool:
    """Return whether ``x`` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def wide(x: Any) -> Any:
    """Return a tensor in float64, or in float32 where its device has no other (Apple's GPUs)."""
    torch = sys.modules["torch"]
    return x.to(torch.float32 if x.device.type in NARROW else torch.float64)


def series(name: str, x: Any, min_length: int = 2) -> Any:
    """Return series that an encoder can take: real, finite, long enough.

    Args:
        name: The argument's name in messages.
        x: Array or tensor, shape (..., n), n at least ``min_length``.
        min_length: The shortest series that makes sense.

    Returns:
        The tensor as it is, or a NumPy array of any real type.

    Raises:
        ArgumentError: Wrong type, too short, empty, NaN or infinite; stamps that do not rise; a
            frame, whose time is not on the last axis.
    """
    if isinstance(x, pd.DataFrame):
        raise ArgumentError(name, x, "time on the last axis: frame.to_numpy().T, or one column")
    if not is_tensor(x):
        return array(name, x, min_length=min_length, ordered=True)
    torch = sys.modules["torch"]
    plain = x.layout == torch.strided and not x.is_meta and str(x.dtype)[6:] in REAL
    if not plain or x.ndim == 0:
        allowed = f"a dense tensor of real numbers ({' '.join(REAL)}) with data and 1 axis or more"
        raise ArgumentError(name, x if plain else (x.dtype, x.layout, x.device), allowed)
    if x.shape[-1] < min_length or x.numel() == 0:
        raise ArgumentError(name, x, f"not empty, the last axis at least {min_length} long")
    if not bool(torch.isfinite(x).all()):
        where = tuple(int(i) for i in torch.nonzero(~torch.isfinite(x))[0])
        fault = f"finite numbers (first fault at index {where})"
        raise ArgumentError(name, float(x[where]), fault)
    return x


def output(
    out: Any, shape: tuple[int, ...], like: Any = None, dtypes: tuple[str, ...] = ("float32",)
) -> Any:
    """Return the buffer to fill: ``out`` once checked, or a new one of the first dtype.

    Where ``like`` is a tensor, so is the buffer: float32, on the same device.

    Raises:
        ArgumentError: ``out`` is of another kind, shape, type or device than the result,
            is not contiguous or not writable, or gradients are wanted through it.
    """
    if is_tensor(like):
        return _output_tensor(out, shape, like)
    if out is None:
        return np.empty(shape, dtypes[0])
    fits = isinstance(out, np.ndarray) and out.shape == shape and out.dtype in dtypes
    if not (fits and out.flags.c_contiguous and out.flags.writeable):
        allowed = f"a contiguous, writable {' or '.join(dtypes)} array of shape {shape}"
        raise ArgumentError("out", out, allowed)
    return apart(out, like)


def apart(out: Any, source: Any) -> Any:
    """Return ``out``; raise `ArgumentError` where it shares memory with what is read."""
    sides = (out, source)
    if all(map(is_tensor, sides)):
        first, second = map(_span, sides)
        known = first[0] and second[0]  # a tensor that only stands for others has no address
        shared = out.device == source.device and first[0] < second[1] and second[0] < first[1]
        shared = bool(known and shared)
    else:
        both = [side.detach().numpy() if is_tensor(side) else side for side in sides]
        shared = all(isinstance(x, np.ndarray) for x in both) and np.may_share_memory(*both)
    if shared:
        raise ArgumentError("out", out, "memory of its own: it overlaps the input")
    return out


def _span(x: Any) -> tuple[int, int]:
    """Return the first byte of a tensor and the one after its last."""
    last = sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()


def _output_tensor(out: Any, shape: tuple[int, ...], like: Any) -> Any:
    torch = sys.modules["torch"]
    if out is None:
        return torch.empty(shape, dtype=torch.float32, device=like.device)
    allowed = f"a contiguous float32 tensor of shape {shape} on {like.device}"
    if not is_tensor(out) or tuple(out.shape) != shape or out.dtype != torch.float32:
        raise ArgumentError("out", out, allowed)
    if out.device != like.device or not out.is_contiguous():
        raise ArgumentError("out", out, allowed)
    if torch.is_grad_enabled() and (like.requires_grad or out.requires_grad):
        raise ArgumentError("out", out, "None where gradients are wanted")
    return apart(out, like)
