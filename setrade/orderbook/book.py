"""The order book: snapshots as arrays, a book kept from messages or from single orders."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from setrade.compiled import kernel
from setrade.errors import ArgumentError, Pickled, array, flag, integer

INFINITY = float("inf")
LAST_MS = 2**63 // 10**6 - 1  # of nanoseconds in 64 bits: the year 2262


class Side:
    """One side: prices in rising order, and each price's strings as the exchange sent them.

    A sorted list with ``bisect`` beats trees here: at a few hundred levels an insertion moves a
    few kilobytes, which costs less than one step of interpreted code.
    """

    __slots__ = ("levels", "prices")

    def __init__(self) -> None:
        self.prices: list[float] = []
        self.levels: dict[float, tuple[str, str]] = {}

    def update(self, changes: Iterable[tuple[str, str]]) -> int:
        """Set or delete levels; return how many deletes found nothing to delete."""
        prices, levels, absent = self.prices, self.levels, 0
        for text, amount in changes:
            price, size = float(text), float(amount)
            if 0.0 < size < INFINITY:
                if price not in levels:
                    if not 0.0 < price < INFINITY:
                        raise ValueError("price out of range")
                    insort(prices, price)
                levels[price] = (text, amount)
            elif size != 0.0:
                raise ValueError("size out of range")
            elif levels.pop(price, None) is None:
                absent += 1
            else:
                del prices[bisect_left(prices, price)]
        return absent

    def arrays(self, prices: list[float]) -> list[np.ndarray]:
        """Return prices and sizes of the chosen prices, each of shape ``(1, levels)``."""
        sizes = [float(self.levels[p][1]) for p in prices]
        return [np.array([prices]), np.array([sizes])]


# ---- Snapshots as plain arrays.


FIELDS = ("bid_price", "bid_size", "ask_price", "ask_size")


class BookError(Pickled, ValueError):
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
    if np.ma.is_masked(value):
        raise ArgumentError(name, value, "no masked values")
    try:
        times = np.atleast_1d(np.asarray(value))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentError(name, value, f"one axis of datetime64 stamps ({error})") from error
    if times.dtype.kind != "M" or times.ndim != 1 or np.isnat(times).any():
        raise ArgumentError(name, value, "one axis of datetime64 stamps without NaT")
    exact = times.astype("datetime64[ns]")
    if (exact.astype(times.dtype) != times).any():  # it wrapped
        raise ArgumentError(name, value, "stamps between the years 1678 and 2262, as ns can hold")
    return exact


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
        """Return ``values`` (shape ``(N,)``) as known at ``times``: NaN before the first.

        A Series with stamps has those of the snapshots, in their order: else `ArgumentError`.
        """
        stamps = getattr(values, "index", None)
        clock = isinstance(stamps, pd.DatetimeIndex)
        if clock and not np.array_equal(utc_times("values", stamps), self.time):
            raise ArgumentError("values", values, "the stamps of the snapshots, in their order")
        values = array("values", values, ndim=1, finite=False).astype(float)
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
    return np.array(array(name, value, ndim=2, finite=False), dtype=np.float64)


# ---- A book kept up to date.
#
# Bybit's rules: a snapshot, or ``u == 1``, overwrites everything; a size of zero deletes the
# level. That ``u`` rises by one from message to message is not promised, so a jump is taken
# for a gap: the book says that it is not valid until the next snapshot.
# https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook


FAULTS = ("delta_before_snapshot", "gap", "stale", "absent_level", "crossed", "too_deep")
BREAKING = ("delta_before_snapshot", "gap", "crossed", "too_deep")  # only a snapshot mends these


class BookStateError(Pickled, ValueError):
    """The book cannot be trusted; ``kind`` is one of ``FAULTS``, or says what is missing."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


class OrderBook:
    """A book that knows when it no longer agrees with the exchange.

    Args:
        depth: levels a side that the feed promises; a side that grows deeper has missed a
            delete and breaks the book. None: not checked.
        strict: raise `BookStateError` where `apply` meets a fault, instead of only counting.

    ``faults`` counts what `apply` met: ``stale`` (an old or repeated delta, left out) and
    ``absent_level`` (a delete of nothing) are harmless; ``delta_before_snapshot``, ``gap``,
    ``crossed`` and ``too_deep`` break the book until the next snapshot. Deltas that arrive
    while it is broken are left out and counted in ``ignored``.
    """

    def __init__(self, depth: int | None = None, *, strict: bool = False) -> None:
        self.depth = None if depth is None else integer("depth", depth, 1)
        self.strict = flag("strict", strict)
        self.faults: Counter[str] = Counter()
        self.ignored = 0
        self.symbol: str | None = None
        self.update_id, self.time_ms = -1, -1
        self._bids, self._asks = Side(), Side()
        self._broken = "no snapshot yet"

    @property
    def is_valid(self) -> bool:
        """True from a snapshot on, until a gap, a crossing or another breaking fault."""
        return not self._broken

    @property
    def best_bid(self) -> float | None:
        """The highest bid; None when the book is not valid or the side is empty."""
        return self._bids.prices[-1] if not self._broken and self._bids.prices else None

    @property
    def best_ask(self) -> float | None:
        """The lowest ask; None when the book is not valid or the side is empty."""
        return self._asks.prices[0] if not self._broken and self._asks.prices else None

    def apply(self, message: Mapping[str, Any]) -> bool:
        """Take one message of the stream, in the order received; return ``is_valid``.

        Args:
            message: decoded JSON with ``type``, ``ts`` (ms), and ``data`` that holds ``s, b,
                a, u``; prices and sizes are decimal strings.

        Raises:
            ArgumentError: the message is not a book message of this symbol, or a level of it
                is no number; the book is broken by it.
            BookStateError: the feed has a fault and ``strict`` is set.
        """
        try:
            kind, stamp, data = message["type"], message["ts"], message["data"]
            symbol, bids, asks, u = data["s"], data["b"], data["a"], data["u"]
            follows = self._begin(kind, symbol, u, stamp)
            absent = self._bids.update(bids) + self._asks.update(asks) if follows else 0
        except (KeyError, TypeError, ValueError) as error:
            self._broken = self._broken or "a malformed message"
            raise ArgumentError("message", message, _ALLOWED) from error
        if not follows:
            return self._leave_out(u)
        self.update_id, self.time_ms = u, stamp
        if absent:
            self.faults["absent_level"] += absent
        return self._judge(absent)

    def _begin(self, kind: str, symbol: str, u: int, stamp: int) -> bool:
        """Empty the book for a snapshot; return whether the message's levels are to be taken."""
        if type(u) is not int or type(stamp) is not int:
            raise ValueError("u and ts are integers")
        if not 0 <= stamp <= LAST_MS:
            raise ValueError("ts beyond what nanoseconds count")
        if symbol != self.symbol and self.symbol is not None:
            raise ValueError(f"a message of {symbol!r} for the book of {self.symbol!r}")
        if kind == "snapshot" or (u == 1 and kind == "delta"):
            self._bids, self._asks, self.symbol, self._broken = Side(), Side(), symbol, ""
            return True
        if kind != "delta":
            raise ValueError(f"type {kind!r}")
        return not self._broken and u == self.update_id + 1

    def _judge(self, absent: int) -> bool:
        """Look at the book after an update: crossed, too deep, or sound."""
        bids, asks = self._bids.prices, self._asks.prices
        if bids and asks and bids[-1] >= asks[0]:
            return self._fault("crossed", f"best bid {bids[-1]:g} >= best ask {asks[0]:g}")
        if self.depth is not None and max(len(bids), len(asks)) > self.depth:
            return self._fault("too_deep", f"more than {self.depth} levels on a side")
        if absent and self.strict:
            raise BookStateError("absent_level", f"u={self.update_id} deletes unknown levels")
        return True

    def _leave_out(self, u: int) -> bool:
        """Count a delta that does not follow the last update, or follows a fault."""
        if self.symbol is None:
            return self._fault("delta_before_snapshot", f"delta u={u} before any snapshot")
        if self._broken:
            self.ignored += 1
            return False
        text = f"u went from {self.update_id} to {u}"
        return self._fault("stale" if u <= self.update_id else "gap", text)

    def _fault(self, kind: str, text: str) -> bool:
        self.faults[kind] += 1
        if kind in BREAKING:
            self._broken = f"{kind}: {text}"
        if self.strict:
            raise BookStateError(kind, text)
        return self.is_valid

    def levels(self, side: str) -> list[tuple[str, str]]:
        """Return all ``(price, size)`` of ``"bid"`` or ``"ask"``, best first, as sent.

        Raises:
            BookStateError: the book is not valid.
        """
        if side not in ("bid", "ask"):
            raise ArgumentError("side", side, "'bid' or 'ask'")
        self._require_valid()
        if side == "ask":
            return [self._asks.levels[p] for p in self._asks.prices]
        return [self._bids.levels[p] for p in reversed(self._bids.prices)]

    def snapshot(self, levels: int | None = None) -> Snapshots:
        """Return a copy of the best ``levels`` (None: as many as both sides have), N = 1.

        Raises:
            BookStateError: the book is not valid, or a side has no level.
            ArgumentError: a side has fewer levels than asked for.
        """
        self._require_valid()
        bids, asks = self._bids.prices, self._asks.prices
        available = min(len(bids), len(asks))
        if not available:
            raise BookStateError("empty", "one side of the book has no level")
        n = available if levels is None else integer("levels", levels, 1, available)
        time = np.array([self.time_ms], "datetime64[ms]")
        sides = *self._bids.arrays(bids[: -n - 1 : -1]), *self._asks.arrays(asks[:n])
        return Snapshots(time, *sides)

    def _require_valid(self) -> None:
        if self._broken:
            raise BookStateError(self._broken.split(":")[0], f"book not valid: {self._broken}")


_ALLOWED = "a snapshot or delta of one symbol: type, ts, data {s, b, a, u}, decimal strings"


def snapshots(name: str, books: Any) -> Snapshots:
    """Return ``books`` if they are `Snapshots`; else raise `ArgumentError`."""
    if not isinstance(books, Snapshots):
        raise ArgumentError(name, books, "a setrade.orderbook.Snapshots")
    return books


# ---- A book from single orders (level 3).


ACTIONS = ("created", "changed", "deleted")
ODD: tuple[str, ...] = (
    "created after death", "changed after death", "deleted twice", "changed before creation",
    "deleted before creation", "created twice",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """A book added up from single orders.

    Attributes:
        books: the book at those times at which it was sound.
        time: ``(M,)`` all times asked for, ``datetime64[ns]``.
        crossed: ``(M,)`` whether its best bid was at or above its best ask.
        shallow: ``(M,)`` whether a side had fewer levels than asked for.
        trades: what reduced resting orders: ``time price size side``, side +1 the taker bought.
        odd: how many events were of each kind in ``ODD``, which an honest order has not.
    """

    books: Snapshots
    time: np.ndarray
    crossed: np.ndarray
    shallow: np.ndarray
    trades: pd.DataFrame
    odd: dict[str, int]


def rebuild(
    events: pd.DataFrame, every: str | None = "1s", *, levels: int = 20, remember: bool = True
) -> Rebuilt:
    """Return the book that single orders add up to.

    An order is created, changed and deleted under its id. Messages overtake each other: an order
    may be deleted before it is created, and whoever then adds it keeps it for ever. So ids that
    are dead stay dead. A change of an order that was never created adds it: it is older than the
    recording. What traded is told by resting orders that became smaller; an order that crosses the
    book takes until the book is uncrossed again, and what it loses meanwhile is not counted twice.

    Args:
        events: columns ``time`` (UTC, in order), ``id`` (integers), ``price``, ``size`` (what is
            left of the order, 0 of a deleted one that was filled), ``side`` (+1 bid, -1 ask),
            ``action`` (one of ``ACTIONS``), one event a row, in the order received.
        every: step of the times at which the book is looked at, a pandas offset; None: after
            each stamp.
        levels: a side, from the best.
        remember: False takes every message as it comes, dead ids too, to show what that does.

    Returns:
        `Rebuilt`.

    Raises:
        ArgumentError: a column is missing or holds what it cannot, or the book never was sound.
    """
    tape("events", events, {"id", "action"}, smallest=0.0)
    levels, remember = integer("levels", levels, 1), flag("remember", remember)
    order = pd.factorize(array("events.id", events["id"], ndim=1))[0]
    kind = pd.Index(ACTIONS).get_indexer(pd.Index(events["action"]))
    if events["id"].dtype.kind not in "iu" or (kind < 0).any():
        raise ArgumentError("events", events, f"integer ids, and actions {ACTIONS}")
    prices, place = np.unique(events["price"].to_numpy(float), return_inverse=True)
    stamps = pd.DatetimeIndex(events["time"]).tz_convert(None).as_unit("ns")
    time = _looks(stamps, every)
    stops = np.searchsorted(stamps, time, side="right")
    bid, size = events["side"].to_numpy() > 0, events["size"].to_numpy(float)
    at, left, state, fills, odd = _replay(order, kind, place, bid, size, stops, levels, remember)
    sound = state == 0
    if not sound.any():
        raise ArgumentError("levels", levels, "what an uncrossed book has on both sides")
    sides = [x for s in range(2) for x in (prices[at[sound, s]], left[sound, s])]
    row, place, amount, taker = fills
    columns = {"price": prices[place], "size": amount, "side": taker}
    trades = pd.DataFrame({"time": stamps.tz_localize("UTC")[row]} | columns)
    counts = dict(zip(ODD, odd.tolist(), strict=True))
    return Rebuilt(Snapshots(time[sound], *sides), time, state == 1, state == 2, trades, counts)


def _looks(stamps: pd.DatetimeIndex, every: str | None) -> np.ndarray:
    """Return the times at which the book is looked at."""
    if every is None:
        return stamps.unique().to_numpy()
    try:
        return pd.date_range(stamps[0].ceil(every), stamps[-1].floor(every), freq=every).to_numpy()
    except (ValueError, TypeError, AttributeError) as error:
        raise ArgumentError("every", every, f"a pandas offset such as '1s' ({error})") from error


def tape(name: str, frame: Any, more: set[str], smallest: float | None = None) -> None:
    """Refuse a frame that is no list of trades or orders in order; sizes from ``smallest`` on.

    Args:
        name: of the argument.
        frame: what has to have ``time price size side`` and ``more``.
        more: further columns.
        smallest: the smallest size that is allowed; None: any above 0.
    """
    wanted = {"time", "price", "size", "side"} | more
    if not isinstance(frame, pd.DataFrame) or not wanted <= set(frame.columns):
        raise ArgumentError(name, frame, f"a DataFrame with columns {sorted(wanted)}")
    zoned = isinstance(frame.time.dtype, pd.DatetimeTZDtype)
    if not zoned or not frame.time.is_monotonic_increasing:
        raise ArgumentError(f"{name}.time", frame.time.dtype, "UTC stamps in order")
    if frame.time.hasnans:
        raise ArgumentError(f"{name}.time", frame.time, "a stamp in every row")
    for column in ("price", "size"):
        low = smallest if column == "size" else None
        figures = array(name, frame[column], ndim=1) if len(frame) else frame[column].to_numpy()
        if (figures <= 0).any() if low is None else (figures < low).any():
            raise ArgumentError(name, frame, "finite prices and sizes above zero")
    if not frame.side.isin([1, -1]).all():
        raise ArgumentError(f"{name}.side", frame.side.unique(), "+1 (taker bought) or -1")


@kernel
def _replay(order, kind, place, bid, size, stops, levels, remember):
    """Return places and sizes (M, 2, levels), state (M,), fills, and counts of odd events.

    State 0 is sound, 1 crossed, 2 too few levels. Side 0 are bids, 1 asks.
    """
    n, span = len(order), place.max() + 1
    life, at, left = np.zeros(n, np.int8), np.zeros(n, np.int64), np.zeros(n)  # by order
    total, number = np.zeros((2, span)), np.zeros((2, span), np.int64)
    best, taker, e = np.array([-1, span]), np.int64(-1), 0
    odd, found = np.zeros(6, np.int64), [(np.int64(0), np.int64(0), 0.0, np.int64(0))]
    places, sizes = np.zeros((len(stops), 2, levels), np.int64), np.zeros((len(stops), 2, levels))
    state = np.zeros(len(stops), np.int8)
    for m in range(len(stops)):
        while e < stops[m]:
            k, s, p, v, what = order[e], 0 if bid[e] else 1, place[e], size[e], kind[e]
            _count_odd(odd, life[k], what)
            if life[k] == 1:
                gone = left[k] - v if what == 1 or (what == 2 and v == 0.0) else 0.0
                if gone > 0 and at[k] == p and k != taker:
                    found.append((np.int64(e), np.int64(p), float(gone), np.int64(2 * s - 1)))
                number[s, at[k]] -= 1 if left[k] > 0 else 0
                total[s, at[k]] = total[s, at[k]] - left[k] if number[s, at[k]] > 0 else 0.0
            if what == 2:
                life[k] = 2
            elif life[k] < 2 or not remember:
                life[k], at[k], left[k] = 1, p, v
                number[s, p] += 1 if v > 0 else 0
                total[s, p] += v
                best[s] = max(best[0], p) if s == 0 else min(best[1], p)
            _settle(best, number, span)
            taker = -1 if best[0] < best[1] else k if what == 0 else taker
            e += 1
        state[m] = 1 if best[0] >= best[1] else 0
        for s in range(2):
            deep = _look(best[s], s, number[s], total[s], places[m, s], sizes[m, s])
            state[m] = 2 if not deep and state[m] == 0 else state[m]
    return places, sizes, state, _fills(found[1:]), odd


@kernel
def _count_odd(odd, life, what):
    """Count an event that an order in this state (0 unseen, 1 alive, 2 dead) cannot have."""
    if life == 2:
        odd[what] += 1
    elif life == 0 and what > 0:
        odd[what + 2] += 1
    elif life == 1 and what == 0:
        odd[5] += 1


@kernel
def _look(p, side, number, total, places, sizes):
    """Fill the best levels of a side from place ``p`` on; return whether there are enough."""
    j = 0
    while j < len(places) and 0 <= p < len(number):
        if number[p] > 0:
            places[j], sizes[j] = p, total[p]
            j += 1
        p += -1 if side == 0 else 1
    return j == len(places)


@kernel
def _settle(best, number, span):
    """Move the best places to where orders are: down for bids, up for asks."""
    while best[0] >= 0 and number[0, best[0]] == 0:
        best[0] -= 1
    while best[1] < span and number[1, best[1]] == 0:
        best[1] += 1


@kernel
def _fills(found):
    """Return a list of fills as four arrays."""
    n = len(found)
    row, place = np.empty(n, np.int64), np.empty(n, np.int64)
    amount, side = np.empty(n), np.empty(n, np.int64)
    for i in range(n):
        row[i], place[i], amount[i], side[i] = found[i]
    return row, place, amount, side
