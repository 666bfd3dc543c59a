"""Memory of a run over a million messages: stream, local book, bars, model, orders, journal.

    make study STUDY=live_memory

Messages are made as text, as the exchange sends them: of sixty a bar, forty change the book,
nineteen tell of the bar that is forming, one closes it. Each goes the way of a live one, from
the decoder on, as fast as it is taken; only the socket is left out. The memory of
the process, its own pages whether they are in RAM or swapped out, is read from the system
every ten thousand messages.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from setrade import candles, results
from setrade.bybit import PaperBroker, Stream
from setrade.live import Bar, BarEvent, Journal, Pipeline, Trader
from setrade.live.models import Rule
from setrade.live.monitor import Monitor
from setrade.live.types import bars_of
from setrade.risk import Risk

MINUTE, SYMBOL, A_BAR = 60_000_000_000, "BTCUSDT", 60
BOOK, KLINE = f"orderbook.50.{SYMBOL}", f"kline.1.{SYMBOL}"
WARM = 49


def held_now() -> int:
    """Return the bytes of its own memory that the process holds now."""
    lines = dict(
        row.split(":", 1)
        for row in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    )
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "VmSwap")) * 1024


def book_message(u: int) -> str:
    """Return a snapshot of fifty levels a side first, then one changed level at a time."""
    ms, size = 1_700_000_000_000 + u, f"{1 + u * 7919 % 997 / 100:.2f}"
    bids = [[f"{9_999 - k}", "1"] for k in range(50)] if u == 1 else [[f"{9_999 - u % 50}", size]]
    asks = [[f"{10_001 + k}", "1"] for k in range(50)] if u == 1 else []
    data = {"s": SYMBOL, "b": bids, "a": asks, "u": u, "seq": u}
    kind = "snapshot" if u == 1 else "delta"
    return json.dumps({"topic": BOOK, "type": kind, "ts": ms, "data": data, "cts": ms})


def bar_message(bar: Bar, closed: bool) -> str:
    """Return what the stream says of a bar that is forming, or has closed."""
    start = bar.time // 1_000_000
    names = ("open", "high", "low", "close", "volume")
    data = {name: repr(value) for name, value in zip(names, bar[1:], strict=True)}
    data |= {"start": start, "end": start + 59_999, "interval": "1", "turnover": "1",
             "confirm": closed, "timestamp": start}  # fmt: skip
    return json.dumps({"topic": KLINE, "type": "snapshot", "ts": start, "data": [data]})


def messages(bars: list[Bar]) -> Iterator[str]:
    """Yield sixty messages for each bar."""
    u = itertools.count(1)
    for bar in bars:
        for k in range(1, A_BAR + 1):
            if k % 3:
                yield book_message(next(u))
            else:
                yield bar_message(bar, k == A_BAR)


class Fed:
    """A source whose stream is fed here instead of from a socket.

    Args:
        past, bars: history, and what the messages tell. every: messages between two looks at
            the memory.
    """

    live, step = False, MINUTE

    def __init__(self, past: list[Bar], bars: list[Bar], every: int) -> None:
        self.past, self.told, self.every = past, bars, every
        self.stream = Stream([f"orderbook.50.{SYMBOL}", f"kline.1min.{SYMBOL}"])
        self.seen: list[tuple[int, int]] = []
        self.count = 0

    async def history(self) -> list[Bar]:
        """Return the past."""
        return self.past

    async def bars(self, after: int) -> AsyncIterator[BarEvent]:
        """Yield the closed bars that the messages bring."""
        supervisor, dispatcher = self.stream._supervisor, self.stream._dispatcher
        queue = self.stream._queue
        total = len(self.told) * A_BAR
        for text in tqdm(messages(self.told), total=total, disable=None):
            supervisor.receive(json.loads(text))
            self.count += 1
            if self.count % self.every == 0:
                self.seen.append((self.count, held_now()))
            while (item := queue.take()) is not None:
                for event in dispatcher.dispatch(item):
                    if hasattr(event, "close"):
                        names = Bar._fields[1:]
                        figures = (getattr(event, name) for name in names)
                        yield BarEvent(Bar(event.time.value, *figures))  # type: ignore[union-attr]
        assert dispatcher.books[SYMBOL].valid
        assert not sum(self.stream.counters.values())  # not a message lost or refused


def run(count: int, every: int, folder: Path, threshold: float) -> dict[str, Any]:
    """Live through ``count`` messages; return what the memory did, and what there was to do.

    ``threshold`` of the rule says how often it trades.
    """
    market = bars_of(candles.synthetic(WARM + count // A_BAR, seed=0, interval="1min").candles)
    source = Fed(market[:WARM], market[WARM:], every)
    journal = Journal(folder / "run.sqlite", durable=False)
    broker = PaperBroker(SYMBOL)
    trader = Trader(journal, broker, SYMBOL, MINUTE, equity=10_000.0, risk=Risk(stop_atr=3.0))
    model = Rule("1min", threshold=threshold)
    line = Pipeline(source, model, trader, window=model.needs, monitor=Monitor())
    start = time.perf_counter()
    report = asyncio.run(line.run())
    seconds, lines = time.perf_counter() - start, journal.counts()
    journal.close()
    at, held = np.array(source.seen, float).T
    rest = at > count / 5  # the first fifth fills caches, pools and windows
    slope = np.polyfit(at[rest], held[rest], 1)[0]
    return {
        "messages": source.count, "bars": report.bars, "orders": lines["intents"],
        "seconds": seconds, "messages_a_second": source.count / seconds,
        "memory_mb": (held / 2**20).tolist(), "at": at.tolist(),
        "growth_mb_a_million": slope * 1e6 / 2**20,
        "growth_mb_measured": float(held[-1] - held[rest][0]) / 2**20,
        "journal_mb": os.path.getsize(folder / "run.sqlite") / 2**20,
        "journal_bytes_a_bar": os.path.getsize(folder / "run.sqlite") / report.bars,
    }  # fmt: skip


def main() -> None:
    """Measure, store, and say whether the memory was flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=10_000, help="messages between two readings")
    parser.add_argument("--bound", type=float, default=1.0, help="MB a million messages may add")
    args = parser.parse_args()
    if not Path("/proc/self/status").exists():
        parser.error("memory is read from /proc, which only Linux has")
    torch.set_num_threads(1)
    found: dict[str, Any] = {"bound_mb_a_million": args.bound}
    for name, threshold in (("quiet", 50.0), ("trading", 0.5)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = run(args.messages, args.every, Path(folder), threshold)
        print({k: v for k, v in found[name].items() if k not in ("memory_mb", "at")})
    quiet, trading = found["quiet"], found["trading"]
    grown = [one["growth_mb_a_million"] for one in (quiet, trading)]
    found["flat"] = max(grown) < args.bound  # a leak by order counts as well
    print("flat" if found["flat"] else "not flat", grown)
    results.save("live_memory", found, command="make study STUDY=live_memory", seed=0,
                 seconds=quiet["seconds"] + trading["seconds"])  # fmt: skip


if __name__ == "__main__":
    main()
