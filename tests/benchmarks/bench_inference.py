"""Engines against eager PyTorch, on the same pictures, in turns.

Two engines with threads of their own share this process, so each waits until the other's have
gone to sleep: "rest", "pause" and "stop" are no contenders. `make study STUDY=latency` times each
in a process of its own.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import pytest
import torch

from setrade import inference, training
from setrade.efficientnet import EfficientNet
from setrade.models import SETrader

MALLOC = (
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "THP_MEM_ALLOC_ENABLE",
)  # fmt: skip


@pytest.fixture
def outside(monkeypatch):
    """A process without the Makefile's allocator lines, as a user starts one."""
    for name in MALLOC:
        monkeypatch.delenv(name, raising=False)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(os.getpid).result()  # it has its environment now
        monkeypatch.undo()
        yield pool


def rest():
    """Let the threads of the other engine stop spinning."""
    time.sleep(0.03)


@cache
def b0(runtime, side, batch):
    """Return a call of B0 that is the same in every process."""
    training.seed_everything(0)
    net, x = EfficientNet("b0", 3).eval(), torch.rand(batch, 3, side, side)
    call = inference.engine(net, x, runtime)
    return lambda: call(x)


def call_eager(side, batch):
    """Call eager B0; in the process that is asked."""
    b0("eager", side, batch)()


@pytest.mark.parametrize(
    ("side", "batch", "kept", "fresh"),
    [(224, 1, 2.2, 2.2), (224, 32, 2.0, 4.0), (64, 1, 4.0, 4.0)],
    ids=["224-1", "224-32", "64-1"],
)
def test_b0_with_onnx_runtime(race, outside, side, batch, kept, fresh):
    """ONNX Runtime on B0 against eager, in this process and in one as a user starts it.

    Under `make` the allocator keeps its memory. Eager gains most from that on a large batch, and
    less is left to win there.
    """
    medians = race(
        b0("onnx", side, batch),
        rest=rest,
        eager=b0("eager", side, batch),
        pause=rest,
        eager_outside=lambda: outside.submit(call_eager, side, batch).result(),
        stop=rest,
    )
    assert medians["eager"] >= kept * medians["ours"]
    assert medians["eager_outside"] >= fresh * medians["ours"]


def test_se_trader_with_onnx_runtime(race):
    """5 times at batch 1; on one thread there is no pool to rest from."""
    torch.set_num_threads(1)
    net, spec = inference.load("se_trader")
    assert isinstance(net, SETrader)
    eager, fast = (inference.engine(net, torch.zeros(1, *spec.input_shape), name)
                   for name in ("eager", "onnx"))  # fmt: skip
    x = torch.randn(1, *spec.input_shape)
    medians = race(
        lambda: [fast(x) for _ in range(50)], eager=lambda: [eager(x) for _ in range(50)]
    )
    assert medians["eager"] >= 5 * medians["ours"]


def test_se_trader_with_kept_gates(race):
    """What a call saves when the gates are kept; a result, not a requirement."""
    net, spec = inference.load("se_trader")
    assert isinstance(net, SETrader)
    cached, x = inference.CachedTrader(net, 10**9), torch.randn(1, *spec.input_shape)
    with torch.inference_mode():
        race(lambda: cached(x, 0), computed=lambda: net(x))
