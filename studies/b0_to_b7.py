"""B0 to B7 measured: parameters, multiply-adds, seconds of one core, memory for one picture.

The protocol is the paper's (table 4): one core, batch 1. The clock counts the processor's
seconds, not the wall's, so that other work on the machine disturbs it little. Contenders run in
turns; two ResNets run beside them, because the claim "6x faster" needs somebody to be faster
than. Memory is what a fresh process of ONNX Runtime takes at most. ImageNet's accuracy cannot be
measured here: neither its pictures nor weights are at hand.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from setrade import compat, inference, results
from setrade.efficientnet import VARIANTS, EfficientNet, compound_scale
from setrade.efficientnet.scaling import count_parameters, multiply_adds

PUBLISHED = {  # Tan and Le (2019), table 2: million parameters, billion FLOPS, top-1 in percent
    "b0": (5.3, 0.39, 77.1), "b1": (7.8, 0.70, 79.1), "b2": (9.2, 1.0, 80.1),
    "b3": (12, 1.8, 81.6), "b4": (19, 4.2, 82.9), "b5": (30, 9.9, 83.6),
    "b6": (43, 19, 84.0), "b7": (66, 37, 84.3),
}  # fmt: skip
RESNETS = ("resnet50", "resnet152")
GPIPE_MILLIONS = 557
SEED_B0_MS, SEED_MS = 2.3, {"b3": 8.7, "b5": 21.4}  # the chapter we started from; no machine named


def build(name: str) -> tuple[torch.nn.Module, int]:
    """Return a net in eval mode and the side of its pictures."""
    if name in VARIANTS:
        return EfficientNet(name).eval(), VARIANTS[name].resolution
    # timm starts some scales at zero; whole layers of zeros would be dropped by the export
    return compat.import_timm().create_model(name, zero_init_last=False).eval(), 224


def processor_seconds(net: torch.nn.Module, x: torch.Tensor) -> float:
    """Return the processor's seconds for one forward pass."""
    start = time.process_time()
    net(x)
    return time.process_time() - start


def peak_kb() -> int:
    """Return the most memory this process has held (Linux; ``ru_maxrss`` counts the parent's)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def load_and_run(file: str, side: int) -> float:
    """Return the megabytes that loading a net and one picture add; in a fresh process."""
    import onnxruntime

    before, options = peak_kb(), onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options)
    session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, side, side), np.float32)})
    return round((peak_kb() - before) / 1024, 1)


def megabytes(net: torch.nn.Module, side: int) -> float:
    """Return what `load_and_run` says of ``net``."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        file = Path(folder, "net.onnx")
        file.write_bytes(inference.to_onnx(net, torch.zeros(1, 3, side, side)))
        return pool.submit(load_and_run, str(file), side).result()


@torch.inference_mode()
def measure(rounds: int) -> dict[str, dict[str, Any]]:
    """Return parameters, multiply-adds and each round's seconds, one row a net."""
    rows, contenders = {}, {}
    for name in (*PUBLISHED, *RESNETS):
        net, side = build(name)
        contenders[name] = net, torch.rand(1, 3, side, side)
        net(contenders[name][1])  # warm up
        rows[name] = {"side": side, "parameters": count_parameters(net),
                      "multiply_adds": multiply_adds(net, side),
                      "megabytes": megabytes(net, side), "seconds": []}  # fmt: skip
    for _ in tqdm(range(rounds), unit="round"):
        for name, (net, x) in contenders.items():
            rows[name]["seconds"].append(round(processor_seconds(net, x), 4))
    return rows


def claim(claimed: float, measured: Any, what: str, band: Any = None) -> dict[str, Any]:
    """Return one row of the ledger; an exact count is its own interval."""
    low, high = band or (measured, measured)
    return {"claimed": claimed, "measured": measured, "low": low, "high": high, "what": what}


def times(
    rows: dict[str, dict[str, Any]], slow: str, fast: str
) -> tuple[float, tuple[float, float]]:
    """Return how many times longer ``slow`` takes: median ratio of rounds, 95 % interval."""
    ratio = np.divide(rows[slow]["seconds"], rows[fast]["seconds"])
    draws = np.random.default_rng(0).choice(ratio, (2000, len(ratio)))
    low, high = np.quantile(np.median(draws, 1), [0.025, 0.975])
    return round(float(np.median(ratio)), 2), (round(float(low), 2), round(float(high), 2))


def claims(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the rows of the ledger that these measurements settle, and those they cannot."""
    table = {}
    for name, (millions, billions, top1) in PUBLISHED.items():
        counted = round(rows[name]["parameters"] / 1e6, 3)
        done = round(rows[name]["multiply_adds"] / 1e9, 3)
        table[f"parameters_{name}"] = claim(millions, counted, f"Million parameters of {name}.")
        table[f"flops_{name}"] = claim(billions, done, f"Billion multiply-adds of {name}.")
        table[f"top1_{name}"] = claim(
            top1, None, f"ImageNet top-1 of {name} in percent: not testable here, no ImageNet."
        )
    small = round(GPIPE_MILLIONS / (rows["b7"]["parameters"] / 1e6), 2)
    table["smaller_8x"] = claim(
        8, small, "Published parameters of GPipe over those of B7: true of this pair only."
    )
    ratio = round(rows["resnet152"]["parameters"] / rows["b1"]["parameters"], 2)
    table["smaller_than_resnet152"] = claim(8, ratio, "Parameters of ResNet-152 over those of B1.")
    fast, band = times(rows, "resnet152", "b1")
    table["faster_6x"] = claim(
        6, fast, "Seconds of ResNet-152 over those of B1, one core; GPipe cannot be run here.", band
    )
    for name, milliseconds in SEED_MS.items():
        slower, band = times(rows, name, "b0")
        table[f"slower_{name}"] = claim(
            round(milliseconds / SEED_B0_MS, 2), slower,
            f"Seconds of {name} over those of b0, one core, each at its own resolution.", band,
        )  # fmt: skip
    share = round(rows["b0"]["megabytes"] / rows["resnet50"]["megabytes"], 2)
    table["memory_resnet50"] = claim(
        1, share, "Memory that b0 takes over that of ResNet-50, ONNX Runtime, one picture."
    )
    product = round(compound_scale(1).flops, 4)
    table["product_is_2"] = claim(2, product, "alpha * beta**2 * gamma**2 of 1.2, 1.1, 1.15.")
    return table


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    if not Path("/proc/self/status").exists():
        parser.error("memory is read from /proc, which only Linux has")
    torch.set_num_threads(1)
    start = time.perf_counter()
    rows = measure(args.rounds)
    published = {n: dict(zip(("millions", "billions", "top1"), p, strict=True))
                 for n, p in PUBLISHED.items()}  # fmt: skip
    results.save(
        "b0_to_b7",
        {"measured": rows, "published": published, "claims": claims(rows)},
        command="make study STUDY=b0_to_b7",
        seed=0,
        seconds=time.perf_counter() - start,
    )


if __name__ == "__main__":
    main()
