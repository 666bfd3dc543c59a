"""Typed errors that name the argument, the value seen and what is allowed."""

from __future__ import annotations

import math
import pickle
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd


def _short(value: Any) -> str:
    """Describe a value in at most 60 characters: arrays by shape, the rest by repr."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    try:
        text = repr(value)
    except ValueError:  # it holds an integer of more digits than Python writes
        text = f"a {type(value).__name__} with an integer of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


class Pickled:
    """An error with fields that another process can send: pickle calls a class with its text.

    What cannot be pickled (a generator, a secret) arrives as the short text that stands for it.
    Stands before the built-in base, which is none with fields in C, such as OSError.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again, without ``__init__``."""
        fields = {name: _sendable(value) for name, value in self.__dict__.items()}
        return _again, (type(self), getattr(self, "args", ()), fields)


def _sendable(value: Any) -> Any:
    try:
        pickle.dumps(value)
    except Exception:  # of any kind: each object has its own reason
        return _short(value)
    return value


def _again(kind: type[Exception], args: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    made = kind.__new__(kind)
    made.args = args
    made.__dict__.update(fields)
    return made


class ArgumentError(Pickled, ValueError):
    """A public function was called with an argument it cannot take."""

    def __init__(self, name: str, value: Any, allowed: str) -> None:
        self.name, self.value, self.allowed = name, value, allowed
        super().__init__(f"{name}: got {_short(value)}, allowed: {allowed}")


MOST = 2**53  # what counts anything: floats hold every integer up to it


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int within [low, high]; else raise `ArgumentError`."""
    high = max(low, MOST) if high is None else high
    allowed = f"an integer >= {low}" + ("" if high == MOST else f" and <= {high}")
    if not isinstance(value, int | np.integer) or isinstance(value, bool | np.timedelta64):
        raise ArgumentError(name, value, allowed)
    if value < low or value > high:
        raise ArgumentError(name, value, allowed)
    return int(value)


def number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
) -> float:
    """Return ``value`` as a finite float within [low, high] (above low if ``above``)."""
    allowed = f"a finite number {'>' if above else '>='} {low:g} and <= {high:g}"
    plain = isinstance(value, int | float | np.integer | np.floating)
    if not plain or isinstance(value, bool | np.timedelta64):  # NumPy counts spans as integers
        raise ArgumentError(name, value, allowed)
    try:
        x = float(value)
    except OverflowError as error:  # an integer beyond 1e308
        raise ArgumentError(name, value, allowed) from error
    if not math.isfinite(x) or value < low or value > high or (above and value == low):
        raise ArgumentError(name, value, allowed)
    return x


def flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool; "False", 0 and None are not one, and raise `ArgumentError`."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(name, value, "True or False")
    return bool(value)


def choice(name: str, value: Any, options: Collection[str]) -> str:
    """Return ``value`` if it is one of ``options``; else raise `ArgumentError`."""
    if not isinstance(value, str) or value not in options:
        raise ArgumentError(name, value, "one of " + ", ".join(map(repr, options)))
    return value


def instance(name: str, value: Any, kind: type, allowed: str) -> Any:
    """Return ``value`` if it is of a class; else raise `ArgumentError`."""
    if not isinstance(value, kind):
        raise ArgumentError(name, value, allowed)
    return value


def generator(seed: Any) -> np.random.Generator:
    """Return ``seed`` if it is a generator, else the one that an integer from 0 on seeds."""
    return np.random.default_rng(
        seed if isinstance(seed, np.random.Generator) else integer("seed", seed, 0)
    )


def array(
    name: str,
    value: Any,
    *,
    ndim: int | None = None,
    min_length: int = 1,
    finite: bool = True,
    ordered: bool = False,
) -> np.ndarray:
    """Return ``value`` as a numeric array, its last axis at least ``min_length`` long.

    Booleans, strings, objects and masked values are refused, and NaN or infinity if ``finite``.
    A missing value of a nullable or arrow column counts as NaN. ``ordered``: where it has stamps,
    they rise without repeats.
    """
    if ordered and isinstance(getattr(value, "index", None), pd.DatetimeIndex | pd.PeriodIndex):
        _rising(name, value.index)
    rank = "at least 1" if ndim is None else str(ndim)
    allowed = f"numbers with {rank} axes, the last at least {min_length} long"
    x = _as_array(name, value, allowed)
    if x.dtype.kind not in "iuf" or x.ndim == 0 or (ndim is not None and x.ndim != ndim):
        raise ArgumentError(name, value, allowed)
    if x.shape[-1] < min_length or x.size == 0:
        raise ArgumentError(name, value, allowed)
    # NaN and infinity show in the extremes, which are found without an array of answers.
    if finite and x.dtype.kind == "f" and not (np.isfinite(x.min()) and np.isfinite(x.max())):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ArgumentError(name, x[where], f"finite numbers (first fault at index {where})")
    return x


def _as_array(name: str, value: Any, allowed: str) -> np.ndarray:
    """Return ``value`` as NumPy sees it; what it cannot see, or would see wrongly, is refused."""
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(map(np.ma.is_masked, parts)):
        raise ArgumentError(name, value, "no masked values: fill them, or leave them out")
    try:
        if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
            types = list(value.dtypes) if isinstance(value, pd.DataFrame) else [value.dtype]
            plain = all(isinstance(t, np.dtype) for t in types)
            if not plain and all(t.kind in "iuf" for t in types):  # nullable, arrow
                return value.to_numpy(np.float64, na_value=np.nan)
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged, on a GPU, wanting gradients
        raise ArgumentError(name, value, f"{allowed} ({error})") from error


def tensor(name: str, value: Any, *, ndim: int | None = None, floats: bool = True) -> Any:
    """Return a torch tensor that holds numbers, finite ones; ``floats``: of a float dtype."""
    import torch

    rank = "" if ndim is None else f" with {ndim} axes"
    allowed = f"a dense {'float ' if floats else ''}tensor{rank}, not empty"
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta:
        raise ArgumentError(name, value, allowed)
    fits = not value.is_complex() and value.numel() and ndim in (None, value.ndim)
    if not fits or (floats and not value.is_floating_point()):
        raise ArgumentError(name, value, allowed)
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise ArgumentError(name, value, "finite numbers")
    return value


UTC_NAMES = ("UTC", "Etc/UTC", "UTC+00:00", "tzutc()")
FIRST, LAST = 1678, 2261  # years that nanoseconds reach


def timed(name: str, value: Any, *, even: bool = False, needed: bool = True) -> Any:
    """Return a Series, DataFrame or index whose time obeys the one law of the index.

    Args:
        name: of the argument, for errors.
        value: what has an index, or is one.
        even: bars: equal steps from each stamp to the next.
        needed: False lets an index without time pass, such as plain row numbers, as long as it
            rises without repeats.

    Raises:
        ArgumentError: no such object; stamps that are not in UTC, are missing, repeat, run
            backwards or leave the years `FIRST` to `LAST`; or a gap, where ``even``.
    """
    index = value if isinstance(value, pd.Index) else getattr(value, "index", None)
    clock = isinstance(index, pd.DatetimeIndex)
    if not isinstance(value, pd.Series | pd.DataFrame | pd.Index) or index is None:
        raise ArgumentError(name, value, "a Series or DataFrame indexed by time")
    if needed and not clock:
        raise ArgumentError(name, value, "an index of time in UTC (a DatetimeIndex)")
    if clock and (str(index.tz) not in UTC_NAMES or index.hasnans):
        raise ArgumentError(name, index, f"stamps in UTC, each a time (zone here: {index.tz})")
    _rising(name, index)
    if clock and len(index) and not FIRST <= index[0].year <= index[-1].year <= LAST:
        raise ArgumentError(name, index, f"stamps in the years {FIRST} to {LAST}")
    if even and clock and len(index) > 2:
        steps = np.diff(index.asi8)
        if (uneven := steps != steps[0]).any():
            row = int(uneven.argmax()) + 1
            raise ArgumentError(name, index[row], f"evenly spaced bars: row {row} breaks the step")
    return value


def _rising(name: str, index: pd.Index) -> None:
    """Refuse an index that runs backwards or repeats."""
    if not index.is_unique or not index.is_monotonic_increasing:
        raise ArgumentError(name, index, "an index that rises, oldest first, without repeats")


def same_index(one: pd.Index, other: pd.Index) -> bool:
    """Say whether two indexes are equal, whatever unit their stamps have and spelling their UTC."""
    if one.equals(other) or len(one) != len(other):
        return len(one) == len(other)
    pair = (one, other)
    clocks = all(isinstance(x, pd.DatetimeIndex) and str(x.tz) in UTC_NAMES for x in pair)
    return clocks and bool(np.all(one == other))


def paired(name: str, value: Any, other: Any) -> None:
    """Refuse ``value`` where it and ``other`` carry stamps, and not the same ones."""
    here, there = (getattr(x, "index", None) for x in (value, other))
    if not isinstance(here, pd.DatetimeIndex) or not isinstance(there, pd.DatetimeIndex):
        return
    if len(here) == len(there) and not same_index(here, there):
        row = int(np.argmax(np.asarray(here != there)))
        raise ArgumentError(name, here[row], f"the same stamps in both: row {row} is {there[row]}")


def places(name: str, value: Any, low: int, high: int) -> np.ndarray:
    """Return ``value`` as int64 numbers (n,) of rows or bars within [low, high], at least one."""
    x = array(name, value, ndim=1)
    if x.dtype.kind not in "iu" or x.min() < low or x.max() > high:
        raise ArgumentError(name, value, f"integers from {low} to {high}")
    return x.astype(np.int64)
