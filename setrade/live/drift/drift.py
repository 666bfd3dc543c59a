"""Compares the newest samples with a fixed reference, and says when that changes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import chdtri, kolmogi
from scipy.stats import ks_2samp

from setrade.errors import ArgumentError, array, integer, number

from .distance import divergence, edges_of, shares, spacing, table

STATES = ("calm", "watch", "alarm")
LINES = (0.1, 0.25)
HOLD = 0.8  # a state is left below this part of the line that it was entered at
CHECKS = 4  # tests in the time that renews the recent samples


class Reading(NamedTuple):
    """One column's distance from the reference: PSI, KS distance, its p-value, and the state."""

    name: str
    psi: float
    ks: float
    p: float
    state: str


class Change(NamedTuple):
    """A column has come into another state."""

    reading: Reading
    before: str


class Drift:
    """Compares the newest samples with a fixed reference, and says when a state changes.

    A column is ``watch`` from a PSI of ``lines[0]`` on, or where KS is significant, and ``alarm``
    from ``lines[1]`` on. A test of samples that did not drift raises any of it in at most
    ``level`` of all tests, over all columns (Bonferroni); lines that chance would cross oftener
    are raised to where it does not. A state is left at 0.8 of its line: each crossing is told
    once. Memory is bounded: reference and a ring of ``window`` rows.

    Args:
        reference: (m, C) rows in order of time, from the span that the model was trained on.
        window: recent samples that are compared; tests begin when there are so many.
        every: rows between samples; None: `spacing` of the reference.
        bins: of the PSI.
        lines: PSI of ``watch`` and ``alarm``.
        level: rate of false alarms of a test.

    Raises:
        ArgumentError: NaN, a column that never moves, a reference of too few samples.
    """

    def __init__(
        self, reference: pd.DataFrame, *, window: int = 200, every: int | None = None,
        bins: int = 10, lines: tuple[float, float] = LINES, level: float = 0.01,
    ) -> None:  # fmt: skip
        if not isinstance(reference, pd.DataFrame):
            raise ArgumentError("reference", reference, "a frame of samples, a column a name")
        self.names, bins = tuple(map(str, reference.columns)), integer("bins", bins, 2)
        rows = table("reference", reference, 5 * bins)
        self.every = spacing(reference) if every is None else integer("every", every, 1)
        kept = rows[:: self.every]
        if len(kept) < 5 * bins:
            allowed = f"{5 * bins} samples, {self.every} rows apart: {5 * bins * self.every} rows"
            raise ArgumentError("reference", reference, allowed)
        if (np.ptp(kept, axis=0) == 0).any():
            raise ArgumentError("reference", reference, "columns that vary")
        self._reference, self._edges = kept, edges_of(kept, bins)
        self._shares = shares(kept, self._edges)
        self._ring = np.zeros((integer("window", window, 5 * bins), len(self.names)))
        self.kept = self._rows = 0
        self._states = np.zeros(len(self.names), int)
        self._draw_lines(lines, number("level", level, 0.0, 0.5, above=True))
        self.readings: list[Reading] = []

    def _draw_lines(self, lines: tuple[float, float], level: float) -> None:
        """Put the lines where each column's two tests have their part of the false alarms."""
        share = level / (2 * len(self.names))
        spread = 1 / len(self._ring) + 1 / len(self._reference)
        chance = float(chdtri(len(self._edges), share)) * spread
        low, high = (number("lines", line, 0.0, above=True) for line in lines)
        if low > high:
            raise ArgumentError("lines", lines, "watch, then alarm, which is not below it")
        self.lines = (max(low, chance), max(high, chance))
        self.ks_line = float(kolmogi(share)) * spread**0.5

    @property
    def window(self) -> int:
        """How many recent samples are compared."""
        return len(self._ring)

    @property
    def ready(self) -> bool:
        """True once as many samples have come as are compared."""
        return self.kept >= len(self._ring)

    def update(self, row: np.ndarray) -> list[Change]:
        """Take one row in; return which columns changed their state, mostly none.

        Args:
            row: (C,) in the order of the reference's columns.

        Raises:
            ArgumentError: NaN, or another number of columns.
        """
        x = array("row", row, ndim=1)
        if len(x) != len(self.names):
            raise ArgumentError("row", row, f"{len(self.names)} values: {', '.join(self.names)}")
        self._rows += 1
        if (self._rows - 1) % self.every:
            return []
        self._ring[self.kept % len(self._ring)] = x
        self.kept += 1
        if not self.ready or (self.kept - len(self._ring)) % (len(self._ring) // CHECKS):
            return []
        return self._test()

    def _test(self) -> list[Change]:
        distance = divergence(shares(self._ring, self._edges), self._shares)
        ks = ks_2samp(self._ring, self._reference, axis=0, method="asymp")  # pyright: ignore
        enter, hold = (self._levels(distance, ks.statistic, part) for part in (1.0, HOLD))
        before, self._states = self._states, np.clip(self._states, enter, hold)
        figures = zip(self.names, distance, ks.statistic, ks.pvalue, self._states, strict=True)
        self.readings = [
            Reading(n, float(d), float(k), float(p), STATES[s]) for n, d, k, p, s in figures
        ]
        moved = zip(self.readings, before, strict=True)
        return [Change(r, STATES[b]) for r, b in moved if r.state != STATES[b]]

    def _levels(self, psi: np.ndarray, ks: np.ndarray, part: float) -> np.ndarray:
        """Return 0, 1 or 2 for each column, with all lines at ``part`` of their height."""
        low, high = (part * line for line in self.lines)
        return np.where(psi >= high, 2, ((psi >= low) | (ks >= part * self.ks_line)).astype(int))
