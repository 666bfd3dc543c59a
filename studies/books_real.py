"""Three real books: what imbalance, order flow and nets know of the next minute, and who pays it.

    SETRADE_DATA=<folder> make study STUDY=books_real

Bitstamp's 24 hours (1 May 2015) are rebuilt from single orders, dead ids kept dead; GDAX gives an
hour (24 April 2018, top 20 each second), Binance 5.7 minutes (8 August 2024, top 20 each 52 ms).
All are looked at on an even grid, the last sound book at or before each time. The class of a move
is up or down where it is larger than the training part's lower third of |moves| (0 where more than
a third do not move), else flat. Walked forward: the first 40 % train, the rest are folds tested in
turn; the last 15 % of what was seen stop and tune. A decision is the class whose probability is
largest against its share in training, so that nobody wins by calling all of it flat. Settings were
fixed on Bitstamp's first hour and on synthetic books, never on a test span. Intervals redraw
blocks of time. What takes long is kept in ``--store``; a run that was killed goes on.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import real_book
from book_judge import PLAIN, WALL, Said, gain, judged, options, spent, walls
from book_venues import (
    FEE_BPS,
    FILES,
    HORIZONS,
    LAGS,
    MAIN,
    VENUES,
    Fold,
    Venue,
    bitstamp_facts,
    classes,
    folds,
    inputs,
    moves,
    shares,
    venue,
)  # fmt: skip
from picture_folds import claim, kept
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from setrade import evidence, orderbook, results
from setrade.models.boosted import Boosted

NUMBERS = ("logistic on past moves", "logistic on imbalance", "logistic on order flow",
           "logistic on book", "trees on past moves", "trees on book")  # fmt: skip


# ---- Learners: each returns probabilities (horizons, rows, 3) of the rows asked for.


def linear(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> Any:
    """Return a logistic regression of standardised features, fitted."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return model.fit(x[rows], y[rows])


def filled(model: Any, x: np.ndarray) -> np.ndarray:
    """Return probabilities of all three classes, also where training had only two of them."""
    p = np.full((len(x), 3), 1e-6)
    p[:, model.classes_] = model.predict_proba(x)
    return p / p.sum(1, keepdims=True)


def numbers(name: str, v: Venue, fold: Fold, move: np.ndarray) -> np.ndarray:
    """Return a learner on features, for the validation and then the test rows."""
    kind, _, group = name.partition(" on ")
    x, out = inputs(v, group), []
    after = np.r_[fold.validation, fold.test]
    for k in range(move.shape[1]):
        y = classes(move[:, k], fold.train)
        if kind == "logistic":
            out.append(filled(linear(x, y, fold.train), x[after]))
            continue
        late = (x[fold.validation], y[fold.validation])
        trees = Boosted(rounds=150, column_share=0.5, seed=0)
        out.append(trees.fit(x[fold.train], y[fold.train], late).probabilities(x[after]))
    return np.array(out)


def joined(every: list[Fold], move: np.ndarray, parts: list[np.ndarray]) -> Said:
    """Return the folds' tests as one, each with its own classes and shares."""
    ys = [classes(move, f.train) for f in every]
    share = np.concatenate([np.tile(shares(y[f.train]), (len(f.test), 1))
                            for y, f in zip(ys, every, strict=True)])  # fmt: skip
    y = np.concatenate([y[f.test] for y, f in zip(ys, every, strict=True)])
    return Said(np.concatenate(parts).astype(float), y, share)


def said_by_numbers(of: str, data: Path, store: Path) -> list[dict[str, Said]]:
    """Return, by horizon, what the commonest class and the learners on features say of the tests.

    Each learner's probabilities in each fold are kept.
    """
    v = venue(of, data)
    every, move, out = folds(v), moves(v), []
    p = {
        name: [kept(store / of / f"{name}-{i}.npy", partial(numbers, name, v, fold, move))
               for i, fold in enumerate(every)]
        for name in NUMBERS
    }  # fmt: skip
    for k in range(len(v.horizons)):
        said = {
            name: joined(every, move[:, k],
                         [x[k][len(f.validation):] for x, f in zip(p[name], every, strict=True)])
            for name in NUMBERS
        }  # fmt: skip
        first = said[NUMBERS[0]]
        # The shares themselves; a little more decides for the commonest.
        always = first.share + 1e-3 * np.eye(3)[first.share.argmax(1)]
        out.append({"shares": Said(always, first.y, first.share)} | said)
    return out


def table(of: str, draws: int, data: Path, store: Path) -> dict[str, Any]:
    """Return one venue's figures by horizon."""
    v = venue(of, data)
    rows, move = np.concatenate([f.test for f in folds(v)]), moves(v)
    every = list(zip(v.horizons, said_by_numbers(of, data, store), strict=True))
    pair = ("trees on past moves", "trees on book")
    return {
        "gain": {str(h): gain(v, rows, [said[name] for name in pair], move[:, k], draws)
                 for k, (h, said) in enumerate(every)},
        "by_horizon": {str(h): judged(v, rows, said, move[:, k], h, draws)
                       for k, (h, said) in enumerate(every)},
        "rows": len(v.books), "tests": len(rows), "folds": v.folds,
        "hours": len(v.books) * v.step / 3600,
        "median_spread_bps": float(np.median(1e4 * v.books.spread() / v.books.mid())),
        "zero_moves": {str(h): float((move[rows, k] == 0).mean())
                       for k, h in enumerate(v.horizons)},
    }  # fmt: skip


# ---- What could have been seen: a planted effect in the same books.


SIZES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def tilted(move: np.ndarray, lean: np.ndarray, size: float, horizon: int, seed: int) -> np.ndarray:
    """Return moves (n, 1) that know nothing of the book but a planted share of their sides.

    The real moves (n,) are shifted by a tenth of the span or more against the book; then, in
    stretches of one ``horizon`` (rows), with probability ``size`` the side of what moved becomes
    ``lean`` (n,). How much moved, and when, stays.
    """
    rng = np.random.default_rng(seed)
    n, out = int(np.isfinite(move).sum()), np.full((len(move), 1), np.nan)
    turned = np.roll(move[:n], int(rng.integers(n // 10, n - n // 10)))
    flips = (rng.random(n // horizon + 1) < size)[np.arange(n) // horizon]
    out[:n, 0] = np.where(flips, lean[:n] * np.abs(turned), turned)
    return out


def planted(v: Venue, size: float, seed: int, k: int) -> np.ndarray:
    """Return planted moves (N, 1) that follow the heavier side of five levels."""
    lean = np.sign(v.books.imbalance(5))
    return tilted(moves(v)[:, k], lean, size, v.rows(v.horizons[k]), seed)


def finds(v: Venue, size: float, seed: int, draws: int = 300) -> np.ndarray:
    """Return what the trees gain from a planted book: F1 and its low bound, rank and its own."""
    move, every = planted(v, size, seed, v.horizons.index(MAIN)), folds(v)
    pair = []
    for name in ("trees on past moves", "trees on book"):
        parts = [numbers(name, v, f, move)[0][len(f.validation) :] for f in every]
        pair.append(joined(every, move[:, 0], parts))
    found = gain(v, np.concatenate([f.test for f in every]), pair, move[:, 0], draws)
    lead = found["rank_lead"]
    return np.array([found["estimate"], found["corrected"][0], lead["estimate"],
                     lead["corrected"][0]])  # fmt: skip


def power(v: Venue, tries: int, store: Path) -> dict[str, Any]:
    """Return the smallest planted effects found in 16 of 20, by F1 and by rank, as they show."""

    def search(k: int) -> dict[str, Any]:
        gains: dict[float, list[float]] = {}

        def seen(size: float, seed: int) -> bool:
            file = store / f"planted-{size:g}-{seed}.npy"
            row = kept(file, partial(finds, v, size, seed))
            gains.setdefault(size, []).append(float(row[k]))
            return bool(row[k + 1] > 0)

        answer = evidence.detectable(seen, SIZES, tries=tries, needed=max(1, round(0.8 * tries)))
        mean = {size: float(np.mean(x)) for size, x in sorted(gains.items())}
        return asdict(answer) | {"gains": mean, "smallest_gain": mean.get(answer.size, np.inf)}

    return {"f1": search(0), "rank": search(2)}


def abroad(source: str, target: str, draws: int, data: Path) -> dict[str, Any]:
    """Return learners trained on one venue and tested on the test rows of another.

    Features are standardised by what each venue had shown before its first test; classes are those
    of the target's first fold.
    """
    a, b = venue(source, data), venue(target, data)
    there, here = folds(a)[-1], folds(b)
    rows, out = np.concatenate([f.test for f in here]), {}
    seen = np.arange(here[0].train[0], here[0].validation[-1])
    for h in b.horizons:
        ka, kb = a.horizons.index(h), b.horizons.index(h)
        ya = classes(moves(a)[:, ka], there.train)
        yb = classes(moves(b)[:, kb], seen)
        share = np.tile(shares(yb[seen]), (len(rows), 1))
        said = {}
        for group in ("past moves", "imbalance", "order flow", "book"):
            x, z = inputs(a, group), inputs(b, group)
            x, z = ((m - m[r].mean(0)) / m[r].std(0) for m, r in ((x, there.train), (z, seen)))
            model = LogisticRegression(C=0.1, max_iter=500)
            model.fit(x[there.train], ya[there.train])
            p = filled(model, z[rows]) * share / shares(ya[there.train])
            said[f"logistic on {group}"] = Said(p / p.sum(1, keepdims=True), yb[rows], share)
        found = judged(b, rows, said, moves(b)[:, kb], h, draws)
        out[str(h)] = {n: {k: found[n][k] for k in ("f1", "rank", "money")} for n in said}
    return out


def spoofing(seeds: int = 20) -> dict[str, Any]:
    """Return precision and recall of the spoofing score alone on planted books, over seeds."""
    rows = []
    for seed in range(seeds):
        market = orderbook.synthetic(6_000, seed=seed, walls=6, filled=40, spoofs=40)
        found = orderbook.spoofing(market.books, market.trades, min_size=6, tick=0.1)
        flagged = found[found["score"] >= real_book.SPOOF_SCORE].round({"price": 6})
        spoofs = market.planted[market.planted["kind"] == "spoof"].round({"price": 6})
        hits = len(flagged.merge(spoofs, on=["side", "price", "start"]))
        rows.append((hits / len(flagged), hits / len(spoofs)))
    names = ("estimate", "low", "high")
    precision, recall = (dict(zip(names, evidence.t_interval(x), strict=True))
                         for x in np.array(rows).T)  # fmt: skip
    return {"precision": precision, "recall": recall, "seeds": seeds}


PAIRS = (("bitstamp", "gdax"), ("bitstamp", "binance"), ("gdax", "bitstamp"), ("gdax", "binance"))


def main() -> None:
    """Fit what is not kept yet, judge, and store."""
    args = options(__doc__, "books_real", *FILES, draws=1_000, tries=20)
    start = time.perf_counter()
    shas = {name: results.sha256(args.data / name) for name in FILES}
    claim(args.store, {"data": shas, "horizons": HORIZONS, "lags": LAGS})
    print("about 4 minutes of one core; fits that are kept are not made again")
    stored: dict[str, Any] = {}
    for of in tqdm(VENUES, unit="venue"):
        stored[of] = table(of, args.draws, args.data, args.store)
    for of in ("bitstamp", "gdax"):
        stored[of]["walls"] = walls(venue(of, args.data), args.draws)
    stored["bitstamp"]["facts"] = bitstamp_facts(args.data)
    stored["abroad"] = {f"{a} to {b}": abroad(a, b, args.draws, args.data) for a, b in PAIRS}
    stored["power"] = power(venue("bitstamp", args.data), args.tries, args.store)
    found = stored["bitstamp"]["gain"][str(MAIN)]
    stored["claims"] = {"order_book_gain": found | {"claimed": 0.08}, "spoofing": spoofing()}
    stored["settings"] = {"fee_bps": FEE_BPS, "wall": WALL, "ordinary": PLAIN, "main": MAIN}
    seconds = spent(args.store, time.perf_counter() - start)
    results.save("books_real", stored, seed=0, seconds=seconds, data=shas,
                 command="SETRADE_DATA=<folder> make study STUDY=books_real")  # fmt: skip


if __name__ == "__main__":
    main()
