"""Tests whether what a model sees has drifted away from what it learned on.

The population stability index (PSI) is the symmetrised Kullback-Leibler divergence of two
histograms, sum (s - r) ln(s / r), its bins cut so that each holds the same share of the reference.
By custom 0.1 is worth a look and 0.25 an alarm (Siddiqi, Credit Risk Scorecards, 2006). But chance
alone makes PSI about (bins - 1)(1/n + 1/m) for n recent and m reference samples (Yurdakul,
Statistical Properties of Population Stability Index, 2018), so no line lies below what chance
reaches. The Kolmogorov-Smirnov test (KS) beside it says how sure the difference is.

Both assume independent samples. Rows computed over overlapping windows are not: a stretch of 14
equal rows counts as one, and p-values of overlapping rows are far too small. So only one row in
``every`` is kept, from the reference as well as from the stream; `spacing` proposes how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import chdtri, kolmogi
from scipy.stats import ks_2samp

from setrade.errors import ArgumentError, array, integer, number
from setrade.live.types import Reading

STATES = ("calm", "watch", "alarm")
HOLD = 0.8  # a state is left below this part of the line that it was entered at
CHECKS = 4  # tests in the time that renews the recent samples
STILL = 0.05  # rows correlated less than this count as independent
INPUTS = ("return", "range", "volume")
COLUMNS = ["high", "low", "close", "volume"]


def psi(recent: np.ndarray, reference: np.ndarray, *, bins: int = 10) -> np.ndarray:
    """Return the population stability index of each column: (C,), or one number for one axis.

    Args:
        recent: (n, C) or (n,) samples. reference: (m, C) or (m,), m >= 5 * ``bins``; its
            quantiles are the edges of the bins.
        bins: how many, at least 2.
    """
    y = _table("reference", reference, 5 * integer("bins", bins, 2))
    x = _table("recent", recent, 1)
    if x.shape[1] != y.shape[1]:
        raise ArgumentError("recent", recent, f"{y.shape[1]} columns, as in the reference")
    return Bins(y, bins).psi(x).reshape(np.shape(recent)[1:])


def _table(name: str, value: object, rows: int) -> np.ndarray:
    """Return samples as (n, C) floats, finite, at least ``rows`` of them."""
    x = array(name, value).astype(np.float64)
    if x.ndim > 2 or len(x) < rows:
        raise ArgumentError(name, value, f"at least {rows} rows of samples")
    return x.reshape(len(x), -1)


class Bins:
    """Bins that hold equal shares of a reference (m, C), and the PSI of samples against it.

    Half a sample is added to each bin, so that an empty one makes no infinity.
    """

    def __init__(self, reference: np.ndarray, bins: int) -> None:
        self.edges = np.quantile(reference, np.arange(1, bins) / bins, axis=0)  # the inner ones
        self.shares = self._shares(reference)

    def _shares(self, x: np.ndarray) -> np.ndarray:
        """Return the share of each bin: (n, C) -> (bins, C)."""
        place = (x[:, None, :] > self.edges).sum(1)  # (n, C)
        counts = (place[:, None, :] == np.arange(len(self.edges) + 1)[:, None]).sum(0)
        return (counts + 0.5) / (len(x) + 0.5 * len(counts))

    def psi(self, x: np.ndarray) -> np.ndarray:
        """Return the distance of samples (n, C) from the reference: (C,)."""
        s, r = self._shares(x), self.shares
        return ((s - r) * np.log(s / r)).sum(0)


def spacing(rows: pd.DataFrame) -> int:
    """Return how many rows apart samples count as independent of each other.

    The smallest lag at which, in every column, both the values and their distances from the
    median (volatility comes in clusters) have an autocorrelation below 0.05.

    Args:
        rows: (n, C) in order of time.

    Raises:
        ArgumentError: NaN, a column that never moves, or no such lag up to n / 4.
    """
    x = _table("rows", rows, 8)
    x = np.hstack([x, np.abs(x - np.median(x, axis=0))])
    if (np.ptp(x, axis=0) == 0).any():
        raise ArgumentError("rows", rows, "columns that vary")
    power = np.abs(np.fft.rfft(x - x.mean(0), 2 * len(x), axis=0)) ** 2
    lagged = np.fft.irfft(power, axis=0)[: len(x) // 4 + 1]
    calm = (lagged < STILL * lagged[0]).argmax(0)  # 0 where it never is
    if not calm.all():
        raise ArgumentError("rows", rows, "rows that forget the past within a quarter of them")
    return int(calm.max())


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
        bins: of the PSI. lines: PSI of ``watch`` and ``alarm``.
        level: rate of false alarms of a test.

    Raises:
        ArgumentError: NaN, a column that never moves, a reference of too few samples.
    """

    def __init__(
        self, reference: pd.DataFrame, *, window: int = 200, every: int | None = None,
        bins: int = 10, lines: tuple[float, float] = (0.1, 0.25), level: float = 0.01,
    ) -> None:  # fmt: skip
        if not isinstance(reference, pd.DataFrame):
            raise ArgumentError("reference", reference, "a frame of samples, a column a name")
        self.names, bins = tuple(map(str, reference.columns)), integer("bins", bins, 2)
        rows = _table("reference", reference, 5 * bins)
        self.every = spacing(reference) if every is None else integer("every", every, 1)
        kept = rows[:: self.every]
        if len(kept) < 5 * bins:
            allowed = f"{5 * bins} samples, {self.every} rows apart: {5 * bins * self.every} rows"
            raise ArgumentError("reference", reference, allowed)
        if (np.ptp(kept, axis=0) == 0).any():
            raise ArgumentError("reference", reference, "columns that vary")
        self._reference, self._bins = kept, Bins(kept, bins)
        self.window = integer("window", window, 5 * bins)
        self._ring = np.zeros((self.window, len(self.names)))
        self.kept = self._rows = 0
        self._states = np.zeros(len(self.names), int)
        self._draw_lines(lines, number("level", level, 0.0, 0.5, above=True))
        self.readings: list[Reading] = []

    def _draw_lines(self, lines: tuple[float, float], level: float) -> None:
        """Put the lines where each column's two tests have their part of the false alarms."""
        share = level / (2 * len(self.names))
        spread = 1 / self.window + 1 / len(self._reference)
        chance = float(chdtri(len(self._bins.edges), share)) * spread
        low, high = (number("lines", line, 0.0, above=True) for line in lines)
        if low > high:
            raise ArgumentError("lines", lines, "watch, then alarm, which is not below it")
        self.lines = (max(low, chance), max(high, chance))
        self.ks_line = float(kolmogi(share)) * spread**0.5

    @property
    def ready(self) -> bool:
        """True once there are as many samples as are compared."""
        return self.kept >= self.window

    def update(self, row: np.ndarray) -> list[Change]:
        """Take one row in; return which columns changed their state, mostly none.

        Args:
            row: (C,) in the order of the reference's columns.
        """
        x = array("row", row, ndim=1)
        if len(x) != len(self.names):
            raise ArgumentError("row", row, f"{len(self.names)} values: {', '.join(self.names)}")
        self._rows += 1
        if (self._rows - 1) % self.every:
            return []
        self._ring[self.kept % self.window] = x
        self.kept += 1
        due = self.ready and (self.kept - self.window) % (self.window // CHECKS) == 0
        return self._test() if due else []

    def _test(self) -> list[Change]:
        distance = self._bins.psi(self._ring)
        ks = ks_2samp(self._ring, self._reference, axis=0, method="asymp")  # pyright: ignore
        enter, hold = (self._levels(distance, ks.statistic, part) for part in (1.0, HOLD))
        before, self._states = self._states, np.clip(self._states, enter, hold)
        states = [STATES[s] for s in self._states]
        figures = (distance.tolist(), ks.statistic.tolist(), ks.pvalue.tolist(), states)
        self.readings = [Reading(*row) for row in zip(self.names, *figures, strict=True)]
        moved = zip(self.readings, before, strict=True)
        return [Change(r, STATES[b]) for r, b in moved if r.state != STATES[b]]

    def _levels(self, psi: np.ndarray, ks: np.ndarray, part: float) -> np.ndarray:
        """Return 0, 1 or 2 for each column, with all lines at ``part`` of their height."""
        low, high = (part * line for line in self.lines)
        return np.where(psi >= high, 2, ((psi >= low) | (ks >= part * self.ks_line)).astype(int))


class Watch:
    """Tests rows that come by name, against a frame or against the first rows themselves.

    Args:
        reference: (m, C) rows of the span that the model was trained on; or how many first
            rows to learn from. Then rows with other columns begin it anew.
        settings: of `Drift`.
    """

    def __init__(self, reference: pd.DataFrame | int, **settings: Any) -> None:
        self._settings = settings
        self._first: list[list[float]] = []
        given = isinstance(reference, pd.DataFrame)
        self.drift = Drift(reference, **settings) if given else None
        self.rows = 0 if given else integer("reference", reference, 1)
        self._names = self.drift.names if self.drift else ()

    @property
    def readings(self) -> list[Reading]:
        """The newest test's figures; empty before the first test."""
        return self.drift.readings if self.drift else []

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
        if not row:
            raise ArgumentError("row", row, "at least one column")
        names, values = tuple(row), [number(name, value) for name, value in row.items()]
        if names != self._names:
            if not self.rows:
                raise ArgumentError("row", names, f"columns {', '.join(self._names)}")
            self._names, self._first, self.drift = names, [], None
        if self.drift is not None:
            return self.drift.update(np.array(values))
        self._first.append(values)
        if len(self._first) == self.rows:
            self.drift = Drift(pd.DataFrame(self._first, columns=list(names)), **self._settings)
            self._first = []
        return []


def newest(bars: np.ndarray) -> np.ndarray:
    """Return what a rule sees of the newest bar, as numbers that need no units.

    Args:
        bars: (..., 4, L) high, low, close and volume, newest last, L >= 4.

    Returns:
        (..., 3): log return over the spread of earlier ones, range and volume over the mean of
        earlier ones. NaN or infinite where those are zero: nothing ever moved.
    """
    high, low, close, volume = np.moveaxis(np.asarray(bars, np.float64), -2, 0)
    moves = np.diff(np.log(close), axis=-1)
    span = high - low
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(
            [moves[..., -1] / moves[..., :-1].std(-1),
             span[..., -1] / span[..., :-1].mean(-1),
             volume[..., -1] / volume[..., :-1].mean(-1)], axis=-1,
        )  # fmt: skip


def inputs(candles: pd.DataFrame, length: int = 48) -> pd.DataFrame:
    """Return each bar's inputs, against the ``length`` - 1 bars before it.

    Args:
        candles: n >= ``length`` bars. length: bars of a window, at least 4.

    Returns:
        (n - length + 1, 3) ``return range volume``, by time; see `newest`.
    """
    x = array("candles", candles[COLUMNS].to_numpy(np.float64).T)
    length = integer("length", length, 4, x.shape[1])
    rows = newest(sliding_window_view(x, length, axis=1).swapaxes(0, 1))
    return pd.DataFrame(rows, candles.index[length - 1 :], list(INPUTS))
