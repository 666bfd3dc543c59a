"""Run the pipeline from the command line: ``python -m setrade.live --help``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd

from setrade import candles
from setrade.bybit import DemoBroker, PaperBroker, TestnetBroker
from setrade.bybit.brokers import Broker
from setrade.costs import Costs
from setrade.errors import ArgumentError, integer
from setrade.risk import Risk

from .failover import Failover
from .guards import KillSwitch
from .journal import Journal
from .monitor import Monitor
from .options import parser
from .pipeline import POLITE, Pipeline, Report
from .sources import Recorded, Source, Streamed
from .table import Table
from .trader import Trader

BROKERS = {"testnet": TestnetBroker, "demo": DemoBroker}
SIGNALS = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminated", signal.SIGUSR1: "kill_signal"}
MARKET = 20_160  # bars of the simulated market: two weeks of minutes
FAULT = 3  # exit status after a fault; the position is closed then


def risk(o: argparse.Namespace) -> Risk:
    """Return the rules; a zero switches one off."""
    stop = o.stop_atr or None
    return Risk(max_position=o.size, stop_atr=stop,
                take_profit=(o.take_profit or None) if stop else None,
                daily_loss=o.daily_loss or None, max_jump=o.max_jump or None)  # fmt: skip


def recorded(o: argparse.Namespace) -> pd.DataFrame | None:
    """Return the candles of a file, whose bars then say what the interval is."""
    if o.source != "file":
        return None
    if not o.file:
        raise ArgumentError("file", o.file, "a file of candles, with --source file")
    bars = candles.read(o.file)
    o.interval = f"{candles.bar_interval(bars).value // 10**9}s"
    return bars


@contextmanager
def source(
    o: argparse.Namespace, journal: Journal, file: pd.DataFrame | None, needs: int
) -> Iterator[Source]:
    """Yield where bars come from; a simulator lives as long as the run."""
    if file is not None:
        history = min(needs, len(file) // 2) if o.history is None else o.history
        yield Recorded(file, history, speed=o.speed or None)
        return
    o.history = needs if o.history is None else o.history
    if o.source == "bybit":
        yield Streamed(o.symbol, o.interval, o.history, testnet=o.broker == "testnet")
    else:
        with simulated(o, journal) as made:
            yield made


@contextmanager
def simulated(o: argparse.Namespace, journal: Journal) -> Iterator[Source]:
    """Yield the stream of an exchange in this process, its clock running."""
    from setrade import simulator

    bars = candles.synthetic(MARKET, seed=o.seed, interval=o.interval).candles
    kept = journal.state()
    first = bars.index[integer("history", o.history, 1, MARKET - 100) + 5]
    if kept is not None:  # the same market goes on where the last run left it
        first = pd.Timestamp(kept[0], tz="UTC") + 2 * (bars.index[1] - bars.index[0])
    if not bars.index[0] < first < bars.index[-1]:
        raise ArgumentError("journal", o.journal, "a run that this simulated market can go on from")
    clock = simulator.Clock(first, o.speed)
    with simulator.serve(bars, symbol=o.symbol, clock=clock) as server:
        yield Streamed(o.symbol, o.interval, o.history, http_url=server.http_url,
                       ws_url=server.ws_url)  # fmt: skip


def broker(o: argparse.Namespace, costs: Costs) -> Broker:
    """Return where orders go."""
    if o.broker != "paper":
        return BROKERS[o.broker](costs=costs)
    told = f"{o.journal}.paper"  # what the paper broker was told, to stand there again
    return PaperBroker(o.symbol, equity=o.equity, costs=costs, journal=told)


def model(o: argparse.Namespace, journal: Journal, table: Table) -> tuple[Failover, int, int]:
    """Return the chain of models, and the most and least bars that they need."""
    import torch  # not before it is needed

    from .chain import chain

    torch.set_num_threads(integer("threads", o.threads, 1))

    def changed(old: str, new: str, why: str) -> None:
        journal.event("failover", old=old, new=new, why=why)
        table.say(f"model: {old} -> {new}: {why}")

    return chain(o, changed, resumed=journal.state() is not None)


def pipeline(
    o: argparse.Namespace, bars: Source, journal: Journal, switch: KillSwitch, table: Table,
    chain: tuple[Failover, int, int],
) -> Pipeline:  # fmt: skip
    """Return the pipeline that the options ask for."""
    costs = Costs(fee_bps=o.fee_bps, slippage_bps=o.slippage_bps)
    trader = Trader(
        journal, broker(o, costs), o.symbol, bars.step, equity=o.equity, costs=costs,
        risk=risk(o), by_confidence=o.by_confidence,
    )  # fmt: skip
    fast = o.speed if o.source == "simulator" and o.speed else 1.0
    minutes = o.minutes * 60e9 / bars.step
    failover, most, least = chain
    return Pipeline(
        bars, failover, trader, journal, window=most, least=least, switch=switch,
        patience=o.patience / fast if bars.live else None, limit=int(minutes) or None,
        on_exit=o.on_exit, watch=table.add, monitor=monitor(o),
    )  # fmt: skip


def monitor(o: argparse.Namespace) -> Monitor | None:
    """Return a monitor that serves its metrics, if a port was given."""
    if o.metrics_port is None:
        return None
    made = Monitor()
    print(f"status page: http://127.0.0.1:{made.serve(o.metrics_port)}/ (metrics: /metrics)")
    return made


def run(o: argparse.Namespace) -> Report:
    """Run to the end; signals press the switch."""
    switch = KillSwitch(o.kill_file)
    undo = switch.listen({int(number): reason for number, reason in SIGNALS.items()})
    journal = Journal(o.journal)
    try:
        journal.setting("account", f"{o.broker} {o.symbol}")
        file, table = recorded(o), Table()
        made = model(o, journal, table)
        with source(o, journal, file, made[1]) as bars:
            return asyncio.run(pipeline(o, bars, journal, switch, table, made).run())
    finally:
        journal.close()
        undo()


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print how it ended, return the exit status: 0, or 3 after a fault."""
    options = parser().parse_args(argv)
    try:
        report = run(options)
    except (ValueError, RuntimeError, OSError) as error:  # ours are all of these kinds
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAULT
    seen = report.faults or "none"
    print(f"ended: {report.reason}; {report.bars} bars, held {report.units:.6f}, "
          f"equity {report.equity:.2f}; faults seen: {seen}")  # fmt: skip
    return 0 if report.reason in POLITE else FAULT


if __name__ == "__main__":
    sys.exit(main())
