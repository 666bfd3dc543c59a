"""Markov transition fields: how often a series went from the bin of bar i to that of bar j.

Source: Wang and Oates, Imaging Time-Series to Improve Classification and Imputation
(IJCAI 2015), section 2.2.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import prange

from setrade.buffers import is_tensor, output, series, wide
from setrade.compiled import kernel
from setrade.errors import integer
from setrade.gramian.scaling import segments


@kernel
def _edges(x, places):
    """Return the quantiles of one window at fractional ranks ``places`` (NumPy's linear rule)."""
    ordered = np.sort(x)
    out = np.empty(places.size)
    for k in range(places.size):
        below = int(places[k])
        part = places[k] - below
        a, b = ordered[below], ordered[min(below + 1, x.size - 1)]
        out[k] = a + (b - a) * part if part < 0.5 else b - (b - a) * (1.0 - part)
    return out


@kernel
def _matrix(bins, n_bins):
    """Return the (n_bins, n_bins) shares of the moves that leave each bin."""
    counts = np.zeros((n_bins, n_bins), np.float32)
    for t in range(bins.size - 1):
        counts[bins[t], bins[t + 1]] += 1
    for a in range(n_bins):
        total = max(counts[a].sum(), np.float32(1))
        for b in range(n_bins):
            counts[a, b] /= total
    return counts


@kernel
def _columns(matrix, bins, edges):
    """Return (n_bins, size): P(segment j | bin a), the mean over the segment's bars."""
    out = np.zeros((len(matrix), edges.size - 1), np.float32)
    for a in range(len(matrix)):
        for k in range(edges.size - 1):
            for t in range(edges[k], edges[k + 1]):
                out[a, k] += matrix[a, bins[t]]
            out[a, k] /= np.float32(edges[k + 1] - edges[k])
    return out


@kernel(parallel=True)
def _fill(x, edges, places, out):
    size = edges.size - 1
    for w in prange(len(x)):
        # A value on an edge belongs to the bin below; equal edges leave a bin empty.
        bins = np.searchsorted(_edges(x[w], places), x[w])
        columns = _columns(_matrix(bins, places.size + 1), bins, edges)
        for i in range(size):
            out[w, i] = columns[bins[edges[i]]]
            for t in range(edges[i] + 1, edges[i + 1]):
                for j in range(size):
                    out[w, i, j] += columns[bins[t], j]
            if edges[i + 1] - edges[i] > 1:
                out[w, i] /= np.float32(edges[i + 1] - edges[i])


def _fill_tensor(x: Any, edges: np.ndarray, places: np.ndarray, out: Any) -> None:
    """Do what `_fill` does to a tensor (N, n) on its device."""
    torch = sys.modules["torch"]
    x = wide(x.detach())
    ranks = torch.from_numpy(places).to(x)
    below = ranks.long()
    ordered = x.sort(-1).values
    a, b = ordered[:, below], ordered[:, (below + 1).clamp(max=x.shape[-1] - 1)]
    part = ranks - below
    quantiles = torch.where(part < 0.5, a + (b - a) * part, b - (b - a) * (1 - part))
    bins = torch.searchsorted(quantiles.contiguous(), x.contiguous())
    member = torch.nn.functional.one_hot(bins, len(places) + 1).to(x)  # (N, n, n_bins)
    moves = member[:, :-1].mT @ member[:, 1:]  # (N, n_bins, n_bins)
    moves = moves / moves.sum(-1, keepdim=True).clamp(min=1)
    lengths = np.diff(edges)
    shares = torch.stack([part.mean(1) for part in member.split(lengths.tolist(), 1)], 1)
    out.copy_(shares @ moves @ shares.mT)


def transition_field(x: Any, size: int | None = None, n_bins: int = 8, *, out: Any = None) -> Any:
    """Return Markov transition fields: M_ij = P(next bin = bin of x_j | bin of x_i).

    Bins are quantiles of the window itself, so nothing outside it is used; P counts the
    window's own moves from each bar to the next. A constant window gives 1 everywhere. As
    with `gasf`, -x gives the same picture (unless a value lies exactly on a bin's edge).

    Args:
        x: Array or tensor, shape (..., n), n at least 2, any unit; oldest value first.
        size: Side of the picture, within [2, n]; None: n. Smaller than n: means over blocks.
        n_bins: Number of quantile bins, within [2, n].
        out: Kept float32 buffer of the result's shape, filled and returned.

    Returns:
        float32, shape (..., size, size), within [0, 1], same kind and device as ``x``.
        No gradients: a bin does not move with a small change.

    Raises:
        ArgumentError: A bad argument, by name.
    """
    x = series("x", x)
    n = x.shape[-1]
    edges = segments(n, size)
    n_bins = integer("n_bins", n_bins, 2, n)
    places = np.linspace(0, 100, n_bins + 1)[1:-1] / 100 * (n - 1)
    size = len(edges) - 1
    like = x.detach() if is_tensor(x) else x
    image = output(out, (*x.shape[:-1], size, size), like)
    flat = image.reshape(-1, size, size)
    if is_tensor(x):
        _fill_tensor(like.reshape(-1, n), edges, places, flat)
    else:
        _fill(np.ascontiguousarray(x, np.float64).reshape(-1, n), edges, places, flat)
    return image
