"""Several assets in one account: weights become orders, and plain ways to choose the weights.

Weights are fractions of equity, one column an asset: what is wanted after bar t is filled at the
open of t + 1, as everywhere. An asset without a price (NaN) at a bar can be neither held nor traded
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from setrade import metrics
from setrade.compiled import kernel
from setrade.costs import Costs
from setrade.errors import ArgumentError, array, flag, number, paired, same_index, timed

ALLOWED = "prices above 0 by asset, NaN where an asset is not listed"


@dataclass(frozen=True)
class Performance:
    """What an account of several assets came to, bar by bar, each (n,).

    That is equity at the close, fees (slippage included) and funding paid, turnover over equity.
    """

    equity: pd.Series
    fees: pd.Series
    funding: pd.Series
    turnover: pd.Series

    def metrics(self) -> dict[str, float]:
        """Return `metrics.from_returns` of the equity, with fees, funding and turnover a year."""
        periods = metrics.periods_per_year(pd.DatetimeIndex(self.equity.index))
        found = metrics.from_returns(metrics.returns(self.equity), periods)
        a_year = periods / len(self.equity)
        sums = {"fees": self.fees, "funding": self.funding, "turnover": self.turnover}
        return found | {name: float(x.sum()) * a_year for name, x in sums.items()}


@kernel(error_model="numpy")
def _ledger(opens, closes, weights, rates, rate, equity, out):
    """Write equity, fees, funding and turnover of each bar; one pass, no copies.

    Fees come out of what is left to hold: targets are set on equity before fees, and cash, which
    may be negative, takes the difference.
    """
    n, m = closes.shape
    units, cash, dead = np.zeros(m), equity, False
    for t in range(n):
        paid = 0.0
        for i in range(m):
            if units[i] != 0.0:
                paid += units[i] * opens[t, i] * rates[t, i]
        cash -= paid
        worth = cash
        for i in range(m):
            if units[i] != 0.0:
                worth += units[i] * opens[t, i]
        if not worth > 0.0:
            dead, cash = True, 0.0
            units[:] = 0.0
        fees = traded = 0.0
        if t > 0 and not dead:
            for i in range(m):
                want = weights[t - 1, i]
                if want == 0.0 and units[i] == 0.0:
                    continue
                goal = want * worth / opens[t, i] if want != 0.0 else 0.0
                value = (goal - units[i]) * opens[t, i]
                cash -= value + abs(value) * rate
                fees += abs(value) * rate
                traded += abs(value)
                units[i] = goal
        left = cash
        for i in range(m):
            if units[i] != 0.0:
                left += units[i] * closes[t, i]
        if not dead and not left > 0.0:
            dead, cash, left = True, 0.0, 0.0
            units[:] = 0.0
        out[t, 0], out[t, 1], out[t, 2] = left, fees, paid
        out[t, 3] = traded / worth if worth > 0.0 else 0.0


def _prices(name: str, value: Any, beside: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return a table of prices with time and assets, or raise what is wrong with it."""
    if not isinstance(value, pd.DataFrame):
        raise ArgumentError(name, value, f"a DataFrame of {ALLOWED}")
    timed(name, value, even=True)
    x = array(name, value, ndim=2, finite=False).astype(np.float64)
    if len(x) < 2 or not value.columns.is_unique:
        raise ArgumentError(name, value, "at least two bars, each asset once")
    if (x <= 0).any() or np.isinf(x).any():
        raise ArgumentError(name, value, ALLOWED)
    if beside is not None:
        _numbers(name, value, beside)
    return pd.DataFrame(x, value.index, value.columns)


def _numbers(name: str, value: Any, beside: pd.DataFrame, finite: bool = False) -> np.ndarray:
    """Return numbers (n, m) of the bars and assets of other tables, or raise what is wrong."""
    same = isinstance(value, pd.DataFrame) and list(value.columns) == list(beside.columns)
    if not same or not same_index(timed(name, value).index, beside.index):
        raise ArgumentError(name, value, "the bars and assets of the prices, in their order")
    return array(name, value, ndim=2, finite=finite).astype(np.float64)


def run(
    weights: pd.DataFrame,
    opens: pd.DataFrame,
    closes: pd.DataFrame,
    *,
    costs: Costs | None = None,
    funding: pd.DataFrame | None = None,
    equity: float = 1.0,
) -> Performance:
    """Play weights over bars: what is wanted after bar t is set at the open of t + 1, each bar.

    Args:
        weights: fractions of equity (n, m), finite; negative is short. Bars are rebalanced to
            them, drift and all: hold a row still by giving the drifted weights.
        opens, closes: prices (n, m) of the same bars and assets; NaN where an asset is not listed.
        costs: taker fee and slippage of each order; none: ``Costs()``.
        funding: rates (n, m) paid at a bar's open on what was held into it, or None.
        equity: at the start. Ruined, the account stays at 0.

    Raises:
        ArgumentError: tables that do not go together, NaN in weights, or a weight on an asset that
            has no price where it is bought, held or sold.
    """
    first = _prices("opens", opens)
    last = _prices("closes", closes, first)
    wanted = _numbers("weights", weights, first, finite=True)
    paid = 0 * first.fillna(0.0) if funding is None else funding
    rates = _numbers("funding", paid, first, finite=True)
    _listed(wanted, first, last)
    if costs is not None and not isinstance(costs, Costs):
        raise ArgumentError("costs", costs, "a Costs, or None for the usual ones")
    charged, out = (costs or Costs()).rates(), np.empty((len(first), 4))
    start = number("equity", equity, 0.0, above=True)
    prices = np.ascontiguousarray(first.to_numpy()), np.ascontiguousarray(last.to_numpy())
    _ledger(*prices, wanted, rates, charged.fee + charged.slippage, start, out)
    return Performance(*(pd.Series(x, first.index) for x in out.T))


def _listed(wanted: np.ndarray, opens: pd.DataFrame, closes: pd.DataFrame) -> None:
    """Raise where a weight stands on an asset that has no price from its fill to its sale."""
    held = wanted[:-1] != 0
    gone = np.isnan(opens.to_numpy())
    missing = held & (gone[1:] | np.isnan(closes.to_numpy())[1:])
    missing[1:] |= held[:-1] & gone[2:]
    if missing.any():
        bar, asset = (int(x) for x in np.argwhere(missing)[0])
        where = f"{opens.columns[asset]} has no price where it is held after {opens.index[bar]}"
        raise ArgumentError("weights", wanted[bar, asset], f"0 where an asset is absent: {where}")


# ---- Plain ways to choose weights, from returns (n, m) of the past.


def _covariance(covariance: Any) -> np.ndarray:
    """Return a symmetric matrix with positive variances; a frame's rows are as its columns."""
    if isinstance(covariance, pd.DataFrame) and list(covariance) != list(covariance.index):
        raise ArgumentError("covariance", covariance, "the same assets in rows and columns")
    c = array("covariance", covariance, ndim=2).astype(np.float64)
    if c.shape[0] != c.shape[1] or not np.allclose(c, c.T, rtol=1e-8, atol=0):
        raise ArgumentError("covariance", covariance, "a symmetric matrix")
    if (np.diag(c) <= 0).any():
        raise ArgumentError("covariance", float(np.diag(c).min()), "variances above 0")
    return c


def from_gates(gates: Any, base: Any = None, *, short: bool = False) -> np.ndarray:
    """Return weights (n, m) of gates (n, m) in [0, 1]: base times gates, scaled to 1 in sum.

    ``base`` (n, m) or (m,) is not negative, 1 in sum, 0 where an asset is absent; None: all alike.
    With ``short`` they are twice the base times what a gate lies above the mean gate: 0 in sum, at
    most 1 in absolute sum, and nothing where gates are all alike. Other numbers: `ArgumentError`,
    and so are other assets or stamps where gates and base both have them.
    """
    g = array("gates", gates, ndim=2, ordered=True).astype(np.float64)
    if isinstance(gates, pd.DataFrame) and isinstance(base, pd.DataFrame | pd.Series):
        names = base.columns if isinstance(base, pd.DataFrame) else base.index
        if list(names) != list(gates.columns):
            raise ArgumentError("base", base, f"the assets of the gates: {list(gates.columns)}")
    paired("base", base, gates)
    b = np.full(g.shape[1], 1 / g.shape[1]) if base is None else array("base", base)
    if b.shape not in (g.shape, g.shape[1:]) or b.min() < 0 or not np.allclose(b.sum(-1), 1):
        raise ArgumentError("base", base, f"{g.shape}, from 0 on, rows that sum to 1")
    if g.min() < 0 or g.max() > 1 or not (flag("short", short) or (b * g).sum(1).min() > 0):
        raise ArgumentError("gates", gates, "(n, m) in [0, 1], and above 0 somewhere where long")
    level = (b * g).sum(1, keepdims=True)
    return 2 * b * (g - level) if short else b * g / level


def inverse_volatility(covariance: Any) -> np.ndarray:
    """Return weights (m,) that sum to 1, each in proportion to 1 over an asset's volatility."""
    inverse = 1 / np.sqrt(np.diag(_covariance(covariance)))
    return inverse / inverse.sum()


def minimum_variance(covariance: Any) -> np.ndarray:
    """Return the weights (m,) of least variance that sum to 1; they may be short.

    Raises:
        ArgumentError: a covariance that is singular, as that of fewer bars than assets is: shrink
            it first, with scikit-learn's ``LedoitWolf``, say.
    """
    c = _covariance(covariance)
    values = np.linalg.eigvalsh(c)
    if values[0] <= 1e-12 * values[-1]:
        raise ArgumentError("covariance", float(values[0]), "eigenvalues above 0: shrink it first")
    x = np.linalg.solve(c, np.ones(len(c)))
    return x / x.sum()


def hierarchical_risk_parity(covariance: Any) -> np.ndarray:
    """Return weights (m,) that sum to 1, split from the top of a tree of alike assets.

    Source: M. López de Prado, Building Diversified Portfolios that Outperform Out of Sample,
    Journal of Portfolio Management 42 (2016); single linkage of scipy.
    """
    c = _covariance(covariance)
    spread = np.sqrt(np.diag(c))
    alike = np.clip(c / np.outer(spread, spread), -1, 1)
    weights = np.ones(len(c))
    if len(c) == 1:
        return weights
    apart = np.sqrt((1 - alike) / 2)
    np.fill_diagonal(apart, 0.0)
    between = squareform(np.sqrt(((apart[:, None] - apart[None]) ** 2).sum(-1)), checks=False)
    groups, w = [leaves_list(linkage(between, "single"))], 1 / np.diag(c)
    while groups:
        order = groups.pop()
        if len(order) < 2:
            continue
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        risk = [w[h] @ c[np.ix_(h, h)] @ w[h] / w[h].sum() ** 2 for h in halves]
        share = risk[1] / (risk[0] + risk[1])
        weights[halves[0]] *= share
        weights[halves[1]] *= 1 - share
        groups += halves
    return weights
