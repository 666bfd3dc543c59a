"""Maps are what their formulas say, and scores tell a map that points from one that does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from setrade import attention
from setrade.training import seed_everything


class Pooled(nn.Module):
    """Two maps, the picture and its negative; mean over pixels; a linear layer."""

    def __init__(self, weight):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.conv.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        self.out = nn.Linear(2, 2, bias=False)
        self.out.weight.data = torch.tensor(weight)

    def forward(self, x):
        return self.out(self.conv(x).mean((2, 3)))


def test_grad_cam_by_hand():
    """The gradient of logit c by map k is w_ck over the pixels, at every pixel."""
    net = Pooled([[3.0, 1.0], [0.0, 2.0]])
    x = torch.tensor([[[[1.0, -2.0], [0.0, 4.0]]]]).repeat(2, 1, 1, 1)
    got = attention.grad_cam(net, x, torch.tensor([0, 1]), net.conv)
    first = np.maximum(0, (3 - 1) / 4 * x[0, 0].numpy())
    second = np.maximum(0, -2 / 4 * x[0, 0].numpy())
    np.testing.assert_allclose(got, [first, second], atol=1e-6)


def small_net() -> nn.Sequential:
    seed_everything(2)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def test_grad_cam_equals_hooks():
    """An independent way: keep the maps, ask autograd, weight, stretch."""
    net, x, target = small_net(), torch.rand(5, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1])
    kept = net[:3](x).detach().requires_grad_()
    net[3:](kept)[torch.arange(5), target].sum().backward()
    cam = F.relu((kept.grad.mean((2, 3), keepdim=True) * kept).sum(1, keepdim=True)).detach()
    wanted = F.interpolate(cam, (16, 16), mode="bilinear", align_corners=False)[:, 0]
    got = attention.grad_cam(net, x, target, net[2], batch_size=2)
    np.testing.assert_allclose(got, wanted.numpy(), atol=1e-6)


def test_grad_cam_of_a_frozen_net():
    net, x, target = small_net(), torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
    wanted = attention.grad_cam(net, x, target, net[2])
    got = attention.grad_cam(net.requires_grad_(False), x, target, net[2])
    assert np.array_equal(got, wanted)


def test_occlusion_equals_a_loop():
    net, x, target = small_net().eval(), torch.rand(2, 3, 16, 16), torch.tensor([0, 2])
    total, count = np.zeros((2, 16, 16)), np.zeros((2, 16, 16))
    with torch.no_grad():
        base = net(x)[torch.arange(2), target]
        for top in range(0, 13, 4):
            for left in range(0, 13, 4):
                covered = x.clone()
                covered[:, :, top : top + 4, left : left + 4] = 0.25
                fall = (base - net(covered)[torch.arange(2), target]).numpy()
                total[:, top : top + 4, left : left + 4] += fall[:, None, None]
                count[:, top : top + 4, left : left + 4] += 1
    got = attention.occlusion(net, x, target, window=4, stride=4, baseline=0.25)
    np.testing.assert_allclose(got, np.maximum(0, total / count), atol=1e-6)


def test_the_net_is_left_as_it_was():
    net, x, target = small_net().train(), torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
    net[0].eval()
    before, kept = [m.training for m in net.modules()], x.clone()
    attention.grad_cam(net, x, target, net[2])
    attention.occlusion(net, x, target)
    assert [m.training for m in net.modules()] == before
    assert torch.equal(x, kept)
    assert not x.requires_grad
    assert all(p.grad is None for p in net.parameters())


def test_localisation_by_hand():
    m = np.zeros((2, 4, 4))
    m[0, 0, 0], m[0, 3, 3] = 3, 1  # three quarters of the mass top left
    m[1, 3, 2:] = 1  # two equal maxima, one of them in the box
    boxes = np.array([[0, 2, 0, 2], [2, 4, 3, 4]])
    got = attention.localisation(m, boxes)
    assert got.share.tolist() == [0.75, 0.5]
    assert got.area.tolist() == [4 / 16, 2 / 16]
    assert got.elsewhere.tolist() == [0.25, 0.0]  # each map in the other's box
    assert got.hit.tolist() == [1.0, 0.5]
    assert got.means()["share"] == 0.625


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ends = np.sort(np.array([rng.choice(9, 2, replace=False) for _ in range(12)]), 1)
    return rng.random((6, 8, 8)) ** 4, ends.reshape(6, 4)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_localisation_laws(seed):
    m, boxes = random_case(seed)
    got, scaled = attention.localisation(m, boxes), attention.localisation(7.5 * m, boxes)
    for name in ("share", "elsewhere", "hit"):
        values = getattr(got, name)
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
        np.testing.assert_allclose(getattr(scaled, name), values, atol=1e-12)
    inside = attention.boxes_mask(boxes, 8, 8)
    mass = np.einsum("ihw,jhw->ij", m, inside) / m.sum((1, 2))[:, None]
    others = [np.delete(row, i).mean() for i, row in enumerate(mass)]
    np.testing.assert_allclose(got.elsewhere, others, atol=1e-12)
    for flat in (np.ones_like(m), np.zeros_like(m)):  # a map that says nothing scores as chance
        chance = attention.localisation(flat, boxes)
        np.testing.assert_allclose(chance.share, chance.area, atol=1e-12)
        np.testing.assert_allclose(chance.hit, chance.area, atol=1e-12)
    assert chance.empty.all()


def test_a_map_that_loves_one_place_beats_the_area_but_not_the_others():
    """Boxes all lie in the middle; so does every map, whatever its picture shows."""
    m = np.zeros((20, 16, 16))
    m[:, 6:10, 6:10] = 1
    rng = np.random.default_rng(0)
    corner = rng.integers(4, 7, (20, 2))
    boxes = np.stack([corner[:, 0], corner[:, 0] + 6, corner[:, 1], corner[:, 1] + 6], 1)
    got = attention.localisation(m, boxes)
    assert got.share.mean() > 4 * got.area.mean()
    assert abs(got.share.mean() - got.elsewhere.mean()) < 0.01


@pytest.mark.slow
def test_a_planted_mark_is_found_and_an_untrained_net_finds_nothing(one_thread):
    """Adebayo's control: a map that survives random weights explains the picture, not the net."""
    from studies.transfer import maps_part

    got = maps_part(7, n=800, shown=40, names=("ImageNet", "untrained"))
    assert got["ImageNet"]["accuracy"] > 0.7
    for kind, factor in (("grad_cam", 1.15), ("occlusion", 1.5)):
        found, control = got["ImageNet"][kind], got["untrained"][kind]
        assert found["share"] > factor * found["elsewhere"]
        assert found["share"] > factor * control["share"]
        assert found["hit"] > control["hit"]


NET, X, T = small_net(), torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
M, B = np.ones((2, 8, 8)), np.array([[0, 2, 0, 2], [1, 3, 1, 3]])
BAD = [
    (lambda: attention.grad_cam(None, X, T, NET[2]), "net"),
    (lambda: attention.grad_cam(NET, X[0], T, NET[2]), "x"),
    (lambda: attention.grad_cam(NET, X, T[:1], NET[2]), "target"),
    (lambda: attention.grad_cam(NET, X, T.float(), NET[2]), "target"),
    (lambda: attention.grad_cam(NET, X, T, nn.Conv2d(3, 3, 1)), "layer"),
    (lambda: attention.grad_cam(NET, X, T, NET[6]), "layer"),
    (lambda: attention.grad_cam(NET, X, T, NET[2], batch_size=0), "batch_size"),
    (lambda: attention.occlusion(NET, X, T, window=17), "window"),
    (lambda: attention.occlusion(NET, X, T, window=4, stride=5), "stride"),
    (lambda: attention.occlusion(NET, X, T, baseline=np.nan), "baseline"),
    (lambda: attention.localisation(-M, B), "maps"),
    (lambda: attention.localisation(M[:1], B[:1]), "maps"),
    (lambda: attention.localisation(M * np.nan, B), "maps"),
    (lambda: attention.localisation(M, B[:1]), "boxes"),
    (lambda: attention.localisation(M, B * 5), "boxes"),
    (lambda: attention.localisation(M, B[:, :3]), "boxes"),
    (lambda: attention.localisation(M, B * 1.0), "boxes"),
    (lambda: attention.localisation(M, B[:, [1, 0, 2, 3]]), "boxes"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        call()
