"""Speed of the SE block: against timm's, and over the reduction ratio."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from setrade import se
from setrade.compat import import_timm

SHAPES = {"net": (256, 32, 60), "wide": (64, 128, 240), "indicators": (1024, 16, 60)}
REDUCTIONS = (1, 2, 4, 8, 16)


def step(block: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Return a call that runs one forward and one backward pass."""
    upstream = torch.ones_like(x)

    def run() -> None:
        x.grad = None
        block.zero_grad()
        block(x).backward(upstream)

    return run


@pytest.mark.parametrize("shape", SHAPES)
def test_se_block_no_slower_than_timm(race, shape):
    """One forward and backward pass on the same tensor; timm sees it as a picture one high."""
    import_timm()
    from timm.layers.squeeze_excite import SqueezeExcite

    batch, channels, time = SHAPES[shape]
    x = torch.randn(batch, channels, time, requires_grad=True)
    x_row = x.detach()[:, :, None, :].requires_grad_()  # (B, C, 1, T), the same memory
    x_column = x.detach()[..., None].requires_grad_()  # (B, C, T, 1), likewise
    peer = SqueezeExcite(channels, rd_channels=channels // 4)
    medians = race(
        step(se.SEBlock(channels, 4), x),
        timm_row=step(peer, x_row),
        timm_column=step(peer, x_column),
        multiply_only=step(Multiply(channels), x),
    )
    timm = min(medians["timm_row"], medians["timm_column"])
    race.bound("timm", timm / medians["ours"], 1)


class Multiply(nn.Module):
    """The floor: gates that cost nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.full((channels, 1), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` times one stored gate a channel."""
        return x * self.gate


@pytest.mark.parametrize("channels", [32, 512])
def test_se_reduction(race, channels):
    """What the reduction ratio costs in time; the ratios are a result, not a requirement."""
    x = torch.randn(256, channels, 60, requires_grad=True)
    steps = {f"r{r}": step(se.SEBlock(channels, r), x) for r in REDUCTIONS}
    race(step(se.SEBlock(channels, 4), x), **steps)


def test_se_squeezes(race):
    """What each squeeze costs; the mean is ``ours``."""
    x = torch.randn(256, 32, 60, requires_grad=True)
    steps = {name: step(se.SEBlock(32, 4, name), x) for name in se.SQUEEZES}
    race(step(se.SEBlock(32, 4), x), **steps)


def test_se_cached(race):
    """One live window: gates kept against gates computed."""
    x, block = torch.randn(1, 32, 60), se.SEBlock(32, 4).eval()
    cached = se.CachedSE(block, every=10**9)
    with torch.no_grad():
        race(lambda: cached(x, 0), computed=lambda: block(x))
