"""What the command line can be told: one option a field, each explained."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from setrade.bybit.constants import symbol
from setrade.candles.checks import parse_interval
from setrade.costs import MAX_BPS
from setrade.errors import ArgumentError, flag, integer, number

EPILOG = """The position is closed after a fault (no bars, bad bars, a failing model or journal),
by the kill file and by SIGUSR1; at the end of the run, at Ctrl-C, Ctrl-Z, SIGTERM, SIGHUP (a closed
terminal; not under nohup) and other signals that end a process, and when nobody reads what is
printed any more, as --on-exit says. What the broker refuses to close is tried again for --closing
seconds; Ctrl-C after a refusal ends that. Start again on the same journal to go on. Exit status:
0 for an end that was asked for; 2 for options that cannot be read or do not go together; 3 after
a fault, or when nothing was begun: this run holds nothing; 4: A POSITION MAY BE HELD AND NOBODY
CARES FOR IT. It could not be closed, or what the last run left cannot be gone on with (a damaged
journal, a wrong option), or a new journal meets a broker that holds something. Look at the broker
then; 5: another run holds the journal, and cares for what it holds.
Beside the run: `compare JOURNAL` says how the --shadow did, `promote JOURNAL` lets it decide from
the next start on, `rollback JOURNAL` takes that back."""


NETS = ("se_trader", "efficientnet")  # models that are one file of weights
CATEGORY = "linear"  # of everything that is traded here


class UsageError(ArgumentError):
    """Options that do not go together."""


def _option(
    default: Any, text: str, *, group: str = "", low: float | None = None,
    high: float = math.inf, above: bool = False, **kind: Any,
) -> Any:  # fmt: skip
    """Return a field with what `argparse` has to know; ``group`` begins a group of options.

    A number is within [low, high], above ``low`` if ``above``; without ``low`` it is no number.
    """
    bounds = None if low is None else (low, high, above)
    told = {"group": group, "bounds": bounds, "kind": kind | {"help": text}}
    return field(default=default, metadata=told)


def typed(name: str) -> str:
    """Return the option of a field as it is typed."""
    return f"--{name.replace('_', '-')}"


@contextmanager
def named(**names: str) -> Iterator[None]:
    """Give arguments in errors another name: of the caller's own argument, or as it is typed."""
    try:
        yield
    except ArgumentError as error:
        if name := names.get(error.name):
            error.args = (str(error).replace(error.name, name, 1),)
            error.name = name
        raise


# fmt: off
@dataclass(frozen=True)
class Config:
    """The options of a run; `parser` has the same words for the command line."""

    source: str = _option(
        "simulator", "an exchange in this process, a file, or Bybit's stream", group="bars",
        choices=("simulator", "file", "bybit"))
    file: str | None = _option(None, "CSV or parquet of candles, for --source file")
    symbol: str = _option("BTCUSDT", "what is traded")
    interval: str = _option("1min", "length of a bar (simulator and bybit)")
    minutes: float = _option(
        30.0, "market minutes after which the run ends, rounded up to whole bars; 0 for no end",
        low=0.0)
    speed: float = _option(
        60.0, "market seconds a second (simulator, file; 0: file, no pauses)", low=0.0)
    seed: int = _option(0, "of the simulator's market", low=0)
    history: int | None = _option(
        None, "bars of the past to warm up on, before the first decision; without it as many as "
        "the models want", low=0, type=int)

    model: str = _option(
        "ensemble", "what decides; when it fails or is too slow: se_trader on the CPU, then "
        "rules, then all is closed. The nets that come with the package were trained on "
        "15-minute bars and are given such, made of the stream's own; they show the machinery "
        "and are no better than guessing", group="model",
        choices=("rules", "se_trader", "efficientnet", "ensemble"))
    checkpoint: str | None = _option(
        None, "file of weights in place of the ones that come with se_trader or efficientnet")
    shadow: str | None = _option(
        None, "file of weights that is asked beside the model, in a process of its own, and gives "
        "no orders; its answers are kept in the journal")
    frames: str | None = _option(
        None, "bar lengths, comma separated, on which the rule has a vote in the ensemble; "
        "without it 1min and 5min, as far as the stream's bars allow")
    device: str | None = _option(
        None, "of the first model; without it a CUDA GPU if there is one, else the CPU "
        "(SETRADE_DEVICE in the environment decides as well)", choices=("cpu", "cuda", "mps"))
    runtime: str | None = _option(
        None, "what runs the first model's nets; without it, and for the others, ONNX Runtime, "
        "or PyTorch as it is where that is not installed or cannot use the GPU. What is compiled "
        "or built is made before the first bar",
        choices=("eager", "channels_last", "folded", "compiled", "bf16", "onnx", "tensorrt"))
    threads: int = _option(
        1, "threads of a net on the CPU: for one picture a second one only waits", low=1)
    budget: float = _option(
        1.0, "seconds that an answer may take; after three late ones within sixty bars, or one "
        "that takes five times as long, the next model takes over", low=0.0, above=True)
    lookback: int = _option(48, "bars of the momentum rule", low=2)
    threshold: float = _option(
        0.5, "a move counts from so many standard deviations on", low=0.0)
    size: float = _option(
        1.0, "largest position, in parts of equity", low=0.0, high=100.0, above=True)

    stop_atr: float = _option(
        2.0, "stop, in average true ranges from the entry; 0 for none", group="risk", low=0.0)
    take_profit: float = _option(2.0, "target, in stop distances; 0 for none", low=0.0)
    daily_loss: float = _option(
        0.03, "part of equity that may be lost in a UTC day; 0 for no limit", low=0.0, high=1.0)
    max_jump: float = _option(
        0.05, "open nothing after a move of this size; 0 for no limit", low=0.0)
    by_confidence: bool = _option(
        False, "scale positions with the signal's confidence", action="store_true")
    kill_file: str | None = _option(
        None, "the run ends, flat, when this file exists; looked for ten times a second, but not "
        "while a model computes (five budgets at most for each level)")
    patience: float | None = _option(
        None, "market seconds without a good bar until all is closed, a bar's length at least; "
        "without it five bars", low=0.0, above=True, type=float)
    closing: float = _option(
        600.0, "seconds by our clock in which a position that must be closed is tried to be "
        "closed, while broker or network refuse", low=0.0)

    broker: str = _option(
        "paper", "where orders go; but for paper, keys come from the environment",
        group="account and run", choices=("paper", "testnet", "demo"))
    dry_run: bool = _option(
        False, "send nothing: print each order that would be sent, fill it on paper, from the "
        "worth and by the rules of --broker, and keep no journal on disk", action="store_true")
    equity: float = _option(10_000.0, "money at the start, on paper", low=0.0, above=True)
    fee_bps: float = _option(5.5, "taker fee, basis points", low=0.0, high=MAX_BPS)
    slippage_bps: float = _option(1.0, "expected, a side", low=0.0, high=MAX_BPS)
    journal: str = _option("run.sqlite", "SQLite file; one that exists is gone on with")
    metrics_port: int | None = _option(
        None, "serve a status page, and metrics for Prometheus, on 127.0.0.1 (0: any free port); "
        "if it is taken a run that holds a position goes on without", low=0, high=65_535, type=int)
    on_exit: str = _option(
        "flat", "what becomes of the position at the end and at Ctrl-C", choices=("flat", "keep"))

    # fmt: on
    @classmethod
    def read(cls, argv: Sequence[str] | None = None) -> Config:
        """Return what a command line says; None: this process's own."""
        return cls(**vars(parser().parse_args(argv)))

    def check(self) -> None:
        """Raise `ArgumentError` for an option out of its bounds, named as it was typed.

        Raises:
            UsageError: options that do not go together.
        """
        with named(symbol="--symbol"):
            symbol(self.symbol)
        for option in fields(self):
            name, value = typed(option.name), getattr(self, option.name)
            if value == "":  # a variable of a shell that is not set: no file, no default
                raise ArgumentError(name, value, "a text that is not empty")
            if isinstance(option.default, bool):
                flag(name, value)
            if option.metadata["bounds"] is None or value is None:
                continue
            low, high, above = option.metadata["bounds"]
            if isinstance(low, int):
                integer(name, value, low, None if high == math.inf else high)
            else:
                number(name, value, low, high, above=above)
        if self.broker != "paper" and self.source != "bybit":
            why = f"'bybit': --broker {self.broker} is traded on the exchange's own bars alone"
            raise UsageError("--source", self.source, why)
        for name, value in (("--checkpoint", self.checkpoint), ("--shadow", self.shadow)):
            if value is not None and self.model not in NETS:
                raise UsageError(name, value, f"a model of one file: --model {' or '.join(NETS)}")
        if self.shadow is not None and self.dry_run:
            raise UsageError("--shadow", self.shadow, "a journal on disk: not with --dry-run")
        if self.source == "simulator" and not self.speed:
            raise UsageError("--speed", self.speed, "above 0: --source simulator needs a clock")

    def belongs(self) -> dict[str, Any]:
        """Return what a journal belongs to: a run on anything else may not go on with it."""
        seconds = parse_interval("interval", self.interval).value // 10**9
        return {"account": f"{self.broker} {self.symbol}", "symbol": self.symbol,
                "interval": f"{seconds}s", "category": CATEGORY, "source": self.source,
                "seed": self.seed if self.source == "simulator" else None}  # fmt: skip

    def about(self) -> dict[str, str]:
        """Return what is traded where, in words: of the table's first line and the status page."""
        made = f"simulator (made up, seed {self.seed})"
        bars = {"simulator": made, "file": f"file {self.file}", "bybit": "Bybit"}
        accounts = {"paper": "paper, in this process"}
        modes = {"simulator": "simulation", "file": "replay", "bybit": "live"}
        play = f"{self.broker}, play money at the exchange"
        return {"broker": self.broker, "account": accounts.get(self.broker, play),
                "source": bars[self.source],
                "mode": "dry run, nothing is sent" if self.dry_run else modes[self.source],
        }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser: an option for each field of `Config`."""
    made = argparse.ArgumentParser(
        "python -m setrade.live",
        epilog=EPILOG,
        description="Run the live pipeline: bars, model, risk manager, orders, journal. On paper "
        "unless --broker says otherwise.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    group: Any = made
    for option in fields(Config):
        if option.metadata["group"]:
            group = made.add_argument_group(option.metadata["group"])
        name, default = typed(option.name), option.default
        kind = {"type": type(default)} if type(default) in (int, float) else {}
        group.add_argument(name, default=default, **kind, **option.metadata["kind"])
    return made
