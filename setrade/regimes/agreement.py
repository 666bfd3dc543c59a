"""How far two labellings of the same bars say the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError


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
    if not first.index.equals(second.index):
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
