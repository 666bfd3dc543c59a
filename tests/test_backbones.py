"""ImageNet's weights see a photograph, stay frozen when told to, and feed boosted trees."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from laws import assert_causal
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn

from setrade import candles, pictures
from setrade.compat import import_timm
from setrade.efficientnet import WeightError
from setrade.errors import ArgumentError
from setrade.models import backbones
from setrade.models.backbones import (
    Backbone,
    Transfer,
    WeightsUnavailable,
    imagenet,
    pretrained,
    untrained,
)
from setrade.models.boosted import Boosted, extract
from setrade.training import TensorSet, fit, seed_everything


def photograph(name: str) -> torch.Tensor:
    """Return a photograph of scikit-learn's as ImageNet nets are tested: 256, centre 224."""
    image = Image.fromarray(load_sample_image(name))
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    square = np.asarray(image.crop((left, top, left + 224, top + 224)))
    return pictures.to_input(square.transpose(2, 0, 1)[None].copy())


@pytest.fixture(scope="module")
def classifier() -> Transfer:
    return imagenet()


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def class_of(net: nn.Module, picture: torch.Tensor) -> tuple[str, float]:
    from timm.data.imagenet_info import ImageNetInfo

    with torch.no_grad():
        p = net(picture).softmax(1)[0]
    return ImageNetInfo().index_to_description(int(p.argmax())), float(p.max())


@pytest.mark.parametrize(("name", "wanted"), [("china.jpg", "palace"), ("flower.jpg", "daisy")])
def test_a_photograph_gets_its_class(classifier, name, wanted):
    said, p = class_of(classifier, photograph(name))
    assert said == wanted
    assert p > 0.25


@pytest.mark.parametrize(("name", "parameters"), [("lite1", 5_416_680), ("lite2", 6_092_072)])
def test_the_larger_nets_see_it_too(name, parameters):
    net = imagenet(name)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert class_of(net, photograph("china.jpg"))[0] == "palace"


def test_without_mean_and_std_the_class_is_lost(classifier):
    """TRAPS 26: what [0, 1] without normalisation does; (x + 1) / 2 undoes ours."""
    assert class_of(classifier, (photograph("china.jpg") + 1) / 2)[0] != "palace"


def test_random_weights_know_nothing():
    """TRAPS 26: a frozen random net gives features, but no photograph its class."""
    seed_everything(0)
    net = Transfer(untrained(), 1000).eval()
    assert class_of(net, photograph("china.jpg"))[1] < 0.05


@pytest.mark.parametrize("name", ["lite0", "lite1", "lite2"])
def test_equal_to_timm(name, x):
    net = import_timm().create_model(f"tf_efficientnet_{name}").eval()
    state = backbones._in_order(backbones._from_package(name), net.state_dict())
    net.load_state_dict(state)
    with torch.no_grad():
        theirs, ours = net((x - 0.5) / 0.5), imagenet(name)(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_order_of_weights_is_checked():
    wanted = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2)}
    with pytest.raises(WeightError, match=r"^b\.bias: stands in the place of a\.weight"):
        backbones._in_order({"b.bias": torch.ones(2), "b.weight": torch.ones(2)}, wanted)
    with pytest.raises(WeightError, match="1 of 2 tensors"):
        backbones._in_order({"b.weight": torch.ones(2)}, wanted)


def test_one_picture_keeps_its_batch_axis(classifier, x):
    """TRAPS 27: ``.squeeze()`` on the pooled maps would return (1280,)."""
    backbone = classifier.backbone
    with torch.no_grad():
        wrong = backbone.maps(x[:1])[-1].mean((2, 3)).squeeze()
        assert wrong.shape == (1280,)
        assert backbone(x[:1]).shape == (1, 1280)
        assert extract(backbone, x[:1]).shape == (1, 1280)


def test_one_channel_is_a_grey_photograph(x):
    grey = x[:, :1]
    with torch.no_grad():
        one, three = pretrained(in_channels=1)(grey), pretrained()(grey.repeat(1, 3, 1, 1))
    torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-5)


def test_four_channels_repeat_the_filters(x):
    net, base = pretrained(in_channels=4, depth=1), pretrained(depth=1)
    w3, w4 = base.stem[0].weight, net.stem[0].weight
    torch.testing.assert_close(w4, 0.75 * w3[:, [0, 1, 2, 0]])
    assert net.mean.flatten().tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("depth", "grid", "features"), [(None, 1, 1280), (1, 1, 16), (5, 2, 448), (7, 1, 320)]
)
def test_shapes(x, depth, grid, features):
    net = untrained(depth=depth, grid=grid)
    assert net(x).shape == (5, net.num_features) == (5, features)
    assert len(net.maps(x)) == (8 if depth is None else depth)


def test_frozen_means_frozen(x):
    """Neither weights nor batch statistics of a frozen part move; those of the rest do."""
    net = Transfer(pretrained(depth=3).freeze(2))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    fit(net, TensorSet(x, torch.tensor([0, 1, 2, 0, 1])), num_epochs=2, device="cpu")
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert not {k for k in moved if k.startswith(("backbone.stem", "backbone.stages.0"))}
    assert not {k for k in moved if k.startswith("backbone.stages.1")}
    assert any(k.startswith("backbone.stages.2") for k in moved)
    net.backbone.freeze(0)
    assert all(p.requires_grad for p in net.parameters())


def test_frozen_weights_alone_would_drift(x):
    """The wrong version: no gradient, but ``train()`` lets the batch statistics move."""
    net = pretrained(depth=2)
    net.requires_grad_(False)
    before = net.stem[1].running_mean.clone()
    net.train()(x)
    assert not torch.equal(net.stem[1].running_mean, before)
    kept = pretrained(depth=2).freeze()
    before = kept.stem[1].running_mean.clone()
    kept.train()(x)
    assert torch.equal(kept.stem[1].running_mean, before)


def test_the_hub_offline_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(WeightsUnavailable, match=r"pretrained\('lite0'\).*hf download timm/") as e:
        pretrained("b0")
    assert time.perf_counter() - start < 30  # the hub's own retries alone wait 23 s
    assert e.value.name == "b0"


@pytest.fixture(scope="module")
def b0(tmp_path_factory) -> Path:
    from safetensors.torch import save_file

    seed_everything(1)
    path = tmp_path_factory.mktemp("weights") / "b0.safetensors"
    save_file(import_timm().create_model("efficientnet_b0").state_dict(), path)
    return path


def test_weights_from_a_file(b0, x):
    from safetensors.torch import load_file

    net = import_timm().create_model("efficientnet_b0").eval()
    net.load_state_dict(load_file(b0))
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    y = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(imagenet("b0", path=b0)(x), net(y), rtol=1e-3, atol=1e-4)


def test_weights_that_do_not_fit_are_named(b0, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(b0)
    del weights["bn1.bias"]
    save_file(weights, tmp_path / "missing.safetensors")
    with pytest.raises(WeightError, match=r"^bn1\.bias: is missing"):
        pretrained("b0", path=tmp_path / "missing.safetensors")
    weights["bn1.bias"] = torch.zeros(31)
    save_file(weights, tmp_path / "short.safetensors")
    with pytest.raises(WeightError, match=r"^bn1\.bias: has shape \(31,\), wanted \(32,\)"):
        pretrained("b0", path=tmp_path / "short.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b0.read_bytes()[:1000])
    with pytest.raises(ArgumentError, match=r"^path: got "):
        pretrained("b0", path=tmp_path / "cut.safetensors")


def test_extract_keeps_order_and_mode(x):
    net = pretrained(depth=2).train()
    next(part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)).eval()
    modes = [part.training for part in net.modules()]
    assert not all(modes)
    got = extract(net, x, batch_size=2)
    assert [part.training for part in net.modules()] == modes
    with torch.no_grad():
        np.testing.assert_allclose(got, net.eval()(x).numpy(), atol=1e-5)


def test_extract_draws_pictures_on_the_fly():
    windows = candles.windows(candles.synthetic(80, seed=0).candles, 32)
    data = pictures.PictureSet(windows, np.zeros(len(windows)), pictures.encoder("candles", 64))
    net = pretrained(depth=2)
    stack = pictures.Stack((pictures.encoder("candles", 64),))
    wanted = extract(net, stack(windows).clone())
    np.testing.assert_allclose(extract(net, data, batch_size=16), wanted, atol=1e-5)


def test_features_see_nothing_early():
    net, frame = pretrained(depth=2), candles.synthetic(80, seed=1).candles
    stack = pictures.Stack((pictures.encoder("candles", 64),))

    def features(bars):
        return extract(net, stack(candles.windows(bars, 32)).clone())

    assert_causal(features, frame, offset=31, cuts=(40, 60), atol=1e-5)


def test_boosted_by_hand():
    """One feature decides; class 1 never occurs and keeps its column."""
    x = np.linspace(-1, 1, 200, dtype=np.float32)[:, None]
    y = np.where(x[:, 0] > 0, 2, 0)
    p = Boosted(column_share=1.0, lr=0.3).fit(x, y).probabilities(x)
    assert p.shape == (200, 3)
    assert (p.argmax(1) == y).all()
    assert p[:, 1].max() < 0.02
    np.testing.assert_allclose(p.sum(1), 1)


def test_boosted_equals_the_scikit_learn_face():
    from xgboost import XGBClassifier

    rng = np.random.default_rng(0)
    x, y = rng.random((200, 4)).astype(np.float32), rng.integers(0, 3, 200)
    peer = XGBClassifier(
        n_estimators=20, max_depth=3, learning_rate=0.05, max_bin=64, colsample_bytree=1.0,
        n_jobs=1, random_state=0,
    ).fit(x, y)  # fmt: skip
    ours = Boosted(rounds=20, column_share=1.0).fit(x, y).probabilities(x)
    np.testing.assert_allclose(ours, peer.predict_proba(x), atol=1e-6)


def test_boosted_stops_early_and_repeats():
    rng = np.random.default_rng(1)
    x, y = rng.random((200, 8)), rng.integers(0, 3, 200)
    a, b = (Boosted(seed=3, patience=3).fit(x, y, (x[::2] + 1, y[::2])) for _ in range(2))
    assert a.trees.num_boosted_rounds() < 100
    assert np.array_equal(a.probabilities(x), b.probabilities(x))


def test_strategy_two_finds_what_is_planted(one_thread):
    """Frozen features and trees on pictures whose answer is known; shuffled answers: chance."""
    from studies.transfer import pictures as draw
    from studies.transfer import planted

    windows, y = planted(900, seed=5)
    f = extract(pretrained(depth=5, grid=2), draw(windows, "candles"))
    hits = {}
    for name, truth in (("planted", y), ("shuffled", np.random.default_rng(0).permutation(y))):
        p = Boosted().fit(f[:500], truth[:500], (f[500:600], truth[500:600])).probabilities(f[600:])
        hits[name] = float((p.argmax(1) == truth[600:]).mean())
    assert hits["planted"] > 0.75
    assert abs(hits["shuffled"] - 0.5) < 0.12


NET = untrained(depth=1)
FITTED = Boosted(2).fit(np.arange(20.0).reshape(10, 2), np.arange(10) % 2)
BAD = [
    (lambda: pretrained("b9"), "name"),
    (lambda: pretrained(in_channels=0), "in_channels"),
    (lambda: pretrained(depth=8), "depth"),
    (lambda: pretrained(grid=0), "grid"),
    (lambda: pretrained("b0", path="nowhere.safetensors"), "path"),
    (lambda: NET.freeze(2), "stages"),
    (lambda: NET(torch.rand(1, 1, 64, 64)), "x"),
    (lambda: NET(torch.rand(1, 3, 16, 64)), "x"),
    (lambda: NET(torch.rand(3, 64, 64)), "x"),
    (lambda: NET(torch.rand(1, 3, 64, 64) * 2 - 1), "x"),
    (lambda: NET(torch.full((1, 3, 64, 64), np.nan)), "x"),
    (lambda: NET(torch.zeros((1, 3, 64, 64), dtype=torch.uint8)), "x"),
    (lambda: NET(torch.rand(0, 3, 64, 64)), "x"),
    (lambda: Backbone(import_timm().create_model("tf_efficientnet_lite0"), [0], [1]), "mean"),
    (lambda: Transfer(nn.Identity()), "backbone"),
    (lambda: Transfer(NET, head=nn.Linear(3, 3)), "head"),
    (lambda: Transfer(NET, dropout=1.0), "dropout"),
    (lambda: extract(NET, torch.rand(0, 3, 64, 64)), "pictures"),
    (lambda: extract(NET, np.zeros((2, 3, 64, 64))), "pictures"),
    (lambda: extract(NET, torch.rand(1, 3, 64, 64), batch_size=0), "batch_size"),
    (lambda: Boosted(1), "num_classes"),
    (lambda: Boosted(lr=0), "lr"),
    (lambda: Boosted().probabilities(np.zeros((2, 2))), "self"),
    (lambda: Boosted().fit(np.zeros((2, 2)) * np.nan, np.array([0, 1])), "x"),
    (lambda: Boosted().fit(np.full((2, 2), 1e39), np.array([0, 1])), "x"),
    (lambda: FITTED.probabilities(np.full((2, 2), 1e39)), "x"),
    (lambda: Boosted().fit(np.zeros((2, 2)), np.array([0, 3])), "y"),
    (lambda: Boosted().fit(np.zeros((2, 2)), np.array([0.0, 1.0])), "y"),
    (lambda: Boosted().fit(np.zeros((2, 2)), np.array([0, 1, 2])), "y"),
    (lambda: Boosted().fit(np.zeros((2, 2)), np.array([0, 1]), (np.zeros((2, 3)), [0, 1])), "val"),
    (lambda: FITTED.probabilities(np.zeros((2, 3))), "x"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_named(call, name):
    with pytest.raises(ArgumentError, match=rf"^{name}: got "):
        call()
