"""Gates that are kept for some bars: for live use, where the gates move slowly."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, integer


class CachedSE(nn.Module):
    """Recompute a block's gates every ``every`` steps, and use the kept ones in between.

    Kept gates are dropped when they would be another market's or another time's: on
    ``reset()``, on a new ``symbol``, when ``step`` goes backwards, and when batch size, dtype
    or device change. One object serves one symbol at a time; after loading new weights call
    ``reset()``. For inference: no gradient flows into the gates. It keeps state in Python, so
    export the block inside it instead.

    Args:
        block: any block with ``gates(x) -> (B, C)`` whose forward is ``x`` times its gates.
        every: how many steps gates are kept; 1 recomputes always.

    Raises:
        ArgumentError: naming the argument that is of the wrong type or out of range.
    """

    def __init__(self, block: nn.Module, every: int) -> None:
        super().__init__()
        if not callable(getattr(block, "gates", None)) or hasattr(block, "time_gates"):
            raise ArgumentError("block", block, "a block that only multiplies by gates(x)")
        self.block, self.every = block, integer("every", every, 1)
        self.reset()

    def reset(self) -> None:
        """Forget the kept gates: the next call computes its own."""
        self.kept: Tensor | None = None
        self.key: tuple[Hashable, ...] | None = None
        self.made_at = self.last_step = 0

    def gates(self, x: Tensor, step: int, symbol: Hashable = None) -> Tensor:
        """Return the gates ``(B, C)`` to use at ``step``, kept or computed from ``x``."""
        step = integer("step", step, 0)
        if not isinstance(x, Tensor) or x.ndim != 3:
            raise ArgumentError("x", x, "a float tensor (batch, channels, time)")
        key = (symbol, x.shape[:2], x.dtype, x.device)
        old = step < self.last_step or step - self.made_at >= self.every
        kept = self.kept
        if kept is None or key != self.key or old:
            with torch.no_grad():
                kept = self.kept = self.block.gates(x)  # type: ignore[operator]
            self.key, self.made_at = key, step
        self.last_step = step  # only now: a refused window must not count as seen
        return kept

    def forward(self, x: Tensor, step: int, symbol: Hashable = None) -> Tensor:
        """Return ``x`` ``(B, C, T)`` times the gates kept for this step and symbol.

        Args:
            x: the windows, newest bar last.
            step: the number of the bar, counting up, at least 0.
            symbol: what market ``x`` is from; any hashable, such as a tuple, one a row.
        """
        return x * self.gates(x, step, symbol)[:, :, None]
