"""The chapter's own results table, SE against none, measured on the embedded sample.

    make study STUDY=se_sample

Twenty seeds train the nets of ``se_trader``, with and without the block, on the first 70 % of
the sample; early stopping and the trading threshold look at the next 15 %. The last 15 % is used
once, here. Intervals redraw the seeds and, together for all nets, stretches of the test bars
(stationary bootstrap, one day on average); for win rate and profit factor, seeds and trades.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from joblib import Parallel, delayed
from se_trader import ARMS, prepare, trade
from tqdm import tqdm

from setrade import candles, labels, metrics, results, training
from setrade.backtest import Result
from setrade.evidence import resample
from setrade.study.experiment import CHANNELS, Setting, positions, train_channels
from setrade.study.store import sample_file

CLAIMED = {
    "annual_return": (0.473, 0.312),
    "sharpe": (1.84, 1.21),
    "max_drawdown": (-0.187, -0.264),
    "win_rate": (0.582, 0.521),
    "profit_factor": (1.67, 1.34),
}  # of the chapter we started from: with SE, without
SETTING = Setting(batch_size=128)  # fewer bars, smaller batches
BLOCK = 96.0  # bars: a day on average
EQUITY = ("annual_return", "sharpe", "max_drawdown")
TRADE = ("win_rate", "profit_factor")


def run_seed(seed: int) -> dict[str, Result]:
    """Return the backtest of every arm on the test bars of the sample."""
    torch.set_num_threads(1)
    fold = prepare(candles.sample(), SETTING)
    out = {}
    for arm in ARMS:
        answer = train_channels(fold, ARMS[arm], seed)
        out[arm] = trade(fold, positions(fold, answer("validation"), answer("test")))
    return out


def equity_figures(returns: np.ndarray, periods: float) -> np.ndarray:
    """Return the figures of ``EQUITY``, each the mean over nets, for bar returns (T, nets)."""
    r = returns.T
    values = metrics.annual_return(r, periods), metrics.sharpe(r, periods), metrics.max_drawdown(r)
    return np.array([np.nanmean(v) for v in values])  # a net that never traded has no Sharpe


def trade_figures(books: list[np.ndarray]) -> np.ndarray:
    """Return the figures of ``TRADE`` over the trades of all nets together."""
    every = np.concatenate(books)
    return np.array([metrics.win_rate(every), metrics.profit_factor(every)])


def equity_draws(runs: list[dict[str, Result]], samples: int, seed: int) -> dict[str, np.ndarray]:
    """Return (samples, 3) redrawn figures of each arm, on the same bars and the same seeds."""
    columns = [metrics.returns(run[arm].curves[0]) for arm in ARMS for run in runs]
    n, rng = len(runs), np.random.default_rng(seed)
    periods = runs[0]["none"].periods

    def statistic(r: np.ndarray) -> np.ndarray:
        seeds = rng.integers(0, n, n)
        return np.concatenate(
            [equity_figures(r[:, k * n + seeds], periods) for k in range(len(ARMS))]
        )

    drawn = resample(statistic, np.column_stack(columns), seed=seed, n_samples=samples, block=BLOCK)
    return dict(zip(ARMS, np.split(drawn, len(ARMS), axis=1), strict=True))


def trade_draws(runs: list[dict[str, Result]], samples: int, seed: int) -> dict[str, np.ndarray]:
    """Return (samples, 2) redrawn figures of each arm, on the same seeds."""
    rng = np.random.default_rng(seed)
    out: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    for _ in range(samples):
        seeds = rng.integers(0, len(runs), len(runs))
        for arm in ARMS:
            books = [closed(runs[s][arm]) for s in seeds]
            out[arm].append(trade_figures([rng.choice(b, len(b)) for b in books if len(b)]))
    return {arm: np.array(rows) for arm, rows in out.items()}


def closed(result: Result) -> np.ndarray:
    """Return the profits of closed trades."""
    trades = result.trades
    return trades.loc[trades["reason"] != "open", "pnl"].to_numpy()


def bounds(drawn: np.ndarray) -> list[float]:
    """Return the 2.5 % and 97.5 % quantiles, undefined draws left aside."""
    return [float(q) for q in np.nanquantile(drawn, [0.025, 0.975])]


def table(runs: list[dict[str, Result]], samples: int, seed: int) -> dict[str, dict]:
    """Return, by metric and arm, estimate and interval, and the difference to no block."""
    periods = runs[0]["none"].periods
    values, drawn = {}, {}
    equity, trades = equity_draws(runs, samples, seed), trade_draws(runs, samples, seed)
    for arm in ARMS:
        r = np.column_stack([metrics.returns(run[arm].curves[0]) for run in runs])
        books = [closed(run[arm]) for run in runs]
        values[arm] = np.r_[equity_figures(r, periods), trade_figures(books)]
        drawn[arm] = np.column_stack([equity[arm], trades[arm]])
    out: dict[str, dict] = {}
    for k, name in enumerate((*EQUITY, *TRADE)):
        row: dict[str, dict] = {}
        for arm in ARMS:
            row[arm] = {"estimate": float(values[arm][k]), "interval": bounds(drawn[arm][:, k])}
            if arm != "none":
                row[arm]["difference"] = float(values[arm][k] - values["none"][k])
                row[arm]["difference_interval"] = bounds(drawn[arm][:, k] - drawn["none"][:, k])
        out[name] = row | {"claimed": {"se": CLAIMED[name][0], "none": CLAIMED[name][1]}}
    return out


def main() -> None:
    """Train, trade, measure, and store the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()
    work = Parallel(n_jobs=args.jobs, return_as="generator")(
        delayed(run_seed)(seed) for seed in range(args.seeds)
    )
    runs: list = list(tqdm(work, total=args.seeds, unit="seed"))
    fold = prepare(candles.sample(), SETTING)
    last = fold.truth.dropna()
    stored = {
        "setting": {"n_bars": len(fold.bars)} | SETTING.learning(),
        "channels": list(CHANNELS),
        "test": {
            "first": str(runs[0]["none"].candles.index[0]),
            "last": str(runs[0]["none"].candles.index[-1]),
            "bars": len(runs[0]["none"].candles),
            "class_shares": labels.class_shares(last.iloc[fold.ends("test")[0] :]),
        },
        "trades": {arm: float(np.mean([len(closed(r[arm])) for r in runs])) for arm in ARMS},
        "buy_and_hold": runs[0]["none"].buy_and_hold.metrics(),
        "table": table(runs, args.samples, seed=0),
        "by_seed": {
            arm: {m: [r[arm].metrics()[m] for r in runs] for m in ("annual_return", "sharpe")}
            for arm in ARMS
        },
    }
    results.save(
        "se_sample", stored, command="make study STUDY=se_sample",
        seed=list(range(args.seeds)), seconds=time.perf_counter() - start,
        data=sample_file(), device=training.describe(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
