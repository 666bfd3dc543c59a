"""From what the caller gives to checked windows and their price ranges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import ArgumentError, array, number
from .kernels import FAULTS, find_faults, find_outside

VOLUME_PART = 5  # the volume panel takes height // VOLUME_PART rows
FIELDS = ["open", "high", "low", "close", "volume"]


def as_windows(windows: np.ndarray | pd.DataFrame) -> np.ndarray:
    """Return a float64 copy (N, 5, n) in C order; one frame becomes N = 1."""
    if isinstance(windows, pd.DataFrame):
        if missing := [name for name in FIELDS if name not in windows.columns]:
            raise ArgumentError("windows", windows, f"a column each for {', '.join(missing)}")
        windows = windows[FIELDS].to_numpy().T[None]  # (1, 5, n)
    x = array("windows", windows, ndim=3, finite=False)
    if x.shape[1] != len(FIELDS):
        raise ArgumentError("windows", windows, "shape (N, 5, n): open high low close volume")
    return np.array(x, np.float64, order="C")


def _refuse(faults: np.ndarray, x: np.ndarray, name: str) -> None:
    """Raise for the first window with a fault, naming window, bar and figures."""
    if not faults.any():
        return
    window = int(np.flatnonzero(faults)[0])
    code, bar = divmod(int(faults[window]) - 1, x.shape[2])
    figures = tuple(float(v) for v in x[window, :, bar])
    raise ArgumentError(name, figures, f"{FAULTS[code]} (window {window}, candle {bar})")


def refuse_faults(x: np.ndarray) -> None:
    """Raise ``ArgumentError`` if a candle is not finite or contradicts itself."""
    _refuse(find_faults(x), x, "windows")


def _finite_span(limits: np.ndarray, name: str) -> np.ndarray:
    """Return ``limits`` (N, 2) unless a difference overflows, which would have no row."""
    with np.errstate(over="ignore"):
        span = limits[:, 1] - limits[:, 0]
    if not np.isfinite(span).all():
        raise ArgumentError(name, float(span.max()), "highest - lowest price a finite number")
    return limits


def price_limits(
    x: np.ndarray, price_range: str | Sequence[float] | np.ndarray, outside: str
) -> np.ndarray:
    """Return the lowest and highest price drawn, (N, 2); refuse others unless to be clipped."""
    if isinstance(price_range, str):
        if price_range != "window":
            raise ArgumentError("price_range", price_range, "'window', (low, high) or (N, 2)")
        limits = np.stack([x[:, 2].min(axis=1), x[:, 1].max(axis=1)], axis=1)
        return _finite_span(limits, "windows")
    given = array("price_range", price_range, min_length=2)
    if given.shape not in ((2,), (len(x), 2)) or not (given[..., 0] < given[..., 1]).all():
        allowed = f"'window', (low, high) or shape ({len(x)}, 2), with low < high"
        raise ArgumentError("price_range", price_range, allowed)
    limits = np.array(np.broadcast_to(given, (len(x), 2)), np.float64, order="C")
    _finite_span(limits, "price_range")
    if outside == "error":
        _refuse(find_outside(x, limits), x, "price_range")
    return limits


def reference_range(windows: np.ndarray | pd.DataFrame, span: float) -> np.ndarray:
    """Return the range of ``span`` around each window's last close: calm windows look calm.

    Args:
        windows: candles ``(N, 5, n)`` or one DataFrame, prices above zero.
        span: half the height of the range as a share of the last close, such as 0.05.

    Returns:
        float64 array ``(N, 2)``: last close * (1 - span), last close * (1 + span). It knows
        nothing that came after the window.

    Raises:
        ArgumentError: a faulty candle, a last close that is not positive, ``span`` not in (0, 1].
    """
    last = _last_close(windows)[1]
    share = number("span", span, 0.0, 1.0, above=True)
    return last[:, None] * np.array([1.0 - share, 1.0 + share])


def smallest_span(windows: np.ndarray | pd.DataFrame) -> np.ndarray:
    """Return the least ``span`` that ``reference_range`` needs to hold each window, ``(N,)``.

    Take a high quantile of it over training windows, and draw with ``outside="clip"``.

    Raises:
        ArgumentError: a faulty candle, or a last close that is not positive.
    """
    x, last = _last_close(windows)
    highest, lowest = x[:, 1].max(axis=1), x[:, 2].min(axis=1)
    return np.maximum(highest - last, last - lowest) / last


def _last_close(windows: np.ndarray | pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return checked windows (N, 5, n) and their last closes (N,)."""
    x = as_windows(windows)
    refuse_faults(x)
    last = x[:, 3, -1]
    if not (last > 0).all():
        raise ArgumentError("windows", float(last.min()), "a last close above zero")
    return x, last
