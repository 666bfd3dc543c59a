"""Regimes by rules that a person can check, planted ones, and how far two labellings agree.

Each rule compares the newest bars with the stretch before them, so nothing is seen early and
no threshold is in the units of one symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from setrade.candles import Market, check
from setrade.candles.checks import parse_interval
from setrade.candles.market import draw_candles
from setrade.errors import ArgumentError, array, flag, integer, number, same_index, timed

REGIMES = ("trending_up", "trending_down", "ranging", "high_volatility", "low_liquidity")


def efficiency(close: pd.Series, window: int) -> pd.Series:
    """Return Kaufman's efficiency ratio, signed: net move over the path walked, in [-1, 1].

    Args:
        close: (n,) closes.
        window: bars of the move.

    Returns:
        (n,); NaN in the first ``window`` rows, 0 where the price did not move at all.

    Source: P. Kaufman, Trading Systems and Methods, chapter on adaptive techniques.
    """
    steps = close.diff()
    path = steps.abs().rolling(window).sum()
    # A rolling sum of zeros can leave 1e-17 behind: count the moves instead.
    moved = steps.ne(0).rolling(window).sum() > 0
    return (close.diff(window) / path).where(moved | path.isna(), 0.0)


def _share_below(values: pd.Series, history: int, ties: str) -> pd.Series:
    """Return the newest value's rank as a share of the last ``history``; ``ties`` as in pandas.

    What is equal to many is extreme on neither side: "max" looks for the lowest, "min" for the
    highest.
    """
    return values.rolling(history).rank(method=ties, pct=True)  # type: ignore[arg-type]


def by_rules(
    candles: pd.DataFrame,
    *,
    window: int = 48,
    history: int = 960,
    trend: float = 0.3,
    extreme: float = 0.1,
) -> pd.Series:
    """Return the regime after each bar, from the bars up to it.

    The first rule that applies decides: ``low_liquidity`` where the mean volume of the last
    ``window`` bars is among the lowest ``extreme`` share of the last ``history`` bars;
    ``high_volatility`` where the standard deviation of returns is among the highest;
    ``trending_up`` or ``trending_down`` where the signed efficiency ratio is beyond ``trend``;
    else ``ranging``. What ties with more than an extreme share is not extreme: a market whose
    volatility or volume never changes is neither wild nor illiquid.

    Args:
        candles: n checked bars.
        window: bars that describe now.
        history: bars that now is compared with, at least twice ``window``.
        trend: efficiency beyond which a move is a trend, in (0, 1).
        extreme: share of history that counts as extreme, in (0, 0.5].

    Returns:
        A categorical Series (n,) with the categories ``REGIMES``; missing until ``window`` +
        ``history`` bars are there.

    Raises:
        CandleError: the candles are at fault.
        ArgumentError: a parameter is out of range, or there are too few bars.
    """
    check(candles)
    window = integer("window", window, 2)
    history = integer("history", history, 2 * window)
    trend = number("trend", trend, 0, 1, above=True)
    extreme = number("extreme", extreme, 0, 0.5, above=True)
    if len(candles) <= window + history:
        raise ArgumentError("candles", candles, f"more than window + history = {window + history}")
    close = candles["close"]
    volatility = close.pct_change().rolling(window).std()
    volatility = volatility.mask(volatility < 1e-12, 0.0)  # equal steps leave rounding behind
    quiet = _share_below(candles["volume"].rolling(window).mean(), history, "max") <= extreme
    wild = _share_below(volatility, history, "min") > 1 - extreme
    move = efficiency(close, window)
    rules = [quiet, wild, move > trend, move < -trend]
    names = ["low_liquidity", "high_volatility", "trending_up", "trending_down"]
    label = pd.Series(np.select(rules, names, "ranging"), index=candles.index, dtype=object)
    label.iloc[: window + history - 1] = None
    return label.astype(pd.CategoricalDtype(list(REGIMES))).rename("regime")


class Agreement(NamedTuple):
    """Two labellings compared on the bars that both label.

    ``rand`` is the adjusted Rand index: 1 for the same partition under any names, about 0 for
    independent ones. ``kappa`` is Cohen's: the share of equal labels beyond chance, after the
    names of the second were matched to the first; None where labels have no counterpart
    because the numbers of regimes differ. ``confusion`` counts bars, the first's labels down,
    the second's across.
    """

    rand: float
    kappa: float | None
    confusion: pd.DataFrame
    bars: int


def _paired(first: pd.Series, second: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return both as categoricals on the bars that both label."""
    for name, value in (("first", first), ("second", second)):
        if not isinstance(value, pd.Series) or value.empty:
            raise ArgumentError(name, value, "a Series of labels")
        timed(name, value, needed=False)
    if not same_index(first.index, second.index):
        raise ArgumentError("second", second, "labels on the index of the first")
    both = (first.notna() & second.notna()).to_numpy()
    if both.sum() < 2:
        raise ArgumentError("second", second, "at least two bars that both label")
    return first[both].astype("category"), second[both].astype("category")


def agreement(first: pd.Series, second: pd.Series, *, match: bool = False) -> Agreement:
    """Compare two labellings of the same bars.

    Args:
        first: (n,) labels; missing ones are left out of the comparison.
        second: (n,) labels on the same index.
        match: False takes equal names for the same regime; True pairs the names one to one so
            that most bars agree, which flatters kappa a little.

    Returns:
        `Agreement`.

    Raises:
        ArgumentError: no Series, another index, or fewer than two bars labelled by both.

    Source: L. Hubert, P. Arabie, Comparing Partitions (1985), equation 5; J. Cohen, A
    Coefficient of Agreement for Nominal Scales (1960).
    """
    from sklearn.metrics import adjusted_rand_score

    match = flag("match", match)
    a, b = _paired(first, second)
    table = pd.crosstab(a.to_numpy(), b.to_numpy())
    table = table.reindex(index=list(a.cat.categories), columns=list(b.cat.categories))
    table = table.fillna(0).astype(int).rename_axis(index="first", columns="second")
    rand = float(adjusted_rand_score(a.cat.codes, b.cat.codes))
    return Agreement(rand, _kappa(table, match), table, len(a))


def _kappa(table: pd.DataFrame, match: bool) -> float | None:
    """Return (observed - chance) / (1 - chance), or None where labels have no counterpart."""
    if match:
        from scipy.optimize import linear_sum_assignment

        if table.shape[0] != table.shape[1]:
            return None
        counts = table.to_numpy()[:, linear_sum_assignment(-table.to_numpy())[1]]
    elif set(table.index) == set(table.columns):
        counts = table[list(table.index)].to_numpy()
    else:
        return None
    total = counts.sum()
    observed = np.trace(counts) / total
    chance = float(counts.sum(axis=1) @ counts.sum(axis=0)) / total**2
    return 1.0 if chance == 1 else float((observed - chance) / (1 - chance))


def planted(
    n_bars: int,
    *,
    seed: int,
    volatility: Sequence[float] = (0.001, 0.003),
    drift: Sequence[float] | None = None,
    stay: float = 0.995,
    interval: str | pd.Timedelta = "15min",
) -> Market:
    """Draw a random walk with planted regimes.

    Regimes follow a Markov chain that keeps its state with probability ``stay`` and otherwise
    picks one of the others alike. Bar t's log return is normal with the drift and volatility
    of bar t's regime. Without drift nothing foretells the direction of any bar.

    Args:
        n_bars: number of candles.
        seed: of every draw.
        volatility: standard deviation of a bar's log return, one a regime, at least two.
        drift: mean log return a bar, one a regime; default zeros.
        stay: in (0, 1).
        interval: bar length.

    Returns:
        A `candles.Market`: ``regime`` is a categorical Series (n_bars,) of "regime_0" …, the
        one that rules bar t **itself**; ``informative`` is empty.

    Raises:
        ArgumentError: names what cannot be used.
    """
    n, length = integer("n_bars", n_bars, 1), parse_interval("interval", interval)
    sd = array("volatility", volatility, ndim=1, min_length=2).astype(float)
    if (sd <= 0).any():
        raise ArgumentError("volatility", volatility, "numbers > 0, at least two")
    mean = np.zeros(len(sd)) if drift is None else array("drift", drift, ndim=1).astype(float)
    if len(mean) != len(sd):
        raise ArgumentError("drift", drift, f"{len(sd)} numbers, one a regime")
    if number("stay", stay, 0, 1, above=True) == 1:
        raise ArgumentError("stay", stay, "a number below 1")
    rng = np.random.default_rng(integer("seed", seed, 0))
    jumps = np.where(rng.random(n) > stay, rng.integers(1, len(sd), n), 0)
    state = jumps.cumsum() % len(sd)
    log_close = (mean[state] + sd[state] * rng.standard_normal(n)).cumsum()
    wick = np.exp(0.5 * sd[state, None] * np.abs(rng.standard_normal((n, 2))))
    candles = draw_candles(log_close, wick, np.full(n, 100.0), length)
    kinds = pd.CategoricalDtype([f"regime_{i}" for i in range(len(sd))])
    regime = pd.Series(pd.Categorical.from_codes(state, dtype=kinds), candles.index, name="regime")
    return Market(candles, regime, {})
