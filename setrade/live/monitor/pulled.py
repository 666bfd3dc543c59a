"""Metrics that are read off the run when they are asked for, not counted as it goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from ..drift import STATES
from .facts import Facts
from .latencies import SHARES

FIGURES = {
    "last_bar_age_seconds": ("age", "Time since the last bar was done"),
    "agreement": ("agreement", "Share of timeframes that agree with the answer"),
    "day_result": ("day", "The day's result, part of equity"),
    "latency_budget_seconds": ("budget", "Time that an answer of the model may take"),
}


class Pulled:
    """A collector for a `CollectorRegistry`; what is not known is absent, not zero."""

    def __init__(self, facts: Callable[[], Facts]) -> None:
        self._facts = facts

    def describe(self) -> list[Metric]:
        """Return nothing: names are known when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield what is known now."""
        f = self._facts()
        for name, (attribute, text) in FIGURES.items():
            value = getattr(f, attribute)
            if value is not None and math.isfinite(value):
                yield GaugeMetricFamily(f"setrade_{name}", text, value)
        halted = float(f.state == "halted")
        yield GaugeMetricFamily("setrade_halted", "1 when nothing may be opened", halted)
        yield _latency(f)
        yield from _drift(f)
        yield from _failover(f)
        yield from _machine(f)


def _latency(f: Facts) -> Metric:
    name, text = "setrade_latency_quantile_seconds", "Quantiles of the newest 1,024 by stage"
    found = GaugeMetricFamily(name, text, labels=["stage", "quantile"])
    for stage, values in f.latency.items():
        for share, value in zip(SHARES, values, strict=True):
            found.add_metric([stage, f"{share:g}"], value)
    return found


def _drift(f: Facts) -> Iterator[Metric]:
    labels = ["watch", "column"]
    psi = GaugeMetricFamily("setrade_drift_psi", "Population stability index", labels=labels)
    ks = GaugeMetricFamily("setrade_drift_ks", "Kolmogorov-Smirnov distance", labels=labels)
    state = GaugeMetricFamily("setrade_drift_state", "0 calm, 1 watch, 2 alarm", labels=labels)
    for watch, readings in f.drift.items():
        for r in readings:
            psi.add_metric([watch, r.name], r.psi)
            ks.add_metric([watch, r.name], r.ks)
            state.add_metric([watch, r.name], STATES.index(r.state))
    yield from (psi, ks, state)


def _failover(f: Facts) -> Iterator[Metric]:
    if not f.levels:
        return
    yield GaugeMetricFamily("setrade_failover_level", "Level that answers, 0 the best", f.level)
    active = GaugeMetricFamily("setrade_failover_active", "1 for the one", labels=["level"])
    for k, name in enumerate(f.levels):
        active.add_metric([name], float(k == f.level))
    yield active


def _machine(f: Facts) -> Iterator[Metric]:
    if f.stream:
        counted = CounterMetricFamily("setrade_stream", "Events of the stream", labels=["kind"])
        for kind, value in f.stream.items():
            if kind not in ("connected", "silent"):
                counted.add_metric([kind], value)
        yield counted
        again = f.stream.get("reconnects", 0.0)
        yield CounterMetricFamily("setrade_reconnects", "Connections made anew", again)
        there = f.stream["connected"]
        yield GaugeMetricFamily("setrade_stream_connected", "1 while there is one", there)
    for name, value in f.gpu.items():
        yield GaugeMetricFamily(f"setrade_gpu_{name}", "Of the GPU that is used", value)
