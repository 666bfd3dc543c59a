"""One EfficientNet trunk and a linear head for each task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from setrade.efficientnet import EfficientNet, Variant
from setrade.errors import ArgumentError, choice

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
