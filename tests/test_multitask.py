"""Strategies 1 and 3: the classes in order, the heads, the learned weights, planted answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import alter_future
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from setrade import labels, training
from setrade.candles import synthetic
from setrade.charts import candlesticks, reference_range
from setrade.efficientnet import EfficientNet
from setrade.efficientnet.net import PictureNet
from setrade.errors import ArgumentError
from setrade.models.multitask import (
    TASKS,
    MultiTaskLoss,
    MultiTaskNet,
    TaskSet,
    best_log_variance,
    task_losses,
    task_targets,
    task_weights,
)
from setrade.pictures import Encoder, PictureSet, encoder, to_input
from setrade.toys import Planted, planted

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(x: np.ndarray) -> Tensor:
    """Candles on one scale for all windows, so that volatility shows (TRAPS 31)."""
    limits = reference_range(x, 0.2)
    drawn = candlesticks(x, 32, 32, volume=False, price_range=limits, outside="clip")
    return to_input(drawn)


def build(seed: int = 0, **options) -> MultiTaskNet:
    """A net from a seed."""
    training.seed_everything(seed)
    return MultiTaskNet("micro", **options)


def noise(n: int, seed: int = 0) -> Tensor:
    """Random pictures (n, 3, 32, 32)."""
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def scaled(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 on ``reference``."""
    return ((values - reference.mean()) / reference.std()).astype(np.float32)


# --- strategy 1 ---------------------------------------------------------------------------------


@torch.no_grad()
def test_picture_net_is_an_efficientnet_with_the_books_classes():
    training.seed_everything(0)
    ours, x = PictureNet("micro").eval(), noise(3)
    training.seed_everything(0)
    plain = EfficientNet("micro", 3, drop_connect=0).eval()
    torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(ours.probabilities(x).sum(1), torch.ones(3))
    assert ours.classes == labels.CLASSES == ("sell", "hold", "buy")
    assert (labels.SELL, labels.HOLD, labels.BUY) == (0, 1, 2)


def test_stacked_pictures_enter():
    """Candles and a Gramian difference field: four channels, drawn on the fly."""
    market = planted(6, seed=0)
    stack = [encoder("candles", 32), encoder("gadf", 32)]
    data = PictureSet(market.windows, market.targets()["direction"], stack)
    assert training.predict(PictureNet("micro", 4), data).shape == (6, 3)


# --- the planted market -------------------------------------------------------------------------


def test_posterior_by_hand():
    """Two bars, two likelihoods: Bayes' rule with a pencil."""
    market = planted(3, seed=4, length=2, horizon=2)
    r = np.log(market.windows[0, 3] / market.windows[0, 0])
    fit = [np.exp(-(((r - m) / s) ** 2).sum() / 2) / s**2
           for m, s in zip(market.drift, market.sigma, strict=True)]  # fmt: skip
    np.testing.assert_allclose(market.posterior()[0], np.array(fit) / sum(fit), rtol=1e-9)


def test_best_probabilities_are_calibrated():
    """Where Bayes' rule says 60 %, 60 % come true; and it beats the shares of the classes."""
    market = planted(20_000, seed=0)
    p, truth = market.direction_probabilities(), market.targets()["direction"]
    np.testing.assert_allclose(p.sum(1), 1)
    for k in range(3):
        cut = np.quantile(p[:, k], [0.25, 0.75])
        for part in (p[:, k] < cut[0], p[:, k] > cut[1]):
            assert abs((truth[part] == k).mean() - p[part, k].mean()) < 0.02
    shares = np.bincount(truth) / len(truth)
    assert -np.log(p[np.arange(20_000), truth]).mean() < -(shares * np.log(shares)).sum() - 0.05


def test_candles_are_valid_and_states_even():
    market = planted(4_000, seed=1)
    o, h, low, c, v = market.windows.transpose(1, 0, 2)
    assert (h >= np.maximum(o, c)).all()
    assert (low <= np.minimum(o, c)).all()
    assert (v > 0).all()
    assert (o[:, 1:] == c[:, :-1]).all()
    assert np.abs(np.bincount(market.state) / 4_000 - 0.25).max() < 0.03
    again = planted(4_000, seed=1)
    assert (again.windows == market.windows).all()


# --- the loss -----------------------------------------------------------------------------------


def test_weighted_loss_by_hand():
    """Kendall et al., equation 10, with s = log sigma²: two regressions and a classification."""
    outputs = {"direction": torch.zeros(2, 3), "magnitude": torch.tensor([1.0, 3.0]),
               "volatility": torch.tensor([0.0, 2.0])}  # fmt: skip
    targets = {"direction": torch.tensor([0, 2]), "magnitude": torch.tensor([0.0, 1.0]),
               "volatility": torch.tensor([0.0, 0.0])}  # fmt: skip
    plain = [np.log(3), (1 + 4) / 2, (0 + 4) / 2]
    np.testing.assert_allclose(task_losses(outputs, targets).numpy(), plain, rtol=1e-6)
    s = nn.Parameter(torch.tensor([0.0, np.log(2.0), np.log(4.0)], dtype=torch.float32))
    by_hand = (np.log(3) + 0) + (2.5 / 2 / 2 + np.log(2) / 2) + (2 / 2 / 4 + np.log(4) / 2)
    ours = MultiTaskLoss(TASKS, s)(outputs, targets).item()
    np.testing.assert_allclose(ours, by_hand, rtol=1e-6)
    unweighted = MultiTaskLoss(TASKS)(outputs, targets).item()
    np.testing.assert_allclose(unweighted, sum(plain), rtol=1e-6)
    weights = task_weights(s)
    np.testing.assert_allclose(list(weights.values()), [1, 0.25, 0.125], rtol=1e-6)


@given(st.sampled_from(TASKS), st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_best_log_variance_is_the_minimum(task, loss):
    factor = 1.0 if task == "direction" else 0.5
    found = minimize_scalar(lambda s: factor * np.exp(-s) * loss + s / 2, bracket=(-1, 1))
    assert abs(found.x - best_log_variance(task, loss)) < 1e-4


@given(st.floats(0.1, 50))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter_at_the_optimum(unit):
    """At the best log variance a regression adds 1/2 whatever its unit: no head can drown."""
    loss = unit**2 * 1.7
    s = best_log_variance("magnitude", loss)
    assert abs(np.exp(-s) * loss / 2 - 0.5) < 1e-9


def test_noisy_task_gets_a_smaller_weight():
    """Two heads on one input; the noisier one ends at the log of its noise's variance."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4_000, 4, generator=rng)
    noisy = torch.randn(4_000, 2, generator=rng) * torch.tensor([2.0, 0.5])
    targets = {"magnitude": x[:, 0] + noisy[:, 0], "volatility": x[:, 1] + noisy[:, 1]}
    tasks, s, layer = ("magnitude", "volatility"), nn.Parameter(torch.zeros(2)), nn.Linear(4, 2)
    loss = MultiTaskLoss(tasks, s)
    adam = torch.optim.Adam([*layer.parameters(), s], lr=0.05)
    for _ in range(300):
        adam.zero_grad()
        out = layer(x)
        loss({"magnitude": out[:, 0], "volatility": out[:, 1]}, targets).backward()
        adam.step()
    weights = task_weights(s, tasks)
    assert weights["magnitude"] < weights["volatility"] / 10
    np.testing.assert_allclose(s.detach().numpy(), np.log([4.0, 0.25]), atol=0.1)


# --- the net ------------------------------------------------------------------------------------


@torch.no_grad()
def test_heads_read_one_trunk():
    net, x = build().eval(), noise(2)
    out = net(x)
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "direction": (2, 3), "magnitude": (2,), "volatility": (2,)}  # fmt: skip
    shared = net.trunk(x)
    torch.testing.assert_close(out["volatility"], net.heads["volatility"](shared)[:, 0])
    torch.testing.assert_close(training.predict(net.only("magnitude"), [(x, x)]), out["magnitude"])
    assert net(x[:1])["magnitude"].shape == (1,)  # TRAPS 27


def test_single_task_twin_shares_the_trunk():
    whole, twin = build(), build(tasks=("volatility",))
    for a, b in zip(whole.trunk.parameters(), twin.trunk.parameters(), strict=True):
        assert torch.equal(a, b)


def test_log_variance_is_trained_and_kept():
    """It moves with the net's optimiser, and the best epoch's value comes back with the net."""
    net, x = build(), noise(16)
    y = {"direction": np.arange(16) % 3, "magnitude": np.ones(16), "volatility": np.zeros(16)}
    data = TaskSet(training.TensorSet(x, torch.zeros(16)), y)
    training.fit(net, data, loss=MultiTaskLoss(TASKS, net.log_variance), num_epochs=2, lr=0.01,
                 batch_size=8, device="cpu", progress=False)  # fmt: skip
    assert (net.log_variance != 0).all()
    assert "log_variance" in net.state_dict()


# --- targets ------------------------------------------------------------------------------------


def test_targets_by_hand():
    price = [100.0, 100.0, 110.0, 99.0, 99.0, 108.9]
    bars = pd.DataFrame({"open": price}, index=pd.date_range("2024", periods=6, freq="h", tz="UTC"))
    y = task_targets(bars, 2)
    r = np.log([1.1, 0.9, 1.0, 1.1])
    np.testing.assert_allclose(y.magnitude[:3], [-0.01, -0.1, 0.1], atol=1e-12)
    square = [(r[0] ** 2 + r[1] ** 2) / 2, r[1] ** 2 / 2, r[3] ** 2 / 2]
    np.testing.assert_allclose(np.exp(2 * y.volatility[:3]), square)
    assert y.direction[:3].tolist() == [0, 0, 2]
    assert y[3:].isna().all(axis=None)


def test_targets_of_a_categorical_column_are_those_of_its_numbers():
    bars = synthetic(30, seed=0).candles
    same = task_targets(bars.assign(open=bars["open"].astype("category")), 3)
    pd.testing.assert_frame_equal(same, task_targets(bars, 3))


def test_targets_look_exactly_horizon_ahead():
    """Altering what comes after open t+1+horizon changes nothing; the bar itself does."""
    bars, horizon, t = synthetic(300, seed=0).candles, 5, 200
    same = task_targets(alter_future(bars, t + 1 + horizon), horizon)
    other = task_targets(alter_future(bars, t + horizon), horizon)
    full = task_targets(bars, horizon)
    pd.testing.assert_series_equal(same.loc[full.index[t]], full.loc[full.index[t]])
    assert (other.iloc[t, 1:] != full.iloc[t, 1:]).all()
    assert full.isna().any(axis=1).sum() == horizon + 1


# --- known answers ------------------------------------------------------------------------------


def examples(market: Planted, reference: Planted) -> TaskSet:
    """Pictures of a planted market with targets scaled on ``reference``."""
    y, base = market.targets(), reference.targets()
    y = {k: v if k == "direction" else scaled(v, base[k]) for k, v in y.items()}
    return TaskSet(training.TensorSet(pictures(market.windows), torch.zeros(len(market.state))), y)


@pytest.fixture(scope="module")
def known():
    """Planted markets to learn from and to be asked about."""
    return [planted(n, seed=s, drift=0.6, wild=0.012) for n, s in ((800, 0), (500, 1))]


def log_loss(p: np.ndarray, truth: np.ndarray) -> float:
    """Mean minus log probability of the truth."""
    return float(-np.log(p[np.arange(len(truth)), truth]).mean())


@pytest.mark.slow
def test_end_to_end_finds_the_planted_direction(known):
    """Strategy 1 beats the shares of the classes, and not Bayes' rule."""
    old, new = known
    truth = new.targets()["direction"]
    data = training.TensorSet(pictures(old.windows), torch.from_numpy(old.targets()["direction"]))
    training.seed_everything(0)
    net = PictureNet("micro")
    training.fit(net, data, num_epochs=4, batch_size=64, lr=1e-3, device="cpu", progress=False)
    ask = training.TensorSet(pictures(new.windows), torch.from_numpy(truth))
    p = training.predict(net, ask).softmax(1).double().numpy()
    shares = np.bincount(old.targets()["direction"]) / 800
    best = log_loss(new.direction_probabilities(), truth)
    assert best - 0.02 < log_loss(p, truth) < log_loss(np.tile(shares, (500, 1)), truth) - 0.1


@pytest.mark.slow
def test_three_heads_find_the_three_answers(known):
    """Strategy 3: every head correlates with the truth nearly as Bayes' rule does."""
    old, new = known
    net = build()
    training.fit(net, examples(old, old), loss=MultiTaskLoss(TASKS, net.log_variance),
                 num_epochs=4, batch_size=64, lr=1e-3, device="cpu", progress=False)  # fmt: skip
    data, truth, p = examples(new, old), new.targets(), new.posterior()
    out = {task: training.predict(net.only(task), data).double().numpy() for task in TASKS}
    direction = F.softmax(torch.from_numpy(out["direction"]), 1).numpy()
    assert (direction.argmax(1) == truth["direction"]).mean() > 0.5
    best = {"magnitude": p @ new.drift, "volatility": p @ np.log(new.sigma)}
    for task, answer in best.items():
        ours = np.corrcoef(out[task], truth[task])[0, 1]
        assert ours > 0.6 * np.corrcoef(answer, truth[task])[0, 1], task


GOOD = {"direction": torch.zeros(2, 3), "magnitude": torch.zeros(2), "volatility": torch.zeros(2)}
TRUTH = {k: torch.zeros(2, dtype=torch.int64 if k == "direction" else None) for k in TASKS}
FOUR = training.TensorSet(torch.zeros(4, 3, 32, 32), torch.zeros(4))
BARS = synthetic(50, seed=0).candles


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: PictureNet(classes=("buy", "hold", "sell")), "classes"),
        (lambda: PictureNet(classes=("sell", "buy")), "classes"),
        (lambda: PictureNet(classes="sell"), "classes"),
        (lambda: PictureNet("b8"), "variant"),
        (lambda: PictureNet("micro", 0), "in_channels"),
        (lambda: PictureNet("micro")(noise(2)[:, :2]), "x"),
        (lambda: PictureNet("micro")(noise(2)[..., :16]), "x"),
        (lambda: MultiTaskNet(tasks=()), "tasks"),
        (lambda: MultiTaskNet(tasks=("direction", "direction")), "tasks"),
        (lambda: MultiTaskNet(tasks=("speed",)), "tasks"),
        (lambda: MultiTaskNet(tasks="direction"), "tasks"),
        (lambda: build().only("speed"), "task"),
        (lambda: task_losses({}, TRUTH), "outputs"),
        (lambda: task_losses(GOOD, {}), "targets"),
        (lambda: task_losses(GOOD, TRUTH | {"magnitude": torch.zeros(2, 1)}), "targets"),
        (lambda: MultiTaskLoss(TASKS, nn.Parameter(torch.zeros(2))), "log_variance"),
        (lambda: task_weights(torch.zeros(2)), "log_variance"),
        (lambda: best_log_variance("magnitude", 0.0), "loss"),
        (lambda: best_log_variance("speed", 1.0), "task"),
        (lambda: task_targets(BARS, 1), "horizon"),
        (lambda: task_targets(BARS[:5], 5), "candles"),
        (lambda: task_targets(BARS.assign(open=1.0), 2), "candles"),
        (lambda: TaskSet([1], {"magnitude": np.zeros(1)}), "source"),  # type: ignore[arg-type]
        (lambda: TaskSet(FOUR, {}), "targets"),
        (lambda: TaskSet(FOUR, {"magnitude": np.zeros(3)}), "targets"),
        (lambda: TaskSet(FOUR, {"magnitude": np.full(4, np.nan)}), "targets"),
        (lambda: TaskSet(FOUR, {"magnitude": np.full(4, 1e39)}), "targets"),
        (lambda: TaskSet(FOUR, {"direction": np.full(4, 2**64 - 1, np.uint64)}), "targets"),
        (lambda: planted(0, seed=0), "n"),
        (lambda: planted(5, seed=-1), "seed"),
        (lambda: planted(5, seed=0, calm=0.02, wild=0.01), "wild"),
        (lambda: planted(5, seed=0, drift=-1.0), "drift"),
        (lambda: planted(5, seed=0, length=1), "length"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ArgumentError) as error:
        call()
    assert error.value.name == name


def test_encoder_with_one_scale_shows_volatility():
    """TRAPS 31: drawn by its own range a wild window looks like a calm one."""
    calm, wild = planted(50, seed=0, wild=0.004), planted(50, seed=0, calm=0.008)
    own = Encoder(lambda x, out=None: candlesticks(x, 32, 32, volume=False, out=out))
    one = [own.draw(m.windows).mean() for m in (calm, wild)]
    fixed = [float(pictures(m.windows).mean()) for m in (calm, wild)]
    assert abs(one[0] / one[1] - 1) < 0.02
    assert fixed[1] > 1.2 * fixed[0]
