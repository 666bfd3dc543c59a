"""Chart patterns and candlestick patterns: drawn, found by rules, labelled, scored.

`synthetic` draws windows that hold one chart pattern each, with its place, or none; `find` and
`scan` look for them by geometric rules. `candlestick_labels` asks TA-Lib, `candlestick_quality`
says how good a pattern is. `reliability` and `temperature` ask whether a net's 80 % mean 80 %.
"""

from __future__ import annotations

from .calibration import calibration_error, reliability, temperature, wilson
from .candlesticks import CANDLESTICKS, WARM_UP, candlestick_labels
from .finder import Found, find, scan
from .quality import candlestick_quality
from .shapes import BIAS, NAMES, SHAPES, Shape
from .synthetic import Drawn, synthetic

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
