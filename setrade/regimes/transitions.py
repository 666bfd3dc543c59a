"""How regimes follow each other."""

from __future__ import annotations

import pandas as pd

from setrade.errors import ArgumentError


def transition_matrix(regime: pd.Series) -> pd.DataFrame:
    """Return the share of bars in regime i whose next bar is in regime j.

    Args:
        regime: (n,) labels in the order of time; steps from or to a missing label are left out.

    Returns:
        A square DataFrame, rows from, columns to; each row sums to 1, or is NaN for a regime
        (a category) that never occurs before another bar.
    """
    if not isinstance(regime, pd.Series) or regime.notna().sum() < 2:
        raise ArgumentError("regime", regime, "a Series with at least two labels")
    labels = regime.astype("category")
    names = list(labels.cat.categories)
    pairs = pd.DataFrame({"from": labels.to_numpy()[:-1], "to": labels.to_numpy()[1:]}).dropna()
    counts = pd.crosstab(pairs["from"], pairs["to"]).reindex(index=names, columns=names)
    counts = counts.fillna(0)
    return counts.div(counts.sum(axis=1).where(lambda total: total > 0), axis=0)
