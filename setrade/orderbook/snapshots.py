"""Book snapshots as plain arrays, checked once when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ArgumentError, integer

FIELDS = ("bid_price", "bid_size", "ask_price", "ask_size")


class BookError(ValueError):
    """A book breaks a law of books; ``faults`` maps each law broken to its timestamps."""

    def __init__(self, faults: dict[str, np.ndarray]) -> None:
        self.faults = faults
        super().__init__("; ".join(_describe(law, times) for law, times in faults.items()))


def _describe(law: str, times: np.ndarray) -> str:
    shown = ", ".join(f"{t}Z" for t in np.datetime_as_string(times[:3]))
    more = f" and {len(times) - 3} more" if len(times) > 3 else ""
    return f"{law} at {shown}{more}"


def utc_times(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as ``datetime64[ns]`` in UTC; zoned stamps are converted.

    NumPy's stamps carry no zone and count as UTC. A pandas index must be zoned, as bars are.
    """
    if isinstance(value, pd.DatetimeIndex):
        if value.tz is None:
            raise ArgumentError(name, value, "a DatetimeIndex in UTC, not a naive one")
        value = value.tz_convert(None).to_numpy()
    times = np.atleast_1d(np.asarray(value))
    if times.dtype.kind != "M" or times.ndim != 1 or np.isnat(times).any():
        raise ArgumentError(name, value, "one axis of datetime64 stamps without NaT")
    return times.astype("datetime64[ns]")


@dataclass(frozen=True, eq=False)
class Snapshots:
    """A series of book snapshots; every array is read-only.

    Args:
        time: shape ``(N,)``, ``datetime64[ns]`` in UTC, in order (equal stamps may follow
            each other: an exchange sends several updates in one millisecond).
        bid_price: shape ``(N, levels)``, best level first, so strictly falling.
        bid_size: shape ``(N, levels)``, in units of the base coin, 0 for an empty level.
        ask_price: shape ``(N, levels)``, best level first, so strictly rising.
        ask_size: shape ``(N, levels)``.

    Raises:
        ArgumentError: an argument has a wrong type or shape.
        BookError: NaN, price not above zero, negative size, empty best level, unsorted
            levels, crossed book, time going back; all faults at once, with timestamps.
    """

    time: np.ndarray
    bid_price: np.ndarray
    bid_size: np.ndarray
    ask_price: np.ndarray
    ask_size: np.ndarray

    def __post_init__(self) -> None:
        arrays = {"time": utc_times("time", self.time)}
        arrays |= {name: _levels(name, getattr(self, name)) for name in FIELDS}
        shape = (len(arrays["time"]), arrays["bid_price"].shape[1])
        for name, x in arrays.items():
            if name != "time" and x.shape != shape:
                raise ArgumentError(name, x, f"shape {shape}, as time and bid_price have")
            x = x.view()
            x.flags.writeable = False
            object.__setattr__(self, name, x)
        faults = {law: self.time[rows] for law, rows in self._laws().items() if rows.any()}
        if faults:
            raise BookError(faults)

    def _laws(self) -> dict[str, np.ndarray]:
        """Return for each law the rows that break it; a comparison with NaN is False."""
        bid, ask, sizes = self.bid_price, self.ask_price, (self.bid_size, self.ask_size)
        back = np.zeros(len(self), dtype=bool)
        back[1:] = self.time[1:] < self.time[:-1]
        bad = [~np.isfinite(getattr(self, name)).all(1) for name in FIELDS]
        laws: dict[str, Any] = {
            "time goes back": back,
            "NaN or infinity": np.stack(bad).any(0),
            "price not above zero": (bid <= 0).any(1) | (ask <= 0).any(1),
            "negative size": (sizes[0] < 0).any(1) | (sizes[1] < 0).any(1),
            "empty best level": (sizes[0][:, 0] == 0) | (sizes[1][:, 0] == 0),
            "bids not falling": (bid[:, 1:] >= bid[:, :-1]).any(1),
            "asks not rising": (ask[:, 1:] <= ask[:, :-1]).any(1),
            "crossed book": bid[:, 0] >= ask[:, 0],
        }
        return laws

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: slice | np.ndarray) -> Snapshots:
        """Return the chosen rows (a slice, a mask, or rising indices) as snapshots."""
        return Snapshots(self.time[rows], *(getattr(self, name)[rows] for name in FIELDS))

    @property
    def levels(self) -> int:
        """How many levels each side has."""
        return self.bid_price.shape[1]

    def at(self, times: Any) -> np.ndarray:
        """Return the row of the last snapshot at or before each time.

        Args:
            times: shape ``(M,)``, a UTC ``DatetimeIndex`` or ``datetime64`` in UTC; to join
                with bars pass their **close** (open plus interval).

        Returns:
            int64 of shape ``(M,)``; -1 where no snapshot is that old.
        """
        return np.searchsorted(self.time, utc_times("times", times), side="right") - 1

    def join(self, values: np.ndarray, times: Any) -> np.ndarray:
        """Return ``values`` (shape ``(N,)``) as known at ``times``: NaN before the first."""
        values = np.asarray(values, float)
        if values.shape != (len(self),):
            raise ArgumentError("values", values, f"shape {(len(self),)}, one a snapshot")
        rows = self.at(times)
        return np.where(rows < 0, np.nan, values[rows])

    def mid(self) -> np.ndarray:
        """Return the mid price, shape ``(N,)``."""
        return (self.bid_price[:, 0] + self.ask_price[:, 0]) / 2

    def spread(self) -> np.ndarray:
        """Return best ask minus best bid in price units, shape ``(N,)``."""
        return self.ask_price[:, 0] - self.bid_price[:, 0]

    def imbalance(self, levels: int | None = None) -> np.ndarray:
        """Return (bids - asks) / (bids + asks) of the sizes of the best ``levels``.

        Shape ``(N,)``, within [-1, 1]; above zero when the bids are heavier. ``levels``
        from 1 to the depth at hand, all by default.
        """
        n = self.levels if levels is None else integer("levels", levels, 1, self.levels)
        bids, asks = self.bid_size[:, :n].sum(1), self.ask_size[:, :n].sum(1)
        return (bids - asks) / (bids + asks)


def _levels(name: str, value: Any) -> np.ndarray:
    x = np.asarray(value)
    if x.dtype.kind not in "iuf" or x.ndim != 2 or 0 in x.shape:
        raise ArgumentError(name, value, "numbers of shape (N, levels), neither of them 0")
    return np.array(x, dtype=np.float64)
