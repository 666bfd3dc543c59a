"""Many runs over one market: parameter sets in one call on all cores; one cost after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from setrade import metrics
from setrade.backtest.engine import LEDGER, new_accounts, simulate_many
from setrade.backtest.result import (
    METRICS,
    Result,
    check_tick,
    check_within,
    instance,
    market,
    plain,
    position_array,
    run,
)
from setrade.costs import FREE, Costs
from setrade.errors import ArgumentError, array, flag, number, same_index
from setrade.risk import Risk

OPTIONS = ("series", "threshold", "size")
COSTS = ("fee_bps", "maker_fee_bps", "slippage_bps")
RISK = ("stop_atr", "take_profit", "max_leverage", "daily_loss", "max_jump", "max_stale")
MAX_SCORE = 1e300
NUMBERS = {"integer", "floating", "mixed-integer-float", "empty"}  # empty: None alone, rule off


def grid(**values: Any) -> pd.DataFrame:
    """Return every combination of the values, one row a set: ``grid(threshold=[1, 2], ...)``.

    Raises:
        ArgumentError: a name that `run_many` does not know, or an empty list.
    """
    lists: dict[str, list[Any]] = {}
    for name, options in values.items():
        _known(name)
        lists[name] = list(options) if np.iterable(options) else []  # an iterator gives once
        if isinstance(options, str | bytes | Mapping) or not lists[name]:
            raise ArgumentError(name, options, "a list of at least one value")
    return pd.DataFrame(list(product(*lists.values())), columns=list(lists))


def _known(name: Any) -> None:
    known = (*OPTIONS, *COSTS, *RISK)
    if name not in known:
        raise ArgumentError("sets", name, "columns among " + " ".join(known))


def run_many(
    candles: pd.DataFrame,
    scores: Any,
    sets: pd.DataFrame | Mapping[str, Any],
    *,
    costs: Costs | None = None,
    funding: pd.Series | None = None,
    risk: Risk | None = None,
    rebalance: bool = False,
    order: str = "taker",
    equity: float = 1.0,
    curves: bool = False,
) -> pd.DataFrame | tuple[pd.DataFrame, np.ndarray]:
    """Backtest many parameter sets over shared scores, on all cores, in one compiled call.

    Memory grows with the bars (and the scores handed in), not with bars times sets, unless
    ``curves`` asks for the equity curves. Each row equals what `run` gives for that set.

    Args:
        candles: (n bars) that pass `candles.check`.
        scores: (n,) or (k, n), or a Series on the candles' index; known after each close.
        sets: one row a set. Columns, all optional: ``series`` (which row of scores),
            ``threshold`` (position = size · sign(score) where \\|score\\| is above it; left out
            or NaN, the score itself is the position), ``size`` (default 1), ``fee_bps``,
            ``maker_fee_bps``, ``slippage_bps``, ``stop_atr``, ``take_profit``,
            ``max_leverage``, ``daily_loss``, ``max_jump``, ``max_stale`` (NaN: rule off).
        costs, funding, risk, rebalance, order, equity: as `run`, for what ``sets`` leaves out.
        curves: also return equity (sets, n).

    Returns:
        The sets' columns, then ``final_equity``, ``trades`` and the figures of `METRICS`;
        with ``curves`` a pair of that and the curves.

    Raises:
        CandleError, ArgumentError: as `run`; a set that no `Costs` or `Risk` would accept is
            named by its row.
    """
    costs, risk = instance("costs", costs, Costs), instance("risk", risk, Risk)
    table = _sets(sets)
    needs = {
        f"needs_{what}": name in table or getattr(risk, name) is not None
        for what, name in (("atr", "stop_atr"), ("days", "daily_loss"))
    }
    m = market(candles, funding, risk, **needs)
    check_tick(costs, m)
    rebalance, curves = flag("rebalance", rebalance), flag("curves", curves)
    rows = np.atleast_2d(array("scores", scores, finite=False))
    stamps = getattr(scores, "columns", None)
    if isinstance(stamps, pd.DatetimeIndex) and not same_index(stamps, candles.index):
        raise ArgumentError("scores", scores, "columns that are the candles' own index")
    if rows.ndim != 2:
        raise ArgumentError("scores", scores, "(n,), or (k, n): one row a series")
    single = isinstance(scores, pd.Series)
    rows = np.stack([
        position_array(scores if single else row, candles.index, name="scores") for row in rows
    ])  # fmt: skip
    for row in rows:
        check_within(row, candles.index, MAX_SCORE, "scores")
    series, options = _options(table, rows, risk, rebalance)
    rules = np.array([list(r.rules()) for r in _parameters(table, RISK, risk)])
    rates = np.array([list(c.rates(order)) for c in _parameters(table, COSTS, costs)])
    accounts = new_accounts(len(table), number("equity", equity, 0.0, above=True))
    out = np.empty((len(table), len(candles) if curves else 0))
    scratch = np.empty(len(table), LEDGER)
    simulate_many(accounts, plain(rows), series, m, rules, rates, options, scratch, out)
    figures = summary(accounts, equity, len(candles), candles.index)
    joined = pd.concat([table, figures], axis=1)
    return (joined, out) if curves else joined


def _sets(sets: Any) -> pd.DataFrame:
    """Return the sets as a frame of numbers with known columns and at least one row."""
    try:
        table = pd.DataFrame(sets).reset_index(drop=True)
        kinds = {pd.api.types.infer_dtype(column, skipna=True) for _, column in table.items()}
        if not kinds <= NUMBERS:  # text, truth or spans of time would pass for numbers
            raise TypeError(f"not numbers: {kinds - NUMBERS}")
        table = table.astype(np.float64)
    except (ValueError, TypeError, AttributeError) as error:
        raise ArgumentError("sets", sets, "a table of numbers, one row a set") from error
    for name in table.columns:
        _known(name)
    if table.empty or not table.columns.is_unique or np.isinf(table.to_numpy()).any():
        raise ArgumentError("sets", sets, "at least one row of finite numbers, columns named once")
    return table


def _parameters(table: pd.DataFrame, names: tuple[str, ...], default: Any) -> list[Any]:
    """Return one `Costs` or `Risk` a set; each validates itself, the error names the row."""
    fields = {name: getattr(default, name) for name in default.__dataclass_fields__}
    used = [name for name in names if name in table]
    made: dict[tuple, Any] = {}
    out = []
    for place, row in enumerate(table[used].to_numpy()):
        key = tuple(None if np.isnan(v) else float(v) for v in row)
        if key not in made:
            values: dict[str, Any] = dict(zip(used, key, strict=True))
            if (stale := values.get("max_stale")) is not None and stale.is_integer():
                values["max_stale"] = int(stale)
            try:
                made[key] = type(default)(**(fields | values))
            except ArgumentError as error:
                name = f"sets: row {place}: {error.name}"
                raise ArgumentError(name, error.value, error.allowed) from error
        out.append(made[key])
    return out


def _options(
    table: pd.DataFrame, scores: np.ndarray, risk: Risk, rebalance: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return which score each set reads (sets,), and its `FillOptions` as numbers (sets, 4)."""
    zeros = pd.Series(0.0, table.index)
    series, size = table.get("series", zeros), table.get("size", zeros + 1.0)
    threshold = table.get("threshold", zeros * np.nan)
    bad = ~series.isin(range(len(scores)))
    if bad.any():
        raise ArgumentError("series", series[bad].iloc[0], f"integers in [0, {len(scores) - 1}]")
    if (threshold < 0).any():
        raise ArgumentError("threshold", threshold.min(), "numbers >= 0, or NaN")
    if not ((size > 0) & (size <= risk.max_position)).all():
        raise ArgumentError("size", size.max(), f"numbers in (0, {risk.max_position:g}]")
    for row in series[threshold.isna()].unique().astype(int):
        array("scores", scores[row])
        if np.abs(scores[row]).max() > risk.max_position:
            allowed = f"positions in [{-risk.max_position:g}, {risk.max_position:g}] (no threshold)"
            raise ArgumentError("scores", float(np.abs(scores[row]).max()), allowed)
    columns = [threshold.fillna(-1.0), size, zeros + rebalance, zeros]
    return series.to_numpy(np.int64), np.column_stack(columns)


def summary(accounts: np.ndarray, start: float, n: int, index: pd.Index) -> pd.DataFrame:
    """Return the figures of `METRICS` from the sums that the loop kept; one row an account."""
    a, periods = accounts, metrics.periods_per_year(index)  # type: ignore[arg-type]
    count = n - 1
    mean = a["return_sum"] / count
    spread = a["return_squares"] / count - mean**2
    sample = count / (count - 1) if count > 1 else np.nan
    # Sums know a spread to some 1e-16 of the mean square: less than that are equal returns.
    spread = np.where(spread > 1e-13 * a["return_squares"] / count, spread, 0.0)
    deviation = np.sqrt(spread * sample)
    downside = np.sqrt(a["downside_squares"] / count)
    closed = a["trades"] - (a["units"] != 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        annual = (a["equity"] / start) ** (periods / count) - 1.0
        columns = {
            "final_equity": a["equity"], "trades": a["trades"].astype(int),
            "annual_return": annual, "volatility": deviation * np.sqrt(periods),
            "sharpe": mean * np.sqrt(periods) / np.where(deviation > 0, deviation, np.nan),
            "sortino": mean * np.sqrt(periods) / downside,
            "calmar": annual / -a["drawdown"], "max_drawdown": a["drawdown"],
            "win_rate": a["wins"] / closed, "profit_factor": a["gains"] / a["losses"],
            "turnover": a["traded"] * periods / count, "exposure": a["held"] / n,
            "fees": a["fees"], "funding": a["funding"],
        }  # fmt: skip
    return pd.DataFrame(columns)[["final_equity", "trades", *METRICS]]


# ---- One account, charged step by step.


STEPS = ("gross", "fees", "slippage", "funding")


def cost_steps(
    candles: pd.DataFrame,
    position: Any,
    *,
    costs: Costs | None = None,
    funding: pd.Series | None = None,
    **options: Any,
) -> dict[str, Result]:
    """Run one strategy four times, each run with one cost more than the run before.

    Args:
        candles, position, costs, funding: as `run`; without ``funding`` the last two runs are one.
        options: what else `run` takes, the same for all four.

    Returns:
        By the names of `STEPS`: no cost; fees; fees and slippage; these and funding.
    """
    charged = instance("costs", costs, Costs)
    fees_only = replace(charged, slippage_bps=0.0)
    made = {
        name: run(candles, position, costs=level, **options)
        for name, level in zip(STEPS[:3], (FREE, fees_only, charged), strict=True)
    }
    last = made["slippage"]
    if funding is not None:
        last = run(candles, position, costs=charged, funding=funding, **options)
    return made | {"funding": last}


def waterfall(
    candles: pd.DataFrame,
    position: Any,
    *,
    costs: Costs | None = None,
    funding: pd.Series | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Return what each cost takes from a strategy, as mean bar returns times bars a year.

    Args:
        candles, position, costs, funding, options: as `cost_steps`.

    Returns:
        Rows ``gross``, ``fees``, ``slippage``, ``funding``, ``interaction``, ``net``. Column
        ``in_turn``: each cost charged on top of those before it; the rows above ``net`` sum to
        it and nothing interacts. Column ``alone``: each cost charged by itself; what they take
        together beside that is ``interaction`` (small while an account is far from ruin).
    """
    charged = instance("costs", costs, Costs)
    steps = cost_steps(candles, position, costs=charged, funding=funding, **options)
    mean = {name: _a_year(result) for name, result in steps.items()}
    gross, net = mean["gross"], mean["funding"]
    levels = (replace(charged, slippage_bps=0.0), replace(FREE, slippage_bps=charged.slippage_bps))
    single = [_a_year(run(candles, position, costs=level, **options)) for level in levels]
    rent = 0.0
    if funding is not None:
        rent = _a_year(run(candles, position, costs=FREE, funding=funding, **options)) - gross
    alone = [gross, *(value - gross for value in single), rent]
    turn = [gross, *np.diff(list(mean.values()))]
    columns = {"in_turn": [*turn, 0.0, net], "alone": [*alone, net - sum(alone), net]}
    return pd.DataFrame(columns, index=[*STEPS, "interaction", "net"])


def _a_year(result: Result) -> float:
    """Return the mean return of a bar times the bars in a year; zero after ruin."""
    return float(metrics.returns(result.curves[0]).mean() * result.periods)
