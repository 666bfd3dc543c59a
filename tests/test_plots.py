"""Figures that the book draws more than once: what is drawn where, and what is refused."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
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


HOURS = pd.date_range("2024-01-01", periods=6, freq="1h", tz="UTC")
BARS = pd.DataFrame({n: np.arange(6.0) + 100 for n in plots.COLUMNS}, HOURS)
LEDGER = pd.DataFrame(
    {"entry_time": HOURS[1:2], "exit_time": HOURS[3:4], "side": 1, "entry_price": 101.0}
).assign(exit_price=103.0)


def test_a_column_that_stands_twice_is_refused():
    ax = plt.figure().gca()
    twice = pd.concat([BARS, BARS[["close"]]], axis=1)
    for draw in (plots.draw_bars, plots.draw_volume):
        with pytest.raises(ArgumentError, match="^candles: .* each once"):
            draw(ax, twice)
    with pytest.raises(ArgumentError, match="^candles: .* each once"):
        plots.trades_on_candles(ax, twice, LEDGER)
    with pytest.raises(ArgumentError, match="^trades: .* each once"):
        plots.trades_on_candles(ax, BARS, pd.concat([LEDGER, LEDGER[["exit_time"]]], axis=1))
    plots.trades_on_candles(ax, BARS, LEDGER)
    plt.close()


def test_bands_of_the_same_name_are_each_their_own():
    ax = plt.figure().gca()
    plots.probability_bands(ax, pd.DataFrame([[0.3, 0.7]] * 6, HOURS, ["a", "a"]))
    tops = [band.get_datalim(ax.transData).y1 for band in ax.collections]
    assert tops == pytest.approx([0.3, 1.0])
    plt.close()


@pytest.mark.parametrize("column", ["close", "volume"])
def test_prices_that_pandas_calls_categories_are_numbers(column):
    ax = plt.figure().gca()
    for draw in (plots.draw_bars, plots.draw_volume):
        draw(ax, BARS.astype({column: "category"}))
    plt.close()


def test_periods_are_no_stamps():
    ax = plt.figure().gca()
    index = pd.period_range("2024-01-01", periods=6, freq="D")
    with pytest.raises(ArgumentError, match="^probabilities: "):
        plots.probability_bands(ax, pd.DataFrame({"a": 1.0}, index))
    with pytest.raises(ArgumentError, match="^regime: "):
        plots.regime_strip(ax, pd.Series(pd.Categorical(list("ababab")), index))
    plt.close()


def test_gates_may_spell_utc_in_their_own_way():
    gates = pd.DataFrame({"a": 0.4}, HOURS.tz_convert("Etc/UTC"))
    plt.close(plots.gates_over_time(BARS["close"], gates))
