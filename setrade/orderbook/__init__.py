"""The limit order book: kept up to date, drawn as a picture, measured."""

from setrade.orderbook.book import (
    FAULTS,
    BookError,
    BookStateError,
    OrderBook,
    Snapshots,
    messages,
)
from setrade.orderbook.measures import (
    Heatmap,
    PowerLaw,
    clusters,
    depth_imbalance,
    fit_power_law,
    heatmap,
    large_levels,
    microprice,
    next_move,
    slippage_bps,
    spoofing,
    walk,
)
from setrade.orderbook.synthetic import SyntheticBook, synthetic

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
