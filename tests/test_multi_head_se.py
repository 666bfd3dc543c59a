"""SE with several heads: one is SE, each looks where it should, and what they have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import se, toys
from setrade.errors import ArgumentError

C, T = 6, 12


def window(batch=4, channels=C, time=T, seed=0):
    """Return a seeded standard normal batch ``(batch, channels, time)``."""
    return torch.randn(batch, channels, time, generator=torch.Generator().manual_seed(seed))


def drawn(seed=1, **options):
    """Return a block of four heads, or as asked, drawn from a seed."""
    torch.manual_seed(seed)
    return se.MultiHeadSE(C, **options)


def test_two_heads_with_a_pencil():
    """z = (2, 0): head 1 has hidden 2 and gates s(2), s(-2); head 2 has hidden 0 and gates 1/2."""
    block = se.MultiHeadSE(2, heads=2, reduction=2)
    for head, row in zip(block.blocks, ([[1.0, -1.0]], [[-1.0, 0.0]]), strict=True):
        head.excite.reduce.weight.data = torch.tensor(row)
        head.excite.expand.weight.data = torch.tensor([[1.0], [-1.0]])
    block.fusion.data = torch.tensor([[0.0, np.log(3)], [0.0, 0.0]]).float()  # halves; 3/4 and 1/4
    x = torch.tensor([[[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]]])
    up = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(
        block.head_gates(x)[0].detach(), [[up, 1 - up], [0.5, 0.5]], rtol=1e-6
    )
    fused = [(up + 0.5) / 2, 0.75 * (1 - up) + 0.125]
    np.testing.assert_allclose(block.gates(x)[0].detach(), fused, rtol=1e-6)
    scaled = x.numpy() * np.array(fused)[None, :, None]
    np.testing.assert_allclose(block(x).detach(), scaled, rtol=1e-6)
    np.testing.assert_allclose(block.views(x)[0, 1].detach(), x[0] / 2, rtol=1e-6)


@pytest.mark.parametrize("squeeze", se.SQUEEZES)
def test_one_head_is_an_se_block(squeeze):
    block, x = drawn(heads=1, squeeze=squeeze), window()
    peer = se.SEBlock(C, squeeze=squeeze)
    peer.load_state_dict(block.blocks[0].state_dict())
    torch.testing.assert_close(block(x), peer(x), rtol=0, atol=1e-6)


def test_each_head_is_a_block_of_its_own_squeeze():
    block, x = drawn(heads=3, squeeze=("mean", "last", "max")), window()
    parts = [head.gates(x) for head in block.blocks]
    assert [type(head.squeeze).__name__ for head in block.blocks] == [
        "MeanSqueeze", "LastSqueeze", "MaxSqueeze",
    ]  # fmt: skip
    torch.testing.assert_close(block.head_gates(x), torch.stack(parts, 1))
    torch.testing.assert_close(block.gates(x), sum(parts) / 3)
    torch.testing.assert_close(block.views(x)[:, 2], x * parts[2][:, :, None])


@settings(max_examples=20, deadline=None)
@given(heads=st.integers(1, 5), seed=st.integers(0, 1000), batch=st.integers(1, 4))
def test_gates_are_gates_and_rows_do_not_touch(heads, seed, batch):
    block, x = drawn(seed, heads=heads, squeeze="mean"), window(batch, seed=seed)
    gates = block.gates(x)
    assert block.head_gates(x).shape == (batch, heads, C)
    assert gates.shape == (batch, C)
    assert (gates > 0).all()
    assert (gates < 1).all()
    torch.testing.assert_close(block(x)[:1], block(x[:1]))
    torch.testing.assert_close(block(x), x * gates[:, :, None])


@pytest.mark.parametrize("squeeze", se.RUNNING)
def test_running_squeezes_are_the_squeezes_of_each_prefix(squeeze):
    x = window()
    running, whole = se.RUNNING[squeeze](x), se.SQUEEZES[squeeze](C)
    for t in range(T):
        torch.testing.assert_close(running[..., t], whole(x[..., : t + 1]))


def test_causal_gates_know_no_later_bar_and_others_do():
    """The truncation test: what is said of the first bars may not change when the rest is cut."""
    squeeze, x = ("mean", "last", "max"), window()
    causal, whole = (drawn(heads=3, squeeze=squeeze, causal=c) for c in (True, False))
    other = torch.cat([x[..., :8], window(seed=9)[..., 8:]], -1)
    for block, holds in ((causal, True), (whole, False)):
        for changed in (block(x[..., :8]), block(other)[..., :8]):
            assert torch.allclose(block(x)[..., :8], changed, atol=1e-6) is holds
    torch.testing.assert_close(causal.bar_gates(x)[..., -1], causal.gates(x))
    torch.testing.assert_close(causal.gates(x), whole.gates(x))


def test_heads_that_are_copies_have_no_diversity_and_opposites_none():
    block, x = drawn(heads=3).requires_grad_(False), window(32)
    assert 0 < float(block.diversity(x)) < 1
    for head in block.blocks[1:]:
        head.load_state_dict(block.blocks[0].state_dict())
    assert float(block.diversity(x)) == pytest.approx(0, abs=1e-5)
    assert float(block.penalty(x)) == pytest.approx(1, abs=1e-5)
    block.blocks[2].excite.expand.weight.data *= -1  # gates 1 - g: the same said backwards
    assert float(block.likeness(x)[2]) == pytest.approx(-1, abs=1e-5)
    assert float(block.diversity(x)) == pytest.approx(0, abs=1e-5)


def test_heads_that_stand_still_say_nothing():
    block = drawn(heads=2).requires_grad_(False)
    for head in block.blocks:
        head.excite.expand.weight.zero_()
        torch.nn.init.normal_(head.excite.expand.bias)
    assert float(block.diversity(window(32))) == 0


def test_likeness_is_numpys_correlation_of_centred_gates():
    block, x = drawn(heads=3), window(16)
    gates = block.head_gates(x).detach().numpy().astype(float)
    rows = (gates - gates.mean(0)).transpose(1, 0, 2).reshape(3, -1)
    expected = [
        rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    np.testing.assert_allclose(block.likeness(x).detach(), expected, atol=1e-5)


def test_the_penalty_drives_heads_apart():
    block, x = drawn(heads=2, reduction=1), window(64)
    optimizer, values = torch.optim.Adam(block.parameters(), lr=0.02), []
    for _ in range(40):
        optimizer.zero_grad()
        values.append(block.penalty(x))
        values[-1].backward()
        optimizer.step()
    assert float(values[-1].detach()) < max(0.3 * float(values[0].detach()), 1e-3)


WRONG = {
    "channels": lambda: drawn()(window(channels=5)),
    "axes": lambda: drawn()(torch.zeros(3, C)),
    "empty": lambda: drawn()(torch.zeros(0, C, T)),
    "integers": lambda: drawn()(torch.zeros(1, C, T, dtype=torch.int64)),
    "dtype": lambda: drawn()(window().double()),
    "nan": lambda: drawn()(window() * float("nan")),
    "nan, causal": lambda: drawn(causal=True)(window() * float("nan")),
    "one window": lambda: drawn().diversity(window(1)),
    "one head": lambda: drawn(heads=1).diversity(window()),
}


@pytest.mark.parametrize("name", WRONG)
def test_windows_that_are_refused(name):
    with pytest.raises(ArgumentError, match=r"^x: got "):
        WRONG[name]()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("heads", {"heads": 0}), ("heads", {"heads": 2.5}), ("reduction", {"reduction": 0}),
        ("squeeze", {"squeeze": "median"}), ("squeeze", {"heads": 3, "squeeze": ("mean", "max")}),
        ("squeeze", {"squeeze": "ewm", "causal": True}), ("causal", {"causal": 1}),
        ("squeeze", {"squeeze": None}), ("squeeze", {"heads": 1, "squeeze": (3,)}),
    ],
)  # fmt: skip
def test_settings_that_are_refused(name, options):
    with pytest.raises(ArgumentError, match=rf"^{name}: got "):
        drawn(**options)


def test_gates_of_each_bar_are_for_causal_blocks():
    with pytest.raises(ArgumentError, match="^causal: got False"):
        drawn().bar_gates(window())


@pytest.mark.parametrize("task", toys.REGIME_TASKS)
def test_who_knows_the_regimes_knows_the_target(task):
    x, y, on = toys.draw_regimes(task, 3_000, seed=1)
    now = x[..., -1]
    first = torch.where(on[:, 0], now[:, 0], -now[:, 0] if task == "sign" else now[:, 1])
    torch.testing.assert_close(first + torch.where(on[:, 1], now[:, 2], now[:, 3]), y)
    assert float(y.var()) == pytest.approx(2, abs=0.25)
    assert (on.float().mean(0) - 0.5).abs().max() < 0.05
    agree = ((x[:, toys.LEVEL].mean(-1) > 0) == on[:, 0]).float().mean()
    assert agree > 0.99
    seen = ((x[:, toys.NEWEST].mean(-1) > 0) == on[:, 1]).float().mean()
    assert (seen > 0.99) if task == "alike" else (seen < 0.7)
    again = toys.draw_regimes(task, 3_000, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(again, (x, y, on), strict=True))


def test_causal_heads_have_no_views_and_are_not_kept():
    """Views would gate old bars by the newest, and kept gates are one for all bars."""
    block = se.MultiHeadSE(4, heads=2, causal=True)
    with pytest.raises(ArgumentError, match="causal"):
        block.views(torch.randn(2, 4, 9))
    with pytest.raises(ArgumentError, match="block"):
        se.CachedSE(block, 3)
    se.CachedSE(se.MultiHeadSE(4, heads=2), 3)
