"""What a run shows while it goes: metrics over HTTP, drift alerts, and the status page."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from setrade import candles, simulator
from setrade.bybit import PaperBroker
from setrade.errors import ArgumentError
from setrade.live import Failover, Journal, Pipeline, Recorded, Streamed, Trader
from setrade.live.drift import Drift, Watch, inputs
from setrade.live.monitor import Latencies, Monitor, gpu
from setrade.live.status import PortError, StatusHandler, page, panels
from setrade.live.types import OrderLine, Reading, Row, Snapshot
from setrade.risk import Risk
from setrade.signals import Signal

MINUTE = 60_000_000_000
MARKET = candles.synthetic(900, seed=5, interval="1min").candles
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


def turning(window: pd.DataFrame) -> Signal:
    """Turn round every few minutes; tell gates and an agreement, as an ensemble does."""
    t = window.index[-1].minute
    gates = {"rsi": 0.5 + 0.1 * math.sin(t), "atr": 0.4 + 0.1 * math.cos(7 * t)}
    position = (0.6, -0.4, 0.0)[t // 3 % 3]
    return Signal(window.index[-1], position, 0.85, attention=gates, agreement=0.75)


class Run:
    """A run over recorded bars with a monitor; ``figures`` is what its endpoint told."""

    def __init__(self, path, bars=MARKET, *, history=100, source=None, model=None, risk=None,
                 monitor=None, on_row=lambda row: None, **more) -> None:  # fmt: skip
        path.mkdir(exist_ok=True)
        self.journal, self.rows = Journal(path / "r.sqlite", durable=False), []
        self.monitor = monitor
        trader = Trader(self.journal, PaperBroker("BTCUSDT"), "BTCUSDT", MINUTE, equity=10_000.0,
                        risk=risk)  # fmt: skip
        model = model or Failover([("net", turning), ("rules", turning)], budget=0.5)
        self.line = Pipeline(
            source or Recorded(bars, history), model, trader, window=60,
            monitor=monitor, on_row=lambda row, seconds: (self.rows.append(row), on_row(row)),
            **more,
        )  # fmt: skip

    def go(self):
        self.report = asyncio.run(self.line.run())
        return self

    def events(self, kind: str) -> list[dict]:
        sql = "SELECT figures FROM events WHERE kind = ? ORDER BY id"
        return [json.loads(r[0]) for r in self.journal.db.execute(sql, (kind,))]


def wait_for(condition, seconds: float = 6.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def get(port: int, path: str = "/") -> tuple[str, dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode(), dict(answer.headers)


def scraped(port: int) -> dict[str, float]:
    """Read the metrics as Prometheus does: name and labels to value."""
    found = {}
    for family in text_string_to_metric_families(get(port, "/metrics")[0]):
        for s in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))
            found[f"{s.name}{{{labels}}}" if labels else s.name] = s.value
    return found


def test_latencies_by_hand():
    kept = Latencies(4)
    assert math.isnan(kept.quantile("model", 0.5))
    for seconds in (9.0, 0.002, 0.002, 0.03, 20.0):  # the first one is forgotten
        kept.add("model", seconds)
    assert [kept.quantile("model", q) for q in (0.5, 0.75, 0.99)] == [0.002, 0.03, 20.0]
    assert kept.quantiles("model") == (0.002, 20.0, 20.0)


def test_metrics_by_hand():
    m = Monitor()
    m.stage("model", 0.002)
    m.row(Row(0, 1.0, 0.5, -0.25, 9_990.0, 2), 0.004)
    values = {s.name: s.value for family in m.registry.collect() for s in family.samples}
    assert values["setrade_units"] == -0.25
    assert values["setrade_orders_total"] == 2
    assert m.latencies.quantile("model", 0.5) == 0.002


def test_everything_is_scraped_from_the_real_endpoint(tmp_path):
    monitor, seen = Monitor(), []
    port = monitor.serve(0)
    run = Run(tmp_path, MARKET[:300], monitor=monitor,
              on_row=lambda row: len(run.rows) == 150 and seen.append(scraped(port)))  # fmt: skip
    run.go()
    assert seen[0]["setrade_bars_total"] == 149  # while it runs; the row is told a moment later
    assert seen[0]["setrade_halted"] == 0
    told = scraped(port)
    assert told["setrade_bars_total"] == 200
    for stage in ("model", "trade", "bar"):
        low, high = (
            told[f"setrade_latency_quantile_seconds{{quantile={q},stage={stage}}}"]
            for q in ("0.5", "0.99")
        )
        assert 0 < low <= high < 5
        assert told[f"setrade_latency_seconds_count{{stage={stage}}}"] == 200
    assert told["setrade_confidence_bucket{le=0.9}"] == 200
    assert told["setrade_confidence_bucket{le=0.8}"] == 0
    assert told["setrade_agreement"] == 0.75
    assert told["setrade_failover_active{level=net}"] == 1
    assert told["setrade_failover_active{level=rules}"] == told["setrade_failover_level"] == 0
    assert told["setrade_latency_budget_seconds"] == 0.5
    assert told["setrade_queue_depth{queue=trade}"] >= 0
    assert told["setrade_orders_total"] == sum(row.orders for row in run.rows) > 20
    assert told["setrade_monitor_errors_total"] == 0
    assert told["setrade_halted"] == 1  # the run is over
    assert told["setrade_day_result"] == pytest.approx(run.rows[-1].equity / 10_000 - 1, abs=0.02)
    assert not any("gpu" in name or "stream" in name for name in told)  # absent, not zero


def test_a_drift_is_told_once_in_journal_and_metrics(tmp_path):
    """From bar 500 on, two of three bars have next to no volume; the closes stay what they are."""
    bars = MARKET.copy()
    quiet = np.arange(len(bars)) % 3 > 0
    quiet[:500] = False
    bars.loc[quiet, "volume"] *= 0.01
    reference = inputs(MARKET[:400])
    monitor = Monitor(inputs=Watch(reference, window=60, every=3, bins=5))
    run = Run(tmp_path / "a", bars, history=400, monitor=monitor).go()
    told = [e for e in run.events("drift") if e["name"] == "volume"]
    assert [e["state"] for e in told][-1] == "alarm"
    assert len(told) <= 2  # watch, then alarm, and then no more
    assert {e["watch"] for e in told} == {"input"}
    assert told[-1]["psi"] > 0.25
    figures = scraped(monitor.serve(0))
    assert figures["setrade_drift_state{column=volume,watch=input}"] == 2
    assert figures["setrade_drift_psi{column=volume,watch=input}"] > 0.25
    assert figures["setrade_drift_changes_total{state=alarm,watch=input}"] == 1
    monitor = Monitor(inputs=Watch(reference, window=60, every=3, bins=5))
    clean = Run(tmp_path / "b", history=400, monitor=monitor).go()
    assert [e for e in clean.events("drift") if e["name"] == "volume"] == []


def test_gates_are_watched_each_answer_once(tmp_path):
    """A net that answers every fifth bar tells its gates once for each answer."""
    gates = iter(range(10_000))

    class Slow:
        answer = None

        def __call__(self, window):
            if window.index[-1].minute % 5 == 0 or self.answer is None:
                k = next(gates)
                told = {"rsi": 0.5 + 0.01 * (k * 7 % 11), "atr": 0.4 + 0.01 * (k * 5 % 13)}
                self.answer = Signal(window.index[-1], 0.1, 0.5, attention=told)
            return self.answer

    monitor = Monitor(gates=Watch(40, window=25, every=1, bins=5))
    Run(tmp_path, MARKET[:500], model=Failover([("net", Slow())], budget=1.0),
        monitor=monitor).go()  # fmt: skip
    drift = monitor.watches["gate"].drift
    assert drift is not None
    assert drift.names == ("rsi", "atr")
    assert drift.kept == next(gates) - 40
    assert "setrade_agreement" not in scraped(monitor.serve(0))


def test_watching_changes_no_trade_and_its_failure_stops_nothing(tmp_path):
    class Breaks(Watch):
        def update(self, row):
            raise ZeroDivisionError("its own")

    plain = Run(tmp_path / "a", MARKET[:300]).go()
    watched = Run(tmp_path / "b", MARKET[:300], monitor=Monitor()).go()
    broken = Run(tmp_path / "c", MARKET[:300], monitor=Monitor(inputs=Breaks(10))).go()
    assert plain.rows == watched.rows == broken.rows
    assert broken.report.reason == "end"
    assert scraped(broken.monitor.serve(0))["setrade_monitor_errors_total"] > 100
    assert [e["error"] for e in broken.events("monitor")] == ["ZeroDivisionError('its own')"]


def test_a_restart_compares_with_the_first_bars_of_the_run(tmp_path):
    def monitor():
        return Monitor(inputs=Watch(250, window=25, every=5, bins=5))

    first = Run(tmp_path, MARKET[:700], history=400, monitor=monitor()).go()
    first.journal.close()
    again = Run(tmp_path, MARKET, history=400, monitor=monitor()).go()
    one, two = (run.monitor.watches["input"].drift for run in (first, again))
    assert np.array_equal(one._reference, two._reference)
    assert two.ready


def test_a_stream_that_breaks_is_counted(tmp_path):
    clock = simulator.Clock(MARKET.index[150], 600.0)
    with simulator.serve(MARKET, clock=clock) as server:
        source = Streamed("BTCUSDT", "1min", 80, http_url=server.http_url, ws_url=server.ws_url,
                          silence=0.8)  # fmt: skip
        run = Run(tmp_path, source=source, monitor=Monitor(), limit=15, stale_timeout=10.0,
                  on_row=lambda row: len(run.rows) == 4 and server.inject(simulator.Fault("abort")),
                  )  # fmt: skip
        run.go()
    told = scraped(run.monitor.serve(0))
    assert told["setrade_reconnects_total"] >= 1
    assert told["setrade_stream_total{kind=reconnects}"] == told["setrade_reconnects_total"]
    assert told["setrade_stream_connected"] == 0  # the run is over
    assert "connections made anew" in panels(run.monitor.snapshot())


class Cuda:
    """Stands for ``torch.cuda`` on a machine that has one."""

    def __init__(self, used=True, library=True):
        self.used, self.library = used, library

    def is_available(self):
        return True

    def is_initialized(self):
        return self.used

    def mem_get_info(self):
        return 3 * 2**30, 4 * 2**30

    def utilization(self):
        if not self.library:
            raise ModuleNotFoundError("pynvml")
        return 40


def test_a_gpu_is_told_only_where_it_is_used():
    assert gpu(SimpleNamespace(cuda=Cuda())) == {
        "memory_used": 2**30, "memory_total": 4 * 2**30, "utilization": 0.4,
    }  # fmt: skip
    assert "utilization" not in gpu(SimpleNamespace(cuda=Cuda(library=False)))
    assert gpu(SimpleNamespace(cuda=Cuda(used=False))) == {}
    text = panels(replace(FULL, gpu=gpu(SimpleNamespace(cuda=Cuda()))))
    assert "40% busy, 1.0 of 4.0 GiB" in text


NASTY = "<script>alert(1)</script>"
FULL = Snapshot(
    state="trading", why="long, 60% of equity", symbol="BTCUSDT", step=MINUTE,
    time=MARKET.index[0].value, age=12.3, stale_timeout=300.0, close=42_000.5, units=0.142857,
    equity=10_012.34, target_position=0.6, day=-0.0175, limit=0.03,
    levels=("ensemble", "se_trader", "rules"),
    level=1, budget=0.5, source="se_trader", confidence=0.61, agreement=0.75,
    latency={"model": (0.004, 0.009, 0.62), "trade": (0.001, 0.002, 0.003), "bar": (0.006,) * 3},
    drift={"input": [Reading("return", 0.04, 0.06, 0.7, "calm"),
                     Reading("range", 0.14, 0.11, 0.04, "watch"),
                     Reading("volume", 0.61, 0.33, 1e-9, "alarm")], "gate": []},
    learning={"input": "", "gate": "learns 310/2000 rows"},
    queues={"model": (0, 8), "trade": (8, 8)},
    faults={"duplicate": 2, "gap": 1}, stream={"connected": 1.0, "silent": 0.4, "reconnects": 3.0},
    orders=[OrderLine(MARKET.index[k].value, ("buy", "sell")[k % 2], "0.14", 42_000.0 + k, "filled")
            for k in range(9)] + [OrderLine(MARKET.index[9].value, "buy", "0.2", None, "rejected")],
)  # fmt: skip


def test_the_page_says_everything_in_words(tmp_path):
    text = page(FULL)
    for word in ("trading", "long, 60% of equity", "12 s ago", "allowed loss of a day", "3.00%",
                 "−1.75%", "over half used",
                 "level 2: se_trader", "left: failing or slow", "75%", "over 500 ms", "alarm",
                 "watch", "calm", "learns 310/2000 rows", "8 of 8", "full", "connections made anew",
                 "duplicate", "rejected"):  # fmt: skip
        assert word in text, word


def test_values_are_escaped_and_nothing_is_loaded_from_elsewhere():
    nasty = replace(FULL, why=NASTY, symbol=NASTY, source=NASTY, faults={NASTY: 1},
                    levels=(NASTY, "b"), learning={"gate": NASTY}, queues={NASTY: (0, 1)},
                    latency={NASTY: (1.0, 1.0, 1.0)},
                    drift={NASTY: [Reading(NASTY, 0.0, 0.0, 1.0, "calm")]},
                    orders=[OrderLine(0, NASTY, NASTY, 1.0, NASTY, NASTY)])  # fmt: skip
    text = page(nasty)
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert text.count("&lt;script&gt;") > 10
    assert "http://" not in text
    assert "https://" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "halted", "why": "kill_file"}, ["■ halted", "kill_file"]),
        ({"state": "flat", "why": "nothing held"}, ["○ flat", "nothing held"]),
        ({"age": 200.0}, ["200 s ago: late".replace("200 s", "3 min")]),
        ({"day": -0.031}, ["limit reached"]),
        ({"limit": None}, ["no limit"]),
        ({"faults": {}}, ["no bar was left out"]),
        ({"orders": []}, ["none yet"]),
        ({"stream": {"connected": 0.0, "silent": 9.0}}, ["■ down"]),
        ({"level": 0}, ["● answers", "stands by"]),
    ],
)
def test_the_page_tells_states_apart(changes, words):
    text = page(replace(FULL, **changes))
    for word in words:
        assert word in text


def test_an_empty_run_has_a_page():
    text = page(Snapshot())
    assert "starting" in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize(
    ("model", "risk", "word"),
    [(turning, None, "trading"),
     (lambda window: Signal(window.index[-1], 0.0, 1.0, source="rule"), None, "flat"),
     (turning, Risk(daily_loss=1e-5), "halted")],
)  # fmt: skip
def test_the_state_of_a_run(tmp_path, model, risk, word):
    told = []
    run = Run(tmp_path, MARKET[:260], model=model, risk=risk, monitor=Monitor(),
              on_row=lambda row: told.append(run.monitor.snapshot()))  # fmt: skip
    run.go()
    assert told[0].state == "starting"
    assert word in [seen.state for seen in told]
    orders = [seen.orders for seen in told][-1]
    assert len(orders) == min(10, sum(row.orders for row in run.rows[:-1]))
    assert orders == sorted(orders, key=lambda o: -o.time)
    assert (run.monitor.snapshot().state, run.monitor.snapshot().why) == ("halted", "end")


def test_the_page_over_http(tmp_path):
    port = Run(tmp_path, MARKET[:200], monitor=Monitor()).go().monitor.serve(0)
    text, headers = get(port)
    assert "BTCUSDT" in text
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    part, _ = get(port, "/panels")
    assert part.startswith("<header")
    assert "<style" not in part
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(port, "/etc/passwd")


def test_the_facts_as_json(tmp_path):
    """Strict JSON, as browsers and other programs read it: what is not known is null."""
    monitor = Monitor()
    port = monitor.serve(0)

    def strict(name):
        raise AssertionError(name)

    def facts():
        text, headers = get(port, "/facts.json")
        assert headers["Content-Type"] == "application/json"
        return json.loads(text, parse_constant=strict)

    assert (facts()["state"], facts()["equity"], facts()["orders"]) == ("starting", None, [])
    Run(tmp_path, MARKET[:200], monitor=monitor).go()
    told, known = facts(), monitor.snapshot()
    assert (told["symbol"], told["state"], told["why"]) == ("BTCUSDT", "halted", "end")
    assert told["orders"][0] == vars(known.orders[0])
    assert told["latency"]["model"] == list(known.latency["model"])
    text = json.loads(FULL.json())
    assert text["drift"]["input"][2]["psi"] == 0.61
    assert text["orders"][9]["price"] is None


def test_a_page_that_cannot_be_made_is_an_error_of_the_page_only(tmp_path):
    run = Run(tmp_path, MARKET[:200], monitor=Monitor()).go()
    port = run.monitor.serve(0)
    run.monitor.latencies = None
    with pytest.raises(urllib.error.HTTPError, match="500"):
        get(port)


def asked(port: int, *lines: str) -> bytes:
    """Return the whole answer to a request as it is typed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return b"".join(iter(lambda: line.recv(65_536), b""))


@pytest.mark.parametrize(
    ("host", "code"),
    [("localhost", 200), ("LOCALHOST:9000", 200), ("127.0.0.1", 200), ("127.0.0.1:80", 200),
     ("[::1]:80", 200), ("evil.example", 403), ("evil.example:9000", 403), ("10.0.0.1", 403),
     ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403), ("", 403)],
)  # fmt: skip
def test_only_a_name_of_this_machine_is_answered(host, code):
    port = Monitor().serve(0)
    for path in ("/", "/panels", "/facts.json", "/metrics"):
        answer = asked(port, f"GET {path} HTTP/1.1", f"Host: {host}")
        assert answer.startswith(f"HTTP/1.0 {code} ".encode()), path


def test_a_head_has_no_body_and_a_reset_no_traceback(capfd):
    port = Monitor().serve(0)
    head, _, body = asked(port, "HEAD / HTTP/1.1", "Host: localhost").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 ")
    assert body == b""
    for _ in range(20):
        line = socket.create_connection(("127.0.0.1", port))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        line.close()  # resets
    time.sleep(0.3)
    assert asked(port, "GET /metrics HTTP/1.1", "Host: localhost").startswith(b"HTTP/1.0 200")
    assert capfd.readouterr().err == ""


def test_who_leaves_a_request_unfinished_is_left(monkeypatch):
    monkeypatch.setattr(StatusHandler, "timeout", 0.3)
    port = Monitor().serve(0)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: lo")
        assert line.recv(1) == b""


def test_a_port_in_use_says_whose_it_is():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError) as error:
            Monitor().serve(port)
    told = str(error.value)
    assert told.startswith(f"port {port} is taken by ")
    assert "Errno" not in told
    if sys.platform == "linux":
        assert f"process {os.getpid()}" in told


def test_the_page_says_where_orders_go():
    about = {"broker": "demo", "account": "demo, play <money>", "source": "Bybit", "mode": "live"}
    monitor = Monitor(about=about)
    assert monitor.snapshot().about == about
    for word in ("broker: demo", "demo, play &lt;money&gt;", "source: Bybit", "mode: live"):
        assert word in page(monitor.snapshot())


@pytest.mark.parametrize("name", ["is_available", "is_initialized", "mem_get_info", "utilization"])
def test_facts_that_a_gpu_does_not_tell_cost_no_page(name):
    def fails():
        raise RuntimeError("not supported on a slice")

    cuda = {"is_available": lambda: True, "is_initialized": lambda: True,
            "mem_get_info": lambda: (1, 2), "utilization": lambda: 50}  # fmt: skip
    found = gpu(SimpleNamespace(cuda=SimpleNamespace(**(cuda | {name: fails}))))
    assert "<h1>" in page(replace(FULL, gpu=found))


@pytest.mark.parametrize("port", [-1, 70_000, "80", True])
def test_bad_ports_are_named(port):
    with pytest.raises(ArgumentError) as error:
        Monitor().serve(port)
    assert error.value.name == "port"


def test_reference_of_a_drift_may_be_given(tmp_path):
    given = Drift(inputs(MARKET[:400]), window=60, every=3, bins=5)
    assert Watch(inputs(MARKET[:400]), window=60, every=3, bins=5).drift.lines == given.lines


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.enable_socket
def test_in_a_browser_it_fits_a_phone_renews_itself_and_says_when_the_process_is_gone():
    from playwright.sync_api import sync_playwright

    m = Monitor()
    shown = [FULL]
    m.snapshot = lambda: shown[0]
    port = m.serve(0)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        faults: list[str] = []
        tab.on("console", lambda c: c.type == "error" and faults.append(c.text))
        tab.on("pageerror", lambda e: faults.append(str(e)))
        tab.goto(f"http://127.0.0.1:{port}/")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.emulate_media(color_scheme="light")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        tab.evaluate("document.getElementById('account').kept = 'yes'")
        shown[0] = replace(FULL, state="halted", why="kill_file")
        wait_for(lambda: "halted" in tab.title())
        assert faults == []
        assert tab.evaluate("document.getElementById('account').kept") == "yes"
        tab.route("**/panels", lambda route: route.abort())
        tab.wait_for_selector("#silent:not([hidden])", timeout=6_000)
        wait_for(lambda: tab.title() == "NO ANSWER")
        chromium.close()


def test_the_command_line_serves_the_page(tmp_path, capsys):
    """On 127.0.0.1, at the port that it prints; drift has its first reference from history."""
    from setrade.live.__main__ import main

    path = tmp_path / "bars.parquet"
    MARKET.to_parquet(path)
    options = ["--source", "file", "--file", str(path), "--speed", "0", "--minutes", "200",
               "--model", "rules", "--history", "320", "--journal", str(tmp_path / "r.sqlite"),
               "--metrics-port", "0"]  # fmt: skip
    assert main(options) == 0
    told = capsys.readouterr().out.split("status page: http://127.0.0.1:")[1]
    port = int(told.split("/")[0])
    text, _ = get(port)
    assert "level 1: rules" in text
    figures = scraped(port)
    assert figures["setrade_bars_total"] == 200
    assert figures["setrade_failover_level"] == 0
    assert figures["setrade_monitor_errors_total"] == 0
