"""What ImageNet's weights are worth on charts: chapter 13's figures.

    SETRADE_DATA=<folder> make study STUDY=transfer

Four parts. ``probe``: a planted question (which way did the last quarter of the window drift?) put
to features of every depth, with ImageNet's weights and with random ones. ``planted``: the same
question, few pictures, five ways to answer. ``real``: the direction of the next twelve hours on
hourly Bybit bars; settings were fixed beforehand on planted data, the year 2024 was looked at
once. ``maps``: do attention maps find a planted mark?

The folder holds ``bybit_btcusdt_perp_1h.parquet``. The same bars over the network: ``GET
/v5/market/kline?category=linear&symbol=BTCUSDT&interval=60`` from 2020-03-25 to 2025-01-01.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from setrade import attention, candles, evidence, labels, results, training
from setrade.charts import candlesticks
from setrade.gramian import gadf
from setrade.models.backbones import Transfer, pretrained, untrained
from setrade.models.boosted import Boosted, extract
from setrade.pictures import to_input
from setrade.study.store import HOURS, REQUESTS
from setrade.study.summary import t_interval

BARS, SIZE = 32, 64  # two columns of pixels a bar
DEPTH, GRID = 5, 2  # of the backbone, from the probe on planted data
HORIZON = STEP = 12  # hours: labels tile the time, none overlaps
LR = {"fine-tuned": 5e-4, "scratch": 2e-3}
COMMAND = "SETRADE_DATA=<folder> make study STUDY=transfer"
BLOCK = 14.0  # windows in a bootstrap block, on average: a week
ARMS = ("numbers", "random + XGBoost", "ImageNet + XGBoost", "scratch", "fine-tuned")


def bars_from(steps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return candles (N, 5, n) that follow log returns (N, n), with random wicks and volume."""
    close = 100 * np.exp(steps.cumsum(1))
    first = np.concatenate([np.full((len(close), 1), 100.0), close[:, :-1]], 1)
    wick = np.exp(np.abs(rng.normal(size=(2, *close.shape))) * 0.002)
    volume = np.exp(rng.normal(size=close.shape) * 0.5)
    high, low = np.maximum(first, close) * wick[0], np.minimum(first, close) / wick[1]
    return np.stack([first, high, low, close, volume], 1)


def planted(n: int, seed: int, drift: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Return windows (n, 5, BARS) whose last eight bars drift down (class 0) or up (2)."""
    rng = np.random.default_rng(seed)
    y = 2 * rng.integers(0, 2, n)
    steps = rng.normal(size=(n, BARS))
    steps[:, -8:] += drift * (y[:, None] - 1)
    return bars_from(0.005 * steps, rng), y


def marked(n: int, seed: int, height: float = 6.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return windows with a six-bar peak (class 0), nothing (1) or trough (2), and its first bar.

    Where there is no mark the six bars are as calm as those of a mark without its tooth.
    """
    rng = np.random.default_rng(seed)
    y, start = rng.integers(0, 3, n), rng.integers(2, BARS - 8, n)
    steps, rows = rng.normal(size=(n, BARS)), np.arange(n)[:, None]
    where = start[:, None] + np.arange(6)
    tooth = np.array([1, 1, 1, -1, -1, -1]) * height / 3
    steps[rows, where] = 0.5 * steps[rows, where] - tooth * (y[:, None] - 1)
    return bars_from(0.005 * steps, rng), y, start


def mark_boxes(windows: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return boxes (N, 4) of the mark in pixels: top, bottom, left, right."""
    top, bottom = windows[:, 1].max(1), windows[:, 2].min(1)
    rows, where = np.arange(len(start))[:, None], start[:, None] + np.arange(6)
    ends = np.stack([windows[:, 1][rows, where].max(1), windows[:, 2][rows, where].min(1)])
    pixel = np.rint((top - ends) / (top - bottom) * (SIZE - 1)).astype(int)
    return np.stack([pixel[0], pixel[1] + 1, 2 * start, 2 * start + 12], 1)


def pictures(windows: np.ndarray, kind: str) -> Tensor:
    """Return windows as pictures: "candles" (N, 3, 64, 64) or "gadf" (N, 1, 64, 64), in [0, 1]."""
    if kind == "candles":
        return to_input(candlesticks(windows, SIZE, SIZE))
    return to_input(gadf(windows[:, 3], BARS).repeat(2, axis=-1).repeat(2, axis=-2))


def numbers(windows: np.ndarray) -> np.ndarray:
    """Return what a picture is drawn from: log prices over the last close, in window deviations."""
    log = np.log(windows[:, :4] / windows[:, 3:4, -1:])
    scale = np.log(windows[:, 3]).std(1)[:, None, None]
    return (log / scale).reshape(len(windows), -1).astype(np.float32)


def linear(x: np.ndarray, y: np.ndarray, c: float = 0.01) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return a logistic regression on standardised features, with their mean and deviation."""
    mean, std = x.mean(0), x.std(0) + 1e-6
    return LogisticRegression(C=c, max_iter=200).fit((x - mean) / std, y), mean, std


def probe(seed: int, n: int = 600) -> dict[str, dict[str, list[float]]]:
    """Return test accuracy of a linear probe after each stage, by picture and weights."""
    torch.set_num_threads(1)
    windows, y = planted(n, seed)
    cut, out = int(0.6 * n), {}
    for kind in ("candles", "gadf"):
        x, out[kind] = pictures(windows, kind), {}
        for name, source in (("ImageNet", pretrained), ("random", untrained)):
            training.seed_everything(seed)
            net = source(in_channels=x.shape[1])
            levels: list[list[np.ndarray]] = []
            with torch.inference_mode():
                for part in x.split(200):
                    stages = net.maps(part)
                    levels.append([F.adaptive_avg_pool2d(m, 1).flatten(1).numpy() for m in stages])
            accuracy = []
            for level in map(np.concatenate, zip(*levels, strict=True)):
                model, mean, std = linear(level[:cut], y[:cut])
                accuracy.append(float(model.score((level[cut:] - mean) / std, y[cut:])))
            out[kind][name] = accuracy
    return out


def trained(
    arm: str, x: Tensor, y: np.ndarray, parts: list[np.ndarray], epochs: int, seed: int
) -> np.ndarray:
    """Return test probabilities (m, 3) of a net trained whole, from ImageNet or from scratch."""
    training.seed_everything(seed)
    source = pretrained if arm == "fine-tuned" else untrained
    net = Transfer(source(in_channels=x.shape[1], depth=DEPTH, grid=GRID))
    sets = [training.TensorSet(x[rows], torch.from_numpy(y[rows])) for rows in parts]
    training.fit(
        net, *sets[:2], num_epochs=epochs, lr=LR[arm], batch_size=50, weight_decay=0.01, seed=seed,
        progress=False,
    )  # fmt: skip
    return training.predict(net, sets[2], batch_size=200).softmax(1).double().numpy()


def answered(
    x: Tensor, plain: np.ndarray, y: np.ndarray, parts: list[np.ndarray], epochs: int, seed: int
) -> dict[str, Any]:
    """Return test probabilities and seconds by arm, for one seed.

    Args:
        x: pictures (N, C, H, W) in [0, 1].
        plain: what they are drawn from, as numbers (N, F).
        y: classes (N,) of 0, 1 and 2.
        parts: rows of train, validation and test.
        epochs: of the nets that are trained whole.
        seed: of weights, batches and trees.
    """
    out = {}
    for arm in ARMS:
        start = time.process_time()
        if arm in LR:
            p = trained(arm, x, y, parts, epochs, seed)
        else:
            training.seed_everything(seed)
            source = pretrained if arm.startswith("ImageNet") else untrained
            f = plain if arm == "numbers" else extract(
                source(in_channels=x.shape[1], depth=DEPTH, grid=GRID), x
            )  # fmt: skip
            f = [f[rows] for rows in parts]
            boosted = Boosted(seed=seed).fit(f[0], y[parts[0]], (f[1], y[parts[1]]))
            p = boosted.probabilities(f[2])
        out[arm] = {"p": p, "seconds": time.process_time() - start}
    return out


def answer(
    windows: np.ndarray, y: np.ndarray, parts: list[np.ndarray], kind: str, epochs: int, seed: int
) -> dict[str, Any]:
    """Return test probabilities and seconds by arm, for pictures of one kind and one seed."""
    return answered(pictures(windows, kind), numbers(windows), y, parts, epochs, seed)


def planted_part(seed: int, size: int = 300, epochs: int = 6) -> dict[str, Any]:
    """Return accuracy by picture and arm on few pictures, and that of a rule that knows."""
    torch.set_num_threads(1)
    windows, y = planted(size + 600, 1_000 + seed)
    parts = np.split(np.arange(size + 600), [size, size + 200])
    log, test = np.log(windows[:, 3]), parts[2]
    out: dict[str, Any] = {"rule": float(((log[:, -1] > log[:, -9]) == (y > 1))[test].mean())}
    for kind in ("candles", "gadf"):
        got = answer(windows, y, parts, kind, epochs, seed)
        out[kind] = {a: float((v["p"].argmax(1) == y[test]).mean()) for a, v in got.items()}
    return out


def load(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return windows, classes, forward returns, and the rows of train, validation and test.

    Train ends with the first half of 2023, validation is the second, test the year 2024; each
    window and its label lie wholly inside their part.
    """
    frame = candles.read(path)
    ahead = labels.forward_return(frame, HORIZON)
    ends = np.arange(BARS - 1, len(frame) - HORIZON - 1, STEP)
    days = ("2023-07-01", "2024-01-01", "2025-01-01")
    edges = [int((frame.index < pd.Timestamp(day, tz="UTC")).sum()) for day in days]
    windows = candles.windows(frame, BARS)[ends - BARS + 1]
    y = labels.sell_hold_buy(ahead, multiple=0).to_numpy()[ends].astype(int)
    parts, first = [], 0
    for edge in edges:
        inside = (ends - BARS + 1 >= first) & (ends + 1 + HORIZON < edge)
        parts.append(np.flatnonzero(inside))
        first = edge
    return np.array(windows), y, ahead.to_numpy()[ends], parts


def as_dict(value: evidence.ConfidenceInterval) -> dict[str, float]:
    """Return estimate and bounds, rounded."""
    return {k: round(getattr(value, k), 5) for k in ("estimate", "low", "high")}


def mean(x: np.ndarray) -> float:
    """Return the mean."""
    return float(x.mean())


def rank(x: np.ndarray) -> float:
    """Return the rank correlation of two columns."""
    return float(np.asarray(stats.spearmanr(x[:, 0], x[:, 1]))[0])


def real_run(path: Path, kind: str, epochs: int, seed: int) -> dict[str, Any]:
    """Return the arms' answers on the year 2024, for one kind of picture and one seed."""
    torch.set_num_threads(1)
    windows, y, _, parts = load(path)
    return answer(windows, y, parts, kind, epochs, seed)


PAIRS = (
    ("fine-tuned", "scratch"),
    ("ImageNet + XGBoost", "random + XGBoost"),
    ("ImageNet + XGBoost", "numbers"),
    ("fine-tuned", "ImageNet + XGBoost"),
)


def real_table(runs: list[dict[str, Any]], y: np.ndarray, ahead: np.ndarray) -> dict[str, Any]:
    """Return accuracy and rank correlation of the arms with intervals, and paired differences."""
    right, table = {}, {}
    for arm in ARMS:
        p = np.array([run[arm]["p"] for run in runs])  # (seeds, m, 3)
        right[arm] = (p.argmax(2) == y).mean(0)
        both = np.column_stack([(p[:, :, 2] - p[:, :, 0]).mean(0), ahead])
        table[arm] = {
            "accuracy": as_dict(evidence.interval(mean, right[arm], seed=0, block=BLOCK)),
            "by_seed": [round(float(v), 5) for v in (p.argmax(2) == y).mean(1)],
            "ic": as_dict(evidence.interval(rank, both, seed=0, block=BLOCK)),
            "seconds": round(float(np.mean([run[arm]["seconds"] for run in runs])), 2),
        }
    gaps = {
        f"{a} - {b}": evidence.paired_difference(mean, right[a], right[b], seed=0, block=BLOCK)
        for a, b in PAIRS
    }
    return {"arms": table, "differences": {name: as_dict(gap) for name, gap in gaps.items()}}


def marks_net(source: Any, x: Tensor, y: np.ndarray, seed: int) -> Transfer:
    """Return a frozen backbone of four stages with a linear head fitted on its features."""
    training.seed_everything(seed)
    backbone = source(depth=4).freeze()
    model, mu, std = linear(extract(backbone, x), y, c=0.1)
    net = Transfer(backbone)
    weight = model.coef_ / std
    with torch.no_grad():
        net.classifier.weight.copy_(torch.from_numpy(weight))
        net.classifier.bias.copy_(torch.from_numpy(model.intercept_ - weight @ mu))
    return net.eval()


NETS = ("ImageNet", "random features", "shuffled answers", "untrained")


def maps_part(
    seed: int, n: int = 1_000, shown: int = 40, names: tuple[str, ...] = NETS
) -> dict[str, Any]:
    """Return accuracy and localisation of two kinds of map, by net, on one draw of pictures."""
    torch.set_num_threads(1)
    windows, y, start = marked(n + 200, 2_000 + seed)
    x, boxes = to_input(candlesticks(windows, SIZE, SIZE, volume=False)), mark_boxes(windows, start)
    rows = n + np.flatnonzero(y[n:] != 1)[:shown]
    seen, target = x[rows], torch.from_numpy(y[rows])
    rng = np.random.default_rng(seed)
    makers = {
        "ImageNet": lambda: marks_net(pretrained, x[:n], y[:n], seed),
        "random features": lambda: marks_net(untrained, x[:n], y[:n], seed),
        "shuffled answers": lambda: marks_net(pretrained, x[:n], rng.permutation(y[:n]), seed),
        "untrained": lambda: Transfer(untrained(depth=4)).eval(),
    }
    out = {}
    for name in names:
        net = makers[name]()
        hits = training.predict(net, training.TensorSet(x[n:], torch.from_numpy(y[n:]))).argmax(1)
        drawn = {
            "grad_cam": attention.grad_cam(net, seen, target, net.backbone.stages[2]),
            "occlusion": attention.occlusion(net, seen, target, window=16, stride=8),
        }
        out[name] = {"accuracy": float((hits.numpy() == y[n:]).mean())} | {
            kind: attention.localisation(m, boxes[rows]).means() for kind, m in drawn.items()
        }
    return out


def student(values: list[float]) -> dict[str, float]:
    """Return mean and 95 % t interval over seeds."""
    named = zip(("estimate", "low", "high"), t_interval(values), strict=True)
    return {name: round(value, 5) for name, value in named}


def summarise_maps(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and interval over seeds of every figure of ``maps_part``."""
    out: dict[str, Any] = {}
    for name in rows[0]:
        out[name] = {"accuracy": student([r[name]["accuracy"] for r in rows])}
        for kind in ("grad_cam", "occlusion"):
            keys = rows[0][name][kind]
            out[name][kind] = {k: student([r[name][kind][k] for r in rows]) for k in keys}
            gain = [r[name][kind]["share"] - r["untrained"][kind]["share"] for r in rows]
            out[name][kind]["share_over_untrained"] = student(gain)
    return out


def claims(stored: dict[str, Any]) -> dict[str, Any]:
    """Return what the chapter we started from says, beside what came out."""
    real, found = stored["real"]["candles"], stored["maps"]["ImageNet"]["occlusion"]
    net, gain = real["arms"]["fine-tuned"]["accuracy"], real["differences"]["fine-tuned - scratch"]
    seconds = {arm: real["arms"][arm]["seconds"] for arm in ("fine-tuned", "ImageNet + XGBoost")}

    def row(claimed: Any, value: dict[str, float], what: str) -> dict[str, Any]:
        named = {"measured": value["estimate"], "low": value["low"], "high": value["high"]}
        return {"claimed": claimed} | named | {"what": what}

    ratio = round(seconds["fine-tuned"] / seconds["ImageNet + XGBoost"], 2)
    only = {"estimate": ratio, "low": ratio, "high": ratio}
    return {
        "transfer_helps": row("pre-trained weights help", gain, (
            "accuracy of a fine-tuned Lite0 minus the same net from scratch, direction of the next "
            "12 h, candle pictures of 64 px, year 2024")),
        "accuracy_b0": row(0.542, net, (
            "accuracy of a fine-tuned Lite0 (not B0 at 224 px) on the direction of the next 12 h, "
            "year 2024")),
        "features_train_faster": row("faster training", only, (
            "CPU seconds of fine-tuning over those of frozen features and XGBoost, same pictures; "
            "one measurement, so no interval")),
        "maps_show_where": row("attention visualisation explains", found["share_over_untrained"], (
            "share of occlusion mass on a planted mark, minus that of an untrained net")),
    }  # fmt: skip


def main() -> None:
    """Run the four parts and store them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of the nets on real bars")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if "SETRADE_DATA" not in os.environ:
        parser.error("SETRADE_DATA must name the folder with " + HOURS)
    path, start = Path(os.environ["SETRADE_DATA"]) / HOURS, time.perf_counter()
    n, kinds = args.seeds, ("candles", "gadf")
    todo = [delayed(real_run)(path, kind, args.epochs, s) for kind in kinds for s in range(n)]
    todo += [delayed(planted_part)(s) for s in range(n)]
    todo += [delayed(probe)(s) for s in range(n)]
    todo += [delayed(maps_part)(s) for s in range(n + 2)]
    work = Parallel(n_jobs=args.jobs, return_as="generator")(todo)
    rows: list = list(tqdm(work, total=len(todo), unit="part"))
    _, y, ahead, parts = load(path)
    test = parts[2]
    stored: dict[str, Any] = {
        "request": REQUESTS[HOURS], "bars": BARS, "size": SIZE, "horizon": HORIZON, "depth": DEPTH,
        "grid": GRID, "lr": LR, "epochs": args.epochs, "rows": [len(rows) for rows in parts],
        "majority": float(np.bincount(y[test]).max() / len(test)),
        "real": {
            kind: real_table(rows[i * n : (i + 1) * n], y[test], ahead[test])
            for i, kind in enumerate(kinds)
        },
        "planted": rows[2 * n : 3 * n],
        "probe": rows[3 * n : 4 * n],
        "maps": summarise_maps(rows[4 * n :]),
    }  # fmt: skip
    stored["claims"] = claims(stored)
    results.save(
        "transfer", stored, command=COMMAND, seed=list(range(n)),
        seconds=time.perf_counter() - start, data={HOURS: results.sha256(path)},
        device=training.describe(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
