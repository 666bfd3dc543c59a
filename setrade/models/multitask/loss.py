"""The sum of the tasks' losses, weighted by how uncertain the net finds each task.

With a log variance s for each task, the loss of a regression (mean squared error L) is
``exp(-s) L / 2 + s / 2``, that of a classification (cross-entropy L) ``exp(-s) L + s / 2``.
A task that stays wrong gets a large s and so a small weight; s / 2 keeps it from growing for ever.
Source: A. Kendall, Y. Gal and R. Cipolla (2018), Multi-Task Learning Using Uncertainty to Weigh
Losses, equations 5 to 10, with s = log sigma².
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.errors import ArgumentError, choice, number

from .net import HEADS, TASKS, checked_tasks


def task_losses(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], tasks: Sequence[str] = TASKS
) -> Tensor:
    """Return the plain loss of each task: cross-entropy of direction, squared error of the rest.

    Args:
        outputs: of `MultiTaskNet`.
        targets: direction (B,) int64, the others (B,) float32, best of mean 0 and variance 1.
        tasks: which, and in which order.

    Returns:
        (tasks,), each the mean over the batch.

    Raises:
        ArgumentError: a task is missing, or its target has another shape than its output.
    """
    losses = []
    for task in checked_tasks(tasks):
        for name, values in (("outputs", outputs), ("targets", targets)):
            if not isinstance(values, Mapping) or task not in values:
                raise ArgumentError(name, list(values), f"a mapping with {task!r}")
        y, truth = outputs[task], targets[task]
        if truth.shape != y.shape[:1]:
            raise ArgumentError("targets", truth, f"shape {tuple(y.shape[:1])} for {task}")
        losses.append(F.cross_entropy(y, truth) if HEADS[task] > 1 else F.mse_loss(y, truth))
    return torch.stack(losses)


def _factors(tasks: Sequence[str], like: Tensor) -> Tensor:
    """Return 1 for a classification and 1/2 for a regression, (tasks,)."""
    return like.new_tensor([1.0 if HEADS[task] > 1 else 0.5 for task in tasks])


class MultiTaskLoss(nn.Module):
    """One number out of several losses, for ``training.fit(..., loss=...)``.

    Args:
        tasks: those of the net, in its order.
        log_variance: ``net.log_variance``, to be learned with the net (without weight decay,
            which would pull it to 0); None adds the plain losses, each with weight 1.

    Raises:
        ArgumentError: unknown tasks, or not one log variance a task.
    """

    def __init__(
        self, tasks: Sequence[str] = TASKS, log_variance: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        self.tasks = checked_tasks(tasks)
        if log_variance is not None and log_variance.shape != (len(self.tasks),):
            raise ArgumentError("log_variance", log_variance, f"shape ({len(self.tasks)},)")
        self.log_variance = log_variance

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Return the scalar loss of outputs and targets by task."""
        losses, s = task_losses(outputs, targets, self.tasks), self.log_variance
        if s is None:
            return losses.sum()
        return (_factors(self.tasks, losses) * torch.exp(-s) * losses + s / 2).sum()


def task_weights(log_variance: Tensor, tasks: Sequence[str] = TASKS) -> dict[str, float]:
    """Return what each task's plain loss is multiplied by: exp(-s), halved for a regression."""
    names = checked_tasks(tasks)
    if not isinstance(log_variance, Tensor) or log_variance.shape != (len(names),):
        raise ArgumentError("log_variance", log_variance, f"a tensor of shape ({len(names)},)")
    weights = _factors(names, log_variance) * torch.exp(-log_variance.detach())
    return dict(zip(names, weights.tolist(), strict=True))


def best_log_variance(task: str, loss: float) -> float:
    """Return the log variance at which a task's weighted loss is least, its plain loss given.

    Setting the derivative to zero gives log L for a regression and log 2L for a classification.
    At that point every task adds 1/2 beside its s / 2, whatever its scale.
    """
    factor = 1.0 if HEADS[choice("task", task, TASKS)] > 1 else 0.5
    value = number("loss", loss, 0, above=True)
    return float(torch.log(torch.tensor(2 * factor * value, dtype=torch.float64)))
