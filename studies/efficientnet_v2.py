"""Does EfficientNetV2 train faster on a CPU, and where do its fused blocks pay?

    make study STUDY=efficientnet_v2

Clocks first: seconds of the processor for a fused block and for MBConv on maps of many sizes, and
for a training step of whole nets. Then a race to equal accuracy on a task with a known answer: are
the last five closes of a chart of twenty bars higher, in the mean, than all twenty? Each net sees
fresh pictures of 64 pixels until two neighbouring checks on 256 others are right for 90 % in the
mean. Learning rates are chosen for each net on a seed that does not race. What is timed is one
thread's own seconds (process time), which other programs disturb little. Every net is kept in a
file: a study that was cut short goes on. About 15 minutes on one idle core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from tqdm import tqdm

from setrade import efficientnet as en
from setrade import evidence, results, toys
from setrade.charts import candlesticks
from setrade.files import write_atomic
from setrade.training import seed_everything

SIDE, BATCH, CHECKED, EVERY, GOAL = 64, 32, 256, 10, 0.9
STEPS, WARM = 160, 20
GROWING = (32, 64)  # sides of the net whose pictures grow
RATES = (0.001, 0.003)
TUNING, CHECKING = 1000, 2000  # seeds that do not race
# Five seeds of three arms were planned. When they had raced, the last arm was added, since pictures
# grew too slowly over 160 steps, and three more seeds of the other arms, since intervals were wide.
PLANNED = 5
ARMS = ("v1", "v2", "v2 growing", "v2 growing sooner")
SIDES, CHANNELS = (56, 28, 14, 7), (16, 32, 64, 128, 256)  # maps of a block
NETS = {
    "v1 mini": ("v1", "mini"), "v2 mini": ("v2", "mini"), "v1 b0": ("v1", "b0"),
    "v2 b0": ("v2", "b0"), "v1 b3": ("v1", "b3"), "v2 b3": ("v2", "b3"), "v2 s": ("v2", "s"),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One net of the race."""

    arm: str
    variant: str
    lr: float
    seed: int

    @property
    def name(self) -> str:
        """Return the name of its file."""
        return f"{self.arm.replace(' ', '-')}-{self.variant}-{self.lr:g}-{self.seed}"


def net(kind: str, variant: str) -> en.EfficientNet:
    """Return a net of two classes; all start with a quiet head, and drop no branches."""
    make = en.EfficientNet if kind == "v1" else en.EfficientNetV2
    return make(variant, 2, drop_connect=0.0, published=False)


def draw(n: int, seed: int) -> tuple[np.ndarray, torch.Tensor]:
    """Return charts (n, 3, 80, 80) and the answers: the last five closes above the mean of all."""
    windows, _ = toys.draw_formations(n, seed=seed)
    closes = windows[:, 3]
    y = torch.from_numpy((closes[:, -5:].mean(1) > closes.mean(1)).astype(np.int64))
    return candlesticks(windows, toys.SIDE, toys.SIDE, volume=False), y


# ---- Clocks.


def seconds(work: Callable[[], Any]) -> float:
    """Return the seconds of this process for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def clocked(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return each way's seconds in every round; ways take turns, and a first round is dropped."""
    table = [{name: seconds(work) for name, work in ways.items()} for _ in range(rounds + 1)]
    return {name: [row[name] for row in table[1:]] for name in ways}


def step(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Return what runs a net or block forward and backward."""

    def work() -> None:
        model.zero_grad(set_to_none=True)
        model(x).square().mean().backward()

    return work


def look(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Return what runs a net or block forward."""

    def work() -> None:
        with torch.no_grad():
            model(x)

    return work


def blocks(rounds: int) -> list[dict[str, Any]]:
    """Return, for each size of map and number of channels, what both kinds of block take."""
    rows = []
    for side in tqdm(SIDES, desc="blocks"):
        for channels in CHANNELS:
            both = {"fused": en.FusedMBConv(channels, channels, 4),
                    "mbconv": en.MBConv(channels, channels, 4)}  # fmt: skip
            x = torch.rand(2, channels, side, side)
            work = {name: en.multiply_adds(b, side, channels) for name, b in both.items()}
            ways = {f"{name} forward": look(b, x) for name, b in both.items()}
            ways |= {f"{name} step": step(b, x) for name, b in both.items()}
            rows.append({"side": side, "channels": channels, "multiply_adds": work,
                         "pictures": 2, "seconds": clocked(ways, rounds)})  # fmt: skip
    return rows


def nets(rounds: int) -> list[dict[str, Any]]:
    """Return what a training step and a forward pass of whole nets take."""
    rows = []
    for side, count in tqdm(((64, 16), (128, 4)), desc="nets"):
        x = torch.rand(count, 3, side, side)
        made = {name: net(*kind) for name, kind in NETS.items()}
        ways = {f"{name} forward": look(m, x) for name, m in made.items()}
        ways |= {f"{name} step": step(m, x) for name, m in made.items()}
        rows.append({
            "side": side, "pictures": count, "seconds": clocked(ways, rounds),
            "multiply_adds": {name: en.multiply_adds(m, side) for name, m in made.items()},
            "parameters": {name: en.count_parameters(m) for name, m in made.items()},
        })  # fmt: skip
    return rows


# ---- The race.


def phases(arm: str) -> list[en.Phase]:
    """Return the sides of an arm's training pictures."""
    if "growing" in arm:
        steps = STEPS // 2 if arm.endswith("sooner") else STEPS
        return en.progressive(steps, 4, sides=GROWING, dropouts=(0.1, 0.2), multiple=8)
    return [en.Phase(0, SIDE, 0.2)]


def accuracy(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Return accuracy and loss, on pictures of the full side."""
    model.eval()
    with torch.no_grad():
        told = torch.cat([model(part) for part in x.split(64)])
    model.train()
    return float((told.argmax(1) == y).double().mean()), float(F.cross_entropy(told, y))


def race(job: Job) -> dict[str, Any]:
    """Train one net to the goal or to the end; return its checks and its own seconds."""
    charts, y = draw(STEPS * BATCH, job.seed)
    shown, truth = draw(CHECKED, CHECKING)
    # After drawing: numba starts its pool at its first parallel kernel, and sets OpenMP's number
    # of threads, which is torch's too.
    torch.set_num_threads(1)
    seed_everything(job.seed)
    model = net(job.arm.split()[0], job.variant)
    full = toys.averaged(shown, SIDE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=job.lr)
    plan, curve, spent = phases(job.arm), [], 0.0
    for i in range(STEPS):
        phase = [p for p in plan if p.start <= i][-1]
        rows = slice(i * BATCH, (i + 1) * BATCH)
        model.dropout.p = phase.dropout
        optimizer.param_groups[0]["lr"] = job.lr * min(1, (i + 1) / WARM)
        spent += seconds(partial(learn, model, optimizer, charts[rows], y[rows], phase.side))
        if (i + 1) % EVERY == 0:
            curve.append([i + 1, *accuracy(model, full, truth), spent])
            if reached(curve):
                break
    return {"job": asdict(job), "curve": curve, "steps": reached(curve)}


def learn(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, charts: np.ndarray,
    y: torch.Tensor, side: int,
) -> None:  # fmt: skip
    """Take one step on charts averaged down to a side."""
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(model(toys.averaged(charts, side)), y).backward()
    optimizer.step()


def reached(curve: list[list[float]]) -> int | None:
    """Return the step at which two checks in a row were right for the goal in the mean, or None."""
    for before, now in pairwise(curve):
        if (before[1] + now[1]) / 2 >= GOAL:
            return int(now[0])
    return None


def kept(job: Job, store: Path) -> dict[str, Any]:
    """Return a net's race, from its file where there is one."""
    file = store / f"{job.name}.json"
    if not file.is_file():
        write_atomic(file, json.dumps(race(job)))
    return json.loads(file.read_text(encoding="utf-8"))


def chosen(kind: str, runs: list[dict[str, Any]]) -> float:
    """Return the rate that reached the goal first on the seed for tuning; a tie by its loss."""
    mine = [r for r in runs if r["job"]["arm"] == kind]
    best = min(mine, key=lambda r: (r["steps"] or STEPS + 1, r["curve"][-1][2]))
    return best["job"]["lr"]


def prices(variant: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return seconds and multiply-adds of one training step, by kind of net and side.

    Seconds are medians of rounds in which all take turns; a step backward counts as two forward.
    """
    sides = sorted({p.side for arm in ARMS for p in phases(arm)})
    out, ways = {}, {}
    charts, y = draw(BATCH, TUNING)
    for kind in ("v1", "v2"):
        model = net(kind, variant)
        optimizer = torch.optim.AdamW(model.parameters())
        for side in sides if kind == "v2" else [SIDE]:
            ways[f"{kind} {side}"] = partial(learn, model, optimizer, charts, y, side)
            out[f"{kind} {side}"] = {"multiply_adds": 3 * BATCH * en.multiply_adds(model, side)}
    for name, each in clocked(ways, rounds).items():
        out[name]["seconds"] = float(np.median(each))
    return out


def paid(run: dict[str, Any], price: dict[str, dict[str, float]], what: str) -> float | None:
    """Return what a run took until the goal, in seconds or multiply-adds; None if it never came."""
    if run["steps"] is None:
        return None
    arm, plan = run["job"]["arm"], phases(run["job"]["arm"])
    ends = [*(p.start for p in plan[1:]), STEPS]
    spans = [max(0, min(end, run["steps"]) - p.start) for p, end in zip(plan, ends, strict=True)]
    kind = arm.split()[0]
    return sum(n * price[f"{kind} {p.side}"][what] for n, p in zip(spans, plan, strict=True))


def ratio(over: list[float | None], under: list[float | None]) -> dict[str, Any] | None:
    """Return the geometric mean of ratios by seed with its 95 % interval, or None.

    Seeds that only one of both ran are left out. None where a seed of either never came to the
    goal, or where there are fewer than two.
    """
    over, under = (x[: min(len(over), len(under))] for x in (over, under))
    if None in over or None in under or len(over) < 2:
        return None
    logs = np.log(np.array(over, float) / np.array(under, float))
    estimate, low, high = np.exp(evidence.t_interval(logs))
    return {"estimate": float(estimate), "low": float(low), "high": float(high)}


def table(variant: str, runs: list[dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Return, for one size of net, what each arm took by seed, and how many times less V2 took."""
    price, arms = prices(variant, rounds), {}
    for arm in ARMS:
        mine = sorted((r for r in runs if r["job"]["arm"] == arm), key=lambda r: r["job"]["seed"])
        losses = [min(check[2] for check in r["curve"]) for r in mine]
        told = evidence.learned(losses, float(np.log(2))) if len(mine) > 1 else None
        arms[arm] = {
            "steps": [r["steps"] for r in mine], "curves": [r["curve"] for r in mine],
            "lr": mine[0]["job"]["lr"], "learned": told and asdict(told),
            "seconds": [paid(r, price, "seconds") for r in mine],
            "multiply_adds": [paid(r, price, "multiply_adds") for r in mine],
        }  # fmt: skip
    faster = {
        f"{a} over {b}".replace(" ", "_"): {w: ratio(arms[a][w], arms[b][w])
                          for w in ("steps", "multiply_adds", "seconds")}
        for a, b in (("v1", "v2"), ("v2", "v2 growing"), ("v2", "v2 growing sooner"))
    }  # fmt: skip
    return {"arms": arms, "price": price, "faster": faster}


def main(argv: Sequence[str] | None = None) -> None:
    """Clock, tune, race, store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, default=8, help="of the small nets (%(default)s)")
    add("--full-seeds", type=int, default=0, help="of B0 and V2-B0, minutes each (%(default)s)")
    add("--rounds", type=int, default=5, help="of the clocks (%(default)s)")
    add("--jobs", type=int, default=1, help="nets at a time (%(default)s); 1 for clean clocks")
    add("--store", type=Path, default=Path("_build/studies/efficientnet_v2"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    args.store.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    pool: Any = Parallel(n_jobs=args.jobs, return_as="generator")

    def ask(jobs: list[Job]) -> list[dict[str, Any]]:
        found = pool(delayed(kept)(job, args.store) for job in jobs)
        return list(tqdm(found, total=len(jobs), unit="net"))

    tuned = ask([Job(k, "mini", lr, TUNING) for k in ("v1", "v2") for lr in RATES])
    rate = {kind: chosen(kind, tuned) for kind in ("v1", "v2")}
    races, counts = {}, {"mini": args.seeds, "b0": args.full_seeds}
    for variant, count in counts.items():
        if count:
            every = [(arm, seed) for seed in range(count) for arm in ARMS
                     if seed < PLANNED or arm != "v2 growing"]  # fmt: skip
            runs = ask([Job(arm, variant, rate[arm.split()[0]], seed) for arm, seed in every])
            races[variant] = table(variant, runs, args.rounds)
    stored = {
        "races": races, "tuning": tuned, "blocks": blocks(args.rounds), "nets": nets(args.rounds),
        "setting": {"side": SIDE, "batch": BATCH, "checked": CHECKED, "every": EVERY,
                    "goal": GOAL, "steps": STEPS, "rates": RATES, "growing": GROWING,
                    "phases": [p._asdict() for p in phases("v2 growing")],
                    "rounds": args.rounds},
    }  # fmt: skip
    results.save(
        "efficientnet_v2", stored, seed=list(range(args.seeds)),
        command="make study STUDY=efficientnet_v2", seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
