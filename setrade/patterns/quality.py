"""How good a candlestick pattern is, from 0 to 1, and how far a forecast probability is true.

TA-Lib says yes or no. A chart reader says «a fine hammer» or «a hammer, barely». Each pattern
here is a list of conditions, each a straight ramp from 0 (fails) to 1 (as the textbook draws
it), and the quality is the smallest of them: the fuzzy "and" of Zadeh (1965).

Lengths are in units known before the pattern's last bar: R, the mean range (high - low) of the
10 bars before it, and B, their mean body.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from setrade.errors import ArgumentError, array, integer, number, paired
from setrade.patterns.detect import CANDLESTICKS, WARM_UP, prices

PERIOD = 10


def _ramp(x: np.ndarray, zero: float, one: float) -> np.ndarray:
    """Return 0 where x is at or beyond ``zero``, 1 at or beyond ``one``, a line in between."""
    return np.clip((x - zero) / (one - zero), 0.0, 1.0)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b; nothing over nothing is 0, something over nothing is infinite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where((a == 0) & (b == 0), 0.0, a / b)


def _before(x: np.ndarray, bars: int = 1) -> np.ndarray:
    """Return x that many bars ago; NaN at the start."""
    return np.concatenate([np.full(bars, np.nan), x[:-bars]])


class _Bars:
    """The lengths that the conditions are made of, each (n,)."""

    def __init__(self, open_: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray):
        self.open, self.high, self.low, self.close = open_, high, low, close
        self.move = close - open_
        self.body = np.abs(self.move)
        self.upper = high - np.maximum(open_, close)
        self.lower = np.minimum(open_, close) - low

        def mean_before(x: np.ndarray) -> np.ndarray:
            # A sum of its own for each row: a running sum would remember older bars by rounding.
            view = np.lib.stride_tricks.sliding_window_view(x, PERIOD)
            return _before(np.concatenate([np.full(PERIOD - 1, np.nan), view.mean(1)]))

        self.R, self.B = mean_before(high - low), mean_before(self.body)

    def upside_down(self) -> _Bars:
        """Return the bars of -price: what is bullish for them is bearish for these."""
        return _Bars(-self.open, -self.low, -self.high, -self.close)


def _doji(b: _Bars) -> list[np.ndarray]:
    """Body: none is 1, a tenth of R is 0."""
    return [_ramp(_ratio(b.body, b.R), 0.1, 0.0)]


def _dragonfly(b: _Bars) -> list[np.ndarray]:
    """A doji; upper wick: none is 1, R/10 is 0; lower wick: R/10 is 0, R/2 is 1."""
    return [*_doji(b), _ramp(_ratio(b.upper, b.R), 0.1, 0.0), _ramp(_ratio(b.lower, b.R), 0.1, 0.5)]


def _long_legged(b: _Bars) -> list[np.ndarray]:
    """A doji; the shorter wick: none is 0, R/2 is 1. (TA-Lib is content with one wick.)"""
    return [*_doji(b), _ramp(_ratio(np.minimum(b.upper, b.lower), b.R), 0.0, 0.5)]


def _engulfing(b: _Bars) -> list[np.ndarray]:
    """A fall, then a rise that covers its body: as long is 0, twice as long is 1."""
    covers = (b.open <= _before(b.close)) & (b.close >= _before(b.open))
    falls_then_rises = (_before(b.move) < 0) & (b.move > 0) & covers
    ratio = _ratio(b.body, _before(b.body))
    return [np.where(falls_then_rises, _ramp(ratio, 1.0, 2.0), 0.0)]


def _hammer_shape(b: _Bars) -> list[np.ndarray]:
    """Body: B is 0, B/2 is 1; upper wick: R/10 is 0, none is 1; lower wick: 1 to 3 bodies."""
    long = _ramp(_ratio(b.lower, b.body), 1.0, 3.0)
    return [_ramp(_ratio(b.body, b.B), 1.0, 0.5), _ramp(_ratio(b.upper, b.R), 0.1, 0.0), long]


def _hammer(b: _Bars) -> list[np.ndarray]:
    """The shape; its body R/5 above the low before is 0, at that low or below is 1."""
    place = np.minimum(b.open, b.close) - _before(b.low)
    return [*_hammer_shape(b), _ramp(_ratio(place, b.R), 0.2, 0.0)]


def _hanging_man(b: _Bars) -> list[np.ndarray]:
    """The shape; its body R/5 below the high before is 0, at that high or above is 1."""
    place = np.minimum(b.open, b.close) - _before(b.high)
    return [*_hammer_shape(b), _ramp(_ratio(place, b.R), -0.2, 0.0)]


def _morning_star(b: _Bars) -> list[np.ndarray]:
    """A fall (B/2 to 3B/2), a short body (B to B/2) in its lower half, a rise into it (0.3 to 0.7).

    No gap is asked for: a star's place is measured, from the middle of the first body (0) to
    its close (1).
    """
    first, star = _before(b.body, 2), _before(b.body)
    fall = _before(b.move, 2) < 0
    middle = np.maximum(_before(b.open), _before(b.close))
    depth = _ratio(_before(b.open, 2) - middle, first)
    into = _ratio(b.close - _before(b.close, 2), first)
    shape = [
        _ramp(_ratio(first, b.B), 0.5, 1.5),
        _ramp(_ratio(star, b.B), 1.0, 0.5),
        _ramp(depth, 0.5, 1.0),
    ]
    return [*shape, _ramp(into, 0.3, 0.7), (fall & (b.move > 0)).astype(float)]


def _soldiers(b: _Bars) -> list[np.ndarray]:
    """Three rises, each opening inside the body before and closing higher; bodies; upper wicks.

    The shortest body: B/2 is 0, B is 1. The longest upper wick: R/2 is 0, none is 1. An open at
    the close before counts as inside.
    """
    bodies = np.minimum.reduce([b.body, _before(b.body), _before(b.body, 2)])
    wicks = np.maximum.reduce([b.upper, _before(b.upper), _before(b.upper, 2)])
    steps = (b.move > 0) & (b.close > _before(b.close))
    steps &= (b.open <= _before(b.close)) & (b.open >= _before(b.open))
    inside = steps & (_before(steps.astype(float)) > 0) & (_before(b.move, 2) > 0)
    return [
        inside.astype(float),
        _ramp(_ratio(bodies, b.B), 0.5, 1.0),
        _ramp(_ratio(wicks, b.R), 0.5, 0.0),
    ]


_RULES = {
    "doji": (_doji, False),
    "dragonfly_doji": (_dragonfly, False),
    "gravestone_doji": (_dragonfly, True),
    "long_legged_doji": (_long_legged, False),
    "bullish_engulfing": (_engulfing, False),
    "bearish_engulfing": (_engulfing, True),
    "hammer": (_hammer, False),
    "hanging_man": (_hanging_man, False),
    "morning_star": (_morning_star, False),
    "evening_star": (_morning_star, True),
    "three_white_soldiers": (_soldiers, False),
    "three_black_crows": (_soldiers, True),
}


def candlestick_quality(candles: pd.DataFrame) -> pd.DataFrame:
    """Score each candlestick pattern at each bar, from 0 (absent) to 1 (as drawn in a textbook).

    The score is the smallest of the pattern's conditions, each a ramp in units of R and B (see
    the module's docstring and the one line of each rule). It does not ask TA-Lib: a bar may
    score without a label, as stars without a gap do, or have a label and score near 0.

    Args:
        candles: n checked bars, more than 13.

    Returns:
        float64 frame (n, 12) in [0, 1], columns as ``CANDLESTICKS``; the first 13 rows are NaN.

    Raises:
        CandleError: the candles are at fault.
        ArgumentError: too few bars.
    """
    upright = _Bars(*prices(candles))
    turned = upright.upside_down()
    scores = {}
    for name in CANDLESTICKS:
        rule, falls = _RULES[name]
        scores[name] = np.minimum.reduce(rule(turned if falls else upright))
    quality = pd.DataFrame(scores, index=candles.index)
    quality.iloc[:WARM_UP] = np.nan
    return quality


# ---- Does 80 % mean 80 %?


def _forecast(probability: np.ndarray, hit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities in [0, 1] and what happened, both (N,)."""
    p = array("probability", probability, ndim=1).astype(np.float64)
    if p.min() < 0 or p.max() > 1:
        raise ArgumentError("probability", (float(p.min()), float(p.max())), "numbers in [0, 1]")
    flags = isinstance(hit, np.ndarray) and hit.dtype.kind == "b" and not np.ma.is_masked(hit)
    y = np.asarray(hit) if flags else array("hit", hit, ndim=1)
    if y.shape != p.shape or not np.isin(y, (0, 1)).all():
        raise ArgumentError("hit", hit, f"{len(p)} values, each 0 or 1 (or False, True)")
    paired("hit", hit, probability)
    return p, y.astype(np.float64)


def wilson(hits: np.ndarray, counts: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return Wilson's interval of shares ``hits / counts``: (..., 2), NaN where the count is 0.

    No hit, or nothing but hits, has an interval too: its outer bound is 0, or 1.

    Source: E. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    from scipy.special import ndtri

    k, n = array("hits", hits).astype(np.float64), array("counts", counts).astype(np.float64)
    if k.shape != n.shape or (k < 0).any() or (k > n).any():
        raise ArgumentError("hits", hits, "as many as counts, each from 0 to its count")
    paired("hits", hits, counts)
    z = ndtri(0.5 + number("level", level, 0.5, 0.9999) / 2)
    safe = np.where(n > 0, n, np.nan)
    middle = (k + z**2 / 2) / (safe + z**2)
    half = z * np.sqrt(k * (n - k) / safe + z**2 / 4) / (safe + z**2)
    return np.stack([middle - half, middle + half], axis=-1)


def reliability(probability: np.ndarray, hit: np.ndarray, n_bins: int = 10) -> pd.DataFrame:
    """Compare what was forecast with what happened, in bins of equal width.

    Args:
        probability: (N,) forecasts in [0, 1].
        hit: (N,) 1 where it happened, else 0.
        n_bins: bins of [0, 1].

    Returns:
        A frame, a row for each bin that is not empty: ``count``, ``forecast`` (mean), ``share``
        (of hits), ``low``, ``high`` (its 95 % Wilson interval).

    Raises:
        ArgumentError: names the argument.
    """
    p, y = _forecast(probability, hit)
    bins = np.minimum((p * integer("n_bins", n_bins, 1)).astype(int), n_bins - 1)
    count, hits, total = (np.bincount(bins, w, n_bins) for w in (None, y, p))
    use = count > 0
    count, hits, total = count[use], hits[use], total[use]
    low, high = wilson(hits, count).T
    columns = {"count": count, "forecast": total / count, "share": hits / count}
    return pd.DataFrame(columns | {"low": low, "high": high})


def calibration_error(probability: np.ndarray, hit: np.ndarray, n_bins: int = 10) -> float:
    """Return the expected calibration error: the mean gap between forecast and share of hits.

    0 for forecasts of 0 and 1 that are always right, 1 for those that are always wrong.

    Source: M. Naeini, G. Cooper and M. Hauskrecht (2015), with bins of equal width.
    """
    table = reliability(probability, hit, n_bins)
    gap = (table["forecast"] - table["share"]).abs()
    return float((gap * table["count"]).sum() / table["count"].sum())


def temperature(logits: np.ndarray, kind: np.ndarray) -> float:
    """Return the number that logits should be divided by, fitted on validation examples.

    The one that gives the lowest negative log-likelihood, between e⁻³ and e³. Dividing changes no
    ranking, so the accuracy stays what it was. Logits that are always right go towards e⁻³,
    those that are worse than guessing towards e³; where every example's logits are alike nothing
    depends on it, and the answer is 1.

    Args:
        logits: (N, classes).
        kind: (N,) true classes.

    Raises:
        ArgumentError: names the argument.

    Source: C. Guo, G. Pleiss, Y. Sun and K. Weinberger (2017), section 4.2.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    x = array("logits", logits, ndim=2, min_length=2).astype(np.float64)
    y = array("kind", kind, ndim=1)
    paired("kind", kind, logits)
    if len(y) != len(x) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= x.shape[1]:
        raise ArgumentError("kind", kind, f"{len(x)} class numbers from 0 to {x.shape[1] - 1}")

    if (np.ptp(x, axis=1) == 0).all():
        return 1.0

    def loss(log_t: float) -> float:
        return -float(log_softmax(x / np.exp(log_t), axis=1)[np.arange(len(y)), y].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))  # type: ignore[union-attr]
