"""Count the functions of the package that common work passes through, with `sys.setprofile`.

    python tools/calls.py        # one line a figure; exit 1 when one is above its bound

Counted are calls of functions whose file is in ``setrade``, the simulator's aside; names that
begin with ``<`` (comprehensions, lambdas, modules) are not, nor is the look at the kill switch.
Everything has run before: nothing is imported or compiled while it is counted. A coroutine that
goes on after it has waited counts again.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from setrade import candles, simulator
from setrade.bybit import PaperBroker, Rest, orders
from setrade.live import BarEvent, Journal, Pipeline, Recorded, Row, Trader
from setrade.live.models import Rule
from setrade.risk import Risk

PACKAGE = str(Path(__file__).resolve().parent.parent / "setrade") + "/"
SIMULATOR = PACKAGE + "simulator/"
MINUTE, SYMBOL, N_BARS = 60_000_000_000, "BTCUSDT", 2_200
# Calls (or functions) and files that each may take.
BOUNDS = {"quiet bar": (70, 10), "bar that turns the position": (220, 14), "Rest.klines": (25, 5)}

# Wakes by the clock, whatever the bars do: in some runs it falls into a bar, in others it does not.
BY_THE_CLOCK = {"Pipeline._mind_the_switch", "KillSwitch.pressed"}


class Calls:
    """What was called since `clear`: each function, by its file, with how often."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Take in an event of the profiler."""
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            if code.co_name.startswith("<") or code.co_filename.startswith(SIMULATOR):
                return
            if code.co_qualname in BY_THE_CLOCK:
                return
            self.seen[code.co_filename[len(PACKAGE) :], code.co_qualname] += 1

    @property
    def files(self) -> set[str]:
        """Files that something was called in."""
        return {file for file, _ in self.seen}

    @contextmanager
    def watch(self) -> Iterator[Calls]:
        """Count from here on, in this thread."""
        self.seen.clear()
        sys.setprofile(self)
        try:
            yield self
        finally:
            sys.setprofile(None)


class Lockstep(Recorded):
    """Hands out a bar when the one before it is done, and keeps what each of them took."""

    def __init__(self, bars: pd.DataFrame, history: int) -> None:
        super().__init__(bars, history)
        self.calls, self.done = Calls(), asyncio.Event()
        self.taken: list[tuple[Row, Counter[tuple[str, str]]]] = []
        self.rows: list[Row] = []

    async def bars(self, after: int) -> AsyncIterator[BarEvent]:
        """Yield each bar when the one before it has gone through."""
        with self.calls.watch():
            async for heard in super().bars(after):
                yield heard
                await self.done.wait()
                self.done.clear()
                self.taken.append((self.rows[-1], Counter(self.calls.seen)))
                self.calls.seen.clear()

    def row(self, row: Row, seconds: float) -> None:
        """Let the next bar come."""
        self.rows.append(row)
        self.done.set()


def rule() -> Rule:
    """Return the rule that follows any move over seven bars: from long it goes to short at once."""
    return Rule("1min", lookback=7, threshold=0.0)


def market() -> pd.DataFrame:
    """Return minutes of a price that rises and falls, twenty bars each, so that the rule turns."""
    bars = candles.synthetic(400, seed=0, interval="1min").candles
    close = 100.0 * np.exp(0.002 * np.abs(np.arange(len(bars)) % 40 - 20))
    first = np.concatenate([close[:1], close[:-1]])
    return bars.assign(
        open=first, close=close, high=np.maximum(first, close), low=np.minimum(first, close)
    )


def live() -> dict[str, tuple[int, set[str], Counter[tuple[str, str]]]]:
    """Return calls and files of the two kinds of bar: the most that one of each kind took."""
    with tempfile.TemporaryDirectory() as folder:
        journal, source = Journal(Path(folder, "run.sqlite")), Lockstep(market(), 50)
        trader = Trader(
            journal, PaperBroker(SYMBOL), SYMBOL, MINUTE, equity=10_000.0, risk=Risk(stop_atr=50.0)
        )
        model = rule()
        line = Pipeline(source, model, trader, window=model.needs, on_row=source.row)
        asyncio.run(line.run())
        journal.close()
    warm = source.taken[len(source.taken) // 2 :]
    kinds = {"quiet bar": 0, "bar that turns the position": 2}
    found = {}
    for name, count in kinds.items():
        took = [seen for row, seen in warm if row.orders == count]
        most = max(took, key=lambda seen: sum(seen.values()))
        found[name] = sum(most.values()), {file for seen in took for file, _ in seen}, most
    return found


def klines() -> tuple[int, set[str], Counter[tuple[str, str]]]:
    """Return the functions and files of `Rest.klines`, 2,200 bars of the loopback simulator."""
    bars, calls = candles.synthetic(N_BARS + 10, seed=0, interval="1min").candles, Calls()
    with simulator.serve(bars) as server:
        rest = Rest(server.http_url)
        for _ in range(2):  # the second time all is warm
            with calls.watch():
                rest.klines(SYMBOL, "1min", bars.index[0], bars.index[N_BARS])
    return len(calls.seen), calls.files, calls.seen


def hashes() -> tuple[int, int]:
    """Return how many SHA-256 a run takes, and how many names of orders it makes."""
    real, taken = hashlib.sha256, []

    def counted(*args: Any, **more: Any) -> Any:
        taken.append(args)
        return real(*args, **more)

    orders.client_order_id.cache_clear()  # the runs before this one made the same names
    with tempfile.TemporaryDirectory() as folder, mock.patch("hashlib.sha256", counted):
        journal = Journal(Path(folder, "run.sqlite"), durable=False)
        trader = Trader(journal, PaperBroker(SYMBOL), SYMBOL, MINUTE, equity=10_000.0)
        model = rule()
        line = Pipeline(Recorded(market(), 50), model, trader, window=model.needs)
        asyncio.run(line.run())
        names = journal.counts()["intents"]
        journal.close()
    return len(taken), names


def main() -> int:
    """Print the figures; return 1 when one is above its bound."""
    above = 0
    figures = live() | {"Rest.klines": klines()}
    for name, (count, files, seen) in figures.items():
        most_calls, most_files = BOUNDS[name]
        if not count:
            raise SystemExit(f"{name}: nothing was counted")
        bad = count > most_calls or len(files) > most_files
        above += bad
        what = "functions" if name == "Rest.klines" else "calls"
        print(f"{name}: {count} {what} (at most {most_calls}), "
              f"{len(files)} files (at most {most_files}){'  ABOVE' if bad else ''}")  # fmt: skip
        if "-v" in sys.argv:
            for (file, function), times in sorted(seen.items()):
                print(f"    {times:3d} {file} {function}")
    taken, names = hashes()
    above += not 0 < taken <= names
    print(f"SHA-256: {taken} for {names} names{'' if 0 < taken <= names else '  ABOVE'}")
    return int(above > 0)


if __name__ == "__main__":
    sys.exit(main())
