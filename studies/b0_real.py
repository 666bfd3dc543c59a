"""EfficientNet-B0 from scratch at 224 pixels on real candlesticks: the seed's subject, measured.

    SETRADE_DATA=<folder> make study STUDY=b0_real

Pictures of 64 bars; the target is the side of the next 12 bars, up or down. Parts, by ``--part``:
``rule`` (the same loop learns from the same pictures whether the mean close of 8 bars lies above
that of 24: a net that cannot learn this was trained wrongly), ``split`` (the seed's 70/15/15 of
2022 to 2024, hourly Bybit bars, two seeds), ``folds`` (2022, 2023 and 2024, each trained on all
before), ``quarter`` (70/15/15 of 15-minute Binance bars, a stand-in for the venue) and, as an extra
that no other waits for, ``planted`` (sides planted in the same bars at the seed's 54.2 %, two
seeds: would it have seen them?). Training windows at a stride of 4 (16 at 15 minutes); 12 epochs,
or four without gain on validation. One net a core and one thread a net. The state is saved after
every epoch: a run that was killed goes on. The result is stored as soon as ``rule`` and ``split``
are whole, and grows by each further part that is; parts that were stored before stay. ``--variant
b3`` trains B3 at 300 pixels from one seed and stores ``b3_real``; what is stored was made with
``--batch-size 16`` and ``--stride 16``, chosen for memory and time after B0 had been tested.
On a GPU pictures are drawn once and kept on the card, and ``b0_gpu``, ``b3_gpu`` and ``b5_gpu`` are
stored; ``--result b0_gpu`` makes their tables from kept runs on a machine without one. Nothing was
tuned on these bars.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frozen_real import QUARTERS, RULES, Answer, linear, row, rule, trees
from frozen_real import Plan as Frozen
from joblib import Parallel, delayed, parallel_config
from picture_folds import (
    FUNDING,
    Bars,
    Drawn,
    bounds,
    claim,
    drawn,
    funding,
    kept,
    load,
    money,
    numbers,
    split,
    target,
    taught,
    usable,
    zone,
)
from sklearn.metrics import f1_score, precision_score, recall_score
from tqdm import tqdm

from setrade import labels, metrics, pictures, results, training
from setrade.efficientnet import VARIANTS, EfficientNet
from setrade.files import write_atomic
from setrade.inference import measure
from setrade.study.command import parsed, parser
from setrade.study.store import HOURS, REQUESTS

PARTS = ("rule", "split", "folds", "quarter", "planted")
NEEDED = PARTS[:2]  # what the stored result must hold
MADE = "device.txt"  # of a run: where it was trained, by which torch and commit
YEARS = ("2022", "2023", "2024")
SEED_SPLIT = "70/15/15"
MACRO: dict[str, Any] = {"average": "macro", "labels": [0, 1], "zero_division": 0}


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


def runs_of(setting: Setting) -> list[Run]:
    """Return all runs; of nets that want more than 224 pixels one seed each, for want of hours."""
    return [run for run in RUNS if run.seed == 0 or setting.size <= 224]


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
    mine = asdict(setting) | asdict(run) | {"data": bars.sha256}
    return claim(folder / run.name, mine)


class OnCard:
    """Pictures drawn once and kept on a GPU as bytes: a batch takes no drawing and no copy.

    B * 3 * H * W bytes: 4 GB for 26,000 pictures of 224 pixels.
    """

    def __init__(self, drawn: Drawn, device: torch.device) -> None:
        self.drawn, self.device = drawn, device
        self.kept: tuple[torch.Tensor, torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.drawn)

    def all(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all pictures (uint8) and classes; drawn when they are first asked for."""
        if self.kept is None:
            first, _ = self.drawn.batch(torch.arange(1))
            shape = (len(self), *first.shape[1:])
            x = torch.empty(shape, dtype=torch.uint8, device=self.device)
            y = torch.empty(len(self), dtype=torch.int64, device=self.device)
            for rows in torch.arange(len(self)).split(256):
                part, classes = self.drawn.batch(rows)
                span = slice(int(rows[0]), int(rows[-1]) + 1)
                x[span] = (255 * part).round().to(self.device, torch.uint8)
                y[span] = classes.to(self.device)
            self.kept = x, y
        return self.kept

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 (B, 3, size, size) in [0, 1] and classes (B,), on the GPU."""
        (x, y), rows = self.all(), rows.to(self.device)
        return pictures.to_input(x[rows]), y[rows]


def train(run: Run, data: Path, setting: Setting, folder: Path) -> dict[str, Any]:
    """Train what a run lacks; return its forecasts (validation, test) and history."""
    bars = bars_of(run, data, setting)
    found, y = split_of(run, bars, setting), target(bars, run.target)[0]
    look, steps = ("candles", setting.size, setting.lookback), strides(run, setting)
    sets: list[Any] = drawn(bars, found, y, look, steps)
    where, device = home(run, bars, setting, folder), training.device()
    if device.type != "cpu":
        sets = [OnCard(part, device) for part in sets]
    if not (where / "p.npy").is_file():
        made = f"{training.describe(device)}, torch {torch.__version__}, commit {results.commit()}"
        write_atomic(where / MADE, made)
    p, history = taught(where, setting.net, sets, setting.plan(run.seed))
    note = where / MADE  # runs that were kept before have none
    return {
        "validation": p[: len(sets[1])], "test": p[len(sets[1]) :], "history": history,
        "sizes": list(map(len, sets)),
        "made": note.read_text(encoding="utf-8") if note.is_file() else history["device"],
    }  # fmt: skip


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
    out["one half"] = np.full(len(sets[1]) + len(sets[2]), 0.5)  # knows no share of any year
    plain = RULES if run.target.startswith("next") else ("class shares",)
    return out | {name: rule(name, bars, labels.Split(*sets), y, horizon) for name in plain}


def positions(name: str, check: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the positions of a row of the table; a constant forecast has no zone."""
    if name in ("class shares", "one half", "buy and hold"):
        return np.full(len(test), float(name == "buy and hold"))
    return zone(test, check)


def claimed(one: Answer, bars: Bars, data: Path, block: float) -> dict[str, dict[str, float]]:
    """Return the eight figures that the seed has of its nets, with block-bootstrap intervals.

    Macro precision, recall and F1 over two classes; money after fees and funding. All are means
    over seeds. The intervals redraw windows, days or trades, and not the nets. The trades of two
    nets have no common clock: the ends of the win rate's interval are the means of each net's own.
    """
    told = np.column_stack([one.y, *(one.p > 0.5)]).astype(np.int64)
    rates = funding(data)
    traded = [money(bars, one.ends, held, rates) for held in one.position]
    days = np.column_stack([row["net"] for row in traded])
    won = [bounds(np.mean, 1.0 * (row["pnl"] > 0), 10.0) for row in traded if len(row["pnl"])]

    def macro(score: Any) -> dict[str, float]:
        return bounds(lambda x: np.mean([score(x[:, 0], k, **MACRO) for k in x.T[1:]]), told, block)

    def yearly(figure: Any) -> dict[str, float]:
        return bounds(lambda x: np.nan_to_num(figure(x.T)).mean(), days, 10.0)

    return {
        "accuracy": bounds(np.mean, one.told(), block),
        "precision": macro(precision_score), "recall": macro(recall_score), "f1": macro(f1_score),
        "annual_return": yearly(lambda x: metrics.annual_return(x, 365.0)),
        "sharpe": yearly(lambda x: metrics.sharpe(x, 365.0)),
        "max_drawdown": yearly(metrics.max_drawdown),
        **({"win_rate": {k: float(np.mean([x[k] for x in won])) for k in won[0]}} if won else {}),
    }  # fmt: skip


def each_seed(one: Answer) -> dict[str, list[float]]:
    """Return what each net said by itself: how often class 1 («up»), and how often rightly."""
    said = (one.p > 0.5).astype(int)
    return {
        "up": said.mean(1).tolist(),
        "accuracy": [float((k == one.y).mean()) for k in said],
        "precision": [float(precision_score(one.y, k, **MACRO)) for k in said],
        "f1": [float(f1_score(one.y, k, **MACRO)) for k in said],
    }


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
    """Return one part's rows, with its nets' learning curves, which say where each was trained.

    Code and machine are those that made the table.
    """
    runs = [run for run in runs_of(setting) if run.part == part]
    block = 48.0 if runs[0].file == QUARTERS else 96.0  # windows: two days, four days
    bars, plan = bars_of(runs[0], data, setting), Frozen(block=block)
    trades = runs[0].file == HOURS and runs[0].target.startswith("next")
    groups = [runs] if part != "planted" else [[run] for run in runs]  # another truth each
    rows: dict[str, Any] = {}
    ends = np.array([], dtype=np.int64)
    for group in groups:
        found = answers(group, data, setting, folder)
        key = group[0].target
        rows[key] = {name: row(one, bars, plan, data, trades) for name, one in found.items()}
        mine = found[setting.variant]
        rows[key][setting.variant]["by_seed"] = each_seed(mine)
        if trades:
            rows[key][setting.variant]["claimed"] = claimed(mine, bars, data, block)
        ends = bars.frame.index[mine.ends]
    nets = {run.name: train(run, data, setting, folder) for run in runs}
    told = {name: {k: net[k] for k in ("sizes", "made")} for name, net in nets.items()}
    curves = {name: net["history"] | told[name] for name, net in nets.items()}
    return {
        "rows": rows, "curves": curves, "tested": [str(ends[0]), str(ends[-1])],
        "runs": [asdict(run) for run in runs], "commit": results.commit(),
        "machine": results.machine(),
    }  # fmt: skip


# ---- What it will take, and the command line.


def speed(setting: Setting, n: int = 2) -> tuple[float, float]:
    """Return seconds a picture of a training step and of a forecast, measured here."""
    training.seed_everything(0)
    device = training.device()
    half = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    net: Any = setting.net().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(setting.batch_size, 3, setting.size, setting.size, device=device)
    y = torch.zeros(len(x), dtype=torch.long, device=device)

    def step() -> None:
        with half:
            loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()

    def forecast() -> None:
        with torch.inference_mode():
            net.eval()(x)

    def seconds(call: Any) -> float:
        return measure(call, seconds=1e-9, min_calls=n, device=device).p50 / 1e3 / len(x)

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


def estimate(
    runs: list[Run], data: Path, setting: Setting, folder: Path, jobs: int = 1
) -> list[Run]:
    """Say what is left, run by run, before it starts; return it, the longest first.

    So that no core waits at the end for a long one that began last.
    """
    todo = list(left(runs, data, setting, folder))
    if todo:
        # In a process of its own, that ends: the gigabytes that a batch takes would stay with this
        # one while it waits for the nets.
        apart: Any = {"mp_context": get_context("spawn"), "initializer": torch.set_num_threads}
        with ProcessPoolExecutor(1, initargs=(1,), **apart) as pool:
            train_s, ask_s = pool.submit(speed, setting).result()
        every = []
        for run, train_n, check_n in todo:
            every.append(setting.num_epochs * (train_n * train_s + check_n * ask_s) / 3600)
            tqdm.write(f"{run.name}: {setting.num_epochs} epochs of {train_n} pictures x "
                       f"{1e3 * train_s:.0f} ms, about {every[-1]:.1f} hours")  # fmt: skip
        total = max(sum(every) / jobs, *every)
        tqdm.write(f"{len(todo)} runs left, {jobs} at a time: about {total:.1f} hours if none "
                   "stops early; killed, they go on")  # fmt: skip
    return [run for run, _, _ in sorted(todo, key=lambda one: -one[1])]


def work(run: Run, data: Path, setting: Setting, folder: Path) -> str:
    """Train one net on one thread; return a line about it."""
    torch.set_num_threads(1)
    history = train(run, data, setting, folder)["history"]
    least, best = min(history["val_loss"]), history["best_epoch"]
    return f"{run.name}: validation loss {least:.4f} after epoch {best}"


def before(name: str, setting: Setting, sha256: dict[str, str]) -> dict[str, Any]:
    """Return the parts stored before that are of the same setting, data and runs."""
    try:
        record = results.load(name)
    except results.ResultError:
        return {}
    same = record["results"].get("setting") == results.plain(asdict(setting))
    if not same or record["data_sha256"] != sha256:
        return {}
    runs = {part: [asdict(k) for k in runs_of(setting) if k.part == part] for part in PARTS}
    return {k: v for k, v in record["results"]["parts"].items() if v.get("runs") == runs.get(k)}


def store(data: Path, setting: Setting, folder: Path) -> None:
    """Store the parts that are whole, beside those stored before; say which are not."""
    name = folder.name
    sha256 = {f: results.sha256(data / f) for f in (HOURS, QUARTERS, FUNDING)}
    parts = before(name, setting, sha256)
    missing = {run.part for run, _, _ in left(runs_of(setting), data, setting, folder)}
    parts |= {part: table(part, data, setting, folder) for part in PARTS if part not in missing}
    lacks = [part for part in PARTS if part not in parts]
    if set(NEEDED) & set(lacks):
        print(f"{name}: nothing stored yet, {', '.join(lacks)} not whole")
        return
    stored = {
        "setting": asdict(setting), "request": REQUESTS[HOURS], "lacks": lacks,
        "stand_in": f"{QUARTERS}: Binance for Bybit, whose 15-minute bars begin in 2023-11",
        "parts": {part: parts[part] for part in PARTS if part in parts},
    }  # fmt: skip
    curves = [curve for part in parts.values() for curve in part["curves"].values()]
    asked = f"--variant {setting.variant} --stride {setting.stride} --epochs {setting.num_epochs}"
    asked += f" --batch-size {setting.batch_size} --part {' '.join(stored['parts'])}"
    seeds = sorted({run.seed for run in runs_of(setting)})
    results.save(
        name, stored, seed=seeds, seconds=sum(sum(curve["seconds"]) for curve in curves),
        command=f"SETRADE_DATA=<folder> make study STUDY=b0_real ARGS='{asked}'",
        device="; ".join(sorted({c.get("made", c["device"]) for c in curves})), data=sha256,
    )  # fmt: skip
    if lacks:
        print(f"{name}: stored without {', '.join(lacks)}")


def main() -> None:
    """Train what is missing of the parts asked for."""
    made = parser(__doc__)
    add = made.add_argument
    add("--part", choices=PARTS, nargs="*", default=list(PARTS[:4]))
    add("--variant", choices=[name for name in VARIANTS if name.startswith("b")], default="b0")
    add("--stride", type=int, default=4, help="of hourly training windows (%(default)s)")
    add("--epochs", type=int, default=12, help="(%(default)s)")
    add("--batch-size", type=int, default=32, help="pictures a training step (%(default)s)")
    add("--result", help="only make the table of runs kept under this name; trains nothing")
    args = parsed(made, needs=f"{HOURS}, {QUARTERS} and {FUNDING}")
    setting = Setting(
        variant=args.variant, size=VARIANTS[args.variant].resolution, num_epochs=args.epochs,
        stride=args.stride, quarter_stride=4 * args.stride, batch_size=args.batch_size,
    )  # fmt: skip
    on = "real" if training.device().type == "cpu" else "gpu"
    folder = args.store / (args.result or f"{args.variant}_{on}")
    runs = [run for run in runs_of(setting) if run.part in args.part]
    if args.result:
        store(args.data, setting, folder)
        return
    todo = estimate(runs, args.data, setting, folder, args.jobs)
    tasks = (delayed(work)(run, args.data, setting, folder) for run in todo)
    # In the environment too, because the pictures are drawn by numba, with its own threads.
    with parallel_config("loky", inner_max_num_threads=1):
        pool: Any = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
        for line in tqdm(pool(tasks), total=len(todo), unit="net"):
            tqdm.write(line)
    store(args.data, setting, folder)


if __name__ == "__main__":
    main()
