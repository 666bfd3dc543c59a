"""The study of EfficientNetV2: its task, its count of steps, its price of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import efficientnet_v2 as study

from setrade import toys

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_answer_is_in_the_closes_and_both_are_common():
    _, y = study.draw(400, 5)
    windows, _ = toys.draw_formations(400, seed=5)
    first = windows[0, 3]
    assert bool(y[0]) == (np.mean(first[-5:]) > np.mean(first))
    assert 0.3 < y.double().mean() < 0.7


def test_the_goal_is_reached_by_two_checks_in_a_row():
    def curve(*accuracies: float) -> list[list[float]]:
        return [[10.0 * (i + 1), a, 0.5, 1.0] for i, a in enumerate(accuracies)]

    assert study.reached(curve(0.5, 0.95, 0.8, 0.9, 0.91)) == 50
    assert study.reached(curve(0.85, 0.96)) == 20
    assert study.reached(curve(0.99)) is None


def test_a_run_pays_for_each_phase_by_hand():
    """Sides 32, 40, 56, 64 of 40 steps each; 90 steps: 40 + 40 + 10."""
    price = {f"v2 {side}": {"seconds": float(side)} for side in (32, 40, 56, 64)}
    run = {"steps": 90, "job": {"arm": "v2 growing"}}
    assert study.paid(run, price, "seconds") == 40 * 32 + 40 * 40 + 10 * 56
    assert study.paid({"steps": 90, "job": {"arm": "v2"}}, price, "seconds") == 90 * 64
    assert study.paid({"steps": None, "job": {"arm": "v2"}}, price, "seconds") is None


def test_a_ratio_by_hand_and_none_where_a_seed_never_came():
    found = study.ratio([2.0, 8.0], [1.0, 2.0])
    assert found is not None
    assert found["estimate"] == pytest.approx(8**0.5)
    assert found["low"] < found["estimate"] < found["high"]
    assert study.ratio([2.0, None], [1.0, 2.0]) is None
    assert study.ratio([2.0], [1.0]) is None


def test_a_race_repeats_and_is_kept(tmp_path, monkeypatch):
    for name, value in {"STEPS": 4, "BATCH": 4, "EVERY": 2, "CHECKED": 8}.items():
        monkeypatch.setattr(study, name, value)
    job = study.Job("v2 growing", "mini", 0.001, 0)
    first = study.kept(job, tmp_path)
    stored = next(tmp_path.iterdir()).read_text(encoding="utf-8")
    assert study.kept(job, tmp_path) == first == json.loads(stored)
    again = study.race(job)
    assert [c[:3] for c in again["curve"]] == [c[:3] for c in first["curve"]]


def test_clocks_drop_the_first_round():
    calls: list[int] = []
    table = study.clocked({"a": lambda: calls.append(1)}, 2)
    assert len(calls) == 3
    assert len(table["a"]) == 2


def test_nets_start_alike_and_quiet():
    torch.manual_seed(0)
    for kind in ("v1", "v2"):
        net = study.net(kind, "mini")
        bound = (6 / (net.num_features + 2)) ** 0.5
        assert float(net.classifier.weight.detach().abs().max()) <= bound
