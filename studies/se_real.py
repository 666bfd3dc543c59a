"""SE against none and the five squeezes on real Bybit bars: the seed's own table, walked forward.

    SETRADE_DATA=<folder> make study STUDY=se_real

Hourly BTCUSDT perpetual bars from 2020-03. Eight folds test 2022-01 to 2024-12 side by side; each
trains on all bars before (expanding) and stops early on the quarter of a year before its test.
All settings were fixed on synthetic markets (chapter 05; of the rates 0.0005, 0.002, 0.005 and 0.01
the first lost least on validation there): nothing was tuned on these bars. Beside the nets stand
baselines: class shares, ridge, logistic, boosted trees on the same windows, momentum, reversal,
buy and hold. Every position pays fees, slippage and Bybit's own funding. About 25 minutes on two
cores; ``--seeds`` asks for fewer.
Every run is a line of ``_build/studies/se_real.jsonl``; a study that was cut short goes on.
"""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np
import pandas as pd

from setrade import evidence, metrics
from setrade.evidence.claims import Measured
from setrade.evidence.claims import verdict as held_against
from setrade.study import Data, grid, summary
from setrade.study.baselines import SEEDLESS
from setrade.study.command import arguments, carry_out, finish, settled
from setrade.study.experiment import BASELINES, CHANNELS, SQUEEZES, Setting
from setrade.study.store import FUNDING, HOURS, Row, RunConfig

FEE = 5.5  # bps a side


# Of the money rows of the ledger: without SE, with it; annual return, Sharpe ratio, drawdown.
CLAIMED = {
    "annual_return": (0.312, 0.473, 0.1), "sharpe": (1.21, 1.84, 0.5),
    "max_drawdown": (-0.264, -0.187, 0.1),
}  # fmt: skip
CHARGED = {
    "gross": "daily_gross",
    "fees": "daily_fees",
    "slippage": "daily_slippage",
    "net": "daily",
}


def everything(n_seeds: int, n_folds: int) -> tuple[list[RunConfig], list[RunConfig]]:
    """Return the configurations of the nets and of the baselines, which may know no seed."""

    def runs(view: str, models: tuple[str, ...], seeds: int) -> list[RunConfig]:
        return grid(
            data=["1h"], view=[view], model=models, seed=range(seeds), fold=range(n_folds),
            fee_bps=[FEE],
        )  # fmt: skip

    beside: list[RunConfig] = []
    for view, models in BASELINES.items():
        for model in models:
            beside += runs(view, (model,), 1 if model in SEEDLESS else n_seeds)
    return runs("channels", SQUEEZES, n_seeds), beside


def against_baselines(rows: list[Row], others: list[Row]) -> dict:
    """Return the baselines' table with their distances to no SE, and every model year by year."""
    every = summary.each_seed([*rows, *others])
    names = list(dict.fromkeys(row["config"]["model"] for row in others))
    table = summary.table(every, "model", "none")
    return {
        "models": names,
        "table": {figure: {n: row[n] for n in names} for figure, row in table.items()},
        "waterfall": summary.waterfall(every, "model"),
        "rank_correlation_by_year": summary.by_year(every, "model"),
    }


def after_each_cost(rows: list[Row]) -> dict:
    """Return, cost by cost, the money rows' verdicts, and how many the last cost changes."""
    words: dict[str, dict[str, str]] = {}
    for step, returns in CHARGED.items():
        table = summary.table(rows, "model", "none", returns=returns)
        for name, (without, with_se, precise) in CLAIMED.items():
            gap = table[name]["mean"]["difference"]
            asked = (
                ("none", "interval", without, table[name]["none"]),
                ("mean", "interval", with_se, table[name]["mean"]),
                ("gain", "interval", with_se - without, gap),
                ("better", "above", 0.0, gap),
            )
            for row, rule, said, found in asked:
                measured = Measured(found["estimate"], found["low"], found["high"])
                word = held_against(rule, said, measured, precise)
                words.setdefault(f"{name} {row}", {})[step] = word
    changed = {step: sum(word[step] != word["net"] for word in words.values()) for step in CHARGED}
    return {"verdicts": words, "changed": changed, "rows": len(words)}


def verdict(rows: list[dict], bars: pd.DataFrame) -> dict:
    """Return the table, what searching cost, and when the edge dies."""
    names, daily = summary.cube(rows, "model", "daily")
    _, gross = summary.cube(rows, "model", "daily_gross")
    _, turnover = summary.cube(rows, "model", "turnover")
    mean = daily.mean(axis=1)  # (models, days): all seeds together
    none = names.index("none")
    against = {
        "cash": np.zeros(daily.shape[-1]),
        "none": mean[none],
    }
    others = {"cash": mean, "none": np.delete(mean, none, axis=0)}
    return {
        "models": names,
        "table": summary.table(rows, "model", "none"),
        "superior_ability": {
            name: asdict(evidence.superior_ability(base, others[name].T, seed=0))
            for name, base in against.items()
        },
        "break_even_bps": {
            # what a side may cost so that the mean daily gross return pays the turnover
            name: float(1e4 * gross[m].mean() * 365 / turnover[m].mean())
            for m, name in enumerate(names)
        },
        "gross_annual_return": {
            name: float(metrics.annual_return(gross[m], 365.0).mean())
            for m, name in enumerate(names)
        },
        "buy_and_hold": buy_and_hold(bars),
        "waterfall": summary.waterfall(rows, "model"),
        "after_each_cost": after_each_cost(rows),
        "learned": summary.learned(rows, "model"),
        "pairs": pairs(rows),
        "accuracy_spread": accuracy_spread(rows),
        "best_seed_sharpe": {
            name: float(np.nanmax(metrics.sharpe(daily[m], 365.0))) for m, name in enumerate(names)
        },
    }


def pairs(rows: list[dict]) -> dict:
    """Return how far SE and none lie apart in one fold and seed: least, mean and largest."""
    names, accuracy = summary.cube(rows, "model", "accuracy")
    gap = accuracy[names.index("mean")] - accuracy[names.index("none")]
    return {"least": float(gap.min()), "mean": float(gap.mean()), "largest": float(gap.max())}


def accuracy_spread(rows: list[dict]) -> dict:
    """Return standard deviations: of true accuracies of folds, of seeds within a fold; all nets."""
    _, accuracy = summary.cube(rows, "model", "accuracy")  # (models, seeds, folds)
    within = accuracy.var(axis=1, ddof=1).mean()
    means = accuracy.mean(axis=1).var(axis=-1, ddof=1).mean()  # these still hold some of within
    return {
        "folds": float(np.sqrt(means - within / accuracy.shape[1])),
        "seeds": float(within**0.5),
    }


def buy_and_hold(bars: pd.DataFrame) -> dict:
    """Return return a year, Sharpe and drawdown of hourly closes over the tested span.

    ``sharpe_of_last_15_percent`` is that of the last 15 % of them, the test of a 70/15/15 split.
    """
    close = bars["close"].loc["2022":"2024"].to_numpy()
    returns, hours = metrics.returns(close), 365 * 24.0
    last = returns[int(0.85 * len(returns)) :]
    return {
        "annual_return": float(metrics.annual_return(returns, hours)),
        "sharpe": float(metrics.sharpe(returns, hours)),
        "sharpe_of_last_15_percent": float(metrics.sharpe(last, hours)),
        "max_drawdown": float(metrics.max_drawdown(returns)),
    }


def main() -> None:
    """Run what is missing, then store the table."""
    args, start, setting = arguments(__doc__, seeds=10), time.perf_counter(), Setting()
    data, funding = Data.of(args.data / HOURS), Data.of(args.data / FUNDING)
    nets, beside = everything(args.seeds, setting.n_folds)
    store, report = carry_out("se_real", args, [*nets, *beside], data, setting, funding)
    if settled("se_real", report, store):
        return
    rows = store.of(nets)
    judged = verdict(rows, data.read())
    stored = {
        "channels": CHANNELS,
        **judged,
        "tries": summary.tries(store, "model", beside=BASELINES),
    }
    stored["baselines"] = against_baselines(rows, store.of(beside))
    finish("se_real", stored, report, store, seeds=args.seeds, start=start)


if __name__ == "__main__":
    main()
