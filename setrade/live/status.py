"""The status page: a run at a glance, for a person with a phone and a bad feeling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from .template import PAGE

if TYPE_CHECKING:
    from .monitor import Facts

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
