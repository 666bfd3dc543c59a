"""What chapter 26's study is made of: markets of many assets, gates over them, plain ways beside.

`portfolio_real` imports it; it runs nothing by itself. Bars are of eight hours. What is decided
after bar t is filled at the open of t + 1 and held to the open of t + 2, funding included.

Gates start out equal, so that training begins at the plain portfolio it is held against: the
weights of inverse volatility where nothing is short, and nothing at all where assets are short.
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
from panel_real import load
from scipy.optimize import nnls
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from setrade import candles, portfolio, se
from setrade.costs import Costs
from setrade.evidence.multiple import histories
from setrade.study import Data
from setrade.training import seed_everything

LOOKBACK, SCALES = 21, (3, 9, 21)  # bars of a window: a week; squeezed over 1, 3 and 7 days
HALFLIFE = 21.0  # bars, of the volatility that is forecast
PAST = 90  # bars that a covariance is estimated from: 30 days
FIRST = 2 * LOOKBACK  # bars before the first decision
WEEK = 21  # bars after which a covariance is estimated anew
AVERSION = 2.0  # to variance, in the utility that nets are trained on
YEAR = 365 * 3.0  # bars
DUST = 1e-6  # weights below are what rounding leaves of gates that are all alike
PANEL = "binance_spot_panel_1h_2024.parquet"
PERPETUALS = ("btc", "eth", "sol")


@dataclass(frozen=True)
class Market:
    """Opens, closes, traded value and funding (n, m) of assets that are there at each bar."""

    opens: pd.DataFrame
    closes: pd.DataFrame
    value: pd.DataFrame
    funding: pd.DataFrame
    costs: Costs
    begins: tuple[str, ...]  # of the folds that are tested, and the end of the last
    left_out: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Return what a trade costs, fee and slippage."""
        charged = self.costs.rates()
        return charged.fee + charged.slippage

    def fold(self, number: int) -> tuple[int, int, int]:
        """Return the bars where validation and test begin, and where the test ends.

        Training ends, and validation ends, two bars early: what they learn from is then known.
        """
        begin, stop = (self.opens.index.searchsorted(pd.Timestamp(t, tz="UTC"))
                       for t in self.begins[number : number + 2])  # fmt: skip
        return FIRST + 3 * (int(begin) - FIRST) // 4, int(begin), int(stop)


def spot_panel(path: Path) -> Market:
    """Return the coins that were listed on the panel's first day, which is known on that day.

    That the panel holds survivors of September 2024 only is not: nothing here can mend it.
    """
    panel = load(path)
    days = int(panel.time.searchsorted(pd.Timestamp("2024-09-06", tz="UTC"))) // 8 * 8
    x = panel.values[:, :, :days]
    index = pd.DatetimeIndex(panel.time[:days:8].to_numpy(), tz="UTC", name="time")
    late = ~np.isfinite(x).all((1, 2))
    names = np.array(panel.coins)

    def table(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values[~late].T, index, names[~late])

    return Market(
        table(x[:, 0, ::8]), table(x[:, 3, 7::8]),
        table((x[:, 3] * x[:, 4]).reshape(len(x), -1, 8).sum(2)), table(0 * x[:, 0, ::8]),
        Costs(fee_bps=10.0, slippage_bps=1.0),
        ("2024-05-01", "2024-06-01", "2024-07-01", "2024-08-01", "2024-09-06"),
        tuple(names[late].tolist()),
    )  # fmt: skip


def perpetuals(folder: Path) -> Market:
    """Return BTC, ETH and SOL of Bybit since SOL is there; its funding before 2023-12 is a guess.

    The guess is the mean of the other two.
    """
    tables: dict[str, list[pd.Series]] = {name: [] for name in ("open", "close", "value", "rate")}
    for coin in PERPETUALS:
        bars = Data.of(folder / f"bybit_{coin}usdt_perp_1h.parquet").read()
        wide = candles.resample(bars.loc["2021-10-16":], "8h")
        rates = Data.of(folder / f"bybit_{coin}usdt_funding_8h.parquet").rates()
        by_bar = rates.groupby(pd.DatetimeIndex(rates.index).round("8h")).sum()
        tables["open"].append(wide["open"])
        tables["close"].append(wide["close"])
        tables["value"].append(wide["close"] * wide["volume"])
        tables["rate"].append(by_bar.reindex(wide.index))
    made = {name: pd.concat(x, axis=1, keys=PERPETUALS) for name, x in tables.items()}
    rate = made["rate"]
    rate["sol"] = rate["sol"].fillna(rate[["btc", "eth"]].mean(axis=1))
    return Market(
        made["open"], made["close"], made["value"], rate, Costs(),
        ("2022-07-01", "2023-01-01", "2023-07-01", "2024-01-01", "2024-07-01", "2025-01-01"), (),
    )  # fmt: skip


MARKETS = ("planted", "panel", "perpetuals")


@lru_cache(maxsize=3)
def market(name: str, data: Path) -> Market:
    """Return one of `MARKETS`, from files in the folder ``data``."""
    if name == "planted":
        return factor_market(3000, 12, seed=0)[0]
    return spot_panel(data / PANEL) if name == "panel" else perpetuals(data)


# ---- An effect of known size, planted in redrawn bars.


def told(kind: str, week: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return +1 or -1 (m,) for each asset's next move, by the last week (bars, m) of all."""
    x = week.mean(axis=0)
    return np.sign(x - x.mean() if kind == "own" else half * (half @ x))


def halves(m: int, seed: int) -> np.ndarray:
    """Return which half each asset belongs to, +1 or -1 (m,)."""
    return np.random.default_rng(seed).permutation(np.where(np.arange(m) % 2, 1.0, -1.0))


def plant(market: Market, kind: str, size: float, seed: int) -> Market:
    """Return a market whose history is redrawn in stretches of a week, with an effect planted.

    Each stretch is turned upside down or not at random, so that no asset leans to one side. Then
    each bar's move from open to close is shifted by ``size`` of the asset's volatility, up or down
    as the week before says: ``"own"``: as the asset did against the others; ``"rotation"``: as its
    half of the assets did against the other half. Halves are drawn by the seed.
    """
    rng, closes = np.random.default_rng(seed), market.closes.to_numpy()
    n, m = closes.shape
    rows = histories(n - 1, float(LOOKBACK), 1, rng)[0] + 1
    stretch = np.cumsum(np.r_[True, np.diff(rows) != 1])
    sign = np.where(rng.random(n) < 0.5, -1.0, 1.0)[stretch][:, None]
    opens = market.opens.to_numpy()
    gap = sign * np.log(opens[rows] / closes[rows - 1])
    body = sign * np.log(closes[rows] / opens[rows])
    half = halves(m, seed)
    spread = np.sqrt(np.mean((gap + body) ** 2, axis=0))
    for t in range(LOOKBACK, n - 1):
        body[t] += size * spread * told(kind, (gap + body)[t - LOOKBACK : t] / spread, half)
    last = closes[0] * np.exp(np.cumsum(gap + body, axis=0))
    first = np.concatenate([closes[:1], last[:-1]]) * np.exp(gap)
    index, names = market.closes.index, market.closes.columns
    return replace(
        market, opens=pd.DataFrame(np.concatenate([opens[:1], first]), index, names),
        closes=pd.DataFrame(np.concatenate([closes[:1], last]), index, names),
        funding=0 * market.funding,
    )  # fmt: skip


def factor_market(n: int, m: int, seed: int, edge: float = 0.002) -> tuple[Market, np.ndarray]:
    """Return a market of two halves that take turns, and which one leads, +1 or -1 (n,).

    A bar's move is that of the market, plus ``edge`` up in the half that leads and down in the
    other, plus noise of an asset's own. The lead changes hands once in 60 bars on average. What
    leads in bar t + 1 is not known after bar t: it has to be told from the bars before.
    """
    rng = np.random.default_rng(seed)
    lead = np.cumprod(np.where(rng.random(n) < 1 / 60, -1.0, 1.0))
    half = np.where(np.arange(m) < m // 2, 1.0, -1.0)
    moves = rng.normal(0, 0.01, (n, 1)) + edge * lead[:, None] * half
    moves = moves + rng.normal(0, 1, (n, m)) * np.linspace(0.01, 0.03, m)[rng.permutation(m)]
    index = pd.date_range("2022-01-01", periods=n, freq="8h", tz="UTC", name="time")
    names = [f"{'AB'[int(h < 0)]}{i}" for i, h in enumerate(half)]
    closes = pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index, names)
    opens = closes.shift(1).fillna(100.0)
    at = [n // 2, 3 * n // 4, n - 1]
    folds = tuple(str(index[i].tz_localize(None)) for i in at)
    return Market(opens, closes, 1e9 + 0 * closes, 0 * closes, Costs(), folds, ()), lead


# ---- What is known after each bar.


@dataclass(frozen=True)
class Known:
    """What nets and rules see, and what they are judged by.

    ``windows`` (n, m, LOOKBACK) are returns in units of the volatility that was known before them,
    ``squeezed`` (n, m, scales) their means at each of `SCALES` times its root; ``base`` (n, m) the
    weights of inverse volatility; ``ahead`` (n, m) what an asset earns from the open of t + 1 to
    that of t + 2 after funding, NaN at the end.
    """

    windows: np.ndarray
    squeezed: Tensor
    base: np.ndarray
    ahead: np.ndarray


def log_moves(market: Market) -> pd.DataFrame:
    """Return log returns from close to close (n, m), 0 at the first bar."""
    closes = market.closes
    return pd.DataFrame(np.log(closes), closes.index, closes.columns).diff().fillna(0.0)


def known(market: Market) -> Known:
    """Return what is known after each bar; only bars from `FIRST` on are complete."""
    moves = log_moves(market)
    squares = (moves**2).ewm(halflife=HALFLIFE).mean()
    scaled = (moves / squares.shift(1) ** 0.5).clip(-5, 5).fillna(0.0).to_numpy()
    wide = np.lib.stride_tricks.sliding_window_view(scaled, LOOKBACK, axis=0)
    windows = np.zeros((*scaled.shape, LOOKBACK), np.float32)
    windows[LOOKBACK - 1 :] = wide
    inverse = 1 / np.maximum(squares.to_numpy() ** 0.5, 1e-4)
    opens, paid = market.opens.to_numpy(), market.funding.to_numpy()
    ahead = np.full(opens.shape, np.nan)
    ahead[:-2] = opens[2:] / opens[1:-1] * (1 - paid[2:]) - 1
    z = np.stack([windows[..., -s:].mean(-1) * s**0.5 for s in SCALES], -1)
    return Known(windows, torch.from_numpy(z), inverse / inverse.sum(1, keepdims=True), ahead)


# ---- Gates over assets, and what becomes of them.


class Joint(nn.Module):
    """`se.MultiScaleSE` whose channels are the assets: a gate may depend on every other asset.

    It is asked for the gates of windows times their roots, which are squeezed already: its blocks'
    excitations and its fusion are used as they are.
    """

    def __init__(self, m: int) -> None:
        super().__init__()
        self.se = se.MultiScaleSE(m, SCALES, reduction=max(1, min(8, m // 2)))
        for block in self.se.blocks:
            nn.init.zeros_(block.excite.expand.weight)  # type: ignore[union-attr, arg-type]

    def forward(self, z: Tensor) -> Tensor:
        """Return gates (n, m) of what was squeezed (n, m, scales)."""
        parts = [b.excite(z[..., i]).sigmoid() for i, b in enumerate(self.se.blocks)]  # type: ignore[union-attr, operator]
        return (torch.stack(parts, 1) * self.se.fusion_weights()).sum(1)


class Shared(nn.Module):
    """One excitation for all assets: of what the asset did, and what all did on average."""

    def __init__(self, m: int, hidden: int = 16) -> None:
        super().__init__()
        self.reduce = nn.Linear(2 * len(SCALES), hidden)
        self.expand = nn.Linear(hidden, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Return gates (n, m) of what was squeezed (n, m, scales)."""
        return self.expand(self.reduce(with_mean(z)).relu()).squeeze(-1).sigmoid()


def with_mean(z: Tensor) -> Tensor:
    """Return (n, m, 2 scales): each asset's numbers beside their mean over all assets."""
    return torch.cat([z, z.mean(1, keepdim=True).expand_as(z)], -1)


NETS: dict[str, Callable[[int], nn.Module]] = {"joint": Joint, "shared": Shared}


def to_weights(gates: Any, base: Any, short: bool) -> Any:
    """Return weights (n, m) of gates in (0, 1): arrays or tensors.

    Long only: the base times the gates, 1 in sum. Otherwise what a gate lies above the mean gate,
    0 in sum and at most 1 in absolute sum: gates that are all alike hold nothing.
    """
    level = (base * gates).sum(1)[:, None]
    return 2 * base * (gates - level) if short else base * gates / level


def utility(weights: Tensor, ahead: Tensor, rate: float) -> Tensor:
    """Return the mean return a year after costs, less half the aversion times variance.

    What is traded is what brings weights back after they drifted with the market.
    """
    moved = weights[:-1] * (1 + ahead[:-1])
    drifted = moved / (1 + (weights[:-1] * ahead[:-1]).sum(1, keepdim=True))
    traded = (weights[1:] - drifted).abs().sum(1)
    net = (weights * ahead).sum(1)[1:] - rate * traded
    return YEAR * (net.mean() - AVERSION / 2 * net.var())


@dataclass(frozen=True)
class Fit:
    """Weights (n, m) after each bar, losses and gates of a net that was trained on one fold."""

    weights: np.ndarray
    loss: float  # the lowest on validation
    constant: float  # that of equal gates
    gates: np.ndarray  # (m,): the mean on the test; they start at one half
    spread: float  # deviation of the test's gates over time, in the mean over assets
    best_epoch: int


def fit(
    market: Market, name: str, number: int, seed: int, *, short: bool, penalty: float = 1.0,
    epochs: int = 100, lr: float = 0.01, shuffled: bool = False,
) -> Fit:  # fmt: skip
    """Return a net trained up to one fold, at its best epoch on validation, the start included.

    ``penalty`` multiplies what trades cost in training. ``shuffled`` puts what followed in another
    order of time, so that there is nothing to learn.
    """
    seed_everything(seed)
    seen, (check, begin, _) = known(market), market.fold(number)
    ahead = seen.ahead.copy()
    if shuffled:
        rows = np.arange(FIRST, begin - 2)
        ahead[rows] = ahead[np.random.default_rng(seed).permutation(rows)]
    net, base = NETS[name](market.opens.shape[1]), torch.from_numpy(seen.base).float()
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, weight_decay=1e-4)
    rate, y = penalty * market.rate, torch.from_numpy(ahead).float()

    def loss(first: int, last: int) -> Tensor:
        part = slice(first, last - 2)
        return -utility(to_weights(net(seen.squeezed[part]), base[part], short), y[part], rate)

    best, kept, at, start = np.inf, {}, 0, 0.0
    for epoch in range(epochs + 1):
        with torch.no_grad():
            now = float(loss(check, begin))
        start = now if epoch == 0 else start
        if now < best:
            best, at = now, epoch
            kept = {k: v.clone() for k, v in net.state_dict().items()}
        optimizer.zero_grad()
        loss(FIRST, check).backward()
        optimizer.step()
    net.load_state_dict(kept)
    return _told(net, seen, base, short, market.fold(number), (best, start, at))


def _told(
    net: nn.Module, seen: Known, base: Tensor, short: bool, fold: tuple[int, int, int],
    found: tuple[float, float, int],
) -> Fit:  # fmt: skip
    """Return a trained net's weights at all bars, with its gates on the test."""
    with torch.no_grad():
        gates = net(seen.squeezed)
    weights = to_weights(gates, base, short).numpy().astype(float)
    weights[np.abs(weights) < DUST] = 0.0
    test = gates[fold[1] : fold[2]].numpy().astype(float)
    best, start, at = found
    return Fit(weights, best, start, test.mean(0), float(test.std(0).mean()), at)


# ---- Plain ways, on the same bars.


def long_only(covariance: np.ndarray) -> np.ndarray:
    """Return the weights of least variance that sum to 1 and are not short (non-negative LS)."""
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))).T
    heavy = 1e3 * np.sqrt(values[-1])
    w, _ = nnls(np.vstack([root, np.full(len(root), heavy)]), np.r_[np.zeros(len(root)), heavy])
    return w / w.sum()


BY_COVARIANCE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverse volatility": portfolio.inverse_volatility,
    "minimum variance": portfolio.minimum_variance,
    "minimum variance, long": long_only,
    "risk parity by tree": portfolio.hierarchical_risk_parity,
}


def by_covariance(market: Market, start: int) -> dict[str, np.ndarray]:
    """Return weights (n, m) from shrunken covariances of the `PAST` bars, renewed every week."""
    moves = market.closes.pct_change().to_numpy()
    n, m = moves.shape
    out = {name: np.zeros((n, m)) for name in BY_COVARIANCE}
    for t in range(start, n, WEEK):
        covariance = LedoitWolf().fit(moves[t - PAST + 1 : t + 1]).covariance_
        for name, way in BY_COVARIANCE.items():
            out[name][t : t + WEEK] = way(covariance)
    return out


@dataclass(frozen=True)
class Choice:
    """How a fold's scores are held: the half-life of their mean in bars, and whether at all."""

    halflife: float
    held: bool


HALFLIVES = (0.0, 3.0, 9.0, 27.0, 81.0)


def scored(market: Market, number: int) -> dict[str, np.ndarray]:
    """Return scores (n, m) of rules, and of fits to the squeezed numbers that `Shared` sees.

    A fit forecasts each asset's next return in units of its volatility, all assets in one pile,
    from rows before the fold's validation.
    """
    seen, (check, _, _) = known(market), market.fold(number)
    z, m = seen.squeezed.double(), market.opens.shape[1]
    wide, rows = with_mean(z).numpy(), slice(FIRST, check - 2)
    x, y = wide[rows].reshape(-1, wide.shape[-1]), (seen.ahead * seen.base * m)[rows].ravel()
    trees = HistGradientBoostingRegressor(max_iter=100, max_depth=3, learning_rate=0.05)
    out = {"momentum": z[..., -1].numpy(), "reversal": -z[..., 0].numpy()}
    for name, model in {"linear": RidgeCV(np.logspace(-2, 6, 9)), "trees": trees}.items():
        fitted = model.fit(x, y).predict(wide.reshape(-1, wide.shape[-1]))
        out[name] = fitted.reshape(z.shape[:2])
    return out


def held(market: Market, scores: np.ndarray, number: int) -> tuple[np.ndarray, Choice]:
    """Return weights (n, m), short ones too, of scores averaged over time as validation likes best.

    Ranks are the gates. Rules may be slow, or stay out, as nets may: both are chosen by the nets'
    own utility on the nets' own validation.
    """
    seen, (check, begin, _) = known(market), market.fold(number)
    part = slice(check, begin - 2)
    ranks = pd.DataFrame(scores).rank(axis=1, pct=True)
    best, out, kept = 0.0, np.zeros(scores.shape), Choice(0.0, False)
    for halflife in HALFLIVES:
        slow = ranks.ewm(halflife=halflife).mean() if halflife else ranks
        w = to_weights(slow.to_numpy(), seen.base, True)
        told = utility(torch.from_numpy(w[part]), torch.from_numpy(seen.ahead[part]), market.rate)
        if float(told) > best:
            best, out, kept = float(told), w, Choice(halflife, True)
    return out, kept
