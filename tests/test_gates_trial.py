"""The trial of gates: replacements, arms that share weights, and its table by hand."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

STUDIES = Path(__file__).parent.parent / "studies"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module("gates_trial")


def test_own_gates_put_back_change_nothing_and_others_do(study):
    torch.manual_seed(0)
    net, x = study.build("learned", 6), torch.randn(40, 6, 12)
    y = torch.randint(0, 3, (40,))
    with torch.no_grad():
        whole = float(F.cross_entropy(net(x), y))
    loss = study.replaced(net, x, y, seed=0)
    assert loss["own"] == pytest.approx(whole, abs=1e-6)
    for name in study.REPLACED:
        assert abs(loss[name] - whole) > 1e-6


def test_gates_that_never_vary_lose_nothing_by_their_mean_or_by_shuffling(study):
    torch.manual_seed(0)
    net, x = study.build("learned", 6), torch.randn(40, 6, 12)
    with torch.no_grad():
        for weight in net.se.parameters():
            weight.zero_()  # every gate is one half
    loss = study.replaced(net, x, torch.randint(0, 3, (40,)), seed=0)
    for name in study.REPLACED:
        assert loss[name] == pytest.approx(loss["own"], abs=1e-6)


def test_arms_of_one_seed_share_every_weight_outside_the_block(study):
    states = {}
    for arm in study.ARMS:
        torch.manual_seed(3)
        states[arm] = study.build(arm, 5).state_dict()
    bare = states["uniform"]
    assert not any(name.startswith("se.") for name in bare)
    for arm in ("learned", "frozen"):
        assert all(torch.equal(bare[name], states[arm][name]) for name in bare)
    frozen = study.build("frozen", 5)
    assert not any(p.requires_grad for p in frozen.se.parameters())
    assert all(p.requires_grad for p in frozen.encoder.parameters())


def row(gate, permutation, ablation, *, gained=0.01, lost=0.002):
    said = {"gate": gate, "permutation": permutation, "ablation": ablation}
    loss = {"own": 1.0, "mean": 1.0 + lost, "shuffled": 1.0 + 2 * lost, "flat": 1.0}
    return {
        "val_loss": 1.1 - gained, "constant": 1.1, "test_constant": 1.0 + gained, "test_loss": 1.0,
        "start": gate[::-1], "all": said, "loss": loss,
        "regimes": {"trending": said | {"gate": gate[::-1]}},
    }  # fmt: skip


def test_a_market_by_hand(study):
    rows = [
        row([0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], [4, 3, 2, 1]),
        row([0.4, 0.3, 0.2, 0.1], [4, 3, 2, 1], [1, 2, 3, 4], gained=0.012, lost=0.004),
    ]
    bare = [{"val_loss": 1.095, "constant": 1.1, "test_loss": 1.01} for _ in rows]
    found = study.of_market({"learned": rows, "frozen": bare, "uniform": bare})
    agreement = {name: cell["value"] for name, cell in found["agreement"].items()}
    assert agreement["gate with permutation"] == pytest.approx(1)
    assert agreement["gate with ablation"] == pytest.approx(-1)
    assert agreement["gate with its start"] == pytest.approx(-1)
    assert agreement["contrast with permutation"] == pytest.approx(-1)
    assert found["between_seeds"]["gate"] == pytest.approx(-1)
    assert found["replaced"]["mean"]["value"] == pytest.approx(0.003)
    assert found["replaced"]["shuffled"]["value"] == pytest.approx(0.006)
    assert found["arms"]["frozen"]["test_loss"]["value"] == pytest.approx(0.01)
    assert found["learned"]["learned"]["word"] == "learned"
    assert found["learned"]["frozen"]["word"] == "learned"
    assert found["test_gain"]["value"] == pytest.approx(0.011)


def test_the_rank_of_the_planted_channel(study):
    place = study.planted_study.PLANTED.index("roc")  # what the trend's channel is
    values = np.arange(8, 0, -1.0)
    high, low = values.tolist(), values[::-1].tolist()
    said = {"gate": low, "permutation": high, "ablation": high}
    rows = [{"all": said, "regimes": {"trending": said}} for _ in range(3)]
    ranks = study.planted_ranks(rows)
    assert ranks["permutation"]["value"] == place + 1
    assert ranks["gate"]["value"] == 8 - place
    assert ranks["contrast"]["value"] == 1  # no contrast at all: a tie for the first
