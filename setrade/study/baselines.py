"""What a net has to beat: class shares, linear models and trees on its own windows, plain rules.

All see what the nets see: the same folds, classes, standardised channels and windows. What there
is to choose (the penalty of a linear model, the number of trees) is chosen on validation, as the
nets stop there; nothing looks at a test span.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge

from setrade.errors import array, choice, integer, timed
from setrade.models.boosted import Boosted

NUMBERS = ("shares", "ridge", "logistic", "boosted")
RULES = ("momentum", "reversal", "hold")
SEEDLESS = ("shares", "ridge", "logistic", *RULES)  # the same whatever the seed
PENALTIES = (1e1, 1e3, 1e5, 1e7)  # of the squared weights; the loss is a sum over examples
Predict = Callable[[str], np.ndarray]  # a part of the fold -> probabilities (m, 3)


class Past(Protocol):
    """What a baseline reads of an `experiment.Fold`."""

    @property
    def bars(self) -> pd.DataFrame: ...
    @property
    def truth(self) -> pd.Series: ...
    @property
    def split(self) -> Any: ...
    @property
    def setting(self) -> Any: ...
    def ends(self, part: str) -> np.ndarray: ...


def fit(
    fold: Past, model: str, channels: pd.DataFrame, seed: int
) -> tuple[Predict, dict[str, Any]]:
    """Return a baseline's probabilities as a function of the part, and what validation chose.

    Args:
        fold: what to fit on.
        model: a name in `NUMBERS` or `RULES`.
        channels: (n, C), standardised as for the nets.
        seed: of the trees.
    """
    choice("model", model, (*NUMBERS, *RULES))
    if model in RULES:
        return _rule(fold, model), {}
    if model == "shares":
        return lambda part: np.tile(class_shares(fold), (len(fold.ends(part)), 1)), {}
    x = windows(channels, fold.setting.lookback)
    parts = {p: x[fold.ends(p)] for p in ("train", "validation", "test")}
    y, late = (fold.truth.to_numpy()[fold.ends(p)].astype(int) for p in ("train", "validation"))
    if model == "boosted":
        trees = Boosted(rounds=300, column_share=0.5, seed=seed)
        trees.fit(parts["train"], y, (parts["validation"], late))
        return lambda part: trees.probabilities(parts[part]), {}
    make = _ridge if model == "ridge" else _logistic
    fitted = [make(parts["train"], y, penalty) for penalty in PENALTIES]
    loss = [_loss(predict(parts["validation"]), late) for predict in fitted]
    best = int(np.argmin(loss))
    return lambda part: fitted[best](parts[part]), {"penalty": PENALTIES[best]}


def windows(channels: pd.DataFrame, length: int) -> np.ndarray:
    """Return (n, 3 C): newest value, mean and spread of each channel over ``length`` bars.

    Rows without a whole window hold NaN.
    """
    array("channels", timed("channels", channels, needed=False), ndim=2, finite=False)
    rolled = channels.rolling(integer("length", length, 2))
    return np.hstack([channels, rolled.mean(), rolled.std()])


def class_shares(fold: Past) -> np.ndarray:
    """Return the shares (3,) of sell, hold and buy among the training examples."""
    truth = fold.truth.to_numpy()[fold.ends("train")].astype(int)
    return np.bincount(truth, minlength=3) / len(truth)


def always_long(fold: Past) -> pd.Series:
    """Return the position 1 after each test bar: buy and hold."""
    return pd.Series(1.0, fold.bars.index[fold.ends("test")])


def _rule(fold: Past, model: str) -> Predict:
    """Return a rule's answer: the return over the window, squashed, as a bet with or against it."""
    past = fold.bars["close"].pct_change(fold.setting.lookback).to_numpy()
    unit = np.nanstd(past[fold.split.train])
    score = np.tanh(past / unit) * (-1.0 if model == "reversal" else 1.0)
    if model == "hold":
        score = np.ones(len(past))

    def answer(part: str) -> np.ndarray:
        s = score[fold.ends(part)]
        return np.column_stack([np.maximum(-s, 0), 1 - np.abs(s), np.maximum(s, 0)])

    return answer


def _ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a linear probability model: least squares on the three classes, cut to (0, 1)."""
    model = Ridge(alpha=penalty).fit(x, np.eye(3)[y])

    def predict(z: np.ndarray) -> np.ndarray:
        p = np.clip(model.predict(z), 1e-3, 1.0)
        return p / p.sum(axis=1, keepdims=True)

    return predict


def _logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    model = LogisticRegression(C=1.0 / penalty, max_iter=300).fit(x, y)

    def predict(z: np.ndarray) -> np.ndarray:
        p = np.zeros((len(z), 3))
        p[:, model.classes_] = model.predict_proba(z)
        return p

    return predict


def _loss(p: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-6)).mean())
