"""Chapter 10's figures on a real book: Binance BTCUSDT perpetual, top 20 levels, 5.7 minutes.

    SETRADE_DATA=<folder> make study STUDY=real_book

The folder holds the two parquet files named below. The same numbers are computed for the
chapter's synthetic book, by the same functions, and both go to book/results/real_book.json.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arch.bootstrap import MovingBlockBootstrap
from scipy.stats import spearmanr
from tqdm import tqdm

from setrade import orderbook, results

BOOK = "binance_btcusdt_perp_l2top20_20240808.parquet"
TRADES = "binance_btcusdt_perp_trades_20240808.parquet"
COMMAND = "SETRADE_DATA=<folder> make study STUDY=real_book"
TICK = 0.1
SYNTHETIC = {"n": 6_000, "seed": 10, "signal": 0.5, "walls": 6, "filled": 40, "spoofs": 40}
DEPTHS, HORIZON_SECONDS, BLOCK_SECONDS = (1, 5, 20), 0.5, 5.0
SPOOF_SCORE = 0.2  # fixed beforehand: a spoof of 1 s, 3 ticks away, scores 0.33
ROWS, COLUMNS = 32, 96


def read(folder: Path) -> tuple[orderbook.Snapshots, pd.DataFrame]:
    """Return the recorded snapshots and trades."""
    raw = pd.read_parquet(folder / BOOK)
    sides = [raw[[f"{name}{level}" for level in range(1, 21)]].to_numpy()
             for name in ("bidp", "bidq", "askp", "askq")]  # fmt: skip
    stamps = pd.DatetimeIndex(pd.to_datetime(raw.ts, unit="ms", utc=True))
    stamps = stamps.tz_convert(None).to_numpy()
    trades = pd.read_parquet(folder / TRADES)
    trades = trades.rename(columns={"qty": "size", "taker_side": "side"})
    trades["time"] = pd.to_datetime(trades.ts, unit="ms", utc=True)
    return orderbook.Snapshots(stamps, *sides), trades


def correlations(books: orderbook.Snapshots, seed: int, draws: int) -> dict[str, Any]:
    """Rank correlation of imbalance with the next move, with block-bootstrap intervals."""
    step = float(np.median(np.diff(books.time)) / np.timedelta64(1, "s"))
    horizon, block = round(HORIZON_SECONDS / step), round(BLOCK_SECONDS / step)
    move = orderbook.next_move(books, horizon)[:-horizon]
    imbalance = orderbook.depth_imbalance(books)[:-horizon]

    def rank(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.array([spearmanr(x[:, depth - 1], y)[0] for depth in DEPTHS])

    drawn = MovingBlockBootstrap(block, imbalance, move, seed=seed).apply(rank, draws)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return {
        "horizon_snapshots": horizon,
        "block_snapshots": block,
        "decile_move_bps": [float(move[tail].mean()) for tail in deciles(imbalance[:, 0])],
        "by_depth": [
            {"levels": d, "rank_correlation": r, "low": a, "high": b}
            for d, r, a, b in zip(DEPTHS, rank(imbalance, move), low, high, strict=True)
        ],
    }


def deciles(x: np.ndarray) -> list[np.ndarray]:
    """Return masks of the lowest and the highest tenth."""
    low, high = np.quantile(x, [0.1, 0.9])
    return [x <= low, x >= high]


def impact(books: orderbook.Snapshots, sizes: np.ndarray, seed: int) -> dict[str, Any]:
    """Mean cost of walking the asks and the bids, and the exponent that fits buys."""
    out: dict[str, Any] = {"size": sizes}
    for side in ("buy", "sell"):
        cost = orderbook.slippage_bps(books, sizes, side)
        out[side] = np.nanmean(cost, 0)
        out[f"{side}_unfillable"] = np.isnan(cost).mean(0)
        if side == "buy":
            use = np.isnan(cost).mean(0) < 0.1  # sizes that nine snapshots in ten can fill,
            deep = ~np.isnan(cost[:, use]).any(1)  # on the snapshots that can fill them all
            law = orderbook.fit_power_law(sizes[use], cost[deep][:, use], seed=seed, block=100)
            out["law"] = vars(law) | {"sizes_fitted": sizes[use], "snapshots_used": deep.mean()}
    return out


def spoofs(books, trades, min_size: float, planted: pd.DataFrame | None) -> dict[str, Any]:
    """Episodes, their scores, and how well those find what was planted."""
    found = orderbook.spoofing(books, trades, min_size=min_size, tick=TICK)
    flagged = found[found.score >= SPOOF_SCORE]
    out: dict[str, Any] = {
        "episodes": len(found),
        "flagged": len(flagged),
        "threshold": SPOOF_SCORE,
        "untraded_share": (found.traded == 0).mean(),
        "median_seconds": found.seconds.median(),
        "per_minute": len(flagged) / seconds(books) * 60,
        "score_deciles": np.quantile(found.score, np.linspace(0, 1, 11)),
    }
    if planted is not None:
        off_touch = flagged[flagged.ticks_away > 0]  # the generator plants none at the touch
        out |= agreement(flagged, planted) | {"off_touch": agreement(off_touch, planted)}
    return out


def agreement(flagged: pd.DataFrame, planted: pd.DataFrame) -> dict[str, Any]:
    """Precision and recall of flagged episodes: a hit has a spoof's side, price and start."""
    truth = planted[planted.kind == "spoof"]
    key = ["side", "price", "start"]
    hits = len(flagged.round({"price": 6}).merge(truth.round({"price": 6}), on=key))
    return {"precision": hits / max(len(flagged), 1), "recall": hits / len(truth)}


def picture(books: orderbook.Snapshots, span: float, reference: str) -> dict[str, Any]:
    """A heat map with columns averaged to at most COLUMNS, as lines of numbers."""
    each = len(books) // COLUMNS
    books = books[: each * COLUMNS]
    drawn = orderbook.heatmap(books, rows=ROWS, span_bps=span, reference=reference)
    small = drawn.volume[0].reshape(2, ROWS, COLUMNS, each).mean(3)
    lines = [[" ".join(f"{v:.2g}" for v in row) for row in side] for side in small]
    inside = float(drawn.volume.sum(dtype=np.float64))
    return {
        "reference": reference,
        "span_bps": span,
        "seconds": seconds(books),
        "inside_share": inside / (inside + float(drawn.outside.sum())),
        "bids": lines[0],
        "asks": lines[1],
    }


def seconds(books: orderbook.Snapshots) -> float:
    """How long the series lasts."""
    return float((books.time[-1] - books.time[0]) / np.timedelta64(1, "s"))


def describe(books, trades, *, sizes, min_size, spans, seed, draws, planted=None) -> dict[str, Any]:
    """Every number and picture of the chapter, for one book."""
    ticks = np.rint(books.spread() / TICK)
    walls = orderbook.clusters(books, min_size=min_size)
    micro = np.abs(orderbook.microprice(books) - books.mid()) / books.spread()
    long_lived = walls[books.time[walls.end] - books.time[walls.start] >= np.timedelta64(10, "s")]
    return {
        "snapshots": len(books),
        "trades": len(trades),
        "seconds": seconds(books),
        "levels": books.levels,
        "visible_bps": float(((books.ask_price[:, -1] / books.mid() - 1) * 1e4).mean()),
        "mid_range_bps": float(np.ptp(books.mid()) / books.mid().mean() * 1e4),
        "spread_ticks": {str(k): float((ticks == k).mean()) for k in (1, 2, 3)}
        | {"more": float((ticks > 3).mean())},
        "mean_size_by_level": ((books.bid_size + books.ask_size) / 2).mean(0),
        "microprice_shift": float(micro.mean()),
        "imbalance": correlations(books, seed, draws),
        "impact": impact(books, sizes, seed),
        "min_size": min_size,
        "clusters": {"found": len(walls), "long_lived": len(long_lived),
                     "largest": walls.nlargest(8, "points").round(4).to_dict("records")},
        "spoofing": spoofs(books, trades, min_size, planted),
        "heatmaps": [picture(books, spans[0], "mid"), picture(books[-960:], spans[1], "fixed")],
    }  # fmt: skip


def main() -> None:
    """Compute both books and store the result."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=1_000, help="bootstrap resamples")
    args = parser.parse_args()
    if "SETRADE_DATA" not in os.environ:
        raise SystemExit(f"set SETRADE_DATA to the folder that holds {BOOK} and {TRADES}")
    folder, begin = Path(os.environ["SETRADE_DATA"]), time.perf_counter()
    common = {"seed": args.seed, "draws": args.draws}
    out: dict[str, Any] = {}
    for name in tqdm(("real", "synthetic"), desc="books"):
        if name == "real":
            books, trades = read(folder)
            early = slice(0, len(books) // 10)  # what counts as large is fixed on the first tenth
            large = np.quantile([books.bid_size[early], books.ask_size[early]], 0.995)
            sizes, spans = np.array([0.1, 0.3, 1, 2, 3, 5, 10, 20]), (1.2, 8.0)
            out[name] = describe(books, trades, sizes=sizes, min_size=round(float(large), 3),
                                 spans=spans, **common)  # fmt: skip
        else:
            market = orderbook.synthetic(**SYNTHETIC)
            sizes, spans = np.array([0.1, 0.3, 1, 2, 3, 5, 10, 20]), (0.32, 1.0)
            out[name] = describe(market.books, market.trades, sizes=sizes, min_size=6.0,
                                 spans=spans, planted=market.planted, **common)  # fmt: skip
            out[name]["parameters"] = SYNTHETIC
    shas = {name: results.sha256(folder / name) for name in (BOOK, TRADES)}
    results.save("real_book", out, command=COMMAND,
                 seed=args.seed, seconds=time.perf_counter() - begin, data=shas)  # fmt: skip


if __name__ == "__main__":
    main()
