"""Is one forecast better than another? The test of Diebold and Mariano, with an interval.

Sources: F. X. Diebold, R. S. Mariano, Comparing Predictive Accuracy (1995); D. Harvey, S.
Leybourne, P. Newbold, Testing the Equality of Prediction Mean Squared Errors (1997), for few
forecasts; W. K. Newey, K. D. West (1987) for the weights that keep a variance above zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from setrade.errors import ArgumentError, array, integer, number, paired


@dataclass(frozen=True)
class LossDifference:
    """Mean loss of a first forecast less that of a second, with its interval.

    Attributes:
        estimate: below 0 the first lost less.
        low, high: bounds at ``level``.
        level: as asked.
        p: two-sided, of a difference of zero.
        lags: at which autocorrelation was allowed for.
    """

    estimate: float
    low: float
    high: float
    level: float
    p: float
    lags: int

    def __str__(self) -> str:
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}], p {self.p:.2g}"


def diebold_mariano(
    first: np.ndarray,
    second: np.ndarray,
    *,
    horizon: int = 1,
    lags: int | None = None,
    level: float = 0.95,
) -> LossDifference:
    """Compare two forecasts of the same bars by their losses.

    Forecasts ``horizon`` bars ahead, made at every bar, overlap: their errors correlate over
    ``horizon`` - 1 bars at least. The variance of the mean allows for that with Bartlett's weights,
    and Student's t with n - 1 degrees of freedom takes the place of the normal.

    Args:
        first: ``(n,)`` losses such as squared errors, in the order of time.
        second: likewise, of the same bars.
        horizon: bars ahead, at most a quarter of n.
        lags: of the variance; None: twice ``horizon`` - 1 (the weights fall to nothing), and no
            fewer than the cube root of n.
        level: share of samples whose interval holds the truth.

    Raises:
        ArgumentError: naming the argument; losses that are not finite are refused.
    """
    a = array("first", first, ndim=1, min_length=8, ordered=True).astype(float)
    b = array("second", second, ndim=1, min_length=8, ordered=True).astype(float)
    if len(a) != len(b):
        raise ArgumentError("second", second, f"{len(a)} losses, as many as the first has")
    paired("second", second, first)
    n, level = len(a), number("level", level, 0.5, 0.999)
    h = integer("horizon", horizon, 1, n // 4)
    usual = min(max(2 * (h - 1), int(np.cbrt(n))), n - 1)
    lags = usual if lags is None else integer("lags", lags, 0, n - 1)
    most = max(np.abs(a).max(), np.abs(b).max(), np.finfo(float).tiny)
    a, b = a / most, b / most  # so that squares neither vanish nor overflow
    d = np.where(np.isclose(a, b, rtol=1e-12, atol=0.0), 0.0, a - b)  # what rounding leaves is none
    estimate, error = float(d.mean()), standard_error(d, lags)
    error /= np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    half = float(error * student.ppf(0.5 + level / 2, n - 1))
    if error > 0:
        p = float(2 * student.sf(abs(estimate) / error, n - 1))
    else:  # losses that always differ by the same
        p = 1.0 if estimate == 0 else 0.0
    with np.errstate(over="ignore"):
        middle, low, high = (float(x * most) for x in (estimate, estimate - half, estimate + half))
    if not np.isfinite([low, high]).all():
        worst = float(a[np.abs(d).argmax()] * most)
        raise ArgumentError("first", worst, "losses whose differences are finite")
    return LossDifference(middle, low, high, level, p, lags)


def standard_error(x: np.ndarray, lags: int) -> float:
    """Return the standard error of the mean of ``x`` ``(n,)``, allowing for autocorrelation."""
    x = array("x", x, ndim=1, min_length=2, ordered=True).astype(float)
    n, lags = len(x), integer("lags", lags, 0, len(x) - 1)
    d = x - x.mean()
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    covariances = np.array([d[k:] @ d[:-k] for k in range(1, lags + 1)])
    return float(np.sqrt(max(d @ d + 2 * weights @ covariances, 0.0)) / n)
