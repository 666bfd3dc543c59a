"""Mean 0 and deviation 1, with the figures of the training rows only."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array

Table = TypeVar("Table", pd.DataFrame, np.ndarray)
CONSTANT = 1e-12  # a deviation below this fraction of the mean is rounding


class NotFitted(ArgumentError):
    """`Standardizer.transform` was called before `Standardizer.fit`."""


class Standardizer:
    """Subtract the training mean of each channel and divide by its training deviation.

    ``fit`` sees the training rows and nothing else: statistics of the whole history would
    tell each bar about its future. Channels lie on the last axis. A channel that is constant
    while training has no deviation; it is only centred (scale 1).

    Attributes:
        mean: shape ``(C,)``, or None before ``fit``.
        scale: shape ``(C,)``, population standard deviations, or None before ``fit``.
        columns: channel names if fitted on a DataFrame, else None.
        rows: number of complete training rows.
    """

    def __init__(self) -> None:
        self.mean: np.ndarray | None = None
        self.scale: np.ndarray | None = None
        self.columns: tuple[str, ...] | None = None
        self.rows = 0

    def fit(self, train: pd.DataFrame | np.ndarray) -> Standardizer:
        """Learn mean and scale from the rows of ``train`` that have no NaN; return self.

        Args:
            train: DataFrame (bars, C), or array (..., C) with channels last. Rows with a
                NaN, the warm-up as a rule, are left out; ``rows`` counts the others.

        Returns:
            This object.

        Raises:
            ArgumentError: not numbers, infinite, or fewer than two complete rows.
        """
        x = _numbers("train", train)
        x = x.reshape(-1, x.shape[-1])
        x = x[~np.isnan(x).any(axis=1)]
        if len(x) < 2:
            raise ArgumentError("train", train, f"at least 2 rows without NaN (it has {len(x)})")
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        constant = deviation <= CONSTANT * np.abs(mean)
        self.mean, self.scale, self.rows = mean, np.where(constant, 1.0, deviation), len(x)
        self.columns = tuple(map(str, train.columns)) if isinstance(train, pd.DataFrame) else None
        return self

    def transform(self, x: Table) -> Table:
        """Return ``(x - mean) / scale``; NaN stays NaN.

        Args:
            x: DataFrame with the columns of ``fit`` in the same order, or array (..., C).

        Returns:
            The same kind, shape, index and columns, float64.

        Raises:
            NotFitted: ``fit`` was not called.
            ArgumentError: not numbers, infinite, other channels or another order.
        """
        if self.mean is None or self.scale is None:
            raise NotFitted("standardizer", self, "one whose fit(train) was called")
        values = _numbers("x", x)
        if values.shape[-1] != len(self.mean):
            raise ArgumentError("x", x, f"{len(self.mean)} channels on the last axis")
        if not isinstance(x, pd.DataFrame):
            return (values - self.mean) / self.scale
        if self.columns is not None and tuple(map(str, x.columns)) != self.columns:
            names = list(map(str, x.columns))
            raise ArgumentError("x", names, f"the columns of fit, in order: {list(self.columns)}")
        return pd.DataFrame((values - self.mean) / self.scale, x.index, x.columns, copy=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and names for a checkpoint; `from_dict` takes them back."""
        if self.mean is None or self.scale is None:
            raise NotFitted("standardizer", self, "one whose fit(train) was called")
        return {
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "columns": None if self.columns is None else list(self.columns),
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Standardizer:
        """Return the standardizer that `to_dict` described; raise `ArgumentError` if broken."""
        if not isinstance(state, dict) or set(state) != {"mean", "scale", "columns", "rows"}:
            raise ArgumentError("state", state, "a dict with mean, scale, columns and rows")
        self = cls()
        self.mean = array("state['mean']", state["mean"], ndim=1).astype(float)
        self.scale = array("state['scale']", state["scale"], ndim=1).astype(float)
        names = state["columns"]
        self.columns = None if names is None else tuple(names)
        self.rows = int(state["rows"])
        lengths = {len(self.mean), len(self.scale), len(self.columns or self.mean)}
        if len(lengths) > 1 or (self.scale <= 0).any():
            raise ArgumentError("state", state, "one mean, scale > 0 and column for each channel")
        return self


def _numbers(name: str, value: Any) -> np.ndarray:
    """Return a table as float64 with at least two axes; NaN may be in it, infinity not."""
    if not isinstance(value, pd.DataFrame | np.ndarray):
        raise ArgumentError(name, value, "a DataFrame, or an array with channels on the last axis")
    if isinstance(value, pd.DataFrame) and any(t.kind not in "iuf" for t in value.dtypes):
        raise ArgumentError(name, value, "a DataFrame of numbers")
    x = array(name, value.to_numpy() if isinstance(value, pd.DataFrame) else value, finite=False)
    if x.ndim < 2:
        raise ArgumentError(name, value, "at least two axes, channels on the last")
    if np.isinf(x).any():
        raise ArgumentError(name, value, "finite numbers or NaN, no infinity")
    return x.astype(np.float64, copy=False)
