"""Windows from a market whose four states are known, and the best answers that exist.

Log returns are independent and normal, with drift up or down and volatility calm or wild. Each
window stays in one state, and so does the future behind it. Bayes' rule then gives the exact
probability of every state, of every direction and of two windows sharing a state: no net can do
better on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from setrade.errors import integer, number

STATES = ("calm down", "calm up", "wild down", "wild up")
PRICE = 30_000.0


@dataclass(frozen=True, eq=False)
class Planted:
    """Windows (n, 5, length), their states (n,), and the log returns behind them (n, horizon).

    ``drift`` and ``sigma`` (4,) are those of ``STATES``, a bar; ``threshold`` is the log return
    of the horizon beyond which the direction is not hold.
    """

    windows: np.ndarray
    state: np.ndarray
    future: np.ndarray
    drift: np.ndarray
    sigma: np.ndarray
    threshold: float

    def targets(self) -> dict[str, np.ndarray]:
        """Return direction (0, 1, 2), magnitude (log return) and volatility (log rms return)."""
        move = self.future.sum(1)
        direction = 1 + (move > self.threshold).astype(np.int64) - (move < -self.threshold)
        return {
            "direction": direction,
            "magnitude": move,
            "volatility": np.log((self.future**2).mean(1)) / 2,
        }

    def posterior(self) -> np.ndarray:
        """Return the probability (n, 4) of each state, given the window's returns."""
        r = np.log(self.windows[:, 3] / self.windows[:, 0])[:, None]  # (n, 1, length)
        drift, sigma = self.drift[:, None], self.sigma[:, None]
        fit = (-(((r - drift) / sigma) ** 2) / 2 - np.log(sigma)).sum(2)  # (n, 4)
        likelihood = np.exp(fit - fit.max(1, keepdims=True))
        return likelihood / likelihood.sum(1, keepdims=True)

    def direction_probabilities(self) -> np.ndarray:
        """Return the best probabilities (n, 3) of sell, hold, buy that a window allows."""
        bars = self.future.shape[1]
        spread = self.sigma * np.sqrt(bars)
        below = ndtr((np.array([[-1.0], [1.0]]) * self.threshold - bars * self.drift) / spread)
        by_state = np.diff(np.vstack([np.zeros(4), below, np.ones(4)]), axis=0).T  # (4, 3)
        return self.posterior() @ by_state

    def same_state(self, pairs: np.ndarray) -> np.ndarray:
        """Return the probability (P,) that both windows of ``pairs`` (P, 2) share a state."""
        p = self.posterior()
        return (p[pairs[:, 0]] * p[pairs[:, 1]]).sum(1)


def planted(
    n: int,
    *,
    seed: int | np.random.Generator,
    length: int = 32,
    horizon: int = 8,
    drift: float = 0.25,
    calm: float = 0.004,
    wild: float = 0.008,
) -> Planted:
    """Draw ``n`` windows, each from one of four states with equal chance.

    Args:
        n: windows.
        seed: seed or generator.
        length: bars of a window.
        horizon: bars behind it.
        drift: mean log return of a bar over its standard deviation, upwards or downwards.
        calm: standard deviation of a bar's log return in a calm state.
        wild: the same in a wild one.

    Returns:
        `Planted`. A bar opens at the close before it; wicks and volumes are noise.
    """
    n, length = integer("n", n, 1), integer("length", length, 2)
    horizon, lean = integer("horizon", horizon, 1), number("drift", drift, 0, 1)
    calm = number("calm", calm, 0, 0.1, above=True)
    sigma = np.repeat([calm, number("wild", wild, calm, 0.1)], 2)
    mean = np.array([-1, 1, -1, 1]) * lean * sigma
    if not isinstance(seed, np.random.Generator):
        seed = integer("seed", seed, 0)
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 4, n)
    r = mean[state, None] + sigma[state, None] * rng.standard_normal((n, length + horizon))
    close = PRICE * np.exp(r[:, :length].cumsum(1))
    first = np.concatenate([np.full((n, 1), PRICE), close[:, :-1]], axis=1)
    wick = np.exp(0.4 * sigma[state, None] * np.abs(rng.standard_normal((2, n, length))))
    high, low_price = np.maximum(first, close) * wick[0], np.minimum(first, close) / wick[1]
    volume = np.exp(0.3 * rng.standard_normal((n, length)))
    windows = np.stack([first, high, low_price, close, volume], axis=1)
    threshold = 0.43 * float(np.sqrt(horizon * (sigma**2).mean()))  # about a third is hold
    return Planted(windows, state, r[:, length:], mean, sigma, threshold)
