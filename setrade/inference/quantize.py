"""Eight bits: weights and activations as 256 steps, and the gate that such a net has to pass.

Source: B. Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference; the conversions are ONNX Runtime's ``quantize_static`` and
``quantize_dynamic``.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from setrade.errors import ArgumentError, array, choice, number

from .arrays import to_numpy
from .errors import QuantizationRefused
from .recipes import ACTIVATIONS, METHODS, RECIPES, WEIGHTS, Recipe, left_in_float
from .sessions import onnxruntime, open_session


class _Reader:
    """Calibration images in batches of one size, at most 16: histograms are stacked."""

    def __init__(self, images: np.ndarray) -> None:
        size = max(k for k in range(1, 17) if len(images) % k == 0)
        self.parts = iter(np.split(images, len(images) // size))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next feed, or None at the end."""
        part = next(self.parts, None)
        return None if part is None else {"images": part}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converter's advice, and what it prints of its histograms."""
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().setLevel(before)


def quantize(
    model: bytes, calibration: np.ndarray | Tensor, recipe: str | Recipe = "per_channel"
) -> bytes:
    """Return an ONNX model in eight bits, its ranges read off the calibration images.

    Quantise and dequantise nodes (QDQ) surround what the recipe rounds.

    Args:
        model: as `to_onnx` gives it.
        calibration: float32 (B, ...) as the net is given them; **training** images.
        recipe: a name in ``RECIPES``, or one's own.

    Raises:
        ArgumentError: no model, an unknown recipe, or images that are empty, not finite, no
            floats, or of another shape than the model takes.
        MissingRuntimeError: ONNX Runtime, whose converter this is, is not installed.
    """
    how = recipe if isinstance(recipe, Recipe) else RECIPES[choice("recipe", recipe, RECIPES)]
    onnxruntime("INT8")
    images = _calibration(model, calibration)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, ready, result = (Path(folder) / f"{name}.onnx" for name in "abc")
        source.write_bytes(model)
        _convert(source, ready, result, how, images)
        return result.read_bytes()


def _convert(source: Path, ready: Path, result: Path, how: Recipe, images: np.ndarray) -> None:
    """Write the rounded model to ``result``, by way of a tidied one."""
    import onnx
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    names = [node.name for node in onnx.load(ready).graph.node]
    shared: dict[str, Any] = {
        "per_channel": how.per_channel, "reduce_range": how.reduce_range,
        "nodes_to_exclude": left_in_float(names, how),
    }  # fmt: skip
    if how.activations == 0:
        q.quantize_dynamic(str(ready), str(result), weight_type=q.QuantType.QInt8, **shared)
        return
    q.quantize_static(
        str(ready), str(result), _Reader(images),  # type: ignore[arg-type]
        quant_format=q.QuantFormat.QDQ,
        activation_type=q.QuantType[ACTIVATIONS[how.activations]],
        weight_type=q.QuantType[WEIGHTS[how.weights]],
        calibrate_method=q.CalibrationMethod[METHODS[how.calibration]],
        extra_options={"CalibPercentile": 99.99}, **shared,
    )  # fmt: skip


def _calibration(model: bytes, images: Any) -> np.ndarray:
    """Return calibration images in float32 that the model takes."""
    x = array("calibration", to_numpy("calibration", images, ("float32", "float64")))
    with np.errstate(over="ignore"):
        x = array("calibration", np.ascontiguousarray(x, np.float32))
    wanted = open_session(model, 1).get_inputs()
    if [entry.name for entry in wanted] != ["images"]:
        raise ArgumentError("model", [entry.name for entry in wanted], "one input, images")
    shape = wanted[0].shape[1:]  # a name where any length will do
    fits = x.ndim == len(shape) + 1 and all(
        n == m or isinstance(n, str) for n, m in zip(shape, x.shape[1:], strict=True)
    )
    if not fits:
        raise ArgumentError("calibration", images, f"shape (batch, {', '.join(map(str, shape))})")
    return x


def agreement(logits: np.ndarray | Tensor, reference: np.ndarray | Tensor) -> float:
    """Return the share of examples (B, K) whose largest logit is the reference's."""
    mine = array("logits", to_numpy("logits", logits), ndim=2)
    theirs = array("reference", to_numpy("reference", reference), ndim=2)
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
    if len(np.unique(to_numpy("reference", reference).argmax(1))) < 2:
        raise ArgumentError("reference", reference, "logits that decide for two classes or more")
    if share < number("at_least", at_least, 0, 1):
        raise QuantizationRefused(share, at_least)
    return share
