"""Strategy 3: one trunk, three heads, and losses whose weights are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.costs import Costs
from setrade.efficientnet import EfficientNet, Variant
from setrade.errors import MOST, ArgumentError, array, choice, integer, number, tensor
from setrade.labels import forward_return, sell_hold_buy
from setrade.training import Examples


def task_targets(
    candles: pd.DataFrame, horizon: int, *, costs: Costs | None = None, multiple: float = 1.0
) -> pd.DataFrame:
    """Return the answers after each bar: direction, magnitude, volatility.

    All three look at the same future, from the fill at the open of t+1 to the open
    ``horizon`` bars later.

    Args:
        candles: n checked bars.
        horizon: bars, at least 2.
        costs: for the hold class, as in ``labels.sell_hold_buy``.
        multiple: the same.

    Returns:
        A frame (n, 3): ``direction`` 0 sell, 1 hold, 2 buy; ``magnitude`` the forward return, a
        fraction with its sign; ``volatility`` the log of the root mean square of the bars' log
        returns. Rows without a complete future are NaN.

    Raises:
        ArgumentError: a bad argument, or a future in which the price never moves.
    """
    horizon = integer("horizon", horizon, 2)
    magnitude = forward_return(candles, horizon)
    # From the open of t+1 to that of t+2, put at t.
    opens = array("candles", candles["open"], ndim=1)
    steps = pd.Series(np.log(opens), candles.index).diff().shift(-2)
    square = (steps**2).rolling(horizon).mean().shift(-(horizon - 1))
    flat = square.index[square.to_numpy() == 0]
    if len(flat):
        raise ArgumentError("candles", str(flat[0]), "an open that moves within every horizon")
    direction = sell_hold_buy(magnitude, costs, multiple=multiple)
    columns = {"direction": direction, "magnitude": magnitude, "volatility": np.log(square) / 2}
    return pd.DataFrame(columns)


class TaskSet:
    """Examples whose inputs come from another set, and whose targets are one array a task.

    Args:
        source: any `Examples`, such as ``pictures.PictureSet``; its own targets are not used.
        targets: arrays (len(source),) by task: integers become int64, floats float32.

    Raises:
        ArgumentError: not one finite target an example.
    """

    def __init__(self, source: Examples, targets: Mapping[str, Any]) -> None:
        if not isinstance(source, Examples):
            raise ArgumentError("source", source, "examples with len() and batch(rows)")
        if not isinstance(targets, Mapping) or not targets:
            raise ArgumentError("targets", targets, "a mapping of task to array")
        self.source, self.targets = source, {}
        for task, values in targets.items():
            y = np.asarray(values)
            kind = np.float32 if y.dtype.kind == "f" else np.int64
            fits = y.shape == (len(source),) and y.dtype.kind in "iuf" and not (y > MOST).any()
            with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
                if not fits or not np.isfinite(y := y.astype(kind)).all():
                    allowed = f"{len(source)} finite numbers for {task}"
                    raise ArgumentError("targets", values, allowed)
            self.targets[task] = torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Tensor) -> tuple[Any, dict[str, Tensor]]:
        """Return the inputs of ``rows`` and their targets by task."""
        return self.source.batch(rows)[0], {task: y[rows] for task, y in self.targets.items()}


# ---- The net.


HEADS = {"direction": 3, "magnitude": 1, "volatility": 1}  # outputs of each task's head
TASKS = tuple(HEADS)


def checked_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return task names as a tuple; raise unless known, at least one, none twice."""
    allowed = "different names out of " + ", ".join(TASKS)
    if isinstance(tasks, str) or not isinstance(tasks, Sequence) or not tasks:
        raise ArgumentError("tasks", tasks, allowed)
    names = tuple(choice("tasks", name, TASKS) for name in tasks)
    if len(set(names)) < len(names):
        raise ArgumentError("tasks", tasks, allowed)
    return names


class MultiTaskNet(nn.Module):
    """A picture's features, read by one linear layer a task.

    The trunk draws its weights first: two nets built from one seed share every weight of it,
    whatever their heads. A net with one task is therefore the fair single-task twin.

    Args:
        variant: of the trunk, a name in ``efficientnet.VARIANTS`` or a `Variant`.
        tasks: names out of ``TASKS``, in any order.
        in_channels: of the picture.
        drop_connect: as in `EfficientNet`.

    Attributes:
        log_variance: (tasks,) learned by `MultiTaskLoss` when it is handed over; a parameter of
            the net, so that the optimiser, the best weights and checkpoints all know it.

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self,
        variant: str | Variant = "micro",
        tasks: Sequence[str] = TASKS,
        in_channels: int = 3,
        drop_connect: float = 0.0,
    ) -> None:
        super().__init__()
        self.tasks = checked_tasks(tasks)
        self.trunk = EfficientNet(variant, 0, in_channels, drop_connect)
        width = self.trunk.num_features
        self.heads = nn.ModuleDict({name: nn.Linear(width, HEADS[name]) for name in self.tasks})
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map pictures (B, C, H, W) to direction's logits (B, 3) and the others' values (B,)."""
        shared = self.trunk(x)  # (B, num_features)
        outputs = {name: head(shared) for name, head in self.heads.items()}
        return {name: y if HEADS[name] > 1 else y[:, 0] for name, y in outputs.items()}

    def only(self, task: str) -> nn.Module:
        """Return a module that answers one task alone, as ``training.predict`` wants it."""
        return _Only(self, choice("task", task, self.tasks))


class _Only(nn.Module):
    """One entry of a net's outputs."""

    def __init__(self, net: MultiTaskNet, task: str) -> None:
        super().__init__()
        self.net, self.task = net, task

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, C, H, W) to this task's output."""
        return self.net(x)[self.task]


# ---- The loss.
#
# With a log variance s for each task, the loss of a regression (mean squared error L) is
# ``exp(-s) L / 2 + s / 2``, that of a classification (cross-entropy L) ``exp(-s) L + s / 2``.
# A task that stays wrong gets a large s and so a small weight; s / 2 keeps s from growing on.
# Source: A. Kendall, Y. Gal and R. Cipolla (2018), Multi-Task Learning Using Uncertainty to Weigh
# Losses, equations 5 to 10, with s = log sigma².


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
    if tensor("log_variance", log_variance, ndim=1).shape != (len(names),):
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
