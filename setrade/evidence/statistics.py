"""Bootstrap intervals, the cost at which an edge dies, and tests that count every try.

Bars are drawn in stretches of random length, so that the dependence between neighbours is
kept. Source: Politis and Romano (1994), The Stationary Bootstrap; the work is ``arch``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import kurtosis, norm, skew

from setrade import backtest, metrics
from setrade.backtest.result import instance
from setrade.costs import Costs
from setrade.errors import ArgumentError, array, integer, number

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
    """Return the mean block length in periods that suits ``returns`` ``(T,)``, at least 1.

    Source: Politis and White (2004), corrected by Patton, Politis and White (2009).
    """
    from arch.bootstrap import optimal_block_length

    x = array("returns", returns, ndim=1, min_length=8).astype(float)
    if np.ptp(x) == 0:
        return 1.0
    # The squared returns carry the clustering that the returns themselves hide.
    best = max(optimal_block_length(v)["stationary"].to_numpy(float)[0] for v in (x, x**2))
    return float(np.clip(np.nan_to_num(best, nan=1.0), 1.0, len(x) / 4))


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

    x = array("returns", returns).astype(float)
    if x.ndim > 2 or len(x) < 8:
        raise ArgumentError("returns", returns, "(T,) or (T, k) returns, 8 periods or more")
    n = integer("n_samples", n_samples, 10)
    length = block_length(x if x.ndim == 1 else x[:, 0]) if block is None else block
    length = number("block", length, 1.0, len(x))
    # arch takes fractional mean lengths, though its hint says int.
    draw = StationaryBootstrap(length, x, seed=integer("seed", seed, 0))  # type: ignore[arg-type]
    return np.atleast_2d(draw.apply(lambda v: np.atleast_1d(statistic(v)), n))


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

    Histories on which the number is undefined (NaN) count neither way. Arguments as in
    ``resample``; ``level`` is the share of histories between the bounds.
    """
    level = number("level", level, 0.5, 0.999)
    drawn = resample(statistic, returns, seed=seed, n_samples=n_samples, block=block)[:, 0]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return ConfidenceInterval(
        float(statistic(np.asarray(returns, float))), float(low), float(high), level
    )


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
    a = array("first", first, ndim=1).astype(float)
    b = array("second", second, ndim=1).astype(float)
    if len(a) != len(b):
        raise ArgumentError("second", second, f"{len(a)} returns, as many as the first has")

    def difference(x: np.ndarray) -> float:
        return float(statistic(x[:, 0])) - float(statistic(x[:, 1]))

    both = np.column_stack([a, b])
    return interval(difference, both, seed=seed, level=level, n_samples=n_samples, block=block)


CURVE = ("annual_return", "volatility", "sharpe", "sortino", "calmar", "max_drawdown")
TRADES = ("win_rate", "profit_factor")


def _bounds(drawn: np.ndarray, level: float) -> np.ndarray:
    """Return (k, 2) bounds of histories (n, k); infinities count as very large, NaN not at all."""
    cut = [(1 - level) / 2, (1 + level) / 2]
    out = np.full((drawn.shape[1], 2), np.nan)
    for row, values in enumerate(drawn.T):
        if (known := values[~np.isnan(values)]).size:
            out[row] = np.quantile(known, cut, method="inverted_cdf")
    return out


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
        eight closed trades their bounds are NaN too.
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
    drawn = resample(of_curve, returns, seed=seed, n_samples=n)
    frame.loc[list(CURVE), ["low", "high"]] = _bounds(drawn, level)
    closed = result.trades[result.trades["reason"] != "open"]["pnl"].to_numpy()
    if len(closed) >= 8:

        def of_trades(p: np.ndarray) -> np.ndarray:
            return np.array([metrics.win_rate(p), metrics.profit_factor(p)])

        drawn = resample(of_trades, closed, seed=seed, n_samples=n, block=1.0)
        frame.loc[list(TRADES), ["low", "high"]] = _bounds(drawn, level)
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
    base, fees = instance("costs", costs, Costs), list(fees_bps) if np.iterable(fees_bps) else []
    fees = [number("fees_bps", fee, 0) for fee in fees]
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
        The fee to 0.01; 0 where it loses without any, infinite where it earns at ``high``.
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


# ---- What searching costs.
#
# Try enough strategies and one of them looks good. What follows says how good the best of so
# many would look if none had any skill.


EULER = float(np.euler_gamma)


def _returns(name: str, value: object, ndim: int = 1) -> np.ndarray:
    """Return finite returns as float64, time first, at least eight periods long."""
    x = array(name, value).astype(float)
    if x.ndim != ndim or len(x) < 8:
        raise ArgumentError(name, value, f"returns with {ndim} axes, time first, 8 periods or more")
    return x


def sharpe(returns: np.ndarray) -> float:
    """Return the Sharpe ratio per period of returns ``(T,)``; NaN when they do not vary."""
    x = _returns("returns", returns)
    # Equal returns have a deviation of some 1e-18, not 0: compare them instead.
    return float(x.mean() / x.std(ddof=1)) if np.ptp(x) > 0 else float("nan")


def probabilistic_sharpe(returns: np.ndarray, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio exceeds ``benchmark``.

    Args:
        returns: ``(T,)`` fractions per period.
        benchmark: Sharpe ratio per period (not annual) to beat.

    Returns:
        A probability; NaN when the returns do not vary.

    Source: Bailey and López de Prado (2012), The Sharpe Ratio Efficient Frontier, eq. 11.
    """
    x = _returns("returns", returns)
    benchmark = number("benchmark", benchmark)
    s = sharpe(x)
    variance = 1 - skew(x) * s + (kurtosis(x, fisher=False) - 1) / 4 * s**2
    return float(norm.cdf((s - benchmark) * np.sqrt((len(x) - 1) / variance)))


def expected_best_sharpe(n_trials: int, variance: float) -> float:
    """Return the Sharpe ratio that the best of ``n_trials`` skill-less trials is expected to show.

    Args:
        n_trials: how many configurations were tried, at least 2.
        variance: variance, across the trials, of their Sharpe ratios per period.

    Returns:
        A Sharpe ratio per period.

    Source: Bailey and López de Prado (2014), The Deflated Sharpe Ratio, eq. 1.
    """
    n = integer("n_trials", n_trials, 2)
    scale = np.sqrt(number("variance", variance, 0.0))
    return float(scale * ((1 - EULER) * norm.ppf(1 - 1 / n) + EULER * norm.ppf(1 - 1 / (n * np.e))))


def deflated_sharpe(returns: np.ndarray, n_trials: int, variance: float) -> float:
    """Return the probability that a strategy chosen among ``n_trials`` has any skill.

    It is `probabilistic_sharpe` against what luck alone would show. Arguments and source as in
    ``expected_best_sharpe``; ``returns`` are those of the chosen strategy.
    """
    return probabilistic_sharpe(returns, expected_best_sharpe(n_trials, variance))


def overfitting_probability(returns: np.ndarray, n_blocks: int = 16) -> float:
    """Return how often the best strategy of one half of time is below the median in the other.

    Args:
        returns: ``(T, n_strategies)`` fractions per period, at least two strategies.
        n_blocks: even number of stretches that time is cut into (2 to 20); every half of
            them serves once for choosing. A remainder of T is cut off at the old end.

    Returns:
        A fraction: near 0.5 where choosing is worth nothing, near 0 where it is.

    Source: Bailey, Borwein, López de Prado and Zhu (2017), The Probability of Backtest
    Overfitting, algorithm 2.3 (CSCV).
    """
    x = _returns("returns", returns, ndim=2)
    blocks = integer("n_blocks", n_blocks, 2, 20)
    if blocks % 2 or x.shape[0] < 2 * blocks or x.shape[1] < 2:
        raise ArgumentError("n_blocks", n_blocks, "an even number, two periods or more a block")
    size = len(x) // blocks
    x = x[len(x) - size * blocks :].reshape(blocks, size, -1)
    inside = np.zeros((len(list(combinations(range(blocks), blocks // 2))), blocks))
    for row, chosen in enumerate(combinations(range(blocks), blocks // 2)):
        inside[row, list(chosen)] = 1
    score, check = (_sharpe_of(x, half) for half in (inside, 1 - inside))
    best = score.argmax(axis=1)
    rank = (check <= np.take_along_axis(check, best[:, None], axis=1)).sum(axis=1)
    return float((rank / (x.shape[2] + 1) <= 0.5).mean())


def _sharpe_of(blocks: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return Sharpe ratios ``(n_choices, n_strategies)`` over unions of blocks."""
    n = chosen.sum(axis=1, keepdims=True) * blocks.shape[1]
    mean = chosen @ blocks.sum(axis=1) / n
    square = chosen @ (blocks**2).sum(axis=1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = mean / np.sqrt(np.maximum(square - mean**2, 0))
    return np.nan_to_num(ratio, nan=0.0, posinf=np.inf, neginf=-np.inf)


@dataclass(frozen=True)
class SuperiorAbility:
    """P-values of Hansen's test that no model beats the benchmark."""

    lower: float
    consistent: float
    upper: float


def superior_ability(
    benchmark: np.ndarray, models: np.ndarray, *, seed: int, reps: int = 1000
) -> SuperiorAbility:
    """Test whether the best of many models beats a benchmark, the search counted in.

    Args:
        benchmark: ``(T,)`` returns of the benchmark, fractions per period.
        models: ``(T, n_models)`` returns of every model that was tried, not only the best.
        seed: of the stationary bootstrap.
        reps: bootstrap samples.

    Returns:
        Three p-values; the consistent one is the one to read.

    Source: Hansen (2005), A Test for Superior Predictive Ability; the work is ``arch``'s.
    """
    from arch.bootstrap import SPA

    base, tried = _returns("benchmark", benchmark), _returns("models", models, ndim=2)
    if len(base) != len(tried):
        raise ArgumentError("models", models, f"{len(base)} periods, as many as the benchmark has")
    # SPA compares losses: a loss is a return with its sign changed.
    test = SPA(-base, -tried, reps=integer("reps", reps, 100), seed=integer("seed", seed, 0))
    test.compute()
    values = test.pvalues
    lower, consistent, upper = (float(v) for v in np.asarray(values))
    return SuperiorAbility(lower, consistent, upper)
