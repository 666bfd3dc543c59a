"""The trader: moves one account from bar to bar, and each move becomes one order with a name.

An order's name follows from the bar and the leg alone. After a crash the same bar is worked
through again and comes to the same names; a name that the journal knows is asked for at the
broker, and only sent, under that same name, where the broker has none. Only what must be closed
now is tried more than once in a bar: each attempt has a name of its own (`Executor.untried`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeVar

import pandas as pd
import tenacity
from tenacity import RetryCallState, Retrying

from setrade.bybit import ExchangeError, orders
from setrade.bybit.orders import Broker, Instrument, Order, OrderRequest
from setrade.bybit.paper import PaperBroker
from setrade.costs import Costs
from setrade.errors import Pickled, flag, integer, number
from setrade.live.account import RESTING, TICK, Move, PaperPrices, RiskAccount
from setrade.live.failover import Bounded
from setrade.live.journal import FILLED, OPEN, UNREADABLE, Journal, JournalError
from setrade.live.types import Bar, Row
from setrade.risk import Risk, exposure
from setrade.signals import Signal

PASSING = (ExchangeError, orders.OrderUnknownError, OSError)  # the last: what a network raises
CLOSE_WAIT = tenacity.wait_exponential(multiplier=0.2, max=15.0)  # seconds between tries to close
# Numbers of the legs within one moment: names of orders are made of them.
INSIDE, OPENING, FLATTEN = 0, 10, 20
PAPER = {OPENING: 1, INSIDE: 20}  # on paper the open comes first
HANG = 240.0  # seconds without an answer from a broker, which itself tries for half as long
ANSWER, SUBMIT = 5.0, 60.0  # and while a position has to be closed
STUCK = 3  # tries to close under one name, when nothing is learned of it
CLOSE = 99  # the last moment of a bar that a paper broker is shown
T = TypeVar("T")

# Calls its argument, five times at most while that fails for a passing reason; waits double.
retry = Retrying(
    stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_exponential(multiplier=0.2),
    retry=tenacity.retry_if_exception_type(PASSING), reraise=True,
)  # fmt: skip


def poll(work: Callable[[], T], again: Callable[[T], bool], seconds: float, pause: float) -> T:
    """Return ``work()``, asked every ``pause`` seconds while ``again`` says so, for ``seconds``."""
    asking = Retrying(
        stop=tenacity.stop_after_delay(seconds), wait=tenacity.wait_fixed(pause),
        retry=tenacity.retry_if_result(again),
        retry_error_callback=lambda state: state.outcome.result(),  # type: ignore[union-attr]
    )  # fmt: skip
    return asking(work)


class UnattendedError(RuntimeError):
    """A position is held, or may be, that nobody cares for: a person has to look at it now."""


class HeldError(Pickled, UnattendedError):
    """The broker holds something that a new journal knows nothing of."""

    def __init__(self, symbol: str, units: float) -> None:
        self.symbol, self.units = symbol, units
        super().__init__(
            f"the broker holds {units:g} {symbol}, and this journal is new: go on with the "
            "journal of the run that opened it, or close it at the broker first"
        )


class Executor:
    """Sends moves to a broker and follows each order to its end.

    Args:
        journal: where every order is written first. broker: any of `setrade.bybit`'s.
        symbol: what is traded. strategy: first part of the orders' names.
        settle: seconds in which a market order is expected to end.

    ``missed`` is the move of the last `send` that was refused or not filled; None for none.
    ``sure`` is a closing move's size that goes out without asking the broker for the position.
    """

    def __init__(
        self, journal: Journal, broker: Broker, symbol: str, *, strategy: str = "live",
        settle: float = 5.0,
    ) -> None:  # fmt: skip
        self.journal, self.symbol, self.strategy = journal, symbol, strategy
        self.prices = PaperPrices(broker, journal) if isinstance(broker, PaperBroker) else None
        self.broker: Any = broker if self.prices else Bounded(broker, HANG)
        settle = number("settle", settle, 0.0)
        self.settle = settle if self.prices is None else 0.0  # on paper there is no waiting
        self.name = partial(orders.client_order_id, strategy, symbol)
        self.missed: Move | None = None
        self.sure = math.nan
        self._known: Instrument | None = None
        self._told, self._since = 0.0, dict[str, float]()  # the broker's word, and fills after it

    @property
    def held(self) -> float:
        """Signed size as far as is known: the broker's last word, and what was filled since."""
        return self._told + sum(self._since.values())

    def stand(self, units: float) -> None:
        """Hold so much, as the journal says, until the broker is asked."""
        self._told, self._since = units, {}

    def hurry(self) -> None:
        """From now on only closing counts: wait no longer than that allows."""
        if self.prices is None:
            self.broker.hurry(ANSWER, SUBMIT)

    def send(self, moves: list[Move], decided: int, leg: int) -> list[Order]:
        """Carry moves out in order, up to one that is missed; return the orders made of them.

        What became of them is written when all have been followed, or when one of them fails; an
        order that is cut off before that is asked for by its name.

        Args:
            moves: of the account. decided: time of the decision in ns; leg: number of the first.

        Raises:
            JournalError: an order could not be written, and was not sent.
            OrderUnknownError, ExchangeError: an order's fate could not be learned.
        """
        sent: list[Order] = []
        self.missed = None
        try:
            for k, move in enumerate(moves, leg):
                known = self.journal.known(self.name(decided, k))
                request, status = known or (self._request(move, decided, k), "")
                if request is None:
                    self.journal.decision(decided, "too_small", units=move.units, leg=k)
                    continue
                order, whole = self._carry(request, status, move, decided + k * TICK)
                if order is not None:
                    sent.append(order)
                    self._since[request.client_order_id] = float(order.filled) * request.sign
                if not whole:
                    self.missed = move
                    break  # the next one was sized for what this one leaves
        finally:  # what is known is written, also where a later leg fails
            for order in sent:
                self.journal.order(order)
            if sent and self.prices is not None:
                self.prices.save(traded=True)
        return sent

    def untried(self, decided: int, leg: int) -> int:
        """Return the first time from ``decided`` on (ns) after which no order has ended yet."""
        while (known := self.journal.known(self.name(decided, leg))) and known[1] != OPEN:
            decided += 1
        return decided

    def _request(self, move: Move, decided: int, leg: int) -> OrderRequest | None:
        """Return the order of a move; None where nothing is left to trade.

        A closing move takes what the broker holds, to the last digit. The name does not depend
        on the size: a bar that is worked through again finds the order it has sent.
        """
        units, limit = abs(move.units), None
        if move.closing and move.units != self.sure:
            held = self.position()
            units = abs(held) if held * move.units < 0 else 0.0
        if not units:
            return None
        if move.closing and self.prices is None:
            rules = self._rules()
        else:
            rules = self._known = self.broker.instrument(self.symbol)
        qty = orders.decimal("qty", units)
        if rules is not None:
            # what is held was bought in whole steps: steps that have grown may not stop its sale
            qty = rules.floor(units) or (qty if move.closing else 0)
            price = 0 if move.closing else orders.decimal("price", move.price)
            if not qty or (price and qty * price < rules.min_notional):
                return None
        if self.prices is not None and move.reason == RESTING:
            exact = orders.decimal("price", move.price)
            limit = rules.price(exact, rounding="nearest") if rules else exact
        at, side = pd.Timestamp(decided, tz="UTC"), "buy" if move.units > 0 else "sell"
        return OrderRequest(self.symbol, side, qty, at, limit, move.closing, self.strategy, leg)

    def _rules(self) -> Instrument | None:
        """Return the steps and minima for a closing order: the last known ones do, or none."""
        with suppress(Exception):
            rules = self.broker.instrument(self.symbol)
            if isinstance(rules, Instrument | None):
                self._known = rules
        return self._known

    def position(self) -> float:
        """Return the signed size held; what is no number is an `ArgumentError`."""
        held = number("position", self.broker.position(self.symbol))
        self._told, self._since = held, {}
        return held

    def _carry(
        self, request: OrderRequest, status: str, move: Move, at: int
    ) -> tuple[Order | None, bool]:
        """Send an order or find it, and watch it to its end.

        Returns:
            The order, if there is one, and False if it was refused or not filled.
        """
        name, order = request.client_order_id, None
        if status not in ("", OPEN):
            return self.broker.order(name), status == FILLED
        if status:
            find = partial(self.find, name)
            order = self._gently(find) if move.closing else find()
        else:
            self.journal.request(request)
        if order is None:
            try:
                order = self.broker.submit(request)
            except (orders.OrderRejectedError, orders.OrderRuleError) as error:
                self.journal.outcome(name, "rejected", str(error))
                return None, False
            except orders.OrderConflictError as error:  # the exchange cut a reduce-only one down
                order = error.order
        if self.prices is not None and order.is_open:
            self.prices.reach(at, move)
        sent, ask = order, partial(self.broker.order, name)
        if move.closing and self.prices is None:
            ask = partial(self._gently, ask)
        order = poll(lambda: ask() or sent, lambda now: now.is_open, self.settle, 0.02)
        return order, order.filled >= order.qty or order.is_open

    def _gently(self, ask: Callable[[], Order | None]) -> Order | None:
        """Ask for a closing order; where that fails it is as good as not found.

        It is then sent under its own name, which the exchange takes once, and can only close.
        """
        with suppress(Exception):
            order = ask()
            return order if isinstance(order, Order) else None
        return None

    def find(self, client_order_id: str) -> Order | None:
        """Ask the broker for an order by its name, as long as it may take to show."""
        ask, seconds = partial(self.broker.order, client_order_id), min(self.settle, 1.0)
        return poll(ask, lambda found: found is None, seconds, 0.1)

    def settle_open(self, before: int) -> list[str]:
        """After a restart, learn the fate of orders that were decided before a time (ns).

        One that the broker does not know was never sent; its bar is past, so it is given up.

        Returns:
            The names that were given up.
        """
        given_up = []
        for request in self.journal.unfinished():
            if request.decided.value >= before:
                continue  # its bar is worked through again
            order = self.find(request.client_order_id)
            if order is not None:
                self.journal.order(order)
                continue
            given_up.append(request.client_order_id)
            self.journal.outcome(given_up[-1], "expired", "never sent, its bar is past")
        self.journal.commit()
        return given_up

    def standing(self) -> tuple[float, float]:
        """Return the signed size held and the worth of the account, as the broker says."""
        return self.position(), number("equity", self.broker.equity())


class Closer:
    """Closes what the broker holds, however often it has to be tried.

    An attempt that was refused is over; the next one has another name, in the journal before it
    is sent. One whose fate is unknown is asked for, and sent again under the same name.
    While it has to be tried again, a person may give it up (`heard`).

    ``close_timeout`` is the seconds after which it is given up; waits between tries double.
    ``listeners`` are called with the trouble after each try that failed.
    """

    def __init__(self, executor: Executor, journal: Journal, close_timeout: float) -> None:
        self.executor, self.journal = executor, journal
        self.close_timeout = number("close_timeout", close_timeout, 0.0)
        self.listeners: list[Callable[[str], None]] = []
        self._failing, self._trouble, self._given_up = False, "", threading.Event()
        self._held = 0.0  # the last known size
        self._stuck = 0  # tries in a row that came to no end

    def heard(self, reason: str) -> None:
        """Give up on an interrupt (Ctrl-C) that comes after a try has failed."""
        if reason == "interrupt" and self._failing:
            self._given_up.set()

    def close(
        self, reason: str, price: float, at: int, last: tuple[float, float] = (0.0, math.nan)
    ) -> tuple[float, int]:  # fmt: skip
        """Close everything at the market; return the account's worth and the orders sent.

        Where the broker does not say what is held, an order goes out for what was held last. It
        can only close; the end is one that a person must look at until the broker says so.

        Args:
            reason: for the journal. price: about which. at: time that the names are made of.
            last: size held and worth of the account, as far as is known.

        Raises:
            UnattendedError: something is still held, or the broker does not say, when time is up
                or a person gave up.
        """
        self.executor.hurry()
        sent, (self._held, equity) = 0, last
        for attempt in self._attempts(reason):
            with attempt:  # whatever is raised here is tried again: nobody else would close it
                tries = attempt.retry_state.attempt_number - 1
                if held := self._asked():
                    sent += self._once(Move(-held, price, reason, True), at, tries)
                    held = self.executor.position()
                if held:
                    raise UnattendedError(f"{held:g} still held")
                self._failing = False
                return self._worth(equity), sent
        raise AssertionError("the attempts end in a return or an error")

    def _asked(self) -> float:
        """Return what is held: the broker's word, or the last one while it gives none."""
        try:
            self._held = self.executor.position()
        except Exception:
            if not self._held:
                raise
        self.executor.sure = -self._held  # sent without asking once more, which may fail
        return self._held

    def _worth(self, last: float) -> float:
        """Return the account's worth; the last known one where the broker does not say."""
        with suppress(Exception):  # no wallet is needed to be flat
            return number("equity", self.executor.broker.equity())
        return last

    def _attempts(self, reason: str) -> Retrying:
        """Return attempts until one does not fail, time is up, or a person gives up."""
        end = time.monotonic() + self.close_timeout

        def sleep(seconds: float) -> None:
            if self._given_up.wait(max(min(seconds, end - time.monotonic()), 0.0)):
                raise UnattendedError(f"after {reason}: given up by hand, {self._trouble}")

        def give_up(state: RetryCallState) -> NoReturn:
            told = f"after {reason}: not closed in {self.close_timeout:g} s, {self._trouble}"
            raise UnattendedError(told) from state.outcome.exception()  # type: ignore[union-attr]

        return Retrying(
            stop=tenacity.stop_after_delay(self.close_timeout), wait=CLOSE_WAIT, sleep=sleep,
            retry=tenacity.retry_if_exception_type(Exception), after=partial(self._tell, reason),
            retry_error_callback=give_up,
        )  # fmt: skip

    def _tell(self, reason: str, state: RetryCallState) -> None:
        """Note an attempt that failed, and tell those who listen."""
        error, tries = state.outcome.exception(), state.attempt_number  # type: ignore[union-attr]
        held = isinstance(error, UnattendedError)
        self._failing = True
        self._trouble = str(error) if held else f"{type(error).__name__}: {error}"
        with suppress(Exception):  # a note is no reason not to try again
            self.journal.event("closing", reason=reason, tries=tries, trouble=self._trouble)
            self.journal.commit()
        for tell in self.listeners:
            with suppress(Exception):
                tell(f"closing after {reason}, try {tries}: {self._trouble}")

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
        at = self.executor.untried(at, FLATTEN)
        if self._stuck >= STUCK and not self.journal.lost:  # its fate is not to be had: a new name
            self.journal.outcome(self.executor.name(at, FLATTEN), "unknown", self._trouble)
            self._stuck, at = 0, self.executor.untried(at, FLATTEN)
        self._stuck += 1
        sent = self.executor.send([move], at, FLATTEN)
        self._stuck = 0
        filled = sum(float(order.filled) for order in sent)  # counted, in case nobody says it
        self._held -= math.copysign(min(filled, abs(self._held)), self._held)
        return len(sent)


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
        size: positions are signals times this. by_confidence: and scaled with the signal's
            confidence (`risk.exposure`).
        settle: as `Executor` takes it. close_timeout: as `Closer` takes it.
    """

    def __init__(
        self, journal: Journal, broker: Broker, symbol: str, step: int, *, equity: float,
        costs: Costs | None = None, risk: Risk | None = None, size: float = 1.0,
        by_confidence: bool = False, settle: float = 5.0, close_timeout: float = 600.0,
    ) -> None:  # fmt: skip
        self.journal, self.step = journal, integer("step", step, 1)
        self.risk = Risk() if risk is None else risk
        self.size = number("size", size, 0.0, above=True)
        self.by_confidence = flag("by_confidence", by_confidence)
        self.account = RiskAccount(equity, Costs() if costs is None else costs, self.risk)
        self.executor = Executor(journal, broker, symbol, settle=settle)
        self.closer = Closer(self.executor, journal, close_timeout)
        self.prices = self.executor.prices
        self.early = self.prices is None  # decisions go out before the next open is known
        self.target_position, self.newest, self.last = 0.0, -1, math.nan
        self._note = ""

    def resume(self) -> int:
        """Stand where the journal says; return the open of the last finished bar, -1 if none.

        Orders of finished bars are settled now. A bar that was begun is worked through again:
        then the account stays as it was before it, so that it comes to the same orders. With a
        new journal the broker must hold nothing: no stop would belong to it (`HeldError`).
        """
        kept = self.journal.state()
        if kept is None:
            held, equity = retry(self.executor.standing)
            if held:
                raise HeldError(self.executor.symbol, held)
            self.account.begin(equity)
            return -1
        self.newest, figures = kept
        try:
            self.account.restore(figures)
            self.executor.stand(float(self.account.a["units"]))
            self.target_position, self.last = figures["want"], figures["previous"]
            if self.prices is not None:
                self.prices.restore(self.newest + CLOSE * TICK, self.last)
        except UNREADABLE as error:
            raise JournalError.unreadable(error) from error
        begun = self.newest + self.step * (2 if self.early else 1)  # first name of the next bar
        for name in retry(lambda: self.executor.settle_open(begun)):
            self.journal.event("expired", client_order_id=name)
        if not self.journal.requests_since(begun):
            self.account.adopt(*retry(self.executor.standing), price=self.last)
        return self.newest

    def warm(self, bar: Bar) -> None:
        """Take in a bar of the past: nothing is decided on it."""
        self.account.close(bar)
        self.newest, self.last = bar.time, bar.close

    def save(self) -> None:
        """Write where account and paper broker stand after the newest bar."""
        if self.prices is not None:
            self.prices.save()
        self.journal.finish(self.newest, want=self.target_position, **self.account.figures())

    def on_bar(self, bar: Bar, signal: Signal | None, *, late: bool = False) -> Row:
        """Live through a closed bar, then decide.

        Args:
            bar: newer than the last. signal: what the model says after it; None: no opinion, the
                target position stays.
            late: the bar closed long ago (we were not there): levels are acted on, at an
                exchange nothing is opened.
        """
        self._note, count, before = "", 0, self.account.previous
        if not self.early:
            count += self._open(bar)
        if moves := self.account.inside(bar):
            count += self._act(moves, bar, bar.time + self.step, INSIDE)
        self.last = bar.close
        if self.prices is not None:
            self.prices.show(bar.time + CLOSE * TICK, bar.close)
        self.account.close(bar)
        if signal is not None:
            self.target_position = self._target(signal)
        if self.early and not late:  # at about the last close, whose own jump the guard sees
            at, last = bar.time + self.step, bar.close
            count += self._open(Bar(at, last, last, last, last, 0.0), before)
        if self._note:
            figures = {"reason": self._note, "want": self.target_position}
            self.journal.decision(bar.time, "refused", **figures)
        self.newest = bar.time
        self.save()
        return self.standing(count)

    def _target(self, signal: Signal) -> float:
        position = self.size * signal.position
        if not self.by_confidence:
            return position
        low, full = self.risk.min_confidence, self.risk.full_confidence
        return position * float(exposure(signal.confidence, low, full))

    def _open(self, bar: Bar, previous: float | None = None) -> int:
        """Trade at the open of a bar towards the target position."""
        moves = self.account.open(bar, self.target_position, previous)
        self._note = self.account.refused
        return self._act(moves, bar, bar.time, OPENING) if moves else 0

    def _act(self, moves: list[Move], bar: Bar, decided: int, leg: int) -> int:
        """Write what was decided, send it, take the broker's word for what came of it."""
        for move in moves:
            self.journal.decision(bar.time, "move", **move._asdict())
        # a paper broker is shown the moments of a bar in order: there all orders of a bar are
        # named after its own open, and the leg tells them apart
        at, first = (decided, leg) if self.early else (bar.time, PAPER[leg])
        sent = retry(lambda: self.executor.send(moves, at, first))
        self.account.adopt(*retry(self.executor.standing), price=moves[-1].price)
        if self.executor.missed is not None:
            self.account.missed(self.executor.missed)
            self._note = self._note or "missed"
        return len(sent)

    def standing(self, orders: int = 0) -> Row:
        """Return where the account stands after the newest bar, and how many orders it took."""
        units, equity = float(self.account.a["units"]), float(self.account.a["equity"])
        return Row(self.newest, self.last, self.target_position, units, equity, orders, self._note)

    def flatten(self, reason: str) -> Row:
        """Close everything at the market, now, as often as it takes; nothing is opened after it.

        A journal that cannot be written does not hold this up: the order can only close.

        Raises:
            UnattendedError: it could not be closed in time; it is pending then, also after a
                restart.
        """
        account = self.account
        self.target_position, account.a["wanted"] = 0.0, 0.0
        at = self.newest + (self.step if self.early else (CLOSE + 1) * TICK)  # its last moment
        try:
            last = self.executor.held, float(account.a["equity"])  # units may be wanted only
            equity, sent = self.closer.close(reason, self.last, at, last)
        except UnattendedError:
            account.pending_exit = account.pending_exit or reason
            with suppress(JournalError):
                self.save()
            raise
        account.adopt(0.0, equity, self.last)
        account.a["equity"] = equity
        try:
            self.save()
        except JournalError as error:
            self.journal.give_up(error)
        return replace(self.standing(sent), note=reason)
