"""One trial of the scaling experiment: draw, train, test; all of it decided by a seed."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from setrade.errors import integer

from .formations import CLASSES, draw_pictures
from .small import SmallNet

BATCH, LR, N_TEST, TEST_SEED = 32, 6e-3, 2048, 10**6


class Trial(NamedTuple):
    """Share of fresh pictures classed right, and the mean cross-entropy on them."""

    accuracy: float
    loss: float


def run_trial(
    blocks: int, width: float, side: int, *, seed: int, steps: int = 200, device: str = "cpu"
) -> Trial:
    """Train a `SmallNet` on ``steps`` batches that it sees once, and test it on fresh pictures.

    The seed decides the pictures, their order and the first weights. The pictures tested on are
    the same in every trial. The learning rate rises and falls once (Smith and Topin 2019).

    Args:
        blocks: of the net, as its ``width``.
        width: factor on channels.
        side: of the pictures, in pixels.
        seed: of the trial.
        steps: batches of ``BATCH`` pictures.
        device: where to train.
    """
    steps = integer("steps", steps, 2)
    x, y = draw_pictures(steps * BATCH, side, seed=seed)
    torch.manual_seed(seed)
    net = SmallNet(blocks, width, len(CLASSES)).to(device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for pictures, classes in zip(x.split(BATCH), y.split(BATCH), strict=True):
        optimizer.zero_grad()
        F.cross_entropy(net(_put(pictures, device)), classes.to(device)).backward()
        optimizer.step()
        schedule.step()
    return _test(net, side, device)


def _put(pictures: Tensor, device: str) -> Tensor:
    """Return pictures on ``device``, channels last: a third faster for nets this narrow."""
    return pictures.to(device, memory_format=torch.channels_last)


@torch.no_grad()
def _test(net: SmallNet, side: int, device: str) -> Trial:
    """Return how a trained net does on the test pictures."""
    x, y = draw_pictures(N_TEST, side, seed=TEST_SEED)
    net.eval()
    outputs = torch.cat([net(_put(part, device)).cpu() for part in x.split(256)])
    accuracy = (outputs.argmax(1) == y).double().mean()
    return Trial(float(accuracy), float(F.cross_entropy(outputs, y)))
