"""A net small enough to scale by hand: the experiment behind compound scaling.

The published search gave every candidate twice the operations of B0 (Tan and Le 2019, section
3.3, step 1). Here the base takes seconds to train, so that the search can be repeated.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, array, integer, number

from .blocks import ConvNorm, MBConv, init_weights
from .cost import multiply_adds
from .scaling import Scale, search_coefficients

STEM, STAGES, HEAD = 8, (12, 24), 96  # channels of the base
BLOCKS, EXPAND, BASE_SIDE = 5, 4, 24
KNOBS = ("depth", "width", "resolution")


class SmallNet(nn.Module):
    """Stem, two stages of MBConv, head, mean over pixels, classifier; three whole knobs.

    Args:
        blocks: MBConv blocks in all, at least 2; the second stage has the odd one.
        width: factor on the base's channels, rounded to whole channels (no multiple of 8:
            at this size that rounding would hide the knob).
        num_classes: outputs.
    """

    def __init__(self, blocks: int = BLOCKS, width: float = 1.0, num_classes: int = 8) -> None:
        super().__init__()
        blocks, width = integer("blocks", blocks, 2), number("width", width, 0, above=True)
        stem, first, second, head = (max(1, round(c * width)) for c in (STEM, *STAGES, HEAD))
        start, layers, channels = blocks // 2, [], stem
        for i in range(blocks):
            out = first if i < start else second
            layers.append(MBConv(channels, out, EXPAND, 3, 2 if i == start else 1))
            channels = out
        self.stem = ConvNorm(3, stem, 3, 2)
        self.blocks = nn.Sequential(*layers)
        self.head = ConvNorm(channels, head, 1)
        self.classifier = nn.Linear(head, integer("num_classes", num_classes, 1))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W) to (B, num_classes)."""
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))


def relative_cost(blocks: int, width: float, side: int) -> float:
    """Return the multiply-adds of a `SmallNet` for one picture, in units of the base's."""
    return _cost(blocks, width, side) / _cost(BLOCKS, 1.0, BASE_SIDE)


@cache
def _cost(blocks: int, width: float, side: int) -> int:
    """Return the multiply-adds of a `SmallNet` for one picture of ``side`` pixels."""
    with torch.device("meta"):
        count = multiply_adds(SmallNet(blocks, width), side)
    return count


def spend(shares: tuple[float, float, float], budget: float = 2.0) -> tuple[int, float, int]:
    """Return (blocks, width, side) that spend ``budget`` times the base's multiply-adds.

    Blocks, alone, are added until the counted cost is nearest ``budget ** share``, and so are
    pixels. Both are whole numbers, so the width, the finest knob, then settles the total.

    Args:
        shares: of depth, width and resolution in log(budget), each at least 0, with sum 1.
        budget: factor on the base's multiply-adds, above 1.

    Raises:
        ArgumentError: shares that are negative or do not sum to 1.
    """
    budget = number("budget", budget, 1, 64, above=True)
    a, b, c = (number("shares", s, 0, 1) for s in shares)
    if abs(a + b + c - 1) > 1e-6:
        raise ArgumentError("shares", shares, "three shares that sum to 1")
    most = range(BLOCKS, int(BLOCKS * budget) + 3)
    blocks = min(most, key=lambda n: abs(relative_cost(n, 1.0, BASE_SIDE) - budget**a))
    sides = range(BASE_SIDE, int(BASE_SIDE * budget**0.5) + 5)
    side = min(sides, key=lambda s: abs(relative_cost(BLOCKS, 1.0, s) - budget**c))
    widths = [round(0.5 + 0.01 * i, 2) for i in range(int(100 * budget))]
    place = bisect_left(widths, budget, key=lambda w: relative_cost(blocks, w, side))
    near = widths[place - 1 : place + 1]
    width = min(near, key=lambda w: abs(relative_cost(blocks, w, side) - budget))
    return blocks, width, side


def shares(scale: Scale) -> tuple[float, float, float]:
    """Return which share of the growth in operations goes to depth, width and resolution."""
    parts = [math.log(f) for f in (scale.depth, scale.width**2, scale.resolution**2)]
    if min(parts) < 0 or sum(parts) == 0:
        raise ArgumentError("scale", scale, "factors of at least 1 that make the net dearer")
    a, b, c = (part / sum(parts) for part in parts)
    return a, b, c


def _terms(points: np.ndarray) -> np.ndarray:
    """Return the six terms of a quadratic surface over shares (n, 3) as (n, 6)."""
    a, b, _ = points.T
    return np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], -1)


def smooth_coefficients(points: np.ndarray, accuracy: np.ndarray) -> tuple[float, float, float]:
    """Return the (alpha, beta, gamma) of the published grid that a smooth surface likes best.

    A quadratic surface is fitted to the accuracies by least squares; `search_coefficients` asks
    the surface where it would have trained a net.

    Args:
        points: shares of depth, width and resolution ``(n, 3)``, n at least 6.
        accuracy: of each point ``(n,)``.
    """
    x, y = array("points", points, ndim=2, min_length=3), array("accuracy", accuracy, ndim=1)
    if x.shape[1] != 3 or len(x) < 6 or len(x) != len(y):
        raise ArgumentError("points", points, f"{len(y)} points of three shares, 6 or more")
    surface, *_ = np.linalg.lstsq(_terms(x), y, rcond=None)
    return search_coefficients(lambda scale: float(_terms(np.array([shares(scale)]))[0] @ surface))
