"""Calls of nets, figures, training and studies for the table of `test_arguments`."""

# ruff: noqa: C408
from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

from setrade import (
    attention,
    backtest,
    candles,
    channels,
    efficientnet,
    evidence,
    gramian,
    inference,
    live,
    metrics,
    orderbook,
    pictures,
    plots,
    se,
    signals,
    toys,
    training,
)
from setrade.models import (
    SETrader,
    SETransformer,
    TemporalRegimes,
    TimeframeEnsemble,
    boosted,
    multitask,
    se_transformer,
    siamese,
    timeframes,
)
from setrade.models.book_net import BookNet, BookSet
from setrade.models.se_momentum import SEMomentum
from setrade.study import baselines

N, C, T = 40, 3, 8
BARS = candles.synthetic(160, seed=3).candles
INDEX = BARS.index[:N]
CLOSE = BARS["close"].iloc[:N]
RNG = np.random.default_rng(0)
GATES = pd.DataFrame(RNG.uniform(0.1, 0.9, (N, C)), INDEX, list("abc"))
REGIME = pd.Series(pd.Categorical(np.where(np.arange(N) % 7 < 4, "calm", "wild")), INDEX)
X = torch.from_numpy(RNG.normal(size=(12, C, T)).astype(np.float32))
Y = torch.arange(12) % 3
PICTURES = torch.rand(3, C, 16, 16)
KINDS = torch.tensor([0, 1, 2])
RETURNS = RNG.normal(0.001, 0.01, 60)
DONE = backtest.run(BARS, np.sign(np.sin(np.arange(160) / 9)))
TABLE = pd.DataFrame(RNG.uniform(0, 1, (3, 3)), list("abc"), list("def"))
STATES = RNG.normal(size=(N, 4))
FORECASTS = np.tile([[0.2, 0.3, 0.5], [0.1, 0.2, 0.7]], (N, 1, 1))
BOOK = orderbook.synthetic(100, seed=1, filled=1, spoofs=1).books
ROWS = pd.DataFrame({"mean": [1.0, 2], "low": [0.0, 1], "high": [2.0, 3]}, ["a", "b"])

torch.manual_seed(0)
NET = nn.Sequential(nn.Flatten(), nn.Linear(C * T, 3)).eval()
SEEN = nn.Sequential(
    nn.Conv2d(C, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
).eval()
TRADER = SETrader(C, hidden=4, reduction=2).eval()
EXAMPLES = training.TensorSet(X, Y)


def on_axes(draw: Any) -> Any:
    """Return a figure's function without its axes."""

    def drawn(**call: Any) -> None:
        _, ax = plt.subplots()
        try:
            draw(ax=ax, **call)
        finally:
            plt.close("all")

    return drawn


def closed(draw: Any) -> Any:
    """Return a function that makes a figure, which is closed."""

    def drawn(**call: Any) -> None:
        try:
            draw(**call)
        finally:
            plt.close("all")

    return drawn


def two_axes(**call: Any) -> None:
    _, (top, bottom) = plt.subplots(2)
    try:
        plots.equity_and_drawdown(top, bottom, **call)
    finally:
        plt.close("all")


def forward(module: Any, **call: Any) -> Any:
    with torch.no_grad():
        return module(**call)


FIGURES = {
    "draw_bars": dict(candles=BARS.iloc[:N]),
    "draw_volume": dict(candles=BARS.iloc[:N]),
    "draw_timeline": dict(rows={"a": INDEX[:3], "b": INDEX[5:9]}),
    "correlations": dict(table=channels.compute(BARS).iloc[:, :5]),
    "field": dict(image=np.eye(4), title="t", signed=True),
    "draw_ladder": dict(
        price=np.array([1.0, 2, 3, 4]), size=np.ones(4), is_bid=np.array([1, 1, 0, 0], bool)
    ),
    "draw_heatmap": dict(volume=np.ones((2, 4, 5)), seconds=5.0, span_bps=10.0),
    "window": dict(candles=candles.windows(BARS, 20)[0]),
    "box": dict(start=1.0, end=3.0, low=1.0, high=2.0),
    "confusion": dict(counts=np.array([[3, 1], [2, 5]]), names=["a", "b"]),
    "reliability": dict(
        tables={"a": {k: [0.2, 0.5] for k in ("forecast", "share", "low", "high")}}
    ),
    "forest": dict(cells={"a": {"value": 1.0, "low": 0.0, "high": 2.0}}, reference=0.0),
    "probability_bands": dict(probabilities=pd.DataFrame({"calm": 0.4, "wild": 0.6}, INDEX)),
    "share_table": dict(table=TABLE, digits=3),
    "interval_rows": dict(rows=ROWS, zero=0.0),
    "trades_on_candles": dict(candles=BARS.iloc[:20], trades=DONE.trades),
    "waterfall": dict(steps={"gross": 0.3, "fees": -0.1, "net": 0.2}, unit="%"),
    "monthly_table": dict(table=metrics.monthly_returns(DONE.equity)),
    "regime_strip": dict(regime=REGIME),
    "heat_map": dict(table=TABLE, low=0.0, high=1.0),
}

CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{f"plots.{n}": (on_axes(getattr(plots, n)), call) for n, call in FIGURES.items()},
    "plots.gates_over_time": (closed(plots.gates_over_time), dict(close=CLOSE, gates=GATES)),
    "plots.squeeze_weights": (
        closed(plots.squeeze_weights),
        dict(x=RETURNS[:T], weights={"mean": np.full(T, 1 / T)}),
    ),
    "plots.equity_and_drawdown": (two_axes, dict(curves={"a": DONE.equity})),
    "attention.report": (
        attention.report,
        dict(gates=GATES.to_numpy(), features=list("abc"), regime=REGIME, times=INDEX),
    ),
    "attention.permutation_importance": (
        attention.permutation_importance,
        dict(net=NET, x=X, y=Y, seed=1, repeats=1),
    ),
    "attention.ablation_importance": (
        attention.ablation_importance,
        dict(net=NET, x=X, y=Y, value=0.0),
    ),
    "attention.gate_drift": (
        attention.gate_drift,
        dict(gates=GATES, reference=GATES, window=5, level=0.9),
    ),
    "attention.grad_cam": (
        attention.grad_cam,
        dict(net=SEEN, x=PICTURES, target=KINDS, layer=SEEN[0], batch_size=2),
    ),
    "attention.occlusion": (
        attention.occlusion,
        dict(net=SEEN, x=PICTURES, target=KINDS, window=8, stride=8, baseline=0.0, batch_size=2),
    ),
    "attention.boxes_mask": (
        attention.boxes_mask,
        dict(boxes=np.array([[0, 2, 0, 2], [1, 3, 1, 4]]), height=4, width=5),
    ),
    "attention.localisation": (
        attention.localisation,
        dict(maps=np.ones((2, 4, 5)), boxes=np.array([[0, 2, 0, 2], [1, 3, 1, 4]])),
    ),
    "training.TensorSet": (training.TensorSet, dict(x=X, y=Y)),
    "training.WindowSet": (
        training.WindowSet,
        dict(channels=GATES, targets=np.arange(N) % 3, ends=np.arange(9, 30), lookback=5),
    ),
    "training.class_weights": (training.class_weights, dict(y=Y, num_classes=3)),
    "training.Plan": (
        training.Plan,
        dict(
            num_epochs=1, lr=0.1, batch_size=4, weight_decay=0.0, patience=1, clip=1.0, seed=0,
            amp=True,
        ),
    ),
    "training.PositionLoss": (training.PositionLoss, dict(cost=0.0, unit=1.0)),
    "PositionLoss.forward": (
        training.PositionLoss(),
        dict(position=torch.zeros(4), returns=torch.zeros(4)),
    ),
    "training.fit": (
        lambda **k: training.fit(**k, num_epochs=1, progress=False),
        dict(net=NET, train=EXAMPLES, val=EXAMPLES),
    ),
    "training.predict": (training.predict, dict(net=NET, data=EXAMPLES, batch_size=4)),
    "training.seed_everything": (training.seed_everything, dict(seed=3)),
    "se.SEBlock": (se.SEBlock, dict(channels=C, reduction=2, squeeze="mean")),
    "se.MultiScaleSE": (
        se.MultiScaleSE,
        dict(channels=C, scales=(2, 4), reduction=2, squeeze="mean"),
    ),
    "se.MultiHeadSE": (
        se.MultiHeadSE,
        dict(channels=C, heads=2, reduction=2, squeeze="mean", causal=True),
    ),
    "se.ConcurrentSE": (
        se.ConcurrentSE,
        dict(channels=C, reduction=2, squeeze="mean", combine="add"),
    ),
    "se.CBAM": (se.CBAM, dict(channels=C, reduction=2, kernel=3, causal=True)),
    "se.EwmSqueeze": (se.EwmSqueeze, dict(channels=C, halflife=3.0, learned=True)),
    "se.Excitation": (se.Excitation, dict(channels=C, reduction=2)),
    "se.CachedSE": (se.CachedSE, dict(block=se.SEBlock(C), every=2)),
    **{
        f"{type(net).__name__}.forward": (net, dict(x=X))
        for net in (se.SEBlock(C), se.MultiScaleSE(C, (2, 4)), se.ConcurrentSE(C),
                    se.CBAM(C, kernel=3), TRADER, TemporalRegimes(C, 2, hidden=4),
                    se.MultiHeadSE(C, 2), SETransformer(C, width=4, heads=2).eval(),
                    se_transformer.DLinear(C, T))
    },
    "CachedSE.forward": (
        lambda **k: se.CachedSE(se.SEBlock(C), 2)(**k),
        dict(x=X, step=0),
    ),
    "SEMomentum.forward": (SEMomentum(C), dict(x=X)),
    "SEMomentum.signals": (
        SEMomentum(C).signals,
        dict(x=X, times=INDEX[:12], features=list("abc"), threshold=0.2),
    ),
    "models.SETrader": (
        SETrader,
        dict(
            channels=C, encoder="conv", squeeze="mean", gate="input", decision="softmax", hidden=4,
            reduction=2, scales=(2, 4), dropout=0.0,
        ),
    ),
    "models.SETransformer": (
        SETransformer,
        dict(
            channels=C, width=4, layers=1, heads=2, se_heads=2, squeeze="mean", gate="input",
            decision="softmax", causal=False, reduction=2, dropout=0.0,
        ),
    ),
    "models.TemporalRegimes": (
        TemporalRegimes,
        dict(channels=C, classes=2, encoder="conv", hidden=4, squeeze="mean"),
    ),
    "models.TimeframeEnsemble": (
        TimeframeEnsemble,
        dict(frames=("1h", "15min"), weights=(0.5, 0.5)),
    ),
    "TimeframeEnsemble.fit": (
        TimeframeEnsemble.fit,
        dict(frames=("1h", "15min"), probabilities=FORECASTS, y=np.arange(N) % 3),
    ),
    "timeframes.directions": (timeframes.directions, dict(probabilities=FORECASTS)),
    "timeframes.agreement_rate": (timeframes.agreement_rate, dict(probabilities=FORECASTS)),
    "multitask.task_targets": (
        multitask.task_targets,
        dict(candles=BARS, horizon=3, multiple=1.0),
    ),
    "multitask.TaskSet": (
        multitask.TaskSet,
        dict(source=EXAMPLES, targets={"direction": np.arange(12) % 3}),
    ),
    "multitask.task_weights": (
        multitask.task_weights,
        dict(log_variance=torch.zeros(3)),
    ),
    "multitask.best_log_variance": (
        multitask.best_log_variance,
        dict(task="direction", loss=0.5),
    ),
    "siamese.draw_pairs": (
        siamese.draw_pairs,
        dict(state=np.arange(N) % 2, n_pairs=6, seed=1, ends=np.arange(N), min_gap=2),
    ),
    "siamese.PairSet": (
        siamese.PairSet,
        dict(source=EXAMPLES, pairs=np.array([[0, 1], [2, 3]]), same=np.array([1, 0])),
    ),
    "siamese.ContrastiveLoss": (siamese.ContrastiveLoss, dict(margin=1.0)),
    "siamese.change": (siamese.change, dict(states=STATES, lag=3)),
    "siamese.nearest": (siamese.nearest, dict(query=STATES[:5], reference=STATES, k=3)),
    "siamese.anomaly": (siamese.anomaly, dict(query=STATES[:5], reference=STATES, k=3)),
    "boosted.extract": (
        boosted.extract,
        dict(backbone=SEEN, pictures=PICTURES, batch_size=2),
    ),
    "Boosted.fit": (
        boosted.Boosted(rounds=2).fit,
        dict(x=STATES, y=np.arange(N) % 3),
    ),
    "Boosted.probabilities": (
        boosted.Boosted(rounds=2).fit(STATES, np.arange(N) % 3).probabilities,
        dict(x=STATES),
    ),
    "BookNet.forward": (
        BookNet(8, 4).eval(),
        dict(x=torch.zeros(2, 2, 8, 32)),
    ),
    "book_net.BookSet": (
        BookSet,
        dict(books=BOOK, targets=np.arange(100) % 3, ends=np.array([30, 40]), window=16, rows=8,
             span_bps=5.0),
    ),
    "efficientnet.compound_scale": (
        efficientnet.compound_scale,
        dict(phi=1.0, alpha=1.2, beta=1.1, gamma=1.15),
    ),
    "efficientnet.round_channels": (
        efficientnet.round_channels,
        dict(channels=32.0, width=1.1, divisor=8),
    ),
    "efficientnet.multiply_adds": (
        efficientnet.multiply_adds,
        dict(net=nn.Conv2d(3, 4, 3), side=8, in_channels=3),
    ),
    "efficientnet.count_parameters": (efficientnet.count_parameters, dict(net=NET)),
    "efficientnet.EfficientNet": (
        efficientnet.EfficientNet,
        dict(variant="nano", num_classes=3, in_channels=3,
             drop_connect=0.2, same_padding=False),
    ),
    "efficientnet.MBConv": (
        efficientnet.MBConv,
        dict(c_in=8, c_out=8, expand=4, kernel=3, stride=1, drop_connect=0.1, same_padding=True),
    ),
    "efficientnet.EfficientNetV2": (
        efficientnet.EfficientNetV2,
        dict(variant="mini", num_classes=3, in_channels=3,
             drop_connect=0.2, same_padding=False),
    ),
    "efficientnet.FusedMBConv": (
        efficientnet.FusedMBConv,
        dict(c_in=8, c_out=8, expand=4, kernel=3, stride=1, drop_connect=0.1, same_padding=True),
    ),
    "efficientnet.DropConnect": (efficientnet.DropConnect, dict(rate=0.2)),
    "efficientnet.SqueezeExcite2d": (efficientnet.SqueezeExcite2d, dict(channels=8, reduced=2)),
    "pictures.PriceTrends": (pictures.PriceTrends, dict(num_classes=2, dropout=0.5)),
    "pictures.encoder": (pictures.encoder, dict(name="gasf", size=8)),
    "gramian.gasf_inverse": (
        gramian.gasf_inverse,
        dict(image=gramian.gasf(RETURNS[:12]), low=0.0, high=1.0),
    ),
    "signals.Signal": (
        signals.Signal,
        dict(time=INDEX[0], position=0.5, confidence=0.5, source="net"),
    ),
    "toys.averaged": (
        toys.averaged,
        dict(pictures=np.zeros((2, 3, 8, 8), np.uint8), side=4),
    ),
    "toys.SmallNet": (toys.SmallNet, dict(blocks=3, width=0.5, num_classes=3)),
    "toys.HedgeNet": (toys.HedgeNet, dict(sigma=0.5, years=0.1, width=4)),
    "toys.hedged": (
        toys.hedged,
        dict(paths=torch.ones(4, 5), units=torch.ones(4, 4), rate=0.01),
    ),
    "toys.walks": (toys.walks, dict(n=4, steps=3, years=0.1, sigma=0.5, seed=1)),
    "toys.relative_cost": (toys.relative_cost, dict(blocks=3, width=1.0, side=16)),
    "toys.spend": (toys.spend, dict(shares=(0.3, 0.3, 0.4), budget=2.0)),
    "toys.shares": (toys.shares, dict(scale=efficientnet.Scale(1.2, 1.1, 1.15))),
    "toys.smooth_coefficients": (
        toys.smooth_coefficients,
        dict(points=RNG.dirichlet([1, 1, 1], 12), accuracy=RNG.uniform(size=12)),
    ),
    "efficientnet.round_repeats": (efficientnet.round_repeats, dict(repeats=2, depth=1.1)),
    "efficientnet.search_coefficients": (
        efficientnet.search_coefficients,
        dict(score=lambda s: s.depth, step=0.2, tolerance=0.1, target=2.0),
    ),
    "evidence.interval": (
        evidence.interval,
        dict(statistic=np.mean, returns=RETURNS, seed=1, level=0.9, n_samples=10, block=2.0),
    ),
    "evidence.paired_difference": (
        evidence.paired_difference,
        dict(statistic=np.mean, first=RETURNS, second=RETURNS[::-1].copy(), seed=1, level=0.9,
             n_samples=10, block=2.0),
    ),
    "evidence.diebold_mariano": (
        evidence.diebold_mariano,
        dict(first=RETURNS**2, second=np.abs(RETURNS), horizon=2, lags=3, level=0.9),
    ),
    "evidence.resample": (
        evidence.resample,
        dict(statistic=np.mean, returns=RETURNS, seed=1, n_samples=10, block=2.0),
    ),
    "evidence.metric_intervals": (
        evidence.metric_intervals,
        dict(result=DONE, seed=1, level=0.9, n_samples=10),
    ),
    "evidence.detectable": (
        evidence.detectable,
        dict(finds=lambda size, seed: True, sizes=[0.1, 0.2], tries=2, needed=1, seed=0),
    ),
    "evidence.learned": (
        evidence.learned,
        dict(losses=np.array([0.9, 0.8]), constant=1.0, gates=(np.ones((2, 3)), np.eye(3)[:2])),
    ),
    "inference.agreement": (
        inference.agreement,
        dict(logits=STATES, reference=STATES),
    ),
    "baselines.windows": (baselines.windows, dict(channels=GATES, length=4)),
    "live.Recorded": (live.Recorded, dict(candles=BARS, history=20)),
    "toys.draw_regimes": (toys.draw_regimes, dict(task="alike", n=4, time=8, seed=1)),
    "toys.draw_switch": (toys.draw_switch, dict(task="level", n=4, time=8, seed=1)),
    "toys.planted": (
        toys.planted,
        dict(n=6, seed=1, length=16, horizon=4, drift=0.2, calm=0.004, wild=0.008),
    ),
}  # fmt: skip
