"""Every channel that the chapters name, in one buffer; TA-Lib underneath where it has one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import talib

from setrade.candles import bar_interval, check
from setrade.errors import ArgumentError
from setrade.orderbook import Snapshots

from . import kernels
from .scale_free import to_scale_free

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
    if not isinstance(scale_free, bool | np.bool_):
        raise ArgumentError("scale_free", scale_free, "True or False")
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
    kernels.volume_window(
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
    kernels.percent_b(close, upper, lower, out["bollinger_percent_b"])
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
    kernels.directional(high, low, close, p["adx"], out["plus_di"], out["minus_di"], out["adx"])
    tenkan = out["ichimoku_tenkan"]
    kijun = out["ichimoku_kijun"]
    tenkan[:] = talib.MIDPRICE(high, low, p["ichimoku_tenkan"])
    kijun[:] = talib.MIDPRICE(high, low, p["ichimoku_kijun"])
    late = p["ichimoku_shift"]
    senkou_a, senkou_b = out["ichimoku_senkou_a"], out["ichimoku_senkou_b"]
    np.add(tenkan[:-late], kijun[:-late], out=senkou_a[late:])
    senkou_a[late:] /= 2.0
    senkou_b[late:] = talib.MIDPRICE(high, low, p["ichimoku_senkou_b"])[:-late]
