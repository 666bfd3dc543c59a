"""A backtest's figures, each with its interval, and the cost at which an edge dies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from setrade import backtest, metrics
from setrade.costs import Costs
from setrade.errors import ArgumentError, integer, number

from .bootstrap import resample

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
    base, fees = costs or Costs(), [number("fees_bps", fee, 0) for fee in fees_bps]
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
    base, bottom, top = costs or Costs(), 0.0, number("high", high, 0, above=True)

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
