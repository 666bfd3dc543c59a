"""What is rounded to how many bits: the choices that `quantize` offers, by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from setrade.errors import ArgumentError, choice

# As ONNX Runtime names them, which is imported only where something is rounded.
METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
ACTIVATIONS = {8: "QUInt8", 16: "QUInt16"}
WEIGHTS = {8: "QInt8", 16: "QInt16"}


@dataclass(frozen=True)
class Recipe:
    """What is rounded, and how a range becomes steps.

    Args:
        per_channel: a step for each output channel of a weight; else one a layer.
        calibration: of the range of activations: "minmax" of all that was seen; "percentile",
            which cuts one value in ten thousand; "entropy" as ``quantize_static`` sets it, with
            128 bins for 128 steps, which cuts nothing.
        reduce_range: 7 bits of weight: without VNNI, sums of two 8-bit products overflow.
        activations: bits of an activation, 8 or 16; 0: read off each batch at run time.
        weights: bits of a weight, 8 or 16.
        only: pattern of the names of the graph's nodes that are rounded; None: all.
        but: pattern of those that stay in float32; None: none.

    Raises:
        ArgumentError: an unknown method or number of bits, or no regular expression.
    """

    per_channel: bool = True
    calibration: str = "minmax"
    reduce_range: bool = False
    activations: int = 8
    weights: int = 8
    only: str | None = None
    but: str | None = None

    def __post_init__(self) -> None:
        choice("calibration", self.calibration, METHODS)
        for name, value, bits in (
            ("activations", self.activations, (0, *ACTIVATIONS)),
            ("weights", self.weights, tuple(WEIGHTS)),
        ):
            if value not in bits:
                raise ArgumentError(name, value, f"one of {bits}")
        for name, pattern in (("only", self.only), ("but", self.but)):
            try:
                re.compile(pattern or "")
            except (re.error, TypeError) as error:
                raise ArgumentError(name, pattern, f"a regular expression ({error})") from error


LAYERS = r"/(Conv|Gemm)$"  # not what lies between them: swish, gates' products, sums
ENDS = r"^/net/(stem|head|classifier)/"
RECIPES: dict[str, Recipe] = {
    "per_tensor": Recipe(per_channel=False),
    "per_channel": Recipe(),
    "percentile": Recipe(calibration="percentile"),
    "entropy": Recipe(calibration="entropy"),
    "reduce_range": Recipe(reduce_range=True),
    "no_se": Recipe(but="/se/"),
    "no_ends": Recipe(but=ENDS),
    "layers_only": Recipe(only=LAYERS),
    "dense_only": Recipe(only=LAYERS, but=f"{ENDS}|/se/|/depthwise/|/conv_dw/"),
    "dynamic": Recipe(activations=0),
    "activations_16": Recipe(activations=16),
}


def left_in_float(names: list[str], recipe: Recipe) -> list[str]:
    """Return the names of the nodes that a recipe does not round."""
    only, but = recipe.only or "", recipe.but or "$^"
    return [n for n in names if not re.search(only, n) or re.search(but, n)]
