"""Figures that the book draws more than once: what is drawn where, and what is refused."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from setrade import plots
from setrade.errors import ArgumentError


def test_a_waterfall_hangs_each_cost_from_the_step_before():
    _, ax = plt.subplots()
    plots.waterfall(ax, {"gross": 0.3, "fees": -0.1, "funding": 0.05, "net": 0.25})
    bars: list[Any] = list(ax.patches)
    spans = [(b.get_y(), b.get_y() + b.get_height()) for b in bars]
    wanted = [(0, 30), (30, 20), (20, 25), (0, 25)]
    np.testing.assert_allclose(spans, wanted)
    assert [text.get_text() for text in ax.texts] == ["+30.0", "-10.0", "+5.0", "+25.0"]
    assert ax.patches[1].get_facecolor() != ax.patches[2].get_facecolor()
    assert ax.patches[1].get_hatch() == "//"  # a loss is not told by colour alone
    plt.close("all")


@pytest.mark.parametrize(
    "steps", [{"gross": 1.0, "net": 1.0}, {"gross": 1.0, "fees": -0.5, "net": 0.6}, {}]
)
def test_a_waterfall_that_does_not_add_up_is_refused(steps):
    _, ax = plt.subplots()
    with pytest.raises(ArgumentError, match="steps"):
        plots.waterfall(ax, steps)
    plt.close("all")


def test_a_waterfall_of_nothing_and_of_nan():
    _, ax = plt.subplots()
    plots.waterfall(ax, {"gross": 0.0, "fees": 0.0, "net": 0.0})
    with pytest.raises(ArgumentError, match="steps"):
        plots.waterfall(ax, {"gross": float("nan"), "fees": 0.0, "net": 0.0})
    plt.close("all")
