"""Damaged files and messages: everything that comes from outside ends right or in a typed error.

Sound inputs are damaged at random (bytes, cells, lines, figures inside JSON) and handed to what
reads them: `candles.read`, the exchange's archives, the stream's handlers, checkpoints, their
specification, the journal. An answer is right if it keeps the reader's own laws (what `read`
returns passes `check`); an error is typed if its class is one that the docstring names. Anything
else is counted as untyped and its input is kept.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
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
from setrade.channels import Standardizer
from setrade.errors import ArgumentError
from setrade.inference import Spec, load, save
from setrade.live import Journal, JournalError
from setrade.models import SETrader
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
            candles.check(candles.read(folder / name, "15min"))

        return read

    yield "read csv", Target(0.2, lambda r: of_table(text, r), reader("a.csv"), typed)
    packed, whole = gzip.compress(text.encode()), parquet.getvalue()
    yield "read gz", Target(0.04, lambda r: of_bytes(packed, r), reader("a.csv.gz"), typed)
    yield "read parquet", Target(0.06, lambda r: of_bytes(whole, r), reader("a.parquet"), typed)


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
    """Yield a journal's bytes, and one whose lines hold other JSON than was written."""
    path = folder / "a.journal"
    journal = Journal(path, durable=False)
    journal.event("child", pid=1)
    journal.keep("figures", {"cash": 1.0})
    journal.finish(10**18, cash=1.0)
    journal.commit()
    journal.close()
    whole = path.read_bytes()

    def read(data: bytes) -> None:
        for old in folder.glob("b.journal*"):
            old.unlink()
        (folder / "b.journal").write_bytes(data)
        opened = Journal(folder / "b.journal", durable=False, busy_timeout=0.1)
        try:
            for ask in (opened.state, opened.counts, opened.unfinished):
                ask()
            opened.kept("figures")
            opened.newest_bars(3)
            opened.newest_orders(3)
        finally:
            try:
                opened.close()
            except JournalError:
                opened.db.close()

    yield "journal", Target(0.04, lambda r: of_bytes(whole, r), read, (JournalError,))


def targets(folder: Path) -> dict[str, Target]:
    """Return every target by name; files go to ``folder``."""
    made = (of_candles, of_archives, of_stream, of_nets, of_journals)
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
            n = max(1, round(count * target.share / shares))
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
