"""Where a net trains, from which seed, on what, and how it stops, resumes and reports."""

from setrade.training.data import Examples, TensorSet, WindowSet, describe, device, seed_everything
from setrade.training.loop import (
    CheckpointError,
    History,
    Plan,
    PositionLoss,
    TrainingError,
    class_weights,
    fit,
    predict,
)

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
