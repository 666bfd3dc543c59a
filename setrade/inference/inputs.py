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
from setrade.pictures import encoder, to_input

from .spec import Spec


def to_tensor(images: Any, spec: Spec) -> Tensor:
    """Return what the net is given, float32 (B, \\*input_shape), on the CPU.

    Args:
        images: ``kind`` "windows": channels in their own units, float (B, C, T), newest bar
            last; they are standardised here. ``kind`` "pictures": uint8 (B, C, H, W) as drawn,
            or float32 in [0, 1], as ``pictures.to_input`` gives.

    Raises:
        ArgumentError: ``images`` of another shape or type, empty, NaN, or outside [0, 1].
    """
    shape, rank = tuple(spec.input_shape), len(spec.input_shape) + 1
    dtypes = ("float32", "float64") if spec.kind == "windows" else ("uint8", "float32")
    allowed = f"{' or '.join(dtypes)}, shape (batch, {', '.join(map(str, shape))}), not empty"
    if not isinstance(images, np.ndarray | Tensor) or images.ndim != rank or not len(images):
        raise ArgumentError("images", images, allowed)
    if tuple(images.shape[1:]) != shape:
        raise ArgumentError("images", images, allowed)
    x = images.detach().cpu().numpy() if isinstance(images, Tensor) else images
    if str(x.dtype) not in dtypes:
        raise ArgumentError("images", x.dtype, allowed)
    array("images", x)
    if spec.kind == "windows":
        scaled = spec.standardizer().transform(x.swapaxes(1, 2))  # (B, T, C), channels last
        return torch.from_numpy(np.ascontiguousarray(scaled.swapaxes(1, 2), np.float32))
    try:
        return to_input(x, None if x.dtype == np.uint8 else (0.0, 1.0))
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
        side, options = spec.input_shape[-1], spec.preprocessing["options"]
        return encoder(spec.preprocessing["encoder"], side, **options).draw(drawn), times
    table = channels.compute(candles, scale_free=bool(spec.preprocessing["scale_free"]))
    x = table[list(spec.preprocessing["columns"])].to_numpy()[-n - length + 1 :]
    return np.lib.stride_tricks.sliding_window_view(x, length, axis=0), times  # (n, C, T)
