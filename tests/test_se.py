"""Squeeze and excitation: by hand, against timm, its laws, its traps, its bad input."""

from __future__ import annotations

import copy
import io

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal
from torch import nn

from setrade import plots, se
from setrade.compat import import_timm
from setrade.errors import ArgumentError
from setrade.toys import PLANTED_HALFLIFE, SWITCHES, draw_switch

C, T = 8, 70


def window(batch=3, channels=C, time=T, seed=0):
    """Return a seeded standard normal batch ``(batch, channels, time)``."""
    return torch.randn(batch, channels, time, generator=torch.Generator().manual_seed(seed))


BLOCKS = {
    **{f"se-{name}": lambda name=name: se.SEBlock(C, squeeze=name) for name in se.SQUEEZES},
    "multiscale": lambda: se.MultiScaleSE(C),
    "multiscale-ewm": lambda: se.MultiScaleSE(C, scales=(3, 70), squeeze="ewm"),
    "scse-add": lambda: se.ConcurrentSE(C),
    "scse-max": lambda: se.ConcurrentSE(C, squeeze="last", combine="max"),
    "cbam": lambda: se.CBAM(C),
    "cbam-paper": lambda: se.CBAM(C, causal=False),
}


@pytest.fixture(params=BLOCKS)
def block(request):
    """Return each block in turn, drawn from a fixed seed."""
    torch.manual_seed(1)
    return BLOCKS[request.param]()


# --- by hand -----------------------------------------------------------------------------


def test_two_channels_with_a_pencil():
    """z = (2, 0.5); hidden = relu(2 - 0.5) = 1.5; gates = sigmoid(1.5), sigmoid(-3)."""
    block = se.SEBlock(2, reduction=2)
    block.excite.reduce.weight.data = torch.tensor([[1.0, -1.0]])
    block.excite.expand.weight.data = torch.tensor([[1.0], [-2.0]])
    x = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.5, 1.0]]])
    gates = [1 / (1 + np.exp(-1.5)), 1 / (1 + np.exp(3.0))]
    np.testing.assert_allclose(block.gates(x)[0].detach(), gates, rtol=1e-6)
    expected = x[0].numpy() * np.array(gates)[:, None]
    np.testing.assert_allclose(block(x)[0].detach(), expected, rtol=1e-6)


HAND = {
    "mean": lambda x: x.mean(-1),
    "max": lambda x: x.max(-1),
    "last": lambda x: x[..., -1],
    "ewm": lambda x: (x * (w := 0.5 ** (np.arange(T)[::-1] / 10))).sum(-1) / w.sum(),
}


@pytest.mark.parametrize("name", HAND)
@pytest.mark.parametrize("reduction", [1, 2, 4, 8, 50])
def test_every_fixed_squeeze_against_numpy(name, reduction):
    torch.manual_seed(2)
    block, x = se.SEBlock(C, reduction, name).double(), window().double()
    w1, b1, w2, b2 = (p.detach().numpy() for p in block.excite.parameters())
    z = HAND[name](x.numpy())
    s = 1 / (1 + np.exp(-(np.maximum(z @ w1.T + b1, 0) @ w2.T + b2)))
    rtol = 1e-7 if name == "ewm" else 1e-12  # its half-life was drawn in float32
    np.testing.assert_allclose(block.gates(x).detach(), s, rtol=rtol)
    np.testing.assert_allclose(block(x).detach(), x.numpy() * s[:, :, None], rtol=rtol)


def test_attention_squeeze_against_numpy():
    squeeze, x = se.SQUEEZES["attention"](C).double(), window().double()
    score = np.einsum("c,bct->bt", squeeze.score.weight[0].detach().numpy(), x.numpy())
    weight = np.exp(score) / np.exp(score).sum(-1, keepdims=True)
    expected = np.einsum("bt,bct->bc", weight, x.numpy())
    np.testing.assert_allclose(squeeze(x).detach(), expected, rtol=1e-12)


def test_multiscale_against_numpy():
    """Each scale squeezes exactly its newest bars; softmax weights over scales fuse."""
    torch.manual_seed(3)
    block, x = se.MultiScaleSE(C, scales=(5, 15, 60)).double(), window().double()
    block.fusion.data = torch.randn(3, C).double()
    parts = []
    for part, scale in zip(block.blocks, (5, 15, 60), strict=True):
        w1, b1, w2, b2 = (p.detach().numpy() for p in part.excite.parameters())
        z = x.numpy()[:, :, T - scale :].mean(-1)
        parts.append(1 / (1 + np.exp(-(np.maximum(z @ w1.T + b1, 0) @ w2.T + b2))))
    share = np.exp(block.fusion.detach().numpy())
    share /= share.sum(0)
    expected = sum(a * g for a, g in zip(share, parts, strict=True))
    np.testing.assert_allclose(block.gates(x).detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("combine", ["add", "max"])
def test_concurrent_against_numpy(combine):
    torch.manual_seed(4)
    block, x = se.ConcurrentSE(C, combine=combine).double(), window().double()
    v, bias = (p.detach().numpy() for p in block.score.parameters())
    bars = 1 / (1 + np.exp(-(np.einsum("c,bct->bt", v[0], x.numpy()) + bias)))
    by_channel = x.numpy() * block.block.gates(x).detach().numpy()[:, :, None]
    by_bar = x.numpy() * bars[:, None, :]
    expected = by_channel + by_bar if combine == "add" else np.maximum(by_channel, by_bar)
    np.testing.assert_allclose(block(x).detach(), expected, rtol=1e-12)


# --- against timm ------------------------------------------------------------------------


@pytest.mark.parametrize("view", [(C, 1, T), (C, T, 1), (C, 7, 10)])
@pytest.mark.parametrize("reduction", [1, 4, 16])
def test_equal_to_timm_with_copied_weights(view, reduction):
    import_timm()
    from timm.layers.squeeze_excite import SqueezeExcite

    ours = se.SEBlock(C, reduction)
    peer = SqueezeExcite(C, rd_channels=max(1, C // reduction))
    ours.excite.reduce.weight.data = peer.fc1.weight.data[:, :, 0, 0].clone()
    ours.excite.reduce.bias.data = peer.fc1.bias.data.clone()
    ours.excite.expand.weight.data = peer.fc2.weight.data[:, :, 0, 0].clone()
    ours.excite.expand.bias.data = peer.fc2.bias.data.clone()
    x, x_peer = window().requires_grad_(), window().requires_grad_()
    y, y_peer = ours(x), peer(x_peer.view(3, *view)).view(3, C, T)
    torch.testing.assert_close(y, y_peer, rtol=0, atol=1e-6)
    y.square().sum().backward()
    y_peer.square().sum().backward()
    torch.testing.assert_close(x.grad, x_peer.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        ours.excite.reduce.weight.grad, peer.fc1.weight.grad[:, :, 0, 0], rtol=1e-4, atol=1e-5
    )


def test_cbam_as_published_equal_to_timm():
    import_timm()
    from timm.layers.cbam import CbamModule

    torch.manual_seed(5)
    ours, peer = se.CBAM(C, 4, causal=False), CbamModule(C, rd_channels=2).eval()
    ours.excite.reduce.weight.data = peer.channel.fc1.weight.data[:, :, 0, 0].clone()
    ours.excite.expand.weight.data = peer.channel.fc2.weight.data[:, :, 0, 0].clone()
    conv = peer.spatial.conv  # a row of a 7 x 7 kernel, then a batch norm at rest
    ours.conv.weight.data = conv.conv.weight.data[:, :, 3, :] / np.sqrt(1 + conv.bn.eps)
    y_peer = peer(window().view(3, C, 1, T)).view(3, C, T)
    torch.testing.assert_close(ours(window()), y_peer, rtol=0, atol=1e-6)


# --- laws --------------------------------------------------------------------------------


def test_shapes_gates_and_gradients(block):
    x = window().requires_grad_()
    y, gates = block(x), block.gates(x)
    assert y.shape == x.shape
    assert gates.shape == (3, C)
    assert ((gates > 0) & (gates < 1)).all()
    y.square().mean().backward()
    for name, parameter in [*block.named_parameters(), ("x", x)]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("name", [n for n in BLOCKS if n.startswith(("se", "multi"))])
def test_the_scale_step_is_exactly_x_times_gates(name):
    block, x = BLOCKS[name](), window()
    assert torch.equal(block(x), x * block.gates(x)[:, :, None])


def test_rows_of_a_batch_do_not_touch(block):
    """A batch of one (trap 27) gives what the same window gives in a larger batch."""
    x = window()
    whole = block(x)
    for i in range(3):
        torch.testing.assert_close(block(x[i : i + 1]), whole[i : i + 1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [n for n in BLOCKS if not n.startswith("multi")])
def test_a_window_of_one_bar(name):
    y = BLOCKS[name]()(window(time=1))
    assert y.shape == (3, C, 1)
    assert torch.isfinite(y).all()


def test_any_layout_of_memory_gives_the_same(block):
    x = window()
    other = x.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(block(other), block(x), rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(C)), st.sampled_from(sorted(se.SQUEEZES)))
def test_channels_are_interchangeable(order, name):
    """Renaming the channels, weights included, renames the gates and nothing else."""
    torch.manual_seed(6)
    block = se.SEBlock(C, squeeze=name)
    renamed = copy.deepcopy(block)
    renamed.excite.reduce.weight.data = block.excite.reduce.weight.data[:, order]
    renamed.excite.expand.weight.data = block.excite.expand.weight.data[order]
    if name == "attention":
        renamed.squeeze.score.weight.data = block.squeeze.score.weight.data[:, order]
    x = window()
    torch.testing.assert_close(
        renamed.gates(x[:, order]), block.gates(x)[:, order], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", se.SQUEEZES)
def test_a_squeeze_is_its_weighted_sum(name):
    squeeze, x = se.SQUEEZES[name](C), window()
    weights = squeeze.weights(x)
    assert weights.shape == x.shape
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, C))
    torch.testing.assert_close((x * weights).sum(-1), squeeze(x))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["mean", "max", "attention"]))
def test_three_squeezes_do_not_know_the_order_of_bars(seed, name):
    squeeze, x = se.SQUEEZES[name](C), window(seed=seed)
    order = torch.randperm(T, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(squeeze(x[..., order]), squeeze(x), rtol=1e-4, atol=1e-5)


def test_what_each_squeeze_forgets():
    x = window()
    older = x.clone()
    older[..., :-1] += 5.0
    assert torch.equal(se.SQUEEZES["last"](C)(older), se.SQUEEZES["last"](C)(x))
    lower = torch.where(x == x.amax(-1, keepdim=True), x, x - 5.0)
    assert torch.equal(se.SQUEEZES["max"](C)(lower), se.SQUEEZES["max"](C)(x))
    assert not torch.equal(se.SQUEEZES["mean"](C)(older), se.SQUEEZES["mean"](C)(x))


def test_limits_of_the_half_life():
    x = window().double()
    squeeze = se.SQUEEZES["ewm"]
    short, long = squeeze(C, halflife=1e-3).double(), squeeze(C, halflife=1e9).double()
    torch.testing.assert_close(short(x), x[..., -1])
    torch.testing.assert_close(long(x), x.mean(-1), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(squeeze(2, halflife=7.0).halflife.detach(), [7, 7], rtol=1e-6)
    assert not squeeze(2, learned=False).log_halflife.requires_grad


def test_a_squeeze_of_ones_own():
    block = se.SEBlock(C, squeeze=se.SQUEEZES["ewm"](C, halflife=3.0))
    assert block.gates(window()).shape == (3, C)


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(8, 4, 2), (8, 100, 1), (1, 4, 1)])
def test_reduction_never_goes_below_one_unit(channels, reduction, hidden):
    block = se.SEBlock(channels, reduction)
    assert block.excite.hidden == hidden
    assert block(window(channels=channels)).shape == (3, channels, T)


def test_parameters_follow_the_papers_count():
    """Weights 2 C^2 / r (Hu 2018, section 3.3), and C + C/r biases."""
    count = sum(p.numel() for p in se.SEBlock(32, reduction=4).parameters())
    assert count == 2 * 32 * 32 // 4 + 32 + 32 // 4


@pytest.mark.parametrize("name", BLOCKS)
def test_float64_autocast_and_state_dict(name):
    block = BLOCKS[name]()
    twin = BLOCKS[name]()
    twin.load_state_dict(block.state_dict())
    assert torch.equal(twin(window()), block(window()))
    with torch.autocast("cpu", torch.bfloat16):
        rough = block(window().bfloat16()).float()
    torch.testing.assert_close(rough, block(window()), rtol=0.1, atol=0.1)
    assert block.double()(window().double()).dtype == torch.float64


# --- the truncation law ------------------------------------------------------------------


def gates_of_rolling_windows(block, length):
    """Return a function from candles to the gates of the window that ends at each bar."""

    def compute(candles: pd.DataFrame) -> np.ndarray:
        x = torch.tensor(np.log(candles.to_numpy()), dtype=torch.float32)
        windows = x.unfold(0, length, 1)  # (N, C, T)
        with torch.no_grad():
            out = torch.cat([block.gates(windows), block(windows).flatten(1)], 1)
        return out.numpy()

    return compute


def test_a_window_knows_nothing_after_its_last_bar(block):
    rng = np.random.default_rng(0)
    columns = ["open", "high", "low", "close", "volume", "a", "b", "c"]
    candles = pd.DataFrame(100 * np.exp(rng.normal(0, 0.1, (200, C))), columns=columns)
    compute = gates_of_rolling_windows(block, T)
    assert_causal(compute, candles, offset=T - 1, rtol=1e-4, atol=1e-5)


def test_inside_a_window_only_causal_time_gates_look_back_alone():
    x = window()
    altered = x.clone()
    altered[..., 40:] += 3.0
    same = {
        "scse": se.ConcurrentSE(C),
        "cbam": se.CBAM(C),
        "cbam-paper": se.CBAM(C, causal=False),
    }
    equal = {
        name: torch.equal(b.time_gates(x)[:, :40], b.time_gates(altered)[:, :40])
        for name, b in same.items()
    }
    assert equal == {"scse": True, "cbam": True, "cbam-paper": False}


# --- traps -------------------------------------------------------------------------------


def test_trap_2_zscore_per_window_silences_the_mean_squeeze():
    block, x = se.SEBlock(C), window() + torch.arange(3.0)[:, None, None]
    wrong = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)
    assert (block.gates(wrong) - 0.5).abs().max() < 1e-6
    right = (x - x.mean((0, 2), keepdim=True)) / x.std((0, 2), keepdim=True)
    assert block.gates(right).std(0).max() > 0.01


@pytest.mark.parametrize("layer", ["reduce", "expand"])
def test_trap_5_weights_are_symmetric_glorot(layer):
    torch.manual_seed(7)
    weight = getattr(se.SEBlock(256, reduction=4).excite, layer).weight.detach()
    std = np.sqrt(2 / (256 + 64))
    assert abs(weight.mean()) < 4 * std / np.sqrt(weight.numel())
    assert abs(weight.std() / std - 1) < 0.03
    seeds_own = torch.rand(weight.shape) * std  # the seed's formula: positive only
    assert not abs(seeds_own.mean()) < 4 * std / np.sqrt(weight.numel())


def test_trap_5_gates_fall_on_both_sides_of_a_half():
    torch.manual_seed(8)
    block = se.SEBlock(C)
    gates = block.gates(window(500))
    assert 0.3 < (gates < 0.5).float().mean() < 0.7
    for parameter in block.excite.parameters():
        parameter.data.abs_()
    assert (block.gates(window(500)) < 0.5).sum() == 0


def test_seeded_and_different_when_reseeded():
    def weights(seed):
        torch.manual_seed(seed)
        return se.SEBlock(C).excite.reduce.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_no_scale_is_dropped_and_each_reads_its_own_bars():
    block = se.MultiScaleSE(C, scales=(5, 15, 60))
    x = window()
    for first_changed, moved in [(T - 61, []), (T - 60, [2]), (T - 15, [1, 2]), (T - 5, [0, 1, 2])]:
        altered = x.clone()
        altered[..., first_changed] += 50.0
        change = (block.scale_gates(altered) - block.scale_gates(x)).abs().amax((0, 2))
        assert [i for i in range(3) if change[i] > 0] == moved


# --- cached gates (trap 32) ---------------------------------------------------------------


class Counted(nn.Module):
    """A block that counts how often its gates are computed."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = se.SEBlock(C), 0

    def gates(self, x):
        """Count, then compute."""
        self.calls += 1
        return self.inner.gates(x)


def computed(calls, every=5):
    """Return at which of ``calls`` (step, symbol, batch) the gates were computed anew."""
    block = Counted()
    cached, fresh = se.CachedSE(block, every), []
    for step, symbol, batch in calls:
        before = block.calls
        cached(window(batch, seed=step), step, symbol)
        fresh.append(block.calls > before)
    return [i for i, new in enumerate(fresh) if new]


def test_gates_are_kept_for_every_steps_then_renewed():
    assert computed([(s, "BTC", 1) for s in range(12)]) == [0, 5, 10]
    assert computed([(s, "BTC", 1) for s in range(4)], every=1) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([(10, "BTC", 1), (0, "BTC", 1)], [0, 1]),  # step 0 after 10
        ([(10, "BTC", 1), (13, "BTC", 1), (12, "BTC", 1)], [0, 2]),  # back, though after 10
        ([(10, "BTC", 1), (11, "ETH", 1), (12, "ETH", 1)], [0, 1]),  # another market
        ([(1, "BTC", 1), (2, "ETH", 1), (3, "BTC", 1)], [0, 1, 2]),  # and back again
        ([(1, None, 2), (2, None, 3), (3, None, 3)], [0, 1]),  # another batch size
        ([(1, None, 1), (9, None, 1)], [0, 1]),  # a hole in the steps
        ([(3, None, 1), (3, None, 1)], [0]),  # the same bar again
    ],
)
def test_trap_32_kept_gates_are_dropped_when_they_are_anothers(calls, expected):
    assert computed(calls) == expected


def test_trap_32_the_seeds_cache_serves_old_gates():
    """The wrong version: only ``step - last >= every`` is looked at."""

    class Naive:
        def __init__(self, block, every):
            self.block, self.every, self.kept, self.last = block, every, None, 0

        def __call__(self, x, step, symbol=None):
            if self.kept is None or step - self.last >= self.every:
                self.kept, self.last = self.block.gates(x), step
            return x * self.kept[:, :, None]

    block = se.SEBlock(C)
    first, other = window(1, seed=1), window(1, seed=2)
    right = other * block.gates(other)[:, :, None]
    for make, agrees in ((Naive, False), (se.CachedSE, True)):
        for steps, symbols in (((10, 0), ("BTC", "BTC")), ((10, 11), ("BTC", "ETH"))):
            cached = make(block, 5)
            cached(first, steps[0], symbols[0])
            assert torch.equal(cached(other, steps[1], symbols[1]), right) is agrees


def test_a_refused_window_leaves_no_trace_in_the_cache():
    block, x = se.SEBlock(C), window(1, seed=2)
    cached = se.CachedSE(block, every=5)
    cached(window(1, seed=1), 10)
    with pytest.raises(ArgumentError, match=r"^x: got "):
        cached(torch.full_like(x, float("nan")), 0)
    assert torch.equal(cached(x, 0), block(x))  # still a step back


def test_reset_and_values_of_the_cache():
    block, x, later = se.SEBlock(C), window(seed=1), window(seed=2)
    cached = se.CachedSE(block, every=5)
    assert torch.equal(cached(x, 0), block(x))
    assert torch.equal(cached(later, 1), later * block.gates(x)[:, :, None])
    cached.reset()
    assert torch.equal(cached(later, 2), block(later))
    assert not cached.gates(later, 3).requires_grad
    assert cached(later.requires_grad_(), 4).requires_grad


# --- planted switches ---------------------------------------------------------------------


@pytest.mark.parametrize("task", SWITCHES)
def test_a_switch_is_balanced_seeded_and_tells_the_target(task):
    X, y = draw_switch(task, 4000, seed=1)
    assert X.shape == (4000, 4, 16)
    off = y == 0
    assert torch.equal(y[~off], X[~off, 0, -1])
    assert 0.45 < off.float().mean() < 0.55
    assert torch.equal(draw_switch(task, 4000, seed=1)[0], X)
    assert not torch.equal(draw_switch(task, 4000, seed=2)[0], X)


def test_switches_by_hand():
    X, y = draw_switch("now", 100, seed=2)
    assert torch.equal(y != 0, X[:, 1, -1] > 0)
    X, y = draw_switch("marked", 100, seed=2)
    assert (X[:, 2].sum(-1) == 1).all()
    assert torch.equal(y != 0, (X[:, 1] * X[:, 2]).sum(-1) > 0)
    X, y = draw_switch("spike", 20_000, seed=2)  # the mean tells nothing, the maximum all
    mean, top = X[:, 1].mean(-1), X[:, 1].amax(-1)
    assert abs(mean[y != 0].mean() - mean[y == 0].mean()) < 0.02
    assert top[y != 0].mean() > top[y == 0].mean() + 2


@pytest.mark.usefixtures("one_thread")
def test_the_learned_half_life_finds_the_planted_one():
    torch.manual_seed(0)
    block, head = se.SEBlock(4, 1, "ewm"), nn.Linear(4, 1)
    optimizer = torch.optim.Adam([*block.parameters(), *head.parameters()], lr=0.015)
    for step in range(400):
        X, y = draw_switch("recent", 128, seed=step)
        loss = (head(block(X)[:, :, -1])[:, 0] - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert abs(block.squeeze.halflife[1].item() - PLANTED_HALFLIFE) < 0.4


# --- export ------------------------------------------------------------------------------


def test_compiles_whole_and_runs_under_vmap(block):
    x = window()
    whole = torch.compile(block, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(x), block(x))
    mapped = torch.vmap(block)(x[:, None])
    torch.testing.assert_close(mapped[:, 0], block(x), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("error::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Constant folding:UserWarning")
def test_onnx_gives_the_same_at_another_batch_size(block):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    file = io.BytesIO()
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "batch"}}}
    torch.onnx.export(block.eval(), (window(),), file, dynamo=False, **names)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    x = window(5, seed=9)
    (y,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, block(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_nothing_is_made_on_another_device(name):
    """The meta device holds no numbers: a tensor made on the CPU by mistake would clash."""
    block = BLOCKS[name]().to("meta")
    assert block(window().to("meta")).device.type == "meta"


# --- figures ------------------------------------------------------------------------------


def test_figures_show_what_they_are_given():
    index = pd.date_range("2024-01-01", periods=50, freq="15min", tz="UTC")
    table = pd.DataFrame(np.random.default_rng(0).uniform(0.4, 0.7, (50, 3)), index, list("abc"))
    close = pd.Series(np.arange(50.0), index)
    fig = plots.gates_over_time(close, table)
    assert [t.get_text() for t in fig.axes[1].get_yticklabels()] == ["a", "b", "c"]
    np.testing.assert_array_equal(fig.axes[1].images[0].get_array(), table.T)
    with pytest.raises(ArgumentError, match=r"^gates: got "):
        plots.gates_over_time(close[1:], table)
    fig = plots.squeeze_weights(np.arange(4.0), {"mean": np.full(4, 0.25)})
    assert [bar.get_height() for bar in fig.axes[1].patches] == [0.25] * 4
    with pytest.raises(ArgumentError, match=r"^weights: got "):
        plots.squeeze_weights(np.arange(4.0), {"mean": np.full(3, 1 / 3)})


# --- bad input ---------------------------------------------------------------------------


def nan_at(bar):
    """Return a batch with one NaN in sample 1, channel 2."""
    x = window()
    x[1, 2, bar] = float("nan")
    return x


BAD = [
    *[(make, "channels", v) for make in (se.SEBlock, se.MultiScaleSE, se.ConcurrentSE, se.CBAM)
      for v in (0, -1, 2.0, "8", None, float("nan"), True)],
    *[(lambda v, make=make: make(C, reduction=v), "reduction", v)
      for make in (se.SEBlock, se.MultiScaleSE, se.ConcurrentSE, se.CBAM)
      for v in (0, -4, 4.0, "4", None, float("nan"))],
    *[(lambda v, make=make: make(C, squeeze=v), "squeeze", v)
      for make in (se.SEBlock, se.MultiScaleSE, se.ConcurrentSE)
      for v in ("median", "", None, 3, nn.Identity())],
    (lambda v: se.SEBlock(C, squeeze=v), "squeeze", se.SQUEEZES["mean"](C + 1)),
    (lambda v: se.MultiScaleSE(C, squeeze=v), "squeeze", se.SQUEEZES["mean"](C)),
    *[(lambda v: se.MultiScaleSE(C, scales=v), "scales", v)
      for v in ((), (0, 5), (-5,), (5, 5), (5.0,), "5", None, 5, (float("nan"),))],
    *[(lambda v: se.ConcurrentSE(C, combine=v), "combine", v) for v in ("mul", None, 1)],
    *[(lambda v: se.CBAM(C, kernel=v), "kernel", v) for v in (0, 4, -7, 7.0, None)],
    *[(lambda v: se.CachedSE(v, 5), "block", v) for v in (None, nn.Identity(), se.CBAM(C))],
    *[(lambda v: se.CachedSE(se.SEBlock(C), v), "every", v) for v in (0, -1, 2.5, None)],
    *[(lambda v: se.CachedSE(se.SEBlock(C), 5)(window(), v), "step", v)
      for v in (-1, 1.0, None, float("nan"))],
    *[(lambda v: draw_switch(v, 10, seed=0), "task", v) for v in ("up", None, 1)],
    *[(lambda v: draw_switch("now", v, seed=0), "n", v) for v in (0, 1.0, None)],
    *[(lambda v: draw_switch("now", 10, v, seed=0), "time", v) for v in (6, 16.0, None)],
    *[(lambda v: draw_switch("now", 10, seed=v), "seed", v) for v in (-1, 0.5, None)],
    *[(se.SQUEEZES[name], "channels", v) for name in se.SQUEEZES for v in (0, 1.0, None)],
    *[(lambda v: se.SQUEEZES["ewm"](C, halflife=v), "halflife", v)
      for v in (0.0, -1.0, float("nan"), float("inf"), "10", None)],
]  # fmt: skip


@pytest.mark.parametrize(("call", "argument", "value"), BAD)
def test_bad_arguments_are_named(call, argument, value):
    with pytest.raises(ArgumentError, match=f"^{argument}: got "):
        call(value)


BAD_WINDOWS = {
    "no tensor": window().numpy(),
    "two axes": window()[0],
    "four axes": window()[None],
    "channels and time swapped": window().transpose(1, 2),
    "no bar": window()[..., :0],
    "no sample": window()[:0],
    "integers": torch.ones(3, C, T, dtype=torch.int64),
    "float64 for float32 weights": window().double(),
    "NaN": nan_at(-1),
    "infinite": window() / 0,
}


@pytest.mark.parametrize("fault", BAD_WINDOWS)
def test_bad_windows_are_refused(block, fault):
    with pytest.raises(ArgumentError, match=r"^x: got "):
        block(BAD_WINDOWS[fault])


@pytest.mark.parametrize("name", se.SQUEEZES)
def test_bad_windows_are_refused_by_squeezes(name):
    squeeze = se.SQUEEZES[name](C)
    for fault in ("no tensor", "two axes", "channels and time swapped", "no bar", "NaN"):
        with pytest.raises(ArgumentError, match=r"^x: got "):
            squeeze(BAD_WINDOWS[fault])
    with pytest.raises(ArgumentError, match=r"^x: got "):
        squeeze.weights(window()[0])


def test_a_nan_is_located():
    with pytest.raises(ArgumentError, match="sample 1, channel 2"):
        se.SEBlock(C)(nan_at(3))


def test_a_nan_where_nobody_looked_stays_where_it_was():
    """``last`` does not look at bar 3: the NaN is neither hidden nor spread."""
    y = se.SEBlock(C, squeeze="last")(nan_at(3))
    assert y.isnan().nonzero().tolist() == [[1, 2, 3]]


def test_a_scale_longer_than_the_window_says_so():
    message = r"^scales: got \(5, 15, 60\), allowed: no scale longer than the window of 59 bars"
    with pytest.raises(ArgumentError, match=message):
        se.MultiScaleSE(C)(window(time=59))
    assert se.MultiScaleSE(C)(window(time=60)).shape == (3, C, 60)
