"""From a trained net to a fast and trusted one: checkpoints, engines, eight bits, timing.

Chapter 21 writes the folding and the rounding out by hand. A `Predictor` carries all that a
file of weights does not say: which net, fed how, answering what; and refuses what contradicts.
"""

from setrade.inference.checkpoint import FOLDER, CheckpointError, Spec, load, save
from setrade.inference.predictor import Predictor, from_candles, to_tensor
from setrade.inference.quantize import (
    RECIPES,
    QuantizationRefused,
    Recipe,
    agreement,
    quantize,
    require_agreement,
)
from setrade.inference.runtimes import (
    RUNTIMES,
    MissingRuntimeError,
    OnnxNet,
    engine,
    fold_batch_norms,
    plain,
    providers,
    to_onnx,
)
from setrade.inference.timing import CachedTrader, Latency, measure

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
