"""Strategy 2 of the chapter we started from: frozen features, then boosted trees.

Source: T. Chen and C. Guestrin, XGBoost: A Scalable Tree Boosting System (2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from setrade.efficientnet.scaling import evaluating
from setrade.errors import ArgumentError, array, integer, number, tensor


def extract(backbone: nn.Module, pictures: Any, *, batch_size: int = 256) -> np.ndarray:
    """Return the features of pictures, computed once, for whatever is fitted on them.

    Args:
        backbone: any net from pictures to (B, F); left in the mode it was in.
        pictures: a tensor (N, C, H, W) in [0, 1], or a set with ``batch(rows)`` such as
            ``pictures.PictureSet``, of which only the pictures are used.
        batch_size: pictures a step.

    Returns:
        float32 array (N, F), rows in the order of the pictures.

    Raises:
        ArgumentError: there are no pictures, or the backbone refuses them.
    """
    size, is_tensor = integer("batch_size", batch_size, 1), isinstance(pictures, Tensor)
    if not isinstance(backbone, nn.Module):
        raise ArgumentError("backbone", backbone, "a torch module")
    if is_tensor:
        like = next(backbone.parameters()).dtype
        if tensor("pictures", pictures, ndim=4).dtype != like:
            raise ArgumentError("pictures", pictures.dtype, f"{like}, as the backbone's weights")
    if not (pictures.ndim == 4 if is_tensor else hasattr(pictures, "batch")) or not len(pictures):
        raise ArgumentError("pictures", pictures, "a tensor (N, C, H, W) or a set, not empty")
    where, out = next(backbone.parameters()).device, []
    with evaluating(backbone), torch.inference_mode():
        for rows in torch.arange(len(pictures)).split(size):
            x = pictures[rows] if is_tensor else pictures.batch(rows)[0]
            x = x.to(where, memory_format=torch.channels_last)
            out.append(backbone(x).float().cpu().numpy())  # (b, F)
    return np.concatenate(out)


class Boosted:
    """Boosted trees from features to class probabilities, in the order of the classes.

    Args:
        num_classes: 3 are 0 sell, 1 hold, 2 buy. A class that never occurs keeps its column.
        rounds: trees a class, at most.
        patience: rounds without a better validation loss before stopping.
        depth: of a tree.
        lr: share of each tree that is added.
        column_share: share of the features that a tree may look at.
        seed: of the columns that a tree may look at.
        threads: of XGBoost; the digits are the same for the same number.

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self,
        num_classes: int = 3,
        *,
        rounds: int = 100,
        patience: int = 10,
        depth: int = 3,
        lr: float = 0.05,
        column_share: float = 0.1,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        self.num_classes = integer("num_classes", num_classes, 2)
        self.rounds, self.patience = integer("rounds", rounds, 1), integer("patience", patience, 1)
        self.settings = {
            "objective": "multi:softprob",
            "num_class": self.num_classes,
            "max_depth": integer("depth", depth, 1),
            "eta": number("lr", lr, 0, 1, above=True),
            "max_bin": 64,  # steps of a feature; 256 take longer
            "colsample_bytree": number("column_share", column_share, 0, 1, above=True),
            "seed": integer("seed", seed, 0),
            "nthread": integer("threads", threads, 1),
        }
        self.trees: Any = None
        self.num_features = 0

    def fit(
        self, x: np.ndarray, y: np.ndarray, val: tuple[np.ndarray, np.ndarray] | None = None
    ) -> Boosted:
        """Fit features (n, F) to classes (n,); stop early on ``val``; return self."""
        import xgboost

        train = xgboost.DMatrix(*self._checked("x", "y", x, y))
        self.num_features, watched, stop = train.num_col(), [], None
        if val is not None:
            if not isinstance(val, tuple) or len(val) != 2:
                raise ArgumentError("val", val, "a pair of features and classes, or None")
            watched = [(xgboost.DMatrix(*self._checked("val", "val", *val)), "val")]
            stop = self.patience
        self.trees = xgboost.train(
            self.settings, train, self.rounds,
            evals=watched, early_stopping_rounds=stop, verbose_eval=False,
        )  # fmt: skip
        return self

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return float64 (n, num_classes), rows that sum to 1, for features (n, F)."""
        import xgboost

        if self.trees is None:
            raise ArgumentError("self", "an empty model", "a model after fit()")
        features = self._features("x", x)
        best = self.trees.attr("best_iteration")
        last = 0 if best is None else int(best) + 1  # 0: all of them
        drawn = self.trees.predict(xgboost.DMatrix(features), iteration_range=(0, last))
        p = drawn.reshape(len(features), self.num_classes).astype(np.float64)
        return p / p.sum(1, keepdims=True)

    def _features(self, name: str, x: np.ndarray) -> np.ndarray:
        """Return features as float32 (n, F); refuse another width than was fitted."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            checked = array(name, array(name, x, ndim=2).astype(np.float32))
        if self.num_features and checked.shape[1] != self.num_features:
            raise ArgumentError(name, x, f"{self.num_features} columns, as fitted")
        return checked

    def _checked(
        self, name: str, target: str, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return features and classes that fit together."""
        if target == "y":
            self.num_features = 0
        features, classes = self._features(name, x), array(target, y, ndim=1)
        if classes.dtype.kind not in "iu" or classes.min() < 0 or classes.max() >= self.num_classes:
            raise ArgumentError(target, y, f"integer classes from 0 to {self.num_classes - 1}")
        if len(classes) != len(features):
            raise ArgumentError(target, y, f"{len(features)} classes, one a row of {name}")
        return features, classes
