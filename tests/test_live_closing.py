"""Between a held position and its closing order: each call fails, alone and in pairs, for ever."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from itertools import combinations
from typing import Any, cast

import pytest
from test_live_guards import BARS, WARM, Run, long, wants
from test_live_refused import Exchange

from setrade.bybit import ExchangeError
from setrade.bybit.orders import OrderRejectedError
from setrade.costs import Costs
from setrade.live import Journal, JournalError, ModelError, Move, Pipeline, UnattendedError
from setrade.live.__main__ import broker, main
from setrade.live.config import Config
from setrade.live.failover import Bounded, HangError
from setrade.live.trader import Closer, Executor

KINDS = ("refused", "timeout", "empty", "nonsense")
ASKED = ("position", "equity", "instrument", "order", "submit")
FILES = ("full", "gone")  # what becomes of the journal: its disk is full, it is there no more
SINGLE = [(name, kind) for name in ASKED for kind in KINDS] + [("journal", kind) for kind in FILES]
NAMES = [*ASKED, "journal"]
PAIRS = [
    ((a, KINDS[k % 4]), (b, FILES[k % 2] if b == "journal" else KINDS[k // 4 % 4]))
    for k, (a, b) in enumerate(combinations(NAMES, 2))
]


class Failing(Exchange):
    """An exchange of which calls fail, each in its kind, from `fails` on; it fills at once.

    A name is taken once, and a reduce-only order cuts the position down at most to nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fails: dict[str, str] = {}

    def _answer(self, name: str, work) -> Any:
        kind = self.fails.get(name)
        if kind is None:
            return work()
        if kind == "lost":
            work()
        if kind == "refused":
            raise (
                OrderRejectedError("x", 110007, "no")
                if name == "submit"
                else ExchangeError(name, 10006, "no")
            )
        if kind == "hangs":
            threading.Event().wait(60.0)
        if kind in ("timeout", "lost"):
            raise TimeoutError("timed out")
        return None if kind == "empty" else (math.nan if name in ("position", "equity") else "?")

    def _taken(self, request):
        if request.client_order_id in self.orders:
            return self.orders[request.client_order_id]
        if request.reduce_only:
            assert self.held * request.sign < 0, "nothing to reduce"
            assert float(request.qty) <= abs(self.held) * (1 + 1e-12)
        return Exchange.submit(self, request)

    def submit(self, request) -> Any:
        return self._answer("submit", lambda: self._taken(request))

    def position(self, symbol) -> Any:
        return self._answer("position", lambda: self.held)

    def equity(self) -> Any:
        return self._answer("equity", lambda: self.worth)

    def instrument(self, symbol) -> Any:
        return self._answer("instrument", lambda: None)

    def order(self, client_order_id) -> Any:
        return self._answer("order", lambda: self.orders.get(client_order_id))


def turns(window):
    """Hold, and turn round at the tenth bar."""
    return wants(0.5 if window.index[-1].value < BARS[WARM + 9].time else -0.5, window)


def harm(run: Any, faults) -> None:
    """Let calls fail from now on."""
    for name, kind in faults:
        if name != "journal":
            run.broker.fails[name] = kind
        elif kind == "gone":
            run.journal.db.close()
        else:
            pages = run.journal.db.execute("PRAGMA page_count").fetchone()[0]
            run.journal.db.execute(f"PRAGMA max_page_count = {pages}")
            run.journal.db.execute("CREATE TEMP TRIGGER no BEFORE INSERT ON intents BEGIN "
                                   "SELECT RAISE(FAIL, 'disk is full'); END")  # fmt: skip


def ended(path, faults, **more) -> Any:
    """Return a run whose calls began to fail while it held a position, and that had to end."""

    def on_row(row):
        if len(run.rows) == 8:
            harm(run, faults)
            raise RuntimeError("something broke")

    run = Run(path, BARS[WARM : WARM + 12], broker=Failing(), on_exit="keep", on_row=on_row,
              close_timeout=2.0, **more)  # fmt: skip
    run.go()
    assert run.rows[-1].units > 0
    return run


@pytest.mark.parametrize(
    "faults", [(one,) for one in SINGLE] + PAIRS, ids=lambda f: "+".join("-".join(x) for x in f)
)
def test_each_call_fails_and_the_order_goes_out_or_a_person_is_called(tmp_path, faults):
    run = ended(tmp_path, faults)
    told = dict(faults)
    assert run.error is not None
    if "submit" in told:
        assert run.broker.held > 0
    else:
        assert run.broker.held == 0.0  # whatever else fails, it went out on what is known
    unsure = bool({"submit", "position"} & set(told))
    assert isinstance(run.error, UnattendedError) == unsure
    if "journal" not in told:
        assert ("unattended" in run.events()) == unsure


@pytest.mark.parametrize("name", [*ASKED, "all questions"])
@pytest.mark.parametrize("other", ["", "journal", "equity"])
def test_a_call_that_hangs_is_not_waited_for(tmp_path, monkeypatch, name, other):
    """Neither where it is first met, at a bar, nor between there and the close."""

    def on_row(row):
        if len(run.rows) == 8:
            harm(run, [(one, "hangs") for one in names] + [(other, "full")] * bool(other))
            if other == "equity":
                run.broker.fails["equity"] = "timeout"

    names = ASKED[:3] if name == "all questions" else (name,)
    run: Any = Run(tmp_path, BARS[WARM : WARM + 12], broker=Failing(), model=turns, on_exit="flat",
              on_row=on_row, close_timeout=1.5)  # fmt: skip
    monkeypatch.setattr("setrade.live.trader.ANSWER", 0.05)
    monkeypatch.setattr("setrade.live.trader.SUBMIT", 0.05)
    run.line.trader.executor.hurry()
    start = time.monotonic()
    run.go()
    assert time.monotonic() - start < 50
    if name != "submit":
        assert run.broker.held == 0.0
    unsure = "submit" in names or "position" in names
    assert isinstance(run.error, UnattendedError) == unsure
    assert other == "journal" or ("unattended" in run.events()) == unsure


def test_an_answer_in_time_is_the_brokers_own():
    assert Bounded(Failing(), 5.0).position("BTCUSDT") == 0.0
    refused = Failing()
    refused.fails = {"position": "refused", "equity": "timeout"}
    with pytest.raises(ExchangeError):
        Bounded(refused, 5.0).position("BTCUSDT")
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        Bounded(refused, 5.0).equity()
    refused.fails = {"equity": "hangs"}
    asked, start = Bounded(refused, 50.0), time.monotonic()
    threading.Timer(0.1, asked.hurry, (0.2, 1.0)).start()
    with pytest.raises(HangError, match=r"equity: no answer within 0\.2 s"):
        asked.equity()  # one that has begun is cut short as well
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("jump", [-(10**18), 10**18, None])
def test_a_clock_that_jumps_or_fails_closes_all_the_same(tmp_path, monkeypatch, jump):
    """Names and stops do not come from the wall clock; a note that it spoils is left out."""
    real = time.time_ns

    def wrong() -> int:
        if jump is None:
            raise OSError("no clock")
        return real() + jump

    def on_row(row):
        if len(run.rows) == 8:
            monkeypatch.setattr(time, "time_ns", wrong)
            run.broker.fails, run.broker.refusals = {"equity": "timeout"}, 1
            raise RuntimeError("something broke")

    run: Any = Run(tmp_path, BARS[WARM : WARM + 12], broker=Failing(), on_row=on_row,
                   close_timeout=9.0)  # fmt: skip
    run.go()
    assert run.rows[-1].units > 0
    assert run.broker.held == 0.0
    assert not isinstance(run.error, UnattendedError)


def test_a_paper_account_that_is_gone_is_said_where_it_held_something(tmp_path):
    held = Run(tmp_path, BARS[WARM : WARM + 12], on_exit="keep").go()
    assert held.held > 0
    config = Config(journal=str(tmp_path / "run.sqlite"))
    assert broker(config, Costs(), held.journal).position("BTCUSDT") == 0.0  # not restored yet
    held.journal.db.execute("DELETE FROM settings WHERE name = 'paper'")
    with pytest.raises(JournalError, match=r"run\.sqlite\.paper, is gone"):
        broker(config, Costs(), held.journal)
    held.journal.close()
    assert main(["--model", "rules", "--journal", str(tmp_path / "run.sqlite")]) == 4


def test_an_order_whose_answer_is_lost_is_not_doubled(tmp_path):
    run = ended(tmp_path, (("submit", "lost"),))
    assert run.broker.held == 0.0
    assert len([o for o in run.broker.orders.values() if o.side == "sell"]) == 1


def test_before_the_first_close_there_is_no_price_and_it_closes_all_the_same(tmp_path):
    journal, broker = Journal(tmp_path / "j.sqlite"), Failing()
    broker.held, broker.fails = -0.3, {"equity": "timeout"}
    executor = Executor(journal, cast("Any", broker), "BTCUSDT")
    closer = Closer(executor, journal, 1.0)
    worth, sent = closer.close("test", math.nan, BARS[0].time, (-0.3, 77.0))
    assert (worth, sent, broker.held) == (77.0, 1, 0.0)
    journal.close()


@pytest.mark.parametrize("answers", ["yn", "ny", "ynn"])
def test_a_position_that_is_told_now_and_then_is_closed(tmp_path, answers):
    """A second question, which fails, does not stand between what was told and its order."""

    class Now(Failing):
        asked = 0

        def position(self, symbol) -> Any:
            self.asked += 1
            if answers[(self.asked - 1) % len(answers)] == "n":
                raise TimeoutError("timed out")
            return self.held

    journal, broker = Journal(tmp_path / "j.sqlite"), Now()
    broker.held = 0.5
    executor = Executor(journal, cast("Any", broker), "BTCUSDT")
    assert Closer(executor, journal, 5.0).close("test", 100.0, BARS[0].time, (0.5, 1e4))[1] == 1
    assert broker.held == 0.0
    assert len(broker.orders) == 1
    journal.close()


def test_an_opening_order_is_not_sent_on_what_was_known(tmp_path):
    """Only what closes may go out on old knowledge."""
    journal, broker = Journal(tmp_path / "j.sqlite"), Failing()
    executor = Executor(journal, cast("Any", broker), "BTCUSDT")
    broker.fails = {"instrument": "timeout"}
    with pytest.raises(TimeoutError):
        executor.send([Move(1.0, 100.0, "target", False)], BARS[0].time, 10)
    assert broker.orders == {}
    journal.close()


def test_steps_that_have_grown_do_not_keep_what_is_held(tmp_path):
    from decimal import Decimal

    from setrade.bybit.orders import Instrument

    class Grown(Failing):
        def instrument(self, symbol) -> Any:
            return Instrument(symbol, Decimal("0.1"), Decimal(1), Decimal(1))

    journal, broker = Journal(tmp_path / "j.sqlite"), Grown()
    broker.held = 0.004
    closer = Closer(Executor(journal, cast("Any", broker), "BTCUSDT"), journal, 1.0)
    closer.close("test", 100.0, BARS[0].time)
    assert broker.held == 0.0
    journal.close()


def test_a_stage_that_cannot_run_leaves_nothing_behind(tmp_path):
    class Odd(Pipeline):
        async def _live(self, begun):
            await super()._live(begun)
            raise MemoryError

    run = Run(tmp_path, BARS[WARM : WARM + 8], on_exit="keep", model=long)
    run.line.__class__ = Odd
    run.go()
    assert isinstance(run.error, MemoryError)
    assert run.held == 0.0


async def in_time(line):
    await asyncio.wait_for(line.run(), 0.4)


async def cancelled(line):
    task = asyncio.ensure_future(line.run())
    await asyncio.sleep(0.4)
    task.cancel()
    await task


def leaves(error):
    """Return a model that ends the process at the tenth bar."""

    def model(window):
        if window.index[-1].value >= BARS[WARM + 9].time:
            raise error
        return long(window)

    return model


def slow(window):
    time.sleep(0.05)
    return long(window)


@pytest.mark.parametrize(("on_exit", "flat"), [("flat", True), ("keep", False)])
@pytest.mark.parametrize("drive", [in_time, cancelled])
def test_a_run_that_its_caller_cancels_ends_as_on_exit_says(tmp_path, drive, on_exit, flat):
    run: Any = Run(tmp_path, BARS[WARM : WARM + 40], broker=Failing(), model=slow, on_exit=on_exit)
    with pytest.raises((TimeoutError, asyncio.CancelledError)):
        asyncio.run(drive(run.line))
    assert 0 < len(run.rows) < 40
    assert (run.broker.held == 0.0) == flat
    assert run.events()[-1] == "stop"
    assert run.line.reason == "interrupt"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["model", "row"])
def test_a_stage_that_wants_to_end_the_process_leaves_nothing_held(tmp_path, where, error):
    def on_row(row):
        if len(run.rows) == 9 and where == "row":
            raise error

    model = leaves(error) if where == "model" else long
    run: Any = Run(tmp_path, BARS[WARM : WARM + 20], broker=Failing(), model=model,
                   on_exit="keep", on_row=on_row)  # fmt: skip
    with pytest.raises((ModelError, type(error))):
        asyncio.run(run.line.run())
    assert run.rows[-1].units > 0
    assert run.broker.held == 0.0


def test_a_start_that_is_cancelled_closes_what_the_last_run_left(tmp_path):
    first = Run(tmp_path, BARS[WARM : WARM + 12], broker=Failing(), on_exit="keep").go()
    assert first.broker.held > 0
    first.journal.close()
    again: Any = Run(tmp_path, BARS[WARM + 12 : WARM + 20], broker=first.broker, on_exit="flat")
    again.line.trader.resume = sys.exit  # asked to end before it has begun
    with pytest.raises(SystemExit):
        asyncio.run(again.line.run())
    assert again.broker.held == 0.0
