"""Does a net trained on a hundred coins know the next ones, and does one market lead another?

    SETRADE_DATA=<folder> make study STUDY=cross_market

*Panel*: 136 coins of Binance in 2024, hourly; every eighth hour a window of 24 hours is asked for
the next eight: how much will the coin move (the log of the realised volatility), and which way?
Coins are left out in five folds, each new once, and time from July on: four cells. One SE net for
all coins, without or with a learned vector a coin; the net that is asked for the way is stopped
once by later bars and once by other coins of the same hours. Beside it what was last, ridge and
logistic regression, trees, the nearest window. Fold k has seed k, so that five seeds stand behind
each figure; intervals count weeks, since coins of an hour are no independent witnesses.
*Lead*: BTC, ETH and SOL on Bybit at 15 minutes, 32 lags a pair, errors that count days, Holm.
*Patterns*: the windows of other coins most like one of BTC, by shape and by a Siamese net.

Each part is kept under ``--store``: a study that was killed goes on. Controls plant what is sought.
Nothing was tuned on the new time. Four minutes of one core.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from panel_real import load
from picture_folds import claim
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from tqdm import tqdm

from setrade import candles, evidence, metrics, panel, results, training
from setrade.costs import Costs
from setrade.files import atomic_path, write_atomic
from setrade.models.se_trader import ConvEncoder
from setrade.models.siamese import ContrastiveLoss, PairSet
from setrade.se import SEBlock
from setrade.study.command import parsed, parser

PANEL = "binance_spot_panel_1h_2024.parquet"
COINS = {
    "BTC": "bybit_btcusdt_perp_15m_202311on.parquet",
    "ETH": "bybit_ethusdt_perp_15m_202312on.parquet",
    "SOL": "bybit_solusdt_perp_15m_202312on.parquet",
}
LOOKBACK, HORIZON, STRIDE, WEEK = 24, 8, 8, 168
NEW_TIME = pd.Timestamp("2024-07-01", tz="UTC")
FOLDS = 5
CELLS = [(c, t) for c in ("seen", "new") for t in ("seen", "new")]
PENALTIES = (1.0, 1e2, 1e4)
LAGS = 16
SIZES = (0.02, 0.03, 0.04, 0.06)  # of a planted lead, in its bars' volatility
PLANT = 0.15  # of the volatility of eight hours: what a planted sign shifts the next move by


# ---- The panel: windows that end at row e, coin c.


@dataclass(frozen=True)
class Examples:
    """Windows of all coins; ``at`` (n, m) says which of them exist."""

    symbols: list[str]
    ends: np.ndarray  # (n,) bars
    stamps: pd.DatetimeIndex  # of the ends
    windows: np.ndarray  # (n, m, 3, T): return, log range, relative log volume
    past: np.ndarray  # (n, m, 3): log volatility of 8, 24 and 168 hours
    volatility: np.ndarray  # (n, m): of the next 8 hours, log
    move: np.ndarray  # (n, m): log return of the next 8 hours
    at: np.ndarray

    def week(self) -> np.ndarray:
        """Return (n,) the number of the week of each end."""
        return (self.ends // WEEK).astype(np.int64)

    def numbers(self) -> np.ndarray:
        """Return (n, m, 12): newest, mean and spread of each channel, and the volatilities."""
        w = self.windows
        return np.concatenate([w[..., -1], w.mean(-1), w.std(-1), self.past], -1)


def examples(path: Path) -> Examples:
    """Return the windows of a panel of hourly candles."""
    found = load(path)
    x = found.values.astype(np.float64)  # (m, 5, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        close, high, low, volume = (np.log(x[:, i].T) for i in (3, 1, 2, 4))
        volume = np.where(x[:, 4].T > 0, volume, np.nan)
    r = np.diff(close, axis=0, prepend=np.nan)
    relative = volume - pd.DataFrame(volume).rolling(WEEK, min_periods=WEEK).mean().to_numpy()
    span = np.log(np.maximum(high - low, 1e-4))
    channels = np.stack([100 * r, span, relative], -1)  # (n, m, 3)
    ends = np.arange(WEEK, len(r) - HORIZON, STRIDE)
    shown = np.lib.stride_tricks.sliding_window_view(channels, LOOKBACK, axis=0)
    windows = shown[ends - LOOKBACK + 1].astype(np.float32)
    squares = np.vstack([np.zeros((1, r.shape[1])), np.nancumsum(r**2, axis=0)])
    bad = np.vstack([np.zeros((1, r.shape[1])), np.isnan(r).cumsum(0)])

    def level(first: np.ndarray, last: np.ndarray) -> np.ndarray:
        mean = (squares[last + 1] - squares[first]) / (last - first + 1)[:, None]
        return np.where(bad[last + 1] == bad[first], 0.5 * np.log(np.maximum(mean, 1e-8)), np.nan)

    past = np.stack([level(ends - k + 1, ends) for k in (8, 24, WEEK)], -1)
    ahead, move = level(ends + 1, ends + HORIZON), close[ends + HORIZON] - close[ends]
    at = np.isfinite(windows).all((2, 3)) & np.isfinite(past).all(2) & np.isfinite(ahead)
    at &= move != 0
    stamps = pd.DatetimeIndex(np.asarray(found.time), tz="UTC")[ends]
    return Examples(list(found.coins), ends, stamps, windows, past, ahead, move, at)


def planted(x: Examples, size: float) -> Examples:
    """Return examples whose next move is shifted by the sign of the day's relative volume."""
    sign = np.sign(x.windows[:, :, 2].mean(-1))
    shift = size * np.exp(x.past[..., 2]) * np.sqrt(HORIZON) * sign
    return replace(x, move=x.move + np.where(x.at, shift, 0.0))


def folds(x: Examples) -> list[panel.PanelFold]:
    """Return the coins left out and the time left out; a week of windows lies between."""
    start = int(x.stamps.searchsorted(NEW_TIME))
    return panel.leave_out(
        x.symbols, len(x.ends), folds=FOLDS, start=start, gap=WEEK // STRIDE, seed=0
    )


class Shared(nn.Module):
    """SE over channels, two convolutions and one number, for all coins; ``dim`` numbers a coin."""

    def __init__(self, coins: int, dim: int, hidden: int = 16) -> None:
        super().__init__()
        self.se, self.encoder = SEBlock(3, reduction=1), ConvEncoder(3, hidden)
        self.own = nn.Embedding(coins, dim) if dim else None
        if self.own is not None:
            nn.init.zeros_(self.own.weight)
        self.head = nn.Linear(2 * hidden + dim, 1)

    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        """Map windows (B, 3, T) and coins (B,) to (B,)."""
        x, coin = given
        x = self.encoder(self.se(x))
        parts = [x[:, :, -1], x.mean(2)] + ([] if self.own is None else [self.own(coin)])
        return self.head(torch.cat(parts, 1))[:, 0]


class Pooled:
    """Examples of many coins: ((window, coin), target)."""

    def __init__(self, x: Examples, windows: np.ndarray, y: np.ndarray, mask: np.ndarray) -> None:
        row, coin = np.nonzero(mask)
        self.x = torch.from_numpy(windows[row, coin])
        self.coin, self.y = torch.from_numpy(coin), torch.from_numpy(y[row, coin]).float()

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, rows: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return what stands in some rows."""
        return (self.x[rows], self.coin[rows]), self.y[rows]


def target(x: Examples, kind: str) -> np.ndarray:
    """Return (n, m): log volatility of the next hours, or 1 where the coin rises."""
    return x.volatility if kind == "volatility" else (x.move > 0).astype(np.float64)


def validation(x: Examples, fold: panel.PanelFold, stop: str, seed: int) -> np.ndarray:
    """Return a mask of the seen cell that stops training: later weeks, or other coins."""
    seen = fold.cell("seen", "seen") & x.at
    out = np.zeros_like(seen)
    if stop == "time":
        out[np.flatnonzero(fold.seen_time)[-120:]] = True
    else:
        known = np.flatnonzero(~fold.new_coins)
        out[:, np.random.default_rng(seed).choice(known, len(known) // 5, replace=False)] = True
    return seen & out


def taught(x: Examples, kind: str, fold: panel.PanelFold, seed: int, dim: int, stop: str) -> dict:
    """Return what one net says of every example: with own vectors, and with others' for new."""
    torch.set_num_threads(1)
    seen, late = fold.cell("seen", "seen") & x.at, validation(x, fold, stop, seed)
    train = seen & ~late
    if stop == "time":  # a week lies between
        train[np.flatnonzero(fold.seen_time)[-120 - WEEK // STRIDE :]] = False
    mean, spread = (f(x.windows[train], axis=(0, 2))[:, None] for f in (np.mean, np.std))
    windows = np.where(x.at[..., None, None], (x.windows - mean) / spread, 0).astype(np.float32)
    y = target(x, kind)
    centre, unit = y[train].mean(), y[train].std()
    scaled = y if kind == "way" else (y - centre) / unit
    loss = nn.BCEWithLogitsLoss() if kind == "way" else nn.MSELoss()
    training.seed_everything(seed)
    net = Shared(len(x.symbols), dim)
    parts = [Pooled(x, windows, scaled, mask) for mask in (train, late)]
    history = training.fit(
        net, *parts, loss=loss, num_epochs=8, patience=3 if stop == "time" else 8, lr=4e-3,
        batch_size=512, seed=seed, device="cpu", progress=False,
    )  # fmt: skip
    everything = Pooled(x, windows, scaled, x.at)
    naive = float(loss(torch.full_like(parts[1].y, np.log(y[train].mean() / (1 - y[train].mean()))
                       if kind == "way" else 0.0), parts[1].y))  # fmt: skip
    told = {"gain": naive - min(history.val_loss), "epoch": history.best_epoch}
    told |= {"zero": answers(net, everything, x.at, centre, unit, kind)}
    if net.own is not None:
        known = torch.from_numpy(np.unique(np.nonzero(train)[1]))
        new = torch.from_numpy(np.flatnonzero(fold.new_coins))
        with torch.no_grad():
            net.own.weight[new] = net.own.weight[known].mean(0)
        told |= {"mean": answers(net, everything, x.at, centre, unit, kind)}
    return told


def answers(net: nn.Module, every: Pooled, at: np.ndarray, centre: float, unit: float, kind: str):
    """Return (n, m) forecasts; NaN where there is no example."""
    out = np.full(at.shape, np.nan)
    said = training.predict(net, every, batch_size=8192).numpy()
    out[at] = said if kind == "way" else centre + unit * said
    return out


def plain(x: Examples, kind: str, fold: panel.PanelFold, seed: int) -> dict[str, np.ndarray]:
    """Return what everything without a net says of every example (n, m)."""
    numbers, y, seen = x.numbers(), target(x, kind), fold.cell("seen", "seen") & x.at
    late = validation(x, fold, "time", seed)
    train = seen & ~late
    train[np.flatnonzero(fold.seen_time)[-120 - WEEK // STRIDE :]] = False
    mean, spread = numbers[seen].mean(0), numbers[seen].std(0)
    z = (numbers - mean) / spread

    def everywhere(say: Callable[[np.ndarray], np.ndarray], given: np.ndarray = z) -> np.ndarray:
        out = np.full(y.shape, np.nan)
        out[x.at] = say(given[x.at])
        return out

    if kind == "volatility":
        fits = [Ridge(p).fit(z[train], y[train]) for p in PENALTIES]
        best = int(np.argmin([np.mean((f.predict(z[late]) - y[late]) ** 2) for f in fits]))
        ridge = Ridge(PENALTIES[best]).fit(z[seen], y[seen])
        trees = HistGradientBoostingRegressor(max_iter=100, random_state=seed)
        trees.fit(z[seen], y[seen])
        alone = np.full(y.shape, np.nan)
        for c in np.flatnonzero((x.at & fold.seen_time[:, None]).sum(0) > 60):
            rows = x.at[:, c] & fold.seen_time
            own = Ridge(10.0).fit(z[rows, c], y[rows, c])
            alone[x.at[:, c], c] = own.predict(z[x.at[:, c], c])
        alone[:, fold.new_coins] = np.nan  # a coin with a fit of its own is not new
        return {"last day": np.where(x.at, x.past[..., 1], np.nan), "each coin alone": alone,
                "ridge": everywhere(ridge.predict), "trees": everywhere(trees.predict)}  # fmt: skip
    fits = [LogisticRegression(C=1 / p, max_iter=200).fit(z[train], y[train]) for p in PENALTIES]
    best = int(np.argmax([f.score(z[late], y[late]) for f in fits]))
    logistic = LogisticRegression(C=1 / PENALTIES[best], max_iter=200).fit(z[seen], y[seen])
    trees = HistGradientBoostingClassifier(max_iter=100, random_state=seed).fit(z[seen], y[seen])
    r = x.windows[:, :, 0]
    shape = r / np.maximum(r.std(-1, keepdims=True), 1e-6)
    nearest = KNeighborsClassifier(1, algorithm="brute")
    nearest.fit(shape[seen].astype(np.float32), y[seen])
    near = np.full(y.shape, np.nan)
    some = x.at & fold.new_coins[None]  # its own examples it finds at distance 0
    near[some] = nearest.predict(shape[some].astype(np.float32)) - 0.5
    return {"logistic": everywhere(logistic.decision_function),
            "trees": everywhere(trees.decision_function), "nearest window": near}  # fmt: skip


# ---- Judgement: each example counts once a cell, weeks are drawn.


def score(x: Examples, kind: str, said: np.ndarray, base: float) -> np.ndarray:
    """Return (n, m): 1 less squared error over the variance about ``base``, or hits less half."""
    if kind == "volatility":
        spread = np.nanvar(x.volatility[x.at])
        return ((x.volatility - base) ** 2 - (x.volatility - said) ** 2) / spread
    return np.where(np.isnan(said), np.nan, ((said > 0) == (x.move > 0)) - 0.5)


def common(x: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean next move of the other coins (n, m), and a coin's beyond the median's.

    The median, since of moves with a long tail more than half lie below their mean, and whoever
    always says "down" would be right too often.
    """
    y = np.where(x.at, x.move / np.exp(x.past[..., 2]), np.nan)
    total, count = np.nansum(y, 1, keepdims=True), x.at.sum(1, keepdims=True)
    others = (total - np.nan_to_num(y)) / np.maximum(count - 1, 1)
    middle = pd.DataFrame(y).median(axis=1).to_numpy()
    own = y - middle[:, None]
    return others, np.where(own == 0, np.nan, own)


def table(
    x: Examples,
    kind: str,
    runs: list[np.ndarray],
    to: np.ndarray | None = None,
    less: list[np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return the four cells of one forecaster, with intervals that count weeks.

    ``to`` is another move whose sign it may know; ``less`` another forecaster, paired.
    """
    out: dict[str, Any] = {}
    split = folds(x)
    for coins, when in CELLS:
        total, count = np.zeros(x.at.shape), np.zeros(x.at.shape)
        each = []
        for k, (fold, said) in enumerate(zip(split, runs, strict=True)):
            seen = fold.cell("seen", "seen") & x.at
            if to is None:
                base = float(x.volatility[seen].mean())
                s = score(x, kind, said, base)
                s = s if less is None else s - score(x, kind, less[k], base)
            else:
                s = np.where(np.isnan(said), np.nan, ((said > 0) == (to > 0)) - 0.5)
                s = np.where(np.isnan(to), np.nan, s)
            mask = fold.cell(coins, when) & x.at & np.isfinite(s)
            if mask.any():
                each.append(float(s[mask].mean()))
            total[mask] += s[mask]
            count[mask] += 1
        if not each:
            out[f"{coins} coins, {when} time"] = None
            continue
        row, coin = np.nonzero(count)
        values, week = (total / np.maximum(count, 1))[row, coin], x.week()[row]
        told = panel.clustered_mean(values, week)
        groups = {"hour": row, "day": x.ends[row] // 24, "week": week}
        effect = {k: panel.clustered_mean(values, g).design_effect for k, g in groups.items()}
        out[f"{coins} coins, {when} time"] = {
            "mean": told.mean, "interval": told.interval(), "runs": each, "n": len(values),
            "naive": 1.96 * told.naive_error, "design_effect": effect, "weeks": told.clusters,
        }  # fmt: skip
    return out


# ---- Lead and lag.


def closes(data: Path, step: str) -> pd.DataFrame:
    """Return aligned closes of the three perpetuals."""
    read = {name: candles.read(data / file, interval=step) for name, file in COINS.items()}
    return panel.aligned(read)


def leads(r: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the correlation at each lag of each pair, with its p-value, Holm over all of them."""
    rows, names = [], list(r)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            found = panel.lead_lag(r[a], r[b], LAGS)
            for lag, value in zip(range(-LAGS, LAGS + 1), found.to_numpy(), strict=True):
                if lag:
                    error = lag_error(r[a].to_numpy(), r[b].to_numpy(), lag)
                    p = float(2 * (1 - norm.cdf(abs(value) / error)))
                    rows.append({"first": a, "second": b, "lag": lag, "value": float(value),
                                 "error": error, "p": p})  # fmt: skip
    for row, p in zip(rows, evidence.holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = float(p)
    return rows


def lag_error(a: np.ndarray, b: np.ndarray, lag: int) -> float:
    """Return the standard error of a correlation at a lag, whose products come in days."""
    a, b = ((x - x.mean()) / x.std() for x in (a, b))
    n = len(a)
    product = a[max(0, -lag) : n - max(0, lag)] * b[max(0, lag) : n - max(0, -lag)]
    return panel.clustered_mean(product, np.arange(len(product)) // 96).error


def rule(first: pd.Series, second: pd.Series, lag: int, sign: float) -> dict[str, float]:
    """Return what it earns to hold ``second`` by the sign of ``first`` so many bars before."""
    held = sign * np.sign(first.shift(lag).fillna(0.0).to_numpy())
    rates = Costs().rates()
    turned = np.abs(np.diff(held, prepend=0.0))
    gross = held * np.expm1(second.to_numpy())
    net = gross - turned * (rates.fee + rates.slippage)
    year = 365 * 96
    return {"gross": float(metrics.sharpe(gross, year)), "net": float(metrics.sharpe(net, year)),
            "turnover": float(turned.mean() * year)}  # fmt: skip


def lead_part(data: Path) -> dict[str, Any]:
    """Return the table of leads, its controls, and what unaligned closes find."""
    close = closes(data, "15min")
    r = close.apply(np.log).diff().iloc[1:]
    rows = leads(r)
    zero = {f"{a}-{b}": float(r[a].corr(r[b])) for a, b in combinations(r, 2)}
    out: dict[str, Any] = {"rows": rows, "zero": zero, "bars": len(r), "first": str(r.index[0]),
                           "last": str(r.index[-1]), "tests": len(rows)}  # fmt: skip
    best = min(rows, key=lambda row: row["p"])
    lead, late = ("first", "second") if best["lag"] > 0 else ("second", "first")
    played = rule(r[best[lead]], r[best[late]], abs(best["lag"]), np.sign(best["value"]))
    out["best"] = best | {"rule": played}
    out["detectable"] = {
        f"{size:g}": sum(planted_lead(r, size, s) for s in range(20)) for size in SIZES
    }
    # the trap: SOL's bars stamped by their close are one row late, and BTC "leads" by one bar
    trap = r["SOL"].shift(1).iloc[1:]
    btc = r["BTC"].iloc[1:]
    out["trap"] = {
        "correlations": panel.lead_lag(btc, trap, 3).to_dict(),
        "rule": rule(btc, trap, 1, 1.0),
        "aligned": rule(r["BTC"], r["SOL"], 1, 1.0),
    }
    return out


def planted_lead(r: pd.DataFrame, size: float, seed: int) -> bool:
    """Return whether a lead of two bars, planted where there is none, stands out (Holm).

    BTC's returns change their sign by day, at random: nothing is left of what the pair has in
    common but that both are wild at the same hours, which is what makes real errors wide.
    """
    rng = np.random.default_rng(seed)
    day = (r.index - r.index[0]) // pd.Timedelta("1D")
    a = r["BTC"].to_numpy() * rng.choice([-1.0, 1.0], int(day.max()) + 1)[day]
    b = r["SOL"].to_numpy()
    lag = 2
    b = b / b.std() + size * np.r_[np.zeros(lag), a[:-lag] / a.std()]
    first, second = pd.Series(a, r.index), pd.Series(b, r.index)
    value = panel.lead_lag(first, second, lag)[lag]
    p = 2 * (1 - norm.cdf(abs(value) / lag_error(a, b, lag)))
    return bool(p * 6 * LAGS < 0.05)


# ---- Patterns.


class Twin(nn.Module):
    """SE, two convolutions and a vector of length 1; a pair goes through as one batch."""

    def __init__(self, hidden: int = 16, dim: int = 8) -> None:
        super().__init__()
        self.se, self.encoder = SEBlock(3, reduction=1), ConvEncoder(3, hidden)
        self.head = nn.Linear(2 * hidden, dim)

    def embed(self, x: Tensor) -> Tensor:
        """Map windows (B, 3, T) to unit vectors (B, dim)."""
        h = self.encoder(self.se(x))
        return nn.functional.normalize(self.head(torch.cat([h[:, :, -1], h.mean(2)], 1)), dim=1)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Map pairs of windows to distances (B,)."""
        a, b = self.embed(torch.cat(pair)).chunk(2)
        return torch.linalg.vector_norm(a - b, dim=1)


PATTERN_COINS = [
    "BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT",
    "DOGEUSDT", "AVAXUSDT", "LINKUSDT", "LTCUSDT", "BCHUSDT", "NEARUSDT",
]  # fmt: skip


def recurring(x: Examples, seed: int) -> tuple[Examples, np.ndarray]:
    """Return examples in which half of the windows are one of two shapes, and which (n, m)."""
    rng = np.random.default_rng(seed)
    shape = np.sin(np.linspace(0, 2 * np.pi, LOOKBACK))
    kind = rng.choice([-1, 0, 1], x.at.shape, p=[0.25, 0.5, 0.25])
    windows = x.windows.copy()
    unit = windows[:, :, 0].std(-1, keepdims=True)
    drawn = unit * (kind[..., None] * 1.2 * shape + 0.5 * rng.normal(size=windows[:, :, 0].shape))
    windows[:, :, 0] = np.where(kind[..., None] != 0, drawn, windows[:, :, 0])
    shift = kind * np.exp(x.past[..., 2]) * np.sqrt(HORIZON)
    return replace(x, windows=windows, move=x.move + shift), kind


def pairs(x: Examples, rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n pairs of ``rows`` of like next moves and n of opposite ones.

    They lie a day and more apart, so that no two windows share hours, of whatever coin.
    """
    row, coin = np.nonzero(x.at)
    moves = x.move[row, coin] / np.exp(x.past[row, coin, 2])
    state = np.digitize(moves, np.quantile(moves[rows], [1 / 3, 2 / 3]))
    drawn = rng.choice(rows, (15 * n, 2))
    apart = np.abs(np.diff(x.ends[row[drawn]], axis=1))[:, 0] >= LOOKBACK + HORIZON
    drawn = drawn[apart]
    differ = np.abs(np.diff(state[drawn], axis=1))[:, 0]
    return np.concatenate([drawn[differ == 0][:n], drawn[differ == 2][:n]])


def twin(x: Examples, flat: np.ndarray, usable: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Train a Siamese net on the seen time: alike is what was followed by a like move.

    Returns:
        What it makes of all windows, and what its loss on the last weeks of that time is below
        the best constant distance's, 1/8.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    late = x.stamps[np.nonzero(x.at)[0]] >= NEW_TIME - pd.Timedelta("35D")
    source = training.TensorSet(torch.from_numpy(flat), torch.zeros(len(flat)))
    sets = []
    for mask, n in ((usable & ~late, 3_000), (usable & late, 1_000)):
        drawn = pairs(x, np.flatnonzero(mask), n, rng)
        sets.append(PairSet(source, drawn, np.repeat([1, 0], n)))
    training.seed_everything(seed)
    net = Twin()
    history = training.fit(
        net, *sets, loss=ContrastiveLoss(), num_epochs=8, lr=3e-3, batch_size=256, seed=seed,
        device="cpu", progress=False,
    )  # fmt: skip
    with torch.no_grad():
        return net.embed(torch.from_numpy(flat)).numpy(), 1 / 8 - min(history.val_loss)


def agreement(
    x: Examples, space: np.ndarray, embargo: bool, kind: np.ndarray | None, k: int = 10
) -> dict[str, Any]:
    """Return how often windows of other coins most like BTC's were followed by BTC's next sign."""
    row, coin = np.nonzero(x.at)
    sign = np.sign(x.move[row, coin])
    ends = x.ends[row]
    start = x.ends[x.stamps.searchsorted(NEW_TIME)]
    ask = np.flatnonzero((coin == x.symbols.index("BTCUSDT")) & (ends >= start))
    if kind is not None:
        ask = ask[kind[row[ask], coin[ask]] != 0]
    pool = np.flatnonzero(coin != x.symbols.index("BTCUSDT"))
    known = ends[pool] + (HORIZON if embargo else 0)
    found = panel.neighbours(space[ask], space[pool], asked=ends[ask], known=known, k=k)
    told = (sign[pool][found]).mean(1)  # (q,)
    mine = sign[ask]
    each = (1 + told * mine) / 2
    share = float(each.mean())
    week = WEEK // STRIDE if kind is None else 1
    shifts = range(week, len(ask) - week)
    chance = np.array([((1 + told * np.roll(mine, s)) / 2).mean() for s in shifts])
    p = float((1 + (chance >= share).sum()) / (1 + len(chance)))
    same = float((ends[pool][found] > ends[ask][:, None] - HORIZON).mean())
    return {
        "share": share, "chance": float(chance.mean()), "p": p, "queries": len(ask),
        "high": float(np.quantile(chance, 0.95)), "same_hours": same,
        "each": each, "week": ends[ask] // WEEK,
    }  # fmt: skip


def pattern_part(x: Examples, seed: int) -> dict[str, Any]:
    """Return all searches of one seed: real and planted bars, by shape and by the net."""
    keep = [x.symbols.index(c) for c in PATTERN_COINS]
    small = Examples(
        PATTERN_COINS, x.ends, x.stamps, x.windows[:, keep], x.past[:, keep],
        x.volatility[:, keep], x.move[:, keep], x.at[:, keep],
    )  # fmt: skip
    out = {}
    for name, (y, kind) in {"real": (small, None), "planted": recurring(small, seed)}.items():
        row, coin = np.nonzero(y.at)
        usable = y.stamps[row] < NEW_TIME - pd.Timedelta("7D")
        flat = y.windows[row, coin]
        mean, spread = (f(flat[usable], axis=(0, 2))[:, None] for f in (np.mean, np.std))
        shape = y.windows[row, coin, 0]
        shape = shape / np.maximum(shape.std(1, keepdims=True), 1e-6)
        flat = ((flat - mean) / spread).astype(np.float32)
        flat[:, 0] = shape
        space, gain = twin(y, flat, np.asarray(usable), seed)
        spaces = {"shape": shape, "siamese": space}
        out[f"{name}, gain"] = gain
        for how, space in spaces.items():
            out[f"{name}, {how}"] = agreement(y, space, True, kind)
            out[f"{name}, {how}, same hours"] = agreement(y, space, False, kind)
    return out


# ---- The command line.


def arrays(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the arrays that a file holds; made and written where there is none."""
    if not path.is_file():
        made = make()
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **made)
    with np.load(path) as saved:
        return dict(saved)


def remembered(path: Path, make: Callable[[], Any]) -> Any:
    """Return what a file holds; made and written where there is none."""
    if not path.is_file():
        write_atomic(path, json.dumps(results.plain(make())))
    return json.loads(path.read_text(encoding="utf-8"))


NETS = {  # of the panel: target, numbers a coin, what stops, planted size
    "volatility": ("volatility", 0, "time", 0.0),
    "volatility, own vector": ("volatility", 4, "time", 0.0),
    "way, stopped by time": ("way", 0, "time", 0.0),
    "way, stopped by coins": ("way", 0, "coins", 0.0),
    "way, planted": ("way", 0, "time", PLANT),
}


GAPS = (
    ("volatility", "volatility: ridge"),
    ("volatility", "volatility: trees"),
    ("volatility", "volatility: last day"),
    ("volatility, own vector", "volatility"),
    ("volatility, own vector, mean for new", "volatility"),
    ("volatility: ridge", "volatility: each coin alone"),
)


def panel_part(x: Examples, store: Path, bar: tqdm) -> dict[str, Any]:
    """Return the four cells of every forecaster."""
    out: dict[str, Any] = {"nets": {}, "plain": {}, "common": {}, "own": {}, "gaps": {}}
    said: dict[str, list[np.ndarray]] = {}
    for name, (kind, dim, stop, size) in NETS.items():
        y = planted(x, size) if size else x
        runs = []
        for k, fold in enumerate(folds(x)):
            path = store / f"{name}-{k}.npz"
            runs.append(arrays(path, partial(taught, y, kind, fold, k, dim, stop)))
            bar.update()
        said[name] = zero = [run["zero"] for run in runs]
        out["nets"][name] = table(y, kind, zero) | {
            "gain": [float(run["gain"]) for run in runs],
            "epoch": [int(run["epoch"]) for run in runs],
        }  # fmt: skip
        if dim:
            said[name + ", mean for new"] = [run["mean"] for run in runs]
            out["nets"][name + ", mean for new"] = table(y, kind, [run["mean"] for run in runs])
        if kind == "way" and not size:
            parts(x, out, name, zero)
    for kind in ("volatility", "way"):
        runs = []
        for k, fold in enumerate(folds(x)):
            path = store / f"plain-{kind}-{k}.npz"
            runs.append(arrays(path, partial(plain, x, kind, fold, k)))
            bar.update()
        for name in runs[0]:
            said[f"{kind}: {name}"] = [run[name] for run in runs]
            out["plain"][f"{kind}: {name}"] = table(x, kind, [run[name] for run in runs])
            if kind == "way":
                parts(x, out, name, [run[name] for run in runs])
    for first, second in GAPS:
        out["gaps"][f"{first} less {second}"] = table(
            x, first.split(",")[0].split(":")[0], said[first], less=said[second]
        )
    return out


def parts(x: Examples, out: dict[str, Any], name: str, runs: list[np.ndarray]) -> None:
    """Write how often a forecaster was right of the market's move, and of the coin's beyond it."""
    others, own = common(x)
    out["common"][name] = table(x, "way", runs, others)
    out["own"][name] = table(x, "way", runs, own)


def main(argv: Sequence[str] | None = None) -> None:
    """Make what is missing, judge all, store the tables."""
    asked = parser(__doc__, "_build/studies/cross_market")
    asked.add_argument("--seeds", type=int, default=5, help="of the Siamese nets")
    args = parsed(asked, argv, f"{PANEL} and Bybit's bars of 15 minutes")
    data, start = Path(args.data), time.perf_counter()
    sums = {name: results.sha256(data / name) for name in (PANEL, *COINS.values())}
    store = claim(args.store, {"data": sums})
    torch.set_num_threads(1)
    x = examples(data / PANEL)
    with tqdm(total=FOLDS * (len(NETS) + 2) + 1 + args.seeds, unit="part") as bar:
        lead = remembered(store / "lead.json", lambda: lead_part(data))
        bar.update()
        searched = []
        for s in range(args.seeds):
            searched.append(remembered(store / f"pattern-{s}.json", lambda s=s: pattern_part(x, s)))
            bar.update()
        cells = panel_part(x, store, bar)
    stored = {
        "panel": cells, "lead": lead, "claims": claims(searched), "patterns": searched,
        "setting": {"coins": len(x.symbols), "examples": int(x.at.sum()), "times": len(x.ends),
                    "first": str(x.stamps[0]), "last": str(x.stamps[-1]), "new": str(NEW_TIME),
                    "lookback": LOOKBACK, "horizon": HORIZON, "folds": FOLDS, "plant": PLANT,
                    "correlation": correlation(x)},
    }  # fmt: skip
    results.save(
        "cross_market", stored, seed=list(range(FOLDS)), data=sums,
        command="SETRADE_DATA=<folder> make study STUDY=cross_market",
        seconds=time.perf_counter() - start,
    )  # fmt: skip


def claims(searched: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how often neighbours agree, over all seeds, and whether the net learned.

    The lists of single queries are dropped.
    """
    out: dict[str, Any] = {}
    for how in ("shape", "siamese"):
        for kind in ("real", "planted"):
            found = [s[f"{kind}, {how}"] for s in searched]
            each = np.concatenate([f["each"] for f in found])
            told = panel.clustered_mean(each, np.concatenate([f["week"] for f in found]))
            low, high = told.interval()
            out[f"{kind}_{how}"] = {"measured": told.mean, "low": low, "high": high}
    for kind in ("real", "planted"):
        gain, low, high = evidence.t_interval([s[f"{kind}, gain"] for s in searched])
        out[f"learned_{kind}"] = {"measured": gain, "low": low, "high": high}
    for s in searched:
        for x in s.values():
            if isinstance(x, dict):
                del x["each"], x["week"]
    return out


def correlation(x: Examples) -> float:
    """Return the mean correlation of two coins' moves, of those that have most."""
    often = x.at.mean(0) > 0.9
    moves = pd.DataFrame(np.where(x.at, x.move, np.nan)[:, often])
    table = moves.corr().to_numpy()
    return float(table[np.triu_indices(len(table), 1)].mean())


if __name__ == "__main__":
    main()
