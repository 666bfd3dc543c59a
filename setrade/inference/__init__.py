"""From a trained net to a fast and trusted one: checkpoints, engines, eight bits, timing.

Chapter 21 writes the folding and the rounding out by hand. A `Predictor` carries all that a
file of weights does not say: which net, fed how, answering what; and refuses what contradicts.
"""

from .checkpoint import FOLDER, load, save
from .errors import CheckpointError, MissingRuntimeError, QuantizationRefused
from .export import OnnxNet, to_onnx
from .fold import fold_batch_norms
from .inputs import from_candles, to_tensor
from .predictor import Predictor
from .quantize import agreement, quantize, require_agreement
from .recipes import RECIPES, Recipe
from .runtimes import RUNTIMES, engine, plain
from .sessions import providers
from .spec import Spec
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
