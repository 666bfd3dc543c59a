"""Does a gate rank the planted channel first in its regime? And is it stable on real bars?

    make study STUDY=attention

Planted part: each seed draws a market and trains an SE trader whose gate sits on the input
channels. In each true regime the channel that foretells is known, and four measures are asked
for its rank: the mean gate, the gate's contrast to all other bars, permutation and ablation.
Three targets: ``planted``, the next bar's sign, which is mostly noise; ``clear``, the sign that
the regime's channel points to, without noise, so that a net surely learns it; ``control``, the
next sign in another market, where no channel foretells anything.
Sample part: the embedded real bars, regimes by rules, the same net from ten seeds.
The settings were fixed before any rank was looked at; ``clear`` was added after, as a check.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from setrade import attention, candles, channels, labels, regimes, results, training
from setrade.models import SETrader
from setrade.study.experiment import Setting

PLANTED = (
    "roc", "bollinger_percent_b", "volume_ma", "rsi", "macd_hist", "atr", "adx", "obv",
)  # fmt: skip
SAMPLE = (
    "rsi", "macd", "macd_hist", "roc", "adx", "plus_di", "minus_di", "atr", "bollinger_percent_b",
    "bollinger_width", "keltner_upper", "vwap", "volume", "obv",
)  # fmt: skip
TARGETS = ("planted", "clear", "control")
N_BARS = 40_000  # of a market
SETTING = Setting(lookback=24, horizon=1, lr=1e-3, num_epochs=8, patience=3)
MEASURES = ("gate", "contrast", "permutation", "ablation")


def prepare(bars: pd.DataFrame, names: tuple[str, ...], lookback: int, future=None):
    """Return standardised channels, the class of the next bar's sign (0 or 2), and the split."""
    x = channels.compute(bars, scale_free=True)[list(names)]
    first = int(x.notna().all(axis=1).to_numpy().argmax())
    ahead = labels.forward_return(bars if future is None else future, 1)
    sign = pd.Series(np.where(ahead > 0, 2.0, 0.0), bars.index).where(ahead.notna().to_numpy())
    split = labels.chronological(len(bars), lookback=lookback, horizon=1, first=first)
    scaler = channels.Standardizer().fit(x.iloc[first : split.train[-1] + 1])
    return scaler.transform(x), sign, split


def train(x, y, split, seed: int) -> tuple[SETrader, training.WindowSet]:
    """Return a trained net with its gate on the input channels, and the test windows."""
    training.seed_everything(seed)
    net = SETrader(x.shape[1], squeeze="mean", gate="input", hidden=SETTING.hidden)
    sets = [
        training.WindowSet(x, y, ends, SETTING.lookback)
        for ends in (split.train, split.validation, split.test)
    ]
    training.fit(net, *sets[:2], plan=SETTING.plan(seed))
    return net.cpu(), sets[2]


def rank_of(values: np.ndarray, place: int) -> int:
    """Return the rank of one channel, 1 for the largest value."""
    return int((values > values[place]).sum() + 1)


def measures(net: SETrader, test: training.WindowSet, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the four measures (C,) on the test windows of one regime."""
    x, y = test.all()
    with torch.no_grad():
        gates = net.gates(x).numpy()
    some = torch.from_numpy(rows)
    return {
        "gate": gates[rows].mean(0),
        "contrast": gates[rows].mean(0) - gates.mean(0),
        "permutation": attention.permutation_importance(net, x[some], y[some], seed=0).numpy(),
        "ablation": attention.ablation_importance(net, x[some], y[some]).numpy(),
    }


def pointed(x: pd.DataFrame, market: candles.Market) -> pd.Series:
    """Return the class (0 or 2) that the regime's channel points to, without noise."""
    direction = {"roc": 1, "bollinger_percent_b": -1, "volume_ma": 1}
    sign = pd.Series(0.0, x.index)
    for name, channel in market.informative.items():
        sign = sign.where(market.regime != name, direction[channel] * x[channel])
    return pd.Series(np.where(sign > 0, 2.0, 0.0), x.index)


def planted(seed: int, target: str, n_bars: int = N_BARS) -> dict:
    """Return, by regime and measure, the rank of the planted channel; and the net's accuracy."""
    torch.set_num_threads(1)
    market, other = candles.synthetic(n_bars, seed=seed), None
    if target == "control":
        other = candles.synthetic(n_bars, seed=10_000 + seed).candles
    x, y, split = prepare(market.candles, PLANTED, SETTING.lookback, other)
    if target == "clear":
        y = pointed(x, market)
    net, test = train(x, y, split, seed)
    regime = market.regime.to_numpy()[split.test]
    out: dict = {"ranks": {}, "values": {}}
    for name, channel in market.informative.items():
        got = measures(net, test, np.flatnonzero(regime == name))
        out["ranks"][name] = {m: rank_of(v, PLANTED.index(channel)) for m, v in got.items()}
        out["values"][name] = {m: [float(f"{u:.4g}") for u in v] for m, v in got.items()}
    hit = training.predict(net, test).argmax(1).numpy() == y.to_numpy()[split.test]
    return out | {"accuracy": float(f"{hit.mean():.5g}")}


def sample(seed: int) -> dict[str, list[float]]:
    """Return the mean test gate of each channel in each rule regime of the real bars."""
    torch.set_num_threads(1)
    bars = candles.sample()
    x, y, split = prepare(bars, SAMPLE, SETTING.lookback)
    net, test = train(x, y, split, seed)
    regime = regimes.by_rules(bars, history=480)
    with torch.no_grad():
        gates = net.gates(test.all()[0]).numpy()
    times = pd.DatetimeIndex(bars.index[split.test])
    table = attention.report(gates, SAMPLE, regime, times).table()
    return {str(name): [float(f"{v:.4g}") for v in table[name]] for name in table}


def summarise(rows: list[dict], n_channels: int) -> dict:
    """Return mean rank, its standard error and how often it is 1, by regime and measure."""
    out: dict = {"chance_rank": (n_channels + 1) / 2, "chance_first": 1 / n_channels}
    for name in rows[0]["ranks"]:
        for measure in MEASURES:
            ranks = np.array([row["ranks"][name][measure] for row in rows])
            error = ranks.std(ddof=1) / len(ranks) ** 0.5
            out.setdefault(name, {})[measure] = {
                "mean_rank": round(float(ranks.mean()), 3),
                "standard_error": round(float(error), 3),
                "first": round(float((ranks == 1).mean()), 3),
            }
    return out


def main() -> None:
    """Run every seed of the three parts and store ranks and tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()
    todo = [delayed(planted)(s, t) for t in TARGETS for s in range(args.seeds)]
    todo += [delayed(sample)(s) for s in range(args.seeds)]
    work = Parallel(n_jobs=args.jobs, return_as="generator")(todo)
    rows: list = list(tqdm(work, total=len(todo), unit="net"))
    parts = [rows[i * args.seeds : (i + 1) * args.seeds] for i in range(4)]
    setting = {"n_bars": N_BARS} | SETTING.learning()
    del setting["quantile"]  # nothing is traded here
    stored: dict = {"setting": setting, "channels": list(PLANTED)}
    for target, part in zip(TARGETS, parts, strict=False):
        stored[target] = {"rows": part, "summary": summarise(part, len(PLANTED))}
    stored["sample"] = {"channels": list(SAMPLE), "rows": parts[3]}
    results.save(
        "attention", stored, command="make study STUDY=attention",
        seed=list(range(args.seeds)), seconds=time.perf_counter() - start,
        device=training.describe(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
