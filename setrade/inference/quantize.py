"""Eight bits: a net whose weights and activations are 256 steps, and the gate it has to pass.

Source: B. Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference; the conversions are ONNX Runtime's ``quantize_static`` and
``quantize_dynamic``.
"""

from __future__ import annotations

import io
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from setrade.errors import ArgumentError, Pickled, array, choice, flag, number
from setrade.inference.runtimes import onnxruntime, open_session, to_numpy

# As ONNX Runtime names them, which is imported only where something is rounded.
METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
ACTIVATIONS = {8: "QUInt8", 16: "QUInt16"}
WEIGHTS = {8: "QInt8", 16: "QInt16"}


class QuantizationRefused(Pickled, ValueError):
    """An INT8 model decides too often unlike the net that it was made from.

    Attributes:
        agreement: share of examples decided alike, in [0, 1].
        at_least: the share that was asked for.
    """

    def __init__(self, agreement: float, at_least: float) -> None:
        self.agreement, self.at_least = agreement, at_least
        super().__init__(
            f"INT8 refused: {agreement:.1%} of decisions as in float32, at least {at_least:.1%} "
            "wanted; exclude layers, quantise weights per channel, or stay with float32"
        )


@dataclass(frozen=True)
class Recipe:
    """What is rounded, and how a range becomes steps.

    Args:
        per_channel: a step for each output channel of a weight; else one a layer.
        calibration: of the range of activations: "minmax" of all that was seen; "percentile",
            which cuts one value in ten thousand; "entropy" as ``quantize_static`` sets it, with
            128 bins for 128 steps, which cuts nothing.
        reduce_range: 7 bits of weight. Without VNNI, sums of two 8-bit products are cut off at
            16 bits, so that a file answers differently on another processor; 7 bits always fit.
        activations: bits of an activation, 8 or 16; 0: read off each batch at run time.
        weights: bits of a weight, 8 or 16.
        only: pattern of the names of the graph's nodes that are rounded; None: all.
        but: pattern of those that stay in float32; None: none.

    Raises:
        ArgumentError: an unknown method or number of bits, no flag, or no regular expression.
    """

    per_channel: bool = True
    calibration: str = "minmax"
    reduce_range: bool = False
    activations: int = 8
    weights: int = 8
    only: str | None = None
    but: str | None = None

    def __post_init__(self) -> None:
        flag("per_channel", self.per_channel)
        flag("reduce_range", self.reduce_range)
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


class _CalibrationReader:
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
        str(ready), str(result), _CalibrationReader(images),  # type: ignore[arg-type]
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

    Ask on the machine that will answer: eight bits differ between processors (`Recipe`).

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
