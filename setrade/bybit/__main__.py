"""``python -m setrade.bybit fetch``: bars over the network into one parquet file."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import requests

from setrade import candles
from setrade.bybit import constants
from setrade.bybit.constants import ExchangeError
from setrade.bybit.rest import Rest
from setrade.errors import ArgumentError
from setrade.files import atomic_path

EPILOG = """example:
  python -m setrade.bybit fetch BTCUSDT 1h 2022-01-01 2025-01-01 --out data/btcusdt_1h.parquet

An interrupted download goes on where it stopped when the same command is given again. The
file is what setrade.candles.read takes."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="python -m setrade.bybit", description="Bybit market data")
    commands = top.add_subparsers(dest="command", required=True)
    about = "download closed bars into one parquet file"
    one = commands.add_parser("fetch", help=about, description=about, epilog=EPILOG)
    one.formatter_class = argparse.RawDescriptionHelpFormatter
    one.add_argument("symbol", help="such as BTCUSDT")
    one.add_argument("interval", help="1min to 1D, or the exchange's code: 60 is 1h, D is 1D")
    one.add_argument("start", help="first bar: a date (UTC) or a time with its zone")
    one.add_argument("end", help="excluded; later than now means up to the last closed bar")
    one.add_argument("--out", required=True, type=Path, help="the parquet file to write")
    one.add_argument("--cache", type=Path, help="downloaded months (default: cache/ beside --out)")
    one.add_argument("--category", default="linear", choices=("linear", "inverse", "spot"))
    one.add_argument("--price", default="trade", choices=tuple(constants.PRICES))
    one.add_argument("--keep-gaps", action="store_true", help="write the bars that there are")
    one.add_argument("--base-url", help="another host, such as the simulator's")
    one.add_argument("--testnet", action="store_true")
    return top


def moment(text: str) -> str:
    """Read a date alone as midnight UTC; times must carry their zone."""
    return f"{text}T00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text


def fetch(args: argparse.Namespace) -> pd.DataFrame:
    """Download, write, read back; return the bars."""
    if args.out.suffix != ".parquet":
        raise ArgumentError("--out", str(args.out), "a file that ends in .parquet")
    bars = Rest(args.base_url, args.testnet).klines(
        args.symbol, constants.from_code(args.interval), moment(args.start), moment(args.end),
        category=args.category, price=args.price, cache=args.cache or args.out.parent / "cache",
        gaps="keep" if args.keep_gaps else "raise",
    )  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.out) as temporary:
        bars.to_parquet(temporary)
    return bars if args.keep_gaps else candles.read(args.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 1 with one sentence on stderr."""
    args = parser().parse_args(argv)
    try:
        bars = fetch(args)
    except (ValueError, ExchangeError, requests.RequestException, OSError) as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fetch: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    ends = f"{bars.index[0]} to {bars.index[-1]}" if len(bars) else "none"
    print(f"{args.out}: {len(bars):,} bars, {ends}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
