"""Live pipeline: the same positions and the same equity as the backtest, bar by bar."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from setrade import backtest, candles
from setrade.bybit import PaperBroker
from setrade.live import Journal, Pipeline, Recorded, Trader
from setrade.risk import Risk

STEP = int(pd.Timedelta("15min").value)
WARM, LOOK = 100, 24
RISK = Risk(stop_atr=1.5, take_profit=1.5, daily_loss=0.02, max_jump=0.01, max_stale=3)


def rule(window: pd.DataFrame) -> SimpleNamespace:
    """Follow the move over the window; stand aside when it is small."""
    close = window["close"].to_numpy()
    move = close[-1] / close[0] - 1
    position = float(np.sign(move)) * 0.8 if abs(move) > 0.004 else 0.0
    return SimpleNamespace(position=position, confidence=min(abs(move) * 50, 1.0), source="rule")


def decisions(bars: pd.DataFrame, first: int) -> tuple[np.ndarray, np.ndarray]:
    """The same rule over all bars at once; nothing before bar ``first``."""
    signals = [rule(bars.iloc[t - LOOK + 1 : t + 1]) for t in range(first, len(bars))]
    zeros = [0.0] * first
    return (
        np.array(zeros + [s.position for s in signals]),
        np.array(zeros + [s.confidence for s in signals]),
    )


def replay(bars, path, *, risk=RISK, model=rule, history=WARM, broker=None, rows=None, **more):
    """Run the pipeline over recorded bars with a paper broker; return report, rows, broker."""
    journal = Journal(path, durable=False)
    broker = broker or PaperBroker("BTCUSDT", equity=10_000.0)
    by_confidence = more.pop("by_confidence", False)
    trader = Trader(journal, broker, "BTCUSDT", STEP, equity=10_000.0, risk=risk,
                    by_confidence=by_confidence)  # fmt: skip
    rows = [] if rows is None else rows
    source = more.pop("source", None) or Recorded(bars, history)
    line = Pipeline(source, model, trader, journal, window=LOOK,
                    watch=lambda row, seconds: rows.append(row), **more)  # fmt: skip
    try:
        report = asyncio.run(line.run())
    finally:
        journal.close()
    return report, rows, broker


@pytest.mark.parametrize("by_confidence", [False, True])
def test_replay_equals_the_backtest(tmp_path, by_confidence):
    bars = candles.sample().iloc[:1_500]
    position, confidence = decisions(bars, WARM)
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
    assert {"signal", "stop", "target"} <= reasons  # the rules were at work
