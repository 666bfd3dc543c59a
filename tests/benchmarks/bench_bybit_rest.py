"""Speed of one page of klines: from the bytes of the answer to checked bars.

A page is what takes the time that is ours; the network's is not. The peer is what most
scripts do with the same rows: a frame of strings, cast and sorted by pandas.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from setrade import candles
from setrade.bybit import constants, http
from setrade.bybit.rest import Series

ROWS = 1000


def body() -> bytes:
    """The answer of the kline endpoint: 1,000 rows of decimal strings, newest first."""
    bars = candles.synthetic(ROWS, seed=0, interval="1h").candles.round(4)
    stamps = bars.index.as_unit("ms").asi8
    rows = [[str(t), *map(str, bar), str(round(bar[4] * bar[3], 4))]
            for t, bar in zip(stamps.tolist(), bars.to_numpy().tolist(), strict=True)]  # fmt: skip
    result = {"symbol": "BTCUSDT", "category": "linear", "list": rows[::-1]}
    envelope = {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 0}
    return json.dumps(envelope).encode()


def test_a_page_of_a_thousand_klines(race):
    raw = body()
    rows = json.loads(raw)["result"]["list"]
    first, last = int(rows[-1][0]), int(rows[0][0])
    series = Series("BTCUSDT", constants.interval("1h"), "linear", "trade")

    def ours() -> http.Bars:
        """Decode, parse, clip, sort, check."""
        return series.page(lambda symbol, method, **query: json.loads(raw), first, last)

    def ours_parse_only() -> http.Bars:
        return http.klines(rows, "trade")

    def pandas_strings() -> pd.DataFrame:
        table = pd.DataFrame(json.loads(raw)["result"]["list"]).astype(np.float64)
        table[0] = pd.to_datetime(table[0].astype(np.int64), unit="ms", utc=True)
        return table.set_index(0).sort_index()

    assert np.array_equal(ours().values, pandas_strings().to_numpy())
    medians = race(ours, ours_parse_only=ours_parse_only, pandas_strings=pandas_strings)
    race.bound("within_5_ms", 0.005 / medians["ours"], 1)
    race.bound("pandas_strings", medians["pandas_strings"] / medians["ours"], 0.8)
