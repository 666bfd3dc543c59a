"""The reference paper on coins: the net of Jiang, Kelly and Xiu over a panel of 136 coins.

    SETRADE_DATA=<folder> .venv/bin/python studies/panel_real.py --half

Pictures of 20 bars (`setrade.pictures.ohlc`), the paper's net of 708,866 parameters, and its
labels: is the return of the next 5, or of the next 20 bars above zero? Daily bars with five seeds;
hourly bars at every eighth hour with two. Walked forward in two folds, June to mid-July 2024 and
from there to the end: only labels that were known when a fold begins are learned, the last quarter
of their dates stops the training (two epochs without gain, as in the paper). Each date's coins are
ranked, the best tenth is bought and the worst sold, in equal weights. Beside the net: reversal,
momentum, a logistic regression and boosted trees on the same 20 bars as numbers scaled as the
picture is, and the net on shuffled pictures. A planted run says whether the study would have seen
the paper's result: sides are drawn so that the last five bars foretell them, as often as it takes
for a Sharpe ratio near the paper's.

Where this differs from the paper, for want of 800,000 pictures: batches of 32 and a rate of 1e-4
in place of 128 and 1e-5, validation later in time and not drawn at random, fills at the next open.
The coins are those that Binance still listed in September 2024: survivors. Nothing was tuned on
their returns. Each net is saved after every epoch: a run that was killed goes on. ``--half`` trains
in bfloat16, twice as fast where the processor has it (and far slower where it has not, or where
the Makefile's pins hold torch to AVX2: hence not by ``make study``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from picture_folds import claim, kept, log_loss, taught
from scipy.stats import rankdata
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from tqdm import tqdm

from setrade import candles, evidence, pictures, results, training
from setrade.backtest import ranked
from setrade.compiled import at_most
from setrade.errors import ArgumentError, timed
from setrade.models.boosted import Boosted
from setrade.study import StudyError
from setrade.study.command import parsed, parser

DAILY, HOURLY = "binance_spot_panel_1d_2024.parquet", "binance_spot_panel_1h_2024.parquet"
FILES = {"daily": DAILY, "hourly": HOURLY}
BARS, LOOKBACK = 20, 39  # of a picture; with the 19 before it that its first average needs
FOLDS = (("2024-06-01", "2024-07-16"), ("2024-07-16", "2024-10-01"))
HORIZONS = (5, 20)
COINS = 136  # that the panel should have
FEES = (5.5, 10.0)  # basis points a side
CLAIMED = {"source": "jiang2023", "sharpe": 6.8}  # 20-day pictures, 5-day returns, equal weights
PENALTIES = (1e0, 1e2, 1e4)  # of the logistic regression, chosen on validation


@dataclass(frozen=True)
class Setting:
    """What all nets share; fixed before any return was seen."""

    num_epochs: int = 4
    patience: int = 2  # epochs without gain, as in the paper
    lr: float = 1e-4
    batch_size: int = 32
    strides: tuple[int, int] = (4, 48)  # bars between training pictures: daily, hourly
    every: tuple[int, int] = (1, 8)  # bars between the dates that are judged: daily, hourly
    rounds: int = 200  # of the trees
    planted: float = 0.625  # share of sides that the last five bars foretell
    half: bool = False  # bfloat16 inside the net

    def plan(self, seed: int) -> training.Plan:
        """Return how a net is trained."""
        names = ["num_epochs", "patience", "lr", "batch_size"]
        return training.Plan(seed=seed, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Run:
    """One net to train."""

    bars: str  # "daily" or "hourly"
    horizon: int
    fold: int
    seed: int
    kind: str = "real"  # or "shuffled", "planted"

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.kind}-{self.bars}-{self.horizon}-{self.fold}-{self.seed}"


def runs(bars: str) -> list[Run]:
    """Return the nets of a part, the control and the planted ones last."""
    seeds = 5 if bars == "daily" else 2
    out = [Run(bars, h, f, s) for h in HORIZONS for f in range(len(FOLDS)) for s in range(seeds)]
    if bars == "daily":
        more = [(kind, f, s) for kind in ("planted", "shuffled") for f in range(2) for s in (0, 1)]
        out += [Run(bars, 5, f, s, kind) for kind, f, s in more]
    return out


# ---- The panel: one grid of bars for all coins; windows and labels bridge no hole.


@dataclass(frozen=True)
class Panel:
    """Candles of many coins on one grid of times; NaN where a coin has no bar."""

    coins: tuple[str, ...]
    time: pd.DatetimeIndex
    values: np.ndarray  # (coins, 5, bars)
    sha256: str
    file: str

    def known(self, first: int, last: int) -> np.ndarray:
        """Return a mask (coins, bars): all of the bars t + first … t + last are there."""
        there = np.isfinite(self.values).all(1)
        missing = np.cumsum(np.pad(~there, ((0, 0), (1, 0))), axis=1)
        t, n = np.arange(len(self.time)), len(self.time)
        low, high = np.clip(t + first, 0, n), np.clip(t + last + 1, 0, n)
        inside = (t + first >= 0) & (t + last < n)
        return inside & (missing[:, high] == missing[:, low])

    def ahead(self, horizon: int) -> np.ndarray:
        """Return (coins, bars) returns from the next open over ``horizon`` bars, NaN unknown."""
        opens, out = self.values[:, 0], np.full(self.values[:, 0].shape, np.nan)
        out[:, : -horizon - 1] = opens[:, horizon + 1 :] / opens[:, 1:-horizon] - 1
        return np.where(self.known(1 - LOOKBACK, horizon + 1), out, np.nan)

    def past(self, back: int) -> np.ndarray:
        """Return (coins, bars) returns of the last ``back`` bars' closes."""
        closes, out = self.values[:, 3], np.full(self.values[:, 3].shape, np.nan)
        out[:, back:] = closes[:, back:] / closes[:, :-back] - 1
        return out

    def windows(self, pairs: np.ndarray) -> np.ndarray:
        """Return windows (m, 5, LOOKBACK) of pairs (m, 2): coin, last bar."""
        view = np.lib.stride_tricks.sliding_window_view(self.values, LOOKBACK, axis=2)
        return view[pairs[:, 0], :, pairs[:, 1] - LOOKBACK + 1]

    def lacks(self) -> dict[str, dict[str, int]]:
        """Return the coins that no picture and label fit into, and those that come late: bars."""
        count = np.isfinite(self.values[:, 3]).sum(1)
        need = LOOKBACK + max(HORIZONS) + 1
        short = {c: int(n) for c, n in zip(self.coins, count, strict=True) if n < need}
        late = {c: int(n) for c, n in zip(self.coins, count, strict=True)
                if need <= n < 0.9 * len(self.time)}  # fmt: skip
        return {"left_out": short, "partial": late}


@lru_cache(maxsize=1)
def load(path: Path) -> Panel:
    """Return a checked panel.

    Raises:
        StudyError: no such file, a column that is missing, or bars of 2025 and later.
        ArgumentError: a coin's bars repeat or run backwards.
        CandleError: they have another fault, but for holes.
    """
    if not path.is_file():
        raise StudyError(f"no panel at {path}: SETRADE_DATA names the folder it is in")
    raw = pd.read_parquet(path)
    if lacks := {"symbol", "ts", *candles.COLUMNS} - set(raw.columns):
        raise StudyError(f"{path.name} lacks the columns {', '.join(sorted(lacks))}")
    raw["time"] = pd.to_datetime(raw["ts"], unit="ms", utc=True)
    if (raw["time"] >= pd.Timestamp("2025-01-01", tz="UTC")).any():
        raise StudyError(f"{path.name} has bars of 2025 and later, which are reserved")
    stamps = pd.DatetimeIndex(np.sort(raw["time"].unique()))
    step = pd.Timedelta(np.median(np.diff(stamps)))
    grid = pd.date_range(stamps[0], stamps[-1], freq=step, name="time")
    coins, values = [], []
    for coin, rows in raw.groupby("symbol", observed=True, sort=True):
        frame = rows.set_index("time")[list(candles.COLUMNS)].astype(float)
        timed(f"bars of {coin}", frame)
        stretch = (frame.index.to_series().diff() != step).cumsum()
        for _, part in frame.groupby(stretch.to_numpy()):
            candles.check(part, step if len(part) > 1 else None)
        coins.append(str(coin))
        values.append(frame.reindex(grid).to_numpy().T)
    return Panel(tuple(coins), grid, np.stack(values), results.sha256(path), path.name)


class Drawn:
    """Pictures of pairs (coin, last bar), drawn when asked for: `training.Examples`."""

    def __init__(self, panel: Panel, pairs: np.ndarray, y: np.ndarray) -> None:
        self.panel, self.pairs, self.y = panel, pairs, torch.from_numpy(y.astype(np.int64))

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32 (B, 1, 64, 60) in [0, 1] and classes (B,)."""
        with at_most(1):  # a second pool of threads would disturb torch's
            drawn = pictures.ohlc(self.panel.windows(self.pairs[rows]))
        return pictures.to_input(drawn), self.y[rows]


def numbers(windows: np.ndarray) -> np.ndarray:
    """Return what a picture is drawn from, (m, 120), scaled as it is drawn.

    Prices and average in [0, 1] between the picture's lowest and highest, volume over its largest.
    """
    closes = np.lib.stride_tricks.sliding_window_view(windows[:, 3], BARS, axis=1)
    lines = np.concatenate([windows[:, :4, -BARS:], closes.mean(2)[:, None]], axis=1)
    low, high = lines.min((1, 2), keepdims=True), lines.max((1, 2), keepdims=True)
    volume = windows[:, 4:, -BARS:]
    most = volume.max(2, keepdims=True)
    parts = [(lines - low) / np.where(high > low, high - low, 1.0),
             volume / np.where(most > 0, most, 1.0)]  # fmt: skip
    return np.concatenate(parts, axis=1).reshape(len(windows), -1).astype(np.float32)


# ---- Folds, targets and what is learned from them.


@dataclass(frozen=True)
class Sets:
    """Pairs (m, 2) of coin and last bar: training, validation, test; returns (coins, bars)."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    ahead: np.ndarray

    def y(self, part: str) -> np.ndarray:
        """Return 1 where the return is above zero."""
        pairs = getattr(self, part)
        return (self.ahead[pairs[:, 0], pairs[:, 1]] > 0).astype(np.int64)


def planted(panel: Panel, ahead: np.ndarray, accuracy: float) -> np.ndarray:
    """Return returns of the real sizes, whose sides the last five bars foretell this often.

    Every window has a draw of its own, the same for all nets.
    """
    right = np.random.default_rng(0).random(ahead.shape) < accuracy
    side = np.where(panel.past(5) > 0, 1.0, -1.0)
    return np.abs(ahead) * np.where(right, side, -side)


def sets(panel: Panel, run: Run, setting: Setting) -> Sets:
    """Return a run's pictures; only labels known at the fold's first date are learned.

    The last quarter of their dates is validation; what is trained on was known before it.

    Raises:
        ArgumentError: a set would be empty.
    """
    ahead, slot = panel.ahead(run.horizon), 0 if run.bars == "daily" else 1
    if run.kind == "planted":
        ahead = planted(panel, ahead, setting.planted)
    usable, every, stride = np.isfinite(ahead), setting.every[slot], setting.strides[slot]
    begin, stop = (int(panel.time.searchsorted(pd.Timestamp(t, tz="UTC"))) for t in FOLDS[run.fold])
    first = LOOKBACK - 1
    check = first + 3 * (begin - run.horizon - first) // 4
    t, coin = np.arange(len(panel.time)), np.arange(len(panel.coins))[:, None]
    thin = (t + coin * every) % stride == 0  # each coin on other dates, so that all are covered
    masks = {
        "train": thin & (t <= check - run.horizon),
        "validation": thin & (t >= check) & (t <= begin - run.horizon),
        "test": (t % every == 0) & (t >= begin) & (t < stop) & (coin >= 0),
    }
    found = {name: np.argwhere(usable & mask) for name, mask in masks.items()}
    for name, pairs in found.items():
        if not len(pairs):
            raise ArgumentError(name, 0, f"pictures of {run.name}: more bars, or another fold")
    return Sets(**found, ahead=ahead)


class Half(nn.Module):
    """A net whose inside multiplies in bfloat16 on a CPU; weights and losses stay float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 logits."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()


def net(half: bool) -> nn.Module:
    """Return a new net."""
    return Half(pictures.PriceTrends()) if half else pictures.PriceTrends()


def train(run: Run, data: Path, setting: Setting, folder: Path) -> tuple[np.ndarray, dict]:
    """Train one net, or go on; return P(up) for validation and test, and its history."""
    torch.set_num_threads(1)
    panel = load(data / FILES[run.bars])
    found = sets(panel, run, setting)
    mine = asdict(setting) | asdict(run) | {"data": panel.sha256}
    mine.pop("num_epochs")  # a run may be made longer
    drawn = []
    for name in ("train", "validation", "test"):
        y = found.y(name)
        if run.kind == "shuffled" and name != "test":
            y = np.random.default_rng(run.seed).permutation(y)
        drawn.append(Drawn(panel, getattr(found, name), y))
    where = claim(folder / run.name, mine)
    return taught(where, partial(net, setting.half), drawn, setting.plan(run.seed))


def beside(panel: Panel, run: Run, setting: Setting, folder: Path) -> dict[str, np.ndarray]:
    """Return scores of the test pairs by what stands beside the net; a fit is P(up)."""
    found = sets(panel, run, setting)
    x, late, test = (numbers(panel.windows(getattr(found, name)))
                     for name in ("train", "validation", "test"))  # fmt: skip
    y, z = found.y("train"), found.y("validation")

    def linear() -> np.ndarray:
        """Return the regression whose penalty does best on validation."""
        fits = [LogisticRegression(C=1 / k, max_iter=300).fit(x, y) for k in PENALTIES]
        losses = [float(log_loss(fit.predict_proba(late)[:, 1], z).mean()) for fit in fits]
        return fits[int(np.argmin(losses))].predict_proba(test)[:, 1]

    def trees() -> np.ndarray:
        """Return boosted trees, as many as do best on validation."""
        model = Boosted(2, rounds=setting.rounds, column_share=0.5).fit(x, y, (late, z))
        return model.probabilities(test)[:, 1]

    mine = {"data": panel.sha256, "strides": setting.strides, "every": setting.every}
    where = claim(folder / f"beside-{run.kind}-{run.bars}-{run.horizon}-{run.fold}", mine)
    coin, bar = found.test.T
    return {
        "logistic": kept(where / "linear.npy", linear),
        "trees": kept(where / "trees.npy", trees),
        "reversal": -panel.past(5)[coin, bar],
        "momentum": panel.past(20)[coin, bar],
    }


# ---- Judgement.


def table_of(panel: Panel, pairs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values (m,) of pairs as (bars, coins), NaN elsewhere."""
    out = np.full((len(panel.time), len(panel.coins)), np.nan)
    out[pairs[:, 1], pairs[:, 0]] = values
    return out


def rank_correlation(scores: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Return each date's rank correlation of scores and returns, (dates,)."""
    out = []
    for s, r in zip(scores, returns, strict=True):
        known = ~np.isnan(s)
        both = np.column_stack([rankdata(s[known]), rankdata(r[known])])
        varied = np.ptp(both, axis=0).min() > 0
        out.append(float(np.corrcoef(both.T)[0, 1]) if varied else 0.0)
    return np.array(out)


def money(
    scores: np.ndarray, returns: np.ndarray, hold: int, *, rolled: bool = True
) -> dict[str, Any]:
    """Return what tenths by rank earned: a mean a holding period with its interval and p-value.

    Args:
        scores, returns: (dates, coins).
        hold: dates that a portfolio is held.
        rolled: portfolios end where the next ones begin.

    Portfolios that run side by side share their days: dates / hold of them are counted, and with
    so few the interval is Student's.
    """
    made = ranked.spread(scores, returns, every=hold, rolled=rolled)
    mean, spread = float(made.gross.mean()), float(made.gross.std(ddof=1))
    count = len(made.gross) / hold
    error = spread / count**0.5
    reach = float(student.ppf(0.975, count - 1)) * error
    ic = rank_correlation(scores, returns)
    return {
        "gross_bps": {"estimate": mean * 1e4, "low": 1e4 * (mean - reach),
                      "high": 1e4 * (mean + reach)},
        "p": float(2 * student.sf(abs(mean) / error, count - 1)), "periods": count,
        "net_bps": {f"{fee:g}": float(made.net(fee).mean()) * 1e4 for fee in FEES},
        "break_even_bps": made.break_even_bps, "turnover": float(made.turnover[hold:].mean()),
        "spread_bps": spread * 1e4, "ic": float(ic.mean()),
    }  # fmt: skip


def yearly(row: dict[str, Any], periods: float) -> dict[str, Any]:
    """Return a row with the Sharpe ratios of a year of ``periods`` holding periods."""
    unit = periods**0.5 / row["spread_bps"]
    net = {fee: value * unit for fee, value in row["net_bps"].items()}
    return row | {"sharpe": row["gross_bps"]["estimate"] * unit, "net_sharpe": net}


def forecasts(p: np.ndarray, y: np.ndarray, share: np.ndarray) -> dict[str, Any]:
    """Return what probabilities (seeds, m) are worth as forecasts; gains in nats.

    ``gain`` is over the better of two constants: the training's share of ups, and a coin.
    """
    constant = min(float(log_loss(share, y).mean()), float(np.log(2)))
    gains = constant - log_loss(p, y).mean(1)
    return {
        "accuracy": float(((p > 0.5) == (y > 0)).mean()), "gain": float(gains.mean()),
        "gain_by_seed": gains.tolist(),
    }  # fmt: skip


def verdict(panel: Panel, group: list[Run], setting: Setting, data: Path, folder: Path) -> dict:
    """Return whether the nets of one fold learned, by validation and by the test that followed."""
    found = sets(panel, group[0], setting)
    # The share of ups moves so much that a coin beats what the training's share says: then the
    # coin is the constant to beat.
    shares = evidence.constant_loss(found.y("train"), found.y("validation"), 2)
    constant = min(shares, float(np.log(2)))
    told = [train(run, data, setting, folder)[1] for run in group]
    learned = evidence.learned([min(one["val_loss"]) for one in told], constant)
    return {
        "word": learned.word, "gain": learned.gain, "scatter": learned.scatter,
        "sizes": [len(found.train), len(found.validation), len(found.test)],
        "best_epochs": [one["best_epoch"] for one in told], "constant": constant,
    }  # fmt: skip


def part(
    bars: str, horizon: int, kind: str, data: Path, setting: Setting, folder: Path
) -> dict[str, Any]:
    """Return the table of one question: a row for each that forecasts, both folds joined."""
    panel = load(data / FILES[bars])
    every = setting.every[0 if bars == "daily" else 1]
    mine = [run for run in runs(bars) if run.horizon == horizon and run.kind == kind]
    folds = [[run for run in mine if run.fold == f] for f in range(len(FOLDS))]
    pairs, y, share, told, rows = [], [], [], [], {}
    ahead = sets(panel, mine[0], setting).ahead
    for group in folds:
        found = sets(panel, group[0], setting)
        n = len(found.validation)
        told.append(np.array([train(run, data, setting, folder)[0][n:] for run in group]))
        pairs.append(found.test)
        y.append(found.y("test"))
        share.append(np.full(len(found.test), found.y("train").mean()))
        for name, score in beside(panel, group[0], setting, folder).items():
            rows.setdefault(name, []).append(score)
    p, at = np.concatenate(told, axis=1), np.concatenate(pairs)
    truth, level = np.concatenate(y), np.concatenate(share)
    dates, returns = np.unique(at[:, 1]), table_of(panel, at, ahead[at[:, 0], at[:, 1]])
    scores = {"net": p.mean(0)} | {name: np.concatenate(v) for name, v in rows.items()}
    hold, rolled = -(-horizon // every), horizon % every == 0
    year = pd.Timedelta(days=365) / (panel.time[1] - panel.time[0]) / (hold * every)
    out: dict[str, Any] = {}
    for name, score in scores.items():
        table = table_of(panel, at, score)[dates]
        row = yearly(money(table, returns[dates], hold, rolled=rolled), year)
        known = {"net": p}.get(name, score[None] if name in ("logistic", "trees") else None)
        out[name] = row | ({} if known is None else forecasts(known, truth, level))
    return {
        "rows": out, "learned": [verdict(panel, g, setting, data, folder) for g in folds],
        "dates": len(dates), "hold": hold, "coins": len(at) / len(dates), "up": truth.mean(),
        "majority": max(truth.mean(), 1 - truth.mean()), "pictures": len(at),
        "first": str(panel.time[dates[0]]), "last": str(panel.time[dates[-1]]),
    }  # fmt: skip


def corrected(parts: dict[str, dict[str, Any]]) -> None:
    """Write into each row its p-value corrected for all rows of all tables (Holm)."""
    rows = [row for one in parts.values() for row in one["rows"].values()]
    for row, p in zip(rows, evidence.holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = float(p)


def seen(data: Path, setting: Setting, folder: Path) -> dict[str, Any]:
    """Return the planted run's table, what perfect knowledge of the plant earns, and the word."""
    found = part("daily", 5, "planted", data, setting, folder)
    panel = load(data / DAILY)
    ahead = planted(panel, panel.ahead(5), setting.planted).T
    from_bar = int(panel.time.searchsorted(pd.Timestamp(FOLDS[0][0], tz="UTC")))
    dates = np.flatnonzero(np.isfinite(ahead).any(1))
    dates = dates[dates >= from_bar]
    best = np.where(np.isfinite(ahead), panel.past(5).T, np.nan)[dates]
    oracle = yearly(money(best, ahead[dates], 5), 365 / 5)
    row = found["rows"]["net"]
    return {
        "accuracy": setting.planted, "claimed": CLAIMED, "oracle": oracle, "table": found,
        "detected": bool(row["p"] < 0.05 and row["gross_bps"]["estimate"] > 0),
    }  # fmt: skip


# ---- What it will take, and the command line.


def speed(setting: Setting) -> tuple[float, float]:
    """Return seconds a picture of a training step and of a forecast on one thread, here."""
    torch.set_num_threads(1)
    training.seed_everything(0)
    ready: Any = net(setting.half).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = (torch.rand(setting.batch_size, 1, 64, 60) > 0.9).float()
    y = torch.zeros(len(x), dtype=torch.long)

    def seconds(call: Any) -> float:
        call()
        start = time.perf_counter()
        call()
        return (time.perf_counter() - start) / len(x)

    step = seconds(lambda: nn.functional.cross_entropy(ready(x), y).backward())
    with torch.inference_mode():
        return step, seconds(lambda: ready.eval()(x))


def estimate(todo: list[Run], data: Path, setting: Setting, jobs: int) -> str:
    """Return the sentence that says what is left and how long it takes, measured here."""
    step, ask = speed(setting)
    trained = asked = 0
    for run in todo:
        found = sets(load(data / FILES[run.bars]), run, setting)
        trained += setting.num_epochs * len(found.train)
        asked += (setting.num_epochs + 1) * len(found.validation) + len(found.test)
    minutes = (trained * step + asked * ask) / jobs / 60
    return (
        f"{len(todo)} nets left: at most {trained:,} pictures to learn ({1e3 * step:.1f} ms each) "
        f"and {asked:,} to ask ({1e3 * ask:.1f} ms), {jobs} at a time: at most {minutes:.0f} "
        "minutes; killed, they go on"
    )


def store(data: Path, setting: Setting, folder: Path, start: float) -> None:
    """Store the result, once every net is trained."""
    parts = {
        f"{bars}-{h}": part(bars, h, "real", data, setting, folder)
        for bars in FILES for h in HORIZONS
    }  # fmt: skip
    parts["shuffled"] = part("daily", 5, "shuffled", data, setting, folder)
    parts["shuffled"]["rows"] = {"net": parts["shuffled"]["rows"]["net"]}
    corrected(parts)
    panel = load(data / DAILY)
    stored = {
        "setting": asdict(setting) | {"folds": FOLDS, "bars": BARS, "fees": FEES},
        "coins": {"count": len(panel.coins), "survivors_as_of": "2024-09"} | panel.lacks(),
        "parts": parts, "planted": seen(data, setting, folder),
    }  # fmt: skip
    results.save(
        "panel_real", stored, seed=list(range(5)), device=training.describe("cpu"),
        command="SETRADE_DATA=<folder> .venv/bin/python studies/panel_real.py"
        + " --half" * setting.half,
        seconds=time.perf_counter() - start,
        data={name: results.sha256(data / name) for name in FILES.values()},
    )  # fmt: skip


def say(panel: Panel) -> None:
    """Say which coins are missing, or lack the bars for a picture."""
    lacks = panel.lacks()
    tqdm.write(f"{panel.file}: {len(panel.coins)} of {COINS} coins, survivors as of 2024-09; "
               f"too few bars for a picture and its label: {lacks['left_out'] or 'none'}; "
               f"part of the span only: {', '.join(lacks['partial']) or 'none'}")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Train the nets that are missing, two at a time, then store the tables."""
    asked = parser(__doc__, "_build/studies/panel_real")
    add = asked.add_argument
    add("--part", choices=list(FILES), nargs="*", default=list(FILES))
    add("--half", action="store_true", help="bfloat16 inside the net")
    add("--epochs", type=int, default=Setting.num_epochs)
    args = parsed(asked, argv, f"{DAILY} and {HOURLY}")
    start, setting = time.perf_counter(), Setting(num_epochs=args.epochs, half=args.half)
    for name in args.part:
        say(load(args.data / FILES[name]))
    every = [run for name in FILES for run in runs(name)]
    left = [run for run in every if not (args.store / run.name / "p.npy").is_file()]
    todo = [run for run in left if run.bars in args.part]
    if todo:
        tqdm.write(estimate(todo, args.data, setting, args.jobs))
    pool: Any = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    tasks = (delayed(train)(run, args.data, setting, args.store) for run in todo)
    for _ in tqdm(pool(tasks), total=len(todo), unit="net"):
        pass
    if len(left) > len(todo):
        print(f"panel_real: nothing stored yet, {len(left) - len(todo)} nets of other parts left")
        return
    store(args.data, setting, args.store, start)


if __name__ == "__main__":
    # Workers find what is kept in a cache by its module's name, and `__main__` names another there.
    from panel_real import main

    main()
