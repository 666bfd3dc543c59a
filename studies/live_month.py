"""Memory of a run over a month of 15-minute bars: everything that a live run has, at an exchange.

    make study STUDY=live_month

The exchange is the simulator in a process of its own, on loopback: its stream brings the bars,
its REST calls take signed orders. Here run what a live run has: stream, REST, the chain of models
with their nets, risk, orders, journal, status page. The clock stands still until a bar has been
lived through, so no bar is late and the month is as quick as the machine. The memory of this
process, its own pages whether they are in RAM or swapped out, is read once every so many bars.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from setrade import candles, results, simulator
from setrade.bybit import TestnetBroker
from setrade.live import Journal, Pipeline, Row, Streamed, Trader
from setrade.live.config import Config
from setrade.live.models import fallback_chain
from setrade.live.monitor import Monitor
from setrade.risk import Risk

SYMBOL, INTERVAL, MONTH = "BTCUSDT", "15min", 31 * 96  # bars
KEY, SECRET = "loopback-key-month", "loopback-secret"  # of the simulator, worth nothing
BOUND = 4.0  # MB that a month may add


def held_now() -> float:
    """Return the MB of its own memory that the process holds now."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    lines = dict(row.split(":", 1) for row in text.splitlines())
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "VmSwap")) / 1024


def exchange(bars: int, history: int, line: Connection) -> None:
    """Serve the market; go on by a bar when told to, or when nothing was told for long."""
    market = candles.synthetic(history + bars + 10, seed=0, interval=INTERVAL).candles
    with simulator.serve(market, now=market.index[history], keys={KEY: SECRET}) as server:
        line.send((server.http_url, server.ws_url))
        while not line.poll(10.0) or line.recv():
            server.advance(bars=1)
        account = server.accounts[KEY]
        line.send((len(account.orders), str(account.position(SYMBOL).size)))


def month(bars: int, every: int, folder: Path) -> dict[str, Any]:
    """Live through so many bars; return what the memory did, and what there was to do."""
    config = Config(model="ensemble", interval=INTERVAL, frames="15min,1h")
    chain, most, least = fallback_chain(config, lambda old, new, why: changes.append((old, new)))
    changes, seen = list[tuple[str, str]](), list[tuple[int, float]]()
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=exchange, args=(bars, most, there), daemon=True)
    process.start()
    http_url, ws_url = here.recv()
    os.environ["BYBIT_TESTNET_API_KEY"], os.environ["BYBIT_TESTNET_API_SECRET"] = KEY, SECRET
    journal = Journal(folder / "month.sqlite", durable=False)
    source = Streamed(SYMBOL, INTERVAL, most, http_url=http_url, ws_url=ws_url)
    broker = TestnetBroker(base_url=http_url)
    trader = Trader(journal, broker, SYMBOL, source.step, equity=10_000.0, risk=Risk())
    lived = 0

    def on_row(row: Row, seconds: float) -> None:
        nonlocal lived
        lived += 1
        if lived % every == 0:
            seen.append((lived, held_now()))
        here.send(True)

    line = Pipeline(source, chain, trader, window=most, min_bars=least, limit=bars,
                    on_exit="flat", on_row=on_row, monitor=Monitor())  # fmt: skip
    start = time.perf_counter()
    report = asyncio.run(line.run())
    seconds = time.perf_counter() - start
    here.send(False)
    orders, left = here.recv()
    process.join(30.0)
    written = journal.counts()
    journal.close()
    at, held = np.array(seen, float).T
    rest = at > bars / 5  # the first fifth fills caches, pools and windows
    slope = float(np.polyfit(at[rest], held[rest], 1)[0])
    return {
        "bars": report.bars, "orders": orders, "left": left, "changes": len(changes),
        "seconds": seconds, "ms_a_bar": 1e3 * seconds / report.bars, "memory_mb": held.tolist(),
        "at": at.tolist(), "growth_mb_a_month": slope * MONTH,
        "growth_mb_measured": float(held[-1] - held[rest][0]), "journal": written,
        "journal_bytes_a_bar": os.path.getsize(folder / "month.sqlite") / report.bars,
    }  # fmt: skip


def main() -> None:
    """Measure, store, and say whether the memory was flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=MONTH)
    parser.add_argument("--every", type=int, default=24, help="bars between two readings")
    args = parser.parse_args()
    if not Path("/proc/self/status").exists():
        parser.error("memory is read from /proc, which only Linux has")
    torch.set_num_threads(1)
    print(f"{args.bars} bars, about {args.bars * 0.1:.0f} s on an idle machine")
    with tempfile.TemporaryDirectory() as folder:
        found = month(args.bars, args.every, Path(folder))
    found |= {"bound_mb_a_month": BOUND, "flat": found["growth_mb_a_month"] < BOUND}
    print({name: value for name, value in found.items() if name not in ("memory_mb", "at")})
    results.save("live_month", found, command="make study STUDY=live_month", seed=0,
                 seconds=found["seconds"])  # fmt: skip


if __name__ == "__main__":
    main()
