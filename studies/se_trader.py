"""SE against no SE where the truth is planted: 16 markets, one pair of twins a market.

    make study STUDY=se_trader

Each seed draws a new synthetic market and the nets' weights. On it train three nets that share
every weight outside the block: no block, a block on the input channels, a block on the encoded
ones. A control trains the same nets on targets of another market, where nothing can be found.
The settings were fixed on other markets (seeds 100 to 102): on 12,000 bars none of the three nets
found anything, so the markets became longer, and the net without a block fixed the rest.
The generator was not touched.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy import stats
from tqdm import tqdm

from setrade import backtest, candles, channels, labels, results, training
from setrade.costs import Costs
from setrade.study.experiment import (
    CHANNELS,
    Answer,
    Fold,
    Setting,
    positions,
    rank_correlation,
    train_channels,
)
from setrade.study.summary import t_interval

N_BARS = 60_000  # of a market
ARMS: dict[str, dict[str, Any]] = {
    "none": {"squeeze": None},
    "input": {"squeeze": "mean", "gate": "input"},
    "encoded": {"squeeze": "mean", "gate": "encoded"},
}
MEASURES = ("accuracy", "ic", "annual_return", "sharpe", "turnover")


def prepare(bars: pd.DataFrame, setting: Setting, targets: pd.DataFrame | None = None) -> Fold:
    """Return a market with its labels and the purged 70/15/15 split.

    ``targets``: other candles of the same length to take the future from (the control).
    """
    returns = labels.forward_return(bars if targets is None else targets, setting.horizon)
    returns.index = bars.index
    split = labels.chronological(
        len(bars), lookback=setting.lookback, horizon=setting.horizon, first=channels.WARM_UP
    )
    return Fold(bars, returns, labels.sell_hold_buy(returns), split, setting)


def trade(fold: Fold, wanted: pd.Series) -> backtest.Result:
    """Return the backtest of ``wanted`` on the test bars, at default costs."""
    bars = fold.bars.loc[wanted.index[0] :]
    return backtest.run(bars, wanted.reindex(bars.index).ffill(), costs=Costs())


def judge(answer: Answer, fold: Fold) -> dict[str, float]:
    """Return what a net did on the test bars."""
    test, ends = answer("test"), fold.ends("test")
    money = trade(fold, positions(fold, answer("validation"), test)).metrics()
    return {
        "accuracy": float((test.argmax(1) == fold.truth.to_numpy()[ends]).mean()),
        "ic": rank_correlation(test[:, 2] - test[:, 0], fold.returns.to_numpy()[ends]),
        **{name: float(money[name]) for name in ("annual_return", "sharpe", "turnover")},
    }


def run_seed(seed: int, setting: Setting, control: bool) -> dict[str, dict[str, float]]:
    """Return the measures of every arm on the market of one seed.

    Nets of one seed start from the same weights outside the block.
    """
    torch.set_num_threads(1)
    bars = candles.synthetic(N_BARS, seed=seed).candles
    other = candles.synthetic(N_BARS, seed=10_000 + seed).candles if control else None
    fold = prepare(bars, setting, other)
    rows = {arm: judge(train_channels(fold, ARMS[arm], seed), fold) for arm in ARMS}
    share = fold.truth.to_numpy()[fold.ends("test")]
    rows["majority"] = {"accuracy": float(np.bincount(share.astype(int)).max() / len(share))}
    return rows


def interval(values: np.ndarray) -> dict[str, float]:
    """Return mean, 95 % t interval and the Wilcoxon signed-rank p of paired differences."""
    mean, low, high = t_interval(values)
    p = np.asarray(stats.wilcoxon(values))[1]
    return {"mean": mean, "low": low, "high": high, "wilcoxon_p": float(p)}


def summarise(rows: list[dict[str, dict[str, float]]]) -> dict[str, dict]:
    """Return each arm's mean and interval, and the paired differences to no block."""
    out: dict[str, dict] = {"arms": {}, "differences": {}}
    for name in MEASURES:
        base = np.array([row["none"][name] for row in rows])
        for arm in ARMS:
            mine = np.array([row[arm][name] for row in rows])
            out["arms"].setdefault(arm, {})[name] = interval(mine)
            if arm != "none":
                out["differences"].setdefault(arm, {})[name] = interval(mine - base)
    return out


def main() -> None:
    """Run every seed, planted and control, and store the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    setting, start = Setting(), time.perf_counter()
    jobs = [(seed, control) for control in (False, True) for seed in range(args.seeds)]
    parallel = Parallel(n_jobs=args.jobs, return_as="generator")
    work = parallel(delayed(run_seed)(seed, setting, control) for seed, control in jobs)
    rows: list = list(tqdm(work, total=len(jobs), unit="market"))
    planted, control = rows[: args.seeds], rows[args.seeds :]
    table = {
        "setting": {"n_bars": N_BARS} | setting.learning(),
        "channels": list(CHANNELS),
        "planted": {"rows": planted, **summarise(planted)},
        "control": {"rows": control, **summarise(control)},
    }
    results.save(
        "se_trader", table, command="make study STUDY=se_trader",
        seed=list(range(args.seeds)), seconds=time.perf_counter() - start,
        device=training.describe(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
