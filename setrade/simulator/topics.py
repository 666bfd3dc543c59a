"""What a topic says at a moment: klines, trades and books as stream messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from .books import FIRST_UPDATE, View, changes, full
from .exchange import Exchange
from .public import bar_trades
from .tape import strings
from .wire import CODES, Refused

DEPTHS = (1, 50, 200, 1000)
Message = dict[str, Any]


def parse(x: Exchange, topic: Any) -> tuple[str, str, str]:
    """Return kind, argument and symbol of a public topic; refuse what does not exist."""
    parts = topic.split(".") if isinstance(topic, str) else []
    if len(parts) == 2 and parts[0] == "publicTrade":
        parts.insert(1, "")
    if len(parts) == 3 and parts[2] in x.instruments:
        kind, argument, symbol = parts
        if kind == "kline" and argument in CODES:
            x.tape(symbol, argument)
            return kind, argument, symbol
        known = argument.isdecimal() and int(argument) in DEPTHS and symbol in x.books
        if (kind == "orderbook" and known) or kind == "publicTrade":
            return kind, argument, symbol
    raise Refused(10404, f"error:handler not found,topic:{topic}")


def kline(x: Exchange, topic: str, code: str, symbol: str, at: int) -> Message | None:
    """Return the push of a kline topic at time ``at``; None where the tape has no such bar.

    On a multiple of the interval the bar that has just closed is confirmed.
    """
    tape = x.tape(symbol, code)
    start = at - at % tape.step - (tape.step if at % tape.step == 0 else 0)
    row = int(np.searchsorted(tape.opens, start))
    if row == len(tape.opens) or tape.opens[row] != start:
        return None
    figures = dict(
        zip(
            ("open", "high", "low", "close", "volume", "turnover"),
            strings(tape.at(row, at)),
            strict=True,
        )
    )
    entry = {"start": start, "end": start + tape.step - 1, "interval": code, **figures}
    entry |= {"confirm": at == start + tape.step, "timestamp": at}
    return {"topic": topic, "type": "snapshot", "ts": at, "data": [entry]}


def trades(x: Exchange, topic: str, symbol: str, at: int) -> Message | None:
    """Return the trades of the bar that closes at ``at``."""
    tape = x.base(symbol)
    row = -1 if tape is None else int(np.searchsorted(tape.opens, at - tape.step))
    if tape is None or row == len(tape.opens) or tape.opens[row] != at - tape.step:
        return None
    data = [
        {"T": int(t["time"]), "s": symbol, "S": t["side"], "v": t["size"], "p": t["price"]}
        | {"L": "PlusTick" if t["side"] == "Buy" else "MinusTick", "i": t["execId"], "BT": False}
        for t in bar_trades(tape, symbol, row)
    ]
    return {"topic": topic, "type": "snapshot", "ts": at, "data": data}


def snapshot(topic: str, symbol: str, view: View, row: int, stamp: int) -> Message:
    """Return a whole book as a message."""
    bids, asks = full(view)
    u = FIRST_UPDATE + row
    data = {"s": symbol, "b": bids, "a": asks, "u": u, "seq": u}
    return {"topic": topic, "type": "snapshot", "ts": stamp, "data": data, "cts": stamp}


def delta(topic: str, symbol: str, before: View, now: View, row: int, stamp: int) -> Message:
    """Return what changed in a book as a message.

    assumption: a row of the tape is one update, pushed even where no visible level changed.
    """
    bids, asks = changes(before[0], now[0]), changes(before[1], now[1])
    u = FIRST_UPDATE + row
    data = {"s": symbol, "b": bids, "a": asks, "u": u, "seq": u}
    return {"topic": topic, "type": "delta", "ts": stamp, "data": data, "cts": stamp}
