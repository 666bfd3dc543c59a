"""Journal: what is written, what a full disk does, and twenty deaths at random points."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal

import pandas as pd
import pytest

from setrade.bybit import PaperBroker
from setrade.bybit.orders import OrderRequest
from setrade.errors import ArgumentError
from setrade.live import Bar, Executor, Journal, JournalError, JournalFullError, Move
from setrade.signals import Signal


@pytest.mark.parametrize(
    ("path", "options", "name"),
    [("", {}, "path"), (5, {}, "path"), ("a.s", {"durable": "False"}, "durable"),
     ("a.s", {"busy_timeout": "x"}, "busy_timeout"),
     ("a.s", {"busy_timeout": math.nan}, "busy_timeout")],
)  # fmt: skip
def test_a_wrong_argument_is_named(tmp_path, monkeypatch, path, options, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError) as caught:
        Journal(path, **options)
    assert caught.value.name == name
    assert not list(tmp_path.iterdir())


NOW = pd.Timestamp("2024-01-01T12:00Z")
BAR = Bar(NOW.value, 1.0, 2.0, 0.5, 1.5, 10.0)


def full(journal: Journal) -> None:
    """Let the disk take nothing more: SQLite itself refuses further pages."""
    journal.commit()
    pages = journal.db.execute("PRAGMA page_count").fetchone()[0]
    journal.db.execute(f"PRAGMA max_page_count = {pages}")
    for size in (500, 50, 1):  # the last rooms of half-filled pages too
        with pytest.raises(JournalFullError, match="full"):
            crowd(journal, size)


def crowd(journal: Journal, size: int) -> None:
    """Write orders that say nothing, each on disk, until it raises."""
    for k in range(10_000):
        row = (f"{size}-{k}", 0, "x" * size, "filled", "")
        journal._write("INSERT INTO intents VALUES (?,?,?,?,?)", *row)
        journal.commit()


def test_what_is_written_is_read_back(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    later = BAR._replace(time=BAR.time + 60, close=0.1 + 0.2)
    for bar in (later, BAR, BAR):  # a bar is written once
        journal.bar(bar)
    journal.signal(BAR.time, Signal(NOW, -0.25, 0.75, source="rule"))
    journal.finish(BAR.time, atr=math.nan, stop=-math.inf, x=0.1 + 0.2)
    request = OrderRequest("BTCUSDT", "buy", Decimal("0.010"), NOW)
    journal.request(request)
    journal.close()
    again = Journal(tmp_path / "j.sqlite")
    assert again.bars(0) == [BAR, later]
    assert again.said(BAR.time) == Signal(NOW, -0.25, 0.75, source="rule")
    assert again.said(0) is None
    time, figures = again.state() or (0, {})
    assert (time, figures["x"], figures["stop"]) == (BAR.time, 0.1 + 0.2, -math.inf)
    assert math.isnan(figures["atr"])
    assert again.unfinished() == [request]
    assert again.counts()["bars"] == 2
    again.outcome(request.client_order_id, "filled")
    assert again.unfinished() == []
    again.close()


def test_a_model_is_asked_again_where_an_old_journal_has_its_scaled_answer(tmp_path):
    """The first version kept positions times the size; those of finished bars stay."""
    path = tmp_path / "old.sqlite"
    journal = Journal(path)
    for k in range(2):
        journal.signal(BAR.time + k, Signal(NOW, 0.5, 0.75, model="rules"))
    journal.finish(BAR.time)
    journal.db.execute("PRAGMA user_version = 0")
    journal.close()
    journal = Journal(path)
    assert journal.said(BAR.time) == Signal(NOW, 0.5, 0.75, model="rules")
    assert journal.said(BAR.time + 1) is None
    journal.signal(BAR.time + 1, Signal(NOW, 0.5, 0.75))
    journal.close()
    assert Journal(path).said(BAR.time + 1) is not None


def test_only_what_was_committed_survives(tmp_path):
    """A line that nothing was done about may be lost; an order's line may not."""
    script = (
        "import os, sys, signal; from setrade.live.journal import Journal\n"
        "from setrade.bybit.orders import OrderRequest; from setrade.live.types import Bar\n"
        "j = Journal(sys.argv[1]); j.bar(Bar(1, 1., 1., 1., 1., 1.))\n"
        "j.request(OrderRequest('BTCUSDT', 'buy', '1', '2024-01-01T00:00Z'))\n"
        "j.bar(Bar(2, *[1.] * 5))\n"
        "assert 'torch' not in sys.modules\n"
        "os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))"  # Windows: the same
    )
    path = tmp_path / "j.sqlite"
    died = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert died.returncode in (-9, signal.SIGTERM)  # the second on Windows
    journal = Journal(path)
    assert [bar.time for bar in journal.bars(0)] == [1]
    assert len(journal.unfinished()) == 1
    journal.close()


def test_a_full_disk_sends_no_order(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    broker = PaperBroker("BTCUSDT")
    executor = Executor(journal, broker, "BTCUSDT")
    move = Move(0.1, 100.0, "signal", False)
    full(journal)
    with pytest.raises(JournalFullError, match="full"):
        executor.send([move], NOW.value, 1)
    assert broker.open_orders("BTCUSDT") == []
    journal.release()
    assert not (tmp_path / "j.sqlite.reserve").exists()  # its room is the disk's again
    journal.db.execute("PRAGMA max_page_count = 1000000")
    assert len(executor.send([move], NOW.value, 1)) == 1
    assert broker.position("BTCUSDT") == pytest.approx(0.1)
    journal.close()


def test_what_was_given_up_is_not_written(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    assert (tmp_path / "j.sqlite.reserve").stat().st_size == 256 * 1024
    journal.event("kept")
    journal.commit()
    journal.event("not yet on disk")
    journal.give_up(JournalFullError("full"))
    journal.event("after it")
    journal.close()
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["j.sqlite"]
    again = Journal(tmp_path / "j.sqlite")
    assert again.counts()["events"] == 1
    again.close()


def test_the_wrong_order_of_things_is_caught(tmp_path):
    """Sent before it is written: then a full disk leaves an order that nobody knows of."""
    journal, broker = Journal(tmp_path / "j.sqlite"), PaperBroker("BTCUSDT")
    full(journal)
    request = OrderRequest("BTCUSDT", "buy", Decimal("0.1"), NOW)
    broker.submit(request)
    with pytest.raises(JournalFullError):
        journal.request(request)
    journal.close()
    assert len(broker.open_orders("BTCUSDT")) == 1
    assert Journal(tmp_path / "j.sqlite").unfinished() == []


def test_a_journal_of_something_else_is_refused(tmp_path):
    path = tmp_path / "text.sqlite"
    path.write_text("not a database " * 100, encoding="utf-8")
    with pytest.raises(JournalError, match="not a database"):
        Journal(path)
    with pytest.raises(ArgumentError, match="path"):
        Journal(7)  # type: ignore[arg-type]
    journal = Journal(tmp_path / "j.sqlite")
    journal.setting("account", "paper BTCUSDT")
    with pytest.raises(JournalError, match="made with account paper BTCUSDT, not demo"):
        journal.setting("account", "demo BTCUSDT")
    journal.close()
    with pytest.raises(sqlite3.ProgrammingError):
        journal.db.execute("SELECT 1")


def test_damage_that_sqlite_quotes_in_its_message_is_a_journal_error(tmp_path):
    path = tmp_path / "a.sqlite"
    Journal(path).close()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"CREATE TABLE settings", b"CREATE TABL\xe9 settings", 1))
    with pytest.raises(JournalError, match="journal"):
        Journal(path)


def test_two_writers_are_refused(tmp_path):
    first = Journal(tmp_path / "j.sqlite")
    first.event("mine")
    with pytest.raises(JournalError, match="another run holds it"):
        Journal(tmp_path / "j.sqlite", busy_timeout=0.1)
    first.close()


def test_an_order_is_asked_for_by_name_before_it_is_sent_again(tmp_path):
    class Counting(PaperBroker):
        sent = 0

        def submit(self, request):
            self.sent += 1
            return super().submit(request)

    broker = Counting("BTCUSDT")
    journal = Journal(tmp_path / "j.sqlite")
    executor = Executor(journal, broker, "BTCUSDT")
    move = Move(0.1, 100.0, "signal", False)
    executor.send([move], NOW.value, 1)
    executor.send([move], NOW.value, 1)  # as after a restart
    assert broker.sent == 1
    link = journal.db.execute("SELECT link_id FROM intents").fetchone()[0]
    journal.outcome(link, "open")  # died before the answer was written
    executor.send([move], NOW.value, 1)
    assert broker.sent == 1
    assert broker.position("BTCUSDT") == pytest.approx(0.1)
    gone = OrderRequest("BTCUSDT", "sell", Decimal("0.1"), NOW, strategy="live", leg=3)
    journal.request(gone)  # written, never sent
    assert executor.settle_open(NOW.value + 1) == [gone.client_order_id]
    assert broker.sent == 1
    journal.close()


def test_twenty_deaths():
    """In a process of its own: here another test's server of forks may have torch in it."""
    asked = "torture(20, bars=14, speed=6_000.0, seed=1)"
    code = f"import json\nfrom studies.torture_live import torture\nprint(json.dumps({asked}))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, timeout=500)
    found = json.loads(done.stdout)
    assert found["kills"] == 20
    assert found["orders_a_run"] >= 8
    wrong = ("lost", "doubled", "changed", "unwritten", "open", "position", "torch")
    assert {name: found[name] for name in wrong} == dict.fromkeys(wrong, 0)


@pytest.mark.parametrize(
    ("cell", "value", "ask"),
    [
        ("bars.close", "x", lambda j: j.bars(0)),
        ("bars.close", None, lambda j: j.newest_bars(3)),
        ("signals.position", 2.0, lambda j: j.said(BAR.time)),
        ("signals.confidence", "x", lambda j: j.said(BAR.time)),
        ("state.time", math.inf, lambda j: j.state()),
        ("state.figures", "[1]", lambda j: j.state()),
        ("events.figures", "3", lambda j: j.events("a")),
        ("intents.record", "[" * 100_000, lambda j: j.unfinished()),
        ("intents.time", "x", lambda j: j.newest_orders(1)),
    ],
)
def test_a_line_that_holds_something_else_is_a_journal_error(tmp_path, cell, value, ask):
    """SQLite keeps any cell whatever its column's type; ``studies/fuzz.py`` tries many."""
    journal = Journal(tmp_path / "j.sqlite")
    journal.bar(BAR)
    journal.signal(BAR.time, Signal(NOW, 0.5, 0.75))
    journal.event("a", pid=1)
    journal.request(OrderRequest("BTCUSDT", "buy", Decimal("0.010"), NOW))
    journal.finish(BAR.time, cash=1.0)
    ask(journal)
    table, _, column = cell.partition(".")
    journal.db.execute(f"UPDATE {table} SET {column} = ?", (value,))
    with pytest.raises(JournalError, match="journal: cannot be read"):
        ask(journal)
    journal.close()
