"""What a checkpoint cannot mean is refused at load, and what an engine cannot take by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from test_inference import NAMES, PICTURE, WINDOW, rewrite

from setrade import candles, inference
from setrade.errors import ArgumentError
from setrade.inference import CheckpointError, Predictor, Spec
from setrade.inference.checkpoint import digest
from setrade.pictures import ENCODERS

TEN = [1.0] * 10
SCALED = inference.load("se_trader")[1].preprocessing["standardizer"]


def fed(**changes):
    """Change fields of the preprocessing."""
    return {"preprocessing": changes}


# Checkpoints, each signed again: their hash fits


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("efficientnet_micro", fed(encoder="nope"), "encoder"),
        ("efficientnet_micro", fed(encoder=["a"]), "encoder"),
        ("efficientnet_micro", fed(encoder=None), "encoder"),
        ("efficientnet_micro", fed(encoder="gasf"), "preprocessing"),  # 48 bars, 64 pixels
        ("efficientnet_micro", fed(encoder="gasf", bars=64), "input_shape"),  # one channel
        ("efficientnet_micro", fed(bars=-1), "bars"),
        ("efficientnet_micro", fed(bars=True), "bars"),
        ("efficientnet_micro", fed(bars=48.0), "bars"),
        ("efficientnet_micro", fed(bars=65), "preprocessing"),  # more than pixels
        ("efficientnet_micro", fed(bars=10**12), "bars"),
        ("efficientnet_micro", fed(options={"zz": 1}), "options"),
        ("efficientnet_micro", fed(options={"out": [1]}), "options"),
        ("efficientnet_micro", fed(options={"colours": "none"}), "preprocessing"),
        ("efficientnet_micro", fed(options=None), "options"),
        ("efficientnet_micro", {"input_shape": [3, 64, 32]}, "input_shape"),
        ("efficientnet_micro", {"input_shape": [3, 10**6, 10**6]}, "input_shape"),
        ("efficientnet_micro", {"input_shape": [3, 16, 16], **fed(bars=16)}, "input_shape"),
        ("se_trader", {"interval": "banana"}, "interval"),
        ("se_trader", {"interval": None}, "interval"),
        ("se_trader", {"interval": 15}, "interval"),
        ("se_trader", {"interval": "7min"}, "interval"),
        ("se_trader", {"format": True}, "format"),
        ("se_trader", {"format": 1.0}, "format"),
        ("se_trader", {"input_shape": [10, True]}, "input_shape"),
        ("se_trader", {"input_shape": [10, 48.0]}, "input_shape"),
        ("se_trader", {"input_shape": [10, 10**12]}, "input_shape"),
        ("se_trader", {"input_shape": [10, 100_001]}, "input_shape"),  # small enough to be tried
        ("se_trader", {"input_shape": None}, "input_shape"),
        ("se_trader", {"architecture": ["SETrader"]}, "architecture"),
        ("se_trader", fed(scale_free="yes"), "scale_free"),
        ("se_trader", fed(columns=None), "columns"),
        ("se_trader", fed(columns=[["roc"]] * 10), "columns"),
        ("se_trader", fed(standardizer=[1]), "standardizer"),
        ("se_trader", fed(standardizer=SCALED | {"scale": [0.0] * 10}), "standardizer"),
        ("se_trader", fed(standardizer=SCALED | {"scale": [1.0] * 3}), "standardizer"),
        ("se_trader", fed(standardizer=SCALED | {"mean": [float("nan")] * 10}), "standardizer"),
        ("se_trader", fed(standardizer=SCALED | {"mean": [1e300] * 10}), "standardizer"),
        ("se_trader", fed(standardizer=SCALED | {"rows": "many"}), "standardizer"),
        ("se_trader", fed(standardizer={"mean": TEN, "scale": TEN}), "standardizer"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused_at_load(tmp_path, name, changes, field):
    source = inference.FOLDER / f"{name}.safetensors"
    with pytest.raises(CheckpointError) as caught:
        inference.load(rewrite(source, tmp_path / "x.safetensors", **changes))
    assert caught.value.name == field
    assert caught.value.allowed


@pytest.mark.parametrize("first", ["profit", SCALED["columns"][1]])
def test_columns_that_cannot_be_are_refused_though_the_standardizer_has_them(tmp_path, first):
    names = [first, *SCALED["columns"][1:]]
    changes = fed(columns=names, standardizer=SCALED | {"columns": names})
    path = inference.FOLDER / "se_trader.safetensors"
    with pytest.raises(CheckpointError, match="^columns: .* out of"):
        inference.load(rewrite(path, tmp_path / "x.safetensors", **changes))


def test_a_net_with_another_number_of_outputs_is_refused(tmp_path):
    _, spec = inference.load("efficientnet_micro")
    four = replace(spec, arguments=spec.arguments | {"num_classes": 4})
    with pytest.raises(CheckpointError, match="^arguments: .* 3 outputs"):
        inference.save(tmp_path / "x.safetensors", four.build(), four)
    assert not list(tmp_path.iterdir())


def test_weights_in_a_type_that_numpy_lacks_are_refused(tmp_path):
    net, spec = inference.load("se_trader")
    state, text = {k: v.bfloat16() for k, v in net.state_dict().items()}, spec.to_json()
    path = tmp_path / "x.safetensors"
    save_file(state, path, metadata={"spec": text, "sha256": digest(text, state)})
    with pytest.raises(CheckpointError, match="float32"):
        inference.load(path)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 9_999, '{"format": 1, "zzz": 1}', "1" * 9_999])
def test_a_spec_that_is_none_is_refused(text):
    with pytest.raises(CheckpointError) as caught:
        Spec.from_json(text)
    assert caught.value.name == "spec"


@pytest.mark.parametrize("path", [None, 1, b"se_trader", "", "a\0b", "x" * 5_000, ["a"]])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(CheckpointError, match="^path: .* one of") as caught:
        inference.load(path)
    assert caught.value.name == "path"


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_every_encoder_feeds_a_net_with_what_it_draws(tmp_path, name):
    side, channels = 32, 3 if name == "candles" else 1
    arguments = {"variant": "nano", "num_classes": 3, "in_channels": channels}
    given = {"kind": "pictures", "encoder": name, "options": {}, "bars": side}
    spec = Spec("EfficientNet", arguments, given, (channels, side, side), "15min")
    predictor = Predictor(spec.build(), spec, device="cpu")
    images, times = predictor.inputs(candles.sample().iloc[:60], 4)
    assert len(predictor.predict(images, times)) == 4
    fields = inference.to_tensor(images, spec)
    assert fields.shape == (4, channels, side, side)
    assert fields.min() >= 0
    assert fields.max() <= 1
    if name in ("gasf", "gadf"):  # -1 to 1 as drawn
        np.testing.assert_allclose(fields[:, 0], (images + 1) / 2, atol=1e-6)


def test_a_price_range_is_tried_with_prices_inside_it():
    spec = inference.load("efficientnet_micro")[1]
    options = {"price_range": [1_000.0, 200_000.0]}
    assert replace(spec, preprocessing=spec.preprocessing | {"options": options})
    turned = {"options": {"price_range": [2.0, 1.0]}}
    with pytest.raises(CheckpointError, match="price_range"):
        replace(spec, preprocessing=spec.preprocessing | turned)


# Tensors and arrays


def bad_tensors(shape):
    """Return tensors of the right shape that hold nothing NumPy could read."""
    x = torch.zeros(2, *shape)
    masked = np.ma.masked_array(x.numpy(), mask=True)
    return [x.bfloat16(), x.half(), x.to_sparse(), x.to("meta"), x.to(torch.complex64), masked]


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize("name", NAMES)
def test_tensors_that_hold_no_numbers_are_refused_by_name(name, kind):
    predictor = Predictor.load(name, "cpu")
    with pytest.raises(ArgumentError, match="^images: got .* float32") as caught:
        predictor.predict(bad_tensors(predictor.spec.input_shape)[kind])
    assert caught.value.name == "images"


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pictures_read_backwards_are_pictures(dtype):
    predictor = Predictor.load("efficientnet_micro", "cpu")
    pictures = np.random.default_rng(0).integers(0, 256, PICTURE.shape, np.uint8)
    x = pictures if dtype == "uint8" else (pictures / 255).astype(np.float32)
    for view in (x[..., ::-1], x[::-1], x[:, ::-1], x.swapaxes(2, 3)):
        assert predictor.predict(view) == predictor.predict(view.copy())


def test_gradients_and_negated_views_do_not_matter():
    predictor = Predictor.load("se_trader", "cpu")
    x = torch.from_numpy(WINDOW)
    expected = predictor.predict(x)
    assert predictor.predict(x.clone().requires_grad_()) == expected
    assert predictor.predict(torch.complex(x, -x).conj().imag) == expected


def test_windows_too_large_for_the_net_are_refused_by_name():
    with pytest.raises(ArgumentError, match="^images: .* float32"):
        Predictor.load("se_trader", "cpu").predict(WINDOW + 1e300)


# Eight bits


@pytest.fixture(scope="module")
def graph() -> bytes:
    net, spec = inference.load("se_trader")
    return inference.to_onnx(net, torch.zeros(1, *spec.input_shape))


@pytest.mark.parametrize(
    ("images", "name"),
    [
        (np.zeros((4, 3, 3), np.float32), "calibration"),
        (np.zeros((4, 10), np.float32), "calibration"),
        (np.zeros((4, 9, 48), np.float32), "calibration"),
        (np.zeros((4, 10, 48), np.int64), "calibration"),
        (np.full((4, 10, 48), 1e300), "calibration"),
        (np.zeros((0, 10, 48), np.float32), "calibration"),
        (torch.zeros(4, 10, 48, dtype=torch.bfloat16), "calibration"),
        (torch.zeros(4, 10, 48, device="meta"), "calibration"),
        (None, "calibration"),
    ],
)
def test_calibration_that_the_model_cannot_take_is_refused(graph, images, name):
    with pytest.raises(ArgumentError) as caught:
        inference.quantize(graph, images)
    assert caught.value.name == name


def test_a_model_with_another_input_is_refused(graph):
    other = onnx.load_model_from_string(graph)
    (entry,) = other.graph.input
    for node in other.graph.node:
        node.input[:] = ["pixels" if name == entry.name else name for name in node.input]
    entry.name = "pixels"
    with pytest.raises(ArgumentError, match=r"^model: .*pixels"):
        inference.quantize(other.SerializeToString(), np.zeros((4, 10, 48), np.float32))


@pytest.mark.parametrize("model", [b"xx", b"\x08\x01" * 50, b"\xff" * 99, "se_trader", None])
def test_bytes_that_are_no_model_are_refused(model):
    for call in (
        lambda: inference.quantize(model, np.zeros((4, 10, 48), np.float32)),
        lambda: inference.OnnxNet(model, threads=1),
    ):
        with pytest.raises(ArgumentError, match="ONNX model") as caught:
            call()
        assert caught.value.name == "model"


def test_a_model_cut_short_is_refused(graph):
    with pytest.raises(ArgumentError, match="^model: "):
        inference.OnnxNet(graph[: len(graph) // 2], threads=1)


def test_the_gate_takes_logits_that_want_gradients():
    logits = torch.eye(3, requires_grad=True)
    assert inference.require_agreement(logits, logits * 2) == 1
    with pytest.raises(ArgumentError, match="^logits: "):
        inference.agreement(logits.bfloat16(), logits)
    with pytest.raises(ArgumentError, match="^reference: "):
        inference.agreement(logits, logits.to_sparse())


@pytest.mark.parametrize(
    ("name", "value"),
    [("calibration", "mean"), ("activations", 4), ("weights", 0), ("only", "("), ("but", 3)],
)
def test_a_recipe_that_cannot_be_is_refused(name, value):
    with pytest.raises(ArgumentError) as caught:
        inference.Recipe(**{name: value})
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n, s, f: Predictor(None, s), "net"),
        (lambda n, s, f: Predictor(n, None), "spec"),
        (lambda n, s, f: inference.save(None, n, s), "path"),
        (lambda n, s, f: inference.save(f / "x", None, s), "net"),
        (lambda n, s, f: inference.save(f / "x", n, s.to_json()), "spec"),
        (lambda n, s, f: inference.to_onnx(n, np.zeros((1, 10, 48))), "example"),
        (lambda n, s, f: inference.to_onnx(n, torch.zeros(1, 10, 48).double()), "example"),
    ],
)
def test_what_is_no_net_and_no_spec_is_named(tmp_path, call, name):
    net, spec = inference.load("se_trader")
    with pytest.raises(ArgumentError) as caught:
        call(net, spec, tmp_path)
    assert caught.value.name == name
