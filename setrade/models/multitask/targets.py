"""What the three heads are asked, and examples that carry three answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from setrade.costs import Costs
from setrade.errors import ArgumentError, integer
from setrade.labels import forward_return, sell_hold_buy
from setrade.training import Examples


def task_targets(
    candles: pd.DataFrame, horizon: int, *, costs: Costs | None = None, multiple: float = 1.0
) -> pd.DataFrame:
    """Return the answers after each bar: direction, magnitude, volatility.

    All three look at the same future, from the fill at the open of t+1 to the open
    ``horizon`` bars later.

    Args:
        candles: n checked bars.
        horizon: bars, at least 2.
        costs: for the hold class, as in ``labels.sell_hold_buy``.
        multiple: the same.

    Returns:
        A frame (n, 3): ``direction`` 0 sell, 1 hold, 2 buy; ``magnitude`` the forward return, a
        fraction with its sign; ``volatility`` the log of the root mean square of the bars' log
        returns. Rows without a complete future are NaN.

    Raises:
        ArgumentError: a bad argument, or a future in which the price never moves.
    """
    horizon = integer("horizon", horizon, 2)
    magnitude = forward_return(candles, horizon)
    # From the open of t+1 to that of t+2, put at t.
    steps = candles["open"].apply(np.log).diff().shift(-2)
    square = (steps**2).rolling(horizon).mean().shift(-(horizon - 1))
    flat = square.index[square.to_numpy() == 0]
    if len(flat):
        raise ArgumentError("candles", str(flat[0]), "an open that moves within every horizon")
    direction = sell_hold_buy(magnitude, costs, multiple=multiple)
    columns = {"direction": direction, "magnitude": magnitude, "volatility": np.log(square) / 2}
    return pd.DataFrame(columns)


class TaskSet:
    """Examples whose inputs come from another set, and whose targets are one array a task.

    Args:
        source: any `Examples`, such as ``pictures.PictureSet``; its own targets are not used.
        targets: arrays (len(source),) by task: integers become int64, floats float32.

    Raises:
        ArgumentError: not one finite target an example.
    """

    def __init__(self, source: Examples, targets: Mapping[str, Any]) -> None:
        if not isinstance(source, Examples):
            raise ArgumentError("source", source, "examples with len() and batch(rows)")
        if not isinstance(targets, Mapping) or not targets:
            raise ArgumentError("targets", targets, "a mapping of task to array")
        self.source, self.targets = source, {}
        for task, values in targets.items():
            y = np.asarray(values)
            if y.shape != (len(source),) or y.dtype.kind not in "iuf" or not np.isfinite(y).all():
                raise ArgumentError("targets", values, f"{len(source)} finite numbers for {task}")
            kind = np.float32 if y.dtype.kind == "f" else np.int64
            self.targets[task] = torch.from_numpy(y.astype(kind))

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Tensor) -> tuple[Any, dict[str, Tensor]]:
        """Return the inputs of ``rows`` and their targets by task."""
        return self.source.batch(rows)[0], {task: y[rows] for task, y in self.targets.items()}
