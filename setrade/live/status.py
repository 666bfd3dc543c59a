"""The frame of the status page: its style, and the few lines that keep it fresh.

Nothing is loaded from elsewhere. Boxes are replaced one by one, and only when they changed, so
that nothing flickers and a selection survives. When the process does not answer, the page says
so: an old picture of a healthy run is worse than none.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pandas as pd
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from setrade.errors import integer

if TYPE_CHECKING:
    from setrade.live.monitor import Facts


STYLE = """
:root { color-scheme: light dark; --back: #f4f5f7; --card: #fff; --ink: #16191d; --soft: #5b6470;
  --line: #dfe3e8; --good: #00613f; --look: #8a4b00; --bad: #a8071a; }
@media (prefers-color-scheme: dark) { :root { --back: #101418; --card: #1a2027; --ink: #e8ebef;
  --soft: #9aa5b1; --line: #2c343d; --good: #4cc38a; --look: #f0a94b; --bad: #ff7b7b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1200px; margin: 0 auto; padding: 12px; display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); }
header, section { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 16px; min-width: 0; }
header { grid-column: 1 / -1; border-left: 8px solid currentColor; }
header h1 { margin: 0; font-size: 2rem; line-height: 1.2; }
header p { margin: 2px 0 0; color: var(--ink); }
h2 { margin: 0 0 6px; font-size: 0.95rem; color: var(--soft); font-weight: 600; }
dl { margin: 0; display: grid; grid-template-columns: auto 1fr; gap: 3px 14px; }
dt { color: var(--soft); } dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
section p { margin: 0; color: var(--soft); }
#orders { grid-column: 1 / -1; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { color: var(--soft); font-weight: 400; }
th, td { text-align: right; padding: 3px 6px; white-space: nowrap; }
td:last-child { white-space: normal; padding-right: 0; } th:last-child { padding-right: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody tr { border-top: 1px solid var(--line); }
@media (max-width: 480px) { table { font-size: 0.85em; } th, td { padding: 3px; } }
small { color: var(--soft); font-size: 0.87em; white-space: nowrap; }
.good { color: var(--good); } .look { color: var(--look); } .bad { color: var(--bad); }
.dim { color: var(--soft); }
#silent { position: sticky; top: 0; z-index: 1; margin: 0; padding: 10px 16px; text-align: center;
  background: var(--bad); color: var(--card); font-weight: 600; }
a { color: inherit; }
body.silent main { opacity: 0.45; }
footer { max-width: 1200px; margin: 0 auto; padding: 0 14px 20px; color: var(--soft); }
"""

SCRIPT = """
const main = document.querySelector('main'), silent = document.getElementById('silent');
let heard = new Date();
function renew(html) {
  const fresh = document.createElement('main');
  fresh.innerHTML = html;
  const names = [...fresh.children].map(box => box.id).join();
  if (names !== [...main.children].map(box => box.id).join()) { main.innerHTML = html; return; }
  for (const box of fresh.children) {
    const old = document.getElementById(box.id);
    if (old.outerHTML !== box.outerHTML) old.replaceWith(box.cloneNode(true));
  }
}
function title() {
  const state = document.querySelector('h1').textContent.trim();
  document.title = document.body.classList.contains('silent') ? 'NO ANSWER' : state + ' · setrade';
}
async function look() {
  try {
    const answer = await fetch('/panels', {cache: 'no-store', signal: AbortSignal.timeout(5000)});
    if (!answer.ok) throw new Error(answer.status);
    renew(await answer.text());
    heard = new Date();
    silent.hidden = true;
    document.body.classList.remove('silent');
  } catch (error) {
    silent.textContent = 'No answer since ' + heard.toLocaleTimeString() +
      '. The figures below are old. Look at the process and at the exchange.';
    silent.hidden = false;
    document.body.classList.add('silent');
  }
  title();
  setTimeout(look, 2000);
}
title();
setTimeout(look, 2000);
"""

PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>setrade</title><link rel="icon" href="data:,">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>{STYLE}</style></head>
<body><p id="silent" role="alert" hidden></p><main>{{panels}}</main>
<footer>Renewed every two seconds. Figures for machines: <a href="/metrics">/metrics</a>.</footer>
<script>{SCRIPT}</script></body></html>
"""


# ---- The status page: a run at a glance, for a person with a phone and a bad feeling.


# A mark's class gives its colour, its first sign the same again for who sees none.
MARKS = {"good": "●", "look": "▲", "bad": "■", "dim": "○"}
STATES = {"trading": "good", "flat": "dim", "halted": "bad", "starting": "dim"}
DRIFTS = {"calm": "good", "watch": "look", "alarm": "bad"}
COUNTED = {"reconnects": "connections made anew", "gaps": "gaps in the stream",
           "drops": "messages dropped", "filled": "bars fetched later"}  # fmt: skip
Row = tuple[str, str]  # what, and its value as HTML


def text(value: object) -> str:
    """Return a value that is safe in HTML."""
    return escape(str(value))


def mark(kind: str, word: object) -> str:
    """Return a word with the colour and the sign of its kind."""
    return f'<span class="{kind}">{MARKS[kind]} {text(word)}</span>'


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


def panel(title: str, rows: Iterable[Row], note: str = "") -> str:
    """Return a box of rows; empty for none."""
    body = "".join(f"<dt>{text(name)}</dt><dd>{value}</dd>" for name, value in rows)
    if not body and not note:
        return ""
    named = f'<section id="{title.split()[0].lower()}"><h2>{text(title)}</h2>'
    return f"{named}<dl>{body}</dl>{f'<p>{text(note)}</p>' if note else ''}</section>"


def head(f: Facts) -> str:
    """Return the state in large letters, and the newest bar."""
    late = f.patience is not None and f.age > f.patience / 2
    age = mark("look", f"{duration(f.age)} ago: late") if late else f"{duration(f.age)} ago"
    return (
        f'<header id="head" class="{STATES[f.state]}"><h1>{MARKS[STATES[f.state]]} '
        f"{text(f.state)}</h1><p>{text(f.why)}</p>"
        f"<p>{text(f.symbol)} · last bar {stamp(f.time)} UTC, {age}</p></header>"
    )


def account(f: Facts) -> list[Row]:
    """Position, worth and the day's loss against its limit."""
    rows = [("held", figure(f.units, ",.6f")), ("wanted", figure(f.want, "+.2f")),
            ("last close", figure(f.close)), ("equity", figure(f.equity))]  # fmt: skip
    rows.append(("today", figure(f.day, "+.2%")))
    if f.limit is None:
        return [*rows, ("allowed loss of a day", "no limit")]
    used = -f.day / f.limit if math.isfinite(f.day) else 0.0
    kind = "bad" if used >= 1 else "look" if used >= 0.5 else "good"
    word = "limit reached" if used >= 1 else "over half used" if used >= 0.5 else "within"
    return [*rows, ("allowed loss of a day", f"{f.limit:.2%} {mark(kind, word)}")]


def model(f: Facts) -> list[Row]:
    """Which level answers, how sure it is, how far timeframes agree."""
    rows = []
    for k, name in enumerate(f.levels):
        here = "dim", "stands by" if k > f.level else "left: failing or slow"
        kind, word = ("good" if k == 0 else "look", "answers") if k == f.level else here
        rows.append((f"level {k + 1}: {name}", mark(kind, word)))
    rows.append(("last answer by", text(f.source or "–")))
    rows.append(("confidence", figure(f.confidence, ".0%")))
    if math.isfinite(f.agreement):
        rows.append(("timeframes agree", figure(f.agreement, ".0%")))
    return rows


def latency(f: Facts) -> list[Row]:
    """p50 and p99 by stage; the model's against its budget."""
    rows = []
    for stage, values in f.latency.items():
        told = f"{duration(values[0])} / {duration(values[-1])}"
        if stage == "model" and f.budget is not None:
            over = values[-1] > f.budget
            kind, word = ("look", "over") if over else ("good", "within")
            told += f" {mark(kind, f'{word} {duration(f.budget)}')}"
        rows.append((stage, told))
    return rows


def drift(f: Facts) -> list[Row]:
    """PSI and KS of each column, in a word."""
    rows = []
    for watch, readings in f.drift.items():
        for r in readings:
            figures = f"<small>PSI {r.psi:.2f}, KS {r.ks:.2f}</small>"
            rows.append((f"{watch} {r.name}", f"{mark(DRIFTS[r.state], r.state)} {figures}"))
        waits = f.learning.get(watch, "")
        if waits:
            rows.append((watch, mark("dim", waits)))
    return rows


def machine(f: Facts) -> list[Row]:
    """Queues, the stream, the GPU."""
    rows = []
    for name, (waiting, places) in f.queues.items():
        kind, word = ("look", "full") if waiting >= places else ("good", "flows")
        rows.append((f"queue to {name}", f"{waiting} of {places} {mark(kind, word)}"))
    if f.stream:
        there = bool(f.stream["connected"])
        rows.append(("stream", mark("good" if there else "bad", "up" if there else "down")))
        rows += [(told, f"{f.stream.get(name, 0):.0f}") for name, told in COUNTED.items()]
    if "memory_used" in f.gpu:
        used = f"{f.gpu['memory_used'] / 2**30:.1f} of {f.gpu['memory_total'] / 2**30:.1f} GiB"
        busy = figure(f.gpu.get("utilization", math.nan), ".0%")
        rows.append(("GPU", f"{busy} busy, {used}"))
    return rows


def faults(f: Facts) -> list[Row]:
    """Bars left out or missing, by kind."""
    return [(kind, mark("look", count)) for kind, count in sorted(f.faults.items())]


def orders(f: Facts) -> str:
    """Return the newest orders as a table."""
    names = ("bar (UTC)", "side", "size", "price", "status")
    rows: list[Sequence[str]] = [
        (stamp(o.time, "%m-%d %H:%M"), o.side, o.qty, figure(math.nan if o.price is None
         else o.price), f"{o.status} {o.reason}".strip())
        for o in f.orders
    ]  # fmt: skip
    top = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{text(v)}</td>' for v in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    inner = f'<div class="wide">{table}</div>' if rows else "<p>none yet</p>"
    return f'<section id="orders"><h2>Newest orders</h2>{inner}</section>'


def panels(f: Facts) -> str:
    """Return the part of the page that changes."""
    clean = "" if f.faults else "no bar was left out"
    boxes = (
        panel("Account", account(f)), panel("Model", model(f)),
        panel("Latency p50 / p99", latency(f)), panel("Drift", drift(f)),
        panel("Flow", machine(f)), panel("Faults in bars", faults(f), clean), orders(f),
    )  # fmt: skip
    return head(f) + "".join(boxes)


def page(f: Facts) -> str:
    """Return the whole page; it fetches its panels anew every two seconds."""
    return PAGE.replace("{panels}", panels(f))


# ---- One small HTTP server on this machine: metrics, the status page and its panels.


HTML = "text/html; charset=utf-8"
# Nothing is loaded from anywhere, and no other page may show this one in a frame.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; frame-ancestors 'none'"
)
Route = tuple[str, Callable[[], bytes]]


class Handler(BaseHTTPRequestHandler):
    """Answers GET for a few known paths."""

    routes: Mapping[str, Route] = {}

    def do_GET(self) -> None:
        """Answer 200 with what the path stands for, or 404."""
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
        for name, value in (
            ("Content-Type", route[0]), ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"), ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard error belongs to the run."""


def serve(
    registry: CollectorRegistry, page: Callable[[], str], panels: Callable[[], str], port: int
) -> int:
    """Serve ``/metrics``, ``/`` and ``/panels`` on 127.0.0.1 from a thread of its own.

    Args:
        registry: of the metrics. page: makes the whole page; panels: the part that changes.
        port: 0 takes a free one.

    Returns:
        The port.

    Raises:
        ArgumentError: no such port. OSError: it is taken.
    """
    routes: dict[str, Route] = {
        "/": (HTML, lambda: page().encode()),
        "/panels": (HTML, lambda: panels().encode()),
        "/metrics": (CONTENT_TYPE_LATEST, lambda: generate_latest(registry)),
    }
    handler = type("Bound", (Handler,), {"routes": routes})
    server = ThreadingHTTPServer(("127.0.0.1", integer("port", port, 0, 65_535)), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="setrade-status", daemon=True).start()
    return server.server_port
