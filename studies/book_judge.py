"""How forecasts of a book are judged: in blocks of time, and by who pays; do walls hold?

`books_real` imports it; it runs nothing by itself.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from book_venues import FEE_BPS, Venue, shares
from scipy.stats import rankdata

from setrade import evidence
from setrade.files import write_atomic


def options(about: str | None, folder: str, *files: str, **counts: int) -> argparse.Namespace:
    """Return the parsed options of a study of books: counts by name, data and store.

    ``files`` are what the folder of data has to hold; where none is named, the program ends.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=raw)
    for name, count in counts.items():
        parser.add_argument(f"--{name}", type=int, default=count, help="(%(default)s)")
    parser.add_argument("--data", type=Path, default=os.environ.get("SETRADE_DATA"))
    parser.add_argument("--store", type=Path, default=Path("_build/studies", folder))
    args = parser.parse_args()
    if args.data is None:
        parser.error(f"SETRADE_DATA must name the folder with {', '.join(files)}")
    return args


def spent(store: Path, seconds: float) -> float:
    """Return the seconds of all runs that filled a store, this one with them, and note the sum."""
    file = store / "seconds.txt"
    total = seconds + (float(file.read_text(encoding="utf-8")) if file.is_file() else 0.0)
    write_atomic(file, f"{total:.1f}")
    return total


# ---- Judgement, in blocks of time.


@dataclass(frozen=True)
class Said:
    """What was said of test rows: probabilities (n, 3), each row's class, shares in training."""

    p: np.ndarray
    y: np.ndarray
    share: np.ndarray  # (n, 3)

    @property
    def call(self) -> np.ndarray:
        """Return the class whose probability is largest against its share."""
        return (self.p / self.share).argmax(1)


def f1_macro(table: np.ndarray) -> np.ndarray:
    """Return the mean F1 of three classes from counts (..., truth, call)."""
    hit = np.diagonal(table, axis1=-2, axis2=-1)
    both = table.sum(-1) + table.sum(-2)
    return np.where(both > 0, 2 * hit / np.maximum(both, 1), 0.0).mean(-1)


def tables(call: np.ndarray, y: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Return counts (blocks, truth, call)."""
    key = (block * 3 + y) * 3 + call
    return np.bincount(key, minlength=9 * (block.max() + 1)).reshape(-1, 3, 3).astype(float)


def redrawn(blocks: int, draws: int, seed: int = 0) -> np.ndarray:
    """Return how often each block is drawn, (draws, blocks)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), draws).astype(float)


def held(estimate: float, drawn: np.ndarray, level: float = 0.95) -> dict[str, float]:
    """Return an estimate with its bounds."""
    low, high = evidence.bounds(drawn[:, None], level)[0]
    return {"estimate": float(estimate), "low": float(low), "high": float(high)}


def rank_drawn(
    score: np.ndarray, move: np.ndarray, block: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the rank correlation of a score with the move, and that of every draw of blocks.

    Ranks are taken over all rows, once.
    """
    a, b = (rankdata(x) - (len(x) + 1) / 2 for x in (score, move))
    sums = np.stack([np.bincount(block, w) for w in (a * b, a * a, b * b)])

    def of(w: np.ndarray) -> np.ndarray:
        ab, aa, bb = (w @ s for s in sums)
        return np.where(aa * bb > 0, ab / np.sqrt(np.maximum(aa * bb, 1e-30)), 0.0)

    return float(of(np.ones((1, sums.shape[1])))[0]), of(weight)


def ranks(score: np.ndarray, move: np.ndarray, block: np.ndarray, weight: np.ndarray) -> dict:
    """Return the rank correlation with its bounds."""
    return held(*rank_drawn(score, move, block, weight))


def money(v: Venue, rows: np.ndarray, call: np.ndarray, seconds: int) -> dict[str, Any]:
    """Return what predicted moves bring to who takes: in at the touch, out at the touch, fees."""
    b, k = v.books, v.rows(seconds)
    bid, ask = b.bid_price[:, 0], b.ask_price[:, 0]
    up, down = call == 2, call == 0
    made = np.where(up, bid[rows + k] / ask[rows] - 1, 1 - ask[rows + k] / bid[rows])[up | down]
    side = np.where(up, 1, -1)[up | down]
    mid = b.mid()
    gross = side * (mid[rows + k] / mid[rows] - 1)[up | down] * 1e4
    net = 1e4 * made - 2 * FEE_BPS
    return {
        "predicted": float((up | down).mean()), "gross_bps": float(gross.mean()),
        "after_spread_bps": float(1e4 * made.mean()), "pays": float((net > 0).mean()),
        "net_bps": float(net.mean()), "any_pays": any_pays(v, rows, k),
    }  # fmt: skip


def any_pays(v: Venue, rows: np.ndarray, k: int) -> float:
    """Return the share of rows whose move, its side foreknown, pays spread and fees."""
    bid, ask = v.books.bid_price[:, 0], v.books.ask_price[:, 0]
    best = np.maximum(bid[rows + k] / ask[rows], bid[rows] / ask[rows + k]) - 1
    return float((1e4 * best > 2 * FEE_BPS).mean())


def judged(v: Venue, rows: np.ndarray, said: dict[str, Said], move: np.ndarray, seconds: int,
           draws: int) -> dict[str, Any]:  # fmt: skip
    """Return every learner's figures at one horizon, and its lead over past moves alone.

    A linear learner is set beside a linear one, trees and nets beside trees.
    """
    block = (rows - rows[0]) // v.rows(v.block)
    weight = redrawn(block.max() + 1, draws)
    out, f1s = {}, {}
    for name, one in said.items():
        counts = tables(one.call, one.y, block)
        f1s[name] = (f1_macro(counts.sum(0)),
                     f1_macro(np.einsum("db,bij->dij", weight, counts)))  # fmt: skip
        p = np.clip(one.p[np.arange(len(one.y)), one.y], 1e-9, 1)
        q = one.share[np.arange(len(one.y)), one.y]
        out[name] = {
            "f1": held(*f1s[name]), "accuracy": float((one.p.argmax(1) == one.y).mean()),
            "nats_over_shares": float(np.mean(np.log(p) - np.log(q))),
            "rank": ranks(one.p[:, 2] - one.p[:, 0], move[rows], block, weight),
            "money": money(v, rows, one.call, seconds) if len(np.unique(one.call)) > 1 else None,
        }  # fmt: skip
    level = 1 - 0.05 / len(v.horizons)
    for name in said:
        base = "logistic on past moves" if name.startswith("logistic") else "trees on past moves"
        if name not in ("shares", base) and base in f1s:
            gap = [a - b for a, b in zip(f1s[name], f1s[base], strict=True)]
            out[name]["lead"] = held(*gap) | {"corrected": bounds(gap[1], level)}
    return out | {"class_shares": shares(next(iter(said.values())).y), "blocks": block.max() + 1}


def bounds(drawn: np.ndarray, level: float) -> list[float]:
    """Return two bounds."""
    return evidence.bounds(drawn[:, None], level)[0].tolist()


def gain(
    v: Venue, rows: np.ndarray, pair: Sequence[Said], move: np.ndarray, draws: int
) -> dict[str, Any]:
    """Return what the book adds: relative gain in macro F1, and the lead in rank correlation.

    ``pair`` is what was said of ``rows`` without the book and with it, ``move`` (N,) what came.
    ``corrected`` are bounds for as many horizons as the venue has.
    """
    block = (rows - rows[0]) // v.rows(v.block)
    weight, level = redrawn(block.max() + 1, draws), 1 - 0.05 / len(v.horizons)
    counts = [tables(one.call, one.y, block) for one in pair]
    plain = [float(f1_macro(c.sum(0))) for c in counts]
    a, b = (f1_macro(np.einsum("db,bij->dij", weight, c)) for c in counts)
    each = [rank_drawn(one.p[:, 2] - one.p[:, 0], move[rows], block, weight) for one in pair]
    lead = (each[1][0] - each[0][0], each[1][1] - each[0][1])
    return held(plain[1] / plain[0] - 1, b / a - 1) | {
        "corrected": bounds(b / a - 1, level), "f1": plain, "rank": [x[0] for x in each],
        "rank_lead": held(*lead) | {"corrected": bounds(lead[1], level)},
    }  # fmt: skip


# ---- Walls.


SPANS = (60, 300, 900)  # s in which a price may be passed
WALL, PLAIN = 5.0, 1.5  # times the side's median size: fixed beforehand


def walls(v: Venue, draws: int, every: float = 10.0) -> dict[str, Any]:
    """Return how often prices with a wall are passed, and ordinary ones of the same place and time.

    A level is a wall where its size is at least 5 times the median of the 20 levels of its side,
    ordinary up to 1.5 times. Matched are side, distance from the mid (eight bins a factor of ten)
    and ten minutes of time; a price is passed when the best bid falls below it (the best ask rises
    above it), whoever ate or took away what stood there. Intervals redraw stretches of time.
    """
    n, out = len(v.books), {}
    for seconds in SPANS:
        k = v.rows(seconds)
        if n < 12 * k:
            continue
        at = np.arange(0, n - k, v.rows(every))
        frame = pd.concat([levels_of(v, at, k, side) for side in (0, 1)])
        out[str(seconds)] = matched(v, frame, seconds, draws)
    return out


def levels_of(v: Venue, at: np.ndarray, k: int, side: int) -> pd.DataFrame:
    """Return every level behind the touch of one side: kind, distance, whether it is passed."""
    b = v.books
    price, size = ((b.bid_price, b.bid_size), (b.ask_price, b.ask_size))[side]
    sign = 1 if side == 0 else -1
    x = pd.Series(sign * v.extremes[:, side])
    worst = x[::-1].rolling(k).min()[::-1].shift(-1).to_numpy()  # over the k rows that follow
    price, size = price[at], size[at]
    away = sign * (1 - price / b.mid()[at][:, None]) * 1e4
    passed = worst[at][:, None] < sign * price - 1e-9
    ratio = size / np.median(size, axis=1, keepdims=True)
    kind = np.where(ratio >= WALL, 1, np.where(ratio <= PLAIN, 0, -1))
    use = (kind >= 0) & (away > 0.1) & (np.arange(price.shape[1]) > 0)
    row, level = np.nonzero(use)
    return pd.DataFrame({
        "at": at[row], "side": side, "bin": np.floor(8 * np.log10(away[row, level])).astype(int),
        "wall": kind[row, level], "passed": passed[row, level].astype(float),
        "away": away[row, level],
    })  # fmt: skip


def matched(v: Venue, frame: pd.DataFrame, seconds: int, draws: int) -> dict[str, Any]:
    """Return the two probabilities and their difference, walls' weights in every cell."""
    frame["cell"] = frame["at"] // v.rows(600)
    cells = frame.groupby(["cell", "side", "bin", "wall"])["passed"].agg(["sum", "size"]).unstack()
    cells = cells.dropna()
    n = cells[("size", 1)]
    hit, usual = cells[("sum", 1)], n * cells[("sum", 0)] / cells[("size", 0)]
    stretch = max(seconds, 600) * (2 if v.name == "bitstamp" else 0.5)
    group = (cells.index.get_level_values(0) * 600 // stretch).to_numpy().astype(int)
    sums = np.stack([np.bincount(group, w) for w in (hit, usual, n)])
    weight = redrawn(sums.shape[1], draws)
    drawn = [weight @ s for s in sums]
    safe = np.maximum(drawn[2], 1e-9)
    a, b, m = sums.sum(1)
    return {
        "walls": int(m), "ordinary": int((frame["wall"] == 0).sum()),
        "stretches": int((sums[2] > 0).sum()),
        "median_away_bps": float(frame["away"][frame["wall"] == 1].median()),
        "wall": held(a / m, drawn[0] / safe), "ordinary_passed": held(b / m, drawn[1] / safe),
        "difference": held((a - b) / m, (drawn[0] - drawn[1]) / safe),
        "corrected": bounds((drawn[0] - drawn[1]) / safe, 1 - 0.05 / len(SPANS)),
    }  # fmt: skip
