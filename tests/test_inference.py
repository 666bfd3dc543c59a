"""Checkpoints that contradict themselves are refused; every engine decides as the net does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from laws import assert_causal
from safetensors.torch import load_file, save_file
from torch import nn

from setrade import candles, inference, labels, pictures, results
from setrade.efficientnet import EfficientNet, Variant
from setrade.errors import ArgumentError
from setrade.inference import CheckpointError, Predictor, Spec
from setrade.inference.checkpoint import digest
from setrade.models import SETrader
from setrade.training import seed_everything

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import checkpoints
import latency

NAMES = ("se_trader", "efficientnet_micro", "efficientnet_patterns")
TINY = Variant(0.25, 0.1, 32, 0.0)


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return candles.sample()


def moved(net: nn.Module) -> nn.Module:
    """Give the batch norms statistics and weights that are not 0 and 1."""
    rng = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            n = module.num_features
            module.running_mean = torch.randn(n, generator=rng) * 0.1
            module.running_var = torch.rand(n, generator=rng) + 0.5
            module.weight.data = torch.rand(n, generator=rng) + 0.5
            module.bias.data = torch.randn(n, generator=rng) * 0.1
    return net.eval()


@pytest.fixture(scope="module")
def tiny() -> EfficientNet:
    seed_everything(0)
    return moved(EfficientNet(TINY, 3))  # type: ignore[return-value]


def rewrite(source, target, **changes):
    """Write a checkpoint with fields of its spec changed, and a hash that fits again."""
    state = load_file(source)
    from safetensors import safe_open

    with safe_open(source, "pt") as file:
        spec = json.loads(file.metadata()["spec"])
    for name, value in changes.items():
        spec[name] = spec[name] | value if isinstance(spec[name], dict) else value
    text = json.dumps(spec, sort_keys=True)
    save_file(state, target, metadata={"spec": text, "sha256": digest(text, state)})
    return target


# Checkpoints


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_of_the_package_predicts_from_bars(bars, name):
    predictor = Predictor.load(name, "cpu")
    images, times = predictor.inputs(bars, 3)
    signals = predictor.predict(images, times)
    assert [s.time for s in signals] == list(bars.index[-3:])
    for s in signals:
        assert s.probabilities is not None
        assert sum(s.probabilities) == pytest.approx(1)
        assert s.position == pytest.approx(s.probabilities[2] - s.probabilities[0])
        assert s.source == "net"
        assert (s.attention is None) == (name != "se_trader")


def test_the_attention_of_a_signal_is_the_gate_of_that_channel(bars):
    predictor = Predictor.load("se_trader", "cpu")
    images, _ = predictor.inputs(bars, 2)
    x = inference.to_tensor(images, predictor.spec)
    gates = predictor.net.gates(x)[1].tolist()  # type: ignore[operator]
    attention = predictor.predict(images)[1].attention
    assert attention is not None
    assert list(attention) == predictor.spec.preprocessing["columns"]
    assert list(attention.values()) == pytest.approx(gates)


@pytest.mark.parametrize("name", checkpoints.LESSONS)
def test_a_card_says_what_the_net_reads_on_fresh_windows(name):
    """The rule and the patterns, on windows that neither training nor the card has seen."""
    card = json.loads((inference.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    if name == "efficientnet_patterns":
        windows, y = checkpoints.shapes(400, seed=9)
    else:
        windows = candles.windows(candles.synthetic(3_000, seed=9).candles, 48, 7)
        y = checkpoints.averages(windows)
    net, spec = inference.load(name)
    x = pictures.to_input(spec.encoder().draw(windows))
    with torch.inference_mode():
        said = torch.cat([net(part) for part in x.split(64)]).argmax(1).numpy()
    right = np.mean([(said[y == k] == k).mean() for k in range(3)])
    assert abs(right - card["test"]["balanced_accuracy"]) < 0.1
    assert right > card["test"]["most_frequent_class_balanced"] + 0.2
    assert card["sha256"] == results.sha256(inference.FOLDER / f"{name}.safetensors")


def test_the_checkpoints_are_small_and_have_cards():
    files = list(inference.FOLDER.glob("*.safetensors"))
    assert sorted(f.stem for f in files) == sorted(NAMES)
    assert sum(f.stat().st_size for f in inference.FOLDER.iterdir()) < 5_000_000
    for file in files:
        card = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        assert card["bytes"] == file.stat().st_size
        assert card["not_for"]
        assert len(card["test"]["interval"]) == 2
        assert "Not for" in file.with_suffix(".md").read_text(encoding="utf-8")


def test_what_is_saved_comes_back(tmp_path, tiny):
    fed = {"kind": "pictures", "encoder": "candles", "options": {}, "bars": 16}
    arguments = {"variant": "nano", "num_classes": 3}
    seed_everything(3)
    net = moved(EfficientNet("nano", 3))
    spec = Spec("EfficientNet", arguments, fed, (3, 32, 32), "1h")
    loaded, read = inference.load(inference.save(tmp_path / "a.safetensors", net, spec))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(x), net(x))
    assert read == spec
    with pytest.raises(CheckpointError):  # weights of another net
        inference.save(tmp_path / "b.safetensors", tiny, spec)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("se_trader", {"classes": ["buy", "hold", "sell"]}, "classes"),
        ("se_trader", {"classes": "sell"}, "classes"),
        ("se_trader", {"format": 2}, "format"),
        ("se_trader", {"architecture": "ResNet"}, "architecture"),
        ("se_trader", {"arguments": {"channels": 9}}, "input_shape"),
        ("se_trader", {"arguments": {"depth": 9}}, "arguments"),
        ("se_trader", {"arguments": {"hidden": 17}}, "encoder.first.weight"),
        ("se_trader", {"input_shape": [9, 48]}, "input_shape"),
        ("se_trader", {"input_shape": [10, 48, 1]}, "input_shape"),
        ("se_trader", {"preprocessing": {"columns": ["roc"] * 10}}, "columns"),
        ("se_trader", {"preprocessing": {"kind": "pictures"}}, "preprocessing"),
        ("efficientnet_micro", {"arguments": {"in_channels": 4}}, "input_shape"),
        ("efficientnet_micro", {"arguments": {"variant": "b0"}}, "stem.0.weight"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(tmp_path, name, changes, field):
    source = inference.FOLDER / f"{name}.safetensors"
    with pytest.raises(CheckpointError) as caught:
        Predictor.load(rewrite(source, tmp_path / "x.safetensors", **changes), "cpu")
    assert caught.value.name == field
    assert field in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, share):
    whole = (inference.FOLDER / "se_trader.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="whole safetensors file"):
        Predictor.load(path)


def test_one_flipped_bit_is_seen(tmp_path):
    data = bytearray((inference.FOLDER / "se_trader.safetensors").read_bytes())
    data[-100] ^= 1
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="altered"):
        Predictor.load(tmp_path / "x.safetensors")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="one of"):
        Predictor.load("nothing_of_that_name")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="metadata"):
        Predictor.load(tmp_path / "plain.safetensors")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    net, spec = inference.load("se_trader")
    next(net.parameters()).data[0] = float("nan")
    with pytest.raises(CheckpointError, match="finite weights"):
        inference.save(tmp_path / "x.safetensors", net, spec)


# What goes in

WINDOW, PICTURE = np.zeros((2, 10, 48)), np.zeros((2, 3, 64, 64), np.uint8)


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("se_trader", WINDOW[0]),
        ("se_trader", WINDOW[:0]),
        ("se_trader", WINDOW[:, :9]),
        ("se_trader", WINDOW[:, :, 1:]),
        ("se_trader", WINDOW.swapaxes(1, 2)),
        ("se_trader", WINDOW.astype(np.int64)),
        ("se_trader", np.where(np.arange(48) == 7, np.nan, WINDOW)),
        ("se_trader", WINDOW + np.inf),
        ("se_trader", WINDOW.tolist()),
        ("se_trader", None),
        ("efficientnet_micro", PICTURE[0]),
        ("efficientnet_micro", PICTURE[:, :1]),
        ("efficientnet_micro", PICTURE[..., 1:]),
        ("efficientnet_micro", PICTURE.astype(np.float64)),
        ("efficientnet_micro", PICTURE.astype(np.float32) - 1),
        ("efficientnet_micro", PICTURE.astype(np.float32) + 255),
        ("efficientnet_micro", PICTURE.astype(np.float32) * np.nan),
    ],
)
def test_images_that_do_not_fit_are_refused(name, images):
    with pytest.raises(ArgumentError, match="^images: got") as caught:
        Predictor.load(name, "cpu").predict(images)
    assert caught.value.name == "images"


def test_pictures_may_be_bytes_or_the_input_of_a_net(bars):
    predictor = Predictor.load("efficientnet_micro", "cpu")
    images, _ = predictor.inputs(bars, 2)
    assert images.dtype == np.uint8
    assert predictor.predict(images) == predictor.predict(pictures.to_input(images))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda p, b: p.predict(WINDOW, [b.index[0]]), "times"),
        (lambda p, b: p.inputs(b, 0), "n"),
        (lambda p, b: p.inputs(b, 10**6), "candles"),
        (lambda p, b: p.inputs(b.iloc[:100], None), "candles"),
        (lambda p, b: Predictor(p.net, p.spec, device="cpu", runtime="x"), "runtime"),
        (lambda p, b: Predictor(p.net, p.spec, device="cpu", batch_size=0), "batch_size"),
        (lambda p, b: Predictor(p.net, p.spec, device="abacus"), "name"),
        (lambda p, b: inference.fold_batch_norms(nn.BatchNorm2d(3)), "net"),
        (lambda p, b: inference.to_onnx(EfficientNet(TINY, 3), torch.zeros(1, 3, 32, 32)), "net"),
        (lambda p, b: inference.quantize(b"", np.zeros((1, 3))), "model"),
        (lambda p, b: inference.quantize(b"x", np.zeros((1, 3)), "all"), "recipe"),
        (lambda p, b: inference.quantize(b"x", np.full((1, 3), np.nan)), "calibration"),
        (lambda p, b: inference.OnnxNet(b"x", 0), "threads"),
        (lambda p, b: inference.agreement(np.zeros((2, 3)), np.zeros((1, 3))), "logits"),
        (lambda p, b: inference.require_agreement(np.eye(3), np.zeros((3, 3))), "reference"),
        (lambda p, b: inference.Latency.of(np.zeros(3)), "seconds"),
        (lambda p, b: inference.CachedTrader(SETrader(10, squeeze=None), 2), "net"),
    ],
)
def test_bad_arguments_are_named(bars, call, name):
    with pytest.raises(ArgumentError) as caught:
        call(Predictor.load("se_trader", "cpu"), bars)
    assert caught.value.name == name


def test_bars_of_another_interval_are_refused(bars):
    with pytest.raises(ValueError, match="interval"):
        Predictor.load("se_trader", "cpu").inputs(candles.resample(bars, "1h"), 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_does_not_know_the_future(bars, name):
    """Truncate or alter the future: no probability at or before t may move."""
    predictor = Predictor.load(name, "cpu", runtime="onnx")

    def decide(frame: pd.DataFrame) -> pd.Series:
        images, times = predictor.inputs(frame, None)
        position = predictor.answers(images)[0] @ [-1.0, 0.0, 1.0]
        return pd.Series(position, times).reindex(frame.index)

    # Exact but for the order in which a batch of another length is summed.
    assert_causal(decide, bars.iloc[:260], cuts=(180, 258), atol=1e-6)


def test_a_batch_decides_as_its_members_do(bars):
    predictor = Predictor.load("se_trader", "cpu", batch_size=4)
    images, _ = predictor.inputs(bars, 11)
    together = predictor.answers(images)[0]
    alone = np.concatenate([predictor.answers(images[i : i + 1])[0] for i in range(11)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


# Engines


def test_folding_by_hand_for_one_channel():
    """Weight 2, mean 1, variance 3 (eps 1), scale 4, shift 5: x -> 4 (2x - 1) / 2 + 5 = 4x + 3."""
    conv, norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=1.0)
    conv.weight.data.fill_(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0]), torch.tensor([3.0])
    norm.weight.data.fill_(4)
    norm.bias.data.fill_(5)
    folded = inference.fold_batch_norms(nn.Sequential(conv, norm).eval())[0]  # type: ignore[index]
    assert (folded.weight.item(), folded.bias.item()) == (4, 3)


@pytest.mark.parametrize("same_padding", [False, True])
def test_folding_against_torch_and_the_whole_net(same_padding):
    seed_everything(0)
    net = moved(EfficientNet(TINY, 3, same_padding=same_padding))
    folded, x = inference.fold_batch_norms(net), torch.rand(2, 3, 33, 33)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    torch.testing.assert_close(folded(x), net(x), atol=1e-4, rtol=1e-4)
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    peer = fuse_conv_bn_eval(net.stem[0], net.stem[1])  # type: ignore[index, arg-type]
    torch.testing.assert_close(folded.stem[0].weight, peer.weight)  # type: ignore[index, union-attr]
    torch.testing.assert_close(folded.stem[0].bias, peer.bias)  # type: ignore[index, union-attr]


def test_folding_with_the_variance_for_its_root_is_caught(tiny):
    """The wrong version divides by the variance."""
    conv, norm = tiny.stem[0], tiny.stem[1]
    wrong = conv.weight * (norm.weight / (norm.running_var + norm.eps))[:, None, None, None]
    right = inference.fold_batch_norms(tiny).stem[0].weight  # type: ignore[index, union-attr]
    assert not torch.allclose(wrong, right, rtol=1e-2)


@pytest.mark.parametrize("runtime", ["channels_last", "folded", "bf16", "onnx"])
@pytest.mark.parametrize("batch", [1, 5])
def test_engines_of_pictures_answer_as_the_net(tiny, runtime, batch):
    x = torch.rand(batch, 3, 32, 32)
    with torch.no_grad():
        expected = tiny(x)
    (logits,) = inference.engine(tiny, x[:1], runtime)(x)
    tolerance = 5e-2 * float(expected.abs().max()) if runtime == "bf16" else 1e-4
    torch.testing.assert_close(logits, expected, atol=tolerance, rtol=tolerance)


def test_a_large_batch_in_pieces_answers_in_order(tiny, monkeypatch):
    x = torch.rand(11, 3, 32, 32)
    net = inference.OnnxNet(inference.to_onnx(tiny, x[:1]), threads=2)
    (whole,) = net(x)
    for size in (1, 3, 10):  # pictures that a piece may hold
        monkeypatch.setattr("setrade.inference.runtimes.PIECE", size * x[0].nbytes)
        (pieces,) = net(x)
        torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole, tiny(x).detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"squeeze": "attention"}, {"encoder": "lstm"}, {"squeeze": None}]
)
def test_onnx_of_traders_with_any_batch(options):
    seed_everything(0)
    net = SETrader(4, **options).eval()
    call = inference.OnnxNet(inference.to_onnx(net, torch.rand(2, 4, 20)), threads=1)
    for batch in (1, 3, 7):
        x = torch.randn(batch, 4, 20)
        logits, *gates = call(x)
        torch.testing.assert_close(logits, net(x), atol=1e-5, rtol=1e-5)
        assert len(gates) == (options.get("squeeze", "mean") is not None)
        if gates:
            torch.testing.assert_close(gates[0], net.gates(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_decides_as_eager_on_real_windows(bars, name):
    """A thousand windows for the small net; the study does the same for the others."""
    eager, fast = Predictor.load(name, "cpu"), Predictor.load(name, "cpu", runtime="onnx")
    images, _ = eager.inputs(bars, 1_000 if name == "se_trader" else 64)
    mine, theirs = fast.answers(images)[0], eager.answers(images)[0]
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert (mine.argmax(1) == theirs.argmax(1)).all()


@pytest.mark.slow
def test_compiled_answers_as_the_net():
    seed_everything(0)
    net, x = SETrader(4, hidden=8).eval(), torch.randn(3, 4, 20)
    logits, gates = inference.engine(net, x, "compiled")(x)
    torch.testing.assert_close(logits, net(x).detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gates, net.gates(x).detach(), atol=1e-5, rtol=1e-5)


def test_providers_end_with_the_cpu():
    assert inference.providers() == ["CPUExecutionProvider"]
    assert inference.providers(gpu=True)[-1] == "CPUExecutionProvider"


def test_a_flag_that_is_text_is_refused():
    for call in (
        lambda: inference.providers("False"),
        lambda: inference.OnnxNet(b"x", 1, gpu="False"),
        lambda: inference.Recipe(per_channel="False"),
        lambda: inference.Recipe(reduce_range=0),
    ):
        with pytest.raises(ArgumentError, match="allowed: True or False"):
            call()


# Eight bits


@pytest.fixture(scope="module")
def graph(tiny) -> bytes:
    return inference.to_onnx(tiny, torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("recipe", ["per_tensor", "reduce_range", "dense_only", "dynamic"])
def test_eight_bits_are_near_and_smaller(graph, recipe):
    x = torch.rand(24, 3, 32, 32)
    exact = inference.OnnxNet(graph)(x)[0]
    small = inference.quantize(graph, x, recipe)
    assert b"QuantizeLinear" in small
    assert len(small) < len(graph) or recipe == "dense_only"
    error = (inference.OnnxNet(small)(x)[0] - exact).abs().max()
    assert 0 < error < 0.3 * float(np.ptp(exact.numpy()))


def test_sixteen_bits_of_activation_are_nearer_than_eight(graph):
    x = torch.rand(24, 3, 32, 32)
    exact = inference.OnnxNet(graph)(x)[0]
    off = {
        recipe: float((inference.OnnxNet(inference.quantize(graph, x, recipe))(x)[0] - exact).std())
        for recipe in ("per_channel", "activations_16")
    }
    assert off["activations_16"] < off["per_channel"]


def test_an_outlier_in_calibration_is_cut_by_a_percentile_only(graph):
    """One pixel in 147,456 stretches a range from least to greatest, and so every step of it."""
    x = torch.rand(48, 3, 32, 32)
    outlier = x.clone()
    outlier[0, 0, 0, 0] = 1_000
    exact, off = inference.OnnxNet(graph)(x)[0], {}
    for name in ("minmax", "percentile"):
        recipe = inference.Recipe(calibration=name, only="/stem.0/")
        said = inference.OnnxNet(inference.quantize(graph, outlier, recipe))(x)[0]
        off[name] = float((said - exact).std())
    assert off["percentile"] < off["minmax"] / 5


def test_the_gate_refuses_what_decides_otherwise():
    reference = np.eye(3)[np.arange(100) % 3]
    other = reference.copy()
    other[:3] = other[:3, ::-1]  # hold stays hold: two of a hundred differ
    assert inference.require_agreement(other, reference) == pytest.approx(0.98)
    with pytest.raises(inference.QuantizationRefused, match=r"98.0% .* 99.0%") as caught:
        inference.require_agreement(other, reference, 0.99)
    assert caught.value.agreement == pytest.approx(0.98)


def test_calibration_and_exclusion_leave_the_gates_alone(tiny):
    import onnx

    x = torch.rand(8, 3, 32, 32)
    graph = onnx.load_from_string(inference.quantize(inference.to_onnx(tiny, x), x, "no_se")).graph
    dense = [n for n in graph.node if n.op_type in ("Gemm", "MatMul") and "/se/" in n.name]
    made = {name for n in graph.node if n.op_type == "DequantizeLinear" for name in n.output}
    assert dense
    assert not any(made & set(n.input[1:2]) for n in dense)


# Time


def test_quantiles_of_a_hundred_known_calls():
    latency = inference.Latency.of(np.arange(1, 102) / 1e3, batch=2)
    assert (latency.p50, latency.p95, latency.p99) == pytest.approx((51, 96, 100))
    assert latency.throughput == pytest.approx(2 / 0.051)
    assert inference.measure(lambda: sum(range(100)), seconds=0.01, min_calls=3).calls >= 3


def test_kept_gates_are_used_and_recomputed():
    seed_everything(0)
    net = SETrader(4).eval()
    first, second = torch.randn(1, 4, 20), torch.randn(1, 4, 20)
    cached = inference.CachedTrader(net, every=2)
    assert torch.equal(cached(first, 0), net(first))
    assert not torch.equal(cached(second, 1), net(second))  # the first bar's gates
    assert torch.equal(cached(second, 2), net(second))


def test_classes_are_one_constant():
    assert inference.load("se_trader")[1].classes == labels.CLASSES == ("sell", "hold", "buy")


def test_a_table_of_engines_compares_each_with_eager_float32():
    took = {"1": {"p50": 4.0}}
    lines: dict[str, Any] = {
        "net/eager/kept": {"latency": took, "logits": [[0.0, 1.0], [1.0, 0.0]]},
        "net/onnx/kept": {"latency": {"1": {"p50": 2.0}}, "logits": [[0.0, 1.1], [1.0, 2.0]]},
        "net/eager/fresh": {"latency": took, "logits": []},
    }
    told = latency.compare(lines)
    assert told["net/eager/kept"]["agreement"] == 1.0
    assert told["net/onnx/kept"]["agreement"] == 0.5
    assert told["net/onnx/kept"]["largest_difference"] == pytest.approx(2.0)
    assert told["net/onnx/kept"]["times_faster"] == {"1": 2.0}
    assert "agreement" not in told["net/eager/fresh"]
    assert not any({"said", "logits"} & set(line) for line in told.values())
