"""Four ways from a picture to a signal, and whether more heads make a better trunk.

    SETRADE_DATA=<folder with bybit_btcusdt_perp_1h.parquet> make study STUDY=many_heads

Planted windows first (``setrade.toys``), where Bayes' rule gives the best answer there
is. Then Bybit BTCUSDT perpetual, one hour: windows of 32 bars every 8 bars, targets over the next
8, so that neither labels nor test examples overlap. Train to June 2023, stop early on the second
half of 2023, test on 2024, once. Nets: EfficientNet "micro", 32 px. Sizes and rates were fixed
beforehand; the planted part was repeated with more steps (``--only planted``), because its first
run had taught nothing; the real part was not. Intervals redraw seeds and, together for all arms,
stretches of 2 days on average.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm import tqdm

from setrade import candles, regimes, results, training
from setrade.charts import COLOURS, candlesticks, reference_range, smallest_span
from setrade.efficientnet.net import PictureNet
from setrade.evidence import resample
from setrade.gramian import gadf
from setrade.models.multitask import (
    TASKS,
    MultiTaskLoss,
    MultiTaskNet,
    TaskSet,
    task_targets,
    task_weights,
)
from setrade.models.siamese import ContrastiveLoss, PairSet, Siamese, anomaly, draw_pairs, nearest
from setrade.pictures import Encoder, Stack, encoder
from setrade.regimes.rules import efficiency
from setrade.study.store import HOURS, REQUESTS
from setrade.toys import Planted, planted

COMMAND = f"SETRADE_DATA=<folder with {HOURS}> make study STUDY=many_heads"
LENGTH, STRIDE, HORIZON, MULTIPLE, SIZE = 32, 8, 8, 4.0, 32
FIRST_VALIDATION, FIRST_TEST = "2023-07-01", "2024-01-01"
BLOCK, NEIGHBOURS, PAIRS = 6.0, 50, 1_600
PLANTED: dict[str, Any] = {
    "lr": 2e-3,
    "batch_size": 32,
    "num_epochs": 8,
}  # 100 steps; 42 had taught nothing
PLAN: dict[str, Any] = {"lr": 1e-3, "batch_size": 64, "progress": False}
GREY = COLOURS["grey"][:, :1]


def stack(span: float) -> Stack:
    """Three channels: candles on their own scale, on one scale for all windows, and GADF."""

    def own(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return candlesticks(x, SIZE, SIZE, colours=GREY, out=out)

    def common(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        options = {"price_range": reference_range(x, span), "outside": "clip", "volume": False}
        return candlesticks(x, SIZE, SIZE, colours=GREY, out=out, **options)

    def field(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return gadf(x[:, 3], SIZE, out=out)

    return Stack([Encoder(own), Encoder(common), Encoder(field, (-1.0, 1.0))])


def standard(y: dict[str, np.ndarray], base: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return targets with mean 0 and variance 1 on ``base``; classes as they are."""
    out = {"direction": y["direction"].astype(np.int64)}
    for task in TASKS[1:]:
        out[task] = ((y[task] - base[task].mean()) / base[task].std()).astype(np.float32)
    return out


@dataclass(frozen=True)
class Part:
    """Pictures, targets by task (raw and standardised) and more, of one part."""

    x: Tensor
    raw: dict[str, np.ndarray]
    y: dict[str, np.ndarray]

    def tasks(self, names: tuple[str, ...] = TASKS) -> TaskSet:
        """Return examples for the tasks named."""
        return TaskSet(self.only(), {name: self.y[name] for name in names})

    def only(self) -> training.TensorSet:
        """Return examples with the class as their one target."""
        return training.TensorSet(self.x, torch.from_numpy(self.y["direction"]))


def train_heads(train: Part, val: Part, tasks: tuple[str, ...], seed: int, *,
                weighted: bool = True, **changes: Any) -> MultiTaskNet:  # fmt: skip
    """Return a trained net; nets of one seed start from one trunk."""
    training.seed_everything(seed)
    net: Any = MultiTaskNet("micro", tasks, train.x.shape[1])
    net.to(memory_format=torch.channels_last)  # faster on small pictures
    loss = MultiTaskLoss(tasks, net.log_variance if weighted and len(tasks) > 1 else None)
    plan: dict[str, Any] = PLAN | {"num_epochs": 4, "patience": 2} | changes
    training.fit(net, train.tasks(tasks), val.tasks(tasks), loss=loss, seed=seed, **plan)
    return net


def train_picture(train: Part, val: Part, seed: int, epochs: int) -> PictureNet:
    """Return strategy 1: end to end."""
    training.seed_everything(seed)
    net = PictureNet("micro", train.x.shape[1])
    training.fit(net, train.only(), val.only(), seed=seed, num_epochs=epochs, patience=2, **PLAN)
    return net


def train_siamese(
    x: Tensor, pairs: tuple[np.ndarray, np.ndarray], seed: int, **changes: Any
) -> Siamese:
    """Return strategy 4: pairs of like and unlike states."""
    training.seed_everything(seed)
    net: Any = Siamese("micro", x.shape[1])
    net.to(memory_format=torch.channels_last)
    data = PairSet(training.TensorSet(x, torch.zeros(len(x))), *pairs)
    plan: dict[str, Any] = PLAN | {"num_epochs": 4} | changes
    training.fit(net, data, loss=ContrastiveLoss(), seed=seed, **plan)
    return net


def ask(net: torch.nn.Module, part: Part) -> np.ndarray:
    """Return probabilities (n, 3), or values (n,)."""
    out = training.predict(net, part.only()).double()
    return (out.softmax(1) if out.ndim == 2 else out).numpy()


@torch.no_grad()
def embed(net: Siamese, x: Tensor) -> np.ndarray:
    """Return states (n, dim)."""
    where = next(net.parameters()).device
    states = [net.eval().embed(part.to(where)).cpu() for part in x.split(512)]
    return torch.cat(states).double().numpy()


def surprise(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return minus the log probability of what happened, (n,)."""
    return -np.log(np.maximum(p[np.arange(len(p)), truth], 1e-6))


def part_of(market: Planted, base: Planted, draw: Stack) -> Part:
    """Return a planted market as a part."""
    raw = market.targets()
    x = draw(market.windows).clone(memory_format=torch.channels_last)
    return Part(x, raw, standard(raw, base.targets()))


# --- planted --------------------------------------------------------------------------------------


def planted_tasks(seeds: int, bar: tqdm, n_train: int = 400) -> dict[str, Any]:
    """Return excess losses over Bayes' rule, by seed: each seed draws its own market."""
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        draw = stack(0.12)
        markets = [planted(n, seed=10 * seed + k) for k, n in enumerate((n_train, 300, 1_000))]
        train, val, test = (part_of(m, markets[0], draw) for m in markets)
        best = surprise(markets[2].direction_probabilities(), test.raw["direction"]).mean()
        row: dict[str, Any] = {"best": best}
        for name, tasks, weighted in (
            ("single", ("direction",), True), ("multi", TASKS, True),
        ):  # fmt: skip
            net = train_heads(train, val, tasks, seed, weighted=weighted, **PLANTED)
            row[name] = judge_planted(net, test)
            bar.update()
        row["unweighted, bps"] = judge_planted(in_bps(train, val, seed), test)
        bar.update()
        rows.append(row)
    return {"rows": rows, "n_train": n_train}


def in_bps(train: Part, val: Part, seed: int) -> MultiTaskNet:
    """Return the trap: magnitude in basis points, losses added as they are."""
    parts = []
    for part in (train, val):
        y = part.y | {"magnitude": (1e4 * part.raw["magnitude"]).astype(np.float32)}
        parts.append(Part(part.x, part.raw, y))
    return train_heads(parts[0], parts[1], TASKS, seed, weighted=False, **PLANTED)


def judge_planted(net: MultiTaskNet, test: Part) -> dict[str, Any]:
    """Return what a net did on the planted test windows, task by task."""
    out: dict[str, Any] = {}
    for task in net.tasks:
        answer = ask(net.only(task), test)
        if task == "direction":
            out["log_loss"] = surprise(answer, test.raw[task]).mean()
            out["accuracy"] = (answer.argmax(1) == test.raw[task]).mean()
        else:
            out[task] = np.corrcoef(answer, test.y[task])[0, 1]
    return out | {"weights": task_weights(net.log_variance, net.tasks)}


def planted_states(seeds: int, bar: tqdm) -> list[dict[str, float]]:
    """Return AUCs of same against different state: the net, two features, Bayes' rule."""
    rows = []
    for seed in range(seeds):
        old, new = planted(800, seed=100 + seed), planted(600, seed=200 + seed)
        draw = stack(0.12)
        x = draw(old.windows).clone(memory_format=torch.channels_last)
        net = train_siamese(x, draw_pairs(old.state, 1_000, seed=seed), seed, **PLANTED)
        pairs, same = draw_pairs(new.state, 2_000, seed=seed)
        states = embed(net, draw(new.windows).clone())
        r = [np.log(m.windows[:, 3] / m.windows[:, 0]) for m in (old, new)]
        past, now = (np.column_stack([np.log(x.std(1)), x.mean(1) / x.std(1)]) for x in r)
        simple = (now - past.mean(0)) / past.std(0)
        rows.append({"net": auc(states, pairs, same), "features": auc(simple, pairs, same),
                     "best": float(roc_auc_score(same, new.same_state(pairs)))})  # fmt: skip
        bar.update()
    return rows


def auc(states: np.ndarray, pairs: np.ndarray, same: np.ndarray) -> float:
    """Return the AUC of a small distance as a sign of the same state."""
    return float(roc_auc_score(same, -np.linalg.norm(np.subtract(*states[pairs.T]), axis=1)))


# --- real bars ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Market:
    """Real bars in three parts: the stack, plain candles at two sizes, and who is in which."""

    bars: pd.DataFrame
    parts: dict[str, Part]
    plain: dict[str, Part]
    windows: dict[str, np.ndarray]
    ends: dict[str, np.ndarray]
    span: float


def read(folder: Path) -> Market:
    """Return the split market; purged by a window and a horizon at each border."""
    bars = candles.read(folder / HOURS, "1h")
    targets = task_targets(bars, HORIZON, multiple=MULTIPLE)
    every = np.arange(1_100, len(bars), STRIDE)  # regimes are known by then
    every = every[targets.iloc[every].notna().all(axis=1)]
    time_ = bars.index[every]
    cuts = [pd.Timestamp(t, tz="UTC") for t in (FIRST_VALIDATION, FIRST_TEST)]
    gap = pd.Timedelta(hours=LENGTH + HORIZON + 1)
    masks = {"train": time_ < cuts[0] - gap, "test": time_ >= cuts[1],
             "validation": (time_ >= cuts[0]) & (time_ < cuts[1] - gap)}  # fmt: skip
    every_window = candles.windows(bars, LENGTH)
    ends = {name: every[mask] for name, mask in masks.items()}
    cut = {name: every_window[e - LENGTH + 1] for name, e in ends.items()}
    span = float(np.quantile(smallest_span(cut["train"]), 0.98))
    raw = {n: {k: targets[k].to_numpy()[e] for k in TASKS} for n, e in ends.items()}
    for part in raw.values():
        part["direction"] = part["direction"].astype(np.int64)
    y = {name: standard(part, raw["train"]) for name, part in raw.items()}
    draw, simple = stack(span), Stack([encoder("candles", SIZE)])
    parts = {n: Part(draw(w).clone(), raw[n], y[n]) for n, w in cut.items()}
    plain_ = {n: Part(simple(w).clone(), raw[n], y[n]) for n, w in cut.items()}
    return Market(bars, parts, plain_, cut, ends, span)


def frozen_trees(market: Market) -> np.ndarray:
    """Return strategy 2's probabilities: ImageNet Lite0, frozen, and boosted trees (chapter 13)."""
    from setrade.models.backbones import pretrained
    from setrade.models.boosted import Boosted, extract

    draw = Stack([encoder("candles", 64)])
    backbone = pretrained("lite0").freeze()
    found = {n: extract(backbone, draw(w).clone()) for n, w in market.windows.items()}
    y = {n: part.raw["direction"] for n, part in market.parts.items()}
    trees = Boosted().fit(found["train"], y["train"], (found["validation"], y["validation"]))
    return trees.probabilities(found["test"])


def neighbours(states: dict[str, np.ndarray], market: Market) -> np.ndarray:
    """Return class shares among the most similar states of the past, shrunk to all shares."""
    truth = market.parts["train"].raw["direction"]
    _, rows = nearest(states["test"], states["train"], NEIGHBOURS)
    votes = np.stack([(truth[rows] == k).sum(1) for k in range(3)], axis=1)
    return (votes + NEIGHBOURS * shares(truth)) / (2 * NEIGHBOURS)


def shares(truth: np.ndarray) -> np.ndarray:
    """Return the share of each class."""
    return np.bincount(truth, minlength=3) / len(truth)


def rule_states(market: Market) -> dict[str, np.ndarray]:
    """Return the rule regime at each window's end as a number."""
    codes = regimes.by_rules(market.bars, window=LENGTH).cat.codes.to_numpy()
    return {n: codes[e].astype(np.int64) for n, e in market.ends.items()}


def simple_states(market: Market) -> dict[str, np.ndarray]:
    """Return volatility and trend of each window, standardised on the training windows."""
    close = market.bars["close"]
    vol = close.apply(np.log).diff().rolling(LENGTH).std().apply(np.log)
    both = np.column_stack([vol, efficiency(close, LENGTH)])
    base = both[market.ends["train"]]
    return {n: (both[e] - base.mean(0)) / base.std(0) for n, e in market.ends.items()}


def compare_states(states: list[dict], market: Market, seed: int, draws: int) -> dict[str, Any]:
    """Return what the Siamese nets and two plain features say about regimes and anomalies."""
    codes, simple = rule_states(market), simple_states(market)
    pairs, same = draw_pairs(codes["test"], 2_000, seed=seed, ends=market.ends["test"],
                             min_gap=LENGTH)  # fmt: skip
    order = np.argsort(pairs[:, 0], kind="stable")
    pairs, same = pairs[order], same[order]
    distance = [np.linalg.norm(np.subtract(*s["test"][pairs.T]), axis=1) for s in [*states, simple]]
    table = np.column_stack([same, *distance])

    def figures(x: np.ndarray) -> np.ndarray:
        each = [roc_auc_score(x[:, 0], -x[:, 1 + i]) for i in range(len(distance))]
        net = float(np.mean(each[:-1]))
        return np.array([net, each[-1], net - each[-1]])

    later = market.parts["test"].raw["volatility"]
    odd = np.mean([anomaly(s["test"], s["train"]) for s in states], axis=0)
    plain_odd = anomaly(simple["test"], simple["train"])
    second = np.column_stack([later, odd, plain_odd, simple["test"][:, 0]])

    def ranks(x: np.ndarray) -> np.ndarray:
        return np.array([spearmanr(x[:, i], x[:, 0])[0] for i in (1, 2, 3)])

    out = cells(["net", "features", "difference"], figures, table, seed, draws, 12.0)
    names = ["anomaly net", "anomaly features", "volatility before"]
    return {
        "auc": out,
        "rank with next volatility": cells(names, ranks, second, seed, draws, BLOCK),
        "share of regimes": np.bincount(codes["test"], minlength=5) / len(codes["test"]),
    }


def cells(names, figures, table, seed: int, draws: int, block: float) -> dict[str, Any]:
    """Return value, low and high of each figure."""
    drawn = resample(figures, table, seed=seed, n_samples=draws, block=block)
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    value = figures(table)
    return {n: {"value": v, "low": a, "high": b}
            for n, v, a, b in zip(names, value, low, high, strict=True)}  # fmt: skip


def rank_of(score: np.ndarray, outcome: np.ndarray) -> float:
    """Return the rank correlation, NaN for a score that never changes."""
    return np.nan if np.ptp(score) == 0 else np.asarray(spearmanr(score, outcome)[0]).item()


def table_of(arms: dict[str, list[np.ndarray]], market: Market, draws: int) -> dict[str, Any]:
    """Return accuracy, log-loss gain and rank correlation of each arm, mean over seeds."""
    test, n = market.parts["test"].raw, {name: len(p) for name, p in arms.items()}
    truth, money = test["direction"], test["magnitude"]
    base = surprise(np.tile(shares(market.parts["train"].raw["direction"]), (len(truth), 1)), truth)
    columns, index = [money], {}
    for name, each in arms.items():
        for seed, p in enumerate(each):
            index[name, seed] = len(columns)
            columns += [p.argmax(1) == truth, base - surprise(p, truth), p[:, 2] - p[:, 0]]
    table, rng, whole = np.column_stack(columns), np.random.default_rng(0), True

    def figures(x: np.ndarray) -> np.ndarray:
        out = []
        luck = rng.random(max(n.values()))  # the same seeds for all arms: pairs stay pairs
        for name, size in n.items():
            picks = range(size) if whole else (luck[:size] * size).astype(int)
            at = [index[name, s] for s in picks]
            ranks = np.array([rank_of(x[:, i + 2], x[:, 0]) for i in at])
            out += [x[:, at].mean(), x[:, [i + 1 for i in at]].mean(), float(ranks.mean())]
        flat = np.array(out).reshape(-1, 3)
        names = list(n)
        lead = flat[names.index("3 three heads")] - flat[names.index("1 stack")]
        return np.r_[flat.ravel(), lead]

    value = figures(table)
    whole = False
    drawn = resample(figures, table, seed=0, n_samples=draws, block=BLOCK)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    named, measures = [*n, "three heads less one"], ("accuracy", "gain", "rank")
    every = iter(np.column_stack([value, low, high]))
    rows = {name: {m: next(every) for m in measures} for name in named}
    keys = ("value", "low", "high")
    return {
        name: {
            m: {k: float(v) if np.isfinite(v) else None for k, v in zip(keys, cell, strict=True)}
            for m, cell in row.items()
        }
        for name, row in rows.items()
    }


def real(folder: Path, seeds: int, draws: int, bar: tqdm) -> dict[str, Any]:
    """Return everything measured on the exchange's bars."""
    market = read(folder)
    train, val, test = (market.parts[k] for k in ("train", "validation", "test"))
    codes = rule_states(market)
    arms: dict[str, list[np.ndarray]] = {"1 candles": [], "1 stack": [], "3 three heads": [],
                                         "4 like states": []}  # fmt: skip
    sides: dict[str, list[float]] = {}
    weights, states = [], []

    def note(name: str, net: MultiTaskNet, task: str) -> None:
        value = np.corrcoef(ask(net.only(task), test), test.y[task])[0, 1]
        sides.setdefault(name, []).append(float(value))

    for seed in range(seeds):
        plain_ = market.plain
        end_to_end = train_picture(plain_["train"], plain_["validation"], seed, 4)
        arms["1 candles"].append(ask(end_to_end, plain_["test"]))
        bar.update()
        one = train_heads(train, val, ("direction",), seed)
        arms["1 stack"].append(ask(one.only("direction"), test))
        bar.update()
        three = train_heads(train, val, TASKS, seed)
        arms["3 three heads"].append(ask(three.only("direction"), test))
        weights.append(task_weights(three.log_variance))
        bar.update()
        for task in TASKS[1:]:
            note(f"{task}, three heads", three, task)
            note(f"{task}, alone", train_heads(train, val, (task,), seed), task)
            bar.update()
        pairs = draw_pairs(codes["train"], PAIRS, seed=seed, ends=market.ends["train"],
                           min_gap=LENGTH)  # fmt: skip
        net = train_siamese(train.x, pairs, seed)
        states.append({name: embed(net, part.x) for name, part in market.parts.items()})
        arms["4 like states"].append(neighbours(states[-1], market))
        bar.update()
    arms["2 frozen, trees"] = [frozen_trees(market)]
    truth = {name: shares(part.raw["direction"]) for name, part in market.parts.items()}
    arms["shares alone"] = [np.tile(truth["train"], (len(test.x), 1))]
    before = simple_states(market)["test"][:, 0]
    sides["volatility, that of the window"] = [
        float(np.corrcoef(before, test.y["volatility"])[0, 1])
    ]
    return {
        "table": table_of(arms, market, draws), "side tasks": sides, "weights": weights,
        "states": compare_states(states, market, 0, draws), "class shares": truth,
        "examples": {name: len(part.x) for name, part in market.parts.items()},
        "span": market.span, "request": REQUESTS[HOURS],
        "setting": {"length": LENGTH, "stride": STRIDE, "horizon": HORIZON, "multiple": MULTIPLE},
    }  # fmt: skip


def claims(out: dict[str, Any]) -> dict[str, Any]:
    """Return the ledger's rows."""
    lead = out["table"]["three heads less one"]
    what = "three heads less one head, same trunk and seeds, BTCUSDT 1 h, 2024: "
    return {
        "multi_task_generalises": {"claimed": "> 0", "measured": lead["gain"]["value"],
                                   "low": lead["gain"]["low"], "high": lead["gain"]["high"],
                                   "what": what + "log loss of the direction, nats saved"},
        "multi_task_accuracy": {"claimed": "> 0", "measured": lead["accuracy"]["value"],
                                "low": lead["accuracy"]["low"], "high": lead["accuracy"]["high"],
                                "what": what + "accuracy of the direction"},
    }  # fmt: skip


def main() -> None:
    """Run all parts and store the result."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seeds", type=int, default=3, help="nets an arm on real bars")
    parser.add_argument("--planted", type=int, default=5, help="planted markets")
    parser.add_argument("--draws", type=int, default=1_000, help="bootstrap resamples")
    parser.add_argument("--only", choices=("planted", "real"), help="keep the stored other part")
    args = parser.parse_args()
    if "SETRADE_DATA" not in os.environ:
        raise SystemExit(f"set SETRADE_DATA to the folder that holds {HOURS}")
    folder, begin = Path(os.environ["SETRADE_DATA"]), time.perf_counter()
    torch.set_num_threads(1)
    stored = results.load("many_heads") if args.only else {"results": {}, "seconds": 0.0}
    out: dict[str, Any] = stored["results"]
    with tqdm(total=3 * args.planted + 3 + 6 * args.seeds, desc="nets") as bar:
        if args.only != "real":
            out["planted"] = planted_tasks(args.planted, bar)
            out["planted states"] = planted_states(3, bar)
        if args.only != "planted":
            out["real"] = real(folder, args.seeds, args.draws, bar)
    begin -= stored["seconds"]
    out["claims"] = claims(out["real"])
    results.save("many_heads", out, command=COMMAND, seed=list(range(args.seeds)),
                 seconds=time.perf_counter() - begin, device=training.describe(),
                 data={HOURS: results.sha256(folder / HOURS)})  # fmt: skip


if __name__ == "__main__":
    main()
