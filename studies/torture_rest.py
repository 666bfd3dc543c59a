"""What the REST client of chapter 20 survives: every fault, SIGKILL, and a raw archive.

    SETRADE_DATA=<folder> make study STUDY=torture_rest

On the simulator: 100,000 bars fetched through every REST fault, each injected 20 times, and
compared with the source byte for byte; 403 counted; 50 downloads killed with SIGKILL at a
random moment and resumed. From SETRADE_DATA: the exchange's own order-book sample, parsed and
replayed (left out, and said so, where the folder is not set). Goes to
book/results/torture_rest.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from setrade import bybit, candles, results, simulator
from setrade.bybit.history import DamagedError, read
from setrade.bybit.http import COLUMNS

SAMPLE = "bybit_xrpusdt_ob500_raw_sample_20241201.zip"
COMMAND = "SETRADE_DATA=<folder> make study STUDY=torture_rest"
KLINES = "/v5/market/kline"
KINDS = tuple(kind for kind in simulator.REST if kind != "http_403")
QUICK = bybit.Retry(tries=20, first=0.005, longest=0.05)  # faults come thick here
TIMEOUT = 0.5  # seconds; a slow answer takes longer


def source(n_bars: int, seed: int, interval: str = "1min") -> pd.DataFrame:
    """Return the bars that the simulated exchange has: six columns, as it serves them."""
    bars = candles.synthetic(n_bars, seed=seed, interval=interval).candles
    return bars.assign(turnover=np.round(bars.volume * bars.close, 4))


def span(bars: pd.DataFrame) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the half-open span of a frame."""
    return bars.index[0], bars.index[-1] + candles.bar_interval(bars)


def same_bytes(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Say whether stamps, columns and every float are the same, bit for bit."""
    one, other = (
        [pd.DatetimeIndex(f.index).as_unit("ns").asi8, f.to_numpy(np.float64)] for f in (a, b)
    )
    same = [x.tobytes() == y.tobytes() for x, y in zip(one, other, strict=True)]
    return all(same) and list(a.columns) == list(b.columns)


def fault_list(times: int, seed: int) -> list[simulator.Fault]:
    """Return every kind ``times`` times in random order, about two for each good answer."""
    kinds = np.random.default_rng(seed).permutation(np.repeat(KINDS, times))
    seconds = {"slow": 2 * TIMEOUT}
    return [
        simulator.Fault(str(kind), path=KLINES, after=k // 2, seconds=seconds.get(kind, 0.02))
        for k, kind in enumerate(kinds)
    ]


def through_faults(n_bars: int, times: int, seed: int) -> dict[str, Any]:
    """Fetch bars through every REST fault; count what struck, compare what arrived."""
    bars, begin = source(n_bars, seed), time.perf_counter()
    with simulator.serve(bars, faults=fault_list(times, seed)) as server:
        rest = bybit.Rest(server.http_url, timeout=TIMEOUT, retry=QUICK)
        got = rest.klines("BTCUSDT", "1min", *span(bars))
        fired, asked, left = server.faults.fired, server.requests[KLINES], server.faults.pending
    return {
        "bars": len(got),
        "identical": same_bytes(got, bars),
        "fired": {kind: fired[kind] for kind in KINDS},
        "never_fired": left,
        "requests": asked,
        "pages": -(-n_bars // 1000),
        "seconds": round(time.perf_counter() - begin, 2),
    }


def forbidden(seed: int) -> dict[str, int]:
    """Count the tries of each call while the exchange answers 403."""
    bars = source(100, seed)
    with simulator.serve(bars, faults=[simulator.Fault("http_403", times=1000)]) as server:
        rest = bybit.Rest(server.http_url, retry=QUICK)
        calls: list[Callable[[], Any]] = [
            rest.server_time,
            rest.instruments,
            lambda: rest.orderbook("BTCUSDT"),
            lambda: rest.recent_trades("BTCUSDT"),
            lambda: rest.klines("BTCUSDT", "1min", *span(bars)),
            lambda: rest.funding("BTCUSDT", *span(bars)),
        ]
        raised = 0
        for call in calls:
            try:
                call()
            except bybit.AccessError:
                raised += 1
        return {"calls": len(calls), "raised": raised, "requests": server.requests.total()}


@contextmanager
def nursery() -> Iterator[Callable[[dict[str, Any]], subprocess.Popen[str]]]:
    """Start a process that forks a child for each download; it has imported everything once."""
    command, quiet = [sys.executable, __file__, "--nursery"], os.environ | {"TQDM_DISABLE": "1"}
    with subprocess.Popen(
        command, stdin=-1, stdout=-1, encoding="utf-8", bufsize=1, env=quiet
    ) as process:
        try:
            yield lambda job: order(process, job)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def order(process: subprocess.Popen[str], job: dict[str, Any]) -> subprocess.Popen[str]:
    """Hand one job to the nursery."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(job) + "\n")
    return process


def answer(process: subprocess.Popen[str]) -> int:
    """Read one number that the nursery printed."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def tend() -> None:
    """Be the nursery: fork for each line of stdin, print the pid; after one more, the status.

    The child is not reaped before that line, so that its pid cannot become another process's.
    """
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            try:
                fetch(json.loads(line))
            except BaseException:
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def fetch(job: dict[str, Any]) -> pd.DataFrame:
    """Download into a cache; what the children do, and the resuming parent."""
    rest = bybit.Rest(job["url"], retry=QUICK)
    start, end = job["start"], job["end"]
    return rest.klines("BTCUSDT", job["interval"], start, end, cache=job["cache"])


def kept_bars(folder: str) -> tuple[int, int]:
    """Return how many bars the files of a cache hold, and how many files are damaged."""
    count = damaged = 0
    for path in Path(folder).rglob("*.parquet"):
        try:
            key = "/".join(path.parent.relative_to(folder).parts)
            count += len(read(path, COLUMNS["trade"], key).stamps)
        except DamagedError:
            damaged += 1
    return count, damaged


def kill_one(run, server, bars: pd.DataFrame, interval: str, at: tuple[int, float] | None):
    """Start a download, kill it, resume it here; return what was found.

    ``at`` is the moment: so many pages asked for, and then so many seconds; None: let it end.
    """
    start, end = (t.isoformat() for t in span(bars))
    with tempfile.TemporaryDirectory() as folder:
        job = {"url": server.http_url, "interval": interval, "start": start, "end": end,
               "cache": folder}  # fmt: skip
        begin, asked = time.perf_counter(), server.requests[KLINES]
        process = run(job)
        pid = answer(process)
        if at is not None:
            while server.requests[KLINES] - asked < at[0] and time.perf_counter() - begin < 60:
                time.sleep(0.001)
            time.sleep(at[1])
            os.kill(pid, signal.SIGKILL)
        status, seconds = answer(order(process, {})), time.perf_counter() - begin
        (kept, damaged), asked = kept_bars(folder), server.requests[KLINES]
        got = fetch(job)
        return {
            "status": status, "seconds": seconds, "kept": kept, "damaged": damaged,
            "pages": server.requests[KLINES] - asked, "identical": same_bytes(got, bars),
        }  # fmt: skip


def kills(count: int, n_bars: int, seed: int, interval: str = "15min") -> dict[str, Any]:
    """Kill ``count`` downloads at random moments, resume each, compare each with the source."""
    bars, rng = source(n_bars, seed, interval), np.random.default_rng(seed)
    pages, rounds, bar = -(-n_bars // 1000), [], tqdm(total=count, desc="kills", disable=None)
    with simulator.serve(bars) as server, nursery() as run, bar:
        whole = min(kill_one(run, server, bars, interval, None)["seconds"] for _ in range(2))
        while len(rounds) < count:
            at = int(rng.integers(pages + 1)), float(rng.uniform(0, whole / pages))
            one = kill_one(run, server, bars, interval, at)
            if one["status"] not in (0, -signal.SIGKILL):
                raise RuntimeError("a download failed by itself")
            if one["status"]:  # else it was faster than the kill: draw again
                rounds.append(one)
                bar.update()
    kept = [r["kept"] for r in rounds]
    return {
        "kills": len(rounds),
        "bars": n_bars,
        "identical": sum(r["identical"] for r in rounds),
        "damaged_files": sum(r["damaged"] for r in rounds),
        "bars_kept_deciles": np.quantile(kept, np.linspace(0, 1, 11)).round().tolist(),
        "resumed_with_least": all(r["pages"] == -(-(n_bars - r["kept"]) // 1000) for r in rounds),
    }


def archive(path: Path) -> dict[str, Any]:
    """Parse and replay the exchange's order-book sample."""
    played = bybit.archives.replay(bybit.archives.book_messages(path), levels=10)
    books = played.snapshots
    return {
        "messages": dict(played.messages),
        "invalid": played.invalid,
        "faults": dict(played.faults),
        "seconds": float((books.time[-1] - books.time[0]) / np.timedelta64(1, "s")),
        "first_touch": [float(books.bid_price[0, 0]), float(books.ask_price[0, 0])],
        "last_touch": [float(books.bid_price[-1, 0]), float(books.ask_price[-1, 0])],
    }


def main() -> None:
    """Compute everything and store the result."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bars", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not hasattr(os, "fork"):
        parser.error("downloads are killed in forked processes, which Windows lacks")
    if args.nursery:
        return tend()
    begin, folder, shas = time.perf_counter(), os.environ.get("SETRADE_DATA"), {}
    out: dict[str, Any] = {
        "faults": through_faults(args.bars, 20, args.seed),
        "forbidden": forbidden(args.seed),
        "kills": kills(args.kills, 20_000, args.seed),
        "archive": None,
    }
    if folder:
        out["archive"] = archive(Path(folder, SAMPLE))
        shas[SAMPLE] = results.sha256(Path(folder, SAMPLE))
    results.save("torture_rest", out, command=COMMAND, seed=args.seed,
                 seconds=time.perf_counter() - begin, data=shas)  # fmt: skip


if __name__ == "__main__":
    main()
