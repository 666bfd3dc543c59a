"""Channels: from five columns of candles to 34 in six groups, each known at its bar's close.

`compute` gives them in raw units or in scale-free forms for the nets, `Standardizer` fits
their mean and scale on training rows. Chapter 02 writes some of them out by hand.
"""

from __future__ import annotations

from .indicators import GROUPS, PERIODS, WARM_UP, compute
from .standardizer import NotFitted, Standardizer

__all__ = ["GROUPS", "PERIODS", "WARM_UP", "NotFitted", "Standardizer", "compute"]
