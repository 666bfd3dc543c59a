"""From a trained net to a fast and trusted one: checkpoints, engines, eight bits, timing.

Chapter 21 writes the folding and the rounding out by hand. A `Predictor` carries all that a
file of weights does not say: which net, fed how, answering what; and refuses what contradicts.
"""

from setrade.inference.checkpoint import (
    CheckpointError,
    MissingRuntimeError,
    QuantizationRefused,
    Spec,
)
from setrade.inference.predictor import from_candles, to_tensor
from setrade.inference.quantize import RECIPES, Recipe
from setrade.inference.runtimes import OnnxNet, fold_batch_norms, providers, to_onnx

from .checkpoint import FOLDER, load, save
from .predictor import Predictor
from .quantize import agreement, quantize, require_agreement
from .runtimes import RUNTIMES, engine, plain
from .timing import CachedTrader, Latency, measure

__all__ = [
    "FOLDER",
    "RECIPES",
    "RUNTIMES",
    "CachedTrader",
    "CheckpointError",
    "Latency",
    "MissingRuntimeError",
    "OnnxNet",
    "Predictor",
    "QuantizationRefused",
    "Recipe",
    "Spec",
    "agreement",
    "engine",
    "fold_batch_norms",
    "from_candles",
    "load",
    "measure",
    "plain",
    "providers",
    "quantize",
    "require_agreement",
    "save",
    "to_onnx",
    "to_tensor",
]
