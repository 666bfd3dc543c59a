"""The study of transformers: nothing looks ahead, parts do not touch, losses are compared."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from laws import assert_causal

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import transformer_real as tr

from setrade import candles

pytestmark = pytest.mark.usefixtures("one_thread")
BARS = candles.synthetic(1_600, seed=4).candles


@pytest.fixture
def panel(monkeypatch):
    """Return a panel of three copies of one synthetic market, in 2024."""
    index = pd.date_range("2024-01-01", periods=1_600, freq="1h", tz="UTC", name="time")
    monkeypatch.setattr(tr, "coin", lambda *_: BARS.set_axis(index, axis=0))
    monkeypatch.setattr(
        tr.Panel, "_parts",
        staticmethod(lambda _, __, target: {
            "train": np.arange(tr.FIRST + tr.LOOKBACK, 900, 8),
            "validation": np.arange(960, 1_200, 8), "test": np.arange(1_250, 1_500, 6)}),
    )  # fmt: skip
    return lambda target: tr.Panel(Path("."), target, "2024")


def test_channels_and_known_values_do_not_look_ahead():
    cuts = (700, 1_100)
    assert_causal(tr.channels, BARS, cuts=cuts, rtol=1e-7, atol=1e-9)
    for target in tr.TARGETS:
        assert_causal(
            lambda b, t=target: tr.targets(b, t)[1], BARS, cuts=cuts, rtol=1e-7, atol=1e-9
        )


def test_the_channels_are_whole_after_a_week():
    x = tr.channels(BARS)
    assert np.isfinite(x.iloc[tr.FIRST :]).all(axis=None)


def test_targets_are_what_follows():
    moved = np.log(BARS["close"]).diff().to_numpy()
    ahead, known = tr.targets(BARS, "volatility")
    assert ahead.iloc[300] == pytest.approx(0.5 * np.log(np.mean(moved[301:325] ** 2) + 1e-10))
    assert known.iloc[300] == pytest.approx(0.5 * np.log(np.mean(moved[277:301] ** 2) + 1e-10))
    ahead, _ = tr.targets(BARS, "return")
    assert ahead.iloc[300] == pytest.approx(
        moved[301] / np.sqrt(np.mean(moved[253:301] ** 2) + 1e-10)
    )


def test_parts_leave_no_target_in_the_next_part():
    index = pd.date_range("2020-03-25", "2024-12-31", freq="1h", tz="UTC")
    limits = tuple(pd.Timestamp(t, tz="UTC") for t in ("2023-07-01", "2024-01-01", "2025-01-01"))
    for target, ahead in tr.TARGETS.items():
        parts = tr.Panel._parts(index, limits, target)
        for part, limit in zip(("train", "validation", "test"), limits, strict=True):
            assert index[min(parts[part][-1] + ahead, len(index) - 1)] <= limit
        assert index[parts["test"][0]] == limits[1]


def test_repeating_forecasts_no_change_and_the_mean_loses_nothing_to_itself(panel):
    p = panel("volatility")
    repeat, mean = tr.plainly(p, "repeat"), tr.plainly(p, "mean")
    test = p.rows("test")
    np.testing.assert_allclose(repeat[:-2], p.last[test])
    np.testing.assert_allclose(mean[:-2], p.y[p.rows("train")].mean())
    losses = tr.squares(p, [repeat, mean])
    assert losses.shape == (2, 3, len(test) // 3)
    np.testing.assert_allclose(losses[0, 0], losses[0, 2])  # three copies of one market


def test_a_planted_target_is_learned_by_ridge_and_net(panel):
    p = panel("return")
    p.y = p.change = p.x[:, 3].astype(float)  # what follows is the volume now
    fit = p.rows("train")
    p.mean, p.spread = p.change[fit].mean(), p.change[fit].std()
    p.unit = p.spread
    ridge, net = tr.plainly(p, "ridge"), tr.trained(p, "SETrader", 0)
    assert ridge[-2] < 0.1 * ridge[-1]
    assert net[-2] < net[-1]
    assert tr.squares(p, [ridge]).mean() < 0.1


@pytest.mark.parametrize("name", tr.NETS)
def test_every_net_forecasts_one_number_a_window(name):
    torch.manual_seed(0)
    out = tr.NETS[name](8)(torch.randn(3, 8, tr.LOOKBACK))
    assert out.shape == (3,)


def test_designs_that_are_compared_have_like_weights():
    count = {n: sum(p.numel() for p in make().parameters()) for n, make in tr.PLANTED.items()}
    one, two = count["one head, mean"], count["two heads, mean and last"]
    assert two == pytest.approx(one, rel=0.15)
    assert count["two heads, mean and mean"] == two


def test_all_comparisons_share_one_correction():
    rng = np.random.default_rng(0)
    names = {n for pair in tr.PAIRS for n in pair}
    losses = {n: rng.exponential(1, (1 if n in tr.PLAIN else 5, 3, 400)) for n in names}
    losses["SE inside"] = losses["mean"] - 0.3
    tables = {t: {"gaps": tr.gaps(losses, 4)} for t in tr.TARGETS}
    tr.corrected(tables)
    gaps = [g for t in tables.values() for g in t["gaps"] if g["coin"] == "all"]
    assert len(gaps) == 2 * len(tr.PAIRS)
    assert all(g["p_corrected"] >= g["p"] for g in gaps)
    sure = next(g for g in gaps if (g["first"], g["second"]) == ("SE inside", "mean"))
    assert sure["high"] < 0
    assert sure["p_corrected"] < 0.01
    assert sure["of_seeds"] == pytest.approx(0, abs=1e-12)  # a way without seeds, less a number


def test_seeds_that_disagree_widen_an_interval():
    """By hand: two seeds whose differences are 0 and 2 have an error of 1 beside that of bars."""
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, 400)
    told = tr.evidence.diebold_mariano(1 + noise, np.zeros(400), lags=0)
    narrow = tr.counting_seeds(told, np.array([1.0]), 400)
    wide = tr.counting_seeds(told, np.array([0.0, 2.0]), 400)
    assert narrow["low"] == pytest.approx(told.low)
    assert narrow["p"] == pytest.approx(told.p)
    assert wide["of_seeds"] == pytest.approx(1)
    assert wide["low"] < 0 < told.low
    assert wide["p"] > 0.3
