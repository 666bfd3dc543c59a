"""The live table: one plain line a bar, the same with and without a terminal."""

from __future__ import annotations

import sys
from typing import TextIO

import pandas as pd

from .trader import Row

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
