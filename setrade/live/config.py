"""What the command line can be told: one option a field, each explained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

EPILOG = """The position is closed after a fault (no bars, bad bars, a failing model or journal),
by the kill file and by SIGUSR1; at the end of the run, at Ctrl-C and at SIGTERM, as --on-exit
says. What the broker refuses to close is tried again for --closing seconds; Ctrl-C after a refusal
ends the trying. Start again on the same journal to go on where the last run stopped. Exit status:
0 for an end that was asked for; 2 for options that cannot be read; 3 after a fault, or when
nothing was begun: this run holds nothing; 4: A POSITION MAY BE HELD AND NOBODY CARES FOR IT. It
could not be closed, or what the last run left cannot be gone on with (a damaged journal, a wrong
option), or a new journal meets a broker that holds something. Look at the broker then."""


def _option(default: Any, text: str, *, group: str = "", **kind: Any) -> Any:
    """Return a field with what `argparse` has to know; ``group`` begins a group of options."""
    return field(default=default, metadata={"group": group, "kind": kind | {"help": text}})


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
        30.0, "market minutes after which the run ends, rounded up to whole bars; 0 for no end")
    speed: float = _option(
        60.0, "market seconds a second (simulator, file; 0: file, no pauses)")
    seed: int = _option(0, "of the simulator's market")
    history: int | None = _option(
        None, "bars of the past to warm up on, before the first decision; without it as many as "
        "the models want", type=int)

    model: str = _option(
        "ensemble", "what decides; when it fails or is too slow: se_trader on the CPU, then "
        "rules, then all is closed. The nets that come with the package were trained on "
        "15-minute bars and are given such, made of the stream's own; they show the machinery "
        "and are no better than guessing", group="model",
        choices=("rules", "se_trader", "efficientnet", "ensemble"))
    checkpoint: str | None = _option(
        None, "file of weights in place of the ones that come with se_trader or efficientnet")
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
        1, "threads of a net on the CPU: for one picture a second one only waits")
    budget: float = _option(
        1.0, "seconds that an answer may take; after three late ones within sixty bars, or one "
        "that takes five times as long, the next model takes over")
    lookback: int = _option(48, "bars of the momentum rule")
    threshold: float = _option(
        0.5, "a move counts from so many standard deviations on")
    size: float = _option(1.0, "largest position, in parts of equity")

    stop_atr: float = _option(
        2.0, "stop, in average true ranges from the entry; 0 for none", group="risk")
    take_profit: float = _option(2.0, "target, in stop distances; 0 for none")
    daily_loss: float = _option(
        0.03, "part of equity that may be lost in a UTC day; 0 for no limit")
    max_jump: float = _option(
        0.05, "open nothing after a move of this size; 0 for no limit")
    by_confidence: bool = _option(
        False, "scale positions with the signal's confidence", action="store_true")
    kill_file: str | None = _option(
        None, "the run ends, flat, when this file exists; looked for ten times a second, but not "
        "while a model computes (five budgets at most for each level)")
    patience: float | None = _option(
        None, "market seconds without a good bar until all is closed, a bar's length at least; "
        "without it five bars", type=float)
    closing: float = _option(
        600.0, "seconds by our clock in which a position that must be closed is tried to be "
        "closed, while broker or network refuse")

    broker: str = _option(
        "paper", "where orders go; but for paper, keys come from the environment",
        group="account and run", choices=("paper", "testnet", "demo"))
    equity: float = _option(10_000.0, "money at the start, on paper")
    fee_bps: float = _option(5.5, "taker fee, basis points")
    slippage_bps: float = _option(1.0, "expected, a side")
    journal: str = _option("run.sqlite", "SQLite file; one that exists is gone on with")
    metrics_port: int | None = _option(
        None, "serve a status page, and metrics for Prometheus, on 127.0.0.1 (0: any free port); "
        "if it is taken a run that holds a position goes on without", type=int)
    on_exit: str = _option(
        "flat", "what becomes of the position at the end and at Ctrl-C", choices=("flat", "keep"))

    # fmt: on
    @classmethod
    def read(cls, argv: Sequence[str] | None = None) -> Config:
        """Return what a command line says; None: this process's own."""
        return cls(**vars(parser().parse_args(argv)))


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
        name, default = f"--{option.name.replace('_', '-')}", option.default
        kind = {"type": type(default)} if type(default) in (int, float) else {}
        group.add_argument(name, default=default, **kind, **option.metadata["kind"])
    return made
