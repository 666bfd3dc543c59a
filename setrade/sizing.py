"""How much to hold: Kelly's answer, and the backtest's own account as an environment to learn in.

`SizingEnv` is one account for any agent that speaks Gymnasium, `SizingVectorEnv` many at once.
Both move by the engine's own steps (`backtest.engine`), so that what an agent earned in training
is what `backtest.run` would have said of the same positions.

Source: M. Towers et al., Gymnasium: A Standard Interface for Reinforcement Learning Environments
(2024).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pandas as pd
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from setrade import candles as bars
from setrade.backtest.engine import (
    ACCOUNT,
    LEDGER,
    FillOptions,
    bar_at,
    close_bar,
    new_accounts,
    trade_bar,
)
from setrade.backtest.result import check_tick, instance, market, plain
from setrade.compiled import kernel
from setrade.costs import Costs
from setrade.errors import ArgumentError, array, flag, integer, number, paired, same_index, timed
from setrade.risk import Risk

__all__ = [
    "SizingEnv", "SizingVectorEnv", "kelly", "kelly_binary", "observations", "rolling_kelly",
]  # fmt: skip

BOUND = 10.0  # what lies beyond is shown to the agent as this
FLOOR = 1e-6  # an account that kept less than this share of its start is ruined

# ---- What is known without learning.


def kelly_binary(chance: float, odds: float = 1.0) -> float:
    """Return the share of the account to stake on a bet, so that its logarithm grows fastest.

    Args:
        chance: of winning, in [0, 1].
        odds: won on each unit staked; a lost bet loses the stake.

    Returns:
        chance − (1 − chance) / odds, and 0 where that is negative: such a bet is left alone.

    Source: J. L. Kelly, A New Interpretation of Information Rate, Bell System Technical Journal 35
    (1956).
    """
    chance, odds = number("chance", chance, 0.0, 1.0), number("odds", odds, 0.0, above=True)
    return max(chance - (1.0 - chance) / odds, 0.0)


def _returns(name: str, x: Any) -> np.ndarray:
    """Return figures of returns as an array; a number, or an array without axes, is one return."""
    alone = np.isscalar(x) or getattr(x, "ndim", 1) == 0
    return array(name, np.atleast_1d(x) if alone else x).astype(np.float64)


def kelly(mean: Any, variance: Any, *, cost: float = 0.0) -> np.ndarray:
    """Return Kelly's position for small returns: mean over variance, less what holding costs.

    Args:
        mean: expected return of a bar (any shape), simple, not logarithmic.
        variance: of that return, above 0, of a shape that fits.
        cost: what a position of 1 costs a bar: a round trip divided by the bars that it lasts.

    Returns:
        ``sign(mean) · max(|mean| − cost, 0) / variance``, not cut to any limit.

    Source: E. O. Thorp, The Kelly Criterion in Blackjack, Sports Betting, and the Stock Market,
    Handbook of Asset and Liability Management 1 (2006), section 7.
    """
    m, v = _returns("mean", mean), _returns("variance", variance)
    paired("variance", variance, mean)
    frames = isinstance(mean, pd.DataFrame) and isinstance(variance, pd.DataFrame)
    if frames and list(mean.columns) != list(variance.columns):
        raise ArgumentError("variance", variance, "the columns of mean, in their order")
    if v.min() <= 0 or (v.shape != m.shape and v.size > 1):
        raise ArgumentError("variance", variance, f"numbers above 0, one or of shape {m.shape}")
    kept = np.maximum(np.abs(m) - number("cost", cost, 0.0), 0.0)
    with np.errstate(over="ignore"):
        held = np.sign(m) * kept / v
    if not np.isfinite(held).all():
        raise ArgumentError("variance", variance, "numbers by which the mean can be divided")
    return held.reshape(np.shape(mean))


def rolling_kelly(
    close: Any, lookback: int, *, fraction: float = 1.0, limit: float = 1.0
) -> np.ndarray:
    """Return positions (n,) by Kelly's rule, with mean and variance of the last returns.

    Args:
        close: (n,) prices above 0; a Series keeps the law of the index, without a gap.
        lookback: returns that mean and variance are taken from, at least 2.
        fraction: of Kelly's position that is held, in (0, 1]; 0.5 is «half Kelly».
        limit: largest position; what is above is cut to it.

    Returns:
        (n,) float64 after each bar; 0 while there is too little history, or on a flat price.
    """
    if isinstance(close, pd.Series):
        timed("close", close, needed=False, even=True)
    x = array("close", close, ndim=1, min_length=2).astype(np.float64)
    if x.min() <= 0:
        raise ArgumentError("close", float(x.min()), "prices above 0")
    lookback = integer("lookback", lookback, 2)
    fraction = number("fraction", fraction, 0.0, 1.0, above=True)
    limit = number("limit", limit, 0.0, 100.0, above=True)
    window = pd.Series(x).pct_change().rolling(lookback)
    mean, spread = window.mean().to_numpy(), window.std().to_numpy()
    known = spread > 1e-12  # equal returns leave rounding as their spread
    ratio = np.divide(mean, spread**2, out=np.zeros(len(x)), where=known)
    return np.clip(fraction * ratio, -limit, limit)


def observations(
    candles: pd.DataFrame, *, scales: tuple[int, ...] = (1, 3, 9, 27), halflife: float = 27.0
) -> pd.DataFrame:
    """Return what an agent may know of the market after each bar, in units of its volatility.

    Columns ``move_k``: log return of the last k bars over v √k, where v² is the exponentially
    weighted mean of squared returns; ``volatility``: log of v over the same with eight times the
    half-life; ``volume``: log of the bar's volume over the median of the 24 before it. All are cut
    to ±5; on a flat price moves are 0, and so is what compares 0 with 0.

    Args:
        candles: n checked bars.
        scales: bars of each move, at least one.
        halflife: bars after which a squared return counts half in v.

    Returns:
        (n, len(scales) + 2) float64, NaN in the first max(24, longest scale) rows.
    """
    bars.check(candles)
    if not isinstance(scales, tuple | list) or not scales:
        raise ArgumentError("scales", scales, "a tuple of bars, at least one")
    steps = [integer("scales", s, 1) for s in scales]
    if len(set(steps)) < len(steps):
        raise ArgumentError("scales", scales, "each number of bars once")
    if len(candles) < max(steps):
        raise ArgumentError(
            "candles", len(candles), f"{max(steps)} bars or more, the longest scale"
        )
    halflife = number("halflife", halflife, 0.0, above=True)
    price = pd.Series(np.log(candles["close"].to_numpy(np.float64)), candles.index)
    square = price.diff() ** 2
    v, slow = (square.ewm(halflife=h).mean() ** 0.5 for h in (halflife, 8 * halflife))
    out = {f"move_{k}": price.diff(k) / (v.where(v > 1e-12, math.inf) * k**0.5) for k in steps}
    volume = candles["volume"].astype(float)
    usual = volume.rolling(24).median().shift(1)
    for name, top, base in (("volatility", v, slow), ("volume", volume, usual)):
        tiny = 1e-12
        out[name] = np.log((top + tiny) / (base + tiny))
    table = pd.DataFrame(out, candles.index).clip(-5.0, 5.0)
    table.iloc[: max(24, *steps)] = np.nan
    return table


# ---- The environment: the engine's account, one bar a step.


class _Reading(NamedTuple):
    """What the step reads beside the accounts."""

    market: Any
    features: np.ndarray
    rules: Any
    rates: Any
    options: FillOptions


@kernel(error_model="numpy")
def look(a, row, close: float, out) -> None:
    """Write what the agent sees: the market's row, the position held, and its open profit."""
    k = len(row)
    out[:k] = row
    worth = a.equity if a.equity > 0 else math.inf
    out[k] = min(max(a.units * close / worth, -BOUND), BOUND)
    out[k + 1] = min(max(a.units * (close - a.entry) / worth, -BOUND), BOUND)


@kernel(error_model="numpy")
def advance(accounts, at, wants, m, features, rules, rates, options, rows, seen, rewards) -> None:
    """Fill each account's wish at the open of its next bar, and value it at that bar's close."""
    opens, high, low, close, atr, day = m.open, m.high, m.low, m.close, m.atr, m.day
    fund_open, fund_inside = m.funding_open, m.funding_inside
    for i in range(len(accounts)):
        a, t = accounts[i], at[i] + 1
        before = max(a.equity, FLOOR)
        bar = bar_at(t, opens, high, low, close, atr, day, fund_open, fund_inside)
        trade_bar(a, bar, wants[i], False, rules, rates, options, rows[i : i + 1])
        a.equity = a.cash + a.units * (close[t] - a.entry)
        close_bar(a, bar, rules)
        rewards[i] = math.log(max(a.equity, FLOOR) / before)
        look(a, features[t], close[t], seen[i])
        at[i] = t


class _Desk:
    """The accounts of an environment, and the bars that they walk along."""

    def __init__(
        self, count: int, candles: pd.DataFrame, features: Any, costs: Costs | None,
        funding: pd.Series | None, risk: Risk | None, short: bool, rebalance: bool,
        length: int | None,
    ) -> None:  # fmt: skip
        charged, limits = instance("costs", costs, Costs), instance("risk", risk, Risk)
        stops, days = limits.stop_atr is not None, limits.daily_loss is not None
        m = market(candles, funding, limits, needs_atr=stops, needs_days=days)
        prices = {k: getattr(m, k).copy() for k in ("open", "high", "low", "close")}
        m = m._replace(**prices)  # no views: what becomes of the caller's frame changes no account
        check_tick(charged, m)
        known = observations(candles) if features is None else features
        seen, self.first = _seen(known, candles.index)
        options = FillOptions(-1.0, 1.0, flag("rebalance", rebalance), False, False)
        self.bars = _Reading(m, seen, limits.rules(), charged.rates(), options)
        self.last = len(seen) - 1
        most = self.last - self.first
        if most < 1:
            raise ArgumentError("features", features, f"known before the last of {len(seen)} bars")
        self.free = length is not None  # an episode begins anywhere
        self.length = most if length is None else integer("length", length, 1, most)
        top = float(limits.max_position)
        self.low = -top if flag("short", short) else 0.0
        self.action_space = spaces.Box(np.float32(self.low), np.float32(top), (1,), np.float32)
        width = seen.shape[1] + 2
        self.observation_space = spaces.Box(-BOUND, BOUND, (width,), np.float32)
        self.accounts = np.zeros(count, ACCOUNT)
        self.at, self.stop = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.rows, self.seen = np.zeros(count, LEDGER), np.zeros((count, width), np.float32)
        self.rewards = np.zeros(count)

    def begin(
        self, which: np.ndarray, rng: np.random.Generator, options: dict[str, Any] | None
    ) -> None:
        """Give the accounts ``which`` (k,) fresh money, each at a bar of its own."""
        asked = {} if options is None else options
        if not isinstance(asked, dict) or asked.keys() - {"start"}:
            raise ArgumentError("options", options, 'None, or {"start": bar}')
        start = asked.get("start")
        top = self.last - (self.length if self.free else 1)
        if start is not None:
            where = np.full(len(which), integer("start", start, self.first, top))
        elif self.free:
            where = rng.integers(self.first, top + 1, len(which))
        else:
            where = np.full(len(which), self.first)
        self.accounts[which] = new_accounts(len(which), 1.0)
        self.at[which] = where
        self.stop[which] = np.minimum(where + self.length, self.last)
        self.seen[which, :-2] = self.bars.features[where]
        self.seen[which, -2:] = 0.0

    def step(self, action: Any) -> tuple[np.ndarray, np.ndarray]:
        """Fill positions (n,) or (n, 1), checked; return who is ruined and whose time is over."""
        n, space = len(self.at), self.action_space
        wants = array("action", action, finite=False).astype(np.float64)
        low, high = float(space.low[0]), float(space.high[0])
        if wants.shape not in ((n, 1), (n,)):
            raise ArgumentError("action", action, f"positions of shape {(n, 1)} or {(n,)}")
        wants = plain(wants.reshape(n))
        if not (wants.min() >= low and wants.max() <= high):  # NaN fails both
            bad = wants[int(((wants >= low) & (wants <= high)).argmin())]
            raise ArgumentError("action", float(bad), f"positions in [{low:g}, {high:g}]")
        b = self.bars
        advance(
            self.accounts, self.at, wants, b.market, b.features, b.rules, b.rates, b.options,
            self.rows, self.seen, self.rewards,
        )  # fmt: skip
        ruined = self.accounts["equity"] <= FLOOR
        return ruined, (self.at >= self.stop) & ~ruined

    def info(self) -> dict[str, np.ndarray]:
        """Return worth, realised money, position held and bar of each account."""
        names = {"equity": self.accounts["equity"], "cash": self.accounts["cash"]}
        held = self.seen[:, -2].astype(np.float64)
        return {k: v.copy() for k, v in names.items()} | {"position": held, "bar": self.at.copy()}


def _seen(features: Any, index: pd.Index) -> tuple[np.ndarray, int]:
    """Return features (n, k) as float32 within ±10, and the first bar that knows them all."""
    if isinstance(features, pd.DataFrame | pd.Series) and not same_index(features.index, index):
        raise ArgumentError("features", features, "rows on the candles' own index")
    x = array("features", features, finite=False)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or len(x) != len(index):
        raise ArgumentError("features", features, f"{len(index)} rows, one a bar")
    known = np.asarray(np.isfinite(x).all(axis=1))
    first = int(known.argmax()) if known.any() else len(x)
    if not known[first:].all():
        bad = first + int(known[first:].argmin())
        allowed = f"finite once all are known (first fault at bar {bad}, {index[bad]})"
        raise ArgumentError("features", features, allowed)
    return plain(np.clip(x, -BOUND, BOUND).astype(np.float32)), first


class SizingEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One account that an agent sizes, bar by bar.

    *Observation* after bar t, float32: the features of bar t, the position held and its open
    profit, both over equity. *Action*: the position wanted, a fraction of equity, filled at the
    open of t + 1 with all costs. *Reward*: log of equity at the close of t + 1 over that at the
    close of t. An episode begins with 1 in cash. It is truncated at its last bar, and terminated
    when less than a millionth is left.

    Args:
        candles: n bars that pass `candles.check`; a hole is refused.
        features: (n, k) known after each bar, on the candles' index; None: `observations`. Rows
            may be NaN only at the start: no episode begins there. Cut to ±10.
        costs, funding, risk: as `backtest.run`. Stops by ATR know all bars, those before an
            episode too.
        short: whether positions below 0 are allowed.
        rebalance: trade back to the position wanted at every open; False: only when the wish
            changes, as `backtest.run` does if nothing is said.
        length: bars of an episode, which then begins at a random bar; None: all bars.

    Raises:
        CandleError, ArgumentError: as `backtest.run`; or features of another index.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(
        self, candles: pd.DataFrame, *, features: Any = None, costs: Costs | None = None,
        funding: pd.Series | None = None, risk: Risk | None = None, short: bool = True,
        rebalance: bool = True, length: int | None = None,
    ) -> None:  # fmt: skip
        self.desk = _Desk(1, candles, features, costs, funding, risk, short, rebalance, length)
        self.action_space, self.observation_space = (
            self.desk.action_space, self.desk.observation_space,
        )  # fmt: skip
        self.running = False

    def _told(self) -> dict[str, float]:
        return {name: value[0].item() for name, value in self.desk.info().items()}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; ``options={"start": bar}`` says where."""
        super().reset(seed=None if seed is None else integer("seed", seed, 0))
        self.desk.begin(np.arange(1), self.np_random, options)
        self.running = True
        return self.desk.seen[0].copy(), self._told()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Fill a position (1,) at the next open; return what follows, as Gymnasium orders it."""
        if not self.running:
            raise ArgumentError("action", action, "none before reset(), or after an episode's end")
        given = array("action", action, finite=False)
        if given.shape != (1,):
            raise ArgumentError("action", action, "one position, shape (1,)")
        ruined, over = self.desk.step(given)
        self.running = not (ruined[0] or over[0])
        reward = float(self.desk.rewards[0])
        return self.desk.seen[0].copy(), reward, bool(ruined[0]), bool(over[0]), self._told()


class SizingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many accounts of a `SizingEnv`, moved by one compiled loop.

    An account whose episode ended begins a new one in the same step: the observation returned is
    the new one's first, and ``infos["final_obs"]`` holds the last of the old one's in the rows
    that ``infos["_final_obs"]`` marks. ``infos`` says equity, cash, position and bar *before* that.

    Args:
        num_envs: accounts.
        candles, features, costs, funding, risk, short, rebalance, length: as `SizingEnv`.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, num_envs: int, candles: pd.DataFrame, *, features: Any = None,
        costs: Costs | None = None, funding: pd.Series | None = None, risk: Risk | None = None,
        short: bool = True, rebalance: bool = True, length: int | None = None,
    ) -> None:  # fmt: skip
        self.num_envs = integer("num_envs", num_envs, 1, 2**20)
        self.desk = _Desk(
            self.num_envs, candles, features, costs, funding, risk, short, rebalance, length
        )
        self.single_action_space = self.desk.action_space
        self.single_observation_space = self.desk.observation_space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every account; ``options={"start": bar}`` says where."""
        if seed is not None:
            self._np_random, self._np_random_seed = seeding.np_random(integer("seed", seed, 0))
        self.desk.begin(np.arange(self.num_envs), self.np_random, options)
        self.running = True
        return self.desk.seen.copy(), self.desk.info()

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Fill positions (num_envs, 1) or (num_envs,) at the next opens."""
        if not self.running:
            raise ArgumentError("action", actions, "none before reset()")
        ruined, over = self.desk.step(actions)
        rewards, infos = self.desk.rewards.copy(), self.desk.info()
        ended = np.flatnonzero(ruined | over)
        if len(ended):
            infos |= {"final_obs": self.desk.seen.copy(), "_final_obs": ruined | over}
            self.desk.begin(ended, self.np_random, None)
        return self.desk.seen.copy(), rewards, ruined, over, infos


gymnasium.register(
    "setrade/Sizing-v0", "setrade.sizing:SizingEnv",
    vector_entry_point="setrade.sizing:SizingVectorEnv",
)  # fmt: skip
