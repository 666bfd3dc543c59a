"""The temporal regime classifier: shapes, targets, causality, and a planted truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from laws import assert_causal

from setrade import channels, regimes, training
from setrade.models import TemporalRegimes
from setrade.models.se_trader import REGIME_ENCODERS as ENCODERS
from setrade.models.se_trader import NowAndLater, regime_loss

pytestmark = pytest.mark.usefixtures("one_thread")
LOOKBACK = 16


def windows(batch: int = 5, width: int = 4, time: int = 12) -> torch.Tensor:
    return torch.randn(batch, width, time, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("squeeze", ["mean", None])
def test_every_combination_answers(encoder, squeeze):
    training.seed_everything(0)
    net = TemporalRegimes(4, 3, encoder=encoder, squeeze=squeeze).eval()
    out = net(windows())
    assert out.shape == (5, 2, 3)
    torch.testing.assert_close(net(windows()[2:3]), out[2:3], rtol=1e-5, atol=1e-6)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_loss_by_hand():
    logits = torch.tensor([[[0.0, 0.0], [0.0, float(np.log(3))]]])
    assert float(regime_loss(logits, torch.tensor([[0, 1]]))) == pytest.approx(
        (np.log(2) + np.log(4 / 3)) / 2
    )
    x, y = torch.randn(7, 2, 3), torch.randint(0, 3, (7, 2))
    both = (F.cross_entropy(x[:, 0], y[:, 0]) + F.cross_entropy(x[:, 1], y[:, 1])) / 2
    torch.testing.assert_close(regime_loss(x, y), both)


def test_targets_are_now_and_later():
    codes, ends = np.arange(20) % 3, np.array([4, 7, 9])
    base = training.WindowSet(np.zeros((20, 2)), codes, ends, 4)
    data = NowAndLater(base, codes, ends, 5)
    x, y = data.batch(torch.tensor([2, 0]))
    assert x.shape == (2, 2, 4)
    assert y.tolist() == [[9 % 3, 14 % 3], [4 % 3, 9 % 3]]
    assert len(data) == 3


@pytest.fixture(scope="module")
def planted():
    market = regimes.planted(6000, seed=2, volatility=(0.001, 0.004), stay=0.99)
    return market, market.regime.cat.codes.to_numpy().astype(float)


def inputs(bars):
    x = pd.concat([regimes.observations(bars), regimes.observations(bars, 6)], axis=1)
    return (x - [0, -6, 0, -6]) / [0.002, 0.7, 0.002, 0.7]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_learns_a_planted_regime(planted, encoder):
    market, codes = planted
    x = inputs(market.candles)

    def examples(first: int, last: int):
        ends = np.arange(first, last)
        return NowAndLater(training.WindowSet(x, codes, ends, LOOKBACK), codes, ends, 12)

    training.seed_everything(0)
    net = TemporalRegimes(4, 2, encoder=encoder)
    train, test = examples(30, 4000), examples(4100, 5900)
    training.fit(net, train, loss=regime_loss, num_epochs=4, lr=4e-3, device="cpu", progress=False)
    said = training.predict(net, test).argmax(2).numpy()
    assert (said[:, 0] == codes[4100:5900]).mean() > 0.93
    later = (said[:, 1] == codes[4112:5912]).mean()
    persistence = (said[:, 0] == codes[4112:5912]).mean()
    assert abs(later - persistence) < 0.03  # a sticky chain: nothing beats "nothing changes"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_it_says_never_looks_ahead(planted, encoder):
    training.seed_everything(1)
    net = TemporalRegimes(4, 2, encoder=encoder).eval()

    def said(bars):
        ends = np.arange(30, len(bars))
        x = inputs(bars)
        data = training.WindowSet(x, np.zeros(len(x)), ends, LOOKBACK)
        return training.predict(net, data, batch_size=len(ends)).numpy()

    assert_causal(said, planted[0].candles[:600], offset=30, rtol=1e-4, atol=1e-5)


BASE = training.WindowSet(np.zeros((20, 2)), np.zeros(20), np.array([5, 6]), 4)
GOOD = {"windows": BASE, "codes": np.zeros(20), "ends": np.array([5, 6]), "horizon": 3}
BAD_SETS = [
    ({"horizon": 0}, "horizon"),
    ({"horizon": 14}, "ends"),
    ({"ends": np.array([5])}, "ends"),
    ({"codes": np.full(20, np.nan)}, "codes"),
    ({"codes": np.full(20, -1.0)}, "codes"),
]


@pytest.mark.parametrize(("change", "name"), BAD_SETS)
def test_bad_examples_are_named(change, name):
    with pytest.raises(ValueError, match=f"^{name}: got "):
        NowAndLater(**(GOOD | change))


BAD_NETS = [
    ({"channels": 0}, "channels"),
    ({"classes": 1}, "classes"),
    ({"encoder": "mlp"}, "encoder"),
    ({"hidden": 0}, "hidden"),
    ({"squeeze": "none"}, "squeeze"),
]


@pytest.mark.parametrize(("change", "name"), BAD_NETS)
def test_bad_nets_are_named(change, name):
    with pytest.raises(ValueError, match=f"^{name}: got "):
        TemporalRegimes(**({"channels": 4, "classes": 3} | change))
    with pytest.raises(ValueError, match="^x: got "):
        TemporalRegimes(4, 3)(windows(width=5))


def test_inputs_are_scaled_on_training_rows_only(planted):
    x = regimes.observations(planted[0].candles).iloc[1:]
    one = channels.Standardizer().fit(x.iloc[:1000])
    assert one.mean == pytest.approx(x.iloc[:1000].mean().to_numpy())
