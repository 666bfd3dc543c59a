"""What a broker refuses, an exchange that is away, a position that was there before."""

from __future__ import annotations

import math
import signal
import sqlite3
import time
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pandas as pd
import pytest
from test_live_guards import BARS, MINUTE, WARM, Run, Scripted, long, wants

from setrade.bybit import ExchangeError, PaperBroker
from setrade.bybit.orders import Order, OrderRejectedError, OrderRequest
from setrade.costs import Costs
from setrade.live import (
    Bar,
    BarEvent,
    BarGuard,
    Executor,
    HeldError,
    Journal,
    JournalError,
    KillSwitch,
    Move,
    RiskAccount,
    UnattendedError,
)
from setrade.live.__main__ import Table, limit, main, pipeline, stale_timeout
from setrade.live.config import Config
from setrade.live.monitor import Monitor
from setrade.live.pipeline import may_hold
from setrade.live.trader import CLOSE_WAIT
from setrade.risk import Risk

TURN = BARS[WARM + 15].time


def then(first: float, second: float):
    """Want one thing, then another."""
    return lambda window: wants(first if window.index[-1].value < TURN else second, window)


class Refusing(PaperBroker):
    """Refuses the first sells (``how_often``), or all orders while ``away`` says so."""

    def __init__(self, how_often: int = 1, away=lambda: False) -> None:
        super().__init__("BTCUSDT")
        self.left, self.away = how_often, away
        self.asked: list[tuple[str, bool, str]] = []

    def submit(self, request):
        if self.away():
            raise ConnectionError("reset")
        self.asked.append((request.side, request.reduce_only, request.client_order_id))
        if request.side == "sell" and self.left:
            self.left -= 1
            raise OrderRejectedError(request.client_order_id, 110007, "not now")
        return super().submit(request)

    def position(self, symbol):
        if self.away():
            raise ExchangeError("position", 500, "maintenance")
        return super().position(symbol)


class Exchange:
    """Fills everything at once, as an exchange does; ``worth`` is the account's."""

    def __init__(self, held: float = 0.0, worth: float = 1_000.0, refusals: int = 0) -> None:
        self.held, self.worth, self.refusals = held, worth, refusals
        self.orders: dict[str, Order] = {}

    def submit(self, request):
        if request.reduce_only and self.refusals:
            self.refusals -= 1
            raise OrderRejectedError(request.client_order_id, 110007, "not now")
        self.held += float(request.qty) * request.sign
        self.orders[request.client_order_id] = Order(
            request.client_order_id, "x", request.symbol, request.side, request.qty, None, "filled",
            filled=request.qty, average=BARS[WARM].close,
        )  # fmt: skip
        return self.orders[request.client_order_id]

    def instrument(self, symbol):
        return None

    def order(self, client_order_id):
        return self.orders.get(client_order_id)

    def position(self, symbol):
        return self.held

    def equity(self):
        return self.worth


@pytest.mark.parametrize(
    ("model", "risk", "side"),
    [(then(0.5, 0.0), None, 0.0), (then(0.5, -0.5), None, -0.5), (then(0.9, 0.1), None, 0.1),
     (long, Risk(stop_atr=1.0), 0.0), (then(1.0, 1.0), Risk(daily_loss=0.002), 0.0)],
    ids=["close", "flip", "reduce", "stop", "daily_loss"],
)  # fmt: skip
def test_what_was_refused_is_tried_again_at_the_next_open(tmp_path, model, risk, side):
    """Refused thrice: then the position is the one that a broker who takes all would have."""
    units = {}
    for name, refusals in (("takes", 0), ("refuses", 3)):
        broker, rows = Refusing(refusals), []
        run = Run(tmp_path / name, BARS[WARM : WARM + 60], model=model, risk=risk, broker=broker,
                  on_exit="keep", on_row=rows.append).go()  # fmt: skip
        assert run.error is None
        assert run.held == pytest.approx(rows[-1].units, abs=1e-12)
        units[name] = [row.units for row in rows]
    assert broker.left == 0
    assert len({link for _, _, link in broker.asked}) == len(broker.asked)
    said = "halted" if risk is not None and risk.daily_loss else "missed"
    assert said in {row.note for row in rows}
    late = [a - b > 0.01 for a, b in zip(units["refuses"], units["takes"], strict=True)]
    assert 1 <= sum(late) <= 3  # a stop is tried within a bar and at the next open
    share = units["refuses"][-1] * BARS[WARM + 15].close / 10_000
    assert share == pytest.approx(side, abs=0.01)


def test_what_filled_is_written_though_a_later_order_fails(tmp_path):
    """A flip closes and opens; the exchange is lost between the two."""

    class LostAfterTheClose(Exchange):
        def submit(self, request):
            if not request.reduce_only and request.side == "sell":
                raise ExchangeError("/v5/order/create", 10016, "service error")
            return super().submit(request)

    run = Run(tmp_path, BARS[WARM : WARM + 20], model=then(0.5, -0.5), broker=LostAfterTheClose(),
              on_exit="keep").go()  # fmt: skip
    assert isinstance(run.error, ExchangeError)
    statuses = [row[0] for row in run.journal.db.execute("SELECT status FROM intents")]
    assert statuses == ["filled", "filled", "open"]
    assert run.journal.counts()["fills"] == 2


def test_a_refused_close_keeps_its_stop(tmp_path):
    """A flip that is refused leaves a long: its stop is below, not the short's above."""
    run = Run(tmp_path, BARS[WARM : WARM + 17], model=then(0.5, -0.5), risk=Risk(stop_atr=20.0),
              broker=Refusing(99), on_exit="keep").go()  # fmt: skip
    account = run.line.trader.account.a
    assert account["units"] > 0
    assert account["stop"] < BARS[WARM + 16].low
    assert account["pending"] == 1.0


@pytest.mark.parametrize("make", [lambda: Refusing(3), lambda: Exchange(refusals=3)])
def test_a_refused_flatten_gets_a_new_name(tmp_path, make):
    run = Run(tmp_path, BARS[WARM : WARM + 20], broker=make(), on_exit="flat").go()
    assert (run.error, run.held) == (None, 0.0)
    states = [r[0] for r in run.journal.db.execute("SELECT status FROM intents ORDER BY rowid")]
    assert states == ["filled", "rejected", "rejected", "rejected", "filled"]


def test_a_flatten_given_up_is_gone_on_with_after_a_restart(tmp_path):
    broker, bars = Refusing(10**6), BARS[WARM : WARM + 20]
    run = Run(tmp_path, bars, broker=broker, on_exit="flat", close_timeout=0.3).go()
    assert isinstance(run.error, UnattendedError)
    assert run.held > 0
    run.journal.close()
    broker.left = 0
    again = Run(tmp_path, BARS[WARM + 20 : WARM + 22], broker=broker, on_exit="keep",
                model=lambda window: wants(0.0, window)).go()  # fmt: skip
    assert again.held == 0.0
    again.journal.close()
    broker.left = 0
    switch = KillSwitch()
    switch.press("kill_file")
    other = tmp_path / "b"
    broker = Refusing(10**6)
    Run(other, bars, broker=broker, on_exit="flat", close_timeout=0.3).go().journal.close()
    broker.left = 0  # it takes orders again: the kill switch, on the very same bar, works
    killed = Run(other, [None], broker=broker, switch=switch).go()
    assert (killed.report.reason, killed.held) == ("kill_file", 0.0)


@pytest.mark.parametrize(
    ("number", "twice", "gives_up"),
    [(signal.SIGINT, True, True), (signal.SIGINT, False, False), (signal.SIGTERM, True, False)],
)
def test_ctrl_c_gives_up_a_closing_that_is_tried_again(tmp_path, number, twice, gives_up):
    """The first one asks for the end; the one after a refusal, for the end of trying."""
    switch, broker = KillSwitch(), Refusing(3)
    undo = switch.listen({signal.SIGINT: "interrupt", signal.SIGTERM: "terminated"})
    again = lambda *_: signal.raise_signal(number)  # noqa: E731
    items = [*BARS[WARM : WARM + 20], again, None]
    run = Run(tmp_path, items, broker=broker, switch=switch, on_exit="flat", close_timeout=60.0)
    run.line.trader.closer.listeners += [again] * twice
    try:
        run.go()
    finally:
        undo()
    assert isinstance(run.error, UnattendedError) == gives_up
    assert (run.held > 0) == gives_up
    if gives_up:
        assert "given up by hand" in str(run.error)
        assert broker.left == 2
    assert broker.asked[0][0] == "buy"


def by_hand(close: float, low: float, k: int) -> Bar:
    return Bar(k * MINUTE, close, close, low, close, 1.0)


def test_a_stop_that_was_refused_is_owed_though_the_price_comes_back():
    """At 90 the stop is reached and refused; at 100 it is not, and the position still goes."""
    account = RiskAccount(1_000.0, Costs(), Risk(stop_atr=1.0))
    account.previous, account.atr = 100.0, 5.0
    (opened,) = account.open(by_hand(100.0, 100.0, 1), 0.5)
    level = account.a["stop"]
    (stop,) = account.inside(by_hand(100.0, 90.0, 1))
    assert (stop.closing, stop.units) == (True, -opened.units)
    account.adopt(opened.units, 1_000.0, 95.0)  # the broker still has it
    account.missed(stop)
    assert (account.pending_exit, account.a["stop"]) == (stop.reason, level)  # not a new one
    (again,) = account.open(by_hand(100.0, 100.0, 2), 0.5)
    assert (again.closing, again.units) == (True, pytest.approx(-opened.units))
    assert again.reason == f"{stop.reason}, again"
    account.adopt(0.0, 990.0, 100.0)
    assert account.pending_exit == ""


@pytest.mark.parametrize(("wanted", "left"), [(0.0, 0.0), (-0.5, -5.0)])
def test_what_is_held_though_it_is_not_wanted_goes_at_the_next_open(wanted, left):
    """The broker holds 1 at 100; the account, worth 1,000, wants nothing or to be short 5."""
    account = RiskAccount(1_000.0, Costs(fee_bps=0.0, slippage_bps=0.0), Risk())
    account.a["wanted"] = wanted
    account.adopt(1.0, 1_000.0, 100.0)
    moves = account.open(by_hand(100.0, 100.0, 1), wanted)
    assert 1.0 + sum(move.units for move in moves) == pytest.approx(left)
    assert moves[0].closing


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_fill_that_was_learned_late_is_kept_and_has_a_stop(side):
    """The account knew of no position: neither target nor stop may be at zero."""
    account = RiskAccount(1_000.0, Costs(), Risk(stop_atr=2.0, take_profit=1.5))
    account.atr, account.previous, account.a["wanted"] = 2.0, 100.0, side * 0.5
    account.adopt(side * 5.0, 1_000.0, 100.0)
    assert (account.a["stop"], account.a["target"]) == (100.0 - side * 4.0, 100.0 + side * 6.0)
    assert account.open(by_hand(100.0, 100.0, 1), side * 0.5) == []
    bare = RiskAccount(1_000.0, Costs(), Risk())
    bare.a["wanted"] = side * 0.5
    bare.adopt(side * 5.0, 1_000.0, 100.0)
    assert bare.open(by_hand(100.0, 100.0, 1), side * 0.5) == []


def test_a_run_that_ends_before_its_first_bar_has_a_whole_account():
    account = RiskAccount(1_000.0, Costs(), Risk())
    account.adopt(0.0, 900.0, math.nan)
    assert (account.a["cash"], account.a["units"], account.a["entry"]) == (900.0, 0.0, 0.0)


def test_a_refused_order_met_again_is_still_missed(tmp_path):
    """The process died after the refusal: the bar that is worked through again knows of it."""
    journal, broker = Journal(tmp_path / "j.sqlite"), Exchange(held=1.0, refusals=1)
    executor, move = Executor(journal, broker, "BTCUSDT"), Move(-1.0, 100.0, "stop", True)
    for _ in range(2):
        executor.send([move], BARS[WARM].time, 0)
        assert executor.missed == move
        executor.missed = None
    journal.close()


def test_an_order_that_is_filled_in_part_is_missed(tmp_path):
    class Half(Exchange):
        def submit(self, request):
            whole = super().submit(request)
            half = replace(whole, status="cancelled", filled=whole.qty / 2)
            self.orders[request.client_order_id] = half
            return half

    journal, move = Journal(tmp_path / "j.sqlite"), Move(-1.0, 100.0, "stop", True)
    for broker, missed in ((Exchange(held=1.0), None), (Half(held=1.0), move)):
        executor = Executor(journal, broker, "BTCUSDT")
        executor.send([move], BARS[WARM].time + (missed is move), 0)
        assert executor.missed == missed
    journal.close()


def test_a_start_that_fails_does_not_leave_what_the_last_run_holds(tmp_path):
    """The exchange is away for longer than a start waits; then it is there again."""
    calls, broker = [0], Refusing(0, lambda: 0 < calls[0] < 7)
    Run(tmp_path, BARS[WARM : WARM + 20], broker=broker, on_exit="keep").go().journal.close()
    assert broker.position("BTCUSDT") > 0
    standing = broker.position

    def position(symbol):
        calls[0] += 1
        return standing(symbol)

    broker.position = position
    again = Run(tmp_path, BARS[WARM + 20 : WARM + 22], broker=broker, on_exit="keep").go()
    assert isinstance(again.error, ExchangeError)
    assert (again.held, again.rows) == (0.0, [])
    assert again.events()[-1] == "stop"


def test_an_attempt_whose_fate_is_unknown_keeps_its_name(tmp_path):
    """kill -9 between the journal's line and the order: the restart sends that one, not another."""
    broker = Refusing(2)
    run = Run(tmp_path, BARS[WARM : WARM + 20], broker=broker, on_exit="keep").go()
    executor, trader = run.line.trader.executor, run.line.trader
    at = trader.newest + 100_000
    broker.left = 1
    broker.asked.clear()
    _, sent = trader.closer.close("test", trader.last, at)
    first, second = (link for _, _, link in broker.asked)
    assert (first != second, sent, broker.position("BTCUSDT")) == (True, 1, 0.0)
    run.journal.outcome(second, "open")  # died before the answer was written
    assert executor.untried(at, 20) == at + 1  # the second name, for it is not known to have ended
    run.journal.outcome(second, "filled")
    assert executor.untried(at, 20) == at + 2


def test_attempts_differ_in_name_where_nothing_can_be_written(tmp_path):
    broker = Refusing(0)
    run = Run(tmp_path, BARS[WARM : WARM + 20], broker=broker, on_exit="keep").go()
    run.journal.give_up(JournalError("the disk is gone"))
    broker.left = 2
    broker.asked.clear()
    trader = run.line.trader
    trader.closer.close("test", trader.last, trader.newest + 100_000)
    assert len({link for _, _, link in broker.asked}) == len(broker.asked) == 3
    assert broker.position("BTCUSDT") == 0.0


def test_an_outage_is_waited_for_and_each_try_is_told(tmp_path):
    """Away for two seconds when an order is due: closed as soon as it is there again."""
    since: list[float] = []
    broker = Refusing(0, lambda: bool(since) and time.monotonic() - since[0] < 6.0)
    monitor = Monitor()

    def on_row(row):
        if row.time == TURN:
            since.append(time.monotonic())

    run = Run(tmp_path, BARS[WARM : WARM + 40], model=then(0.5, -0.5), broker=broker, on_row=on_row,
              monitor=monitor, on_exit="keep", close_timeout=30.0).go()  # fmt: skip
    assert isinstance(run.error, ExchangeError | ConnectionError)
    assert run.held == 0.0
    tries = run.events().count("closing")
    assert tries >= 2
    told = {s.name: s.value for family in monitor.registry.collect() for s in family.samples}
    assert told["setrade_closing_tries_total"] == tries


def test_waits_double_up_to_the_longest():
    found = [CLOSE_WAIT(SimpleNamespace(attempt_number=k)) for k in range(1, 10)]
    assert found == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0])


def test_without_time_there_is_one_try(tmp_path):
    broker = Refusing(10**6)
    run = Run(tmp_path, BARS[WARM : WARM + 20], broker=broker, on_exit="flat", close_timeout=0.0)
    assert isinstance(run.go().error, UnattendedError)
    assert run.events().count("closing") == 1


def test_an_untyped_error_of_a_network_is_tried_again(tmp_path):
    class Odd(Refusing):
        def submit(self, request):
            if request.reduce_only and self.left:
                self.left -= 1
                raise ConnectionError("reset")
            return PaperBroker.submit(self, request)

    run = Run(tmp_path, BARS[WARM : WARM + 40], model=then(0.5, 0.0), broker=Odd(2)).go()
    assert (run.error, run.report.reason, len(run.rows), run.held) == (None, "end", 40, 0.0)


def test_a_new_journal_wants_a_broker_that_holds_nothing(tmp_path):
    broker = Exchange(held=-1.5)
    run = Run(tmp_path, BARS[WARM : WARM + 20], broker=broker).go()
    assert isinstance(run.error, HeldError)
    assert (run.error.units, broker.orders, run.rows) == (-1.5, {}, [])
    assert "-1.5 BTCUSDT" in str(run.error)


def test_the_first_order_is_sized_on_what_the_account_is_worth(tmp_path):
    broker = Exchange(worth=1_000.0)  # the trader was told 10,000
    Run(tmp_path, BARS[WARM : WARM + 14], broker=broker, on_exit="keep").go()
    (order,) = broker.orders.values()
    assert float(order.qty) * BARS[WARM].close == pytest.approx(500.0, rel=0.01)


def test_only_a_good_bar_is_a_sign_of_life(tmp_path):
    class Stuck(Scripted):
        async def bars(self, after):
            import asyncio

            for bar in self.items:
                yield BarEvent(bar)
            for _ in range(60):
                await asyncio.sleep(0.05)
                yield BarEvent(self.items[-1])

    run = Run(tmp_path, [], stale_timeout=0.6, on_exit="keep")
    run.line.source = Stuck(BARS[WARM : WARM + 15])
    run.go()
    assert (run.report.reason, run.held) == ("stale", 0.0)
    assert run.report.faults["duplicate"] < 20


def test_patience_begins_anew_with_each_good_bar(tmp_path):
    class Slow(Scripted):
        async def bars(self, after):
            import asyncio

            for bar in self.items:
                await asyncio.sleep(0.1)
                yield BarEvent(bar)

    run = Run(tmp_path, [], stale_timeout=1.0)
    run.line.source = Slow(BARS[WARM : WARM + 20])
    run.go()
    assert (run.report.reason, len(run.rows)) == ("end", 20)


def test_an_order_whose_fate_is_open_may_hold_something(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    assert not may_hold(journal)
    at = pd.Timestamp(BARS[WARM].time, tz="UTC")
    journal.request(OrderRequest("BTCUSDT", "buy", Decimal(1), at, strategy="x", leg=0))
    assert may_hold(journal)
    journal.close()


def test_a_damaged_journal_moves_nothing(tmp_path):
    broker = Refusing(0)
    run = Run(tmp_path, BARS[WARM : WARM + 20], broker=broker, on_exit="keep").go()
    run.journal.db.execute("UPDATE state SET figures = '{'")
    run.journal.close()
    held = broker.position("BTCUSDT")
    broker.asked.clear()
    again = Run(tmp_path, BARS[WARM + 20 : WARM + 22], broker=broker).go()
    assert isinstance(again.error, UnattendedError)
    assert "a position may be held" in str(again.error)
    assert (again.held, broker.asked) == (held, [])


def test_a_stamp_far_ahead_is_not_believed_alone(tmp_path):
    wrong = BARS[WARM + 15]._replace(time=BARS[WARM + 15].time + 10**6 * MINUTE)
    items = [*BARS[WARM : WARM + 15], wrong, *BARS[WARM + 15 : WARM + 40]]
    run = Run(tmp_path, items, on_exit="keep").go()
    assert run.report.faults == {"ahead": 1}
    assert len(run.rows) == 40
    strangers = [b._replace(time=b.time + k * 10**6 * MINUTE) for k, b in enumerate(BARS[:4])]
    guard = BarGuard(MINUTE)
    assert [guard.judge(bar) for bar in strangers] == ["", "ahead", "ahead", "ahead"]
    guard, far = BarGuard(MINUTE), [b._replace(time=b.time + 10**6 * MINUTE) for b in BARS]
    told = [guard.judge(bar) for bar in (BARS[0], far[1], BARS[1], far[5], far[6], far[7])]
    assert told == ["", "ahead", "", "ahead", "gap", ""]  # a second bar confirms it


@pytest.mark.parametrize("ends", ["ended", "cancelled"])
def test_a_market_does_not_end_by_itself(tmp_path, ends):
    import asyncio

    items = [] if ends == "ended" else [asyncio.CancelledError()]
    run = Run(tmp_path, [*BARS[WARM : WARM + 15], lambda: None, *items], on_exit="keep")
    run.line.source.live = True
    run.go()
    assert (run.report.reason, run.held) == (f"source_{ends}", 0.0)
    assert run.rows[-1].units > 0


def test_minutes_and_patience_follow_from_the_bar():
    o = Config.read(["--minutes", "1"])
    assert [limit(o, k * MINUTE) for k in (1, 5)] == [1, 1]
    assert limit(Config.read(["--minutes", "0"]), MINUTE) is None
    assert limit(Config.read(["--minutes", "7"]), 5 * MINUTE) == 2
    assert [stale_timeout(o, k * MINUTE) for k in (1, 5, 60)] == [300.0, 1_500.0, 18_000.0]
    short = Config.read(["--patience", "300"])
    for call in (lambda: stale_timeout(short, 5 * MINUTE),
                 lambda: limit(Config.read(["--minutes", "-1"]), MINUTE)):  # fmt: skip
        with pytest.raises(ValueError, match=r"^(patience|minutes): "):
            call()


@pytest.mark.parametrize(("source", "clock"), [("simulator", 240.0), ("bybit", 1.0)])
def test_patience_is_of_the_market_and_its_clock_may_run_fast(tmp_path, source, clock):
    words = ["--source", source, "--speed", "240", "--closing", "12"]
    words += ["--journal", str(tmp_path / "r.sqlite")]
    o, journal = Config.read(words), Journal(tmp_path / "r.sqlite")
    bars = Scripted([])
    bars.live = True
    line = pipeline(o, bars, journal, KillSwitch(), Table(), (long, 10, 10))
    assert (line.stale_timeout, line.trader.closer.close_timeout) == (5 * 60 / clock, 12.0)
    journal.close()


@pytest.fixture
def kept(tmp_path):
    """A run that ended with a position; its options."""
    bars = tmp_path / "bars.parquet"
    from test_live_guards import MARKET

    MARKET.to_parquet(bars)
    options = ["--source", "file", "--file", str(bars), "--speed", "0", "--minutes", "60",
               "--history", "30", "--model", "rules", "--lookback", "5", "--threshold", "0",
               "--stop-atr", "0", "--daily-loss", "0", "--on-exit", "keep",
               "--journal", str(tmp_path / "r.sqlite")]  # fmt: skip
    assert main(options) == 0
    journal = Journal(tmp_path / "r.sqlite")
    assert may_hold(journal)
    journal.close()
    return options


def test_a_busy_port_hinders_nobody_who_holds_a_position(tmp_path, kept, capsys):
    port = Monitor().serve(0)
    new = [*kept[:-1], str(tmp_path / "new.sqlite"), "--metrics-port", str(port)]
    assert main(new) == 3  # nothing is held yet
    capsys.readouterr()
    assert main([*kept[:-3], "flat", *kept[-2:], "--metrics-port", str(port)]) == 0
    told = capsys.readouterr()
    assert "NO STATUS PAGE" in told.err
    assert "held 0.000000" in told.out


@pytest.mark.parametrize("harm", ["garbage", "state", "option", "paper"])
def test_what_cannot_be_gone_on_with_says_that_a_position_may_be_held(tmp_path, kept, capsys, harm):
    path = tmp_path / "r.sqlite"
    if harm == "garbage":
        path.write_bytes(b"not a database " * 100)
    elif harm == "state":
        db = sqlite3.connect(path)
        db.execute("UPDATE state SET figures = '{'")
        db.commit()
        db.close()
    elif harm == "paper":
        db = sqlite3.connect(path)
        db.execute("UPDATE settings SET value = '{' WHERE name = 'paper'")
        db.commit()
        db.close()
    capsys.readouterr()
    assert main([*kept, *(["--size", "-1"] if harm == "option" else [])]) == 4
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith("UnattendedError: not begun, a position may be held: ")


def test_a_state_that_is_no_state_is_a_journal_error(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal._write("INSERT INTO state VALUES (1, 0, ?)", "[1")
    for ask in (journal.state, lambda: Journal(tmp_path / "j.sqlite")._read("SELECT nothing")):
        with pytest.raises(JournalError):
            ask()
        if ask == journal.state:
            journal.close()
