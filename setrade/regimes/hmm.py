"""Regimes by a hidden Markov model, read causally.

The model is fitted once, on a training span. Afterwards `HMM.filtered` gives, after each bar,
the probability of each state from the bars up to it: the forward algorithm. The most likely
path and the smoothed probabilities of a whole history use bars that had not happened yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, integer

from .filtering import forward
from .observations import observations


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
        if list(probabilities.columns) != list(self.names):
            raise ArgumentError("probabilities", probabilities, f"columns {self.names}")
        # One product a state, summed in a fixed order: a matrix product's digits depend on n.
        power = np.linalg.matrix_power(self.transition, steps)
        p = probabilities.to_numpy()
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
