"""The command line, the simulator's stream, and an exchange as the broker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from functools import partial

import numpy as np
import pandas as pd
import pytest

from setrade import candles, simulator
from setrade.bybit import TestnetBroker
from setrade.costs import Costs
from setrade.inference import FOLDER
from setrade.live import Journal, JournalError, Pipeline, Recorded, Streamed, Trader
from setrade.live.__main__ import BROKERS, broker, main
from setrade.live.config import Config, parser
from setrade.live.types import bars_of
from setrade.risk import Risk
from setrade.signals import Signal

MINUTE = 60_000_000_000
KEY, SECRET = "loopback-key", "loopback-secret"
MARKET = candles.synthetic(400, seed=9, interval="1min").candles


def model(window: pd.DataFrame) -> Signal:
    """Turn round every third minute."""
    at = window.index[-1]
    return Signal(at, (0.6, -0.4, 0.0)[at.minute // 3 % 3], 1.0, source="rule")


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    told = re.sub(r"\s+", " ", capsys.readouterr().out)
    for action in parser()._actions:
        assert action.help, action.dest
        assert max(action.option_strings, key=len) in told


@pytest.mark.parametrize(
    "options",
    [["--source", "file"], ["--size", "-1"], ["--stop-atr", "-1"], ["--equity", "0"],
     ["--speed", "-1"], ["--history", "0"]],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    assert main([*options, "--minutes", "1"]) == 3
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith("ArgumentError: ")


@pytest.mark.parametrize("name", ["testnet", "demo"])
@pytest.mark.parametrize("bars", [[], ["--source", "simulator"], ["--source", "file"]])
def test_an_exchange_is_traded_on_its_own_bars_only(tmp_path, capsys, name, bars):
    journal = tmp_path / "r.sqlite"
    assert main(["--broker", name, *bars, "--journal", str(journal)]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "source" in told[0]
    assert "exchange's own bars" in told[0]
    assert not journal.exists()
    Config(broker=name, source="bybit").check()


def test_file_to_table_and_on_from_there(tmp_path, capsys):
    """A file, no pauses; the second run goes on with the same journal."""
    path = tmp_path / "bars.parquet"
    MARKET.to_parquet(path)
    options = ["--source", "file", "--file", str(path), "--speed", "0", "--minutes", "40",
               "--history", "150", "--model", "rules", "--lookback", "12", "--on-exit", "keep",
               "--journal", str(tmp_path / "r.sqlite")]  # fmt: skip
    assert main(options) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("start: rules on the plain runtime")
    assert first[1] == (f"broker: paper | account: paper, in this process | source: file {path} "
                        "| mode: replay")  # fmt: skip
    assert first[2].split() == ["bar", "(UTC)", "close", "wanted", "held", "equity", "orders",
                                "ms", "note"]  # fmt: skip
    bars = [line for line in first if line.startswith("2024-")]
    assert len(bars) == 40
    assert first[-1].startswith("ended: end; 40 bars")
    assert main(options) == 0
    second = [line for line in capsys.readouterr().out.splitlines() if line.startswith("2024-")]
    stamps = pd.to_datetime([line[:16] for line in bars + second], utc=True)
    assert list(stamps) == list(MARKET.index[150:230])  # no bar twice, none left out


@pytest.mark.skipif(os.name == "nt", reason="nobody can send Ctrl-C to one process of Windows")
def test_ctrl_c_leaves_cleanly(tmp_path):
    """The whole on an empty folder, at 60 times real time, ended by Ctrl-C."""
    command = [sys.executable, "-m", "setrade.live", "--source", "simulator", "--minutes", "30",
               "--speed", "240", "--journal", "run.sqlite"]  # fmt: skip
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    lines = []
    while sum(line.startswith("2024-") for line in lines) < 4:
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()[1]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "ended: interrupt;" in out
    assert "held 0.000000" in out
    journal = Journal(tmp_path / "run.sqlite")
    assert journal.unfinished() == []
    assert journal.counts()["bars"] >= 304
    journal.close()


def test_the_stream_may_break(tmp_path):
    """Aborted, silent and down: each bar once and in order all the same."""
    clock = simulator.Clock(MARKET.index[150], 300.0)
    rows = []
    with simulator.serve(MARKET, clock=clock) as server:
        source = Streamed("BTCUSDT", "1min", 30, http_url=server.http_url, ws_url=server.ws_url,
                          silence=0.8)  # fmt: skip
        journal = Journal(tmp_path / "r.sqlite", durable=False)
        from setrade.bybit import PaperBroker

        trader = Trader(journal, PaperBroker("BTCUSDT"), "BTCUSDT", MINUTE, equity=10_000.0)

        def on_row(row, seconds):
            rows.append(row)
            if len(rows) in (3, 8):
                server.inject(simulator.Fault("abort" if len(rows) == 3 else "silence"))

        line = Pipeline(source, model, trader, window=10, limit=20,
                        stale_timeout=10.0, on_row=on_row)  # fmt: skip
        report = asyncio.run(line.run())
    assert report.reason == "end"
    times = [row.time for row in rows]
    assert times == list(range(times[0], times[0] + 20 * MINUTE, MINUTE))
    truth = MARKET["close"]
    assert [row.close for row in rows] == [truth[pd.Timestamp(t, tz="UTC")] for t in times]
    journal.close()


@pytest.fixture
def exchange(monkeypatch):
    monkeypatch.setenv("BYBIT_TESTNET_API_KEY", KEY)
    monkeypatch.setenv("BYBIT_TESTNET_API_SECRET", SECRET)
    with simulator.serve(MARKET, keys={KEY: SECRET}) as server:
        yield server


def trade(path, server, bars, *, risk=None, faults=(), **more):
    """Run over recorded bars with the simulator as the broker."""
    journal = Journal(path, durable=False)
    broker = TestnetBroker(base_url=server.http_url, timeout=0.5, settle=0.5)
    trader = Trader(journal, broker, "BTCUSDT", MINUTE, equity=10_000.0, risk=risk, settle=1.0)
    server.inject(*faults)
    rows = []
    on_row = more.pop("on_row", lambda row: None)
    line = Pipeline(
        Recorded(bars, 30, checked=False), more.pop("model", model), trader, window=10,
        on_row=lambda row, seconds: (rows.append(row), on_row(row)), **more,
    )  # fmt: skip
    report = asyncio.run(line.run())
    return report, rows, journal, broker


def test_at_an_exchange_each_order_exists_once(tmp_path, exchange):
    """Answers lost on the way: the exchange's orders are the journal's, its position ours."""
    kinds = ("drop", "cut_body", "http_500")
    lost = [simulator.Fault(kind, path="/v5/order/create") for kind in kinds]
    report, rows, journal, broker = trade(tmp_path / "r.sqlite", exchange, MARKET[:50], faults=lost)
    assert report.reason == "end"
    there = exchange.accounts[KEY].orders
    ours = {r[0] for r in journal.db.execute("SELECT link_id FROM intents WHERE status = 'filled'")}
    assert len(there) == len(ours) >= 4
    assert {o.link for o in there} == ours
    assert broker.position("BTCUSDT") == pytest.approx(rows[-1].units)
    assert broker.equity() == pytest.approx(rows[-1].equity, rel=1e-3)
    assert not exchange.faults.pending
    journal.close()


def test_a_stop_is_sent_to_the_exchange(tmp_path, exchange):
    def long(window):
        return Signal(window.index[-1], 0.5, 1.0, source="rule")

    bars = MARKET[:50].copy()
    bars.iloc[40, bars.columns.get_loc("low")] *= 0.9
    _, rows, journal, broker = trade(
        tmp_path / "r.sqlite", exchange, bars, risk=Risk(stop_atr=20.0), model=long
    )
    held = {row.time: row.units for row in rows}
    times = [bar.time for bar in bars_of(bars)]
    assert held[times[39]] > 0
    assert held[times[40]] == 0.0  # and it is not opened again: the signal has not changed
    assert broker.position("BTCUSDT") == 0.0
    orders = exchange.accounts[KEY].orders
    assert [(o.side, o.reduce_only) for o in orders] == [("Buy", False), ("Sell", True)]
    journal.close()


def test_a_journal_remembers_whose_account_it_is(tmp_path, monkeypatch):
    """Another account's keys on a journal that holds something would leave that alone."""
    monkeypatch.setenv("BYBIT_TESTNET_API_SECRET", SECRET)
    config, journal = Config(broker="testnet", source="bybit"), Journal(tmp_path / "j.sqlite")
    with simulator.serve(MARKET, keys={KEY: SECRET, "loopback-other": SECRET}) as server:
        monkeypatch.setitem(BROKERS, "testnet", partial(TestnetBroker, base_url=server.http_url))
        for _ in range(2):
            monkeypatch.setenv("BYBIT_TESTNET_API_KEY", KEY)
            broker(config, Costs(), journal)
        monkeypatch.setenv("BYBIT_TESTNET_API_KEY", "loopback-other")
        with pytest.raises(JournalError, match="made with user 1, not 2"):
            broker(config, Costs(), journal)
        server.inject(simulator.Fault("http_500", path="/v5/user/query-api"))
        assert broker(config, Costs(), journal).position("BTCUSDT") == 0.0  # nobody said whose
    journal.close()


def test_the_speed_of_a_replay(tmp_path):
    """1,000 times real time on one-minute bars is 17 bars a second."""
    from setrade.bybit import PaperBroker

    journal = Journal(tmp_path / "r.sqlite", durable=False)
    trader = Trader(journal, PaperBroker("BTCUSDT"), "BTCUSDT", MINUTE, equity=10_000.0)
    line = Pipeline(Recorded(MARKET, 30), model, trader, window=10)
    start = time.perf_counter()
    asyncio.run(line.run())
    assert 370 / (time.perf_counter() - start) > 17
    journal.close()


def test_a_model_file_cut_short_between_two_runs(tmp_path, capsys):
    """A new run is refused in one line; one that holds a position goes on a level lower."""
    path, weights = tmp_path / "bars.parquet", tmp_path / "weights.safetensors"
    candles.sample().iloc[:340].to_parquet(path)
    whole = (FOLDER / "efficientnet_micro.safetensors").read_bytes()
    weights.write_bytes(whole)
    options = ["--source", "file", "--file", str(path), "--speed", "0", "--minutes", "450",
               "--model", "efficientnet", "--checkpoint", str(weights), "--stop-atr", "0",
               "--history", "260", "--on-exit", "keep",
               "--journal", str(tmp_path / "r.sqlite")]  # fmt: skip
    assert main(options) == 0
    assert "held 0.000000" not in capsys.readouterr().out
    weights.write_bytes(whole[:300_000])
    assert main([*options[:-2], "--on-exit", "flat", *options[-2:]]) == 0
    told = capsys.readouterr().out
    assert "model: efficientnet -> se_trader: CheckpointError" in told
    assert "held 0.000000" in told.splitlines()[-1]
    journal = Journal(tmp_path / "r.sqlite")
    sources = [row[0] for row in journal.db.execute("SELECT source FROM signals ORDER BY time")]
    kinds = [row[0] for row in journal.db.execute("SELECT kind FROM events")]
    journal.close()
    assert sources == ["efficientnet"] * 30 + ["se_trader"] * 30
    assert kinds.count("failover") == 1
    assert main([*options[:-1], str(tmp_path / "new.sqlite")]) == 3
    assert capsys.readouterr().err.startswith("CheckpointError: --checkpoint")


def test_the_whole_default_on_an_exchange_in_this_process(tmp_path, monkeypatch, capsys):
    """No options but speed: the ensemble, its pictures, the table; nothing else is there."""
    monkeypatch.chdir(tmp_path)
    assert main(["--minutes", "4", "--speed", "240", "--patience", "6000"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("2024-") for line in told) == 4
    assert told[-1].startswith("ended: end; 4 bars, held 0.000000")
    journal = Journal("run.sqlite")
    assert [row[0] for row in journal.db.execute("SELECT source FROM signals")] == ["ensemble"] * 4
    journal.close()


def test_bars_that_close_while_the_stream_opens_are_not_lost():
    """Forty bars a second: some close between the question by REST and the first message."""
    clock = simulator.Clock(MARKET.index[150], 2_400.0)
    with simulator.serve(MARKET, clock=clock) as server:
        source = Streamed("BTCUSDT", "1min", 50, http_url=server.http_url, ws_url=server.ws_url)

        async def opens() -> list[int]:
            found = [(await source.history())[-1].time]
            async with aclosing(source.bars(found[0])) as bars:
                while len(found) < 12:
                    found.append((await anext(bars)).bar.time)
            return found

        found = asyncio.run(opens())
    assert set(np.diff(found)) == {source.step}


def test_a_paper_file_of_the_first_version_is_gone_on_with(tmp_path):
    """It stood beside the journal; once the journal keeps the broker itself, that counts."""
    path = tmp_path / "r.sqlite"
    bar = {"kind": "bar", "funding": [0.0, 0.0]}
    request = {"symbol": "BTCUSDT", "side": "buy", "qty": "0.1", "price": None, "leg": 0,
               "decided": "2024-01-01T00:00:00+00:00", "reduce_only": False,
               "strategy": "live"}  # fmt: skip
    lines = [
        {"kind": "account", "symbol": "BTCUSDT", "equity": 10_000.0, "order": "taker",
         "costs": {"fee_bps": 5.5, "maker_fee_bps": 2.0, "slippage_bps": 1.0}, "against": "bar",
         "max_leverage": None, "instrument": None},
        bar | {"time": "2024-01-01T00:00:00+00:00", "prices": [100.0] * 4},
        {"kind": "submit", "intent": request},
        bar | {"time": "2024-01-01T00:01:00+00:00", "prices": [101.0] * 4},
    ]  # fmt: skip
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (tmp_path / "r.sqlite.paper").write_text(text, encoding="utf-8")
    config, journal = Config.read(["--journal", str(path)]), Journal(path)
    old = broker(config, Costs(), journal)
    assert old.position("BTCUSDT") == 0.1
    assert old.equity() == pytest.approx(10_000 - 0.1 * 101 * (1e-4 + 5.5e-4 * 1.0001))
    journal.keep("paper", {"any": "state"})
    assert broker(config, Costs(), journal).position("BTCUSDT") == 0.0
    journal.close()
