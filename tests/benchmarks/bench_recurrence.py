"""Recurrence plots against pyts."""

from __future__ import annotations

import numpy as np
import pytest

from setrade.recurrence import quantify, recurrence

SHAPES = {64: 1000, 224: 200}


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("size", SHAPES)
def test_recurrence_against_pyts(race, size, dim):
    """pyts allocates its result and temporaries anew at each call: it gains from kept memory."""
    from pyts.image import RecurrencePlot

    rng = np.random.default_rng(0)
    x, peer = rng.normal(size=(SHAPES[size], size)).cumsum(-1), RecurrencePlot(dim)
    out = np.empty((len(x), size - dim + 1, size - dim + 1), np.float32)
    times = race(
        lambda: recurrence(x, dim, out=out),
        pyts=lambda: peer.transform(x),
        without_a_buffer=lambda: recurrence(x, dim),
        fill=lambda: out.fill(0.5),
    )
    np.testing.assert_allclose(recurrence(x, dim, out=out), peer.transform(x), atol=1e-5)
    asked = {"kept": 2, "fresh": 6 if dim == 1 else 7}
    race.bound("pyts", times["pyts"] / times["ours"], asked)


def test_quantification_is_no_dearer_than_the_quantile(race):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 64)).cumsum(-1)
    plots = recurrence(x, quantile=0.1)
    times = race(lambda: quantify(plots), picture=lambda: recurrence(x, quantile=0.1, out=plots))
    race.bound("picture", times["picture"] / times["ours"], 0.5)
