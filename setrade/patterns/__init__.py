"""Chart patterns and candlestick patterns: drawn, found by rules, labelled, scored.

`synthetic` draws windows that hold one chart pattern each, with its place, or none; `find` and
`scan` look for them by geometric rules. `candlestick_labels` asks TA-Lib, `candlestick_quality`
says how good a pattern is. `reliability` and `temperature` ask whether a net's 80 % mean 80 %.
"""

from __future__ import annotations

from setrade.patterns.detect import CANDLESTICKS, WARM_UP, Found, candlestick_labels, find, scan
from setrade.patterns.quality import (
    calibration_error,
    candlestick_quality,
    reliability,
    temperature,
    wilson,
)
from setrade.patterns.synthetic import BIAS, NAMES, SHAPES, Drawn, Shape, synthetic

__all__ = [
    "BIAS",
    "CANDLESTICKS",
    "NAMES",
    "SHAPES",
    "WARM_UP",
    "Drawn",
    "Found",
    "Shape",
    "calibration_error",
    "candlestick_labels",
    "candlestick_quality",
    "find",
    "reliability",
    "scan",
    "synthetic",
    "temperature",
    "wilson",
]
