"""Attention by hand, torch's own layer as a peer, the truncation test, DLinear; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from setrade.errors import ArgumentError
from setrade.models import SETransformer
from setrade.models.se_transformer import DLinear, EncoderLayer, later_bars, positions

C, T = 5, 12


def window(batch=3, channels=C, time=T, seed=0):
    """Return a seeded standard normal batch ``(batch, channels, time)``."""
    return torch.randn(batch, channels, time, generator=torch.Generator().manual_seed(seed))


def net(seed=1, **options):
    """Return a small net drawn from a seed, in eval mode."""
    torch.manual_seed(seed)
    return SETransformer(C, **{"width": 8, "heads": 2} | options).eval()


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_hand_equals_torchs(causal):
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(4, 1, batch_first=True), window(1, 4, 4).transpose(1, 2)
    w, b = (p.detach().numpy().astype(float) for p in (layer.in_proj_weight, layer.in_proj_bias))
    q, k, v = np.split(x[0].numpy() @ w.T + b, 3, axis=1)
    scores = q @ k.T / 2  # the root of the width
    if causal:
        scores[np.triu_indices(4, 1)] = -np.inf
    out = layer.out_proj.weight.detach().numpy() @ (softmax(scores) @ v).T
    mask = later_bars(4) if causal else None
    found, weights = layer(x, x, x, attn_mask=mask)
    np.testing.assert_allclose(
        found[0].detach(), out.T + layer.out_proj.bias.detach().numpy(), atol=1e-6
    )
    np.testing.assert_allclose(weights[0].detach(), softmax(scores), atol=1e-6)


@pytest.mark.parametrize("gates", [None, 1.0])
def test_a_layer_is_torchs_where_se_gates_are_one(gates):
    torch.manual_seed(0)
    ours = EncoderLayer(8, 2)
    peer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
    if gates is not None:
        peered = net(squeeze="mean", layers=1, se_heads=2).layers[0].se
        for head in peered.blocks:
            head.excite.expand.weight.data.zero_()
            head.excite.expand.bias.data.fill_(40.0)  # the sigmoid of 40 is 1 in float32
    renamed = {k.replace("attention.", "self_attn."): v for k, v in ours.state_dict().items()}
    peer.load_state_dict(renamed)
    if gates is not None:
        ours.se = peered
    x = window(3, 8).transpose(1, 2)
    for mask in (None, later_bars(T)):
        torch.testing.assert_close(ours(x, mask), peer(x, src_mask=mask), rtol=0, atol=1e-6)


def test_positions_against_the_papers_formula():
    p = positions(7, 6).numpy()
    for t in range(7):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            np.testing.assert_allclose(p[t, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)],
                                       atol=1e-6)  # fmt: skip
    assert positions(4, 5).shape == (4, 5)
    assert torch.equal(positions(4, 6), positions(7, 6)[:4])


@pytest.mark.parametrize("gate", ["inside", "input"])
@pytest.mark.parametrize("squeeze", [None, "mean", ("mean", "last")])
def test_the_truncation_test(gate, squeeze):
    """What a causal net says after bar 7 it says too when later bars are cut off or other ones."""
    x, other = window(), window(seed=9)
    made = net(gate=gate, squeeze=squeeze, se_heads=2, causal=True)
    full = made.each_bar(x)
    assert full.shape == (3, 3, T)
    torch.testing.assert_close(full[..., -1], made(x))
    for t in (1, 5, T - 2):
        mixed = torch.cat([x[..., : t + 1], other[..., t + 1 :]], -1)
        for changed in (made.each_bar(x[..., : t + 1]), made.each_bar(mixed)):
            torch.testing.assert_close(full[..., : t + 1], changed[..., : t + 1], atol=1e-5, rtol=0)


def test_a_mask_is_not_enough_where_se_squeezes_the_whole_window():
    """The trap: causal attention, and a squeeze that is not."""
    x = window()
    made = net(causal=True, se_heads=1)
    for layer in made.layers:
        layer.se.causal = False
    gap = made.each_bar(x)[..., :6] - made.each_bar(x[..., :6])
    assert gap.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("decision", "shape"), [("softmax", (3, 3)), ("tanh", (3,)), ("value", (3,))]
)
def test_decisions(decision, shape):
    out = net(decision=decision)(window())
    assert out.shape == shape
    if decision == "tanh":
        assert out.abs().max() < 1


def test_gates_and_weights_of_bars_are_those_that_the_net_uses():
    x, seen = window(), []
    made = net(se_heads=2)
    for layer in made.layers:
        layer.se.register_forward_hook(lambda block, args, _: seen.append(block.gates(args[0])))
    made(x)
    used = torch.stack(seen, 1)
    torch.testing.assert_close(made.gates(x), used)
    weights = made.bar_weights(x)
    assert weights.shape == (3, 2, T, T)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, T))
    causal = net(causal=True).bar_weights(x)
    assert causal[..., later_bars(T)].abs().max() == 0
    named = net(gate="input")
    torch.testing.assert_close(named.gates(x), named.se.gates(x))
    assert named.gates(x).shape == (3, C)


def test_without_se_the_other_weights_are_the_same():
    with_se, without = net(squeeze="mean"), net(squeeze=None)
    shared = without.state_dict()
    assert set(shared) < set(with_se.state_dict())
    for name, weight in shared.items():
        assert torch.equal(weight, with_se.state_dict()[name])


@settings(max_examples=10, deadline=None)
@given(time=st.integers(1, 20), batch=st.integers(1, 4), causal=st.booleans())
def test_any_window_and_rows_do_not_touch(time, batch, causal):
    made, x = net(causal=causal), window(batch, time=time)
    out = made(x)
    assert out.shape == (batch, 3)
    torch.testing.assert_close(out[:1], made(x[:1]), atol=1e-5, rtol=0)


def test_every_weight_gets_a_gradient():
    for gate in ("inside", "input"):
        made = net(gate=gate, se_heads=2, squeeze=("mean", "last"), reduction=1)
        made(window(64)).square().sum().backward()
        silent = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
        assert not silent


def test_dlinear_against_numpy():
    torch.manual_seed(0)
    model, x = DLinear(C, T, kernel=5), window()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2)), "edge")
    trend = np.stack([padded[..., i : i + 5].mean(-1) for i in range(T)], -1)
    (a, b), (c, d) = (
        [p.detach().numpy() for p in m.parameters()] for m in (model.trend, model.rest)
    )
    expected = trend.reshape(3, -1) @ a[0] + b + (x.numpy() - trend).reshape(3, -1) @ c[0] + d
    np.testing.assert_allclose(model(x).detach(), expected, atol=1e-5)


WRONG = {
    "channels": lambda f: f(window(channels=4)),
    "axes": lambda f: f(torch.zeros(3, C)),
    "empty": lambda f: f(torch.zeros(0, C, T)),
    "dtype": lambda f: f(window().double()),
    "nan": lambda f: f(window() * float("nan")),
    "array": lambda f: f(window().numpy()),
}


@pytest.mark.parametrize("name", WRONG)
def test_windows_that_are_refused(name):
    for made in (net(), net(gate="input", causal=True), net(squeeze=None), DLinear(C, T)):
        with pytest.raises(ArgumentError, match=r"^x: got "):
            WRONG[name](made)
    with pytest.raises(ArgumentError, match=r"^x: got "):
        DLinear(C, T)(window(time=T + 1))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("heads", {"heads": 3}), ("width", {"width": 0}), ("layers", {"layers": 0}),
        ("se_heads", {"se_heads": 0}), ("squeeze", {"squeeze": "median"}),
        ("squeeze", {"squeeze": "attention", "causal": True}), ("gate", {"gate": "encoded"}),
        ("decision", {"decision": "argmax"}), ("causal", {"causal": "yes"}),
        ("dropout", {"dropout": 1.0}), ("reduction", {"reduction": 0}),
    ],
)  # fmt: skip
def test_settings_that_are_refused(name, options):
    with pytest.raises(ArgumentError, match=rf"^{name}: got "):
        net(**options)


def test_what_a_net_cannot_say():
    with pytest.raises(ArgumentError, match="^causal: got False"):
        net().each_bar(window())
    with pytest.raises(ArgumentError, match="^squeeze: got None"):
        net(squeeze=None).gates(window())
    with pytest.raises(ArgumentError, match="^kernel: got 4"):
        DLinear(C, T, kernel=4)
