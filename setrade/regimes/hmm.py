"""Regimes by a hidden Markov model, fitted once on a training span and then read causally.

`HMM.filtered` gives, after each bar, the probability of each state from the bars up to it: the
forward algorithm. The most likely path and the smoothed probabilities of a whole history use bars
that had not happened yet.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from setrade.candles import check
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, choice, integer, timed

ONE_BASIS_POINT = 1e-4  # added to the range: a bar that never moved has a logarithm too


def observations(candles: pd.DataFrame, window: int = 1) -> pd.DataFrame:
    """Return move and volatility after each bar, from the bars up to it.

    ``move`` is the log return over ``window`` bars, over the square root of ``window``.
    ``volatility`` is log(0.0001 + mean over ``window`` bars of log(high / low)). With
    ``window`` 1 no two rows share a bar; with more they overlap, rows depend on each other
    beyond what a Markov chain knows, and its probabilities become too sure of themselves.

    Args:
        candles: n checked bars, more than ``window``.
        window: bars that one row describes.

    Returns:
        float64 DataFrame (n, 2); NaN in the first ``window`` rows.

    Raises:
        CandleError: the candles have faults.
        ArgumentError: ``window`` below 1, or too few bars.
    """
    check(candles)
    window = integer("window", window, 1)
    if len(candles) <= window:
        raise ArgumentError("candles", candles, f"more than window = {window} bars")
    logs = {name: np.log(candles[name].to_numpy(float)) for name in ("high", "low", "close")}
    out = np.full((len(candles), 2), np.nan)
    out[window:, 0] = (logs["close"][window:] - logs["close"][:-window]) / np.sqrt(window)
    # A windowed view, not a running sum: a running sum would carry rounding from old bars.
    spans = np.lib.stride_tricks.sliding_window_view(logs["high"] - logs["low"], window)
    out[window:, 1] = np.log(ONE_BASIS_POINT + spans[1:].mean(axis=1))
    return pd.DataFrame(out, candles.index, ["move", "volatility"])


# ---- The forward algorithm.


@kernel
def emission(x: np.ndarray, mean: np.ndarray, whiten: np.ndarray, norm: float) -> float:
    """Return the log density of one row ``(d,)`` of a normal distribution.

    ``whiten`` is the inverse of the lower Cholesky factor of its covariance, ``norm`` the log
    of its normalising constant.
    """
    square = 0.0
    for i in range(len(x)):
        part = 0.0
        for j in range(i + 1):
            part += whiten[i, j] * (x[j] - mean[j])
        square += part * part
    return norm - 0.5 * square


@kernel
def log_sum(values: np.ndarray) -> float:
    """Return log(sum(exp(values))) without overflow."""
    top = values.max()
    if top == -np.inf:
        return top
    total = 0.0
    for value in values:
        total += math.exp(value - top)
    return top + math.log(total)


@kernel
def forward(
    x: np.ndarray, start: np.ndarray, move: np.ndarray, means: np.ndarray, whiten: np.ndarray,
    norm: np.ndarray, out: np.ndarray, evidence: np.ndarray,
) -> None:  # fmt: skip
    """Fill ``out`` with log P(state t | rows up to t) and ``evidence`` with log p(row t | past).

    Everything is in logarithms and row by row, so that a row never depends on how many follow.

    Args:
        x: (n, d) observations.
        start: (k,) log probabilities of the first row's state.
        move: (k, k) log transition probabilities, from rows to columns.
        means, whiten, norm: (k, d), (k, d, d), (k,), as `emission` takes them.
        out: (n, k), filled.
        evidence: (n,), filled.

    Source: L. Rabiner, A Tutorial on Hidden Markov Models (1989), equations 19 to 21, scaled.
    """
    k = len(start)
    before, paths = start.copy(), np.empty(k)
    for t in range(len(x)):
        for j in range(k):
            out[t, j] = before[j] + emission(x[t], means[j], whiten[j], norm[j])
        evidence[t] = log_sum(out[t])
        for j in range(k):
            out[t, j] -= evidence[t]
        for j in range(k):  # predict the next bar's state
            for i in range(k):
                paths[i] = out[t, i] + move[i, j]
            before[j] = log_sum(paths)


ALIKE = 0.98


class DegenerateWarning(UserWarning):
    """A fit ended in a model that describes fewer regimes than it has names for."""


def _overlap(means: np.ndarray, covariances: np.ndarray) -> float:
    """Return Bhattacharyya's coefficient of two normal densities, in [0, 1]: 1 for equal ones."""
    apart, middle = means[0] - means[1], covariances.mean(axis=0)
    dets = np.linalg.det(covariances)
    distance = apart @ np.linalg.solve(middle, apart) / 8
    return float(np.exp(-distance) * (dets.prod() ** 0.25) / np.sqrt(np.linalg.det(middle)))


@dataclass(frozen=True)
class HMM:
    """A fitted model of k states over standardised observations.

    Attributes:
        names: the states' names, in the order that ``fit_hmm`` was asked for.
        window: bars of an observation.
        centre, scale: (2,) of the training observations.
        start: (k,) share of the training bars in each state; a new series begins from it.
        transition: (k, k), from rows to columns.
        means, covariances: (k, 2) and (k, 2, 2), standardised units.
        log_likelihoods: nats a training bar, one a restart; the best was kept.
    """

    names: tuple[str, ...]
    window: int
    centre: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    start: np.ndarray = field(repr=False)
    transition: np.ndarray = field(repr=False)
    means: np.ndarray = field(repr=False)
    covariances: np.ndarray = field(repr=False)
    log_likelihoods: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse shapes and figures that are no model: `forward` would read beyond its arrays."""
        k = len(self.names)
        integer("window", self.window, 1)
        if not k or len(set(self.names)) != k:
            raise ArgumentError("names", self.names, "different names, at least one")
        shapes = {
            "centre": (2,), "scale": (2,), "start": (k,), "transition": (k, k),
            "means": (k, 2), "covariances": (k, 2, 2),
        }  # fmt: skip
        for name, shape in shapes.items():
            x = np.array(array(name, getattr(self, name)), np.float64, order="C")
            if x.shape != shape:
                raise ArgumentError(name, x, f"shape {shape}, for {k} states of 2 figures")
            object.__setattr__(self, name, x)
        for name in ("start", "transition"):
            x = getattr(self, name)
            if (x < 0).any() or (np.abs(x.sum(axis=-1) - 1) > 1e-6).any():
                raise ArgumentError(name, x, "shares >= 0 that sum to 1")
        if (self.scale <= 0).any():
            raise ArgumentError("scale", self.scale, "deviations > 0")
        c = self.covariances
        if not np.allclose(c, c.mT) or (np.linalg.eigvalsh(c) <= 0).any():
            raise ArgumentError("covariances", c, "symmetric, positive definite")

    def degenerate(self, bars: int) -> list[str]:
        """Return what makes this a poor model of ``bars`` training bars; usually nothing.

        A state that is left less than once in so many bars is absorbing: once called, it stays
        called long after its cause. Two states whose densities overlap by more than 98 %
        (Bhattacharyya's coefficient) are one. A state of less than one bar describes nothing.
        """
        bars, found = integer("bars", bars, 1), []
        for i, name in enumerate(self.names):
            if 1 - self.transition[i, i] < 1 / bars:
                found.append(f"{name} is absorbing (it stays with p = {self.transition[i, i]:.6g})")
            if self.start[i] < 1 / bars:
                found.append(f"{name} has no bar of its own (a share of {self.start[i]:.2g})")
            for j in range(i):
                if _overlap(self.means[[i, j]], self.covariances[[i, j]]) > ALIKE:
                    found.append(f"{self.names[j]} and {name} are alike")
        return found

    def rows(self, candles: pd.DataFrame) -> np.ndarray:
        """Return standardised observations (n, 2), NaN in the first ``window`` rows."""
        return (observations(candles, self.window).to_numpy() - self.centre) / self.scale

    def filtered(self, candles: pd.DataFrame) -> pd.DataFrame:
        """Return the probability of each state after each bar, given the bars up to it.

        Args:
            candles: n checked bars. The first observation starts from ``start``; what came
                before the frame is forgotten within a few mean durations.

        Returns:
            (n, k), columns ``names``, rows that sum to 1; NaN in the first ``window`` rows.

        Raises:
            CandleError: the candles have faults.
            ArgumentError: too few bars.
        """
        probabilities = np.exp(self._forward(candles)[0])
        return pd.DataFrame(probabilities, candles.index, list(self.names))

    def regime(self, candles: pd.DataFrame) -> pd.Series:
        """Return the most likely state after each bar: a categorical (n,), missing at first."""
        known = self._forward(candles)[0][self.window :]
        codes = np.r_[np.full(self.window, -1), known.argmax(axis=1)]
        values = pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(self.names)))
        return pd.Series(values, candles.index, name="regime")

    def score(self, candles: pd.DataFrame) -> float:
        """Return the mean log density of each observation given those before it, in nats."""
        return float(self._forward(candles)[1][self.window :].mean())

    def ahead(self, probabilities: pd.DataFrame, steps: int = 1) -> pd.DataFrame:
        """Return the probability of each state ``steps`` bars later: filtered times transition."""
        steps = integer("steps", steps, 1)
        frame = isinstance(probabilities, pd.DataFrame)
        if not frame or list(probabilities.columns) != list(self.names):
            raise ArgumentError(
                "probabilities", probabilities, f"a frame with columns {self.names}"
            )
        timed("probabilities", probabilities, even=True, needed=False)
        # One product a state, summed in a fixed order: a matrix product's digits depend on n.
        power = np.linalg.matrix_power(self.transition, steps)
        p = array("probabilities", probabilities, ndim=2, finite=False).astype(np.float64)
        after = sum(p[:, [i]] * power[i] for i in range(len(power)))
        return pd.DataFrame(after, probabilities.index, probabilities.columns)

    def _forward(self, candles: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return log probabilities (n, k) and log evidence (n,), NaN in the first rows."""
        x = self.rows(candles)
        out = np.full((len(x), len(self.names)), np.nan)
        evidence = np.full(len(x), np.nan)
        factor = np.linalg.cholesky(self.covariances)
        whiten = np.linalg.inv(factor)
        norm = -np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1) - np.log(2 * np.pi)
        with np.errstate(divide="ignore"):  # an impossible step: log 0
            start, move = np.log(self.start), np.log(self.transition)
        forward(x[self.window :], start, move, self.means, whiten, norm,
                out[self.window :], evidence[self.window :])  # fmt: skip
        return out, evidence

    def to_hmmlearn(self) -> Any:
        """Return hmmlearn's model with the same figures; it takes what `rows` returns.

        Its ``predict`` and ``predict_proba`` look at the whole sequence: right for labels of
        the past, wrong for anything that decides.
        """
        from hmmlearn.hmm import GaussianHMM

        model = GaussianHMM(len(self.names), covariance_type="full")
        model.startprob_, model.transmat_ = self.start, self.transition
        model.means_, model.covars_ = self.means, self.covariances
        return model


# ---- The fit, from several starts.


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

    Warns:
        DegenerateWarning: a state is absorbing, empty or like another (`HMM.degenerate`).

    Source: the fit is hmmlearn's; L. Rabiner (1989), section III C.
    """
    k, order = integer("n_states", n_states, 2, 10), choice("order", order, ORDERS)
    restarts, seed = integer("restarts", restarts, 1, 1000), integer("seed", seed, 0)
    n_iter = integer("n_iter", n_iter, 1, 100_000)
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
    best = models[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]
    sort = np.argsort(best.means_[:, column], kind="stable")
    names = NAMES.get((order, k), tuple(f"state_{i}" for i in range(k)))
    model = HMM(
        names, window, centre, scale, best.predict_proba(z).mean(axis=0)[sort],
        best.transmat_[np.ix_(sort, sort)], best.means_[sort], best.covars_[sort],
        tuple(map(float, scores)),
    )  # fmt: skip
    if faults := model.degenerate(len(z)):
        text = "; ".join(faults)
        warnings.warn(f"the fit is degenerate: {text}", DegenerateWarning, stacklevel=2)
    return model


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
