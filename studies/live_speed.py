"""How fast the pipeline replays, what it costs a bar, and how long an order takes to leave.

    make study STUDY=live_speed

A month of one-minute bars goes through the whole of it: source, window, pictures, model, rules,
paper broker, and a journal that is flushed to the disk. Then an exchange runs here (the
simulator), each bar brings a picture, an answer of the net and an order, and the time from
hearing the bar to sending the order is set against the bare calls of the same net, made between
the bars of the same run. What the broker takes to answer is not counted. Run it on an idle
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from setrade import candles, results, simulator
from setrade.bybit import PaperBroker, TestnetBroker
from setrade.inference import Predictor
from setrade.live import BarEvent, Journal, Pipeline, Recorded, Trader
from setrade.live.models import Net, PrecomputedModel, Rule
from setrade.signals import Signal

MINUTE, SYMBOL, REAL = 60_000_000_000, "BTCUSDT", 60.0  # seconds of a bar
KEY, SECRET = "loopback-key", "loopback-secret"  # of the simulator, worth nothing
MONTH = 43_200
ALLOWED = 1.3, 10.0  # times the bare call's p99, or ms above it


class Idle:
    """A model that costs nothing and turns round every tenth minute: what is left is ours."""

    needs = 10

    def __call__(self, window: pd.DataFrame) -> Signal:
        """Return long or short, by the clock."""
        at = window.index[-1]
        return Signal(at, 0.5 if at.minute % 20 < 10 else -0.5, 1.0, source="rule")


def make(name: str, bars: pd.DataFrame) -> Any:
    """Return a model by name: what it is, or how it is asked."""
    if name in ("idle", "rules"):
        return Idle() if name == "idle" else Rule("1min")
    kind, how = name.split(" ", 1)
    file = {"SETrader": "se_trader", "EfficientNet": "efficientnet_micro"}[kind]
    predictor = Predictor.load(file, "cpu", runtime="onnx")
    each = how == "each minute"  # on bars that it was not trained on: for timing only
    net = Net(predictor, "1min", interval="1min" if each else None, foreign=each)
    return PrecomputedModel(net, bars) if how == "in batches" else net


class Timed(Journal):
    """A journal that counts how often it goes to the disk, and how long that takes."""

    commits, seconds = 0, 0.0

    def commit(self) -> None:
        """Commit, by the clock."""
        start = time.perf_counter()
        super().commit()
        self.commits, self.seconds = self.commits + 1, self.seconds + time.perf_counter() - start


def replay(name: str, count: int, *, durable: bool = True) -> dict[str, Any]:
    """Return bars a second, times real time, and what the journal took of it."""
    market = candles.synthetic(3_704 + count, seed=0, interval="1min").candles
    start = time.perf_counter()
    model = make(name, market)
    ready = time.perf_counter() - start  # loading, and the batches where there are any
    with tempfile.TemporaryDirectory() as folder:
        journal = Timed(Path(folder, "run.sqlite"), durable=durable)
        broker = PaperBroker(SYMBOL)
        trader = Trader(journal, broker, SYMBOL, MINUTE, equity=10_000.0)
        line = Pipeline(Recorded(market, len(market) - count), model, trader,
                        window=model.needs)  # fmt: skip
        start = time.perf_counter()
        report = asyncio.run(line.run())
        seconds, orders = time.perf_counter() - start + ready, journal.counts()["intents"]
        journal.close()
        size = os.path.getsize(Path(folder, "run.sqlite"))
    return {
        "bars": report.bars, "orders": orders, "seconds": seconds,
        "ms_a_bar": seconds / count * 1e3, "times_real_time": count * REAL / seconds,
        "commits_a_bar": journal.commits / count, "commit_ms_a_bar": journal.seconds / count * 1e3,
        "journal_bytes_a_bar": size / len(market),
    }  # fmt: skip


class Paced:
    """Recorded bars at a steady pace; notes when each was handed out."""

    live, step = False, MINUTE

    def __init__(self, bars: pd.DataFrame, past: int, pause: float, between: Any) -> None:
        self.inner, self.pause, self.between = Recorded(bars, past), pause, between
        self.handed: dict[int, float] = {}

    async def history(self) -> list[Any]:
        """Return the past."""
        return await self.inner.history()

    async def bars(self, after: int) -> AsyncIterator[BarEvent]:
        """Yield a bar; between two of them, make a bare call of the net."""
        async for heard in self.inner.bars(after):
            await asyncio.sleep(self.pause)
            self.between()
            await asyncio.sleep(self.pause)
            self.handed[heard.bar.time + MINUTE] = time.perf_counter()
            yield heard


class Watched:
    """A broker that notes when orders reach it, and how long its answers take."""

    def __init__(self, broker: TestnetBroker) -> None:
        self._broker = broker
        self.sent: dict[int, float] = {}  # time of decision (ns) -> when its first order left
        self.answers: list[tuple[float, float]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._broker, name)
        if not callable(found):
            return found

        def timed(*args: Any, **more: Any) -> Any:
            start = time.perf_counter()
            if name == "submit":
                self.sent.setdefault(args[0].decided.value, start)
            try:
                return found(*args, **more)
            finally:
                self.answers.append((start, time.perf_counter()))

        return timed


def latency(count: int, pause: float = 0.03) -> dict[str, Any]:
    """Return ms from bar to order, broker excluded, and of the net's bare calls."""
    net = make("EfficientNet each minute", candles.sample())
    bars = candles.synthetic(net.needs + count, seed=1, interval="1min").candles
    image = net.images(net.frame(bars.iloc[: net.needs])).copy()
    bare: list[float] = []

    def between() -> None:
        start = time.perf_counter()
        net.predictor.predict(image)
        bare.append(time.perf_counter() - start)

    os.environ |= {"BYBIT_TESTNET_API_KEY": KEY, "BYBIT_TESTNET_API_SECRET": SECRET}
    with (
        tempfile.TemporaryDirectory() as folder,
        simulator.serve(bars, keys={KEY: SECRET}) as server,
    ):
        journal = Journal(Path(folder, "run.sqlite"))
        broker: Any = Watched(TestnetBroker(base_url=server.http_url))
        trader = Trader(journal, broker, SYMBOL, MINUTE, equity=10_000.0)
        source: Any = Paced(bars, net.needs, pause, between)
        asyncio.run(Pipeline(source, net, trader, window=net.needs).run())
        journal.close()
    taken = [own(source.handed[at], sent, broker.answers) for at, sent in broker.sent.items()
             if at in source.handed]  # fmt: skip
    ours, alone = (np.quantile(x, [0.5, 0.95, 0.99]) * 1e3 for x in (taken, bare))
    limit = max(ALLOWED[0] * alone[2], alone[2] + ALLOWED[1])
    return {
        "bars": count, "orders": len(taken),
        "bar_to_order_ms": dict(zip(("p50", "p95", "p99"), ours, strict=True)),
        "bare_call_ms": dict(zip(("p50", "p95", "p99"), alone, strict=True)),
        "limit_ms": limit, "kept": bool(ours[2] <= limit),
    }  # fmt: skip


def own(begun: float, sent: float, answers: list[tuple[float, float]]) -> float:
    """Return the seconds between two moments in which no answer of the broker was waited for."""
    waited = sum(min(end, sent) - max(start, begun) for start, end in answers
                 if start < sent and end > begun)  # fmt: skip
    return sent - begun - waited


CASES = ("idle", "rules", "SETrader in batches", "EfficientNet each minute")


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=MONTH)
    parser.add_argument("--orders", type=int, default=1_000, help="bars of the latency run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begun, found = time.perf_counter(), {}
    for name in CASES:
        found[name] = replay(name, args.bars)
        print(name, found[name])
    found["idle, not flushed"] = replay("idle", args.bars // 4, durable=False)
    waited = latency(args.orders)
    print(waited)
    results.save("live_speed", {"replay": found, "latency": waited},
                 command="make study STUDY=live_speed", seed=[0, 1],
                 seconds=time.perf_counter() - begun)  # fmt: skip


if __name__ == "__main__":
    main()
