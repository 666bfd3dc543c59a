"""Metrics of a run for Prometheus, the snapshot that the status page shows, and drift alerts.

The pipeline pushes what happens (`Monitor`); what can be looked up is read when somebody asks
(`Monitor.snapshot`), so that watching costs the run next to nothing.
"""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from setrade.errors import integer, number
from setrade.live.drift import COLUMNS, INPUTS, STATES, Watch, inputs, newest
from setrade.live.journal import Journal
from setrade.live.status import serve
from setrade.live.types import Bar, OrderLine, Row, Snapshot
from setrade.signals import Signal

QUANTILES = (0.5, 0.95, 0.99)
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES = tuple(k / 10 for k in range(1, 11))
BEFORE = 48  # bars that an input is measured in, as far as the model sees so many
RECENT = 300  # bars of the past that are compared at the start
LISTED = 10  # orders that are shown


def gpu(torch: Any = None) -> dict[str, float]:
    """Return ``utilization`` in [0, 1], ``memory_used`` and ``memory_total`` in bytes.

    Empty where this process uses no GPU: to ask would begin to use it. What cannot be told is
    missing: utilisation without NVIDIA's management library (package ``nvidia-ml-py``) or on a
    slice of a card (MIG). Nothing that goes wrong here may cost the status page.

    Args:
        torch: the module; None: the one that is imported, if any.
    """
    torch = torch or sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    found: dict[str, float] = {}
    if cuda is None:
        return found
    with suppress(Exception):
        if not cuda.is_available() or not cuda.is_initialized():
            return found
        free, total = cuda.mem_get_info()
        found |= {"memory_used": float(total - free), "memory_total": float(total)}
    with suppress(Exception):  # pynvml's own errors are of no kind that can be named here
        found["utilization"] = cuda.utilization() / 100
    return found


class Latencies:
    """The newest ``size`` durations of each stage, for quantiles that are exact."""

    def __init__(self, size: int = 1024) -> None:
        size = integer("size", size, 1)
        self._kept: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=size))

    def add(self, stage: str, seconds: float) -> None:
        """Keep a duration."""
        self._kept[stage].append(seconds)

    def quantile(self, stage: str, share: float) -> float:
        """Return the smallest kept duration that ``share`` of them do not exceed; NaN if none."""
        share, kept = number("share", share, 0.0, 1.0), list(self._kept.get(stage, ()))
        return float(np.quantile(kept, share, method="inverted_cdf")) if kept else math.nan

    def quantiles(self, stage: str) -> tuple[float, ...]:
        """Return p50, p95 and p99 in seconds."""
        return tuple(self.quantile(stage, share) for share in QUANTILES)

    def summary(self) -> dict[str, tuple[float, ...]]:
        """Return p50, p95 and p99 of each stage that anything was added to."""
        return {stage: self.quantiles(stage) for stage in list(self._kept)}


def _plain(s: Snapshot) -> dict[str, tuple[str, float | None]]:
    """Return text and value of what needs no labels, by name."""
    known: dict[str, tuple[str, float | None]] = {
        "equity": ("Worth of the account", s.equity),
        "units": ("Signed size held", s.units),
        "last_bar_age_seconds": ("Time since the last bar was done", s.age),
        "agreement": ("Share of timeframes that agree with the answer", s.agreement),
        "day_result": ("The day's result, part of equity", s.day),
        "latency_budget_seconds": ("Time that an answer of the model may take", s.budget),
        "halted": ("1 when nothing may be opened", s.state == "halted"),
        "failover_level": ("Level that answers, 0 the best", s.level if s.levels else None),
        "stream_connected": ("1 while there is one", s.stream.get("connected")),
    }
    return known | {f"gpu_{k}": ("Of the GPU that is used", value) for k, value in s.gpu.items()}


def _labelled(s: Snapshot) -> Iterator[tuple[type[Any], str, str, str, Mapping[Any, float]]]:
    """Yield kind, name, text, labels and a value for each tuple of labels."""
    gauge, counter = GaugeMetricFamily, CounterMetricFamily
    read = {(watch, r.name): r for watch, readings in s.drift.items() for r in readings}
    psi, ks = ({key: getattr(r, name) for key, r in read.items()} for name in ("psi", "ks"))
    states = {key: STATES.index(r.state) for key, r in read.items()}
    yield gauge, "drift_psi", "Population stability index", "watch column", psi
    yield gauge, "drift_ks", "Kolmogorov-Smirnov distance", "watch column", ks
    yield gauge, "drift_state", "0 calm, 1 watch, 2 alarm", "watch column", states
    seconds = {(stage, f"{share:g}"): value for stage, values in s.latency.items()
               for share, value in zip(QUANTILES, values, strict=True)}  # fmt: skip
    text = "Quantiles of the newest 1,024 by stage"
    yield gauge, "latency_quantile_seconds", text, "stage quantile", seconds
    active = {(name,): float(k == s.level) for k, name in enumerate(s.levels)}
    yield gauge, "failover_active", "1 for the one", "level", active
    waiting = {(queue,): bars for queue, (bars, _) in s.queues.items()}
    yield gauge, "queue_depth", "Bars that wait", "queue", waiting
    faults = {(kind,): count for kind, count in s.faults.items()}
    yield counter, "faults", "Bars left out or missing", "kind", faults
    events = {(k,): n for k, n in s.stream.items() if k not in ("connected", "silent")}
    yield counter, "stream", "Events of the stream", "kind", events
    again = {(): s.stream.get("reconnects", 0.0)} if s.stream else {}
    yield counter, "reconnects", "Connections made anew", "", again


def metrics(s: Snapshot) -> Iterator[Metric]:
    """Yield a snapshot as metrics of Prometheus; what is not known is absent, not zero."""
    for name, (text, value) in _plain(s).items():
        if value is not None and math.isfinite(value):
            yield GaugeMetricFamily(f"setrade_{name}", text, float(value))
    for kind, name, text, labels, values in _labelled(s):
        family = kind(f"setrade_{name}", text, labels=labels.split())
        for key, value in values.items():
            family.add_metric(key, value)
        yield family


class Monitor:
    """Counts and times what the pipeline tells it; `Pipeline` takes it as ``monitor``.

    It only tells: an alarm trades nothing, and what fails here (``setrade_monitor_errors``)
    stops nothing. A change of a drift state is in the journal, once.

    Args:
        inputs: watches ``return range volume`` of each bar (see `drift.inputs`); the default
            learns them from the first 250 bars, history included.
        gates: watches the gates of nets that tell them; the default learns from 2,000 answers.
        clock: seconds that only go forward.
        about: what is traded where, in words by name, for who looks.
    """

    def __init__(
        self, inputs: Watch | None = None, gates: Watch | None = None,
        clock: Callable[[], float] = time.monotonic, about: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.about = dict(about or {})
        self.watches = {
            "input": inputs or Watch(250, window=50, every=5, bins=5),
            "gate": gates or Watch(2_000, window=50, bins=5),
        }
        self.clock, self.latencies = clock, Latencies()
        self.journal: Journal | None = None
        self.newest: Row | None = None
        self.signal: Signal | None = None
        self.seen_at, self.orders = math.nan, list[OrderLine]()
        self._run: Callable[[], Snapshot] = Snapshot
        self._length = BEFORE
        self._waiting: list[tuple[str, Mapping[str, float]]] = []
        self._failures: set[str] = set()
        self.registry = CollectorRegistry()
        self._count(self.registry)
        self.registry.register(self)  # for `collect`

    def _count(self, r: CollectorRegistry) -> None:
        """Make the metrics that are pushed."""
        self.latency = Histogram(
            "setrade_latency_seconds", "Time in a stage", ["stage"], buckets=LATENCY, registry=r
        )
        self.confidence = Histogram(
            "setrade_confidence", "Confidence of signals", buckets=SHARES, registry=r
        )
        self.bars = Counter("setrade_bars", "Bars lived through", registry=r)
        self.sent = Counter("setrade_orders", "Orders sent", registry=r)
        self.drifts = Counter(
            "setrade_drift_changes", "Changes of a drift state", ["watch", "state"], registry=r
        )
        self.tries = Counter("setrade_closing_tries", "Tries to close that failed", registry=r)
        self.errors = Counter("setrade_monitor_errors", "Failures of watching", registry=r)

    def attach(self, journal: Journal, length: int, snapshot: Callable[[], Snapshot]) -> None:
        """Look at a run that is about to begin; its history is the first reference.

        Args:
            journal: of the run. length: bars that the model sees.
            snapshot: what the run knows of itself, "halted" or "flat" and why.
        """
        self.journal, self._run, self._length = journal, snapshot, min(BEFORE, length)
        self._safely(self._replay_history, journal)

    def _replay_history(self, journal: Journal) -> None:
        """Learn from the oldest bars of a journal, then test the newest, each bar once.

        What lies between is left out, so that a restart after a year is quick.
        """
        first, length = self.watches["input"].rows, self._length
        old = journal.oldest_bars(first + length - 1) if first else []
        young = journal.newest_bars(RECENT + length - 1, old[-1].time if old else -1)
        for bars in (old, young):
            if len(bars) >= length:
                frame = pd.DataFrame(bars, columns=list(Bar._fields))
                for row in inputs(frame, length).to_numpy().tolist():
                    self._watch("input", dict(zip(INPUTS, row, strict=True)))

    def said(self, signal: Signal, window: pd.DataFrame) -> None:
        """Take in what the model answered to a window; tests wait until the bar is done."""
        before, self.signal = self.signal, signal
        self.confidence.observe(signal.confidence)
        self._safely(self._note, window, signal.attention, before and before.attention)

    def _note(self, window: pd.DataFrame, gates: dict[str, float] | None, before: object) -> None:
        """Keep what has to be watched of an answer."""
        if len(window) >= self._length:
            row = newest(window[COLUMNS].to_numpy()[-self._length :].T).tolist()
            self._waiting.append(("input", dict(zip(INPUTS, row, strict=True))))
        if gates and gates is not before:  # an answer that stands is told only once
            self._waiting.append(("gate", gates))

    def row(self, row: Row, seconds: float) -> None:
        """Take in where the account stands after a bar; then there is time to test for drift."""
        self.newest, self.seen_at = row, self.clock()
        self.stage("bar", seconds)
        self.bars.inc()
        self.sent.inc(row.orders)
        self._safely(self._after, row)

    def _after(self, row: Row) -> None:
        if self.journal is not None and (row.orders or not self.orders):
            self.orders = self.journal.newest_orders(LISTED)
        waiting, self._waiting = self._waiting, []
        for name, values in waiting:
            self._watch(name, values)

    def _watch(self, name: str, values: Mapping[str, float]) -> None:
        for reading, before in self.watches[name].update(values):
            self.drifts.labels(name, reading.state).inc()
            if self.journal is not None:
                self.journal.event("drift", watch=name, before=before, **vars(reading))

    def _safely(self, work: Callable[..., None], *args: object) -> None:
        """Watching must never stop what it watches: count an error, and journal its kind once."""
        try:
            work(*args)
        except Exception as error:
            self.errors.inc()
            kind = type(error).__name__
            if self.journal is not None and kind not in self._failures:
                self._failures.add(kind)
                self.journal.event("monitor", error=repr(error))

    def stage(self, stage: str, seconds: float) -> None:
        """Take in how long a stage took for a bar."""
        self.latency.labels(stage).observe(seconds)
        self.latencies.add(stage, seconds)

    def trouble(self, what: str) -> None:
        """Take in that a try to close the position failed."""
        self.tries.inc()

    def collect(self) -> Iterator[Metric]:
        """Yield what is looked up rather than counted; the registry asks."""
        return metrics(self.snapshot())

    def snapshot(self) -> Snapshot:
        """Return everything at a glance; any thread may ask."""
        signal, row = self.signal, self.newest
        known: dict[str, Any] = {
            "latency": self.latencies.summary(), "gpu": gpu(), "orders": self.orders,
            "about": self.about,
            "drift": {name: watch.readings for name, watch in self.watches.items()},
            "learning": {name: watch.progress for name, watch in self.watches.items()},
        }  # fmt: skip
        if signal is not None:
            known |= {"source": signal.model or signal.source, "confidence": signal.confidence,
                      "agreement": signal.agreement}  # fmt: skip
        if row is not None:
            known |= {"time": row.time, "age": self.clock() - self.seen_at, "close": row.close,
                      "units": row.units, "equity": row.equity,
                      "target_position": row.target_position}  # fmt: skip
        run = self._run()
        state, why = (run.state, run.why) if run.state != "flat" else self._state(run.why)
        return replace(run, state=state, why=why, **known)

    def _state(self, waits: str) -> tuple[str, str]:
        """Say in a word what a run does that is not halted, and in a few why."""
        row = self.newest
        if row is None:
            return "starting", "no bar yet"
        if row.units:
            part = row.units * row.close / row.equity
            return "trading", f"{'long' if part > 0 else 'short'}, {abs(part):.0%} of equity"
        return "flat", waits or (f"no new exposure: {row.note}" if row.note else "nothing held")

    def serve(self, port: int) -> int:
        """Serve ``/metrics``, and the status page at ``/``, on this machine; return the port."""
        return serve(self.registry, self.snapshot, port)
