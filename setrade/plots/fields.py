"""Square pictures of a series, drawn alike in every chapter: time runs right and down."""

from __future__ import annotations

from typing import Any

import numpy as np


def field(ax: Any, image: Any, title: str = "", *, signed: bool = True) -> Any:
    """Draw one square picture; return the Matplotlib image, for a colour bar.

    Args:
        ax: Matplotlib axes.
        image: Shape (m, m); row 0 and column 0 belong to the oldest bar.
        title: Short title above it.
        signed: True for values in [-1, 1], white at 0; False for values from 0 up.
    """
    scale = {"cmap": "PuOr_r", "vmin": -1, "vmax": 1} if signed else {"cmap": "cividis", "vmin": 0}
    drawn = ax.imshow(np.asarray(image), **scale)
    ax.set_title(title)
    ax.set(xlabel="bar j", ylabel="bar i")
    ax.grid(False)
    return drawn
