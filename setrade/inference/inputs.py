"""From bars, or from what was drawn of them, to the tensor that a net was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from setrade import candles as bars
from setrade import channels
from setrade.errors import ArgumentError, array, integer
from setrade.pictures import to_input

from .arrays import to_numpy
from .spec import Spec


def to_tensor(images: Any, spec: Spec) -> Tensor:
    """Return what the net is given, float32 (B, \\*input_shape), on the CPU.

    Args:
        images: ``kind`` "windows": channels in their own units, float (B, C, T), newest bar
            last; they are standardised here. ``kind`` "pictures": as drawn, which is uint8
            (B, C, H, W) of candles and float32 (B, H, W) of fields; or float32 (B, C, H, W) in
            [0, 1], as ``pictures.to_input`` gives.

    Raises:
        ArgumentError: ``images`` of another shape or type, sparse or without data, empty, not
            finite, or outside the bounds of its kind.
    """
    windows, shape = spec.kind == "windows", tuple(spec.input_shape)
    bounds = None if windows else spec.encoder().bounds
    field = bounds is not None and getattr(images, "ndim", 0) == 3
    shape = shape[1:] if field else shape
    dtypes = ("float32", "float64") if windows else ("uint8", "float32")[bounds is not None :]
    allowed = f"{' or '.join(dtypes)}, shape (batch, {', '.join(map(str, shape))}), not empty"
    try:
        x = to_numpy("images", images, dtypes)
    except ArgumentError as error:
        raise ArgumentError("images", error.value, f"dense {allowed}") from error
    if x.shape[1:] != shape or not x.size:
        raise ArgumentError("images", images, allowed)
    array("images", x)
    return _standardised(x, spec) if windows else _in_unit(x, bounds if field else (0.0, 1.0))


def _standardised(x: np.ndarray, spec: Spec) -> Tensor:
    """Return windows (B, C, T) in units of the training rows."""
    with np.errstate(over="ignore"):
        scaled = spec.standardizer().transform(x.swapaxes(1, 2))  # (B, T, C), channels last
        made = np.ascontiguousarray(scaled.swapaxes(1, 2), np.float32)
    if not np.isfinite(made).all():
        raise ArgumentError("images", float(np.abs(x).max()), "values that float32 can hold")
    return torch.from_numpy(made)


def _in_unit(x: np.ndarray, bounds: tuple[float, float] | None) -> Tensor:
    """Return pictures in [0, 1], which are contiguous: torch knows no negative strides."""
    try:
        return to_input(np.ascontiguousarray(x), None if x.dtype == np.uint8 else bounds)
    except ArgumentError as error:
        raise ArgumentError("images", error.value, error.allowed) from error


def from_candles(
    candles: pd.DataFrame, spec: Spec, n: int | None = 1
) -> tuple[np.ndarray, pd.DatetimeIndex]:
    """Return the inputs of the newest ``n`` bars, and the opens of those bars.

    Args:
        candles: checked bars of ``spec.interval``, oldest first; windows of channels want a
            history of ``channels.WARM_UP`` bars before the first window.
        spec: of the checkpoint.
        n: how many windows, one a bar; None: as many as there are.

    Returns:
        ``images`` as `to_tensor` takes them, and ``times`` (n,).

    Raises:
        ArgumentError: bars of another interval, or too few.
    """
    bars.check(candles, spec.interval)
    windows = spec.kind == "windows"
    length = spec.input_shape[1] if windows else integer("bars", spec.preprocessing["bars"], 1)
    lost = length - 1 + (channels.WARM_UP if windows else 0)
    n = len(candles) - lost if n is None else integer("n", n, 1)
    if n < 1 or len(candles) < lost + n:
        raise ArgumentError("candles", candles, f"at least {lost + max(n, 1)} bars")
    times = pd.DatetimeIndex(candles.index[-n:])
    if not windows:
        drawn = bars.windows(candles.iloc[-n - length + 1 :], length)  # (n, 5, bars)
        return spec.encoder().draw(drawn), times
    table = channels.compute(candles, scale_free=bool(spec.preprocessing["scale_free"]))
    x = table[list(spec.preprocessing["columns"])].to_numpy()[-n - length + 1 :]
    return np.lib.stride_tricks.sliding_window_view(x, length, axis=0), times  # (n, C, T)
