"""The next move of the mid price, read from heat maps of the order book.

An EfficientNet takes the mean over all pixels before it decides, which forgets the row; but the
first level weighs more than the tenth because of where it is. `BookNet` mixes snapshots in time
and keeps the rows apart until its last layer, as DeepLOB does with levels.
Source: Z. Zhang, S. Zohren and S. Roberts (2019), DeepLOB, section IV, for that order of mixing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, array, choice, integer, number, places
from setrade.orderbook import Snapshots
from setrade.orderbook.measures import heatmap
from setrade.pictures import to_input


class BookNet(nn.Module):
    """Two convolutions along time, then one linear layer over rows and channels.

    Args:
        rows: price rows of the heat maps.
        hidden: channels inside.
        num_classes: outputs.
        kernel: snapshots that a convolution sees, odd.
        dropout: before the last layer.

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self,
        rows: int = 32,
        hidden: int = 8,
        num_classes: int = 3,
        kernel: int = 5,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.rows, hidden = integer("rows", rows, 1), integer("hidden", hidden, 1)
        kernel = integer("kernel", kernel, 1)
        # Stride 1: with 2 the last step could miss the newest snapshot, the one that counts most.
        self.mix = nn.Sequential(
            nn.Conv2d(2, hidden, (1, kernel)),
            nn.SiLU(),
            nn.Conv2d(hidden, hidden, (1, kernel)),
            nn.SiLU(),
        )
        self.dropout = nn.Dropout(number("dropout", dropout, 0, 0.99))
        width = 2 * hidden * rows  # the newest step beside the mean over time
        self.decide = nn.Linear(width, integer("num_classes", num_classes, 1))
        self.min_window = 2 * kernel - 1

    def forward(self, x: Tensor) -> Tensor:
        """Map heat maps (B, 2, rows, window), newest column last, to logits (B, num_classes)."""
        like = self.decide.weight.dtype
        dense = isinstance(x, Tensor) and x.layout == torch.strided and not x.is_meta
        if not dense or (x.dtype != like and not torch.is_autocast_enabled(x.device.type)):
            raise ArgumentError("x", x, f"a dense tensor of {like}, as the weights")
        if x.ndim != 4 or x.shape[1:3] != (2, self.rows) or x.shape[3] < self.min_window:
            raise ArgumentError("x", x, f"(B, 2, {self.rows}, {self.min_window} or more columns)")
        y = self.mix(x)  # (B, hidden, rows, steps)
        both = torch.cat([y[..., -1], y.mean(3)], 1)  # (B, 2 hidden, rows)
        return self.decide(self.dropout(both.flatten(1)))


class BookSet:
    """Heat maps made on the fly, each ending at a snapshot, with the target of that snapshot.

    Args:
        books: N snapshots.
        targets: (N,), classes or values; NaN where no window ends.
        ends: (m,) rows of ``books`` at which pictures end.
        rows: price rows.
        span_bps: they reach this far above and below each column's own mid.
        window: snapshots a picture.
        largest: size in base coin that becomes 1; sizes are drawn as logarithms, and one larger
            than this is drawn as this.
        kind: "class" (targets 0, 1, 2, as int64) or "value" (float32).

    Raises:
        ArgumentError: a bad argument, by name.
    """

    def __init__(
        self,
        books: Snapshots,
        targets: np.ndarray,
        ends: np.ndarray,
        *,
        rows: int = 32,
        span_bps: float = 2.0,
        window: int = 32,
        largest: float = 20.0,
        kind: str = "class",
    ) -> None:
        if not isinstance(books, Snapshots):
            raise ArgumentError("books", books, "orderbook.Snapshots")
        y = array("targets", targets, ndim=1, finite=False)
        self.window = integer("window", window, 1, len(books))
        at = places("ends", ends, self.window - 1, len(books) - 1)
        if len(y) != len(books) or not np.isfinite(y[at]).all():
            raise ArgumentError("targets", targets, "one a snapshot, finite at every end")
        self.books, self.ends = books, at
        whole = (y[at] >= 0) & (y[at] == np.floor(y[at]))
        if choice("kind", kind, ("class", "value")) == "class" and not whole.all():
            raise ArgumentError("targets", targets, "classes 0, 1, 2, ... at every end")
        dtype = np.int64 if kind == "class" else np.float32
        self.targets = torch.from_numpy(y[at].astype(dtype))
        span = number("span_bps", span_bps, 0, 9_999, above=True)
        self.options = {"rows": integer("rows", rows, 1), "span_bps": span, "window": window}
        self.top = float(np.float32(np.log1p(number("largest", largest, 0, above=True))))

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, rows: Tensor) -> tuple[Tensor, Any]:
        """Return pictures (B, 2, rows, window) in [0, 1] and targets (B,) of ``rows``."""
        drawn = heatmap(self.books, ends=self.ends[rows.numpy()], log=True, **self.options)
        np.minimum(drawn.volume, self.top, out=drawn.volume)
        return to_input(drawn.volume, (0.0, self.top)), self.targets[rows]
