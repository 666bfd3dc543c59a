"""GPU paths: on a stand-in device everywhere, on a real GPU where there is one.

The stand-in has a GPU's manners and a CPU's arithmetic (`standin`): what forgets to bring its
tensors home, or to move them there, fails on any machine. Speed and rounding want a real card.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from standin import DEVICE, OnDevice, standin
from torch import nn

from setrade import (
    attention,
    buffers,
    candles,
    gramian,
    inference,
    pictures,
    se,
    training,
)
from setrade import recurrence as images
from setrade.efficientnet import EfficientNet
from setrade.errors import ArgumentError
from setrade.gramian import gadf, gasf, gasf_inverse, transition_field
from setrade.inference import MissingRuntimeError, Predictor, predictor, runtimes, timing
from setrade.live import monitor
from setrade.live.monitor import Monitor
from setrade.models import SETrader, TemporalRegimes, backbones, multitask, siamese
from setrade.models.book_net import BookNet
from setrade.models.boosted import extract
from setrade.models.se_momentum import SEMomentum
from setrade.models.se_trader import regime_loss
from setrade.recurrence import recurrence
from setrade.study import command
from setrade.study.experiment import Setting
from setrade.training import data as devices
from setrade.training import loop
from setrade.training.data import move

pytestmark = pytest.mark.usefixtures("one_thread")
NO_GPU = not torch.cuda.is_available()
real = pytest.mark.skipif(NO_GPU, reason="no CUDA device")
WALKS = np.random.default_rng(0).normal(size=(5, 40)).cumsum(1)


@pytest.fixture
def there():
    """The stand-in, with float64, as on CUDA."""
    with standin() as device:
        yield device


@pytest.fixture
def apple(monkeypatch):
    """The stand-in without float64, as on an Apple GPU; a blanket that CUDA passes as well."""
    monkeypatch.setattr(buffers, "NARROW", (DEVICE.type,))
    with standin(float64=False) as device:
        yield device


def windows(n: int = 96, channels: int = 4, bars: int = 12) -> torch.Tensor:
    return torch.randn(n, channels, bars, generator=torch.Generator().manual_seed(1))


def trader(**options) -> SETrader:
    training.seed_everything(0)
    return SETrader(4, hidden=8, **options)


def small(channels: int = 3) -> EfficientNet:
    training.seed_everything(0)
    return EfficientNet("micro", 3, channels, drop_connect=0.0).eval()


# The stand-in itself: what was wrong on a GPU is wrong here


def test_the_stand_in_refuses_what_a_gpu_refuses(there):
    x = torch.randn(3, 4).to(there)
    assert isinstance(x, OnDevice)
    for wrong in (x.numpy, lambda: np.asarray(x), lambda: x.double().numpy()):
        with pytest.raises(TypeError, match=r"numpy\. Use Tensor\.cpu"):
            wrong()
    with pytest.raises(RuntimeError, match="same device"):
        _ = x + torch.ones(3, 4)
    with pytest.raises(RuntimeError, match="same device"):
        nn.Linear(4, 2)(x)
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, generator=torch.Generator(), device=there)
    assert (x + 1.0).sum().item() == pytest.approx(float((x.cpu() + 1).sum()))
    assert type(x.cpu()) is torch.Tensor


def test_the_stand_in_for_an_apple_gpu_has_no_float64(apple):
    x = torch.randn(3).to(apple)
    with pytest.raises(TypeError, match="float64"):
        x.double().cpu()
    assert x.cpu().double().dtype == torch.float64


# Training


def test_fit_on_a_device_gives_what_the_cpu_gives(there, tmp_path):
    x = windows()
    data = training.TensorSet(x, x.mean((1, 2)).sign().long() + 1)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0]))
    plan = training.Plan(num_epochs=3, lr=1e-2, batch_size=32)
    homely, net = trader(), trader()
    training.fit(homely, data, data, plan=plan, loss=loss, device=torch.device("cpu"))
    history = training.fit(net, data, data, plan=plan, loss=loss, device=there)
    assert (history.device, history.precision) == (str(there), "float32")
    assert all(p.device == there for p in net.parameters())
    out = training.predict(net, data)
    assert type(out) is torch.Tensor
    torch.testing.assert_close(out, training.predict(homely, data))
    cut, path = trader(), tmp_path / "run.pt"
    for epochs in (1, 3):  # resumed from a file, which holds tensors of the CPU
        training.fit(cut, data, data, plan=replace(plan, num_epochs=epochs), loss=loss,
                     device=there, checkpoint=path)  # fmt: skip
    torch.testing.assert_close(training.predict(cut, data), out)


def multi_task():
    net = multitask.MultiTaskNet("micro", multitask.TASKS)
    y = {"direction": np.arange(8) % 3, "magnitude": np.zeros(8), "volatility": np.ones(8)}
    data = multitask.TaskSet(training.TensorSet(torch.rand(8, 3, 32, 32), torch.zeros(8)), y)
    return net, data, multitask.MultiTaskLoss(net.tasks, net.log_variance)


def pairs():
    data = training.TensorSet(torch.rand(8, 3, 32, 32), torch.zeros(8))
    both = np.array([[0, 1], [2, 3], [4, 5]]), np.array([1, 0, 1])
    return siamese.Siamese("micro"), siamese.PairSet(data, *both), siamese.ContrastiveLoss()


def charts():
    drawn = candles.windows(candles.synthetic(60, seed=0).candles, 32)
    data = pictures.PictureSet(drawn, np.arange(len(drawn)) % 3, pictures.encoder("candles", 32))
    return small(), data, nn.functional.cross_entropy


def regimes_of():
    data = [(windows(16), torch.arange(32).reshape(16, 2) % 3)]
    return TemporalRegimes(4, 3), data, regime_loss


@pytest.mark.parametrize("make", [multi_task, pairs, charts, regimes_of])
def test_every_kind_of_net_trains_on_a_device(there, make):
    training.seed_everything(0)
    net, data, loss = make()
    history = training.fit(net, data, loss=loss, device=there, num_epochs=1, batch_size=8)
    assert np.isfinite(history.train_loss).all()


@pytest.mark.parametrize("squeeze", [*se.SQUEEZES, None])
@pytest.mark.parametrize("encoder", ["conv", "lstm"])
def test_traders_answer_on_a_device(apple, squeeze, encoder):
    net, x = trader(squeeze=squeeze, encoder=encoder).eval(), windows(6)
    wanted = net(x)
    there = net.to(apple)
    torch.testing.assert_close(there(x.to(apple)).cpu(), wanted)
    if squeeze is not None:
        assert there.gates(x.to(apple)).device == apple


@pytest.mark.parametrize(
    ("block", "bars"),
    [(lambda: se.MultiScaleSE(4, (3, 6, 12)), 12), (lambda: se.ConcurrentSE(4), 12),
     (lambda: se.CBAM(4), 12), (lambda: se.SEBlock(4, squeeze="attention"), 12)],
)  # fmt: skip
def test_blocks_on_a_device(apple, block, bars):
    training.seed_everything(0)
    made, x = block().eval(), windows(6, bars=bars)
    wanted = made(x).detach()
    torch.testing.assert_close(made.to(apple)(x.to(apple)).detach().cpu(), wanted)


def test_kept_gates_on_a_device(apple):
    net, x = trader().eval(), windows(8)
    wanted = net(x[:1]).detach()
    cached = inference.CachedTrader(net, every=4).to(apple)
    with torch.no_grad():
        first = cached(x[:1].to(apple), 0)
        kept = cached.cached.kept
        cached(x[1:2].to(apple), 1)
    assert first.device == apple
    assert cached.cached.kept is kept
    torch.testing.assert_close(first.cpu(), wanted)


def test_books_and_backbones_on_a_device(apple):
    training.seed_everything(0)
    net, x = BookNet(rows=8).eval(), torch.rand(3, 2, 8, 16)
    wanted = net(x).detach()
    torch.testing.assert_close(net.to(apple)(x.to(apple)).detach().cpu(), wanted)
    backbone, drawn = backbones.untrained(depth=2), torch.rand(3, 3, 64, 64)
    homely = extract(backbone, drawn)
    found = extract(backbone.to(apple), drawn)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, homely, atol=1e-5)


def test_a_backbone_does_not_stall_a_device(there, monkeypatch):
    """`float()` of a device's tensor waits for all that it was told before."""
    net = backbones.untrained(depth=2).eval()
    with pytest.raises(ArgumentError, match=r"values in \[0, 1\]"):
        net(torch.full((1, 3, 64, 64), 2.0))
    net.to(there)
    monkeypatch.setattr("torch.aminmax", lambda x: pytest.fail("looked at the values"))
    net(torch.rand(1, 3, 64, 64).to(there))


# Signals, attention, inference


def test_momentum_on_a_device(apple):
    training.seed_everything(0)
    net = SEMomentum(4)
    nn.init.normal_(net.weight)
    times = pd.date_range("2024-01-01", periods=6, freq="1h", tz="UTC")
    wanted = net.signals(windows(6), times, list("abcd"))
    found = net.to(apple).signals(windows(6).to(apple), times, list("abcd"))
    assert [s.position for s in found] == [s.position for s in wanted]


def test_importance_on_a_device(apple):
    net, x, y = trader().eval(), windows(32), torch.arange(32) % 3
    wanted = attention.permutation_importance(net, x, y, seed=0)
    ablated = attention.ablation_importance(net, x, y)
    net.to(apple)
    there = x.to(apple), y.to(apple)
    found = attention.permutation_importance(net, *there, seed=0)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-6)
    np.testing.assert_allclose(attention.ablation_importance(net, *there), ablated, atol=1e-6)


def test_maps_on_a_device(apple):
    net, x, y = small(), torch.rand(3, 3, 32, 32), torch.tensor([0, 1, 2])
    layer = list(net.children())[1]
    layer = layer[0] if isinstance(layer, nn.Sequential) else layer
    wanted = (
        attention.grad_cam(net, x, y, layer),
        attention.occlusion(net, x, y, window=16, stride=16),
    )
    net.to(apple)
    there = x.to(apple), y.to(apple)
    np.testing.assert_allclose(attention.grad_cam(net, *there, layer), wanted[0], atol=1e-5)
    found = attention.occlusion(net, *there, window=16, stride=16)
    np.testing.assert_allclose(found, wanted[1], atol=1e-5)


@pytest.mark.parametrize("runtime", ["eager", "channels_last", "folded", "onnx"])
@pytest.mark.parametrize("name", ["se_trader", "efficientnet_micro"])
def test_predictors_answer_on_a_device(there, monkeypatch, name, runtime):
    homely = Predictor.load(name, "cpu")
    x, times = homely.inputs(candles.sample().iloc[-400:], 3)
    wanted = homely.predict(x, times)
    monkeypatch.setattr(predictor, "pick_device", lambda name: DEVICE)
    made = Predictor.load(name, runtime=runtime)
    assert all(p.device == there for p in made.net.parameters())  # also where ONNX Runtime works
    found = made.predict(x, times)
    for a, b in zip(found, wanted, strict=True):
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-5)
        assert (a.attention is None) == (b.attention is None)


def test_the_net_of_a_caller_stays_where_it_is(there, monkeypatch):
    net, spec = inference.load("efficientnet_micro")
    strides = next(p for p in net.parameters() if p.ndim == 4).stride()
    monkeypatch.setattr(predictor, "pick_device", lambda name: DEVICE)
    for runtime in ("eager", "channels_last", "onnx"):
        Predictor(net, spec, runtime=runtime)
        assert {p.device.type for p in net.parameters()} == {"cpu"}
        assert next(p for p in net.parameters() if p.ndim == 4).stride() == strides
    net.to(there)
    inference.engine(net, torch.rand(1, 3, 64, 64).to(there), "onnx")
    assert {p.device for p in net.parameters()} == {there}


# Pictures

ENCODERS = {
    "gasf": gasf,
    "gadf": gadf,
    "means": lambda x: gasf(x, 16),
    "transition": transition_field,
    "distances": recurrence,
    "states": lambda x: recurrence(x, 3, 2, eps=0.5),
    "quantile": lambda x: recurrence(x, quantile=0.2),
    "inverse": lambda x: gasf_inverse(gasf(x, rescale="unit")),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", ["there", "apple"])
def test_encoders_on_a_device(request, name, kind):
    device = request.getfixturevalue(kind)
    found = ENCODERS[name](torch.as_tensor(WALKS, dtype=torch.float32).to(device))
    assert found.device == device
    wanted = ENCODERS[name](WALKS.astype(np.float32))
    if name in ("states", "quantile"):  # a distance on the threshold may fall on either side
        assert np.mean(found.cpu().numpy() != wanted) < 0.01
    else:
        np.testing.assert_allclose(found.cpu().numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_inputs_on_a_device(apple, dtype):
    x = torch.randint(0, 2, (2, 3, 8, 8)).to(dtype)
    found = pictures.to_input(x.to(apple))
    assert found.device == apple
    torch.testing.assert_close(found.cpu(), pictures.to_input(x))
    out = torch.empty(2, 3, 8, 8, device=apple)
    assert pictures.to_input(x.to(apple), out=out) is out


def test_recurrence_makes_as_many_pictures_at_a_time_as_memory_holds(monkeypatch):
    x, seen = torch.as_tensor(WALKS), []
    whole, made = recurrence(x, quantile=0.1), images._recurrence_tensor
    monkeypatch.setattr(images, "AT_ONCE", 2 * 40 * 40)
    monkeypatch.setattr(
        images, "_recurrence_tensor", lambda x, *rest: seen.append(len(x)) or made(x, *rest)
    )
    assert torch.equal(recurrence(x, quantile=0.1), whole)
    assert seen == [2, 2, 1]
    out = torch.empty(5, 40, 40)
    assert recurrence(x, quantile=0.1, out=out) is out
    assert torch.equal(out, whole)


def test_recurrence_under_deterministic_algorithms(monkeypatch):
    x, wanted = torch.as_tensor(WALKS), recurrence(torch.as_tensor(WALKS), quantile=0.3)
    monkeypatch.setattr("torch.are_deterministic_algorithms_enabled", lambda: True)
    monkeypatch.setattr(torch.Tensor, "kthvalue", lambda *a: pytest.fail("refused on CUDA"))
    assert torch.equal(recurrence(x, quantile=0.3), wanted)


def test_a_kernel_that_cannot_be_compiled_is_done_without(monkeypatch):
    monkeypatch.setattr(gramian._Broken, "told", False)
    monkeypatch.setattr(gramian, "_fused", lambda: lambda *a: 1 / 0)
    with pytest.warns(UserWarning, match="plain torch, slower: division"):
        assert not gramian._filled(None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not gramian._filled(None)  # told once, and not tried again


@pytest.mark.parametrize(
    ("triton", "compiler", "card", "fuses"),
    [(True, "clang", (7, 0), True), (True, "cc", (9, 0), True), (True, None, (9, 0), False),
     (False, "gcc", (9, 0), False), (True, "gcc", (6, 1), False)],
)  # fmt: skip
def test_when_pictures_are_drawn_by_a_compiled_kernel(monkeypatch, triton, compiler, card, fuses):
    gramian._can_fuse.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(gramian.importlib.util, "find_spec", lambda n: triton or None)
    monkeypatch.setattr(gramian.shutil, "which", lambda n: n == compiler)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: card)
    assert gramian._can_fuse("cuda") == fuses
    gramian._can_fuse.cache_clear()


# Which device


@pytest.fixture
def two_cards(monkeypatch):
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)


def test_a_card_that_is_not_there_is_refused(two_cards):
    assert training.device() == torch.device("cuda")
    assert training.device("cuda:1") == torch.device("cuda:1")
    for name in ("cuda:9", "cuda:2", "cuda:-1", "cuda:", "cuda:x", "cuda:1:1"):
        with pytest.raises(ArgumentError, match="2 of this machine: cuda:0, cuda:1"):
            training.device(name)
    for name in ("gpu", "", 3, ":0"):
        with pytest.raises(ArgumentError, match="name"):
            training.device(name)  # type: ignore[arg-type]


def test_the_environment_keeps_work_off_a_card(two_cards, monkeypatch):
    for name, wanted in (("cpu", "cpu"), ("cuda:1", "cuda:1"), ("", "cuda")):
        monkeypatch.setenv(devices.VARIABLE, name)
        assert training.device() == torch.device(wanted)
        assert training.device("cpu") == torch.device("cpu")
    monkeypatch.setenv(devices.VARIABLE, "cuda:7")
    with pytest.raises(ArgumentError, match="SETRADE_DEVICE"):
        training.device()


def test_an_apple_gpu_is_not_taken_unasked(monkeypatch):
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert training.device().type == "cpu"
    assert training.device("mps").type == "mps"
    monkeypatch.setenv(devices.VARIABLE, "mps")
    assert training.device().type == "mps"


def test_a_result_names_the_card(two_cards, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"Card {device.index or 0}")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 13010, raising=False)
    assert training.describe() == "Card 0, driver for CUDA 13.1"
    assert training.describe("cuda:1").startswith("Card 1")
    assert training.describe("cpu") == "cpu"


def test_only_pinned_memory_is_copied_behind_our_back(monkeypatch):
    """From a kept buffer, elsewhere than on CUDA, the next batch may overwrite what is copied."""
    seen = []
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, device, **how: seen.append(how["non_blocking"]) or self
    )
    x = torch.zeros(2)
    for kind in ("cuda", "mps", "cpu"):
        move((x, {"y": x}), torch.device(kind))
    assert seen == [False] * 6
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: True)
    for kind in ("cuda", "mps"):
        move(x, torch.device(kind))
    assert seen[6:] == [True, False]


def test_a_checkpoint_asks_only_the_card_in_use(monkeypatch):
    told = {}
    monkeypatch.setattr("torch.cuda.get_rng_state", lambda device: torch.zeros(1))
    monkeypatch.setattr("torch.cuda.set_rng_state", lambda s, device: told.update({device: s}))
    for name in ("get_rng_state_all", "set_rng_state_all"):
        monkeypatch.setattr(torch.cuda, name, lambda *a: pytest.fail("asked every card"))
    shuffle, card = torch.Generator(), torch.device("cuda:1")
    state = loop.random_state(shuffle, card)
    assert len(state["cuda"]) == 1
    old = state | {"cuda": [torch.ones(1), torch.ones(1) * 2]}  # as written on two cards
    loop.set_random_state(old, shuffle, card)
    assert list(told) == [card]
    assert loop.random_state(shuffle, torch.device("cpu"))["cuda"] == []
    loop.set_random_state(old, shuffle, torch.device("cpu"))


def test_algorithms_that_repeat_are_asked_for_and_given_back(monkeypatch):
    monkeypatch.delenv(devices.WORKSPACE, raising=False)
    training.seed_everything(0)
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        training.seed_everything(0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ[devices.WORKSPACE] == ":4096:8"
        assert not torch.backends.cudnn.allow_tf32
        training.fit(trader(), [(windows(8), torch.arange(8) % 3)], num_epochs=1, device="cpu")
    finally:
        training.seed_everything(0, deterministic=False)
        os.environ.pop(devices.WORKSPACE, None)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.allow_tf32
    with pytest.raises(ArgumentError, match="deterministic"):
        training.seed_everything(0, deterministic="yes")  # type: ignore[arg-type]


# Studies


def test_one_table_holds_one_kind_of_device(two_cards):
    """A CPU goes unnamed: stores that were begun on one go on."""
    bare = {k: v for k, v in asdict(Setting()).items() if k not in ("device", "amp")}
    assert Setting(device="cpu").header() == Setting(device="cpu", amp=False).header() == bare
    assert Setting().header() == bare | {"device": "cuda", "amp": True}
    assert Setting(device="cuda:1", amp=False).header() == bare | {"device": "cuda", "amp": False}
    assert Setting().here().device == "cuda"


def test_one_card_is_not_shared_by_a_process_a_core(two_cards, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert command.at_a_time() == command.ON_A_GPU
    monkeypatch.setenv(devices.VARIABLE, "cpu")
    assert command.at_a_time() == 64


# Timing


def test_the_device_that_computes_is_waited_for(monkeypatch):
    asked = []
    monkeypatch.setattr("torch.cuda.synchronize", lambda device: asked.append(str(device)))
    monkeypatch.setattr("torch.mps.synchronize", lambda: asked.append("mps"))
    for name in ("cuda:1", "mps", "cpu"):
        timing.measure(lambda: None, seconds=1e-9, min_calls=1, device=name)
    assert set(asked) == {"cuda:1", "mps"}


def test_calls_are_timed_when_they_are_steady(monkeypatch):
    now, taken = [0.0], iter([9.0, 1.0, 1.0, 7.0, 7.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    found = timing.measure(
        lambda: now.__setitem__(0, now[0] + next(taken)), seconds=1e-9, min_calls=2
    )
    assert found.p50 == pytest.approx(7_000)


# Engines that are not there

WITHOUT = """
import sys
sys.modules["onnxruntime"] = None
from setrade import candles, inference
from setrade.inference import Predictor
bars = candles.sample()
trader = Predictor.load("se_trader", "cpu")
assert len(trader.predict(*trader.inputs(bars, 2))) == 2
Predictor.load("se_trader", "cpu", runtime="folded")
net, spec = inference.load("efficientnet_micro")
model, x = b"x", trader.inputs(bars, 2)[0]
for what in (lambda: Predictor.load("se_trader", "cpu", runtime="onnx"),
             lambda: Predictor.load("se_trader", "cpu", runtime="tensorrt"),
             lambda: inference.quantize(model, x), lambda: inference.OnnxNet(model)):
    try:
        what()
    except inference.MissingRuntimeError as error:
        print(error.name, error.value, "[cpu]" in str(error), "[gpu]" in str(error))
import torch
assert inference.plain(torch.device("cpu")) == "eager"
from setrade.live.models import fallback_chain
from setrade.live.config import Config
made, most, _ = fallback_chain(Config.read(["--interval", "15min"]), lambda *a: None)
print("answer by", made(bars.iloc[-most:]).model)
"""


def test_nets_run_without_onnx_runtime(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, encoding="utf-8",
                          cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said == [
        "runtime onnx True True", "runtime tensorrt True True", "runtime INT8 True True",
        "runtime onnx True True", "answer by ensemble",
    ]  # fmt: skip


def test_onnx_runtime_is_imported_when_it_is_asked_for(tmp_path):
    code = "import sys, setrade.inference; print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8",
                          cwd=tmp_path, check=True)  # fmt: skip
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def graph() -> bytes:
    return inference.to_onnx(small(), torch.rand(1, 3, 32, 32))


@pytest.mark.skipif(not NO_GPU, reason="falls back nowhere")
def test_a_fall_back_is_told(graph):
    with pytest.warns(RuntimeWarning, match=r"runs on the CPU: pip install 'setrade\[gpu\]' alone"):
        net = inference.OnnxNet(graph, gpu=True)
    assert (net.gpu, net.provider) == (False, "cpu")
    for name in ("cuda", "tensorrt"):
        with pytest.raises(MissingRuntimeError, match=r"setrade\[gpu\]") as caught:
            inference.OnnxNet(graph, provider=name)
        assert (caught.value.name, caught.value.value) == ("provider", name)
    assert inference.OnnxNet(graph, provider="cpu").provider == "cpu"
    with pytest.raises(ArgumentError, match="provider"):
        inference.OnnxNet(graph, provider="rocm")


def test_a_provider_that_its_wheel_names_may_not_be_in_use(graph, monkeypatch):
    """The wheel for GPUs names TensorRT and CUDA whatever is installed."""
    names = [*runtimes.PROVIDERS.values()]
    package = runtimes.onnxruntime()
    monkeypatch.setattr(package, "get_available_providers", lambda: names)
    assert inference.providers(gpu=True) == names[1:]
    assert inference.providers() == names[2:]
    asked, opened = [], runtimes.open_session(graph, 1)
    monkeypatch.setattr(runtimes, "open_session", lambda m, t, names: asked.append(names) or opened)
    with pytest.raises(MissingRuntimeError, match="which this machine fell back to"):
        inference.OnnxNet(graph, provider="tensorrt", batches=(1, 64), card=1)
    (trt, options), (cuda, place), _ = asked[0]
    assert (trt, cuda, place) == (names[0], names[1], {"device_id": "1"})
    assert options["trt_engine_cache_enable"] == "1"
    assert options["trt_profile_min_shapes"] == "images:1x3x32x32"
    assert options["trt_profile_max_shapes"] == "images:64x3x32x32"


def test_an_engine_is_kept_for_its_weights(graph, monkeypatch, tmp_path):
    """TensorRT's own key is of the graph's names: it would load another net's engine."""
    monkeypatch.setenv("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", str(tmp_path))
    other = small()
    nn.init.zeros_(other.classifier.weight)  # type: ignore[union-attr, arg-type]
    again = inference.to_onnx(other, torch.rand(1, 3, 32, 32))
    folders = [runtimes.tensorrt_options(m, 1, 8)["trt_engine_cache_path"] for m in (graph, again)]
    assert folders[0] != folders[1]
    assert all(folder.startswith(str(tmp_path)) for folder in folders)


@pytest.mark.parametrize("name", ["se_trader", "efficientnet_micro"])
def test_a_batch_is_read_where_it_lies(name):
    net, spec = inference.load(name)
    call = inference.OnnxNet(inference.to_onnx(net, torch.rand(1, *spec.input_shape)), threads=1)
    x = torch.rand(5, *spec.input_shape)
    from setrade.inference.runtimes import bound

    for mine, theirs in zip(bound(call.session, x), call(x), strict=True):
        torch.testing.assert_close(mine, theirs)


# The status page


class Cuda:
    """Stands for ``torch.cuda`` on a slice of a card, where NVML refuses with its own error."""

    def __init__(self, *, memory: bool) -> None:
        self.memory = memory

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def mem_get_info(self) -> tuple[int, int]:
        if not self.memory:
            raise MemoryError("driver")
        return 3 * 2**30, 4 * 2**30

    def utilization(self) -> int:
        raise type("NVMLError_NotSupported", (Exception,), {})("Not Supported")


@pytest.mark.parametrize("memory", [True, False])
def test_a_slice_of_a_card_costs_no_page(monkeypatch, memory):
    told = monitor.gpu(SimpleNamespace(cuda=Cuda(memory=memory)))
    assert told == ({"memory_used": 2.0**30, "memory_total": 4.0 * 2**30} if memory else {})
    found = monitor.gpu
    monkeypatch.setattr(monitor, "gpu", lambda: found(SimpleNamespace(cuda=Cuda(memory=memory))))
    port = Monitor().serve(0)
    for path in ("", "panels", "metrics"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("engine", ["channels_last", "bf16", "onnx"])
def test_the_race_of_engines_runs(monkeypatch, engine):
    """On a CPU, small: a race that only a GPU runs would be wrong for years."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    import bench_gpu
    from racing import Race

    for name, value in (("PICTURES", 4), ("SIDES", {"b0": 32})):
        monkeypatch.setattr(bench_gpu, name, value)
    monkeypatch.setattr(bench_gpu, "STEADY", bench_gpu.STEADY | {"seconds": 1e-9, "min_calls": 2})
    quick = Race.__call__.__kwdefaults__ | {"seconds": 1e-9}  # type: ignore[operator]
    monkeypatch.setattr(Race.__call__, "__kwdefaults__", quick)
    run = Race("engines")
    bench_gpu.compare(run, "b0", engine, 2, "cpu")
    assert {"eager", "p99_ms", "images_a_second", "decisions_alike"} <= run.row["ratios"].keys()


# On a real GPU


@real
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_on_a_gpu(name):
    found = ENCODERS[name](torch.as_tensor(WALKS, device="cuda"))
    assert found.is_cuda
    wanted = ENCODERS[name](WALKS)
    if name in ("states", "quantile"):
        assert np.mean(found.cpu().numpy() != wanted) < 0.01
    else:
        np.testing.assert_allclose(found.cpu().numpy(), wanted, atol=1e-3)


@real
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_inputs_on_a_gpu(dtype):
    x = torch.randint(0, 2, (2, 3, 8, 8)).to(dtype)
    torch.testing.assert_close(pictures.to_input(x.cuda()).cpu(), pictures.to_input(x))


@real
def test_the_card_is_taken_unasked(monkeypatch):
    monkeypatch.delenv(devices.VARIABLE, raising=False)  # the other tests keep to the CPU
    history = training.fit(trader(), [(windows(8), torch.arange(8) % 3)], num_epochs=1)
    assert history.device == "cuda"


@real
def test_onnx_runtime_on_a_gpu():
    pytest.importorskip("onnxruntime")
    net, x = small(), torch.rand(5, 3, 32, 32)
    if runtimes.PROVIDERS["cuda"] not in inference.providers(gpu=True):
        pytest.skip("this onnxruntime has no CUDA")
    call = inference.OnnxNet(inference.to_onnx(net, x), provider="cuda", batches=(1, 2))
    assert call.session.get_providers()[0] == runtimes.PROVIDERS["cuda"]
    for given in (x, x.cuda()):  # copied by ONNX Runtime, and read where it lies
        (logits,) = call(given)
        assert logits.device.type == given.device.type
        torch.testing.assert_close(logits.cpu(), net(x).detach(), atol=2e-2, rtol=2e-2)


@real
def test_tensorrt_on_a_gpu(tmp_path, monkeypatch):
    pytest.importorskip("tensorrt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    net, x = small(), torch.rand(5, 3, 32, 32)
    call = inference.OnnxNet(inference.to_onnx(net, x), provider="tensorrt", batches=(1, 8))
    assert call.session.get_providers()[0] == runtimes.PROVIDERS["tensorrt"]
    torch.testing.assert_close(call(x)[0], net(x).detach(), atol=2e-2, rtol=2e-2)
    assert list(tmp_path.rglob("*.engine"))


@real
@pytest.mark.parametrize("runtime", ["eager", "channels_last", "folded", "bf16"])
@pytest.mark.parametrize("name", ["se_trader", "efficientnet_micro"])
def test_predictors_on_a_gpu(name, runtime):
    homely = Predictor.load(name, "cpu")
    x, _ = homely.inputs(candles.sample().iloc[-400:], 20)
    made = Predictor.load(name, "cuda", runtime=runtime)
    np.testing.assert_allclose(made.answers(x)[0], homely.answers(x)[0], atol=2e-2)


@real
def test_live_on_a_gpu(tmp_path):
    words = ["--minutes", "3", "--speed", "600", "--device", "cuda", "--model", "efficientnet",
             "--interval", "15min", "--journal", str(tmp_path / "run.sqlite")]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "setrade.live", *words], cwd=tmp_path,
                          capture_output=True, encoding="utf-8", timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "-> se_trader" not in done.stdout  # the GPU's net answered


@real
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_on_a_gpu_is_gone_on_with(tmp_path, deterministic):
    x = windows()
    data = training.TensorSet(x, x.mean((1, 2)).sign().long() + 1)
    plan = training.Plan(num_epochs=4, lr=1e-2, batch_size=32)
    try:
        nets, history = [], training.History()
        for stops in ((4,), (2, 4)):
            training.seed_everything(0, deterministic=deterministic)
            nets.append(SETrader(4, hidden=8, dropout=0.2))
            for epochs in stops:
                history = training.fit(
                    nets[-1], data, data, plan=replace(plan, num_epochs=epochs), device="cuda",
                    checkpoint=tmp_path / f"{len(stops)}.pt",
                )  # fmt: skip
        assert history.precision in ("bfloat16", "float16")
        outs = [training.predict(net, data) for net in nets]
        apart = 0.0 if deterministic else 0.1
        torch.testing.assert_close(outs[1], outs[0], rtol=apart, atol=apart)
    finally:
        training.seed_everything(0, deterministic=False)
    training.fit(
        SETrader(4, hidden=8, dropout=0.2),
        data,
        data,
        plan=replace(plan, num_epochs=5),
        device="cpu",
        checkpoint=tmp_path / "1.pt",
    )  # on a machine without a GPU


@real
def test_kept_gates_on_a_gpu():
    net, x = trader().eval(), windows(2)
    cached = inference.CachedTrader(net, every=4).cuda()
    with torch.no_grad():
        first = cached(x[:1].cuda(), 0)
    torch.testing.assert_close(first.cpu(), net.cpu()(x[:1]).detach(), atol=1e-4, rtol=1e-4)


@real
def test_momentum_and_maps_on_a_gpu():
    net = SEMomentum(4).cuda()
    times = pd.date_range("2024-01-01", periods=6, freq="1h", tz="UTC")
    assert len(net.signals(windows(6).cuda(), times, list("abcd"))) == 6
    drawn, y = torch.rand(3, 3, 32, 32), torch.tensor([0, 1, 2])
    seen = attention.occlusion(small().cuda(), drawn.cuda(), y.cuda(), window=16, stride=16)
    assert seen.shape == (3, 32, 32)
