"""What eight bits do to a net's decisions: recipe by recipe, and one kind of layer at a time.

    make study STUDY=int8

Three nets: the trained `efficientnet_micro` and a B0 with drawn weights on real windows that no
net was trained on, and Lite0 with its ImageNet weights on crops of two photographs. Calibration
pictures are the oldest windows, or crops of the photographs' other halves; what is compared are
the newest. The small net is also trained with the rounding inside (Jacob et al., 2018): it goes
on learning, now to answer as its float32 self did, while weights and values are rounded on the
way; then it is rounded as the others are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoints import SIDE, averages, markets
from latency import BARS, HORIZON, get_net, logits, pictures_of, real_inputs
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn.utils import parametrize
from tqdm import tqdm

from setrade import candles, inference, pictures, results, training
from setrade.efficientnet import MBConv, SqueezeExcite2d
from setrade.errors import ArgumentError
from setrade.inference import RECIPES, OnnxNet, Recipe
from setrade.models.backbones import imagenet
from setrade.study.store import sample_file

SEED = 0
KINDS = {  # a ReLU6 belongs to the layer before it: else the range would be that of what it cuts
    "stem": r"/(stem\.0|conv_stem)/|/act/",
    "expand": r"/(expand\.0|conv_pw)/Conv|/act/",
    "depthwise": r"/(depthwise\.0|conv_dw)/Conv|/act/",
    "gates": r"/se/",
    "project": r"/(project\.0|conv_pwl)/Conv|blocks\.0\.0/conv_pw/",
    "activations": r"/(Sigmoid|Mul)$",
    "sums": r"/Add$",
    "head": r"/(head\.0|conv_head)/|/act/",
    "classifier": r"/(classifier|head)/Gemm",
}
HALVES = {"weights only": Recipe(activations=16), "values only": Recipe(weights=16)}


def crops(n: int, left: bool) -> torch.Tensor:
    """Return ``n`` crops (n, 3, 224, 224) of one half of scikit-learn's two photographs."""
    rng, made = np.random.default_rng([SEED, left]), []
    for i in range(n):
        photo = torch.tensor(load_sample_images().images[i % 2]).permute(2, 0, 1) / 255
        half = photo[:, :, :320] if left else photo[:, :, 320:]
        side = int(rng.integers(112, 320))
        top, first = (int(rng.integers(0, size - side + 1)) for size in half.shape[1:])
        part = half[None, :, top : top + side, first : first + side]
        made.append(torch.nn.functional.interpolate(part, (224, 224), mode="bilinear"))
    return torch.cat(made)


def problem(name: str, args: argparse.Namespace, folder: Path) -> tuple[Any, ...]:
    """Return net, calibration pictures, pictures to decide on, and labels or None."""
    if name == "lite0_224":
        return imagenet("lite0"), crops(48, left=True), crops(args.photos, left=False), None
    side = int(name.split("_")[1])
    net = get_net(name, folder, args.calibration)
    x, y = real_inputs(name, args.windows)
    if name == "micro_64":  # its truth is the rule
        last = len(candles.sample()) - HORIZON - BARS
        y = averages(candles.windows(candles.sample(), BARS)[last - args.windows : last])
    return net, pictures_of(side, 0, args.calibration)[0], x, y


# ---- Trained with the rounding inside: forward passes round, gradients pass as if they did not.


class RoundedWeight(nn.Module):
    """Weights in eight bits, a step for each output channel."""

    def forward(self, w: Tensor) -> Tensor:
        """Map a weight to the same shape."""
        step = w.detach().flatten(1).abs().amax(1).clamp_min(1e-8) / 127
        zeros = torch.zeros(len(w), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(w, step, zeros, 0, -127, 127)


class RoundedValues:
    """A hook that rounds a layer's output to 256 steps of its range, a slow mean of batches'."""

    def __init__(self, momentum: float = 0.05) -> None:
        self.range: Tensor | None = None
        self.momentum = momentum

    def __call__(self, layer: nn.Module, given: Any, out: Tensor) -> Tensor:
        """Return the output rounded."""
        seen = torch.stack([out.detach().amin().clamp_max(0), out.detach().amax().clamp_min(0)])
        self.range = seen if self.range is None else self.range.lerp(seen, self.momentum)
        step = ((self.range[1] - self.range[0]) / 255).clamp_min(1e-8)
        zero = (-self.range[0] / step).round().clamp(0, 255).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(out, step, zero, 0, 255)


def trained_rounded(net: nn.Module, windows: np.ndarray, epochs: int) -> nn.Module:
    """Return a copy whose batch norms are folded and whose weights have learned to be rounded.

    Args:
        net: in eval mode; its own answers are what is learned.
        windows: (N, 5, n) to draw pictures of; no labels are needed.
        epochs: passes over them.
    """
    student: Any = inference.fold_batch_norms(net).requires_grad_(True)
    layers = [m for m in student.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", RoundedWeight())
    kinds = nn.Conv2d | nn.Linear | nn.SiLU | SqueezeExcite2d | MBConv
    hooks = [m.register_forward_hook(RoundedValues()) for m in student.modules()
             if isinstance(m, kinds)]  # fmt: skip
    drawn = pictures.PictureSet(windows, np.zeros(len(windows)), pictures.encoder("candles", SIDE))
    steps = epochs * -(-len(windows) // 64)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-4)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        for x, _ in tqdm(drawn.stream(64, seed=SEED + epoch), desc="rounded", leave=False):
            with torch.no_grad():
                wanted = net(x).softmax(1)
            loss = nn.functional.cross_entropy(student(x), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    for hook in hooks:
        hook.remove()
    for layer in layers:  # what is kept is the unrounded weight: the converter rounds it again
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    return student.eval().requires_grad_(False)


def with_training(net: nn.Module, x: Tensor, y: Any, calibration: Tensor, epochs: int) -> dict:
    """Return what rounding does to a net that was trained with it, against its float32 self."""
    training.seed_everything(SEED)
    windows = markets(slice(0, 3_000), 8)
    student = trained_rounded(net, windows, epochs)
    reference = logits(OnnxNet(inference.to_onnx(net, x[:1]), threads=1), x)
    model = inference.to_onnx(student, x[:1])
    out: dict[str, Any] = {"pictures": len(windows), "epochs": epochs}
    out["float32"] = judge(logits(OnnxNet(model, threads=1), x), reference, y)
    for label in ("per_channel", "percentile"):
        small = inference.quantize(model, calibration, label)
        out[label] = judge(logits(OnnxNet(small, threads=1), x), reference, y)
    return out


def judge(said: np.ndarray, reference: np.ndarray, y: np.ndarray | None) -> dict[str, Any]:
    """Return how logits compare with those of float32; by quarters of how sure float32 is."""
    top = np.sort(reference, axis=1)
    order = np.argsort(top[:, -1] - top[:, -2], kind="stable")
    alike = said.argmax(1) == reference.argmax(1)
    error = np.sqrt(((said - reference) ** 2).mean()) / reference.std()
    row: dict[str, Any] = {
        "agreement": float(alike.mean()),
        "logit_error": float(error),
        "by_margin": [float(part.mean()) for part in np.array_split(alike[order], 4)],
        "accuracy": None if y is None else float((said.argmax(1) == y).mean()),
        "accepted": True,
        "reason": "",
    }
    try:
        inference.require_agreement(said, reference)
    except (inference.QuantizationRefused, ArgumentError) as refused:
        row |= {"accepted": False, "reason": str(refused)}
    return row


def study(name: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return a net's table: by recipe, by half, by kind of layer."""
    net, calibration, x, y = problem(name, args, folder)
    model = inference.to_onnx(net, x[:1])
    exact = OnnxNet(model, threads=1)
    reference = logits(exact, x)
    out: dict[str, Any] = {
        "float32": judge(reference, reference, y) | {
            "bytes": len(model), "decisions": len(np.unique(reference.argmax(1))),
        }, "examples": len(x),
    }  # fmt: skip
    kinds = {kind: Recipe(only=pattern) for kind, pattern in KINDS.items()}
    for group, recipes in (("recipes", RECIPES), ("halves", HALVES), ("kinds", kinds)):
        out[group] = {}
        for label, recipe in tqdm(recipes.items(), desc=f"{name} {group}", leave=False):
            small = inference.quantize(model, calibration, recipe)
            if b"QuantizeLinear" not in small:
                continue  # a net without such layers
            call = OnnxNet(small, threads=1)
            out[group][label] = judge(logits(call, x), reference, y) | {"bytes": len(small)}
            if group == "recipes":
                out[group][label]["times_faster"] = ratio(exact, call, x[:1], args.calls)
    if name == "micro_64":
        out["trained"] = with_training(net, x, y, calibration, args.epochs)
    return out


def ratio(exact: OnnxNet, small: OnnxNet, x: torch.Tensor, calls: int) -> float:
    """Return how many times faster one call is, on one thread, the two in turns."""
    taken = np.empty((calls, 2))
    for row in taken:
        for k, call in enumerate((exact, small)):
            start = time.perf_counter()
            call(x)
            row[k] = time.perf_counter() - start
    return float(np.median(taken[:, 0]) / np.median(taken[:, 1]))


def main() -> None:
    """Store the tables of all nets."""
    parser = argparse.ArgumentParser(description=__doc__)
    nets = ("micro_64", "b0_64", "lite0_224")
    parser.add_argument("--nets", nargs="+", default=nets, choices=nets)
    parser.add_argument("--windows", type=int, default=1_000)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--calibration", type=int, default=96, help="training pictures")
    parser.add_argument("--calls", type=int, default=60, help="timed, of each")
    parser.add_argument("--epochs", type=int, default=3, help="with the rounding inside")
    parser.add_argument("--keep", action="store_true", help="keep the stored tables of other nets")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tables = {name: study(name, args, Path(folder)) for name in tqdm(args.nets, unit="net")}
    if args.keep:
        before = results.load("int8")["results"]
        tables = {name: tables.get(name) or before[name] for name in nets}
    results.save(
        "int8", tables, command="make study STUDY=int8", seed=SEED,
        seconds=time.perf_counter() - begun,
        data=sample_file(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
