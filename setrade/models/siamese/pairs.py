"""Pairs of states to learn from: half of them alike, and none that share a bar."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from setrade.errors import ArgumentError, array, integer
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
    if not isinstance(seed, np.random.Generator):
        seed = integer("seed", seed, 0)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(states), (TRIES * n_pairs, 2))
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
