"""Eight bits: weights and activations as 256 steps, and the gate that such a net has to pass.

Source: B. Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference; the conversion is ONNX Runtime's ``quantize_static``.
"""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from setrade.errors import ArgumentError, array, choice, number

from .errors import QuantizationRefused

SE = r"/se/"  # the gate: its layers, its sigmoid and the product
ENDS = r"^/net/(stem|head|classifier)/"
DEPTHWISE = r"/depthwise/"
RECIPES: dict[str, dict[str, Any]] = {
    "per_tensor": {"per_channel": False, "reduce_range": False, "exclude": None},
    "per_channel": {"per_channel": True, "reduce_range": False, "exclude": None},
    # Without VNNI, sums of two products of 8 bits overflow 16 bits: 7 bits of weight do not.
    "reduce_range": {"per_channel": True, "reduce_range": True, "exclude": None},
    "no_se": {"per_channel": True, "reduce_range": True, "exclude": SE},
    "no_se_no_ends": {"per_channel": True, "reduce_range": True, "exclude": f"{SE}|{ENDS}"},
    "dense_only": {
        "per_channel": True, "reduce_range": True, "exclude": f"{SE}|{ENDS}|{DEPTHWISE}",
    },
}  # fmt: skip


class _Reader(CalibrationDataReader):
    """Calibration images in small batches."""

    def __init__(self, images: np.ndarray, size: int = 16) -> None:
        self.parts = iter([images[i : i + size] for i in range(0, len(images), size)])

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        """Return the next feed, or None at the end."""
        part = next(self.parts, None)
        return None if part is None else {"images": part}


def quantize(model: bytes, calibration: np.ndarray | Tensor, recipe: str = "reduce_range") -> bytes:
    """Return an ONNX model in eight bits, its ranges read off the calibration images.

    Quantise and dequantise nodes (QDQ) surround what is excluded by no recipe; weights int8,
    activations uint8 between the least and the largest value seen.

    Args:
        model: as `to_onnx` gives it.
        calibration: float32 (B, ...) as the net is given them; **training** images.
        recipe: a name in ``RECIPES``.

    Raises:
        ArgumentError: no model, an unknown recipe, or images that are empty or not finite.
    """
    options = dict(RECIPES[choice("recipe", recipe, RECIPES)])
    images = array("calibration", np.asarray(calibration), finite=True).astype(np.float32)
    if not isinstance(model, bytes) or not model:
        raise ArgumentError("model", type(model).__name__, "the bytes of an ONNX model")
    pattern = options.pop("exclude")
    quiet = logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder:
        source, ready, result = (Path(folder) / f"{name}.onnx" for name in "abc")
        source.write_bytes(model)
        logging.getLogger().setLevel(logging.ERROR)  # its advice is in the recipes
        try:
            quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            names = [node.name for node in onnx.load(ready).graph.node]
            left = [n for n in names if pattern and re.search(pattern, n)]
            quantize_static(
                str(ready), str(result), _Reader(images), quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                nodes_to_exclude=left, **options,
            )  # fmt: skip
        finally:
            logging.getLogger().setLevel(quiet)
        return result.read_bytes()


def agreement(logits: np.ndarray | Tensor, reference: np.ndarray | Tensor) -> float:
    """Return the share of examples (B, K) whose largest logit is the reference's."""
    mine = array("logits", np.asarray(logits), ndim=2)
    theirs = array("reference", np.asarray(reference), ndim=2)
    if mine.shape != theirs.shape:
        raise ArgumentError("logits", mine, f"shape {theirs.shape}, as the reference")
    return float((mine.argmax(1) == theirs.argmax(1)).mean())


def require_agreement(
    logits: np.ndarray | Tensor, reference: np.ndarray | Tensor, at_least: float = 0.98
) -> float:
    """Return the `agreement`; raise `QuantizationRefused` if it is below ``at_least``.

    Raises:
        ArgumentError: a reference that decides every example alike, on which any constant net
            would agree.
        QuantizationRefused: too little agreement.
    """
    share = agreement(logits, reference)
    if len(np.unique(np.asarray(reference).argmax(1))) < 2:
        raise ArgumentError("reference", reference, "logits that decide for two classes or more")
    if share < number("at_least", at_least, 0, 1):
        raise QuantizationRefused(share, at_least)
    return share
