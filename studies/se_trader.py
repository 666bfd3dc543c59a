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
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy import stats
from tqdm import tqdm

from setrade import backtest, candles, channels, labels, results, training
from setrade.costs import Costs
from setrade.models import SETrader

CHANNELS = (
    "roc", "rsi", "macd_hist", "bollinger_percent_b", "bollinger_width", "atr",
    "volume", "volume_ma", "obv", "adx",
)  # fmt: skip
ARMS = {
    "none": {"squeeze": None},
    "input": {"squeeze": "mean", "gate": "input"},
    "encoded": {"squeeze": "mean", "gate": "encoded"},
}
MEASURES = ("accuracy", "ic", "annual_return", "sharpe", "turnover")


@dataclass(frozen=True)
class Setting:
    """Everything that is fixed; bars throughout."""

    n_bars: int = 60_000
    lookback: int = 48
    horizon: int = 16
    hidden: int = 16
    lr: float = 5e-4
    num_epochs: int = 12
    patience: int = 4
    batch_size: int = 512
    quantile: float = 0.8  # act on the strongest fifth of the scores, seen on validation


@dataclass(frozen=True)
class Problem:
    """One market, ready to train on."""

    bars: pd.DataFrame
    x: pd.DataFrame  # standardised channels
    returns: pd.Series
    truth: pd.Series  # 0 sell, 1 hold, 2 buy
    split: labels.Split
    setting: Setting

    def windows(self, part: str) -> training.WindowSet:
        """Return the windows of "train", "validation" or "test"."""
        ends = getattr(self.split, part)
        return training.WindowSet(self.x, self.truth, ends, self.setting.lookback)


def prepare(bars: pd.DataFrame, setting: Setting, targets: pd.DataFrame | None = None) -> Problem:
    """Return channels scaled on training rows, labels and the purged 70/15/15 split.

    ``targets``: other candles of the same length to take the future from (the control).
    """
    x = channels.compute(bars, scale_free=True)[list(CHANNELS)]
    first = int(x.notna().all(axis=1).argmax())
    returns = labels.forward_return(bars if targets is None else targets, setting.horizon)
    returns.index = bars.index
    split = labels.chronological(
        len(bars), lookback=setting.lookback, horizon=setting.horizon, first=first
    )
    x = channels.Standardizer().fit(x.iloc[first : split.train[-1] + 1]).transform(x)
    return Problem(bars, x, returns, labels.sell_hold_buy(returns), split, setting)


def train(problem: Problem, arm: str, seed: int, **options) -> SETrader:
    """Return one trained net; nets of one seed start from the same weights outside the block."""
    setting = problem.setting
    training.seed_everything(seed)
    net = SETrader(len(CHANNELS), hidden=setting.hidden, **(ARMS[arm] | options))
    plan = training.Plan(
        num_epochs=setting.num_epochs, lr=setting.lr, patience=setting.patience,
        batch_size=setting.batch_size, seed=seed,
    )  # fmt: skip
    parts = problem.windows("train"), problem.windows("validation")
    training.fit(net, *parts, plan=plan, progress=False)
    return net


def probabilities(net: SETrader, problem: Problem, part: str) -> np.ndarray:
    """Return the net's probabilities (m, 3) on the windows of one part."""
    return training.predict(net, problem.windows(part)).softmax(1).double().numpy()


def positions(problem: Problem, validation: np.ndarray, test: np.ndarray) -> pd.Series:
    """Return the position wanted after each test bar: -1 or +1 on a strong score, else kept.

    The score is P(buy) - P(sell); strong: above the ``quantile`` of its size on validation.
    """
    score, level = test[:, 2] - test[:, 0], validation[:, 2] - validation[:, 0]
    strong = np.abs(score) > np.quantile(np.abs(level), problem.setting.quantile)
    wanted = pd.Series(np.where(strong, np.sign(score), np.nan))
    wanted.index = problem.bars.index[problem.split.test]
    return wanted.ffill().fillna(0.0)


def trade(problem: Problem, wanted: pd.Series) -> backtest.Result:
    """Return the backtest of ``wanted`` on the test bars, at default costs."""
    bars = problem.bars.loc[wanted.index[0] :]
    return backtest.run(bars, wanted.reindex(bars.index).ffill(), costs=Costs())


def judge(net: SETrader, problem: Problem) -> dict[str, float]:
    """Return what a net did on the test bars."""
    validation = probabilities(net, problem, "validation")
    test = probabilities(net, problem, "test")
    ends = problem.split.test
    money = trade(problem, positions(problem, validation, test)).metrics()
    score, ahead = test[:, 2] - test[:, 0], problem.returns.to_numpy()[ends]
    return {
        "accuracy": float((test.argmax(1) == problem.truth.to_numpy()[ends]).mean()),
        "ic": float(np.asarray(stats.spearmanr(score, ahead))[0]),
        **{name: float(money[name]) for name in ("annual_return", "sharpe", "turnover")},
    }


def run_seed(seed: int, setting: Setting, control: bool) -> dict[str, dict[str, float]]:
    """Return the measures of every arm on the market of one seed."""
    torch.set_num_threads(1)
    bars = candles.synthetic(setting.n_bars, seed=seed).candles
    other = candles.synthetic(setting.n_bars, seed=10_000 + seed).candles if control else None
    problem = prepare(bars, setting, other)
    rows = {arm: judge(train(problem, arm, seed), problem) for arm in ARMS}
    share = problem.truth.to_numpy()[problem.split.test]
    rows["majority"] = {"accuracy": float(np.bincount(share.astype(int)).max() / len(share))}
    return rows


def interval(values: np.ndarray) -> dict[str, float]:
    """Return mean, 95 % t interval and the Wilcoxon signed-rank p of paired differences."""
    mean, error = values.mean(), stats.sem(values)
    half = stats.t.ppf(0.975, len(values) - 1) * error
    p = np.asarray(stats.wilcoxon(values))[1]
    return {"mean": mean, "low": mean - half, "high": mean + half, "wilcoxon_p": float(p)}


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
        "setting": asdict(setting),
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
