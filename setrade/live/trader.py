"""How often, and how long, something that an exchange does not do is asked for again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, TypeVar

import pandas as pd
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from setrade.bybit import ExchangeError
from setrade.bybit.orders import (
    Broker,
    Instrument,
    Intent,
    Order,
    OrderConflictError,
    OrderRejectedError,
    OrderRuleError,
    OrderUnknownError,
    decimal,
)
from setrade.bybit.paper import PaperBroker
from setrade.costs import Costs
from setrade.errors import number
from setrade.live.account import Desk, Move
from setrade.live.journal import Journal, JournalError, readable
from setrade.live.types import FILLED, OPEN, Bar, Row, Wish
from setrade.risk import Risk, exposure

PASSING = (ExchangeError, OrderUnknownError, OSError)  # the last: what a network raises
TRIES, FIRST = 5, 0.2  # seconds of the first wait
LONGEST = 15.0  # seconds between two tries to close
T = TypeVar("T")


def insist(work: Callable[[], T]) -> T:
    """Return ``work()``, tried again while it fails for a passing reason; waits double."""
    retrying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=FIRST),
        retry=retry_if_exception_type(PASSING),
        reraise=True,
    )
    return retrying(work)


def waits(patience: float) -> Iterator[float]:
    """Yield seconds to wait between tries, doubling up to ``LONGEST``, for ``patience`` seconds.

    There is one value more than there are waits: the last, 0, belongs to the last try.
    """
    end, wait = time.monotonic() + patience, FIRST
    while (left := end - time.monotonic()) > 0:
        yield min(wait, left)
        wait = min(2 * wait, LONGEST)
    yield 0.0


# ---- How a paper broker is shown what happened inside a bar.


BAND = 1e-3  # how far a bar must trade beyond a resting order to fill it on paper
TICK = 1_000  # ns: the moments of one bar that a paper broker is shown are told apart by these


class PaperMarket:
    """Shows a paper broker the moments of a bar as the backtest sees them, as tiny bars.

    A recorded bar says that a level was reached, not when; so the open, then each level at
    which an order fills, then the close are shown one after another. Moments that the broker's
    own journal has already are not shown again.
    """

    def __init__(self, broker: PaperBroker) -> None:
        self.broker = broker
        told = [e["time"] for e in broker.journal.entries if e["kind"] == "bar"]
        self._newest = pd.Timestamp(told[-1]).value if told else -1

    def next(self, time_ns: int) -> int:
        """Return a time, or the first one after it that has not been shown yet."""
        return max(time_ns, self._newest + TICK)

    def show(self, time_ns: int, price: float) -> None:
        """Show one price."""
        self._tell(time_ns, price, price)

    def through(self, time_ns: int, price: float, side: float) -> None:
        """Trade through a resting order of ``side`` (+1: a buy) at ``price``, from its far side."""
        self._tell(time_ns, price * (1 + side * BAND), price * (1 - side * BAND))

    def _tell(self, time_ns: int, start: float, end: float) -> None:
        """Show a bar that goes from ``start`` to ``end`` and back."""
        if time_ns <= self._newest:
            return
        at, low, high = pd.Timestamp(time_ns, tz="UTC"), min(start, end), max(start, end)
        self.broker.on_bar(SimpleNamespace(time=at, open=start, high=high, low=low, close=start))
        self._newest = time_ns


# ---- The order executor: each move becomes one named order, in the journal before it is sent.
#
# An order's name follows from the bar and the leg alone. After a crash the same bar is worked
# through again and comes to the same names; a name that the journal knows is asked for at the
# broker, and only sent, under that same name, where the broker has none. Only what must be closed
# now is tried more than once in a bar: each attempt has a name of its own (`Executor.untried`).


class Executor:
    """Sends moves to a broker and follows each order to its end.

    Args:
        journal: where every order is written first.
        broker: any of `setrade.bybit`'s.
        symbol: what is traded. strategy: first part of the orders' names.
        settle: seconds in which a market order is expected to end.
    """

    def __init__(
        self, journal: Journal, broker: Broker, symbol: str, *, strategy: str = "live",
        settle: float = 5.0,
    ) -> None:  # fmt: skip
        self.journal, self.broker, self.symbol = journal, broker, symbol
        self.strategy, self.settle = strategy, settle
        self.market = PaperMarket(broker) if isinstance(broker, PaperBroker) else None
        self.missed: Move | None = None  # of the last `send`: what was refused or not filled

    def send(self, moves: list[Move], decided: int, leg: int) -> list[Order]:
        """Carry moves out in order, up to one that is missed; return the orders made of them.

        Args:
            moves: from the desk. decided: time of the decision in ns; leg: number of the first.

        Raises:
            JournalError: an order could not be written, and was not sent.
            OrderUnknownError, ExchangeError: an order's fate could not be learned.
        """
        orders: list[Order] = []
        self.missed = None
        for k, move in enumerate(moves, leg):
            intent = self._intent(move, decided, k)
            if intent is None:
                self.journal.decision(decided, "too_small", units=move.units, leg=k)
                continue
            order, whole = self._carry(intent, move, decided + k * TICK)
            orders += [] if order is None else [order]
            if not whole:
                self.missed = move
                break  # the next one was sized for what this one leaves
        return orders

    def untried(self, decided: int, leg: int) -> int:
        """Return the first time from ``decided`` on (ns) after which no order has ended yet."""
        while True:
            known = self.journal.known(self._named("buy", decided, leg).link_id)
            if known is None or known[1] == OPEN:
                return decided
            decided += 1

    def _named(self, side: str, decided: int, leg: int) -> Intent:
        at = pd.Timestamp(decided, tz="UTC")
        return Intent(self.symbol, side, Decimal(1), at, strategy=self.strategy, leg=leg)

    def _carry(self, intent: Intent, move: Move, at: int) -> tuple[Order | None, bool]:
        """Return the order, if there is one, and False if it was refused or not filled."""
        order, known = None, self.journal.known(intent.link_id)
        if known is None:
            self.journal.intent(intent)
        else:
            intent, status = known
            if status != OPEN:
                return self.broker.order(intent.link_id), status == FILLED
            order = self.find(intent)
        order = self._submit(intent, move, at) if order is None else self._follow(order, move, at)
        return order, order is not None and (order.is_open or order.filled >= order.qty)

    def _intent(self, move: Move, decided: int, leg: int) -> Intent | None:
        """Return the order of a move; None where nothing is left to trade.

        A closing move takes what the broker holds, to the last digit. The name must not depend
        on the size: a bar that is worked through again finds the order it has sent.
        """
        units = abs(move.units)
        named = self._named("buy" if move.units > 0 else "sell", decided, leg)
        if self.journal.known(named.link_id) is not None:
            return named
        if move.closing:
            held = self.broker.position(self.symbol)
            units = abs(held) if held * move.units < 0 else 0.0
        qty = self._sized(units, move)
        if not qty:
            return None
        price = self._limit(move) if move.resting and self.market else None
        return replace(named, qty=qty, price=price, reduce_only=move.closing)

    def _rules(self) -> Instrument | None:
        rules: Any = getattr(self.broker, "instrument", None)
        return rules(self.symbol) if callable(rules) else rules  # pyright: ignore

    def _limit(self, move: Move) -> Decimal:
        rules = self._rules()
        exact = decimal("price", move.price)
        return rules.price(exact, rounding="nearest") if rules else exact

    def _sized(self, units: float, move: Move) -> Decimal:
        rules = self._rules()
        if rules is None:
            return decimal("qty", units) if units else Decimal(0)
        qty = rules.floor(units)
        small = not move.closing and qty * decimal("price", move.price) < rules.min_notional
        return Decimal(0) if small else qty

    def _submit(self, intent: Intent, move: Move, at: int) -> Order | None:
        try:
            order = self.broker.submit(intent)
        except (OrderRejectedError, OrderRuleError) as error:
            self.journal.outcome(intent.link_id, "rejected", str(error))
            return None
        except OrderConflictError as error:  # a reduce-only order that the exchange cut down
            order = error.order
        return self._follow(order, move, at)

    def _follow(self, order: Order, move: Move, at: int) -> Order:
        """Watch an order to its end and write what became of it."""
        if self.market is not None and order.is_open:
            at = self.market.next(at)
            if move.resting:
                self.market.through(at, move.price, 1.0 if move.units > 0 else -1.0)
            else:
                self.market.show(at, move.price)
        deadline = time.monotonic() + self.settle
        order = self.broker.order(order.link_id) or order
        while order.is_open and self.market is None and time.monotonic() < deadline:
            time.sleep(0.02)
            order = self.broker.order(order.link_id) or order
        self.journal.order(order)
        self.journal.commit()
        return order

    def find(self, intent: Intent) -> Order | None:
        """Ask the broker for an order by its name, as long as it may take to show."""
        patience = 0.0 if self.market is not None else min(self.settle, 1.0)
        deadline = time.monotonic() + patience
        while True:
            order = self.broker.order(intent.link_id)
            if order is not None or time.monotonic() >= deadline:
                return order
            time.sleep(0.1)

    def settle_open(self, before: int) -> list[str]:
        """After a restart, learn the fate of orders that were decided before a time (ns).

        One that the broker does not know was never sent; its bar is past, so it is given up.

        Returns:
            The names that were given up.
        """
        given_up = []
        for intent in self.journal.unfinished():
            if intent.decided.value >= before:
                continue  # its bar is worked through again
            order = self.find(intent)
            if order is None:
                self.journal.outcome(intent.link_id, "expired", "never sent, its bar is past")
                given_up.append(intent.link_id)
            else:
                self.journal.order(order)
        self.journal.commit()
        return given_up

    def standing(self) -> tuple[float, float]:
        """Return the signed size held and the worth of the account, as the broker says."""
        return self.broker.position(self.symbol), self.broker.equity()


# ---- Closing everything: tried again until nothing is held, each attempt an order of its own name.


FLATTEN = 20  # number of the leg: names of orders are made of it


class UnattendedError(RuntimeError):
    """A position is held, or may be, that nobody cares for: a person has to look at it now."""


class HeldError(UnattendedError):
    """The broker holds something that a new journal knows nothing of."""

    def __init__(self, symbol: str, units: float) -> None:
        self.symbol, self.units = symbol, units
        super().__init__(
            f"the broker holds {units:g} {symbol}, and this journal is new: go on with the "
            "journal of the run that opened it, or close it at the broker first"
        )


class Closer:
    """Closes what the broker holds, however often it has to be tried.

    An attempt that was refused is over; the next one has another name, in the journal before it
    is sent. One whose fate is unknown is asked for, and sent again under the same name.
    While it has to be tried again, a person may give it up (`heard`).

    Args:
        executor, journal: the trader's.
        patience: seconds after which it is given up; the waits between tries double, up to 15 s.

    ``told`` are called with the trouble after each try that failed.
    """

    def __init__(self, executor: Executor, journal: Journal, patience: float) -> None:
        self.executor, self.journal, self.patience = executor, journal, patience
        self.told: list[Callable[[str], None]] = []
        self._failing, self._given_up = False, threading.Event()

    def heard(self, reason: str) -> None:
        """Give up on an interrupt (Ctrl-C) that comes after a try has failed."""
        if reason == "interrupt" and self._failing:
            self._given_up.set()

    def close(self, reason: str, price: float, at: int) -> tuple[float, int]:
        """Close everything at the market; return the account's worth and the orders sent.

        Args:
            reason: for the journal. price: about which. at: time that the names are made of.

        Raises:
            UnattendedError: something is still held, or the broker does not say, when time is up
                or a person gave up.
        """
        sent, trouble = 0, ""
        for k, wait in enumerate(waits(self.patience)):
            try:
                held, equity = self.executor.standing()
                if held:
                    sent += self._once(Move(-held, price, reason, True), at, k)
                    held, equity = self.executor.standing()
                if not held:
                    self._failing = False
                    return equity, sent
                trouble = f"{held:g} still held"
            except Exception as error:  # whatever it is: nobody else cares for the position
                trouble = f"{type(error).__name__}: {error}"
            self._failing = True
            self._tell(reason, k + 1, trouble)
            if self._given_up.wait(wait):
                raise UnattendedError(f"after {reason}: given up by hand, not closed: {trouble}")
        raise UnattendedError(f"after {reason}: not closed in {self.patience:g} s: {trouble}")

    def _tell(self, reason: str, tries: int, trouble: str) -> None:
        with suppress(JournalError):
            self.journal.event("closing", reason=reason, tries=tries, trouble=trouble)
            self.journal.commit()
        for tell in self.told:
            with suppress(Exception):
                tell(f"closing after {reason}, try {tries}: {trouble}")

    def _once(self, move: Move, at: int, tries: int) -> int:
        """Send an attempt, if need be without a line in the journal: it can only close."""
        try:
            return self._send(move, at, tries)
        except JournalError:
            self.journal.release()
        try:
            return self._send(move, at, tries)
        except JournalError as error:
            self.journal.give_up(error)
        return self._send(move, at, tries)

    def _send(self, move: Move, at: int, tries: int) -> int:
        """Send under a new name, or under that of the attempt whose fate is not known."""
        at += tries if self.journal.lost else 0  # nothing is written: count attempts here
        return len(self.executor.send([move], self.executor.untried(at, FLATTEN), FLATTEN))


# ---- One bar after another: risk manager, executor and journal, in the order that matters.


# Numbers of the legs within one moment: names of orders are made of them (20: `closing`).
INSIDE, OPENING = 0, 10
PAPER = {OPENING: 1, INSIDE: 20}  # on paper the open comes first
CLOSE = 99  # the last moment of a bar that a paper broker is shown


class Trader:
    """Moves one account from bar to bar.

    On paper a decision is filled at the open of the next bar, when that bar is known: to the
    digit what `backtest.run` does. At an exchange it goes out at once, at about the close, and
    a level that a bar has reached is acted on when that bar is closed: choose short bars.

    Args:
        journal, broker, symbol: as `Executor` takes them.
        step: length of a bar in ns.
        equity: money until the broker has said what there is, which it is asked before anything.
        costs: what trading is expected to cost. risk: limits, stops and guards.
        by_confidence: scale positions with the signal's confidence (`risk.exposure`).
        settle: as `Executor` takes it. closing: seconds in which `flatten` goes on trying.
    """

    def __init__(
        self, journal: Journal, broker: Broker, symbol: str, step: int, *, equity: float,
        costs: Costs | None = None, risk: Risk | None = None, by_confidence: bool = False,
        settle: float = 5.0, closing: float = 600.0,
    ) -> None:  # fmt: skip
        self.journal, self.step, self.risk = journal, step, risk or Risk()
        self.by_confidence = by_confidence
        self.desk = Desk(equity, costs or Costs(), self.risk)
        self.executor = Executor(journal, broker, symbol, settle=settle)
        self.closer = Closer(self.executor, journal, number("closing", closing, 0.0))
        self.early = self.executor.market is None
        self.want, self.newest, self.last = 0.0, -1, math.nan
        self._note = ""

    def resume(self) -> int:
        """Stand where the journal says; return the open of the last finished bar, -1 if none.

        Orders of finished bars are settled now. A bar that was begun is worked through again:
        then the account stays as it was before it, so that it comes to the same orders. With a
        new journal the broker must hold nothing: no stop would belong to it (`HeldError`).
        """
        kept = self.journal.state()
        if kept is None:
            self._begin()
            return -1
        self.newest, figures = kept
        with readable():
            self.desk.restore(figures)
            self.want, self.last = figures["want"], figures["previous"]
        begun = self.newest + self.step * (2 if self.early else 1)  # first name of the next bar
        for name in insist(lambda: self.executor.settle_open(begun)):
            self.journal.event("expired", link_id=name)
        if not self.journal.intents_since(begun):
            self.desk.adopt(*insist(self.executor.standing), price=self.last)
        return self.newest

    def _begin(self) -> None:
        """Begin with the money that the broker says there is."""
        held, equity = insist(self.executor.standing)
        if held:
            raise HeldError(self.executor.symbol, held)
        self.desk.begin(equity)

    def warm(self, bar: Bar) -> None:
        """Take in a bar of the past: nothing is decided on it."""
        self.desk.close(bar)
        self.newest, self.last = bar.time, bar.close

    def save(self) -> None:
        """Write where the account stands after the newest bar."""
        self.journal.finish(self.newest, want=self.want, **self.desk.figures())

    def step_bar(self, bar: Bar, wish: Wish | None, *, late: bool = False) -> Row:
        """Live through a closed bar, then decide.

        Args:
            bar: newer than the last. wish: what the model says after it; None: no opinion, what
                was wanted before still is.
            late: the bar closed long ago (we were not there): levels are acted on, at an
                exchange nothing is opened.
        """
        self._note, orders, before = "", 0, self.desk.previous
        if not self.early:
            orders += self._open(bar, bar.time)
        orders += self._act(self.desk.inside(bar), bar, bar.time + self.step, INSIDE)
        self.last = bar.close
        if self.executor.market is not None:
            self.executor.market.show(bar.time + CLOSE * TICK, bar.close)
        self.desk.close(bar)
        if wish is not None:
            self.want = self._wanted(wish)
        if self.early and not late:
            orders += self._open_early(bar, before)
        return self._finished(bar, orders)

    def _finished(self, bar: Bar, orders: int) -> Row:
        if self._note:
            self.journal.decision(bar.time, "refused", reason=self._note, want=self.want)
        self.newest = bar.time
        self.save()
        return replace(self.standing(), orders=orders)

    def _wanted(self, wish: Wish) -> float:
        if not self.by_confidence:
            return wish.position
        low, full = self.risk.min_confidence, self.risk.full_confidence
        return wish.position * float(exposure(wish.confidence, low, full))

    def _open(self, bar: Bar, decided: int) -> int:
        """Trade at a bar's open towards what is wanted."""
        if self.executor.market is not None:
            self.executor.market.show(bar.time, bar.open)
        moves = self.desk.open(bar, self.want)
        self._note = self.desk.refused(bar)
        return self._act(moves, bar, decided, OPENING)

    def _open_early(self, bar: Bar, before: float) -> int:
        """Trade before the next open is known, at about the last close.

        The jump that the guard looks at is then the last bar's own, from the close before it.
        """
        last = bar.close
        following = Bar(bar.time + self.step, last, last, last, last, 0.0)
        self.desk.previous, kept = before, self.desk.previous
        try:
            return self._open(following, following.time)
        finally:
            self.desk.previous = kept

    def _act(self, moves: list[Move], bar: Bar, decided: int, leg: int) -> int:
        """Write what was decided, send it, take the broker's word for what came of it."""
        if not moves:
            return 0
        for move in moves:
            self.journal.decision(bar.time, "move", **move._asdict())
        # a paper broker is shown the moments of a bar in order: there all orders of a bar are
        # named after its own open, and the leg tells them apart
        at = decided if self.early else bar.time
        first = leg if self.early else PAPER[leg]
        sent = insist(lambda: self.executor.send(moves, at, first))
        self.desk.adopt(*insist(self.executor.standing), price=moves[-1].price)
        if self.executor.missed is not None:
            self.desk.missed(self.executor.missed)
            self._note = self._note or "missed"
        return len(sent)

    def standing(self) -> Row:
        """Return where the account stands after the newest bar."""
        units, equity = float(self.desk.a["units"]), float(self.desk.a["equity"])
        return Row(self.newest, self.last, self.want, units, equity, 0, self._note)

    def flatten(self, reason: str) -> Row:
        """Close everything at the market, now, as often as it takes; nothing is opened after it.

        A journal that cannot be written does not hold this up: the order can only close.

        Raises:
            UnattendedError: it could not be closed in time; it is owed then, also after a restart.
        """
        self.want, self.desk.a["wanted"] = 0.0, 0.0
        at = self.newest + (self.step if self.early else (CLOSE + 1) * TICK)  # its last moment
        try:
            equity, sent = self.closer.close(reason, self.last, at)
        except UnattendedError:
            self.desk.owed = self.desk.owed or reason
            with suppress(JournalError):
                self.save()
            raise
        self.desk.adopt(0.0, equity, self.last)
        self.desk.a["equity"] = equity
        try:
            self.save()
        except JournalError as error:
            self.journal.give_up(error)
        return Row(self.newest, self.last, 0.0, 0.0, equity, sent, reason)
