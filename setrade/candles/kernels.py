"""The rules of `check` as single passes over memory: fast to say yes, mute about the rest."""

from __future__ import annotations

import numpy as np

from ..compiled import kernel


@kernel(nogil=True)
def valid_prices(open_, high, low, close):
    """Say whether every bar is finite, positive and inside its own range; arrays (n,)."""
    bad = 0
    for t in range(len(open_)):
        inside = (low[t] <= open_[t]) & (open_[t] <= high[t])
        inside &= (low[t] <= close[t]) & (close[t] <= high[t])
        bad += not (inside & (low[t] > 0) & (high[t] < np.inf))  # NaN fails every comparison
    return bad == 0


@kernel(nogil=True)
def valid_amounts(x):
    """Say whether every amount (n,) is finite and not negative."""
    bad = 0
    for t in range(len(x)):
        bad += not ((x[t] >= 0) & (x[t] < np.inf))
    return bad == 0


@kernel(nogil=True)
def even_steps(stamps, step):
    """Say whether the integers (n,) rise by ``step`` throughout."""
    bad = 0
    for t in range(1, len(stamps)):
        bad += (stamps[t] - stamps[t - 1]) != step
    return bad == 0
