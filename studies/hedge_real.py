"""What a hedge costs and buys on real Bybit bars: options sold and covered, positions insured.

    SETRADE_DATA=<folder> make study STUDY=hedge_real

Hourly BTCUSDT perpetual bars and Bybit's own funding, 2021 to 2024, cut into weeks from Monday.
No history of option quotes is at hand: an option costs what Black-76 says at the volatility that
was forecast when the week began. The perpetual's fills, fees, slippage and funding are real.

*Covered*: a call at the money is sold each week and hedged with delta, every day, four hours or
hour, with a band, or with delta and gamma (a call of four weeks is bought; trading it costs 2 %
of its price, an assumption). *Insured*: the position of a signal (momentum over 30 days) follows
the delta of a put (of a call, when short), so that it lets go as it loses; against the bare
position and against a smaller one that falls as far. Intervals: 10,000 bootstraps of weeks. Ten
seconds.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from setrade import options, results
from setrade.costs import FREE, Costs
from setrade.study import Data
from setrade.study.store import FUNDING, HOURS, REQUESTS

SPAN = slice("2021-01-04", "2024-12-31")
HOURS_A_WEEK, YEAR = 168, 365 * 24.0
HALFLIFE = 10 * 24.0  # hours, of the forecast of volatility
LOOKBACK = 30 * 24  # hours, of the signal
EVERY = {"a day": 24, "four hours": 4, "an hour": 1}
BAND = 0.05
SPREAD = 0.02  # of an option's price, each time it is traded
FLOOR = 0.05  # an insured week may lose about this much
DRAWS, SEED = 10_000, 0


def weeks(bars: pd.DataFrame, rates: pd.Series) -> dict[str, np.ndarray]:
    """Return for each week the fills (n, 169), closes and funding (n, 168), forecast and signal.

    Fill t is the open of hour t; what is held from it was decided on the close before.
    """
    close = bars["close"]
    moves = pd.Series(np.log(close.to_numpy()), bars.index).diff()
    sigma = np.sqrt((moves**2).ewm(halflife=HALFLIFE).mean() * YEAR)
    signal = np.sign(close.diff(LOOKBACK).to_numpy())
    paid = (
        rates.groupby(pd.DatetimeIndex(rates.index).round("1h"))
        .sum()
        .reindex(bars.index)
        .fillna(0.0)
    )
    inside = pd.DatetimeIndex(bars.loc[SPAN].index)
    starts = inside[(inside.day_of_week == 0) & (inside.hour == 0)]
    at = bars.index.get_indexer(starts)
    at = at[at + HOURS_A_WEEK < len(bars)]
    hour = at[:, None] + np.arange(HOURS_A_WEEK)
    opens, closes = bars["open"].to_numpy(), bars["close"].to_numpy()
    first = opens[at, None]
    return {
        "fills": opens[at[:, None] + np.arange(HOURS_A_WEEK + 1)] / first,
        "known": closes[hour - 1] / first, "funding": paid.to_numpy()[hour + 1],
        "sigma": sigma.to_numpy()[at - 1], "signal": signal[at - 1],
    }  # fmt: skip


def every(units: np.ndarray, hours: int) -> np.ndarray:
    """Return units that change only each so many hours."""
    return units[:, np.arange(units.shape[1]) // hours * hours]


def banded(units: np.ndarray, band: float) -> np.ndarray:
    """Return units that move to the edge of a band around what is wanted, when they leave it."""
    held, out = np.zeros(len(units)), np.empty_like(units)
    for t in range(units.shape[1]):
        held = out[:, t] = np.clip(held, units[:, t] - band, units[:, t] + band)
    return out


def covered(week: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what is left of each week's call, sold and hedged, by way of hedging."""
    fills, known, sigma = week["fills"], week["known"], week["sigma"][:, None]
    left = (HOURS_A_WEEK - np.arange(HOURS_A_WEEK)) / YEAR
    short = options.greeks("call", known, 1.0, left, sigma)
    owed = np.maximum(fills[:, -1] - 1, 0)
    sold = options.price("call", 1.0, 1.0, left[0], week["sigma"]) - owed
    ways = {f"delta, {name}": every(short.delta, hours) for name, hours in EVERY.items()}
    ways["delta, band"] = banded(short.delta, BAND)
    out = {"unhedged": sold}
    for name, units in ways.items():
        out[name] = sold + options.hedge(fills, units, funding=week["funding"]).net
    free = options.hedge(fills, short.delta, costs=FREE).net
    return out | {"delta, an hour, free": sold + free, "delta, gamma": sold + gamma(week, short)}


def gamma(week: dict[str, np.ndarray], short: options.Greeks) -> np.ndarray:
    """Return what a delta–gamma hedge earns: longer calls set each day, the perpetual each hour.

    The calls expire four weeks after the start. Only four fifths of gamma is covered where more
    than two of them would be needed: gamma explodes near the strike in the last hours.
    """
    fills, known, sigma = week["fills"], week["known"], week["sigma"][:, None]
    hours = np.arange(HOURS_A_WEEK + 1)
    left = (4 * HOURS_A_WEEK - hours) / YEAR
    long = options.greeks("call", known, 1.0, left[:-1], sigma)
    count = every(np.clip(short.gamma / long.gamma, 0.0, 2.0), 24)
    value = options.price("call", fills, 1.0, left, sigma)
    nothing = np.zeros((len(count), 1))
    traded = np.abs(np.diff(np.concatenate([nothing, count, nothing], axis=1), axis=1))
    gain = (count * np.diff(value, axis=1)).sum(axis=1) - SPREAD * (traded * value).sum(axis=1)
    units = short.delta - count * long.delta
    return gain + options.hedge(fills, units, funding=week["funding"]).net


def insured(week: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return each week's profit of the signal: bare, insured by a copied option, and smaller."""
    fills, known, side = week["fills"], week["known"], week["signal"][:, None]
    left, sigma = (HOURS_A_WEEK - np.arange(HOURS_A_WEEK)) / YEAR, week["sigma"][:, None]
    kind = np.where(side > 0, "put", "call")
    strike = np.where(side > 0, 1 - FLOOR, 1 + FLOOR)
    delta = options.greeks(kind, known, strike, left, sigma).delta
    bare = side * np.ones_like(delta)
    ways = {"bare": bare, "insured": banded(bare + np.abs(side) * delta, BAND)}
    out, parts = {}, {}
    for name, units in ways.items():
        done = options.hedge(fills, units, funding=week["funding"])
        out[name], parts[name] = done.net, done
    asked = options.price(kind[:, 0], 1.0, strike[:, 0], left[0], week["sigma"])
    sign = np.where(side[:, 0] > 0, -1.0, 1.0)
    pays = np.maximum(sign * (fills[:, -1] - strike[:, 0]), 0.0)
    out["bought"] = out["bare"] + np.abs(side[:, 0]) * (pays - 1.1 * asked)
    size = options.expected_shortfall(out["insured"]) / options.expected_shortfall(out["bare"])
    return out | {"smaller": size * out["bare"], "size": np.full(len(fills), size)}


def figures(pnl: np.ndarray) -> dict[str, float]:
    """Return mean a year, deviation and mean of the worst twentieth of weeks."""
    return {
        "mean": float(pnl.mean() * YEAR / HOURS_A_WEEK), "deviation": float(pnl.std(ddof=1)),
        "shortfall": float(options.expected_shortfall(pnl)),
    }  # fmt: skip


def table(ways: dict[str, np.ndarray], against: str) -> dict[str, Any]:
    """Return figures by way with 95 % intervals, and of the difference to one of them."""
    n = len(ways[against])
    draws = np.random.default_rng(SEED).integers(0, n, (DRAWS, n))
    a_year = YEAR / HOURS_A_WEEK

    def drawn(pnl: np.ndarray) -> dict[str, np.ndarray]:
        x = pnl[draws]
        worst = options.expected_shortfall(x)
        return {"mean": x.mean(axis=1) * a_year, "deviation": x.std(axis=1, ddof=1),
                "shortfall": np.asarray(worst)}  # fmt: skip

    base, out = drawn(ways[against]), {}
    for name, pnl in ways.items():
        mine, row = drawn(pnl), {}
        for figure, value in figures(pnl).items():
            gap = mine[figure] - base[figure]
            row[figure] = {
                "value": value, "interval": np.quantile(mine[figure], [0.025, 0.975]).tolist(),
                "difference": value - figures(ways[against])[figure],
                "difference_interval": np.quantile(gap, [0.025, 0.975]).tolist(),
            }  # fmt: skip
        out[name] = row
    return out


def main() -> None:
    """Hedge every week, and store what it cost and bought."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("SETRADE_DATA"))
    args, start = parser.parse_args(), time.perf_counter()
    data, paid = (Data.of(Path(args.data or "") / name) for name in (HOURS, FUNDING))
    week = weeks(data.read(), paid.rates())
    protected = insured(week)
    size = float(protected.pop("size")[0])
    stored = {
        "weeks": len(week["fills"]), "covered": table(covered(week), "unhedged"),
        "insured": table(protected, "bare"), "against_smaller": table(protected, "smaller"),
        "size": size, "long": float((week["signal"] > 0).mean()),
        "forecast_median": float(np.median(week["sigma"])), "band": BAND, "floor": FLOOR,
        "spread": SPREAD, "costs_bps": 1e4 * sum(Costs().rates()[:2]),
        "requests": {HOURS: REQUESTS[HOURS]},
    }  # fmt: skip
    results.save(
        "hedge_real", stored, command="SETRADE_DATA=<folder> make study STUDY=hedge_real",
        seed=SEED, seconds=time.perf_counter() - start,
        data={HOURS: data.sha256, FUNDING: paid.sha256},
    )  # fmt: skip


if __name__ == "__main__":
    main()
