"""Between a held position and its closing order: each call fails, alone and in pairs, for ever."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, cast

import pytest
from test_live_guards import BARS, WARM, Run, long
from test_live_refused import Exchange

from setrade.bybit import ExchangeError
from setrade.bybit.orders import OrderRejectedError
from setrade.live import Journal, Move, Pipeline, UnattendedError
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
