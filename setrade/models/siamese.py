"""Strategy 4: one net looks at two market states and says how far apart they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from setrade.efficientnet import EfficientNet, Variant
from setrade.errors import ArgumentError, array, generator, integer, number
from setrade.training import Examples

TRIES = 50  # candidates drawn for each pair wanted


def draw_pairs(
    state: np.ndarray,
    n_pairs: int,
    *,
    seed: int | np.random.Generator,
    ends: np.ndarray | None = None,
    min_gap: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of examples, the first half of the same state, the second of different ones.

    Args:
        state: (n,) integers, the state of each example.
        n_pairs: even.
        seed: seed or generator.
        ends: (n,) bars at which the windows end, increasing; needed with ``min_gap``.
        min_gap: least distance of the two ends in bars. Windows of L bars share none from L on;
            closer ones are told by their common bars, whatever the state.

    Returns:
        Rows (n_pairs, 2) and flags (n_pairs,), int64, 1 for the same state.

    Raises:
        ArgumentError: a bad argument, or too few pairs that far apart.
    """
    states = array("state", state, ndim=1, min_length=2)
    if states.dtype.kind not in "iu":
        raise ArgumentError("state", state, "integers")
    n_pairs, gap = integer("n_pairs", n_pairs, 2), integer("min_gap", min_gap, 0)
    if n_pairs % 2:
        raise ArgumentError("n_pairs", n_pairs, "an even number")
    at = np.arange(len(states)) if ends is None else array("ends", ends, ndim=1)
    if len(at) != len(states) or (np.diff(at) <= 0).any() or (gap and ends is None):
        raise ArgumentError("ends", ends, f"{len(states)} increasing bar numbers")
    drawn = generator(seed).integers(0, len(states), (TRIES * n_pairs, 2))
    apart = np.abs(at[drawn[:, 0]] - at[drawn[:, 1]]) >= max(gap, 1)
    drawn = drawn[apart]
    alike = states[drawn[:, 0]] == states[drawn[:, 1]]
    same, other = drawn[alike][: n_pairs // 2], drawn[~alike][: n_pairs // 2]
    if len(same) + len(other) < n_pairs:
        raise ArgumentError("state", states, f"{n_pairs // 2} pairs of either kind, {gap} apart")
    return np.concatenate([same, other]), np.repeat([1, 0], n_pairs // 2)


class PairSet:
    """Examples that are pairs of another set's inputs, for ``training.fit`` of a `Siamese`.

    Args:
        source: any `Examples`; its targets are not used.
        pairs: (P, 2) rows of ``source``.
        same: (P,) 1 where both are of one state, else 0.

    Raises:
        ArgumentError: a bad argument, by name.
    """

    def __init__(self, source: Examples, pairs: np.ndarray, same: np.ndarray) -> None:
        if not isinstance(source, Examples):
            raise ArgumentError("source", source, "examples with len() and batch(rows)")
        rows, flags = array("pairs", pairs, ndim=2), array("same", same, ndim=1)
        inside = rows.dtype.kind in "iu" and rows.min() >= 0 and rows.max() < len(source)
        if rows.shape[1] != 2 or not inside:
            raise ArgumentError("pairs", pairs, f"shape (P, 2), rows from 0 to {len(source) - 1}")
        if len(flags) != len(rows) or not np.isin(flags, (0, 1)).all():
            raise ArgumentError("same", same, f"{len(rows)} flags 0 or 1")
        self.source = source
        self.pairs = torch.from_numpy(rows.astype(np.int64))
        self.same = torch.from_numpy(flags.astype(np.int64))

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: Tensor) -> tuple[tuple[Any, Any], Tensor]:
        """Return the two batches of inputs of ``rows``, and the flags (B,)."""
        chosen = self.pairs[rows].T.reshape(-1)  # all firsts, then all seconds: one drawing
        first, second = self.source.batch(chosen)[0].chunk(2)
        return (first, second), self.same[rows]


# ---- The Siamese net and its loss.
#
# Sources: J. Bromley et al. (1993), Signature Verification using a "Siamese" Time Delay Neural
# Network; R. Hadsell, S. Chopra and Y. LeCun (2006), Dimensionality Reduction by Learning an
# Invariant Mapping, equation 4, for the contrastive loss.


class Siamese(nn.Module):
    """Two pictures through one set of weights; their distance is the answer.

    Args:
        variant: of the trunk, a name in ``efficientnet.VARIANTS`` or a `Variant`.
        in_channels: of the pictures.
        dim: numbers that describe a state; they form a vector of length 1, so that distances
            lie in [0, 2].
        drop_connect: as in `EfficientNet`.

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self,
        variant: str | Variant = "micro",
        in_channels: int = 3,
        dim: int = 16,
        drop_connect: float = 0.0,
    ) -> None:
        super().__init__()
        self.trunk = EfficientNet(variant, 0, in_channels, drop_connect)
        self.project = nn.Linear(self.trunk.num_features, integer("dim", dim, 2))

    def embed(self, x: Tensor) -> Tensor:
        """Map pictures (B, C, H, W) to unit vectors (B, dim)."""
        return F.normalize(self.project(self.trunk(x)), dim=1)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Map two batches of pictures (B, C, H, W) to distances (B,) in [0, 2].

        Both go through the net as one batch, so that batch norm treats them alike.
        """
        first, second = pair
        if first.shape != second.shape:
            raise ArgumentError("pair", second, f"two batches of shape {tuple(first.shape)}")
        a, b = self.embed(torch.cat([first, second])).chunk(2)
        return torch.linalg.vector_norm(a - b, dim=1)


class ContrastiveLoss(nn.Module):
    """Pull like states together, push others apart until they are ``margin`` away.

    ``d² / 2`` for a like pair, ``max(0, margin - d)² / 2`` for the others.

    Args:
        margin: in (0, 2].
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = number("margin", margin, 0, 2, above=True)

    def forward(self, distance: Tensor, same: Tensor) -> Tensor:
        """Return the mean loss of distances (B,) and flags (B,): 1 the same state, 0 another."""
        if distance.shape != same.shape:
            raise ArgumentError("same", same, f"the shape of distance, {tuple(distance.shape)}")
        apart = F.relu(self.margin - distance)
        return torch.where(same > 0, distance**2, apart**2).mean() / 2


# ---- What distances are good for.


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
