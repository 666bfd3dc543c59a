"""Several timeframes, one forecast: aligned closes, learned weights, agreement.

A long bar is stamped with its open and known at its close. `known_at` joins on closes; a join
on stamps would hand every short bar the end of an hour that has just begun. The pool is
P = w1 P1 + w2 P2 + …, with weights on the simplex that maximise the likelihood of validation
bars (source: T. Hastie, R. Tibshirani, J. Friedman, The Elements of Statistical Learning,
section 8.8, for stacking; A. Dempster, N. Laird, D. Rubin 1977 for the iteration).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from setrade.candles.checks import common_step, parse_interval
from setrade.errors import ArgumentError, array, flag, integer, number, timed


def _index(name: str, value: object) -> pd.DatetimeIndex:
    """Return a rising UTC index of bar opens, or say what is wrong."""
    if not isinstance(value, pd.DatetimeIndex) or len(value) < 2:
        raise ArgumentError(name, value, "a DatetimeIndex of at least two bar opens")
    return timed(name, value)


def known_at(values: pd.DataFrame, interval: str, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Return, for each short bar, the newest row of long bars that had closed by its close.

    A decision after the short bar t is taken at its close. The long bar that opened at s is
    known from s + ``interval`` on, that instant included.

    Args:
        values: (m, K) what each long bar says, indexed by its open; its own NaN are kept.
        interval: length of a long bar, such as "1h", at least that of a short one.
        index: (n,) opens of the short bars; their length is the most frequent step.

    Returns:
        (n, K) on ``index``; NaN until the first long bar has closed, and where the newest
        closed one is more than one ``interval`` old (a hole, or the end of ``values``).

    Raises:
        ArgumentError: indexes that do not rise, or a long bar shorter than a short one.
    """
    index = _index("index", index)
    if not isinstance(values, pd.DataFrame):
        raise ArgumentError("values", values, "a DataFrame indexed by bar opens")
    opens = _index("values", values.index).as_unit("ns").asi8
    length, step = parse_interval("interval", interval).value, common_step(index)
    if step is None or length < step:
        raise ArgumentError("interval", interval, "a bar at least as long as those of index")
    now = index.as_unit("ns").asi8 + step
    place = np.searchsorted(opens + length, now, side="right") - 1
    fresh = (place >= 0) & (now - (opens[place] + length) < length)
    rows = array("values", values, ndim=2, finite=False).astype(np.float64)[place]
    return pd.DataFrame(np.where(fresh[:, None], rows, np.nan), index, values.columns)


def align(forecasts: Mapping[str, pd.DataFrame], index: pd.DatetimeIndex) -> np.ndarray:
    """Return the forecasts of every frame as known after each short bar: (n, F, K).

    Args:
        forecasts: interval -> (m, K) probabilities by bar open, the same columns in all.
        index: (n,) opens of the short bars.

    Raises:
        ArgumentError: fewer than two frames, other columns, or as `known_at`.
    """
    frames = list(forecasts.values()) if isinstance(forecasts, Mapping) else []
    if len(frames) < 2 or not all(isinstance(frame, pd.DataFrame) for frame in frames):
        raise ArgumentError(
            "forecasts", forecasts, "interval -> DataFrame, at least two timeframes"
        )
    columns = [list(frame.columns) for frame in forecasts.values()]
    if any(names != columns[0] for names in columns):
        raise ArgumentError("forecasts", columns, "the same columns in every timeframe")
    joined = [known_at(p, interval, index).to_numpy() for interval, p in forecasts.items()]
    return np.stack(joined, axis=1)


def _probabilities(value: object) -> np.ndarray:
    """Return (n, F, K) shares that sum to 1 over the last axis, or say what is wrong."""
    p = array("probabilities", value, ndim=3, min_length=2).astype(np.float64)
    if p.min() < 0 or np.abs(p.sum(axis=2) - 1).max() > 1e-4:
        raise ArgumentError("probabilities", p, "(n, frames, classes) shares that sum to 1")
    return p


@dataclass(frozen=True)
class TimeframeEnsemble:
    """A weighted mean of the frames' probabilities; weights (F,) >= 0 that sum to 1."""

    frames: tuple[str, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.frames, list | tuple):
            raise ArgumentError("frames", self.frames, "names of intervals, such as ('1h', '4h')")
        w = array("weights", self.weights, ndim=1)
        if len(w) != len(self.frames) or w.min() < 0 or abs(w.sum() - 1) > 1e-6:
            raise ArgumentError("weights", self.weights, f"{len(self.frames)} shares, sum 1")

    @classmethod
    def equal(cls, frames: tuple[str, ...]) -> TimeframeEnsemble:
        """Return the plain mean: hard to beat, and nothing to learn."""
        return cls(tuple(frames), (1 / len(frames),) * len(frames))

    @classmethod
    def fit(
        cls, frames: tuple[str, ...], probabilities: np.ndarray, y: np.ndarray, *,
        tol: float = 1e-6, max_iter: int = 20_000,
    ) -> TimeframeEnsemble:  # fmt: skip
        """Learn the weights on validation bars.

        Each step shares every bar's success out among the frames that foretold it. It stops
        when no shift of weight could raise the mean log likelihood by ``tol`` nats.

        Args:
            frames: F names.
            probabilities: (n, F, K) of bars that trained none of the frames.
            y: (n,) classes 0 … K - 1 that came true.
            tol: nats a bar.
            max_iter: most steps.
        """
        p, y = _probabilities(probabilities), array("y", y, ndim=1)
        n, count, classes = p.shape
        whole = y == np.floor(y)
        if len(y) != n or not whole.all() or y.min() < 0 or y.max() >= classes:
            raise ArgumentError("y", y, f"{n} classes 0 … {classes - 1}")
        if not isinstance(frames, list | tuple) or len(frames) != count:
            raise ArgumentError("frames", frames, f"{count} names, one a frame")
        hit = p[np.arange(n), :, y.astype(int)]  # (n, F) what each frame gave to the truth
        if (hit.max(axis=1) == 0).any():
            raise ArgumentError("probabilities", 0.0, "some frame > 0 on what came true, each bar")
        tol, max_iter = number("tol", tol, 0, above=True), integer("max_iter", max_iter, 1)
        w = _simplex_weights(hit, tol, max_iter)
        return cls(tuple(frames), tuple(map(float, w)))

    def combine(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the pooled probabilities (n, K) of (n, F, K)."""
        p = _probabilities(probabilities)
        if p.shape[1] != len(self.frames):
            raise ArgumentError("probabilities", p, f"{len(self.frames)} frames on axis 1")
        # Summed in a fixed order: a matrix product's last digits depend on how many rows it has.
        return np.stack([w * p[:, f] for f, w in enumerate(self.weights)]).sum(axis=0)

    def position(self, probabilities: np.ndarray, *, unanimous: bool = False) -> np.ndarray:
        """Return P(last class) - P(first class) of the pool, (n,) in [-1, 1].

        With classes sell, hold, buy that is P(buy) - P(sell). ``unanimous``: zero on bars where
        the frames do not all point the same way.
        """
        pooled, unanimous = self.combine(probabilities), flag("unanimous", unanimous)
        lean = pooled[:, -1] - pooled[:, 0]
        return np.where(agree(probabilities), lean, 0.0) if unanimous else lean


def _simplex_weights(hit: np.ndarray, tol: float, max_iter: int) -> np.ndarray:
    """Maximise mean(log(hit @ w)) over the simplex, (n, F) -> (F,)."""
    w = np.full(hit.shape[1], 1 / hit.shape[1])
    for _ in range(max_iter):
        gain = (hit / (hit @ w)[:, None]).mean(axis=0)  # the gradient; 1 on what is in use
        if gain.max() - 1 < tol:  # concave: nothing better than this is left
            break
        w = w * gain
    return w / w.sum()


def directions(probabilities: np.ndarray) -> np.ndarray:
    """Return where each frame points, (n, F): the sign of P(last class) - P(first class)."""
    p = _probabilities(probabilities)
    return np.sign(p[:, :, -1] - p[:, :, 0])


def agree(probabilities: np.ndarray) -> np.ndarray:
    """Return a mask (n,): all frames point the same way, and somewhere."""
    d = directions(probabilities)
    return (d == d[:, :1]).all(axis=1) & (d[:, 0] != 0)


def agreement_rate(probabilities: np.ndarray) -> float:
    """Return the share of bars on which all frames of (n, F, K) point the same way."""
    return float(agree(probabilities).mean())
