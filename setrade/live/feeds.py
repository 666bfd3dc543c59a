"""Where the command line has its bars from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

from setrade import candles
from setrade.errors import ArgumentError, integer

from .journal import Journal
from .sources import Recorded, Source, Streamed

MARKET = 20_160  # bars of the simulated market: two weeks of minutes


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
