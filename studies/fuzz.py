"""Damaged files and messages: everything that comes from outside ends right or in a typed error.

Sound inputs are damaged at random (bytes, cells, lines, figures inside JSON) and handed to what
reads them: `candles.read`, the exchange's archives, the stream's handlers, checkpoints, their
specification, the journal. An answer is right if it keeps the reader's own laws (what `read`
returns passes `check`, and its prices stand in the file); an error is typed if its class is one
that the docstring names. Anything else is counted as untyped and its input is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import math
import re
import sqlite3
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from setrade import candles, orderbook, results
from setrade.bybit import archives
from setrade.bybit.constants import ArchiveError
from setrade.bybit.events import BookHandler, Handler, KlineHandler, TradeHandler, parse
from setrade.bybit.orders import Order, OrderRequest, client_order_id
from setrade.channels import Standardizer
from setrade.errors import ArgumentError
from setrade.inference import Spec, load, save
from setrade.live import Journal, JournalError
from setrade.live.types import Bar
from setrade.models import SETrader
from setrade.signals import Signal
from setrade.training import CheckpointError

TOKENS = (
    "", "NaN", "inf", "-1", "0", "1e999", "9" * 30, "true", "x", "\ufeff", "2024-13-01", "1,2", '"',
    "١", "1_000", "0x10", "-inf", " ", "\x00", "99999999999999999999", "2262-04-12", "9999-12-31",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**40, 1.5, float("nan"), float("inf"), "", "x", "NaN", "1e999", [], [[]],
    {}, [None], {"a": 1}, "9" * 50, "-0", 2**63, [["1", "2", "3"]], [["1"]], "\ud800",
)  # fmt: skip


class Target(NamedTuple):
    """What is fed: how an input is made, what reads it, and the errors that it may raise."""

    share: float
    make: Callable[[np.random.Generator], Any]
    read: Callable[[Any], None]
    typed: tuple[type[Exception], ...]


# ---- Damage.


def of_bytes(sound: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with some flipped, cut out, repeated or cut off."""
    data = bytearray(sound)
    for _ in range(rng.integers(1, 4)):
        a, b = sorted(int(k) for k in rng.integers(0, len(data) + 1, 2))
        b = min(b, a + int(rng.integers(1, 64)))
        kind = rng.integers(4)
        if kind == 0 and a < len(data):
            data[a] = int(rng.integers(256))
        elif kind == 1:
            del data[a:b]
        elif kind == 2:
            data[a:a] = data[a:b]
        else:
            del data[max(a, 1) :]
    return bytes(data)


def of_table(sound: str, rng: np.random.Generator) -> bytes:
    """Return a CSV file with cells replaced, and lines repeated, swapped or left out."""
    lines = [line.split(",") for line in sound.splitlines()]
    for _ in range(rng.integers(1, 4)):
        if not lines:
            break
        i, j = (int(k) for k in rng.integers(0, len(lines), 2))
        kind = rng.integers(6)
        if kind < 3 and lines[i]:
            lines[i][rng.integers(len(lines[i]))] = TOKENS[rng.integers(len(TOKENS))]
        elif kind == 3:
            lines[i], lines[j] = lines[j], lines[i]
        elif kind == 4:
            lines.insert(i, list(lines[j]))
        else:
            del lines[i]
    return "\n".join(",".join(line) for line in lines).encode()


def of_json(sound: Any, rng: np.random.Generator) -> Any:
    """Return a copy of decoded JSON with one value somewhere inside replaced or left out."""
    if isinstance(sound, dict | list) and sound and rng.random() < 0.85:
        copy: Any = sound.copy()
        keys = list(copy) if isinstance(copy, dict) else list(range(len(copy)))
        key = keys[rng.integers(len(keys))]
        if rng.random() < 0.1:
            del copy[key]
        else:
            copy[key] = of_json(copy[key], rng)
        return copy
    return VALUES[rng.integers(len(VALUES))]


# ---- The targets.


def stand_in(found: pd.DataFrame, data: bytes) -> None:
    """Assert that every figure of a frame stands in the text that it was read from."""
    cells = {float(c) for c in re.findall(rb"[-+.\w]+", data) if FIGURE.fullmatch(c)}
    assert set(found.to_numpy().ravel().tolist()) <= cells, "a figure that the file does not hold"


FIGURE = re.compile(rb"[-+]?[\d.]*\d(?:[eE][-+]?\d+)?")


def of_candles(folder: Path) -> Iterator[tuple[str, Target]]:
    """Yield the reader's own file, as CSV text, as bytes of parquet and of gzip."""
    frame = candles.synthetic(12, seed=0).candles
    text = frame.reset_index().to_csv(index=False)
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    typed = (ArgumentError, candles.CandleError)

    def reader(name: str) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            (folder / name).write_bytes(data)
            found = candles.read(folder / name, "15min")
            candles.check(found)
            if name.endswith(".csv"):
                stand_in(found, data)

        return read

    yield "read csv", Target(0.2, lambda r: of_table(text, r), reader("a.csv"), typed)
    packed, whole = gzip.compress(text.encode()), parquet.getvalue()
    yield "read gz", Target(0.04, lambda r: of_bytes(packed, r), reader("a.csv.gz"), typed)
    yield "read parquet", Target(0.06, lambda r: of_bytes(whole, r), reader("a.parquet"), typed)


WORDS = (
    "time", "Time", "date", "timestamp", "open_time", "close_time", "unix", "open", "Open", "o",
    "high", "low", "close", "Close", "c", "volume", "Volume BTC", "vol", "amount", "turnover",
    "symbol", "confirm", "status", "rtype", "marketCap", "", "x", "id", "interval", "1", "ts",
)  # fmt: skip
OPTIONS: dict[str, tuple[Any, ...]] = {
    "columns": ("time open high low close volume", {"close": "c"}, "a b", 5),
    "time": ("time", ("date", "time"), "nix"), "stamp": ("close", "open"), "tz": ("UTC", "+03:00"),
    "volume": ("volume", "vol", "amount"), "where": ({"symbol": "A"}, {"confirm": 1}),
    "newest_first": (True, False), "offset": ("16h", "x"), "until": ("2024-01-02T00:00Z", "x"),
}  # fmt: skip


def of_exports(folder: Path) -> Iterator[tuple[str, Target]]:
    """Yield the reader's file under headers and options of all kinds; as JSON, zip and feather."""
    frame = candles.synthetic(8, seed=0).candles.round(2)
    numbers = [[str(t.value // 10**9), *map(str, row)] for t, row in zip(
        frame.index, frame.to_numpy().tolist(), strict=True)]  # fmt: skip
    records = frame.reset_index().astype(str).to_dict("records")
    feather, box = io.BytesIO(), io.BytesIO()
    frame.reset_index().to_feather(feather)
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.csv", frame.reset_index().to_csv(index=False))

    def header(rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
        width = int(rng.integers(5, 10))
        names = [WORDS[k] for k in rng.integers(0, len(WORDS), width)]
        rows = [(row + [str(rng.choice(["A", "1", "0", "5.5", ""])) for _ in range(4)])[:width]
                for row in numbers]  # fmt: skip
        lines = [names, *rows] if rng.random() < 0.8 else rows
        keys = [k for k in OPTIONS if rng.random() < 0.2]
        mark = str(rng.choice([",", ",", ";", "\t"]))
        text = "\n".join(mark.join(r) for r in lines)
        return text, {k: OPTIONS[k][rng.integers(len(OPTIONS[k]))] for k in keys}

    def with_options(given: tuple[str, dict[str, Any]]) -> None:
        (folder / "h.csv").write_text(given[0], encoding="utf-8")
        found = candles.read(folder / "h.csv", **given[1])
        candles.check(found)
        stand_in(found, given[0].encode())

    def of(name: str) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            (folder / name).write_bytes(data)
            candles.check(candles.read(folder / name))

        return read

    typed = (ArgumentError, candles.CandleError)
    answer = {"retCode": 0, "result": {"symbol": "A", "list": records}}
    yield "read headers", Target(0.08, header, with_options, typed)
    yield (
        "read json",
        Target(0.06, lambda r: json.dumps(of_json(answer, r)).encode(), of("a.json"), typed),
    )
    whole, packed = feather.getvalue(), box.getvalue()
    yield "read feather", Target(0.02, lambda r: of_bytes(whole, r), of("a.feather"), typed)
    yield "read zip", Target(0.02, lambda r: of_bytes(packed, r), of("a.zip"), typed)


def of_archives(folder: Path) -> Iterator[tuple[str, Target]]:
    """Yield the exchange's files: trades as text, books as JSON lines and in a zip."""
    head = "timestamp,symbol,side,size,price,tickDirection,trdMatchID"
    rows = [f"{1_704_067_200 + i}.5,BTCUSDT,{'Buy' if i % 2 else 'Sell'},0.1,42000,Zero,{i}"
            for i in range(8)]  # fmt: skip
    trades = "\n".join([head, *rows])
    books = list(orderbook.messages(orderbook.synthetic(100, seed=0, filled=1, spoofs=1).books[:4]))
    lines = "\n".join(map(json.dumps, books)).encode()
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.data", lines)

    def of_trades(data: bytes) -> None:
        (folder / "t.csv").write_bytes(data)
        table = archives.trades(folder / "t.csv")
        assert table["time"].is_monotonic_increasing
        assert (table["price"] > 0).all()

    def of_books(name: str) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            (folder / name).write_bytes(data)
            archives.replay(archives.book_messages(folder / name), 3)

        return read

    typed = (ArgumentError, ArchiveError, orderbook.BookStateError, orderbook.BookError)
    yield "archive trades", Target(0.1, lambda r: of_table(trades, r), of_trades, typed)
    yield "archive lines", Target(0.05, lambda r: of_bytes(lines, r), of_books("b.data"), typed)
    packed = box.getvalue()
    yield "archive zip", Target(0.05, lambda r: of_bytes(packed, r), of_books("b.zip"), typed)
    yield "archive messages", Target(
        0.05, lambda r: [of_json(m, r) if r.random() < 0.3 else m for m in books],
        lambda m: (archives.replay(m, 3), None)[1], typed,
    )  # fmt: skip


def of_stream(folder: Path) -> Iterator[tuple[str, Target]]:
    """Yield the stream's three kinds of messages; a handler never raises, whatever comes."""
    t = 1_704_067_200_000
    times = {"start": t, "end": t + 899_999, "timestamp": t, "interval": "15", "confirm": True}
    prices = {"open": "1", "close": "1", "high": "2", "low": "0.5", "volume": "3", "turnover": "4"}
    bar = times | prices
    trade = {"T": t, "s": "BTCUSDT", "S": "Buy", "v": "0.1", "p": "4", "i": "a", "BT": False}
    books = list(orderbook.messages(orderbook.synthetic(100, seed=0, filled=1, spoofs=1).books[:3]))
    kinds: dict[str, tuple[type[Handler], str, list[dict[str, Any]]]] = {
        "stream bars": (KlineHandler, "kline.15.BTCUSDT", [{"data": [bar], "type": "snapshot"}]),
        "stream trades": (TradeHandler, "publicTrade.BTCUSDT", [{"data": [trade], "ts": t}]),
        "stream books": (BookHandler, "orderbook.50.BTCUSDT", books),
    }
    for name, (kind, topic, sound) in kinds.items():

        def make(rng: np.random.Generator, sound: list[dict[str, Any]] = sound) -> list[Any]:
            damaged = [of_json(m, rng) for m in sound]
            return [m for m in damaged if isinstance(m, dict)]  # the connection takes no other

        def read(messages: list[Any], kind: type[Handler] = kind, topic: str = topic) -> None:
            handler = kind(parse(topic))
            for message in messages:
                handler.take(message)

        yield name, Target(0.12, make, read, ())


def of_nets(folder: Path) -> Iterator[tuple[str, Target]]:
    """Yield a checkpoint's bytes, and its specification's text."""
    names = ("rsi", "roc")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 2)), columns=list(names))
    preprocessing = {"kind": "windows", "columns": list(names), "scale_free": True,
                     "standardizer": Standardizer().fit(frame).to_dict()}  # fmt: skip
    arguments = {"channels": 2, "encoder": "conv", "hidden": 4, "reduction": 2}
    spec = Spec("SETrader", arguments, preprocessing, (2, 16), "15min")
    torch.manual_seed(0)
    whole = save(folder / "a.safetensors", SETrader(**arguments), spec).read_bytes()
    text = json.loads(spec.to_json())

    def of_file(data: bytes) -> None:
        (folder / "b.safetensors").write_bytes(data)
        load(folder / "b.safetensors")

    def of_text(value: Any) -> None:
        Spec.from_json(json.dumps(value)).build()

    typed = (CheckpointError,)
    yield "checkpoint", Target(0.02, lambda r: of_bytes(whole, r), of_file, typed)
    yield "specification", Target(0.03, lambda r: of_json(text, r), of_text, typed)


def of_journals(folder: Path) -> Iterator[tuple[str, Target]]:
    """Yield a journal's bytes, and one of whose cells holds something else than was written."""
    path, copy = folder / "a.journal", folder / "b.journal"
    _written(path)
    whole = path.read_bytes()
    db = sqlite3.connect(path)
    cells = {(table, column): db.execute(f"SELECT {column} FROM {table}").fetchone()[0]
             for table in ("bars", "signals", "intents", "fills", "events", "state", "settings")
             for _, column, *_ in db.execute(f"PRAGMA table_info({table})").fetchall()}  # fmt: skip
    db.close()

    def read(data: bytes) -> None:
        for old in folder.glob("b.journal*"):
            old.unlink()
        copy.write_bytes(data)
        _asked(copy)

    def change(rng: np.random.Generator) -> tuple[str, str, Any]:
        table, column = list(cells)[rng.integers(len(cells))]
        value = cells[table, column]
        if isinstance(value, str) and value.startswith("{") and rng.random() < 0.8:
            return table, column, json.dumps(of_json(json.loads(value), rng))
        return table, column, DEEP if rng.random() < 0.05 else VALUES[rng.integers(len(VALUES))]

    def read_changed(given: tuple[str, str, Any]) -> None:
        for old in folder.glob("b.journal*"):
            old.unlink()
        copy.write_bytes(whole)
        table, column, value = given
        plain = isinstance(value, str | float | None) or (isinstance(value, int) and value < 2**63)
        told = value if plain else str(value)
        # SQLite holds no half of a character, and keeps its own constraints
        with contextlib.suppress(UnicodeEncodeError, sqlite3.IntegrityError):
            db = sqlite3.connect(copy)
            try:
                with db:
                    db.execute(f"UPDATE {table} SET {column} = ?", (told,))
            finally:
                db.close()
        _asked(copy)

    yield "journal", Target(0.03, lambda r: of_bytes(whole, r), read, (JournalError,))
    yield "journal lines", Target(0.03, change, read_changed, (JournalError,))


DEEP = "[" * 100_000  # JSON that nests deeper than any reader goes


def _written(path: Path) -> None:
    """Write a journal with a line in every table."""
    at, journal = pd.Timestamp(AT, tz="UTC"), Journal(path, durable=False)
    order = OrderRequest("BTCUSDT", "buy", Decimal("0.1"), at)
    journal.event("child", pid=1)
    journal.keep("figures", {"cash": 1.0})
    journal.bar(Bar(AT, 1.0, 2.0, 0.5, 1.0, 3.0))
    journal.signal(AT, Signal(at, 0.5, 0.5))
    journal.request(order)
    name = order.client_order_id
    journal.order(Order(name, "1", "BTCUSDT", "buy", order.qty, None, "new", order.qty, 42000.0))
    journal.finish(AT, cash=1.0)
    journal.close()


AT = 1_704_067_200_000_000_000
NAME = client_order_id("setrade", "BTCUSDT", AT, 0)


def _asked(path: Path) -> None:
    """Ask a journal all that a run asks of it; what it answers keeps its kind."""
    opened = Journal(path, durable=False, busy_timeout=0.1)
    try:
        done = opened.state()
        assert done is None or isinstance(done[1], dict)
        for bar in [*opened.newest_bars(3), *opened.oldest_bars(3)]:
            assert all(isinstance(x, int | float) for x in bar)
        for ask in (opened.counts, opened.unfinished):
            ask()
        opened.known(NAME)
        opened.said(AT)
        opened.kept("figures")
        opened.newest_orders(3)
        opened.pairs("x")
        assert all(isinstance(x, dict) for x in opened.events("child"))
    finally:
        try:
            opened.close()
        except JournalError:
            opened.db.close()


def targets(folder: Path) -> dict[str, Target]:
    """Return every target by name; files go to ``folder``."""
    made = (of_candles, of_exports, of_archives, of_stream, of_nets, of_journals)
    return {name: target for family in made for name, target in family(folder)}


def run(count: int, seed: int, *, quiet: bool = True) -> dict[str, Any]:
    """Feed ``count`` inputs in all; return what came of them, by target."""
    out: dict[str, Any] = {"inputs": 0, "untyped": 0, "by_target": {}, "found": []}
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        every = targets(Path(name))
        shares = sum(target.share for target in every.values())
        for place, (label, target) in enumerate(every.items()):
            ends, began = Counter[str](), time.perf_counter()
            rng = np.random.default_rng([seed, place])
            n = math.ceil(count * target.share / shares)  # never fewer than asked for in all
            for _ in tqdm(range(n), label, disable=quiet, mininterval=5):
                given = target.make(rng)
                said = _outcome(target, given)
                ends[said.split(":")[0]] += 1
                if said.startswith("untyped"):
                    out["found"].append([label, said, repr(given)[:300]])
            seconds = round(time.perf_counter() - began, 1)
            out["by_target"][label] = {**ends, "inputs": n, "seconds": seconds}
            out["inputs"] += n
    out["untyped"] = len(out["found"])
    out["found"] = out["found"][:50]
    return out


def _outcome(target: Target, given: Any) -> str:
    """Return "right", "typed", or "untyped: " and the error."""
    try:
        target.read(given)
    except target.typed:
        return "typed"
    except Exception as error:  # the very thing that is looked for
        return f"untyped: {type(error).__name__}: {str(error)[:150]}"
    return "right"


def main() -> None:
    """Run the fuzzer and store its figures."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--count", type=int, default=200_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--dry", action="store_true", help="print, store nothing")
    given, began = options.parse_args(), time.perf_counter()
    found = run(given.count, given.seed, quiet=False)
    for label, ends in found["by_target"].items():
        print(label, ends)
    for line in found["found"]:
        print(*line, sep="\n  ")
    print(f"{found['inputs']} inputs, {found['untyped']} untyped")
    if not given.dry:
        seconds = time.perf_counter() - began
        results.save(
            "fuzz", found, command="make study STUDY=fuzz", seed=given.seed, seconds=seconds
        )


if __name__ == "__main__":
    main()
