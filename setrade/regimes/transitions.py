"""How regimes follow each other: shares with intervals, how long they last, where they end up."""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array, number, timed


def _counts(regime: pd.Series) -> pd.DataFrame:
    """Return how often regime i (rows) was followed by regime j (columns)."""
    if not isinstance(regime, pd.Series) or regime.notna().sum() < 2:
        raise ArgumentError("regime", regime, "a Series with at least two labels")
    timed("regime", regime, even=True, needed=False)
    labels = regime.astype("category")
    names = list(labels.cat.categories)
    pairs = pd.DataFrame({"from": labels.to_numpy()[:-1], "to": labels.to_numpy()[1:]}).dropna()
    counts = pd.crosstab(pairs["from"], pairs["to"]).reindex(index=names, columns=names)
    return counts.fillna(0)


def transition_matrix(regime: pd.Series) -> pd.DataFrame:
    """Return the share of bars in regime i whose next bar is in regime j.

    Args:
        regime: (n,) labels in the order of time; steps from or to a missing label are left out.

    Returns:
        A square DataFrame, rows from, columns to; each row sums to 1, or is NaN for a regime
        (a category) that never occurs before another bar. One regime throughout gives [[1]].
    """
    counts = _counts(regime)
    return counts.div(counts.sum(axis=1).where(lambda total: total > 0), axis=0)


def transition_intervals(regime: pd.Series, level: float = 0.95) -> pd.DataFrame:
    """Return each transition's share with its interval.

    The bounds are quantiles of a Beta(count + 1/2, others + 1/2): Jeffreys' interval of a
    share. They take the regimes for a Markov chain; spells that remember their age make the
    truth wider.

    Args:
        regime: (n,) labels in the order of time.
        level: share of the distribution between the bounds, in [0.5, 0.999].

    Returns:
        A DataFrame with index (from, to) and columns ``count share low high``; NaN where the
        regime never occurs before another bar.

    Source: L. Brown, T. Cai, A. DasGupta, Interval Estimation for a Binomial Proportion (2001).
    """
    from scipy.stats import beta

    level = number("level", level, 0.5, 0.999)
    counts = _counts(regime)
    count = counts.to_numpy(float)
    total = count.sum(axis=1, keepdims=True)
    others = np.where(total > 0, total - count, np.nan)
    tail = (1 - level) / 2
    low, high = (beta.ppf(q, count + 0.5, others + 0.5) for q in (tail, 1 - tail))
    index = pd.MultiIndex.from_product([counts.index, counts.columns], names=["from", "to"])
    share = np.divide(count, total, out=np.full_like(count, np.nan), where=total > 0)
    columns = {"count": count.astype(int), "share": share, "low": low, "high": high}
    return pd.DataFrame({k: v.ravel() for k, v in columns.items()}, index)


def _matrix(matrix: pd.DataFrame) -> np.ndarray:
    """Return a transition matrix as an array, or say why it is none."""
    x = array("matrix", matrix, ndim=2).astype(float)
    square = isinstance(matrix, pd.DataFrame) and len(x) == len(x.T)
    if not square or (x < 0).any():
        raise ArgumentError("matrix", matrix, "a square DataFrame of shares >= 0 without NaN")
    if np.abs(x.sum(axis=1) - 1).max() > 1e-6:
        raise ArgumentError("matrix", float(x.sum(axis=1).max()), "rows that sum to 1")
    return x


def expected_duration(matrix: pd.DataFrame) -> pd.Series:
    """Return how many bars a spell of each regime lasts on average: 1 / (1 - p_ii).

    Args:
        matrix: (k, k) transition matrix, rows from, columns to, without NaN.

    Returns:
        (k,) bars; infinite for a regime that is never left, up to rounding.
    """
    leave = 1.0 - np.diagonal(_matrix(matrix))
    ever = leave > 1e-12  # less is what rounding leaves of a row that sums to 1
    bars = np.divide(1.0, leave, out=np.full(len(leave), np.inf), where=ever)
    return pd.Series(bars, matrix.index, name="bars")


def spells(regime: pd.Series) -> pd.DataFrame:
    """Return the runs of equal labels.

    Args:
        regime: (n,) labels in the order of time; missing labels end a run and make none.

    Returns:
        A DataFrame, one row a run: ``regime``, ``start`` (bar number), ``bars``. The first and
        the last run are cut by the sample's ends.
    """
    if not isinstance(regime, pd.Series) or not regime.notna().any():
        raise ArgumentError("regime", regime, "a Series with at least one label")
    timed("regime", regime, even=True, needed=False)
    codes = pd.factorize(regime)[0]
    start = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    bars = np.diff(np.r_[start, len(codes)])
    table = {"regime": regime.to_numpy()[start], "start": start, "bars": bars}
    return pd.DataFrame(table)[codes[start] >= 0].reset_index(drop=True)


def stationary(matrix: pd.DataFrame) -> pd.Series:
    """Return the share of time that a chain spends in each regime in the long run.

    Args:
        matrix: (k, k) transition matrix, rows from, columns to, without NaN.

    Returns:
        (k,) shares p with p · matrix = p, that sum to 1.

    Raises:
        ArgumentError: no transition matrix, or more than one such distribution: some regimes
            cannot be reached from others.
    """
    x = _matrix(matrix)
    system = np.vstack([x.T - np.eye(len(x)), np.ones(len(x))])
    if np.linalg.matrix_rank(system) < len(x):
        raise ArgumentError("matrix", matrix, "a chain with one long run: it falls apart in two")
    target = np.r_[np.zeros(len(x)), 1.0]
    share = np.linalg.lstsq(system, target, rcond=None)[0]
    return pd.Series(np.where(np.abs(share) < 1e-12, 0.0, share), matrix.index, name="share")
