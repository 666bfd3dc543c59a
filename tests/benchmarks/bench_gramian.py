"""Gramian and transition fields against pyts, and against refilling the picture buffer."""

from __future__ import annotations

import numpy as np
import pytest

from setrade.gramian import gasf, transition_field

SHAPES = {64: 1000, 224: 200}


def walks(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(SHAPES[size], size)).cumsum(-1)


@pytest.mark.parametrize(("size", "asked"), [(64, 8), (224, 10)], ids=SHAPES)
def test_gasf_against_pyts(race, size, asked):
    """pyts allocates its result and temporaries anew at each call: it gains from kept memory."""
    from pyts.image import GramianAngularField

    x, peer = walks(size), GramianAngularField()
    out = np.empty((*x.shape, size), np.float32)
    times = race(
        lambda: gasf(x, out=out),
        pyts=lambda: peer.transform(x),
        without_a_buffer=lambda: gasf(x),
    )
    np.testing.assert_allclose(out, peer.transform(x), atol=1e-5)
    race.bound("pyts", times["pyts"] / times["ours"], {"kept": 2, "fresh": asked})


@pytest.mark.parametrize("size", [64, 224])
def test_gasf_against_refilling_its_buffer(race, size):
    x = walks(size)
    out = np.empty((*x.shape, size), np.float32)
    times = race(lambda: gasf(x, out=out), fill=lambda: out.fill(0.5))
    race.bound("fill", times["fill"] / times["ours"], 0.6)


@pytest.mark.parametrize("size", [64, 224])
def test_transition_field_against_pyts(race, size):
    from pyts.image import MarkovTransitionField

    x, peer = walks(size), MarkovTransitionField()
    out = np.empty((*x.shape, size), np.float32)
    times = race(lambda: transition_field(x, out=out), pyts=lambda: peer.transform(x))
    np.testing.assert_allclose(out, peer.transform(x), atol=1e-5)
    race.bound("pyts", times["pyts"] / times["ours"], 2.5)
