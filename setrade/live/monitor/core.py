"""What the pipeline tells while it runs, and what is made of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..drift import INPUTS, Watch
from ..drift.inputs import COLUMNS, newest
from ..schema import Wish
from ..server import serve
from ..status import page, panels
from ..trader import Row
from ..window import Window
from .facts import Facts, Line, gather, newest_orders
from .latencies import Latencies
from .past import remembered
from .pulled import Pulled

if TYPE_CHECKING:
    from ..stages import Stages

STAGES = ("model", "trade", "bar")  # "bar": from hearing a bar to its last order
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES = tuple(k / 10 for k in range(1, 11))
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
            "setrade_confidence", "Confidence of signals", buckets=SHARES, registry=r
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
