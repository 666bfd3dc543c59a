"""When does channel attention help? How visible the regime is, against how strong the encoder is.

    make study STUDY=where_se_wins

Planted markets of `candles.synthetic`: in each regime another channel points to what comes. The
nets see those three channels and three more that name the regime, each with noise: ``visibility``
is the height of the one that is on, in standard deviations of a bar's noise. The target is where
the regime's channel points, without the noise of a return, so that a net can surely learn it. The
encoder is a linear head or two convolutions of a width; with SE and without are twins that share
every weight outside the block. A cell is the accuracy with SE less that without, over markets.
240 trainings, six minutes on two cores. Every run is a line of
``_build/studies/where_se_wins.jsonl``; a study that was cut short goes on.
The rate was chosen on the market of seed 100, by validation loss, from 0.002, 0.005 and 0.01.
"""

from __future__ import annotations

import argparse
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from attention import pointed

from setrade import candles, channels, labels, results, training
from setrade.models import SETrader
from setrade.study import Store, grid, run
from setrade.study.command import busy_seconds
from setrade.study.store import RunConfig
from setrade.study.summary import t_interval

VISIBILITY = (0.0, 0.125, 0.5, 2.0)  # standard deviations of one bar's noise
STRENGTHS = ("linear", 4, 32)  # of the encoder: none, or the width of two convolutions
ARMS = {"none": None, "mean": "mean"}
INFORMATIVE = candles.synthetic(1, seed=0).informative  # regime to the channel that leads in it
PLANTED = tuple(INFORMATIVE.values())
SETTING = {
    "n_bars": 30_000, "lookback": 16, "reduction": 2, "lr": 1e-2, "num_epochs": 10, "patience": 3,
    "batch_size": 256,
}  # fmt: skip


@lru_cache(maxsize=1)
def market(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, labels.Split]:
    """Return planted channels (n, 3), one column a regime (0 or 1), the classes 0 or 2, a split."""
    drawn = candles.synthetic(SETTING["n_bars"], seed=seed)
    x = channels.compute(drawn.candles, scale_free=True)[list(PLANTED)]
    first = int(x.notna().all(axis=1).to_numpy().argmax())
    split = labels.chronological(len(x), lookback=SETTING["lookback"], horizon=1, first=first)
    scaled = channels.Standardizer().fit(x.iloc[first : split.train[-1] + 1]).transform(x)
    centred = x - x.iloc[first : split.train[-1] + 1].mean()
    on = pd.get_dummies(drawn.regime).astype(float)
    return scaled, on, pointed(centred, drawn), split


def build(strength: str | int, squeeze: str | None, n_channels: int) -> SETrader:
    """Return a net whose encoder is as strong as asked; "linear" has none at all."""
    width = n_channels if strength == "linear" else int(strength)
    net = SETrader(n_channels, squeeze=squeeze, hidden=width, reduction=SETTING["reduction"])
    if strength == "linear":
        net.encoder = torch.nn.Identity()
    return net


def train(config: RunConfig) -> dict[str, Any]:
    """Return what one net learned on one market: accuracy on test, and losses on validation."""
    torch.set_num_threads(1)
    scaled, on, y, split = market(config["seed"])
    rng = np.random.default_rng(20_000 + config["seed"])  # the same noise for every visibility
    named = config["visibility"] * on.to_numpy() + rng.standard_normal(on.shape)
    x = np.hstack([scaled.to_numpy(), named / np.hypot(1.0, config["visibility"])])
    sets = [
        training.WindowSet(x, y, ends, SETTING["lookback"])
        for ends in (split.train, split.validation, split.test)
    ]
    training.seed_everything(config["seed"])
    net = build(config["strength"], ARMS[config["arm"]], x.shape[1])
    names = ("lr", "num_epochs", "patience", "batch_size")
    plan = training.Plan(seed=config["seed"], **{name: SETTING[name] for name in names})
    history = training.fit(net, *sets[:2], plan=plan, device="cpu", progress=False)
    hit = training.predict(net, sets[2]).argmax(1) == sets[2].y
    shares = np.bincount(sets[0].y, minlength=3) / len(sets[0])
    return {
        "accuracy": float(hit.double().mean()),
        "majority": float(np.bincount(sets[2].y).max() / len(sets[2])),
        "val_loss": [round(v, 6) for v in history.val_loss],
        "best_epoch": history.best_epoch,
        "constant_loss": float(-np.log(shares[sets[1].y]).mean()),
    }


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one cell a visibility and strength: accuracies, their gap, and what was learned."""
    found = {tuple(row["config"].values()): row["measures"] for row in rows}
    seeds = sorted({row["config"]["seed"] for row in rows})
    cells = []
    for v in VISIBILITY:
        for s in STRENGTHS:
            arms = {arm: [found[v, s, arm, seed] for seed in seeds] for arm in ARMS}
            hits = {arm: np.array([m["accuracy"] for m in ms]) for arm, ms in arms.items()}
            mean, low, high = t_interval(hits["mean"] - hits["none"])
            gain = {
                arm: t_interval([m["constant_loss"] - min(m["val_loss"]) for m in ms])
                for arm, ms in arms.items()
            }
            cell = {"visibility": v, "strength": s, "value": mean, "low": low, "high": high}
            cell |= {"accuracy": {arm: float(h.mean()) for arm, h in hits.items()}}
            cells.append(cell | {"learned": gain, "gaps": (hits["mean"] - hits["none"]).tolist()})
    return cells


def main() -> None:
    """Run what is missing, then store the map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--store", type=Path, default=Path("_build/studies"))
    args = parser.parse_args()
    start = time.perf_counter()
    configs = grid(visibility=VISIBILITY, strength=STRENGTHS, arm=ARMS, seed=range(args.seeds))
    store = Store(args.store / "where_se_wins.jsonl", "where_se_wins", {}, setting=SETTING)
    report = run(train, configs, store, n_jobs=args.jobs)
    rows = store.of(configs)
    stored = {
        "setting": SETTING, "channels": [*PLANTED, *INFORMATIVE],
        "cells": table(rows), "majority": float(np.mean([r["measures"]["majority"] for r in rows])),
        "machinery": vars(report) | {"busy_seconds": round(busy_seconds(rows), 1)},
    }  # fmt: skip
    results.save(
        "where_se_wins", stored, command="make study STUDY=where_se_wins",
        seed=list(range(args.seeds)), seconds=time.perf_counter() - start, device="cpu",
    )  # fmt: skip


if __name__ == "__main__":
    # Workers find what is kept in a cache by its module's name, and `__main__` names another there.
    from where_se_wins import main

    main()
