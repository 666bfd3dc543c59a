"""Guards: what each fault does to a run, and that none leaves a position unattended."""

from __future__ import annotations

import asyncio
import math
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_live_journal import full

from setrade import candles
from setrade.bybit import ExchangeError, PaperBroker
from setrade.bybit.orders import OrderRejectedError
from setrade.errors import ArgumentError
from setrade.live import (
    Bar,
    BarEvent,
    BarGuard,
    Journal,
    JournalFullError,
    KillSwitch,
    ModelError,
    Pipeline,
    Recorded,
    Trader,
    UnattendedError,
    Window,
)
from setrade.live.types import bars_of
from setrade.risk import Risk
from setrade.signals import Signal

MINUTE = 60_000_000_000
MARKET = candles.synthetic(120, seed=5, interval="1min").candles
BARS = bars_of(MARKET)
WARM, LOOK = 20, 10


def pause() -> None:
    """Let the trader catch up."""


class Scripted:
    """Bars as a list has them; an exception in it is raised, None waits for ever."""

    live, step = False, MINUTE

    def __init__(self, items) -> None:
        self.items = items

    async def history(self):
        return BARS[:WARM]

    async def bars(self, after):
        for item in self.items:
            if item is None:
                await asyncio.sleep(1e6)
            if isinstance(item, BaseException):
                raise item
            if callable(item):
                item()
                await asyncio.sleep(0.3)  # the switch is looked at ten times a second
            else:
                yield BarEvent(item)


def wants(position: float, window: pd.DataFrame) -> Signal:
    """Return a signal of a rule that is sure of itself."""
    return Signal(window.index[-1], position, 1.0, source="rule")


def long(window: pd.DataFrame) -> Signal:
    """Always want to be long."""
    return wants(0.5, window)


def _trader(tmp_path, **wrong):
    more = {"step": MINUTE, "equity": 1e4} | wrong
    return Trader(Journal(tmp_path / "j.sqlite"), PaperBroker("BTCUSDT"), "BTCUSDT", **more)


@pytest.mark.parametrize(
    "wrong",
    [{"by_confidence": "False"}, {"risk": 5}, {"risk": 0}, {"costs": {}}, {"settle": math.nan},
     {"step": 0}, {"step": True}],
)  # fmt: skip
def test_a_wrong_argument_of_a_trader_is_named(tmp_path, wrong):
    with pytest.raises(ArgumentError) as caught:
        _trader(tmp_path, **wrong)
    assert caught.value.name == next(iter(wrong))


@pytest.mark.parametrize("checked", [0, "False", None])
def test_text_is_no_flag_of_a_recording(checked):
    with pytest.raises(ArgumentError, match="checked: "):
        Recorded(MARKET, 5, checked=checked)


def test_a_recording_that_is_not_checked_names_what_cannot_be_bars():
    far = MARKET.set_axis(MARKET.index.as_unit("s") + np.timedelta64(365 * 7000, "D"))
    for wrong in (far, MARKET[["open"]], MARKET.assign(open="x")):
        with pytest.raises(ArgumentError, match="candles: "):
            Recorded(wrong, 5, checked=False)


@pytest.mark.parametrize("file", [5, ""])
def test_a_kill_switch_wants_a_path(file):
    with pytest.raises(ArgumentError, match="file: "):
        KillSwitch(file)


class Run:
    """One run over scripted bars."""

    def __init__(self, path, items, *, model=long, broker=None, risk=None, **more) -> None:
        path.mkdir(exist_ok=True)
        self.journal = Journal(path / "run.sqlite", durable=False)
        self.broker = broker or PaperBroker("BTCUSDT")
        self.rows, self.error, self.report = [], None, None
        trader = Trader(
            self.journal, self.broker, "BTCUSDT", MINUTE, equity=10_000.0, risk=risk,
            close_timeout=more.pop("close_timeout", 30.0), size=more.pop("size", 1.0),
        )  # fmt: skip
        on_row = more.pop("on_row", lambda row: None)
        self.line = Pipeline(
            Scripted(items), model, trader, window=LOOK,
            on_row=lambda row, seconds: (self.rows.append(row), on_row(row)), **more,
        )  # fmt: skip

    def go(self):
        try:
            self.report = asyncio.run(self.line.run())
        except Exception as error:
            self.error = error
        return self

    @property
    def held(self) -> float:
        return self.broker.position("BTCUSDT")

    def events(self) -> list[str]:
        return [r[0] for r in self.journal.db.execute("SELECT kind FROM events")]


def at(k: int, **changes) -> Bar:
    return BARS[k]._replace(**changes)


def test_guard_by_hand():
    guard = BarGuard(MINUTE, limit=3)
    bar, nan = BARS[0], float("nan")
    told = [
        guard.judge(b)
        for b in (
            bar, bar, at(1, close=nan), at(1), at(0), at(4), at(5, time=BARS[5].time + 1),
            at(5, high=at(5).low / 2), at(5, volume=-1.0), at(5, open=float("inf")),
        )
    ]  # fmt: skip
    assert told == ["", "duplicate", "malformed", "", "late", "gap", "off_grid",
                    "malformed", "malformed", "malformed"]  # fmt: skip
    assert guard.exhausted
    assert guard.judge(at(5)) == ""
    assert not guard.exhausted


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: BarGuard(0), "step"),
        (lambda: BarGuard(MINUTE, 0), "limit"),
        (lambda: Window(1), "window"),
        (lambda: Recorded(MARKET, -1), "history"),
        (lambda: Recorded(MARKET, 121), "history"),
        (lambda: Recorded(MARKET, 5, speed=0.0), "speed"),
        (lambda: bars_of([1, 2]), "candles"),
        (lambda: Pipeline(Scripted([]), None, None, window=5), "model"),  # type: ignore
        (lambda: Pipeline(Scripted([]), long, None, window=5, queue=0), "queue"),  # type: ignore
        (lambda: Pipeline(Scripted([]), long, None, window=5, on_exit="?"), "on_exit"),  # type: ignore
        (
            lambda: Pipeline(Scripted([]), long, None, window=5, stale_timeout=0.0),
            "stale_timeout",
        ),  # type: ignore
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ArgumentError) as error:
        make()
    assert error.value.name == name


def test_faults_in_bars_change_nothing(tmp_path):
    """NaN, duplicates, late bars and a clock that goes back: as if they had not been sent."""
    wrong = [at(30, close=float("nan")), at(29), at(29), at(12)]
    clean = Run(tmp_path / "a", BARS[20:60]).go()
    other = Run(tmp_path / "b", [*BARS[20:30], *wrong, *BARS[30:60]]).go()
    assert clean.rows == other.rows
    assert other.report.faults == {"malformed": 1, "duplicate": 2, "late": 1}
    assert np.isfinite([row.equity for row in other.rows]).all()


def test_a_gap_waits_for_a_whole_window_and_keeps_the_stop(tmp_path):
    asked = []

    def model(window: pd.DataFrame) -> Signal:
        asked.append(window.index[-1].value)
        assert (np.diff(window.index.as_unit("ns").asi8) == MINUTE).all()
        return long(window)

    crash = at(44, low=at(43).close * 0.5)
    items = [*BARS[20:30], *BARS[40:44], crash, *BARS[45:60]]
    run = Run(tmp_path, items, model=model, risk=Risk(stop_atr=50.0), on_exit="keep").go()
    assert [t for t in asked if BARS[30].time <= t < BARS[49].time] == []
    assert asked[-1] == BARS[59].time
    held = {row.time: row.units for row in run.rows}
    assert held[BARS[29].time] > 0
    assert held[BARS[40].time] == held[BARS[29].time]  # held over the gap
    assert held[BARS[44].time] == 0  # its stop went on working


def test_a_source_that_sends_only_faults_is_given_up(tmp_path):
    bad = [at(k, open=float("nan")) for k in range(30, 40)]
    run = Run(tmp_path, [*BARS[20:30], pause, *bad, *BARS[40:60]], on_exit="keep").go()
    assert (run.report.reason, run.held) == ("faulty", 0.0)
    assert run.rows[-1].units > 0  # it was long until then


def test_silence_closes_the_position(tmp_path):
    run = Run(tmp_path, [*BARS[20:30], None], stale_timeout=0.3, on_exit="keep").go()
    assert (run.report.reason, run.held) == ("stale", 0.0)
    assert len(run.rows) == 10
    assert run.events()[-1] == "stop"


def test_a_dead_stream_closes_the_position(tmp_path):
    run = Run(tmp_path, [*BARS[20:30], pause, RuntimeError("stream dead")], on_exit="keep").go()
    assert isinstance(run.error, RuntimeError)
    assert run.rows[-1].units > 0
    assert run.held == 0.0


def test_the_kill_file_closes_the_position(tmp_path):
    file = tmp_path / "stop"
    switch = KillSwitch(file)
    run = Run(
        tmp_path, [*BARS[20:30], pause, file.touch, *BARS[30:60]], switch=switch, on_exit="keep"
    ).go()
    assert (run.report.reason, run.held) == ("kill_file", 0.0)
    assert len(run.rows) == 10


@pytest.mark.parametrize(
    ("number", "on_exit", "flat"),
    [
        pytest.param(
            getattr(signal, "SIGUSR1", 0), "keep", True,
            marks=pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has none"),
        ),
        (signal.SIGINT, "keep", False), (signal.SIGINT, "flat", True),
    ],
)  # fmt: skip
def test_signals_stop_the_run(tmp_path, number, on_exit, flat):
    switch = KillSwitch()
    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell started us in the background
    undo = switch.listen({number: "kill_signal" if number != signal.SIGINT else "interrupt"})
    items = [*BARS[20:30], lambda: signal.raise_signal(number), None]
    try:
        run = Run(tmp_path, items, switch=switch, on_exit=on_exit).go()
    finally:
        undo()
    assert run.report.reason == switch.reason
    assert (run.held == 0.0) == flat
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("says", [float("nan"), 7.0, "long", SimpleNamespace, RuntimeError])
def test_a_failing_model_closes_the_position(tmp_path, says):
    def model(window: pd.DataFrame):
        if window.index[-1].value < BARS[30].time:
            return long(window)
        if says is RuntimeError:
            raise RuntimeError("out of memory")
        if says is SimpleNamespace:
            return SimpleNamespace(position=0.5, confidence=1.0, source="net")
        return wants(says, window)

    run = Run(tmp_path, BARS[20:60], model=model, on_exit="keep").go()
    assert isinstance(run.error, ModelError)
    assert run.held == 0.0
    assert max(row.time for row in run.rows) < BARS[30].time


@pytest.mark.parametrize(("size", "most"), [(0.5, 1.0), (1.5, 2.0), (3.0, 1.0)])
def test_a_position_is_the_signal_times_the_size(tmp_path, size, most):
    risk = Risk(max_position=most)
    run = Run(tmp_path, BARS[20:30], size=size, risk=risk, on_exit="keep").go()
    if 0.5 * size > most:
        assert isinstance(run.error, ModelError)
        return
    assert [row.target_position for row in run.rows] == [0.5 * size] * 10
    assert run.held * BARS[29].close == pytest.approx(0.5 * size * 10_000, rel=0.05)


def test_a_jump_opens_nothing_and_the_stop_still_works(tmp_path):
    up = 1.2
    jumped = [Bar(b.time, *(x * up for x in b[1:5]), b.volume) for b in BARS[20:40]]
    run = Run(tmp_path, jumped[:1], risk=Risk(max_jump=0.05), on_exit="keep").go()
    assert run.held == 0.0
    later = [BARS[20], *jumped[1:3]]
    run = Run(tmp_path / "b", later, risk=Risk(max_jump=0.05), on_exit="keep").go()
    notes = [row.note for row in run.rows]
    assert notes == ["", "jump", ""]  # tried again at the next open, which is no jump any more
    assert [row.units > 0 for row in run.rows] == [False, False, True]
    written = run.journal.db.execute("SELECT kind, figures FROM decisions").fetchall()
    assert any(kind == "refused" and '"jump"' in figures for kind, figures in written)


def test_a_full_journal_closes_the_position_and_says_so(tmp_path):
    def turning(window: pd.DataFrame) -> Signal:
        return wants(0.5 if window.index[-1].minute % 2 else -0.5, window)

    run = Run(tmp_path, BARS[20:60], model=turning, on_exit="keep", on_row=lambda row: (
        full(run.journal) if row.time == BARS[29].time else None))  # fmt: skip
    run.go()
    assert isinstance(run.error, JournalFullError)
    assert run.rows[-1].units != 0
    assert run.held == 0.0
    ours = {r[0] for r in run.journal.db.execute("SELECT link_id FROM intents")}
    unwritten = set(run.broker._orders) - ours
    assert len(unwritten) == 1  # of all orders only the one that closes the position
    assert run.broker._orders[unwritten.pop()].request.reduce_only
    assert isinstance(run.journal.lost, JournalFullError)


ON_A_FULL_DISK = """
import asyncio, resource, sys
from setrade import candles
from setrade.bybit import PaperBroker
from setrade.live import Journal, JournalError, Pipeline, Recorded, Trader
from setrade.signals import Signal
bars = candles.synthetic(400, seed=4, interval="1min").candles
journal, broker = Journal(sys.argv[1]), PaperBroker("BTCUSDT")
trader = Trader(journal, broker, "BTCUSDT", 60_000_000_000, equity=10_000.0)
turn = lambda w: Signal(w.index[-1], w.index[-1].minute % 2 - 0.5, 1.0, source="rule")
held = []
line = Pipeline(Recorded(bars, 20), turn, trader, window=10, on_exit="keep",
                on_row=lambda row, seconds: held.append(row.units))
if sys.argv[2:]:  # from here on the system refuses to make any file longer
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    asyncio.run(line.run())
except JournalError as error:
    assert held[-1] != 0.0 and broker.position("BTCUSDT") == 0.0
    print(type(error).__name__, len(broker._orders)
          - journal.db.execute("SELECT count(*) FROM intents").fetchone()[0])
"""


def on_a_full_disk(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(find_spec("resource") is None, reason="Windows limits no file's length")
def test_a_disk_that_refuses_closes_the_position(tmp_path):
    """The system's own limit: not even the reserve helps, and the last order goes unwritten."""
    path = str(tmp_path / "r.sqlite")
    told = on_a_full_disk(sys.executable, "-c", ON_A_FULL_DISK, path, "1500000")
    assert told in ("JournalError 0", "JournalError 1")


def test_a_full_file_system_closes_the_position(tmp_path):
    """One megabyte and no more: the reserve makes room for the last order's line."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is of Linux")
    mount = f"mount -t tmpfs -o size=1m none {tmp_path} && exec "
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", mount + "true"], check=False)
    if probe.returncode:
        pytest.skip("this system lets nobody mount a file system of his own")
    run = shlex.join([sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path / "r.sqlite")])
    assert on_a_full_disk("unshare", "-rm", "sh", "-c", mount + run) == "JournalFullError 0"


def test_a_refused_order_is_written_and_tried_again(tmp_path):
    class Moody(PaperBroker):
        refusals = 2

        def submit(self, request):
            if self.refusals:
                self.refusals -= 1
                raise OrderRejectedError(request.client_order_id, 110007, "not enough")
            return super().submit(request)

    run = Run(tmp_path, BARS[20:30], broker=Moody("BTCUSDT"), on_exit="keep").go()
    units = [row.units for row in run.rows]
    assert units[:3] == [0.0, 0.0, 0.0]
    assert units[3] > 0
    assert run.held == pytest.approx(units[-1])
    states = [r[0] for r in run.journal.db.execute("SELECT status FROM intents")]
    assert states == ["rejected", "rejected", "filled"]


def test_a_position_that_cannot_be_closed_is_shouted_about(tmp_path):
    class Gone(PaperBroker):
        gone = False

        def position(self, symbol):
            if self.gone:
                raise ExchangeError("position", 500, "gone")
            return super().position(symbol)

    broker = Gone("BTCUSDT")
    run = Run(tmp_path, [*BARS[20:30], lambda: setattr(broker, "gone", True), RuntimeError()],
              broker=broker, close_timeout=0.5)  # fmt: skip
    run.go()
    assert isinstance(run.error, UnattendedError)
    assert run.events().count("closing") >= 2  # each try is told
    assert run.journal.state()[1]["owed"]  # a restart closes it, or tries to


def test_a_run_in_pieces_is_one_run(tmp_path):
    """Stopped and started again, the account comes to the same figures."""

    def model(window: pd.DataFrame) -> Signal:
        up = window["close"].iloc[-1] > window["close"].iloc[0]
        return wants(0.7 if up else -0.7, window)

    risk = Risk(stop_atr=2.0, take_profit=1.0, daily_loss=0.2)
    whole = Run(tmp_path / "whole", BARS[20:110], model=model, risk=risk, on_exit="keep").go()
    rows = []
    while len(rows) < 90:
        broker = PaperBroker("BTCUSDT")
        piece = Run(tmp_path, [b for b in BARS[20:110] if not rows or b.time > rows[-1].time],
                    model=model, risk=risk, on_exit="keep", limit=17, broker=broker)  # fmt: skip
        rows += piece.go().rows
        piece.journal.close()
        assert piece.error is None
    assert [replace(r, orders=0) for r in rows] == [replace(r, orders=0) for r in whole.rows]
