"""All channels of a million bars: against pandas-ta-classic, and against TA-Lib's bare calls."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib

from setrade.channels import GROUPS, Standardizer, compute

N = 1_000_000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A million one-minute bars."""
    rng = np.random.default_rng(0)
    close = 60_000 * np.exp(np.cumsum(rng.normal(0, 0.001, N)))
    first = np.r_[60_000.0, close[:-1]]
    high = np.maximum(first, close) * (1 + 0.001 * rng.random(N))
    low = np.minimum(first, close) * (1 - 0.001 * rng.random(N))
    columns = {"open": first, "high": high, "low": low, "close": close}
    index = pd.date_range("2022", periods=N, freq="min", tz="UTC", name="time")
    return pd.DataFrame(columns, index).assign(volume=rng.gamma(1, 10, N))


def bare_calls(x: dict[str, np.ndarray]) -> list:
    """Every indicator of the table that TA-Lib has, and nothing else."""
    h, low, c, v = x["high"], x["low"], x["close"], x["volume"]
    return [
        talib.OBV(c, v), talib.SMA(v, 20), talib.RSI(c, 14), talib.MACD(c, 12, 26, 9),
        talib.ROC(c, 10), talib.MOM(c, 10), talib.ATR(h, low, c, 14), talib.BBANDS(c, 20, 2, 2),
        talib.EMA(c, 20), talib.SMA(c, 50), talib.EMA(c, 50), talib.ADX(h, low, c, 14),
        talib.PLUS_DI(h, low, c, 14), talib.MINUS_DI(h, low, c, 14), talib.MIDPRICE(h, low, 9),
        talib.MIDPRICE(h, low, 26), talib.MIDPRICE(h, low, 52),
    ]  # fmt: skip


def peer_calls(ta, f: pd.DataFrame) -> list:
    """The same channels with pandas-ta-classic's own code."""
    h, low, c, v = f["high"], f["low"], f["close"], f["volume"]
    own = {"talib": False}
    return [
        ta.obv(c, v, **own), ta.sma(v, length=20, **own), ta.rsi(c, **own), ta.macd(c, **own),
        ta.roc(c, length=10, **own), ta.mom(c, length=10, **own), ta.atr(h, low, c, **own),
        ta.bbands(c, length=20, std=2, ddof=0, **own), ta.kc(h, low, c, length=20, scalar=2, **own),
        ta.sma(c, length=50, **own), ta.ema(c, length=50, **own), ta.adx(h, low, c, **own),
        ta.ichimoku(h, low, c, include_chikou=False, as_dataframe=True), ta.vwap(h, low, c, v),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:::pandas_ta_classic")
@pytest.mark.parametrize("scale_free", [False, True])
def test_all_channels_of_a_million_bars(race, frame, scale_free):
    """Ten times pandas-ta-classic asked; a third of TA-Lib's pace plus the result's bytes."""
    import pandas_ta_classic as ta

    x = {c: frame[c].to_numpy() for c in frame}
    width = sum(map(len, GROUPS.values())) - len(GROUPS["order_flow"])

    def floor() -> None:
        bare_calls(x)
        np.empty((N, width), order="F").fill(1.0)

    medians = race(
        lambda: compute(frame, scale_free=scale_free),
        pandas_ta_classic=lambda: peer_calls(ta, frame),
        talib_and_bytes=floor,
    )
    race.bound("pandas_ta_classic", medians["pandas_ta_classic"] / medians["ours"], 10)
    race.bound("talib_and_bytes", medians["talib_and_bytes"] / medians["ours"], 1 / 3)


def test_standardizer_costs_few_copies(race, frame):
    """Mean, deviation and transform of the whole table, in units of one copy of it."""
    table = compute(frame, scale_free=True)
    scaler = Standardizer().fit(table.iloc[: N // 2])
    medians = race(lambda: scaler.transform(table), copy=lambda: table.to_numpy().copy(order="K"))
    race.bound("copy", medians["copy"] / medians["ours"], 0.1)
