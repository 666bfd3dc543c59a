"""The stages of the pipeline, and the queues between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from setrade.errors import ArgumentError, choice, integer, number

from .guards import BarGuard, KillSwitch
from .journal import Journal
from .schema import Bar, Wish
from .sources import Heard, Source
from .trader import Row, Trader
from .window import Features, Model, Window, ask

if TYPE_CHECKING:
    from .monitor import Monitor


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
