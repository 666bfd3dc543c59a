"""A drift test that takes rows by name, and may learn its reference from the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, integer, number

from .drift import Change, Drift, Reading


class Watch:
    """`Drift` against a frame, or against the first rows that come.

    Args:
        reference: (m, C) rows of the span that the model was trained on; or how many first
            rows to learn from. Then rows with other columns begin it anew.
        settings: of `Drift`.
    """

    def __init__(self, reference: pd.DataFrame | int, **settings: Any) -> None:
        self._settings = settings
        self._first: list[list[float]] = []
        self.drift: Drift | None = None
        if isinstance(reference, pd.DataFrame):
            self.rows, self.drift = 0, Drift(reference, **settings)
        else:
            self.rows = integer("reference", reference, 1)
        self._names = () if self.drift is None else self.drift.names

    @property
    def readings(self) -> list[Reading]:
        """The newest test's figures; empty before the first test."""
        return [] if self.drift is None else self.drift.readings

    @property
    def progress(self) -> str:
        """What it waits for; empty once it tests."""
        if self.drift is None:
            return f"learns {len(self._first)}/{self.rows} rows"
        return "" if self.drift.ready else f"fills {self.drift.kept}/{self.drift.window} samples"

    def update(self, row: Mapping[str, float]) -> list[Change]:
        """Take a row in; return which columns changed their state.

        Raises:
            ArgumentError: NaN, columns that the reference lacks, or one that cannot be taken.
        """
        names, values = tuple(row), [number(name, value) for name, value in row.items()]
        if not names:
            raise ArgumentError("row", row, "at least one column")
        if names != self._names:
            self._begin(names)
        if self.drift is not None:
            return self.drift.update(np.array(values))
        self._first.append(values)
        if len(self._first) == self.rows:
            reference = pd.DataFrame(self._first, columns=list(names))
            self._first = []
            self.drift = Drift(reference, **self._settings)
        return []

    def _begin(self, names: tuple[str, ...]) -> None:
        if not self.rows:
            raise ArgumentError("row", names, f"columns {', '.join(self._names)}")
        self._names, self._first, self.drift = names, [], None
