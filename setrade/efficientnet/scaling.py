"""Compound scaling: one number buys depth, width and resolution together.

Source: Tan and Le (2019), section 3.3, equation 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from setrade.errors import ArgumentError, instance, integer, number

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15


class _Factors(NamedTuple):
    depth: float
    width: float
    resolution: float


class Scale(_Factors):
    """Factors on B0's number of layers, of channels, and on the side of its picture; above zero."""

    __slots__ = ()

    def __new__(cls, depth: float, width: float, resolution: float) -> Scale:
        given = {"depth": depth, "width": width, "resolution": resolution}
        return super().__new__(cls, *(number(k, v, 0, above=True) for k, v in given.items()))

    @property
    def flops(self) -> float:
        """Return the factor on the operations, depth * width² * resolution²."""
        return self.depth * self.width**2 * self.resolution**2


def compound_scale(
    phi: float, alpha: float = ALPHA, beta: float = BETA, gamma: float = GAMMA
) -> Scale:
    """Return depth alpha**phi, width beta**phi, resolution gamma**phi.

    Args:
        phi: how many doublings of the operations to spend; below 0 the net shrinks.
        alpha: factor on depth for one doubling, at least 1.
        beta: factor on width, at least 1.
        gamma: factor on resolution, at least 1.
    """
    phi = number("phi", phi, -20, 20)
    base = {"alpha": alpha, "beta": beta, "gamma": gamma}
    return Scale(*(number(name, value, 1) ** phi for name, value in base.items()))


def round_channels(channels: float, width: float = 1.0, divisor: int = 8) -> int:
    """Return ``channels * width`` at the nearest multiple of ``divisor``, never below 90 %."""
    wanted = number("channels", channels, 0, above=True) * number("width", width, 0, above=True)
    divisor = integer("divisor", divisor, 1)
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * wanted else rounded


def round_repeats(repeats: int, depth: float = 1.0) -> int:
    """Return ``repeats * depth`` rounded up: a stage never loses its last block."""
    return math.ceil(integer("repeats", repeats, 1) * number("depth", depth, 0, above=True))


def candidates(
    step: float = 0.05, tolerance: float = 0.1, target: float = 2.0
) -> list[tuple[float, float, float]]:
    """Return the grid points (alpha, beta, gamma) with alpha * beta² * gamma² near ``target``.

    Args:
        step: of the grid.
        tolerance: largest distance of the product from ``target``.
        target: factor on the operations for one step of phi.
    """
    step = number("step", step, 0, 1, above=True)
    tolerance, target = number("tolerance", tolerance, 0), number("target", target, 1, 8)
    n = int((target + tolerance - 1) / step + 1e-9)
    grid = [round(1 + i * step, 10) for i in range(n + 1)]
    return [
        (a, b, g)
        for a in grid
        for b in grid
        for g in grid
        if abs(a * b**2 * g**2 - target) <= tolerance + 1e-12
    ]


def search_coefficients(
    score: Callable[[Scale], float],
    *,
    step: float = 0.05,
    tolerance: float = 0.1,
    target: float = 2.0,
) -> tuple[float, float, float]:
    """Return the (alpha, beta, gamma) on the grid whose net at phi = 1 scores best.

    Args:
        score: trains and judges a net scaled by a `Scale`; higher is better, and a net that
            diverged (NaN) never wins.
        step: as in ``candidates``, as are the others.
        tolerance: largest distance of alpha * beta² * gamma² from ``target``.
        target: factor on the operations.

    Returns:
        The first best point in the grid's order.

    Raises:
        ArgumentError: no grid point fulfils the constraint, or all scores are NaN.
    """
    points = candidates(step, tolerance, target)
    if not points:
        raise ArgumentError("tolerance", tolerance, "wide enough for one point of the grid")
    scores = [float(score(Scale(*point))) for point in points]
    if all(map(math.isnan, scores)):
        raise ArgumentError("score", score, "a number for at least one point; all are NaN")
    lowest = [-math.inf if math.isnan(x) else x for x in scores]
    return points[lowest.index(max(lowest))]


# ---- What a net costs.


def count_parameters(net: nn.Module) -> int:
    """Return the number of trained numbers; the running statistics of batch norm are not."""
    return sum(p.numel() for p in instance("net", net, nn.Module, "a net").parameters())


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Hold a net in evaluation mode; put every part back into the mode it was in."""
    modes = [(part, part.training) for part in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def multiply_adds(net: nn.Module, side: int, in_channels: int = 3) -> int:
    """Return the multiply-adds of convolutions and linear layers for one picture.

    The paper calls these FLOPS; PyTorch's counter counts a multiplication and an addition as
    two. Norms, activations and gates' products are left out, as in the paper. A net on the
    ``meta`` device is counted without computing anything.

    Args:
        net: takes pictures (1, in_channels, side, side).
        side: of the picture, in pixels.
        in_channels: of the picture.
    """
    shape = (1, integer("in_channels", in_channels, 1), *[integer("side", side, 1)] * 2)
    parameter = next(instance("net", net, nn.Module, "a net").parameters(), torch.zeros(()))
    with FlopCounterMode(display=False) as counter, torch.no_grad(), evaluating(net):
        net(torch.zeros(shape, device=parameter.device, dtype=parameter.dtype))
    return counter.get_total_flops() // 2
