"""Engines against eager PyTorch, on the same pictures, in turns.

Each engine has a process of its own, for two runtimes in one disturb each other: the threads of
one still spin while the other computes. A call is timed twice: at once after the last one, as
a backtest calls, and after a rest, when threads sleep and caches are cold. The rested call is what
a live bar sees.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from statistics import median

import pytest
import torch

from setrade import inference, training
from setrade.efficientnet import EfficientNet
from setrade.models import SETrader

CALLS = 7  # timed by one question to a process; the median counts
RESTS = {"at_once": 0.0, "rested": 0.03}  # seconds before each call
# What ONNX Runtime is asked to gain on eager, in times.
B0 = {
    (224, 1): 2.2,
    (224, 32): {"kept": 2.0, "fresh": 4.0},  # eager gains most from kept memory on a large batch
    (64, 1): 4.0,
}
# After a rest a small net's call is mostly waking up, which no engine saves.
RESTED = {(64, 1): 3.0}


@pytest.fixture(scope="module")
def ask():
    """Return a function that asks a process of its own for each engine."""
    fork = get_context("spawn")
    with ProcessPoolExecutor(1, fork) as eager, ProcessPoolExecutor(1, fork) as onnx:
        pools = {"eager": eager, "onnx": onnx}
        yield lambda engine, *case: lambda: pools[engine].submit(timed, engine, *case).result()


@cache
def caller(engine, side, batch):
    """Return a call of an engine that is the same in every process; side 0 is the `SETrader`."""
    training.seed_everything(0)
    if side:
        net, x = EfficientNet("b0", 3).eval(), torch.rand(batch, 3, side, side)
    else:
        torch.set_num_threads(1)
        net, spec = inference.load("se_trader")
        assert isinstance(net, SETrader)
        x = torch.randn(batch, *spec.input_shape)
    call = inference.engine(net, x, engine)
    return lambda: call(x)


def timed(engine, side, batch, rest):
    """Return the median seconds of a call; in the process that is asked."""
    call = caller(engine, side, batch)
    time.sleep(0.03)  # the other process's threads go to sleep
    for _ in range(0 if rest else 2):
        call()
    taken = []
    for _ in range(1 if batch > 1 else CALLS):
        time.sleep(rest)
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return median(taken)


@pytest.mark.parametrize("pause", RESTS)
@pytest.mark.parametrize(("side", "batch"), B0)
def test_b0_with_onnx_runtime(race, ask, side, batch, pause):
    case = side, batch, RESTS[pause]
    medians = race(ask("onnx", *case), eager=ask("eager", *case), clocked=True, rounds=12)
    asked = B0 | RESTED if pause == "rested" else B0
    race.bound("eager", medians["eager"] / medians["ours"], asked[side, batch])


@pytest.mark.parametrize(("pause", "asked"), [("at_once", 5), ("rested", 2)], ids=RESTS)
def test_se_trader_with_onnx_runtime(race, pause, asked):
    """One window, one thread."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # one thread is the process's choice

        def ask(engine):
            return lambda: pool.submit(timed, engine, 0, 1, RESTS[pause]).result()

        medians = race(ask("onnx"), eager=ask("eager"), clocked=True, rounds=12)
    race.bound("eager", medians["eager"] / medians["ours"], asked)


def test_se_trader_with_kept_gates(race):
    """What a call saves when the gates are kept; a result, not a requirement."""
    net, spec = inference.load("se_trader")
    assert isinstance(net, SETrader)
    cached, x = inference.CachedTrader(net, 10**9), torch.randn(1, *spec.input_shape)
    with torch.inference_mode():
        race(lambda: cached(x, 0), computed=lambda: net(x))
