"""The command line of the live pipeline: ``python -m setrade.live --help``."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TextIO

import pandas as pd

from setrade import candles
from setrade.bybit import DemoBroker, PaperBroker, TestnetBroker
from setrade.bybit.orders import Broker, Order, OrderRequest
from setrade.bybit.paper import replay_lines
from setrade.costs import Costs
from setrade.errors import ArgumentError, integer, number
from setrade.live import shadow
from setrade.live.account import rehearse
from setrade.live.config import Config, UsageError, named, typed
from setrade.live.failover import Failover
from setrade.live.journal import Journal, JournalBusyError, JournalError
from setrade.live.monitor import Monitor
from setrade.live.pipeline import POLITE, KillSwitch, Pipeline, RunReport, holds, may_hold
from setrade.live.sources import Recorded, Source, Streamed
from setrade.live.trader import Trader, UnattendedError
from setrade.live.types import Row
from setrade.risk import Risk

BROKERS = {"testnet": TestnetBroker, "demo": DemoBroker}
REASONS = {
    "SIGINT": "interrupt", "SIGTERM": "terminated",
    "SIGHUP": "hangup", "SIGQUIT": "quit", "SIGUSR1": "kill_signal",  # not on Windows
    # what else would end the process without a word, or stop it (Ctrl-Z)
    **{f"SIG{x}": "terminated" for x in ("ABRT", "ALRM", "PWR", "TSTP", "USR2", "XCPU")},
    "SIGBREAK": "terminated",  # on Windows alone: Ctrl-Break, since nobody can send SIGTERM there
}  # fmt: skip
SIGNALS = {getattr(signal, name): reason for name, reason in REASONS.items()
           if hasattr(signal, name)}  # fmt: skip
STALE = 5  # bars' lengths without a good one after which all is closed
MARKET = 20_160  # bars of the simulated market: two weeks of minutes
# Exit status: options that do not go together; this run holds nothing; a position may be held,
# unattended; another run holds the journal.
USAGE, FAULT, HELD, BUSY = 2, 3, 4, 5
STATUS = ((UnattendedError, HELD), (JournalBusyError, BUSY), (UsageError, USAGE),
          (Exception, FAULT))  # fmt: skip
HEAD = "bar (UTC)               close  wanted        held      equity  orders      ms  note"
EVERY = 20  # lines between heads


class Table:
    """Prints a plain line a bar, the same with and without a terminal.

    Args:
        out: where to; None: standard output.
        lost: called once when nobody reads it any more (a closed terminal or pipe).
        about: what is traded where, for the first line.
    """

    def __init__(
        self, out: TextIO | None = None, *, lost: Callable[[], None] = lambda: None,
        about: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.out, self.lines, self.lost, self.about = out or sys.stdout, 0, lost, about or {}

    def add(self, row: Row, seconds: float) -> None:
        """Print a row; ``seconds`` from hearing the bar to the last order of it."""
        if self.lines == 0 and self.about:
            self.say(" | ".join(f"{name}: {told}" for name, told in self.about.items()))
        if self.lines % EVERY == 0:
            self.say(HEAD)
        self.lines += 1
        time = pd.Timestamp(row.time, tz="UTC").strftime("%Y-%m-%d %H:%M")
        self.say(
            f"{time:<17}{row.close:>12.2f}{row.target_position:>8.2f}{row.units:>12.6f}"
            f"{row.equity:>12.2f}{row.orders:>8d}{1e3 * seconds:>8.1f}  {row.note}"
        )

    def say(self, text: str) -> None:
        """Print a line between the rows."""
        if self.out is not None and not tell(text, self.out):
            self.out = None
            self.lost()


def tell(text: str, out: TextIO | None) -> bool:
    """Print a line; where nobody can read it, return False, and let later lines go nowhere."""
    try:
        try:
            print(text, file=out, flush=True)
        except UnicodeEncodeError:  # a terminal that knows few letters
            print(ascii(text), file=out, flush=True)
    except (OSError, ValueError):  # the terminal or the pipe is gone, or closed
        with suppress(OSError, ValueError, AttributeError):  # what is buffered must go somewhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # type: ignore[union-attr]
        return False
    return True


@contextmanager
def source(
    config: Config, journal: Journal, file: pd.DataFrame | None, needs: int
) -> Iterator[Source]:
    """Yield where bars come from; ``needs`` is how many of the past the models want."""
    history = needs if config.history is None else config.history
    if file is not None:
        history = min(needs, len(file) // 2) if config.history is None else history
        yield Recorded(file, history, speed=config.speed or None)
    elif config.source == "bybit":
        testnet = config.broker == "testnet"
        yield Streamed(config.symbol, config.interval, history, testnet=testnet)
    else:
        with simulated(config, journal, history) as made:
            yield made


@contextmanager
def simulated(config: Config, journal: Journal, history: int) -> Iterator[Source]:
    """Yield the stream of an exchange in this process, its clock running."""
    from setrade import simulator

    bars = candles.synthetic(MARKET, seed=config.seed, interval=config.interval).candles
    kept = journal.state()
    first = bars.index[integer("history", history, 1, MARKET - 100) + 5]
    if kept is not None:  # the same market goes on where the last run left it
        first = pd.Timestamp(kept[0], tz="UTC") + 2 * (bars.index[1] - bars.index[0])
    if not bars.index[0] < first < bars.index[-1]:
        allowed = "a run that this simulated market can go on from"
        raise ArgumentError("journal", config.journal, allowed)
    clock = simulator.Clock(first, config.speed)
    with simulator.serve(bars, symbol=config.symbol, clock=clock) as server:
        yield Streamed(config.symbol, config.interval, history, http_url=server.http_url,
                       ws_url=server.ws_url)  # fmt: skip


def with_file(config: Config) -> tuple[Config, pd.DataFrame | None]:
    """Return the candles of a file, if one is asked for; their bars say what the interval is."""
    if config.source != "file":
        return config, None
    if not config.file:
        raise ArgumentError("file", config.file, "a file of candles, with --source file")
    with named(path="--file", candles="--file"):
        bars = candles.read(config.file)
        return replace(config, interval=f"{candles.bar_interval(bars).value // 10**9}s"), bars


def risk(config: Config) -> Risk:
    """Return the rules; a zero switches one off."""
    stop = config.stop_atr or None
    return Risk(max_position=config.size, stop_atr=stop,
                take_profit=(config.take_profit or None) if stop else None,
                daily_loss=config.daily_loss or None, max_jump=config.max_jump or None)  # fmt: skip


class DryRun(PaperBroker):
    """A paper account that says of each order what would be sent."""

    def submit(self, request: OrderRequest) -> Order:
        """Say it, and fill it on paper."""
        at = "market" if request.price is None else f"limit {request.price}"
        closing = ", reduce only" if request.reduce_only else ""
        told = f"{request.side} {request.qty} {request.symbol} at {at}{closing}"
        tell(f"would send: {told} ({request.client_order_id})", sys.stdout)
        return super().submit(request)


def broker(config: Config, costs: Costs, journal: Journal) -> Broker:
    """Return where orders go; on paper they go on from the file that older runs kept beside."""
    if config.broker != "paper":
        there = BROKERS[config.broker](costs=costs)
        if user := there.user():  # the keys of another account hold another position
            journal.settings(user=user)
        if not config.dry_run:
            return there
        return DryRun(config.symbol, equity=there.equity(), costs=costs,
                      instrument=there.instrument(config.symbol))  # fmt: skip
    kind = DryRun if config.dry_run else PaperBroker
    made = kind.strict(config.symbol, equity=config.equity, costs=costs)
    old, kept = Path(f"{config.journal}.paper"), journal.kept("paper")
    begun = kept is None and old.exists() and not config.dry_run
    if kept is None and not old.exists() and holds(journal):
        told = f"it holds a position, and its account on paper, {old}, is gone: put it back"
        raise JournalError(f"journal {config.journal}: {told}")
    if begun or (isinstance(kept, dict) and kept.get("kind") != made.kind):
        # Begun before accounts on paper had the exchange's rules: it goes on without them.
        made = kind(config.symbol, equity=config.equity, costs=costs)
    if begun:
        replay_lines(made, old)
    return made


def model(config: Config, journal: Journal, table: Table) -> tuple[Failover, int, int]:
    """Return the chain of models, and the most and least bars that they need."""
    import torch  # not before it is needed

    from setrade.live.models import fallback_chain

    torch.set_num_threads(integer("threads", config.threads, 1))

    def changed(old: str, new: str, why: str) -> None:
        journal.event("failover", old=old, new=new, why=why)
        table.say(f"model: {old} -> {new}: {why}")

    resumed = journal.state() is not None
    return fallback_chain(config, changed, resumed=resumed, say=table.say)


def pipeline(
    config: Config, bars: Source, journal: Journal, switch: KillSwitch, table: Table,
    chain: tuple[Failover, int, int], beside: shadow.Shadow | None = None,
) -> Pipeline:  # fmt: skip
    """Return the pipeline that the options ask for."""
    costs = Costs(fee_bps=config.fee_bps, slippage_bps=config.slippage_bps)
    rehearse(costs, risk(config))  # before the broker is asked for anything
    trader = Trader(
        journal, broker(config, costs, journal), config.symbol, bars.step, equity=config.equity,
        costs=costs, risk=risk(config), size=config.size, by_confidence=config.by_confidence,
        close_timeout=config.closing,
    )  # fmt: skip
    trader.closer.listeners.append(lambda trouble: table.say(f"{trouble} (Ctrl-C gives up)"))
    fast = config.speed if config.source == "simulator" and config.speed else 1.0
    stale = stale_timeout(config, bars.step) / fast if bars.live else None
    failover, most, least = chain
    return Pipeline(
        bars, failover, trader, window=most, min_bars=least, switch=switch,
        stale_timeout=stale, limit=limit(config, bars.step), on_exit=config.on_exit,
        on_row=table.add, monitor=monitor(config, held=may_hold(journal)), shadow=beside,
    )  # fmt: skip


def stale_timeout(config: Config, step: int) -> float:
    """Return market seconds without a good bar after which all is closed."""
    bar = step / 1e9
    if config.patience is None:
        return STALE * bar
    return number("patience", config.patience, bar, above=True)


def limit(config: Config, step: int) -> int | None:
    """Return the bars after which the run ends: what was begun counts; None for no end."""
    return math.ceil(number("minutes", config.minutes, 0.0) * 60e9 / step) or None


def monitor(config: Config, *, held: bool) -> Monitor | None:
    """Return a monitor that serves its metrics, if a port was given.

    A port that is taken hinders no run that has a position to care for (``held``).
    """
    if config.metrics_port is None:
        return None
    made = Monitor(about=config.about())
    try:
        port = made.serve(config.metrics_port)
    except OSError as error:
        if not held:
            raise
        tell(f"NO STATUS PAGE: {error}; going on, a position may be held", sys.stderr)
    else:
        tell(f"status page: http://127.0.0.1:{port}/ (metrics: /metrics)", sys.stdout)
    return made


@contextmanager
def caring(journal: Journal | None, path: str) -> Iterator[None]:
    """Say of whatever hinders a start that a position may wait for it, if one may."""
    known = Path(path).is_file()
    try:
        yield
    except JournalBusyError:
        raise  # another run cares for it
    except (Exception, KeyboardInterrupt) as error:
        if may_hold(journal) if journal is not None else known:
            trouble = f"not begun, a position may be held: {type(error).__name__}: {error}"
            raise UnattendedError(trouble) from error
        raise


def leave(journal: Journal, kind: type[BaseException] | None, *_: object) -> None:
    """Close the journal; what failed before it began to trade binds no later start to it."""
    with suppress(JournalError):
        if kind is not None and journal.state() is None:
            journal.release()
    journal.close()


def interrupt(reason: str) -> None:
    """Leave a start that has not begun to trade; `caring` and `main` say what that means."""
    raise KeyboardInterrupt(reason)


def run(config: Config) -> RunReport:
    """Run to the end; signals press the switch."""
    switch = KillSwitch(config.kill_file or None)  # an empty name is refused by `Config.check`
    switch.listeners.append(interrupt)
    undo = switch.listen({int(number): reason for number, reason in SIGNALS.items()})
    with ExitStack() as stack:
        stack.callback(undo)
        stack.enter_context(named(**{f.name: typed(f.name) for f in fields(Config)}))
        path = ":memory:" if config.dry_run else config.journal
        with caring(None, path), named(path="--journal"):
            if not Path(path).is_file():  # none is made for options that are wrong
                config.check()
            journal = Journal(path)
        stack.push(partial(leave, journal))
        with caring(journal, path):
            config.check()
            config, file = with_file(config)
            journal.settings(**config.belongs())
            table = Table(lost=lambda: switch.press("output_lost"), about=config.about())
            config = shadow.in_force(config, journal, table.say)
            chain = model(config, journal, table)
            beside = shadow.begin(config, journal, table.say)
            if beside is not None:
                stack.callback(beside.close)
            bars = stack.enter_context(source(config, journal, file, chain[1]))
            line = pipeline(config, bars, journal, switch, table, chain, beside)
        switch.listeners.remove(interrupt)  # from here on the run itself comes to an end
        return asyncio.run(line.run())


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print how it ended, return the exit status.

    Returns:
        0: an end that was asked for. 2: options that do not go together. 3: a fault, or nothing
        was begun; this run holds nothing. 4: a position may be held, and nobody cares for it.
        5: another run holds the journal.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in shadow.COMMANDS:
            tell(shadow.command(words), sys.stdout)
            return 0
        report = run(Config.read(words))
    except KeyboardInterrupt as error:
        tell(f"ended: {error or 'interrupt'}, before anything was begun", sys.stdout)
        return 0
    except (ValueError, RuntimeError, OSError) as error:  # ours are all of these kinds
        tell(f"{type(error).__name__}: {error}", sys.stderr)
        return next(code for kind, code in STATUS if isinstance(error, kind))
    seen = report.faults or "none"
    tell(f"ended: {report.reason}; {report.bars} bars, held {report.units:.6f}, "
         f"equity {report.equity:.2f}; faults seen: {seen}", sys.stdout)  # fmt: skip
    return 0 if report.reason in POLITE else FAULT


if __name__ == "__main__":
    status = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is over, and said so: no traceback after it
    sys.exit(status)
