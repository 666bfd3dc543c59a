"""Frozen EfficientNet-Lite features of all hourly windows of 2022 to 2024: what are they worth?

    SETRADE_DATA=<folder> make study STUDY=frozen_real

Lite0, Lite1 and Lite2 with ImageNet's weights, at their own 224, 240 and 260 pixels, look at
candlesticks and GADF of every window of 64 hourly Bybit bars; Lite0 at GASF and recurrence plots
too, and at every fourth window of 15-minute bars (Binance, a stand-in for the venue: Bybit's begin
in 2023-11). On the features boosted trees and a logistic regression; beside them the same on the
bars as numbers, class shares, momentum and reversal, buy and hold. Four folds test the half-years
of 2023 and 2024, each trained on all before. Targets: the side of the next 12 bars and of the next
one, a rule (RSI above 70), and sides planted in the same bars at the seed's 54.2 %. Nothing was
tuned on these bars. Features and fits are kept under ``_build/studies/frozen_real``: a run that
was killed goes on. ``--only`` does some sets and stores nothing before all are there.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from picture_folds import (
    FEE,
    FUNDING,
    Bars,
    Drawn,
    bounds,
    claim,
    funding,
    judge,
    kept,
    load,
    log_loss,
    money,
    money_row,
    numbers,
    split,
    target,
    zone,
)
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from setrade import labels, results
from setrade.inference.runtimes import engine, plain
from setrade.models.backbones import pretrained
from setrade.models.boosted import Boosted
from setrade.study.store import HOURS, REQUESTS

QUARTERS = "binance_btcusdt_perp_15m.parquet"
PIXELS = {"lite0": 224, "lite1": 240, "lite2": 260}
RULES = ("momentum", "reversal", "class shares", "buy and hold")
BLOCK = 1_024  # windows in one file of features
BATCH = 64
STRENGTHS = (1e-5, 1e-4, 1e-3)  # of the logistic regression, C; validation chooses


@dataclass(frozen=True)
class Plan:
    """What all sets share; fixed before any real bar was seen."""

    lookback: int = 64
    begin: str = "2022-01-01"
    folds: tuple[tuple[str, str, str], ...] = (  # validation and test begin, test ends
        ("2022-10-01", "2023-01-01", "2023-07-01"),
        ("2023-04-01", "2023-07-01", "2024-01-01"),
        ("2023-10-01", "2024-01-01", "2024-07-01"),
        ("2024-04-01", "2024-07-01", "2025-01-01"),
    )
    seeds: int = 2
    rounds: int = 200
    block: float = 96.0  # windows, of the bootstrap: four days of hours


@dataclass(frozen=True)
class Look:
    """One way to look at the windows of one file: a net and an encoder, or the numbers."""

    model: str  # "numbers" for none
    encoder: str
    file: str = HOURS
    stride: int = 1
    size: int = 0

    @property
    def name(self) -> str:
        """Return what tables call it."""
        what = self.model if self.model == "numbers" else f"{self.model}-{self.encoder}"
        return what if self.file == HOURS else f"{what}-15min"

    @property
    def pixels(self) -> int:
        """Return the side of its pictures; 0 for numbers."""
        return self.size or PIXELS.get(self.model, 0)


LOOKS = (
    Look("numbers", ""),
    *(Look(model, encoder) for encoder in ("candles", "gadf") for model in PIXELS),
    *(Look("lite0", encoder) for encoder in ("gasf", "recurrence")),
    Look("numbers", "", QUARTERS, 4),
    *(Look("lite0", encoder, QUARTERS, 4) for encoder in ("candles", "gadf")),
)
TARGETS = {
    HOURS: ("next_12", "next_1", "rsi", "planted_542_0", "planted_542_1"),
    QUARTERS: ("next_12", "planted_542_0"),
}


# ---- Features, once.


def ends_of(look: Look, bars: Bars, plan: Plan) -> np.ndarray:
    """Return the bars at which the windows of a look end: none bridges a hole."""
    return np.flatnonzero(bars.whole(plan.lookback))[:: look.stride]


def net_of(look: Look) -> Any:
    """Return the frozen net as an engine, the faster one that this machine has."""
    net = pretrained(look.model).freeze().eval()
    example = torch.zeros(1, 3, look.pixels, look.pixels)
    return engine(net, example, plain(torch.device("cpu")))


def home(look: Look, bars: Bars, plan: Plan, folder: Path) -> Path:
    """Return the folder of a look's features, which no other data or setting may use."""
    shared = {"lookback": plan.lookback, "begin": plan.begin, "data": bars.sha256}
    return claim(folder / "features" / look.name, asdict(look) | shared | {"pixels": look.pixels})


def blocks(look: Look, bars: Bars, plan: Plan, folder: Path) -> list[tuple[Path, np.ndarray]]:
    """Return the files that hold a look's features, each with the ends of its windows."""
    ends, where = ends_of(look, bars, plan), home(look, bars, plan, folder)
    return [(where / f"{i:06d}.npy", ends[i : i + BLOCK]) for i in range(0, len(ends), BLOCK)]


def draw_features(look: Look, bars: Bars, plan: Plan, net: Any, ends: np.ndarray) -> np.ndarray:
    """Return features (m, F) of windows, float16: what is lost lies below a tree's bins."""
    first, y = plan.lookback - 1, np.zeros(len(bars.frame))
    drawn = Drawn(bars.windows(plan.lookback), ends - first, y[first:], look.encoder, look.pixels)
    parts = torch.arange(len(ends)).split(BATCH)
    return np.concatenate([net(drawn.batch(rows)[0])[0].numpy() for rows in parts]).astype("f2")


def extract(look: Look, bars: Bars, plan: Plan, folder: Path, bar: tqdm | None = None) -> None:
    """Compute the features that are not there yet."""
    left = [(path, ends) for path, ends in blocks(look, bars, plan, folder) if not path.is_file()]
    net = net_of(look) if left and look.model != "numbers" else None
    for path, ends in left:
        if net is not None:
            kept(path, lambda ends=ends: draw_features(look, bars, plan, net, ends))
        else:
            rows = ends - plan.lookback + 1
            kept(path, lambda rows=rows: numbers(bars.windows(plan.lookback)[rows]))
        if bar is not None:
            bar.update(len(ends))


def features(look: Look, bars: Bars, plan: Plan, folder: Path) -> np.ndarray:
    """Return the kept features (windows, F) of a look, float32."""
    return np.concatenate([np.load(p) for p, _ in blocks(look, bars, plan, folder)]).astype("f4")


def cost(looks: tuple[Look, ...], every: dict[str, Bars], plan: Plan, folder: Path) -> int:
    """Say what the missing features will take, from pictures drawn now; return their number."""
    total, seconds, speed = 0, 0.0, {}
    for look in looks:
        bars = every[look.file]
        n = sum(len(e) for p, e in blocks(look, bars, plan, folder) if not p.is_file())
        total += n
        if not n or look.model == "numbers":
            continue
        kind = (look.model, look.encoder == "candles")
        if kind not in speed:
            net, ends = net_of(look), ends_of(look, bars, plan)[:BATCH]
            draw_features(look, bars, plan, net, ends)  # compiles
            start = time.perf_counter()
            draw_features(look, bars, plan, net, ends)
            speed[kind] = (time.perf_counter() - start) / len(ends)
        tqdm.write(f"{look.name}: {n} pictures x {1e3 * speed[kind]:.1f} ms")
        seconds += n * speed[kind]
    tqdm.write(f"features: {total} windows left, about {seconds / 60:.0f} minutes")
    return total


# ---- Fits, once.


def linear(
    x: np.ndarray, y: np.ndarray, check: np.ndarray, truth: np.ndarray, rows: np.ndarray,
    *, strengths: tuple[float, ...] = STRENGTHS,
) -> np.ndarray:  # fmt: skip
    """Return P(class 1) for ``check`` and ``rows`` of a logistic regression; validation picks C."""
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, check, rows = ((part - mean) / std for part in (x, check, rows))
    best, least = np.empty(0), np.inf
    for c in strengths:
        model = LogisticRegression(C=c, max_iter=200).fit(x, y)
        p = model.predict_proba(check)[:, 1]
        if (loss := log_loss(p, truth).mean()) < least:
            least, best = loss, np.r_[p, model.predict_proba(rows)[:, 1]]
    return best


def trees(
    x: np.ndarray, y: np.ndarray, check: np.ndarray, truth: np.ndarray, rows: np.ndarray,
    rounds: int, seed: int,
) -> np.ndarray:  # fmt: skip
    """Return P(class 1) for ``check`` and ``rows`` of boosted trees, stopped on validation."""
    model = Boosted(2, rounds=rounds, seed=seed).fit(x, y, (check, truth))
    return np.r_[model.probabilities(check)[:, 1], model.probabilities(rows)[:, 1]]


HEADS = ("trees", "linear")


def split_of(bars: Bars, look: Look, name: str, fold: int, plan: Plan) -> labels.Split:
    """Return a fold's ends among the windows of a look."""
    y, _, horizon = target(bars, name)
    whole = split(bars, y, ("", *plan.folds[fold]), lookback=plan.lookback, horizon=horizon)
    chosen = ends_of(look, bars, plan)
    sets = (whole.train, whole.validation, whole.test)
    return labels.Split(*(rows[np.isin(rows, chosen)] for rows in sets))


def fit_fold(
    look: Look, bars: Bars, name: str, fold: int, plan: Plan, folder: Path, x: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return forecasts (seeds, validation + test) of every head for a target in one fold."""
    where = claim(
        folder / "fits" / look.name / name / str(fold),
        {"plan": asdict(plan), "look": asdict(look), "data": bars.sha256, "c": STRENGTHS},
    )
    found = split_of(bars, look, name, fold, plan)
    truth, place = target(bars, name)[0], {e: i for i, e in enumerate(ends_of(look, bars, plan))}

    def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        every = features(look, bars, plan, folder) if x is None else x
        a, b, c = ([place[e] for e in part] for part in
                   (found.train, found.validation, found.test))  # fmt: skip
        y = truth[found.train].astype(np.int64), truth[found.validation].astype(np.int64)
        return every[a], y[0], every[b], y[1], every[c]

    tree_runs = [
        kept(where / f"trees-{seed}.npy", lambda seed=seed: trees(*data(), plan.rounds, seed))
        for seed in range(plan.seeds)
    ]
    line = kept(where / "linear.npy", lambda: linear(*data()))
    return {"trees": np.array(tree_runs), "linear": line[None]}


def fit_all(look: Look, bars: Bars, name: str, plan: Plan, folder: Path) -> None:
    """Make the fits of a look and a target that are not there yet, on one thread."""
    torch.set_num_threads(1)
    x = features(look, bars, plan, folder)
    for fold in range(len(plan.folds)):
        fit_fold(look, bars, name, fold, plan, folder, x)


# ---- The table.


def rule(name: str, bars: Bars, found: labels.Split, y: np.ndarray, back: int) -> np.ndarray:
    """Return forecasts for validation and test of what needs no fit: see `RULES`."""
    rows = np.r_[found.validation, found.test]
    share = float(y[found.train].mean())
    if name == "buy and hold":
        return np.ones(len(rows))
    if name == "class shares":
        return np.full(len(rows), share)
    past = bars.each(lambda part: part["close"].pct_change(back).to_numpy())
    score = 0.1 * np.tanh(past[rows] / np.nanstd(past[found.train]))
    return 0.5 + np.nan_to_num(score if name == "momentum" else -score)


@dataclass(frozen=True)
class Answer:
    """Forecasts (seeds, m) of one row of the table over all tests, and what came."""

    p: np.ndarray
    position: np.ndarray  # (seeds, m)
    y: np.ndarray
    ahead: np.ndarray
    ends: np.ndarray
    share: np.ndarray  # (m,) of class 1 in the fold's training windows

    def told(self) -> np.ndarray:
        """Return the share of seeds that were right, window by window."""
        return ((self.p > 0.5) == (self.y > 0)).mean(0)

    def part(self, chosen: np.ndarray) -> Answer:
        """Return the same for some of the windows."""
        rest = (x[chosen] for x in (self.y, self.ahead, self.ends, self.share))
        return Answer(self.p[:, chosen], self.position[:, chosen], *rest)


def answers(look: Look, bars: Bars, name: str, plan: Plan, folder: Path) -> dict[str, Answer]:
    """Return the rows of one look and target; of the numbers also the rules."""
    y, ahead, horizon = target(bars, name)
    parts: dict[str, list[tuple]] = {}
    shares, ends = [], []
    for fold in range(len(plan.folds)):
        found = split_of(bars, look, name, fold, plan)
        made = fit_fold(look, bars, name, fold, plan, folder, None)
        plain_rows = RULES if name.startswith("next") else ("class shares",)
        if look.model == "numbers":
            made |= {r: rule(r, bars, found, y, horizon)[None] for r in plain_rows}
        n = len(found.validation)
        for head, p in made.items():
            always = head in ("buy and hold", "class shares")  # no zone: a constant
            flat = np.ones_like if head == "buy and hold" else np.zeros_like
            held = [flat(q[n:]) if always else zone(q[n:], q[:n]) for q in p]
            parts.setdefault(head, []).append((p[:, n:], np.array(held)))
        shares.append(np.full(len(found.test), y[found.train].mean()))
        ends.append(found.test)
    every = np.concatenate(ends)
    joined = {head: [np.concatenate(v, axis=1) for v in zip(*rows, strict=True)]
              for head, rows in parts.items()}  # fmt: skip
    truth = (y[every], ahead[every], every, np.concatenate(shares))
    return {head: Answer(p, held, *truth) for head, (p, held) in joined.items()}


def row(one: Answer, bars: Bars, plan: Plan, data: Path, trades: bool) -> dict[str, Any]:
    """Return a table's row: over all tests, by year, and as money."""
    years = pd.DatetimeIndex(bars.frame.index).year.to_numpy()[one.ends]
    chosen = {"all": np.ones(len(years), bool)} | {str(k): years == k for k in np.unique(years)}
    out: dict[str, Any] = {}
    for when, mask in chosen.items():
        part = one.part(mask)
        out[when] = judge(part.p, part.y, part.ahead, part.share, plan.block)
        if trades:
            rates = funding(data)
            daily = [money(bars, part.ends, held, rates) for held in part.position]
            out[when]["money"] = money_row(daily)
            out[when]["exposure"] = float(np.abs(part.position).mean())
    return out


PAIRS = (
    ("lite1-candles/trees", "lite0-candles/trees"), ("lite2-candles/trees", "lite0-candles/trees"),
    ("lite1-gadf/trees", "lite0-gadf/trees"), ("lite2-gadf/trees", "lite0-gadf/trees"),
    ("lite0-candles/trees", "numbers/trees"), ("lite0-gadf/trees", "numbers/trees"),
    ("lite0-candles/trees", "lite0-gadf/trees"),
)  # fmt: skip


def differences(found: dict[str, Answer], plan: Plan) -> dict[str, dict[str, float]]:
    """Return paired differences of accuracy, where both rows are there."""
    there = [(a, b) for a, b in PAIRS if a in found and b in found]
    return {
        f"{a} - {b}": bounds(np.mean, found[a].told() - found[b].told(), plan.block)
        for a, b in there
    }


def table(
    looks: tuple[Look, ...], every: dict[str, Bars], plan: Plan, folder: Path, data: Path,
    targets: dict[str, tuple[str, ...]],
) -> dict[str, Any]:  # fmt: skip
    """Return rows and differences by file and target; only hourly bars have money and funding."""
    out: dict[str, Any] = {}
    jobs = [(file, name) for file in targets for name in targets[file]]
    for file, name in tqdm(jobs, unit="table"):
        found: dict[str, Answer] = {}
        mine = [look for look in looks if look.file == file]
        for look in mine:
            for head, one in answers(look, every[file], name, plan, folder).items():
                found[head if head in RULES else f"{look.name}/{head}"] = one
        if not found:
            continue
        trades = file == HOURS and name.startswith("next")
        rows = {key: row(one, every[file], plan, data, trades) for key, one in found.items()}
        gaps = differences(found, plan)
        out.setdefault(file, {})[name] = {"rows": rows, "differences": gaps}
    return out


def work(
    looks: tuple[Look, ...], every: dict[str, Bars], plan: Plan, folder: Path, jobs: int,
    targets: dict[str, tuple[str, ...]],
) -> None:  # fmt: skip
    """Compute features, then fits: whatever is not there yet."""
    with tqdm(total=cost(looks, every, plan, folder), unit="window") as bar:
        for look in looks:
            extract(look, every[look.file], plan, folder, bar)
    todo = [(look, name) for look in looks for name in targets[look.file]]
    pool: Any = Parallel(n_jobs=jobs, return_as="generator_unordered")
    tasks = (delayed(fit_all)(k, every[k.file], name, plan, folder) for k, name in todo)
    for _ in tqdm(pool(tasks), total=len(todo), unit="fits"):
        pass


def main() -> None:
    """Compute what is missing; store the table when all of it is there."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--only", nargs="*", choices=[k.name for k in LOOKS], help="some looks")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", type=Path, default=os.environ.get("SETRADE_DATA"))
    parser.add_argument("--store", type=Path, default=Path("_build/studies/frozen_real"))
    args = parser.parse_args()
    if args.data is None:
        parser.error(f"SETRADE_DATA must name the folder with {HOURS}, {QUARTERS} and {FUNDING}")
    start, plan = time.perf_counter(), Plan()
    torch.set_num_threads(args.jobs)
    looks = tuple(k for k in LOOKS if not args.only or k.name in args.only)
    every = {f: load(args.data / f, begin=plan.begin) for f in {k.file for k in looks}}
    work(looks, every, plan, args.store, args.jobs, TARGETS)
    if len(looks) < len(LOOKS):
        print("some looks are done; without --only the others follow, and the table is stored")
        return
    stored = {
        "plan": asdict(plan), "pixels": PIXELS, "request": REQUESTS[HOURS], "fee_bps": FEE.fee_bps,
        "stand_in": f"{QUARTERS}: Binance for Bybit, whose 15-minute bars begin in 2023-11",
        "tables": table(looks, every, plan, args.store, args.data, TARGETS),
    }  # fmt: skip
    results.save(
        "frozen_real", stored, command="SETRADE_DATA=<folder> make study STUDY=frozen_real",
        seed=list(range(plan.seeds)), seconds=time.perf_counter() - start,
        data={f: results.sha256(args.data / f) for f in (HOURS, QUARTERS, FUNDING)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
