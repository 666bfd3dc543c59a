"""Gramian fields and transition fields: by hand, against pyts, by their laws, and bad input."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import torch._inductor.config
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from laws import assert_causal, assert_drawn_in_order

from setrade import candles, gramian
from setrade.errors import ArgumentError
from setrade.gramian import gadf, gasf, gasf_inverse, transition_field

ENCODERS = {"gasf": gasf, "gadf": gadf, "transition_field": transition_field}
rng = np.random.default_rng(0)
WALKS = rng.normal(size=(6, 48)).cumsum(-1) + 40_000
WINDOWS = arrays(
    np.float64,
    st.integers(2, 20),
    elements=st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3)),
)


def by_the_book(x: np.ndarray, difference: bool = False) -> np.ndarray:
    """The definition, with arccos, in float64."""
    low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
    phi = np.arccos(np.clip(2 * (x - low) / (high - low) - 1, -1, 1))
    if difference:
        return np.sin(phi[..., :, None] - phi[..., None, :])
    return np.cos(phi[..., :, None] + phi[..., None, :])


def clamped(x: np.ndarray) -> np.ndarray:
    """The wrong version of trap 6: raw values clamped to [-1, 1]."""
    phi = np.arccos(np.clip(x, -1, 1))
    return np.cos(phi[..., :, None] + phi[..., None, :])


# By hand --------------------------------------------------------------------------------


def test_gasf_by_hand():
    # 1, 2, 3 -> -1, 0, 1 -> angles pi, pi/2, 0
    assert gasf(np.array([1.0, 2.0, 3.0])).tolist() == [[1, 0, -1], [0, -1, 0], [-1, 0, 1]]


def test_gadf_by_hand():
    assert gadf(np.array([1.0, 2.0, 3.0])).tolist() == [[0, 1, 0], [-1, 0, 1], [0, -1, 0]]


def test_thirds_of_pi_by_hand():
    # 0, 1, 3, 4 -> -1, -1/2, 1/2, 1 -> angles pi, 2 pi/3, pi/3, 0
    expected = [
        [1, 0.5, -0.5, -1],
        [0.5, -0.5, -1, -0.5],
        [-0.5, -1, -0.5, 0.5],
        [-1, -0.5, 0.5, 1],
    ]
    np.testing.assert_allclose(gasf(np.array([0, 1, 3, 4])), expected, atol=2e-7)
    half = np.sin(np.pi / 3)
    row = [0, half, half, 0]
    np.testing.assert_allclose(gadf(np.array([0, 1, 3, 4]))[0], row, atol=2e-7)


def test_sixths_of_pi_with_bounds_by_hand():
    # Given bounds (-2, 2): sqrt(3) -> cos(pi/6), 1 -> cos(pi/3), 0 -> cos(pi/2)
    x = np.array([np.sqrt(3), 1.0, 0.0])
    phi = np.array([1, 2, 3]) * np.pi / 6
    expected = np.cos(phi[:, None] + phi)
    np.testing.assert_allclose(gasf(x, bounds=(-2, 2)), expected, atol=2e-7)


def test_aggregation_by_hand():
    # Means of (1, 3), (5, 7), (0, 0) are 2, 6, 0 -> -1/3, 1, -1
    field = gasf(np.array([1.0, 3, 5, 7, 0, 0]), 3)
    np.testing.assert_allclose(np.diag(field), [2 / 9 - 1, 1, 1], atol=2e-7)
    # Five values in two segments: (1, 3) and (5, 7, 0), means 2 and 4
    np.testing.assert_array_equal(gasf(np.array([1.0, 3, 5, 7, 0]), 2), [[1, -1], [-1, 1]])


def test_transition_field_by_hand():
    # The median 1.75 cuts 1, 2, 9, 1.5 into low high high low: low goes to high (1 of 1),
    # high to high (1 of 2) and to low (1 of 2).
    moves, bins = np.array([[0, 1], [0.5, 0.5]]), np.array([0, 1, 1, 0])
    field = transition_field(np.array([1.0, 2.0, 9.0, 1.5]), n_bins=2)
    np.testing.assert_array_equal(field, moves[bins[:, None], bins])
    # A value on the edge (the median 3) belongs to the bin below: low low high high low.
    field = transition_field(np.array([1.0, 2.0, 9.0, 8.0, 3.0]), n_bins=2)
    np.testing.assert_array_equal(field, np.full((5, 5), 0.5))


def test_transition_field_aggregates_blocks():
    x = WALKS[:, :40]
    full = transition_field(x, n_bins=4)
    blocks = full.reshape(6, 10, 4, 10, 4).mean((2, 4))
    np.testing.assert_allclose(transition_field(x, 10, 4), blocks, atol=1e-6)


# Against independent peers ----------------------------------------------------------------


def test_equal_to_the_definition():
    for difference, field in ((False, gasf), (True, gadf)):
        np.testing.assert_allclose(field(WALKS), by_the_book(WALKS, difference), atol=3e-7)


@pytest.mark.filterwarnings("ignore")
def test_equal_to_pyts(pyts_image):
    constant = np.full((1, 48), 7.25)
    x = np.concatenate([WALKS, rng.normal(size=(4, 48)), constant])
    for size in (48, 47, 31, 24, 16, 7, 2):
        for method, field in (("summation", gasf), ("difference", gadf)):
            for span, rescale in (((-1, 1), "signed"), ((0, 1), "unit")):
                peer = pyts_image.GramianAngularField(size, sample_range=span, method=method)
                ours = field(x, size, rescale=rescale)
                np.testing.assert_allclose(ours, peer.transform(x), atol=1e-5)
        for n_bins in (2, 5, 8, 12):
            peer = pyts_image.MarkovTransitionField(size, n_bins=n_bins)
            ours = transition_field(x[:-1], size, n_bins)
            np.testing.assert_allclose(ours, peer.transform(x[:-1]), atol=1e-5)


# Laws -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(WINDOWS)
def test_laws_of_the_fields(x):
    summation, difference = gasf(x), gadf(x)
    assert np.array_equal(summation, summation.T)
    assert np.array_equal(difference, -difference.T)
    assert np.all(np.abs(summation) <= 1)
    assert np.all(np.abs(difference) <= 1)
    assert np.array_equal(gasf(4 * x), summation)  # powers of two scale without rounding
    assert np.array_equal(gasf(-x), summation)  # trap 1, bit by bit
    assert np.array_equal(gadf(-x), -difference)


@settings(max_examples=40, deadline=None)
@given(WINDOWS, st.floats(0.1, 10), st.floats(-1e3, 1e3))
def test_positive_affine_maps_change_nothing(x, scale, shift):
    if np.ptp(x) < 1e-2 * np.abs(x).max() or np.ptp(x) < 1:
        return
    np.testing.assert_allclose(gadf(scale * x + shift), gadf(x), atol=2e-5)


def test_diagonals():
    x = 2 * (WALKS - WALKS.min(-1, keepdims=True)) / np.ptp(WALKS, -1)[:, None] - 1
    np.testing.assert_allclose(np.diagonal(gasf(WALKS), 0, -2, -1), 2 * x**2 - 1, atol=3e-7)
    assert not np.diagonal(gadf(WALKS), 0, -2, -1).any()


# Traps ------------------------------------------------------------------------------------


def test_trap_1_direction_is_lost_in_gasf_and_transition_field_but_not_in_gadf():
    up = np.linspace(100, 110, 50) + rng.normal(0, 0.3, 50)
    assert np.array_equal(gasf(up), gasf(-up))
    assert np.array_equal(transition_field(up), transition_field(-up))
    assert np.array_equal(gadf(up), -gadf(-up))
    assert np.abs(gadf(up) - gadf(-up)).max() > 1.9
    # Rescaled to [0, 1] the mirror image is another series: this GASF can tell.
    assert np.abs(gasf(up, rescale="unit") - gasf(-up, rescale="unit")).max() > 1.9


def accuracies(encode, seed=0):
    """Train a small net on drifting walks; score it on fresh walks and their mirror images."""
    torch.manual_seed(seed)
    up = torch.randint(0, 2, (1200,))
    x = (torch.randn(1200, 32) + 0.6 * (up[:, None] - 0.5)).cumsum(1)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(256, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    pictures = encode(x[:800], 16)
    for _ in range(100):
        loss = torch.nn.functional.cross_entropy(net(pictures), up[:800])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fresh, answers = torch.cat([x[800:], -x[800:]]), torch.cat([up[800:], 1 - up[800:]])
    return float((net(encode(fresh, 16)).argmax(1) == answers).double().mean())


def test_trap_1_a_net_learns_direction_from_gadf_and_not_from_gasf():
    assert accuracies(gasf) == 0.5
    assert accuracies(gadf) > 0.9


def test_trap_6_prices_are_rescaled_not_clamped():
    prices = np.linspace(100, 200, 20)
    assert np.ptp(clamped(prices)) == 0  # the wrong version is a blank picture
    assert np.ptp(gasf(prices)) == 2
    with pytest.raises(ArgumentError, match=r"x: got 200\.0, allowed: within bounds"):
        gasf(prices, bounds=(100, 150))


@pytest.mark.parametrize("level", [0.0, 0.1, -3.7, 61_234.1, 1e-300])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_trap_7_a_constant_window_is_flat(level, kind):
    x = kind(np.full((2, 47), level))  # 47 in 10 segments: means that round differently
    for size in (None, 10):
        assert np.unique(np.asarray(gasf(x, size))).tolist() == [1]
        assert np.unique(np.asarray(gasf(x, size, rescale="unit"))).tolist() == [-1]
        assert np.unique(np.asarray(gadf(x, size))).tolist() == [0]
        np.testing.assert_allclose(np.asarray(transition_field(x, size)), 1, atol=1e-6)


def test_trap_31_given_bounds_keep_volatility():
    calm, wild = 100 + WALKS[0] % 1, 100 + 10 * (WALKS[0] % 1)
    np.testing.assert_allclose(gadf(calm), gadf(wild), atol=1e-5)
    bounds = (90.0, 120.0)
    assert np.ptp(gadf(calm, bounds=bounds)) < np.ptp(gadf(wild, bounds=bounds)) / 3


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [None, 10])
def test_the_future_changes_no_picture(name, size):
    def pictures(frame):
        windows = np.lib.stride_tricks.sliding_window_view(frame["close"].to_numpy(), 24)
        return ENCODERS[name](windows, size)

    assert_causal(pictures, candles.synthetic(200, seed=1).candles, offset=23)


# The inverse ------------------------------------------------------------------------------


def test_inverse_of_the_diagonal():
    back = gasf_inverse(gasf(WALKS[0], rescale="unit"), WALKS[0].min(), WALKS[0].max())
    np.testing.assert_allclose(back, WALKS[0], atol=3e-4 * np.ptp(WALKS[0]))
    # With the signed range only the magnitude comes back.
    signed = 2 * (WALKS[0] - WALKS[0].min()) / np.ptp(WALKS[0]) - 1
    np.testing.assert_allclose(gasf_inverse(gasf(WALKS[0])), np.abs(signed), atol=3e-4)
    tensor = gasf(torch.as_tensor(WALKS), rescale="unit")
    assert gasf_inverse(tensor).shape == (6, 48)


# Kinds, shapes, buffers, gradients ---------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [None, 48, 31, 16])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tensor_and_array_agree(name, size, dtype):
    x = torch.as_tensor(WALKS - 40_000).to(dtype)
    ours = ENCODERS[name](x, size)
    assert ours.dtype == torch.float32
    assert isinstance(ours, torch.Tensor)
    np.testing.assert_allclose(ours.numpy(), ENCODERS[name](x.numpy(), size), atol=1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_leading_axes_layout_and_dtype(name):
    encode = ENCODERS[name]
    flat = encode(WALKS)
    np.testing.assert_array_equal(encode(WALKS.reshape(2, 3, 48)), flat.reshape(2, 3, 48, 48))
    np.testing.assert_array_equal(encode(WALKS[0]), flat[0])
    np.testing.assert_array_equal(encode(np.asfortranarray(WALKS)), flat)
    np.testing.assert_array_equal(encode(WALKS[::-2]), flat[::-2])
    np.testing.assert_array_equal(encode(WALKS.tolist()), flat)
    integers = rng.integers(0, 90, (3, 12))
    np.testing.assert_array_equal(encode(integers.astype(np.uint8)), encode(integers / 1.0))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_out_is_filled_and_returned(name, kind):
    x = kind(WALKS.reshape(2, 3, 48))
    fresh = ENCODERS[name](x, 12)
    out = kind(np.full((2, 3, 12, 12), np.nan, np.float32))
    assert ENCODERS[name](x, 12, out=out) is out
    np.testing.assert_array_equal(np.asarray(out), np.asarray(fresh))


@pytest.mark.parametrize("rescale", ["signed", "unit"])
@pytest.mark.parametrize("difference", [False, True])
def test_gradients_equal_finite_differences(rescale, difference):
    x = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.6], dtype=torch.float64, requires_grad=True)
    weights = torch.as_tensor(rng.normal(size=(6, 6)))
    field = gadf if difference else gasf
    (field(x, rescale=rescale) * weights).sum().backward()

    def loss(values):
        low, high = values.min(), values.max()
        cosine = (values - low) / (high - low)
        phi = np.arccos(cosine if rescale == "unit" else 2 * cosine - 1)
        picture = np.sin(phi[:, None] - phi) if difference else np.cos(phi[:, None] + phi)
        return (picture * weights.numpy()).sum()

    step, start = 1e-6, x.detach().numpy()
    for i in range(6):
        move = step * np.eye(6)[i]
        slope = (loss(start + move) - loss(start - move)) / (2 * step)
        assert float(x.grad[i]) == pytest.approx(slope, rel=1e-4, abs=1e-4)


def test_gradients_are_finite_for_flat_and_aggregated_windows():
    x = torch.as_tensor(np.stack([np.ones(9), np.arange(9.0)])).requires_grad_()
    (gasf(x, 4).sum() + gadf(x, 4).sum()).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_same_device_on_a_gpu():
    x = torch.as_tensor(WALKS, device="cuda")
    for encode in ENCODERS.values():
        picture = encode(x, 16)
        assert picture.is_cuda
        np.testing.assert_allclose(picture.cpu().numpy(), encode(WALKS, 16), atol=1e-6)


# Bad input --------------------------------------------------------------------------------

GOOD = np.arange(12.0)
BAD_SERIES = {
    "nan": (np.array([1.0, np.nan, 2.0]), "first fault at index (1,)"),
    "infinity": (np.array([1.0, 2.0, -np.inf]), "first fault"),
    "empty": (np.empty(0), "at least 2 long"),
    "no windows": (np.empty((0, 12)), "at least 2 long"),
    "n = 1": (np.ones((4, 1)), "at least 2 long"),
    "a number": (3.0, "axes"),
    "text": (np.array(["1", "2"]), "numbers"),
    "booleans": (np.array([True, False]), "numbers"),
    "nan tensor": (torch.tensor([1.0, np.nan]), "first fault at index (1,)"),
    "tensor n = 1": (torch.ones(4, 1), "at least 2 long"),
    "boolean tensor": (torch.tensor([True, False]), "real numbers"),
    "empty tensor": (torch.empty(0, 5), "not empty"),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("case", BAD_SERIES)
def test_bad_series(name, case):
    value, allowed = BAD_SERIES[case]
    with pytest.raises(ArgumentError, match=r"^x: got ") as caught:
        ENCODERS[name](value)
    assert allowed in str(caught.value)


READ_ONLY = np.zeros((12, 12), np.float32)
READ_ONLY.flags.writeable = False
BAD_ARGUMENTS = [
    *[(name, {"size": s}, "size") for name in ENCODERS for s in (0, 1, 13, 2.0, True, "8")],
    *[(name, {"out": np.zeros((12, 12))}, "out") for name in ENCODERS],
    *[(name, {"out": np.zeros((2, 12, 12), np.float32)}, "out") for name in ENCODERS],
    *[(name, {"out": np.zeros((12, 24), np.float32)[:, ::2]}, "out") for name in ENCODERS],
    *[(name, {"out": READ_ONLY}, "out") for name in ENCODERS],
    *[(name, {"out": torch.zeros(12, 12)}, "out") for name in ENCODERS],
    *[("transition_field", {"n_bins": n}, "n_bins") for n in (1, 13, 8.0)],
    *[("gasf", {"bounds": b}, "bounds") for b in (3, (1, 2, 3), (11, 0), (5, 5))],
    ("gasf", {"bounds": (np.nan, 11)}, "bounds[0]"),
    ("gadf", {"bounds": (0, "11")}, "bounds[1]"),
    ("gadf", {"bounds": (1, 11)}, "x"),
    ("gadf", {"rescale": "raw"}, "rescale"),
]


@pytest.mark.parametrize(("name", "arguments", "named"), BAD_ARGUMENTS)
def test_bad_arguments(name, arguments, named):
    with pytest.raises(ArgumentError) as caught:
        ENCODERS[name](GOOD, **arguments)
    assert caught.value.name == named


def test_bad_tensor_buffers():
    x = torch.as_tensor(GOOD)
    for out in (torch.zeros(12, 12, dtype=torch.float64), torch.zeros(12, 13), READ_ONLY):
        with pytest.raises(ArgumentError, match=r"^out: "):
            gasf(x, out=out)
    with pytest.raises(ArgumentError, match="None where gradients are wanted"):
        gasf(x.requires_grad_(), out=torch.zeros(12, 12))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_what_a_gpu_compiles_fills_the_same_pixels_compiled_for_a_cpu():
    parts = torch.rand(4, 3, 20) * 2 - 1
    out = torch.empty(3, 20, 20)
    # Compiled for the CPU here, without vectors: `make` pins ATen below what the processor has,
    # and the compiler's vector code, which asks the processor, then writes wrong pixels.
    with torch._inductor.config.patch({"cpp.simdlen": 1}):
        gramian._fused()(out, *parts)
    torch.testing.assert_close(out, gramian._pixels(*parts), rtol=0, atol=1e-6)


def test_range_beyond_float64():
    with pytest.raises(ArgumentError, match="range is finite"):
        gasf(np.array([-1.7e308, 1.7e308]))


@pytest.mark.parametrize(
    ("image", "arguments", "named"),
    [
        (np.zeros((3, 4)), {}, "image"),
        (np.zeros(4), {}, "image"),
        (np.full((3, 3), 1.5), {}, "image"),
        (np.full((3, 3), np.nan), {}, "image"),
        (np.zeros((3, 3)), {"low": 2, "high": 1}, "high"),
        (np.zeros((3, 3)), {"low": "0"}, "low"),
    ],
)
def test_bad_input_of_the_inverse(image, arguments, named):
    with pytest.raises(ArgumentError) as caught:
        gasf_inverse(image, **arguments)
    assert caught.value.name == named


@pytest.mark.parametrize("draw", [gadf, gasf, transition_field])
def test_a_series_is_drawn_as_its_stamps_run(draw):
    assert_drawn_in_order(draw)
