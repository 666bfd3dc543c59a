"""What chapter 27's study is made of: markets, an agent that learns a size, plain sizes beside it.

`sizing_real` imports it; it runs nothing by itself. Bars are of eight hours, so that funding falls
on their opens. What is decided after bar t is filled at the open of t + 1. Whatever is tested, an
agent or a rule, is judged by `backtest.run` on its positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV

from setrade import backtest, candles, evidence, metrics, risk, sizing
from setrade.backtest import Costs
from setrade.costs import FREE
from setrade.study import Data, StudyError
from setrade.toys import two_states

try:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:  # pragma: no cover
    raise StudyError("this study needs stable-baselines3: pip install setrade[rl]") from error

YEAR = 365 * 3.0  # bars
HALFLIFE, TARGET, PAST = 27.0, 0.4, 270  # of volatility targeting, a year; bars of rolling Kelly
COINS = ("btc", "eth", "sol")
FOLDS = (("2022-07-01", "2023-01-01", "2024-01-01"), ("2023-07-01", "2024-01-01", "2025-01-01"))
ACCOUNTS, LENGTH, SCALE = 256, 128, 100.0  # of training; rewards are multiplied by the last
SETTING: dict[str, Any] = {
    "n_steps": 16, "batch_size": 1024, "n_epochs": 4, "gamma": 0.9, "gae_lambda": 0.9,
    "learning_rate": 1e-3, "policy": {"net_arch": [64, 64], "log_std_init": -1.0},
}  # fmt: skip


@dataclass(frozen=True)
class Market:
    """Bars, what is known after each, and where training, validation and test part."""

    candles: pd.DataFrame
    features: pd.DataFrame
    funding: pd.Series | None
    costs: Costs
    folds: tuple[tuple[int, int, int], ...]  # begin of validation, begin and end of test

    def part(self, first: int, stop: int) -> dict[str, Any]:
        """Return bars [first, stop) as an environment takes them."""
        rates = self.funding
        bars = self.candles.iloc[first:stop]
        if rates is not None:
            rates = rates.loc[bars.index[0] : bars.index[-1]]
            rates = None if rates.empty else rates
        known = self.features.iloc[first:stop]
        return {"candles": bars, "features": known, "funding": rates, "costs": self.costs}

    def spans(self, fold: int) -> tuple[slice, slice, slice]:
        """Return the bars that are trained on, validated on and tested on.

        Each begins one bar early: the decision after that bar is the first to be filled.
        """
        valid, begin, stop = self.folds[fold]
        first = int(np.isfinite(self.features.to_numpy()).all(1).argmax())
        return slice(first, valid - 1), slice(valid - 1, begin), slice(begin - 1, stop)


@lru_cache(maxsize=4)
def perpetual(coin: str, folder: Path) -> Market:
    """Return a perpetual of Bybit; SOL's funding before December 2023 is the others' mean."""
    bars = Data.of(folder / f"bybit_{coin}usdt_perp_1h.parquet").read()
    start = max(pd.Timestamp("2021-01-01", tz="UTC"), bars.index[0].ceil("1D"))
    bars = candles.resample(bars.loc[start:], "8h")
    rates = {}
    for name in COINS:
        read = Data.of(folder / f"bybit_{name}usdt_funding_8h.parquet").rates()
        by_bar = read.groupby(pd.DatetimeIndex(read.index).round("8h")).sum()
        rates[name] = by_bar.reindex(bars.index)
    others = pd.concat([rates[c] for c in COINS if c != coin], axis=1).mean(axis=1)
    paid = rates[coin].fillna(others).fillna(0.0)
    places = bars.index.searchsorted
    folds = tuple(tuple(int(places(pd.Timestamp(t, tz="UTC"))) for t in fold) for fold in FOLDS)
    return Market(bars, sizing.observations(bars), paid, Costs(), folds)  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def planted(n: int = 46_000) -> tuple[Market, np.ndarray]:
    """Return the market of two states, which are seen, and the best position in each."""
    made = two_states(n, seed=0)
    seen = (2.0 * made.state - 1.0).to_frame()
    folds = ((n - 6_000, n - 4_000, n),)
    return Market(made.candles, seen, None, Costs(), folds), made.best()


def shuffled(m: Market, fold: int, seed: int) -> Market:
    """Return a market whose bars before the test stand in random order: nothing to learn."""
    rng, (valid, begin, _) = np.random.default_rng(seed), m.folds[fold]
    order = np.r_[rng.permutation(valid), valid + rng.permutation(begin - valid)]
    bars = m.candles.iloc[:begin]
    before = np.r_[bars["open"].iloc[0], bars["close"].iloc[:-1]]
    prices = ["open", "high", "low", "close"]
    shape = np.log(bars[prices].to_numpy() / before[:, None])[order]
    base = np.r_[0.0, shape[:-1, 3].cumsum()] + np.log(before[0])
    moved = bars.assign(volume=bars["volume"].to_numpy()[order])
    moved[prices] = np.exp(base[:, None] + shape)
    moved["high"] = moved[prices].max(axis=1)
    moved["low"] = moved[prices].min(axis=1)
    paid = None if m.funding is None else m.funding.iloc[:begin]
    return replace(
        m, candles=moved, features=sizing.observations(moved), funding=paid,
        folds=((valid, begin, begin),),
    )  # fmt: skip


def with_effect(m: Market, size: float, seed: int) -> Market:
    """Return redrawn bars in which high volume foretells a rise, and low volume a fall."""
    bars = evidence.plant(m.candles, size, seed=seed, block=90.0)
    return replace(m, candles=bars, features=sizing.observations(bars))


# ---- The agent.


class Accounts(VecEnv):
    """A `SizingVectorEnv` as stable-baselines3 wants it."""

    def __init__(self, env: sizing.SizingVectorEnv, seed: int) -> None:
        self.env, self.begin = env, seed  # first: what comes next asks for an attribute
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Begin an episode in every account."""
        return self.env.reset(seed=self.begin)[0]

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the positions that are wanted."""
        self.wanted = actions

    def step_wait(self) -> Any:
        """Fill them."""
        seen, rewards, ruined, over, told = self.env.step(self.wanted)
        infos: list[dict[str, Any]] = [{} for _ in rewards]
        for i in np.flatnonzero(ruined | over):
            infos[i]["terminal_observation"] = told["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(over[i])
        return seen, (SCALE * rewards).astype(np.float32), ruined | over, infos

    def _count(self, indices: Any) -> int:
        return len(list(self._get_indices(indices)))

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, the same for all accounts."""
        return [getattr(self.env, attr_name, None)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> Any:
        """Call a method once, for all."""
        return [getattr(self.env, method_name)(*args, **kw)] * self._count(indices)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say that no account is wrapped."""
        return [False] * self._count(indices)


def follow(policy: Any, part: dict[str, Any]) -> np.ndarray:
    """Return the positions (n,) that a policy wants after each bar, without exploring; last 0."""
    env = sizing.SizingVectorEnv(1, **part)
    seen, told = env.reset(seed=0)
    wanted = np.zeros(len(part["candles"]), np.float32)
    *hidden, last = [
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy())
        for layer in (*policy.mlp_extractor.policy_net, policy.action_net)
        if hasattr(layer, "weight")
    ]
    for t in range(int(told["bar"][0]), len(wanted) - 1):
        x = seen
        for weight, bias in hidden:  # in NumPy: a bar at a time, torch's calls cost more than sums
            x = np.tanh(x @ weight + bias)
        wanted[t] = np.clip((x @ last[0] + last[1])[0, 0], -1, 1)
        seen, _, ruined, _, _ = env.step(wanted[t : t + 1])
        if ruined[0]:
            break  # nothing is held any more
    return wanted.astype(np.float64)


@dataclass
class Fit:
    """A trained agent's positions on the test, and its growth a bar on validation.

    ``constant`` is the growth there of the constant position that was best in training.
    """

    positions: np.ndarray
    growth: float
    constant: float
    kept_at: int


def fit(m: Market, fold: int, seed: int, steps: int, checks: int = 8) -> Fit:
    """Train PPO on a fold, keep the weights that grew most on validation, and test them."""
    torch.set_num_threads(1)
    train, valid, test = (m.part(s.start, s.stop) for s in m.spans(fold))
    length = min(LENGTH, len(train["candles"]) - 2)
    env = Accounts(sizing.SizingVectorEnv(ACCOUNTS, length=length, **train), seed)
    keys = {k: v for k, v in SETTING.items() if k != "policy"}
    model = PPO("MlpPolicy", env, seed=seed, device="cpu", policy_kwargs=SETTING["policy"], **keys)
    best, kept, at = -np.inf, np.zeros(len(test["candles"])), 0
    state: dict[str, Any] = model.policy.state_dict()
    for check in range(checks):
        model.learn(steps // checks, reset_num_timesteps=check == 0)
        grown = growth(played(follow(model.policy, valid), valid))
        if grown > best:
            state = {k: v.clone() for k, v in model.policy.state_dict().items()}
            best, at = grown, check + 1
    model.policy.load_state_dict(state)
    if len(test["candles"]) > 2:
        kept = follow(model.policy, test)
    held = fixed(train)
    told = growth(played(np.full(len(valid["candles"]), held), valid))
    return Fit(kept, best, told, at)


# ---- Judging, and the plain sizes.


def played(position: np.ndarray, part: dict[str, Any], *, free: bool = False) -> np.ndarray:
    """Return the returns (n − 1,) of positions (n,), costs and funding paid, or gross."""
    paid: dict[str, Any] = {"costs": FREE} if free else {k: part[k] for k in ("costs", "funding")}
    done = backtest.run(part["candles"], position, rebalance=True, **paid)
    return metrics.returns(done.equity.to_numpy())


def growth(returns: np.ndarray) -> float:
    """Return the mean log return of a bar; what is ruined counts as a millionth."""
    return float(np.log(np.maximum(1.0 + returns, sizing.FLOOR)).mean())


def fixed(part: dict[str, Any]) -> float:
    """Return the constant position that grows most on these bars."""
    grid = np.linspace(-1, 1, 21)
    n = len(part["candles"])
    return float(max(grid, key=lambda f: growth(played(np.full(n, f), part))))


def plain(m: Market, fold: int) -> dict[str, np.ndarray]:
    """Return the positions of the plain sizes on a fold's test."""
    train, valid, test = m.spans(fold)
    close, n = m.candles["close"], len(m.candles)
    target = risk.by_volatility(np.ones(n), close.to_numpy(), TARGET, YEAR, halflife=HALFLIFE)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "nothing": lambda: np.zeros(n),
        "buy and hold": lambda: np.ones(n),
        "fixed": lambda: np.full(n, fixed(m.part(train.start, train.stop))),
        "volatility": lambda: target,
        "Kelly": lambda: sizing.rolling_kelly(close, PAST),
        "half Kelly": lambda: sizing.rolling_kelly(close, PAST, fraction=0.5),
    }
    out = {name: make()[test] for name, make in ways.items()}
    return out | {k: v[test] for k, v in forecast(m, train.start, valid.stop).items()}


def forecast(m: Market, first: int, stop: int) -> dict[str, np.ndarray]:
    """Return Kelly's positions (n,) on forecasts of the next return, fitted on bars [first, stop).

    The last two bars do not count: what follows them is not known yet.
    """
    x = np.nan_to_num(m.features.to_numpy())
    ahead = (m.candles["open"].shift(-2) / m.candles["open"].shift(-1) - 1).to_numpy()
    rows = slice(first, stop - 2)
    steps = np.diff(np.log(m.candles["close"].to_numpy()), prepend=np.nan)
    variance = pd.Series(steps**2).ewm(halflife=HALFLIFE).mean().to_numpy()
    usual = np.maximum(np.nan_to_num(variance), 1e-8)
    trees = HistGradientBoostingRegressor(
        max_iter=60, max_depth=3, learning_rate=0.05, min_samples_leaf=60, random_state=0
    )
    rates, out = m.costs.rates(), {}
    for name, model in (("linear", RidgeCV(np.logspace(-2, 4, 7))), ("trees", trees)):
        said = model.fit(x[rows], ahead[rows]).predict(x)
        out[name] = np.clip(sizing.kelly(said, usual, cost=rates.fee + rates.slippage), -1, 1)
    return out
