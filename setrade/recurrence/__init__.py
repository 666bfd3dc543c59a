"""Recurrence plots, as distances or thresholded, and what can be counted in them."""

from setrade.recurrence.images import embed, recurrence
from setrade.recurrence.quantification import quantify

__all__ = ["embed", "quantify", "recurrence"]
