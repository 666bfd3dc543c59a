"""Which squeeze finds which planted switch: 5 squeezes x 5 tasks x 20 seeds.

Every net sees fresh windows at each step, so that nothing can be learned by heart; its score
is 1 for a gate that follows the switch and 0 for a constant gate of one half.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

import torch
from torch import nn
from tqdm import tqdm

from setrade import results, se
from setrade.toys import CHANNELS, CONTEXT, SIGNAL, SWITCHES, draw_switch


class Gated(nn.Module):
    """An SE block, then a linear reading of the newest bar."""

    def __init__(self, squeeze: str) -> None:
        super().__init__()
        self.block = se.SEBlock(CHANNELS, reduction=1, squeeze=squeeze)
        self.head = nn.Linear(CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one number a window."""
        return self.head(self.block(x)[:, :, -1])[:, 0]


def train(task: str, squeeze: str, seed: int, steps: int) -> Gated:
    """Return a net trained on ``steps`` batches of 128 windows drawn from ``seed``."""
    torch.manual_seed(seed)
    net = Gated(squeeze)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.015)
    for step in range(steps):
        X, y = draw_switch(task, 128, seed=seed * 100_000 + step)
        loss = (net(X) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


@torch.no_grad()
def score(net: Gated, task: str) -> float:
    """Return the share of the constant gate's error that the net removes, on 4,096 windows."""
    X, y = draw_switch(task, 4096, seed=10**9)
    constant = (0.5 * X[:, SIGNAL, -1] - y).square().mean()
    return float(1 - (net(X) - y).square().mean() / constant)


def main() -> None:
    """Train every cell of the grid and store scores and learned half-lives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)  # these nets are too small to share
    start, scores, halflives = time.perf_counter(), {}, {}
    for task, squeeze, seed in tqdm(list(product(SWITCHES, se.SQUEEZES, range(args.seeds)))):
        net = train(task, squeeze, seed, args.steps)
        scores.setdefault(task, {}).setdefault(squeeze, []).append(round(score(net, task), 4))
        if squeeze == "ewm":
            half = net.get_parameter("block.squeeze.log_halflife").exp()[CONTEXT].item()
            halflives.setdefault(task, []).append(round(half, 3))
    results.save(
        "squeeze_tasks",
        {"steps": args.steps, "scores": scores, "context_halflife": halflives},
        command="make study STUDY=squeeze_tasks",
        seed=list(range(args.seeds)),
        seconds=time.perf_counter() - start,
    )


if __name__ == "__main__":
    main()
