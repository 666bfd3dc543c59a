"""Run the pipeline from the command line: ``python -m setrade.live --help``."""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from setrade.bybit import DemoBroker, PaperBroker, TestnetBroker
from setrade.bybit.brokers import Broker
from setrade.costs import Costs
from setrade.errors import integer, number
from setrade.risk import Risk

from .closing import UnattendedError
from .failover import Failover
from .feeds import recorded, source
from .guards import KillSwitch
from .journal import Journal
from .monitor import Monitor
from .options import parser
from .pipeline import POLITE, Pipeline, Report
from .sources import Source
from .startup import may_hold
from .table import Table
from .trader import Trader

BROKERS = {"testnet": TestnetBroker, "demo": DemoBroker}
REASONS = {
    "SIGINT": "interrupt", "SIGTERM": "terminated",
    "SIGUSR1": "kill_signal",  # not on Windows
    "SIGBREAK": "terminated",  # on Windows alone: Ctrl-Break, since nobody can send SIGTERM there
}  # fmt: skip
SIGNALS = {getattr(signal, name): reason for name, reason in REASONS.items()
           if hasattr(signal, name)}  # fmt: skip
BARS = 5  # without a good one for so long, all is closed
FAULT, HELD = 3, 4  # exit status: this run holds nothing; a position may be held, unattended


def risk(o: argparse.Namespace) -> Risk:
    """Return the rules; a zero switches one off."""
    stop = o.stop_atr or None
    return Risk(max_position=o.size, stop_atr=stop,
                take_profit=(o.take_profit or None) if stop else None,
                daily_loss=o.daily_loss or None, max_jump=o.max_jump or None)  # fmt: skip


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
        risk=risk(o), by_confidence=o.by_confidence, closing=o.closing,
    )  # fmt: skip
    trader.closer.told.append(lambda trouble: table.say(f"{trouble} (Ctrl-C gives up)"))
    fast = o.speed if o.source == "simulator" and o.speed else 1.0
    failover, most, least = chain
    return Pipeline(
        bars, failover, trader, journal, window=most, least=least, switch=switch,
        patience=patience(o, bars.step) / fast if bars.live else None, limit=limit(o, bars.step),
        on_exit=o.on_exit, watch=table.add, monitor=monitor(o, held=may_hold(journal)),
    )  # fmt: skip


def patience(o: argparse.Namespace, step: int) -> float:
    """Return market seconds without a good bar after which all is closed."""
    bar = step / 1e9
    return BARS * bar if o.patience is None else number("patience", o.patience, bar, above=True)


def limit(o: argparse.Namespace, step: int) -> int | None:
    """Return the bars after which the run ends: what was begun counts; None for no end."""
    return math.ceil(number("minutes", o.minutes, 0.0) * 60e9 / step) or None


def monitor(o: argparse.Namespace, *, held: bool) -> Monitor | None:
    """Return a monitor that serves its metrics, if a port was given.

    A port that is taken hinders no run that has a position to care for (``held``).
    """
    if o.metrics_port is None:
        return None
    made = Monitor()
    try:
        port = made.serve(o.metrics_port)
    except OSError as error:
        if not held:
            raise
        print(f"NO STATUS PAGE: {error}; going on, a position may be held", file=sys.stderr)
    else:
        print(f"status page: http://127.0.0.1:{port}/ (metrics: /metrics)")
    return made


@contextmanager
def caring(journal: Journal | None, path: str) -> Iterator[None]:
    """Say of whatever hinders a start that a position may wait for it, if one may."""
    known = Path(path).exists()
    try:
        yield
    except Exception as error:
        if may_hold(journal) if journal is not None else known:
            told = f"not begun, a position may be held: {type(error).__name__}: {error}"
            raise UnattendedError(told) from error
        raise


def run(o: argparse.Namespace) -> Report:
    """Run to the end; signals press the switch."""
    switch = KillSwitch(o.kill_file)
    undo = switch.listen({int(number): reason for number, reason in SIGNALS.items()})
    with ExitStack() as stack:
        stack.callback(undo)
        with caring(None, o.journal):
            journal = Journal(o.journal)
        stack.callback(journal.close)
        with caring(journal, o.journal):
            journal.setting("account", f"{o.broker} {o.symbol}")
            file, table = recorded(o), Table()
            made = model(o, journal, table)
            bars = stack.enter_context(source(o, journal, file, made[1]))
            line = pipeline(o, bars, journal, switch, table, made)
        return asyncio.run(line.run())


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print how it ended, return the exit status.

    Returns:
        0: an end that was asked for. 3: a fault, or nothing was begun; this run holds nothing.
        4: a position may be held, and nobody cares for it.
    """
    options = parser().parse_args(argv)
    try:
        report = run(options)
    except (ValueError, RuntimeError, OSError) as error:  # ours are all of these kinds
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return HELD if isinstance(error, UnattendedError) else FAULT
    seen = report.faults or "none"
    print(f"ended: {report.reason}; {report.bars} bars, held {report.units:.6f}, "
          f"equity {report.equity:.2f}; faults seen: {seen}")  # fmt: skip
    return 0 if report.reason in POLITE else FAULT


if __name__ == "__main__":
    sys.exit(main())
