"""Live pipeline: the same positions and the same equity as the backtest, bar by bar."""

from __future__ import annotations

import asyncio
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from setrade import backtest, candles
from setrade.bybit import PaperBroker
from setrade.costs import FREE
from setrade.inference import Predictor
from setrade.live import Journal, Pipeline, Recorded, Trader
from setrade.live.models import Net
from setrade.models.timeframes import known_at
from setrade.risk import Risk
from setrade.signals import Signal

STEP = int(pd.Timedelta("15min").value)
WARM, LOOK = 100, 24
SAMPLE = candles.sample().iloc[:1_500]  # fifteen days
RISK = Risk(stop_atr=1.5, take_profit=1.5, daily_loss=0.008, max_jump=0.01, max_stale=3)


def rule(window: pd.DataFrame) -> Signal:
    """Follow the move over the window; stand aside when it is small."""
    close = window["close"].to_numpy()
    move = close[-1] / close[0] - 1
    position = float(np.sign(move)) * 0.8 if abs(move) > 0.004 else 0.0
    return Signal(window.index[-1], position, min(abs(move) * 50, 1.0), source="rule")


def decisions(bars: pd.DataFrame, first: int) -> tuple[np.ndarray, np.ndarray]:
    """The same rule over all bars at once; nothing before bar ``first``."""
    signals = [rule(bars.iloc[t - LOOK + 1 : t + 1]) for t in range(first, len(bars))]
    zeros = [0.0] * first
    return (
        np.array(zeros + [s.position for s in signals]),
        np.array(zeros + [s.confidence for s in signals]),
    )


@lru_cache
def decided_once(first: int) -> tuple[np.ndarray, np.ndarray]:
    return decisions(SAMPLE, first)


def replay(bars, path, *, risk=RISK, model=rule, history=WARM, broker=None, rows=None, **more):
    """Run the pipeline over recorded bars with a paper broker; return report, rows, broker."""
    journal = Journal(path, durable=False)
    broker = broker or PaperBroker("BTCUSDT", equity=10_000.0)
    by_confidence, costs = more.pop("by_confidence", False), more.pop("costs", None)
    trader = Trader(journal, broker, "BTCUSDT", STEP, equity=10_000.0, risk=risk,
                    by_confidence=by_confidence, costs=costs)  # fmt: skip
    rows = [] if rows is None else rows
    source = more.pop("source", None) or Recorded(bars, history)
    line = Pipeline(source, model, trader, window=LOOK,
                    on_row=lambda row, seconds: rows.append(row), **more)  # fmt: skip
    try:
        report = asyncio.run(line.run())
    finally:
        journal.close()
    return report, rows, broker


@pytest.mark.parametrize("by_confidence", [False, True])
def test_replay_equals_the_backtest(tmp_path, by_confidence):
    bars = SAMPLE
    position, confidence = decided_once(WARM)
    result = backtest.run(
        bars, position, risk=RISK, equity=10_000.0,
        confidence=confidence if by_confidence else None,
    )  # fmt: skip
    report, rows, broker = replay(bars, tmp_path / "run.sqlite", by_confidence=by_confidence)
    assert report.reason == "end"
    assert [row.time for row in rows] == bars.index[WARM:].as_unit("ns").asi8.tolist()
    np.testing.assert_allclose(
        [r.units for r in rows], result.units.to_numpy()[WARM:], rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose([r.equity for r in rows], result.equity.to_numpy()[WARM:], rtol=1e-9)
    assert broker.position("BTCUSDT") == pytest.approx(result.units.iloc[-1], rel=1e-9)
    assert broker.equity() == pytest.approx(result.equity.iloc[-1], rel=1e-9)
    assert broker.fees == pytest.approx(result.account["fees"], rel=1e-9)
    reasons = set(result.trades["reason"])
    assert {"signal", "stop", "target", "daily_loss"} <= reasons  # the rules were at work


def test_a_bar_that_touches_both_takes_the_worse(tmp_path):
    """By hand: long from 100, stop 98, target 102; a bar from 97 to 103 ends it at 98."""
    flat = {"open": 100.0, "high": 100.5, "low": 99.5, "close": 100.0, "volume": 1.0}
    bars = pd.DataFrame([flat] * 40, candles.sample().index[:40])
    bars.iloc[35] = [100.0, 103.0, 97.0, 101.0, 1.0]

    def model(window: pd.DataFrame) -> Signal:
        late = window.index[-1] >= bars.index[33]
        return Signal(window.index[-1], float(late), 1.0, source="rule")

    risk = Risk(stop_atr=2.0, take_profit=1.0)  # the range of these bars is 1
    broker = PaperBroker("BTCUSDT", costs=FREE)
    report, rows, _ = replay(
        bars, tmp_path / "run.sqlite", risk=risk, model=model, history=24, broker=broker,
        costs=FREE,
    )  # fmt: skip
    assert [row.units for row in rows[-7:]] == [0, 100, 0, 0, 0, 0, 0]
    assert report.equity == pytest.approx(10_000 - 2 * 100)


def test_the_wrong_moment_is_caught(tmp_path):
    """Trap 21: filling at the close that was decided on gives other figures."""
    position, _ = decided_once(WARM)
    moved = np.append(position[1:], 0.0)  # one bar early
    result = backtest.run(SAMPLE, moved, risk=RISK, equity=10_000.0)
    _, rows, _ = replay(SAMPLE.iloc[:300], tmp_path / "run.sqlite")
    units = [row.units for row in rows]
    assert not np.allclose(units, result.units.to_numpy()[WARM:300], rtol=1e-3)


def test_the_journal_tells_the_whole_run(tmp_path):
    _, rows, broker = replay(SAMPLE.iloc[:400], tmp_path / "run.sqlite")
    journal = Journal(tmp_path / "run.sqlite")
    counts = journal.counts()
    assert counts["bars"] == 400
    assert counts["signals"] == 300
    assert counts["intents"] == counts["fills"] == sum(row.orders for row in rows) > 20
    sides = journal.db.execute(
        "SELECT json_extract(record, '$.side'), filled FROM intents JOIN fills USING (link_id)"
    ).fetchall()
    held = sum(float(filled) * (1 if side == "buy" else -1) for side, filled in sides)
    assert held == pytest.approx(broker.position("BTCUSDT"), abs=1e-9)
    journal.close()


@pytest.mark.parametrize("name", ["se_trader", "efficientnet_micro"])
def test_a_day_of_minutes_with_a_net_equals_the_backtest(tmp_path, name):
    """The net is asked live, from each minute's window; for the backtest once, in one batch."""
    net = Net(Predictor.load(name, "cpu", runtime="onnx"), "1min")
    bars = candles.synthetic(net.needs + 1_440, seed=4, interval="1min").candles
    long = candles.resample(bars, "15min")
    images, times = net.predictor.inputs(long, None)
    wanted = pd.DataFrame([s.position for s in net.predictor.predict(images, times)], times, [0])
    position = known_at(wanted, "15min", bars.index)[0].fillna(0.0).to_numpy(copy=True)
    position[: net.needs] = 0.0  # the first decision comes after the first bar of the day
    result = backtest.run(bars, position, risk=Risk(stop_atr=3.0), equity=10_000.0)

    journal, rows = Journal(tmp_path / "run.sqlite", durable=False), []
    minute = int(pd.Timedelta("1min").value)
    trader = Trader(journal, PaperBroker("BTCUSDT", equity=10_000.0), "BTCUSDT", minute,
                    equity=10_000.0, risk=Risk(stop_atr=3.0))  # fmt: skip
    line = Pipeline(Recorded(bars, net.needs), net, trader, window=net.needs,
                    on_row=lambda row, seconds: rows.append(row))  # fmt: skip
    assert asyncio.run(line.run()).bars == len(rows) == 1_440
    journal.close()
    wanted, units, equity = (
        [getattr(r, n) for r in rows] for n in ("target_position", "units", "equity")
    )
    np.testing.assert_allclose(wanted, position[net.needs :], atol=2e-6)
    np.testing.assert_allclose(units, result.units.to_numpy()[net.needs :], atol=2e-6, rtol=1e-4)
    np.testing.assert_allclose(equity, result.equity.to_numpy()[net.needs :], rtol=1e-6)
    assert len(set(wanted)) > 90  # a decision each quarter of an hour
    assert "stop" in set(result.trades["reason"])
