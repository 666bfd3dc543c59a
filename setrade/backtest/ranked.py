"""Portfolios by rank: hold what is forecast best, sell what is forecast worst, and pay for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array, flag, integer, number, paired


def weights(scores: np.ndarray, parts: int = 10) -> np.ndarray:
    """Return equal weights, long in the best part of each row and short in the worst.

    With n assets that have a score, k = n // parts of them are in each leg, with 1 / k each. Where
    a tie straddles a leg's edge, the tied share what is left; all tied: nothing is held.

    Args:
        scores: ``(dates, assets)``; NaN where an asset is not there, which is then never held.
        parts: 10 are deciles.

    Returns:
        float64 ``(dates, assets)``, each row 0 in sum and at most 2 in absolute sum.

    Raises:
        ArgumentError: a score is infinite, stamps do not rise, or a date has fewer than ``parts``
            assets.
    """
    x = array("scores", scores, ndim=2, finite=False, ordered=True).astype(float)
    parts = integer("parts", parts, 2)
    if np.isinf(x).any():
        raise ArgumentError("scores", np.inf, "finite scores, NaN for an asset that is not there")
    count = (~np.isnan(x)).sum(1)
    if (count < parts).any():
        row = int((count < parts).argmax())
        raise ArgumentError("scores", int(count[row]), f"{parts} assets at each date (row {row})")
    return np.array([_leg(row, parts) - _leg(-row, parts) for row in x])


def _leg(row: np.ndarray, parts: int) -> np.ndarray:
    """Return the weights of the best part of one date, 1 in sum."""
    known = np.sort(row[~np.isnan(row)])
    size = len(known) // parts
    edge = known[-size]
    above, tied = row > edge, row == edge  # NaN compares false
    rest = (size - above.sum()) / tied.sum()
    return (above + rest * tied) / size


@dataclass(frozen=True)
class Spread:
    """What a ranked portfolio earned, one number a date, and what it traded.

    Attributes:
        gross: returns before costs, for capital of 1 with 1 long and 1 short.
        turnover: value bought and sold at each date's open, in parts of the capital.
        every: dates for which a portfolio is held.
    """

    gross: np.ndarray
    turnover: np.ndarray
    every: int

    def net(self, bps: float) -> np.ndarray:
        """Return returns after ``bps`` basis points on all that was traded, a side."""
        return self.gross - self.turnover * number("bps", bps, 0) * 1e-4

    @property
    def break_even_bps(self) -> float:
        """Return the cost a side, in basis points, at which the mean return is nothing."""
        return float(self.gross.mean() / self.turnover.mean() * 1e4)


def spread(
    scores: np.ndarray,
    returns: np.ndarray,
    *,
    every: int = 1,
    parts: int = 10,
    rolled: bool = True,
) -> Spread:
    """Return what the best part earned beyond the worst, with the trading it took.

    A portfolio is formed at each date and held for ``every`` dates; then its money goes into the
    one that is formed there. So ``every`` portfolios run side by side, each rebalanced on its own
    dates, and no date is preferred. Weights drift with returns in between, and what is traded is
    what brings them back to equal.

    Args:
        scores: ``(dates, assets)``, known at each date; NaN for an asset that is not there.
        returns: ``(dates, assets)``, what an asset earns over the ``every`` dates that follow;
            finite where there is a score. Two frames have the same stamps and columns.
        every: dates that a portfolio is held.
        parts: 10 are deciles.
        rolled: False: a portfolio is closed at its end, and the next one is built from nothing,
            as where returns end before the next date.

    Returns:
        A `Spread`; its first ``every`` dates build positions, and pay for both legs.

    Raises:
        ArgumentError: shapes, stamps or columns differ, a return is missing where there is a score,
            or as `weights`.
    """
    assets = [list(x.columns) for x in (scores, returns) if isinstance(x, pd.DataFrame)]
    if len(assets) == 2 and assets[0] != assets[1]:
        raise ArgumentError("returns", returns, "the columns of scores, in their order")
    paired("returns", returns, scores)
    held, every = weights(scores, parts), integer("every", every, 1)
    r = array("returns", returns, ndim=2, finite=False, ordered=True).astype(float)
    if r.shape != held.shape or not np.isfinite(r[~np.isnan(np.asarray(scores, float))]).all():
        raise ArgumentError("returns", returns, f"{held.shape}, finite where there is a score")
    r = np.where(held == 0, 0.0, r)
    gross = (held * r).sum(1)
    if (gross <= -1).any():
        raise ArgumentError("returns", float(gross.min()), "no date that loses all the capital")
    if not flag("rolled", rolled):
        return Spread(gross, (np.abs(held) * (2 + r)).sum(1), every)
    drifted = np.zeros_like(held)
    drifted[every:] = (held * (1 + r) / (1 + gross)[:, None])[:-every]
    return Spread(gross, np.abs(held - drifted).sum(1), every)
