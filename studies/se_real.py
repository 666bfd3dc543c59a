"""SE against none and the five squeezes on real Bybit bars: the seed's own table, walked forward.

    SETRADE_DATA=<folder> make study STUDY=se_real

Hourly BTCUSDT perpetual bars from 2020-03. Eight folds test 2022-01 to 2024-12 side by side; each
trains on all bars before (expanding) and stops early on the quarter of a year before its test.
All settings were fixed on synthetic markets (chapter 05): nothing was tuned on these bars.
Every run is a line of ``_build/studies/se_real.jsonl``; a study that was cut short goes on.
"""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np
import pandas as pd

from setrade import evidence, metrics
from setrade.study import Data, grid, summary
from setrade.study.command import arguments, carry_out, finish, settled
from setrade.study.experiment import CHANNELS, SQUEEZES, Setting
from setrade.study.store import HOURS

FEE = 5.5  # bps a side


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
    """Return return a year, Sharpe and drawdown of hourly closes over the tested span."""
    close = bars["close"].loc["2022":"2024"].to_numpy()
    returns, hours = metrics.returns(close), 365 * 24.0
    return {
        "annual_return": float(metrics.annual_return(returns, hours)),
        "sharpe": float(metrics.sharpe(returns, hours)),
        "max_drawdown": float(metrics.max_drawdown(returns)),
    }


def main() -> None:
    """Run what is missing, then store the table."""
    args, start, setting = arguments(__doc__, seeds=10), time.perf_counter(), Setting()
    data = Data.of(args.data / HOURS)
    configs = grid(
        data=["1h"], view=["channels"], model=SQUEEZES, seed=range(args.seeds),
        fold=range(setting.n_folds), fee_bps=[FEE],
    )  # fmt: skip
    store, report = carry_out("se_real", args, configs, data, setting)
    if settled("se_real", report, store):
        return
    judged = verdict(store.of(configs), data.read())
    stored = {"channels": CHANNELS, **judged, "tries": summary.tries(store, "model")}
    finish("se_real", stored, report, store, seeds=args.seeds, start=start)


if __name__ == "__main__":
    main()
