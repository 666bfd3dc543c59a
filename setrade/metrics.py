"""Every performance figure, from returns, an equity curve and a list of trades.

A year has 365 days: crypto markets do not close. Functions of returns work along the last
axis, so that a bootstrap hands over all its resamples at once. Conventions agree with
empyrical: sample standard deviation (ddof 1), risk-free rate zero.

What has no answer is NaN, and is never a large number. Returns that are all equal up to rounding
have volatility 0 and no Sharpe ratio: without risk there is nothing to divide by, and the
infinity of x/0 would win every comparison. Ratios to losses (Sortino, Calmar, profit factor) are
infinite where something was gained and nothing lost, and NaN where neither happened.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array, number, timed

YEAR = 365 * 86_400_000_000_000  # ns
# Spread below which returns count as all equal: relative to the largest, and of what rounding
# leaves behind where returns are worked out from an equity curve. Those that single precision
# holds exactly may come from it, whose rounding is 2^29 times as coarse.
NOISE, ROUNDING, COARSE = 1e-12, 1e-14, 2.0**29


class Drawdown(NamedTuple):
    """The deepest fall: its depth (zero or negative) and the bars where it began and ended."""

    depth: float
    peak: pd.Timestamp
    trough: pd.Timestamp
    recovery: pd.Timestamp | None


def _ratio(top: Any, bottom: Any) -> Any:
    """Return top / bottom; x/0 is infinite, 0/0 is NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.asarray(top, float) / np.asarray(bottom, float))[()]


def _checked(returns: Any, periods: float) -> tuple[np.ndarray, float]:
    """Return the arguments that every function of returns shares, checked."""
    return _array("returns", returns).astype(float), number("periods", periods, 0.0, above=True)


def _array(name: str, value: Any, min_length: int = 1) -> np.ndarray:
    """Return returns or equity (..., n); a frame has time on its other axis, and is refused."""
    if isinstance(value, pd.DataFrame):
        raise ArgumentError(name, value, "time on the last axis: frame.to_numpy().T, or one column")
    return array(name, value, min_length=min_length, ordered=True)


def scaled(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return x over the power of two next to its largest size: squares neither vanish nor overflow.

    The division is exact, so whatever does not depend on the scale stays the same to the last bit.
    """
    return np.ldexp(x, -_power(x, axis))


def _power(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the exponents of the largest sizes along an axis, which is kept."""
    return np.frexp(np.abs(x).max(axis=axis, keepdims=True))[1]


def periods_per_year(index: pd.DatetimeIndex) -> float:
    """Return how many bars a year of 365 days has; the bar's length is the median step.

    Raises:
        ArgumentError: not a rising DatetimeIndex of at least two stamps.
    """
    if not isinstance(index, pd.DatetimeIndex) or len(index) < 2:
        raise ArgumentError("index", index, "a DatetimeIndex of at least two bars")
    timed("index", index)
    step = float(np.median(np.diff(index.as_unit("ns").asi8)))
    return YEAR / step


def returns(equity: Any) -> np.ndarray:
    """Return simple returns (..., n − 1) of equity curves (..., n), float32 for a float32 curve.

    Raises:
        ArgumentError: NaN, fewer than two points, a start that is not positive, or equity that
            is negative or rises from zero (a ruined account stays ruined: returns 0 from there).
    """
    given = _array("equity", equity, min_length=2)
    x = given.astype(np.float64)
    before, after = x[..., :-1], x[..., 1:]
    if (x[..., 0] <= 0).any() or (x < 0).any() or ((before == 0) & (after > 0)).any():
        raise ArgumentError("equity", float(x.min()), "positive equity; once zero, zero for good")
    change = np.divide(after, before, out=np.ones_like(after), where=before > 0) - 1.0
    return change.astype(np.float32) if given.dtype in (np.float16, np.float32) else change


def _whole(r: np.ndarray) -> np.ndarray:
    """Return returns that compound: an account cannot lose more than everything, -1."""
    if r.min() < -1:
        raise ArgumentError("returns", float(r.min()), "numbers >= -1, a total loss")
    return r


def annual_return(returns: Any, periods: float) -> Any:
    """Return the yearly rate that compounds to the same end: (prod(1 + r))^(periods / n) − 1.

    −1 after a total loss; infinite where a few bars compound beyond any float. Returns below −1
    are refused: they don't compound.
    """
    r, periods = _checked(returns, periods)
    _whole(r)
    with np.errstate(over="ignore"):  # a few lucky bars compound beyond any float: infinite
        return (np.prod(1.0 + r, axis=-1) ** (periods / r.shape[-1]) - 1.0)[()]


def spread(r: np.ndarray) -> Any:
    """Return the sample standard deviation of returns (..., n), as (...).

    NaN for one return; exactly zero where they are all equal up to rounding.
    """
    if r.shape[-1] < 2:
        return np.full(r.shape[:-1], np.nan)[()]
    std = np.ldexp(scaled(r).std(axis=-1, ddof=1), _power(r)[..., 0])
    size = np.abs(r).max(axis=-1)
    coarse = 1.0
    if (std <= COARSE * NOISE * size).any():
        with np.errstate(over="ignore"):
            coarse = np.where((r == r.astype(np.float32)).all(axis=-1), COARSE, 1.0)
    least = np.where(((1.0 + r) - 1.0 == r).all(axis=-1), ROUNDING / 3, 0.0)  # as 1 + r rounds
    rounding = np.minimum(coarse * ROUNDING, np.maximum(least, 1e-3 * size))  # less: no accident
    return np.where(std <= np.maximum(coarse * NOISE * size, rounding), 0.0, std)[()]


def volatility(returns: Any, periods: float) -> Any:
    """Return the yearly standard deviation, ddof 1; 0 for equal returns, NaN for a single one."""
    r, periods = _checked(returns, periods)
    return spread(r) * np.sqrt(periods)


def sharpe(returns: Any, periods: float) -> Any:
    """Return mean over standard deviation of the returns, times √periods (Sharpe 1994).

    NaN where returns do not vary: an account that never traded, or that grows (or shrinks) by the
    same rate, has no Sharpe ratio; nor has a single return.
    """
    r, periods = _checked(returns, periods)
    risk = spread(r)
    return _ratio(r.mean(axis=-1) * np.sqrt(periods), np.where(risk > 0, risk, np.nan))


def sortino(returns: Any, periods: float) -> Any:
    """Return mean over downside deviation √mean(min(r, 0)²), times √periods (Sortino 1994).

    Infinite without a loss, NaN without gain or loss; finite for equal losses, −√periods.
    """
    r, periods = _checked(returns, periods)
    losses = np.minimum(r, 0.0)
    downside = np.ldexp(np.sqrt(np.mean(scaled(losses) ** 2, axis=-1)), _power(losses)[..., 0])
    return _ratio(r.mean(axis=-1) * np.sqrt(periods), downside)


def max_drawdown(returns: Any) -> Any:
    """Return the deepest fall from a peak, zero or negative; the start counts as a peak.

    0 where equity never falls, −1 for a total loss. Returns below −1 are refused.
    """
    r = _whole(_array("returns", returns)).astype(np.float64)
    with np.errstate(over="ignore"):
        curve = np.cumprod(1.0 + r, axis=-1)
    if not np.isfinite(curve[..., -1]).all():  # lucky bars compound beyond any float
        with np.errstate(divide="ignore"):
            level = np.cumsum(np.log1p(r), axis=-1)
        peak = np.maximum(np.maximum.accumulate(level, axis=-1), 0.0)
        return np.minimum(np.expm1(level - peak).min(axis=-1), 0.0)[()]
    peak = np.maximum(np.maximum.accumulate(curve, axis=-1), 1.0)
    return np.minimum((curve / peak - 1.0).min(axis=-1), 0.0)[()]


def calmar(returns: Any, periods: float) -> Any:
    """Return the annual return over the size of the deepest fall.

    Infinite where equity never falls, NaN where it never moves; −1 for a total loss.
    """
    return _ratio(annual_return(returns, periods), np.abs(max_drawdown(returns)))


def _profits(value: Any) -> np.ndarray:
    """Return the profits of trades (k,); none is allowed, NaN is not."""
    nothing = isinstance(value, list | tuple | np.ndarray | pd.Series) and not len(value)
    return np.empty(0) if nothing else array("profits", value, ndim=1)


def win_rate(profits: Any) -> float:
    """Return the share of trades that earned more than zero; NaN without trades.

    A trade that earned exactly nothing counts as a trade and not as a win.
    """
    p = _profits(profits)
    return float(_ratio((p > 0).sum(), p.size))


def profit_factor(profits: Any) -> float:
    """Return gains over losses; infinite without a loss, NaN without trades, gain or loss."""
    p = _profits(profits)
    p = scaled(p.astype(float)) if p.size else p  # the sum of large profits is no infinity
    return float(_ratio(p[p > 0].sum(), -p[p < 0].sum() + 0.0))


def _timed(equity: Any) -> pd.Series:
    """Return an equity curve on a DatetimeIndex, checked as `returns` does."""
    if not isinstance(equity, pd.Series):
        raise ArgumentError("equity", equity, "a Series on a DatetimeIndex")
    timed("equity", equity)
    returns(equity)
    return equity.astype(np.float64)


def drawdown(equity: pd.Series) -> Drawdown:
    """Return the deepest fall of an equity curve with its dates.

    Args:
        equity: Series on a DatetimeIndex, positive at its start.

    Returns:
        Depth, the last peak before it, the trough, and the first bar back at the peak's level
        (None: not recovered). A curve that never falls has depth 0 and its first bar twice.
    """
    curve = _timed(equity).to_numpy(np.float64)
    depth = curve / np.maximum.accumulate(curve) - 1.0
    trough = int(depth.argmin())
    peak = trough - int(curve[: trough + 1][::-1].argmax())
    back = np.flatnonzero(curve[trough:] >= curve[peak])
    when = list(equity.index[[peak, trough, trough + back[0]] if len(back) else [peak, trough]])
    return Drawdown(float(depth[trough]), when[0], when[1], when[2] if len(back) else None)


def from_returns(returns: Any, periods: float) -> dict[str, Any]:
    """Return the six figures that need returns only, each (...) for returns (..., n)."""
    alone = (annual_return, volatility, sharpe, sortino)
    figures = {f.__name__: f(returns, periods) for f in alone}
    depth = max_drawdown(returns)
    ratio = _ratio(figures["annual_return"], np.abs(depth))  # `calmar`, of what is known already
    return figures | {"calmar": ratio, "max_drawdown": depth}


def monthly_returns(equity: pd.Series) -> pd.DataFrame:
    """Return returns by year (rows) and month (columns 1 to 12); NaN where there is no bar.

    A ruined account returns 0 in the months after its ruin.
    """
    index = _timed(equity).index.tz_localize(None)  # type: ignore[attr-defined]
    ends = equity.groupby(index.to_period("M")).last()
    change = returns(np.r_[equity.iloc[0], ends.to_numpy(float)])
    months = pd.PeriodIndex(ends.index)
    table = pd.Series(change, [months.year, months.month]).unstack()
    return table.reindex(columns=range(1, 13)).rename_axis(index="year", columns="month")
