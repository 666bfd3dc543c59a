"""What a call costs: not its mean but its quantiles, because the slow one misses the bar."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, array, integer, number
from setrade.models import SETrader
from setrade.se import CachedSE

STEADY, MOST_WARM = 2.0, 10  # a call that takes so many times another is not steady yet


@dataclass(frozen=True)
class Latency:
    """Quantiles of one call's milliseconds, examples a second at the median, and calls timed."""

    p50: float
    p95: float
    p99: float
    throughput: float
    calls: int

    @classmethod
    def of(cls, seconds: np.ndarray, batch: int = 1) -> Latency:
        """Return the figures of timed calls (n,) of ``batch`` examples each."""
        s = array("seconds", seconds, ndim=1).astype(float)
        if s.min() <= 0:
            raise ArgumentError("seconds", float(s.min()), "times above 0")
        p50, p95, p99 = np.quantile(s, [0.5, 0.95, 0.99]) * 1e3
        rate = integer("batch", batch, 1) * 1e3 / p50
        return cls(float(p50), float(p95), float(p99), float(rate), len(s))


def waiting(device: torch.device) -> Callable[[], None]:
    """Return what waits until a device has done all that it was told."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def warm_up(call: Callable[[], Any], wait: Callable[[], None]) -> None:
    """Call at least twice, and until one call is no slower than twice the one before.

    A compiler may begin anew at the second call, or the third, when it meets another shape.
    """
    before = math.inf
    for count in range(1, MOST_WARM + 1):
        start = time.perf_counter()
        call()
        wait()
        now = time.perf_counter() - start
        if count > 1 and before / STEADY <= now <= STEADY * before:
            return
        before = now


def measure(
    call: Callable[[], Any], *, batch: int = 1, seconds: float = 3.0, min_calls: int = 5,
    device: str | torch.device = "cpu",
) -> Latency:  # fmt: skip
    """Return the `Latency` of a call, after some that warm up.

    Time one runtime a process: the thread pools of two disturb each other.

    Args:
        call: without arguments.
        batch: examples in one call.
        seconds: how long to go on.
        min_calls: calls in any case.
        device: a GPU is waited for, before and after; it has to be the one that computes.
    """
    limit = number("seconds", seconds, 0, above=True)
    min_calls = integer("min_calls", min_calls, 1)
    wait = waiting(torch.device(device))
    warm_up(call, wait)
    taken: list[float] = []
    while len(taken) < min_calls or (sum(taken) < limit and len(taken) < 100_000):
        wait()
        start = time.perf_counter()
        call()
        wait()
        taken.append(time.perf_counter() - start)
    return Latency.of(np.array(taken), batch)


class CachedTrader(nn.Module):
    """An `SETrader` whose gates are kept for ``every`` bars.

    Args:
        net: with a block on its input channels.
        every: bars that gates are kept; 1 recomputes always.

    Raises:
        ArgumentError: a net without gates on its inputs.
    """

    def __init__(self, net: SETrader, every: int) -> None:
        super().__init__()
        if not isinstance(net, SETrader) or net.se is None or net.gate != "input":
            raise ArgumentError("net", net, "an SETrader with a block on its input channels")
        self.cached, self.twin = CachedSE(net.se, every), net.twin().eval()

    def forward(self, x: Tensor, step: int, symbol: Hashable = None) -> Tensor:
        """Map windows (B, C, T) of bar number ``step`` to the net's answers."""
        return self.twin(self.cached(x, step, symbol))
