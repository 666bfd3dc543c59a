"""Can a net learn the rule, or the future? The same net, the same pictures, two kinds of target.

    SETRADE_DATA=<folder> make study STUDY=rule_or_future

After Cohen, Balch and Veloso (2020), who teach image classifiers to find the points at which an
indicator's rule says buy. Lite0 with ImageNet's weights is fine-tuned at 96 pixels on candlestick
pictures of 48 hourly Bybit bars, two seeds a target: three rules (RSI above 70, the mean close of
8 bars above that of 24, the last bar engulfs the one before) and two futures (the side of the next
bar and of the next 12). Training ends with September 2022, the last quarter of 2022 stops it, and
2023 and 2024 are the test. Beside each net stand boosted trees on the same windows as numbers.
Settings are the same for all, and were fixed before any real bar was seen. Every net is saved
after each epoch: a run that was killed goes on. ``--trees`` trains no net: it fits the trees to the
stored targets anew and keeps the nets' rows.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frozen_real import Answer, row, trees
from frozen_real import Plan as Frozen
from joblib import Parallel, delayed
from picture_folds import (
    FUNDING,
    RULES,
    Bars,
    claim,
    drawn,
    load,
    numbers,
    split,
    target,
    taught,
    zone,
)
from tqdm import tqdm

from setrade import labels, results, training
from setrade.errors import ArgumentError
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
    rounds: int = 200  # of the trees

    def plan(self, seed: int) -> training.Plan:
        """Return how a net is trained."""
        names = ["num_epochs", "patience", "lr", "batch_size", "weight_decay"]
        return training.Plan(seed=seed, **{name: getattr(self, name) for name in names})


def net() -> Transfer:
    """Return Lite0 with ImageNet's weights and a new head of two classes, nothing frozen."""
    return Transfer(pretrained("lite0"), num_classes=2)


def split_of(name: str, bars: Bars, setting: Setting) -> labels.Split:
    """Return a target's training, validation and test ends, at a stride of one."""
    y, _, horizon = target(bars, name)
    return split(bars, y, setting.span, lookback=setting.lookback, horizon=horizon)


def ends_of(name: str, bars: Bars, setting: Setting) -> list[np.ndarray]:
    """Return the ends of the windows that are used: training, validation, test."""
    found = split_of(name, bars, setting)
    sets = (found.train, found.validation, found.test)
    return [rows[::k] for rows, k in zip(sets, setting.strides, strict=True)]


def train(
    name: str, seed: int, bars: Bars, setting: Setting, folder: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train a net on one target; return P(class 1) for validation and test, and its history."""
    torch.set_num_threads(1)
    look = ("candles", setting.size, setting.lookback)
    mine = asdict(setting) | {"data": bars.sha256}
    for other in ("num_epochs", "rounds"):  # a run may be made longer, and trees are no net
        mine.pop(other)
    where, y = claim(folder / f"{name}-{seed}", mine), target(bars, name)[0]
    sets = drawn(bars, split_of(name, bars, setting), y, look, setting.strides)
    return taught(where, net, sets, setting.plan(seed))


def beside(name: str, bars: Bars, setting: Setting) -> np.ndarray:
    """Return P(class 1) for validation and test of trees on the same windows as numbers."""
    ends, y = ends_of(name, bars, setting), target(bars, name)[0]
    windows = bars.windows(setting.lookback)
    x, check, test = (numbers(windows[rows - setting.lookback + 1]) for rows in ends)
    known, truth = (y[rows].astype(np.int64) for rows in ends[:2])
    return trees(x, known, check, truth, test, setting.rounds, 0)


def answer(name: str, p: np.ndarray, bars: Bars, setting: Setting) -> Answer:
    """Return what forecasts (seeds, validation and test) said of the test, and what came."""
    y, ahead, _ = target(bars, name)
    train_ends, check_ends, ends = ends_of(name, bars, setting)
    n, share = len(check_ends), np.full(len(ends), y[train_ends].mean())
    held = np.array([zone(one[n:], one[:n]) for one in p])
    return Answer(p[:, n:], held, y[ends], ahead[ends], ends, share)


def row_of(name: str, p: np.ndarray, bars: Bars, setting: Setting, data: Path) -> dict[str, Any]:
    """Return a row of the table: forecasts (seeds, validation and test) of a target, judged."""
    trades, plan = name.startswith("next"), Frozen(block=setting.block)
    found = row(answer(name, p, bars, setting), bars, plan, data, trades=trades)
    every = found["all"]
    every["above_majority"] = every["accuracy"]["estimate"] - every["majority"]
    return found


def of_trees(name: str, bars: Bars, setting: Setting, data: Path) -> dict[str, Any]:
    """Return the row of the trees on numbers."""
    return row_of(name, beside(name, bars, setting)[None], bars, setting, data)


def table(seeds: int, bars: Bars, setting: Setting, folder: Path, data: Path) -> dict[str, Any]:
    """Return, by target, what it is, the rows of the test, and the nets' learning curves."""
    out = {}
    for name in TARGETS:
        nets = [train(name, seed, bars, setting, folder) for seed in range(seeds)]
        mine = row_of(name, np.array([p for p, _ in nets]), bars, setting, data)
        out[name] = {
            "what": WHAT[name], "row": mine, "trees": of_trees(name, bars, setting, data),
            "curves": [history for _, history in nets],
        }  # fmt: skip
    return out


def with_trees(
    stored: dict[str, Any], sha256: dict[str, str], bars: Bars, setting: Setting, data: Path
) -> dict[str, Any]:
    """Return the results of a stored record, with trees fitted anew beside its nets.

    Raises:
        ArgumentError: the nets were trained on other bars or settings.
    """
    old = stored["results"]
    same = old["setting"] | {"rounds": setting.rounds} == results.plain(asdict(setting))
    if not same or stored["data_sha256"] != sha256:
        raise ArgumentError("rule_or_future.json", stored["command"], "nets of these bars")
    nets = {key: stored[key] for key in ("commit", "machine", "device", "seconds")}
    told = {
        name: one | {"trees": of_trees(name, bars, setting, data)}
        for name, one in tqdm(old["targets"].items(), unit="target")
    }
    return old | {"setting": asdict(setting), "nets": old.get("nets", nets), "targets": told}


def estimate(left: list[tuple[str, int]], bars: Bars, setting: Setting, jobs: int) -> str:
    """Return the sentence that says what is left and how long it takes, measured here."""
    torch.set_num_threads(1)
    found = split_of(TARGETS[0], bars, setting)
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


def whole(args: Any, bars: Bars, setting: Setting) -> dict[str, Any]:
    """Train what is missing; return what is stored."""
    every = [(name, seed) for seed in range(args.seeds) for name in TARGETS]
    left = [k for k in every if not (args.store / f"{k[0]}-{k[1]}" / "p.npy").is_file()]
    if left:
        tqdm.write(estimate(left, bars, setting, args.jobs))
    pool: Any = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    tasks = (delayed(train)(name, seed, bars, setting, args.store) for name, seed in left)
    for _ in tqdm(pool(tasks), total=len(left), unit="net"):
        pass
    return {
        "setting": asdict(setting), "request": REQUESTS[HOURS],
        "targets": table(args.seeds, bars, setting, args.store, args.data),
    }  # fmt: skip


def main() -> None:
    """Train the nets that are missing, two at a time, then store the table."""
    asked = parser(__doc__, "_build/studies/rule_or_future")
    asked.add_argument("--seeds", type=int, default=2)
    asked.add_argument("--trees", action="store_true", help="fit the trees anew, train no net")
    args = parsed(asked, needs=f"{HOURS} and {FUNDING}")
    start, setting, bars = time.perf_counter(), Setting(), load(args.data / HOURS)
    sha256 = {f: results.sha256(args.data / f) for f in (HOURS, FUNDING)}
    command = "SETRADE_DATA=<folder> make study STUDY=rule_or_future"
    if args.trees:
        command += " ARGS=--trees"
        record = results.load("rule_or_future")
        stored, seeds = with_trees(record, sha256, bars, setting, args.data), record["seed"]
    else:
        stored, seeds = whole(args, bars, setting), list(range(args.seeds))
    results.save(
        "rule_or_future", stored, seed=seeds, device=training.describe(),
        command=command, seconds=time.perf_counter() - start, data=sha256,
    )  # fmt: skip


if __name__ == "__main__":
    main()
