"""What searching costs: the best of many tries, judged with all the tries counted.

Try enough strategies and one of them looks good. What follows says how good the best of so many
would look if none had any skill. A strategy whose returns never vary (it never traded, or it
copies its benchmark) has no figure that could be compared, and each function says what it does
with one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import kurtosis, norm, rankdata, skew

from setrade import metrics
from setrade.errors import ArgumentError, array, integer, number, paired
from setrade.evidence.statistics import block_length, bounds

EULER = float(np.euler_gamma)
TIE = 10  # decimals of a Sharpe ratio per period: what differs later on is rounding
ROOM = 4_000_000  # numbers that a bootstrap holds at once


def _returns(name: str, value: object, ndim: int = 1) -> np.ndarray:
    """Return finite returns as float64, time first, at least eight periods long."""
    x = array(name, value, ordered=True).astype(float)
    if x.ndim != ndim or len(x) < 8:
        raise ArgumentError(name, value, f"returns with {ndim} axes, time first, 8 periods or more")
    return x


def _names(tries: Any, which: np.ndarray) -> str:
    """Return the names of the columns (of a frame) or their numbers, where ``which`` is True."""
    names = list(getattr(tries, "columns", range(len(which))))
    return ", ".join(str(names[i]) for i in np.flatnonzero(which))


# ---- One strategy: its Sharpe ratio, and the test that it is more than a benchmark.


def sharpe(returns: np.ndarray) -> float:
    """Return the Sharpe ratio per period of returns ``(T,)``; NaN when they do not vary."""
    return float(metrics.sharpe(_returns("returns", returns), 1.0))


def _sharpe_error(x: np.ndarray, ratio: float) -> float:
    """Return √(T - 1) times the standard error of a Sharpe ratio, at least 1e-6."""
    x = metrics.scaled(x)
    variance = 1 - skew(x) * ratio + (kurtosis(x, fisher=False) - 1) / 4 * ratio**2
    return float(np.sqrt(np.maximum(variance, 1e-12)))  # 0 for some strategies of two outcomes


def probabilistic_sharpe(returns: np.ndarray, benchmark: float = 0.0) -> float:
    """Return one minus the p-value of the test that the true Sharpe ratio is ``benchmark``.

    The literature calls it the probabilistic Sharpe ratio. It is no probability of skill: it says
    how rarely a strategy whose true ratio is only ``benchmark`` looks worse than this one, and
    nothing about how many of those that look like this one have skill.

    Args:
        returns: ``(T,)`` fractions per period, 8 or more.
        benchmark: Sharpe ratio per period (not annual) to beat.

    Returns:
        A number in [0, 1], 0.5 where the ratio equals the benchmark; NaN when the returns do not
        vary. Skewness and kurtosis are those of the sample itself (moments divided by T, as the
        source has them); the ratio's deviation is divided by T - 1.

    Source: Bailey and López de Prado (2012), The Sharpe Ratio Efficient Frontier, eq. 11.
    """
    x = _returns("returns", returns)
    benchmark = number("benchmark", benchmark)
    if np.isnan(s := sharpe(x)):
        return float("nan")
    return float(norm.cdf((s - benchmark) * np.sqrt(len(x) - 1) / _sharpe_error(x, s)))


def min_track_record(returns: np.ndarray, benchmark: float = 0.0, level: float = 0.95) -> float:
    """Return how many periods a record like this one needs before it tells from ``benchmark``.

    Arguments and moments as in ``probabilistic_sharpe``; ``level`` is what that has to reach.

    Returns:
        Periods; infinite where the ratio does not exceed the benchmark, NaN where it has none.

    Source: Bailey and López de Prado (2012), eq. 13.
    """
    x, level = _returns("returns", returns), number("level", level, 0.5, 0.9999)
    s, benchmark = sharpe(x), number("benchmark", benchmark)
    if not s > benchmark:
        return float("inf") if s <= benchmark else float("nan")
    return float(1 + (_sharpe_error(x, s) * norm.ppf(level) / (s - benchmark)) ** 2)


def expected_best_sharpe(n_trials: int, variance: float) -> float:
    """Return the Sharpe ratio that the best of ``n_trials`` skill-less trials is expected to show.

    Args:
        n_trials: how many configurations were tried, at least 2. Tries that move together are
            fewer than they look: `effective_tries`.
        variance: variance, across the trials, of their Sharpe ratios per period; 0 gives 0.

    Returns:
        A Sharpe ratio per period.

    Source: Bailey and López de Prado (2014), The Deflated Sharpe Ratio, eq. 1.
    """
    n = integer("n_trials", n_trials, 2)
    scale = np.sqrt(number("variance", variance, 0.0))
    return float(scale * ((1 - EULER) * norm.isf(1 / n) + EULER * norm.isf(1 / (n * np.e))))


def deflated_sharpe(returns: np.ndarray, n_trials: int, variance: float) -> float:
    """Return one minus the p-value of the best of ``n_trials``, held against what luck would show.

    It is `probabilistic_sharpe` against `expected_best_sharpe`, where arguments, degenerate cases
    and source are said; ``returns`` are those of the chosen strategy. The best of so many coins
    gives about 0.5 on average; 0.95 is what one asks for.
    """
    return probabilistic_sharpe(returns, expected_best_sharpe(n_trials, variance))


# ---- How many tries were there, and how many tests?


def clusters(returns: np.ndarray, correlation: float = 0.5) -> np.ndarray:
    """Return for each try the number of the group that it moves with.

    Tries are joined, the closest first, as long as two groups' members correlate by
    ``correlation`` or more on average (average linkage).

    Args:
        returns: ``(T, n)`` of every try; also a frame.
        correlation: in (0, 1): what counts as the same bet.

    Returns:
        int64 (n,), numbered from 0 in the order of the tries. Copies share a group; tries whose
        returns do not vary correlate with nothing and are one group of their own.

    Source: the idea is that of López de Prado and Lewis (2019), Detection of False Investment
    Strategies Using Unsupervised Learning Methods; a fixed height takes the place of their search.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    x = _returns("returns", returns, ndim=2)
    height = 1 - number("correlation", correlation, 0.01, 0.99)
    moves = metrics.spread(x.T) > 0
    labels = np.zeros(x.shape[1], int)
    if moves.sum() > 1:
        alike = np.corrcoef(metrics.scaled(x[:, moves], axis=0).T)
        apart = 1 - alike[np.triu_indices(len(alike), 1)]
        labels[moves] = fcluster(linkage(np.maximum(apart, 0), "average"), height, "distance")
    elif moves.any():
        labels[moves] = 1
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    return first.argsort().argsort()[group]


def effective_tries(returns: np.ndarray, correlation: float = 0.5) -> int:
    """Return how many different bets there were among the tries: the number of `clusters`.

    1 for copies of one strategy, n for n that have nothing in common.
    """
    return int(clusters(returns, correlation).max()) + 1


def holm(p_values: Any) -> np.ndarray:
    """Return p-values corrected for their number: reject where one is at most the level.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may come out smaller
    than one before it, or above 1. The chance of even one false rejection then stays below the
    level, whatever the dependence between the tests.

    Args:
        p_values: ``(m,)`` in [0, 1]; NaN is refused: a test without an answer is no test.

    Returns:
        ``(m,)`` in the order given; ties get the same.

    Source: Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
    """
    p = array("p_values", p_values, ndim=1).astype(float)
    if p.min() < 0 or p.max() > 1:
        raise ArgumentError("p_values", (float(p.min()), float(p.max())), "numbers in [0, 1]")
    order = p.argsort(kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return out


# ---- Does choosing the best of the past help in the future?


def overfitting_probability(returns: np.ndarray, n_blocks: int = 16) -> float:
    """Return how often the best strategy of one half of time is no better than the median later.

    Args:
        returns: ``(T, n_strategies)`` fractions per period, at least two strategies; a frame too.
        n_blocks: even number of stretches that time is cut into (2 to 20); every half of
            them serves once for choosing. A remainder of T is cut off at the old end.

    Returns:
        A fraction: near 0.5 where choosing is worth nothing, near 0 where it is. One sample of
        coins scatters widely around 0.5: `overfitting` says how widely.

        Ties share: strategies that are best together are each chosen equally often, and those
        that are equal in the other half have the mean of their ranks. So copies of one strategy
        give 1: no choice among them is better than the median. One that never trades has ratio 0.

    Raises:
        ArgumentError: names the argument, or the strategies whose returns are one number other
            than zero: they have no Sharpe ratio.

    Source: Bailey, Borwein, López de Prado and Zhu (2017), The Probability of Backtest
    Overfitting, algorithm 2.3 (CSCV).
    """
    x = _returns("returns", returns, ndim=2)
    blocks = integer("n_blocks", n_blocks, 2, 20)
    if blocks % 2 or x.shape[0] < 2 * blocks or x.shape[1] < 2:
        raise ArgumentError("n_blocks", n_blocks, "an even number, two periods or more a block")
    constant = (metrics.spread(x.T) == 0) & (np.abs(x).max(axis=0) > 0)
    if constant.any():
        allowed = f"returns that vary, or are all zero; {_names(returns, constant)} are constant"
        raise ArgumentError("returns", returns, allowed)
    return _no_better(metrics.scaled(x, axis=0), blocks)


def _no_better(x: np.ndarray, blocks: int) -> float:
    """Return what `overfitting_probability` does, of arguments that have been checked."""
    size = len(x) // blocks
    x = x[len(x) - size * blocks :].reshape(blocks, size, -1)
    halves = list(combinations(range(blocks), blocks // 2))
    inside = np.zeros((len(halves), blocks))
    inside[np.arange(len(halves))[:, None], halves] = 1
    score, check = (_sharpe_of(x, half) for half in (inside, 1 - inside))
    best = score == score.max(axis=1, keepdims=True)
    rank = rankdata(check, axis=1)  # equal ones share the mean of their ranks
    low = best & (rank / (x.shape[2] + 1) <= 0.5)
    return float((low.sum(axis=1) / best.sum(axis=1)).mean())


def _sharpe_of(blocks: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return Sharpe ratios ``(n_choices, n_strategies)`` over unions of blocks; 0 if none varies.

    Rounded, so that copies stay equal whatever order their sums were taken in.
    """
    n = chosen.sum(axis=1, keepdims=True) * blocks.shape[1]
    mean = chosen @ blocks.sum(axis=1) / n
    square = chosen @ np.einsum("bsk,bsk->bk", blocks, blocks) / n
    variance = square - mean**2
    varies = variance > 1e-13 * square  # below, it is what rounding left of equal returns
    ratio = np.divide(mean, np.sqrt(variance, where=varies, out=np.ones_like(mean)), where=varies,
                      out=np.zeros_like(mean))  # fmt: skip
    return ratio.round(TIE)


@dataclass(frozen=True)
class Overfitting:
    """A probability of overfitting beside what it scatters to where nobody has skill.

    Attributes:
        probability: that of `overfitting_probability`.
        luck: its mean over histories in which no strategy has skill.
        scatter: its standard deviation over them.
        low, high: between which 95 % of them lie. A probability inside says nothing.
    """

    probability: float
    luck: float
    scatter: float
    low: float
    high: float


def overfitting(
    returns: np.ndarray, n_blocks: int = 16, *, seed: int, n_samples: int = 200
) -> Overfitting:
    """Return the probability of overfitting, and how it scatters when choosing is worth nothing.

    Each strategy's mean is taken away, so that none has skill, and the rows are redrawn in
    stretches (`resample`'s bootstrap): volatility, tails and what the strategies share stay.

    Args:
        returns: as `overfitting_probability`, and ``n_blocks``.
        seed: of the histories.
        n_samples: how many, 20 or more.
    """
    found = overfitting_probability(returns, n_blocks)
    x, n = _returns("returns", returns, ndim=2), integer("n_samples", n_samples, 20)
    x = metrics.scaled(x, axis=0)
    idle, rng = x - x.mean(axis=0), np.random.default_rng(integer("seed", seed, 0))
    rows = (histories(len(x), _block(idle), 1, rng)[0] for _ in range(n))
    drawn = np.array([_no_better(idle[row], n_blocks) for row in rows])
    low, high = bounds(drawn[:, None])[0]
    return Overfitting(found, float(drawn.mean()), float(drawn.std()), float(low), float(high))


# ---- Does the best of many beat a benchmark?


@dataclass(frozen=True)
class SuperiorAbility:
    """P-values of Hansen's test that no model beats the benchmark; ``consistent`` is to be read.

    ``statistic`` is the largest mean advantage in standard errors, at least 0, and ``best`` the
    column it belongs to; ``block`` is the mean length in periods of a bootstrap's stretches.
    """

    lower: float
    consistent: float
    upper: float
    statistic: float
    best: int
    block: float


def superior_ability(
    benchmark: np.ndarray,
    models: np.ndarray,
    *,
    seed: int,
    reps: int = 1000,
    block: float | None = None,
) -> SuperiorAbility:
    """Test whether the best of many models beats a benchmark, the search counted in.

    Each model's mean advantage is divided by its own standard error, so that a volatile model
    cannot hide a quiet one, and the largest of them, floored at zero, is held against the same
    on bootstrap histories in which no model is better. Models that are worse than the benchmark
    by more than √(2 log log T) standard errors do not count in these (the consistent p-value); in
    the lower one no worse model does, in the upper one all do.

    Args:
        benchmark: ``(T,)`` returns of the benchmark, fractions per period.
        models: ``(T, n_models)`` returns of every model that was tried, not only the best; a
            frame names them in errors.
        seed: of the stationary bootstrap.
        reps: bootstrap samples.
        block: mean length of a stretch in periods, 1 or more; None: the median over the models of
            `block_length` of their advantage.

    Returns:
        Three p-values, lower <= consistent <= upper; 1 where no model is better than the benchmark.

    Raises:
        ArgumentError: names the argument; models whose advantage never varies (copies of the
            benchmark, or of it with a fixed gain) are named: they have no standard error.

    Source: Hansen (2005), A Test for Superior Predictive Ability; the variance by the kernel of
    Politis and Romano (1994). (``arch``'s SPA does not divide by the standard error.)
    """
    base, tried = _returns("benchmark", benchmark), _returns("models", models, ndim=2)
    if len(base) != len(tried):
        raise ArgumentError("models", models, f"{len(base)} periods, as many as the benchmark has")
    paired("models", models, benchmark)
    reps, rng = integer("reps", reps, 100), np.random.default_rng(integer("seed", seed, 0))
    length = None if block is None else number("block", block, 1.0, len(base))
    gain = tried - base[:, None]
    still = _still(gain, base, tried)
    if still.any():
        allowed = f"models that differ from the benchmark; {_names(models, still)} do not vary"
        raise ArgumentError("models", models, allowed)
    gain = metrics.scaled(gain, axis=0)
    n, mean = len(gain), gain.mean(axis=0)
    length = _block(gain) if length is None else length
    error = np.sqrt(_long_run_variance(gain, length) / n)
    ratio = mean / error
    statistic = max(float(ratio.max()), 0.0)
    poor = mean < -error * np.sqrt(2 * np.log(np.log(n)))
    centres = np.stack([np.maximum(mean, 0.0), np.where(poor, 0.0, mean), mean])
    drawn = _means(gain, length, reps, rng)[:, None] - centres  # (reps, 3, models)
    largest = np.maximum((drawn / error).max(axis=2), 0.0)
    lower, consistent, upper = (float(p) for p in (largest >= statistic).mean(axis=0))
    return SuperiorAbility(lower, consistent, upper, statistic, int(ratio.argmax()), float(length))


def _still(gain: np.ndarray, base: np.ndarray, tried: np.ndarray) -> np.ndarray:
    """Return which advantages do not vary: up to the rounding of what they are a difference of."""
    size = np.maximum(np.abs(base).max(), np.abs(tried).max(axis=0))
    spread = metrics.spread(gain.T)
    return (spread == 0) | (spread <= metrics.NOISE * size)


def _block(series: np.ndarray) -> float:
    """Return the median over series (T, k) of their `block_length`: they are redrawn together.

    Of more than 32 series, 32 that stand evenly apart are asked: the rule takes 10 ms each.
    """
    some = np.unique(np.linspace(0, series.shape[1] - 1, 32).astype(int))
    return float(np.median([block_length(series[:, k]) for k in some]))


def _long_run_variance(x: np.ndarray, block: float) -> np.ndarray:
    """Return what T times the variance of the bootstrap's mean is, for each column of (T, k).

    The autocovariances weighted by the stationary bootstrap's kernel (Hansen 2005, section 3.1).
    """
    n, p = len(x), 1.0 / block
    spectrum = np.fft.rfft(x - x.mean(axis=0), 2 * n, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=0)[:n] / n
    lag = np.arange(n)
    kernel = (1 - lag / n) * (1 - p) ** lag + lag / n * (1 - p) ** (n - lag)
    kernel[1:] *= 2
    # The kernel's transform is positive but for rounding; a fraction of the variance is a floor.
    return np.maximum(kernel @ covariance, 1e-6 * covariance[0])


def histories(n: int, block: float, reps: int, rng: np.random.Generator) -> np.ndarray:
    """Return bar numbers (reps, n): stretches of random length and place, round the end."""
    place = np.arange(n)
    fresh = rng.random((reps, n)) < 1 / block
    fresh[:, 0] = True
    began = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
    first = np.take_along_axis(rng.integers(0, n, (reps, n)), began, axis=1)
    return (first + place - began) % n


def _means(x: np.ndarray, block: float, reps: int, rng: np.random.Generator) -> np.ndarray:
    """Return means (reps, k) of redrawn rows of (n, k): how often each row came, times the rows."""
    n, out, step = len(x), [], max(1, ROOM // len(x))
    for start in range(0, reps, step):
        rows = histories(n, block, min(step, reps - start), rng)
        rows += np.arange(len(rows))[:, None] * n
        out.append(np.bincount(rows.ravel(), minlength=rows.size).reshape(len(rows), n) @ x)
    return np.concatenate(out) / n
