"""Can a net learn the rule, or the future? The same net, the same pictures, two kinds of target.

    SETRADE_DATA=<folder> make study STUDY=rule_or_future

After Cohen, Balch and Veloso (2020), who teach image classifiers to find the points at which an
indicator's rule says buy. Lite0 with ImageNet's weights is fine-tuned at 96 pixels on candlestick
pictures of 48 hourly Bybit bars, two seeds a target: three rules (RSI above 70, the mean close of
8 bars above that of 24, the last bar engulfs the one before) and two futures (the side of the next
bar and of the next 12). Training ends with September 2022, the last quarter of 2022 stops it, and
2023 and 2024 are the test. Settings are the same for all, and were fixed before any real bar was
seen. Every net is saved after each epoch: a run that was killed goes on.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frozen_real import Answer, row
from frozen_real import Plan as Frozen
from joblib import Parallel, delayed
from picture_folds import FUNDING, RULES, Bars, claim, drawn, load, split, target, taught, zone
from tqdm import tqdm

from setrade import results, training
from setrade.models.backbones import Transfer, pretrained
from setrade.study.command import parsed, parser
from setrade.study.store import HOURS, REQUESTS

TARGETS = (*RULES, "next_1", "next_12")
WHAT = RULES | {"next_1": "the next bar is up", "next_12": "the next 12 bars are up"}


@dataclass(frozen=True)
class Setting:
    """What all nets share."""

    size: int = 96  # two columns of pixels a bar
    lookback: int = 48
    strides: tuple[int, int, int] = (4, 4, 2)  # of training, validation and test windows
    span: tuple[str, ...] = ("", "2022-10-01", "2023-01-01", "2025-01-01")
    num_epochs: int = 8
    patience: int = 3
    lr: float = 5e-4
    batch_size: int = 64
    weight_decay: float = 0.01
    block: float = 48.0  # test windows in a bootstrap block: four days

    def plan(self, seed: int) -> training.Plan:
        """Return how a net is trained."""
        names = ["num_epochs", "patience", "lr", "batch_size", "weight_decay"]
        return training.Plan(seed=seed, **{name: getattr(self, name) for name in names})


def net() -> Transfer:
    """Return Lite0 with ImageNet's weights and a new head of two classes, nothing frozen."""
    return Transfer(pretrained("lite0"), num_classes=2)


def train(
    name: str, seed: int, bars: Bars, setting: Setting, folder: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train a net on one target; return P(class 1) for validation and test, and its history."""
    torch.set_num_threads(1)
    y, _, horizon = target(bars, name)
    found = split(bars, y, setting.span, lookback=setting.lookback, horizon=horizon)
    look = ("candles", setting.size, setting.lookback)
    mine = asdict(setting) | {"data": bars.sha256}
    mine.pop("num_epochs")  # a run may be made longer
    where = claim(folder / f"{name}-{seed}", mine)
    return taught(where, net, drawn(bars, found, y, look, setting.strides), setting.plan(seed))


def answer(name: str, seeds: int, bars: Bars, setting: Setting, folder: Path) -> Answer:
    """Return what the nets of a target said of the test windows, and what came."""
    y, ahead, horizon = target(bars, name)
    found = split(bars, y, setting.span, lookback=setting.lookback, horizon=horizon)
    ends, n = found.test[:: setting.strides[2]], len(found.validation[:: setting.strides[1]])
    share = np.full(len(ends), y[found.train[:: setting.strides[0]]].mean())
    p = np.array([train(name, seed, bars, setting, folder)[0] for seed in range(seeds)])
    held = np.array([zone(one[n:], one[:n]) for one in p])
    return Answer(p[:, n:], held, y[ends], ahead[ends], ends, share)


def table(seeds: int, bars: Bars, setting: Setting, folder: Path, data: Path) -> dict[str, Any]:
    """Return, by target, what it is, the row of the test, and the nets' learning curves."""
    out, plan = {}, Frozen(block=setting.block)
    for name in TARGETS:
        one = answer(name, seeds, bars, setting, folder)
        curves = [train(name, seed, bars, setting, folder)[1] for seed in range(seeds)]
        found = row(one, bars, plan, data, trades=name.startswith("next"))
        found["all"]["above_majority"] = (
            found["all"]["accuracy"]["estimate"] - found["all"]["majority"]
        )
        out[name] = {"what": WHAT[name], "row": found, "curves": curves}
    return out


def estimate(left: list[tuple[str, int]], bars: Bars, setting: Setting, jobs: int) -> str:
    """Return the sentence that says what is left and how long it takes, measured here."""
    torch.set_num_threads(1)
    y, _, horizon = target(bars, TARGETS[0])
    found = split(bars, y, setting.span, lookback=setting.lookback, horizon=horizon)
    ready, x = net().train(), torch.rand(setting.batch_size, 3, setting.size, setting.size)

    def step() -> float:
        start = time.perf_counter()
        ready(x).square().sum().backward()
        return time.perf_counter() - start

    seconds = min(step() for _ in range(3)) / len(x)
    n = setting.num_epochs * len(found.train) // setting.strides[0]
    minutes = len(left) * n * seconds / jobs / 60
    return (
        f"{len(left)} nets left: at most {setting.num_epochs} epochs, {n} pictures x "
        f"{1e3 * seconds:.1f} ms each, {jobs} at a time: at most {minutes:.0f} minutes"
    )


def main() -> None:
    """Train the nets that are missing, two at a time, then store the table."""
    asked = parser(__doc__, "_build/studies/rule_or_future")
    asked.add_argument("--seeds", type=int, default=2)
    args = parsed(asked, needs=f"{HOURS} and {FUNDING}")
    start, setting, bars = time.perf_counter(), Setting(), load(args.data / HOURS)
    every = [(name, seed) for seed in range(args.seeds) for name in TARGETS]
    left = [k for k in every if not (args.store / f"{k[0]}-{k[1]}" / "p.npy").is_file()]
    if left:
        tqdm.write(estimate(left, bars, setting, args.jobs))
    pool: Any = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    tasks = (delayed(train)(name, seed, bars, setting, args.store) for name, seed in left)
    for _ in tqdm(pool(tasks), total=len(left), unit="net"):
        pass
    stored = {
        "setting": asdict(setting), "request": REQUESTS[HOURS],
        "targets": table(args.seeds, bars, setting, args.store, args.data),
    }  # fmt: skip
    results.save(
        "rule_or_future", stored, seed=list(range(args.seeds)), device=training.describe(),
        command="SETRADE_DATA=<folder> make study STUDY=rule_or_future",
        seconds=time.perf_counter() - start,
        data={f: results.sha256(args.data / f) for f in (HOURS, FUNDING)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
