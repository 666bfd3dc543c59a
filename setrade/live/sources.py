"""Sources of closed bars: a recording, and the stream of Bybit or of the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

import pandas as pd

from setrade import candles as frames
from setrade.bybit import Rest, Stream
from setrade.bybit.events import Kline
from setrade.candles.checks import parse_interval
from setrade.errors import ArgumentError, flag, integer, number
from setrade.live.types import Bar, bars_of

COLUMNS = Bar._fields[1:]


class BarEvent(NamedTuple):
    """A closed bar from a source; ``late`` if it closed while nobody listened."""

    bar: Bar
    late: bool = False


class Source(Protocol):
    """History first, then bars as they close."""

    step: int  # length of a bar in ns
    live: bool  # bars come whether we are there or not

    async def history(self) -> list[Bar]:
        """Return the bars before the first one that is traded on, oldest first."""
        ...

    def bars(self, after: int) -> AsyncIterator[BarEvent]:
        """Yield the bars that open after a time (ns), as they close."""
        ...


class Recorded:
    """Candles from a frame, or a file that `candles.read` can read.

    It waits for whoever reads it: nothing is ever left out.

    Args:
        candles: a frame that passes `candles.check`; ``checked=False`` takes it as it is (to
            replay faults). history: how many of its first bars are the past.
        speed: times real time; None: as fast as it is read.
    """

    live = False

    def __init__(
        self, candles: pd.DataFrame, history: int, *, speed: float | None = None,
        checked: bool = True,
    ) -> None:  # fmt: skip
        if flag("checked", checked):
            frames.check(candles)
        self._bars = bars_of(candles)
        self._history = integer("history", history, 0, len(self._bars))
        self._pace = None if speed is None else number("speed", speed, 0.0, above=True)
        self.step = int(frames.bar_interval(candles).value)

    async def history(self) -> list[Bar]:
        """Return the first bars."""
        return self._bars[: self._history]

    async def bars(self, after: int) -> AsyncIterator[BarEvent]:
        """Yield the others."""
        for bar in self._bars[self._history :]:
            if bar.time <= after:
                continue
            if self._pace is not None:
                await asyncio.sleep(self.step / 1e9 / self._pace)
            yield BarEvent(bar)


class Streamed:
    """Closed bars of Bybit's stream, or of the simulator's; missing ones are asked for by REST.

    The stream's own queue is bounded; what it must leave out comes back by REST too.

    Args:
        symbol: such as ``"BTCUSDT"``. interval: a pandas offset.
        history: bars of the past.
        http_url, ws_url: of a simulator; None: the exchange's. testnet: the exchange's testnet.
        silence: seconds without a message after which the stream is rebuilt.
    """

    live = True

    def __init__(
        self, symbol: str, interval: str, history: int, *, http_url: str | None = None,
        ws_url: str | None = None, testnet: bool = False, silence: float = 90.0,
    ) -> None:  # fmt: skip
        self.symbol, self.interval = symbol, interval
        self._history = integer("history", history, 1)
        self._width = parse_interval("interval", interval)
        self.step = int(self._width.value)
        self.rest = Rest(http_url, testnet)
        self.stream = Stream(
            f"kline.{interval}.{symbol}", ws_url, testnet=testnet, silence=silence,
            backfill=self.rest.klines,
        )  # fmt: skip

    async def history(self) -> list[Bar]:
        """Return the newest closed bars, by REST."""
        now = await asyncio.to_thread(self.rest.server_time)
        bars = await self._asked(now - (self._history + 1) * self._width, now)
        return bars[-self._history :]

    async def _asked(self, start: pd.Timestamp, end: pd.Timestamp) -> list[Bar]:
        try:
            found = await asyncio.to_thread(
                self.rest.klines, self.symbol, self.interval, start, end, gaps="keep"
            )
        except ArgumentError:  # no bar of the span has closed yet
            return []
        return bars_of(found.dropna())

    def _next(self, after: int) -> pd.Timestamp:
        return pd.Timestamp(after + self.step, tz="UTC")

    async def bars(self, after: int) -> AsyncIterator[BarEvent]:
        """Yield what closed since, then what the stream brings."""
        stream = self.stream.start()  # first, so that nothing falls between the two
        try:
            now = await asyncio.to_thread(self.rest.server_time)
            first = self._next(after)
            missed = await self._asked(first, now) if first < now else []
            for k, bar in enumerate(missed, 1):
                after = bar.time
                yield BarEvent(bar, late=k < len(missed))
            async for event in stream:
                if isinstance(event, Kline) and event.time.value > after:
                    if event.time.value > after + self.step:  # closed while the stream opened
                        for bar in await self._asked(self._next(after), event.time):
                            yield BarEvent(bar, late=True)
                    after = event.time.value
                    bar = Bar(event.time.value, *(getattr(event, name) for name in COLUMNS))
                    yield BarEvent(bar, late=event.backfilled)
        finally:
            await asyncio.to_thread(stream.close)
