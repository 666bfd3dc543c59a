"""EfficientNet against timm: counts, outputs, weights; and its parts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from setrade import compat
from setrade import efficientnet as en
from setrade.training import seed_everything

timm = compat.import_timm()
PUBLISHED = [f"b{i}" for i in range(8)]


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_equal_timm(name):
    with torch.device("meta"):
        theirs = timm.create_model(f"efficientnet_{name}")
        assert count(en.EfficientNet(name)) == count(theirs)


def test_b0_has_the_published_number_of_parameters():
    """TRAPS 22: a gate as wide as the expanded channels would give 8.4 million."""
    with torch.device("meta"):
        net = en.EfficientNet("b0")
        assert count(net) == 5_288_548
        for block in net.blocks:
            block.se = en.SqueezeExcite2d(c := block.se.expand.out_features, max(1, c // 4))
    assert round(count(net) / 1e6, 1) == 8.4


def near(weight: torch.Tensor, std: float) -> bool:
    """Whether the root mean square is ``std``, to five standard errors of a normal's."""
    return abs(float(weight.square().mean().sqrt()) / std - 1) < 5 / (2 * weight.numel()) ** 0.5


@pytest.mark.parametrize("options", [{}, {"same_padding": True}])
def test_weights_are_drawn_as_published(options):
    """google/automl: every convolution by its fan-out, the gates' too; the head ±1 / √classes."""
    seed_everything(0)
    net = en.EfficientNet("b0", 1000, **options)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):  # depthwise: TensorFlow counts one output a channel
            out = module.kernel_size[0] ** 2 * module.out_channels / module.groups
            assert near(module.weight, (2 / out) ** 0.5)
        if isinstance(module, en.SqueezeExcite2d):
            for layer in (module.reduce, module.expand):
                assert near(layer.weight, (2 / layer.out_features) ** 0.5)
                assert not layer.bias.any()
    assert net.blocks[3].se.reduce.out_features == 6
    assert float(net.blocks[5].se.reduce.weight.std()) == pytest.approx(0.447, abs=0.03)
    head = net.classifier
    assert float(head.weight.abs().max()) == pytest.approx(1000**-0.5, rel=1e-3)
    assert float(head.weight.std()) == pytest.approx((3 * 1000) ** -0.5, rel=0.01)
    assert not head.bias.any()


def test_small_variants_keep_a_quiet_head_unless_asked():
    seed_everything(0)
    quiet, loud = en.EfficientNet("micro", 3), en.EfficientNet("micro", 3, published=True)
    bound = (6 / (quiet.num_features + 3)) ** 0.5  # Xavier's
    assert 0.95 * bound < float(quiet.classifier.weight.abs().max()) <= bound
    assert float(loud.classifier.weight.abs().max()) > 0.95 * 3**-0.5
    custom = en.EfficientNet(en.Variant(0.25, 0.3, 64, 0.1), 3)
    assert float(custom.classifier.weight.abs().max()) <= bound


def randomised(name: str) -> nn.Module:
    """A timm net whose batch norms have something to do."""
    seed_everything(0)
    net = timm.create_model(name, num_classes=10).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


@pytest.mark.parametrize("form", ["", "tf_"])
@pytest.mark.parametrize(("name", "size"), [("b0", 96), ("b1", 75), ("b3", 64)])
def test_outputs_equal_timm(form, name, size):
    theirs = randomised(f"{form}efficientnet_{name}")
    ours = en.EfficientNet(name, 10, same_padding=bool(form)).eval()
    ours.load_state_dict(en.from_timm(theirs.state_dict()), strict=True)
    x = torch.rand(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)


def test_the_two_forms_differ():
    """The wrong padding is not a detail: it changes the outputs."""
    theirs = randomised("tf_efficientnet_b0")
    ours = en.EfficientNet("b0", 10, same_padding=False).eval()
    ours.load_state_dict(en.from_timm(theirs.state_dict()))
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        assert (ours(x) - theirs(x)).abs().max() > 1e-3


def test_widths_of_the_stems_and_heads():
    """TRAPS 23: B2's stem is 32, not 40."""
    stems = [en.round_channels(32, en.VARIANTS[n].width) for n in PUBLISHED]
    heads = [en.round_channels(1280, en.VARIANTS[n].width) for n in PUBLISHED]
    assert stems == [32, 32, 32, 40, 48, 48, 56, 64]
    assert heads == [1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560]


@given(st.integers(1, 4000), st.floats(0.1, 4))
def test_rounded_channels_are_near_and_never_much_below(channels, width):
    got = en.round_channels(channels, width)
    assert got % 8 == 0
    assert got >= 0.9 * channels * width
    assert got == 8 or abs(got - channels * width) <= 8


def test_compound_scale_by_hand():
    """TRAPS 24: the product is 1.920, not 2."""
    one = en.compound_scale(1)
    assert one == pytest.approx((1.2, 1.1, 1.15))
    assert one.flops == pytest.approx(1.920, abs=5e-4)
    assert en.compound_scale(0) == (1, 1, 1)
    assert en.compound_scale(2).flops == pytest.approx(one.flops**2)
    assert en.compound_scale(-1).depth == pytest.approx(1 / 1.2)


def test_published_factors_are_not_powers():
    for phi, name in ((1, "b1"), (2, "b2"), (7, "b7")):
        law = en.compound_scale(phi)
        assert en.VARIANTS[name].depth != pytest.approx(law.depth, rel=0.02)


def test_search_finds_a_planted_optimum_within_the_constraint():
    seen = []

    def score(scale):
        seen.append(scale)
        return -abs(scale.depth - 1.2) - abs(scale.width - 1.1) - abs(scale.resolution - 1.15)

    assert en.search_coefficients(score) == pytest.approx((1.2, 1.1, 1.15))
    assert all(abs(s.flops - 2) <= 0.1 + 1e-9 for s in seen)
    assert len(seen) > 10
    assert en.search_coefficients(lambda s: s.width)[1] == max(s.width for s in seen)


@pytest.mark.parametrize("name", [n for n in en.VARIANTS if n not in PUBLISHED])
def test_small_variants_train(name):
    seed_everything(0)
    size = en.VARIANTS[name].resolution
    net = en.EfficientNet(name, 2, 1, drop_connect=0.0)
    x = torch.randn(16, 1, size, size) * 0.1
    y = torch.arange(16) % 2
    x[y == 1, :, : size // 2] += 1  # bright above, or not
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert count(net) < 1_200_000


def test_drop_connect_keeps_the_mean_and_drops_whole_examples():
    seed_everything(0)
    drop = en.DropConnect(0.25).train()
    out = drop(torch.ones(4000, 2, 3))
    kept = out[:, 0, 0] > 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / 0.75))
    assert (out[~kept] == 0).all()
    assert torch.equal(drop.eval()(out), out)


def test_drop_rate_rises_linearly():
    net = en.EfficientNet("micro", 3, drop_connect=0.2)
    rates = [block.drop.rate for block in net.blocks]
    assert rates[0] == 0
    np.testing.assert_allclose(np.diff(rates), 0.2 / len(rates))


@given(st.integers(1, 300), st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2]))
def test_same_padding_gives_ceil_of_size_over_stride(size, kernel, stride):
    before, after = en.same_pad(size, kernel, stride)
    outputs = (size + before + after - kernel) // stride + 1
    assert outputs == -(-size // stride)
    assert 0 <= after - before <= 1


def test_residual_only_where_shapes_agree():
    assert en.MBConv(8, 8).residual
    assert not en.MBConv(8, 16).residual
    assert not en.MBConv(8, 8, stride=2).residual


def test_batch_of_one_and_features():
    net = en.EfficientNet("micro", 0, 2).eval()
    out = net(torch.rand(1, 2, 64, 48))
    assert out.shape == (1, net.num_features)


GOOD = timm.create_model("efficientnet_b0", num_classes=3).state_dict()
SPOILED = {
    "unknown": ({**GOOD, "blocks.0.0.extra.weight": torch.zeros(1)}, "blocks.0.0.extra.weight"),
    "shape": ({**GOOD, "blocks.2.0.conv_dw.weight": torch.zeros(1)}, "blocks.2.0.conv_dw.weight"),
    "missing": ({k: v for k, v in GOOD.items() if k != "bn2.bias"}, "head.1.bias"),
    "no stem": ({k: v for k, v in GOOD.items() if "stem" not in k}, "conv_stem.weight"),
    "other net": ({"layer1.weight": torch.zeros(3)}, "conv_stem.weight"),
    "odd stem": ({**GOOD, "conv_stem.weight": torch.zeros(33, 3, 3, 3)}, "conv_stem.weight"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_weights_that_do_not_fit_name_the_first_tensor(name):
    weights, tensor = SPOILED[name]
    with pytest.raises(en.WeightError) as caught:
        en.from_timm(weights)
    assert caught.value.tensor == tensor


BAD = [
    (lambda: en.EfficientNet("b8"), "variant"),
    (lambda: en.EfficientNet("micro", -1), "num_classes"),
    (lambda: en.EfficientNet("micro", 3, 0), "in_channels"),
    (lambda: en.EfficientNet("micro", 3, drop_connect=1.0), "drop_connect"),
    (lambda: en.EfficientNet("micro", 3)(torch.zeros(1, 1, 64, 64)), "x"),
    (lambda: en.EfficientNet("micro", 3)(torch.zeros(1, 3, 16, 64)), "x"),
    (lambda: en.EfficientNet("micro", 3)(torch.zeros(3, 64, 64)), "x"),
    (lambda: en.compound_scale(np.nan), "phi"),
    (lambda: en.compound_scale(1, alpha=0.5), "alpha"),
    (lambda: en.round_channels(0), "channels"),
    (lambda: en.round_repeats(0), "repeats"),
    (lambda: en.search_coefficients(lambda s: 0.0, tolerance=1e-9, step=0.3), "tolerance"),
    (lambda: en.search_coefficients(lambda s: 0.0, step=0), "step"),
    (lambda: en.MBConv(0, 8), "c_in"),
    (lambda: en.DropConnect(1.0), "rate"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        call()


def test_swish_by_hand():
    x = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    y = torch.nn.SiLU()(x)
    assert y.min().item() == pytest.approx(-0.278, abs=1e-3)  # bounded below
    assert x[y.argmin()].item() == pytest.approx(-1.28, abs=1e-2)  # not monotonic: it turns here
    assert y[-1].item() == pytest.approx(20, abs=1e-6)  # not bounded above
    assert y.diff().diff().abs().max() < 1e-4  # no corner, unlike ReLU's 0.01


def test_a_net_that_diverged_never_wins_the_search():
    points = en.candidates(0.05, 0.1, 2.0) if hasattr(en, "candidates") else None
    first = []

    def score(scale):
        first.append(scale)
        return float("nan") if len(first) in (1, 5) else -len(first)

    best = en.search_coefficients(score)
    assert best == pytest.approx(tuple(first[1]))
    assert points is None or len(first) == len(points)
    with pytest.raises(ValueError, match=r"^score: got "):
        en.search_coefficients(lambda _: float("nan"))
