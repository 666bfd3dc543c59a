"""What is done about bars that cannot be true, and how a person stops the machine.

=================  =======================================================================
seen               outcome
=================  =======================================================================
NaN, no bar        left out, counted as missing; the position keeps its stop
duplicate, late    left out; the clock going back is the same: bars of a past time
far ahead          left out until the next bar confirms it: a false stamp would make all
                   the others late, after a restart as well
gap                bar taken; no new decision until the window is whole again
price jump         bar taken; `Risk.max_jump` refuses new exposure, stops still work
too many faults    ``limit`` left out in a row: position closed, run ended
stale, dead        no good bar for ``patience`` seconds: position closed, run ended
kill switch        file or signal: position closed, run ended
=================  =======================================================================
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from setrade.errors import ArgumentError, choice, integer, number
from setrade.live.account import FIGURES
from setrade.live.journal import Journal, JournalError
from setrade.live.sources import Heard, Source
from setrade.live.trader import Row, Trader, UnattendedError
from setrade.live.types import Bar, Features, Model, Window, Wish, ask

if TYPE_CHECKING:
    from setrade.live.monitor import Monitor


REACH = 30  # bars: a longer leap is believed only when a second bar follows it


class BarGuard:
    """Lets each good bar through once, in order.

    Args:
        step: length of a bar in ns.
        limit: bars left out in a row after which the source is not believed any more.

    ``faults`` counts ``duplicate late malformed off_grid ahead gap`` so far.
    """

    def __init__(self, step: int, limit: int = 5) -> None:
        self.step, self.limit = integer("step", step, 1), integer("limit", limit, 1)
        self.faults: Counter[str] = Counter()
        self.newest = self._ahead = -1
        self.in_a_row = 0

    def judge(self, bar: Bar) -> str:
        """Return the bar's fault, empty for none; ``"gap"`` is a good bar after missing ones."""
        fault = self._fault(bar)
        if fault:
            self.faults[fault] += 1
        if fault and fault != "gap":
            self.in_a_row += fault != "duplicate"  # to say a thing twice is no contradiction
            return fault
        self.in_a_row, self.newest, self._ahead = 0, bar.time, -1
        return fault

    @property
    def exhausted(self) -> bool:
        """True when the source has sent nothing but faults for too long."""
        return self.in_a_row >= self.limit

    def _fault(self, bar: Bar) -> str:
        if not all(map(math.isfinite, bar)):
            return "malformed"
        sound = 0 < bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high
        if not sound or bar.volume < 0:
            return "malformed"
        if bar.time % self.step:
            return "off_grid"
        if bar.time == self.newest:
            return "duplicate"
        if bar.time < self.newest:
            return "late"
        if self.newest < 0 or bar.time == self.newest + self.step:
            return ""
        return "gap" if self._follows(bar, self.newest) or self._confirmed(bar) else "ahead"

    def _follows(self, bar: Bar, time: int) -> bool:
        return 0 < bar.time - time <= (REACH + 1) * self.step

    def _confirmed(self, bar: Bar) -> bool:
        before, self._ahead = self._ahead, bar.time
        return before >= 0 and self._follows(bar, before)


class KillSwitch:
    """A file whose existence, or signals whose arrival, stops the run.

    Args:
        file: looked for at each `pressed`; None: no file.

    ``told`` are called with the reason of each signal, also of those after the first.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self.file = None if file is None else Path(file)
        self.reason = ""
        self.told: list[Callable[[str], None]] = []

    def press(self, reason: str) -> None:
        """Stop the run; the first reason is kept."""
        self.reason = self.reason or reason

    def pressed(self) -> str:
        """Return why the run must stop; empty while it may go on."""
        if self.file is not None and self.file.exists():
            self.press("kill_file")
        return self.reason

    def listen(self, numbers: dict[int, str]) -> Callable[[], None]:
        """Press on operating-system signals (main thread only); return what undoes it.

        Args:
            numbers: reason by signal number.
        """
        before = {code: signal.getsignal(code) for code in numbers}
        for code, reason in numbers.items():
            signal.signal(code, lambda *_, reason=reason: self._heard(reason))

        def undo() -> None:
            for code, handler in before.items():
                signal.signal(code, handler)

        return undo

    def _heard(self, reason: str) -> None:
        self.press(reason)
        for tell in self.told:
            tell(reason)


# ---- Before the first decision: what the journal remembers, or else the history of the source.


async def start(
    source: Source, trader: Trader, journal: Journal, window: Window, guard: BarGuard
) -> list[Bar]:
    """Bring trader, window and guard to where they were, or warm them up.

    Returns:
        Bars that the journal has and the trader has not finished.
    """
    journal.setting("step", source.step)
    newest = trader.resume()
    if newest < 0:
        for bar in await source.history():
            if guard.judge(bar) in ("", "gap"):
                journal.bar(bar, history=True)
                trader.warm(bar)
        trader.save()
        newest = guard.newest
    begun = journal.bars(newest + 1)
    known = journal.bars(newest - (window.length - 1) * source.step, newest)
    window.push(without_holes(known, source.step))
    guard.newest = begun[-1].time if begun else newest
    journal.event("start", newest=newest, begun=len(begun))
    journal.commit()
    return begun


def without_holes(bars: list[Bar], step: int) -> list[Bar]:
    """Return the newest bars that follow each other without a hole."""
    for k in range(len(bars) - 1, 0, -1):
        if bars[k].time != bars[k - 1].time + step:
            return bars[k:]
    return bars


def may_hold(journal: Journal) -> bool:
    """Tell whether the last run on a journal may have left a position; unreadable: it may."""
    try:
        kept = journal.state()
        held = kept is not None and kept[1]["account"][FIGURES.index("units")] != 0
        return bool(held or journal.unfinished())
    except (JournalError, LookupError, TypeError):
        return True


# ---- The stages of the pipeline, and the queues between them.


@dataclass(frozen=True)
class Decided:
    """A bar on its way to the trader, with what the model says; ``heard`` by our clock."""

    bar: Bar
    wish: Wish | None
    late: bool
    heard: float
    decided: float


class Stages:
    """Three tasks joined by two bounded queues; `Pipeline` describes the arguments."""

    def __init__(
        self, source: Source, model: Model, trader: Trader, journal: Journal, *, window: int,
        least: int | None = None, features: Features | None = None,
        switch: KillSwitch | None = None, queue: int = 8, patience: float | None = None,
        limit: int | None = None, on_exit: str = "keep",
        watch: Callable[[Row, float], None] | None = None, monitor: Monitor | None = None,
    ) -> None:  # fmt: skip
        if not callable(model):
            raise ArgumentError("model", model, "a function of candles that returns a signal")
        self.source, self.model, self.features = source, model, features
        self.trader, self.journal = trader, journal
        self.window, self.guard = Window(window, least), BarGuard(source.step)
        self.switch = switch or KillSwitch()
        self.on_exit = choice("on_exit", on_exit, ("keep", "flat"))
        self.patience = None if patience is None else number("patience", patience, 0.0, above=True)
        self.limit = None if limit is None else integer("limit", limit, 1)
        self.watch, self.monitor = watch or (lambda row, seconds: None), monitor
        size = integer("queue", queue, 1)
        self._heard: asyncio.Queue[tuple[Heard, str, float] | None] = asyncio.Queue(size)
        self._decided: asyncio.Queue[Decided | None] = asyncio.Queue(size)
        self._reason, self._bars, self._passed = "", 0, 0
        self._error: BaseException | None = None
        self._feeding: asyncio.Future[None] | None = None
        self._listening = 0.0  # our clock when the last good bar had been passed on

    @property
    def reason(self) -> str:
        """Why all stages were asked to stop; empty while they are not."""
        return self._reason

    @property
    def queues(self) -> dict[str, tuple[int, int]]:
        """Bars that wait before each stage, and the places there are."""
        lines = {"model": self._heard, "trade": self._decided}
        return {name: (line.qsize(), line.maxsize) for name, line in lines.items()}

    def halt(self, reason: str, error: BaseException | None = None) -> None:
        """Ask all stages to stop; the first reason counts."""
        if not self._reason:
            self._reason, self._error = reason, error
            self._event("halt", reason=reason, error=repr(error) if error else "")
        if self._feeding is not None:
            self._feeding.cancel()

    def _event(self, kind: str, **figures: object) -> None:
        """Write an event where that is still possible."""
        try:
            self.journal.event(kind, **figures)
        except Exception as error:  # the journal itself may be what failed
            self._error = self._error or error

    async def _feed(self, begun: list[Bar]) -> None:
        """Bring bars in, each once and each in the journal, and say when they stay away."""
        try:
            for bar in begun:
                await self._heard.put((Heard(bar, self.source.live), "", time.monotonic()))
            self._listening = time.monotonic()
            async with aclosing(self.source.bars(self.guard.newest)) as bars:  # type: ignore[type-var]
                while await self._take(bars):
                    pass
        except asyncio.CancelledError:
            self.halt("source_cancelled")  # counts only if it was not we who asked for it
            raise
        except Exception as error:  # the stream failed for good, or the journal did
            self.halt("source", error)
        finally:
            await asyncio.shield(asyncio.ensure_future(self._heard.put(None)))

    async def _take(self, bars: object) -> bool:
        """Take one bar from the source; False at its end."""
        if self.limit is not None and self._passed >= self.limit:
            return False
        try:
            heard: Heard = await asyncio.wait_for(anext(bars), self._patience_left)  # type: ignore[call-overload]
        except StopAsyncIteration:
            if self.source.live:  # a market does not end
                self.halt("source_ended")
            return False
        except TimeoutError:
            self.halt("stale")
            return False
        return await self._judged(heard, time.monotonic())

    @property
    def _patience_left(self) -> float | None:
        """Seconds until the source has brought no good bar for too long: faults do not count."""
        if self.patience is None:
            return None
        return max(self._listening + self.patience - time.monotonic(), 0.0)

    async def _judged(self, heard: Heard, now: float) -> bool:
        """Pass on a bar that can be true; False when the source is not believed any more."""
        fault = self.guard.judge(heard.bar)
        if fault:
            self._event(fault, bar=list(heard.bar))
            if self.monitor is not None:
                self.monitor.faults.labels(fault).inc()
        if self.guard.exhausted:
            self.halt("faulty")
            return False
        if fault in ("", "gap"):
            self._passed += 1
            self.journal.bar(heard.bar)
            await self._heard.put((heard, fault, now))
            self._listening = time.monotonic()
        return True

    async def _decide(self) -> None:
        """Ask the model after each bar, once; what it said is in the journal before it counts."""
        while (item := await self._heard.get()) is not None:
            (bar, late), fault, heard = item
            if fault == "gap":
                self.window.clear()
            self.window.push([bar])
            try:
                wish = None if self._reason or not self.window.whole else self._said(bar)
            except Exception as error:
                self.halt("model", error)
                continue
            await self._decided.put(Decided(bar, wish, late, heard, time.monotonic()))
        await self._decided.put(None)

    def _said(self, bar: Bar) -> Wish:
        wish = self.journal.said(bar.time)
        if wish is None:
            limit, begun = self.trader.risk.max_position, time.monotonic()
            wish = ask(self.model, self.features, self.window, limit)
            self.journal.signal(bar.time, wish)
            if self.monitor is not None:
                self.monitor.stage("model", time.monotonic() - begun, self._heard.qsize())
                self.monitor.said(wish, self.window)
        return wish

    async def _trade(self) -> None:
        """Live through each bar; after a fault, only empty the queue."""
        while (item := await self._decided.get()) is not None:
            if self._reason:
                continue
            try:
                row = await self._call(self.trader.step_bar, item.bar, item.wish, late=item.late)
                self._bars += 1
                self._saw(row, item)
            except Exception as error:
                self.halt("trader", error)

    def _saw(self, row: Row, item: Decided) -> None:
        """Tell those who watch about a bar that is done."""
        now = time.monotonic()
        self.watch(row, now - item.heard)
        if self.monitor is not None:
            self.monitor.row(row, now - item.heard)
            self.monitor.stage("trade", now - item.decided, self._decided.qsize())

    async def _call(self, work: Callable[..., Row], *args: object, **more: object) -> Row:
        """Call what may have to wait for an exchange, without holding up the other stages."""
        if self.trader.early:
            return await asyncio.to_thread(work, *args, **more)
        await asyncio.sleep(0)  # let the others have their turn
        return work(*args, **more)


# ---- The pipeline: source, bars, features and model, risk and orders, as stages on one event loop.
#
# Three tasks, joined by two bounded queues. A stage that is behind makes the one before it wait,
# up to the source: a recorded source simply waits, a stream keeps a bounded queue of its own,
# counts what that has to leave out, and brings it back by REST. No bar overtakes another, and
# none is decided on twice.


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
