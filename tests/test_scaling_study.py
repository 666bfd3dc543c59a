"""The scaling experiment: what nets cost, how a budget is spent, and the planted pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from setrade import efficientnet as en
from setrade import toys
from setrade.charts import candlesticks


def test_multiply_adds_of_a_convolution_by_hand():
    net = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    assert en.multiply_adds(net, 7) == 7 * 7 * 9 * 3 * 5
    assert en.count_parameters(net) == 9 * 3 * 5


@pytest.mark.parametrize(("name", "billions"), [("b0", 0.39), ("b1", 0.70), ("b7", 37)])
def test_multiply_adds_agree_with_the_paper(name, billions):
    with torch.device("meta"):
        net = en.EfficientNet(name)
    assert en.multiply_adds(net, en.VARIANTS[name].resolution) / 1e9 == pytest.approx(
        billions, rel=0.04
    )
    assert net.training  # left as it was


def test_wrong_stem_of_b2_costs_more():
    """TRAPS 23: 32 * 1.1 is nearest to 32, not 40."""
    assert en.round_channels(32, 1.1) == 32
    assert -(-32 * 1.1 // 8) * 8 == 40  # rounding up: the wrong version


@pytest.mark.parametrize(
    ("shares", "knob"),
    [((1.0, 0.0, 0.0), 0), ((0.0, 1.0, 0.0), 1), ((0.0, 0.0, 1.0), 2)],
)
def test_a_budget_spent_on_one_knob_leaves_the_others(shares, knob):
    spent, base = toys.spend(shares, 2.0), (toys.BLOCKS, 1.0, toys.BASE_SIDE)
    assert toys.relative_cost(*spent) == pytest.approx(2.0, rel=0.04)
    for i in range(3):
        if i == knob:
            assert spent[i] > 1.3 * base[i]
        else:
            assert spent[i] == pytest.approx(base[i], rel=0.06)


def test_shares_of_the_published_coefficients_by_hand():
    """ln 1.2, 2 ln 1.1 and 2 ln 1.15 over ln 1.920."""
    got = toys.shares(en.compound_scale(1))
    np.testing.assert_allclose(got, [0.1823 / 0.6525, 0.1906 / 0.6525, 0.2795 / 0.6525], atol=1e-3)


@given(st.floats(0.2, 3))
def test_shares_do_not_depend_on_phi(phi):
    one = toys.shares(en.compound_scale(1))
    np.testing.assert_allclose(toys.shares(en.compound_scale(phi)), one, rtol=1e-9)


def test_formations_are_what_their_class_says():
    windows, y = toys.draw_formations(400, seed=0)
    opened, high, low, close, _ = windows.transpose(1, 0, 2)
    body, top, bottom = close - opened, np.maximum(opened, close), np.minimum(opened, close)
    sizes = np.stack([bottom - low, high - top, body, -body], -1)  # as in FORMS
    late = sizes[:, toys.N_BARS // 2 : -2]
    form = y.numpy() // 2
    planted = late[np.arange(400), :, form].max(1)
    assert (planted >= 0.7 * toys.LENGTH - 1e-9).all()
    assert np.bincount(y, minlength=8).min() > 25
    assert candlesticks(windows[:2], 80, 80, volume=False).shape == (2, 3, 80, 80)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([20, 31, 80]))
def test_smaller_pictures_keep_the_mean(seed, side):
    x, y = toys.draw_pictures(3, side, seed=seed)
    whole, same = toys.draw_pictures(3, toys.SIDE, seed=seed)
    assert torch.equal(y, same)
    assert x.shape == (3, 3, side, side)
    if toys.SIDE % side == 0:
        torch.testing.assert_close(x.mean((2, 3)), whole.mean((2, 3)))
    assert 0 <= float(x.min()) <= float(x.max()) <= 1


def test_a_trial_repeats_and_learns():
    torch.set_num_threads(1)
    first = toys.run_trial(3, 1.0, 24, seed=3, steps=80)
    assert toys.run_trial(3, 1.0, 24, seed=3, steps=80) == first
    assert first.loss < 2.07  # below ln 8, what knowing nothing costs
    assert toys.run_trial(3, 1.0, 24, seed=4, steps=80) != first


def test_smooth_search_finds_a_planted_optimum():
    """A surface with its top at the published shares gives the published coefficients."""
    points = np.array([(a, b, 3 - a - b) for a in range(4) for b in range(4 - a)]) / 3
    top = np.array(toys.shares(en.compound_scale(1)))
    accuracy = 0.5 - ((points - top) ** 2).sum(1)
    assert toys.smooth_coefficients(points, accuracy) == pytest.approx((1.2, 1.1, 1.15))


BAD = [
    (lambda: toys.smooth_coefficients(np.ones((5, 3)), np.ones(5)), "points"),
    (lambda: toys.smooth_coefficients(np.ones((7, 3)), np.ones(6)), "points"),
    (lambda: toys.smooth_coefficients(np.ones((7, 3)), np.full(7, np.nan)), "accuracy"),
    (lambda: toys.spend((0.5, 0.5, 0.5)), "shares"),
    (lambda: toys.spend((1.5, -0.5, 0.0)), "shares"),
    (lambda: toys.spend((1.0, 0.0, 0.0), 1.0), "budget"),
    (lambda: toys.shares(en.Scale(1.0, 1.0, 1.0)), "scale"),
    (lambda: toys.SmallNet(1), "blocks"),
    (lambda: toys.SmallNet(width=0.0), "width"),
    (lambda: toys.SmallNet(num_classes=0), "num_classes"),
    (lambda: en.multiply_adds(nn.Conv2d(3, 3, 1), 0), "side"),
    (lambda: toys.draw_formations(0, seed=0), "n"),
    (lambda: toys.draw_pictures(1, 81, seed=0), "side"),
    (lambda: toys.averaged(np.zeros((1, 3, 8, 8)), 4), "pictures"),
    (lambda: toys.run_trial(5, 1.0, 24, seed=0, steps=1), "steps"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        call()
