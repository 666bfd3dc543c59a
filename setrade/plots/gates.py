"""Figures of gates: over time under the price, and the weights behind a squeeze."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from setrade.errors import ArgumentError
from setrade.plots import NEUTRAL


def gates_over_time(close: pd.Series, gates: pd.DataFrame, *, label: str = "gate") -> Figure:
    """Draw the price above a strip of gates, one row a channel, on one time axis.

    Args:
        close: closing price, indexed by time, regular.
        gates: gates in (0, 1), same index, one column a channel. Half is the middle colour,
            and the scale is symmetric about it, as wide as the gates need.
        label: name of the colour scale.

    Returns:
        The figure, its axes price and gates in this order.

    Raises:
        ArgumentError: ``gates`` is not indexed as ``close`` is.
    """
    if not gates.index.equals(close.index):
        raise ArgumentError("gates", gates, "one row for each row of close, same index")
    strip_height = 0.2 * gates.shape[1]
    fig, (top, strip) = plt.subplots(
        2, 1, sharex=True, figsize=(7.2, 1.8 + strip_height), height_ratios=[1.2, strip_height]
    )
    top.plot(close.index, close, color="black")
    top.set_ylabel("close, USD")
    fig.colorbar(_strip(strip, gates), ax=strip, label=label, pad=0.01)
    return fig


def _strip(axis: Axes, gates: pd.DataFrame) -> AxesImage:
    """Draw the gates as an image over time; half is the middle colour."""
    wide = float(np.abs(gates.to_numpy() - 0.5).max())
    left, right = date2num(gates.index[0]), date2num(gates.index[-1])
    axis.set_yticks(range(gates.shape[1]), [str(name) for name in gates])
    axis.grid(False)
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))
    axis.set_xlabel("time, UTC")
    return axis.imshow(
        gates.T, aspect="auto", cmap="PuOr_r", vmin=0.5 - wide, vmax=0.5 + wide,
        extent=(float(left), float(right), gates.shape[1] - 0.5, -0.5),
    )  # fmt: skip


def squeeze_weights(x: np.ndarray, weights: Mapping[str, np.ndarray]) -> Figure:
    """Draw one channel's window above the weights that each squeeze puts on its bars.

    Args:
        x: the channel, ``(T,)``, newest bar last.
        weights: for each squeeze its weights, ``(T,)``, sum 1; each row has its own scale.

    Returns:
        The figure, its axes the window and then one a squeeze.

    Raises:
        ArgumentError: some ``weights`` are not as many as the bars of ``x``.
    """
    if any(len(weight) != len(x) for weight in weights.values()):
        raise ArgumentError("weights", weights, f"{len(x)} weights for each squeeze")
    age = np.arange(1 - len(x), 1)
    fig, axes = plt.subplots(
        len(weights) + 1, 1, sharex=True, figsize=(7.2, 1.6 + 0.7 * len(weights)),
        height_ratios=[2.2] + [1.0] * len(weights),
    )  # fmt: skip
    axes[0].axhline(0, color=NEUTRAL, lw=0.8)
    axes[0].plot(age, x, color="black", marker=".", ms=4)
    axes[0].set_ylabel("channel")
    for axis, colour, (name, weight) in zip(axes[1:], count(), weights.items(), strict=False):
        axis.bar(age, weight, color=f"C{colour}")
        axis.set_title(f"{name}: z = {x @ weight:.2f}", fontsize="small", pad=2)
        axis.set_ylim(0, 1.15 * weight.max())
        axis.set_yticks([0, round(float(weight.max()), 2)])
    axes[-1].set_xlabel("bars before the newest")
    return fig
