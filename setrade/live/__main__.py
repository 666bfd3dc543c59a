"""What the command line can be told, each option explained."""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

import pandas as pd

from setrade.bybit import DemoBroker, PaperBroker, TestnetBroker
from setrade.bybit.orders import Broker
from setrade.costs import Costs
from setrade.errors import integer, number
from setrade.live.failover import Failover
from setrade.live.journal import Journal
from setrade.live.monitor import Monitor
from setrade.live.pipeline import POLITE, KillSwitch, Pipeline, Report, may_hold
from setrade.live.sources import Source, recorded, source
from setrade.live.trader import Row, Trader, UnattendedError
from setrade.risk import Risk

EPILOG = """The position is closed after a fault (no bars, bad bars, a failing model or journal),
by the kill file and by SIGUSR1; at the end of the run, at Ctrl-C and at SIGTERM, as --on-exit
says. What the broker refuses to close is tried again for --closing seconds; Ctrl-C after a refusal
ends the trying. Start again on the same journal to go on where the last run stopped. Exit status:
0 for an end that was asked for; 2 for options that cannot be read; 3 after a fault, or when
nothing was begun: this run holds nothing; 4: A POSITION MAY BE HELD AND NOBODY CARES FOR IT. It
could not be closed, or what the last run left cannot be gone on with (a damaged journal, a wrong
option), or a new journal meets a broker that holds something. Look at the broker then."""


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    p = argparse.ArgumentParser(
        "python -m setrade.live",
        epilog=EPILOG,
        description="Run the live pipeline: bars, model, risk manager, orders, journal. On paper "
        "unless --broker says otherwise.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _where(p.add_argument_group("bars"))
    _model(p.add_argument_group("model"))
    _risk(p.add_argument_group("risk"))
    _account(p.add_argument_group("account and run"))
    return p


# fmt: off
def _where(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--source", choices=("simulator", "file", "bybit"), default="simulator",
                   help="an exchange in this process, a file, or Bybit's stream")
    g.add_argument("--file", help="CSV or parquet of candles, for --source file")
    g.add_argument("--symbol", default="BTCUSDT", help="what is traded")
    g.add_argument("--interval", default="1min", help="length of a bar (simulator and bybit)")
    g.add_argument("--minutes", type=float, default=30.0,
                   help="market minutes after which the run ends, rounded up to whole bars; 0 for "
                        "no end")
    g.add_argument("--speed", type=float, default=60.0,
                   help="market seconds a second (simulator, file; 0: file, no pauses)")
    g.add_argument("--seed", type=int, default=0, help="of the simulator's market")
    g.add_argument("--history", type=int,
                   help="bars of the past to warm up on, before the first decision; without it "
                        "as many as the models want")


def _model(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--model", choices=("rules", "se_trader", "efficientnet", "ensemble"),
                   default="ensemble",
                   help="what decides; when it fails or is too slow: se_trader on the CPU, then "
                        "rules, then all is closed. The nets that come with the package were "
                        "trained on 15-minute bars and are given such, made of the stream's own; "
                        "they show the machinery and are no better than guessing")
    g.add_argument("--checkpoint",
                   help="file of weights in place of the ones that come with se_trader or "
                        "efficientnet")
    g.add_argument("--frames",
                   help="bar lengths, comma separated, on which the rule has a vote in the "
                        "ensemble; without it 1min and 5min, as far as the stream's bars allow")
    g.add_argument("--device", choices=("cpu", "cuda", "mps"),
                   help="of the first model; without it a CUDA GPU if there is one, else the CPU "
                        "(SETRADE_DEVICE in the environment decides as well)")
    g.add_argument("--runtime",
                   choices=("eager", "channels_last", "folded", "compiled", "bf16", "onnx",
                            "tensorrt"),
                   help="what runs the first model's nets; without it, and for the others, ONNX "
                        "Runtime, or PyTorch as it is where that is not installed or cannot use "
                        "the GPU. What is compiled or built is made before the first bar")
    g.add_argument("--threads", type=int, default=1,
                   help="threads of a net on the CPU: for one picture a second one only waits")
    g.add_argument("--budget", type=float, default=1.0,
                   help="seconds that an answer may take; after three late ones within sixty "
                        "bars, or one that takes five times as long, the next model takes over")
    g.add_argument("--lookback", type=int, default=48, help="bars of the momentum rule")
    g.add_argument("--threshold", type=float, default=0.5,
                   help="a move counts from so many standard deviations on")
    g.add_argument("--size", type=float, default=1.0,
                   help="largest position, in parts of equity")


def _risk(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--stop-atr", type=float, default=2.0,
                   help="stop, in average true ranges from the entry; 0 for none")
    g.add_argument("--take-profit", type=float, default=2.0,
                   help="target, in stop distances; 0 for none")
    g.add_argument("--daily-loss", type=float, default=0.03,
                   help="part of equity that may be lost in a UTC day; 0 for no limit")
    g.add_argument("--max-jump", type=float, default=0.05,
                   help="open nothing after a move of this size; 0 for no limit")
    g.add_argument("--by-confidence", action="store_true",
                   help="scale positions with the signal's confidence")
    g.add_argument("--kill-file",
                   help="the run ends, flat, when this file exists; looked for ten times a second, "
                        "but not while a model computes (five budgets at most for each level)")
    g.add_argument("--patience", type=float,
                   help="market seconds without a good bar until all is closed, a bar's length at "
                        "least; without it five bars")
    g.add_argument("--closing", type=float, default=600.0,
                   help="seconds by our clock in which a position that must be closed is tried to "
                        "be closed, while broker or network refuse")


def _account(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--broker", choices=("paper", "testnet", "demo"), default="paper",
                   help="where orders go; but for paper, keys come from the environment")
    g.add_argument("--equity", type=float, default=10_000.0, help="money at the start, on paper")
    g.add_argument("--fee-bps", type=float, default=5.5, help="taker fee, basis points")
    g.add_argument("--slippage-bps", type=float, default=1.0, help="expected, a side")
    g.add_argument("--journal", default="run.sqlite",
                   help="SQLite file; one that exists is gone on with")
    g.add_argument("--metrics-port", type=int,
                   help="serve a status page, and metrics for Prometheus, on 127.0.0.1 (0: any "
                        "free port); if it is taken a run that holds a position goes on without")
    g.add_argument("--on-exit", choices=("flat", "keep"), default="flat",
                   help="what becomes of the position at the end and at Ctrl-C")


# ---- The live table: one plain line a bar, the same with and without a terminal.


COLUMNS = ("close", "wanted", "held", "equity", "orders", "ms")
WIDTHS = (12, 8, 12, 12, 8, 8)
NAMES = "".join(f"{name:>{width}}" for name, width in zip(COLUMNS, WIDTHS, strict=True))
HEAD = f"{'bar (UTC)':<17}{NAMES}  note"
EVERY = 20  # lines between heads


class Table:
    """Prints rows as they come.

    Args:
        out: where to; None: standard output.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self.out, self.lines = out or sys.stdout, 0

    def add(self, row: Row, seconds: float) -> None:
        """Print a row; ``seconds`` from hearing the bar to the last order of it."""
        if self.lines % EVERY == 0:
            print(HEAD, file=self.out)
        self.lines += 1
        time = pd.Timestamp(row.time, tz="UTC").strftime("%Y-%m-%d %H:%M")
        print(
            f"{time:<17}{row.close:>12.2f}{row.want:>8.2f}{row.units:>12.6f}{row.equity:>12.2f}"
            f"{row.orders:>8d}{1e3 * seconds:>8.1f}  {row.note}",
            file=self.out, flush=True,
        )  # fmt: skip

    def say(self, text: str) -> None:
        """Print a line between the rows."""
        print(text, file=self.out, flush=True)


# ---- Run the pipeline from the command line: ``python -m setrade.live --help``.


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

    from setrade.live.models import chain

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
