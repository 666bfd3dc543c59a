"""Does 80 % mean 80 %? Reliability, expected calibration error, temperature scaling."""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array, integer, number


def _forecast(probability: np.ndarray, hit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities in [0, 1] and what happened, both (N,)."""
    p = array("probability", probability, ndim=1).astype(np.float64)
    if p.min() < 0 or p.max() > 1:
        raise ArgumentError("probability", (float(p.min()), float(p.max())), "numbers in [0, 1]")
    y = np.asarray(hit)
    if y.shape != p.shape or not np.isin(y, (0, 1)).all():
        raise ArgumentError("hit", hit, f"{len(p)} values, each 0 or 1 (or False, True)")
    return p, y.astype(np.float64)


def wilson(hits: np.ndarray, counts: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return Wilson's interval of shares ``hits / counts``: (..., 2), NaN where the count is 0.

    Source: E. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    from scipy.special import ndtri

    k, n = array("hits", hits).astype(np.float64), array("counts", counts).astype(np.float64)
    if k.shape != n.shape or (k < 0).any() or (k > n).any():
        raise ArgumentError("hits", hits, "as many as counts, each from 0 to its count")
    z = ndtri(0.5 + number("level", level, 0.5, 0.9999) / 2)
    safe = np.where(n > 0, n, np.nan)
    middle = (k + z**2 / 2) / (safe + z**2)
    half = z * np.sqrt(k * (n - k) / safe + z**2 / 4) / (safe + z**2)
    return np.stack([middle - half, middle + half], axis=-1)


def reliability(probability: np.ndarray, hit: np.ndarray, n_bins: int = 10) -> pd.DataFrame:
    """Compare what was forecast with what happened, in bins of equal width.

    Args:
        probability: (N,) forecasts in [0, 1].
        hit: (N,) 1 where it happened, else 0.
        n_bins: bins of [0, 1].

    Returns:
        A frame, a row for each bin that is not empty: ``count``, ``forecast`` (mean), ``share``
        (of hits), ``low``, ``high`` (its 95 % Wilson interval).

    Raises:
        ArgumentError: names the argument.
    """
    p, y = _forecast(probability, hit)
    bins = np.minimum((p * integer("n_bins", n_bins, 1)).astype(int), n_bins - 1)
    count, hits, total = (np.bincount(bins, w, n_bins) for w in (None, y, p))
    use = count > 0
    count, hits, total = count[use], hits[use], total[use]
    low, high = wilson(hits, count).T
    columns = {"count": count, "forecast": total / count, "share": hits / count}
    return pd.DataFrame(columns | {"low": low, "high": high})


def calibration_error(probability: np.ndarray, hit: np.ndarray, n_bins: int = 10) -> float:
    """Return the expected calibration error: the mean gap between forecast and share of hits.

    Source: M. Naeini, G. Cooper and M. Hauskrecht (2015), with bins of equal width.
    """
    table = reliability(probability, hit, n_bins)
    gap = (table["forecast"] - table["share"]).abs()
    return float((gap * table["count"]).sum() / table["count"].sum())


def temperature(logits: np.ndarray, kind: np.ndarray) -> float:
    """Return the number that logits should be divided by, fitted on validation examples.

    The one that gives the lowest negative log-likelihood. Dividing changes no ranking, so the
    accuracy stays what it was.

    Args:
        logits: (N, classes).
        kind: (N,) true classes.

    Raises:
        ArgumentError: names the argument.

    Source: C. Guo, G. Pleiss, Y. Sun and K. Weinberger (2017), section 4.2.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    x = array("logits", logits, ndim=2, min_length=2).astype(np.float64)
    y = array("kind", kind, ndim=1)
    if len(y) != len(x) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= x.shape[1]:
        raise ArgumentError("kind", kind, f"{len(x)} class numbers from 0 to {x.shape[1] - 1}")

    def loss(log_t: float) -> float:
        return -float(log_softmax(x / np.exp(log_t), axis=1)[np.arange(len(y)), y].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))  # type: ignore[union-attr]
