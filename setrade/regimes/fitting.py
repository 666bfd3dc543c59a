"""Fit a hidden Markov model of regimes on a training span, from several starts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, choice, integer

from .hmm import HMM
from .observations import observations

ORDERS = ("volatility", "move")
NAMES = {
    ("volatility", 2): ("calm", "wild"),
    ("volatility", 3): ("calm", "busy", "wild"),
    ("move", 2): ("falling", "rising"),
    ("move", 3): ("falling", "flat", "rising"),
}


def fit_hmm(
    candles: pd.DataFrame,
    n_states: int = 3,
    *,
    window: int = 12,
    order: str = "volatility",
    restarts: int = 5,
    seed: int = 0,
    n_iter: int = 100,
) -> HMM:
    """Fit a Gaussian hidden Markov model to the training span's `observations`.

    Expectation-maximisation finds a local optimum, and k-means, its usual start, often leads to
    a poor one. The first start therefore cuts the observation that orders the states into k
    equal parts; the others are k-means from ``seed``, ``seed + 1`` …; the highest training
    likelihood wins. States come out in any order, so they are sorted by the mean of that
    observation, lowest first.

    Args:
        candles: the training bars, and no others.
        n_states: k, 2 to 10.
        window: bars of an observation. Within one bar a large move and a large range are the
            same event, up or down alike; single bars (1) tempt the model to spend its states on
            that V instead of on regimes.
        order: "volatility" (calm first) or "move" (falling first).
        restarts: how many starts, at least 1.
        seed: of the first random start.
        n_iter: most steps of each start.

    Returns:
        `HMM`.

    Raises:
        CandleError: the candles have faults.
        ArgumentError: a parameter is out of range, too few bars (100 a state), or a price that
            never moves.

    Source: the fit is hmmlearn's; L. Rabiner (1989), section III C.
    """
    k, order = integer("n_states", n_states, 2, 10), choice("order", order, ORDERS)
    restarts, seed = integer("restarts", restarts, 1), integer("seed", seed, 0)
    n_iter = integer("n_iter", n_iter, 1)
    x = observations(candles, window).to_numpy()[window:]
    if len(x) < 100 * k:
        raise ArgumentError("candles", candles, f"at least 100 bars a state: {100 * k + window}")
    centre, scale = x.mean(axis=0), x.std(axis=0)
    if (scale < 1e-12).any():
        raise ArgumentError("candles", candles, "prices that move")
    z = (x - centre) / scale
    column = ORDERS[::-1].index(order)
    models = [_one_fit(z, k, seed + i - 1, n_iter, None if i else column) for i in range(restarts)]
    scores = [model.score(z) / len(z) for model in models]
    best = models[int(np.argmax(scores))]
    sort = np.argsort(best.means_[:, column], kind="stable")
    names = NAMES.get((order, k), tuple(f"state_{i}" for i in range(k)))
    return HMM(
        names, window, centre, scale, best.predict_proba(z).mean(axis=0)[sort],
        best.transmat_[np.ix_(sort, sort)], best.means_[sort], best.covars_[sort],
        tuple(map(float, scores)),
    )  # fmt: skip


def _one_fit(z: np.ndarray, k: int, seed: int, n_iter: int, column: int | None) -> Any:
    """Return hmmlearn's model after expectation-maximisation from one start.

    ``column``: cut that observation into k equal parts to begin with; None: k-means of ``seed``.
    """
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(k, covariance_type="full", n_iter=n_iter, tol=1e-3)
    if column is None:
        model.random_state = seed
    else:
        model.init_params = ""
        part = z[:, column].argsort(kind="stable").argsort() * k // len(z)
        model.startprob_ = np.full(k, 1 / k)
        model.transmat_ = np.full((k, k), 0.1 / (k - 1)) + np.eye(k) * (0.9 - 0.1 / (k - 1))
        model.means_ = np.stack([z[part == i].mean(axis=0) for i in range(k)])
        model.covars_ = np.tile(np.cov(z.T), (k, 1, 1))
    with _quiet():
        return model.fit(z)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence hmmlearn's remark that the last step of a finished fit lost 1e-5."""
    logger = logging.getLogger("hmmlearn")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
