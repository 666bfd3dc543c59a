"""Candles: the floor that everything stands on. Get them, check them, reshape them.

A frame of candles has a UTC ``DatetimeIndex`` named ``time`` that holds each bar's **open**,
the columns ``open high low close volume`` (``turnover`` optional) and closed bars only.
`check` holds every frame to that; what `sample`, `read`, `synthetic` and `resample` return
passes it. Chapter 01 writes each of them out by hand.
"""

from __future__ import annotations

from setrade.candles.checks import COLUMNS, CandleError, Fault, bar_interval
from setrade.candles.files import resample, sample, windows

from .checks import check
from .files import read
from .market import Market, synthetic

__all__ = [
    "COLUMNS",
    "CandleError",
    "Fault",
    "Market",
    "bar_interval",
    "check",
    "read",
    "resample",
    "sample",
    "synthetic",
    "windows",
]
