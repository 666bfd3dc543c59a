"""What costs take from plain strategies on real Bybit bars, and what funding alone comes to.

    SETRADE_DATA=<folder> make study STUDY=costs_real

Hourly BTCUSDT perpetual bars and Bybit's own funding of 2022 to 2024. Funding by year, as a share
of the notional of a position that stands; the share of settlements at a negative rate. Buy and
hold, momentum over a day and over 30 days, and buy and hold at a volatility target: gross, then
after fees, slippage and funding in turn. The volume and the volatility of a median day, for the
square-root law of impact. Ten seconds.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from setrade import backtest, results
from setrade.risk import by_volatility
from setrade.study import Data
from setrade.study.store import FUNDING, HOURS, REQUESTS

SPAN = slice("2022", "2024")
YEAR = 365 * 24.0  # hours
TARGET, HALFLIFE = 0.4, 5 * 24.0  # volatility a year; hours
STEP = 0.1  # a position moves when it is this far from what is wanted


def strategies(bars: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the positions (n,) of every strategy, on all bars."""
    close = bars["close"]
    long = np.ones(len(bars))
    sized = by_volatility(long, close.to_numpy(), TARGET, YEAR, halflife=HALFLIFE)
    return {
        "buy and hold": long,
        "momentum, a day": np.sign(close.diff(24).fillna(0.0).to_numpy()),
        "momentum, 30 days": np.sign(close.diff(30 * 24).fillna(0.0).to_numpy()),
        "volatility target": np.round(sized / STEP) * STEP,
    }


def funding_by_year(rates: pd.Series) -> dict[str, float]:
    """Return what a constant long paid a year, as a share of its notional."""
    years = pd.DatetimeIndex(rates.index).year
    return {str(year): float(x) for year, x in rates.groupby(years).sum().items()}


def liquidity(bars: pd.DataFrame) -> dict[str, float]:
    """Return the median day's traded value in USDT, and the deviation of a day's return."""
    value = (bars["close"] * bars["volume"]).resample("1D").sum()
    moves = bars["close"].resample("1D").last().pct_change()
    return {"day_value": float(value.median()), "day_volatility": float(moves.std())}


def main() -> None:
    """Charge every strategy, and store what is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("SETRADE_DATA"))
    args, start = parser.parse_args(), time.perf_counter()
    data, paid = (Data.of(Path(args.data or "") / name) for name in (HOURS, FUNDING))
    bars, rates = data.read(), paid.rates().loc[SPAN]
    tables, figures = {}, {}
    tested = bars.loc[SPAN]
    for name, position in strategies(bars).items():
        wanted = pd.Series(position, bars.index).loc[SPAN]
        tables[name] = backtest.waterfall(tested, wanted, funding=rates).to_dict()
        figures[name] = backtest.run(tested, wanted, funding=rates).metrics()
    stored = {
        "funding": {"by_year": funding_by_year(rates), "negative": float((rates < 0).mean())},
        "waterfall": tables, "metrics": figures, "liquidity": liquidity(tested),
        "setting": {"target": TARGET, "halflife": HALFLIFE, "step": STEP},
        "requests": {HOURS: REQUESTS[HOURS]},
    }  # fmt: skip
    results.save(
        "costs_real", stored, command="SETRADE_DATA=<folder> make study STUDY=costs_real",
        seed=None, seconds=time.perf_counter() - start,
        data={HOURS: data.sha256, FUNDING: paid.sha256},
    )  # fmt: skip


if __name__ == "__main__":
    main()
