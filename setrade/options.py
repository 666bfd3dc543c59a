"""European options on a forward: Black-76 prices, Greeks, implied volatility, what a hedge paid.

Prices are in the currency of ``forward`` and ``strike``. The forward is the price agreed today for
delivery at expiry: a future's own price, or a perpetual's as a stand-in. An exchange that quotes
in coins, as Deribit does, divides by the forward: a call at 0.05 BTC costs 0.05 · forward.
Volatilities and rates are decimals a year of 365 days (0.6 is 60 %), times to expiry are years.

Everything computes in float64. A price is built from its time value, worked out by the scaled
complementary error function, so that it keeps its digits far from the money, where the textbook's
difference of two nearly equal terms has lost them (Jäckel, Let's Be Rational, Wilmott 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr

from setrade.compiled import kernel
from setrade.costs import Costs
from setrade.errors import ArgumentError, array, choice, number, paired

KINDS = ("call", "put")
LOWEST, HIGHEST = 1e-30, 1e30  # of prices: between them no term overflows
LONGEST = 100.0  # years
ROOT2, ROOTPI, ROOT2PI = math.sqrt(2.0), math.sqrt(math.pi), math.sqrt(2.0 * math.pi)
EPS = 2.0**-52
CLOSE = 1e-9  # Newton's steps square their error: after one so small there is none left
MAX_STEPS = 200  # of the solver; a handful is the rule, bisection alone needs no more

compiled = kernel(error_model="numpy")


class Greeks(NamedTuple):
    """Derivatives of a price: by forward, twice by forward, by volatility, by time and by rate.

    ``vega`` is for a change of 1.00 in volatility, ``theta`` for a year that passes and ``rho``
    for 1.00 in the rate, the forward unchanged.
    """

    delta: Any
    gamma: Any
    vega: Any
    theta: Any
    rho: Any


class Hedge(NamedTuple):
    """What a hedge earned by path: before costs, what it paid, and what was left."""

    gross: np.ndarray
    fees: np.ndarray
    funding: np.ndarray
    net: np.ndarray


# ---- Arguments.


def _figure(name: str, value: Any, low: float, high: float, missing: bool = False) -> np.ndarray:
    """Return numbers within [low, high], scalar or array; NaN passes where ``missing``."""
    _unframed(name, value)
    scalar = np.ndim(value) == 0 if isinstance(value, int | float | np.generic) else False
    if scalar and missing and isinstance(value, float) and math.isnan(value):
        return np.array(np.nan)
    if scalar:
        return np.array(number(name, value, low, high))
    x = array(name, value, finite=not missing).astype(np.float64)
    wrong = (x < low) | (x > high)
    if wrong.any():
        raise ArgumentError(name, float(x[wrong][0]), f"numbers from {low:g} to {high:g}")
    return x


def _unframed(name: str, value: Any) -> None:
    """Refuse a frame: arrays go together by place, and its columns are not compared."""
    if isinstance(value, pd.DataFrame):
        raise ArgumentError(name, value, "numbers, arrays or Series: frame.to_numpy()")


def _signs(kind: Any) -> np.ndarray:
    """Return 1 for calls and −1 for puts."""
    if isinstance(kind, str):
        return np.array(1.0 if choice("kind", kind, KINDS) == "call" else -1.0)
    try:
        names = np.asarray(kind)
        call, put = names == "call", names == "put"
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError("kind", kind, "call or put, or an array of them") from error
    if names.ndim == 0 or names.size == 0 or not np.all(call | put):
        raise ArgumentError("kind", kind, "call or put, or an array of them")
    return np.where(call, 1.0, -1.0)


def _together(**figures: np.ndarray) -> list[np.ndarray]:
    """Return arrays of one shape, or name the first that does not go with those before it."""
    shape: tuple[int, ...] = ()
    for name, x in figures.items():
        try:
            shape = np.broadcast_shapes(shape, x.shape)
        except ValueError as error:
            raise ArgumentError(name, x, f"a shape that goes with {shape}") from error
    return [np.broadcast_to(x, shape) for x in figures.values()]


def _contract(
    kind: Any, forward: Any, strike: Any, years: Any, rate: Any, missing: bool = False, **other: Any
) -> list[np.ndarray]:
    """Return sign, forward, strike, years, rate and what else there is, checked, of one shape."""
    checked = {name: _figure(name, x, 0.0, HIGHEST, missing) for name, x in other.items()}
    checked = {
        "kind": _signs(kind),
        "forward": _figure("forward", forward, LOWEST, HIGHEST),
        "strike": _figure("strike", strike, LOWEST, HIGHEST),
        "years": _figure("years", years, 0.0, LONGEST),
        "rate": _figure("rate", rate, -1.0, 1.0),
    } | checked
    given = {"kind": kind, "forward": forward, "strike": strike, "years": years, "rate": rate}
    stamped = [(n, x) for n, x in (given | other).items() if isinstance(x, pd.Series)]
    for name, x in stamped[1:]:
        paired(name, x, stamped[0][1])
    return _together(**checked)


# ---- Compiled: the time value of an option out of the money, in units of √(forward · strike).


@compiled
def _erfcx(y: float) -> float:
    """Return exp(y²) erfc(y) for y ≥ 0 to a few units in the last place.

    Source: W. J. Cody, Rational Chebyshev Approximations for the Error Function, Mathematics of
    Computation 23 (1969), 631–637; coefficients of his program CALERF.
    """
    if y < 0.46875:
        return math.exp(y * y) * math.erfc(y)
    if y <= 4.0:
        top, bottom = 2.15311535474403846e-8 * y, y
        for a, b in (
            (5.64188496988670089e-1, 1.57449261107098347e1),
            (8.88314979438837594, 1.17693950891312499e2),
            (6.61191906371416295e1, 5.37181101862009858e2),
            (2.98635138197400131e2, 1.62138957456669019e3),
            (8.81952221241769090e2, 3.29079923573345963e3),
            (1.71204761263407058e3, 4.36261909014324716e3),
            (2.05107837782607147e3, 3.43936767414372164e3),
        ):
            top, bottom = (top + a) * y, (bottom + b) * y
        return (top + 1.23033935479799725e3) / (bottom + 1.23033935480374942e3)
    z = 1.0 / (y * y)
    top, bottom = 1.63153871373020978e-2 * z, z
    for a, b in (
        (3.05326634961232344e-1, 2.56852019228982242),
        (3.60344899949804439e-1, 1.87295284992346725),
        (1.25781726111229246e-1, 5.27905102951428412e-1),
        (1.60837851487422766e-2, 6.05183413124413191e-2),
    ):
        top, bottom = (top + a) * z, (bottom + b) * z
    tail = z * (top + 6.58749161529837803e-4) / (bottom + 2.33520497626869185e-3)
    return (5.6418958354775628695e-1 - tail) / y


@compiled
def _moneyness(forward: float, strike: float) -> float:
    """Return −|log(forward / strike)|, exact to the last digits near the money."""
    if 0.5 < forward / strike < 2.0:
        return -abs(math.log1p((forward - strike) / strike))
    return -abs(math.log(forward / strike))


@compiled
def _value(x: float, s: float) -> float:
    """Return the time value at moneyness x ≤ 0 and total volatility s = σ √years."""
    if s <= 0.0:
        return 0.0
    h, t = x / s, 0.5 * s
    up, down = math.exp(0.5 * x), math.exp(-0.5 * x)
    if h + t > 0.0 and t < 0.5:
        both = up * math.erf((h + t) / ROOT2) + down * math.erf((t - h) / ROOT2)
        return 0.5 * both + math.sinh(0.5 * x)
    if h + t > 0.0:
        return 0.5 * (up * math.erfc(-(h + t) / ROOT2) - down * math.erfc((t - h) / ROOT2))
    scale = 0.5 * math.exp(-0.5 * (h * h + t * t))
    if t >= 1e-3:
        return scale * (_erfcx(-(h + t) / ROOT2) - _erfcx((t - h) / ROOT2))
    a, b = -h / ROOT2, t / ROOT2  # of two terms so close, the difference by its series
    y = _erfcx(a)
    first = 2.0 * a * y - 2.0 / ROOTPI
    third = 4.0 * first + 2.0 * a * (2.0 * y + 2.0 * a * first)
    return -scale * (2.0 * b * first + b * b * b * third / 3.0)


@compiled
def _slope(x: float, s: float) -> float:
    """Return the derivative of `_value` by s."""
    h, t = x / s, 0.5 * s
    return math.exp(-0.5 * (h * h + t * t)) / ROOT2PI


@compiled
def _rest(x: float, s: float) -> float:
    """Return how far `_value` is below its bound exp(x / 2), without a difference."""
    h, t = x / s, 0.5 * s
    far = math.exp(-0.5 * x) * math.erfc((t - h) / ROOT2)
    return 0.5 * (math.exp(0.5 * x) * math.erfc((h + t) / ROOT2) + far)


@compiled
def _prices(sign, forward, strike, s, out):
    """Write undiscounted prices."""
    for i in range(len(out)):
        intrinsic = max(sign[i] * (forward[i] - strike[i]), 0.0)
        size = math.sqrt(forward[i]) * math.sqrt(strike[i])
        out[i] = intrinsic + size * _value(_moneyness(forward[i], strike[i]), s[i])


@compiled
def _step(x: float, s: float, goal: float, low: bool, top: bool) -> tuple[float, float]:
    """Return by how much the value at s misses its goal (a sign), and Newton's next s.

    Far below the turning point log(value) is nearly linear in 1 / s², near the bound
    log(bound − value) is in s². Newton's method takes the quantity that is nearly linear.
    """
    slope = _slope(x, s)
    if low:
        value = _value(x, s)
        if value <= 0.0 or slope <= 0.0:
            return -1.0, -1.0
        miss = math.log(value / goal)
        inverse = 1.0 / (s * s) + 2.0 * miss * value / (slope * s * s * s)
        return miss, 1.0 / math.sqrt(inverse) if inverse > 0.0 else -1.0
    if top:
        rest = _rest(x, s)
        if rest <= 0.0 or slope <= 0.0:
            return 1.0, -1.0
        miss = -math.log(rest / (math.exp(0.5 * x) - goal))
        square = s * s - 2.0 * s * miss * rest / slope
        return miss, math.sqrt(square) if square > 0.0 else -1.0
    miss = _value(x, s) - goal
    return miss, s - miss / slope if slope > 0.0 else -1.0


@compiled
def _solve(x: float, goal: float) -> float:
    """Return the s whose value is ``goal``, 0 < goal < exp(x / 2).

    The root lies between ``below`` and ``above`` at all times: a step of Newton's that leaves
    them is replaced by halving, so that the search ends.
    """
    turn = math.sqrt(-2.0 * x)  # here the value turns from convex to concave in s
    bound, level = math.exp(0.5 * x), _value(x, turn)
    low, top = goal < level, goal > 0.5 * (level + bound)
    below, above = (0.0, turn) if low else (turn, 4.0 * turn + 4.0)
    while not low and _rest(x, above) > bound - goal:
        below, above = above, 2.0 * above
    s = turn if turn > 0.0 else goal * ROOT2PI
    s = s if below < s < above else 0.5 * (below + above)
    for _ in range(MAX_STEPS):
        miss, after = _step(x, s, goal, low, top)
        below, above = (s, above) if miss < 0.0 else (below, s)
        if miss == 0.0 or abs(after - s) <= CLOSE * s:
            return after if after > 0.0 else s
        s = after if below < after < above else 0.5 * (below + above)
    return s


@compiled
def _volatilities(sign, price, forward, strike, out):
    """Write total volatilities σ √years of undiscounted prices; NaN where there is none."""
    for i in range(len(out)):
        f, k = forward[i], strike[i]
        intrinsic = max(sign[i] * (f - k), 0.0)
        most = f if sign[i] > 0.0 else k
        rounding = 4.0 * EPS * intrinsic
        over = price[i] - intrinsic
        if not (over >= -rounding and price[i] < most):  # a NaN comes here too
            out[i] = np.nan
        elif over <= rounding:
            out[i] = 0.0
        else:
            x, goal = _moneyness(f, k), over / (math.sqrt(f) * math.sqrt(k))
            out[i] = _solve(x, goal) if goal < math.exp(0.5 * x) else np.nan


def _flat(run: Callable[..., None], *figures: np.ndarray) -> np.ndarray:
    """Return what a kernel writes for arrays of one shape, in that shape."""
    out = np.empty(figures[0].shape)
    run(*(np.ascontiguousarray(x).reshape(-1) for x in figures), out.reshape(-1))
    return out


# ---- Prices and Greeks.


def price(
    kind: Any, forward: Any, strike: Any, years: Any, volatility: Any, *, rate: Any = 0.0
) -> Any:
    """Return Black-76 prices of European calls and puts.

    exp(−rate · years) · θ (F N(θ d₁) − K N(θ d₂)), θ = 1 for a call and −1 for a put, with
    d₁ = log(F / K) / s + s / 2, d₂ = d₁ − s and s = σ √years. At expiry, or at volatility 0,
    it is the discounted intrinsic value max(θ (F − K), 0).

    Args:
        kind: "call" or "put", or an array of them.
        forward, strike: positive prices in one currency. years: to expiry, 0 to 100.
        volatility: a decimal a year, at least 0. rate: continuous, a decimal a year within ±1.
            All are scalars or arrays of shapes that go together.

    Returns:
        A float, or float64 of the common shape.

    Raises:
        ArgumentError: a figure is outside its range (an expired contract has years < 0), NaN,
            a frame, or of a shape or of stamps that do not go with the others.

    Source: F. Black, The Pricing of Commodity Contracts, Journal of Financial Economics 3 (1976).
    """
    sign, f, k, t, r, v = _contract(kind, forward, strike, years, rate, volatility=volatility)
    return (np.exp(-r * t) * _flat(_prices, sign, f, k, v * np.sqrt(t)))[()]


def greeks(
    kind: Any, forward: Any, strike: Any, years: Any, volatility: Any, *, rate: Any = 0.0
) -> Greeks:
    """Return the derivatives of Black-76 prices; arguments and errors as `price`.

    At expiry, or at volatility 0, a price has a kink at the strike: exactly there delta is the
    mean of its two sides, and gamma (and theta at expiry) do not exist and are NaN.
    """
    sign, f, k, t, r, v = _contract(kind, forward, strike, years, rate, volatility=volatility)
    discount, s = np.exp(-r * t), v * np.sqrt(t)
    x = np.where(f / k > 0.5, np.where(f / k < 2, np.log1p((f - k) / k), np.log(f / k)), 0.0)
    x = np.where(f / k > 0.5, x, np.log(f / k))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d = np.where(x == 0.0, 0.0, x / s) + 0.5 * s
        bell = discount * np.exp(-0.5 * d * d) / ROOT2PI
        kink = np.where(f == k, np.nan, 0.0)
        gamma = np.where(s > 0.0, bell / (f * s), kink)
        decay = np.where(t > 0.0, -f * bell * v / (2.0 * np.sqrt(t)), kink)
    worth = discount * _flat(_prices, sign, f, k, s)
    delta, vega = sign * discount * ndtr(sign * d), f * bell * np.sqrt(t)
    every = (delta, gamma, vega, decay + r * worth, -t * worth)
    return Greeks(*(x[()] for x in every))


def implied_volatility(
    kind: Any, price: Any, forward: Any, strike: Any, years: Any, *, rate: Any = 0.0
) -> Any:
    """Return the volatility at which Black-76 gives ``price``.

    NaN where no volatility does: the price is missing (NaN), below the discounted intrinsic
    value, at or above the bound (the discounted forward of a call, the strike of a put), or the
    contract expires now; both bounds up to rounding. 0 where the price is the intrinsic value, up
    to rounding. Elsewhere `price` of the answer gives ``price`` back to its last digits. Where
    vega is next to nothing, many volatilities give the same price: the answer is one of them, as
    sharp as the digits allow.

    Args:
        kind, forward, strike, years, rate: as `price`.
        price: of the options, at least 0; NaN for a missing quote.

    Raises:
        ArgumentError: as `price`; a negative price.

    Source: the bounds and the turning point are those of P. Jäckel, By Implication, Wilmott
    (2006); the steps are Newton's, kept inside a bracket.
    """
    sign, f, k, t, r, p = _contract(kind, forward, strike, years, rate, missing=True, price=price)
    total = _flat(_volatilities, sign, p * np.exp(r * t), f, k)
    root = np.sqrt(t)
    return np.divide(total, root, out=np.full(total.shape, np.nan), where=root > 0.0)[()]


# ---- What prices owe each other, whatever the model.


def parity(call: Any, put: Any, forward: Any, strike: Any, years: Any, *, rate: Any = 0.0) -> Any:
    """Return call − put − exp(−rate · years) (forward − strike): 0 where no arbitrage is left.

    Call and put have one strike and one expiry, and all prices are of one moment. NaN where a
    quote is missing. Arguments and errors as `implied_volatility`.
    """
    quotes = {"missing": True, "call": call, "put": put}
    _, f, k, t, r, c, p = _contract("call", forward, strike, years, rate, **quotes)
    return (c - p - np.exp(-r * t) * (f - k))[()]


def butterflies(strike: Any, call: Any) -> np.ndarray:
    """Return what butterflies of neighbouring strikes cost: at least 0, or there is free money.

    A butterfly pays a triangle and is never worth less than nothing: buy the outer calls, sell the
    middle one, weighted so that it pays nothing outside. With w = (K₃ − K₂) / (K₃ − K₁) it costs
    w C₁ + (1 − w) C₃ − C₂.

    Args:
        strike: (n,) rising, at least three. call: prices (n,) of calls of one expiry.

    Returns:
        (n − 2,), one for each inner strike, in the currency of the calls.
    """
    k = array("strike", strike, ndim=1, min_length=3).astype(np.float64)
    c = array("call", call, ndim=1, min_length=3).astype(np.float64)
    paired("call", call, strike)
    if (np.diff(k) <= 0).any() or k[0] <= 0:
        raise ArgumentError("strike", strike, "positive strikes that rise")
    if len(c) != len(k):
        raise ArgumentError("call", call, f"one price for each of the {len(k)} strikes")
    weight = (k[2:] - k[1:-1]) / (k[2:] - k[:-2])
    return weight * c[:-2] + (1.0 - weight) * c[2:] - c[1:-1]


def calendars(years: Any, volatility: Any) -> np.ndarray:
    """Return how total variance σ² T grows from expiry to expiry: ≥ 0, or free money.

    Args:
        years: (n,) rising, at least two.
        volatility: (n, m) implied, row by expiry, column by forward moneyness strike / forward.

    Returns:
        (n − 1, m); a negative entry is a calendar spread that costs less than nothing.
    """
    t = array("years", years, ndim=1, min_length=2).astype(np.float64)
    v = array("volatility", volatility, ndim=2).astype(np.float64)
    paired("volatility", volatility, years)
    if (np.diff(t) <= 0).any() or t[0] < 0 or t[-1] > LONGEST:
        raise ArgumentError("years", years, f"times to expiry from 0 to {LONGEST:g} that rise")
    if len(v) != len(t) or v.min() < 0:
        raise ArgumentError("volatility", volatility, f"a row >= 0 for each of {len(t)} expiries")
    return np.diff(v * v * t[:, None], axis=0)


# ---- What a hedge paid.


def hedge(price: Any, units: Any, *, costs: Costs | None = None, funding: Any = None) -> Hedge:
    """Return what units of a perpetual, changed step by step, earned and paid on each path.

    Args:
        price: (..., n + 1) at which step t's order fills; the last closes what is left. Series have
            the stamps of the fills: ``units`` all but the last, ``funding`` all but the first.
        units: (..., n) held from fill t to fill t + 1, decided on what was known before fill t.
        costs: taker fee and slippage of each order; none: ``Costs()``.
        funding: rates (..., n) paid at fill t + 1 on what was held into it, or None.

    Returns:
        Gains, fees (slippage included), funding and net of both, each (...,).

    Raises:
        ArgumentError: prices that are not positive, NaN, shapes that do not go together, rates of 1
            and more, stamps that do not rise or are not those of the fills, or a frame.
    """
    for name, x in (("price", price), ("units", units), ("funding", funding)):
        _unframed(name, x)
    p = array("price", price, min_length=2, ordered=True).astype(np.float64)
    if isinstance(price, pd.Series):
        paired("units", units, price.iloc[:-1])
        paired("funding", funding, price.iloc[1:])
    u = array("units", units, ordered=True).astype(np.float64)
    if p.min() <= 0 or p.max() > HIGHEST:
        raise ArgumentError("price", float(p.min()), f"prices above 0 and up to {HIGHEST:g}")
    if np.abs(u).max() > HIGHEST or u.shape[-1] != p.shape[-1] - 1:
        raise ArgumentError("units", units, f"{p.shape[-1] - 1} finite numbers for each path")
    if costs is not None and not isinstance(costs, Costs):
        raise ArgumentError("costs", costs, "a Costs, or None for the usual ones")
    rates = array("funding", [0.0] if funding is None else funding, ordered=True).astype(np.float64)
    if np.abs(rates).max() >= 1 or (funding is not None and rates.shape[-1] != u.shape[-1]):
        raise ArgumentError("funding", funding, f"{u.shape[-1]} decimal rates below 1")
    parts = {"price": p[..., :1], "units": u[..., :1], "funding": rates[..., :1]}
    _together(**parts)
    charged = (costs or Costs()).rates()
    nothing = np.zeros((*u.shape[:-1], 1))
    traded = np.abs(np.diff(np.concatenate([nothing, u, nothing], axis=-1), axis=-1))
    gross = (u * np.diff(p, axis=-1)).sum(axis=-1)
    fees = (traded * p).sum(axis=-1) * (charged.fee + charged.slippage)
    paid = (u * p[..., 1:] * rates).sum(axis=-1)
    gross, fees, paid = np.broadcast_arrays(gross, fees, paid)
    return Hedge(gross, fees, paid, gross - fees - paid)


def expected_shortfall(profits: Any, share: float = 0.05) -> Any:
    """Return the mean loss of the worst ``share`` of profits (..., n), as a positive number (...).

    Also called CVaR. The worst share · n values count, the last of them in part.
    """
    x = np.sort(array("profits", profits).astype(np.float64), axis=-1)
    count = number("share", share, 0.0, 1.0, above=True) * x.shape[-1]
    weight = np.clip(count - np.arange(x.shape[-1]), 0.0, 1.0)
    return (-(x * weight).sum(axis=-1) / count)[()]
