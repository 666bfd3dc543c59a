"""The last word: ten hypotheses, frozen before anyone of this book saw a bar of 2025, read once.

    SETRADE_DATA=<folder> SETRADE_LATER=<folder> make study STUDY=registered

``book/registered.md`` says what is asked and what would change the book's mind; it is written by
``--page`` from what stands here. ``--freeze`` keeps the hashes of page, settings and sources in
``book/registered.json``: from then on a change of any is named and refused. The reading trains on
all bars before 2025 (SETRADE_DATA; what is not there is looked for beside the later files), tests
on those after (SETRADE_LATER), and stores ``registered.json`` among the results; a second reading
is refused. ``--rehearse`` does the same with the second half of 2024, frozen or not, and says so.
Every run is a line of ``_build/studies/registered``: what was cut short goes on. About 30 minutes
on two cores, most of them for the features of 33,000 pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import frozen_real
import gates_real
import numpy as np
import pandas as pd
import picture_folds
import torch
from registered_bars import (
    FILES,
    LATER,
    REHEARSED,
    Bars,
    hours_of,
    prepare,
    shas_of,
    sources,
)  # fmt: skip
from registered_page import HYPOTHESES, write_page

from setrade import backtest, evidence, metrics, regimes, results, signals, training
from setrade.costs import Costs
from setrade.files import write_atomic
from setrade.labels import Split
from setrade.study import Store, StudyError, baselines, experiment, run
from setrade.study.experiment import Setting
from setrade.study.store import HOURS, REQUESTS, Row, RunConfig

SOURCES = (
    "registered.py", "registered_bars.py", "registered_page.py", "picture_folds.py",
    "frozen_real.py", "gates_real.py",
)  # fmt: skip
NETS, OTHERS = ("none", "mean"), ("ridge", "boosted", "momentum", "reversal", "hold")
COINS = ("btc_1h", "eth_1h", "sol_1h")
TARGETS = ("next_12", "rsi", "planted_542_0")
LEVEL = 1 - 0.05 / len(HYPOTHESES)  # one correction over all of them
FEE, BLOCK, DRAWS = 5.5, 7.0, 2_000  # bps a side; days of a bootstrap block; histories
PAGE, RECORD, ANSWER = "registered.md", "registered.json", "registered"  # two files of the book


@dataclass(frozen=True)
class Size:
    """How much is computed; everything else is in the hypotheses."""

    seeds: int = 5  # of nets on BTC's hours
    other_seeds: int = 3  # of nets elsewhere, and of trees
    gate_seeds: int = 10
    num_epochs: int = 12
    validation: int = 91  # days before the test: nets stop by them
    pictures_from: str = "2022-07-01"
    pixels: int = 0  # of a picture; 0: those of the net
    rounds: int = 200  # of boosted trees on pictures


# ---- Frozen: page, settings and sources by their hashes.


def settings() -> dict[str, Any]:
    """Return all that decides the answer beside the code, by name."""
    shared = {"files": FILES, "size": asdict(Size()), "nets": NETS, "others": OTHERS,
              "targets": TARGETS, "fee_bps": FEE, "block_days": BLOCK, "draws": DRAWS,
              "level": LEVEL, "plan": asdict(Setting()), "later": str(LATER)}  # fmt: skip
    return results.plain(shared | {f"hypothesis {h.name}": asdict(h) for h in HYPOTHESES})


def digest(path: Path) -> str:
    """Return the sha256 of a text file, whatever ends its lines."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def hashes() -> dict[str, str]:
    """Return what is frozen: a sha256 for each setting, source file and the page."""
    page, here = results.BOOK / PAGE, Path(__file__).parent
    texts = {k: json.dumps(v, sort_keys=True).encode() for k, v in settings().items()}
    found = {f"setting {k}": hashlib.sha256(v).hexdigest() for k, v in texts.items()}
    found |= {f"studies/{name}": digest(here / name) for name in SOURCES}
    return found | {f"book/{PAGE}": digest(page) if page.is_file() else "missing"}


def the_page(frozen: str | None = None) -> str:
    """Return the page, as frozen on a day or as a draft."""
    facts = asdict(Size()) | {"fee": FEE, "draws": DRAWS}
    return write_page(LEVEL, facts, frozen)


def freeze() -> None:
    """Write the page as frozen today, and the hashes of all that must not change.

    Raises:
        StudyError: it is frozen already, or the bars have been read.
    """
    record = results.BOOK / RECORD
    if record.is_file():
        raise StudyError(f"{record} is there: frozen once; see in git how it came")
    refuse_twice()
    today = str(pd.Timestamp.now("UTC").date())
    write_atomic(results.BOOK / PAGE, the_page(today))
    write_atomic(record, json.dumps({"frozen": today, "hashes": hashes()}, indent=1) + "\n")


def require_frozen() -> dict[str, Any]:
    """Return the record of the freeze.

    Raises:
        StudyError: nothing is frozen, or something changed since; names what.
    """
    path = results.BOOK / RECORD
    if not path.is_file():
        raise StudyError("draft, not frozen: python studies/registered.py --freeze comes first")
    record, now = json.loads(path.read_text(encoding="utf-8")), hashes()
    before = record["hashes"]
    if wrong := [k for k in {**before, **now} if before.get(k) != now.get(k)]:
        raise StudyError(f"changed since the freeze of {record['frozen']}: {', '.join(wrong)}")
    return record


def refuse_twice() -> None:
    """Raise StudyError if the later bars have been read: they are read once."""
    path = results.FOLDER / f"{ANSWER}.json"
    if path.is_file():
        raise StudyError(f"the later bars were read once, their answer is {path}: no second time")


# ---- Runs. Each returns series by day of the test, so that all are redrawn in the same way.


def by_day(values: np.ndarray, time: pd.Index) -> list[float]:
    """Return the mean of each UTC day."""
    days = pd.DatetimeIndex(time).floor("D")
    return pd.Series(values, days).groupby(level=0).mean().round(7).tolist()


def setting_of(name: str, bars: Bars, size: Size) -> Setting:
    """Return how nets on a file are trained and tested."""
    a_day = pd.Timedelta("1D") // pd.Timedelta(FILES[name][2])
    return Setting(
        n_folds=1, num_epochs=size.num_epochs, validation=size.validation * a_day,
        span=(f"{bars.start:%Y-%m-%d}", f"{bars.ends[name]:%Y-%m-%d}"),
    )  # fmt: skip


def channels(config: RunConfig, bars: Bars, size: Size, where: Path) -> dict[str, Any]:
    """Return what a net or a baseline on channels was worth, and earned the quarter before."""
    name, model, seed = config["data"], config["model"], config["seed"]
    fold = experiment.folds(bars.files[name], setting_of(name, bars, size))[0]
    view = next(v for v, models in experiment.MODELS.items() if model in models)
    said = experiment.train(fold, view, model, seed)
    validation, test = said("validation"), said("test")
    costs = Costs(fee_bps=FEE)
    rates = bars.files["funding"].rates() if name.startswith("btc") else None
    long = baselines.always_long if model == "hold" else lambda _: None
    out = experiment.judge(fold, validation, test, costs, rates, long(fold))
    s = fold.split
    past = replace(fold, split=Split(s.train, s.validation, s.validation))
    before = experiment.judge(past, validation, validation, costs, rates, long(past))
    ends = fold.ends("test")
    hit = test.argmax(1) == fold.truth.to_numpy()[ends]
    return out | {"hits": by_day(hit, fold.bars.index[ends]), "daily_before": before["daily"]}


def looking(bars: Bars, size: Size) -> tuple[picture_folds.Bars, frozen_real.Plan]:
    """Return hours and the plan of the picture studies: one fold, the test of this reading."""
    end = bars.ends["btc_1h"]
    stop = bars.start - pd.Timedelta(days=size.validation)
    fold = f"{stop:%Y-%m-%d}", f"{bars.start:%Y-%m-%d}", f"{end:%Y-%m-%d}"
    plan = frozen_real.Plan(
        begin=size.pictures_from, folds=(fold,), seeds=size.other_seeds, rounds=size.rounds
    )
    return hours_of(bars.files["btc_1h"], plan.begin, end), plan


def looks(size: Size) -> dict[str, frozen_real.Look]:
    """Return the two ways to look at a window."""
    two = frozen_real.Look("numbers", ""), frozen_real.Look("lite0", "candles", size=size.pixels)
    return {look.name: look for look in two}


def pictures(config: RunConfig, bars: Bars, size: Size, where: Path) -> dict[str, Any]:
    """Return hits and nats won over class shares by day, of trees and of a linear model."""
    hours, plan = looking(bars, size)
    look, name, out = looks(size)[config["model"]], config["target"], {}
    frozen_real.extract(look, hours, plan, where)
    for head in frozen_real.HEADS:
        one = frozen_real.answers(look, hours, name, plan, where)[head]
        won = picture_folds.log_loss(one.share, one.y) - picture_folds.log_loss(one.p, one.y)
        time = hours.frame.index[one.ends]
        out[head] = {"hits": by_day(one.told(), time), "gain": by_day(won.mean(0), time)}
    return out


def draw(bars: Bars, size: Size, where: Path, jobs: int) -> None:
    """Compute the features that are not there yet, on all threads; what takes longest is said."""
    hours, plan = looking(bars, size)
    torch.set_num_threads(jobs)
    every = tuple(looks(size).values())
    frozen_real.cost(every, {HOURS: hours}, plan, where)
    for look in every:
        frozen_real.extract(look, hours, plan, where)


def gates(config: RunConfig, bars: Bars, size: Size, where: Path) -> dict[str, Any]:
    """Return which share of the named channels a net's three largest gates are."""
    start, end = bars.start, bars.ends["btc_1h"]
    span = f"{start - pd.Timedelta(days=size.validation):%Y-%m-%d}", f"{start:%Y-%m-%d}"
    frame = bars.files["btc_1h"].read()
    read, found = (
        gates_real.gates_of(config["seed"], gates_real.RATES[-1], frame[frame.index < end], span),
        {},
    )
    for regime, claimed in gates_real.CLAIMED.items():
        if np.isfinite(read[regime]).all():  # a regime that never came has no gates
            top = np.argsort(read[regime])[::-1][:3]
            found[regime] = len({gates_real.CHANNELS[k] for k in top} & set(claimed)) / 3
    return {"found": float(np.mean(list(found.values()))), "by_regime": found}


def conditioning(config: RunConfig, bars: Bars, size: Size, where: Path) -> dict[str, Any]:
    """Return what gating momentum by regime added in trends, by day; weights are of the past."""
    frame = bars.files["btc_1h"].read()
    frame = frame[frame.index < bars.ends["btc_1h"]]
    position, regime = signals.momentum(frame), regimes.by_rules(frame)
    before, after = frame.index < bars.start, frame.index >= bars.start

    def earned(wanted: pd.Series, mask: np.ndarray) -> pd.Series:
        equity = backtest.run(frame[mask], wanted[mask], costs=Costs(fee_bps=FEE)).equity
        return equity.pct_change().fillna(0.0)

    weights = signals.choose_regimes(earned(position, before), regime[before])
    gated = signals.gate_by_regime(position, regime, weights)
    trend = regime.isin(["trending_up", "trending_down"]).shift(1, fill_value=False)[after]
    added = (earned(gated, after) - earned(position, after)).where(trend, 0.0)
    return {"weights": weights, "added": added.resample("1D").sum().round(7).tolist()}


def paid(config: RunConfig, bars: Bars, size: Size, where: Path) -> dict[str, Any]:
    """Return the funding that a long paid on each day of the test."""
    rates = bars.files["funding"].rates()
    rates = rates[(rates.index >= bars.start) & (rates.index < bars.ends["btc_1h"])]
    return {"paid": rates.resample("1D").sum().tolist()}


PARTS = {"channels": channels, "pictures": pictures, "gates": gates,
         "conditioning": conditioning, "funding": paid}  # fmt: skip


def work(config: RunConfig, bars: Bars, size: Size, where: Path) -> dict[str, Any]:
    """Return the measures of one run, on one thread."""
    torch.set_num_threads(1)
    return PARTS[config["part"]](config, bars, size, where)


def everything(size: Size) -> list[RunConfig]:
    """Return all runs, the longest first."""
    out: list[RunConfig] = [{"part": "pictures", "data": "btc_1h", "model": look, "target": t}
                            for look in reversed(looks(size)) for t in TARGETS]  # fmt: skip
    for name in FILES:
        nets = size.seeds if name == "btc_1h" else size.other_seeds
        for model in (*NETS, *OTHERS) if name != "funding" else ():
            seeds = nets if model in NETS else size.other_seeds if model == "boosted" else 1
            out += [{"part": "channels", "data": name, "model": model, "seed": s}
                    for s in range(seeds)]  # fmt: skip
    out += [{"part": "gates", "data": "btc_1h", "seed": s} for s in range(size.gate_seeds)]
    return [
        *out,
        {"part": "conditioning", "data": "btc_1h"},
        {"part": "funding", "data": "funding"},
    ]


# ---- The ten numbers.


@dataclass(frozen=True)
class Rows:
    """The runs that are there, and series of them."""

    rows: list[Row]

    def of(self, measure: str, *heads: str, **wanted: Any) -> np.ndarray:
        """Return (days, runs) of a series by day, or (1, runs) of a number."""
        found = []
        for row in self.rows:
            if all(row["config"].get(k) == v for k, v in wanted.items()):
                value = row["measures"]
                for name in (*heads, measure):
                    value = value[name]
                found.append(np.atleast_1d(value))
        least = min(len(x) for x in found)
        return np.column_stack([x[:least] for x in found]).astype(float)

    def beside(self, *tables: np.ndarray) -> tuple[np.ndarray, list[slice]]:
        """Return tables side by side, cut to the days that all have, and where each stands."""
        least, at = min(len(t) for t in tables), np.cumsum([0, *(t.shape[1] for t in tables)])
        places = [slice(a, b) for a, b in pairwise(at)]
        return np.hstack([t[:least] for t in tables]), places


def sharpe(x: np.ndarray) -> float:
    """Return the mean Sharpe ratio a year of daily returns (days, runs); of none traded 0."""
    return float(np.nan_to_num(metrics.sharpe(x.T, 365.0)).mean())


def bounds(statistic: Callable[[np.ndarray], float], table: np.ndarray) -> list[float]:
    """Return estimate, low and high of a statistic of days, redrawn in blocks."""
    block = min(BLOCK, len(table))
    got = evidence.interval(statistic, table, seed=0, level=LEVEL, n_samples=DRAWS, block=block)
    return [got.estimate, got.low, got.high]


def gap(rows: Rows, first: list[np.ndarray], second: list[np.ndarray]) -> list[float]:
    """Return the mean difference of pairs of tables, the days the same for all."""
    table, at = rows.beside(*first, *second)
    n = len(first)
    return bounds(
        lambda x: float(np.mean([x[:, at[i]].mean() - x[:, at[n + i]].mean() for i in range(n)])),
        table,
    )


def best_before(rows: Rows) -> tuple[str, float]:
    """Return the model on BTC's hours that earned most in the quarter before, and its ratio."""
    tried = [m for m in (*NETS, *OTHERS) if m != "hold"]
    ratios = {m: sharpe(rows.of("daily_before", data="btc_1h", model=m)) for m in tried}
    name = max(ratios, key=ratios.__getitem__)
    return name, ratios[name]


def measured(name: str, rows: Rows) -> tuple[list[float], bool]:
    """Return estimate, low and high of a hypothesis, and whether its control was found."""
    future = {"model": "lite0-candles", "target": "next_12"}
    if name == "se_gain":
        each = [[rows.of("hits", data=d, model=m) for d in COINS] for m in ("mean", "none")]
        return gap(rows, *each), True
    if name == "se_money":
        return bounds(sharpe, rows.of("daily", data="btc_1h", model="mean")), True
    if name == "pictures":
        drawn = [rows.of("hits", "trees", **future | {"model": m})
                 for m in ("lite0-candles", "numbers")]  # fmt: skip
        return gap(rows, *([x] for x in drawn)), True
    if name == "b0_accuracy":
        planted = bounds(np.mean, rows.of("hits", "trees", **future | {"target": TARGETS[2]}))
        return bounds(np.mean, rows.of("hits", "trees", **future)), planted[1] > 0.5
    if name == "rule_not_future":
        rule = bounds(np.mean, rows.of("gain", "trees", **future | {"target": "rsi"}))
        return bounds(np.mean, rows.of("gain", "trees", **future)), rule[1] > 0
    if name == "last_quarter":
        model, before = best_before(rows)
        later = rows.of("daily", data="btc_1h", model=model)
        return bounds(lambda x: sharpe(x) - before, later), True
    if name == "funding":
        return bounds(lambda x: 365 * float(x.mean()), rows.of("paid", part="funding")), True
    if name == "fifteen_minutes":
        models = (*NETS, "ridge", "boosted")
        table, at = rows.beside(*(rows.of("daily", data="btc_15m", model=m) for m in models))
        return bounds(lambda x: float(np.mean([sharpe(x[:, p]) for p in at])), table), True
    if name == "conditioning":
        added = rows.of("added", part="conditioning")
        return bounds(lambda x: 365 * float(x.mean()), added), True
    nets = rows.of("found", part="gates")[0]
    return list(evidence.t_interval(nets, LEVEL)), True


def answers(rows: Rows) -> dict[str, Any]:
    """Return, by hypothesis, its number with its interval, its control, and the word."""
    out = {}
    for h in HYPOTHESES:
        (estimate, low, high), control = measured(h.name, rows)
        word = h.word(low, high) if control else "undecided: its control was not found"
        out[h.name] = {"estimate": estimate, "low": low, "high": high, "control": control,
                       "word": word}  # fmt: skip
    return out


def figures(rows: Rows, size: Size) -> dict[str, Any]:
    """Return, by file and model, means over seeds of what is not asked but worth knowing."""
    asked = ("accuracy", "majority", "ic", "log_loss", "shares_log_loss")
    out: dict[str, Any] = {}
    for name in (*COINS, "btc_15m"):
        for model in (*NETS, *OTHERS):
            mine = {"part": "channels", "data": name, "model": model}
            row = {k: float(rows.of(k, **mine).mean()) for k in asked}
            row |= {f"sharpe_{k}": sharpe(rows.of(k, **mine)) for k in ("daily_gross", "daily")}
            out.setdefault(name, {})[model] = row
    for look in looks(size):
        for target in TARGETS:
            found = {(h, m): bounds(np.mean, rows.of(m, h, model=look, target=target))
                     for h in frozen_real.HEADS for m in ("hits", "gain")}  # fmt: skip
            out.setdefault(look, {})[target] = {f"{h} {m}": v for (h, m), v in found.items()}
    return out


def carry_out(args: argparse.Namespace, size: Size) -> dict[str, Any]:
    """Read what there is to read, go on where it was cut short, store and return the answer."""
    begun, record = time.perf_counter(), None
    if not args.rehearse:
        record = require_frozen()
        refuse_twice()
    name, start = ("registered_rehearsal", REHEARSED) if args.rehearse else (ANSWER, LATER)
    paths, where = sources(args.data, args.later, args.rehearse), args.store / name
    bars = prepare(paths, where, start)
    draw(bars, size, where, args.jobs)
    shas, code = shas_of(paths), [digest(Path(__file__).parent / file) for file in SOURCES]
    shared = asdict(size) | {"start": str(start), "code": code}
    store = Store(where / "runs.jsonl", name, shas, setting=shared)
    configs = everything(size)
    run(partial(work, bars=bars, size=size, where=where), configs, store, n_jobs=args.jobs)
    rows = Rows(store.of(configs))
    if wrong := [file for file, sha in shas_of(paths).items() if sha != shas[file]]:
        raise StudyError(f"changed while they were read: {', '.join(wrong)}; nothing is stored")
    stored = {
        "rehearsal": args.rehearse, "frozen": record, "level": LEVEL, "size": asdict(size),
        "spans": {k: [str(start), str(end)] for k, end in bars.ends.items()},
        "answers": answers(rows), "figures": figures(rows, size),
        "best_quarter_before": best_before(rows), "request": REQUESTS[HOURS],
    }  # fmt: skip
    how = "SETRADE_LATER=<folder> make study STUDY=registered"
    how = "python studies/registered.py --rehearse" if args.rehearse else how
    results.save(
        name, stored, command=f"SETRADE_DATA=<folder> {how}", data=shas,
        seed=list(range(size.gate_seeds)), seconds=time.perf_counter() - begun,
        device=training.describe("cpu"),
    )  # fmt: skip
    return stored


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add, env = parser.add_argument, os.environ.get
    add("--rehearse", action="store_true", help="read the second half of 2024 instead")
    add("--freeze", action="store_true", help="write the page, keep the hashes; once")
    add("--page", action="store_true", help="write the page as a draft")
    add("--jobs", type=int, default=os.cpu_count() or 1)
    add("--data", type=Path, default=env("SETRADE_DATA"), help="bars before 2025")
    add("--later", type=Path, default=env("SETRADE_LATER"), help="bars from 2025 on")
    add("--store", type=Path, default=Path("_build/studies/registered"))
    return parser.parse_args(argv)


def main() -> None:
    """Write the page, freeze, rehearse, or read once."""
    args = options()
    if args.freeze:
        freeze()
    elif args.page:
        if (results.BOOK / RECORD).is_file():
            raise StudyError("the page is frozen")
        write_atomic(results.BOOK / PAGE, the_page())
    elif args.rehearse or args.later:
        for name, row in carry_out(args, Size())["answers"].items():
            print(f"{name}: {row['estimate']:.4f} [{row['low']:.4f}, {row['high']:.4f}] "
                  f"{row['word']}")  # fmt: skip
    else:
        print("registered: SETRADE_LATER names no folder of bars from 2025 on; nothing was read")


if __name__ == "__main__":
    main()
