"""Recurrence plots against pyts."""

from __future__ import annotations

import numpy as np
import pytest
from allocator import glibc_defaults

from setrade.recurrence import quantify, recurrence

SHAPES = {64: 1000, 224: 200}


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize(("size", "ratio"), [(64, 3), (224, 6)])
def test_recurrence_against_pyts(race, size, ratio, dim):
    from pyts.image import RecurrencePlot

    rng = np.random.default_rng(0)
    x, peer = rng.normal(size=(SHAPES[size], size)).cumsum(-1), RecurrencePlot(dim)
    out = np.empty((len(x), size - dim + 1, size - dim + 1), np.float32)
    pyts = glibc_defaults(lambda: peer.transform(x))
    times = race(lambda: recurrence(x, dim, out=out), pyts=pyts)
    np.testing.assert_allclose(out, peer.transform(x), atol=1e-5)
    assert times["pyts"] >= ratio * times["ours"]


def test_quantification_is_no_dearer_than_the_quantile(race):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 64)).cumsum(-1)
    plots = recurrence(x, quantile=0.1)
    times = race(lambda: quantify(plots), picture=lambda: recurrence(x, quantile=0.1, out=plots))
    assert times["ours"] < 2 * times["picture"]
