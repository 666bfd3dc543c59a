"""Engines against eager PyTorch, on the same pictures, in turns.

The two engines share this process, so each waits until the other's threads have gone to sleep.
`make study STUDY=latency` times them in processes of their own.
"""

from __future__ import annotations

import time

import pytest
import torch

from setrade import inference, training
from setrade.efficientnet import EfficientNet
from setrade.models import SETrader


def rested(call, x):
    """Return a call that first lets the other runtime's threads stop spinning."""

    def run():
        time.sleep(0.03)
        start = time.perf_counter()
        call(x)
        run.seconds.append(time.perf_counter() - start)

    run.seconds = []
    return run


def compare(race, net, x, wanted):
    """Race ONNX Runtime against eager; assert the ratio of medians of the calls alone."""
    eager = rested(inference.engine(net, x, "eager"), x)
    fast = rested(inference.engine(net, x, "onnx"), x)
    race(fast, seconds=4.0, eager=eager)
    medians = [sorted(call.seconds)[len(call.seconds) // 2] for call in (eager, fast)]
    ratio = medians[0] / medians[1]
    print(f"\neager {medians[0] * 1e3:.2f} ms, onnx {medians[1] * 1e3:.2f} ms: {ratio:.2f} times")
    assert ratio >= wanted


@pytest.mark.parametrize(("side", "batch", "wanted"), [(224, 1, 2.2), (224, 32, 4.0), (64, 1, 4.0)])
def test_b0_with_onnx_runtime(race, side, batch, wanted):
    """Issue: 2.2 times at batch 1, 4 at batch 32, 4 at 64 pixels.

    The ratio at batch 32 was set where eager faults its memory anew; the Makefile's allocator
    settings speed up eager itself.
    """
    training.seed_everything(0)
    compare(race, EfficientNet("b0", 3).eval(), torch.rand(batch, 3, side, side), wanted)


def test_se_trader_with_onnx_runtime(race):
    """Issue: 5 times at batch 1."""
    torch.set_num_threads(1)
    net, spec = inference.load("se_trader")
    assert isinstance(net, SETrader)
    compare(race, net, torch.randn(1, *spec.input_shape), 5.0)


def test_se_trader_with_kept_gates(race):
    """What a call saves when the gates are kept; a result, not a requirement."""
    net, spec = inference.load("se_trader")
    assert isinstance(net, SETrader)
    cached, x = inference.CachedTrader(net, 10**9), torch.randn(1, *spec.input_shape)
    with torch.inference_mode():
        race(lambda: cached(x, 0), computed=lambda: net(x))
