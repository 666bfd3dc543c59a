"""The study of Hansen's test: what it draws, what it counts, how it goes on where it stopped."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from setrade import results
from setrade.study import StudyError


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "studies"))
    found = importlib.import_module("spa_size_power")
    monkeypatch.setattr(found, "PART", 2)
    return found


def test_markets_are_what_they_say(study):
    rng = np.random.default_rng(0)
    risk = study.unequal(rng).std(axis=0)
    assert risk[-1] / risk[0] == pytest.approx(10, rel=0.2)
    x = study.dependent(rng)
    kept = [np.corrcoef(x[1:, k], x[:-1, k])[0, 1] for k in range(x.shape[1])]
    assert np.mean(kept) == pytest.approx(0.3, abs=0.05)
    assert study.heavy(rng).shape == study.skilled(rng).shape == (study.DAYS, study.MODELS)


def test_runs_ask_every_draw_once_and_the_peer_where_it_is_named(study):
    parts = [study.work({"market": "skilled", "part": k, "reps": 100}) for k in (0, 1)]
    assert [len(one["studentised"]) for one in parts] == [2, 2]
    assert parts[0]["arch"] != parts[1]["arch"]
    assert set(study.work({"market": "equal", "part": 0, "reps": 100})) == {"studentised"}


def test_shares_of_rejections_by_hand(study):
    rows = [
        {"config": {"market": "equal"}, "measures": {"studentised": [0.01, 0.05]}},
        {"config": {"market": "equal"}, "measures": {"studentised": [0.06, 0.9]}},
        {"config": {"market": "heavy"}, "measures": {"studentised": [0.0, 0.0]}},
    ]
    said = study.rejections(rows, "equal")["studentised"]
    assert said["measured"] == 0.5
    assert said["low"] < 0.5 < said["high"]


def test_a_study_cut_short_goes_on_and_changed_settings_are_refused(study, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    options = ["spa", "--draws", "2", "--reps", "100", "--jobs", "1", "--store", str(tmp_path)]
    monkeypatch.setattr("sys.argv", options)
    study.main()
    first = results.load("spa_size_power")["results"]
    assert set(first["size"]) == {"equal", "unequal", "heavy", "dependent"}
    study.main()
    again = results.load("spa_size_power")["results"]
    assert again["size"] == first["size"]
    assert (first["machinery"]["ran"], again["machinery"]["ran"]) == (5, 0)
    assert again["machinery"]["busy_seconds"] == first["machinery"]["busy_seconds"] > 0
    monkeypatch.setattr(study, "QUIET", 0.003)
    with pytest.raises(StudyError):
        study.main()
