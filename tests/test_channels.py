"""Channels: by hand, against independent formulas, and the laws that no channel may break."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal

from setrade.candles import CandleError
from setrade.channels import GROUPS, PERIODS, WARM_UP, NotFitted, Standardizer, compute
from setrade.errors import ArgumentError
from setrade.orderbook import Snapshots

N = 700
NAMES = [name for group in GROUPS.values() for name in group]
BARE = [name for name in NAMES if name not in GROUPS["order_flow"]]


def frame_of(o, h, low, c, v, freq: str = "15min") -> pd.DataFrame:
    """Candles from five arrays."""
    index = pd.date_range("2024-01-01", periods=len(c), freq=freq, tz="UTC", name="time")
    columns = {"open": o, "high": h, "low": low, "close": c, "volume": v}
    return pd.DataFrame({k: np.asarray(x, float) for k, x in columns.items()}, index=index)


def walk(n: int = N, seed: int = 0, tick: float = 0.0) -> pd.DataFrame:
    """A random walk with idle bars; prices are multiples of ``tick`` if it is above zero."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    first = np.r_[100.0, close[:-1]]
    high = np.maximum(first, close) * (1 + 0.01 * rng.random(n))
    low = np.minimum(first, close) * (1 - 0.01 * rng.random(n))
    volume = rng.gamma(0.5, 100, n) * (rng.random(n) > 0.25)
    if tick:
        first, high, low, close = (np.round(x / tick) * tick for x in (first, high, low, close))
    return frame_of(first, high, low, close, volume)


def books_for(frame: pd.DataFrame, scale: float = 1.0, lots: float = 1.0) -> Snapshots:
    """Three snapshots a bar, none before bar 5."""
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(5, len(frame)), 3)
    step = np.timedelta64(5, "m")
    opens = frame.index.tz_localize(None).to_numpy()[rows]
    time = opens + np.tile([0, 1, 2], len(rows) // 3) * step
    mid = frame["close"].to_numpy()[rows, None]
    level = np.arange(1, 4) * 0.01 * rng.uniform(0.5, 1, (len(rows), 1))
    bids, asks = rng.gamma(2, 1, (2, len(rows), 3)) + 0.1
    return Snapshots(time, (mid - level) * scale, bids * lots, (mid + level) * scale, asks * lots)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return walk()


# --- independent formulas, bar by bar or with pandas ---------------------------------------


def smooth(x: np.ndarray, n: int, weight: float, first: int) -> np.ndarray:
    """Exponential smoothing seeded at row ``first`` with the mean of the n values up to it."""
    out = np.full(len(x), np.nan)
    out[first] = x[first - n + 1 : first + 1].mean()
    for t in range(first + 1, len(x)):
        out[t] = out[t - 1] + weight * (x[t] - out[t - 1])
    return out


def ema(x, n):
    return smooth(np.asarray(x, float), n, 2 / (n + 1), n - 1)


def true_range(f):
    before = f["close"].shift()
    return pd.concat([f["high"] - f["low"], (f["high"] - before).abs(), (f["low"] - before).abs()],
                     axis=1).max(axis=1).to_numpy()  # fmt: skip


def rsi(f):
    d = f["close"].diff().to_numpy()
    up, down = (smooth(np.maximum(s * d, 0), 14, 1 / 14, 14) for s in (1, -1))
    return 100 * up / (up + down)


def macd(f, part):
    """TA-Lib starts the fast average late, so that both are first known at the same bar."""
    c = f["close"].to_numpy()
    line = smooth(c, 12, 2 / 13, 25) - smooth(c, 26, 2 / 27, 25)
    signal = smooth(line, 9, 2 / 10, 33)
    line[:33] = np.nan  # TA-Lib shows the line only where it has the signal
    return {"line": line, "signal": signal, "hist": line - signal}[part]


def bollinger(f, part):
    roll = f["close"].rolling(20)
    mean, spread = roll.mean(), 2 * roll.std(ddof=0)
    return {"upper": mean + spread, "middle": mean, "lower": mean - spread,
            "width": 2 * spread / mean,
            "b": (f["close"] - mean + spread) / (2 * spread)}[part]  # fmt: skip


def keltner(f, side):
    return ema(f["close"], 20) + side * 2 * smooth(true_range(f), 14, 1 / 14, 14)


def middle(f, n):
    return (f["high"].rolling(n).max() + f["low"].rolling(n).min()) / 2


def vwap(f):
    price = (f["high"] + f["low"] + f["close"]) / 3
    return (price * f["volume"]).rolling(20).sum() / f["volume"].rolling(20).sum()


def obv(f):
    signed = np.sign(f["close"].diff()) * f["volume"]
    return signed.fillna(f["volume"].iloc[0]).cumsum()


def talib_of(name):
    return lambda f: getattr(talib, name)(f["high"], f["low"], f["close"], 14)


RAW = ("open", "high", "low", "close", "volume")
FORMULAS = {name: (lambda f, name=name: f[name]) for name in RAW}
FORMULAS |= {
    "vwap": vwap, "obv": obv, "volume_ma": lambda f: f["volume"].rolling(20).mean(),
    "rsi": rsi, "macd": lambda f: macd(f, "line"), "macd_signal": lambda f: macd(f, "signal"),
    "macd_hist": lambda f: macd(f, "hist"), "roc": lambda f: 100 * f["close"].pct_change(10),
    "momentum": lambda f: f["close"].diff(10),
    "atr": lambda f: smooth(true_range(f), 14, 1 / 14, 14),
    "bollinger_upper": lambda f: bollinger(f, "upper"),
    "bollinger_middle": lambda f: bollinger(f, "middle"),
    "bollinger_lower": lambda f: bollinger(f, "lower"),
    "bollinger_percent_b": lambda f: bollinger(f, "b"),
    "bollinger_width": lambda f: bollinger(f, "width"),
    "keltner_upper": lambda f: keltner(f, 1), "keltner_middle": lambda f: ema(f["close"], 20),
    "keltner_lower": lambda f: keltner(f, -1),
    "sma": lambda f: f["close"].rolling(50).mean(), "ema": lambda f: ema(f["close"], 50),
    "adx": talib_of("ADX"), "plus_di": talib_of("PLUS_DI"), "minus_di": talib_of("MINUS_DI"),
    "ichimoku_tenkan": lambda f: middle(f, 9), "ichimoku_kijun": lambda f: middle(f, 26),
    "ichimoku_senkou_a": lambda f: ((middle(f, 9) + middle(f, 26)) / 2).shift(26),
    "ichimoku_senkou_b": lambda f: middle(f, 52).shift(26),
}  # fmt: skip


@pytest.mark.parametrize("name", BARE)
def test_each_channel_equals_an_independent_formula(frame, name):
    expected = np.asarray(FORMULAS[name](frame), float)
    np.testing.assert_allclose(compute(frame)[name], expected, rtol=1e-9, atol=1e-9, equal_nan=True)


PEER = {
    "rsi": ("rsi", {"length": 14}, 0), "roc": ("roc", {"length": 10}, 0),
    "momentum": ("mom", {"length": 10}, 0), "sma": ("sma", {"length": 50}, 0),
    "ema": ("ema", {"length": 50}, 0), "atr": ("atr", {"length": 14}, 0),
    "bollinger_upper": ("bbands", {"length": 20, "std": 2, "ddof": 0}, 2),
    "bollinger_percent_b": ("bbands", {"length": 20, "std": 2, "ddof": 0}, 4),
    "macd_hist": ("macd", {}, 1), "adx": ("adx", {"length": 14}, 0),
}  # fmt: skip


def test_peer_library_agrees_once_the_seeds_are_forgotten():
    """pandas-ta-classic's own code seeds other values; 600 bars later nothing is left of them."""
    peer = pytest.importorskip("pandas_ta_classic")
    long = walk(1_500)
    ours = compute(long)
    for name, (function, options, column) in PEER.items():
        inputs = {c: long[c] for c in RAW}
        theirs = pd.DataFrame(getattr(peer, function)(**inputs, **options, talib=False))
        np.testing.assert_allclose(
            ours[name][700:], theirs.iloc[700:, column], rtol=1e-6, atol=1e-6, err_msg=name
        )


# --- by hand ---------------------------------------------------------------------------------


def test_wilder_by_hand_on_a_staircase():
    """Up 2, down 1, for ever: the smoothed gain is 1 and the loss 0.5 after the seed's 14."""
    n = 120
    close = 100 + np.cumsum(np.tile([2.0, -1.0], n // 2))
    out = compute(frame_of(close, close, close, close, np.ones(n)))
    assert out["rsi"].iloc[14] == pytest.approx(100 * 1 / 1.5, rel=1e-9)  # 7 steps of each
    assert out["atr"].iloc[14] == pytest.approx(1.5)  # mean of seven 2 and seven 1
    assert out["atr"].iloc[15] == pytest.approx((13 * 1.5 + 1.0) / 14)
    assert out["momentum"].iloc[50] == pytest.approx(5.0)  # five pairs of +1
    assert out["obv"].iloc[[0, 1, 2]].tolist() == [1.0, 0.0, 1.0]


def test_vwap_by_hand():
    close = np.full(100, 10.0)
    close[50], volume = 16.0, np.zeros(100)
    volume[50], volume[49] = 3.0, 1.0
    out = compute(frame_of(close, close, close, close, volume))["vwap"]
    assert out.iloc[50] == (3 * 16 + 1 * 10) / 4  # eighteen idle bars have no weight
    assert out.iloc[68] == (3 * 16 + 1 * 10) / 4
    assert out.iloc[69] == 16.0  # the bar of volume 1 has left
    assert out.iloc[70] == 10.0  # no volume at all: plain mean of the price
    assert np.isnan(out.iloc[18])


def test_order_flow_by_hand():
    """Bars of 15 min from 00:00: the snapshot of 00:15:00 is seen by bar 0, a later one not."""
    frame = walk(100)
    stamps = np.array(["2024-01-01T00:15:00", "2024-01-01T00:15:01", "2024-01-01T01:00"], "M8[ns]")
    bid, ask = np.array([[99.0], [98.0], [97.0]]), np.array([[101.0], [102.0], [103.0]])
    sizes = np.array([[3.0], [1.0], [1.0]])
    books = Snapshots(stamps, bid, sizes, ask, sizes[::-1])
    raw, free = compute(frame, books), compute(frame, books, scale_free=True)
    assert raw["spread"].iloc[:5].tolist() == [2.0, 4.0, 4.0, 6.0, 6.0]
    assert free["spread"].iloc[:5].tolist() == [0.02, 0.04, 0.04, 0.06, 0.06]
    assert raw["imbalance"].iloc[:5].tolist() == [0.5, 0.0, 0.0, -0.5, -0.5]
    assert free["imbalance"].equals(raw["imbalance"])
    late = compute(frame, books[1:])
    assert late["spread"].isna().tolist() == [True] + [False] * 99


def test_columns_follow_the_groups(frame):
    assert list(compute(frame).columns) == BARE
    assert list(compute(frame, books_for(frame)).columns) == NAMES
    assert len(BARE) == 32
    assert len(NAMES) == 34


def test_one_buffer_one_type_same_index(frame):
    out = compute(frame)
    assert out.index.equals(frame.index)
    assert (out.dtypes == np.float64).all()
    assert np.shares_memory(out.to_numpy(), out["rsi"].to_numpy())  # no copy behind it
    assert out["rsi"].to_numpy().flags.c_contiguous


def test_the_candles_are_left_alone_and_integers_welcome():
    whole = walk(200, tick=1.0).astype(np.int64).assign(turnover=1.0)
    before = whole.copy()
    out = compute(whole, scale_free=True)
    pd.testing.assert_frame_equal(whole, before)
    pd.testing.assert_frame_equal(out, compute(whole.astype(float), scale_free=True))


# --- laws --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale_free", [False, True])
@pytest.mark.parametrize("with_books", [False, True])
def test_truncation_law_for_every_channel(frame, scale_free, with_books):
    books = books_for(frame) if with_books else None
    cuts = (99, 350, 351, 600, N - 2)
    assert_causal(lambda f: compute(f, books, scale_free=scale_free), frame, cuts=cuts)


@pytest.mark.parametrize("scale_free", [False, True])
def test_truncation_law_for_the_books(frame, scale_free):
    """Books that arrive after a bar's close, or are other ones, change nothing before it."""
    books, last = books_for(frame), 400
    close = frame.index[last + 1].tz_localize(None).to_numpy()
    known = books.time <= close
    wild = Snapshots(books.time, books.bid_price * np.where(known, 1, 0.5)[:, None],
                     books.bid_size, books.ask_price, books.ask_size)  # fmt: skip
    full = compute(frame, books, scale_free=scale_free).iloc[: last + 1]
    for other in (books[known], wild):
        part = compute(frame, other, scale_free=scale_free).iloc[: last + 1]
        pd.testing.assert_frame_equal(part, full, check_exact=True)


def test_ichimoku_plotted_early_is_caught(frame):
    """The wrong versions: the cloud undisplaced backwards, and the lagging line of charts."""
    for wrong in (lambda f: middle(f, 52).shift(-26), lambda f: f["close"].shift(-26)):
        with pytest.raises(AssertionError):
            assert_causal(wrong, frame)


FIRST = {
    "vwap": 19, "volume_ma": 19, "rsi": 14, "macd": 33, "macd_signal": 33, "macd_hist": 33,
    "roc": 10, "momentum": 10, "atr": 14, "sma": 49, "ema": 49, "adx": 27, "plus_di": 14,
    "minus_di": 14, "ichimoku_tenkan": 8, "ichimoku_kijun": 25, "ichimoku_senkou_a": 51,
    "ichimoku_senkou_b": 77,
}  # fmt: skip
FIRST |= {name: 19 for name in BARE if name.startswith(("bollinger", "keltner"))}
FIRST_FREE = FIRST | {"close": 1, "volume": 19, "obv": 20, "volume_ma": 99, "momentum": 14}


@pytest.mark.parametrize("scale_free", [False, True])
def test_warm_up_rows_are_nan_and_no_others(frame, scale_free):
    out, first = compute(frame, scale_free=scale_free), FIRST_FREE if scale_free else FIRST
    for name in BARE:
        row = first.get(name, 0)
        assert out[name].iloc[:row].isna().all(), name
        assert out[name].iloc[row:].notna().all(), name
    assert max(FIRST.values()) == 77
    assert max(FIRST_FREE.values()) == WARM_UP


def test_a_late_start_is_forgotten(frame):
    """TRAPS 10: channels on a part of the history against the same on all of it."""
    full, late = compute(frame, scale_free=True), compute(frame.iloc[200:], scale_free=True)
    np.testing.assert_allclose(late.iloc[400:], full.iloc[600:], rtol=1e-7, atol=1e-9)
    exact = [c for c in BARE if not c.startswith(("macd", "keltner", "ema", "rsi", "adx", "atr"))
             and not c.endswith("_di") and c != "momentum"]  # fmt: skip
    np.testing.assert_allclose(late[exact].iloc[99:], full[exact].iloc[299:], rtol=1e-9, atol=1e-11)
    raw = compute(frame)["obv"].iloc[200:] - compute(frame.iloc[200:])["obv"]
    assert raw.std() == pytest.approx(0, abs=1e-6)  # raw OBV: the same but for its start
    assert abs(raw.iloc[0]) > 1


def test_a_zero_seeded_average_is_not_warm(frame):
    """TRAPS 10, the wrong version: after 50 bars an eighth of it is still the zero."""

    def average(close: np.ndarray) -> np.ndarray:
        out = np.zeros(len(close))
        for t in range(1, len(close)):
            out[t] = out[t - 1] + 2 / 51 * (close[t] - out[t - 1])
        return out

    flat = np.full(200, 10.0)
    assert average(flat)[50] == pytest.approx(10 * (1 - (49 / 51) ** 50))  # 8.65
    assert (compute(frame_of(*[flat] * 5))["ema"].iloc[49:] == 10.0).all()
    full, late = average(frame["close"].to_numpy()), average(frame["close"].to_numpy()[200:])
    assert abs(late[99] / full[299] - 1) > 0.01  # the window's own start is still seen
    ours = compute(frame)["ema"].iloc[299], compute(frame.iloc[200:])["ema"].iloc[99]
    assert ours[1] == pytest.approx(ours[0], rel=0.01)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    price=st.floats(1e-9, 1e9),
    lots=st.floats(1e-9, 1e9),
    tick=st.sampled_from([0.0, 0.25, 1.0]),
)
def test_scale_free_means_free_of_units(seed, price, lots, tick):
    """TRAPS 12: other units of price and volume, ties on a tick grid included."""
    frame = walk(250, seed, tick)
    other = frame * price
    other["volume"] = frame["volume"] * lots
    ours = compute(frame, books_for(frame), scale_free=True)
    theirs = compute(other, books_for(frame, price, lots), scale_free=True)
    np.testing.assert_allclose(theirs, ours, rtol=1e-7, atol=1e-8, equal_nan=True)


def test_the_library_s_adx_depends_on_the_unit_where_moves_tie():
    """Why ADX is our own: equal moves, rounded by a factor, are unequal for TA-Lib."""
    frame = walk(700, 3, tick=0.25)
    h, low, c = (frame[k].to_numpy() for k in ("high", "low", "close"))
    third = 1 / 3
    wrong = np.nanmax(np.abs(talib.ADX(h, low, c) - talib.ADX(h * third, low * third, c * third)))
    assert wrong > 0.1
    ours, other = compute(frame)["adx"], compute(frame.assign(**{
        k: frame[k] * third for k in ("open", "high", "low", "close")}))["adx"]  # fmt: skip
    np.testing.assert_allclose(other, ours, atol=1e-8, equal_nan=True)
    np.testing.assert_allclose(ours, talib.ADX(h, low, c), atol=1e-8, equal_nan=True)


@pytest.mark.parametrize("scale_free", [False, True])
def test_a_dead_market_has_defined_channels(scale_free):
    """No move, no volume: no 0/0, and no sign of fear (TA-Lib calls it RSI 0)."""
    flat = np.full(300, 7.0)
    out = compute(frame_of(flat, flat, flat, flat, np.zeros(300)), scale_free=scale_free)
    assert out.iloc[WARM_UP:].notna().all().all()
    assert (out["rsi"].iloc[14:] == (0.0 if scale_free else 50.0)).all()
    assert (out["bollinger_percent_b"].iloc[19:] == (0.0 if scale_free else 0.5)).all()
    assert talib.RSI(flat, 14)[-1] == 0.0
    if scale_free:
        assert np.abs(out.iloc[WARM_UP:].to_numpy()).max() == 0.0


def test_a_market_that_dies_stays_finite_and_small():
    """After 500 flat, idle bars ratios stay bounded: no noise over noise."""
    frame = walk(400)
    tail = np.full(500, frame["close"].iloc[-1])
    dead = frame_of(*(np.r_[frame[k], tail] for k in ("open", "high", "low", "close")),
                    np.r_[frame["volume"], np.zeros(500)])  # fmt: skip
    out = compute(dead, scale_free=True).iloc[-300:]
    assert (compute(dead)["volume_ma"].iloc[-300:] == 0).all()
    assert np.isfinite(out.to_numpy()).all()
    bounded = out.drop(columns=["rsi", "adx", "plus_di", "minus_di"])
    assert np.abs(bounded.to_numpy()).max() < 1e-3
    assert (compute(dead)["bollinger_percent_b"].iloc[-300:] == 0.5).all()


def test_signed_volume_stays_in_its_bounds(frame):
    flow = compute(frame, scale_free=True)["obv"].dropna()
    assert flow.between(-1, 1).all()
    rising = frame_of(*[np.arange(1.0, 201.0)] * 4, np.ones(200))
    np.testing.assert_allclose(compute(rising, scale_free=True)["obv"].iloc[20:], 1.0)


@pytest.mark.skipif("SETRADE_DATA" not in os.environ, reason="SETRADE_DATA is not set")
def test_real_bars_laws_and_parity():
    """41,822 hourly bars: complete after the warm-up, unit-free, equal to TA-Lib's ADX."""
    path = Path(os.environ["SETRADE_DATA"]) / "bybit_btcusdt_perp_1h.parquet"
    table = pd.read_parquet(path)
    index = pd.DatetimeIndex(pd.to_datetime(table.pop("ts"), unit="ms", utc=True), name="time")
    frame = table.set_index(index)
    out = compute(frame, scale_free=True)
    assert out.iloc[WARM_UP:].notna().all().all()
    assert np.isfinite(out.iloc[WARM_UP:].to_numpy()).all()
    other = compute(frame * np.pi, scale_free=True)
    np.testing.assert_allclose(other, out, atol=1e-7, equal_nan=True)
    raw = compute(frame)
    for name in ("adx", "plus_di", "minus_di"):
        expected = talib_of(name.upper())(frame)
        np.testing.assert_allclose(raw[name], expected, atol=1e-8, equal_nan=True)
    assert_causal(lambda f: compute(f, scale_free=True), frame.iloc[-3000:])


# --- the standardizer ----------------------------------------------------------------------------


def test_standardizer_by_hand():
    train = pd.DataFrame({"a": [np.nan, 1.0, 3.0], "b": [9.0, 5.0, 5.0]})
    scaler = Standardizer().fit(train)
    assert scaler.rows == 2  # the row with a NaN taught nothing, its 9 neither
    assert scaler.mean.tolist() == [2.0, 5.0]
    assert scaler.scale.tolist() == [1.0, 1.0]  # b is constant: centred only
    out = scaler.transform(train)
    np.testing.assert_array_equal(out, [[np.nan, 4.0], [-1.0, 0.0], [1.0, 0.0]])


def test_standardizer_uses_training_rows_only(frame):
    """TRAPS 11, right and wrong: fitted on the past, and on the whole history."""

    def honest(f: pd.DataFrame) -> pd.DataFrame:
        table = compute(f, scale_free=True)
        return Standardizer().fit(table.iloc[:300]).transform(table)

    def leaking(f: pd.DataFrame) -> pd.DataFrame:
        table = compute(f, scale_free=True)
        return Standardizer().fit(table).transform(table)

    assert_causal(honest, frame)
    with pytest.raises(AssertionError, match="the past changed"):
        assert_causal(leaking, frame)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9999),
    shift=st.floats(-1e3, 1e3),
    factor=st.floats(0.01, 100),
    c=st.integers(1, 5),
)
def test_standardizer_forgets_shift_and_unit(seed, shift, factor, c):
    x = np.random.default_rng(seed).normal(size=(40, c))
    a, b = Standardizer().fit(x).transform(x), Standardizer().fit(x * factor + shift)
    np.testing.assert_allclose(b.transform(x * factor + shift), a, atol=1e-7)
    np.testing.assert_allclose([a.mean(), a.std()], [0, 1], atol=1e-9)


def test_standardizer_takes_batches_and_keeps_a_copy():
    x = np.random.default_rng(0).normal(3, 2, (8, 50, 4))
    scaler = Standardizer().fit(x)
    np.testing.assert_allclose(scaler.transform(x), (x - x.mean((0, 1))) / x.std((0, 1)))
    again = Standardizer.from_dict(scaler.to_dict())
    np.testing.assert_array_equal(again.transform(x), scaler.transform(x))


def test_constant_channels_that_rounding_disguises():
    train = np.c_[np.full(1000, 0.1), np.arange(1000.0)]
    assert Standardizer().fit(train).scale[0] == 1.0


# --- bad input -----------------------------------------------------------------------------------

GOOD = walk(120)
TABLE = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
FITTED = Standardizer().fit(TABLE)


def spoil(**cells) -> pd.DataFrame:
    return GOOD.assign(**cells)


BAD_CANDLES = {
    "type": GOOD.to_numpy(), "none": None, "empty": GOOD.iloc[:0], "columns": GOOD[["open"]],
    "order": GOOD.iloc[::-1], "naive": GOOD.tz_localize(None), "nan": spoil(close=np.nan),
    "gap": GOOD.drop(GOOD.index[50]), "infinite": spoil(volume=np.inf), "zero": spoil(low=0.0),
    "negative volume": spoil(volume=-1.0), "too short": GOOD.iloc[:WARM_UP],
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CANDLES)
def test_bad_candles_are_named(case):
    with pytest.raises((CandleError, ArgumentError), match="^candles: "):
        compute(BAD_CANDLES[case])


BAD = [
    ("books", lambda: compute(GOOD, GOOD)),
    ("books", lambda: compute(GOOD, "books")),
    ("scale_free", lambda: compute(GOOD, scale_free="yes")),
    ("scale_free", lambda: compute(GOOD, scale_free=None)),
    ("train", lambda: Standardizer().fit([[1.0], [2.0]])),
    ("train", lambda: Standardizer().fit(np.ones(3))),
    ("train", lambda: Standardizer().fit(np.ones((0, 3)))),
    ("train", lambda: Standardizer().fit(np.ones((1, 3)))),
    ("train", lambda: Standardizer().fit(np.full((5, 3), np.nan))),
    ("train", lambda: Standardizer().fit(np.array([[1.0], [np.inf]]))),
    ("train", lambda: Standardizer().fit(np.array([["a"], ["b"]]))),
    ("train", lambda: Standardizer().fit(pd.DataFrame({"a": ["x", "y"]}))),
    ("train", lambda: Standardizer().fit(TABLE.iloc[:0])),
    ("x", lambda: FITTED.transform(None)),
    ("x", lambda: FITTED.transform(np.ones((2, 3)))),
    ("x", lambda: FITTED.transform(np.ones(2))),
    ("x", lambda: FITTED.transform(np.full((1, 2), -np.inf))),
    ("x", lambda: FITTED.transform(TABLE[["b", "a"]])),
    ("x", lambda: FITTED.transform(TABLE.rename(columns={"a": "c"}))),
    ("x", lambda: FITTED.transform(TABLE[["a"]])),
    ("state", lambda: Standardizer.from_dict(None)),
    ("state", lambda: Standardizer.from_dict({"mean": [0.0]})),
    ("state", lambda: Standardizer.from_dict(FITTED.to_dict() | {"scale": [1.0]})),
    ("state", lambda: Standardizer.from_dict(FITTED.to_dict() | {"scale": [0.0, 1.0]})),
    ("state", lambda: Standardizer.from_dict(FITTED.to_dict() | {"columns": ["a"]})),
    ("state['mean']", lambda: Standardizer.from_dict(FITTED.to_dict() | {"mean": [np.nan, 1.0]})),
    ("standardizer", lambda: Standardizer().transform(TABLE)),
    ("standardizer", lambda: Standardizer().to_dict()),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_bad_arguments_are_named(name, call):
    with pytest.raises(ArgumentError) as error:
        call()
    assert error.value.name == name
    assert "allowed" in str(error.value)


def test_unfitted_is_a_type_of_its_own():
    with pytest.raises(NotFitted):
        Standardizer().transform(TABLE)


@pytest.mark.parametrize("function", ["EMA", "RSI", "ATR"])
def test_changed_settings_of_the_library_are_refused(function):
    talib.set_unstable_period(function, 7)
    try:
        with pytest.raises(ArgumentError, match=function):
            compute(GOOD)
    finally:
        talib.set_unstable_period(function, 0)
    compute(GOOD)


def test_other_compatibility_of_the_library_is_refused(monkeypatch):
    """Metastock's mode seeds averages with the first value; TA-Lib 0.8 no longer has it."""
    monkeypatch.setattr(talib, "get_compatibility", lambda: 1)
    with pytest.raises(ArgumentError, match="compatibility"):
        compute(GOOD)


def test_the_heat_map_shows_the_correlations(frame):
    from matplotlib.figure import Figure

    from setrade.plots import correlations

    table = compute(frame, scale_free=True)
    image = correlations(table, Figure().subplots())
    np.testing.assert_allclose(image.get_array(), table.dropna().corr())
    for bad in (table.to_numpy(), table.iloc[:50]):
        with pytest.raises(ArgumentError, match="^table"):
            correlations(bad, Figure().subplots())


def test_periods_are_those_of_the_table():
    assert PERIODS["ichimoku_senkou_b"] + PERIODS["ichimoku_shift"] - 1 == 77
