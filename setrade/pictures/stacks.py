"""Encoders by name, and stacks of any of them as the channels of one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from setrade.charts import candlesticks
from setrade.errors import ArgumentError, choice, integer
from setrade.gramian import gadf, gasf, transition_field
from setrade.pictures.inputs import to_input
from setrade.recurrence import recurrence

CLOSE = 3


@dataclass(frozen=True)
class Encoder:
    """A function that draws windows, and the values that it gives.

    Args:
        draw: ``draw(windows, *extras, out=...)`` from ``(B, 5, n)`` to uint8 or float32
            pictures ``(B, C, H, W)`` or ``(B, H, W)``, into ``out`` unless that is None.
        bounds: the least and the largest value of float pictures; None for uint8.
    """

    draw: Callable[..., np.ndarray]
    bounds: tuple[float, float] | None = None


def _candles(size: int, **options: Any) -> Encoder:
    return Encoder(lambda x, out=None: candlesticks(x, size, size, out=out, **options))


def _gasf(size: int, **options: Any) -> Encoder:
    return Encoder(lambda x, out=None: gasf(x[:, CLOSE], size, out=out, **options), (-1.0, 1.0))


def _gadf(size: int, **options: Any) -> Encoder:
    return Encoder(lambda x, out=None: gadf(x[:, CLOSE], size, out=out, **options), (-1.0, 1.0))


def _transition(size: int, **options: Any) -> Encoder:
    def draw(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return transition_field(x[:, CLOSE], size, out=out, **options)

    return Encoder(draw, (0.0, 1.0))


def _recurrence(size: int, *, dim: int = 1, delay: int = 1, quantile: float = 0.1) -> Encoder:
    """Threshold at a quantile of each picture's distances, so that no unit of price matters."""

    def draw(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        bars = size + (dim - 1) * delay
        if x.shape[-1] != bars:
            raise ArgumentError("windows", x, f"{bars} bars: recurrence plots are not resized")
        return recurrence(x[:, CLOSE], dim, delay, quantile=quantile, out=out)

    return Encoder(draw, (0.0, 1.0))


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "candles": _candles,
    "gasf": _gasf,
    "gadf": _gadf,
    "transition": _transition,
    "recurrence": _recurrence,
}


def encoder(name: str, size: int, **options: Any) -> Encoder:
    """Return a named encoder for square pictures; all but ``"candles"`` draw the close.

    Args:
        name: one of ``ENCODERS``.
        size: side of the picture in pixels. A recurrence plot takes windows of exactly
            ``size + (dim - 1) * delay`` bars, Gramian and transition fields of at least ``size``,
            candles of at most ``size``.
        options: what the encoder takes besides, such as ``colours="seed"``.

    Raises:
        ArgumentError: an unknown name or a bad size.
    """
    return ENCODERS[choice("name", name, ENCODERS)](integer("size", size, 2), **options)


class Stack:
    """Encoders drawn on top of each other as channels, into buffers that are kept.

    A call returns a view of a kept buffer: it holds until the next call. The bytes kept are
    ``nbytes``, for each picture its own bytes as drawn and four for each number that the net
    is given.

    Args:
        encoders: `Encoder` objects of pictures of one size.

    Raises:
        ArgumentError: there is no encoder, or one is no `Encoder`.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        good = isinstance(encoders, Sequence) and all(isinstance(e, Encoder) for e in encoders)
        if not good or not encoders:
            raise ArgumentError("encoders", encoders, "a sequence of at least one Encoder")
        self.encoders = tuple(encoders)
        self._drawn: list[np.ndarray | None] = [None] * len(self.encoders)
        self._input = torch.empty(0)

    @property
    def nbytes(self) -> int:
        """How many bytes the kept buffers hold now."""
        return sum(x.nbytes for x in self._drawn if x is not None) + self._input.nbytes

    def __call__(self, windows: np.ndarray, *extras: np.ndarray) -> Tensor:
        """Draw windows ``(B, 5, n)``; return float32 ``(B, C, H, W)`` in [0, 1].

        Raises:
            ArgumentError: as the encoders; or their pictures differ in size.
        """
        n = len(windows)
        drawn = [self._draw(i, windows, extras) for i in range(len(self.encoders))]
        if len({p.shape[-2:] for p in drawn}) > 1:
            raise ArgumentError("encoders", [p.shape for p in drawn], "pictures of one size")
        channels = [p.shape[1] if p.ndim == 4 else 1 for p in drawn]
        shape = (sum(channels), *drawn[0].shape[-2:])
        if len(self._input) < n or self._input.shape[1:] != shape:
            self._input = torch.empty((n, *shape))
        result = self._input[:n]
        for part, picture, e in zip(result.split(channels, 1), drawn, self.encoders, strict=True):
            to_input(picture, e.bounds, out=part)
        return result

    def _draw(self, i: int, windows: np.ndarray, extras: tuple[np.ndarray, ...]) -> np.ndarray:
        """Draw with encoder i, into its kept buffer where that is long enough."""
        kept, n = self._drawn[i], len(windows)
        if kept is not None and len(kept) >= n:
            return self.encoders[i].draw(windows, *extras, out=kept[:n])
        self._drawn[i] = picture = self.encoders[i].draw(windows, *extras, out=None)
        return picture
