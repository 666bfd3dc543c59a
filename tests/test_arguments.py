"""Every public callable of the package meets every hostile input of its arguments' kinds.

`public` finds the callables by introspection, so that a new one cannot be forgotten: it stands in
`BASE` with a call that works, or in `EXEMPT` with the reason why not. Each argument of the call is
replaced by each hostile value of its kind; the outcome is a result, or a typed error whose text
names the argument. Where a reversed, repeated or naive index is put in, a result is a failure.
"""

# ruff: noqa: C408, E741
from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import net_calls
import numpy as np
import pandas as pd
import pytest
import torch

import setrade
from setrade import (
    backtest,
    candles,
    channels,
    charts,
    costs,
    efficientnet,
    errors,
    evidence,
    gramian,
    labels,
    metrics,
    options,
    orderbook,
    panel,
    patterns,
    pictures,
    portfolio,
    recurrence,
    regimes,
    results,
    risk,
    signals,
    sizing,
    toys,
)
from setrade.bybit import archives
from setrade.candles import CandleError
from setrade.errors import ArgumentError
from setrade.models import TimeframeEnsemble, timeframes

ROOT = Path(__file__).resolve().parent.parent
TYPED = (
    ArgumentError, CandleError, orderbook.BookError, orderbook.BookStateError,
    results.ResultError, archives.ArchiveError,
)  # fmt: skip
RAW = (TypeError, AttributeError, IndexError, KeyError, OverflowError)

# ---- What is public.

# Whole modules whose arguments are no data of a reader, or have tables of their own.
OTHERS = {
    "buffers": "the encoders' own helpers: reached through gramian, recurrence, charts, pictures",
    "bybit": "the exchange: test_bybit_*; its archives are below",
    "compat": "imports, takes no data",
    "compiled": "a decorator and a thread limit, for the package's own kernels",
    "errors": "the checks themselves: the tests below",
    "files": "paths: test_files",
    "inference": "nets and files of them: test_inference_refusals; agreement is in net_calls",
    "live": "the pipeline: test_live_guards, test_live_refused; Recorded is in net_calls",
    "races": "reads the project's own records: test_bench_record",
    "results": "reads and writes the project's own records: test_results; load is below",
    "simulator": "the exchange's stand-in: test_simulator",
    "study": "runs on many cores: test_study; baselines' windows are in net_calls",
}
EXEMPT = {
    "attention.AttentionRecord": "a record, made by a report",
    "attention.AttentionReport": "a record, made by report",
    "attention.Localisation": "a record, made by localisation",
    "backtest.Result": "made by run; its laws are tested below",
    "candles.CandleError": "an error",
    "candles.CandleFault": "a plain record inside CandleError",
    "candles.Market": "a record of frames; its law is tested below",
    "candles.read": "a file: test_candles and the fuzzer",
    "candles.sample": "takes nothing",
    "channels.NotFitted": "an error",
    "channels.Standardizer": "takes nothing; fit, transform and from_dict are below",
    "costs.Rates": "plain numbers for kernels, made by Costs.rates",
    "efficientnet.same_pad": "three counts of a layer: test_efficientnet",
    "efficientnet.Stage": "a row of the paper's table",
    "efficientnet.Variant": "a row of the paper's table",
    "efficientnet.Phase": "a record, made by progressive",
    "efficientnet.StageV2": "a row of the paper's table",
    "efficientnet.VariantV2": "a row of the paper's table",
    "efficientnet.WeightError": "an error",
    "efficientnet.from_timm_v2": "takes a net's weights: test_efficientnet_v2",
    "efficientnet.from_timm": "takes a net's weights: test_efficientnet",
    "evidence.ConfidenceInterval": "a record, made by interval",
    "evidence.Detectable": "a record, made by detectable",
    "evidence.Learned": "a record, made by learned",
    "evidence.LossDifference": "a record, made by diebold_mariano",
    "evidence.Overfitting": "a record, made by overfitting",
    "metrics.scaled": "a helper of the ratios, of checked returns",
    "metrics.spread": "a helper of the ratios, of checked returns",
    "evidence.SuperiorAbility": "a record, made by superior_ability",
    "labels.Split": "its law is tested below",
    "metrics.Drawdown": "a plain record, made by drawdown",
    "options.Greeks": "a record, made by greeks",
    "options.Hedge": "a record, made by hedge",
    "orderbook.BookError": "an error",
    "orderbook.BookStateError": "an error",
    "orderbook.Heatmap": "a record of arrays, made by heatmap",
    "orderbook.Rebuilt": "a record, made by rebuild",
    "orderbook.SyntheticBook": "a record, made by synthetic",
    "panel.ClusteredMean": "a record, made by clustered_mean",
    "panel.PanelFold": "a record, made by leave_out; its cells are tested in test_panel",
    "panel.aligned": "a dictionary of candles: test_panel",
    "patterns.Drawn": "its law is tested below",
    "patterns.Found": "a record of arrays, made by find",
    "patterns.Shape": "the module's own constants",
    "pictures.Encoder": "its law is tested below",
    "pictures.PictureSet": "test_pictures",
    "pictures.Stack": "test_pictures",
    "plots.four_ways": "takes axes alone",
    "plots.use_style": "takes nothing",
    "portfolio.Performance": "a record, made by run",
    "regimes.Agreement": "a plain record, made by agreement",
    "regimes.DegenerateWarning": "a warning",
    "regimes.HMM": "its laws are tested below",
    "risk.Rules": "plain numbers for kernels, made by Risk.rules",
    "se.AttentionSqueeze": "a layer, takes a count; its windows are SEBlock's: test_se",
    "se.LastSqueeze": "likewise",
    "se.MaxSqueeze": "likewise",
    "se.MeanSqueeze": "likewise",
    "se.Squeeze": "what the squeezes share",
    "toys.Planted": "a record, made by planted",
    "toys.TwoStates": "a record, made by two_states",
    "toys.Trial": "a record, made by run_trial",
    "toys.draw_formations": "takes two numbers; 30 s a table on two cores",
    "toys.draw_pictures": "likewise",
    "toys.run_trial": "trains a net",
    "toys.train_hedge": "trains a net",
    "training.CheckpointError": "an error",
    "training.Examples": "a protocol",
    "training.History": "a record, made by fit",
    "training.TrainingError": "an error",
    "training.describe": "takes a device: test_gpu",
    "training.device": "takes a device's name: test_gpu",
}  # fmt: skip


def public() -> dict[str, Any]:
    """Return every public callable by name, compiled kernels left out: they take checked arrays."""
    found = {}
    for info in pkgutil.iter_modules(setrade.__path__):
        module = importlib.import_module(f"setrade.{info.name}")
        own = [
            n for n, x in vars(module).items()
            if getattr(x, "__module__", "") == module.__name__ and not n.startswith("_")
        ]  # fmt: skip
        for name in getattr(module, "__all__", own):
            value = getattr(module, name)
            kernel = type(value).__module__.startswith("numba")
            if callable(value) and not kernel and not inspect.ismodule(value):
                found[f"{info.name}.{name}"] = value
    return found


# ---- Calls that work.

N = 160
CANDLES = candles.synthetic(1200, seed=3).candles
SHORT = CANDLES.iloc[:N]
RETURNS = labels.forward_return(SHORT, 3)
EQUITY = pd.Series(np.linspace(1, 2, N) + 0.1 * np.sin(np.arange(N)), SHORT.index)
REGIME = pd.Series(
    pd.Categorical(np.where(np.arange(N) % 7 < 4, "calm", "wild")), SHORT.index, name="regime"
)
GAINS = np.random.default_rng(0).normal(0.001, 0.01, 400)
MODELS = np.random.default_rng(1).normal(0, 0.01, (400, 4))
BOOK = orderbook.synthetic(400, seed=1, filled=2, spoofs=2)
BOOKS = BOOK.books
SERIES = np.random.default_rng(2).normal(size=(2, 24))
WINDOWS = candles.windows(SHORT, 24, 40)
POSITION = pd.Series(np.sign(np.sin(np.arange(N) / 9)), SHORT.index)
FUNDING = pd.Series(0.0001, SHORT.index[::32] + pd.Timedelta("11ms"))
MATRIX = pd.DataFrame([[0.9, 0.1], [0.2, 0.8]], ["calm", "wild"], ["calm", "wild"])
SHARES = pd.DataFrame({"calm": 0.4, "wild": 0.6}, SHORT.index)
FRAMES = np.tile([[0.2, 0.3, 0.5], [0.1, 0.2, 0.7]], (30, 1, 1))
FIELD = np.asarray(recurrence.recurrence(SERIES, quantile=0.2))
PICTURES = np.zeros((2, 1, 8, 8), np.uint8)
LEAN = np.zeros((len(WINDOWS), 24))
CONTRACT: dict[str, Any] = dict(
    kind="call", forward=100.0, strike=np.array([90.0, 110]), years=0.5, rate=0.01
)

M, E, O = metrics, evidence, orderbook
BASE: dict[str, tuple[Any, dict[str, Any]]] = {
    "backtest.run": (
        backtest.run,
        dict(
            candles=SHORT,
            position=POSITION,
            funding=FUNDING,
            rebalance=False,
            confidence=POSITION.abs(),
            order="taker",
            equity=1.0,
            close_at_end=False,
        ),
    ),
    "backtest.run_many": (
        backtest.run_many,
        dict(
            candles=SHORT,
            scores=POSITION,
            sets=pd.DataFrame({"threshold": [0.1]}),
            funding=FUNDING,
            rebalance=False,
            order="taker",
            equity=1.0,
            curves=True,
        ),
    ),
    "backtest.grid": (backtest.grid, dict(threshold=[0.1, 0.2], size=[1.0])),
    "backtest.cost_steps": (
        backtest.cost_steps,
        dict(candles=SHORT, position=POSITION, funding=FUNDING),
    ),
    "backtest.waterfall": (
        backtest.waterfall,
        dict(candles=SHORT, position=POSITION, funding=FUNDING),
    ),
    "costs.impact": (
        costs.impact,
        dict(value=1.0, day_value=2.0, day_volatility=0.1, coefficient=1.0),
    ),
    "costs.capacity": (
        costs.capacity,
        dict(edge=0.1, day_value=2.0, day_volatility=0.1, coefficient=1.0),
    ),
    "evidence.bounds": (evidence.bounds, dict(drawn=MODELS, level=0.9)),
    "evidence.clusters": (evidence.clusters, dict(returns=MODELS, correlation=0.5)),
    "evidence.effective_tries": (evidence.effective_tries, dict(returns=MODELS, correlation=0.5)),
    "evidence.holm": (evidence.holm, dict(p_values=np.array([0.1, 0.2]))),
    "evidence.constant_loss": (
        evidence.constant_loss,
        dict(train=np.arange(9) % 3, validation=np.arange(9) % 3, num_classes=3),
    ),
    "evidence.min_track_record": (
        evidence.min_track_record,
        dict(returns=GAINS, benchmark=0.0, level=0.9),
    ),
    "evidence.overfitting_probability": (
        evidence.overfitting_probability,
        dict(returns=MODELS, n_blocks=4),
    ),
    "evidence.overfitting": (
        evidence.overfitting,
        dict(returns=MODELS, n_blocks=4, seed=1, n_samples=20),
    ),
    "evidence.plant": (
        evidence.plant,
        dict(candles=SHORT, size=0.1, hold=1, seed=1, window=8, block=10.0),
    ),
    "evidence.t_interval": (evidence.t_interval, dict(values=np.array([1.0, 2, 4]), level=0.9)),
    "evidence.widened": (
        evidence.widened,
        dict(estimate=1.0, low=0.5, high=1.5, n_folds=4, level=0.9),
    ),
    "evidence.superior_ability": (
        evidence.superior_ability,
        dict(benchmark=GAINS, models=MODELS, seed=1, reps=100),
    ),
    "risk.by_volatility": (
        risk.by_volatility,
        dict(
            position=POSITION,
            close=SHORT["close"],
            target=0.5,
            periods=365.0,
            halflife=5.0,
            limit=1.0,
        ),
    ),
    "backtest.Costs": (costs.Costs, dict(fee_bps=1.0, maker_fee_bps=1.0, slippage_bps=1.0)),
    "backtest.Risk": (
        risk.Risk,
        dict(
            max_position=1.0,
            stop_atr=2.0,
            take_profit=2.0,
            atr_bars=14,
            max_leverage=3.0,
            daily_loss=0.1,
            max_jump=0.1,
            max_stale=3,
        ),
    ),
    "candles.bar_interval": (candles.bar_interval, dict(candles=SHORT)),
    "candles.check": (candles.check, dict(candles=SHORT, interval="15min")),
    "candles.resample": (candles.resample, dict(candles=SHORT, interval="1h")),
    "candles.synthetic": (candles.synthetic, dict(n_bars=30, seed=1, interval="15min")),
    "candles.windows": (candles.windows, dict(candles=SHORT, length=10, stride=2)),
    "channels.compute": (channels.compute, dict(candles=SHORT, scale_free=True)),
    "pictures.ohlc": (pictures.ohlc, dict(windows=SHORT, bars=10, height=32)),
    "charts.candlesticks": (
        charts.candlesticks,
        dict(
            windows=SHORT,
            height=30,
            width=200,
            volume=True,
            averages=(3, 5),
            colours="safe",
            price_range="window",
            outside="error",
        ),
    ),
    "charts.reference_range": (charts.reference_range, dict(windows=SHORT, span=0.1)),
    "charts.smallest_span": (charts.smallest_span, dict(windows=SHORT)),
    "costs.funding_by_bar": (costs.funding_by_bar, dict(index=SHORT.index, funding=FUNDING)),
    "evidence.block_length": (E.block_length, dict(returns=GAINS)),
    "evidence.break_even_fee": (
        E.break_even_fee,
        dict(candles=SHORT, position=POSITION, high=20.0),
    ),
    "evidence.cost_sensitivity": (
        E.cost_sensitivity,
        dict(candles=SHORT, position=POSITION, fees_bps=[1.0, 2.0]),
    ),
    "evidence.deflated_sharpe": (E.deflated_sharpe, dict(returns=GAINS, n_trials=5, variance=0.01)),
    "evidence.expected_best_sharpe": (E.expected_best_sharpe, dict(n_trials=5, variance=0.01)),
    "evidence.probabilistic_sharpe": (E.probabilistic_sharpe, dict(returns=GAINS, benchmark=0.0)),
    "evidence.sharpe": (E.sharpe, dict(returns=GAINS)),
    "gramian.gasf": (gramian.gasf, dict(x=SERIES, size=12, rescale="signed")),
    "gramian.gadf": (gramian.gadf, dict(x=SERIES, size=12, rescale="signed")),
    "gramian.transition_field": (gramian.transition_field, dict(x=SERIES, size=12, n_bins=4)),
    "labels.forward_return": (labels.forward_return, dict(candles=SHORT, horizon=3)),
    "labels.break_even": (labels.break_even, dict(costs=costs.Costs())),
    "labels.sell_hold_buy": (labels.sell_hold_buy, dict(returns=RETURNS, multiple=1.0)),
    "labels.class_shares": (labels.class_shares, dict(labels=labels.sell_hold_buy(RETURNS))),
    "labels.triple_barrier": (
        labels.triple_barrier,
        dict(candles=SHORT, upper=2.0, lower=2.0, horizon=8, scale="atr", period=14),
    ),
    "labels.last_bars": (labels.last_bars, dict(n_bars=20, horizon=3)),
    "labels.bars_used": (
        labels.bars_used,
        dict(ends_at=np.arange(9, 30), lookback=5, end=labels.last_bars(60, 3)),
    ),
    "labels.chronological": (
        labels.chronological,
        dict(
            n_bars=N,
            lookback=5,
            horizon=3,
            fractions=(0.6, 0.2, 0.2),
            embargo=2,
            first=3,
            end=labels.last_bars(N, 3),
        ),
    ),
    "labels.walk_forward": (
        labels.walk_forward,
        dict(
            n_bars=N,
            lookback=5,
            horizon=3,
            train=60,
            test=30,
            validation=20,
            expanding=True,
            embargo=1,
            first=2,
        ),
    ),
    "labels.combinatorial": (
        labels.combinatorial,
        dict(
            n_bars=N,
            lookback=5,
            horizon=3,
            groups=4,
            tests=2,
            embargo=2,
            first=3,
            end=labels.last_bars(N, 3),
        ),
    ),
    "labels.paths": (labels.paths, dict(groups=6, tests=2)),
    "metrics.periods_per_year": (M.periods_per_year, dict(index=SHORT.index)),
    "metrics.returns": (M.returns, dict(equity=EQUITY)),
    **{
        f"metrics.{f.__name__}": (f, dict(returns=GAINS, periods=365.0))
        for f in (M.annual_return, M.volatility, M.sharpe, M.sortino, M.calmar, M.from_returns)
    },
    "metrics.max_drawdown": (M.max_drawdown, dict(returns=GAINS)),
    "metrics.win_rate": (M.win_rate, dict(profits=GAINS)),
    "metrics.profit_factor": (M.profit_factor, dict(profits=GAINS)),
    "metrics.drawdown": (M.drawdown, dict(equity=EQUITY)),
    "metrics.monthly_returns": (M.monthly_returns, dict(equity=EQUITY)),
    **{
        f"options.{f.__name__}": (f, CONTRACT | {"volatility": np.array([0.5, 0.8])})
        for f in (options.price, options.greeks)
    },
    "options.implied_volatility": (
        options.implied_volatility,
        CONTRACT | {"price": np.array([12.0, 20])},
    ),
    "options.parity": (
        options.parity,
        {k: x for k, x in CONTRACT.items() if k != "kind"}
        | {"call": np.array([12.0, 20]), "put": np.array([12.0, 9])},
    ),
    "options.butterflies": (
        options.butterflies,
        dict(strike=np.array([80.0, 90, 110]), call=np.array([25.0, 17, 6])),
    ),
    "options.calendars": (
        options.calendars,
        dict(years=np.array([0.1, 0.3]), volatility=np.full((2, 3), 0.6)),
    ),
    "options.hedge": (
        options.hedge,
        dict(price=np.abs(SERIES) + 1, units=SERIES[:, 1:], funding=SERIES[0, 1:] / 1e4),
    ),
    "options.expected_shortfall": (
        options.expected_shortfall,
        dict(profits=GAINS, share=0.1),
    ),
    "orderbook.Snapshots": (
        O.Snapshots,
        {f.name: getattr(BOOKS, f.name) for f in dataclasses.fields(BOOKS)},
    ),
    "orderbook.OrderBook": (O.OrderBook, dict(depth=5, strict=False)),
    "orderbook.PowerLaw": (O.PowerLaw, dict(coefficient=1.0, exponent=0.5, low=0.4, high=0.6)),
    "orderbook.clusters": (
        O.clusters,
        dict(books=BOOKS, min_size=8.0, seconds=1.0, bps=0.05, min_points=3),
    ),
    "orderbook.depth_imbalance": (O.depth_imbalance, dict(books=BOOKS)),
    "orderbook.microprice": (O.microprice, dict(books=BOOKS)),
    "orderbook.next_move": (O.next_move, dict(books=BOOKS, horizon=3)),
    "orderbook.order_flow_imbalance": (O.order_flow_imbalance, dict(books=BOOKS)),
    "orderbook.rebuild": (
        O.rebuild,
        dict(
            events=BOOK.trades.assign(id=range(len(BOOK.trades)), action="created").pipe(
                lambda f: f.assign(price=f.price - 50.0 * f.side)
            ),
            every="1s",
            levels=1,
            remember=True,
        ),
    ),
    "orderbook.large_levels": (O.large_levels, dict(books=BOOKS, min_size=8.0)),
    "orderbook.messages": (
        lambda **k: list(O.messages(**k)),
        dict(books=BOOKS[:5], first_update=2),
    ),
    "orderbook.fit_power_law": (
        O.fit_power_law,
        dict(
            sizes=np.array([1.0, 2, 4]),
            cost=np.abs(MODELS[:, :3]) + 1,
            seed=1,
            block=10,
            draws=30,
            level=0.9,
        ),
    ),
    "orderbook.heatmap": (
        O.heatmap,
        dict(
            books=BOOKS,
            rows=8,
            span_bps=5.0,
            window=10,
            ends=np.array([20, 30]),
            reference="mid",
            log=False,
        ),
    ),
    "orderbook.walk": (O.walk, dict(books=BOOKS, sizes=np.array([1.0, 2]), side="buy")),
    "orderbook.slippage_bps": (
        O.slippage_bps,
        dict(books=BOOKS, sizes=np.array([1.0, 2]), side="buy"),
    ),
    "orderbook.spoofing": (
        O.spoofing,
        dict(
            books=BOOKS,
            trades=BOOK.trades,
            min_size=7.0,
            tick=0.1,
            near_ticks=5.0,
            brief_seconds=2.0,
        ),
    ),
    "orderbook.synthetic": (
        O.synthetic,
        dict(
            n=200,
            seed=1,
            signal=0.1,
            levels=10,
            walls=1,
            filled=1,
            spoofs=1,
            move_rate=0.2,
            price=60000.0,
            tick=0.1,
            interval="100ms",
        ),
    ),
    "patterns.find": (
        patterns.find,
        dict(windows=WINDOWS, bandwidth=0.7, swing=0.06, tolerance=0.4, fresh=10),
    ),
    "patterns.scan": (patterns.scan, dict(candles=SHORT, length=32)),
    "patterns.candlestick_labels": (patterns.candlestick_labels, dict(candles=SHORT)),
    "patterns.candlestick_quality": (patterns.candlestick_quality, dict(candles=SHORT)),
    "patterns.calibration_error": (
        patterns.calibration_error,
        dict(probability=np.linspace(0, 1, 20), hit=np.arange(20) % 2, n_bins=5),
    ),
    "patterns.reliability": (
        patterns.reliability,
        dict(probability=np.linspace(0, 1, 20), hit=np.arange(20) % 2, n_bins=5),
    ),
    "patterns.temperature": (
        patterns.temperature,
        dict(logits=MODELS[:20] * 100, kind=np.arange(20) % 4),
    ),
    "patterns.wilson": (
        patterns.wilson,
        dict(hits=np.array([1, 2]), counts=np.array([4, 5]), level=0.95),
    ),
    "patterns.synthetic": (
        patterns.synthetic,
        dict(
            n=3,
            seed=1,
            length=64,
            span=(26, 46),
            noise=0.06,
            warp=0.2,
            trend=0.1,
            completeness=1.0,
            after=4,
        ),
    ),
    "panel.lead_lag": (
        panel.lead_lag,
        dict(first=EQUITY.diff().fillna(0.0), second=EQUITY.diff(2).fillna(0.0), max_lag=3),
    ),
    "panel.leave_out": (
        panel.leave_out,
        dict(symbols=["A", "B", "C"], n_bars=50, folds=3, start=30, gap=5, seed=1),
    ),
    "panel.clustered_mean": (
        panel.clustered_mean,
        dict(values=GAINS, clusters=np.arange(400) // 10),
    ),
    "panel.neighbours": (
        panel.neighbours,
        dict(
            query=MODELS[9:12],
            reference=MODELS,
            asked=np.array([9, 10, 11]),
            known=np.arange(400),
            k=2,
        ),
    ),
    "pictures.to_input": (pictures.to_input, dict(pictures=PICTURES)),
    "pictures.volume_profile": (
        pictures.volume_profile,
        dict(windows=SHORT, rows=8, price_range="window", outside="error"),
    ),
    "pictures.compose": (
        pictures.compose,
        dict(windows=WINDOWS, imbalance=LEAN, height=24, width=24),
    ),
    "pictures.book_imbalance": (
        pictures.book_imbalance,
        dict(candles=SHORT, books=None, length=5, stride=1),
    ),
    **{
        f"portfolio.{f.__name__}": (f, dict(covariance=np.array([[0.04, 0.01], [0.01, 0.09]])))
        for f in (
            portfolio.inverse_volatility,
            portfolio.minimum_variance,
            portfolio.hierarchical_risk_parity,
        )
    },
    "portfolio.from_gates": (
        portfolio.from_gates,
        dict(gates=np.array([[0.8, 0.5], [0.2, 0.4]]), base=np.array([0.5, 0.5])),
    ),
    "portfolio.run": (
        portfolio.run,
        dict(weights=SHARES, opens=SHARES * 3, closes=SHARES * 4, funding=SHARES / 1e4, equity=1.0),
    ),
    "sizing.kelly_binary": (sizing.kelly_binary, dict(chance=0.6, odds=1.0)),
    "sizing.kelly": (
        sizing.kelly,
        dict(mean=np.array([0.01, -0.02]), variance=np.array([0.04, 0.05]), cost=0.001),
    ),
    "sizing.rolling_kelly": (
        sizing.rolling_kelly,
        dict(close=SHORT["close"], lookback=20, fraction=0.5, limit=1.0),
    ),
    "sizing.observations": (
        sizing.observations,
        dict(candles=SHORT, scales=(1, 3), halflife=9.0),
    ),
    "sizing.SizingEnv": (
        sizing.SizingEnv,
        dict(
            candles=SHORT,
            features=POSITION,
            funding=FUNDING,
            short=True,
            rebalance=True,
            length=20,
        ),
    ),
    "sizing.SizingVectorEnv": (
        sizing.SizingVectorEnv,
        dict(
            num_envs=3,
            candles=SHORT,
            features=POSITION,
            funding=FUNDING,
            short=True,
            rebalance=True,
            length=20,
        ),
    ),
    "toys.two_states": (
        toys.two_states,
        dict(n=50, seed=1, mean=(-0.01, 0.02), spread=0.1, stay=0.9),
    ),
    "recurrence.embed": (recurrence.embed, dict(x=SERIES, dim=2, delay=1)),
    "recurrence.recurrence": (recurrence.recurrence, dict(x=SERIES, dim=2, delay=1, eps=0.1)),
    "recurrence.quantify": (recurrence.quantify, dict(image=FIELD, l_min=2, v_min=2, theiler=1)),
    "regimes.agreement": (regimes.agreement, dict(first=REGIME, second=REGIME, match=False)),
    "regimes.by_rules": (
        regimes.by_rules,
        dict(candles=SHORT, window=5, history=20, trend=0.3, extreme=0.1),
    ),
    "regimes.observations": (regimes.observations, dict(candles=SHORT, window=4)),
    "regimes.fit_hmm": (
        regimes.fit_hmm,
        dict(
            candles=CANDLES.iloc[:240],
            n_states=2,
            window=2,
            order="volatility",
            restarts=1,
            seed=0,
            n_iter=3,
        ),
    ),
    "regimes.planted": (
        regimes.planted,
        dict(
            n_bars=30, seed=1, volatility=(0.001, 0.003), drift=(0.0, 0.1), stay=0.9, interval="1h"
        ),
    ),
    "regimes.expected_duration": (regimes.expected_duration, dict(matrix=MATRIX)),
    "regimes.stationary": (regimes.stationary, dict(matrix=MATRIX)),
    "regimes.spells": (regimes.spells, dict(regime=REGIME)),
    "regimes.transition_matrix": (regimes.transition_matrix, dict(regime=REGIME)),
    "regimes.transition_intervals": (regimes.transition_intervals, dict(regime=REGIME, level=0.9)),
    "risk.by_confidence": (
        risk.by_confidence,
        dict(position=POSITION, confidence=POSITION.abs(), risk=risk.Risk()),
    ),
    "signals.momentum": (signals.momentum, dict(candles=SHORT, lookback=10, threshold=0.5)),
    "signals.rule_based": (signals.rule_based, dict(candles=SHORT, lookback=10, threshold=0.5)),
    "signals.from_probabilities": (
        signals.from_probabilities,
        dict(
            time=SHORT.index[0],
            probabilities=np.array([0.2, 0.3, 0.5]),
            threshold=0.1,
            source="net",
        ),
    ),
    "signals.choose_regimes": (
        signals.choose_regimes,
        dict(returns=EQUITY, regime=REGIME, min_bars=5),
    ),
    "signals.gate_by_regime": (
        signals.gate_by_regime,
        dict(position=POSITION, regime=REGIME, weights={"calm": 1.0, "wild": 0.0}),
    ),
    "signals.blend_by_regime": (
        signals.blend_by_regime,
        dict(positions={"calm": POSITION, "wild": POSITION}, probabilities=SHARES),
    ),
    # methods, and what other modules of the list above have for readers' data
    "Standardizer.fit": (lambda train: channels.Standardizer().fit(train), dict(train=MODELS)),
    "Standardizer.transform": (
        lambda x: channels.Standardizer().fit(MODELS).transform(x),
        dict(x=MODELS),
    ),
    "Snapshots.at": (BOOKS.at, dict(times=SHORT.index)),
    "Snapshots.join": (BOOKS.join, dict(values=BOOKS.mid(), times=SHORT.index)),
    "Snapshots.imbalance": (BOOKS.imbalance, dict(levels=3)),
    "efficientnet.progressive": (
        efficientnet.progressive,
        dict(steps=8, phases=2, sides=(32, 64), dropouts=(0.1, 0.2), multiple=8),
    ),
    "efficientnet.Scale": (efficientnet.Scale, dict(depth=1.0, width=1.0, resolution=1.0)),
    "timeframes.known_at": (
        timeframes.known_at,
        dict(values=SHARES.iloc[::4], interval="1h", index=SHORT.index),
    ),
    "timeframes.align": (
        timeframes.align,
        dict(forecasts={"1h": SHARES.iloc[::4], "15min": SHARES}, index=SHORT.index),
    ),
    "TimeframeEnsemble.position": (
        TimeframeEnsemble.equal(("1h", "15min")).position,
        dict(probabilities=FRAMES, unanimous=False),
    ),
    "archives.replay": (archives.replay, dict(messages=list(O.messages(BOOKS[:4])), levels=3)),
}
del BASE["pictures.book_imbalance"]  # below, with books that lie in its bars
BASE["pictures.book_imbalance"] = (
    pictures.book_imbalance,
    dict(candles=SHORT.iloc[:2], length=1, stride=1, books=O.Snapshots(
        (SHORT.index[:2] + pd.Timedelta("1min")).tz_convert(None).to_numpy(),
        *([x] * 2 for x in ([1.0], [1.0], [2.0], [1.0])))),
)  # fmt: skip
BASE |= net_calls.CALLS
# Arguments without a kind of their own: any object is a name, and what a function of the reader's
# raises is hers.
FREE = {("signals.from_probabilities", "time"), ("signals.Signal", "time"),
        ("evidence.detectable", "finds"), ("efficientnet.search_coefficients", "score"),
        }  # fmt: skip
FREE |= {("models.SETrader", "scales")}  # of the squeeze "multiscale" alone
FREE |= {(f"evidence.{n}", "statistic") for n in ("interval", "resample", "paired_difference")}
# What has the order of time without caring for it: shares of a set, rows that are paired by place.
UNORDERED = {
    "labels.class_shares", "metrics.returns",
    "attention.report",  # regimes are looked up by time; its times are refused by themselves
    "Snapshots.at", "Snapshots.join",  # times asked for, one by one, in any order and zone
}  # fmt: skip


READS_INDEX = {"candles.bar_interval"}  # whatever stands in the columns


# ---- Hostile values, by the kind of the argument that they replace.


def of_time(x: Any) -> dict[str, Any]:
    """Return what breaks the law of the index; none of it may give a result."""
    i = x if isinstance(x, pd.Index) else x.index
    put = (lambda j: j) if isinstance(x, pd.Index) else (lambda j: x.set_axis(j, axis=0))
    back = x[::-1] if isinstance(x, pd.Index) else x.iloc[::-1]
    swapped = i[[1, 0, *range(2, len(i))]] if len(i) > 1 else back
    return {
        "reversed": back,
        "repeated": put(i[[0, 0, *range(2, len(i))]]) if len(i) > 1 else back,
        "swapped": put(swapped),
        "naive": put(i.tz_localize(None)),
        "foreign zone": put(i.tz_convert("Asia/Tokyo")),
        "without a stamp": put(i.where(np.arange(len(i)) != len(i) // 2)),
    }


def of_frame(x: Any) -> dict[str, Any]:
    """Return other makes of the same table, and tables that hold what none should."""
    frame = {}
    bad = x.astype(float) if all(t.kind in "iuf" for t in np.atleast_1d(x.dtypes)) else None
    if bad is not None:
        nan, inf = bad.copy(), bad.copy()
        nan.iloc[len(x) // 2], inf.iloc[len(x) // 2] = np.nan, np.inf
        frame |= {"NaN": nan, "infinite": inf, "nullable": bad.astype("Float64"),
                  "nullable NA": nan.astype("Float64"), "arrow": bad.astype("float64[pyarrow]"),
                  "text": bad.astype(str), "complex": bad.astype(complex),
                  "half": bad.astype("float32")}  # fmt: skip
    return frame | {"empty": x.iloc[:0], "one row": x.iloc[:1], "array": x.to_numpy(),
                    "objects": x.astype(object)}  # fmt: skip


def of_array(x: np.ndarray) -> dict[str, Any]:
    """Return other makes of the same array, and arrays that hold what none should."""
    out = {"empty": x[:0], "one": x[:1], "scalar": np.float64(1.0), "text": x.astype(str),
           "objects": x.astype(object), "ragged": [[1.0], [1.0, 2.0]], "backwards": x[..., ::-1],
           "masked": np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) == 1),
           "another axis": x[None, None], "strings": ["a", "b"],
           "iterator": iter([1.0])}  # fmt: skip
    if x.dtype.kind in "iuf":
        nan, inf = x.astype(float), x.astype(float)
        nan.flat[0], inf.flat[-1] = np.nan, np.inf
        t = torch.from_numpy(np.array(x, float))
        out |= {"NaN": nan, "infinite": inf, "complex": x.astype(complex), "flags": x > 0,
                "huge": np.full(x.shape, 10**400, object), "swapped bytes": x.astype(">f8"),
                "gradients": t.clone().requires_grad_(), "bfloat16": t.bfloat16(),
                "half": t.half(), "meta": t.to("meta"), "sparse": t.to_sparse()}  # fmt: skip
    return out


def of_tensor(x: torch.Tensor) -> dict[str, Any]:
    """Return other makes of the same tensor, and tensors that hold what none should."""
    out = {"empty": x[:0], "one row": x[:1], "scalar": torch.tensor(1.0), "another axis": x[None],
           "flat": x.flatten()[:7], "array": x.numpy(), "complex": x.to(torch.complex64),
           "sparse": x.to_sparse(), "flags": x > 0,
           "objects": np.array([None] * len(x)), "half": x.half(),
           "double": x.double()}  # fmt: skip
    if x.is_floating_point():
        nan, inf = x.clone(), x.clone()
        nan.view(-1)[0], inf.view(-1)[-1] = torch.nan, torch.inf
        out |= {"NaN": nan, "infinite": inf, "gradients": x.clone().requires_grad_(),
                "whole": x.long()}  # fmt: skip
    else:
        out |= {"beyond": x + 1000, "below": x - 1000, "floats": x.float() + 0.5}
    return out


ODD = {
    "None": None,
    "nothing": [],
    "text": "x",
    "object": object(),
    "dict": {},
    "list": [1, "a", None],
    "iterator": "ITER",
    "bytes": b"1",
    "NaT": pd.NaT,
    "NA": pd.NA,
    "class": int,
}
NUMBERS = {
    "NaN": np.nan,
    "infinite": np.inf,
    "minus infinite": -np.inf,
    "huge": 10**400,
    "very huge": 10**5000,
    "minus": -1,
    "zero": 0,
    "True": True,
    "text": "1",
    "complex": 1j,
    "half": 0.5,
    "array": np.array([1.0]),
    "float32": np.float32(1),
}
FLAGS = {"False in text": "False", "0": 0, "1": 1, "none": None, "array": np.array([True, False])}
NEVER = {"False in text", "masked", "meta", "sparse", "ragged", "complex", "object", "very huge"}


def hostile(value: Any) -> dict[str, Any]:
    """Return hostile values for an argument that works with ``value``."""
    if isinstance(value, bool):
        return FLAGS
    out = {**ODD, "iterator": iter([1, 2])}
    if isinstance(value, pd.Index):
        return out | of_time(value) | {"empty": value[:0], "one row": value[:1]}
    if isinstance(value, pd.Series | pd.DataFrame):
        timed = of_time(value) if isinstance(value.index, pd.DatetimeIndex) else {}
        return out | timed | of_frame(value)
    if isinstance(value, np.ndarray):
        return out | of_array(value)
    if isinstance(value, torch.Tensor):
        return out | of_tensor(value)
    return out | NUMBERS


LAWLESS = {"reversed", "repeated", "swapped", "naive", "foreign zone", "without a stamp"}


def outcome(name: str, argument: str, kind: str, value: Any) -> str:
    """Return "right", "typed", or what went wrong."""
    function, call = BASE[name]
    try:
        function(**(call | {argument: value}))
    except TYPED as error:
        words = str(error)
        named = argument in words or (isinstance(error, ArgumentError) and error.name in call)
        named = named or isinstance(error, orderbook.BookError)  # it names laws and times
        return "typed" if named else f"no name: {type(error).__name__}: {words[:80]}"
    except Exception as error:  # the very thing that is looked for
        return f"raw {type(error).__name__}: {str(error)[:80]}"
    if kind in LAWLESS and name not in UNORDERED:
        return "a result in spite of the law of the index"
    if kind in NEVER and name not in READS_INDEX and not (kind == "object" and value is None):
        return "a result from what is no such argument"
    return "right"


def inputs(names: Any) -> list[tuple[str, str, str, Any]]:
    """Return every case: callable, argument, kind of hostility, value."""
    return [
        (name, argument, kind, value)
        for name in names for argument, given in BASE[name][1].items()
        if (name, argument) not in FREE
        for kind, value in hostile(given).items()
    ]  # fmt: skip


def judged(names: Any) -> tuple[Counter[str], list[str]]:
    """Return how many inputs ended how, and a line for each that ended wrong."""
    counts, wrong = Counter[str](), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, argument, kind, value in inputs(names):
            said = outcome(name, argument, kind, value)
            counts[said if said in ("right", "typed") else "wrong"] += 1
            if said not in ("right", "typed"):
                wrong.append(f"{name}({argument}={kind}): {said}")
    return counts, wrong


# ---- The tests.


def test_every_public_callable_is_in_the_table_or_exempt_by_name():
    names = {n: x for n, x in public().items() if n.split(".")[0] not in OTHERS}
    same = {id(x) for n, x in names.items() if n in BASE or n in EXEMPT}
    missing = [n for n, x in names.items() if id(x) not in same]
    assert not missing, "neither in BASE nor, with a reason, in EXEMPT"
    assert not set(EXEMPT) - set(public()), "an exemption of what is no longer there"
    assert not set(OTHERS) - {info.name for info in pkgutil.iter_modules(setrade.__path__)}


@pytest.mark.parametrize("name", BASE)
def test_the_call_of_the_table_works(name):
    function, call = BASE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(**call)


@pytest.mark.parametrize("name", BASE)
def test_hostile_arguments_give_a_right_result_or_a_typed_error(name):
    assert not judged([name])[1]


def test_the_table_is_large_and_ends_in_nothing_else():
    """Figures of the issue: every callable covered, and how the inputs ended."""
    covered = {id(BASE[n][0]) for n in BASE}
    assert len(BASE) > 80
    assert len(covered) > 75
    assert len(inputs(BASE)) > 7000


# ---- Kinds that one argument alone does not show.


def test_out_may_not_overlap_what_is_read():
    memory = np.random.default_rng(0).normal(size=16 * 16 * 2).astype(np.float32)
    out, x = memory[:256].reshape(16, 16), memory[8:24]
    for draw in (recurrence.recurrence, gramian.gasf, gramian.gadf, gramian.transition_field):
        with pytest.raises(ArgumentError, match="out"):
            draw(x, out=out)
        with pytest.raises(ArgumentError, match="out"):
            draw(torch.from_numpy(memory)[8:24], out=torch.from_numpy(memory)[:256].view(16, 16))
        apart = draw(x, out=memory[256:].reshape(16, 16))
        np.testing.assert_array_equal(apart, draw(x.copy()))
    pixels = np.zeros((2, 1, 4, 4), np.float32)
    with pytest.raises(ArgumentError, match="out"):
        pictures.to_input(pixels, out=torch.from_numpy(pixels))
    candles_ = np.array(WINDOWS, order="C")
    over = candles_.reshape(-1).view(np.uint8)[: len(WINDOWS) * 3 * 8 * 24]
    with pytest.raises(ArgumentError, match="out"):
        charts.candlesticks(candles_, 8, 24, out=over.reshape(-1, 3, 8, 24))


def test_to_input_takes_pictures_that_run_backwards():
    p = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 5), np.uint8)
    turned = pictures.to_input(p[..., ::-1])
    assert torch.equal(turned, pictures.to_input(p).flip(-1))


def test_iterators_are_used_once():
    table = backtest.grid(threshold=(x for x in (0.1, 0.2)), size=iter([1.0]))
    assert table["threshold"].tolist() == [0.1, 0.2]
    rows = evidence.cost_sensitivity(SHORT, POSITION, (x for x in (1.0, 2.0)))
    assert rows.index.tolist() == [1.0, 2.0]


def test_a_gap_is_refused_and_a_nullable_column_is_read():
    gapped = SHORT.drop(SHORT.index[40])
    for call in (labels.forward_return, labels.triple_barrier):
        with pytest.raises(ArgumentError, match="candles.*evenly"):
            call(gapped, horizon=3)
    with pytest.raises(ArgumentError, match="windows.*evenly"):
        charts.candlesticks(gapped)
    plain = labels.sell_hold_buy(RETURNS)
    for make in ("Float64", "float64[pyarrow]"):
        pd.testing.assert_series_equal(labels.sell_hold_buy(RETURNS.astype(make)), plain)
    assert labels.class_shares(plain.to_numpy()) == labels.class_shares(plain)


def test_errors_write_integers_of_any_length():
    for value in (10**400, 10**5000, (10**5000,)):
        with pytest.raises(ArgumentError, match="x: got"):
            errors.number("x", value)


HMM = dict(
    names=("a", "b"), window=1, centre=np.zeros(2), scale=np.ones(2), start=np.full(2, 0.5),
    transition=np.full((2, 2), 0.5), means=np.array([[0.0, 0], [3, 3]]),
    covariances=np.stack([np.eye(2)] * 2),
)  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", np.full(40, 1 / 40)), ("transition", np.full((40, 40), 1 / 40)),
        ("means", np.zeros((1, 2))), ("covariances", np.zeros((2, 2, 2))), ("centre", np.zeros(3)),
        ("scale", np.zeros(2)), ("names", ("a", "a")), ("start", np.array([0.5, 0.6])),
        ("transition", np.array([[np.nan, 1], [0, 1]])), ("window", 0),
        ("covariances", -np.stack([np.eye(2)] * 2)),
    ],
)  # fmt: skip
def test_an_hmm_by_hand_keeps_its_shapes(field, value):
    """With ``start`` longer than ``names`` the compiled loop once wrote beyond its rows."""
    assert regimes.HMM(**HMM).regime(SHORT).notna().sum() == N - 1
    with pytest.raises(ArgumentError, match=field):
        regimes.HMM(**(HMM | {field: value}))


def test_other_records_by_hand_keep_their_laws():
    done = backtest.run(SHORT, POSITION)
    beyond = done.statements.copy()
    beyond[-1, 0] = 10 * N
    for field, value in (("statements", beyond), ("statements", beyond[:, :3]), ("ledger", beyond)):
        with pytest.raises(ArgumentError, match=field):
            dataclasses.replace(done, **{field: value})
    with pytest.raises(ArgumentError, match="train"):
        labels.Split(np.array([3, 2]), np.arange(2), np.arange(2))
    with pytest.raises(ArgumentError, match="regime"):
        candles.Market(SHORT, REGIME.iloc[:-1])
    with pytest.raises(ArgumentError, match="bounds"):
        pictures.Encoder(len, (1.0, 0.0))
    drawn = patterns.synthetic(3, seed=0)
    with pytest.raises(ArgumentError, match="kind"):
        dataclasses.replace(drawn, kind=drawn.kind[:2])
    fitted = channels.Standardizer().fit(MODELS)
    fitted.scale = np.ones(2)
    with pytest.raises(ArgumentError, match="scale"):
        fitted.transform(MODELS)


def test_degenerate_hmms_say_so():
    absorbing = HMM | {"transition": np.array([[0.9, 0.1], [0.0, 1.0]])}
    assert "b is absorbing" in regimes.HMM(**absorbing).degenerate(500)[0]
    alike = HMM | {"means": np.array([[0.0, 0], [0.1, 0]])}
    assert regimes.HMM(**alike).degenerate(500) == ["a and b are alike"]
    assert regimes.HMM(**HMM).degenerate(500) == []
    calm, wild = np.full(900, 0.001), np.full(60, 0.03)  # a history that ends in a crash
    moves = np.random.default_rng(0).normal(size=960) * np.r_[calm, wild]
    close = 100 * np.exp(moves.cumsum())
    first = np.r_[100, close[:-1]]
    bars = pd.DataFrame(
        {"open": first, "high": np.maximum(first, close) * 1.0001,
         "low": np.minimum(first, close) * 0.9999, "close": close, "volume": 1.0},
        CANDLES.index[:960],
    )  # fmt: skip
    with pytest.warns(regimes.DegenerateWarning, match="wild is absorbing"):
        regimes.fit_hmm(bars, 2, window=4, restarts=1)


@pytest.mark.parametrize("late", ["0ms", "11ms", "499ms", "-11ms", "-500ms"])
def test_funding_belongs_to_its_second(late):
    """A long closed at the 08:00 open pays what was held into it, however late the stamp is."""
    i = pd.date_range("2024-01-01", periods=12, freq="1h", tz="UTC", name="time")
    flat = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 100.0) | {"volume": 1.0}, i)
    held = np.r_[0, 0, 0, np.ones(4), np.zeros(5)]
    rate = pd.Series([0.01], pd.DatetimeIndex([i[8] + pd.Timedelta(late)]))
    done = backtest.run(flat, held, costs=costs.FREE, funding=rate)
    assert done.metrics()["funding"] == pytest.approx(0.01)


def test_nothing_is_entered_while_the_range_gives_no_stop():
    """A market that never moved has an ATR of 0: a stop there would be the entry itself."""
    still = SHORT.copy()
    still.iloc[:80, :4] = 100.0
    still.iloc[80:, :4] *= 100.0 / still["open"].iloc[80]
    still.iloc[80:, 1] = still.iloc[80:, :4].max(axis=1)
    still.iloc[80:, 2] = still.iloc[80:, :4].min(axis=1)
    done = backtest.run(still, np.ones(N), risk=risk.Risk(stop_atr=2.0))
    assert len(done.trades) >= 1
    assert (done.trades["entry_time"] > still.index[80]).all()


def test_results_that_hold_no_record_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    for text in ("5", "[]", "null", '"x"'):
        (tmp_path / "odd.json").write_text(text, encoding="utf-8")
        with pytest.raises(results.ResultError, match="odd"):
            results.load("odd")


def test_archives_in_another_unit_are_refused(tmp_path):
    head = "timestamp,symbol,side,size,price,trdMatchID\n"
    line = "1704067200000,BTCUSDT,Buy,1,2,a\n"
    (tmp_path / "t.csv").write_text(head + line, encoding="utf-8")
    with pytest.raises(archives.ArchiveError, match="timestamp"):
        archives.trades(tmp_path / "t.csv")


# Whatever runs compiled code.
COMPILED = {
    "backtest", "candles", "channels", "Standardizer", "costs", "evidence", "gramian", "labels",
    "risk", "charts", "options", "orderbook", "portfolio", "Snapshots", "patterns", "pictures",
    "recurrence", "regimes", "signals", "sizing", "book_net", "multitask", "archives",
}  # fmt: skip


def test_the_list_holds_whatever_runs_compiled_code():
    """A module with kernels of its own whose callables stand in the table stands in the list."""
    made = {
        path.relative_to(ROOT / "setrade").parts[0].removesuffix(".py")
        for path in (ROOT / "setrade").rglob("*.py")
        if "import kernel" in path.read_text(encoding="utf-8")
    }
    tabled = {name.split(".")[0] for name in BASE}
    assert made & tabled <= COMPILED <= tabled
    assert len(made & tabled) > 7


@pytest.mark.slow
def test_no_kernel_leaves_its_arrays(tmp_path):
    """Numba checks every index, in a process of its own: beyond the end is an IndexError."""
    folders = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = os.environ | {
        "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": folders,
        "NUMBA_OPT": "0",  # checks are written before LLVM optimises: it only takes time here
    }  # fmt: skip
    names = sorted(name for name in BASE if name.split(".")[0] in COMPILED)
    code = f"import test_arguments as t; c, w = t.judged({names}); print(c); assert c and not w, w"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8"
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_damaged_files_and_messages_end_typed():
    """A short run of ``studies/fuzz.py``; the whole of it is stored in book/results/fuzz.json."""
    sys.path.insert(0, str(ROOT / "studies"))
    import fuzz

    found = fuzz.run(600, seed=1)
    assert found["inputs"] >= 600
    assert found["found"] == []
