"""Chapter 14: nets and rules that know chart patterns, on drawn windows and on real bars.

    SETRADE_DATA=<folder> make study STUDY=chart_patterns

Drawn part: a net on candlestick pictures against the rule-based finder, by noise and by
completeness, calibration, and a net trained on a naive generator. Real part (hourly Bybit bars;
2024 is the test year, looked at once): how often both see patterns there, in shuffled bars and in
a random walk, their agreement, and what follows. Candlesticks: a multi-label net, TA-Lib its
teacher. The settings were fixed before the test year was looked at.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, softmax
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, cohen_kappa_score, roc_auc_score
from torch import nn

from setrade import candles, evidence, labels, patterns, results, training
from setrade.efficientnet import EfficientNet
from setrade.pictures import PictureSet, encoder
from setrade.study.store import HOURS, REQUESTS

COMMAND = "SETRADE_DATA=<folder> make study STUDY=chart_patterns"
TEST_YEAR, LENGTH, SIDE = pd.Timestamp("2024-01-01", tz="UTC"), 64, 64
TRAIN_NOISE, NOISES = (0.02, 0.25), (0.02, 0.06, 0.12, 0.25, 0.5)
SHARES = (0.4, 0.6, 0.7, 0.8, 0.9, 1.0)
CONTEXT = 12  # bars in a picture of candlestick patterns
SMALL = {"length": 32, "span": (16, 26), "noise": (0.02, 0.15)}
SMALL_KINDS = ("none", "head_and_shoulders", "double_top", "double_bottom", "bull_flag")
BLOCK, DRAWS = 128, 300  # of the bootstrap, in bars
STRIDE = 4  # bars from one window of random bars to the next
K = len(patterns.NAMES)


def pictures(windows: np.ndarray, targets: np.ndarray, side: int = SIDE) -> PictureSet:
    """Return candlestick pictures without volume, drawn when asked for."""
    return PictureSet(windows, targets, encoder("candles", side, volume=False))


def train(windows, kind, epochs: int, seed: int, val=None, side: int = SIDE, classes: int = K):
    """Return a net trained on pictures of windows."""
    training.seed_everything(seed)
    net = EfficientNet("micro", classes, drop_connect=0.0)
    plan = training.Plan(num_epochs=epochs, lr=3e-3, batch_size=64, seed=seed)
    val = None if val is None else pictures(val.windows, val.kind, side)
    training.fit(net, pictures(windows, kind, side), val, plan=plan, progress=False)
    return net


def logits(net, windows: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Return the net's outputs for windows, (N, classes)."""
    rows = pictures(windows, np.zeros(len(windows), np.int64), side)
    return training.predict(net, rows, batch_size=256).numpy().astype(np.float64)


def share(hit: np.ndarray) -> dict[str, float]:
    """Return the share of hits with its 95 % Wilson interval."""
    hits, n = np.array([hit.sum()]), np.array([len(hit)])
    low, high = patterns.wilson(hits, n)[0]
    return {"share": float(hit.mean()), "low": low, "high": high, "n": len(hit)}


def confusion(kind: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    """Return the confusion matrix, accuracy, and recall and precision of each class."""
    counts = np.zeros((K, K), np.int64)
    np.add.at(counts, (kind, said), 1)
    right = np.diag(counts)
    return {
        "counts": counts,
        "accuracy": share(kind == said),
        "recall": right / counts.sum(1),
        "recall_interval": patterns.wilson(right, counts.sum(1)),
        "precision": right / np.maximum(counts.sum(0), 1),
        "precision_interval": patterns.wilson(right, counts.sum(0)),
    }


def top(scores: np.ndarray, kind: np.ndarray, t: float = 1.0) -> dict[str, Any]:
    """Return reliability, calibration error and likelihood of the class called most likely."""
    p = softmax(scores / t, axis=1)
    hit = p.argmax(1) == kind
    table = patterns.reliability(p.max(1), hit)
    return {
        "error": patterns.calibration_error(p.max(1), hit),
        "log_loss": float(-np.log(p[np.arange(len(kind)), kind]).mean()),
        "table": table.to_dict("list"),
    }


def cues(windows: np.ndarray) -> np.ndarray:
    """Return what a lazy net could read: last return, window return, volatility, range."""
    x = np.log(windows[:, 3])
    r = np.diff(x, axis=1)
    vol = np.sqrt((r**2).mean(1))
    return np.c_[r[:, -1] / vol, (x[:, -1] - x[:, 0]) / vol, vol, np.ptp(x, 1) / vol]


def naive(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw patterns that fill the window, and «none» from elsewhere: a jumpier random walk."""
    drawn = patterns.synthetic(
        n, seed=seed, span=(62, 63), after=0, noise=0.03, trend=0.0, kinds=patterns.NAMES[1:]
    )
    windows, kind = drawn.windows.copy(), drawn.kind.copy()
    rows = np.flatnonzero(np.random.default_rng(seed + 1).random(n) < 1 / K)
    walk = candles.synthetic(LENGTH * len(rows), seed=seed, interval="1D").candles.to_numpy()
    windows[rows], kind[rows] = walk.reshape(-1, LENGTH, 5).swapaxes(1, 2), 0
    return windows, kind


def drawn_part(n: int, seed: int) -> tuple[dict[str, Any], nn.Module, float]:
    """Train and measure on drawn windows; return results, the net and its temperature."""
    full = patterns.synthetic(n, seed=seed + 1, noise=TRAIN_NOISE)
    part = patterns.synthetic(n // 2, seed=seed + 2, noise=TRAIN_NOISE, completeness=(0.6, 1.0))
    val = patterns.synthetic(1_500, seed=seed + 3, noise=TRAIN_NOISE)
    test = patterns.synthetic(3_600, seed=seed + 4, noise=TRAIN_NOISE)
    windows = np.concatenate([full.windows, part.windows])
    net = train(windows, np.concatenate([full.kind, part.kind]), 3, seed, val)
    t = patterns.temperature(logits(net, val.windows), val.kind)
    z = logits(net, test.windows)
    out: dict[str, Any] = {
        "names": patterns.NAMES, "train_windows": len(windows), "temperature": t,
        "net": confusion(test.kind, z.argmax(1)),
        "rules": confusion(test.kind, patterns.find(test.windows).kind),
        "calibration": {"raw": top(z, test.kind), "scaled": top(z, test.kind, t)},
        "grid": grid(seed),
    }  # fmt: skip
    out["by_noise"], out["by_share"] = [], []
    for k, noise in enumerate(NOISES):
        seen = patterns.synthetic(900, seed=seed + 20 + k, noise=noise)
        out["by_noise"].append({"noise": noise} | compare(net, seen, t))
    for k, part in enumerate(SHARES):
        seen = patterns.synthetic(900, seed=seed + 40 + k, completeness=part)
        out["by_share"].append({"completeness": part} | compare(net, seen, t))
    out["shortcut"] = shortcut(full, test, seed)
    return out, net, t


def compare(net, seen: patterns.Drawn, t: float) -> dict[str, Any]:
    """Return accuracy of net and rules on drawn windows, and the net's calibration error."""
    z = logits(net, seen.windows)
    return {
        "net": share(z.argmax(1) == seen.kind),
        "rules": share(patterns.find(seen.windows).kind == seen.kind),
        "calibration_error": top(z, seen.kind, t)["error"],
    }


def grid(seed: int) -> list[dict[str, float]]:
    """Return the finder's mean recall for settings around its defaults, on training windows."""
    drawn, rows = patterns.synthetic(3_000, seed=seed + 5), []
    for b, s, tol in itertools.product((0.5, 0.7, 1.0), (0.04, 0.06, 0.09), (0.3, 0.4, 0.5)):
        kind = patterns.find(drawn.windows, bandwidth=b, swing=s, tolerance=tol).kind
        recall = [(kind[drawn.kind == k] == k).mean() for k in range(K)]
        rows.append({"bandwidth": b, "swing": s, "tolerance": tol,
                     "recall": float(np.mean(recall)), "none": float(recall[0])})  # fmt: skip
    return sorted(rows, key=lambda row: -row["recall"])


def shortcut(full: patterns.Drawn, test: patterns.Drawn, seed: int) -> dict[str, Any]:
    """Return what cheap cues tell, and what a net learns, with a naive generator and with ours."""
    windows, kind = naive(2_400, seed + 6)
    fresh, truth = naive(1_200, seed + 8)
    net = train(windows, kind, 2, seed)
    out: dict[str, Any] = {}
    for name, (x, y, u, v) in {
        "naive": (windows, kind, fresh, truth),
        "ours": (full.windows, full.kind, test.windows, test.kind),
    }.items():
        trees = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=8, random_state=0)
        p = trees.fit(cues(x), y).predict_proba(cues(u))
        out[f"cues_{name}"] = share(p.argmax(1) == v) | {
            "none_auc": float(roc_auc_score(v == 0, p[:, 0]))
        }
        said = logits(net, u).argmax(1)
        out[f"naive_net_on_{name}"] = share(said == v) | {"none_recall": share(said[v == 0] == 0)}
    return out


def small(seed: int) -> float:
    """Return the accuracy of the chapter's own small net: 5 classes, 32 bars, 32 pixels."""
    seen = patterns.synthetic(1_800, seed=seed, kinds=SMALL_KINDS, **SMALL)
    places = np.array([patterns.NAMES.index(name) for name in SMALL_KINDS])
    kind = np.searchsorted(np.sort(places), seen.kind)
    net = train(seen.windows[:1_200], kind[:1_200], 4, seed, side=32, classes=len(SMALL_KINDS))
    return float((logits(net, seen.windows[1_200:], 32).argmax(1) == kind[1_200:]).mean())


def read(folder: Path) -> pd.DataFrame:
    """Return the real hourly bars."""
    raw = pd.read_parquet(folder / HOURS)
    index = pd.DatetimeIndex(pd.to_datetime(raw.ts, unit="ms", utc=True), name="time")
    return raw[list(candles.COLUMNS)].set_index(index).astype(float)


def rebuilt(bars: pd.DataFrame, rng: np.random.Generator, kind: str) -> pd.DataFrame:
    """Return bars in random order ("shuffled"), or of a Gaussian walk as volatile ("gaussian")."""
    o, h, low, c = np.log(bars[["open", "high", "low", "close"]].to_numpy().T)
    up, down, move = h - np.maximum(o, c), np.minimum(o, c) - low, c - o
    order = rng.permutation(len(bars))
    up, down, move = up[order], down[order], move[order]
    if kind == "gaussian":
        move = rng.normal(0, move.std(), len(move))
    close = np.log(bars["open"].iloc[0]) + move.cumsum()
    first = close - move
    columns = [first, np.maximum(first, close) + up, np.minimum(first, close) - down, close]
    out = pd.DataFrame(np.exp(columns).T, bars.index, ["open", "high", "low", "close"])
    return out.assign(volume=bars["volume"].to_numpy()[order])


def mean_of(mask: np.ndarray, value: np.ndarray, seed: int, block: int = BLOCK) -> dict[str, Any]:
    """Return the mean of ``value`` where ``mask``, with a block-bootstrap interval."""

    def statistic(x: np.ndarray) -> float:
        return float(x[:, 1].sum() / x[:, 0].sum()) if x[:, 0].any() else np.nan

    got = evidence.interval(
        statistic, np.c_[mask, np.where(mask, value, 0.0)], seed=seed, n_samples=DRAWS, block=block
    )
    return {"mean": got.estimate, "low": got.low, "high": got.high, "n": int(mask.sum())}


def kappa(x: np.ndarray) -> float:
    """Return Cohen's kappa of two columns of classes."""
    return float(cohen_kappa_score(x[:, 0].astype(int), x[:, 1].astype(int)))


def follow(said: np.ndarray, bars: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return the forward return in the textbook's direction, in basis points, by horizon."""
    bias = patterns.BIAS[said]
    out: dict[str, Any] = {}
    entered = (bias != 0) & (said != np.r_[0, said[:-1]])  # the first bar of each sighting
    for horizon in (1, 8, 24):
        ahead = labels.forward_return(bars, horizon).to_numpy()[LENGTH - 1 :]
        use = entered & np.isfinite(ahead)
        out[str(horizon)] = mean_of(use, 1e4 * bias * np.nan_to_num(ahead), seed)
        out[str(horizon)]["by_kind"] = {
            patterns.NAMES[k]: {"mean": float(1e4 * patterns.BIAS[k] * ahead[rows].mean()),
                                "n": int(rows.sum())}
            for k in np.flatnonzero(patterns.BIAS) if (rows := use & (said == k)).any()
        }  # fmt: skip
    return out


def real_part(net, t: float, bars: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return rates, agreement and forward returns on the test year and on its random twins."""
    test, past = bars[bars.index >= TEST_YEAR], bars[bars.index < TEST_YEAR]
    rng, said = np.random.default_rng(seed), {}
    out: dict[str, Any] = {"bars": len(test)}
    frames = {"real": test} | {k: rebuilt(test, rng, k) for k in ("shuffled", "gaussian")}
    for name, frame in frames.items():
        stride = 1 if name == "real" else STRIDE
        windows = candles.windows(frame, LENGTH, stride)
        z = logits(net, windows)
        sure = softmax(z / t, axis=1).max(1)
        said[name] = {"net": z.argmax(1), "rules": patterns.find(windows).kind,
                      "sure": np.where(sure > 0.8, z.argmax(1), 0)}  # fmt: skip
        out[name] = {
            who: mean_of(np.ones(len(k), bool), (k > 0).astype(float), seed, BLOCK // stride)
            | {"by_kind": (np.bincount(k, minlength=K) / len(k))}
            for who, k in said[name].items()
        } | {"confidence": float(sure.mean())}
        both = np.c_[said[name]["net"], said[name]["rules"]].astype(float)
        for what, pair in (("kappa", both), ("kappa_any", (both > 0).astype(float))):
            got = evidence.interval(kappa, pair, seed=seed, n_samples=100, block=BLOCK // stride)
            out[name][what] = {"value": got.estimate, "low": got.low, "high": got.high}
        out[name]["agree"] = float((both[:, 0] == both[:, 1]).mean())
    out["forward_bps"] = {who: follow(said["real"][who], test, seed) for who in ("net", "rules")}
    every = labels.forward_return(test, 1).dropna().to_numpy()
    out["bar_bps"] = {"mean": float(1e4 * every.mean()), "std": float(1e4 * every.std())}
    return out | {"next_bar": next_bar(net, past, test, seed)}


def next_bar(net, past: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return how well the next bar's sign is told from the net's outputs, past to test year."""

    def features(frame: pd.DataFrame, stride: int):
        z = logits(net, candles.windows(frame, LENGTH, stride))
        ahead = labels.forward_return(frame, 1).to_numpy()[LENGTH - 1 :: stride][: len(z)]
        use = np.isfinite(ahead) & (ahead != 0)
        return z[use] - z[use].mean(1, keepdims=True), ahead[use] > 0

    x, y = features(past, 4)
    model = LogisticRegression(C=0.1, max_iter=1000).fit(x, y)
    u, v = features(test, 1)
    hit = model.predict(u) == v
    return mean_of(np.ones(len(hit), bool), hit.astype(float), seed) | {
        "train_share": float(model.score(x, y)), "up_share": float(v.mean())
    }  # fmt: skip


def gappy(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw bars of a market that closes: gaps, dojis and wicks enough for every pattern."""
    move = rng.standard_t(4, n) * np.where(rng.random(n) < 0.3, 0.1, 1.0)
    move += 0.5 * np.repeat(rng.normal(size=n // 6 + 1), 6)[:n]
    gap = rng.normal(0, 0.7, n) * (rng.random(n) < 0.6)
    close = 0.004 * (move + gap).cumsum()
    first = close - 0.004 * move
    wick = 0.004 * rng.exponential(0.7, (2, n)) * (rng.random((2, n)) < 0.7)
    high, low = np.maximum(first, close) + wick[0], np.minimum(first, close) - wick[1]
    index = pd.date_range("2000-01-01", periods=n, freq="h", tz="UTC", name="time")
    prices = 100 * np.exp(np.c_[first, high, low, close])
    out = pd.DataFrame(prices, index, ["open", "high", "low", "close"])
    return out.assign(volume=1.0)


def lessons(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return windows (N, 5, CONTEXT) and targets (N, 24): labels, then qualities."""
    said = patterns.candlestick_labels(frame).to_numpy()
    score = patterns.candlestick_quality(frame).to_numpy()
    first = patterns.WARM_UP
    windows = candles.windows(frame, CONTEXT)[first - CONTEXT + 1 :]
    return windows, np.hstack([said, score])[first:].astype(np.float32)


def balanced(y: np.ndarray, each: int, rest: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows with at most ``each`` of every label, and ``rest`` drawn from all."""
    rows = [rng.integers(0, len(y), rest)]
    for column in range(y.shape[1] // 2):
        some = np.flatnonzero(y[:, column] == 1)
        rows.append(rng.permutation(some)[:each])
    return np.unique(np.concatenate(rows))


def both(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy on the labels plus squared error on the qualities."""
    m = y.shape[1] // 2
    loss = nn.functional.binary_cross_entropy_with_logits(out[:, :m], y[:, :m])
    return loss + (torch.sigmoid(out[:, m:]) - y[:, m:]).square().mean()


class Batches:
    """Pictures with a row of targets each; PictureSet holds one number a picture."""

    def __init__(self, windows: np.ndarray, y: np.ndarray) -> None:
        self.drawn, self.y = pictures(windows, np.arange(len(y))), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, rows: torch.Tensor):
        """Return pictures and targets of ``rows``."""
        x, number = self.drawn.batch(rows)
        return x, self.y[number]


def judged(z: np.ndarray, y: np.ndarray, platt: list[tuple[float, float]]) -> dict[str, Any]:
    """Return precision, recall, average precision by label, calibration before and after."""
    m = y.shape[1] // 2
    out: dict[str, Any] = {}
    shifted = np.c_[*(a * z[:, k] + b for k, (a, b) in enumerate(platt))]
    for k, name in enumerate(patterns.CANDLESTICKS):
        truth, said = y[:, k] == 1, shifted[:, k] > 0
        if truth.sum() == 0:
            out[name] = {"n": 0, "said": int(said.sum())}
            continue
        hits = np.array([(truth & said).sum()] * 2)
        low, high = patterns.wilson(hits, np.array([said.sum(), truth.sum()])).T
        score = expit(z[:, m + k])
        out[name] = {
            "n": int(truth.sum()), "said": int(said.sum()),
            "precision": hits[0] / max(said.sum(), 1), "recall": hits[0] / truth.sum(),
            "precision_low": low[0] if said.any() else 0, "recall_low": low[1],
            "precision_high": high[0] if said.any() else 1, "recall_high": high[1],
            "average_precision": float(average_precision_score(truth, z[:, k])),
            "quality_correlation": float(np.corrcoef(score, y[:, m + k])[0, 1]),
        }  # fmt: skip
    tables: dict[str, Any] = {}
    for kind, v in (("raw", z[:, :m]), ("platt", shifted)):
        p, hit = expit(v).ravel(), y[:, :m].ravel()
        tables[kind] = {"error": patterns.calibration_error(p, hit),
                        "table": patterns.reliability(p, hit).to_dict("list")}  # fmt: skip
    several = float((y[:, :m].sum(1) > 1).mean())
    return {"labels": out, "calibration": tables, "windows": len(y), "several": several}


def candle_part(bars: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Train the multi-label net on drawn and past bars; judge it on fresh ones and on 2024."""
    rng = np.random.default_rng(seed)
    past, test = bars[bars.index < TEST_YEAR], bars[bars.index >= TEST_YEAR]
    parts = [lessons(gappy(60_000, rng)), lessons(past.iloc[:-3_000])]
    chosen = [balanced(y, 250, 1_000, rng) for _, y in parts]
    x = np.concatenate([w[rows] for (w, _), rows in zip(parts, chosen, strict=True)])
    y = np.concatenate([v[rows] for (_, v), rows in zip(parts, chosen, strict=True)])
    training.seed_everything(seed)
    net = EfficientNet("micro", y.shape[1], drop_connect=0.0)
    plan = training.Plan(num_epochs=3, lr=3e-3, batch_size=64, seed=seed)
    training.fit(net, Batches(x, y), plan=plan, loss=both, progress=False)
    vals = [lessons(gappy(6_000, rng)), lessons(past.iloc[-3_000:])]
    vx, vy = (np.concatenate(v) for v in zip(*vals, strict=True))
    z, platt = logits(net, vx), []
    for k in range(y.shape[1] // 2):
        if vy[:, k].sum() < 3:
            platt.append((1.0, 0.0))
            continue
        fit = LogisticRegression(C=10.0).fit(z[:, k : k + 1], vy[:, k])
        platt.append((float(fit.coef_[0, 0]), float(fit.intercept_[0])))
    out: dict[str, Any] = {"train_windows": len(y)}
    for name, frame in (("drawn", gappy(10_000, rng)), ("real", test)):
        w, v = lessons(frame)
        out[name] = judged(logits(net, w), v, platt)
    out["past"] = teacher(past)
    return out


def teacher(frame: pd.DataFrame) -> dict[str, Any]:
    """Return how often the teacher and the score see each pattern in real bars before 2024."""
    said, score = patterns.candlestick_labels(frame), patterns.candlestick_quality(frame)
    out: dict[str, Any] = {"bars": len(frame)}
    for name in patterns.CANDLESTICKS:
        marked, fine = int(said[name].sum()), int((score[name] > 0.5).sum())
        out[name] = {"labels": marked, "quality": fine}
    return out


def claims(out: dict[str, Any]) -> dict[str, Any]:
    """Return what the chapter we started from says, beside what was measured."""
    net, twin = out["drawn"]["net"]["accuracy"], out["real"]["gaussian"]["net"]
    ahead = out["real"]["next_bar"]
    return {
        "chart_pattern_recognition": {
            "claimed": "detect classical chart patterns", "measured": net["share"],
            "low": net["low"], "high": net["high"],
            "what": "Accuracy of a net on drawn windows, 12 classes (chance 1/12), one seed.",
        },
        "chart_patterns_in_noise": {
            "claimed": "captures complex visual patterns", "measured": twin["mean"],
            "low": twin["low"], "high": twin["high"],
            "what": "Share of windows of a random walk in which the same net sees a pattern.",
        },
        "chart_patterns_next_bar": {
            "claimed": "chart pattern recognition is a trading application",
            "measured": ahead["mean"], "low": ahead["low"], "high": ahead["high"],
            "what": "Share of 2024's hourly bars whose sign a linear model on the net's outputs "
                    "tells.",
        },
    }  # fmt: skip


def main() -> None:
    """Run all parts and store the result."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--windows", type=int, default=6_000, help="complete training windows")
    args = parser.parse_args()
    if "SETRADE_DATA" not in os.environ:
        raise SystemExit(f"set SETRADE_DATA to the folder that holds {HOURS}")
    folder, begin = Path(os.environ["SETRADE_DATA"]), time.perf_counter()
    torch.set_num_threads(1)
    bars = read(folder)
    out: dict[str, Any] = {"request": REQUESTS[HOURS]}
    out["small"] = {"accuracy": [small(s) for s in range(2)], "kinds": SMALL_KINDS}
    print("small", out["small"]["accuracy"], flush=True)
    out["drawn"], net, t = drawn_part(args.windows, args.seed)
    print("drawn", out["drawn"]["net"]["accuracy"], out["drawn"]["shortcut"], flush=True)
    out["real"] = real_part(net, t, bars, args.seed)
    print("real", out["real"]["next_bar"], flush=True)
    out["candlesticks"] = candle_part(bars, args.seed)
    out["claims"] = claims(out)
    results.save("chart_patterns", out, command=COMMAND, seed=args.seed,
                 seconds=time.perf_counter() - begin, device=training.describe(),
                 data={HOURS: results.sha256(folder / HOURS)})  # fmt: skip


if __name__ == "__main__":
    main()
