"""Figures of order books: a ladder of one snapshot, a heat map of many."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from . import DOWN, UP


def draw_ladder(ax: Axes, price: np.ndarray, size: np.ndarray, is_bid: np.ndarray) -> None:
    """Draw one snapshot as bars: price upwards, size to the right; asks are hatched."""
    order = np.argsort(price)
    labels = [f"{p:g}" for p in price[order]]
    for side, colour, hatch in ((True, UP, ""), (False, DOWN, "//")):
        rows = np.flatnonzero(is_bid[order] == side)
        ax.barh(rows, size[order][rows], color=colour, hatch=hatch, edgecolor="white",
                label="bids" if side else "asks")  # fmt: skip
    ax.set_yticks(range(len(price)), labels)
    ax.set(xlabel="size (BTC)", ylabel="price (USDT)")
    ax.legend()


def draw_heatmap(ax: Axes, volume: np.ndarray, seconds: float, span_bps: float) -> AxesImage:
    """Draw a picture ``(2, rows, columns)``: bids above zero (purple), asks below (orange).

    The colour is log(1 + bids) - log(1 + asks), on a scale symmetric about zero; time runs
    to the right over ``seconds``, rows from ``+span_bps`` down to ``-span_bps``.
    """
    signed = np.log1p(volume[0]) - np.log1p(volume[1])
    limit = float(np.abs(signed).max()) or 1.0
    picture = ax.imshow(
        signed, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto",
        extent=(0, seconds, -span_bps, span_bps),
    )  # fmt: skip
    ax.grid(False)
    ax.set(xlabel="time (s)", ylabel="price from reference (bps)")
    return picture
