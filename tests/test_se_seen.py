"""Planting what the SE chapter claims: the follower of the signal earns it, and knows no future."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from setrade import candles, evidence


@pytest.fixture
def se_seen(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "studies"))
    return importlib.import_module("se_seen")


@pytest.fixture(scope="module")
def bars():
    made = candles.synthetic(9_000, seed=3, interval="1h").candles
    return made.set_axis(
        pd.date_range("2022-01-01", periods=len(made), freq="h", tz="UTC", name="time")
    )


@pytest.fixture(scope="module")
def funding():
    return pd.Series(1e-4, pd.date_range("2022-01-01", "2024-12-31", freq="8h", tz="UTC"))


def test_the_signal_is_known_after_its_bar(se_seen, bars):
    cut = 4_000
    changed = bars.copy()
    changed.iloc[cut:, changed.columns.get_loc("volume")] *= 7
    assert np.array_equal(se_seen.signal(bars)[:cut], se_seen.signal(changed)[:cut])
    assert set(se_seen.signal(bars)[100:]) == {-1.0, 1.0}


@pytest.mark.parametrize(("figure", "claimed"), [("sharpe", 1.84), ("win_rate", 0.582)])
def test_the_planted_size_earns_the_claim(se_seen, bars, funding, figure, claimed):
    bars = evidence.plant(bars, 0.0, seed=1, block=24.0)  # its own signals cancel
    size = se_seen.planted_size(bars, funding, figure, claimed)
    s = se_seen.signal(bars)
    made = evidence.plant(bars, size, signal=s)
    assert se_seen.follower(made, s, funding)[figure] == pytest.approx(claimed, abs=0.05)
    assert 0 < size < 0.3


def test_a_market_that_pays_more_than_the_claim_is_named(se_seen, bars, funding):
    rich = evidence.plant(bars, 0.5, signal=se_seen.signal(bars))
    with pytest.raises(se_seen.StudyError, match="sharpe of 0.1"):
        se_seen.planted_size(rich, funding, "sharpe", 0.1)


def runs(data, net, seed, earned):
    """Return the rows of two folds that earn ``earned`` a day on average, and know nothing else."""
    rng, rows = np.random.default_rng([seed, len(data)]), []
    for fold in range(2):
        daily = earned + 0.01 * rng.standard_normal(250)
        measures = {
            **dict.fromkeys(("accuracy", "precision", "recall", "f1", "ic"), 0.0),
            "daily": daily.tolist(), "trades": 100, "wins": 55, "gain": 2.0, "loss": 1.0,
        }  # fmt: skip
        config = {"data": data, "model": net, "seed": seed, "fold": fold}
        rows.append({"config": config, "status": "ok", "measures": measures})
    return rows


@pytest.mark.parametrize(
    ("earned", "found"),
    [
        ({"none": 0.005, "mean": 0.02}, {"none": True, "mean": True, "gain": True}),
        ({"none": 0.005, "mean": 0.005}, {"none": True, "mean": True, "gain": False}),
        ({"none": 0.0, "mean": 0.02}, {"none": False, "mean": True, "gain": True}),
        ({"none": 0.02, "mean": 0.0}, {"none": True, "mean": False, "gain": False}),
    ],
)
@pytest.mark.parametrize("figure", ["sharpe", "max_drawdown"])
def test_what_counts_as_found(se_seen, figure, earned, found):
    rows = []
    for net in se_seen.NETS:
        rows += runs(f"{figure}/{net}", net, 0, earned[net]) + runs("real", net, 0, 0.0)
    told = {row: one["found"] for row, one in se_seen.judged(rows, figure, 0).items()}
    assert {k: told[k] for k in ("none", "mean")} == {k: found[k] for k in ("none", "mean")}
    if figure == "sharpe":
        assert told == found
