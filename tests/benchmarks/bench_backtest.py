"""The engine against vectorbt, a plain Python loop, and 1,000 parameter sets in one call.

One run takes less time than it takes to refill the caches after a slow peer, so that ours is
timed in batches of `RUNS`, as a sweep would call it; a peer's ratio counts `RUNS` times. Each
result is dropped before the next run, as a peer's is before its next turn: to keep twenty at once
would time memory that nobody has used yet.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import slow_engine

from setrade import backtest, candles
from setrade.costs import Costs

BARS, RUNS = 100_000, 20
COSTS = Costs(fee_bps=5.5, slippage_bps=1.0)


@pytest.fixture(scope="module")
def market():
    """100,000 bars, and a position in −1, 0, 1 that follows the last day, decided hourly."""
    bars = candles.synthetic(BARS, seed=0).candles
    score = np.repeat(np.log(bars.close).diff(96).fillna(0.0).to_numpy()[::4], 4)
    position = np.where(np.abs(score) > 0.01, np.sign(score), 0.0)
    return bars, position, score


def runs(*args, **settings):
    """Run a backtest `RUNS` times."""
    for _ in range(RUNS):
        backtest.run(*args, **settings)


def test_run_against_vectorbt(race, market):
    """Inputs checked included on our side; vectorbt as its users call it, and on bare arrays.

    ``read_once`` is a floor: every input is looked at once, and nothing is done with it.
    """
    import vectorbt

    bars, position, _ = market
    fill = np.r_[0.0, position[:-1]]
    signals = [fill > 0, fill <= 0, fill < 0, fill >= 0]
    series = [pd.Series(s, bars.index) for s in signals]
    charges = {"fees": 5.5e-4, "slippage": 1e-4, "init_cash": 1e6}
    close, opens = bars.close.to_numpy(), bars.open.to_numpy()
    from_signals = vectorbt.Portfolio.from_signals

    medians = race(
        lambda: runs(bars, position, costs=COSTS, equity=1e6),
        vectorbt=lambda: from_signals(bars.close, *series, price=bars.open, **charges),
        vectorbt_arrays=lambda: from_signals(close, *signals, price=opens, **charges),
        read_once=lambda: [(bars.to_numpy().max(), position.max()) for _ in range(RUNS)],
    )
    ours = backtest.run(bars, position, costs=COSTS, equity=1e6).equity.iloc[-1]
    theirs = from_signals(close, *signals, price=opens, **charges).final_value()
    assert ours == pytest.approx(theirs, rel=1e-9)
    for peer, asked in (("vectorbt", 300), ("vectorbt_arrays", 25)):
        race.bound(peer, RUNS * medians[peer] / medians["ours"], asked)


def test_run_against_a_plain_loop(race, market):
    bars, position, _ = market
    lists = [bars[c].tolist() for c in ("open", "high", "low", "close")]
    wanted = position.tolist()
    medians = race(
        lambda: runs(bars, position, costs=COSTS),
        loop=lambda: slow_engine.backtest(*lists, wanted, fee=5.5e-4, slip=1e-4),
    )
    curve, _ = slow_engine.backtest(*lists, wanted, fee=5.5e-4, slip=1e-4)
    ours = backtest.run(bars, position, costs=COSTS).equity.iloc[-1]
    assert ours == pytest.approx(curve[-1], rel=1e-9)
    race.bound("loop", RUNS * medians["loop"] / medians["ours"], 100)


def test_a_thousand_parameter_sets(race, market):
    """Thresholds, stops and targets: one call against one `run` a set (ten of them, times 100)."""
    bars, _, score = market
    sets = backtest.grid(
        threshold=np.linspace(0.005, 0.03, 10),
        stop_atr=np.linspace(1, 10, 10),
        take_profit=np.linspace(0.5, 5, 10),
    )
    start = time.perf_counter()
    backtest.run_many(bars, score, sets, costs=COSTS)
    race.bound("within_a_minute", 60 / (time.perf_counter() - start), 1)  # compilation included

    def single():
        for row in sets.iloc[::100].to_dict("records"):
            position = np.where(np.abs(score) > row["threshold"], np.sign(score), 0.0)
            risk = backtest.Risk(stop_atr=row["stop_atr"], take_profit=row["take_profit"])
            backtest.run(bars, position, costs=COSTS, risk=risk)

    medians = race(lambda: backtest.run_many(bars, score, sets, costs=COSTS), ten_single=single)
    race.bound("single", 100 * medians["ten_single"] / medians["ours"], 1)
    race.note("seconds", medians["ours"])
