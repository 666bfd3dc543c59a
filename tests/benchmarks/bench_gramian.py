"""Gramian and transition fields against pyts, and against refilling the picture buffer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from allocator import glibc_defaults

from setrade.gramian import gasf, transition_field

SHAPES = {64: 1000, 224: 200}


def walks(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(SHAPES[size], size)).cumsum(-1)


@pytest.mark.parametrize(("size", "ratio"), [(64, 5), (224, 15)])
def test_gasf_against_pyts(race, size, ratio):
    from pyts.image import GramianAngularField

    x, peer = walks(size), GramianAngularField()
    out = np.empty((*x.shape, size), np.float32)
    times = race(lambda: gasf(x, out=out), pyts=glibc_defaults(lambda: peer.transform(x)))
    np.testing.assert_allclose(out, peer.transform(x), atol=1e-5)
    assert times["pyts"] >= ratio * times["ours"]


def test_gasf_against_pyts_with_kept_memory(race):
    from pyts.image import GramianAngularField

    x, peer = walks(224), GramianAngularField()
    out = np.empty((*x.shape, 224), np.float32)
    times = race(lambda: gasf(x, out=out), pyts=lambda: peer.transform(x))
    assert times["pyts"] > times["ours"]


@pytest.mark.parametrize("size", [64, 224])
def test_gasf_against_refilling_its_buffer(race, size):
    x = walks(size)
    out = np.empty((*x.shape, size), np.float32)
    times = race(lambda: gasf(x, out=out), fill=lambda: out.fill(0.5))
    assert times["fill"] >= 0.6 * times["ours"]


@pytest.mark.parametrize("size", [64, 224])
def test_transition_field_against_pyts(race, size):
    from pyts.image import MarkovTransitionField

    x, peer = walks(size), MarkovTransitionField()
    out = np.empty((*x.shape, size), np.float32)
    pyts = glibc_defaults(lambda: peer.transform(x))
    times = race(lambda: transition_field(x, out=out), pyts=pyts)
    np.testing.assert_allclose(out, peer.transform(x), atol=1e-5)
    assert times["pyts"] >= 2.5 * times["ours"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gasf_against_the_copy_bandwidth_of_a_gpu(race):
    x = torch.randn(20_000, 224, device="cuda").cumsum(-1)
    out = torch.empty(20_000, 224, 224, device="cuda")
    source = torch.rand_like(out)

    def timed(call):
        call()
        torch.cuda.synchronize()

    times = race(
        lambda: timed(lambda: gasf(x, out=out)), copy=lambda: timed(lambda: out.copy_(source))
    )
    # The copy moves two bytes for each one that a picture holds: it reads as well.
    assert times["copy"] / 2 >= 0.6 * times["ours"]
