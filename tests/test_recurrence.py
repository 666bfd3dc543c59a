"""Recurrence plots and their quantification: by hand, against peers, laws, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal, assert_drawn_in_order

from setrade import candles
from setrade.errors import ArgumentError
from setrade.recurrence import embed, quantify, recurrence

rng = np.random.default_rng(0)
WALKS = rng.normal(size=(6, 40)).cumsum(-1)
EMBEDDINGS = [(1, 1), (2, 1), (3, 1), (3, 4), (5, 2)]


def by_the_book(x: np.ndarray, dim: int, delay: int) -> np.ndarray:
    """Every pair of states, in float64, one pair after the other."""
    m = len(x) - (dim - 1) * delay
    states = [x[i : i + (dim - 1) * delay + 1 : delay] for i in range(m)]
    return np.array([[np.linalg.norm(a - b) for b in states] for a in states])


# Pictures by hand -------------------------------------------------------------------------


def test_distances_by_hand():
    np.testing.assert_array_equal(recurrence([1, 4, 2]), [[0, 3, 1], [3, 0, 2], [1, 2, 0]])


def test_embedding_by_hand():
    # States (0, 3), (3, 3), (3, 7): a right triangle with sides 3, 4 and 5
    x = np.array([0.0, 3.0, 3.0, 7.0])
    np.testing.assert_array_equal(embed(x, 2), [[0, 3], [3, 3], [3, 7]])
    np.testing.assert_array_equal(recurrence(x, 2), [[0, 3, 5], [3, 0, 4], [5, 4, 0]])
    np.testing.assert_array_equal(embed(np.arange(7), 3, 2), [[0, 2, 4], [1, 3, 5], [2, 4, 6]])


def test_a_distance_equal_to_the_threshold_recurs():
    x = np.array([0.0, 3.0, 3.0, 7.0])
    np.testing.assert_array_equal(recurrence(x, 2, 1, 4), [[1, 1, 0], [1, 1, 1], [0, 1, 1]])
    np.testing.assert_array_equal(recurrence(x, 2, 1, 3.9), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(recurrence([1, 1, 2], eps=0), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    # In float32, 0.1 is another number: thresholds are compared in float64.
    assert recurrence([0.1, 0.2], eps=0.1).min() == 1


def test_quantile_by_hand():
    # The three pairs lie 3, 5 and 4 apart.
    x = np.array([0.0, 3.0, 3.0, 7.0])
    for share, pairs in ((1e-9, 1), (1 / 3, 1), (0.34, 2), (2 / 3, 2), (0.9, 3), (1, 3)):
        assert np.triu(recurrence(x, 2, quantile=share), 1).sum() == pairs


# Peers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "delay"), EMBEDDINGS)
def test_equal_to_the_definition(dim, delay):
    for shift in (0, 40_000):
        expected = np.stack([by_the_book(x, dim, delay) for x in WALKS])
        np.testing.assert_allclose(recurrence(WALKS + shift, dim, delay), expected, atol=1e-5)
        binary = recurrence(WALKS + shift, dim, delay, 1.5)
        np.testing.assert_array_equal(binary, expected <= 1.5)


@pytest.mark.parametrize("scale", [1e-25, 1e-16, 1.0, 1e17, 1e30])
@pytest.mark.parametrize(("dim", "delay"), EMBEDDINGS)
def test_any_unit_is_exact_to_the_last_place_of_float32(dim, delay, scale):
    """Squares of such distances are too small or too large for float32; the distances are not."""
    mixed = WALKS[0] * np.where(np.arange(40) < 30, 1.0, 1e-6) * scale
    found = recurrence(mixed, dim, delay)
    np.testing.assert_allclose(found, by_the_book(mixed, dim, delay), rtol=1.3e-7)


@pytest.mark.filterwarnings("ignore")
def test_equal_to_pyts(pyts_image):
    for dim, delay in EMBEDDINGS:
        peer = pyts_image.RecurrencePlot(dim, delay).transform(WALKS)
        np.testing.assert_allclose(recurrence(WALKS, dim, delay), peer, atol=1e-5)
        peer = pyts_image.RecurrencePlot(dim, delay, threshold=0.7).transform(WALKS)
        np.testing.assert_array_equal(recurrence(WALKS, dim, delay, 0.7), peer)


# Laws of the pictures -----------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-1000, 1000), min_size=8, max_size=20),
    st.sampled_from(EMBEDDINGS[:3]),
    st.floats(0, 50),
)
def test_laws_of_the_pictures(values, embedding, eps):
    x = np.array(values) / 8
    plot = recurrence(x, *embedding)
    assert np.array_equal(plot, plot.T)
    assert not np.diag(plot).any()
    assert np.array_equal(recurrence(-x, *embedding), plot)  # trap 1
    assert np.array_equal(recurrence(x + 64, *embedding), plot)
    assert np.array_equal(recurrence(2 * x, *embedding), 2 * plot)
    assert np.array_equal(recurrence(x[::-1].copy(), *embedding), plot[::-1, ::-1])
    # The triangle inequality: no way round is shorter.
    assert np.all(plot[:, :, None] + plot[None] >= plot[:, None] - 1e-3)
    binary = recurrence(x, *embedding, eps)
    assert set(np.unique(binary)) <= {0, 1}
    assert np.all(binary <= recurrence(x, *embedding, eps + 1))


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("dim", "delay"), EMBEDDINGS)
def test_a_quantile_fixes_the_recurrence_rate(share, dim, delay):
    plots = recurrence(WALKS * rng.uniform(0.01, 100, (6, 1)), dim, delay, quantile=share)
    m = plots.shape[-1]
    pairs = m * (m - 1)
    rate = quantify(plots)["rr"]
    assert np.all(rate >= share - 1e-12)
    assert np.all(rate < share + 2.1 / pairs)


def test_trap_1_direction_is_lost():
    up = np.linspace(100, 110, 50) + rng.normal(0, 0.3, 50)
    for arguments in ({}, {"eps": 1.0}, {"quantile": 0.1}, {"dim": 3, "delay": 2}):
        assert np.array_equal(recurrence(up, **arguments), recurrence(-up, **arguments))


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_trap_7_a_constant_window_is_flat(kind):
    x = kind(np.full((2, 30), 61_234.1))
    assert np.unique(np.asarray(recurrence(x, 3, 2))).tolist() == [0]
    for arguments in ({"eps": 0}, {"eps": 1}, {"quantile": 0.1}):
        assert np.unique(np.asarray(recurrence(x, 3, 2, **arguments))).tolist() == [1]


@pytest.mark.parametrize("arguments", [{}, {"eps": 0.5}, {"quantile": 0.1}])
def test_the_future_changes_no_picture(arguments):
    def pictures(frame):
        windows = np.lib.stride_tricks.sliding_window_view(frame["close"].to_numpy(), 20)
        return recurrence(windows, 3, 2, **arguments)

    assert_causal(pictures, candles.synthetic(120, seed=1).candles, offset=19)


def test_the_future_changes_no_measure():
    def measures(frame):
        windows = np.lib.stride_tricks.sliding_window_view(frame["close"].to_numpy(), 20)
        return np.stack(list(quantify(recurrence(windows, quantile=0.1)).values()), 1)

    assert_causal(measures, candles.synthetic(120, seed=2).candles, offset=19)


# Kinds, shapes, buffers, gradients ----------------------------------------------------------


@pytest.mark.parametrize(("dim", "delay"), EMBEDDINGS)
@pytest.mark.parametrize("arguments", [{}, {"eps": 1.5}, {"quantile": 0.2}])
def test_tensor_and_array_agree(dim, delay, arguments):
    x = WALKS.reshape(2, 3, 40)
    ours = recurrence(torch.as_tensor(x), dim, delay, **arguments)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), recurrence(x, dim, delay, **arguments), atol=1e-6)


def test_leading_axes_layout_and_dtype():
    flat = recurrence(WALKS, 3, 2)
    np.testing.assert_array_equal(recurrence(WALKS.reshape(3, 2, 40), 3, 2)[1, 1], flat[3])
    np.testing.assert_array_equal(recurrence(WALKS[0], 3, 2), flat[0])
    np.testing.assert_array_equal(recurrence(np.asfortranarray(WALKS), 3, 2), flat)
    np.testing.assert_array_equal(recurrence(WALKS[::-2], 3, 2), flat[::-2])
    unsigned = rng.integers(0, 255, (3, 12)).astype(np.uint8)  # no wrap-around
    np.testing.assert_array_equal(recurrence(unsigned), recurrence(unsigned / 1.0))


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("arguments", [{}, {"eps": 1.5}])
def test_out_is_filled_and_returned(kind, arguments):
    x = kind(WALKS.reshape(2, 3, 40))
    out = kind(np.full((2, 3, 36, 36), np.nan, np.float32))
    assert recurrence(x, 3, 2, out=out, **arguments) is out
    fresh = recurrence(x, 3, 2, **arguments)
    np.testing.assert_array_equal(np.asarray(out), np.asarray(fresh))


def test_gradients_equal_finite_differences():
    x = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.6], dtype=torch.float64, requires_grad=True)
    weights = rng.normal(size=(4, 4))
    (recurrence(x, 2, 2) * torch.as_tensor(weights)).sum().backward()
    start, step = x.detach().numpy(), 1e-6
    for i in range(6):
        move = step * np.eye(6)[i]
        change = by_the_book(start + move, 2, 2) - by_the_book(start - move, 2, 2)
        slope = (change * weights).sum() / (2 * step)
        assert float(x.grad[i]) == pytest.approx(slope, rel=1e-5, abs=1e-5)


# Quantification by hand ---------------------------------------------------------------------

TINY = np.array(
    [
        [1, 1, 0, 0, 1],
        [1, 1, 1, 0, 1],
        [0, 1, 1, 0, 1],
        [0, 0, 0, 1, 0],
        [1, 1, 1, 0, 1],
    ]
)


def test_quantities_by_hand():
    # Off the main diagonal 10 of 20 pixels recur. Above it, offset 1 reads 1 1 0 0, a line
    # of two; offsets 2, 3 and 4 hold one lone pixel each: (2, 4), (1, 4), (0, 4). Below it
    # the same. DET = 4 / 10, all lines of one length. The columns without the diagonal read
    # 01001 10101 01001 00000 11100: one vertical line of three. LAM = 3 / 10.
    expected = {"rr": 0.5, "det": 0.4, "lam": 0.3, "entropy": 0.0}
    assert {k: float(v) for k, v in quantify(TINY).items()} == pytest.approx(expected)


def test_quantities_with_the_line_of_identity_by_hand():
    # theiler = 0: 15 of 25. Diagonal lines: one of 5, two of 2, six of 1. DET = 9 / 15,
    # lengths 2, 2, 5: entropy of (2/3, 1/3). Lines in the columns: 2 and 1, 3 and 1, 2 and 1,
    # 1, 3 and 1: LAM = (2 + 3 + 2 + 3) / 15.
    found = quantify(TINY, theiler=0)
    entropy = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    expected = {"rr": 15 / 25, "det": 9 / 15, "lam": 10 / 15, "entropy": entropy}
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected)


def test_longer_lines_and_a_wider_band_by_hand():
    assert quantify(TINY, l_min=3)["det"] == 0
    assert quantify(TINY, v_min=3)["lam"] == pytest.approx(0.3)
    # theiler = 2 leaves 12 pixels, 6 of them recur: (2,4), (1,4), (0,4) and their mirrors.
    found = quantify(TINY, theiler=2)
    assert found["rr"] == pytest.approx(0.5)
    assert found["lam"] == pytest.approx(0.5)
    assert found["det"] == 0


def slow_lines(image: np.ndarray, theiler: int, vertical: bool) -> list[int]:
    """Lengths of all lines, by splitting strings: nothing in common with the kernel."""
    m = len(image)
    i, j = np.indices((m, m))
    kept = np.where(np.abs(i - j) >= theiler, image, 0)
    offsets = range(-m + 1, m)
    rows = kept.T if vertical else [np.diagonal(kept, k) for k in offsets]
    text = [" ".join("".join(map(str, map(int, row))).split("0")).split() for row in rows]
    return [len(line) for row in text for line in row]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_quantities_equal_a_slow_count(m, theiler, shortest, seed):
    image = np.random.default_rng(seed).integers(0, 2, (m, m))
    theiler, shortest = min(theiler, m - 1), min(shortest, m)
    found = quantify(image, shortest, shortest, theiler)
    diagonal, vertical = (slow_lines(image, theiler, v) for v in (False, True))
    for name, lines in (("det", diagonal), ("lam", vertical)):
        long = sum(n for n in lines if n >= shortest)
        assert found[name] == pytest.approx(long / max(sum(lines), 1))
    _, counts = np.unique([n for n in diagonal if n >= shortest], return_counts=True)
    shares = counts / max(counts.sum(), 1)
    assert found["entropy"] == pytest.approx(-(shares * np.log(shares)).sum())


def test_a_sine_is_determined_and_noise_is_not():
    wave = recurrence(np.sin(np.arange(200) * 2 * np.pi / 25), 2, 6, quantile=0.1)
    noise = recurrence(rng.normal(size=200), 2, 6, quantile=0.1)
    sine, random = quantify(wave), quantify(noise)
    assert sine["det"] > 0.99
    # White noise: a recurrent pixel is alone with probability (1 - p)^2, p = 0.1.
    assert float(random["det"]) == pytest.approx(1 - 0.9**2, abs=0.05)
    assert float(random["lam"]) < 0.35
    assert sine["entropy"] > random["entropy"]


def test_blank_and_full_plots():
    blank = quantify(np.zeros((2, 5, 5)), theiler=0)
    assert all((v == 0).all() and v.shape == (2,) for v in blank.values())
    full = quantify(np.ones((5, 5), bool))
    assert (full["rr"], full["det"]) == (1, 16 / 20 + 2 / 20)  # the corners are lone pixels
    assert quantify(torch.ones(3, 5, 5), theiler=0)["lam"].tolist() == [1, 1, 1]


# Bad input ------------------------------------------------------------------------------------

GOOD = np.arange(12.0)
BAD_SERIES = {
    "nan": np.array([1.0, np.nan, 2.0]),
    "infinity": np.array([1.0, 2.0, np.inf]),
    "empty": np.empty(0),
    "n = 1": np.ones((4, 1)),
    "text": np.array(["1", "2"]),
    "nan tensor": torch.tensor([1.0, np.nan]),
    "tensor n = 1": torch.ones(1),
}


@pytest.mark.parametrize("function", [recurrence, embed])
@pytest.mark.parametrize("case", BAD_SERIES)
def test_bad_series(function, case):
    with pytest.raises(ArgumentError, match=r"^x: got "):
        function(BAD_SERIES[case])


BAD_ARGUMENTS = [
    ({"dim": 0}, "dim"),
    ({"dim": 1.5}, "dim"),
    ({"dim": 12}, "dim, delay"),
    ({"dim": 3, "delay": 6}, "dim, delay"),
    ({"delay": 0}, "delay"),
    ({"delay": "1"}, "delay"),
    ({"eps": -0.1}, "eps"),
    ({"eps": np.nan}, "eps"),
    ({"eps": np.inf}, "eps"),
    ({"eps": "10%"}, "eps"),
    ({"eps": True}, "eps"),
    ({"quantile": 0}, "quantile"),
    ({"quantile": 1.1}, "quantile"),
    ({"quantile": 0.1, "eps": 0.1}, "quantile"),
    ({"out": np.zeros((12, 12))}, "out"),
    ({"out": np.zeros((11, 11), np.float32)}, "out"),
    ({"out": np.zeros((24, 12), np.float32)[::2]}, "out"),
    ({"out": torch.zeros(12, 12)}, "out"),
]


@pytest.mark.parametrize(("arguments", "named"), BAD_ARGUMENTS)
def test_bad_arguments(arguments, named):
    with pytest.raises(ArgumentError) as caught:
        recurrence(GOOD, **arguments)
    assert caught.value.name == named


@pytest.mark.parametrize(
    ("image", "arguments", "named"),
    [
        (np.zeros((3, 4)), {}, "image"),
        (np.zeros(3), {}, "image"),
        (np.zeros((1, 1)), {}, "image"),
        (np.zeros((0, 3, 3)), {}, "image"),
        (np.full((3, 3), 0.5), {}, "image"),
        (np.full((3, 3), np.nan), {}, "image"),
        (recurrence(GOOD), {}, "image"),
        (np.eye(3), {"l_min": 0}, "l_min"),
        (np.eye(3), {"l_min": 4}, "l_min"),
        (np.eye(3), {"v_min": 2.0}, "v_min"),
        (np.eye(3), {"theiler": -1}, "theiler"),
        (np.eye(3), {"theiler": 3}, "theiler"),
    ],
)
def test_bad_input_of_quantify(image, arguments, named):
    with pytest.raises(ArgumentError) as caught:
        quantify(image, **arguments)
    assert caught.value.name == named


@pytest.mark.parametrize("draw", [embed, recurrence])
def test_a_series_is_drawn_as_its_stamps_run(draw):
    assert_drawn_in_order(draw)
