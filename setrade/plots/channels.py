"""Figures of chapter 02: how channels resemble each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from setrade.channels import GROUPS
from setrade.errors import ArgumentError


def correlations(table: pd.DataFrame, ax: Axes) -> AxesImage:
    """Draw the correlation of every pair of channels, with lines between the groups.

    Args:
        table: shape ``(bars, C)``, columns as `setrade.channels.compute` gives them; rows
            with a NaN are left out.
        ax: where to draw.

    Returns:
        The image, for a colour bar; -1 is orange, 0 white, +1 violet.

    Raises:
        ArgumentError: not a DataFrame, or fewer than two complete rows.
    """
    if not isinstance(table, pd.DataFrame) or len(table.dropna()) < 2:
        raise ArgumentError("table", table, "a DataFrame with at least 2 rows without NaN")
    names = list(table.columns)
    image = ax.imshow(table.dropna().corr(), cmap="PuOr", vmin=-1, vmax=1)
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    ax.set_yticks(range(len(names)), names, fontsize=6)
    ax.grid(False)
    sizes = [sum(name in names for name in group) for group in GROUPS.values()]
    for edge in np.cumsum(sizes)[:-1]:
        ax.axhline(edge - 0.5, color="black", linewidth=0.6)
        ax.axvline(edge - 0.5, color="black", linewidth=0.6)
    return image
