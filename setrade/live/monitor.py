"""Figures of a run, for Prometheus and for the status page, and alerts when inputs drift.

The pipeline pushes what happens (`Monitor`); what can be looked up is read when somebody asks
(`facts`), so that watching costs the run next to nothing.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from setrade.errors import integer, number
from setrade.live.drift import COLUMNS, INPUTS, STATES, Reading, Watch, history, newest
from setrade.live.failover import Failover
from setrade.live.journal import Journal
from setrade.live.status import page, panels, serve
from setrade.live.trader import Row
from setrade.live.types import Window, Wish, unpack

if TYPE_CHECKING:
    from setrade.live.pipeline import Stages

__all__ = ["STAGES", "Facts", "Line", "Monitor", "gpu"]


# ---- What the GPU does, if this process uses one.


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
    if cuda is None or not cuda.is_available() or not cuda.is_initialized():
        return {}
    found: dict[str, float] = {}
    with suppress(Exception):
        free, total = cuda.mem_get_info()
        found |= {"memory_used": float(total - free), "memory_total": float(total)}
    with suppress(Exception):  # pynvml's own errors are of no kind that can be named here
        found["utilization"] = cuda.utilization() / 100
    return found


# ---- One look at a run: everything that a person or Prometheus may ask for, at one moment.


LISTED = 10  # orders that are shown
ORDERS = """SELECT intents.time, record, status, reason, filled, average FROM intents
    LEFT JOIN fills USING (link_id) ORDER BY intents.time DESC, intents.rowid DESC LIMIT ?"""


@dataclass(frozen=True)
class Line:
    """One order, as the page lists it; ``price`` is what it filled at on average."""

    time: int
    side: str
    qty: str
    price: float | None
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Facts:
    """A run at a glance; None, NaN or empty where nothing is known yet.

    ``state`` is "starting", "trading", "flat" or "halted" and ``why`` says more; ``day`` is the
    day's result and ``limit`` the loss that ends it, parts of equity; ``latency`` is p50, p95
    and p99 in seconds by stage; ``queues`` is bars that wait, and places.
    """

    state: str = "starting"
    why: str = ""
    symbol: str = ""
    step: int = 0
    time: int | None = None
    age: float = math.nan
    patience: float | None = None
    close: float = math.nan
    units: float = 0.0
    equity: float = math.nan
    want: float = 0.0
    day: float = math.nan
    limit: float | None = None
    levels: tuple[str, ...] = ()
    level: int = 0
    budget: float | None = None
    source: str = ""
    confidence: float = math.nan
    agreement: float = math.nan
    latency: dict[str, tuple[float, ...]] = field(default_factory=dict)
    drift: dict[str, list[Reading]] = field(default_factory=dict)
    learning: dict[str, str] = field(default_factory=dict)
    queues: dict[str, tuple[int, int]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    stream: dict[str, float] = field(default_factory=dict)
    gpu: dict[str, float] = field(default_factory=dict)
    orders: list[Line] = field(default_factory=list)


def gather(m: Monitor) -> Facts:
    """Return what is known now. It reads plain values only, so any thread may ask."""
    wish, row = m.wish, m.newest
    found: dict[str, Any] = {
        "latency": {stage: m.latencies.quantiles(stage) for stage in m.latencies.stages},
        "drift": {name: watch.readings for name, watch in m.watches.items()},
        "learning": {name: watch.progress for name, watch in m.watches.items()},
        "agreement": m.agreement, "gpu": gpu(), "orders": m.lines,
    }  # fmt: skip
    if wish is not None:
        found |= {"source": wish.source, "confidence": wish.confidence}
    if row is not None:
        found |= {"time": row.time, "age": m.clock() - m.seen_at, "close": row.close,
                  "units": row.units, "equity": row.equity, "want": row.want}  # fmt: skip
    if m.pipeline is not None:
        found |= _of_the_run(m.pipeline)
        found["state"], found["why"] = _state(m)
    return Facts(**found)


def _of_the_run(p: Stages) -> dict[str, Any]:
    """Look up what belongs to the pipeline's own parts."""
    account, levels = p.trader.desk.a, p.model if isinstance(p.model, Failover) else None
    found: dict[str, Any] = {
        "symbol": p.trader.executor.symbol, "step": p.source.step, "patience": p.patience,
        "day": float(account["equity"] / account["day_start"] - 1),
        "limit": p.trader.risk.daily_loss, "queues": p.queues, "faults": dict(p.guard.faults),
    }  # fmt: skip
    if levels is not None:
        names = tuple(name for name, _ in levels.levels)
        found |= {"levels": names, "level": levels.level, "budget": levels.budget}
    stream = getattr(p.source, "stream", None)
    if stream is not None:
        told = {"connected": float(stream.connected), "silent": stream.age}
        found["stream"] = told | {name: float(n) for name, n in stream.counters.items()}
    return found


def _state(m: Monitor) -> tuple[str, str]:
    """Say in a word what the run does, and in a few why."""
    p, row = m.pipeline, m.newest
    assert p is not None
    if p.reason:
        return "halted", p.reason
    if p.trader.desk.a["halted"]:
        return "halted", "the day's loss has reached its limit"
    if row is None:
        return "starting", "no bar yet"
    if row.units:
        part = row.units * row.close / row.equity
        return "trading", f"{'long' if part > 0 else 'short'}, {abs(part):.0%} of equity"
    if not p.window.whole:
        return "flat", "waits for a window without a hole"
    return "flat", f"no new exposure: {row.note}" if row.note else "nothing held"


def newest_orders(journal: Journal, count: int = LISTED) -> list[Line]:
    """Return the newest orders of a journal, newest first."""
    rows = journal.db.execute(ORDERS, (count,)).fetchall()
    lines = []
    for at, record, status, reason, filled, average in rows:
        intent = unpack(record)
        qty, price = f"{float(filled or intent['qty']):.8g}", average and float(average)
        lines.append(Line(at, intent["side"], qty, price, status, reason))
    return lines


# ---- The newest durations of each stage, kept in rings, for quantiles that are exact.


SHARES = (0.5, 0.95, 0.99)


class Latencies:
    """Durations by stage.

    Args:
        size: how many of each stage are kept.
    """

    def __init__(self, size: int = 1024) -> None:
        self.size = integer("size", size, 1)
        self._rings: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    @property
    def stages(self) -> list[str]:
        """Names of the stages that anything was added to."""
        return list(self._rings)

    def add(self, stage: str, seconds: float) -> None:
        """Keep a duration."""
        ring = self._rings.setdefault(stage, np.full(self.size, np.nan))
        count = self._counts.get(stage, 0)
        ring[count % self.size] = seconds
        self._counts[stage] = count + 1

    def quantile(self, stage: str, share: float) -> float:
        """Return the smallest kept duration that ``share`` of them do not exceed; NaN if none."""
        share, count = number("share", share, 0.0, 1.0), self._counts.get(stage, 0)
        if not count:
            return math.nan
        kept = self._rings[stage][: min(count, self.size)]
        return float(np.quantile(kept, share, method="inverted_cdf"))

    def quantiles(self, stage: str) -> tuple[float, ...]:
        """Return p50, p95 and p99 in seconds."""
        return tuple(self.quantile(stage, share) for share in SHARES)


# ---- What a journal remembers of the inputs: the run's first ones, and the newest.


FIRST = "SELECT time, {} FROM bars ORDER BY time LIMIT ?"
NEWEST = "SELECT time, {} FROM bars WHERE time > ? ORDER BY time DESC LIMIT ?"


def remembered(journal: Journal, first: int, newest: int, before: int) -> Iterator[dict]:
    """Yield inputs by name: of the ``first`` oldest bars, then of the ``newest``.

    What lies between is left out, so that a restart after a year is quick; each bar comes once.

    Args:
        before: bars of the window that each one is measured in.
    """
    ask, columns = journal.db.execute, ", ".join(COLUMNS)
    old = ask(FIRST.format(columns), (first + before - 1,)).fetchall() if first else []
    since = old[-1][0] if old else -1
    young = ask(NEWEST.format(columns), (since, newest + before - 1)).fetchall()[::-1]
    for rows in (old, young):
        if len(rows) >= before:
            for row in history(np.array(rows, float)[:, 1:].T, before):
                yield dict(zip(INPUTS, row.tolist(), strict=True))


# ---- Metrics that are read off the run when they are asked for, not counted as it goes.


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


# ---- What the pipeline tells while it runs, and what is made of it.


STAGES = ("model", "trade", "bar")  # "bar": from hearing a bar to its last order
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CORE_SHARES = tuple(k / 10 for k in range(1, 11))
BEFORE = 48  # bars that an input is measured in, as far as the model sees so many
RECENT = 300  # bars of the past that are compared at the start


class Monitor:
    """Counts and times what the pipeline tells it; `Pipeline` takes it as ``monitor``.

    It only tells: an alarm trades nothing, and what fails here (``setrade_monitor_errors``)
    stops nothing. A change of a drift state is in the journal, once.

    Args:
        inputs: watches ``return range volume`` of each bar (see `drift.inputs`); the default
            learns them from the first 250 bars, history included.
        gates: watches the gates of nets that tell them; the default learns from 2,000 answers.
        clock: seconds that only go forward.

    ``registry`` holds the metrics, all of them named ``setrade_...``.
    """

    def __init__(
        self, *, inputs: Watch | None = None, gates: Watch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.watches = {
            "input": inputs or Watch(250, window=50, every=5, bins=5),
            "gate": gates or Watch(2_000, window=50, bins=5),
        }
        self.clock, self.latencies = clock, Latencies()
        self.pipeline: Stages | None = None
        self.newest: Row | None = None
        self.wish: Wish | None = None
        self.agreement, self.seen_at, self.lines = math.nan, math.nan, list[Line]()
        self._gates: object = None
        self._before = BEFORE
        self._waiting: list[tuple[str, Mapping[str, float]]] = []
        self._told: set[str] = set()
        self.registry = CollectorRegistry()
        self._count(self.registry)
        self.registry.register(Pulled(self.facts))

    def _count(self, r: CollectorRegistry) -> None:
        """Make the metrics that are pushed."""
        self.latency = Histogram(
            "setrade_latency_seconds", "Time in a stage", ["stage"], buckets=LATENCY, registry=r
        )
        self.confidence = Histogram(
            "setrade_confidence", "Confidence of signals", buckets=CORE_SHARES, registry=r
        )
        self.queue = Gauge("setrade_queue_depth", "Bars that wait", ["queue"], registry=r)
        self.faults = Counter("setrade_faults", "Bars left out or missing", ["kind"], registry=r)
        self.bars = Counter("setrade_bars", "Bars lived through", registry=r)
        self.orders = Counter("setrade_orders", "Orders sent", registry=r)
        self.equity = Gauge("setrade_equity", "Worth of the account", registry=r)
        self.units = Gauge("setrade_units", "Signed size held", registry=r)
        self.drifts = Counter(
            "setrade_drift_changes", "Changes of a drift state", ["watch", "state"], registry=r
        )
        self.tries = Counter("setrade_closing_tries", "Tries to close that failed", registry=r)
        self.errors = Counter("setrade_monitor_errors", "Failures of watching", registry=r)

    def attach(self, pipeline: Stages) -> None:
        """Look at a run that is about to begin; its history is the first reference."""
        self.pipeline, self._before = pipeline, min(BEFORE, pipeline.window.length)
        self._safely(self._look_back)

    def _look_back(self) -> None:
        assert self.pipeline is not None
        watch = self.watches["input"]
        for row in remembered(self.pipeline.journal, watch.rows, RECENT, self._before):
            self._watch("input", row)

    def said(self, wish: Wish, window: Window) -> None:
        """Take in what the model answered to a window; tests wait until the bar is done."""
        self.wish = wish
        self.confidence.observe(wish.confidence)
        self._safely(self._note, window)

    def _note(self, window: Window) -> None:
        """Keep what has to be watched of an answer."""
        bars = window.frame()[COLUMNS].to_numpy()[-self._before :]
        if len(bars) == self._before:
            row = newest(bars.T).tolist()
            self._waiting.append(("input", dict(zip(INPUTS, row, strict=True))))
        answer = getattr(self.pipeline and self.pipeline.model, "last", None)
        self.agreement = float(getattr(answer, "agreement", math.nan))
        gates = getattr(answer, "attention", None)
        if gates and gates is not self._gates:  # an answer that stands is told only once
            self._waiting.append(("gate", gates))
        self._gates = gates

    def row(self, row: Row, seconds: float) -> None:
        """Take in where the account stands after a bar; then there is time to test for drift."""
        self.newest, self.seen_at = row, self.clock()
        self._time("bar", seconds)
        self.bars.inc()
        self.orders.inc(row.orders)
        self.equity.set(row.equity)
        self.units.set(row.units)
        self._safely(self._after, row)

    def _after(self, row: Row) -> None:
        if self.pipeline is not None and (row.orders or not self.lines):
            self.lines = newest_orders(self.pipeline.journal)
        waiting, self._waiting = self._waiting, []
        for name, values in waiting:
            self._watch(name, values)

    def _watch(self, name: str, values: Mapping[str, float]) -> None:
        for reading, before in self.watches[name].update(values):
            self.drifts.labels(name, reading.state).inc()
            if self.pipeline is not None:
                told = {"watch": name, "before": before, **reading._asdict()}
                self.pipeline.journal.event("drift", **told)

    def _safely(self, work: Callable[..., None], *args: object) -> None:
        """Watching must never stop what it watches: count an error, and journal its kind once."""
        try:
            work(*args)
        except Exception as error:
            self.errors.inc()
            kind = type(error).__name__
            if self.pipeline is not None and kind not in self._told:
                self._told.add(kind)
                self.pipeline.journal.event("monitor", error=repr(error))

    def stage(self, stage: str, seconds: float, waiting: int) -> None:
        """Take in how long a stage took for a bar, and how many bars wait for it."""
        self._time(stage, seconds)
        self.queue.labels(stage).set(waiting)

    def _time(self, stage: str, seconds: float) -> None:
        self.latency.labels(stage).observe(seconds)
        self.latencies.add(stage, seconds)

    def quantile(self, stage: str, share: float) -> float:
        """Return a quantile of the newest 1,024 durations of a stage; NaN if there is none."""
        return self.latencies.quantile(stage, share)

    def trouble(self, what: str) -> None:
        """Take in that a try to close the position failed."""
        self.tries.inc()

    def facts(self) -> Facts:
        """Return everything at a glance."""
        return gather(self)

    def serve(self, port: int) -> int:
        """Serve ``/metrics``, and the status page at ``/``, on this machine; return the port."""
        return serve(self.registry, lambda: page(self.facts()), lambda: panels(self.facts()), port)
