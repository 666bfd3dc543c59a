"""Bootstrap intervals, and the cost at which an edge dies.

Bars are drawn in stretches of random length, so that the dependence between neighbours is
kept. Source: Politis and Romano (1994), The Stationary Bootstrap; the work is ``arch``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from setrade import backtest, metrics
from setrade.backtest.result import instance
from setrade.costs import Costs
from setrade.errors import ArgumentError, array, flag, integer, number, paired

Statistic = Callable[[np.ndarray], "float | np.ndarray"]


@dataclass(frozen=True)
class ConfidenceInterval:
    """An estimate between its bounds; ``level`` is the share of bootstrap samples inside."""

    estimate: float
    low: float
    high: float
    level: float

    def __contains__(self, value: float) -> bool:
        """Say whether ``value`` lies between the bounds."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


def block_length(returns: np.ndarray) -> float:
    """Return the mean block length in periods that suits ``returns`` ``(T,)``, 1 to T / 4.

    Returns that do not vary, up to rounding, have no dependence to keep: 1.

    Source: Politis and White (2004), corrected by Patton, Politis and White (2009).
    """
    from arch.bootstrap import optimal_block_length

    x = metrics.scaled(array("returns", returns, ndim=1, min_length=8, ordered=True).astype(float))
    # The squared returns carry the clustering that the returns themselves hide; those of ±1 are
    # all alike, and say nothing.
    each = [v for v in (x, x**2) if metrics.spread(v) > 0]
    rule = [optimal_block_length(v)["stationary"].to_numpy(float)[0] for v in each]
    return float(np.clip(np.fmax.reduce(rule, initial=1.0), 1.0, len(x) / 4))


def resample(
    statistic: Statistic,
    returns: np.ndarray,
    *,
    seed: int,
    n_samples: int = 1000,
    block: float | None = None,
) -> np.ndarray:
    """Return ``statistic`` on ``n_samples`` reshuffled histories.

    Args:
        statistic: takes returns of the shape given, gives a number or a vector.
        returns: ``(T,)`` or ``(T, k)``; the rows of k series stay together.
        seed: of the draw.
        n_samples: how many histories.
        block: mean block length in periods; None: ``block_length`` of the (first) series.

    Returns:
        ``(n_samples, k)``, one row a history; k is 1 for a number.
    """
    from arch.bootstrap import StationaryBootstrap

    x = array("returns", returns, ordered=True).astype(float)
    if x.ndim > 2 or len(x) < 8:
        raise ArgumentError("returns", returns, "(T,) or (T, k) returns, 8 periods or more")
    n = integer("n_samples", n_samples, 10)
    length = block_length(x if x.ndim == 1 else x[:, 0]) if block is None else block
    length = number("block", length, 1.0, len(x))
    # arch takes fractional mean lengths, though its hint says int.
    draw = StationaryBootstrap(length, x, seed=integer("seed", seed, 0))  # type: ignore[arg-type]
    return np.atleast_2d(draw.apply(lambda v: np.atleast_1d(_told(statistic, v)), n))


def _told(statistic: Statistic, x: np.ndarray) -> np.ndarray:
    """Return what a statistic says of returns: a number or a vector of them, NaN allowed."""
    if not callable(statistic):
        raise ArgumentError("statistic", statistic, "a function of returns")
    said = np.asarray(statistic(x))
    if said.dtype.kind not in "biuf" or said.ndim > 1:
        allowed = "a function that gives a number, or a vector of them"
        raise ArgumentError("statistic", said, allowed)
    return said


def bounds(drawn: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return (k, 2) bounds of histories (n, k): infinities are very large, NaN does not count.

    A bound lies on the line between the two values next to it, and is one of the values where
    some are infinite. NaN where no history is defined.
    """
    drawn = array("drawn", drawn, ndim=2, finite=False).astype(float)
    level = number("level", level, 0, 1)
    cut = [(1 - level) / 2, (1 + level) / 2]
    out = np.full((drawn.shape[1], 2), np.nan)
    for row, values in enumerate(drawn.T):
        if (known := values[~np.isnan(values)]).size:
            method = "linear" if np.isfinite(known).all() else "inverted_cdf"
            out[row] = np.quantile(known, cut, method=method)
    return out


def interval(
    statistic: Statistic,
    returns: np.ndarray,
    *,
    seed: int,
    level: float = 0.95,
    n_samples: int = 1000,
    block: float | None = None,
) -> ConfidenceInterval:
    """Return a number computed on returns, with its percentile interval.

    Histories on which the number is undefined (NaN) count neither way, and bounds are NaN where
    it is undefined on all of them. A bound may be infinite: histories without a loss have an
    infinite profit factor. Arguments as in ``resample``; ``level`` is the share of histories
    between the bounds.
    """
    level = number("level", level, 0.5, 0.999)
    drawn = resample(statistic, returns, seed=seed, n_samples=n_samples, block=block)
    said = _told(statistic, array("returns", returns).astype(float))
    if said.size != 1:
        raise ArgumentError("statistic", said, "a function that gives one number")
    low, high = bounds(drawn, level)[0]
    return ConfidenceInterval(float(said.item()), float(low), float(high), level)


def t_interval(
    values: Iterable[float] | np.ndarray, level: float = 0.95
) -> tuple[float, float, float]:
    """Return mean, low and high of Student's interval over seeds or folds; of one no width.

    Values that are all equal have no width either.
    """
    if np.iterable(values) and not hasattr(values, "__len__"):
        values = list(values)
    x = array("values", values, ndim=1).astype(float)
    mean, error = float(x.mean()), float(metrics.spread(x)) / np.sqrt(len(x))
    if not error > 0:  # one value, or no spread
        return mean, mean, mean
    q = 0.5 + number("level", level, 0.5, 0.999) / 2
    half = float(error * student.ppf(q, len(x) - 1))
    return mean, mean - half, mean + half


def widened(
    estimate: float,
    low: float,
    high: float,
    n_folds: int | None = None,
    level: float = 0.95,
    *,
    tests: int = 1,
    students: bool = False,
) -> tuple[float, float]:
    """Return the bounds that few folds, or many tests, deserve in place of those of redrawing.

    Redrawing n folds spreads √((n - 1) / n) as widely as it should, and takes the normal's
    quantile where Student's with n - 1 degrees of freedom is due: 1.29 times as wide for 8 folds,
    2.7 for 3. With ``tests`` the error 1 - ``level`` is shared among so many intervals. Each bound
    moves away from ``estimate`` by the factor that both give; ``n_folds`` None: many. Bounds
    that are ``students`` already, of so many values, are moved for the tests alone.
    """
    level, tests = number("level", level, 0.5, 0.999), integer("tests", tests, 1)
    students = flag("students", students)
    for name, value in (("estimate", estimate), ("low", low), ("high", high)):
        array(name, [value], ndim=1, finite=False)
    if low > high:
        raise ArgumentError("low", low, f"at most ``high``, {high}")
    tails = [(1 - level) / 2, (1 - level) / 2 / tests]
    alone, wanted = norm.isf(tails)
    if n_folds is not None:
        n = integer("n_folds", n_folds, 2)
        of_student = student.isf(tails, n - 1)
        wanted = of_student[1]
        alone = of_student[0] if students else alone * np.sqrt((n - 1) / n)
    factor = float(wanted / alone)
    return estimate - factor * (estimate - low), estimate + factor * (high - estimate)


def paired_difference(
    statistic: Statistic,
    first: np.ndarray,
    second: np.ndarray,
    *,
    seed: int,
    level: float = 0.95,
    n_samples: int = 1000,
    block: float | None = None,
) -> ConfidenceInterval:
    """Return ``statistic(first) - statistic(second)`` with its interval, on the same histories.

    Both series ``(T,)`` are reshuffled alike, so what moves both cancels. Arguments as in
    ``interval``.
    """
    a = array("first", first, ndim=1, ordered=True).astype(float)
    b = array("second", second, ndim=1, ordered=True).astype(float)
    if len(a) != len(b):
        raise ArgumentError("second", second, f"{len(a)} returns, as many as the first has")
    paired("second", second, first)

    def difference(x: np.ndarray) -> np.ndarray:
        return _told(statistic, x[:, 0]) - _told(statistic, x[:, 1])

    both = np.column_stack([a, b])
    return interval(difference, both, seed=seed, level=level, n_samples=n_samples, block=block)


CURVE = ("annual_return", "volatility", "sharpe", "sortino", "calmar", "max_drawdown")
TRADES = ("win_rate", "profit_factor")


def metric_intervals(
    result: backtest.Result, *, seed: int, level: float = 0.95, n_samples: int = 1000
) -> pd.DataFrame:
    """Return each figure of a backtest with its bootstrap interval.

    Figures of the equity curve are computed on bars reshuffled in blocks, those of trades on
    trades drawn with replacement. Turnover, exposure, fees and funding say what was done rather
    than what was earned; their bounds are NaN.

    Args:
        result: of ``backtest.run``.
        seed: of the draws.
        level: share of histories between the bounds.
        n_samples: how many histories.

    Returns:
        A frame with one row a figure and the columns ``estimate low high``. With fewer than
        eight closed trades their bounds are NaN too, and with fewer than eight returns all.
    """
    if not isinstance(result, backtest.Result):
        raise ArgumentError("result", result, "a backtest.Result")
    level, n = number("level", level, 0.5, 0.999), integer("n_samples", n_samples, 10)
    seed = integer("seed", seed, 0)
    frame = pd.DataFrame({"estimate": result.metrics(), "low": np.nan, "high": np.nan})

    def of_curve(r: np.ndarray) -> np.ndarray:
        figures = metrics.from_returns(r, result.periods)
        return np.array([figures[name] for name in CURVE], float)

    returns = metrics.returns(result.equity.to_numpy())
    if len(returns) >= 8:
        drawn = resample(of_curve, returns, seed=seed, n_samples=n)
        frame.loc[list(CURVE), ["low", "high"]] = bounds(drawn, level)
    closed = result.trades[result.trades["reason"] != "open"]["pnl"].to_numpy()
    if len(closed) >= 8:

        def of_trades(p: np.ndarray) -> np.ndarray:
            return np.array([metrics.win_rate(p), metrics.profit_factor(p)])

        drawn = resample(of_trades, closed, seed=seed, n_samples=n, block=1.0)
        frame.loc[list(TRADES), ["low", "high"]] = bounds(drawn, level)
    return frame


def cost_sensitivity(
    candles: pd.DataFrame,
    position: object,
    fees_bps: Iterable[float],
    *,
    costs: Costs | None = None,
) -> pd.DataFrame:
    """Return the figures of one strategy at several taker fees.

    Args:
        candles: as ``backtest.run`` takes them.
        position: likewise.
        fees_bps: basis points of the traded value, per side.
        costs: everything but the fee; default ``Costs()``.

    Returns:
        One row a fee (index ``fee_bps``), the columns of ``backtest.METRICS``.
    """
    base = instance("costs", costs, Costs)
    listed = np.iterable(fees_bps) and not isinstance(fees_bps, str | bytes | dict)
    fees = [number("fees_bps", fee, 0) for fee in (fees_bps if listed else [])]
    if not fees:
        raise ArgumentError("fees_bps", fees, "at least one fee")
    rows = [
        backtest.run(candles, position, costs=replace(base, fee_bps=fee)).metrics() for fee in fees
    ]
    return pd.DataFrame(rows, index=pd.Index(fees, name="fee_bps"))


def break_even_fee(
    candles: pd.DataFrame, position: object, *, costs: Costs | None = None, high: float = 100.0
) -> float:
    """Return the taker fee in basis points per side at which a strategy earns nothing.

    Args:
        candles: as ``backtest.run`` takes them.
        position: likewise.
        costs: everything but the fee, slippage included; default ``Costs()``.
        high: largest fee that is tried.

    Returns:
        The fee to 0.01; 0 where it earns nothing without any (or never trades), infinite where
        it still earns at ``high``.
    """
    base, bottom, top = instance("costs", costs, Costs), 0.0, number("high", high, 0, above=True)

    def earns(fee: float) -> bool:
        run = backtest.run(candles, position, costs=replace(base, fee_bps=fee))
        return float(run.equity.iloc[-1]) > 1.0

    if not earns(bottom):
        return 0.0
    if earns(top):
        return float("inf")
    while top - bottom > 0.01:
        middle = (bottom + top) / 2
        bottom, top = (middle, top) if earns(middle) else (bottom, middle)
    return round((bottom + top) / 2, 2)
