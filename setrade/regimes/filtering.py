"""The forward algorithm: what the past says about the state now, bar by bar."""

from __future__ import annotations

import math

import numpy as np

from ..compiled import kernel


@kernel
def emission(x: np.ndarray, mean: np.ndarray, whiten: np.ndarray, norm: float) -> float:
    """Return the log density of one row ``(d,)`` of a normal distribution.

    ``whiten`` is the inverse of the lower Cholesky factor of its covariance, ``norm`` the log
    of its normalising constant.
    """
    square = 0.0
    for i in range(len(x)):
        part = 0.0
        for j in range(i + 1):
            part += whiten[i, j] * (x[j] - mean[j])
        square += part * part
    return norm - 0.5 * square


@kernel
def log_sum(values: np.ndarray) -> float:
    """Return log(sum(exp(values))) without overflow."""
    top = values.max()
    if top == -np.inf:
        return top
    total = 0.0
    for value in values:
        total += math.exp(value - top)
    return top + math.log(total)


@kernel
def forward(
    x: np.ndarray, start: np.ndarray, move: np.ndarray, means: np.ndarray, whiten: np.ndarray,
    norm: np.ndarray, out: np.ndarray, evidence: np.ndarray,
) -> None:  # fmt: skip
    """Fill ``out`` with log P(state t | rows up to t) and ``evidence`` with log p(row t | past).

    Everything is in logarithms and row by row, so that a row never depends on how many follow.

    Args:
        x: (n, d) observations.
        start: (k,) log probabilities of the first row's state.
        move: (k, k) log transition probabilities, from rows to columns.
        means, whiten, norm: (k, d), (k, d, d), (k,), as `emission` takes them.
        out: (n, k), filled.
        evidence: (n,), filled.

    Source: L. Rabiner, A Tutorial on Hidden Markov Models (1989), equations 19 to 21, scaled.
    """
    k = len(start)
    before, paths = start.copy(), np.empty(k)
    for t in range(len(x)):
        for j in range(k):
            out[t, j] = before[j] + emission(x[t], means[j], whiten[j], norm[j])
        evidence[t] = log_sum(out[t])
        for j in range(k):
            out[t, j] -= evidence[t]
        for j in range(k):  # predict the next bar's state
            for i in range(k):
                paths[i] = out[t, i] + move[i, j]
            before[j] = log_sum(paths)
