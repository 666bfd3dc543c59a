"""Gates on trial: does a gate say what the net uses, and does the net need its gates at all?

    SETRADE_DATA=<folder> make study STUDY=gates_trial

Four markets: a planted one whose truth is known (target ``clear`` of ``attention``: the label is
where the regime's channel points), and hourly bars of BTC, ETH and SOL as in ``gates_real``
(trained before October 2023, stopped on the quarter after, read on 2024). Thirty seeds each.
Three nets a seed: gates **learned**; **frozen**, an SE block that keeps its random weights;
**uniform**, no block, so that every channel passes with the same weight (Wiegreffe and Pinter).
Of a learned net, on test windows: rank correlation over channels of the mean gate with what
permutation and ablation say, of these two with each other, and of the gate with its start; the
contrast of a regime's gates with what permutation says there; and the loss when the gates are
replaced by their **mean**, by those of other windows (**shuffled**), by one number (**flat**).
Intervals are over seeds: on a coin they share the bars, in the planted market each has its own.
The rate, 0.005, is the one that ``gates_real`` chose by validation loss.
Every run is a line of ``_build/studies/gates_trial.jsonl``; a study that was cut short goes on.
About thirteen minutes on two idle cores.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import attention as planted_study
import gates_real
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from setrade import attention, candles, channels, evidence, labels, regimes, training
from setrade.models import SETrader
from setrade.study import Data, Store, grid, run
from setrade.study.command import arguments, finish
from setrade.study.store import HOURS, REQUESTS, RunConfig
from setrade.study.summary import t_interval

COINS = {coin: HOURS.replace("btc", coin.lower()) for coin in ("BTC", "ETH", "SOL")}
MARKETS = ("planted", *COINS)
ARMS = ("learned", "frozen", "uniform")
REPLACED = ("mean", "shuffled", "flat")
SETTING = {
    "lr": 5e-3, "num_epochs": 12, "patience": 4, "batch_size": 512, "stride": 2, "asked": 2_000,
    "repeats": 3, "planted_bars": 30_000, "hidden": 16,
}  # fmt: skip
SECONDS = 4.4  # a net on one idle core, on average
MIN_WINDOWS = 50  # of a regime, to ask it anything


def planted(seed: int) -> tuple[pd.DataFrame, pd.Series, labels.Split, np.ndarray, int]:
    """Return scaled channels, classes, split, the regime of each bar, and the lookback."""
    market, names = candles.synthetic(SETTING["planted_bars"], seed=seed), planted_study.PLANTED
    lookback = planted_study.SETTING.lookback
    x, _, split = planted_study.prepare(market.candles, names, lookback)
    regime = market.regime.astype(str).to_numpy()
    return x, planted_study.pointed(x, market), split, regime, lookback


def coin(file: Data) -> tuple[pd.DataFrame, pd.Series, labels.Split, np.ndarray, int]:
    """Return the same of a coin's hourly bars before 2025."""
    bars = file.read().loc[: pd.Timestamp("2024-12-31 23:59", tz="UTC")]
    x, _, truth, split = gates_real.prepare(bars)
    scaler = channels.Standardizer().fit(x.iloc[split.train[0] : split.train[-1] + 1])
    regime = regimes.by_rules(bars).astype(str).to_numpy()
    return scaler.transform(x), truth, split, regime, gates_real.LOOKBACK


def build(arm: str, n_channels: int) -> SETrader:
    """Return a net of an arm; of one seed they share every weight outside the block."""
    squeeze = None if arm == "uniform" else "mean"
    net = SETrader(n_channels, squeeze=squeeze, gate="input", hidden=SETTING["hidden"])
    if arm == "frozen" and net.se is not None:
        net.se.requires_grad_(False)
    return net


@torch.no_grad()
def gated_loss(net: SETrader, x: Tensor, y: Tensor, gates: Tensor) -> float:
    """Return the mean loss of a net whose gates are replaced by ``gates`` (n or 1, C)."""
    bare = net.eval().twin()
    return float(F.cross_entropy(bare(x * gates[:, :, None]), y))


def replaced(net: SETrader, x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    """Return the loss with the net's own gates, and with each replacement."""
    with torch.no_grad():
        own = net.gates(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    mean = own.mean(dim=0, keepdim=True)
    gates = {"own": own, "mean": mean, "shuffled": own[order]}
    gates["flat"] = torch.full_like(mean, float(mean.mean()))
    return {name: gated_loss(net, x, y, g) for name, g in gates.items()}


def importance(net: SETrader, x: Tensor, y: Tensor) -> dict[str, list[float]]:
    """Return the mean gate, and what permutation and ablation say, of each channel."""
    with torch.no_grad():
        gates = net.gates(x).mean(dim=0)
    by = attention.permutation_importance(net, x, y, seed=0, repeats=SETTING["repeats"])
    without = attention.ablation_importance(net, x, y)
    both = {"gate": gates, "permutation": by, "ablation": without}
    return {name: [float(f"{v:.5g}") for v in values] for name, values in both.items()}


def work(config: RunConfig, files: dict[str, Data]) -> dict[str, Any]:
    """Train one net; return its losses, and of a learned one what gates and outputs say."""
    torch.set_num_threads(1)
    market, seed, arm = config["market"], config["seed"], config["arm"]
    x, y, split, regime, lookback = planted(seed) if market == "planted" else coin(files[market])
    parts = (split.train[:: SETTING["stride"]], split.validation, split.test)
    sets = [training.WindowSet(x, y, ends, lookback) for ends in parts]
    training.seed_everything(seed)
    net = build(arm, x.shape[1])
    X, truth = sets[2].all()
    some = torch.from_numpy(np.linspace(0, len(X) - 1, SETTING["asked"]).astype(int))
    X, truth, where = X[some], truth[some], regime[split.test][some.numpy()]
    start = [] if arm == "uniform" else importance(net.eval(), X, truth)["gate"]
    names = ("lr", "num_epochs", "patience", "batch_size")
    plan = training.Plan(seed=seed, **{name: SETTING[name] for name in names})
    history = training.fit(net, *sets[:2], plan=plan, device="cpu", progress=False)
    out = {
        "val_loss": min(history.val_loss), "best_epoch": history.best_epoch,
        "constant": evidence.constant_loss(sets[0].y, sets[1].y),
        "test_constant": evidence.constant_loss(sets[0].y, truth), "start": start,
        "test_loss": float(F.cross_entropy(training.predict(net, sets[2])[some], truth)),
    }  # fmt: skip
    if arm != "learned":
        return out
    counts = {str(r): np.flatnonzero(where == r) for r in np.unique(where)}
    by_regime = {
        name: importance(net, X[rows], truth[rows])
        for name, rows in counts.items() if len(rows) >= MIN_WINDOWS and name != "nan"
    }  # fmt: skip
    said = {"all": importance(net, X, truth), "regimes": by_regime}
    return out | said | {"loss": replaced(net, X, truth, seed)}


# ---- From runs to a verdict.


def agree(a: list[float], b: list[float]) -> float:
    """Return the rank correlation of two measures over channels."""
    return float(spearmanr(a, b)[0])  # type: ignore[arg-type]


def interval(values: list[float]) -> dict[str, float]:
    """Return mean and 95 % interval over seeds, by Student's t."""
    value, low, high = t_interval(values)
    return {"value": value, "low": low, "high": high}


def contrasts(row: dict[str, Any]) -> float:
    """Return how the gates' contrast in a regime ranks with permutation there, over regimes."""
    found = [
        agree(np.subtract(said["gate"], row["all"]["gate"]).tolist(), said["permutation"])
        for said in row["regimes"].values()
    ]
    return float(np.mean(found))


def between_seeds(rows: list[dict[str, Any]], measure: str) -> float:
    """Return the mean rank correlation of a measure between two seeds."""
    ranks = np.apply_along_axis(rankdata, 1, [row["all"][measure] for row in rows])
    return float(np.corrcoef(ranks)[np.triu_indices(len(rows), 1)].mean())


def of_market(arms: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return all that is said of one market: learned, agreement, replacement, arms."""
    rows = arms["learned"]
    gates = np.array([r["start"] for r in rows]), np.array([r["all"]["gate"] for r in rows])
    judged = {
        arm: evidence.learned(
            [r["val_loss"] for r in mine], float(np.mean([r["constant"] for r in mine])),
            gates=gates if arm == "learned" else None,
        )
        for arm, mine in arms.items()
    }  # fmt: skip
    pairs = (("gate", "permutation"), ("gate", "ablation"), ("permutation", "ablation"))
    agreement = {
        f"{a} with {b}": interval([agree(r["all"][a], r["all"][b]) for r in rows]) for a, b in pairs
    }
    agreement["gate with its start"] = interval([agree(r["all"]["gate"], r["start"]) for r in rows])
    agreement["contrast with permutation"] = interval([contrasts(r) for r in rows])
    gain = [r["test_constant"] - r["loss"]["own"] for r in rows]
    return {
        "learned": {arm: vars(found) for arm, found in judged.items()},
        "agreement": agreement,
        "between_seeds": {m: between_seeds(rows, m) for m in ("gate", "permutation", "ablation")},
        "test_gain": interval(gain),
        "replaced": {
            name: interval([r["loss"][name] - r["loss"]["own"] for r in rows]) for name in REPLACED
        },
        "arms": {
            arm: {
                part: interval([b[part] - a[part] for a, b in zip(rows, arms[arm], strict=True)])
                for part in ("val_loss", "test_loss")
            }
            for arm in ARMS[1:]
        },
        "seeds": len(rows),
    }  # fmt: skip


def planted_ranks(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the rank of the planted channel in its regime by each measure; chance is 4.5."""
    channel_of = candles.synthetic(1, seed=0).informative
    out: dict[str, list[float]] = {}
    for row in rows:
        ranks: dict[str, list[int]] = {}
        for regime, said in row["regimes"].items():
            place = planted_study.PLANTED.index(channel_of[regime])
            contrast = np.subtract(said["gate"], row["all"]["gate"])
            for name, values in (said | {"contrast": contrast}).items():
                ranks.setdefault(name, []).append(planted_study.rank_of(np.array(values), place))
        for name, found in ranks.items():
            out.setdefault(name, []).append(float(np.mean(found)))
    return {name: interval(values) for name, values in out.items()}


def main() -> None:
    """Say the cost, run what is missing, store the verdicts."""
    args, start = arguments(__doc__, seeds=30), time.perf_counter()
    files = {name: Data.of(args.data / file) for name, file in COINS.items()}
    configs = grid(market=MARKETS, seed=range(args.seeds), arm=ARMS)
    store = Store(
        args.store / "gates_trial.jsonl", "gates_trial",
        {COINS[name]: file.sha256 for name, file in files.items()}, setting=SETTING,
        repair=args.repair,
    )  # fmt: skip
    left = len(store.missing(configs))
    minutes = left * SECONDS / 60 / args.jobs
    print(f"gates_trial: {left} nets to go, about {minutes:.0f} minutes on {args.jobs} idle cores")
    report = run(partial(work, files=files), configs, store, n_jobs=args.jobs)
    rows = store.of(configs)
    by = {
        market: {
            arm: [
                r["measures"] for r in rows
                if r["config"]["market"] == market and r["config"]["arm"] == arm
            ]
            for arm in ARMS
        }
        for market in MARKETS
    }  # fmt: skip
    btc = REQUESTS[HOURS]
    stored = {
        "markets": {market: of_market(arms) for market, arms in by.items()},
        "planted_rank": planted_ranks(by["planted"]["learned"]),
        "channels": {"planted": planted_study.PLANTED, "coins": gates_real.CHANNELS},
        "requests_like": {coin: btc.replace("BTC", coin) for coin in COINS},
    }
    finish("gates_trial", stored, report, store, seeds=args.seeds, start=start)


if __name__ == "__main__":
    main()
