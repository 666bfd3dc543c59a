"""A study is a list of cells, and a cell is plain data: names and values that JSON can hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from setrade.errors import ArgumentError

Cell = dict[str, Any]


def grid(**axes: Iterable[Any]) -> list[Cell]:
    """Return every combination of the axes' values, the last axis changing fastest.

    Args:
        axes: name and values, such as ``seed=range(10)``; values that JSON can hold.

    Returns:
        One dict a cell, its names in the order given.

    Raises:
        ArgumentError: an axis without values, with a value twice, or with one JSON cannot hold.
    """
    values = {name: list(axis) for name, axis in axes.items()}
    for name, axis in values.items():
        if not axis:
            raise ArgumentError(name, axis, "at least one value")
        if len({key({name: value}) for value in axis}) != len(axis):
            raise ArgumentError(name, axis, "values that differ")
    return [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]


def key(cell: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that name a cell, whatever the order of its names.

    Raises:
        ArgumentError: a value that JSON cannot hold (NaN is one).
    """
    try:
        text = json.dumps(dict(cell), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError("cell", cell, "names with values that JSON can hold") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]
