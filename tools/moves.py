"""Sphinx extension: what the moving pictures of a page need, and nothing on other pages.

A chapter holds ``<div data-move="NAME">`` around a still figure and words. Its page gets
``js/moves.js``, ``js/NAME.js`` and the picture's data, computed here from `setrade` when the site
is built and written into the page itself: a page that is opened as a file cannot fetch another.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from setrade import candles, orderbook
from setrade.evidence import claims

Data = dict[str, Any]
PLACE = re.compile(r'<div data-move="(\w+)"')
START = 1200  # first bar of the windows that chapters 08 and 09 draw
SNAPSHOTS, EVERY, LEVELS = 200, 3, 12  # of chapter 10's book: a minute, three a second
PER_COIN = 1000  # sizes are stored in thousandths


@functools.cache
def bars() -> Any:
    """Return the real 15-minute bars that come with the package."""
    return candles.sample()


def se_block() -> Data:
    """Return the window and the weights that chapter 03 computes with a pencil."""
    return {
        "names": ["return", "volume", "range", "rsi"],
        "x": [[1, 2, 3], [0, 1, 2], [2, 2, 2], [-1, 0, 1]],
        "w1": [[1, -1, 0, 0], [0, 0, -1, 1]],
        "w2": [[1, 0], [-1, 0], [0, 1], [0, 2]],
    }


def gasf() -> Data:
    """Return the window of closes of chapter 08's first figure."""
    return {"close": bars()["close"].to_numpy()[START : START + 48].tolist()}


def recurrence() -> Data:
    """Return the day of log closes whose thresholds chapter 09 draws."""
    return {"price": np.log(bars()["close"].to_numpy()[START : START + 96]).tolist()}


def costs() -> Data:
    """Return opens and closes as whole steps of 1/256 dollar, and which bars settle funding."""
    step = 1 / 256
    opened, closed = (np.rint(bars()[c].to_numpy() / step).astype(int) for c in ("open", "close"))
    before = np.r_[opened[0], closed[:-1]]
    times = bars().index
    return {
        "step": step,
        "first": int(opened[0]),
        "close": (closed - before).tolist(),
        "gap": (opened - before).tolist(),
        "settles": ((times.hour % 8 == 0) & (times.minute == 0)).astype(int).tolist(),
        "dates": [f"{t:%d %B %Y}" for t in (times[0], times[-1])],
        "lookback": 96,
    }


def claim_rows() -> Data:
    """Return what the page of claims filters, sorts and draws, in the order of the ledger."""
    import claims_page

    rows = []
    for claim in claims.ledger():
        found = claim.found()
        ends = None if found is None or found.low is None else [found.low, found.high]
        rows.append({
            "id": claim.id, "verdict": claim.verdict, "source": claim.source,
            "chapter": claim.chapter.removeprefix("ch-").replace("-", " "),
            "claim": claim.claim, "claimed": claim.claimed,
            "measured": found and found.value, "interval": claim.checked("corrected") or ends,
            "numbers": claims_page.numbers(claim),
        })  # fmt: skip
    return {"rows": rows}


@functools.cache
def book() -> orderbook.Snapshots:
    """Return a minute of chapter 10's synthetic book, from its first wall on."""
    market = orderbook.synthetic(6_000, seed=10, signal=0.5, walls=6, filled=40, spoofs=40)
    walls = market.planted[market.planted.kind == "wall"]
    first = min(int(walls.start.iloc[0]), len(market.books) - SNAPSHOTS * EVERY)
    return market.books[first : first + SNAPSHOTS * EVERY : EVERY]


def order_book() -> Data:
    """Return that book: prices as steps of a tick from level to level, sizes in thousandths."""
    data: Data = {"perDollar": 10, "perCoin": PER_COIN, "seconds": EVERY / 10}
    data["span"] = LEVELS * 1e3 / float(book().mid()[-1])  # basis points: a row a tick
    for side in ("bid", "ask"):
        ticks = np.rint(10 * getattr(book(), f"{side}_price")[:, :LEVELS]).astype(int)
        sizes = np.rint(PER_COIN * getattr(book(), f"{side}_size")[:, :LEVELS]).astype(int)
        data |= {side: np.diff(ticks, axis=1, prepend=0).tolist(), f"{side}s": sizes.tolist()}
    return data


def walk_forward() -> Data:
    """Return where the faders of chapter 18's splits start."""
    split = {"lookback": 4, "horizon": 3, "embargo": 2, "train": 20, "test": 15, "groups": 5}
    return {"start": {"way": "walk-forward", "n": 80, "expanding": True, **split}}


DATA: dict[str, Callable[[], Data]] = {
    "se_block": se_block,
    "gasf": gasf,
    "recurrence": recurrence,
    "costs": costs,
    "claims": claim_rows,
    "order_book": order_book,
    "walk_forward": walk_forward,
}


@functools.cache
def script(name: str) -> str:
    """Return a picture's data as JSON that may stand in a page."""
    text = json.dumps(DATA[name](), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("</", "<\\/")


def _add(app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Add to a page the scripts of its moving pictures, with their data."""
    names = sorted(set(PLACE.findall(context.get("body", ""))))
    if names:
        app.add_js_file("js/moves.js", priority=600)
    for name in names:
        told = {"type": "application/json", "id": f"move-data-{name}"}
        app.add_js_file(None, body=script(name), priority=601, **told)
        app.add_js_file(f"js/{name}.js", priority=602)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
