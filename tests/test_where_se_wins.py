"""The map of when a gate helps: twins, visibility, and one small cell of it."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

STUDIES = Path(__file__).parent.parent / "studies"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module("where_se_wins")


def test_twins_share_every_weight_outside_the_block(study):
    for strength in study.STRENGTHS:
        nets = []
        for squeeze in study.ARMS.values():
            torch.manual_seed(0)
            nets.append(study.build(strength, squeeze, 6).state_dict())
        bare, gated = nets
        if strength != "linear":  # there the encoder is drawn and thrown away
            assert set(bare) == {name for name in gated if not name.startswith("se.")}
        assert all(torch.equal(bare[name], gated[name]) for name in bare)


def test_a_linear_head_needs_the_gate_where_the_regime_is_plain(study, monkeypatch, one_thread):
    monkeypatch.setitem(study.SETTING, "n_bars", 8_000)
    study.market.cache_clear()

    def accuracy(visibility: float, arm: str) -> float:
        config = {"visibility": visibility, "strength": "linear", "arm": arm, "seed": 100}
        return study.train(config)["accuracy"]

    assert accuracy(2.0, "mean") > accuracy(2.0, "none") + 0.1
    study.market.cache_clear()


def test_table_by_hand(study):
    def row(v, s, arm, seed, accuracy):
        config = {"visibility": v, "strength": s, "arm": arm, "seed": seed}
        measures = {"accuracy": accuracy, "val_loss": [0.7, 0.5], "constant_loss": 0.6}
        return {"config": config, "measures": measures}

    rows = [
        row(v, s, arm, seed, 0.5 + (0.1 + 0.02 * seed if arm == "mean" else 0.0))
        for v in study.VISIBILITY for s in study.STRENGTHS for arm in study.ARMS for seed in (0, 1)
    ]  # fmt: skip
    cells = study.table(rows)
    assert len(cells) == len(study.VISIBILITY) * len(study.STRENGTHS)
    assert cells[0]["value"] == pytest.approx(0.11)
    assert cells[0]["low"] < 0.1 < 0.12 < cells[0]["high"]
    assert cells[0]["accuracy"] == pytest.approx({"none": 0.5, "mean": 0.61})
    np.testing.assert_allclose(cells[0]["learned"]["none"], 0.1)
