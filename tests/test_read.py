"""Files that people bring: fifteen sources and more by one line each, and no wrong reading."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import itertools
import json
import lzma
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import backtest, candles, channels
from setrade.errors import ArgumentError

# --- the sources: a layout, the bars in it, and the one line that reads it ------------------

N = 6
BARS = candles.synthetic(N, seed=3, interval="1h").candles.round(2)
DAYS = candles.synthetic(N, seed=3, interval="1D").candles.round(2)
OHLC = ["open", "high", "low", "close"]


def lines(rows: list[list[Any]], header: str | None = None, mark: str = ",") -> str:
    """Write rows as text, as an exchange would."""
    body = [mark.join(map(str, row)) for row in rows]
    return "\n".join([*([header] if header else []), *body]) + "\n"


def rows(bars: pd.DataFrame, time: Any, order: str = "ohlcv", *more: Any) -> list[list[Any]]:
    """Return rows of a time, figures in some order (q is the value traded), and what follows."""
    by = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
    table = []
    for k, (stamp, bar) in enumerate(bars.iterrows()):
        figures = [bar[by[c]] if c in by else round(bar["close"] * bar["volume"], 2) for c in order]
        extra = [m(k, stamp) if callable(m) else m for m in more]
        table.append([time(stamp), *figures, *extra])
    return table


def unix(unit: float, after: str = "0s"):
    """Return a writer of whole numbers since 1970 in a unit of so many ns."""
    return lambda t: (t + pd.Timedelta(after)).value // int(unit)


def text(form: str, zone: str = "UTC"):
    return lambda t: t.tz_convert(zone).strftime(form)


S, MS, US = unix(1e9), unix(1e6), unix(1e3)
ISO = text("%Y-%m-%d %H:%M:%S")
BINANCE = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
BINANCE += "taker_buy_quote_volume,ignore"
TWELVE = (lambda k, t: MS(t) + 3_599_999, 1, 7, 0.5, 2, 0)
MICRO = (lambda k, t: US(t) + 3_599_999_999, 1, 7, 0.5, 2, 0)
OHLCV = "time open high low close volume"
TYPED = (ArgumentError, candles.CandleError)


def zipped(name: str, content: str) -> bytes:
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return box.getvalue()


def yahoo() -> str:
    names = ["Close", "High", "Low", "Open", "Volume"]
    head = [["Price", *names], ["Ticker", *["BTC-USD"] * 5], ["Date", *[""] * 5]]
    return lines([*head, *rows(DAYS, text("%Y-%m-%d"), "chlov")])


def saved(write: str, frame: pd.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    getattr(frame, write)(file, **options)
    return file.getvalue()


DATED = BARS.reset_index(names="date")
BITMEX = "timestamp,symbol,open,high,low,close,trades,volume,vwap,lastSize,turnover,homeNotional,"
BITMEX += "foreignNotional"
CDD = "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount"
CDD_ROWS = [[S(t), ISO(t), "BTCUSDT", *BARS.loc[t], 9, 3] for t in BARS.index]
STOOQ = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
MT5 = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
OKX = "ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm"
BITMEX_ROWS = [[(t + pd.Timedelta("1h")).isoformat().replace("+00:00", ".000Z"), "XBTUSD",
                *b[OHLC], 7, 100, 1, 5, 12345, b["volume"], 100]
               for t, b in BARS.iterrows()]  # fmt: skip
KLINES = {"retCode": 0, "retMsg": "OK", "time": 1, "result": {"symbol": "BTCUSDT", "list": [
    [str(x) for x in r] for r in rows(BARS, MS, "ohlcvq")][::-1]}}  # fmt: skip

# name: file, what is in it, the options that read it, the bars that it holds
SOURCES: dict[str, tuple[str, str | bytes, dict[str, Any], pd.DataFrame]] = {
    "Binance Vision, old": (
        "BTCUSDT-1h-2024-01.csv", lines(rows(BARS, MS, "ohlcv", *TWELVE)),
        {"columns": OHLCV}, BARS),
    "Binance Vision, with header": (
        "BTCUSDT-1h-2024-02.csv", lines(rows(BARS, MS, "ohlcv", *TWELVE), BINANCE), {}, BARS),
    "Binance Vision, since 2025, zipped": (
        "BTCUSDT-1h-2025-01.zip",
        zipped("BTCUSDT-1h-2025-01.csv", lines(rows(BARS, US, "ohlcv", *MICRO))),
        {"columns": OHLCV}, BARS),
    "Binance, its close times": (
        "closes.csv", lines(rows(BARS, MS, "ohlcv", *TWELVE), BINANCE),
        {"time": "close_time", "stamp": "close"}, BARS),
    "Bybit archive": (
        "BTCUSDT_60.csv", lines(rows(BARS, S, "ohlcvq", "BTCUSDT"),
                                "start_at,open,high,low,close,volume,turnover,symbol"), {}, BARS),
    "Bybit MT4": (
        "BTCUSDT_60_2024-01-01_2024-01-31.csv.gz",
        gzip.compress(lines(rows(BARS, text("%Y.%m.%d %H:%M", "Etc/GMT-3"))).encode()),
        {"columns": OHLCV, "tz": "+03:00"}, BARS),
    "Bybit REST answer": (
        "kline.json", json.dumps(KLINES), {"columns": OHLCV, "newest_first": True}, BARS),
    "CryptoDataDownload": (
        "Binance_BTCUSDT_1h.csv",
        "https://www.CryptoDataDownload.com\n" + lines(CDD_ROWS[::-1], CDD),
        {"time": "unix", "volume": "Volume BTC", "newest_first": True}, BARS),
    "Kraken": (
        "XBTUSD_60.csv", lines(rows(BARS, S, "ohlcv", 42)), {"columns": OHLCV}, BARS),
    "Coinbase": (
        "coinbase.csv", lines(rows(BARS, S, "lhocv")[::-1], "time,low,high,open,close,volume"),
        {"newest_first": True}, BARS),
    "OKX, spot": (
        "okx.csv", lines(rows(BARS, MS, "ohlcvqq", lambda k, t: int(k < N - 1))[::-1], OKX),
        {"volume": "vol", "where": {"confirm": 1}, "newest_first": True}, BARS.iloc[:-1]),
    "OKX days, of 16:00 UTC": (
        "okx1D.csv", lines(rows(DAYS.set_axis(DAYS.index + pd.Timedelta("16h")), MS),
                           "ts,open,high,low,close,vol"),
        {"offset": "16h"}, DAYS.set_axis(DAYS.index + pd.Timedelta("16h"))),
    "HTX": (
        "htx.csv", lines(rows(BARS, S, "oclhvq", 42)[::-1],
                         "id,open,close,low,high,amount,vol,count"),
        {"time": "id", "volume": "amount", "newest_first": True}, BARS),
    "KuCoin": (
        "kucoin.csv", lines(rows(BARS, S, "ochlvq"), "time,open,close,high,low,volume,turnover"),
        {}, BARS),
    "BitMEX": (
        "bitmex.csv", lines(BITMEX_ROWS, BITMEX),
        {"stamp": "close", "volume": "homeNotional"}, BARS),
    "Yahoo": ("yahoo.csv", yahoo(), {"tz": "UTC"}, DAYS),
    "Stooq, days": (
        "btcusd_d.csv", lines(rows(DAYS, text("%Y-%m-%d")), "Date,Open,High,Low,Close,Volume"),
        {"tz": "UTC"}, DAYS),
    "Stooq, hours": (
        "btcusd.txt", lines([["BTCUSD", 60, *r[0].split(), *r[1:], 0]
                             for r in rows(BARS, text("%Y%m%d %H%M%S"))], STOOQ),
        {"tz": "UTC"}, BARS),
    "MetaTrader 5": (
        "BTCUSD_H1.csv", lines([[*r[0].split(), *r[1:], 0, 5] for r in
                                rows(BARS, text("%Y.%m.%d %H:%M:%S"))], MT5, "\t").encode("utf-16"),
        {"tz": "UTC", "volume": "tickvol"}, BARS),
    "TradingView": (
        "BINANCE_BTCUSDT, 60.csv", lines(rows(BARS, S, "ohlcv", "", ""),
                                         "time,open,high,low,close,Volume,Plot,Plot"), {}, BARS),
    "freqtrade, feather": ("BTC_USDT-1h.feather", saved("to_feather", DATED), {}, BARS),
    "freqtrade, JSON": (
        "BTC_USDT-1h.json", json.dumps(rows(BARS, MS)), {"columns": OHLCV}, BARS),
    "ccxt": (
        "ccxt.csv", pd.DataFrame(rows(BARS, MS)).to_csv(), {"columns": OHLCV}, BARS),
    "ccxt, JSON": ("ccxt.json.gz", gzip.compress(json.dumps(rows(BARS, MS)).encode()),
                   {"columns": OHLCV}, BARS),
    "Kaggle": (
        "btcusd_1-min_data.csv", lines(rows(BARS, lambda t: float(S(t))),
                                       "Timestamp,Open,High,Low,Close,Volume"), {}, BARS),
    "Kaggle, old": (
        "bitstamp.csv", lines(rows(BARS, S, "ohlcvqc"), "Timestamp,Open,High,Low,Close,"
                              "Volume_(BTC),Volume_(Currency),Weighted_Price"),
        {"volume": "Volume_(BTC)"}, BARS),
    "pandas, CSV without a name": ("own.csv", BARS.rename_axis(index=None).to_csv(), {}, BARS),
    "pandas, numbered rows": ("rows.csv", DATED.to_csv(), {}, BARS),
    "pandas, JSON": ("own.json", BARS.set_axis(BARS.index.as_unit("ms").asi8).to_json(), {}, BARS),
    "pandas, parquet": ("own.parquet", saved("to_parquet", BARS), {}, BARS),
    "German Excel": (
        "de.csv", lines([[r[0], *(str(x).replace(".", ",") for x in r[1:])]
                         for r in rows(BARS, ISO)], "Date;Open;High;Low;Close;Volume", ";"),
        {"tz": "UTC"}, BARS),
}  # fmt: skip


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_is_read_by_one_line(tmp_path, source):
    name, content, options, bars = SOURCES[source]
    got = candles.read(put(tmp_path, name, content), **options)
    columns = list(candles.COLUMNS)
    pd.testing.assert_frame_equal(got[columns], bars.rename_axis("time"), check_freq=False)
    if "turnover" in got:  # the value traded, in quote currency
        assert np.allclose(got["turnover"], bars["close"] * bars["volume"], rtol=1e-3)


@pytest.mark.parametrize("source", [s for s in SOURCES if SOURCES[s][2]])
def test_each_option_is_needed_and_named_by_the_error(tmp_path, source):
    name, content, options, _ = SOURCES[source]
    path = put(tmp_path, name, content)
    silent = {"stamp", "time"} if source in ("BitMEX", "Binance, its close times") else set()
    for left_out in set(options) - silent:
        less = {k: v for k, v in options.items() if k != left_out}
        with pytest.raises(ValueError, match=f"{left_out}(=|:)"):
            candles.read(path, **less)


@pytest.mark.parametrize("source", SOURCES)
def test_no_source_is_read_wrongly_without_its_options(tmp_path, source):
    """Opens and volumes of a file read plainly are those of the bars, or it is refused."""
    name, content, options, bars = SOURCES[source]
    if options.get("stamp"):
        return  # a close cannot be told from an open: the page says so
    with contextlib.suppress(*TYPED):
        got = candles.read(put(tmp_path, name, content))
        pd.testing.assert_frame_equal(got[list(candles.COLUMNS)], bars, check_freq=False)


def table_of_the_appendix() -> list[tuple[str, str]]:
    """Return the rows of the table of sources: a name, and the line that reads it."""
    page = Path(__file__).parents[1] / "chapters" / "A1_bring_your_own.py"
    row = re.compile(r"^# \| (.+?) \| `(candles\.read\(.*\))` \|$", re.MULTILINE)
    return row.findall(page.read_text(encoding="utf-8"))


def test_the_appendix_shows_every_source_and_no_other():
    assert [name for name, _ in table_of_the_appendix()] == list(SOURCES)
    assert len(SOURCES) >= 15


@pytest.mark.parametrize(("source", "line"), table_of_the_appendix())
def test_each_line_of_the_appendix_reads_its_source(tmp_path, source, line):
    name, content, _, bars = SOURCES[source]
    path = put(tmp_path, name, content)
    got = eval(line, {"candles": candles, "path": path, "OHLCV": OHLCV})
    pd.testing.assert_frame_equal(got[list(candles.COLUMNS)], bars, check_freq=False)


# --- thirty more exports: read by one line, or refused with the way ---------------------------


def by_name(bars: pd.DataFrame, time: Any, **columns: str) -> list[dict[str, Any]]:
    """Return records as an exchange names them: the file's name of a column by ours."""
    names = {v: k for k, v in columns.items()}
    return [{names["time"]: time(t), **{names[c]: b[c] for c in bars}} for t, b in bars.iterrows()]


def stamp_of(t: pd.Timestamp) -> str:
    return t.isoformat().replace("+00:00", ".000Z")


DERIBIT = {"jsonrpc": "2.0", "usIn": 1, "testnet": False, "result": {
    "ticks": [MS(t) for t in BARS.index], "status": "ok", "cost": [1.0] * N,
    **{c: list(BARS[c]) for c in BARS}}}  # fmt: skip
GATE = [[str(x) for x in r] for r in rows(BARS, S, "qchlov", "true")]
DYDX = [{"startedAt": stamp_of(t), "ticker": "BTC-USD", "resolution": "1HOUR", "id": str(k),
         **{c: str(b[c]) for c in OHLC}, "baseTokenVolume": str(b["volume"]), "usdVolume": "7"}
        for k, (t, b) in enumerate(BARS.iterrows())]  # fmt: skip
SHORT = {"t": "time", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
POLYGON = [r | {"n": 7} for r in by_name(BARS, MS, **SHORT)]
TIINGO = [{"ticker": "btcusd", "baseCurrency": "btc", "priceData": [
    {"date": t.isoformat(), **b, "volumeNotional": 7.0} for t, b in BARS.iterrows()]}]  # fmt: skip
TWELVE_DATA = {
    "meta": {"symbol": "BTC/USD", "interval": "1h"},
    "status": "ok",
    "values": [{"datetime": ISO(t), **{c: str(b[c]) for c in BARS}} for t, b in BARS.iterrows()][
        ::-1
    ],
}
PHEMEX = {"code": 0, "msg": "OK", "data": {"total": -1, "rows": [
    [r[0], 3600, *r[1:]] for r in rows(BARS, S, "oohlcv", 1, "BTCUSDT")]}}  # fmt: skip
CMC = [
    [stamp_of(t), stamp_of(t + pd.Timedelta("23h")), "2781", *b, 1e12] for t, b in DAYS.iterrows()
]
DATABENTO = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol"
NANO = [[unix(1)(t), 34, 1, 15144, *b, "BTCZ4"] for t, b in BARS.iterrows()]
WHOLE = [[*r[:4], *(round(x * 1e9) for x in r[4:8]), *r[8:]] for r in NANO]
LEAN = rows(BARS, text("%Y%m%d %H:%M"))
CSV = "time,open,high,low,close,volume"

MORE: dict[str, tuple[str, str | bytes, dict[str, Any], pd.DataFrame]] = {
    "Deribit": ("d.json", json.dumps(DERIBIT), {}, BARS),
    "Bitfinex": ("b.json", json.dumps(rows(BARS, MS, "ochlv")[::-1]),
                 {"columns": "time open close high low volume", "newest_first": True}, BARS),
    "Gate.io": ("g.json", json.dumps(GATE),
                {"columns": "time quote close high low open volume closed"}, BARS),
    "Bitget": ("b.json", json.dumps({"code": "00000", "data": rows(BARS, MS, "ohlcvqq")}),
               {"columns": OHLCV}, BARS),
    "Bitget, CSV": ("b.csv", lines(rows(BARS, MS, "ohlcvqq"), "timestamp,open,high,low,close,"
                                   "baseVolume,quoteVolume,usdtVolume"), {"volume": "baseVolume"},
                    BARS),
    "Phemex": ("p.json", json.dumps(PHEMEX),
               {"columns": "time interval last open high low close volume turnover symbol"}, BARS),
    "Gemini": ("g.csv", lines([[MS(t), ISO(t), "BTCUSD", *b] for t, b in BARS.iterrows()][::-1],
                              "Unix Timestamp,Date,Symbol,Open,High,Low,Close,Volume"),
               {"time": "Unix Timestamp", "newest_first": True}, BARS),
    "dYdX": ("d.json", json.dumps({"candles": DYDX[::-1]}),
             {"volume": "baseTokenVolume", "newest_first": True}, BARS),
    "CoinMarketCap": ("c.csv", lines(CMC, "timeOpen;timeClose;name;open;high;low;close;volume;"
                                     "marketCap", ";"), {"volume": "volume"}, DAYS),
    "Tardis": ("t.csv", lines([["binance", "BTCUSDT", US(t), US(t) + 5, *b]
                               for t, b in BARS.iterrows()],
                              "exchange,symbol,timestamp,local_timestamp,open,high,low,close,volume"),
               {"time": "timestamp"}, BARS),
    "Databento": ("d.csv", lines(NANO, DATABENTO), {}, BARS),
    "Interactive Brokers": ("i.csv", lines(rows(BARS, text("%Y%m%d  %H:%M:%S"), "ohlcvc", 3),
                                           "date,open,high,low,close,volume,average,barCount"),
                            {"tz": "UTC"}, BARS),
    "Interactive Brokers, dashed": ("i.csv", lines(rows(BARS, text("%Y%m%d-%H:%M:%S")), CSV),
                                    {"tz": "UTC"}, BARS),
    "Polygon": ("p.json", json.dumps({"ticker": "X:BTCUSD", "results": POLYGON, "count": N}), {},
                BARS),
    "Polygon, flat file": ("p.csv.gz", gzip.compress(lines(
        [["X:BTCUSD", b["volume"], *b[["open", "close", "high", "low"]], unix(1)(t), 7]
         for t, b in BARS.iterrows()],
        "ticker,volume,open,close,high,low,window_start,transactions").encode()), {}, BARS),
    "Alpaca": ("a.json", json.dumps({"bars": {"BTC/USD": POLYGON}, "next_page_token": None}), {},
               BARS),
    "Tiingo": ("t.json", json.dumps(TIINGO), {"volume": "volume"}, BARS),
    "Twelve Data": ("t.json", json.dumps(TWELVE_DATA), {"tz": "UTC", "newest_first": True}, BARS),
    "QuantConnect, hours": ("btcusd_trade.zip", zipped("btcusd.csv", lines(LEAN)),
                            {"columns": OHLCV, "tz": "UTC"}, BARS),
    "MetaTrader 4": ("m.csv", lines([[*r[0].split(), *r[1:]] for r in
                                     rows(BARS, text("%Y.%m.%d %H:%M"))]),
                     {"columns": "date time open high low close volume", "tz": "UTC"}, BARS),
    "HistData": ("h.csv", lines(rows(BARS, text("%Y%m%d %H%M%S", "Etc/GMT+5")), None, ";"),
                 {"columns": OHLCV, "tz": "-05:00"}, BARS),
    "spaces": ("s.txt", lines(rows(BARS, S), "time   open high  low close volume", "  "), {}, BARS),
    "mixed offsets over a change of clocks": ("m.csv", lines(
        [[(t + pd.Timedelta("90D22h")).tz_convert("Europe/Berlin").isoformat(), *b]
         for t, b in BARS.iterrows()], CSV), {},
        BARS.set_axis(BARS.index + pd.Timedelta("90D22h"))),
}  # fmt: skip


@pytest.mark.parametrize("source", MORE)
def test_more_exports_are_read_by_one_line(tmp_path, source):
    name, content, options, bars = MORE[source]
    got = candles.read(put(tmp_path, name, content), **options)
    pd.testing.assert_frame_equal(
        got[list(candles.COLUMNS)], bars.rename_axis("time"), check_freq=False
    )
    for left_out in options:  # and without an option nothing else is read
        with pytest.raises(TYPED, match=f"{left_out}(=|:)"):
            candles.read(tmp_path / name, **{k: v for k, v in options.items() if k != left_out})


KRAKEN = {"error": [], "result": {"XXBTZUSD": rows(BARS, S, "ohlccv", 5), "last": 1}}
TABLE = lines(rows(BARS, MS), CSV)
REFUSED: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "an average price for the volume": (
        "k.json", json.dumps(KRAKEN), {"columns": OHLCV}, "volume: .*between low and high"),
    "contracts or value": ("g.json", json.dumps([r | {"sum": 1} for r in POLYGON]), {},
                           "volume: .*'v' or 'sum'"),
    "dollars beside a market cap": ("c.csv", lines(rows(DAYS, ISO, "ohlcv", 1e12),
                                                   CSV + ",market_cap"), {}, "volume: .*dollars"),
    "prices in whole numbers of 1e-9": ("d.csv", lines(WHOLE, DATABENTO), {}, "1e-9"),
    "a file without volume": ("c.json", json.dumps(rows(BARS, MS, "ohlc")),
                              {"columns": "time open high low close"}, "volume=.*zeros"),
    "two symbols in JSON": ("a.json", json.dumps({"bars": {"BTC": POLYGON, "ETH": POLYGON}}), {},
                            "'BTC', 'ETH'"),
    "a refusal in JSON": ("a.json", '{"code":-1121,"msg":"Invalid symbol."}', {}, "Invalid symbol"),
    "no rows in JSON": ("a.json", '{"retCode":0,"result":{"list":[]}}', {}, "one list of them"),
    "a table in a table": ("a.json", json.dumps({"Meta": {"1": "x"}, "Series": {
        ISO(t): dict(b) for t, b in BARS.iterrows()}}), {}, "one list of them.*'Series'"),
    "a web page": ("a.csv", "<!DOCTYPE html>\n<html>404</html>\n", {}, "a web page"),
    "a server's refusal": ("a.csv", '<?xml version="1.0"?>\n<Error/>\n', {}, "XML"),
    "Excel by name": ("a.xlsx", b"PK", {}, "read_excel"),
    "Excel by content": ("a.csv", zipped("xl/a.xml", "x"), {}, "an Excel sheet"),
    "HDF5 by name": ("a.h5", b"x", {}, "read_hdf"),
    "HDF5 by content": ("a.csv", b"\x89HDF\r\n\x1a\n", {}, "HDF5"),
    "a zip in a gzip": ("a.csv.gz", gzip.compress(zipped("a.csv", TABLE)), {}, "a zip"),
    "a gzip in a gzip": ("a.csv.gz", gzip.compress(gzip.compress(TABLE.encode())), {}, "gzip"),
    "a gzip in a zip": ("a.zip", zipped("a.csv.gz", "x"), {}, "'.gz'"),
    "a line of totals": ("a.csv", lines([*rows(BARS, ISO), ["Total", "", "", "", "", 9]], CSV), {},
                         "row 6 holds 'Total'"),
    "totals without a name": ("a.csv", lines([*rows(BARS, MS), ["", "", "", "", "", 9.5]], CSV), {},
                              "rows 6 .*9.5"),
    "a footer": ("a.csv", TABLE + "# downloaded 2024-01-02\n", {}, "row 6 holds '# downloaded"),
    "a header in the middle": ("a.csv", TABLE + TABLE, {}, "row 6 holds 'time'"),
    "only a header": ("a.csv", CSV + "\n", {}, "no bar"),
    "a dash for a number": ("a.csv", TABLE + f"{MS(BARS.index[-1]) + 3_600_000},1,1,1,-,1\n", {},
                            "close holds '-'"),
    "dollars": ("a.csv", lines(rows(BARS, MS, "ohlc", "$5"), CSV), {}, "volume holds '\\$5'"),
    "a clock that runs twice": ("a.csv", lines(
        [[(t + pd.Timedelta("299D22h")).tz_convert("Europe/Berlin").strftime("%Y-%m-%d %H:%M"), *b]
         for t, b in BARS.iterrows()], CSV), {"tz": "Europe/Berlin"}, "tz: .*exists once"),
    **{f"times as {form}": ("a.csv", lines(rows(BARS, text(form)), CSV), {"tz": "UTC"},
                            "year first.*to_datetime")
       for form in ("%Y-%m-%d %I:%M %p", "%d/%m/%Y %H:%M", "%b %d %Y %H:%M", "%G-W%V-%uT%H:%M",
                    "%Y-%jT%H:%M", "%d-%b-%Y %H:%M", "%Y%m%d %H:%M:%S US/Eastern")},
    **{f"times from {first:g}": ("a.csv", lines(
        [[first + k, *b] for k, (_, b) in enumerate(DAYS.iterrows())], CSV), {}, "since 1970")
       for first in (45292, 2460310.5, 739252, 0)},  # Excel's, Julian, MATLAB's days; numbers
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_for_sure_is_refused_with_the_way(tmp_path, case):
    name, content, options, message = REFUSED[case]
    with pytest.raises(TYPED, match=message):
        candles.read(put(tmp_path, name, content), **options)


# --- containers ---------------------------------------------------------------------------

PLAIN = lines(rows(BARS, MS), "time,open,high,low,close,volume").encode()
PACKED = {
    "a.csv": PLAIN, "a.csv.gz": gzip.compress(PLAIN), "a.csv.bz2": bz2.compress(PLAIN),
    "a.csv.xz": lzma.compress(PLAIN), "a.zip": zipped("in/a.csv", PLAIN.decode()),
    "a.csv.zip": zipped("a.csv", PLAIN.decode()),
    "a.csv.zst": pa.compress(PLAIN, codec="zstd", asbytes=True),
    "a.feather": saved("to_feather", DATED), "a.parquet": saved("to_parquet", BARS),
    "a.parquet.gz": gzip.compress(saved("to_parquet", BARS)),
    "a.json": json.dumps(DATED.astype(str).to_dict("records")).encode(),
    "a.jsonl": lines([[json.dumps(r)] for r in DATED.astype(str).to_dict("records")]).encode(),
    "bom.csv": b"\xef\xbb\xbf" + PLAIN, "wide.csv": PLAIN.decode().encode("utf-16"),
    "mac.csv": PLAIN.replace(b"\n", b"\r"), "dos.csv": PLAIN.replace(b"\n", b"\r\n"),
    "tabs.tsv": PLAIN.replace(b",", b"\t"), "pipes.txt": PLAIN.replace(b",", b"|"),
    "titles.csv": b"# bars of an hour, of BTC, UTC\n\nmade by hand\n" + PLAIN,
}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
def test_containers_hold_the_same_bars(tmp_path, name):
    pd.testing.assert_frame_equal(candles.read(put(tmp_path, name, PACKED[name])), BARS)


@pytest.mark.parametrize("name", [n for n in PACKED if not n.endswith((".csv", ".tsv", ".txt"))])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_container_cut_short_is_refused_by_name(tmp_path, name, share):
    data = PACKED[name]
    if name == "a.jsonl" and share:  # cut within a line
        data = data[:-3]
    with pytest.raises(ArgumentError, match="^path: "):
        candles.read(put(tmp_path, name, data[: int(len(data) * share)]))


def several() -> bytes:
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as file:
        file.writestr("a.csv", PLAIN)
        file.writestr("b.csv", PLAIN)
    return box.getvalue()


def locked() -> bytes:
    data = bytearray(zipped("a.csv", PLAIN.decode()))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1  # the flag of encryption
    return bytes(data)


BROKEN = {
    "two files": ("a.zip", several(), "one file in it.*a.csv, b.csv"),
    "encrypted": ("a.zip", locked(), "encrypted"),
    "a program": ("a.zip", zipped("a.exe", "MZ"), "'.exe'"),
    "not gzip": ("a.csv.gz", PLAIN, "can be read"),
    "gzip named csv": ("a.csv", gzip.compress(PLAIN), "this is gzip"),
    "NUL bytes": ("a.csv", PLAIN.replace(b"17040", b"17\x0040", 1), "NUL"),
    "Latin 1": ("a.csv", "Zeit à,open,high,low,close\n".encode("latin-1") + PLAIN, "UTF-8"),
    "wide without a mark": ("a.csv", PLAIN.decode().encode("utf-16-le"), "NUL"),
    "half a pair": ("a.csv", b"\xff\xfe" + b"\x00\xd8" * 9 + b"a", "can be read"),
    "nested JSON": ("a.json", b"[" * 100_000, "can be read"),
    "JSON text": ("a.json", b'"bars"', "list of rows"),
    "empty JSON": ("a.json", b"[]", "list of rows"),
    "mixed JSON": ("a.json", b'[[1,2],{"a":1}]', "rows are all"),
    "JSON numbers": ("a.json", b"[1,2,3]", "rows are all"),
    "Excel": ("a.xlsx", b"PK", "ends in"),
    "no ending": ("bars", PLAIN, "ends in"),
    "long rows": ("a.csv", PLAIN + b"1,2,3,4,5,6,7,8\n", "can be read"),
    "rows longer than the header": ("a.csv", PLAIN.replace(b",volume", b""), "header names 5"),
    "blank": ("a.csv", b"\n\n", "can be read"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_by_name(tmp_path, case):
    name, data, message = BROKEN[case]
    with pytest.raises(ArgumentError, match=message) as caught:
        candles.read(put(tmp_path, name, data))
    assert caught.value.name == "path"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_are_read_or_refused_by_type(tmp_path_factory, data):
    name = data.draw(st.sampled_from(sorted(PACKED)))
    raw = bytearray(PACKED[name])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path_factory.mktemp("damaged"), name, bytes(raw))
    with contextlib.suppress(*TYPED):
        candles.check(candles.read(path))


# --- which column, which row ----------------------------------------------------------------

HEAD = "time,open,high,low,close,volume"


def refused(folder: Path, content: str, **options: Any) -> ValueError:
    with pytest.raises(ValueError, match=".") as caught:
        candles.read(put(folder, "a.csv", content), **options)
    assert type(caught.value) in TYPED
    return caught.value


def with_column(name: str, values: Any, at: int = 99) -> str:
    table = BARS.set_axis(BARS.index.as_unit("ms").asi8).rename_axis("time").reset_index()
    table.insert(min(at, table.shape[1]), name, list(values), allow_duplicates=True)
    return table.to_csv(index=False)


FLAGS = ["confirm", "is_closed", "isClosed", "closed", "complete", "final", "isFinal", "x",
         "is final", "bar_closed", "Confirmed", "finished", "status"]  # fmt: skip
PAIRS = [(1, 0), (True, False), ("True", "False"), ("yes", "no"), ("closed", "open"), (1.0, 0.0)]


@pytest.mark.parametrize(("name", "pair"), list(itertools.product(FLAGS, PAIRS)))
def test_a_forming_bar_that_the_file_flags_is_refused_or_dropped_by_name(tmp_path, name, pair):
    done, forming = pair
    content = with_column(name, [done] * (N - 1) + [forming])
    error = refused(tmp_path, content)
    assert "forming" in str(error)
    assert "where={" in str(error)
    assert name in str(error)
    got = candles.read(tmp_path / "a.csv", where={name: done})
    pd.testing.assert_frame_equal(got, BARS.iloc[:-1])
    all_done = put(tmp_path, "b.csv", with_column(name, [done] * N))
    pd.testing.assert_frame_equal(candles.read(all_done), BARS)


@pytest.mark.parametrize("name", ["forming", "is_partial", "unfinished", "incomplete", "isOpen"])
def test_flags_may_say_the_opposite(tmp_path, name):
    assert "forming" in str(refused(tmp_path, with_column(name, [0] * (N - 1) + [1])))
    got = candles.read(put(tmp_path, "b.csv", with_column(name, [False] * N)))
    pd.testing.assert_frame_equal(got, BARS)


@pytest.mark.parametrize("last", ["maybe", "", "2", "0.4"])
def test_a_flag_that_nobody_understands_is_not_passed_over(tmp_path, last):
    error = refused(tmp_path, with_column("confirm", ["1"] * (N - 1) + [last]))
    assert "confirm" in str(error)
    assert "where={" in str(error)


@pytest.mark.parametrize("name", ["symbol", "Ticker", "pair", "instId", "market", "coin",
                                  "instrument_name", "exchange", "interval", "timeframe",
                                  "<TICKER>", "s"])  # fmt: skip
def test_a_column_of_names_with_several_is_refused_or_chosen_from(tmp_path, name):
    error = refused(tmp_path, with_column(name, ["BTC"] * 4 + ["ETH"] * 2))
    assert "where={" in str(error)
    assert "its columns are" in str(error)
    got = candles.read(tmp_path / "a.csv", where={name: "btc"})
    pd.testing.assert_frame_equal(got, BARS.iloc[:4])
    both = candles.read(tmp_path / "a.csv", where={name: ["BTC", "ETH"]})
    pd.testing.assert_frame_equal(both, BARS)
    one = put(tmp_path, "b.csv", with_column(name, ["BTC"] * N))
    pd.testing.assert_frame_equal(candles.read(one), BARS)
    with pytest.raises(ArgumentError, match="where: .*BTC|where: .*btc"):
        candles.read(tmp_path / "a.csv", where={name: "SOL"})


@pytest.mark.parametrize("name", ["kind", "feed", "pool_address", "price_type", "", "id"])
def test_blocks_of_texts_under_any_name_are_several_series(tmp_path, name):
    """Two contracts in a row: what tells them apart may be called anything, or nothing."""
    values = ["1"] * 4 + ["2"] * 2 if name == "id" else ["mark"] * 4 + ["index"] * 2
    error = refused(tmp_path, with_column(name, values))
    assert isinstance(error, ArgumentError)
    assert error.name == "where"
    pd.testing.assert_frame_equal(
        candles.read(tmp_path / "a.csv", where={name: values[0]}), BARS.iloc[:4]
    )
    both = candles.read(tmp_path / "a.csv", where={name: list(set(values))})
    pd.testing.assert_frame_equal(both, BARS)


@pytest.mark.parametrize("name", ["status", "state", "x", "barStatus", "bar_state"])
@pytest.mark.parametrize(("closed", "last"), [
    ("closed", "updating"), ("closed", "building"), ("CLOSED", "NEW"), ("final", "in_progress"),
    ("finalized", "intrabar"), ("ok", "partial"), ("closed", ""),
])  # fmt: skip
@pytest.mark.parametrize("n", [1, N - 1])
def test_a_state_in_any_words_that_the_newest_bar_alone_has(tmp_path, name, closed, last, n):
    """What a bar's status calls the bar that forms is not known; that it is another word is."""
    table = BARS.iloc[: n + 1].set_axis(MS(BARS.index[0]) + 3_600_000 * np.arange(n + 1))
    table = table.reset_index(names="time").assign(**{name: [closed] * n + [last]})
    assert "where={" in str(refused(tmp_path, table.to_csv(index=False)))
    got = candles.read(tmp_path / "a.csv", "1h", where={name: closed})
    pd.testing.assert_frame_equal(got, BARS.iloc[:n])


@pytest.mark.parametrize(("name", "values"), [
    ("preliminary", [0, 0, 0, 0, 0, 1]), ("real_time", [0, 0, 0, 0, 0, 1]),
    ("status", [1, 1, 1, 1, 1, 2]), ("conId", [5, 5, 5, 6, 6, 6]), ("permno", [5, 6] * 3),
])  # fmt: skip
def test_numbers_that_tell_bars_or_series_apart_by_name(tmp_path, name, values):
    assert "where={" in str(refused(tmp_path, with_column(name, values)))
    candles.read(put(tmp_path, "b.csv", with_column(name, values[:1] * N)))


def test_a_price_beyond_any_float_is_named_in_short(tmp_path):
    content = lines(rows(BARS, MS), HEAD).replace(f",{BARS['open'].iloc[2]},", f",1{'0' * 400},", 1)
    error = refused(tmp_path, content)
    assert isinstance(error, candles.CandleError)
    assert len(str(error)) < 300


@pytest.mark.parametrize(("name", "values"), [
    ("colour", ["red", "green", "red", "red", "green", "red"]),
    ("weekday", ["Mon"] * 4 + ["Tue"] * 2), ("month", ["Jan"] * 4 + ["Feb"] * 2),
    ("note", ["2024-01-01"] * 4 + ["2024-01-02"] * 2), ("id", range(6)), ("n", [4, 4, 4, 5, 5, 5]),
    ("signal", [0, 0, 0, 0, 0, 1]), ("flips", [1, 0, 1, 1, 1, 0]),
    ("tokenid", ["A"] * 6), ("valid", [False, *[True] * 5]),
])  # fmt: skip
def test_columns_that_say_nothing_of_the_series_are_left_out(tmp_path, name, values):
    path = put(tmp_path, "a.csv", with_column(name, values))
    pd.testing.assert_frame_equal(candles.read(path), BARS)


@pytest.mark.parametrize(("name", "values"), [
    ("ready", [1, 1, 1, 1, 1, 0]), ("k.x", ["true"] * 5 + ["false"]),
    ("temp", [False] * 5 + [True]), ("", [True] * 5 + [False]),
])  # fmt: skip
def test_a_flag_of_any_name_that_the_newest_bar_alone_has_is_asked_about(tmp_path, name, values):
    error = refused(tmp_path, with_column(name, values))
    assert isinstance(error, ArgumentError)
    assert error.name == "where"
    got = candles.read(tmp_path / "a.csv", where={name: values[0]})
    pd.testing.assert_frame_equal(got, BARS.iloc[:-1])
    pd.testing.assert_frame_equal(candles.read(tmp_path / "a.csv", where={name: [0, 1]}), BARS)


@pytest.mark.parametrize(("name", "option"), [
    ("Close", "columns"), ("CLOSE", "columns"), ("c", "columns"), ("close", "columns"),
    ("o", "columns"), ("High ", "columns"), ("L", "columns"),
    ("Volume", "volume"), ("vol", "volume"), ("amount", "volume"), ("Volume USDT", "volume"),
    ("tickvol", "volume"), ("usdtVol", "volume"), ("volCcy", "volume"), ("base_volume", "volume"),
    ("Time", "time"), ("date", "time"), ("timestamp", "time"), ("unix", "time"), ("t", "time"),
])  # fmt: skip
def test_two_candidates_for_a_column_are_refused(tmp_path, name, option):
    values = BARS.index.as_unit("ms").asi8 + 1 if option == "time" else BARS["close"] * 2
    error = refused(tmp_path, with_column(name, values))
    assert isinstance(error, ArgumentError)
    assert error.name == option
    assert "its columns are" in str(error)


def test_options_decide_between_candidates(tmp_path):
    path = put(tmp_path, "a.csv", with_column("Close", BARS["close"] + 1))
    got = candles.read(path, columns={"close": "close"})
    pd.testing.assert_frame_equal(got, BARS)
    path = put(tmp_path, "b.csv", with_column("V", BARS["volume"] * 2).replace("volume", "v", 1))
    assert (candles.read(path, volume="V")["volume"] == BARS["volume"] * 2).all()
    assert (candles.read(path, volume="v")["volume"] == BARS["volume"]).all()
    path = put(tmp_path, "c.csv", with_column("date", BARS.index + pd.Timedelta("1D")))
    assert candles.read(path, time="date").index[0] == BARS.index[0] + pd.Timedelta("1D")


@pytest.mark.parametrize("name", ["amount", "Volume BTC", "quantity", "homeNotional", "volumefrom"])
def test_an_amount_of_nobody_knows_what_is_asked_for(tmp_path, name):
    content = lines(rows(BARS, MS), HEAD.replace("volume", name))
    error = refused(tmp_path, content)
    assert isinstance(error, ArgumentError)
    assert error.name == "volume"
    pd.testing.assert_frame_equal(candles.read(tmp_path / "a.csv", volume=name), BARS)


@pytest.mark.parametrize(("opens", "others"), [
    ("open_time", ("date",)), ("openTime", ("closeTime", "time")), ("start", ("end", "timestamp")),
    ("Open time", ("Close time",)), ("startTime", ("endTime", "ts")), ("start_at", ("date",)),
])  # fmt: skip
def test_the_open_of_a_bar_wins_over_other_times(tmp_path, opens, others):
    table = BARS.set_axis(BARS.index.as_unit("ms").asi8).reset_index(names=opens)
    for k, name in enumerate(others):
        table.insert(0, name, table[opens] + 60_000 * (k + 1))
    got = candles.read(put(tmp_path, "a.csv", table.to_csv(index=False)))
    pd.testing.assert_frame_equal(got, BARS)


def test_a_lonely_close_time_is_not_taken_for_an_open(tmp_path):
    content = lines(rows(BARS, unix(1e6, "1h")), HEAD.replace("time", "close_time"))
    assert "stamp='close'" in str(refused(tmp_path, content))
    for short in ("0s", "1us", "1ms", "1s"):
        closes = unix(1e3, str(pd.Timedelta("1h") - pd.Timedelta(short)))
        content = lines(rows(BARS, closes), HEAD.replace("time", "close_time"))
        got = candles.read(put(tmp_path, "b.csv", content), stamp="close")
        pd.testing.assert_frame_equal(got, BARS)
    one = put(tmp_path, "c.csv", lines(rows(BARS.iloc[:1], unix(1e6, "1h")), HEAD))
    with pytest.raises(ArgumentError, match="interval: "):
        candles.read(one, stamp="close")
    pd.testing.assert_frame_equal(candles.read(one, "1h", stamp="close"), BARS.iloc[:1])


def test_a_missing_header_is_said_and_names_read_it(tmp_path):
    content = lines(rows(BARS, MS))
    error = refused(tmp_path, content)
    assert isinstance(error, ArgumentError)
    assert error.name == "columns"
    assert "no header" in str(error)
    assert str(MS(BARS.index[0])) in str(error)
    for names in (OHLCV, OHLCV.split(), tuple(OHLCV.split()), OHLCV.replace(" ", ", ")):
        pd.testing.assert_frame_equal(candles.read(tmp_path / "a.csv", columns=names), BARS)
    renamed = put(tmp_path, "b.csv", lines(rows(BARS, MS), "when,a,b,c,d,e"))
    pd.testing.assert_frame_equal(candles.read(renamed, columns=OHLCV), BARS)


def test_a_missing_column_shows_the_header_and_the_option(tmp_path):
    error = refused(tmp_path, lines(rows(BARS, MS), "time,open,high,low,Last price,volume"))
    assert "columns={" in str(error)
    assert "'Last price'" in str(error)
    got = candles.read(tmp_path / "a.csv", columns={"close": "Last price"})
    pd.testing.assert_frame_equal(got, BARS)


# --- times ------------------------------------------------------------------------------


def calendar(form: str) -> str:
    return lines(rows(BARS, text(form)), HEAD)


@pytest.mark.parametrize("form", ["%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%d.%m.%Y %H:%M",
                                  "%m/%d/%Y %H:%M", "%y-%m-%d %H:%M", "%H:%M"])  # fmt: skip
def test_calendars_that_can_be_misread_are_refused(tmp_path, form):
    error = refused(tmp_path, calendar(form), tz="UTC")
    assert isinstance(error, ArgumentError)
    assert error.name == "path"


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.000", "%Y.%m.%d %H:%M",
                                  "%Y/%m/%d %H:%M:%S", "%Y%m%d %H:%M"])  # fmt: skip
def test_calendars_with_the_year_first_are_read(tmp_path, form):
    got = candles.read(put(tmp_path, "a.csv", calendar(form)), tz="UTC")
    pd.testing.assert_frame_equal(got, BARS)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d %H:%M%z"])
def test_zones_of_the_file_are_kept_and_not_overruled(tmp_path, form):
    path = put(tmp_path, "a.csv", calendar(form))
    pd.testing.assert_frame_equal(candles.read(path), BARS)
    pd.testing.assert_frame_equal(candles.read(path, tz="UTC"), BARS)
    with pytest.raises(ArgumentError, match="tz: .*carry their zone"):
        candles.read(path, tz="Asia/Tokyo")


def test_dates_in_digits_are_days(tmp_path):
    path = put(tmp_path, "a.csv", lines(rows(DAYS, text("%Y%m%d")), HEAD))
    pd.testing.assert_frame_equal(candles.read(path, tz="UTC"), DAYS)


@pytest.mark.parametrize("joined", [("day", "clock"), ["day", "clock"]])
@pytest.mark.parametrize("clock", ["%H:%M", "%H%M%S", "%H:%M:%S", "%H%M"])
def test_a_date_and_a_clock_are_joined(tmp_path, joined, clock):
    content = lines([[*r[0].split(), *r[1:]] for r in rows(BARS, text("%Y-%m-%d " + clock))],
                    HEAD.replace("time", "day,clock"))  # fmt: skip
    path = put(tmp_path, "a.csv", content)
    pd.testing.assert_frame_equal(candles.read(path, time=joined, tz="UTC"), BARS)
    with pytest.raises(ArgumentError, match="time: "):
        candles.read(path, time=("day", "close"), tz="UTC")


@pytest.mark.parametrize("scale", [1e-2, 1e-12, 1e4, 1e10, -1.0, 0.0])
def test_numbers_outside_every_unit_are_refused(tmp_path, scale):
    content = lines(rows(BARS, lambda t: f"{MS(t) / 1000 * scale:.0f}"), HEAD)
    error = refused(tmp_path, content)
    assert type(error) in TYPED


@pytest.mark.parametrize("since", ["0001-01-01", "1601-01-01"])
def test_ticks_of_100_ns_are_not_taken_for_ns(tmp_path, since):
    """Of .NET and of Windows: read as ns they would be 36-second bars of 1990 or 1974."""
    days = (BARS.index.as_unit("us") - pd.Timestamp(since, tz="UTC").as_unit("us")).asi8
    content = lines([[10 * t, *b] for t, b in zip(days, BARS.to_numpy(), strict=True)], HEAD)
    assert "ticks of 100 ns" in str(refused(tmp_path, content))


@pytest.mark.parametrize("start", [2 * 10**10, 99 * 10**9, 5 * 10**13, 10**16, 2 * 10**16])
def test_numbers_too_large_for_their_unit_do_not_wrap(tmp_path, start):
    content = lines([[start + 3600 * k, *b] for k, b in enumerate(BARS.to_numpy())], HEAD)
    assert "since 1970" in str(refused(tmp_path, content))


def test_mixed_units_are_refused(tmp_path):
    half = N // 2
    mixed = rows(BARS.iloc[:half], S) + rows(BARS.iloc[half:], MS)
    assert "one unit in all rows" in str(refused(tmp_path, lines(mixed, HEAD)))


@pytest.mark.parametrize("year", ["9999", "2262", "0001", "1900"])
def test_years_that_nanoseconds_or_markets_lack_are_refused(tmp_path, year):
    content = lines(rows(BARS, ISO), HEAD).replace("2024-", f"{year}-")
    assert type(refused(tmp_path, content, tz="UTC")) is ArgumentError
    table = BARS.set_axis(BARS.index.map(lambda t: t.replace(year=int(year))).as_unit("us"))
    table.rename_axis("time").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ArgumentError, match="1970 to 2261"):
        candles.read(tmp_path / "a.parquet")
    if year in ("9999", "0001"):
        with pytest.raises(candles.CandleError, match="range"):
            candles.check(table.rename_axis("time"))


def test_bars_that_have_not_closed_are_refused_or_dropped_by_a_moment(tmp_path):
    now = pd.Timestamp.now("UTC").floor("1h")
    bars = BARS.set_axis(pd.date_range(end=now, periods=N, freq="1h", name="time", unit="us"))
    path = tmp_path / "a.csv"
    bars.to_csv(path)
    with pytest.raises(candles.CandleError, match="until=") as caught:
        candles.read(path)
    assert [f.kind for f in caught.value.faults] == ["future"]
    closed = candles.read(path, until=now)
    pd.testing.assert_frame_equal(closed, bars.iloc[:-1], check_freq=False)
    assert len(candles.read(path, until=str(now - pd.Timedelta("1h")))) == N - 2
    bars.iloc[:-1].to_csv(path)
    assert len(candles.read(path)) == N - 1
    for bad in ("2024-01-01", "2999-01-01T00:00Z", 5, "soon"):
        with pytest.raises(ArgumentError, match="until: "):
            candles.read(path, until=bad)


def test_equal_stamps_are_duplicates_not_an_order(tmp_path):
    same = lines(rows(BARS, lambda t: "2024-01-01"), HEAD)
    error = refused(tmp_path, same, tz="UTC")
    assert [f.kind for f in error.faults] == ["duplicates"]  # type: ignore[attr-defined]


def test_newest_first_is_turned_round_only_on_demand(tmp_path):
    path = put(tmp_path, "a.csv", lines(rows(BARS, MS)[::-1], HEAD))
    pd.testing.assert_frame_equal(candles.read(path, newest_first=True), BARS)
    with pytest.raises(candles.CandleError, match="newest_first=True"):
        candles.read(path)
    path = put(tmp_path, "b.csv", lines(rows(BARS, MS), HEAD))
    with pytest.raises(ArgumentError, match="newest_first: "):
        candles.read(path, newest_first=True)


# --- days of another begin, weeks, stocks --------------------------------------------------


def test_days_of_another_begin_keep_it_through_the_package(tmp_path):
    hours = candles.synthetic(24 * 120, seed=1, interval="1h").candles
    path = tmp_path / "hours.parquet"
    hours.to_parquet(path)
    own = candles.read(path, offset="16h")
    days = candles.resample(own, "1D")
    assert (days.index.hour == 16).all()
    assert days["close"].iloc[0] == hours["close"].loc["2024-01-02 15:00+00:00"]
    six = candles.resample(own, "6h")
    assert set(six.index.hour) == {4, 10, 16, 22}
    pd.testing.assert_frame_equal(candles.resample(six, "1D"), days)
    for frame in (days, days.iloc[3:], days.copy(), days * 2.0):
        candles.check(frame, "1D")
    assert candles.windows(days, 5).shape == (len(days) - 4, 5, 5)
    assert len(channels.compute(days)) == len(days)
    result = backtest.run(days, pd.Series(1.0, days.index))
    assert np.isfinite(result.equity).all()
    days.to_parquet(path)
    pd.testing.assert_frame_equal(candles.read(path, "1D"), days)  # it is written in the file
    days.to_csv(tmp_path / "days.csv")
    with pytest.raises(candles.CandleError, match="offset='16h'"):
        candles.read(tmp_path / "days.csv")
    candles.read(tmp_path / "days.csv", offset="16h")
    with pytest.raises(candles.CandleError, match="offset='16h'"):
        candles.check(pd.DataFrame(days.to_numpy(), days.index, days.columns))


@pytest.mark.parametrize("offset", ["1D", "-1h", "16", "noon", 16, "1ms", pd.NaT])
def test_offsets_that_no_day_has(tmp_path, offset):
    path = put(tmp_path, "a.csv", PLAIN)
    with pytest.raises(ArgumentError, match="offset: "):
        candles.read(path, offset=offset)
    marked = BARS.copy()
    marked.attrs["offset"] = offset
    with pytest.raises(ArgumentError, match="offset"):
        candles.check(marked)


def test_weeks_and_stock_days_are_refused_with_the_reason(tmp_path):
    weeks = DAYS.set_axis(pd.date_range("2024-01-01", periods=N, freq="7D", tz="UTC", name="time"))
    weeks.to_csv(tmp_path / "a.csv")
    with pytest.raises(candles.CandleError, match="weeks and months are out of scope"):
        candles.read(tmp_path / "a.csv")
    index = pd.bdate_range("2024-01-01", periods=40, tz="UTC", name="time")
    stocks = candles.synthetic(40, seed=0, interval="1D").candles.set_axis(index)
    stocks.to_csv(tmp_path / "b.csv")
    with pytest.raises(candles.CandleError, match="stock calendars are out of scope"):
        candles.read(tmp_path / "b.csv")
    hours = candles.synthetic(120, seed=0, interval="1h").candles
    hours[hours.index.hour.isin(range(9, 17))].to_csv(tmp_path / "c.csv")
    with pytest.raises(candles.CandleError, match="outside trading hours .stock calendars"):
        candles.read(tmp_path / "c.csv")


# --- numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ['"42,000.5"', "42_000", "4.2K", "42000 USD", "True", "x"])
def test_text_that_is_no_number_is_refused_and_shown(tmp_path, cell):
    table = rows(BARS, MS)
    table[2][1] = cell
    error = refused(tmp_path, lines(table, HEAD))
    assert "open holds" in str(error)


@pytest.mark.parametrize("cells", [["1,234", "1,235"], ["1.234,5", "1.235,5"], ["42,000", "1.5"]])
def test_a_comma_that_may_be_either_is_refused(tmp_path, cells):
    table = [[r[0], *[cells[k % 2]] * 4, 1] for k, r in enumerate(rows(BARS, MS))]
    error = refused(tmp_path, lines(table, HEAD.replace(",", ";"), ";"))
    assert "holds" in str(error)


def test_booleans_are_no_prices(tmp_path):
    BARS.assign(volume=True).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(candles.CandleError, match="volume holds"):
        candles.read(tmp_path / "a.parquet")


def test_foreign_frames_are_refused_by_name_with_the_way():
    with pytest.raises(candles.CandleError, match=r"pyarrow.Table: .to_pandas\(\)"):
        candles.check(pa.Table.from_pandas(BARS))  # type: ignore[arg-type]


# --- options ----------------------------------------------------------------------------

OPTIONS = [
    ({"columns": 7}, "columns"), ({"columns": ""}, "columns"), ({"columns": []}, "columns"),
    ({"columns": ["time", "Time"]}, "columns"), ({"columns": {"closing": "close"}}, "columns"),
    ({"columns": {"close": 7}}, "columns"), ({"columns": {"close": "nix"}}, "columns"),
    ({"columns": "a b c d e f g h"}, "columns"), ({"columns": [None]}, "columns"),
    ({"time": "nix"}, "time"), ({"time": 7}, "time"), ({"time": ("a", "b", "c")}, "time"),
    ({"time": ()}, "time"), ({"stamp": "end"}, "stamp"), ({"stamp": None}, "stamp"),
    ({"volume": "nix"}, "volume"), ({"volume": 7}, "volume"), ({"where": "a"}, "where"),
    ({"where": []}, "where"), ({"where": 0}, "where"),
    ({"where": {"nix": 1}}, "where"), ({"newest_first": "no"}, "newest_first"),
    ({"newest_first": 0}, "newest_first"), ({"interval": "1W"}, "interval"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "name"), OPTIONS)
def test_bad_options_are_named(tmp_path, options, name):
    path = put(tmp_path, "a.csv", PLAIN)
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        candles.read(path, **options)
