"""Figures of a run for Prometheus: latency by stage, queues, confidence, account, faults."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from setrade.errors import integer

from .trader import Row

STAGES = ("model", "trade", "bar")  # "bar": from hearing a bar to its last order
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES = tuple(k / 10 for k in range(1, 11))


class Monitor:
    """Counts and times what the pipeline tells it; `Pipeline` takes it as ``monitor``.

    ``registry`` holds the metrics, all of them named ``setrade_...``.
    """

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
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

    def row(self, row: Row, seconds: float) -> None:
        """Take in where the account stands after a bar."""
        self.latency.labels("bar").observe(seconds)
        self.bars.inc()
        self.orders.inc(row.orders)
        self.equity.set(row.equity)
        self.units.set(row.units)

    def stage(self, stage: str, seconds: float, waiting: int) -> None:
        """Take in how long a stage took for a bar, and how many bars wait for it."""
        self.latency.labels(stage).observe(seconds)
        self.queue.labels(stage).set(waiting)

    def quantile(self, stage: str, share: float) -> float:
        """Return the upper edge of the bucket that holds a quantile of a stage's latency.

        NaN before anything was measured, infinity above the last edge.
        """
        samples = [s for m in self.latency.collect() for s in m.samples]
        mine = [s for s in samples if s.name.endswith("_bucket") and s.labels["stage"] == stage]
        total = mine[-1].value if mine else 0.0
        if not total:
            return float("nan")
        return next(float(s.labels["le"]) for s in mine if s.value >= share * total)

    def serve(self, port: int) -> int:
        """Serve ``/metrics`` on this machine; return the port (0 takes a free one)."""
        server, _ = start_http_server(
            integer("port", port, 0, 65_535), "127.0.0.1", registry=self.registry
        )
        return server.server_port
