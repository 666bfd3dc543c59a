"""The pipeline: source, guard, model, risk and orders, as stages on one event loop.

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
stale, dead        no good bar for ``stale_timeout`` seconds: position closed, run ended
kill switch        file or signal: position closed, run ended
=================  =======================================================================
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from setrade.candles.checks import valid_bar
from setrade.errors import ArgumentError, choice, integer, number
from setrade.live.account import FIGURES
from setrade.live.failover import Failover
from setrade.live.journal import Journal, JournalError
from setrade.live.sources import BarEvent, Source
from setrade.live.trader import Trader, UnattendedError
from setrade.live.types import Bar, Model, ModelError, Row, Snapshot
from setrade.signals import Signal

if TYPE_CHECKING:  # a run without a monitor needs neither SciPy nor Prometheus
    from setrade.live.monitor import Monitor
    from setrade.live.shadow import Shadow

REACH = 30  # bars: a longer leap is believed only when a second bar follows it
POLL = 0.1  # seconds between looks at the kill switch
# Ends at which ``on_exit`` says what becomes of the position.
POLITE = ("end", "interrupt", "terminated", "hangup", "quit", "output_lost")
ANY = (Exception, SystemExit, KeyboardInterrupt)  # what a stage may meet and not die of
COLUMNS = pd.Index(Bar._fields[1:])


class BarGuard:
    """Lets each good bar through once, in order.

    Args:
        step: length of a bar in ns. limit: bars left out in a row that are too many.

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
        if not valid_bar(*bar[1:]):
            return "malformed"
        if bar.time % self.step:
            return "off_grid"
        if bar.time <= self.newest:
            return "duplicate" if bar.time == self.newest else "late"
        if self.newest < 0 or bar.time == self.newest + self.step:
            return ""
        before, self._ahead = self._ahead, bar.time
        reach = (REACH + 1) * self.step
        confirmed = before >= 0 and 0 < bar.time - before <= reach
        return "gap" if confirmed or bar.time - self.newest <= reach else "ahead"


class KillSwitch:
    """A file whose existence, or signals whose arrival, stops the run.

    ``listeners`` are called with the reason of each signal, also of those after the first.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        if file is not None and (not isinstance(file, str | os.PathLike) or not os.fspath(file)):
            raise ArgumentError("file", file, "the path of a file, or None")
        self.file = None if file is None else Path(file)
        self.reason = ""
        self.listeners: list[Callable[[str], None]] = []

    def press(self, reason: str) -> None:
        """Stop the run; the first reason is kept."""
        self.reason = self.reason or reason

    def pressed(self) -> str:
        """Return why the run must stop; empty while it may go on."""
        with suppress(OSError):  # a folder that cannot be read must not end the watch
            if self.file is not None and self.file.exists():
                self.press("kill_file")
        return self.reason

    def listen(self, numbers: dict[int, str]) -> Callable[[], None]:
        """Press on signals, each with its reason (main thread only); return what undoes it.

        SIGHUP stays ignored where it is: who started this under ``nohup`` wants it to go on.
        """

        def heard(code: int, frame: object) -> None:
            self.press(numbers[code])
            for tell in self.listeners:
                tell(numbers[code])

        hangup = getattr(signal, "SIGHUP", None)
        before = {code: signal.signal(code, heard) for code in numbers
                  if code != hangup or signal.getsignal(code) is not signal.SIG_IGN}  # fmt: skip

        def undo() -> None:
            for code, handler in before.items():
                signal.signal(code, handler)

        return undo


class Window:
    """The newest ``length`` bars without a hole; whole from ``min_bars`` on (None: all)."""

    def __init__(self, length: int, min_bars: int | None = None) -> None:
        self.length = integer("window", length, 2)
        self.min_bars = length if min_bars is None else integer("min_bars", min_bars, 2, length)
        self._times = np.empty(self.length, np.int64)  # the newest bar is the last
        self._figures = np.empty((self.length, len(COLUMNS)))
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def push(self, bars: Iterable[Bar]) -> None:
        """Take bars in, oldest first."""
        for bar in bars:
            self._times[:-1], self._figures[:-1] = self._times[1:], self._figures[1:]
            self._times[-1], self._figures[-1] = bar[0], bar[1:]
            self._held = min(self._held + 1, self.length)

    def clear(self) -> None:
        """Forget all: bars are missing."""
        self._held = 0

    @property
    def whole(self) -> bool:
        """True when it holds as many bars as some model wants."""
        return self._held >= self.min_bars

    def frame(self) -> pd.DataFrame:
        """Return the window as candles, a copy."""
        first = self.length - self._held
        index = pd.DatetimeIndex(self._times[first:].copy(), tz="UTC", name="time")
        return pd.DataFrame(self._figures[first:].copy(), index, COLUMNS)


def holds(journal: Journal) -> bool:
    """Tell whether the last run on a journal ended with a position."""
    kept = journal.state()
    return kept is not None and kept[1]["account"][FIGURES.index("units")] != 0


def may_hold(journal: Journal) -> bool:
    """Tell whether the last run on a journal may have left a position; unreadable: it may."""
    try:
        return holds(journal) or bool(journal.unfinished())
    except (JournalError, LookupError, TypeError):
        return True


class Decided(NamedTuple):
    """A bar on its way to the trader, with what the model says; ``heard`` by our clock."""

    bar: Bar
    signal: Signal | None
    late: bool
    heard: float
    decided: float


@dataclass(frozen=True)
class RunReport:
    """How a run ended: why, after how many bars, and where the account stands."""

    reason: str
    bars: int
    units: float
    equity: float
    faults: dict[str, int]


class Pipeline:
    """One symbol, one model, one account: three tasks, joined by two bounded queues.

    A stage that is behind makes the one before it wait, up to the source: a recorded source
    simply waits, a stream keeps a bounded queue of its own, counts what that has to leave out,
    and brings it back by REST. No bar overtakes another, and none is decided on twice.

    Args:
        source: where bars come from.
        model: from a window of candles to a signal.
        trader: risk manager and executor; its journal is the run's.
        window: bars that the model sees. min_bars: nothing is decided before there are so many
            of them without a hole (None: ``window``).
        switch: stops the run from outside.
        queue: places in each queue between stages.
        stale_timeout: seconds without a good bar after which everything is closed; None: for ever.
        limit: bars after which the run ends; None: no limit.
        on_exit: ``"keep"`` or ``"flat"``: what becomes of the position when the run ends by
            itself or is interrupted. After a fault, or by the kill switch, it is always closed.
        on_row: called with each `Row` and the seconds from hearing its bar to its last order.
        monitor: metrics for Prometheus; None: none.
        shadow: asked of the same bars, without orders; None: nobody.

    The model is asked on the event loop: until it answers, nobody looks at the switch or at the
    clock. Give one that may hang to a `failover.TimeoutModel`, which bounds it, as the command
    line does. ``reason`` is why all stages were asked to stop; empty while they are not.
    """

    def __init__(
        self, source: Source, model: Model, trader: Trader, *, window: int,
        min_bars: int | None = None, switch: KillSwitch | None = None, queue: int = 8,
        stale_timeout: float | None = None, limit: int | None = None, on_exit: str = "keep",
        on_row: Callable[[Row, float], None] | None = None, monitor: Monitor | None = None,
        shadow: Shadow | None = None,
    ) -> None:  # fmt: skip
        if not callable(model):
            raise ArgumentError("model", model, "a function of candles that returns a signal")
        self.source, self.model, self.trader = source, model, trader
        self.window, self.guard = Window(window, min_bars), BarGuard(source.step)
        self.switch = switch or KillSwitch()
        self.on_exit = choice("on_exit", on_exit, ("keep", "flat"))
        self.stale_timeout = stale_timeout
        if stale_timeout is not None:
            number("stale_timeout", stale_timeout, 0.0, above=True)
        self.limit = None if limit is None else integer("limit", limit, 1)
        self.shadow = shadow
        self.on_row, self.monitor = on_row or (lambda row, seconds: None), monitor
        size = integer("queue", queue, 1)
        self._heard: asyncio.Queue[tuple[BarEvent, str, float] | None] = asyncio.Queue(size)
        self._decided: asyncio.Queue[Decided | None] = asyncio.Queue(size)
        self.reason, self._bars, self._passed = "", 0, 0
        self._error: BaseException | None = None
        self._feeding: asyncio.Future[None] | None = None
        self._listening = 0.0  # our clock when the last good bar had been passed on
        self.journal = trader.journal

    async def run(self) -> RunReport:
        """Run to the end, and leave nothing unattended.

        Raises:
            JournalError, ModelError, ExchangeError, OrderError, StreamError: what ended the
                run, after the position was closed.
            UnattendedError: it could not be closed, or the run could not go on with it.
            HeldError: nothing was begun: the broker holds what a new journal does not know.
        """
        self.switch.listeners.append(self.trader.closer.heard)
        begun = await self._begin()
        if self.monitor is not None:
            self.monitor.attach(self.journal, self.window.length, self.snapshot)
            self.trader.closer.listeners.append(self.monitor.trouble)
        if not self.reason:
            try:
                await self._live(begun)
            except BaseException as error:  # whatever it is, the position is cared for
                self.stop("stages", error)
        row = await self._leave()
        if self._error is not None:
            raise self._error
        return RunReport(self.reason, self._bars, row.units, row.equity, dict(self.guard.faults))

    def stop(self, reason: str, error: BaseException | None = None) -> None:
        """Ask all stages to stop; the first reason counts."""
        if not self.reason:
            self.reason, self._error = reason, error
            self.trader.executor.hurry()
            self._event("halt", reason=reason, error=repr(error) if error else "")
        if self._feeding is not None:
            self._feeding.cancel()

    def snapshot(self) -> Snapshot:
        """Return what the run knows of itself: plain values only, so any thread may ask."""
        account, stream = self.trader.account.a, getattr(self.source, "stream", None)
        halted = self.reason or (
            "the day's loss has reached its limit" if account["halted"] else ""
        )
        waits = "" if self.window.whole else "waits for a window without a hole"
        more: dict[str, Any] = {}
        if isinstance(self.model, Failover):
            names = tuple(name for name, _ in self.model.levels)
            more |= {"levels": names, "level": self.model.level, "budget": self.model.budget}
        if stream is not None:
            counts = {name: float(count) for name, count in stream.counters.items()}
            more["stream"] = {"connected": float(stream.connected), "silent": stream.age} | counts
        queues = {"model": self._heard, "trade": self._decided}
        return Snapshot(
            state="halted" if halted else "flat", why=halted or waits,
            symbol=self.trader.executor.symbol, step=self.source.step,
            stale_timeout=self.stale_timeout, limit=self.trader.risk.daily_loss,
            day=float(account["equity"] / account["day_start"] - 1),
            queues={name: (line.qsize(), line.maxsize) for name, line in queues.items()},
            faults=dict(self.guard.faults), **more,
        )  # fmt: skip

    async def _begin(self) -> list[Bar]:
        """Start; where that fails although a position is held, ask for its end."""
        try:
            return await self._start()
        except UnattendedError:
            raise
        except BaseException as error:
            if not may_hold(self.journal):
                raise
            if isinstance(error, JournalError):
                raise UnattendedError(f"not begun, a position may be held: {error}") from error
            self.stop("interrupt" if isinstance(error, asyncio.CancelledError) else "start", error)
            return []

    async def _start(self) -> list[Bar]:
        """Bring trader, window and guard to where they were, or warm them up on the history.

        Returns:
            Bars that the journal has and the trader has not finished.
        """
        journal, step = self.journal, self.source.step
        journal.setting("step", step)
        newest = self.trader.resume()
        if newest < 0:
            for bar in await self.source.history():
                if self.guard.judge(bar) in ("", "gap"):
                    journal.bar(bar, history=True)
                    self.trader.warm(bar)
            self.trader.save()
            newest = self.guard.newest
        begun = journal.bars(newest + 1)
        known = journal.bars(newest - (self.window.length - 1) * step, newest)
        holes = [k for k in range(1, len(known)) if known[k].time != known[k - 1].time + step]
        self.window.push(known[holes[-1] if holes else 0 :])
        self.guard.newest = begun[-1].time if begun else newest
        journal.event("start", newest=newest, begun=len(begun))
        journal.commit()
        return begun

    async def _live(self, begun: list[Bar]) -> None:
        """Run all stages until each has come to its end, also where the caller cancels."""
        self._feeding = asyncio.create_task(self._feed(begun))
        stages = asyncio.gather(self._feeding, self._decide(), self._trade(),
                                return_exceptions=True)  # fmt: skip
        watching = asyncio.create_task(self._mind_the_switch())
        try:
            await asyncio.shield(stages)
        except asyncio.CancelledError as error:  # Ctrl-C without a switch, a limit of time
            self.stop("interrupt", error)
            await stages  # what is on its way to the exchange comes to its end first
        finally:
            watching.cancel()

    async def _mind_the_switch(self) -> None:
        while not self.switch.pressed():
            await asyncio.sleep(POLL)
        self.stop(self.switch.reason)

    async def _feed(self, begun: list[Bar]) -> None:
        """Bring bars in, each once and each in the journal, and say when they stay away."""
        try:
            for bar in begun:
                await self._heard.put((BarEvent(bar, self.source.live), "", time.monotonic()))
            self._listening = time.monotonic()
            async with aclosing(self.source.bars(self.guard.newest)) as bars:  # type: ignore[type-var]
                while await self._take(bars):
                    pass
        except asyncio.CancelledError:
            self.stop("source_cancelled")  # counts only if it was not we who asked for it
            raise
        except ANY as error:  # the stream failed for good, or the journal did
            self.stop("source", error)
        finally:
            await asyncio.shield(asyncio.ensure_future(self._heard.put(None)))

    async def _take(self, bars: AsyncIterator[BarEvent]) -> bool:
        """Take one bar from the source; False at its end."""
        if self.limit is not None and self._passed >= self.limit:
            return False
        left = None  # until the source has brought no good bar for too long: faults do not count
        if self.stale_timeout is not None:
            left = max(self._listening + self.stale_timeout - time.monotonic(), 0.0)
        try:
            heard = await asyncio.wait_for(anext(bars), left)
        except StopAsyncIteration:
            if self.source.live:  # a market does not end
                self.stop("source_ended")
            return False
        except TimeoutError:
            self.stop("stale")
            return False
        return await self._judged(heard, time.monotonic())

    async def _judged(self, heard: BarEvent, now: float) -> bool:
        """Pass on a bar that can be true; False when the source is not believed any more."""
        fault = self.guard.judge(heard.bar)
        if fault:
            self._event(fault, bar=list(heard.bar))
            if self.guard.exhausted:
                self.stop("faulty")
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
            try:
                if fault == "gap":
                    self.window.clear()
                self.window.push([bar])
                signal = None if self.reason or not self.window.whole else self._said(bar)
            except Exception as error:
                self.stop("model", error)
                continue
            await self._decided.put(Decided(bar, signal, late, heard, time.monotonic()))
            if self.shadow is not None and signal is not None:
                self._beside(self.shadow, bar.time)
        await self._decided.put(None)

    def _beside(self, shadow: Shadow, time_ns: int) -> None:
        """Ask the shadow too; one that fails itself is left, and the run goes on."""
        try:
            shadow.step(time_ns, self.window.frame())
        except Exception as error:
            self.shadow = None
            self._event("shadow_ended", error=repr(error))

    def _said(self, bar: Bar) -> Signal:
        """Return what the model says after a bar, or has said before the last run died."""
        signal = self.journal.said(bar.time)
        if signal is None:
            begun, window = time.monotonic(), self.window.frame()
            signal = self._ask(window)
            self.journal.signal(bar.time, signal)
            if self.monitor is not None:
                self.monitor.stage("model", time.monotonic() - begun)
                self.monitor.said(signal, window)
        return signal

    def _ask(self, window: pd.DataFrame) -> Signal:
        """Return what the model says about a window; what is no signal is a `ModelError`."""
        try:
            signal = self.model(window)
            if not isinstance(signal, Signal):
                raise ArgumentError("model", signal, "a function that returns a signals.Signal")
            limit = self.trader.risk.max_position / self.trader.size
            if abs(signal.position) > limit:
                raise ArgumentError("position", signal.position, f"at most {limit:g} in size")
        except ANY as error:  # whatever it is, nothing may be traded on it
            raise ModelError(f"the model failed: {type(error).__name__}: {error}") from error
        return signal

    async def _trade(self) -> None:
        """Live through each bar; after a fault, only empty the queue."""
        while (item := await self._decided.get()) is not None:
            if self.reason:
                continue
            try:
                row = await self._call(self.trader.on_bar, item.bar, item.signal, late=item.late)
                self._bars += 1
                now = time.monotonic()
                self.on_row(row, now - item.heard)
                if self.monitor is not None:
                    self.monitor.row(row, now - item.heard)
                    self.monitor.stage("trade", now - item.decided)
            except ANY as error:
                self.stop("trader", error)

    async def _call(self, work: Callable[..., Row], *args: object, **more: object) -> Row:
        """Call what may have to wait for an exchange, without holding up the other stages."""
        if self.trader.early:
            return await asyncio.to_thread(work, *args, **more)
        await asyncio.sleep(0)  # let the others have their turn
        return work(*args, **more)

    def _flat(self) -> Row:
        """Close everything, in this thread: another one might not be had any more."""
        try:
            return self.trader.flatten(self.reason)
        except Exception as error:
            self._event("unattended", reason=self.reason, trouble=str(error))
            with suppress(JournalError):
                self.journal.commit()
            if isinstance(error, UnattendedError):
                raise
            told = f"after {self.reason}: {type(error).__name__}: {error}"
            raise UnattendedError(told) from error

    async def _leave(self) -> Row:
        """Close the position, or keep it, as the reason asks for."""
        self.reason = self.reason or "end"
        if self.reason in POLITE and self.on_exit == "keep":
            row = self.trader.standing()
        else:
            row = self._flat()
        self._event("stop", reason=self.reason, units=row.units, equity=row.equity)
        try:
            self.journal.commit()
        except JournalError as error:
            self._error = self._error or error
        self._error = self._error or self.journal.lost
        return row

    def _event(self, kind: str, **figures: object) -> None:
        """Write an event where that is still possible."""
        try:
            self.journal.event(kind, **figures)
        except Exception as error:  # the journal itself may be what failed
            self._error = self._error or error
