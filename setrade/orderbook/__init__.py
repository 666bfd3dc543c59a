"""The limit order book: kept up to date, drawn as a picture, measured."""

from .book import FAULTS, BookStateError, OrderBook
from .clusters import clusters, large_levels
from .feed import messages
from .heatmap import Heatmap, heatmap
from .impact import PowerLaw, fit_power_law, slippage_bps, walk
from .measures import depth_imbalance, microprice, next_move
from .snapshots import BookError, Snapshots
from .spoofing import spoofing
from .synthetic import SyntheticBook, synthetic

__all__ = [
    "FAULTS",
    "BookError",
    "BookStateError",
    "Heatmap",
    "OrderBook",
    "PowerLaw",
    "Snapshots",
    "SyntheticBook",
    "clusters",
    "depth_imbalance",
    "fit_power_law",
    "heatmap",
    "large_levels",
    "messages",
    "microprice",
    "next_move",
    "slippage_bps",
    "spoofing",
    "synthetic",
    "walk",
]
