"""Tasks with a known answer: when is channel 0 to be trusted? Each is made for one squeeze.

In every task the target is the newest bar of channel 0, the signal, while a switch is on, and
0 while it is off. Something in channels 1 and 2 says whether it is on; channel 3 is noise. A
gate that finds the switch solves the task, and a squeeze that cannot see it cannot.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from setrade.errors import choice, integer

CHANNELS, SIGNAL, CONTEXT, MARKER = 4, 0, 1, 2
PLANTED_HALFLIFE = 2.0  # bars


def _level(x: Tensor, rng: torch.Generator) -> Tensor:
    on = torch.rand(len(x), generator=rng) < 0.5
    x[:, CONTEXT] += torch.where(on, 0.8, -0.8)[:, None]
    return on


def _spike(x: Tensor, rng: torch.Generator) -> Tensor:
    on = torch.rand(len(x), generator=rng) < 0.5
    bars = torch.rand(len(x), x.shape[-1], generator=rng).argsort(1)[:, :7]
    jump = torch.tensor([6.0] + [-1.0] * 6) * torch.where(on, 1.0, -1.0)[:, None]
    x[:, CONTEXT] = x[:, CONTEXT].scatter_add(1, bars, jump)  # the mean does not move
    return on


def _now(x: Tensor, rng: torch.Generator) -> Tensor:
    return x[:, CONTEXT, -1] > 0


def _recent(x: Tensor, rng: torch.Generator) -> Tensor:
    age = torch.arange(x.shape[-1] - 1, -1, -1)
    return (x[:, CONTEXT] * 0.5 ** (age / PLANTED_HALFLIFE)).sum(-1) > 0


def _marked(x: Tensor, rng: torch.Generator) -> Tensor:
    bar = torch.randint(x.shape[-1], (len(x), 1), generator=rng)
    x[:, MARKER] = torch.zeros_like(x[:, MARKER]).scatter(1, bar, 1.0)
    return x[:, CONTEXT].gather(1, bar)[:, 0] > 0


SWITCHES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "level": _level,  # the context's mean is +0.8 or -0.8
    "spike": _spike,  # one context bar jumps up, six sink a little, or the other way round
    "now": _now,  # the newest context bar is positive
    "recent": _recent,  # the context, weighted by a half-life of 2 bars, is positive
    "marked": _marked,  # the context is positive at the one bar where the marker is 1
}


def draw_switch(task: str, n: int, time: int = 16, *, seed: int) -> tuple[Tensor, Tensor]:
    """Draw ``n`` windows of a task and their targets.

    Args:
        task: a name from ``SWITCHES``.
        n: number of windows.
        time: bars a window, at least 7.
        seed: seed of the draw.

    Returns:
        ``X`` float32 ``(n, 4, time)`` and ``y`` float32 ``(n,)``: the newest signal where the
        switch is on, else 0.

    Raises:
        ArgumentError: naming the argument that is of the wrong type or out of range.
    """
    plant = SWITCHES[choice("task", task, SWITCHES)]
    shape = (integer("n", n, 1), CHANNELS, integer("time", time, 7))
    rng = torch.Generator().manual_seed(integer("seed", seed, 0))
    x = torch.randn(shape, generator=rng)
    on = plant(x, rng)
    return x, torch.where(on, x[:, SIGNAL, -1], 0.0)
