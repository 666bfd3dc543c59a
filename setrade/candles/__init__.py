"""Candles: the floor that everything stands on. Get them, check them, reshape them.

A frame of candles has a UTC ``DatetimeIndex`` named ``time`` that holds each bar's **open**,
the columns ``open high low close volume`` (``turnover`` optional) and closed bars only.
`check` holds every frame to that; what `sample`, `read`, `synthetic` and `resample` return
passes it. Chapter 01 writes each of them out by hand.
"""

from __future__ import annotations

from setrade.candles.checks import COLUMNS, CandleError, CandleFault, bar_interval, check
from setrade.candles.files import resample, sample, windows
from setrade.candles.market import Market, synthetic
from setrade.candles.reader import read

__all__ = [
    "COLUMNS",
    "CandleError",
    "CandleFault",
    "Market",
    "bar_interval",
    "check",
    "read",
    "resample",
    "sample",
    "synthetic",
    "windows",
]
