"""The architecture as data: the stages of B0 and how each variant scales them.

Source: Tan and Le (2019), table 1; the factors of B1 to B7 are those of the authors' code, which
are not exact powers of the paper's coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A run of MBConv blocks: expansion, kernel, first stride, B0's width and repeats."""

    expand: int
    kernel: int
    stride: int
    channels: int
    repeats: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 1280


@dataclass(frozen=True)
class Variant:
    """Factors on B0's width and depth, the picture's side in pixels, and the head's dropout."""

    width: float
    depth: float
    resolution: int
    dropout: float
    stem_stride: int = 2


VARIANTS = {
    "b0": Variant(1.0, 1.0, 224, 0.2),
    "b1": Variant(1.0, 1.1, 240, 0.2),
    "b2": Variant(1.1, 1.2, 260, 0.3),
    "b3": Variant(1.2, 1.4, 300, 0.3),
    "b4": Variant(1.4, 1.8, 380, 0.4),
    "b5": Variant(1.6, 2.2, 456, 0.4),
    "b6": Variant(1.8, 2.6, 528, 0.5),
    "b7": Variant(2.0, 3.1, 600, 0.5),
    # Ours, for small pictures on two cores: the law run backwards, and a stem that keeps size.
    "mini": Variant(0.5, 0.5, 64, 0.2),
    "micro": Variant(0.25, 0.3, 64, 0.1),
    "nano": Variant(0.25, 0.3, 32, 0.1, stem_stride=1),
}
