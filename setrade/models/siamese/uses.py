"""What distances between states are good for: regime change, pattern matching, anomaly."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from setrade.errors import ArgumentError, array, integer


def _states(name: str, value: np.ndarray, dim: int | None = None) -> np.ndarray:
    """Return embeddings (n, dim) as float64."""
    x = array(name, value, ndim=2).astype(np.float64)
    if dim is not None and x.shape[1] != dim:
        raise ArgumentError(name, value, f"{dim} numbers a state")
    return x


def change(states: np.ndarray, lag: int) -> np.ndarray:
    """Return how far each state is from the one ``lag`` rows before: a regime change is a peak.

    Args:
        states: (n, dim) in the order of time.
        lag: rows; at least the length of a window over its stride, or both share bars.

    Returns:
        (n,) distances; the first ``lag`` are NaN. Row t depends on no later row.
    """
    x = _states("states", states)
    lag = integer("lag", lag, 1, len(x) - 1)
    out = np.full(len(x), np.nan)
    out[lag:] = np.linalg.norm(x[lag:] - x[:-lag], axis=1)
    return out


def nearest(query: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the ``k`` states of the past that are most like each query: pattern matching.

    Args:
        query: (q, dim).
        reference: (r, dim), states known before the first query.
        k: how many.

    Returns:
        Distances (q, k), nearest first, and rows of ``reference`` (q, k); ties by row.
    """
    x = _states("query", query)
    past = _states("reference", reference, x.shape[1])
    k = integer("k", k, 1, len(past))
    distance = cdist(x, past)
    rows = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance, rows, 1), rows


def anomaly(query: np.ndarray, reference: np.ndarray, k: int = 10) -> np.ndarray:
    """Return the mean distance (q,) of each query to its ``k`` nearest reference states."""
    return nearest(query, reference, k)[0].mean(1)
