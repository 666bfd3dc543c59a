"""Strategy 4: one net looks at two market states and says how far apart they are."""

from .net import ContrastiveLoss, Siamese
from .pairs import PairSet, draw_pairs
from .uses import anomaly, change, nearest

__all__ = [
    "ContrastiveLoss",
    "PairSet",
    "Siamese",
    "anomaly",
    "change",
    "draw_pairs",
    "nearest",
]
