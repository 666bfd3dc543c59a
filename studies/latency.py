"""Milliseconds, bytes and decisions of every engine, each timed in a process of its own.

    make study STUDY=latency

Two thread pools in one process disturb each other, so each line of the table is a fresh process.
``kept`` runs under the Makefile's settings, ``fresh`` without those of the allocator, ``wide``
without those that keep PyTorch to AVX2 (ONNX Runtime knows none of them). Decisions are
compared with eager float32 on real windows that no net was trained on, and on Bybit's where
``SETRADE_DATA`` names a folder of them. Run it on an idle machine.
B0, B3 and B5 have drawn weights; their batch norms have seen pictures and their classifiers are
fitted to labels by least squares, so that decisions differ from picture to picture. B3 and B5 are
compared on few windows: a picture takes them long (``--nets b3_300 b5_456 --keep`` adds them).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from setrade import candles, inference, labels, pictures, results, training
from setrade.efficientnet import EfficientNet
from setrade.inference import CachedTrader, OnnxNet
from setrade.study.store import QUARTERS, REQUESTS, sample_file

BARS, HORIZON, SEED = 48, 16, 0
NETS = {  # name: batches that are timed
    "b0_224": (1, 32), "b0_64": (1, 32), "micro_64": (1, 32), "se_trader": (1, 256),
    "b3_300": (1,), "b5_456": (1,),
}  # fmt: skip
LARGE = {"b3_300": 64, "b5_456": 16}  # windows that are compared, and at most as many calibrate
ENGINES = ("eager", "channels_last", "folded", "compiled", "onnx")
COMPILED = ("b0_224", "micro_64", "se_trader")  # a minute and more for each batch size of B0
MALLOC = (
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "THP_MEM_ALLOC_ENABLE",
)  # fmt: skip
PINS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
WITHOUT = {"kept": (), "fresh": MALLOC, "wide": PINS}


def pictures_of(side: int, first: int, n: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return ``n`` charts (n, 3, side, side) from window ``first`` on, every third, and labels."""
    bars = candles.sample()
    rows = first + (3 if first == 0 else 1) * np.arange(n)
    drawn = pictures.encoder("candles", side).draw(candles.windows(bars, BARS)[rows])
    truth = labels.sell_hold_buy(labels.forward_return(bars, HORIZON)).to_numpy()
    return pictures.to_input(drawn), truth[rows + BARS - 1]


@torch.no_grad()
def make_net(variant: str, side: int, n: int) -> EfficientNet:
    """Return a net with three classes whose decisions depend on the picture."""
    training.seed_everything(SEED)
    net, (x, y) = EfficientNet(variant, 3, drop_connect=0.0), pictures_of(side, 0, n)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average over batches
    net.train()
    for part in x.split(16):
        net(part)
    net.eval()
    f = torch.cat([net.features(part).mean((2, 3)) for part in x.split(16)]).double()
    target = torch.nn.functional.one_hot(torch.from_numpy(y.astype(int)), 3).double() - 1 / 3
    centre = f.mean(0)
    g = (f - centre) @ (f - centre).T + 1e-2 * n * torch.eye(n, dtype=torch.float64)
    weight = ((f - centre).T @ torch.linalg.solve(g, target)).T  # ridge, in the dual
    net.classifier = torch.nn.Linear(len(centre), 3)
    net.classifier.weight.copy_(weight)
    net.classifier.bias.copy_(-weight @ centre)
    return net.eval()


def get_net(name: str, folder: Path, n: int) -> torch.nn.Module:
    """Return one of ``NETS``; what is not trained is made once and kept in ``folder``."""
    if name in ("micro_64", "se_trader"):
        return inference.load("efficientnet_micro" if name == "micro_64" else name)[0]
    file, (variant, side) = folder / f"{name}.pt", name.split("_")
    if not file.exists():
        made = make_net(variant, int(side), min(n, LARGE.get(name, n)))
        torch.save(made.state_dict(), file)
    net = EfficientNet(variant, 3)
    net.load_state_dict(torch.load(file, weights_only=True))
    return net.eval()


def real_inputs(name: str, n: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return the last ``n`` real windows that have labels, as the net takes them, and labels."""
    bars = candles.sample()
    truth = labels.sell_hold_buy(labels.forward_return(bars, HORIZON)).to_numpy()
    last = len(bars) - HORIZON - 1
    if name != "se_trader":
        side = int(name.split("_")[1])
        return pictures_of(side, last - n - BARS + 1, n)
    spec = inference.load(name)[1]
    windows, _ = inference.from_candles(bars.iloc[:last], spec, n)
    return inference.to_tensor(windows, spec), truth[last - n : last]


def logits(call: Any, x: torch.Tensor) -> np.ndarray:
    """Return what an engine says of all of ``x``, in batches of 32."""
    with torch.inference_mode():
        return torch.cat([call(part)[0] for part in x.split(32)]).numpy()


def child(name: str, runtime: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return one line of the table: latency by batch, bytes, logits on real windows."""
    if name == "se_trader":
        torch.set_num_threads(1)
    net, (x, _) = get_net(name, args.folder, args.calibration), real_inputs(name, args.windows)
    size = sum(v.numel() * v.element_size() for v in net.state_dict().values())
    if runtime == "cached":
        cached = CachedTrader(net, every=10**9)  # type: ignore[arg-type]
        call = torch.inference_mode()(lambda part: (cached(part, 0),))
    elif runtime == "onnx":
        model = inference.to_onnx(net, x[:1])
        size, call = len(model), OnnxNet(model)
    else:
        call = inference.engine(net, x[:2], runtime)
    timed = {}
    for batch in NETS[name]:
        part = x[:batch].clone()
        timed[str(batch)] = asdict(
            inference.measure(
                lambda part=part: call(part),
                batch=batch,
                seconds=args.seconds,
                min_calls=args.least,
            )
        )
    said = [] if args.skip or runtime == "cached" else logits(call, x).tolist()
    return {"latency": timed, "bytes": size, "logits": said}


def start(job: tuple[str, str, str], args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Run one job in a process of its own; return what it printed."""
    name, runtime, memory = job
    environment = {k: v for k, v in os.environ.items() if k not in WITHOUT[memory]}
    windows = args.windows if name in ("micro_64", "se_trader") else args.big_windows
    windows = min(windows, LARGE.get(name, windows))
    command = [
        sys.executable, __file__, "--job", name, runtime, "--folder", folder,
        "--windows", str(windows), "--seconds", str(args.seconds),
        "--calibration", str(args.calibration), "--least", str(args.least),
        *(["--skip"] if memory != "kept" else []),
    ]  # fmt: skip
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        raise RuntimeError(f"{job}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def jobs(args: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Return (net, runtime, memory) of every line, eager first."""
    plain = [
        (net, runtime, "kept")
        for net in args.nets
        for runtime in args.engines
        if runtime != "compiled" or net in COMPILED
    ]
    plain += [(net, runtime, "fresh") for net in args.nets for runtime in ("eager", "onnx")]
    plain += [(net, runtime, "wide") for net in args.nets for runtime in ("eager", "channels_last")]
    return plain + [("se_trader", "cached", "kept")] * ("se_trader" in args.nets)


def compare(lines: dict[str, Any]) -> dict[str, Any]:
    """Return the lines with agreement and speed against eager float32 in place of logits."""
    out = {}
    for key, line in lines.items():
        name, _, memory = key.split("/")
        said, reference = np.array(line.pop("logits")), lines[f"{name}/eager/kept"]
        eager = lines[f"{name}/eager/{memory}"]["latency"]
        out[key] = line | {
            "times_faster": {b: eager[b]["p50"] / line["latency"][b]["p50"] for b in eager},
        }
        if len(said):
            theirs = reference.setdefault("said", said)  # eager comes first
            out[key] |= {"agreement": inference.agreement(said, theirs), "windows": len(said)}
            out[key]["largest_difference"] = float(np.abs(said - theirs).max())
    return {k: {n: v for n, v in line.items() if n != "said"} for k, line in out.items()}


def bybit(folder: str, n: int) -> dict[str, Any]:
    """Return how ONNX Runtime decides on ``n`` real Bybit windows, spread over the file's span."""
    bars, out = candles.read(Path(folder) / QUARTERS, "15min"), {}
    for name in ("se_trader", "efficientnet_micro"):
        eager = inference.Predictor.load(name, "cpu")
        fast = inference.Predictor.load(name, "cpu", runtime="onnx")
        images, _ = eager.inputs(bars, 20 * n)
        mine, theirs = fast.answers(images[::20])[0], eager.answers(images[::20])[0]
        out[name] = {"windows": n, "agreement": inference.agreement(mine, theirs)}
        out[name]["largest_difference"] = float(np.abs(mine - theirs).max())
    return {"request": REQUESTS[QUARTERS], "alike": out}


def main() -> None:
    """Time every line, or (``--job``) one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--keep", action="store_true", help="keep stored lines of other nets")
    parser.add_argument("--windows", type=int, default=1_000)
    parser.add_argument("--big-windows", type=int, default=1_000, help="for B0")
    parser.add_argument("--seconds", type=float, default=2.0, help="a batch size")
    parser.add_argument("--least", type=int, default=20, help="calls timed in any case")
    parser.add_argument("--calibration", type=int, default=96, help="training pictures")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--skip", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        name, runtime = args.job
        print(json.dumps(child(name, runtime, args)))
        return
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        lines = {"/".join(j): start(j, args, folder) for j in tqdm(jobs(args), unit="process")}
    lines, stored = compare(lines), {}
    if args.keep:
        record = results.load("latency")
        stored, before = record["results"], record["results"]["lines"].items()
        made = {key: record[key] for key in ("commit", "machine", "seconds")}
        earlier = {"before": stored["kept"]} if "kept" in stored else {}
        stored["kept"] = made | earlier  # what timed the lines that stay, newest first
        lines = {k: v for k, v in before if k.split("/")[0] not in args.nets} | lines
    if folder := os.environ.get("SETRADE_DATA"):
        stored["bybit"] = bybit(folder, 1_000)
        stored["bybit"]["sha256"] = results.sha256(Path(folder) / QUARTERS)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # Windows knows none
    stored |= {"load_average": load, "seconds_a_batch": args.seconds}
    results.save(
        "latency", stored | {"lines": lines},
        command="make study STUDY=latency", seed=SEED, seconds=time.perf_counter() - begun,
        data=sample_file(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
