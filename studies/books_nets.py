"""Nets on three real books: a small DeepLOB, and an EfficientNet on heat maps.

    SETRADE_DATA=<folder> make study STUDY=books_nets

The venues, classes, folds and judgement of ``books_real``, which runs first: its kept fits are what
nets are set beside. One net answers all horizons, a head each. What a heat map adds is asked as
the claim has it: a logistic regression on past moves, without and with the net's score, both
fitted on the validation part, which the net did not train on. An effect of the claimed size is
planted in the same book, twice, and the same pipeline has to find it. Settings were fixed before
any real book was read, and are the same for all. Each net is kept: a run that was killed goes on.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from book_judge import gain, judged, options, spent
from book_venues import (
    FILES,
    MAIN,
    VENUES,
    WINDOW,
    Fold,
    Venue,
    classes,
    folds,
    inputs,
    moves,
    venue,
)
from books_real import filled, joined, linear, planted, said_by_numbers
from joblib import Parallel, delayed
from picture_folds import claim
from torch import Tensor, nn
from tqdm import tqdm

from setrade import evidence, orderbook, results, training
from setrade.efficientnet import EfficientNet

NETS = ("deeplob", "efficientnet")


class DeepLOB(nn.Module):
    """A small DeepLOB: levels are merged two by two, then three spans of time, then a memory.

    Source: Z. Zhang, S. Zohren and S. Roberts (2019), DeepLOB, figure 3, at a quarter of its width
    and with a GRU; one head a horizon.
    """

    def __init__(self, horizons: int, width: int = 8) -> None:
        super().__init__()
        act = nn.LeakyReLU(0.01)
        self.levels = nn.Sequential(
            nn.Conv2d(1, width, (1, 2), (1, 2)), act,  # price with size
            nn.Conv2d(width, width, (3, 1), padding=(1, 0)), act,
            nn.Conv2d(width, width, (1, 2), (1, 2)), act,  # bid with ask
            nn.Conv2d(width, width, (3, 1), padding=(1, 0)), act,
            nn.Conv2d(width, 2 * width, (1, 20)), act,  # all levels
        )  # fmt: skip
        self.spans = nn.ModuleList([
            nn.Conv1d(2 * width, width, k, padding=k // 2) for k in (1, 3, 5)
        ])  # fmt: skip
        self.memory = nn.GRU(3 * width, 4 * width, batch_first=True)
        self.head = nn.Linear(4 * width, 3 * horizons)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, time, 80) to logits (B, horizons, 3)."""
        y = self.levels(x[:, None])[..., 0]
        y = torch.cat([nn.functional.leaky_relu(c(y), 0.01) for c in self.spans], 1)
        _, last = self.memory(y.transpose(1, 2))
        return self.head(last[0]).unflatten(1, (-1, 3))


def columns(v: Venue) -> np.ndarray:
    """Return a book as 80 columns: of each level ask price and size, bid price and size.

    Prices are distances from the mid in basis points, sizes logarithms.
    """
    b, mid = v.books, v.books.mid()[:, None]
    price = [np.arcsinh(1e4 * (x / mid - 1)) for x in (b.ask_price, b.bid_price)]
    size = [np.log1p(x) for x in (b.ask_size, b.bid_size)]
    return np.stack([price[0], size[0], price[1], size[1]], 2).reshape(len(b), 80)


class Windows:
    """Examples of windows of columns, (time, 80) each, with classes (horizons,)."""

    def __init__(self, x: np.ndarray, y: np.ndarray, ends: np.ndarray) -> None:
        self.x, self.ends = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(ends)
        self.y = torch.from_numpy(y[ends])
        self.back = torch.arange(1 - WINDOW, 1)

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows (B, time, 80) and classes (B, horizons) of ``rows``."""
        return self.x[self.ends[rows][:, None] + self.back], self.y[rows]


class Maps:
    """Examples of heat maps (2, 32, 32) with classes (horizons,), drawn as they are asked for."""

    def __init__(self, v: Venue, y: np.ndarray, ends: np.ndarray, past: np.ndarray) -> None:
        self.v, self.ends, self.y = v, ends, torch.from_numpy(y[ends])
        sizes = np.r_[v.books.bid_size[past], v.books.ask_size[past]]
        self.top = float(np.log1p(np.quantile(sizes, 0.99)))
        self.span = reach(v, past)

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures (B, 2, 32, WINDOW) in [0, 1] and classes of ``rows``."""
        drawn = orderbook.heatmap(self.v.books, rows=32, span_bps=self.span, window=WINDOW,
                                  ends=self.ends[rows.numpy()], reference="fixed",
                                  log=True).volume  # fmt: skip
        return torch.from_numpy(np.minimum(drawn / self.top, 1.0)), self.y[rows]


def reach(v: Venue, rows: np.ndarray) -> float:
    """Return how far heat maps reach from the mid: the median distance of the tenth level, bps."""
    b = v.books
    far = (b.ask_price[rows, 9] - b.bid_price[rows, 9]) / 2 / b.mid()[rows]
    return float(1e4 * np.median(far))


def every_horizon(out: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy, averaged over horizons."""
    return nn.functional.cross_entropy(out.reshape(-1, 3), y.reshape(-1))


PLANS = {
    "deeplob": training.Plan(num_epochs=6, patience=3, lr=2e-3, batch_size=128, weight_decay=0.01),
    "efficientnet": training.Plan(
        num_epochs=6, patience=2, lr=2e-3, batch_size=64, weight_decay=0.01
    ),
}
MAPS_THIN = 2  # pictures are dear: every second of the training rows


def net_sets(name: str, v: Venue, fold: Fold, y: np.ndarray) -> dict[str, Any]:
    """Return a net's examples by part."""
    parts = asdict(fold)
    if name == "efficientnet":
        parts["train"] = parts["train"][::MAPS_THIN]
        return {k: Maps(v, y, ends, fold.train) for k, ends in parts.items()}
    x = columns(v)
    x = (x - x[fold.train].mean(0)) / (x[fold.train].std(0) + 1e-9)
    return {k: Windows(x, y, ends) for k, ends in parts.items()}


def make_net(name: str, horizons: int) -> nn.Module:
    """Return a net of one head a horizon."""
    if name == "deeplob":
        return DeepLOB(horizons)
    body = EfficientNet("micro", 3 * horizons, 2)
    return nn.Sequential(body, nn.Unflatten(1, (horizons, 3)))


def train_net(
    name: str, seed: int, v: Venue, fold: Fold, move: np.ndarray, where: Path
) -> dict[str, np.ndarray]:
    """Return validation and test probabilities (horizons, rows, 3) and the learning curve."""
    file = where.with_suffix(".npz")
    if file.is_file():
        return dict(np.load(file))
    torch.set_num_threads(1)
    y = np.column_stack([classes(move[:, k], fold.train) for k in range(move.shape[1])])
    sets = net_sets(name, v, fold, y)
    training.seed_everything(seed)
    net = make_net(name, move.shape[1])
    where.parent.mkdir(parents=True, exist_ok=True)
    history = training.fit(net, sets["train"], sets["validation"], plan=PLANS[name], seed=seed,
                           loss=every_horizon, checkpoint=where.with_suffix(".pt"),
                           device="cpu", progress=False)  # fmt: skip
    p = {k: training.predict(net, sets[k]).softmax(2).numpy().transpose(1, 0, 2)
         for k in ("validation", "test")}  # fmt: skip
    y_train, y_late = sets["train"].y.numpy(), sets["validation"].y.numpy()
    constant = [evidence.constant_loss(a, b) for a, b in zip(y_train.T, y_late.T, strict=True)]
    out = p | {"val_loss": np.array(history.val_loss), "constant": np.array(np.mean(constant))}
    np.savez(file, allow_pickle=False, **out)
    where.with_suffix(".pt").unlink(missing_ok=True)
    return out


def fit(name: str, of: str, i: int, seed: int, data: Path, store: Path) -> dict[str, np.ndarray]:
    """Train one net in one fold, or read what was kept."""
    v = venue(of, data)
    return train_net(name, seed, v, folds(v)[i], moves(v), store / of / f"{name}-{i}-{seed}")


def fit_planted(size: float, seed: int, i: int, data: Path, store: Path) -> dict[str, np.ndarray]:
    """Train an EfficientNet in a fold of the day, where an effect is planted."""
    v = venue("bitstamp", data)
    move = planted(v, size, seed, v.horizons.index(MAIN))
    where = store / "planted" / f"{round(100 * size)}-{seed}-{i}"
    return train_net("efficientnet", 0, v, folds(v)[i], move, where)


def stacked(v: Venue, fold: Fold, runs: list[dict], move: np.ndarray, k: int) -> list[np.ndarray]:
    """Return test probabilities of past moves without and with a net's score for a horizon.

    Both are fitted on the validation part, which the net did not train on. ``move`` (N, 1) is the
    horizon's, ``k`` its place among the net's heads.
    """
    past, y = inputs(v, "past moves"), classes(move[:, 0], fold.train)
    wide = np.full((len(past), 1), np.nan)
    for rows, part in ((fold.validation, "validation"), (fold.test, "test")):
        p = np.mean([run[part][k] for run in runs], axis=0)
        wide[rows, 0] = np.log(p[:, 2] + 1e-6) - np.log(p[:, 0] + 1e-6)
    both = (past, np.hstack([past, wide, np.abs(wide)]))
    return [filled(linear(x, y, fold.validation), x[fold.test]) for x in both]


def table(of: str, seeds: int, draws: int, data: Path, store: Path) -> dict[str, Any]:
    """Return one venue's nets: whether they learned, figures by horizon, what they add."""
    v = venue(of, data)
    every, move = folds(v), moves(v)
    rows = np.concatenate([f.test for f in every])
    out: dict[str, Any] = {"learned": {}, "by_horizon": {}, "gain": {name: {} for name in NETS}}
    runs = {(name, i): [fit(name, of, i, s, data, store) for s in range(seeds)]
            for name in NETS for i in range(len(every))}  # fmt: skip
    for name in NETS:
        each = [runs[name, i] for i in range(len(every))]
        losses = [np.mean([fold[s]["val_loss"].min() for fold in each]) for s in range(seeds)]
        constant = float(np.mean([fold[0]["constant"] for fold in each]))
        out["learned"][name] = asdict(evidence.learned(losses, constant))
    for k, (h, said) in enumerate(zip(v.horizons, said_by_numbers(of, data, store), strict=True)):
        for name in NETS:
            parts = [np.mean([r["test"][k] for r in runs[name, i]], axis=0)
                     for i in range(len(every))]  # fmt: skip
            said[name] = joined(every, move[:, k], parts)
            pairs = [stacked(v, f, runs[name, i], move[:, [k]], k) for i, f in enumerate(every)]
            both = [joined(every, move[:, k], list(p)) for p in zip(*pairs, strict=True)]
            out["gain"][name][str(h)] = gain(v, rows, both, move[:, k], draws)
        found = judged(v, rows, said, move[:, k], h, draws)
        out["by_horizon"][str(h)] = {name: found[name] for name in NETS}
    return out


def seen(size: float, draws: int, data: Path, store: Path) -> dict[str, Any]:
    """Return whether the claim's pipeline finds an effect planted in the day, in both of two tries.

    ``size`` is the relative gain that the planted effect shows; infinite where it is not found.
    """
    v = venue("bitstamp", data)
    every, found = folds(v), []
    rows = np.concatenate([f.test for f in every])
    for seed in range(2):
        move = planted(v, size, seed, v.horizons.index(MAIN))
        pairs = [stacked(v, f, [fit_planted(size, seed, i, data, store)], move, 0)
                 for i, f in enumerate(every)]  # fmt: skip
        both = [joined(every, move[:, 0], list(p)) for p in zip(*pairs, strict=True)]
        found.append(gain(v, rows, both, move[:, 0], draws))
    hits = sum(f["corrected"][0] > 0 for f in found)
    shown = float(np.mean([f["estimate"] for f in found])) if hits == len(found) else np.inf
    return {"planted": size, "tries": found, "hits": hits, "size": shown}


def jobs_of(seeds: int, size: float, data: Path, store: Path) -> list:
    """Return what has to be trained and is not kept yet."""
    out = [delayed(fit)(name, of, i, s, data, store)
           for of in VENUES for name in NETS for i in range(venue(of, data).folds)
           for s in range(seeds)
           if not (store / of / f"{name}-{i}-{s}.npz").is_file()]  # fmt: skip
    files = {(seed, i): store / "planted" / f"{round(100 * size)}-{seed}-{i}.npz"
             for seed in range(2) for i in range(venue("bitstamp", data).folds)}  # fmt: skip
    return out + [delayed(fit_planted)(size, *key, data, store)
                  for key, file in files.items() if not file.is_file()]  # fmt: skip


CLAIMED = 0.08  # relative gain


def main() -> None:
    """Train what is missing, then judge and store."""
    args = options(__doc__, "books_real", *FILES, seeds=2, draws=1_000, jobs=os.cpu_count() or 1)
    start = time.perf_counter()
    shas = {name: results.sha256(args.data / name) for name in FILES}
    plans = {name: asdict(plan) for name, plan in PLANS.items()}
    claim(args.store / "nets", {"data": shas, "plans": plans, "thin": MAPS_THIN})
    gains = results.load("books_real")["results"]["power"]["f1"]["gains"]
    size = min((float(s) for s, g in gains.items() if g >= CLAIMED), default=max(map(float, gains)))
    todo = jobs_of(args.seeds, size, args.data, args.store)
    print(f"{len(todo)} nets left, at most half a minute of one core each")
    pool: Any = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for _ in tqdm(pool(todo), total=len(todo), unit="net"):
        pass
    stored: dict[str, Any] = {
        of: table(of, args.seeds, args.draws, args.data, args.store) for of in VENUES
    }
    stored["planted"] = seen(size, args.draws, args.data, args.store)
    main_gain = stored["bitstamp"]["gain"]["efficientnet"][str(MAIN)]
    stored["claims"] = {"order_book_gain": main_gain | {"claimed": CLAIMED}}
    stored["settings"] = {"window": WINDOW, "plans": plans}
    seconds = spent(args.store / "nets", time.perf_counter() - start)
    results.save("books_nets", stored, seed=list(range(args.seeds)), data=shas,
                 seconds=seconds, device=training.describe(),
                 command="SETRADE_DATA=<folder> make study STUDY=books_nets")  # fmt: skip


if __name__ == "__main__":
    main()
