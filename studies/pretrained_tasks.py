"""Are ImageNet's weights worth anything on regimes and on heat maps of the order book?

    make study STUDY=pretrained_tasks

Two tasks whose answer is planted, each drawn anew ten times. ``regimes``: a random walk falls,
rests or rises by turns, and a candlestick picture of its last 32 bars is asked which of the three
it does now. ``heat maps``: sizes near the touch of a synthetic book foretell where the mid price
stands half a second later (lower, the same, higher), and a picture of the last 32 snapshots is
asked for it. The five ways to answer are those of `transfer`, with its settings: boosted trees on
the numbers behind the picture, on frozen features of a Lite0 with random weights and with
ImageNet's, and the same net trained whole from each. Beside them stands nearly what can be known:
the forward algorithm with the true regimes' figures, on closes, and trees that are told the book's
pressure. 600 pictures to learn from; settings were fixed on other tasks (`transfer`). About 15
minutes on two cores; every run is a line of ``_build/studies/pretrained_tasks.jsonl``.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from typing import Any

import book_net
import numpy as np
import torch
import transfer
from sklearn.metrics import log_loss
from torch import Tensor

from setrade import candles, evidence, orderbook, regimes, results, training
from setrade.models.boosted import Boosted
from setrade.regimes.hmm import forward
from setrade.study import Store, grid, run
from setrade.study.command import parser
from setrade.study.store import RunConfig

TASKS = ("regimes", "heat maps")
SIZE = {"train": 600, "validation": 300, "test": 900, "num_epochs": 10}
DRIFT, VOLATILITY, STAY = (-0.002, 0.0, 0.002), (0.004, 0.003, 0.004), 0.98
# With fewer moves the mid mostly rests for half a second.
BOOK: dict[str, Any] = book_net.SYNTHETIC | {"move_rate": 0.5}
BETWEEN = 12  # bars from one picture of the regimes to the next
PAIRS = (
    ("fine-tuned", "scratch"), ("ImageNet + XGBoost", "random + XGBoost"),
    ("ImageNet + XGBoost", "numbers"), ("fine-tuned", "numbers"),
)  # fmt: skip
BEST = "best"  # what knows how the task was planted

Task = tuple[Tensor, np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]
# pictures, the numbers behind them, classes, rows of the three parts, best answers on the test


def filtered(log_close: np.ndarray) -> np.ndarray:
    """Return P(regime | bars up to each) (n - 1, 3) of one who knows how they were drawn."""
    k = len(DRIFT)
    move = np.full((k, k), (1 - STAY) / (k - 1))
    np.fill_diagonal(move, STAY)
    sd = np.array(VOLATILITY)
    x, out = np.diff(log_close)[:, None], np.empty((len(log_close) - 1, k))
    start, means = np.log(np.full(k, 1 / k)), np.array(DRIFT)[:, None]
    norm = -0.5 * np.log(2 * np.pi) - np.log(sd)
    forward(x, start, np.log(move), means, 1 / sd[:, None, None], norm, out, np.empty(len(x)))
    return np.exp(out)


def regime_task(seed: int, size: dict[str, int]) -> Task:
    """Return pictures of a market's last 32 bars, and the regime that rules the last one."""
    counts = [size[name] for name in book_net.PARTS]
    n, bars = sum(counts), transfer.BARS
    market = regimes.planted(
        bars + BETWEEN * n, seed=seed, volatility=VOLATILITY, drift=DRIFT, stay=STAY
    )
    ends = bars - 1 + BETWEEN * np.arange(n)
    windows = np.array(candles.windows(market.candles, bars)[ends - bars + 1])
    y = market.regime.cat.codes.to_numpy()[ends].astype(np.int64)
    parts = np.split(np.arange(n), np.cumsum(counts)[:-1])
    # Neighbours share bars: the first pictures of a part would show what the last one showed.
    parts = [parts[0], *(rows[-(-bars // BETWEEN) :] for rows in parts[1:])]
    known = filtered(np.log(market.candles["close"].to_numpy()))[ends - 1]
    x, plain = transfer.pictures(windows, "candles"), transfer.numbers(windows)
    return x, plain, y, parts, known[parts[2]]


def book_task(seed: int, size: dict[str, int]) -> Task:
    """Return heat maps of a book that foretells its moves, and where the mid price then stands."""
    made = orderbook.synthetic(**dict(BOOK, seed=seed))
    problem = book_net.prepare(made.books, 16 * 0.1 / 60_000 * 1e4)  # a row is one tick
    chosen = {
        name: rows[np.linspace(0, len(rows) - 1, min(size[name], len(rows))).astype(int)]
        for name, rows in problem.parts.items()
    }
    ends = np.concatenate([chosen[name] for name in book_net.PARTS])
    sets = orderbook_pictures(problem, ends)
    x = sets.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)  # the size of the charts
    y = problem.direction[ends].astype(np.int64)
    given = book_net.features(problem)
    plain = np.column_stack([given["past moves"], given["imbalance 1, 5, 20"]])[ends]
    parts = np.split(np.arange(len(ends)), np.cumsum([len(chosen[n]) for n in book_net.PARTS])[:-1])
    told = made.pressure[ends][:, None].astype(np.float32)
    knows = Boosted(seed=seed).fit(told[parts[0]], y[parts[0]], (told[parts[1]], y[parts[1]]))
    return x, plain.astype(np.float32), y, parts, knows.probabilities(told[parts[2]])


def orderbook_pictures(problem: book_net.Problem, ends: np.ndarray) -> Tensor:
    """Return heat maps (N, 2, rows, window) that end at snapshots."""
    made = book_net.BookSet(
        problem.books, problem.direction, ends, rows=book_net.ROWS, window=book_net.WINDOW,
        span_bps=problem.span_bps, largest=problem.largest,
    )  # fmt: skip
    return made.batch(torch.arange(len(made)))[0]


def work(config: RunConfig, size: dict[str, int]) -> dict[str, Any]:
    """Return accuracy and loss of every arm on the fresh pictures of one draw of a task."""
    torch.set_num_threads(1)
    make = {"regimes": regime_task, "heat maps": book_task}[config["task"]]
    x, plain, y, parts, best = make(1_000 + config["seed"], size)
    got = transfer.answered(x, plain, y, parts, size["num_epochs"], config["seed"])
    truth = y[parts[2]]
    said = {arm: v["p"].astype(float) for arm, v in got.items()} | {BEST: best.astype(float)}
    out = {
        name: {
            "right": float((p.argmax(1) == truth).mean()),
            "loss": log_loss(truth, p / p.sum(1, keepdims=True), labels=range(3)),
        }
        for name, p in said.items()
    }
    shares = np.bincount(truth, minlength=3) / len(truth)
    return {
        "arms": out, "constant": evidence.constant_loss(y[parts[0]], truth),
        "commonest": float(shares.max()), "rows": [len(rows) for rows in parts],
        "seconds": {arm: v["seconds"] for arm, v in got.items()},
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a task's accuracies, paired differences, and which arms learned, over its draws."""
    got = [row["measures"] for row in rows]
    right = {a: [m["arms"][a]["right"] for m in got] for a in (*transfer.ARMS, BEST)}
    # Each draw has a constant of its own, so losses are held against it draw by draw.
    over = {a: [m["arms"][a]["loss"] - m["constant"] for m in got] for a in transfer.ARMS}
    learned = {a: evidence.learned(v, 0.0) for a, v in over.items()}
    less = {
        f"{a} - {b}": transfer.student(list(np.subtract(right[a], right[b])))
        | {"learned": all(learned[x].word == "learned" for x in (a, b))}
        for a, b in PAIRS
    }
    return {
        "right": {a: transfer.student(v) for a, v in right.items()}, "less": less,
        "commonest": transfer.student([m["commonest"] for m in got]),
        "learned": {a: asdict(v) for a, v in learned.items()},
        "seconds": {a: float(np.mean([m["seconds"][a] for m in got])) for a in transfer.ARMS},
        "rows": got[0]["rows"],
    }  # fmt: skip


def main() -> None:
    """Run what is missing, then store the tables."""
    args = parser(__doc__, counts=[("draws", 10), *SIZE.items()]).parse_args()
    start, size = time.perf_counter(), {name: getattr(args, name) for name in SIZE}
    runs = grid(task=TASKS, seed=range(args.draws))
    store = Store(args.store / "pretrained_tasks.jsonl", "pretrained_tasks", {}, setting=size)
    run(partial(work, size=size), runs, store, n_jobs=args.jobs)
    spent = sum(row["seconds"] for row in store.of(runs))  # of one core
    tables = {task: table([r for r in store.of(runs) if r["config"]["task"] == task])
              for task in TASKS}  # fmt: skip
    stored = {
        "setting": size | {"drift": DRIFT, "volatility": VOLATILITY, "stay": STAY,
                           "book": BOOK, "lr": transfer.LR, "depth": transfer.DEPTH},
        "tasks": tables,
    }  # fmt: skip
    results.save(
        "pretrained_tasks", stored, command="make study STUDY=pretrained_tasks",
        seed=list(range(args.draws)), seconds=spent + time.perf_counter() - start, data={},
        device=training.describe(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
