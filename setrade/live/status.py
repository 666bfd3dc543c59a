"""The status page of a run: what it shows, how that looks, and the small server that shows it.

Nothing is loaded from elsewhere (`status.html`). Boxes are replaced one by one, and only when they
changed, so that nothing flickers and a selection survives. When the process does not answer, the
page says so: an old picture of a healthy run is worse than none.
"""

from __future__ import annotations

import errno
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pandas as pd
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from setrade.errors import integer
from setrade.live.types import Snapshot

# A mark's class gives its colour, its first sign the same again for who sees none.
MARKS = {"good": "●", "look": "▲", "bad": "■", "dim": "○"}
STATES = {"trading": "good", "flat": "dim", "halted": "bad", "starting": "dim"}
DRIFTS = {"calm": "good", "watch": "look", "alarm": "bad"}
COUNTED = {"reconnects": "connections made anew", "gaps": "gaps in the stream",
           "drops": "messages dropped", "backfilled": "bars fetched later"}  # fmt: skip
# Nothing is loaded from anywhere, and no other page may show this one in a frame.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
Fields = Iterable[tuple[str, str]]  # what, and its value as HTML


def mark(kind: str, word: object) -> str:
    """Return a word with the colour and the sign of its kind."""
    return f'<span class="{kind}">{MARKS[kind]} {escape(str(word))}</span>'


def figure(value: float, form: str = ",.2f") -> str:
    """Return a number; a dash where nothing is known."""
    return f"{value:{form}}".replace("-", "−") if math.isfinite(value) else "–"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def stamp(time: int | None, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return a time in ns as text, UTC."""
    return "–" if time is None else pd.Timestamp(time, tz="UTC").strftime(form)


def panel(title: str, rows: Fields, note: str = "") -> str:
    """Return a box of rows; empty for none."""
    body = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in rows)
    if not body and not note:
        return ""
    named = f'<section id="{title.split()[0].lower()}"><h2>{title}</h2>'
    return f"{named}<dl>{body}</dl>{f'<p>{note}</p>' if note else ''}</section>"


def head(s: Snapshot) -> str:
    """Return the state in large letters, and the newest bar."""
    age, kind = f"{duration(s.age)} ago", STATES[s.state]
    if s.stale_timeout is not None and s.age > s.stale_timeout / 2:
        age = mark("look", f"{age}: late")
    about = " · ".join(f"{name}: {told}" for name, told in s.about.items())
    return (
        f'<header id="head" class="{kind}"><h1>{MARKS[kind]} {s.state}</h1><p>{escape(s.why)}</p>'
        f"{f'<p>{escape(about)}</p>' if about else ''}"
        f"<p>{escape(s.symbol)} · last bar {stamp(s.time)} UTC, {age}</p></header>"
    )


def account(s: Snapshot) -> Fields:
    """Position, worth and the day's loss against its limit."""
    yield "held", figure(s.units, ",.6f")
    yield "wanted", figure(s.target_position, "+.2f")
    yield "last close", figure(s.close)
    yield "equity", figure(s.equity)
    yield "today", figure(s.day, "+.2%")
    if s.limit is None:
        yield "allowed loss of a day", "no limit"
        return
    used = -s.day / s.limit if math.isfinite(s.day) else 0.0
    kind, word = (
        ("bad", "limit reached") if used >= 1
        else ("look", "over half used") if used >= 0.5 else ("good", "within")
    )  # fmt: skip
    yield "allowed loss of a day", f"{s.limit:.2%} {mark(kind, word)}"


def model(s: Snapshot) -> Fields:
    """Which level answers, how sure it is, how far timeframes agree."""
    for k, name in enumerate(s.levels):
        kind, word = "dim", "stands by" if k > s.level else "left: failing or slow"
        if k == s.level:
            kind, word = "look" if k else "good", "answers"
        yield f"level {k + 1}: {name}", mark(kind, word)
    yield "last answer by", escape(s.source or "–")
    yield "confidence", figure(s.confidence, ".0%")
    if math.isfinite(s.agreement):
        yield "timeframes agree", figure(s.agreement, ".0%")


def latency(s: Snapshot) -> Fields:
    """p50 and p99 by stage; the model's against its budget."""
    for stage, values in s.latency.items():
        shown = f"{duration(values[0])} / {duration(values[-1])}"
        if stage == "model" and s.budget is not None:
            kind, word = ("look", "over") if values[-1] > s.budget else ("good", "within")
            shown += f" {mark(kind, f'{word} {duration(s.budget)}')}"
        yield stage, shown


def drift(s: Snapshot) -> Fields:
    """PSI and KS of each column, in a word."""
    for watch, readings in s.drift.items():
        for r in readings:
            figures = f"<small>PSI {r.psi:.2f}, KS {r.ks:.2f}</small>"
            yield f"{watch} {r.name}", f"{mark(DRIFTS[r.state], r.state)} {figures}"
        if waits := s.learning.get(watch):
            yield watch, mark("dim", waits)


def flow(s: Snapshot) -> Fields:
    """Queues, the stream, the GPU."""
    for name, (waiting, places) in s.queues.items():
        kind, word = ("look", "full") if waiting >= places else ("good", "flows")
        yield f"queue to {name}", f"{waiting} of {places} {mark(kind, word)}"
    if s.stream:
        yield "stream", mark("good", "up") if s.stream["connected"] else mark("bad", "down")
        yield from ((shown, f"{s.stream.get(name, 0):.0f}") for name, shown in COUNTED.items())
    if "memory_used" in s.gpu:
        used, total = (s.gpu[name] / 2**30 for name in ("memory_used", "memory_total"))
        busy = figure(s.gpu.get("utilization", math.nan), ".0%")
        yield "GPU", f"{busy} busy, {used:.1f} of {total:.1f} GiB"


def orders(s: Snapshot) -> str:
    """Return the newest orders as a table."""
    rows = [("bar (UTC)", "side", "size", "price", "status")]
    for o in s.orders:
        price = figure(math.nan if o.price is None else o.price)
        status = f"{o.status} {o.reason}".strip()
        rows.append((stamp(o.time, "%m-%d %H:%M"), o.side, o.qty, price, status))
    head, *body = (
        f"<tr>{''.join(f'<{tag}>{escape(value)}</{tag}>' for value in row)}</tr>"
        for tag, row in zip(["th"] + ["td"] * len(s.orders), rows, strict=True)
    )
    table = f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
    inner = f'<div class="wide">{table}</div>' if body else "<p>none yet</p>"
    return f'<section id="orders"><h2>Newest orders</h2>{inner}</section>'


def panels(s: Snapshot) -> str:
    """Return the part of the page that changes."""
    faults = [(kind, mark("look", count)) for kind, count in sorted(s.faults.items())]
    boxes = [
        panel("Account", account(s)), panel("Model", model(s)),
        panel("Latency p50 / p99", latency(s)), panel("Drift", drift(s)), panel("Flow", flow(s)),
        panel("Faults in bars", faults, "" if faults else "no bar was left out"), orders(s),
    ]  # fmt: skip
    return head(s) + "".join(boxes)


def page(s: Snapshot) -> str:
    """Return the whole page; it fetches its panels anew every two seconds."""
    template = files("setrade.live").joinpath("status.html").read_text(encoding="utf-8")
    return template.replace("{panels}", panels(s))


def loopback(host: str) -> bool:
    """Tell whether the ``Host`` of a request names this machine to itself, with or without a port.

    A page of somebody else's can make its own name point here; a browser then sends that name.
    """
    name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip().removeprefix("[").removesuffix("]").lower()
    with suppress(ValueError):
        return name == "localhost" or ip_address(name).is_loopback
    return False


class PortError(OSError):
    """The page cannot be served at a port; says why, and whose it is where that can be told."""


def owner(port: int) -> str:
    """Return what listens at a port of this machine, as far as Linux tells it."""
    with suppress(OSError, IndexError):
        tables = [f for f in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if f.exists()]
        lines = [
            row.split() for f in tables for row in f.read_text(encoding="ascii").splitlines()[1:]
        ]
        links = {f"socket:[{row[9]}]" for row in lines
                 if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}  # fmt: skip
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):  # a process that has ended, or is somebody else's
                if os.readlink(link) in links:
                    name = (link.parents[1] / "comm").read_text(encoding="utf-8").strip()
                    return f"{name}, process {link.parts[2]}"
    return "another program"


class StatusServer(ThreadingHTTPServer):
    """Serves on this machine only; a client that goes away is nothing to tell of."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client's end of the line; of anything else, what is usual."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class StatusHandler(BaseHTTPRequestHandler):
    """Answers GET for the paths in ``routes``, each a content type and what makes the body."""

    routes: dict[str, tuple[str, Callable[[], bytes]]]
    timeout = 10.0  # seconds that a client may leave a request unfinished

    def do_HEAD(self) -> None:
        """Answer as for GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer 200 with what the path stands for, 403 to a foreign name, or 404."""
        if not loopback(self.headers.get("Host", "localhost")):
            self.send_error(403, "only by a name of this machine: localhost or 127.0.0.1")
            return
        route = self.routes.get(self.path.split("?")[0])
        if route is None:
            self.send_error(404)
            return
        try:
            body = route[1]()
        except Exception as error:  # the run goes on; who asks is told
            self.send_error(500, type(error).__name__)
            return
        self.send_response(200)
        sizes = {"Content-Type": route[0], "Content-Length": str(len(body))}
        for name, value in (sizes | HEADERS).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard error belongs to the run."""


def serve(registry: CollectorRegistry, snapshot: Callable[[], Snapshot], port: int) -> int:
    """Serve ``/``, ``/panels``, ``/facts.json`` and ``/metrics`` on 127.0.0.1, in a thread.

    Returns:
        The port; for 0 a free one is taken.

    Raises:
        ArgumentError: no such port. PortError: it is taken.
    """
    html = "text/html; charset=utf-8"
    routes = {
        "/": (html, lambda: page(snapshot()).encode()),
        "/panels": (html, lambda: panels(snapshot()).encode()),
        "/facts.json": ("application/json", lambda: snapshot().json().encode()),
        "/metrics": (CONTENT_TYPE_LATEST, lambda: generate_latest(registry)),
    }
    handler = type("Bound", (StatusHandler,), {"routes": routes})
    try:
        server = StatusServer(("127.0.0.1", integer("port", port, 0, 65_535)), handler)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", -1))
        why = f"taken by {owner(port)}" if taken else f"not to be had: {error.strerror}"
        raise PortError(f"port {port} is {why}; choose another, or 0 for any free one") from error
    threading.Thread(target=server.serve_forever, name="setrade-status", daemon=True).start()
    return server.server_port
