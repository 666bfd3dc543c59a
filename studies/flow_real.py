"""Does order flow help where a book exists? One day of minutes, channels of bars with and without.

    SETRADE_DATA=<folder> make study STUDY=flow_real

Bitstamp's 24 hours again (`book_venues`): bars of the mid, with the volume that traded, and beside
the 32 channels that bars give seven of order flow at each close: spread, imbalance of 1, 5 and 20
levels, the minute's order-flow imbalance over the usual size at the touch, depth of ten levels
against its last hour, and the sign of what traded. The target is the side of the next five minutes
(lower third of |moves| in training: flat). Three folds walked forward, windows of 32 bars. A day is
little: what the same pipeline could have found in it is measured by planted effects.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from book_judge import (
    Said,
    bounds,
    f1_macro,
    held,
    options,
    ranks,
    redrawn,
    spent,
    tables,
)
from book_venues import ORDERS, Fold, classes, even, orders, shares
from books_real import filled, tilted
from picture_folds import claim, kept
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from setrade import channels, evidence, orderbook, results, training
from setrade.models.boosted import Boosted
from setrade.models.se_trader import SETrader
from setrade.study import baselines

HORIZON, LOOKBACK, FOLDS, BLOCK = 5, 32, 3, 30  # minutes
FLOW = ("spread", "imbalance_1", "imbalance_5", "imbalance_20", "ofi", "depth", "trade_sign")
VIEWS = ("bars", "bars and flow")
LEARNERS = ("ridge", "logistic", "trees", "se_trader")
PLAN = training.Plan(num_epochs=30, patience=5, lr=2e-3, batch_size=64, weight_decay=0.01)
SIZES = (0.1, 0.2, 0.3, 0.5, 0.8)


# ---- Bars and channels.


def minutes(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return bars of the mid with the volume traded, and the seven channels of order flow."""
    events = orders(folder)
    made, every = orderbook.rebuild(events), orderbook.rebuild(events, None, levels=1)
    books, flow, _ = even(made.books, every.books, 1.0, 3600.0)
    time = pd.DatetimeIndex(books.time, tz="UTC", name="time")
    second = time - pd.Timedelta(seconds=1)  # a look at 12:01:00 closes the minute 12:00
    mid = pd.Series(books.mid(), second).resample("1min")
    frame = pd.DataFrame({"open": mid.first(), "high": mid.max(), "low": mid.min(),
                          "close": mid.last()})[mid.count() == 60]  # fmt: skip
    frame["open"] = frame["close"].shift(1).fillna(frame["open"])
    frame["high"], frame["low"] = (frame[["open", "high"]].max(axis=1),
                                   frame[["open", "low"]].min(axis=1))  # fmt: skip
    trades = made.trades.set_index("time")
    signed = trades["size"] * trades["side"]
    both = [x.resample("1min").sum().reindex(frame.index, fill_value=0.0)
            for x in (trades["size"], signed)]  # fmt: skip
    frame["volume"] = both[0]
    touch = (books.bid_size[:, 0] + books.ask_size[:, 0]) / 2
    deep = books.bid_size[:, :10].sum(1) + books.ask_size[:, :10].sum(1)
    at = pd.DataFrame({
        "spread": 1e4 * books.spread() / books.mid(), "imbalance_1": books.imbalance(1),
        "imbalance_5": books.imbalance(5), "imbalance_20": books.imbalance(20),
        "flow": flow, "touch": pd.Series(touch).rolling(300, 60).mean().to_numpy(), "deep": deep,
    }, second).resample("1min").last().reindex(frame.index)  # fmt: skip
    at["ofi"] = np.arcsinh(at["flow"].diff() / at["touch"])
    at["depth"] = np.log(at["deep"] / at["deep"].rolling(60, 20).mean())
    at["trade_sign"] = (both[1] / both[0].where(both[0] > 0)).fillna(0.0)
    return frame, at[list(FLOW)]


class Day:
    """The day's channels by view, its moves in basis points, and its folds."""

    def __init__(self, folder: Path) -> None:
        frame, flow = minutes(folder)
        table = channels.compute(frame, scale_free=True).join(flow)
        close = frame["close"].to_numpy()
        self.move = np.full(len(close), np.nan)
        self.move[:-HORIZON] = (close[HORIZON:] / close[:-HORIZON] - 1) * 1e4
        self.lean = np.sign(flow["imbalance_5"].to_numpy())
        self.tables = {"bars": table.drop(columns=list(FLOW)), "bars and flow": table}
        self.frame = frame
        start, n = channels.WARM_UP + LOOKBACK, len(close) - HORIZON
        edges = np.linspace(start + 0.4 * (n - start), n, FOLDS + 1).astype(int)
        self.folds = []
        for first, last in pairwise(edges):
            late = start + int(0.8 * (first - start))
            train, validation = np.arange(start, late - HORIZON), np.arange(late, first - HORIZON)
            self.folds.append(Fold(train, validation, np.arange(first, last)))

    def inputs(self, view: str, fold: Fold) -> np.ndarray:
        """Return standardised channels (n, C), 0 in the warm-up, cut at five deviations."""
        fitted = channels.Standardizer().fit(self.tables[view].iloc[fold.train])
        x = fitted.transform(self.tables[view]).to_numpy()
        return np.clip(np.nan_to_num(x), -5, 5)


# ---- Learners: probabilities (test rows, 3).


def plain(name: str, x: np.ndarray, y: np.ndarray, fold: Fold) -> np.ndarray:
    """Return what a learner without seeds says of the test rows."""
    wide = baselines.windows(pd.DataFrame(x), LOOKBACK)
    if name == "trees":
        late = (wide[fold.validation], y[fold.validation])
        trees = Boosted(rounds=150, column_share=0.5, seed=0)
        return trees.fit(wide[fold.train], y[fold.train], late).probabilities(wide[fold.test])
    if name == "ridge":
        model = make_pipeline(StandardScaler(), Ridge(1e3))
        model.fit(wide[fold.train], np.eye(3)[y[fold.train]])
        p = np.clip(model.predict(wide[fold.test]), 1e-6, None)
        return p / p.sum(1, keepdims=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500))
    return filled(model.fit(wide[fold.train], y[fold.train]), wide[fold.test])


def se_trader(x: np.ndarray, y: np.ndarray, fold: Fold, seed: int) -> np.ndarray:
    """Return an SE trader's test probabilities; below them its best loss and the constant one."""
    training.seed_everything(seed)
    sets = {k: training.WindowSet(x.astype(np.float32), y, ends, LOOKBACK)
            for k, ends in asdict(fold).items()}  # fmt: skip
    net = SETrader(x.shape[1], dropout=0.2)
    history = training.fit(net, sets["train"], sets["validation"], plan=PLAN, seed=seed,
                           device="cpu", progress=False)  # fmt: skip
    p = training.predict(net, sets["test"]).softmax(1).double().numpy()
    constant = evidence.constant_loss(y[fold.train], y[fold.validation])
    return np.vstack([p, [min(history.val_loss), constant, 0.0]])


def said(day: Day, view: str, name: str, seeds: int, store: Path) -> tuple[list[Said], np.ndarray]:
    """Return what each seed says of all tests, and losses (seeds, folds, 2) of nets."""
    out, losses = [], []
    ys = [classes(day.move, fold.train) for fold in day.folds]
    y = np.concatenate([y[f.test] for y, f in zip(ys, day.folds, strict=True)])
    share = np.concatenate([np.tile(shares(y[f.train]), (len(f.test), 1))
                            for y, f in zip(ys, day.folds, strict=True)])  # fmt: skip
    for seed in range(seeds if name == "se_trader" else 1):
        parts = []
        for i, fold in enumerate(day.folds):
            x = day.inputs(view, fold)
            make = (partial(se_trader, x, ys[i], fold, seed) if name == "se_trader"
                    else partial(plain, name, x, ys[i], fold))  # fmt: skip
            parts.append(kept(store / f"{view}-{name}-{i}-{seed}.npy", make))
        if name == "se_trader":
            losses.append([part[-1, :2] for part in parts])
            parts = [part[:-1] for part in parts]
        out.append(Said(np.concatenate(parts), y, share))
    return out, np.array(losses)


# ---- Judgement.


def judge(day: Day, seeds: int, draws: int, store: Path) -> dict[str, Any]:
    """Return F1 and rank correlation of every learner and view, and what flow adds to each."""
    rows = np.concatenate([f.test for f in day.folds])
    block = (rows - rows[0]) // BLOCK
    weight = redrawn(block.max() + 1, draws)
    out: dict[str, Any] = {}
    for name in tqdm(LEARNERS, unit="learner"):
        f1s: dict[str, Any] = {}
        out[name] = {}
        for view in VIEWS:
            every, losses = said(day, view, name, seeds, store)
            counts = np.mean([tables(one.call, one.y, block) for one in every], axis=0)
            f1s[view] = (f1_macro(counts.sum(0)),
                         f1_macro(np.einsum("db,bij->dij", weight, counts)))  # fmt: skip
            p = np.mean([one.p for one in every], axis=0)
            rank = ranks(p[:, 2] - p[:, 0], day.move[rows], block, weight)
            out[name][view] = {"f1": held(*f1s[view]), "rank": rank}
            if len(losses):
                found = evidence.learned(losses[:, :, 0].mean(1), float(losses[:, :, 1].mean()))
                out[name][view]["learned"] = asdict(found)
                out[name][view]["f1_by_seed"] = [
                    float(f1_macro(tables(one.call, one.y, block).sum(0))) for one in every
                ]
        gap = [a - b for a, b in zip(f1s[VIEWS[1]], f1s[VIEWS[0]], strict=True)]
        out[name]["flow_adds"] = held(*gap) | {
            "corrected": bounds(gap[1], 1 - 0.05 / len(LEARNERS))
        }
    share = shares(classes(day.move, day.folds[-1].train)[rows])
    common = np.zeros((1, 3, 3))
    common[0, :, share.argmax()] = share
    return {"learners": out, "class_shares": share, "blocks": block.max() + 1, "tests": len(rows),
            "shares_f1": float(f1_macro(common[0]))}  # fmt: skip


def finds(day: Day, size: float, seed: int, draws: int = 300) -> np.ndarray:
    """Return the low bound of what flow adds to the logistic regression, planted, and the gain."""
    move = tilted(day.move, day.lean, size, HORIZON, seed)[:, 0]
    rows = np.concatenate([f.test for f in day.folds])
    block = (rows - rows[0]) // BLOCK
    weight, counts = redrawn(block.max() + 1, draws), []
    for view in VIEWS:
        total = 0.0
        for fold in day.folds:
            y, share = classes(move, fold.train), shares(classes(move, fold.train)[fold.train])
            p = plain("logistic", day.inputs(view, fold), y, fold)
            mine = (fold.test - rows[0]) // BLOCK
            part = tables((p / share).argmax(1), y[fold.test], mine)
            total = total + np.pad(part, ((0, block.max() + 1 - len(part)), (0, 0), (0, 0)))
        counts.append(total)
    before, after = (f1_macro(np.einsum("db,bij->dij", weight, c)) for c in counts)
    gain = f1_macro(counts[1].sum(0)) - f1_macro(counts[0].sum(0))
    return np.array([bounds(after - before, 1 - 0.05 / len(LEARNERS))[0], float(gain)])


def power(day: Day, tries: int, store: Path) -> dict[str, Any]:
    """Return the smallest planted effect found in 16 of 20, and what F1 it adds."""
    gains: dict[float, list[float]] = {}

    def seen(size: float, seed: int) -> bool:
        low, gain = kept(store / f"planted-{size:g}-{seed}.npy", partial(finds, day, size, seed))
        gains.setdefault(size, []).append(float(gain))
        return bool(low > 0)

    answer = evidence.detectable(seen, SIZES, tries=tries, needed=max(1, round(0.8 * tries)))
    mean = {size: float(np.mean(x)) for size, x in sorted(gains.items())}
    return asdict(answer) | {"gains": mean, "smallest_gain": mean.get(answer.size, np.inf)}


def main() -> None:
    """Fit what is not kept yet, judge, and store."""
    args = options(__doc__, "flow_real", ORDERS, seeds=5, draws=1_000, tries=20)
    start, sha = time.perf_counter(), results.sha256(args.data / ORDERS)
    torch.set_num_threads(1)
    claim(args.store, {"data": sha, "plan": asdict(PLAN), "horizon": HORIZON})
    print(
        f"{2 * args.seeds * FOLDS} nets of about 4 s each, and planted effects: 4 minutes of a core"
    )
    day = Day(args.data)
    stored = judge(day, args.seeds, args.draws, args.store)
    stored["power"] = power(day, args.tries, args.store)
    stored["setting"] = {
        "horizon": HORIZON, "lookback": LOOKBACK, "flow": FLOW, "bars": len(day.frame),
        "channels": {view: table.shape[1] for view, table in day.tables.items()},
        "no_trade": float((day.frame["volume"] == 0).mean()),
    }  # fmt: skip
    results.save("flow_real", stored, seed=list(range(args.seeds)), data={ORDERS: sha},
                 seconds=spent(args.store, time.perf_counter() - start), device=training.describe(),
                 command="SETRADE_DATA=<folder> make study STUDY=flow_real")  # fmt: skip


if __name__ == "__main__":
    main()
