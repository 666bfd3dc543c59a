"""kill -9 at random points: no order lost, none doubled, and the broker's position is ours.

An exchange runs here (the simulator, on loopback). The pipeline runs in a process of its own,
is killed at a random moment, and started again on the same journal, until it comes to the end
of its bars. Then the exchange's orders must be those of a run that nobody killed, to the name,
side and quantity. Nothing leaves this machine.

    make study STUDY=torture_live                               # 500 kills
    make study STUDY=torture_live ARGS='--day 1440'             # a day of minutes with faults

The day is played live and quickened; every few bars the exchange or the line to it fails at
random, for less than 30 seconds, one fault at a time. A run that ends is started again on its
journal.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from setrade import candles, results, simulator
from setrade.bybit import PaperBroker
from setrade.live import Journal, Pipeline, Recorded, Row, RunReport, Trader, UnattendedError
from setrade.risk import Risk
from setrade.signals import Signal

LONGEST = 25.0  # seconds of the wall clock that a fault may wait for its chance
SYMBOL, STEP = "BTCUSDT", int(pd.Timedelta("1min").value)
WARM, WINDOW = 20, 5
TARGETS = (0.5, -0.5, -0.5, 0.0, 0.7, 0.2, -0.3)  # a turn is two orders, one after the other
MOST = max(map(abs, TARGETS))
LINK, SUBSCRIBE = ("silence", "abort", "close", "down"), ("nack", "instant_ack")
ONCE = (*LINK, *SUBSCRIBE, "http_403")
FAULTS = (*ONCE, "rate_limit_future", "rate_limit_past", "rate_limit_bare", "http_429",
          "http_500", "bad_json", "cut_body", "slow", "drop")  # fmt: skip
SECRET = "loopback-secret"  # of the simulator, worth nothing
PRELOAD = ["setrade.live", "setrade.bybit.broker", "setrade.simulator", "setrade.results", "tqdm"]
KILLED = (-9, -15)  # what `Process.kill` leaves as exit code; on Windows the second
STOPS = Risk(stop_atr=4.0, daily_loss=0.5)


def model(window: pd.DataFrame) -> Signal:
    """Want something else every other bar."""
    minute = int(window.index[-1].value // STEP)
    return Signal(window.index[-1], TARGETS[minute // 2 % 7], 1.0, source="rule")


def child(url: str, key: str, path: str, bars: pd.DataFrame, speed: float, ready: Any) -> None:
    """Run the pipeline over the bars, or what is left of them; the parent kills it."""
    from setrade.bybit import TestnetBroker

    os.environ["BYBIT_TESTNET_API_KEY"] = key
    os.environ["BYBIT_TESTNET_API_SECRET"] = SECRET
    journal = Journal(path, durable=False)
    journal.event("child", pid=os.getpid(), torch="torch" in sys.modules)
    broker = TestnetBroker(base_url=url, timeout=5.0)
    trader = Trader(journal, broker, SYMBOL, STEP, equity=10_000.0, risk=STOPS)
    source = Recorded(bars, WARM, speed=speed)
    ready.set()
    asyncio.run(Pipeline(source, model, trader, window=WINDOW).run())
    journal.close()


class Torture:
    """An exchange, and processes that trade there and die.

    Args:
        bars: of each run. speed: times real time. seed: of the moments of death.
    """

    def __init__(self, bars: int, speed: float, seed: int) -> None:
        self.bars = candles.synthetic(WARM + bars, seed=seed, interval="1min").candles
        self.speed, self.draw = speed, np.random.default_rng(seed)
        served = "forkserver" in multiprocessing.get_all_start_methods()
        get = multiprocessing.get_context
        self.context = get("forkserver") if served else get("spawn")
        if served:  # else each process imports everything by itself
            self.context.set_forkserver_preload(PRELOAD)
        self.counts: Counter[str] = Counter()
        self.longest = math.inf  # seconds of life: half of what a whole run takes

    def run(self, server: simulator.Server, key: str, path: Path, kills: int) -> int:
        """Start, kill, start again, until the bars are through; return how often it was killed."""
        done = 0
        while True:
            ready = self.context.Event()
            work = (server.http_url, key, str(path), self.bars, self.speed, ready)
            process = self.context.Process(target=child, args=work, daemon=True)
            process.start()
            ready.wait(60.0)
            start = time.perf_counter()
            if done < kills:
                process.join(float(self.draw.uniform(0.0, self.longest)))
                if process.is_alive():
                    process.kill()
                    done += 1
            process.join(120.0)
            self.counts["starts"] += 1
            if process.exitcode == 0:
                self.longest = min(self.longest, (time.perf_counter() - start) / 2)
                return done
            if process.exitcode not in KILLED:
                raise RuntimeError(f"the pipeline failed by itself: exit code {process.exitcode}")

    def measure(self, server: simulator.Server, key: str, path: Path) -> list[tuple]:
        """Run once without killing; return the exchange's orders."""
        self.run(server, key, path, 0)
        return orders(server, key)


def orders(server: simulator.Server, key: str) -> list[tuple]:
    """Return name, side, quantity and fill of the exchange's orders, in the order they came."""
    account = server.accounts[key]
    return [(o.link, o.side, str(o.qty), str(o.filled)) for o in account.orders]


def faults(server: simulator.Server, key: str, path: Path, expected: list[tuple]) -> Counter[str]:
    """Count what is wrong after a run, against the exchange and a run that nobody killed."""
    there, account = orders(server, key), server.accounts[key]
    names, wanted = Counter(o[0] for o in there), {o[0] for o in expected}
    journal = Journal(path)
    ours = {row[0] for row in journal.db.execute("SELECT link_id FROM intents")}
    state = journal.state()
    held = 0.0 if state is None else state[1]["account"][1]
    found = Counter(
        lost=len(wanted - names.keys()),
        doubled=sum(n - 1 for n in names.values()) + len(names.keys() - wanted),
        changed=int(sorted(there) != sorted(expected)),
        unwritten=len(names.keys() - ours),
        open=len(journal.unfinished()),
        position=int(abs(float(account.position(SYMBOL).size) - held) > 1e-9),
        torch=journal.db.execute(
            "SELECT count(*) FROM events WHERE kind = 'child' AND figures LIKE '%true%'"
        ).fetchone()[0],
    )
    journal.close()
    return found


def torture(kills: int, *, bars: int = 40, speed: float = 3_000.0, seed: int = 0) -> dict[str, Any]:
    """Kill so many times in all; return counts of what was done and what was wrong."""
    t, wrong, done, rounds = Torture(bars, speed, seed), Counter(), 0, 0
    keys = {f"loopback-key-{k}": SECRET for k in range(10 * kills + 1)}
    with (
        tempfile.TemporaryDirectory() as folder,
        simulator.serve(t.bars, keys=keys) as server,
        tqdm(total=kills, disable=None) as progress,
    ):
        expected = t.measure(server, "loopback-key-0", Path(folder, "0.sqlite"))
        while done < kills:
            rounds += 1
            key, path = f"loopback-key-{rounds}", Path(folder, f"{rounds}.sqlite")
            killed = t.run(server, key, path, kills - done)
            wrong += faults(server, key, path, expected)
            done += killed
            progress.update(killed)
    kinds = ("lost", "doubled", "changed", "unwritten", "open", "position", "torch")
    return {"kills": done, "starts": t.counts["starts"], "runs": rounds,
            "orders_a_run": len(expected), **{k: wrong[k] for k in kinds}}  # fmt: skip


def exchange_faults(draw: np.random.Generator) -> list[simulator.Fault]:
    """Return a fault at random that ends within 30 seconds of the wall clock.

    One of the subscription needs a new one: the line is cut as well.
    """
    kind = str(draw.choice(FAULTS))
    times = 1 if kind in ONCE else int(draw.integers(1, 4))
    fault = simulator.Fault(kind, times=times, seconds=float(draw.uniform(0.2, 2.0)))
    return [fault, simulator.Fault("close")] if kind in SUBSCRIBE else [fault]


class Day:
    """A day under faults, looked at from the exchange's side after each bar and each end.

    Args:
        server: the exchange. key: of the account. every: bars between two faults.
        draw: of the faults.

    ``counts`` has what was done. Wrong are ``silent`` (an end with something held at the
    exchange that was not said to be unattended), ``apart`` (bars after which account and
    exchange differ in the last digit), ``above`` (bars with more held than was ever wanted).
    """

    def __init__(
        self, server: simulator.Server, key: str, every: int, draw: np.random.Generator
    ) -> None:
        self.server, self.account, self.every, self.draw = server, server.accounts[key], every, draw
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("silent", "apart", "above", "withdrawn"), 0)
        )
        self.longest = self.between = 0.0  # seconds: of a fault, between two bars
        self._last, self._next, self._over = time.monotonic(), every, threading.Event()
        self._watch = threading.Thread(target=self._time, daemon=True)
        self._watch.start()

    def _time(self) -> None:
        """Time the faults: each from its call until its last strike, a link that is down too.

        What has not struck after 25 seconds (no call came that it could spoil) is withdrawn.
        """
        since = math.inf
        while not self._over.wait(0.02):
            now = time.monotonic()
            since = min(since, now) if self.server.faults.pending else math.inf
            self.longest = max(self.longest, now - since)
            if now - since > LONGEST:
                self.counts["withdrawn"] += self.server.faults.withdraw()

    def end(self) -> None:
        """Time no more."""
        self._over.set()
        self._watch.join()

    def on_row(self, row: Row, seconds: float) -> None:
        """Compare after a bar, and let something fail every few bars."""
        now, held = time.monotonic(), self.account.position(SYMBOL).size
        self.between, self._last = max(self.between, now - self._last), now
        self.counts["bars"] += 1
        self.counts["apart"] += Decimal(str(row.units)) != held
        self.counts["above"] += abs(float(held)) * row.close > 1.05 * MOST * row.equity
        if self.server.faults.pending:
            return  # one at a time: in a crowd they would last longer than each by itself
        if self.counts["bars"] >= self._next:
            self.server.inject(*exchange_faults(self.draw))
            self._next = self.counts["bars"] + self.every
            self.counts["faults"] += 1

    def line(self, journal: Journal, bars: int) -> Pipeline:
        """Return a pipeline for what is left of the bars."""
        from setrade.bybit import Backoff, Stream, TestnetBroker
        from setrade.live import Streamed

        server = self.server
        broker = TestnetBroker(base_url=server.http_url, timeout=5.0)
        trader = Trader(journal, broker, SYMBOL, STEP, equity=10_000.0, risk=STOPS,
                        close_timeout=60.0)  # fmt: skip
        source = Streamed(SYMBOL, "1min", WARM, http_url=server.http_url, ws_url=server.ws_url)
        # the market is quickened, so are the waits: a minute is long there
        source.stream = Stream(
            f"kline.1min.{SYMBOL}", server.ws_url, silence=5.0, backfill=source.rest.klines,
            backoff=Backoff(0.2, 2.0, healthy=1.0),
        )  # fmt: skip
        return Pipeline(source, model, trader, window=WINDOW, on_exit="flat", on_row=self.on_row,
                        limit=max(bars - self.counts["bars"], 1), stale_timeout=60.0)  # fmt: skip

    def live(self, path: Path, bars: int) -> RunReport:
        """Trade until the bars are through; a run that ends before is started again."""
        while True:
            journal, told = Journal(path, durable=False), False
            self.counts["starts"] += 1
            try:
                report = asyncio.run(self.line(journal, bars).run())
                if report.reason == "end":
                    return report
                self.counts[f"ended: {report.reason}"] += 1
            except (RuntimeError, OSError, ValueError) as error:  # said aloud; started again
                self.counts[f"ended: {type(error).__name__}"] += 1
                told = isinstance(error, UnattendedError)
            finally:
                self.counts["silent"] += self.account.position(SYMBOL).size != 0 and not told
                journal.close()


def rehearse(market: pd.DataFrame) -> None:
    """Trade for an hour on paper: what is compiled at its first call would stop the day's clock."""
    journal = Journal(":memory:")
    trader = Trader(journal, PaperBroker(SYMBOL), SYMBOL, STEP, equity=10_000.0, risk=STOPS)
    source = Recorded(market.iloc[: WARM + 60], WARM)
    asyncio.run(Pipeline(source, model, trader, window=WINDOW, on_exit="flat").run())
    journal.close()


def day(bars: int, *, every: int = 4, speed: float = 240.0, seed: int = 0) -> dict[str, Any]:
    """Live through so many minutes; return what was done and what was wrong at the end."""
    market = candles.synthetic(3 * bars + WARM + 60, seed=seed, interval="1min").candles
    rehearse(market)
    clock, key = simulator.Clock(market.index[WARM + 5], speed), "loopback-key-day"
    os.environ["BYBIT_TESTNET_API_KEY"], os.environ["BYBIT_TESTNET_API_SECRET"] = key, SECRET
    with (
        tempfile.TemporaryDirectory() as folder,
        simulator.serve(market, clock=clock, keys={key: SECRET}, order_delay=0.02) as server,
    ):
        path = Path(folder, "day.sqlite")
        lived = Day(server, key, every, np.random.default_rng(seed))
        report = lived.live(path, bars)
        lived.end()
        account, names = server.accounts[key], [one[0] for one in orders(server, key)]
        journal = Journal(path)
        ours = {row[0] for row in journal.db.execute("SELECT link_id FROM intents")}
        open_orders = len(journal.unfinished())
        journal.close()
        return {
            **lived.counts, "fired": dict(server.faults.fired), "waiting": server.faults.pending,
            "orders": len(names), "speed": speed, "longest_fault_s": lived.longest,
            "longest_between_bars_s": lived.between,
            "doubled": len(names) - len(set(names)), "unwritten": len(set(names) - ours),
            "open": open_orders, "position": str(account.position(SYMBOL).size),
            "equity": float(account.equity()) - report.equity,
        }  # fmt: skip


def main() -> None:
    """Torture and store what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--bars", type=int, default=40, help="bars of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--day", type=int, help="live through so many minutes with faults")
    parser.add_argument("--every", type=int, default=4, help="bars between two faults")
    parser.add_argument("--speed", type=float, default=240.0, help="of the day: times real time")
    args = parser.parse_args()
    start = time.perf_counter()
    if args.day is not None:
        told = day(args.day, every=args.every, speed=args.speed, seed=args.seed)
        print(told)
        asked = f"--day {args.day} --every {args.every} --speed {args.speed:g}"
        command = f"make study STUDY=torture_live ARGS='{asked}'"
        results.save("torture_day", told, command=command, seed=args.seed,
                     seconds=time.perf_counter() - start)  # fmt: skip
        return
    found = torture(args.kills, bars=args.bars, seed=args.seed)
    print(found)
    results.save("torture_live", found, command="make study STUDY=torture_live",
                 seed=args.seed, seconds=time.perf_counter() - start)  # fmt: skip


if __name__ == "__main__":
    main()
