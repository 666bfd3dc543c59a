"""Strategy 3: one trunk, three heads, and losses whose weights are learned."""

from .loss import MultiTaskLoss, best_log_variance, task_losses, task_weights
from .net import HEADS, TASKS, MultiTaskNet
from .targets import TaskSet, task_targets

__all__ = [
    "HEADS",
    "TASKS",
    "MultiTaskLoss",
    "MultiTaskNet",
    "TaskSet",
    "best_log_variance",
    "task_losses",
    "task_targets",
    "task_weights",
]
