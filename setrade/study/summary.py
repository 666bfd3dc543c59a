"""From runs to a table: folds joined into one history, then intervals over seeds and days.

A figure moves for two reasons: another seed draws other weights, other days hold other markets.
Every redrawn history takes seeds with replacement, the same for all models, so that differences
are paired. `MONEY` takes stretches of days as well (stationary bootstrap); `FORECAST` and `LEDGER`
are known fold by fold, and take whole folds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from itertools import groupby, product
from typing import Any

import numpy as np
from scipy import stats

from setrade import evidence, metrics
from setrade.backtest import STEPS
from setrade.evidence import t_interval as t_interval
from setrade.study.store import Row, Store, StudyError

DAYS = 365.0  # a year
FORECAST = ("accuracy", "precision", "recall", "f1", "ic")
MONEY = ("annual_return", "sharpe", "max_drawdown")
LEDGER = ("win_rate", "profit_factor")
FIGURES = (*FORECAST, *MONEY, *LEDGER)
BLOCK = 10.0  # days, on average


def cube(rows: Sequence[Row], axis: str, value: str) -> tuple[list[Any], np.ndarray]:
    """Return the axis' values in order, and (values, seeds, folds, ...) of one measure.

    Lists of unequal length, such as ``daily``, come joined over the folds: (values, seeds, days).

    Raises:
        StudyError: a run failed or is missing; the first is named.
    """
    names = list(dict.fromkeys(row["config"][axis] for row in rows))
    seeds, folds = (sorted({row["config"][x] for row in rows}) for x in ("seed", "fold"))
    found = {
        (r["config"][axis], r["config"]["seed"], r["config"]["fold"]): r["measures"][value]
        for r in rows
        if r["status"] == "ok"
    }
    asked = product(names, seeds, folds)
    if lost := next((one for one in asked if one not in found), None):
        raise StudyError(f"no run of {axis}, seed, fold = {lost}: run the study again")
    table = [np.hstack([found[n, s, fold] for fold in folds]) for n in names for s in seeds]
    return names, np.array(table, float).reshape(len(names), len(seeds), -1)


def _money(daily: np.ndarray) -> np.ndarray:
    """Return (models, 3): figures of `MONEY`, each the mean over seeds, of (models, seeds, T)."""
    annual, sharpe = metrics.annual_return(daily, DAYS), metrics.sharpe(daily, DAYS)
    each = np.stack([annual, sharpe, metrics.max_drawdown(daily)], axis=1)
    known = ~np.isnan(each)  # NaN: it never traded; NaN for all seeds stays NaN
    count, total = known.sum(axis=2), np.where(known, each, 0.0).sum(axis=2)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _ledger(books: np.ndarray) -> np.ndarray:
    """Return (models, 2): win rate and profit factor of (4, models, seeds, folds) sums."""
    trades, wins, gain, loss = books.sum(axis=(2, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([wins / trades, gain / loss], axis=1)


def draws(
    rows: Sequence[Row], axis: str, *, seed: int, n_samples: int, returns: str = "daily"
) -> np.ndarray:
    """Return (1 + n_samples, models, figures): the estimate first, then redrawn histories."""
    _, daily = cube(rows, axis, returns)
    forecast = np.stack([cube(rows, axis, name)[1] for name in FORECAST])
    books = np.stack([cube(rows, axis, name)[1] for name in ("trades", "wins", "gain", "loss")])
    n_models, n_seeds, n_days = daily.shape
    rng = np.random.default_rng(seed)

    def figures(days: np.ndarray, seeds: np.ndarray, folds: np.ndarray) -> np.ndarray:
        of_class = forecast[:, :, seeds][:, :, :, folds].mean(axis=(2, 3)).T
        of_trades = _ledger(books[:, :, seeds][:, :, :, folds])
        return np.concatenate([of_class, _money(days[:, seeds]), of_trades], axis=1)

    def redrawn(days: np.ndarray) -> np.ndarray:
        seeds = rng.integers(0, n_seeds, n_seeds)
        folds = rng.integers(0, forecast.shape[-1], forecast.shape[-1])
        return figures(days.T.reshape(n_models, n_seeds, -1), seeds, folds).ravel()

    flat = daily.reshape(-1, n_days).T
    drawn = evidence.resample(redrawn, flat, seed=seed, n_samples=n_samples, block=BLOCK)
    truth = figures(daily, np.arange(n_seeds), np.arange(forecast.shape[-1]))
    return np.concatenate([truth[None], drawn.reshape(n_samples, n_models, -1)])


def tries(store: Store, axis: str, *, beside: Collection[str] = ()) -> dict[str, Any]:
    """Return every try that a store holds, asked for or not: the deflated Sharpe ratio counts all.

    Runs of the views in ``beside`` are benchmarks that nobody would choose, and no tries.

    Returns:
        ``sharpes``: Sharpe ratio a day by "<value of axis>/<seed>"; ``best``: the ``name`` of the
        try with the largest, and its ``daily`` returns; ``effective``: how many different bets
        the tries were (`evidence.effective_tries`). A try that never traded has ratio NaN, and
        is not the best.

    Raises:
        StudyError: no try has a Sharpe ratio.
    """
    every: dict[str, np.ndarray] = {}
    asked = [row for row in store.done().values() if row["config"].get("view") not in beside]
    rows = sorted(asked, key=lambda row: str(row["config"][axis]))
    for name, mine in groupby(rows, lambda row: row["config"][axis]):
        group = list(mine)
        seeds = sorted({row["config"]["seed"] for row in group})
        _, daily = cube(group, axis, "daily")
        every |= {f"{name}/{seed}": x for seed, x in zip(seeds, daily[0], strict=True)}
    sharpes = {label: evidence.sharpe(x) for label, x in every.items()}
    traded = {label: x for label, x in sharpes.items() if not np.isnan(x)}
    if not traded:
        raise StudyError(f"none of {len(sharpes)} tries has a Sharpe ratio: none traded")
    best = max(traded, key=lambda label: traded[label])
    # Tries of other spans than the best one's cannot be set beside it day by day.
    same = [x for x in every.values() if len(x) == len(every[best])]
    effective = evidence.effective_tries(np.stack(same, axis=1)) if len(same) > 1 else 1
    found = {"name": best, "daily": every[best].tolist()}
    return {"sharpes": sharpes, "best": found, "effective": effective}


def each_seed(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with those of models that know no seed, run with seed 0, for every seed."""
    seeds = sorted({row["config"]["seed"] for row in rows})
    names = {row["config"]["model"] for row in rows if row["config"]["seed"]}
    alone = [row for row in rows if row["config"]["model"] not in names]
    copies = [row | {"config": row["config"] | {"seed": s}} for row in alone for s in seeds]
    return [row for row in rows if row["config"]["model"] in names] + (copies if names else alone)


def waterfall(rows: Sequence[Row], axis: str) -> dict[str, dict[str, float]]:
    """Return, by model, the mean gross return a year and what each cost took; they sum to net.

    Means of daily returns times 365, over seeds and days.
    """
    names, net = cube(rows, axis, "daily")
    steps = [cube(rows, axis, f"daily_{step}")[1] for step in ("gross", "fees", "slippage")]
    means = np.array([DAYS * x.mean(axis=(1, 2)) for x in (*steps, net)])  # (4, models)
    turn = np.concatenate([means[:1], np.diff(means, axis=0), means[-1:]])
    labels = (*STEPS, "net")
    return {
        str(n): dict(zip(labels, turn[:, m].tolist(), strict=True)) for m, n in enumerate(names)
    }


def by_year(rows: Sequence[Row], axis: str) -> dict[str, dict[str, float]]:
    """Return, by model and year, the rank correlation: bars-weighted over folds, then seeds."""
    sums: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        years = sums.setdefault(str(row["config"][axis]), {})
        for year, (ic, n) in row["measures"]["by_year"].items():
            # a correlation that was not defined is stored as null, and leaves its year undefined
            years[year] = years.get(year, np.zeros(2)) + np.array([ic, 1.0], float) * n
    return {name: {y: float(t / n) for y, (t, n) in years.items()} for name, years in sums.items()}


def learned(rows: Sequence[Row], axis: str) -> dict[str, dict[str, Any]]:
    """Return, by model, what best validation losses say against those of a constant forecast.

    Returns:
        ``gain`` (above zero: the constant forecast, class shares or one position, lost more) and
        ``epochs``, one a run; ``gates``: rank correlation of mean gates before training with those
        after, one a run; ``interval`` of the mean gain; ``over_seeds``: the fields of
        `evidence.learned`, each seed the mean of its folds, absent with one seed.
    """
    out: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if "val_loss" in row["measures"]:
            groups.setdefault(str(row["config"][axis]), []).append(row)
    for name, mine in groups.items():
        runs = [row["measures"] for row in mine]
        gain = [round(r["constant_loss"] - min(r["val_loss"]), 6) for r in runs]
        gated = [r for r in runs if "gates_start" in r]
        out[name] = {
            "gain": gain, "epochs": [r["best_epoch"] for r in runs],
            "gates": [_order_kept(r["gates_start"], r["gates_end"]) for r in gated],
            "interval": t_interval(gain), **_over_seeds(mine, bool(gated)),
        }  # fmt: skip
    return out


def _order_kept(start: list[float], end: list[float]) -> float:
    pair = np.corrcoef(stats.rankdata([start, end], axis=1))
    return round(float(pair[0, 1]), 4)


def _over_seeds(rows: Sequence[Row], gated: bool) -> dict[str, Any]:
    """Return what `evidence.learned` says of one model's runs; {} where one seed has run."""
    seeds = sorted({row["config"]["seed"] for row in rows})
    if len(seeds) < 2:
        return {}
    mine = [[r["measures"] for r in rows if r["config"]["seed"] == seed] for seed in seeds]
    losses = [np.mean([min(r["val_loss"]) for r in runs]) for runs in mine]
    constant = float(np.mean([r["constant_loss"] for r in mine[0]]))
    gates: Any = None
    if gated:
        ends = ("gates_start", "gates_end")
        gates = tuple(
            np.array([np.mean([r[end] for r in runs], 0) for runs in mine]) for end in ends
        )
    return {"over_seeds": asdict(evidence.learned(losses, constant, gates=gates))}


def table(
    rows: Sequence[Row],
    axis: str,
    baseline: Any,
    *,
    seed: int = 0,
    n_samples: int = 2_000,
    returns: str = "daily",
) -> dict[str, dict[str, Any]]:
    """Return, by figure and model, estimate and interval, and the paired difference to a baseline.

    The rows, all of one study, differ in ``axis``, seed and fold only; ``baseline`` is one of the
    values of ``axis``; ``returns`` names the measure that money is counted from.

    Returns:
        ``{figure: {model: {"estimate", "low", "high", "difference": {the same} or None}}}``.
    """
    names, _ = cube(rows, axis, "accuracy")
    every = draws(rows, axis, seed=seed, n_samples=n_samples, returns=returns)
    to_base = every - every[:, [names.index(baseline)]]
    out: dict[str, dict[str, Any]] = {}
    for k, figure in enumerate(FIGURES):
        for m, name in enumerate(names):
            row: dict[str, Any] = interval(every[0, m, k], every[1:, m, k])
            gap = interval(to_base[0, m, k], to_base[1:, m, k])
            row["difference"] = None if name == baseline else gap
            out.setdefault(figure, {})[str(name)] = row
    return out


def interval(estimate: float, drawn: np.ndarray) -> dict[str, float]:
    """Return an estimate with the 95 % bounds of its redrawn values; undefined ones do not count.

    Histories without a loss have an infinite profit factor, and a bound may be that.
    """
    low, high = evidence.bounds(drawn[:, None])[0]
    return {"estimate": float(estimate), "low": float(low), "high": float(high)}
