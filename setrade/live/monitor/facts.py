"""One look at a run: everything that a person or Prometheus may ask for, at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..drift import Reading
from ..failover import Failover
from ..journal import Journal
from ..schema import unpack
from .gpu import gpu

if TYPE_CHECKING:
    from ..stages import Stages
    from .core import Monitor

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
    for time, record, status, reason, filled, average in rows:
        intent = unpack(record)
        qty, price = f"{float(filled or intent['qty']):.8g}", average and float(average)
        lines.append(Line(time, intent["side"], qty, price, status, reason))
    return lines
