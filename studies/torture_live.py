"""kill -9 at random points: no order lost, none doubled, and the broker's position is ours.

An exchange runs here (the simulator, on loopback). The pipeline runs in a process of its own,
is killed at a random moment, and started again on the same journal, until it comes to the end
of its bars. Then the exchange's orders must be those of a run that nobody killed, to the name,
side and quantity. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from setrade import candles, results, simulator
from setrade.live import Journal, Pipeline, Recorded, Trader
from setrade.risk import Risk
from setrade.signals import Signal

SYMBOL, STEP = "BTCUSDT", int(pd.Timedelta("1min").value)
WARM, WINDOW = 20, 5
TARGETS = (0.5, -0.5, -0.5, 0.0, 0.7, 0.2, -0.3)  # a turn is two orders, one after the other
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


def main() -> None:
    """Torture and store what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--bars", type=int, default=40, help="bars of each run")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    found = torture(args.kills, bars=args.bars, seed=args.seed)
    print(found)
    results.save("torture_live", found, command="make study STUDY=torture_live",
                 seed=args.seed, seconds=time.perf_counter() - start)  # fmt: skip


if __name__ == "__main__":
    main()
