"""Pictures made on the fly: as many as there are windows, in the memory of one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from setrade.compiled import at_most
from setrade.errors import ArgumentError, array, integer, places
from setrade.pictures.compose import Encoder, Stack


class PictureSet:
    """Windows, each with a target, drawn when a batch of them is asked for.

    It can be handed to ``training.fit`` as it is. A batch is drawn on one thread: that takes a
    fraction of a training step, and a second pool of threads, spinning beside torch's, would
    cost the step more than the drawing. It starts no worker processes, though it may be used in
    some, forked or spawned. A batch is a view of kept buffers and holds until the next one is
    asked for; clone it to keep it. The memory is ``stack.nbytes``: for B pictures of C
    channels B * C * H * W * (4 + b) bytes, b = 1 for charts and 4 for float encoders, whatever
    the number of windows; while a batch is drawn, its windows are copied twice as float64.

    Args:
        windows: candles ``(N, 5, n)``; a view such as ``candles.windows`` gives is not copied.
        targets: ``(N,)``, integers (classes) or floats.
        encoders: one `Encoder`, or several, stacked as channels.
        rows: the windows that belong to the set, in order, such as a split gives; default all.
        extras: arrays of N rows that the encoders take besides the windows, such as
            `book_imbalance`.

    Raises:
        ArgumentError: a bad argument, by name.
    """

    def __init__(
        self,
        windows: np.ndarray,
        targets: np.ndarray,
        encoders: Encoder | Sequence[Encoder],
        *,
        rows: np.ndarray | None = None,
        extras: Sequence[np.ndarray] = (),
    ) -> None:
        if not isinstance(windows, np.ndarray) or windows.ndim != 3 or not len(windows):
            raise ArgumentError("windows", windows, "an array (N, 5, n), not empty")
        self.windows, self.extras = windows, tuple(extras)
        y = array("targets", targets, ndim=1)
        for name, x in (("targets", y), *(("extras", x) for x in self.extras)):
            if len(x) != len(windows):
                raise ArgumentError(name, x, f"{len(windows)} rows, one for each window")
        kind = np.float32 if y.dtype.kind == "f" else np.int64
        self.targets = torch.from_numpy(y.astype(kind))
        n = len(windows)
        self.rows = np.arange(n) if rows is None else places("rows", rows, 0, n - 1)
        self.stack = Stack((encoders,) if isinstance(encoders, Encoder) else encoders)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
        """Draw the pictures of ``rows`` (positions in this set, in any order).

        Returns:
            float32 ``(B, C, H, W)`` in [0, 1], a view that holds until the next batch, and the
            targets ``(B,)``, int64 or float32.
        """
        chosen = self.rows[places("rows", rows, 0, len(self) - 1)]
        with at_most(1):
            pictures = self.stack(self.windows[chosen], *(x[chosen] for x in self.extras))
        return pictures, self.targets[torch.from_numpy(chosen)]

    def stream(
        self, batch_size: int, *, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all batches once, in order, or shuffled by ``seed``; the last may be smaller."""
        size = integer("batch_size", batch_size, 1)
        order = np.arange(len(self))
        if seed is not None:
            np.random.default_rng(integer("seed", seed, 0)).shuffle(order)
        return (self.batch(order[i : i + size]) for i in range(0, len(order), size))
