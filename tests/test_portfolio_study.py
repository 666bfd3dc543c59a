"""The study of gates over assets: nothing looks ahead, gates start at the base, plants show."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import asset_gates as ag
import portfolio_real as pr

from setrade import portfolio

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def planted() -> tuple[ag.Market, np.ndarray]:
    return ag.factor_market(900, 6, seed=1, edge=0.006)


def cut(m: ag.Market, bars: int) -> ag.Market:
    """Return the first bars of a market."""
    tables = (m.opens, m.closes, m.value, m.funding)
    return ag.Market(*(x.iloc[:bars] for x in tables), m.costs, m.begins, ())


def test_what_is_known_does_not_look_ahead(planted):
    full, part = ag.known(planted[0]), ag.known(cut(planted[0], 500))
    np.testing.assert_array_equal(full.squeezed[:500], part.squeezed)
    np.testing.assert_array_equal(full.base[:500], part.base)
    np.testing.assert_array_equal(full.ahead[:498], part.ahead[:498])
    assert np.isnan(part.ahead[498:]).all()


def test_plain_ways_do_not_look_ahead(planted):
    full, part = (ag.by_covariance(m, 450) for m in (planted[0], cut(planted[0], 700)))
    for name, weights in part.items():
        np.testing.assert_allclose(weights, full[name][:700], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(weights[450:].sum(1), 1)
    assert (part["minimum variance, long"] >= 0).all()


def test_joint_gates_are_those_of_the_package(planted):
    seen, net = ag.known(planted[0]), ag.Joint(6)
    torch.nn.init.normal_(net.se.blocks[0].excite.expand.weight)
    root = torch.tensor(ag.SCALES) ** 0.5
    block = net.se.blocks[0]
    windows = torch.from_numpy(seen.windows[100:110])
    z = windows[..., -ag.SCALES[0] :].mean(-1) * root[0]
    np.testing.assert_allclose(seen.squeezed[100:110, :, 0], z, atol=1e-6)
    gates = block.gates(windows[..., -ag.SCALES[0] :] * root[0])
    rest = [torch.full_like(gates, 0.5)] * 2
    fused = (torch.stack([gates, *rest], 1) * net.se.fusion_weights()).sum(1)
    torch.testing.assert_close(net(seen.squeezed[100:110]), fused, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ag.NETS)
def test_training_starts_at_the_base_and_at_nothing(planted, name):
    m, seen = planted[0], ag.known(planted[0])
    long = ag.fit(m, name, 0, 0, short=False, epochs=0)
    np.testing.assert_allclose(long.weights, seen.base, atol=1e-6)
    assert not ag.fit(m, name, 0, 0, short=True, epochs=0).weights.any()
    assert long.loss == long.constant


def test_the_joint_net_finds_who_leads_and_nothing_where_nothing_can_be_learned(planted):
    m, lead = planted
    half = np.where(np.arange(6) < 3, 1.0, -1.0)
    fits = [ag.fit(m, "joint", f, 0, short=True, epochs=60) for f in (0, 1)]
    part = pr.tested(m)
    weights = pr.joined(m, [f.weights for f in fits])[part]
    follows = np.corrcoef((weights * half).sum(1)[:-1], lead[part.start + 1 : part.stop])[0, 1]
    assert follows > 0.25
    shuffled = ag.fit(m, "joint", 1, 0, short=True, epochs=60, shuffled=True)
    assert shuffled.constant - shuffled.loss < 0.5 * (fits[1].constant - fits[1].loss)


def test_utility_is_what_the_ledger_earns(planted):
    m, seen = planted[0], ag.known(planted[0])
    rows = slice(100, 400)
    weights = pd.DataFrame(seen.base, m.opens.index, m.opens.columns)[rows]
    done = portfolio.run(weights, m.opens[rows], m.closes[rows], costs=m.costs)
    w, r = (torch.from_numpy(x[100:398]) for x in (seen.base, seen.ahead))
    told = float(ag.utility(w, r, m.rate))
    opened = (seen.base * seen.ahead).sum(1)[101:398]
    turned = done.turnover.iloc[2:299].to_numpy()
    net = opened - m.rate * turned
    assert told == pytest.approx(ag.YEAR * (net.mean() - net.var(ddof=1)), rel=1e-3)


def test_impact_grows_with_the_root_of_the_account(planted):
    m = planted[0]
    rng = np.random.default_rng(0)
    row = pr.figures(m, rng.dirichlet(np.ones(6), len(m.opens)))
    assert row["impact"]["10000000"] == pytest.approx(10 * row["impact"]["100000"])
    assert pr.impact_factor(m, np.zeros(m.opens.shape)) == 0
    at = row["impact"]["100000"] * (row["point_at"] / 1e5) ** 0.5
    assert at == pytest.approx(0.01)


@pytest.mark.parametrize("kind", pr.PLANTS)
def test_who_knows_what_was_planted_earns_and_volatility_stays(planted, kind):
    m = planted[0]
    made = ag.plant(m, kind, 0.3, 2)
    none = ag.plant(m, kind, 0.0, 2)
    earned = [pr.ratio(pr.figures(x, pr.oracle(x, kind, 2))["returns"]) for x in (none, made)]
    assert earned[1] > earned[0] + 3
    before, after = (np.log(x.closes).diff().std().mean() for x in (m, made))
    assert after == pytest.approx(before, rel=0.15)


def test_a_difference_has_an_interval_that_holds_it():
    rng = np.random.default_rng(0)
    base = rng.normal(0, 0.01, 600)
    gap = pr.against(base[:, None] + rng.normal(0.003, 0.01, (600, 3)), base, 200)
    assert gap["low"] < gap["estimate"] < gap["high"]
    assert gap["p"] < 0.05
    same = pr.against(base, base, 200)
    assert same["estimate"] == same["low"] == same["high"] == 0
    assert same["p"] == 1.0
