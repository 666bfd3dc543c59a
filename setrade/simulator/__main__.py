"""Run the simulator from the command line: ``python -m setrade.simulator --help``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from setrade import candles, orderbook
from setrade.simulator import KINDS, Clock, Fault, Server, SimulatorError, serve
from setrade.simulator.wire import to_ms

OPTIONS = {"n": "--books", "n_bars": "--bars", "path": "--candles"}  # arguments under other names


def fault(text: str) -> Fault:
    """Read ``kind``, ``kind:times`` or ``kind:times:path``."""
    kind, times, path, *_ = [*text.split(":", 2), "", ""]
    try:
        return Fault(kind, int(times or 1), path or None)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def key(text: str) -> tuple[str, str]:
    """Read ``name:secret``."""
    name, colon, secret = text.partition(":")
    if not name or not colon or not secret:
        raise argparse.ArgumentTypeError("a key is NAME:SECRET, made up for this simulator")
    return name, secret


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    p = argparse.ArgumentParser(
        "python -m setrade.simulator",
        description="A Bybit V5 exchange on 127.0.0.1: REST and streams on one port. "
        "Ctrl-C ends it and prints what was asked of it.",
        epilog="fault kinds: " + ", ".join(KINDS),
    )
    p.add_argument("--symbol", default="BTCUSDT")
    p.add_argument("--candles", metavar="FILE", help="CSV or parquet; synthetic when left out")
    p.add_argument("--interval", default="1min", help="length of a synthetic bar")
    p.add_argument("--bars", type=int, default=20_000, help="how many synthetic bars")
    p.add_argument("--books", type=int, default=2_000, help="book updates, 0 for no book")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--port", type=int, default=0, help="0 takes a free one")
    p.add_argument("--speed", type=float, default=1.0, help="market seconds a second")
    p.add_argument("--start", help="the clock's first reading, as 2024-01-05T00:00Z; "
                   "after half of the bars when left out")  # fmt: skip
    p.add_argument(
        "--fault", type=fault, action="append", default=[], metavar="KIND[:TIMES[:PATH]]"
    )
    p.add_argument("--key", type=key, action="append", default=[], metavar="NAME:SECRET",
                   help="an account for private calls")  # fmt: skip
    return p


def server(options: argparse.Namespace) -> Server:
    """Return the server that the options ask for."""
    if options.candles:
        bars = candles.read(options.candles)
    else:
        market = candles.synthetic(options.bars, seed=options.seed, interval=options.interval)
        bars = market.candles
    start = bars.index[len(bars) // 2]
    if options.start is not None:
        start = pd.Timestamp(to_ms("--start", options.start), unit="ms", tz="UTC")
    return serve(
        bars, _books(options, start, float(bars["close"].iloc[len(bars) // 2])), options.fault,
        symbol=options.symbol, port=options.port, keys=dict(options.key),
        clock=Clock(start, options.speed),
    )  # fmt: skip


def _books(options: argparse.Namespace, start: Any, price: float) -> Any:
    """Return a synthetic book that begins where the clock does, near the bars' price."""
    if not options.books:
        return None
    made = orderbook.synthetic(
        options.books, seed=options.seed, price=round(price, 1), levels=50
    ).books
    moved = made.time - made.time[0] + start.tz_convert(None).to_datetime64()
    return replace(made, time=moved)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or a TERM signal; return the exit status."""
    options = parser().parse_args(arguments)
    stop = threading.Event()
    try:
        with server(options) as exchange:
            print(f"{exchange.http_url} {exchange.ws_url}", flush=True)
            for name in ("SIGINT", "SIGTERM", "SIGBREAK"):  # the last on Windows alone
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), lambda *_: stop.set())
            while not stop.wait(0.2):
                pass
            for path, count in sorted(exchange.requests.items()):
                print(f"{count:8,d} {path}")
    except (ValueError, OSError, SimulatorError) as error:
        name, colon, told = str(error).partition(":")
        print(f"error: {OPTIONS.get(name, name)}{colon}{told}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
