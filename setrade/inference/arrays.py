"""Tensors and arrays from outside, as plain NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, strided

from setrade.errors import ArgumentError

DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def to_numpy(name: str, value: Any, dtypes: tuple[str, ...] = DTYPES) -> np.ndarray:
    """Return a NumPy array that is or holds ``value``, detached and on the CPU.

    Args:
        name: of the argument, for the error.
        value: an array, or a tensor on any device, with or without gradients.
        dtypes: those that are allowed.

    Raises:
        ArgumentError: neither array nor tensor, masked, sparse, without data (device "meta"), or
            of another dtype, such as bfloat16, which NumPy does not have.
    """
    if isinstance(value, Tensor):
        fits = value.layout is strided and not value.is_nested and not value.is_meta
    else:
        fits = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
    if not fits:
        raise ArgumentError(name, value, "a NumPy array or a dense tensor that holds data")
    if str(value.dtype).removeprefix("torch.") not in dtypes:
        raise ArgumentError(name, value.dtype, " or ".join(dtypes))
    if isinstance(value, Tensor):
        return value.detach().cpu().resolve_neg().numpy()
    return value
