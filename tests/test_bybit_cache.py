"""The cache: never a bar lost or doubled, whatever happens to the process or its files."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import bybit, candles, simulator
from setrade.bybit.history import Cache
from setrade.bybit.http import Bars
from studies import torture_rest as torture

KLINES = "/v5/market/kline"
HOUR = 3_600_000


@pytest.fixture(scope="module")
def source() -> pd.DataFrame:
    return torture.source(2500, 0, "1h")  # 2024-01-01 to 2024-04-14


@pytest.fixture(scope="module")
def server(source):
    with simulator.serve(source) as running:
        yield running


@pytest.fixture
def get(server, tmp_path):
    """``get(first, last)``: bars by number through the cache, and the requests it took."""
    rest = bybit.Rest(server.http_url)
    grid = pd.date_range("2024-01-01", periods=2501, freq="h", tz="UTC")

    def call(first: int, last: int, **more):
        before = server.requests[KLINES]
        got = rest.klines("BTCUSDT", "1h", grid[first], grid[last], cache=tmp_path, **more)
        return got, server.requests[KLINES] - before

    return call


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


def test_a_month_a_file_and_nothing_is_asked_for_twice(get, source, tmp_path):
    first, pages = get(0, 2500)
    assert pages == 3
    assert [p.stem for p in files(tmp_path)] == ["2024-01", "2024-02", "2024-03", "2024-04"]
    again, pages = get(0, 2500)
    assert pages == 0
    assert torture.same_bytes(first, source)
    assert torture.same_bytes(again, source)
    inner, pages = get(700, 800)
    assert pages == 0
    assert torture.same_bytes(inner, source.iloc[700:800])


def test_only_what_is_missing_is_asked_for(get, source):
    get(100, 200)
    get(400, 500)
    got, pages = get(0, 600)
    assert pages == 3  # before, between, after
    assert torture.same_bytes(got, source.iloc[:600])


def test_the_open_month_grows_and_holds_closed_bars_only(source, tmp_path):
    with simulator.serve(source, now=source.index[100] + pd.Timedelta("30min")) as server:
        rest = bybit.Rest(server.http_url)
        for k in range(3):
            got = rest.klines("BTCUSDT", "1h", source.index[0], "2030-01-01T00:00Z", cache=tmp_path)
            assert torture.same_bytes(got, source.iloc[: 100 + k])
            kept = candles.read(files(tmp_path)[0])
            assert len(kept) == 100 + k
            server.advance("1h")
        assert server.requests[KLINES] == 3


def test_series_do_not_mix(get, source, tmp_path):
    get(0, 10)
    mark, pages = get(0, 10, price="mark")
    assert pages == 0  # asked from another path
    assert (mark.volume == 0).all()
    with simulator.serve(source * 2) as other:  # another host
        rest = bybit.Rest(other.http_url)
        got = rest.klines("BTCUSDT", "1h", source.index[0], source.index[10], cache=tmp_path)
    assert torture.same_bytes(got, (source * 2).iloc[:10])
    assert len(files(tmp_path)) == 3


DAMAGES = {
    "empty": lambda raw: b"",
    "cut at a tenth": lambda raw: raw[: len(raw) // 10],
    "cut at nine tenths": lambda raw: raw[: len(raw) * 9 // 10],
    "last byte lost": lambda raw: raw[:-1],
    "one bit in the numbers": lambda raw: raw[:3000] + bytes([raw[3000] ^ 1]) + raw[3001:],
    "zeros": lambda raw: bytes(len(raw)),
    "text": lambda raw: b"time,open\n",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_reported_and_fetched_again(get, source, tmp_path, name, caplog):
    get(0, 2500)
    victim = files(tmp_path)[1]
    victim.write_bytes(DAMAGES[name](victim.read_bytes()))
    with caplog.at_level(logging.WARNING):
        got, pages = get(0, 2500)
    assert torture.same_bytes(got, source)
    assert pages == 1
    assert "2024-02" in caplog.text
    assert get(0, 2500)[1] == 0  # mended


def test_an_altered_bar_does_not_pass_for_the_exchanges(get, source, tmp_path):
    """A whole, readable parquet file with one other figure: only the sha256 tells."""
    import pyarrow.parquet as pq

    get(0, 2500)
    victim = files(tmp_path)[2]
    table = pq.read_table(victim)
    close = table["close"].to_numpy().copy()
    close[5] *= 1.000001
    pq.write_table(table.set_column(4, "close", [close]), victim)
    assert torture.same_bytes(get(0, 2500)[0], source)


def test_files_that_changed_places_are_not_used(get, source, tmp_path):
    get(0, 2500)
    one, two = files(tmp_path)[:2]
    one.write_bytes(two.read_bytes())
    got, pages = get(0, 2500)
    assert pages == 1
    assert torture.same_bytes(got, source)


def test_a_file_of_another_symbol_is_not_used(source, tmp_path):
    with simulator.serve({"BTCUSDT": source, "ETHUSDT": source / 20}) as server:
        rest, span = bybit.Rest(server.http_url), torture.span(source)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            rest.klines(symbol, "1h", *span, cache=tmp_path)
        half = len(files(tmp_path)) // 2
        bitcoin, ether = files(tmp_path)[:half], files(tmp_path)[half:]
        ether[1].write_bytes(bitcoin[1].read_bytes())
        assert torture.same_bytes(rest.klines("ETHUSDT", "1h", *span, cache=tmp_path), source / 20)


def test_what_a_killed_writer_leaves_is_not_in_the_way(get, source, tmp_path):
    get(0, 100)
    whole = files(tmp_path)[0]
    left = whole.with_name(f".{whole.name}.0123.tmp")
    left.write_bytes(b"half a file")
    os.utime(left, (0, 0))  # days ago
    assert torture.same_bytes(get(0, 2500)[0], source)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_gap_is_an_error_named_and_not_stored(source, tmp_path):
    dead = simulator.ListedInstrument("BTCUSDT", status="Closed")
    end = torture.span(source)[1]
    with simulator.serve(source, instruments=[dead], now=end + pd.Timedelta("9D")) as server:
        rest = bybit.Rest(server.http_url)
        for _ in range(2):  # the second time from the cache, with the same answer
            with pytest.raises(bybit.GapError, match=end.strftime("the first %Y-%m-%d %H:%M")):
                rest.klines("BTCUSDT", "1h", source.index[0], end + pd.Timedelta("3h"),
                            cache=tmp_path)  # fmt: skip
        kept = rest.klines("BTCUSDT", "1h", source.index[0], end, cache=tmp_path)
    assert torture.same_bytes(kept, source)


def test_two_at_once_ask_for_each_page_once(server, source, tmp_path):
    before, got = server.requests[KLINES], []

    def work() -> None:
        rest = bybit.Rest(server.http_url)
        got.append(rest.klines("BTCUSDT", "1h", *torture.span(source), cache=tmp_path))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    assert all(torture.same_bytes(g, source) for g in got)
    assert server.requests[KLINES] - before == 3


def test_a_folder_that_cannot_be_written_is_an_error(server, source, tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match="file"):
        bybit.Rest(server.http_url).klines(
            "BTCUSDT", "1h", source.index[0], source.index[5], cache=tmp_path / "file"
        )


@given(st.lists(st.sets(st.integers(0, 3000), min_size=1, max_size=40), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_whatever_the_order_every_bar_is_kept_once(tmp_path_factory, parts):
    """Pages in any order and from any months: what went in comes out, through files."""
    folder, known = tmp_path_factory.mktemp("cache"), set[int]()
    for part in parts:
        cache = Cache(folder, ("host", "X", "1h"), "trade")  # a new process
        new = np.array(sorted(part - known), np.int64)
        with cache.locked():
            if len(new):
                cache.add(Bars(new * HOUR, np.tile(new[:, None] / 7, 6)))
        known |= part
        opens = np.arange(3001) * HOUR
        got = Cache(folder, ("host", "X", "1h"), "trade").get(opens)
        assert (got.stamps // HOUR).tolist() == sorted(known)
        assert got.values[:, 3].tolist() == [k / 7 for k in sorted(known)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.slow
def test_twelve_kills_lose_and_double_nothing():
    found = torture.kills(12, 6_000, seed=2)
    assert found["kills"] == found["identical"] == 12
    assert found["damaged_files"] == 0
    assert found["resumed_with_least"]


HOLDS_THE_LOCK = """
import sys, time
from setrade.bybit.history import Cache
with Cache(sys.argv[1], ("host", "X", "1h"), "trade").locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_waits_and_a_killed_one_leaves_no_lock(tmp_path):
    entered = threading.Event()

    def enter() -> None:
        with Cache(tmp_path, ("host", "X", "1h"), "trade").locked():
            entered.set()

    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        waiting = threading.Thread(target=enter)
        waiting.start()
        assert not entered.wait(0.3)
        process.kill()
        assert entered.wait(10.0)
        waiting.join()
