"""Channels: from five columns of candles to 34 in six groups, each known at its bar's close.

`compute` gives them in raw units or in scale-free forms for the nets, `Standardizer` fits
their mean and scale on training rows. Chapter 02 writes some of them out by hand.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pandas as pd
import talib

from setrade.candles import bar_interval, check
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, flag, integer
from setrade.orderbook import Snapshots

__all__ = ["GROUPS", "PERIODS", "WARM_UP", "NotFitted", "Standardizer", "compute"]


# ---- The loops that TA-Lib does not have, one pass over the bars each.


TIE = 1e-9  # two moves closer than this fraction of the price are equal
ATR_FLOOR = 1e-6  # of the price: below it a market counts as standing still


@kernel
def _amounts(high, low, close, volume, t):
    """Return of one bar: price, price times volume, volume, signed volume."""
    price = (high[t] + low[t] + close[t]) / 3.0
    sign = np.sign(close[t] - close[t - 1]) if t > 0 else 0.0
    return price, price * volume[t], volume[t], sign * volume[t]


@kernel
def volume_window(high, low, close, volume, n, vwap, mean, flow):
    """Fill three columns over the newest ``n`` bars; rows before the first full window stay.

    ``vwap``: sum of price times volume over sum of volume, the price being (h + l + c) / 3;
    the plain mean of that price where no volume traded. ``mean``: mean volume. ``flow``:
    volume of rising bars minus that of falling ones over all volume, 0 where none traded
    (row n on: it needs the close before the window).

    A window is the tail of one block of n bars and the head of the next, so that each bar is
    added twice whatever n is. To add up each window anew takes 2 times as long for n = 20, 9 times
    for n = 100 (measured, 250 calls). Nothing is subtracted: a running sum would keep noise of old
    volumes where the true sum is zero.
    """
    tails = np.zeros((n + 1, 4))  # row j: sums over bars j.. of the block before
    for start in range(0, len(close), n):
        prices = money = traded = signed = 0.0
        for t in range(start, min(start + n, len(close))):
            a, b, c, d = _amounts(high, low, close, volume, t)
            prices, money, traded, signed = prices + a, money + b, traded + c, signed + d
            if t >= n - 1:
                tail = tails[t - start + 1]
                total = traded + tail[2]
                mean[t] = total / n
                vwap[t] = (money + tail[1]) / total if total > 0.0 else (prices + tail[0]) / n
                flow[t] = (signed + tail[3]) / total if total > 0.0 else 0.0
        for j in range(min(n, len(close) - start) - 1, -1, -1):
            amounts = _amounts(high, low, close, volume, start + j)
            for k in range(4):
                tails[j, k] = tails[j + 1, k] + amounts[k]
    flow[n - 1] = np.nan  # its oldest bar has no close before it


@kernel
def directional(high, low, close, n, plus_di, minus_di, adx):
    """Fill Wilder's +DI, -DI (from row n) and ADX (from row 2n - 1), seeded as TA-Lib does.

    TA-Lib compares the upward and the downward move exactly. On a tick grid they are often
    equal, and then the unit of the price decides by its rounding which one counts. Here
    moves within ``TIE`` of the price are equal, and neither counts, as Wilder has it.
    """
    plus = minus = true_range = total = 0.0
    for t in range(1, len(close)):
        up, down = high[t] - high[t - 1], low[t - 1] - low[t]
        kept = 1.0 - 1.0 / n if t >= n else 1.0
        tie = abs(up - down) <= TIE * close[t]
        plus = plus * kept + (up if up > 0.0 and up > down and not tie else 0.0)
        minus = minus * kept + (down if down > 0.0 and down > up and not tie else 0.0)
        true_range = true_range * kept + max(high[t], close[t - 1]) - min(low[t], close[t - 1])
        if t < n:
            continue
        plus_di[t] = 100.0 * plus / true_range if true_range > 0.0 else 0.0
        minus_di[t] = 100.0 * minus / true_range if true_range > 0.0 else 0.0
        both = plus + minus
        dx = 100.0 * abs(plus - minus) / both if both > 0.0 else 0.0
        if t < 2 * n:
            total += dx
            if t == 2 * n - 1:
                adx[t] = total / n
        else:
            adx[t] = (adx[t - 1] * (n - 1) + dx) / n


@kernel
def percent_b(close, upper, lower, out):
    """Fill where the close stands between two bands, 0 at the lower, 1 at the upper.

    Bands without width (a flat window) have the close in their middle: 0.5.
    """
    for t in range(len(close)):
        width = upper[t] - lower[t]
        flat = width <= TIE * close[t]
        out[t] = 0.5 if flat else (close[t] - lower[t]) / width


@kernel
def level_to_ratio(column, close):
    """Turn a price level into its distance from the close, as a fraction of it, in place."""
    for t in range(len(close)):
        column[t] = column[t] / close[t] - 1.0


@kernel
def difference_to_atr(column, atr, close):
    """Divide a difference of prices by the ATR (at least ``ATR_FLOOR`` of the price), in place."""
    for t in range(len(close)):
        if atr[t] == atr[t]:  # max() would hide a NaN
            column[t] /= max(atr[t], ATR_FLOOR * close[t])
        else:
            column[t] = np.nan


@kernel
def volume_ratios(volume, mean, n, blocks):
    """Turn volume and its n-bar mean into ratios less one, in place.

    ``volume`` becomes volume / mean - 1 and ``mean`` becomes mean / (mean over ``blocks``
    times n bars) - 1; both are 0 where nothing traded.
    """
    for t in range(len(volume) - 1, -1, -1):  # backwards: the older means are still means
        volume[t] = volume[t] / mean[t] - 1.0 if mean[t] != 0.0 else 0.0
        long = np.nan
        if t >= blocks * n - 1:
            long = 0.0
            for k in range(blocks):
                long += mean[t - k * n] / blocks
        mean[t] = mean[t] / long - 1.0 if long != 0.0 else 0.0


# ---- From raw units to ratios.


LEVELS = (
    "open", "high", "low", "vwap", "bollinger_upper", "bollinger_middle", "bollinger_lower",
    "keltner_upper", "keltner_middle", "keltner_lower", "sma", "ema", "ichimoku_tenkan",
    "ichimoku_kijun", "ichimoku_senkou_a", "ichimoku_senkou_b",
)  # fmt: skip
DIFFERENCES = ("macd", "macd_signal", "macd_hist", "momentum")
PERCENTS = ("roc", "rsi", "adx", "plus_di", "minus_di")
CENTRED = ("rsi", "bollinger_percent_b")
LONG_BLOCKS = 5  # the long mean of volume spans this many short ones


def to_scale_free(close: np.ndarray, out: dict[str, np.ndarray], volume_period: int) -> None:
    """Turn filled columns of raw channels into ratios, in place.

    Args:
        close: raw closes, shape ``(n,)``; must not share memory with ``out``.
        out: raw channels by name, each of shape ``(n,)``; ``obv``, ``spread`` and
            ``imbalance`` are ratios already.
        volume_period: bars in ``out["volume_ma"]``.
    """
    for name in LEVELS:
        level_to_ratio(out[name], close)
    for name in DIFFERENCES:
        difference_to_atr(out[name], out["atr"], close)
    out["close"][1:] = close[1:] / close[:-1] - 1.0
    out["close"][0] = np.nan  # no bar before it
    out["atr"] /= close
    for name in PERCENTS:
        out[name] /= 100.0
    for name in CENTRED:
        out[name] -= 0.5
    volume_ratios(out["volume"], out["volume_ma"], volume_period, LONG_BLOCKS)


# ---- All channels in one buffer.


GROUPS: dict[str, tuple[str, ...]] = {
    "price": ("open", "high", "low", "close", "vwap"),
    "volume": ("volume", "obv", "volume_ma"),
    "momentum": ("rsi", "macd", "macd_signal", "macd_hist", "roc", "momentum"),
    "volatility": (
        "atr", "bollinger_upper", "bollinger_middle", "bollinger_lower", "bollinger_percent_b",
        "bollinger_width", "keltner_upper", "keltner_middle", "keltner_lower",
    ),
    "trend": (
        "sma", "ema", "adx", "plus_di", "minus_di", "ichimoku_tenkan", "ichimoku_kijun",
        "ichimoku_senkou_a", "ichimoku_senkou_b",
    ),
    "order_flow": ("spread", "imbalance"),
}  # fmt: skip
PERIODS = {
    "vwap": 20, "volume_ma": 20, "rsi": 14, "macd_fast": 12, "macd_slow": 26, "macd_signal": 9,
    "roc": 10, "momentum": 10, "atr": 14, "bollinger": 20, "keltner": 20, "sma": 50, "ema": 50,
    "adx": 14, "ichimoku_tenkan": 9, "ichimoku_kijun": 26, "ichimoku_senkou_b": 52,
    "ichimoku_shift": 26,
}  # fmt: skip
WARM_UP = 99  # rows before the first complete one in scale-free form; 77 in raw units
BOLLINGER_DEVIATIONS = KELTNER_ATRS = 2.0
TALIB_MEMORIES = ("EMA", "RSI", "ATR")  # functions whose start TA-Lib lets a user postpone

Columns = dict[str, np.ndarray]


def compute(
    candles: pd.DataFrame, books: Snapshots | None = None, *, scale_free: bool = False
) -> pd.DataFrame:
    """Compute all channels of a frame of candles, each from its own bar and older ones.

    Raw units: prices in the quote coin, volume and OBV in the candles' volume unit, RSI, ADX,
    +DI and -DI from 0 to 100, ROC in percent, Bollinger width as a fraction of the middle.
    Periods are in ``PERIODS``. VWAP runs over the newest 20 bars, price being (h + l + c) / 3
    (its plain mean where the window has no volume). EMA, RSI and ATR are seeded with a simple
    mean, as TA-Lib does, never with zero. RSI is 50 until the price first moves; %B is 0.5 in
    a flat window. Keltner is EMA +- 2 ATR. The Ichimoku lines senkou A and B at bar t were
    computed at bar t - 26. Spread and imbalance (all levels) are those of the last snapshot
    at or before the bar's close, however old.

    OBV adds up from the first row: its raw level depends on where the frame begins. EMA,
    MACD, RSI, ATR and ADX remember their seed, ever more faintly.

    Scale-free forms (``scale_free=True``) do not change when all prices, or all volumes, are
    multiplied by a positive constant. Price levels and bands: level / close - 1 (``close``
    itself: its return). MACD lines and momentum: over ATR. ATR: over close. ROC: a fraction.
    RSI: RSI / 100 - 0.5; %B less 0.5; ADX, +DI, -DI over 100. Volume: over its 20-bar mean,
    less 1; ``volume_ma``: over the 100-bar mean, less 1; ``obv``: signed over total volume of
    the newest 20 bars, which does not depend on where the frame begins. Spread: over mid.

    Args:
        candles: n bars that pass `setrade.candles.check`, more than ``WARM_UP``.
        books: snapshots; without them the order-flow columns are absent.
        scale_free: ratios instead of raw units.

    Returns:
        float64 DataFrame (n, 32), or (n, 34) with books, index as ``candles``, columns in
        the order of ``GROUPS``. Rows that are still warming up are NaN, never zero.

    Raises:
        CandleError: the candles have faults.
        ArgumentError: too few bars, wrong types, or TA-Lib's global settings were changed.

    Reference:
        J. W. Wilder, New Concepts in Technical Trading Systems, 1978 (RSI, ATR, ADX).
    """
    _check_arguments(candles, books, scale_free)
    groups = [g for g in GROUPS if books is not None or g != "order_flow"]
    names = [name for g in groups for name in GROUPS[g]]
    table = np.empty((len(candles), len(names)), order="F")
    table[: WARM_UP + 1] = np.nan
    x = {c: np.ascontiguousarray(candles[c].to_numpy(np.float64)) for c in GROUPS["price"][:4]}
    x["volume"] = np.ascontiguousarray(candles["volume"].to_numpy(np.float64))
    out = dict(zip(names, table.T, strict=True))
    for fill in (_price_and_volume, _momentum, _volatility, _trend):
        fill(x, out)
    if books is not None:
        _order_flow(candles, books, scale_free, out)
    if scale_free:
        to_scale_free(x["close"], out, PERIODS["volume_ma"])
    else:
        out["obv"][:] = talib.OBV(x["close"], x["volume"])
    return pd.DataFrame(table, index=candles.index, columns=names, copy=False)


def _check_arguments(candles: pd.DataFrame, books: Snapshots | None, scale_free: bool) -> None:
    """Refuse what `compute` cannot take."""
    check(candles)
    if len(candles) <= WARM_UP:
        raise ArgumentError("candles", candles, f"more than {WARM_UP} bars, the longest warm-up")
    if books is not None and not isinstance(books, Snapshots):
        raise ArgumentError("books", books, "a setrade.orderbook.Snapshots or None")
    flag("scale_free", scale_free)
    for name in TALIB_MEMORIES:
        if period := talib.get_unstable_period(name):
            raise ArgumentError(f"talib.set_unstable_period({name!r})", period, "0")
    if mode := talib.get_compatibility():
        raise ArgumentError("talib.set_compatibility", mode, "0, which seeds averages by a mean")


def _order_flow(candles: pd.DataFrame, books: Snapshots, scale_free: bool, out: Columns) -> None:
    """Fill spread and imbalance as known at each bar's close; NaN before the first snapshot."""
    closes = pd.DatetimeIndex(candles.index) + bar_interval(candles)
    unit = books.mid() if scale_free else 1.0
    out["spread"][:] = books.join(books.spread() / unit, closes)
    out["imbalance"][:] = books.join(books.imbalance(), closes)


def _price_and_volume(x: Columns, out: Columns) -> None:
    """Fill the groups price and volume; ``obv`` gets its scale-free form."""
    for name in ("open", "high", "low", "close", "volume"):
        out[name][:] = x[name]
    volume_window(
        x["high"], x["low"], x["close"], x["volume"], PERIODS["vwap"],
        out["vwap"], out["volume_ma"], out["obv"],
    )  # fmt: skip


def _momentum(x: Columns, out: Columns) -> None:
    """Fill RSI, MACD, rate of change (percent) and momentum."""
    close, p = x["close"], PERIODS
    out["rsi"][:] = talib.RSI(close, p["rsi"])
    moved = close != close[0]
    still = int(moved.argmax()) if moved.any() else len(close)
    out["rsi"][p["rsi"] : still] = 50.0  # TA-Lib says 0, as though it had only fallen
    macd = talib.MACD(close, p["macd_fast"], p["macd_slow"], p["macd_signal"])
    out["macd"][:], out["macd_signal"][:], out["macd_hist"][:] = macd
    out["roc"][:] = talib.ROC(close, p["roc"])
    out["momentum"][:] = talib.MOM(close, p["momentum"])


def _volatility(x: Columns, out: Columns) -> None:
    """Fill ATR, Bollinger bands and Keltner channels."""
    close, k = x["close"], BOLLINGER_DEVIATIONS
    out["atr"][:] = talib.ATR(x["high"], x["low"], close, PERIODS["atr"])
    upper, middle, lower = talib.BBANDS(close, PERIODS["bollinger"], k, k)
    out["bollinger_upper"][:], out["bollinger_lower"][:] = upper, lower
    out["bollinger_middle"][:] = middle
    percent_b(close, upper, lower, out["bollinger_percent_b"])
    np.subtract(upper, lower, out=out["bollinger_width"])
    out["bollinger_width"] /= middle
    out["keltner_middle"][:] = talib.EMA(close, PERIODS["keltner"])
    reach = KELTNER_ATRS * out["atr"]
    np.add(out["keltner_middle"], reach, out=out["keltner_upper"])
    np.subtract(out["keltner_middle"], reach, out=out["keltner_lower"])


def _trend(x: Columns, out: Columns) -> None:
    """Fill moving averages, directional movement and Ichimoku's lines."""
    high, low, close, p = x["high"], x["low"], x["close"], PERIODS
    out["sma"][:] = talib.SMA(close, p["sma"])
    out["ema"][:] = talib.EMA(close, p["ema"])
    directional(high, low, close, p["adx"], out["plus_di"], out["minus_di"], out["adx"])
    tenkan = out["ichimoku_tenkan"]
    kijun = out["ichimoku_kijun"]
    tenkan[:] = talib.MIDPRICE(high, low, p["ichimoku_tenkan"])
    kijun[:] = talib.MIDPRICE(high, low, p["ichimoku_kijun"])
    late = p["ichimoku_shift"]
    senkou_a, senkou_b = out["ichimoku_senkou_a"], out["ichimoku_senkou_b"]
    np.add(tenkan[:-late], kijun[:-late], out=senkou_a[late:])
    senkou_a[late:] /= 2.0
    senkou_b[late:] = talib.MIDPRICE(high, low, p["ichimoku_senkou_b"])[:-late]


# ---- Mean 0 and deviation 1.


Table = TypeVar("Table", pd.DataFrame, np.ndarray)
CONSTANT = 1e-12  # a deviation below this fraction of the mean is rounding


class NotFitted(ArgumentError):
    """`Standardizer.transform` was called before `Standardizer.fit`."""


class Standardizer:
    """Subtract the training mean of each channel and divide by its training deviation.

    ``fit`` sees the training rows and nothing else: statistics of the whole history would
    tell each bar about its future. Channels lie on the last axis. A channel that is constant
    while training has no deviation; it is only centred (scale 1).

    Attributes:
        mean: shape ``(C,)``, or None before ``fit``.
        scale: shape ``(C,)``, population standard deviations, or None before ``fit``.
        columns: channel names if fitted on a DataFrame, else None.
        rows: number of complete training rows.
    """

    def __init__(self) -> None:
        self.mean: np.ndarray | None = None
        self.scale: np.ndarray | None = None
        self.columns: tuple[str, ...] | None = None
        self.rows = 0

    def fit(self, train: pd.DataFrame | np.ndarray) -> Standardizer:
        """Learn mean and scale from the rows of ``train`` that have no NaN; return self.

        Args:
            train: DataFrame (bars, C), or array (..., C) with channels last. Rows with a
                NaN, the warm-up as a rule, are left out; ``rows`` counts the others.

        Returns:
            This object.

        Raises:
            ArgumentError: not numbers, infinite, or fewer than two complete rows.
        """
        x = _numbers("train", train)
        x = x.reshape(-1, x.shape[-1])
        x = x[~np.isnan(x).any(axis=1)]
        if len(x) < 2:
            raise ArgumentError("train", train, f"at least 2 rows without NaN (it has {len(x)})")
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        constant = deviation <= CONSTANT * np.abs(mean)
        self.mean, self.scale, self.rows = mean, np.where(constant, 1.0, deviation), len(x)
        self.columns = tuple(map(str, train.columns)) if isinstance(train, pd.DataFrame) else None
        return self

    def transform(self, x: Table) -> Table:
        """Return ``(x - mean) / scale``; NaN stays NaN.

        Args:
            x: DataFrame with the columns of ``fit`` in the same order, or array (..., C).

        Returns:
            The same kind, shape, index and columns, float64.

        Raises:
            NotFitted: ``fit`` was not called.
            ArgumentError: not numbers, infinite, other channels or another order.
        """
        mean, scale = self._statistics()
        values = _numbers("x", x)
        if values.shape[-1] != len(mean):
            raise ArgumentError("x", x, f"{len(mean)} channels on the last axis")
        if not isinstance(x, pd.DataFrame):
            return (values - mean) / scale
        if self.columns is not None and tuple(map(str, x.columns)) != self.columns:
            names = list(map(str, x.columns))
            raise ArgumentError("x", names, f"the columns of fit, in order: {list(self.columns)}")
        return pd.DataFrame((values - mean) / scale, x.index, x.columns, copy=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and names for a checkpoint; `from_dict` takes them back."""
        mean, scale = self._statistics()
        return {
            "mean": mean.tolist(),
            "scale": scale.tolist(),
            "columns": None if self.columns is None else list(self.columns),
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Standardizer:
        """Return the standardizer that `to_dict` described; raise `ArgumentError` if broken."""
        if not isinstance(state, dict) or set(state) != {"mean", "scale", "columns", "rows"}:
            raise ArgumentError("state", state, "a dict with mean, scale, columns and rows")
        self = cls()
        self.mean = array("state['mean']", state["mean"], ndim=1).astype(float)
        self.scale = array("state['scale']", state["scale"], ndim=1).astype(float)
        names = state["columns"]
        if names is not None and not isinstance(names, list | tuple):
            raise ArgumentError("state['columns']", names, "a list of names, or None")
        self.columns = None if names is None else tuple(names)
        self.rows = integer("state['rows']", state["rows"], 2)
        self._statistics()
        return self

    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and scale; raise unless they are what ``fit`` might have left."""
        if self.mean is None or self.scale is None:
            raise NotFitted("standardizer", self, "one whose fit(train) was called")
        mean, scale = (
            array(f"standardizer.{n}", getattr(self, n), ndim=1) for n in ("mean", "scale")
        )
        if {len(scale), len(self.columns or mean)} != {len(mean)} or (scale <= 0).any():
            raise ArgumentError("state", scale, "one mean, scale > 0 and column for each channel")
        return mean, scale


def _numbers(name: str, value: Any) -> np.ndarray:
    """Return a table as float64 with at least two axes; NaN may be in it, infinity not."""
    if not isinstance(value, pd.DataFrame | np.ndarray):
        raise ArgumentError(name, value, "a DataFrame, or an array with channels on the last axis")
    if isinstance(value, pd.DataFrame) and any(t.kind not in "iuf" for t in value.dtypes):
        raise ArgumentError(name, value, "a DataFrame of numbers")
    x = array(name, value.to_numpy() if isinstance(value, pd.DataFrame) else value, finite=False)
    if x.ndim < 2:
        raise ArgumentError(name, value, "at least two axes, channels on the last")
    if np.isinf(x).any():
        raise ArgumentError(name, value, "finite numbers or NaN, no infinity")
    return x.astype(np.float64, copy=False)
