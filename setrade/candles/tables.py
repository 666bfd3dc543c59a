"""Tables in files of which nothing is known: containers, encodings, delimiters and headers."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from setrade.errors import ArgumentError

TEXTS = (".csv", ".tsv", ".txt")
KINDS = (*TEXTS, ".json", ".jsonl", ".parquet", ".pq", ".feather")
ENDINGS = "a file that ends in .csv, .tsv, .txt, .json, .jsonl, .parquet or .feather, each also \
in .gz, .zip, .zst, .bz2 or .xz"
SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".h5", ".hdf5", ".hdf", ".pkl", ".pickle")
# What a file is by its first bytes, whatever its name says.
MAGIC = {
    b"PK\x03\x04": "a zip or an Excel sheet", b"\x1f\x8b": "gzip", b"PAR1": "parquet",
    b"ARROW1": "feather", b"\x89HDF": "HDF5", b"BZh": "bzip2", b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard", b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel sheet", b"%PDF": "a PDF", b"<!doctype": "a web page",
    b"<html": "a web page", b"<?xml": "XML: a sheet, or a server's refusal",
}  # fmt: skip
HEAD = 65_536  # bytes in which the delimiter and the header are looked for
NUMBER = re.compile(r"[-+]?[\d.,]*\d(?:[eE][-+]?\d+)?|[-+]?inf(?:inity)?|nan", re.IGNORECASE)
DECIMAL = r"[-+]?\d+(?:,\d+)?"
NO_HEADER = 'columns="time open high low close volume", names in the order of the file: it has \
no header, its first row is '


def key(name: str) -> str:
    """Return a column's name without case, spaces and signs: ``<Open Time>`` is opentime."""
    return re.sub(r"[\W_]+", "", name).casefold()


def load(path: Any, names: Sequence[str] | None, texts: Collection[str]) -> pd.DataFrame:
    """Load a file as it is, under the names of its own header or under ``names``, in order.

    Columns whose `key` is in ``texts``, or a date beside a time, stay text where the file is.
    """
    if not isinstance(path, str | Path) or not Path(path).is_file():
        raise ArgumentError("path", path, f"the path of {ENDINGS}")
    try:
        ending, data = _unpack(Path(path))
        if ending in TEXTS:
            return _from_csv(_utf8(data or Path(path).read_bytes()), names, texts)
        if ending in (".json", ".jsonl"):
            table = _from_json(_utf8(data or Path(path).read_bytes()).decode())
        else:
            table = _from_arrow(path if data is None else io.BytesIO(data), ending)
    except ArgumentError as error:
        if error.name:  # what the reader's options have to answer
            raise
        raise ArgumentError("path", path, error.allowed) from error
    except Exception as error:  # decoders raise anything at all on damaged bytes
        raise ArgumentError("path", path, f"a file that can be read ({error})") from error
    return _renamed(table, names)


def _refuse(allowed: str) -> ArgumentError:
    """Return a fault of the file; `load` puts its path in."""
    return ArgumentError("", None, allowed)


def _unpack(path: Path) -> tuple[str, bytes | None]:
    """Return the kind of a file, and what is inside where it is compressed."""
    inner, outer = Path(path.stem.lower()).suffix, path.suffix.lower()
    if outer in KINDS:
        return outer, None
    openers = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress,
               ".zst": _unzstd}  # fmt: skip
    if outer == ".zip":
        inner, data = _unzip(path)
    elif outer in openers and inner in KINDS:
        data = openers[outer](path.read_bytes())
    elif outer in SHEETS:
        way = "open it with pandas (read_excel, read_hdf, read_pickle) and write it by to_parquet"
        raise _refuse(f"{ENDINGS}; {outer} is not read: {way}, or save it as CSV")
    else:
        raise _refuse(ENDINGS)
    if inner not in KINDS:
        raise _refuse(f"{ENDINGS}; this one holds a file that ends in {inner!r}")
    return inner, data


def _unzstd(data: bytes) -> bytes:
    """Decompress Zstandard by the codec that comes with pyarrow."""
    return pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()


def _unzip(path: Path) -> tuple[str, bytes]:
    """Return the kind and the bytes of the one file in a zip."""
    with zipfile.ZipFile(path) as box:
        found = [m for m in box.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
        if len(found) != 1:
            held = ", ".join(m.filename for m in found[:5])
            raise _refuse(f"a zip with one file in it, unpack it first; it holds: {held}")
        return Path(found[0].filename.lower()).suffix, box.read(found[0])


def _utf8(data: bytes) -> bytes:
    """Return text as UTF-8 without its byte order mark."""
    start = data[:16].lstrip().lower()
    for mark, kind in MAGIC.items():
        if start.startswith(mark.lower()):
            raise _refuse(f"text, and this is {kind}: name the file by what it is, or unpack it")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # as MetaTrader writes it
        data = data.decode("utf-16").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        raise _refuse("text without NUL bytes: the file is damaged, or no text")
    try:
        _ = data.isascii() or data.decode()
    except UnicodeDecodeError as error:
        raise _refuse(f"text in UTF-8, or in UTF-16 with its mark ({error})") from error
    return data


def _from_arrow(source: Any, ending: str) -> pd.DataFrame:
    """Load parquet or feather; an index that has a name, or holds times, becomes a column."""
    table = pd.read_feather(source) if ending == ".feather" else pd.read_parquet(source)
    index = table.index
    if isinstance(index, pd.DatetimeIndex) or any(n is not None for n in index.names):
        names = [str(n) if n is not None else "time" for n in index.names]
        table = table.reset_index(names=names, allow_duplicates=True)
    return table


# ---- JSON.


def _from_json(text: str) -> pd.DataFrame:
    """Load a list of rows or of records, a dict of columns, or an exchange's answer with one."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    for _ in range(4):  # as in {"retCode": 0, "result": {"list": [...]}}
        found = _inside(found)
    if isinstance(found, dict):
        columns = {k: v for k, v in found.items() if _holds(v)}
        tables = [k for k, v in columns.items() if any(isinstance(x, list | dict) for x in v)
                  or (isinstance(v, dict) and any(map(_holds, v.values())))]  # fmt: skip
        if tables or not columns:
            held = f"it holds {', '.join(map(repr, tables[:5]))}" if tables else f"this is {found}"
            raise _refuse(f"JSON with rows, one list of them ({held[:200]})")
        table = pd.DataFrame(columns)
        return table if isinstance(table.index, pd.RangeIndex) else _stamped(table)
    if not isinstance(found, list) or not found:
        raise _refuse("JSON with a list of rows, a list of records or a dict of columns")
    if len({isinstance(row, dict) for row in found}) > 1 or not _holds(found[0]):
        raise _refuse("JSON whose rows are all lists, or all records")
    return pd.DataFrame(cast(Any, found))


def _inside(found: Any) -> Any:
    """Go one step towards the rows of an answer, where only one value of it can hold them."""
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict):
        lists = [v for v in found[0].values() if _rows(v)]
        return lists[0] if len(lists) == 1 else found
    if not isinstance(found, dict):
        return found
    held = [v for v in found.values() if _holds(v)]
    lists = [v for v in held if _rows(v)]
    return held[0] if len(held) == 1 else lists[0] if len(lists) == 1 else found


def _rows(value: Any) -> bool:
    """Say whether a JSON value is a list of rows or of records."""
    return (
        isinstance(value, list) and bool(value) and all(isinstance(v, list | dict) for v in value)
    )


def _holds(value: Any) -> bool:
    """Say whether a JSON value can hold rows or columns."""
    return isinstance(value, list | dict) and bool(value)


def _stamped(table: pd.DataFrame) -> pd.DataFrame:
    """Make a column of the index of what pandas' ``to_json`` wrote, unless it numbers rows."""
    if list(table.index) == [str(k) for k in range(len(table))]:
        return table.reset_index(drop=True)
    return table.reset_index(names="", allow_duplicates=True)


# ---- Text.


def _from_csv(data: bytes, names: Sequence[str] | None, texts: Collection[str]) -> pd.DataFrame:
    """Load delimited text; see `load`."""
    head = re.split(r"\r\n|\r|\n", data[:HEAD].decode(errors="ignore"))[:40]
    mark, skip = _shape(head)
    rows = [r for r in csv.reader(head[skip:], delimiter=mark, skipinitialspace=True) if any(r)]
    if not rows:
        raise _refuse("a file that can be read (there is no row in it)")
    header, above = _header(rows)
    first = rows[above] if len(rows) > above else []
    if header is None and names is None:
        raise ArgumentError("columns", None, NO_HEADER + " ".join(first or rows[0]))
    width = max(len(first), len(header or ()))
    if header and any(cell for cell in first[len(header) :]):
        counts = f"the header names {len(header)} columns, the first row has {len(first)}"
        raise _refuse(f"rows as long as their header ({counts}; header: {' '.join(header)})")
    numbered = header is None and above and rows[0][0].strip() == "" and first[:1] == ["0"]
    names = ["", *names] if names and numbered else names
    used = _padded(names, header or [""] * width, width)
    keys = list(map(key, used))
    texts = {*texts, "date", "time"} if {"date", "time"} <= set(keys) else texts
    kept = {i: str for i, k in enumerate(keys) if k in texts}  # 000000 is a time of day
    table = pd.read_csv(
        io.BytesIO(data), sep=mark, header=None, names=list(range(width)), dtype=cast(Any, kept),
        skiprows=_lines(head, skip, above), skipinitialspace=True,
    )  # fmt: skip
    table = _decimal_commas(table) if mark != "," else table
    return _without_row_numbers(table.set_axis(used, axis=1))


def _lines(head: list[str], skip: int, above: int) -> int:
    """Return how many lines of the file stand above its first row, blank ones included."""
    at = skip
    while above and at < len(head):
        above -= bool(head[at].strip(" ,;|\t"))
        at += 1
    return at


def _shape(head: list[str]) -> tuple[str, int]:
    """Return the delimiter, and how many lines stand above the header: titles, URLs, comments."""
    for mark in ("\t", ";", "|", ",", " ", ","):  # spaces only where nothing else divides
        rows = list(csv.reader(head, delimiter=mark, skipinitialspace=True))
        usual = Counter(len(r) for r in rows if any(r)).most_common(1)
        if usual and usual[0][0] >= 4 + (mark == " "):
            break
    for at, row in enumerate(rows):
        title = sum(map(bool, row)) < 2 or (row[0][:1] == "#" and len(row) != usual[0][0])
        if not title:
            return mark, at
    return mark, 0


def _header(rows: list[list[str]]) -> tuple[list[str] | None, int]:
    """Return the names that a header gives, None without one, and how many rows it takes."""
    first = [cell.strip() for cell in rows[0]]
    start = int(first[0] == "")
    if len(first) > 3 and first[start:] == [str(k) for k in range(len(first) - start)]:
        return None, 1  # pandas numbered columns that had no names
    if sum(bool(NUMBER.fullmatch(cell)) for cell in first) >= 4:
        return None, 0
    if [r[0] for r in rows[:2]] == ["Price", "Ticker"] and len(rows) > 2:  # Yahoo's three rows
        if len({cell for cell in rows[1][1:] if cell}) > 1:
            raise _refuse(f"one symbol in a file; its second row is {' '.join(rows[1])}")
        return [rows[2][0], *first[1:]], 3
    return first, 1


def _decimal_commas(table: pd.DataFrame) -> pd.DataFrame:
    """Turn ``42324,9`` into a number where no comma of the file can be a thousands separator."""
    texts = table.select_dtypes("str")
    columns = [c for c in texts if texts[c].dropna().str.fullmatch(DECIMAL).all()]
    sure = any(texts[c].str.contains(r"\d{4},|,\d{1,2}$|,\d{4}").any() for c in columns)
    points = any((x.dropna() % 1 != 0).any() for _, x in table.select_dtypes("float").items())
    for c in columns if sure and not points else ():
        table[c] = texts[c].str.replace(",", ".").astype("float64")
    return table


def _without_row_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out a nameless first column that only counts the rows, as pandas writes it."""
    first = table.iloc[:, 0] if table.shape[1] else None
    if first is None or table.columns[0] != "" or first.dtype.kind not in "iu":
        return table
    return table.iloc[:, 1:] if (first.to_numpy() == np.arange(len(first))).all() else table


def _padded(names: Sequence[str] | None, header: Sequence[str], width: int) -> list[str]:
    """Return a name for every column: the reader's in their order, or the header's."""
    if names is not None and len(names) > width:
        raise ArgumentError("columns", list(names), f"at most {width} names, as many as columns")
    chosen = list(header if names is None else names)
    return chosen + [""] * (width - len(chosen))


def _renamed(table: pd.DataFrame, names: Sequence[str] | None) -> pd.DataFrame:
    """Name the columns of a table by the reader's list, or make sure that it has names."""
    header = [str(c) for c in table.columns]
    if names is None and header == [str(k) for k in range(len(header))]:
        row = " ".join(map(str, table.iloc[0])) if len(table) else ""
        raise ArgumentError("columns", None, NO_HEADER + row)
    return table.set_axis(_padded(names, header, len(header)), axis=1)
