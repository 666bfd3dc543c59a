"""The Siamese net: its distance, its pairs, and states that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal
from sklearn.metrics import roc_auc_score
from torch import Tensor

from setrade import training
from setrade.candles import synthetic
from setrade.charts import candlesticks, reference_range
from setrade.errors import ArgumentError
from setrade.models.siamese import (
    ContrastiveLoss,
    PairSet,
    Siamese,
    anomaly,
    change,
    draw_pairs,
    nearest,
)
from setrade.pictures import to_input
from setrade.toys import planted

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(x: np.ndarray, span: float = 0.12) -> Tensor:
    """Candles on one scale for all windows, so that wild states look wild (TRAPS 31)."""
    limits = reference_range(x, span)
    drawn = candlesticks(x, 32, 32, volume=False, price_range=limits, outside="clip")
    return to_input(drawn)


def net(seed: int = 0, **options) -> Siamese:
    """An untrained net in eval mode."""
    training.seed_everything(seed)
    return Siamese("micro", **options).eval()


def noise(n: int, seed: int = 0) -> Tensor:
    """Random pictures (n, 3, 32, 32)."""
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_distance_is_a_distance():
    """Symmetric, zero from a state to itself, triangle, within [0, 2]."""
    model, (a, b, c) = net(), noise(12).chunk(3)
    torch.testing.assert_close(model((a, b)), model((b, a)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model((a, a)), torch.zeros(4), rtol=1e-4, atol=1e-5)
    assert (model((a, c)) <= model((a, b)) + model((b, c)) + 1e-5).all()
    assert ((model((a, b)) > 0) & (model((a, b)) <= 2)).all()
    torch.testing.assert_close(model.embed(a).norm(dim=1), torch.ones(4))


@torch.no_grad()
def test_distance_against_scipy():
    model, a, b = net(dim=4), noise(5), noise(5, seed=1)
    ours = nearest(model.embed(a).numpy(), model.embed(b).numpy(), 5)
    for row, (distance, order) in enumerate(zip(*ours, strict=True)):
        pairs = torch.stack([a[row]] * 5), b[order]
        np.testing.assert_allclose(model(pairs).numpy(), distance, rtol=1e-4, atol=1e-5)


def test_contrastive_by_hand():
    """Hadsell et al., equation 4: d²/2 if alike, (1 - d)²/2 inside the margin, then nothing."""
    distance, same = torch.tensor([0.4, 0.4, 1.5]), torch.tensor([1, 0, 0])
    expected = (0.16 / 2 + 0.36 / 2 + 0) / 3
    torch.testing.assert_close(ContrastiveLoss(1.0)(distance, same), torch.tensor(expected))


def test_gradient_of_equal_pictures_is_finite():
    """A norm has no derivative at 0; a pair of twins must not poison the weights."""
    model, a = net(), noise(3)
    ContrastiveLoss()(model((a, a)), torch.ones(3)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@given(st.integers(0, 50), st.integers(2, 40).map(lambda n: 2 * n), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_pairs_keep_their_word(seed, n_pairs, gap):
    state, ends = np.arange(300) % 3, np.arange(300) * 2 + 31
    pairs, same = draw_pairs(state, n_pairs, seed=seed, ends=ends, min_gap=gap)
    assert pairs.shape == (n_pairs, 2)
    assert same.sum() == n_pairs // 2
    assert ((state[pairs[:, 0]] == state[pairs[:, 1]]) == same).all()
    assert (np.abs(np.diff(ends[pairs], axis=1)) >= max(gap, 1)).all()


def test_pair_set_draws_both_sides():
    x = noise(6)
    source = training.TensorSet(x, torch.zeros(6))
    pairs = PairSet(source, np.array([[0, 3], [5, 1]]), np.array([1, 0]))
    (first, second), same = pairs.batch(torch.tensor([1, 0]))
    torch.testing.assert_close(first, x[[5, 0]])
    torch.testing.assert_close(second, x[[1, 3]])
    assert same.tolist() == [0, 1]
    assert len(pairs) == 2


def test_overlapping_windows_leak():
    """TRAPS 3: on a random walk, pairs that share bars are told from others by any distance."""
    steps = 0.002 * np.random.default_rng(0).normal(size=3_000)
    close = np.lib.stride_tricks.sliding_window_view(steps.cumsum(), 32)
    shape = close - close.mean(1, keepdims=True)
    rng = np.random.default_rng(1)
    first = rng.integers(0, 2_000, 800)

    def auc(lag: int) -> float:
        near = np.linalg.norm(shape[first] - shape[first + lag], axis=1)
        far = np.linalg.norm(shape[first] - shape[(first + 900) % len(shape)], axis=1)
        return float(roc_auc_score(np.repeat([1, 0], 800), -np.r_[near, far]))

    assert auc(4) > 0.8  # windows that share 28 of 32 bars
    assert abs(auc(32) - 0.5) < 0.05  # none shared: nothing to see


def test_change_peaks_at_the_planted_break():
    states = np.repeat([[1.0, 0.0], [0.0, 1.0]], 20, axis=0)
    score = change(states, 5)
    assert np.isnan(score[:5]).all()
    assert not np.isnan(score[5:]).any()
    assert set(np.flatnonzero(score > 1)) == set(range(20, 25))
    np.testing.assert_allclose(score[22], 2**0.5)


def test_change_is_causal():
    bars = synthetic(400, seed=1).candles

    def score(candles):
        close = np.log(candles["close"].to_numpy())
        return change(np.column_stack([close, np.abs(np.diff(close, prepend=close[0]))]), 7)

    assert_causal(score, bars)


def test_nearest_and_anomaly_by_hand():
    past, query = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]), np.array([[0.0, 0.0]])
    distance, rows = nearest(query, past, 3)
    assert distance.tolist() == [[0, 1, 5]]
    assert rows.tolist() == [[0, 2, 1]]
    assert anomaly(query, past, 2).tolist() == [0.5]


@pytest.fixture(scope="module")
def trained():
    """A net trained on 500 pairs of four planted states, and new windows of the market."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    old, new = (planted(400, seed=s, drift=0.4, wild=0.012) for s in (0, 1))
    pairs = draw_pairs(old.state, 500, seed=0)
    model, last = net(), torch.channels_last  # twice as fast for these small pictures
    model.to(memory_format=last)  # type: ignore[call-overload]
    x = pictures(old.windows, 0.2).contiguous(memory_format=last)
    source = PairSet(training.TensorSet(x, torch.zeros(400)), *pairs)
    training.fit(model, source, loss=ContrastiveLoss(), num_epochs=4, batch_size=32, lr=2e-3,
                 device="cpu", progress=False)  # fmt: skip
    torch.set_num_threads(threads)
    return model, old, new


@pytest.mark.slow
def test_planted_states_are_told_apart(trained):
    """AUC of same against different state: near Bayes' rule, which nothing can beat."""
    model, _, new = trained
    pairs, same = draw_pairs(new.state, 600, seed=2)
    x = training.TensorSet(pictures(new.windows, 0.2), torch.zeros(400))
    distance = training.predict(model, PairSet(x, pairs, same)).numpy()
    ours, best = roc_auc_score(same, -distance), roc_auc_score(same, new.same_state(pairs))
    assert 0.8 < ours <= best + 0.01


@pytest.mark.slow
@torch.no_grad()
def test_wild_windows_are_anomalies_beside_calm_ones(trained):
    """With calm windows as the reference, wild ones lie further away."""
    model, old, new = trained
    calm, mixed = old.windows[old.state < 2], new.windows
    seen, asked = (model.embed(pictures(x, 0.2)).numpy() for x in (calm, mixed))
    assert roc_auc_score(new.state >= 2, anomaly(asked, seen)) > 0.75


GOOD = training.TensorSet(torch.zeros(4, 3, 32, 32), torch.zeros(4))
FLAGS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: Siamese("b99"), "variant"),
        (lambda: Siamese(dim=1), "dim"),
        (lambda: Siamese(in_channels=0), "in_channels"),
        (lambda: net()((noise(2), noise(3))), "pair"),
        (lambda: net()((noise(2)[:, :2], noise(2)[:, :2])), "x"),
        (lambda: ContrastiveLoss(0), "margin"),
        (lambda: ContrastiveLoss(3), "margin"),
        (lambda: ContrastiveLoss()(torch.zeros(3), torch.zeros(2)), "same"),
        (lambda: draw_pairs(FLAGS * 1.5, 2, seed=0), "state"),
        (lambda: draw_pairs(np.zeros(9, int), 2, seed=0), "state"),
        (lambda: draw_pairs(FLAGS, 3, seed=0), "n_pairs"),
        (lambda: draw_pairs(FLAGS, 2, seed=0, ends=np.array([3, 2, 1, 0])), "ends"),
        (lambda: draw_pairs(FLAGS, 2, seed=0, min_gap=2), "ends"),
        (lambda: draw_pairs(FLAGS, 2, seed=0, min_gap=-1), "min_gap"),
        (lambda: draw_pairs(FLAGS, 2, seed=-1), "seed"),
        (lambda: PairSet([1, 2], np.zeros((1, 2), int), np.ones(1)), "source"),  # type: ignore
        (lambda: PairSet(GOOD, np.array([[0, 4]]), np.ones(1)), "pairs"),
        (lambda: PairSet(GOOD, np.array([[0, 1, 2]]), np.ones(1)), "pairs"),
        (lambda: PairSet(GOOD, np.array([[0, 1]]), np.array([2])), "same"),
        (lambda: change(np.zeros((5, 2)), 5), "lag"),
        (lambda: change(np.full((5, 2), np.nan), 1), "states"),
        (lambda: nearest(np.zeros((2, 3)), np.zeros((2, 2)), 1), "reference"),
        (lambda: nearest(np.zeros((2, 3)), np.zeros((2, 3)), 3), "k"),
        (lambda: anomaly(np.zeros(3), np.zeros((2, 3))), "query"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ArgumentError) as error:
        call()
    assert error.value.name == name
