"""From a file of weights to signals, with nothing left to remember in between."""

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

from setrade.errors import ArgumentError, integer
from setrade.signals import Signal, from_probabilities
from setrade.training import device as pick_device

from .checkpoint import load
from .export import OnnxNet
from .inputs import from_candles, to_tensor
from .runtimes import engine
from .spec import Spec, check_pair


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
            path: of a file that `save` wrote, or "se_trader", "efficientnet_micro".
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
