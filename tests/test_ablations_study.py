"""The study of parts: an arm lacks what its name says, hidden bars are hidden, seeds are paired."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import ablations
from checkpoints import SIDE

from setrade import candles, pictures
from setrade.efficientnet import SqueezeExcite2d

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"train_stride": 600, "num_epochs": 1, "hidden_windows": 200}


def count(net: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(m, kind) for m in net.modules())


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return candles.windows(candles.synthetic(400, seed=3).candles, 48, 50)


@pytest.mark.parametrize("arm", ablations.ARMS)
def test_an_arm_lacks_what_its_name_says(arm):
    torch.manual_seed(0)
    net = ablations.build(arm)
    assert bool(count(net, SqueezeExcite2d)) == ("no gates" not in arm)
    assert bool(count(net, nn.SiLU)) == ("relu" not in arm)
    assert bool(count(net, nn.ReLU)) == ("relu" in arm)
    rates = [m.rate for m in net.modules() if type(m).__name__ == "DropConnect"]
    assert (max(rates, default=0.0) > 0) == (arm == "stochastic depth"), rates
    assert net.eval()(torch.rand(2, 3, SIDE, SIDE)).shape == (2, 3)


@pytest.mark.parametrize("side", [SIDE, ablations.LITE])
@pytest.mark.parametrize("group", [0, 3, 7])
def test_the_columns_of_a_group_are_those_of_its_bars(windows, side, group):
    draw = pictures.encoder("candles", side).draw
    at = slice(6 * group, 6 * group + 6)
    changed = windows.copy()
    # A close that stays between high and low leaves the picture's scale alone.
    changed[:, 3, at] = windows[:, 1, at] + windows[:, 2, at] - windows[:, 3, at]
    x, other = (pictures.to_input(draw(w)).numpy() for w in (windows, changed))
    moved = np.flatnonzero((x != other).any((0, 1, 2)))
    gone = np.flatnonzero((ablations.hidden(x, group, 48) != x).any((0, 1, 2)))
    assert len(moved)
    assert set(moved) <= set(gone)
    assert gone.min() // (side / 48) >= 6 * group - 1
    assert gone.max() // (side / 48) <= 6 * group + 6


def test_hidden_numbers_are_the_mean_and_nothing_else_moves(windows):
    x = ablations.numbers(windows)
    gone = ablations.hidden(x, 2, 48)
    of_bar = np.tile(np.arange(48), x.shape[1] // 48)
    inside = (of_bar >= 12) & (of_bar < 18)
    np.testing.assert_array_equal(gone[:, ~inside], x[:, ~inside])
    np.testing.assert_allclose(gone[:, inside] - x[:, inside].mean(0), 0, atol=1e-6)


def test_who_reads_one_bar_looks_at_its_group(windows):
    def answer(x: np.ndarray) -> np.ndarray:
        up = (x[:, 3 * 48 + 40] > 0).astype(float)
        return np.stack([1 - up, up], 1)

    x = np.random.default_rng(0).normal(size=(64, 240))
    moved = ablations.looks_at(answer, x, 48)
    assert moved[6] > 0
    assert sum(moved) == moved[6]


def test_differences_are_taken_seed_by_seed():
    """Whatever the order in which runs ended."""
    runs = [(arm, seed) for arm in ("whole", "relu") for seed in range(3)]
    rows = [
        {"config": {"arm": arm, "seed": seed}, "measures": {"right": seed - 0.5 * (arm == "relu")}}
        for arm, seed in reversed(runs)
    ]
    less = ablations.table(rows, ("whole", "relu"), "whole")["relu"]["right"]["less"]
    assert less == {"estimate": -0.5, "low": -0.5, "high": -0.5}


@pytest.mark.parametrize("kind", ablations.SIGHTS)
def test_a_small_run_of_each_sight(kind):
    out = ablations.sight({"arm": kind, "seed": 0}, SMALL)
    assert len(out["moved"]) == 8
    assert out["share_on_the_rule"] == pytest.approx(sum(out["moved"][4:]) / sum(out["moved"]))
    assert 0 <= out["right"] <= 1
    if kind == "numbers":  # 60 windows are enough for trees to find the rule, and where it reads
        assert out["share_on_the_rule"] > 0.7
        assert out["right"] > 0.6


def test_a_small_run_of_an_arm():
    out = ablations.ablation({"arm": "relu", "seed": 0}, SMALL)
    assert len(out["val_loss"]) == len(out["train_loss"]) == 1
    assert out["parameters"] == sum(p.numel() for p in ablations.build("relu").parameters())
    assert 0 <= out["synthetic"] <= 1
    assert 0 <= out["real"] <= 1


@pytest.mark.parametrize(("last", "word"), [(0.4, "learned"), (1.4, "not learned")])
def test_an_arm_is_held_against_the_class_shares(last, word):
    rows = [
        {"config": {"arm": arm, "seed": seed}, "measures": {"val_loss": [1.5, last + seed / 100]}}
        for arm in ablations.ARMS
        for seed in range(2)
    ]
    told = ablations.lessons(rows, SMALL)["whole"]["learned"]
    assert told["word"] == word
    assert told["gain"] == pytest.approx(told["constant"] - last - 0.005)
    assert told["constant"] == pytest.approx(np.log(3), abs=0.02)  # three classes, nearly alike


def test_a_sight_is_held_against_a_third():
    rows = [
        {"config": {"arm": kind, "seed": seed}, "measures": {"right": 1 / 3 + 0.1 * k}}
        for k, kind in enumerate(ablations.SIGHTS)
        for seed in range(3)
    ]
    above = ablations.above_chance(rows)
    assert above["net"]["estimate"] == pytest.approx(0, abs=1e-12)
    assert above["numbers"]["low"] == pytest.approx(0.2)


def test_drawing_and_looking_are_timed_apart():
    for name, took in ablations.overhead(calls=3).items():
        both = took["draw"] + took["look"]
        assert took["share_of_drawing"] == pytest.approx(took["draw"] / both), name
        assert min(took["draw"], took["look"]) > 0
