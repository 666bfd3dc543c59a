"""Figures of chapter 06: regimes under a price, gates by regime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

REGIME_COLOURS = ("#0072B2", "#D55E00", "#DDDDDD", "#CC79A7", "#F0E442")


def regime_strip(ax: Axes, regime: pd.Series) -> None:
    """Draw one row a regime (a categorical Series (n,)), filled where it is in force."""
    names = list(regime.cat.categories)
    x = regime.index.to_numpy()
    for row, (name, colour) in enumerate(zip(names, REGIME_COLOURS, strict=True)):
        on = (regime == name).to_numpy()
        ax.fill_between(x, row - 0.4, row + 0.4, where=on, color=colour, step="post", lw=0)
    ax.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    ax.grid(False)
    ax.invert_yaxis()


def heat_map(ax: Axes, table: pd.DataFrame, low: float = 0.0, high: float = 1.0) -> AxesImage:
    """Draw a table of gates, features down and regimes across, with the numbers in the cells."""
    image = ax.imshow(table.to_numpy(), vmin=low, vmax=high, aspect="auto")
    ax.set_xticks(range(table.shape[1]), [str(c).replace("_", "\n") for c in table.columns])
    ax.set_yticks(range(table.shape[0]), [str(r) for r in table.index])
    ax.grid(False)
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        ink = "white" if value < (low + high) / 2 else "black"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
    return image
