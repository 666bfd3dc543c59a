"""Typed errors that name the argument, the value seen and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np


def _short(value: Any) -> str:
    """Describe a value in at most 60 characters: arrays by shape, the rest by repr."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class ArgumentError(ValueError):
    """A public function was called with an argument it cannot take."""

    def __init__(self, name: str, value: Any, allowed: str) -> None:
        self.name, self.value, self.allowed = name, value, allowed
        super().__init__(f"{name}: got {_short(value)}, allowed: {allowed}")


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int within [low, high]; else raise `ArgumentError`."""
    allowed = f"an integer >= {low}" + ("" if high is None else f" and <= {high}")
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise ArgumentError(name, value, allowed)
    if value < low or (high is not None and value > high):
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
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise ArgumentError(name, value, allowed)
    if not math.isfinite(value) or value < low or value > high or (above and value == low):
        raise ArgumentError(name, value, allowed)
    return float(value)


def choice(name: str, value: Any, options: Collection[str]) -> str:
    """Return ``value`` if it is one of ``options``; else raise `ArgumentError`."""
    if not isinstance(value, str) or value not in options:
        raise ArgumentError(name, value, "one of " + ", ".join(map(repr, options)))
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
) -> np.ndarray:
    """Return ``value`` as a numeric array, its last axis at least ``min_length`` long.

    Booleans, strings and objects are refused, and NaN or infinity if ``finite``.
    """
    rank = "at least 1" if ndim is None else str(ndim)
    allowed = f"numbers with {rank} axes, the last at least {min_length} long"
    x = np.asarray(value)
    if x.dtype.kind not in "iuf" or x.ndim == 0 or (ndim is not None and x.ndim != ndim):
        raise ArgumentError(name, value, allowed)
    if x.shape[-1] < min_length or x.size == 0:
        raise ArgumentError(name, value, allowed)
    # NaN and infinity show in the extremes, which are found without an array of answers.
    if finite and x.dtype.kind == "f" and not (np.isfinite(x.min()) and np.isfinite(x.max())):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ArgumentError(name, x[where], f"finite numbers (first fault at index {where})")
    return x


def places(name: str, value: Any, low: int, high: int) -> np.ndarray:
    """Return ``value`` as int64 numbers (n,) of rows or bars within [low, high], at least one."""
    x = array(name, value, ndim=1)
    if x.dtype.kind not in "iu" or x.min() < low or x.max() > high:
        raise ArgumentError(name, value, f"integers from {low} to {high}")
    return x.astype(np.int64)
