"""Where a net trains, from which seed, on what, and how it stops, resumes and reports."""

from setrade.training.checkpoint import CheckpointError
from setrade.training.data import Examples, TensorSet, WindowSet
from setrade.training.devices import describe, device, seed_everything
from setrade.training.loop import TrainingError, fit, predict
from setrade.training.losses import PositionLoss, class_weights
from setrade.training.plan import History, Plan

__all__ = [
    "CheckpointError",
    "Examples",
    "History",
    "Plan",
    "PositionLoss",
    "TensorSet",
    "TrainingError",
    "WindowSet",
    "class_weights",
    "describe",
    "device",
    "fit",
    "predict",
    "seed_everything",
]
