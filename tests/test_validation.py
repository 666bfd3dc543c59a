"""The study of validations: splits that share no bar, truths from equations, leaks that show."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

STUDIES = Path(__file__).parent.parent / "studies"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module("validation")


def test_the_label_sums_the_returns_that_follow(study):
    market = study.draw("planted", 3)
    assert len(market.label) == study.BARS
    for t in (0, 17, study.BARS - 1):
        assert market.label[t] == pytest.approx(market.returns[t : t + study.HORIZON].sum())


def test_every_way_but_the_leaky_ones_keeps_labels_apart(study):
    leaky = {"shuffled k-fold", "k-fold in blocks"}
    for scheme in study.SCHEMES:
        for path in study.histories(scheme, 0):
            tests = np.concatenate([test for _, test in path])
            assert len(np.unique(tests)) == len(tests)
            least = min(np.abs(train[:, None] - test).min() for train, test in path)
            assert (least < study.HORIZON) == (scheme in leaky)
    assert len(study.histories("CPCV", 0)) == 5


def test_truth_is_what_a_long_drawn_test_measures(study):
    n = 120_000
    market = study.draw("planted", 1, n + study.HORIZON)
    forecast = study.ridge(market.x[:1_000], market.label[:1_000])
    fresh = np.random.default_rng(0).standard_normal((20_000, 5))
    ic, ratio = study.truth(forecast, market.mixture[0], fresh)
    guess = forecast(market.x[:n])
    assert study.correlation(guess, market.label) == pytest.approx(ic, abs=0.03)
    assert study.sharpe(np.sign(guess) * market.returns[:n]) == pytest.approx(ratio, abs=0.25)
    assert ic > 0.05


def test_nothing_to_find_has_a_truth_of_zero_and_shuffling_finds_it(study):
    for row in study.one("null", 0):
        assert row["truth"] == [0.0, 0.0]
        if row["learner"] == "neighbours":
            assert row["found"]["shuffled k-fold"][0] > 0.5
            assert abs(row["found"]["purged k-fold"][0]) < 0.35


def test_table_by_hand(study):
    rows = [
        {"truth": [0.1, 1.0], "found": dict.fromkeys(study.SCHEMES, (0.1 + lie, 1.0 - lie, k == 0))}
        for k, lie in enumerate((0.3, -0.1))
    ]
    table = study.table(rows, samples=50)
    cell = table["CPCV"]
    assert table["truth"] == {"ic": 0.1, "sharpe": 1.0}
    assert cell["ic"]["bias"]["value"] == pytest.approx(0.1)
    assert cell["ic"]["rmse"]["estimate"] == pytest.approx(np.sqrt((0.09 + 0.01) / 2))
    assert cell["sharpe"]["bias"]["value"] == pytest.approx(-0.1)
    assert cell["ic"]["gap"]["estimate"] == 0
    assert cell["discoveries"]["value"] == 0.5
