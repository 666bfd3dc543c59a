"""Training examples gathered by number, so that overlapping windows are never copied whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from setrade.errors import ArgumentError, array, choice, integer


@runtime_checkable
class Examples(Protocol):
    """Anything that has a length and gives the examples of some rows as ``(x, y)``."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> tuple[Any, Any]:
        """Return the inputs and the targets of ``rows`` (int64, in that order)."""
        ...


class TensorSet:
    """Examples that exist already as one tensor of inputs and one of targets, row by row."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        if len(x) != len(y) or not len(x):
            raise ArgumentError("y", y, f"as many targets as inputs, {len(x)}, and at least one")
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of ``rows``."""
        return self.x[rows], self.y[rows]


class WindowSet:
    """Windows of channels that end at given bars, each with its target; a batch is one gather.

    The memory is that of the channels, (n, C) float32, whatever the lookback: a batch copies
    its own windows only.

    Args:
        channels: (n, C) numbers, one row a bar, newest last; finite wherever a window reads.
        targets: (n,) one target a bar; finite at ``ends``.
        ends: (m,) bar numbers at which windows end, as a split gives them.
        lookback: bars of a window, T.
        kind: "class" (targets 0, 1, 2, ... as int64) or "value" (float32).

    Raises:
        ArgumentError: names the argument; a NaN under a window is refused, never filled.
    """

    def __init__(
        self,
        channels: pd.DataFrame | np.ndarray,
        targets: pd.Series | np.ndarray,
        ends: np.ndarray,
        lookback: int,
        *,
        kind: str = "class",
    ) -> None:
        x = array("channels", channels, ndim=2, finite=False)
        y = array("targets", targets, ndim=1, finite=False)
        self.lookback = integer("lookback", lookback, 1, len(x))
        ends = _checked_ends(ends, self.lookback, len(x))
        if len(y) != len(x):
            raise ArgumentError("targets", targets, f"one a bar: {len(x)}")
        _finite_windows(x, ends, self.lookback)
        choice("kind", kind, ("class", "value"))
        chosen = y[ends]
        whole = kind == "value" or ((chosen >= 0) & (chosen == np.floor(chosen))).all()
        if not np.isfinite(chosen).all() or not whole:
            raise ArgumentError("targets", targets, f"a finite {kind} at every bar in ends")
        self.channels = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        self.y = torch.from_numpy(chosen.astype(np.int64 if kind == "class" else np.float32))
        self.ends = torch.from_numpy(ends)

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows (B, C, T) float32, newest bar last, and targets (B,)."""
        views = self.channels.unfold(0, self.lookback, 1)  # (n - T + 1, C, T), no copy
        return views[self.ends[rows] - self.lookback + 1], self.y[rows]

    def all(self) -> tuple[Tensor, Tensor]:
        """Return every window and target as one batch: (m, C, T) in memory."""
        return self.batch(torch.arange(len(self)))


def _checked_ends(ends: np.ndarray, lookback: int, n_bars: int) -> np.ndarray:
    """Return ``ends`` as int64 within [lookback - 1, n_bars)."""
    ends = array("ends", ends, ndim=1)
    if ends.dtype.kind not in "iu" or ends.min() < lookback - 1 or ends.max() >= n_bars:
        raise ArgumentError(
            "ends", ends, f"integers from lookback - 1 = {lookback - 1} to {n_bars - 1}"
        )
    return ends.astype(np.int64)


def _finite_windows(x: np.ndarray, ends: np.ndarray, lookback: int) -> None:
    """Raise unless every bar under a window is finite; the error names the first that is not."""
    bad = np.cumsum(np.r_[0, ~np.isfinite(x).all(axis=1)])
    hit = bad[ends + 1] - bad[ends + 1 - lookback] > 0
    if hit.any():
        end = int(ends[hit.argmax()])
        row = (
            end
            - lookback
            + 1
            + int((~np.isfinite(x[end - lookback + 1 : end + 1]).all(1)).argmax())
        )
        raise ArgumentError(
            "channels", x[row], f"finite numbers under every window; bar {row} is not"
        )


def move(value: Any, device: torch.device) -> Any:
    """Return tensors, also inside tuples, lists and dicts, on ``device``."""
    if isinstance(value, Tensor):
        # Elsewhere it gains nothing, or (on MPS) lets the buffer change while it is copied.
        pinned = device.type == "cuda" and value.device.type == "cpu" and value.is_pinned()
        return value.to(device, non_blocking=pinned)
    if isinstance(value, dict):
        return {key: move(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(move(item, device) for item in value)
    return value


def batches(
    data: Any, batch_size: int, device: torch.device, generator: torch.Generator | None = None
) -> Iterator[tuple[Any, Any]]:
    """Yield ``(x, y)`` on ``device``: shuffled with ``generator``, in order without one.

    What is no `Examples` (a DataLoader, a list of batches) is iterated as it is.
    """
    if isinstance(data, Examples):
        n = len(data)
        order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        source = (data.batch(rows) for rows in order.split(batch_size))
    else:
        source = iter(data)
    for x, y in source:
        yield move(x, device), move(y, device)


def count_batches(data: Any, batch_size: int) -> int:
    """Return how many batches one pass over ``data`` takes."""
    return -(-len(data) // batch_size) if isinstance(data, Examples) else len(data)
