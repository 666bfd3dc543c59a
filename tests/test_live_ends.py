"""How a process ends, who may hold a journal, and what the command line says of each option."""

from __future__ import annotations

import ast
import configparser
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_live_guards import MARKET

from setrade.live import Journal, JournalError, KillSwitch
from setrade.live.__main__ import BUSY, REASONS, SIGNALS, USAGE, main
from setrade.live.config import Config, UsageError
from setrade.live.journal import JournalBusyError
from setrade.live.pipeline import POLITE

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
WORDS = ["--minutes", "60", "--speed", "240", "--model", "rules", "--lookback", "10",
         "--threshold", "0", "--history", "60", "--journal", "r.sqlite"]  # fmt: skip


def start(folder: Path, *words: str, **more) -> subprocess.Popen[str]:
    """Start the command line in an empty folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "setrade.live", *WORDS, *words], cwd=folder, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **more,
    )  # fmt: skip


def held(process: subprocess.Popen[str]) -> None:
    """Wait until a run prints that it holds something."""
    assert process.stdout is not None
    for line in process.stdout:
        words = line.split()
        if line.startswith("20") and float(words[4]):
            return
    raise AssertionError(process.communicate())


@posix
@pytest.mark.parametrize("end", ["SIGHUP", "SIGQUIT", "pipe"])
def test_each_end_of_a_process_closes_what_it_holds(tmp_path, end):
    process = start(tmp_path)
    held(process)
    if end == "pipe":
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        err = process.communicate(timeout=60)[1]
    else:
        process.send_signal(getattr(signal, end))
        out, err = process.communicate(timeout=60)
        assert "held 0.000000" in out.splitlines()[-1]
    assert (process.returncode, err) == (0, "")
    journal = Journal(tmp_path / "r.sqlite")
    kinds = [row[0] for row in journal.db.execute("SELECT kind FROM events")]
    assert kinds[-1] == "stop"
    last = journal.db.execute("SELECT figures FROM events ORDER BY id DESC").fetchone()[0]
    journal.close()
    assert '"units": 0.0' in last
    reason = {"SIGHUP": "hangup", "SIGQUIT": "quit", "pipe": "output_lost"}[end]
    assert reason in last


@posix
def test_no_signal_ends_or_stops_the_process_without_a_word():
    """But for those that nobody can catch, and those of faults, timers and ignored ones."""
    names = ("HUP", "INT", "QUIT", "ABRT", "USR1", "USR2", "ALRM", "TERM", "XCPU", "TSTP", "PWR")
    for number in (getattr(signal, f"SIG{x}") for x in names if hasattr(signal, f"SIG{x}")):
        switch = KillSwitch()
        undo = switch.listen({int(code): reason for code, reason in SIGNALS.items()})
        try:
            signal.raise_signal(number)
        finally:
            undo()
        assert switch.pressed() == SIGNALS[number]
        assert SIGNALS[number] in (*POLITE, "kill_signal")


@posix
def test_a_hangup_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        switch = KillSwitch()
        undo = switch.listen({signal.SIGHUP: "hangup"})
        signal.raise_signal(signal.SIGHUP)
        undo()
        assert switch.reason == ""
    finally:
        signal.signal(signal.SIGHUP, before)


@posix
@pytest.mark.parametrize("older", [False, True])
def test_an_interrupt_in_the_first_second_is_one_line(tmp_path, older):
    if older:
        (tmp_path / "r.sqlite").touch()
    process = start(tmp_path)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    told = (out + err).splitlines()
    assert len(told) == 1
    assert "interrupt" in told[0]
    assert process.returncode == (4 if older else 0)


def test_a_second_run_is_told_that_another_one_holds_the_journal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first = Journal("r.sqlite")
    with pytest.raises(JournalBusyError):
        Journal("r.sqlite", busy_timeout=0.1)
    assert main(WORDS) == 5
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert f"another run holds it (process {os.getpid()}, since " in told[0]
    assert "position may be held" not in told[0]
    first.close()


@pytest.mark.parametrize(
    ("words", "name"),
    [(["--symbol", "ETHUSDT"], "symbol ETHUSDT"), (["--interval", "5min"], "interval 300s"),
     (["--seed", "7"], "seed 7"), (["--source", "bybit"], "source bybit"),
     (["--source", "bybit", "--broker", "demo"], "account demo BTCUSDT")],
)  # fmt: skip
def test_a_journal_remembers_its_market(tmp_path, words, name):
    journal = Journal(tmp_path / "r.sqlite")
    journal.settings(**Config.read([]).belongs())
    journal.settings(**Config.read(["--interval", "60s", "--minutes", "9"]).belongs())
    key, value = name.split(" ", 1)
    old = Config.read([]).belongs()[key]
    with pytest.raises(JournalError, match=f"made with .*{key} {old}, not {value}"):
        journal.settings(**Config.read(words).belongs())
    journal.close()


def test_an_older_journal_learns_its_market(tmp_path):
    journal = Journal(tmp_path / "r.sqlite")
    journal.keep("account", "paper BTCUSDT")
    journal.settings(**Config.read(["--seed", "3"]).belongs())
    with pytest.raises(JournalError, match="made with seed 3, not 0"):
        journal.settings(**Config.read([]).belongs())
    journal.close()


@pytest.mark.parametrize(
    "words",
    ["--budget 0", "--budget nan", "--size 0", "--size 1000", "--metrics-port 70000",
     "--metrics-port -1", "--closing -1", "--threads 0", "--lookback 1", "--threshold -1",
     "--stop-atr -1", "--take-profit -2", "--daily-loss 2", "--max-jump -1", "--patience 0",
     "--equity 0", "--fee-bps -1", "--slippage-bps 1e9", "--minutes -1", "--speed -1", "--seed -1",
     "--history -1", "--history 99999", "--interval 7parsecs", "--symbol ?", "--source file",
     "--source file --file nowhere.xyz", "--patience 1"],
)  # fmt: skip
def test_an_error_names_the_option_as_it_was_typed(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main(["--model", "rules", "--minutes", "1", *words.split()]) == 3
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    option = words.split()[-2] if words != "--source file" else "--file"
    assert option in told[0]


FILE = "--model rules --source file --file bars.parquet --speed 0 --minutes 1"


@pytest.mark.parametrize(
    ("words", "told"),
    [("--symbol btc", "--symbol"), ("--symbol ETHUSDT --history 9999", "--history"),
     ("--interval 5min --model ensemble --frames 7min", "--frames"),
     ("--model ensemble --frames 5min,", "--frames"), ("--kill-file ''", "--kill-file"),
     ("--model se_trader --checkpoint ''", "--checkpoint"), ("--size nan", "--size"),
     ("--model se_trader --checkpoint nowhere", "--checkpoint"), ("--file one.csv", "--file"),
     ("--journal ''", "--journal"), ("--journal .", "journal .:"),
     ("--journal no/r.sqlite", "journal no/r.sqlite:")],
)  # fmt: skip
def test_a_start_that_fails_names_the_option_and_binds_no_journal(
    tmp_path, monkeypatch, capsys, words, told
):
    monkeypatch.chdir(tmp_path)
    MARKET.to_parquet("bars.parquet")
    MARKET.iloc[:1].to_csv("one.csv")
    given = [*FILE.split(), "--journal", "r.sqlite"]
    assert main([*given, *shlex.split(words)]) == 3
    assert told in capsys.readouterr().err
    settled = Journal("r.sqlite")
    assert settled.kept("symbol") is None
    settled.close()
    assert main(given) == 0  # the corrected command goes on with it
    if "ETH" not in words and "nowhere" not in words:  # it ended flat: nothing is held
        assert main([*given, *shlex.split(words)]) == 3


def test_a_market_without_a_clock_is_refused(capsys):
    assert main(["--speed", "0"]) == 2
    assert "--speed" in capsys.readouterr().err
    with pytest.raises(UsageError):
        Config(speed=0.0).check()
    Config(speed=0.0, source="file", file="x.csv").check()


def test_a_busy_port_is_told_in_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--model", "rules", "--minutes", "1", "--metrics-port", port]) == 3
    told = capsys.readouterr().err
    assert f"port {port} is taken by" in told
    assert "Errno" not in told


def test_a_dry_run_says_what_it_would_send_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    MARKET.to_parquet("bars.parquet")
    words = ["--source", "file", "--file", "bars.parquet", "--speed", "0", "--minutes", "30",
             "--model", "rules", "--lookback", "5", "--threshold", "0", "--dry-run"]  # fmt: skip
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "mode: dry run, nothing is sent" in told
    sent = [line for line in told.splitlines() if line.startswith("would send: ")]
    assert sent
    assert all("BTCUSDT at market" in line for line in sent)
    assert [path.name for path in tmp_path.iterdir()] == ["bars.parquet"]


def shown(name: str) -> str:
    """Return a text that chapter 22b shows, by the name that it has there."""
    chapter = Path(__file__).parent.parent / "chapters" / "22b_unattended.py"
    for node in ast.parse(chapter.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    raise AssertionError(name)


def test_the_unit_in_the_chapter_ends_and_restarts_as_the_exit_statuses_mean():
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(shown("UNIT"))
    service = unit["Service"]
    words = shlex.split(service["ExecStart"].replace("\\\n", " "))
    assert words[1:3] == ["-m", "setrade.live"]
    config = Config.read(words[3:])
    config.check()
    assert float(service["TimeoutStopSec"]) > config.closing
    assert service["KillSignal"] in REASONS
    never = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert never == {USAGE, BUSY}
    assert service["Restart"] == "on-failure"
    assert config.journal.startswith(f"/var/lib/{service['StateDirectory']}/")


def test_the_container_in_the_chapter_passes_signals_to_the_program():
    lines = [line.split(" ", 1) for line in shown("CONTAINER").strip().splitlines()]
    told = dict(lines)
    assert lines[0][0] == "FROM"
    assert json.loads(told["ENTRYPOINT"])[1:] == ["-m", "setrade.live"]  # a list: no shell
    assert told["STOPSIGNAL"] in REASONS
    config = Config.read(json.loads(told["CMD"]))
    config.check()
    kept = Path(told["WORKDIR"], config.journal)
    assert kept.parent.as_posix() == told["VOLUME"]  # it outlives the container
