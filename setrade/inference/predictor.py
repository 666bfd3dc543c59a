"""`Predictor`: from bars, or from what was drawn of them, to signals."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from setrade import candles as bars
from setrade import channels
from setrade.errors import ArgumentError, array, integer
from setrade.inference.checkpoint import Spec, check_pair, load
from setrade.inference.runtimes import OnnxNet, engine, to_numpy
from setrade.pictures import to_input
from setrade.signals import Signal, from_probabilities
from setrade.training import device as pick_device


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


def placed(net: nn.Module, device: torch.device) -> nn.Module:
    """Return the net where it all lies on ``device``; else a copy of it that does."""
    there = torch.empty(0, device=device).device  # "cuda" is the current card, which has a number
    same = all(value.device == there for value in chain(net.parameters(), net.buffers()))
    return net if same else deepcopy(net).to(device)


class Predictor:
    """A net, its preprocessing and an engine. `Predictor.load` is the usual way in.

    Args:
        net: left where it is; on another device a copy of it works.
        spec: how it is fed and what it answers.
        device: default what `training.device` gives; "cpu", "cuda", "cuda:1", ... or "mps".
        runtime: one of ``RUNTIMES``.
        batch_size: most examples in one call of the net; more are split.

    Raises:
        ArgumentError: no module or no `Spec`, an unknown runtime, or a device that is not here.
        MissingRuntimeError: a runtime that is not installed; names the extra that brings it.
    """

    def __init__(
        self,
        net: nn.Module,
        spec: Spec,
        *,
        device: str | torch.device | None = None,
        runtime: str = "eager",
        batch_size: int = 256,
    ) -> None:
        check_pair(net, spec)
        self.device = pick_device(str(device) if isinstance(device, torch.device) else device)
        self.spec, self.batch_size = spec, integer("batch_size", batch_size, 1)
        self.net = placed(net.eval(), self.device)
        example = torch.zeros(2, *spec.input_shape, device=self.device)
        self.engine = engine(self.net, example, runtime, most=self.batch_size)
        # ONNX Runtime takes a batch from the CPU to its GPU by itself, and brings the answers back.
        self.feed = torch.device("cpu") if isinstance(self.engine, OnnxNet) else self.device

    @classmethod
    def load(
        cls, path: str | Path, device: str | torch.device | None = None, **options: Any
    ) -> Predictor:
        """Return the predictor of a checkpoint file, or of a name that comes with the package.

        Args:
            path: of a file that `save` wrote, or "se_trader", "efficientnet_micro",
                "efficientnet_patterns".
            device: default what `training.device` gives.
            options: ``runtime`` and ``batch_size``.

        Raises:
            CheckpointError: as `load`: the file is damaged or altered, or contradicts itself.
        """
        net, spec = load(path)
        return cls(net, spec, device=device, **options)

    def inputs(
        self, candles: pd.DataFrame, n: int | None = 1
    ) -> tuple[np.ndarray, pd.DatetimeIndex]:
        """Return the images of the newest ``n`` bars (None: all that can be), and their opens."""
        return from_candles(candles, self.spec, n)

    def answers(self, images: np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """Return probabilities (B, 3), float64, of sell, hold and buy, and gates (B, C) or None."""
        x = to_tensor(images, self.spec)
        made = [self.engine(part.to(self.feed)) for part in x.split(self.batch_size)]
        columns = [torch.cat(parts).cpu() for parts in zip(*made, strict=True)]
        probabilities = columns[0].double().softmax(1).numpy()
        return probabilities, columns[1].double().numpy() if len(columns) > 1 else None

    def predict(
        self, images: np.ndarray | Tensor, times: Sequence[Any] | pd.DatetimeIndex | None = None
    ) -> list[Signal]:
        """Return one `Signal` an image, in order.

        Args:
            images: windows of channels in their own units, float (B, C, T); or pictures, uint8
                as drawn or float32 in [0, 1], (B, C, H, W).
            times: opens of the bars at which they end, (B,); without them a signal's time is NaT.

        Raises:
            ArgumentError: images of another shape or type, empty or not finite; times of another
                number.
        """
        probabilities, gates = self.answers(images)
        stamps = [pd.NaT] * len(probabilities) if times is None else list(times)
        if len(stamps) != len(probabilities):
            raise ArgumentError("times", times, f"{len(probabilities)} times, one an image")
        names = self.spec.preprocessing.get("columns", ())
        rows = [None] * len(stamps) if gates is None else gates.tolist()
        named = [None if row is None else dict(zip(names, row, strict=True)) for row in rows]
        return [
            from_probabilities(time, p, attention=attention)  # type: ignore[arg-type]
            for time, p, attention in zip(stamps, probabilities, named, strict=True)
        ]
