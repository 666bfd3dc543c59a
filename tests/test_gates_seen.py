"""A planted channel that decides: the pipeline is that of `gates_real`, and what is found."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from setrade import candles, evidence
from setrade.study import Data


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "studies"))
    return importlib.import_module("gates_seen")


@pytest.fixture
def data(tmp_path):
    made = candles.synthetic(8_000, seed=1, interval="1h").candles
    made.index = pd.date_range("2023-05-01", periods=len(made), freq="h", tz="UTC", name="time")
    made.reset_index(names="ts").to_parquet(tmp_path / "bars.parquet")
    return Data.of(tmp_path / "bars.parquet")


def test_the_pipeline_is_the_one_whose_gates_the_ledger_reads(study, data):
    said = study.work({"size": 0.2, "lr": 5e-3, "seed": 3}, data)
    bars = data.read()
    planted = evidence.plant(bars, 0.2, signal=study.signal(bars))
    read = study.gates_real.gates_of(3, 5e-3, planted)
    assert said["gates"] == pytest.approx(read["all"], abs=1e-5)
    assert said["start"] == pytest.approx(read["start"]["all"], abs=1e-5)
    assert said["val_loss"] == pytest.approx(min(read["learning"]["val_loss"]), abs=1e-5)
    assert len(said["permutation"]) == study.N


def rows_of(study, place: float, gate: float, nets: int = 10) -> list[dict]:
    """Return nets whose planted channel has about this rank and gate."""
    rows = []
    for k in range(nets):
        gates = np.linspace(gate - 0.3, gate + 0.3, study.N)[::-1].copy()
        at = int(np.clip(place - 1 + k % 2, 0, study.N - 1))
        gates[[at, study.CHANNEL]] = gates[[study.CHANNEL, at]]
        rows.append({"measures": {"gates": gates.tolist(), "permutation": gates.tolist()}})
    return rows


@pytest.mark.parametrize(("place", "found"), [(1, True), (5, True), (7, False), (12, False)])
def test_a_rank_is_found_where_its_interval_is_better_than_chance(study, place, found):
    said = study.report(rows_of(study, place, 0.5))
    assert said["rank"]["value"] == place + 0.5
    assert said["rank"]["found"] == said["permutation"]["found"] == found
    assert said["top3"]["found"] == (place == 1)
    assert not said["gate"]["found"] or said["gate"]["high"] >= study.SMALLEST == 0.68


def test_the_claimed_size_is_seen_only_where_enough_tries_find_it(study):
    def ask(size, k):
        return {name: {"found": name == "rank" or k == 0} for name in study.FIGURES}

    seen = study.seen(ask, 0.03, 2)
    assert seen["rank"] == {"found": True, "hits": 2, "runs": 2}
    assert not seen["gate"]["found"]
    assert study.seen(ask, 0.03, 20)["top3"]["runs"] == 6  # five misses decide


def test_the_stored_control_was_strong_enough_to_be_found():
    from setrade.results import load

    stored = load("gates_seen")["results"]
    assert stored["claimed"]["size"] == load("se_seen")["results"]["sizes"]["sharpe/mean"]
    assert stored["strong"]["report"]["rank"]["found"]
    assert all(stored[size]["learned"]["word"] == "learned" for size in ("claimed", "strong"))
    assert all(row["size"] is None for row in stored["detectable"].values())
