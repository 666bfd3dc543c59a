"""The classical chart patterns as data: knots of a zigzag, and which way the textbooks read them.

A shape is a row of knots ``(time, level)``: time from 0 to 1 over the pattern's span, level in
units of its height. A bearish twin is its bullish one upside down, and a two-sided shape is
drawn either way up with equal chance.

Source: R. Edwards and J. Magee, Technical Analysis of Stock Trends (1948), for the shapes;
A. Lo, H. Mamaysky and J. Wang, Foundations of Technical Analysis (2000), section II.A, for the
idea of writing them down as a sequence of extrema.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """Knots; ``bias`` is what textbooks expect next (-1, 0, +1); ``two_sided``: either way up."""

    knots: Knots
    bias: int
    two_sided: bool = False


def _even(*levels: float) -> Knots:
    """Return knots at equal distances in time."""
    return tuple((i / (len(levels) - 1), level) for i, level in enumerate(levels))


def _mirrored(shape: Shape) -> Shape:
    """Return the shape upside down."""
    return Shape(tuple((t, 1 - level) for t, level in shape.knots), -shape.bias)


_HEAD = Shape(_even(0.0, 0.62, 0.3, 1.0, 0.3, 0.62, 0.15), -1)
_TOP = Shape(((0, 0.0), (0.3, 1.0), (0.52, 0.5), (0.74, 1.0), (1, 0.35)), -1)
_ASCENDING = Shape(_even(0.0, 1.0, 0.3, 1.0, 0.55, 1.0, 0.78), 1)
_FLAG = Shape(
    ((0, 0.0), (0.28, 1.0), (0.43, 0.72), (0.57, 0.92), (0.72, 0.62), (0.86, 0.82), (1, 0.54)), 1
)
_PENNANT = Shape(
    ((0, 0.0), (0.28, 1.0), (0.44, 0.62), (0.6, 0.93), (0.74, 0.7), (0.87, 0.87), (1, 0.77)),
    0, two_sided=True,
)  # fmt: skip
_SYMMETRIC = Shape(_even(0.35, 1.0, 0.0, 0.84, 0.18, 0.68, 0.34), 0, two_sided=True)
_CUP = Shape(
    (*((0.78 * u, (2 * u - 1) ** 2) for u in (i / 8 for i in range(9))), (0.9, 0.68), (1, 0.9)), 1
)

SHAPES: dict[str, Shape] = {
    "head_and_shoulders": _HEAD,
    "inverse_head_and_shoulders": _mirrored(_HEAD),
    "double_top": _TOP,
    "double_bottom": _mirrored(_TOP),
    "ascending_triangle": _ASCENDING,
    "descending_triangle": _mirrored(_ASCENDING),
    "symmetric_triangle": _SYMMETRIC,
    "bull_flag": _FLAG,
    "bear_flag": _mirrored(_FLAG),
    "pennant": _PENNANT,
    "cup_and_handle": _CUP,
}
NAMES = ("none", *SHAPES)
BIAS = np.array([0, *(shape.bias for shape in SHAPES.values())])
BIAS.flags.writeable = False


def tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return times and levels (shapes, most knots), knots of each shape, and two-sided flags."""
    most = max(len(shape.knots) for shape in SHAPES.values())
    times, levels = np.ones((2, len(SHAPES), most))
    for row, shape in enumerate(SHAPES.values()):
        times[row, : len(shape.knots)], levels[row, : len(shape.knots)] = np.transpose(shape.knots)
    counts = np.array([len(shape.knots) for shape in SHAPES.values()])
    return times, levels, counts, np.array([shape.two_sided for shape in SHAPES.values()])
