"""EfficientNet-B0 from scratch at 224 pixels on real candlesticks: the seed's subject, measured.

    SETRADE_DATA=<folder> make study STUDY=b0_real

Pictures of 64 bars; the target is the side of the next 12 bars, up or down. Parts, by ``--part``:
``rule`` (the same loop learns from the same pictures whether the mean close of 8 bars lies above
that of 24: a net that cannot learn this was trained wrongly), ``split`` (the seed's 70/15/15 of
2022 to 2024, hourly Bybit bars, two seeds), ``folds`` (2022, 2023 and 2024, each trained on all
before), ``quarter`` (70/15/15 of 15-minute Binance bars, a stand-in for the venue) and, as an
extra that no other waits for, ``planted`` (sides planted in the same bars at the seed's 54.2 %,
two seeds: would it have seen them?). Training windows at a stride of 4 (16 at 15 minutes); 12
epochs, or four without gain on validation. The state is saved after every epoch: a run that was
killed goes on. The result is stored when all parts but the extra are whole. ``--variant b3``
trains B3 at 300 pixels and stores ``b3_real``. Nothing was tuned on these bars.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frozen_real import QUARTERS, RULES, Answer, linear, row, rule, trees
from frozen_real import Plan as Frozen
from picture_folds import (
    FUNDING,
    Bars,
    claim,
    drawn,
    kept,
    load,
    numbers,
    split,
    target,
    taught,
    usable,
    zone,
)
from tqdm import tqdm

from setrade import labels, results, training
from setrade.efficientnet import VARIANTS, EfficientNet
from setrade.study.store import HOURS, REQUESTS

PARTS = ("rule", "split", "folds", "quarter", "planted")
WHOLE = PARTS[:4]  # what the stored result must hold
YEARS = ("2022", "2023", "2024")
SEED_SPLIT = "70/15/15"


@dataclass(frozen=True)
class Setting:
    """What all runs share; fixed before any real bar was seen."""

    variant: str = "b0"
    size: int = 224
    lookback: int = 64
    stride: int = 4
    quarter_stride: int = 16
    begin: str = "2022-01-01"  # of the span that 70/15/15 divide
    num_epochs: int = 12
    patience: int = 4
    lr: float = 1e-3
    batch_size: int = 32
    weight_decay: float = 0.01
    rounds: int = 200  # of the trees beside it

    def plan(self, seed: int) -> training.Plan:
        """Return how a net is trained."""
        names = ["num_epochs", "patience", "lr", "batch_size", "weight_decay"]
        return training.Plan(seed=seed, **{name: getattr(self, name) for name in names})

    def net(self) -> EfficientNet:
        """Return a new net of two classes.

        Its head is not drawn as published: ±1 / √classes is meant for a thousand, and for two the
        first loss would be several nats.
        """
        return EfficientNet(self.variant, num_classes=2, published=False)


@dataclass(frozen=True)
class Run:
    """One net to train: on which file, target and split, from which seed."""

    part: str
    target: str
    file: str = HOURS
    fold: str = SEED_SPLIT  # or a year to test
    seed: int = 0

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.part}-{self.target}-{self.fold.replace('/', '-')}-{self.seed}"


RUNS = (
    Run("rule", "averages"),
    *(Run("split", "next_12", seed=seed) for seed in range(2)),
    *(Run("folds", "next_12", fold=year) for year in YEARS),
    Run("quarter", "next_12", QUARTERS),
    *(Run("planted", f"planted_542_{seed}", seed=seed) for seed in range(2)),
)


def bars_of(run: Run, data: Path, setting: Setting) -> Bars:
    """Return a run's bars: all of the file for folds, else those of the seed's years."""
    return load(data / run.file, begin=setting.begin if run.fold == SEED_SPLIT else None)


def split_of(run: Run, bars: Bars, setting: Setting) -> labels.Split:
    """Return a run's training, validation and test ends, at a stride of one."""
    y, _, horizon = target(bars, run.target)
    if run.fold != SEED_SPLIT:
        year = int(run.fold)
        span = ("", f"{year - 1}-10-01", f"{year}-01-01", f"{year + 1}-01-01")
        return split(bars, y, span, lookback=setting.lookback, horizon=horizon)
    found = labels.chronological(
        len(y), lookback=setting.lookback, horizon=horizon, embargo=horizon
    )
    return usable(bars, y, found, setting.lookback)


def strides(run: Run, setting: Setting) -> tuple[int, int, int]:
    """Return the strides of training, validation and test windows."""
    step = setting.quarter_stride if run.file == QUARTERS else setting.stride
    return step, step, 4 if run.file == QUARTERS else 1


def home(run: Run, bars: Bars, setting: Setting, folder: Path) -> Path:
    """Return a run's folder, which no other data or setting may use."""
    mine = asdict(setting)
    mine.pop("num_epochs")  # a run may be made longer
    return claim(folder / run.name, mine | asdict(run) | {"data": bars.sha256})


def train(run: Run, data: Path, setting: Setting, folder: Path) -> dict[str, Any]:
    """Train what a run lacks; return its forecasts (validation, test) and history."""
    bars = bars_of(run, data, setting)
    found, y = split_of(run, bars, setting), target(bars, run.target)[0]
    look, steps = ("candles", setting.size, setting.lookback), strides(run, setting)
    sets, where = drawn(bars, found, y, look, steps), home(run, bars, setting, folder)
    p, history = taught(where, setting.net, sets, setting.plan(run.seed))
    n = len(sets[1])
    return {"validation": p[:n], "test": p[n:], "history": history, "sizes": list(map(len, sets))}


def beside(run: Run, data: Path, setting: Setting, folder: Path) -> dict[str, np.ndarray]:
    """Return forecasts (validation, test) of what stands beside the net, on the same windows."""
    bars = bars_of(run, data, setting)
    found, (y, _, horizon) = split_of(run, bars, setting), target(bars, run.target)
    steps, where = strides(run, setting), home(run, bars, setting, folder)
    sets = [e[::k] for e, k in zip((found.train, found.validation, found.test), steps, strict=True)]
    windows = bars.windows(setting.lookback)
    x, check, test = (numbers(windows[ends - setting.lookback + 1]) for ends in sets)
    known = (x, y[sets[0]].astype(np.int64), check, y[sets[1]].astype(np.int64), test)
    out = {
        "numbers/trees": kept(where / "trees.npy", lambda: trees(*known, setting.rounds, 0)),
        "numbers/linear": kept(where / "linear.npy", lambda: linear(*known)),
    }
    plain = RULES if run.target.startswith("next") else ("class shares",)
    return out | {name: rule(name, bars, labels.Split(*sets), y, horizon) for name in plain}


def positions(name: str, check: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the positions of a row of the table; a constant forecast has no zone."""
    if name in ("class shares", "buy and hold"):
        return np.full(len(test), float(name == "buy and hold"))
    return zone(test, check)


def answers(runs: list[Run], data: Path, setting: Setting, folder: Path) -> dict[str, Answer]:
    """Return the rows of one part: seeds stacked, folds joined."""
    cells: dict[str, dict[int, list[tuple]]] = {}
    for run in runs:
        bars, net = bars_of(run, data, setting), train(run, data, setting, folder)
        found, (y, ahead, _) = split_of(run, bars, setting), target(bars, run.target)
        step, ends = strides(run, setting), found.test[:: strides(run, setting)[2]]
        share, n = float(y[found.train[:: step[0]]].mean()), len(net["validation"])
        told = {setting.variant: np.r_[net["validation"], net["test"]]}
        for name, p in (told | beside(run, data, setting, folder)).items():
            mine = (p[n:], positions(name, p[:n], p[n:]))
            rest = (y[ends], ahead[ends], ends, np.full(len(ends), share))
            cells.setdefault(name, {}).setdefault(run.seed, []).append((*mine, *rest))
    out = {}
    for name, by_seed in cells.items():
        parts = [[np.concatenate(v) for v in zip(*rows, strict=True)] for rows in by_seed.values()]
        stacked = [np.array([part[k] for part in parts]) for k in (0, 1)]
        out[name] = Answer(*stacked, *parts[0][2:])
    return out


def table(part: str, data: Path, setting: Setting, folder: Path) -> dict[str, Any]:
    """Return one part's rows, with the learning curves of its nets."""
    runs = [run for run in RUNS if run.part == part]
    block = 48.0 if runs[0].file == QUARTERS else 96.0  # windows: half a day, four days
    bars, plan = bars_of(runs[0], data, setting), Frozen(block=block)
    trades = runs[0].file == HOURS and runs[0].target.startswith("next")
    groups = [runs] if part != "planted" else [[run] for run in runs]  # another truth each
    rows: dict[str, Any] = {}
    for group in groups:
        found = answers(group, data, setting, folder)
        key = group[0].target
        rows[key] = {name: row(one, bars, plan, data, trades) for name, one in found.items()}
    nets = {run.name: train(run, data, setting, folder) for run in runs}
    curves = {name: net["history"] | {"sizes": net["sizes"]} for name, net in nets.items()}
    return {"rows": rows, "curves": curves}


# ---- What it will take, and the command line.


def speed(setting: Setting, n: int = 2) -> tuple[float, float]:
    """Return seconds a picture of a training step and of a forecast, measured here."""
    training.seed_everything(0)
    net: Any = setting.net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(setting.batch_size, 3, setting.size, setting.size)
    y = torch.zeros(len(x), dtype=torch.long)

    def step() -> None:
        torch.nn.functional.cross_entropy(net(x), y).backward()

    def forecast() -> None:
        with torch.inference_mode():
            net.eval()(x)

    def seconds(call: Any) -> float:
        call()
        start = time.perf_counter()
        for _ in range(n):
            call()
        return (time.perf_counter() - start) / n / len(x)

    return seconds(step), seconds(forecast)


def left(
    runs: list[Run], data: Path, setting: Setting, folder: Path
) -> Iterator[tuple[Run, int, int]]:
    """Yield the runs that are not whole, with pictures an epoch to train on and to forecast."""
    for run in runs:
        bars = bars_of(run, data, setting)
        if not (home(run, bars, setting, folder) / "p.npy").is_file():
            found, steps = split_of(run, bars, setting), strides(run, setting)
            yield run, len(found.train) // steps[0], len(found.validation) // steps[1]


def estimate(runs: list[Run], data: Path, setting: Setting, folder: Path) -> list[Run]:
    """Say what is left, run by run, before it starts; return it."""
    todo = list(left(runs, data, setting, folder))
    if todo:
        train_s, ask_s = speed(setting)
        total = 0.0
        for run, train_n, check_n in todo:
            hours = setting.num_epochs * (train_n * train_s + check_n * ask_s) / 3600
            total += hours
            tqdm.write(f"{run.name}: {setting.num_epochs} epochs of {train_n} pictures x "
                       f"{1e3 * train_s:.0f} ms, at most {hours:.1f} hours")  # fmt: skip
        tqdm.write(f"{len(todo)} runs left, at most {total:.1f} hours; killed, they go on")
    return [run for run, _, _ in todo]


def store(data: Path, setting: Setting, folder: Path, start: float) -> None:
    """Store the result if all parts but the extra are whole; else say which are not."""
    missing = {run.part for run, _, _ in left(list(RUNS), data, setting, folder)}
    if lacks := [part for part in WHOLE if part in missing]:
        print(f"{setting.variant}_real: nothing stored yet, {', '.join(lacks)} not whole")
        return
    parts = [part for part in PARTS if part not in missing]
    stored = {
        "setting": asdict(setting), "request": REQUESTS[HOURS],
        "stand_in": f"{QUARTERS}: Binance for Bybit, whose 15-minute bars begin in 2023-11",
        "parts": {part: table(part, data, setting, folder) for part in parts},
    }  # fmt: skip
    results.save(
        f"{setting.variant}_real", stored, seed=[0, 1], seconds=time.perf_counter() - start,
        command="SETRADE_DATA=<folder> make study STUDY=b0_real", device=training.describe(),
        data={f: results.sha256(data / f) for f in (HOURS, QUARTERS, FUNDING)},
    )  # fmt: skip


def main() -> None:
    """Train what is missing of the parts asked for."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--part", choices=PARTS, nargs="*", default=list(WHOLE))
    add("--variant", choices=[name for name in VARIANTS if name.startswith("b")], default="b0")
    add("--stride", type=int, default=4, help="of hourly training windows (%(default)s)")
    add("--epochs", type=int, default=12)
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--data", type=Path, default=os.environ.get("SETRADE_DATA"))
    add("--store", type=Path, default=Path("_build/studies"))
    args = parser.parse_args()
    if args.data is None:
        parser.error(f"SETRADE_DATA must name the folder with {HOURS}, {QUARTERS} and {FUNDING}")
    torch.set_num_threads(args.threads)
    setting = Setting(
        variant=args.variant, size=VARIANTS[args.variant].resolution, num_epochs=args.epochs,
        stride=args.stride, quarter_stride=4 * args.stride,
    )  # fmt: skip
    start, folder = time.perf_counter(), args.store / f"{args.variant}_real"
    runs = [run for run in RUNS if run.part in args.part]
    for run in tqdm(estimate(runs, args.data, setting, folder), unit="net"):
        history = train(run, args.data, setting, folder)["history"]
        tqdm.write(f"{run.name}: validation loss {min(history['val_loss']):.4f} "
                   f"after epoch {history['best_epoch']}")  # fmt: skip
    store(args.data, setting, folder, start)


if __name__ == "__main__":
    main()
