"""The reader's own file as candles: what is certain is read, all else is asked for by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from setrade.candles.checks import (
    COLUMNS,
    LAYOUTS,
    UTC_NAMES,
    CandleError,
    CandleFault,
    bar_interval,
    check,
    find_faults,
    parse_interval,
    parse_offset,
)
from setrade.candles.tables import NUMBER, key, load
from setrade.errors import ArgumentError, choice, flag

# How a column's name is spelled, by `key`: without case, spaces and signs.
SPELLED = {name: (name, name[0], f"{name}price", f"price{name}", f"px{name}")
           for name in COLUMNS[:4]} | {"turnover": ("turnover",)}  # fmt: skip
VOLUME = ("volume", "vol", "v", "basevolume", "volumebase", "basevol", "volbase")
SIZES = ("amount", "amt", "qty", "quantity", "size", "homenotional", "foreignnotional", "notional",
         "sum")  # fmt: skip
MEASURES = re.compile(r"quote|taker|buy|sell|volatil|(sma|ema|ma|mean|avg)\d*$")
OPENS = re.compile(r"(bar|candle|kline)?(open|start|begin)(ing)?(time|timestamp|at|date|datetime|ts"
                   r"|ms)(utc|ms)?|(time|timestamp)(period)?(open|start)|start|begin|startedat"
                   r"|(window|period|bucket|interval)(start|open|begin)"
                   )  # fmt: skip
CLOSES = re.compile(r"(bar|candle|kline)?(close|end)(ing)?(time|timestamp|at|date|datetime|ts|ms)"
                    r"(utc|ms)?|(time|timestamp)(period)?(close|end)|end")  # fmt: skip
TIMES = re.compile(r"t|ts|(utc|gmt|local|unix|epoch|trade|trading|bar|candle|kline)?(date|time"
                   r"|datetime|timestamp|stamp)(utc|gmt|ms|s|local)?|dateandtime|unix|epoch|day|ticks|tsevent"
                   )  # fmt: skip
SERIES = (r"(symbol|sym|ticker|pair|instrument|inst|market|coin|asset|contract|product|security|ric"
          r"|crypto|currency|ccy|exchange|venue|platform|token|stock|isin|figi|cusip|sedol|series"
          r"|conid|secid|permno|gvkey|underlying|strike|expiry|expiration|maturity)")  # fmt: skip
LABELS = re.compile(rf"(trading|base|quote|{SERIES})*{SERIES}(id|name|code|type|key|month|date)?"
                    r"|interval|period|per|timeframe|tf|resolution|granularity|barsize"
                    )  # fmt: skip
CALENDARS = re.compile(r".*(day|week|month|quarter|year|hour|session|season).*|dow")
TAGS = ("s", "i", "id", "name", "code", "base", "quote", "slug")  # labels where they hold text
WHAT = r"(is|was|has|bar|candle|kline|row|flag)*"
CLOSED = re.compile(WHAT + r"(confirm(ed)?|closed|final(i[sz]ed)?|finish(ed)?|complete(d|ness)?"
                    r"|done|ended|settled)(bar|candle|kline|flag)?|is(bar|candle|kline)?close"
                    )  # fmt: skip
FORMING = re.compile(WHAT + r"(forming|partial|unfinished|incomplete|unclosed|unconfirmed|notclosed"
                     r"|live|pending|provisional|preliminary|inprogress|realtime|current|nonfinal)"
                     r"(bar|candle|kline|flag)?|is(bar|candle|kline)?open")  # fmt: skip
STATES = ("x", "status", "state", "barstatus", "barstate", "candlestatus", "candlestate")
YES = {"1", "true", "t", "yes", "y", "closed", "close", "confirmed", "final", "finished", "done",
       "complete", "completed", "ended"}  # fmt: skip
NO = {"0", "false", "f", "no", "n", "open", "unconfirmed", "forming", "partial", "unfinished",
      "incomplete", "live", "pending", "current", "provisional", "unclosed", "updating", "building",
      "in_progress", "inprogress", "in progress", "intrabar", "preliminary"}  # fmt: skip


def read(
    path: str | Path,
    interval: str | pd.Timedelta | None = None,
    *,
    columns: str | Sequence[str] | Mapping[str, str] | None = None,
    time: str | Sequence[str] | None = None,
    stamp: str = "open",
    tz: str | None = None,
    volume: str | None = None,
    where: Mapping[str, Any] | None = None,
    newest_first: bool = False,
    offset: str | pd.Timedelta | None = None,
    until: str | pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Read candles from a file of your own, and check them.

    Columns are found by their names, a number's unit (s, ms, us or ns since 1970) by its size.
    Whatever has two answers is refused by an error that shows the header and names the option
    that decides. Nothing is mended: faults are raised. Other columns are left out.

    Args:
        path: CSV (also with tabs, ``;`` or ``|``), JSON, parquet or feather; each also
            compressed (``.gz``, ``.zip``, ``.zst``, ``.bz2``, ``.xz``).
        interval: the bar length that you expect; None takes the most frequent step.
        columns: names in the order of the file where it has no header (or a wrong one), such as
            ``"time open high low close volume"``: what follows is left out; or which column is
            which, ``{"close": "Last price"}``.
        time: the file's column of times, or two of them: ``("date", "clock")``.
        stamp: ``"close"`` where a time is the moment at which its bar closed (also 59.999).
        tz: the zone of stamps that carry none, such as ``"UTC"``; without it they are refused.
        volume: the file's column of volume, in units of the **base** (coins, shares).
        where: rows to keep, a value (or several) by column: ``{"symbol": "BTCUSDT"}``,
            ``{"confirm": 1}``. Others are dropped.
        newest_first: turn the rows round; the file must run from new to old.
        offset: when days begin, after midnight UTC: ``"16h"``. The frame remembers it.
        until: the moment of the download, with its zone; bars that close later are dropped.

    Returns:
        A frame of candles that passes `check`, float64 (float32 where parquet has it). Prices
        in quote currency, volume as the file gives it.

    Raises:
        ArgumentError: no such file, one that cannot be read, or one of several readings.
        CandleError: bars that have not closed, and what `check` finds in the file.
    """
    choice("stamp", stamp, ("open", "close"))
    flag("newest_first", newest_first)
    length = None if interval is None else parse_interval("interval", interval)
    where = {} if where is None else where
    names, chosen = _names(columns)
    pair = time if isinstance(time, list | tuple) else ()
    table = load(path, names, {key(str(name)) for name in pair})
    table = _kept(table, where)
    clock = _clock(table, time, stamp, path)
    at = {**_prices(table, chosen), **_volume(table, volume)}
    _refuse_mixtures(table, {*at.values(), *clock}, where)
    moments = _moments(table, clock, path, tz)
    _refuse_last(table, {*at.values(), *clock}, where, moments)
    offset = table.attrs.get("offset") if offset is None else offset
    frame = _frame(table, at, moments)
    if volume is None and columns is not None:
        _refuse_price_as_volume(frame)
    if offset is not None:
        frame.attrs["offset"] = str(parse_offset("offset", offset))
    frame = _ordered(frame, newest_first)
    frame = _opens(frame, length) if stamp == "close" else frame
    frame = _closed(frame, length, until)
    _check(frame, length, table)
    return frame


# ---- Which column is which.


def _names(columns: Any) -> tuple[list[str] | None, dict[str, str]]:
    """Return names in the order of the file, or the reader's names of single columns."""
    allowed = 'names in order ("time open high low close volume", or a list), or a dict from one '
    allowed += f"of {', '.join(SPELLED)} to a column of the file"
    if columns is None:
        return None, {}
    if isinstance(columns, Mapping):
        if not set(columns) <= set(SPELLED) or not all(
            isinstance(v, str) for v in columns.values()
        ):
            raise ArgumentError("columns", columns, allowed)
        return None, dict(columns)
    names = re.split(r"[,\s]+", columns.strip()) if isinstance(columns, str) else columns
    if not isinstance(names, Sequence) or not all(isinstance(n, str) and key(n) for n in names):
        raise ArgumentError("columns", columns, allowed)
    if len({key(n) for n in names}) < max(len(names), 1):
        raise ArgumentError("columns", columns, "names that differ in more than case")
    return list(names), {}


def _seen(table: pd.DataFrame) -> str:
    """Show the header."""
    names = [repr(c) if not c or " " in c else c for c in table.columns]
    return f"its columns are: {' '.join(names[:30])}{' ...' * (len(names) > 30)}"


def _named(table: pd.DataFrame, option: str, name: Any) -> int:
    """Return where the column is that an option names: exactly so, or but for case and signs."""
    header = list(table.columns)
    exact = [i for i, c in enumerate(header) if c == name]
    near = [i for i, c in enumerate(header) if key(c) == key(name)] if isinstance(name, str) else []
    found = exact if exact or name == "" else near
    if len(found) != 1:
        count = "two columns have that name" if found else "there is no such column"
        raise ArgumentError(option, name, f"a column of the file ({count}); {_seen(table)}")
    return found[0]


def _one(table: pd.DataFrame, found: list[int], option: str, ask: str) -> int:
    """Return the only candidate for a column; refuse two."""
    if len(found) > 1:
        names = " or ".join(repr(table.columns[i]) for i in found)
        raise ArgumentError(option, None, f"{ask}: {names}; {_seen(table)}")
    return found[0]


def _prices(table: pd.DataFrame, chosen: dict[str, str]) -> dict[str, int]:
    """Return where the prices (and turnover) are."""
    at: dict[str, int] = {}
    for name, spelled in SPELLED.items():
        if name in chosen:
            at[name] = _named(table, "columns", chosen[name])
            continue
        if found := [i for i, c in enumerate(table.columns) if key(c) in spelled]:
            ask = f'{{"{name}": ...}} to say which column is {name}'
            at[name] = _one(table, found, "columns", ask)
    return at


def _volume(table: pd.DataFrame, volume: str | None) -> dict[str, int]:
    """Return where the volume is: named, or the only column that can be one."""
    if volume is not None:
        return {"volume": _named(table, "volume", volume)}
    keys = list(map(key, table.columns))
    plain = [i for i, k in enumerate(keys) if k in VOLUME]
    sizes = [i for i, k in enumerate(keys)
             if k in SIZES or ("vol" in k and not MEASURES.search(k))]  # fmt: skip
    found = sorted({*plain, *sizes})
    ask = "the column that counts coins or shares, not their value in quote currency"
    if plain and "marketcap" in keys:  # CoinMarketCap and its kin count dollars
        told = f"{table.columns[plain[0]]!r}, if it counts coins: beside a market cap it is mostly"
        raise ArgumentError("volume", None, f"{told} a value in dollars; {_seen(table)}")
    if found and not plain:  # an amount of what?
        names = ", ".join(repr(table.columns[i]) for i in found)
        raise ArgumentError("volume", None, f"{ask}, such as {names}; {_seen(table)}")
    return {"volume": _one(table, found, "volume", ask)} if found else {}


def _clock(table: pd.DataFrame, time: Any, stamp: str, path: Any) -> list[int]:
    """Return where the times are: one column, or a date and a clock."""
    if time is not None:
        names = list(time) if isinstance(time, list | tuple) else [time] * isinstance(time, str)
        if not 1 <= len(names) <= 2:
            raise ArgumentError("time", time, f"one column's name, or two's; {_seen(table)}")
        return [_named(table, "time", n) for n in names]
    keys = list(map(key, table.columns))
    opens, closes, times = ([i for i, k in enumerate(keys) if kind.fullmatch(k)]
                            for kind in (OPENS, CLOSES, TIMES))  # fmt: skip
    if stamp == "close":
        opens, closes = closes, opens
    found = opens or times or [i for i in (0,) if keys and table.columns[0] == ""]
    pair = [i for name in ("date", "time") for i in found if keys[i] == name]
    if len(found) == 2 == len(pair) and _is_clock(table.iloc[:, pair[1]]):
        return pair
    if not found and closes and stamp == "open":
        name = table.columns[closes[0]]
        raise ArgumentError("time", None, f"time={name!r} with stamp='close'; {_seen(table)}")
    if not found:
        allowed = f"a file with a time column; {_seen(table)}; name it by time=, or two of them"
        raise ArgumentError("path", path, f"{allowed} to be joined: time=('date', 'clock')")
    ask = "the column that holds the bar's open, or a date and a time of day to be joined"
    return [_one(table, found, "time", ask)]


def _is_clock(column: pd.Series) -> bool:
    """Say whether all cells are times of day: 03:00, 3:00:00, 030000."""
    text = column.astype("str")
    return bool(text.str.fullmatch(r"\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?|\d{4}(?:\d\d)?").all())


# ---- Which rows are bars of this series.


def _text(column: pd.Series) -> pd.Series:
    """Return cells as lower-case text, 1.0 and True as 1."""
    text = column.astype("str").str.strip().str.casefold().str.removesuffix(".0")
    return text.replace({"true": "1", "false": "0"})


def _kept(table: pd.DataFrame, where: Any) -> pd.DataFrame:
    """Keep the rows that the reader asks for."""
    if not isinstance(where, Mapping):
        told = f'a dict such as {{"symbol": "BTCUSDT"}}; {_seen(table)}'
        raise ArgumentError("where", where, told)
    for name, wanted in where.items():
        cells = _text(table.iloc[:, _named(table, "where", name)])
        several = isinstance(wanted, list | tuple | set)
        rows = cells.isin(_text(pd.Series(list(wanted) if several else [wanted], dtype=object)))
        if not rows.any():
            held = ", ".join(map(str, cells.unique()[:5]))
            raise ArgumentError("where", where, f"a value that {name!r} has, such as {held}")
        table = table[rows]
    return table


def _refuse_mixtures(table: pd.DataFrame, used: set[int], where: Mapping[str, Any]) -> None:
    """Refuse rows of several series, and bars that a flag of the file calls unfinished."""
    chosen = set(map(key, map(str, where)))
    for i, name in enumerate(table.columns):
        k = key(name)
        if i in used or k in chosen:
            continue
        column = table.iloc[:, i]
        tag = k in TAGS and column.dtype.kind in "OT"
        if LABELS.fullmatch(k) or (tag and pd.to_numeric(column, errors="coerce").isna().all()):
            _refuse_labels(table, name, column)
        said = CLOSED.fullmatch(k) or FORMING.fullmatch(k) or k in STATES
        if said and _refuse_flags(
            table, name, _text(column), bool(FORMING.fullmatch(k)), k in STATES
        ):
            continue
        if not CALENDARS.fullmatch(k):
            _refuse_blocks(table, name, column, k)


def _refuse_blocks(table: pd.DataFrame, name: str, column: pd.Series, k: str) -> None:
    """Refuse texts under any name that stand in blocks, as where series follow each other."""
    texts, state = column.dtype.kind in "OT", k in STATES
    if not texts and k not in ("id", "uid", *STATES[1:]):
        return
    cells = column.astype("str").str.strip()
    cells = cells.fillna("") if state else cells  # the bar that forms may have none
    runs, held = int((cells != cells.shift()).sum()), cells.unique()
    if not 1 < len(held) == runs < len(cells) + state:
        return
    if texts and any(NUMBER.fullmatch(cell) or MOMENT.search(cell) for cell in map(str, held)):
        return
    ask = f"where={{{name!r}: {held[0]!r}}} for one of {len(held)} blocks of rows, as of several"
    values = ", ".join(map(repr, held[:4]))
    told = f"{ask} series ({values}; a list of them keeps more); {_seen(table)}"
    raise ArgumentError("where", None, told)


def _refuse_last(table: pd.DataFrame, used: set[int], where: Any, moments: pd.Index) -> None:
    """Refuse a flag of any name that the newest bar alone has otherwise than all bars before."""
    newest, chosen = int(moments.argmax()), set(map(key, map(str, where)))
    for i, name in enumerate(table.columns):
        column = table.iloc[:, i]
        numbers = column.dtype.kind in "iuf"
        cells = column if numbers else _text(column)
        if i in used or key(name) in chosen or not cells.isin([0, 1, "0", "1"]).all():
            continue
        last, others = cells.iloc[newest], np.unique(np.delete(cells.to_numpy(), newest))
        if len(others) != 1 or others[0] == last or (numbers and (last or len(cells) < 3)):
            continue
        ask = f"where={{{name!r}: {int(others[0])}}} if it marks bars that have closed; the newest"
        told = f"{ask} differs (where={{{name!r}: [0, 1]}} keeps all); {_seen(table)}"
        raise ArgumentError("where", None, told)


def _refuse_labels(table: pd.DataFrame, name: str, column: pd.Series) -> None:
    """Refuse a column of names that has several."""
    held = column.astype("str").str.strip().unique()
    if len(held) > 1:
        values = ", ".join(map(repr, held[:4]))
        ask = f"where={{{name!r}: {held[0]!r}}}, for the rows belong to {len(held)} series"
        raise ArgumentError("where", None, f"{ask} ({values}); {_seen(table)}")


def _refuse_flags(
    table: pd.DataFrame, name: str, text: pd.Series, turned: bool, weak: bool
) -> bool:
    """Refuse rows that a flag calls unfinished, and one not understood; False: it is no flag."""
    value = pd.to_numeric(text, errors="coerce")
    part = value.between(0, 1, inclusive="neither")  # a share of a bar
    yes, no = text.isin(YES), text.isin(NO) | part
    if not (yes | no).all():
        if weak or (value > 1e8).all():  # a word of another kind; a time, not a flag
            return False
        held = ", ".join(map(repr, text[~(yes | no)].unique()[:4]))
        ask = f"where={{{name!r}: ...}} with the value that says that a bar has closed"
        raise ArgumentError("where", None, f"{ask}; it has {held}; {_seen(table)}")
    if (bad := yes if turned else no).any():
        good = text[~bad].iloc[0] if not bad.all() else "1"
        rows = np.flatnonzero(bad)
        message = (f"{name} says that bars had not closed, in rows {', '.join(map(str, rows[:3]))}"
                   f"{' ...' * (len(rows) > 3)}; drop them by where={{{name!r}: {good!r}}}; "
                   f"{_seen(table)}")  # fmt: skip
        raise CandleError([CandleFault("forming", message, ())], "path")
    return True


# ---- Times.


# ns, from 1973 to 2261; in ns from 1992 on, for what is less may be ticks of 100 ns since 1601 or 1
UNITS = (1e9, 1e8, 9.2e9), (1e6, 1e11, 9.2e12), (1e3, 1e14, 9.2e15), (1, 7e17, 9.2e18)
MOMENT = re.compile(r"\d{1,4}[-/.:]\d{1,2}")
CALENDAR = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
ZONED = r"(?:Z|[+-]\d\d:?\d\d)$"
EPOCHS = pd.Timestamp("1970-01-01"), pd.Timestamp("2262-01-01")


def _moments(table: pd.DataFrame, clock: list[int], path: Any, tz: Any) -> pd.DatetimeIndex:
    """Return the times of the rows in UTC."""
    cells = table.iloc[:, clock[0]]
    if not len(table):
        raise CandleError([CandleFault("empty", "there is no bar", ())], "path")
    if len(clock) == 2:
        cells = _joined(cells, table.iloc[:, clock[1]])
    if cells.isna().any():
        rows = np.flatnonzero(cells.isna())[:3]
        held = " ".join(map(str, table.iloc[rows[0]].dropna()[:6]))
        message = f"no stamp in rows {', '.join(map(str, rows))} (the first holds: {held})"
        raise CandleError([CandleFault("stamp", message, ())], "path")
    if cells.dtype.kind in "iuf":
        cells = _from_number(cells, path)
    elif cells.dtype.kind != "M":
        cells = _from_text(cells, path)
    zoned = getattr(cells.dtype, "tz", None) is not None
    early, late = (t.tz_localize("UTC") if zoned else t for t in EPOCHS)
    if not (known := (cells >= early) & (cells < late)).all():
        row = int(np.flatnonzero(~known)[0])
        told = f"a file with times from 1970 to 2261 (not so in row {row})"
        raise ArgumentError("path", path, told)
    if not zoned:
        cells = _localize(cells, tz)
    elif tz is not None and tz not in UTC_NAMES:
        raise ArgumentError("tz", tz, "None: the file's stamps carry their zone")
    return pd.DatetimeIndex(cells.dt.tz_convert("UTC").dt.as_unit("us"), name="time")


def _localize(stamps: pd.Series, tz: str | None) -> pd.Series:
    """Give stamps without a zone the zone that the reader named."""
    if not isinstance(tz, str):
        raise ArgumentError("tz", tz, 'a zone such as "UTC": the file\'s stamps carry none')
    try:
        return stamps.dt.tz_localize(tz)
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        allowed = f"a zone in which every stamp exists once ({error})"
        raise ArgumentError("tz", tz, allowed) from error


def _joined(dates: pd.Series, clocks: pd.Series) -> pd.Series:
    """Join dates and times of day into text."""
    if not _is_clock(clocks):
        odd = clocks.iloc[0]
        raise ArgumentError("time", odd, "a date, then a time of day such as 03:00 or 030000")
    clock = clocks.astype("str").str.replace(r"^(\d\d)(\d\d)(\d\d)?$", _with_colons, regex=True)
    return dates.astype("str").str.strip() + " " + clock.str.replace(r"^(\d):", r"0\1:", regex=True)


def _with_colons(match: re.Match[str]) -> str:
    """Write 030000 as 03:00:00."""
    return ":".join(part for part in match.groups() if part)


def _from_number(stamps: pd.Series, path: str | Path) -> pd.Series:
    """Turn s, ms, us or ns since 1970 into UTC; all rows must be in one unit."""
    if stamps.dtype.kind in "iu" and stamps.between(19000000, 21000000).all():
        return _from_text(stamps.astype("str"), path)  # 20240101: too small for any unit
    text = stamps.iloc[[0, -1]].astype("str").str.removesuffix(".0")
    if text.str.fullmatch(CALENDAR + r"(?:[01]\d|2[0-3])(?:[0-5]\d){0,2}").all():
        allowed = f"times that are no calendar in digits ({text.iloc[0]}): write 2024-01-31 00:00"
        raise ArgumentError("path", path, allowed)
    for ns, low, high in UNITS:
        if stamps.between(low, high).all():
            whole = (stamps * int(ns)).astype(np.int64)
            return pd.to_datetime(whole, unit="ns", utc=True).dt.as_unit("us")
    ticks = "; ticks of 100 ns are not read" * bool(stamps.between(1e17, 7e17).any())
    allowed = f"a file with times in s, ms, us or ns since 1970, one unit in all rows (they run \
from {stamps.min()} to {stamps.max()}{ticks})"
    raise ArgumentError("path", path, allowed)


def _from_text(stamps: pd.Series, path: str | Path) -> pd.Series:
    """Parse text with the year first, with zone (mixed offsets end in UTC) or without."""
    text = stamps.astype("str").str.strip().str.replace(r"\s+", " ", regex=True)
    if text.str.fullmatch(r"\d{9,19}").all():  # numbers, as exchanges send them
        return _from_number(
            text.astype(np.float64 if text.str.len().max() > 18 else np.int64), path
        )
    text = text.str.replace(r"^(\d{8})-(?=\d\d:)", r"\1 ", regex=True)  # as Interactive Brokers
    first = text.iloc[0]
    if re.match(r"\d{4}[./]\d\d[./]\d\d", first):  # 2024.01.31, 2024/01/31
        text = text.str.replace(r"^(\d{4})[./](\d\d)[./](\d\d)", r"\1-\2-\3", regex=True)
    if first.endswith(("UTC", "GMT")):
        text = text.str.replace(r" ?(?:UTC|GMT)$", "Z", regex=True)
    zoned = text.str.contains(ZONED, regex=True)
    if zoned.any() and not zoned.all():
        without = text[~zoned].iloc[0]
        raise ArgumentError("path", path, f"a zone in every stamp (first without: {without})")
    try:
        return pd.to_datetime(text, format="ISO8601", utc=bool(zoned.any()))
    except (ValueError, OverflowError) as error:
        raise ArgumentError("path", path, _not_iso(text)) from error


def _not_iso(text: pd.Series) -> str:
    """Say what stands in place of a time: one odd row, or a form that can be misread."""
    form = text.str.replace(r"\d+", "9", regex=True).str.replace(r"[^\W\d_]+", "a", regex=True)
    usual = form.mode()[0]
    if (form == usual).mean() > 0.5 and (odd := np.flatnonzero(form != usual)).size:
        row = int(odd[0])
        return f"a time in every row: row {row} holds {text.iloc[row]!r}, others {text.iloc[0]!r}"
    return (
        f"ISO 8601 times with the year first, such as 2024-01-31 00:00, not {text.iloc[0]!r}: "
        "turn the column into times by pandas.to_datetime(..., format=...), and write the file anew"
    )


def _refuse_price_as_volume(frame: pd.DataFrame) -> None:
    """Refuse names in order that took an average price, which stands before it, for the volume."""
    if len(frame) < 5 or not {"low", "high", "volume"} <= set(frame):
        return
    if frame["volume"].between(frame["low"], frame["high"]).all():
        ask = "'volume', if it is one: in every row it lies between low and high, as a price"
        raise ArgumentError("volume", None, ask)


def _fixed_point(table: pd.DataFrame, prices: list[np.ndarray]) -> bool:
    """Say whether prices are Databento's whole numbers of 1e-9."""
    raw = "rtype" in map(key, table.columns)
    return raw and all((x >= 1e6).all() and (x % 1 == 0).all() for x in prices)


# ---- The frame.


def _frame(table: pd.DataFrame, at: dict[str, int], moments: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the columns of candles that the file has, in order, as numbers."""
    held = (*COLUMNS, "turnover") if key(table.columns[at.get("volume", 0)]) in VOLUME else COLUMNS
    columns = {
        name: _numbers(name, table.iloc[:, at[name]], moments) for name in held if name in at
    }
    prices = [columns[name] for name in COLUMNS[:4] if name in columns]
    if prices and _fixed_point(table, prices):
        message = "prices are whole numbers of 1e-9 (rtype says so): divide them by 1e9 first"
        raise CandleError([CandleFault("price", message, moments[:1])], "path")
    return pd.DataFrame(columns, index=moments)


def _numbers(name: str, column: pd.Series, moments: pd.DatetimeIndex) -> np.ndarray:
    """Turn numbers, and text that holds numbers (as exchanges send them), into floats."""
    if column.dtype == np.float32:
        return column.to_numpy()
    odd = column.astype("str").str.contains("_") if column.dtype.kind in "OT" else None
    try:
        if column.dtype.kind in "bmMc" or (odd is not None and odd.any()):
            raise ValueError
        return column.astype(np.float64).to_numpy()
    except (ValueError, TypeError, OverflowError):  # an integer beyond 1e308
        found = pd.to_numeric(column.astype("str"), errors="coerce").astype(np.float64)
        bad = pd.Series(~np.isfinite(found), column.index) & column.notna()
        cell = column[bad].iloc[0] if bad.any() else column.iloc[0]
        message = (f"{name} holds {cell!r:.60}, which is no number (thousands separators and units "
                   "are not read: write plain numbers)")  # fmt: skip
        fault = CandleFault("dtype", message, moments[bad.to_numpy()])
        raise CandleError([fault], "path") from None


def _ordered(frame: pd.DataFrame, newest_first: bool) -> pd.DataFrame:
    """Return the rows oldest first, turned round only where the reader said so."""
    falls = frame.index.is_monotonic_decreasing and not frame.index.is_monotonic_increasing
    if newest_first and len(frame) > 1 and not falls:
        raise ArgumentError("newest_first", True, "False: the rows do not run from new to old")
    if falls and not newest_first:  # as many exchanges write them
        message = "the newest bar comes first; reverse the rows by newest_first=True"
        raise CandleError([CandleFault("order", message, frame.index[:1])], "path")
    return frame.iloc[::-1].copy() if newest_first else frame


def _opens(frame: pd.DataFrame, length: pd.Timedelta | None) -> pd.DataFrame:
    """Move stamps from the close of a bar to its open; 59.999 is a close as well."""
    if length is None and len(frame) < 2:
        raise ArgumentError("interval", None, "the bars' length: one row does not tell it")
    step = (bar_interval(frame) if length is None else length).value
    begins = parse_offset("offset", frame.attrs.get("offset", "0s")).value
    index = cast(pd.DatetimeIndex, frame.index)
    after = index.as_unit("ns").asi8 - begins
    shorts = (0, 1_000, 1_000_000, 1_000_000_000)  # ns: closes at 60, 59.999999, 59.999, 59 s
    short = next((s for s in shorts if not ((after + s) % step).any()), 0)
    return frame.set_axis((index + pd.Timedelta(short - step, unit="ns")).as_unit("us"), axis=0)


def _closed(frame: pd.DataFrame, length: pd.Timedelta | None, until: Any) -> pd.DataFrame:
    """Drop the bars that close after ``until``; refuse those that close after now."""
    now = pd.Timestamp.now("UTC")
    try:
        end = now if until is None else pd.Timestamp(until).tz_convert("UTC")
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ArgumentError("until", until, 'a time with its zone: "2024-01-31T12:00Z"') from error
    if end is pd.NaT or end > now:
        raise ArgumentError("until", until, "a time that has passed")
    if frame.index.max() + pd.Timedelta(days=1) <= end:  # no bar is longer
        return frame
    if length is None:
        length = bar_interval(frame) if frame.index.nunique() > 1 else pd.Timedelta(0)
    late = frame.index > end - length
    if late.any() and until is None:
        message = f"bars close after now, {now:%Y-%m-%d %H:%M} UTC; say until= to drop them, or \
see whether the times are in another unit or zone"
        raise CandleError([CandleFault("future", message, frame.index[late])], "path")
    return frame[~late]


def _check(frame: pd.DataFrame, length: pd.Timedelta | None, table: pd.DataFrame) -> None:
    """Raise what `check` finds; a missing column shows the header and the options."""
    if tuple(frame.columns) in LAYOUTS:
        check(frame, length)
        return
    lost = [c for c in COLUMNS if c not in frame]
    option = f'columns={{"{lost[0]}": ...}}'
    if lost == ["volume"]:
        option = "volume=, or write one into the file (zeros, where the source has none)"
    message = f"no column for {', '.join(lost)}: name it by {option}; {_seen(table)}"
    rest = find_faults(frame, None if length is None else length.value)
    faults = [CandleFault("columns", message, ()), *(f for f in rest if f.kind != "columns")]
    raise CandleError(faults, "path")
