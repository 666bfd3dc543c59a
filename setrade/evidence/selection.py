"""What searching costs: deflated Sharpe, probability of overfitting, superior ability.

Try enough strategies and one of them looks good. These three say how good the best of so
many would look if none had any skill.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import kurtosis, norm, skew

from setrade.errors import ArgumentError, array, integer, number

EULER = float(np.euler_gamma)


def _returns(name: str, value: object, ndim: int = 1) -> np.ndarray:
    """Return finite returns as float64, time first, at least eight periods long."""
    x = array(name, value).astype(float)
    if x.ndim != ndim or len(x) < 8:
        raise ArgumentError(name, value, f"returns with {ndim} axes, time first, 8 periods or more")
    return x


def sharpe(returns: np.ndarray) -> float:
    """Return the Sharpe ratio per period of returns ``(T,)``; NaN when they do not vary."""
    x = _returns("returns", returns)
    # Equal returns have a deviation of some 1e-18, not 0: compare them instead.
    return float(x.mean() / x.std(ddof=1)) if np.ptp(x) > 0 else float("nan")


def probabilistic_sharpe(returns: np.ndarray, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio exceeds ``benchmark``.

    Args:
        returns: ``(T,)`` fractions per period.
        benchmark: Sharpe ratio per period (not annual) to beat.

    Returns:
        A probability; NaN when the returns do not vary.

    Source: Bailey and López de Prado (2012), The Sharpe Ratio Efficient Frontier, eq. 11.
    """
    x = _returns("returns", returns)
    benchmark = number("benchmark", benchmark)
    s = sharpe(x)
    variance = 1 - skew(x) * s + (kurtosis(x, fisher=False) - 1) / 4 * s**2
    return float(norm.cdf((s - benchmark) * np.sqrt((len(x) - 1) / variance)))


def expected_best_sharpe(n_trials: int, variance: float) -> float:
    """Return the Sharpe ratio that the best of ``n_trials`` skill-less trials is expected to show.

    Args:
        n_trials: how many configurations were tried, at least 2.
        variance: variance, across the trials, of their Sharpe ratios per period.

    Returns:
        A Sharpe ratio per period.

    Source: Bailey and López de Prado (2014), The Deflated Sharpe Ratio, eq. 1.
    """
    n = integer("n_trials", n_trials, 2)
    scale = np.sqrt(number("variance", variance, 0.0))
    return float(scale * ((1 - EULER) * norm.ppf(1 - 1 / n) + EULER * norm.ppf(1 - 1 / (n * np.e))))


def deflated_sharpe(returns: np.ndarray, n_trials: int, variance: float) -> float:
    """Return the probability that a strategy chosen among ``n_trials`` has any skill.

    It is `probabilistic_sharpe` against what luck alone would show. Arguments and source as in
    ``expected_best_sharpe``; ``returns`` are those of the chosen strategy.
    """
    return probabilistic_sharpe(returns, expected_best_sharpe(n_trials, variance))


def overfitting_probability(returns: np.ndarray, n_blocks: int = 16) -> float:
    """Return how often the best strategy of one half of time is below the median in the other.

    Args:
        returns: ``(T, n_strategies)`` fractions per period, at least two strategies.
        n_blocks: even number of stretches that time is cut into (2 to 20); every half of
            them serves once for choosing. A remainder of T is cut off at the old end.

    Returns:
        A fraction: near 0.5 where choosing is worth nothing, near 0 where it is.

    Source: Bailey, Borwein, López de Prado and Zhu (2017), The Probability of Backtest
    Overfitting, algorithm 2.3 (CSCV).
    """
    x = _returns("returns", returns, ndim=2)
    blocks = integer("n_blocks", n_blocks, 2, 20)
    if blocks % 2 or x.shape[0] < 2 * blocks or x.shape[1] < 2:
        raise ArgumentError("n_blocks", n_blocks, "an even number, two periods or more a block")
    size = len(x) // blocks
    x = x[len(x) - size * blocks :].reshape(blocks, size, -1)
    inside = np.zeros((len(list(combinations(range(blocks), blocks // 2))), blocks))
    for row, chosen in enumerate(combinations(range(blocks), blocks // 2)):
        inside[row, list(chosen)] = 1
    score, check = (_sharpe_of(x, half) for half in (inside, 1 - inside))
    best = score.argmax(axis=1)
    rank = (check <= np.take_along_axis(check, best[:, None], axis=1)).sum(axis=1)
    return float((rank / (x.shape[2] + 1) <= 0.5).mean())


def _sharpe_of(blocks: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return Sharpe ratios ``(n_choices, n_strategies)`` over unions of blocks."""
    n = chosen.sum(axis=1, keepdims=True) * blocks.shape[1]
    mean = chosen @ blocks.sum(axis=1) / n
    square = chosen @ (blocks**2).sum(axis=1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = mean / np.sqrt(np.maximum(square - mean**2, 0))
    return np.nan_to_num(ratio, nan=0.0, posinf=np.inf, neginf=-np.inf)


@dataclass(frozen=True)
class SuperiorAbility:
    """P-values of Hansen's test that no model beats the benchmark."""

    lower: float
    consistent: float
    upper: float


def superior_ability(
    benchmark: np.ndarray, models: np.ndarray, *, seed: int, reps: int = 1000
) -> SuperiorAbility:
    """Test whether the best of many models beats a benchmark, the search counted in.

    Args:
        benchmark: ``(T,)`` returns of the benchmark, fractions per period.
        models: ``(T, n_models)`` returns of every model that was tried, not only the best.
        seed: of the stationary bootstrap.
        reps: bootstrap samples.

    Returns:
        Three p-values; the consistent one is the one to read.

    Source: Hansen (2005), A Test for Superior Predictive Ability; the work is ``arch``'s.
    """
    from arch.bootstrap import SPA

    base, tried = _returns("benchmark", benchmark), _returns("models", models, ndim=2)
    if len(base) != len(tried):
        raise ArgumentError("models", models, f"{len(base)} periods, as many as the benchmark has")
    # SPA compares losses: a loss is a return with its sign changed.
    test = SPA(-base, -tried, reps=integer("reps", reps, 100), seed=integer("seed", seed, 0))
    test.compute()
    values = test.pvalues
    lower, consistent, upper = (float(v) for v in np.asarray(values))
    return SuperiorAbility(lower, consistent, upper)
