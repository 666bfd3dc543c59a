"""The pipeline: source, bars, features and model, risk and orders, as stages on one event loop.

Three tasks, joined by two bounded queues. A stage that is behind makes the one before it wait,
up to the source: a recorded source simply waits, a stream keeps a bounded queue of its own,
counts what that has to leave out, and brings it back by REST. No bar overtakes another, and
none is decided on twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from .closing import UnattendedError
from .journal import JournalError
from .schema import Bar
from .stages import Stages
from .startup import may_hold, start
from .trader import Row

POLL = 0.1  # seconds between looks at the kill switch
POLITE = ("end", "interrupt", "terminated")  # ends at which ``on_exit`` says what becomes of it


@dataclass(frozen=True)
class Report:
    """How a run ended: why, after how many bars, and where the account stands."""

    reason: str
    bars: int
    units: float
    equity: float
    faults: dict[str, int]


class Pipeline(Stages):
    """One symbol, one model, one account.

    Args:
        source: where bars come from.
        model: from a window of candles (or from what ``features`` makes of it) to a signal.
        trader: risk manager and executor.
        journal: the same one that the trader writes.
        window: bars that the model sees. least: nothing is decided before there are so many
            of them without a hole (None: ``window``).
        features: pictures or channels, made of the window before the model is asked.
        switch: stops the run from outside.
        queue: places in each queue between stages.
        patience: seconds without a good bar after which everything is closed; None: for ever.
        limit: bars after which the run ends; None: no limit.
        on_exit: ``"keep"`` or ``"flat"``: what becomes of the position when the run ends by
            itself or is interrupted. After a fault, or by the kill switch, it is always closed.
        watch: called with each `Row` and the seconds from hearing its bar to its last order.
        monitor: metrics for Prometheus; None: none.

    The model is asked on the event loop: until it answers, nobody looks at the switch or at the
    clock. Give one that may hang to a `worker.Worker`, which bounds it, as the command line does.
    """

    async def run(self) -> Report:
        """Run to the end, and leave nothing unattended.

        Raises:
            JournalError, ModelError, ExchangeError, OrderError, StreamError: what ended the
                run, after the position was closed.
            UnattendedError: it could not be closed, or the run could not go on with it.
            HeldError: nothing was begun: the broker holds what a new journal does not know.
        """
        self.switch.told.append(self.trader.closer.heard)
        begun = await self._begin()
        if self.monitor is not None:
            self.monitor.attach(self)
            self.trader.closer.told.append(self.monitor.trouble)
        if not self._reason:
            await self._live(begun)
        row = await self._leave()
        if self._error is not None:
            raise self._error
        return Report(self._reason, self._bars, row.units, row.equity, dict(self.guard.faults))

    async def _begin(self) -> list[Bar]:
        """Start; where that fails although a position is held, ask for its end."""
        try:
            return await start(self.source, self.trader, self.journal, self.window, self.guard)
        except UnattendedError:
            raise
        except Exception as error:
            if not may_hold(self.journal):
                raise
            if isinstance(error, JournalError):
                raise UnattendedError(f"not begun, a position may be held: {error}") from error
            self.halt("start", error)
            return []

    async def _live(self, begun: list[Bar]) -> None:
        """Run all stages until each has come to its end."""
        self._feeding = asyncio.create_task(self._feed(begun))
        stages = [self._feeding, *map(asyncio.create_task, (self._decide(), self._trade()))]
        watching = asyncio.create_task(self._mind_the_switch())
        try:
            await asyncio.gather(*stages, return_exceptions=True)
        finally:
            watching.cancel()

    async def _mind_the_switch(self) -> None:
        while not self.switch.pressed():
            await asyncio.sleep(POLL)
        self.halt(self.switch.reason)

    async def _leave(self) -> Row:
        """Close the position, or keep it, as the reason asks for."""
        self._reason = self._reason or "end"
        if self._reason in POLITE and self.on_exit == "keep":
            row = self.trader.standing()
        else:
            row = await self._call(self.trader.flatten, self._reason)
        self._event("stop", reason=self._reason, units=row.units, equity=row.equity)
        try:
            self.journal.commit()
        except JournalError as error:
            self._error = self._error or error
        self._error = self._error or self.journal.lost
        return row
