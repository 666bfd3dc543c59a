"""Weights for rare classes, and a loss for nets that answer with a position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, integer, number


def class_weights(y: Tensor, num_classes: int = 3) -> Tensor:
    """Return weights (num_classes,) that make every class count alike: n / (k · count).

    Args:
        y: targets (n,), int64.
        num_classes: k; each class must occur.

    Returns:
        float32 weights whose mean over the examples is 1, for ``nn.CrossEntropyLoss(weight=...)``.
    """
    num_classes = integer("num_classes", num_classes, 2)
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.ndim != 1:
        raise ArgumentError("y", y, "an int64 tensor of classes")
    if not len(y) or y.min() < 0 or y.max() >= num_classes:
        raise ArgumentError("y", y, f"classes 0 … {num_classes - 1}")
    counts = torch.bincount(y, minlength=num_classes)
    if (counts == 0).any():
        raise ArgumentError("y", counts.tolist(), "at least one example of each class (counts)")
    return len(y) / (num_classes * counts.float())


class PositionLoss(nn.Module):
    """Minus the mean profit after costs of positions in [-1, 1]: the loss of a tanh head.

    Profit of one example: ``p · r - cost · |p|``, with the forward return r. Each example pays its
    own round trip, which is the worst case: a position that is kept pays less.

    Args:
        cost: the round trip as a fraction, e.g. 0.0013.
        unit: returns are divided by it, so that the loss is of order one; e.g. the standard
            deviation of the training returns.
    """

    def __init__(self, cost: float = 0.0, unit: float = 1.0) -> None:
        super().__init__()
        self.cost, self.unit = number("cost", cost, 0), number("unit", unit, 0, above=True)

    def forward(self, position: Tensor, returns: Tensor) -> Tensor:
        """Return the scalar loss of positions (B,) and forward returns (B,)."""
        if position.shape != returns.shape:
            raise ArgumentError(
                "position", position, f"the shape of returns, {tuple(returns.shape)}"
            )
        return -(position * returns - self.cost * position.abs()).mean() / self.unit
