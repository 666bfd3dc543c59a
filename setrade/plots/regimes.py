"""Figures of chapter 16: regimes as bands, transitions as a table, weights as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

# From light to dark, so that the order survives a grey printer; told apart by hatch as well.
STATE_COLOURS = ("#DDEAF4", "#56B4E9", "#0B3C5D", "#D55E00", "#CC79A7")
HATCHES = ("", "", "//", "..", "xx")


def probability_bands(ax: Axes, probabilities: pd.DataFrame) -> None:
    """Draw probabilities (n, k) that sum to 1 as bands over time, the first state lowest.

    Raises:
        ArgumentError: more states than the figure has colours.
    """
    names = list(probabilities.columns)
    if len(names) > len(STATE_COLOURS):
        raise ArgumentError("probabilities", probabilities, f"at most {len(STATE_COLOURS)} columns")
    floor = np.zeros(len(probabilities))
    for i, name in enumerate(names):
        top = floor + probabilities[name].to_numpy()
        ax.fill_between(
            probabilities.index.to_numpy(), floor, top, step="post", lw=0,
            color=STATE_COLOURS[i], hatch=HATCHES[i], label=str(name),
        )  # fmt: skip
        floor = top
    ax.set_ylim(0, 1)
    ax.set_ylabel("probability")
    ax.grid(False)


def share_table(ax: Axes, table: pd.DataFrame, digits: int = 3) -> AxesImage:
    """Draw shares in [0, 1] as a square of cells, from (rows) to (columns), with the numbers."""
    image = ax.imshow(table.to_numpy(), vmin=0, vmax=1, cmap="Blues")
    ax.set_xticks(range(table.shape[1]), [str(c) for c in table.columns])
    ax.set_yticks(range(table.shape[0]), [str(r) for r in table.index])
    ax.grid(False)
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        ink = "white" if value > 0.5 else "black"
        ax.text(column, row, f"{value:.{digits}f}", ha="center", va="center", color=ink)
    return image


def interval_rows(ax: Axes, rows: pd.DataFrame, zero: float = 0.0) -> None:
    """Draw one estimate with its interval a row.

    Args:
        ax: Matplotlib axes.
        rows: index the labels, columns ``mean low high``; the first row is drawn on top.
        zero: where a dashed line marks no difference.
    """
    place = np.arange(len(rows))[::-1]
    mean = rows["mean"].to_numpy()
    reach = np.abs(rows[["low", "high"]].to_numpy().T - mean)
    ax.errorbar(mean, place, xerr=reach, fmt="o", capsize=3)
    ax.axvline(zero, color="black", ls="--", lw=0.8)
    ax.set_yticks(place, [str(name) for name in rows.index])
    ax.set_ylim(-0.6, len(rows) - 0.4)
