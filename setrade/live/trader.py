"""One bar after another: risk manager, executor and journal, in the order that matters."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

from setrade.bybit.brokers import Broker
from setrade.costs import Costs
from setrade.errors import number
from setrade.risk import Risk, exposure

from .closing import Closer, HeldError, UnattendedError
from .desk import Desk, Move
from .disk import readable
from .executor import TICK, Executor
from .journal import Journal, JournalError
from .patience import insist
from .schema import Bar, Row, Wish

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
