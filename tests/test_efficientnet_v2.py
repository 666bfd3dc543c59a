"""EfficientNetV2 against timm: counts, outputs, weights; its block and schedule by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from setrade import compat
from setrade import efficientnet as en
from setrade.errors import ArgumentError
from setrade.training import seed_everything

timm = compat.import_timm()
PUBLISHED = [name for name in en.VARIANTS_V2 if name != "mini"]
MILLIONS = {  # of 1,000 classes, as timm's own tables of results print them
    "b0": 7.14, "b1": 8.14, "b2": 10.10, "b3": 14.36, "s": 21.46, "m": 54.14, "l": 118.52,
    "xl": 208.12,
}  # fmt: skip


def on_meta(name: str, classes: int = 10) -> tuple[nn.Module, en.EfficientNetV2]:
    with torch.device("meta"):
        theirs = timm.create_model(f"tf_efficientnetv2_{name}", num_classes=classes)
        return theirs, en.EfficientNetV2(name, classes, same_padding=True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_equal_timm_and_all_weights_fit(name):
    theirs, ours = on_meta(name, 1000)
    count = en.count_parameters(ours)
    assert count == en.count_parameters(theirs)
    assert round(count / 1e6, 2) == MILLIONS[name]
    found = en.from_timm_v2(theirs.state_dict())
    wanted = ours.state_dict()
    assert list(found) == list(wanted)  # in the same order, so nothing is exchanged
    assert all(found[key].shape == wanted[key].shape for key in wanted)


@torch.no_grad()
def pair(name: str, side: int) -> tuple[nn.Module, en.EfficientNetV2]:
    """timm's net and ours with its weights; batch norms hold what pictures gave, as if trained.

    A block adds a fifth to what its skip carries. Were it as much, as in a net that never learned,
    numbers would grow from block to block, and with them the rounding: by 1e9 through the 94 of XL.
    """
    seed_everything(0)
    theirs = timm.create_model(f"tf_efficientnetv2_{name}", num_classes=10)
    norms = [m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)]
    for block in (block for stage in theirs.blocks for block in stage[1:]):
        [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1].weight.fill_(0.2)
    for norm in norms:
        norm.momentum = 0.9
    theirs(torch.rand(8, 3, side, side))
    theirs.eval()
    for norm in norms:
        norm.weight *= torch.empty_like(norm.weight).uniform_(0.8, 1.2)
        norm.bias.normal_(0, 0.1)
    with torch.device("meta"):
        ours = en.EfficientNetV2(name, 10, same_padding=True).eval()
    ours.load_state_dict(en.from_timm_v2(theirs.state_dict()), strict=True, assign=True)
    return theirs, ours


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("b0", 96), ("b1", 75), ("b2", 64), ("b3", 64), ("s", 64),
        pytest.param("m", 48, marks=pytest.mark.slow),
        pytest.param("l", 48, marks=pytest.mark.slow),
        pytest.param("xl", 48, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_outputs_equal_timm(name, size):
    theirs, ours = pair(name, size)
    x = torch.rand(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)


def test_the_two_paddings_differ():
    theirs, _ = pair("b0", 96)
    ours = en.EfficientNetV2("b0", 10).eval()
    ours.load_state_dict(en.from_timm_v2(theirs.state_dict()))
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        assert (ours(x) - theirs(x)).abs().max() > 1e-3


def test_the_older_rounding_would_widen_b3():
    """V2's code rounds 19.2 to 16; V1's rule of 90 % makes it 24."""
    variant = en.VARIANTS_V2["b3"]
    assert variant.round(16) == 16
    assert en.round_channels(16, variant.width) == 24
    assert en.EfficientNetV2("mini").blocks[0].expand[0].out_channels == 8


def test_a_fused_block_by_hand():
    """One pixel, one channel: 2 and 3 inside; norms that only scale by 1 / sqrt(1 + eps)."""
    block = en.FusedMBConv(1, 1, expand=2, kernel=1).eval()
    block.expand[0].weight.data = torch.tensor([2.0, 3.0]).reshape(2, 1, 1, 1)
    block.project[0].weight.data = torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1)
    x, norm = 0.5, (1 + 1e-5) ** -0.5

    def swish(z: float) -> float:
        return z / (1 + 2.718281828459045**-z)

    wanted = x + norm * (swish(2 * x * norm) + 10 * swish(3 * x * norm))
    assert block(torch.full((1, 1, 1, 1), x)).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("expand", [1, 4])
def test_operations_of_a_fused_block_by_hand(expand):
    with torch.device("meta"):
        block = en.FusedMBConv(3, 5, expand)
    by_hand = 64 * 9 * 3 * 5 if expand == 1 else 64 * (9 * 3 * 12 + 12 * 5)
    assert en.multiply_adds(block, 8) == by_hand
    assert isinstance(block.project, nn.Identity) == (expand == 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.sampled_from([1, 3]),
       st.integers(1, 2), st.integers(2, 9))  # fmt: skip
def test_shapes_are_those_of_mbconv(c_in, c_out, expand, kernel, stride, side):
    shape = (2, c_in, side, side)
    with torch.device("meta"):
        fused = en.FusedMBConv(c_in, c_out, expand, kernel, stride, same_padding=True)
        plain = en.MBConv(c_in, c_out, expand, kernel, stride, same_padding=True)
        assert fused(torch.zeros(shape)).shape == plain(torch.zeros(shape)).shape
    assert fused.residual == plain.residual


def test_drop_rate_rises_over_both_kinds_of_block():
    net = en.EfficientNetV2("mini", 3, drop_connect=0.2)
    rates = [block.drop.rate for block in net.blocks]
    assert rates == pytest.approx([0.2 * i / len(rates) for i in range(len(rates))])
    assert {type(block) for block in net.blocks} == {en.FusedMBConv, en.MBConv}


def test_mini_trains():
    seed_everything(0)
    net = en.EfficientNetV2("mini", 2, 1, drop_connect=0.0)
    x, y = torch.randn(16, 1, 64, 64) * 0.1, torch.arange(16) % 2
    x[y == 1, :, :32] += 1  # bright above, or not
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert en.EfficientNetV2("mini", 0, 2).eval()(torch.rand(1, 2, 64, 48)).shape == (1, 640)


def test_schedule_by_hand():
    """300 - 128 = 172 in three steps: 57.3 each; dropout rises by 0.2 / 3."""
    phases = en.progressive(10, 4)
    assert [p.side for p in phases] == [128, 185, 243, 300]
    assert [p.start for p in phases] == [0, 2, 5, 7]
    assert [p.dropout for p in phases] == pytest.approx([0.1, 1 / 6, 7 / 30, 0.3])
    assert [p.side for p in en.progressive(3, 3, sides=(32, 64), multiple=16)] == [32, 48, 64]


@given(st.integers(2, 6), st.integers(6, 90), st.integers(1, 99), st.integers(0, 99),
       st.integers(1, 40))  # fmt: skip
def test_schedule_rises_from_first_to_last(phases, steps, first, more, multiple):
    plan = en.progressive(steps, phases, sides=(first, first + more), multiple=multiple)
    sides, starts = [p.side for p in plan], [p.start for p in plan]
    assert (sides[0], sides[-1], starts[0]) == (first, first + more, 0)
    assert sides == sorted(sides)
    assert all(
        0 < b - a <= -(-steps // phases) for a, b in zip(starts, [*starts[1:], steps], strict=True)
    )


GOOD = timm.create_model("tf_efficientnetv2_b0", num_classes=3).state_dict()
FUSED, FLAT = "blocks.1.0.conv_exp.weight", "blocks.0.0.conv.weight"
SPOILED = {
    "unknown": ({**GOOD, "blocks.0.0.extra.weight": torch.zeros(1)}, "blocks.0.0.extra.weight"),
    "fused": ({**GOOD, FUSED: torch.zeros(1)}, FUSED),
    "flat": ({**GOOD, FLAT: torch.zeros(1)}, FLAT),
    "gate": ({**GOOD, "blocks.3.0.se.conv_reduce.bias": torch.zeros(2)},
             "blocks.3.0.se.conv_reduce.bias"),
    "missing": ({k: v for k, v in GOOD.items() if k != "bn2.bias"}, "head.1.bias"),
    "no stem": ({k: v for k, v in GOOD.items() if "stem" not in k}, "conv_stem.weight"),
    "odd stem": ({**GOOD, "conv_stem.weight": torch.zeros(33, 3, 3, 3)}, "conv_stem.weight"),
    "V1": (timm.create_model("efficientnet_b0", num_classes=3).state_dict(),
           "blocks.0.0.conv_dw.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_weights_that_do_not_fit_name_the_first_tensor(name):
    weights, tensor = SPOILED[name]
    with pytest.raises(en.WeightError) as caught:
        en.from_timm_v2(weights)
    assert caught.value.tensor == tensor


BAD = [
    (lambda: en.EfficientNetV2("b4"), "variant"),
    (lambda: en.EfficientNetV2("mini", -1), "num_classes"),
    (lambda: en.EfficientNetV2("mini", 3, 0), "in_channels"),
    (lambda: en.EfficientNetV2("mini", 3, drop_connect=float("nan")), "drop_connect"),
    (lambda: en.EfficientNetV2("mini", 3, same_padding="yes"), "same_padding"),
    (lambda: en.EfficientNetV2("mini", 3)(torch.zeros(1, 3, 16, 64)), "x"),
    (lambda: en.FusedMBConv(0, 8), "c_in"),
    (lambda: en.FusedMBConv(8, 8, 0), "expand"),
    (lambda: en.FusedMBConv(8, 8, kernel=2), "kernel"),
    (lambda: en.FusedMBConv(8, 8, drop_connect=1.0), "drop_connect"),
    (lambda: en.progressive(3, 4), "steps"),
    (lambda: en.progressive(8, 1), "phases"),
    (lambda: en.progressive(8, sides=(64, 32)), "sides"),
    (lambda: en.progressive(8, sides=(64,)), "sides"),
    (lambda: en.progressive(8, dropouts=(0.3, float("nan"))), "dropouts"),
    (lambda: en.progressive(8, multiple=0), "multiple"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        call()


GATED = "blocks.3.0.se.conv_reduce.weight"
V1_GATED = "blocks.1.0.se.conv_reduce.weight"
V1 = timm.create_model("efficientnet_b0", num_classes=3).state_dict()


@pytest.mark.parametrize(
    ("call", "weights", "gate"), [(en.from_timm_v2, GOOD, GATED), (en.from_timm, V1, V1_GATED)]
)
def test_a_gate_that_is_no_1x1_convolution_is_not_cut(call, weights, gate):
    wide = weights[gate].expand(-1, -1, 3, 3)
    for value in (wide, None, 3, weights[gate].numpy()):
        with pytest.raises(en.WeightError) as caught:
            call({**weights, gate: value})
        assert caught.value.tensor == gate
    stem = {**weights, "conv_stem.weight": torch.tensor(1.0)}
    with pytest.raises(en.WeightError, match=r"^conv_stem.weight: has shape"):
        call(stem)


@pytest.mark.parametrize("call", [en.from_timm_v2, en.from_timm])
@pytest.mark.parametrize("given", [None, [1], torch.nn.Linear(2, 2), {1: torch.zeros(1)}])
def test_what_is_no_state_dict_is_named(call, given):
    with pytest.raises(ValueError, match=r"^state_dict: got "):
        call(given)


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"width": -1}, "width"), ({"depth": float("nan")}, "depth"), ({"dropout": 2}, "dropout"),
     ({"resolution": 0}, "resolution"), ({"stem": 0}, "stem"), ({"stages": ()}, "stages"),
     ({"stages": ((0, 1, 1, 16, 1),)}, "stages")],
)  # fmt: skip
def test_variants_that_cannot_be_are_named(changed, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        en.VariantV2(**{"width": 1.0, "depth": 1.0, "resolution": 64, "dropout": 0.2} | changed)


@pytest.mark.parametrize("kind", [en.EfficientNet, en.EfficientNetV2])
def test_pictures_of_another_type_than_the_weights_are_named(kind):
    net = kind("mini", 2).eval()
    for dtype in (torch.uint8, torch.float64):
        with pytest.raises(ArgumentError, match="float32, as the weights"):
            net(torch.zeros(1, 3, 64, 64, dtype=dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.zeros(1, 3, 64, 64)).dtype == torch.bfloat16
    assert net.double()(torch.zeros(1, 3, 64, 64, dtype=torch.float64)).isfinite().all()
