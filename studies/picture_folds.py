"""What the studies of pictures share: bars with holes, targets, splits, judgement, kept work.

`frozen_real`, `b0_real` and `rule_or_future` import it; it runs nothing by itself. Windows and
labels lie inside one stretch of bars: nothing bridges a hole. What takes long is computed once and
kept under ``_build/studies``, so that a study that was killed goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import talib
import torch
from scipy.stats import rankdata
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from setrade import backtest, candles, evidence, labels, metrics, pictures, results, training
from setrade.costs import Costs
from setrade.errors import ArgumentError, choice
from setrade.files import atomic_path, write_atomic
from setrade.study import StudyError
from setrade.study.experiment import daily

RESERVED = pd.Timestamp("2025-01-01", tz="UTC")  # later bars belong to the registered test
FUNDING = "bybit_btcusdt_funding_8h.parquet"
FEE = Costs(slippage_bps=0.0)  # a taker's 5.5 bps a side; slippage is left out, as said
QUANTILE = 0.8  # a position is taken on the strongest fifth of the scores, else none
DRAWS = 500  # histories of the bootstrap


# ---- Work that is kept.


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the array in ``path``; made and written atomically where there is none."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        array = make()
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, array)
    return np.load(path)


def claim(folder: Path, identity: dict[str, Any]) -> Path:
    """Return a folder of kept work, which belongs to one identity for good.

    Raises:
        StudyError: it holds work of other data or another setting; the first name is said.
    """
    file, mine = folder / "identity.json", results.plain(identity)
    folder.mkdir(parents=True, exist_ok=True)
    if file.is_file():
        theirs = json.loads(file.read_text(encoding="utf-8"))
        if wrong := [k for k in {**mine, **theirs} if mine.get(k) != theirs.get(k)]:
            raise StudyError(f"{folder} holds work of another {wrong[0]}: remove it to begin anew")
    write_atomic(file, json.dumps(mine, indent=1))
    return folder


# ---- Bars, in stretches without a hole.


@dataclass(frozen=True)
class Bars:
    """Bars of one file, holes and all; ``stretch`` numbers the runs between the holes."""

    frame: pd.DataFrame
    stretch: np.ndarray
    sha256: str
    file: str

    @property
    def step(self) -> pd.Timedelta:
        """Return the length of a bar."""
        return self.frame.index[1] - self.frame.index[0]

    def whole(self, lookback: int) -> np.ndarray:
        """Return a mask (n,): the window that ends at this bar bridges no hole."""
        first = np.r_[np.full(lookback - 1, -1), self.stretch[: len(self.stretch) - lookback + 1]]
        return first == self.stretch

    def windows(self, lookback: int) -> np.ndarray:
        """Return a view (n - lookback + 1, 5, lookback); row k ends at bar k + lookback - 1.

        Rows that bridge a hole are in it too: only those of `whole` may be used.
        """
        rows = np.ascontiguousarray(self.frame[list(candles.COLUMNS)].to_numpy(float).T)
        return np.lib.stride_tricks.sliding_window_view(rows, lookback, axis=1).swapaxes(0, 1)

    def each(self, function: Callable[[pd.DataFrame], np.ndarray]) -> np.ndarray:
        """Return ``function`` (one number a bar) of every stretch by itself, joined."""
        return np.concatenate([function(part) for part in self.parts()])

    def parts(self) -> Iterator[pd.DataFrame]:
        """Yield the stretches as frames, oldest first."""
        for _, part in self.frame.groupby(self.stretch):
            yield part


def load(path: Path, *, begin: str | None = None) -> Bars:
    """Return a file's bars before 2025, cut into stretches at its holes; each one is checked.

    Raises:
        StudyError: there is no such file, or it has no bar in the span.
        CandleError: a fault other than a hole.
    """
    if not path.is_file():
        raise StudyError(f"no candles at {path}: SETRADE_DATA names the folder they are in")
    raw = pd.read_parquet(path)
    index = pd.DatetimeIndex(pd.to_datetime(raw["ts"], unit="ms", utc=True), name="time")
    frame = raw[list(candles.COLUMNS)].set_axis(index, axis=0).astype(float)
    first = index[0] if begin is None else pd.Timestamp(begin, tz="UTC")
    frame = frame[(frame.index >= first) & (frame.index < RESERVED)]
    if len(frame) < 2:
        raise StudyError(f"{path} has no bars from {first} to 2025")
    gaps = frame.index.to_series().diff().to_numpy()
    step = pd.Series(gaps[1:]).mode()[0].to_timedelta64()
    stretch = np.cumsum(gaps > step)  # the first, NaT, counts as none
    bars = Bars(frame, stretch, results.sha256(path), path.name)
    for part in bars.parts():
        candles.check(part, pd.Timedelta(step))
    return bars


@lru_cache(maxsize=2)
def funding(folder: Path) -> pd.Series:
    """Return Bybit's real funding rates (decimal) by settlement time."""
    raw = pd.read_parquet(folder / FUNDING)
    return pd.Series(raw["rate"].to_numpy(float), pd.to_datetime(raw["ts"], unit="ms", utc=True))


# ---- Targets: rules that a picture shows, and the future, which it may not. Two classes each.


def _rule(name: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """Return a function from bars to 1 where an indicator's rule holds, 0 else, NaN before."""

    def rule(bars: pd.DataFrame) -> np.ndarray:
        o, h, low, c = (bars[x].to_numpy(float) for x in ("open", "high", "low", "close"))
        if name == "rsi":
            value = talib.RSI(c, 14) - 70
        elif name == "averages":
            value = talib.SMA(c, 8) - talib.SMA(c, 24)
        else:
            value = np.abs(talib.CDLENGULFING(o, h, low, c)).astype(float)
        return np.where(np.isnan(value), np.nan, value > 0)

    return rule


RULES = {
    "rsi": "RSI of 14 bars above 70",
    "averages": "mean close of 8 bars above that of 24",
    "engulfing": "the last bar engulfs the one before (TA-Lib)",
}


def future(bars: Bars, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the forward return over ``horizon`` bars, and 1 where it is up, 0 down, NaN unknown.

    A return of exactly zero has no side and is left out of the targets.
    """

    def ahead_of(part: pd.DataFrame) -> np.ndarray:
        if len(part) < horizon + 2:
            return np.full(len(part), np.nan)
        return labels.forward_return(part, horizon).to_numpy()

    ahead = bars.each(ahead_of)
    return ahead, np.where(np.isnan(ahead) | (ahead == 0), np.nan, ahead > 0)


def planted(bars: Bars, accuracy: float, seed: int, back: int = 8) -> np.ndarray:
    """Return sides that a picture foretells: the last bars' own drift, right this often.

    Whoever reads the sign of the last ``back`` closes off the picture is right in ``accuracy`` of
    cases; nobody can do better.
    """
    drift = bars.each(lambda part: part["close"].diff(back).to_numpy())
    luck = np.random.default_rng(seed).random(len(drift)) < accuracy
    return np.where(np.isnan(drift), np.nan, (drift > 0) == luck)


def target(bars: Bars, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return classes (n,) with NaN, forward returns (n,), and bars that the label looks ahead.

    Args:
        bars: of one file.
        name: of `RULES`; "next_<bars>"; or "planted_<per mille>_<seed>", whose classes are planted
            and whose returns are those of the next bar.
    """
    kind, _, rest = name.partition("_")
    if kind == "next":
        ahead, y = future(bars, int(rest))
        return y, ahead, int(rest)
    ahead, _ = future(bars, 1)
    if kind == "planted":
        level, seed = rest.split("_")
        return planted(bars, int(level) / 1000, int(seed)), ahead, 1
    return bars.each(_rule(choice("name", name, RULES))), ahead, 1


# ---- Splits in time.


def split(
    bars: Bars, y: np.ndarray, span: tuple[str, ...], *, lookback: int, horizon: int
) -> labels.Split:
    """Return train, validation and test ends; purged, embargoed by ``horizon`` bars.

    Args:
        bars: of one file.
        y: classes (n,), NaN where there is none.
        span: when training, validation and test begin and the test ends: four dates; training
            begins with the file where the first is "".
        lookback: bars of a window.
        horizon: bars that a label looks ahead.

    Raises:
        ArgumentError: a set would be empty.
    """
    at = [0 if t == "" else int(bars.frame.index.searchsorted(pd.Timestamp(t, tz="UTC")))
          for t in span]  # fmt: skip
    begin, check_from, test_from, stop = at
    end = labels.last_bars(stop, horizon)
    (found,) = labels.walk_forward(
        stop, lookback=lookback, horizon=horizon, first=begin, train=check_from - begin,
        validation=test_from - check_from, test=stop - test_from, embargo=horizon, end=end,
    )  # fmt: skip
    return usable(bars, y, found, lookback)


def usable(bars: Bars, y: np.ndarray, found: labels.Split, lookback: int) -> labels.Split:
    """Return a split without the ends whose window bridges a hole or that have no class."""
    good = bars.whole(lookback) & ~np.isnan(y)
    sets = [rows[good[rows]] for rows in (found.train, found.validation, found.test)]
    if not all(len(rows) for rows in sets):
        raise ArgumentError("bars", [len(rows) for rows in sets], "windows in each of three sets")
    return labels.Split(*sets)


# ---- Pictures.


class Drawn:
    """Square pictures of windows by number, in three channels: for `training.fit` and features.

    Candles are drawn at ``size`` pixels. Gramian fields and recurrence plots have a pixel for each
    pair of bars, are enlarged by repeating each, and stand in three equal channels.
    """

    def __init__(self, windows: np.ndarray, rows: np.ndarray, y: np.ndarray, name: str, size: int):
        classes, bars = np.nan_to_num(y, nan=0.0).astype(np.int64), windows.shape[-1]
        self.place = None if name == "candles" else torch.arange(size) * bars // size
        draw = pictures.encoder(name, size if self.place is None else bars)
        self.set = pictures.PictureSet(windows, classes, draw, rows=rows)

    def __len__(self) -> int:
        return len(self.set)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 (B, 3, size, size) in [0, 1] and classes (B,)."""
        x, y = self.set.batch(rows)
        if self.place is not None:
            x = x[:, :, self.place][..., self.place].expand(-1, 3, -1, -1)
        return x, y


def numbers(windows: np.ndarray) -> np.ndarray:
    """Return what a picture is drawn from: log prices over the last close, and volumes.

    Prices are in units of the window's own deviation, as a picture's rows are; volumes in parts of
    the window's largest.
    """
    log = np.log(windows[:, :4] / windows[:, 3:4, -1:])
    scale = np.log(windows[:, 3]).std(1)[:, None, None]
    most = windows[:, 4:].max(2, keepdims=True)
    parts = [log / np.where(scale > 0, scale, 1.0), windows[:, 4:] / np.where(most > 0, most, 1.0)]
    return np.concatenate(parts, axis=1).reshape(len(windows), -1).astype(np.float32)


# ---- A net, trained so that a killed run goes on.


def taught(
    where: Path, net: Callable[[], torch.nn.Module], sets: list[Drawn], plan: training.Plan
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return P(class 1) for validation and test of a trained net, and its history.

    Net, optimiser and generators are saved after every epoch; early stopping looks at validation.

    Args:
        where: folder of this run's state and answers.
        net: makes the net to train, on torch's seeded generator.
        sets: training, validation, test.
        plan: how to train; its seed is that of the weights too.
    """

    def answer() -> np.ndarray:
        training.seed_everything(plan.seed)
        ready: Any = net()
        ready.to(memory_format=torch.channels_last)  # faster on a CPU
        told = training.fit(ready, *sets[:2], plan=plan, checkpoint=where / "state.pt")
        write_atomic(where / "history.json", json.dumps(asdict(told)))
        both = [training.predict(ready, part, batch_size=64) for part in sets[1:]]
        return torch.cat(both).softmax(1)[:, 1].double().numpy()

    p = kept(where / "p.npy", answer)
    return p, json.loads((where / "history.json").read_text(encoding="utf-8"))


def drawn(
    bars: Bars, found: labels.Split, y: np.ndarray, look: tuple[str, int, int], strides: tuple
) -> list[Drawn]:
    """Return training, validation and test pictures of a split.

    Args:
        bars: of one file.
        found: the ends of the windows.
        y: classes (n,).
        look: encoder, pixels, bars of a window.
        strides: of the three sets.
    """
    name, size, lookback = look
    windows, first = bars.windows(lookback), lookback - 1
    sets = (found.train, found.validation, found.test)
    return [
        Drawn(windows, ends[::stride] - first, y[first:], name, size)
        for ends, stride in zip(sets, strides, strict=True)
    ]


# ---- Judgement: probabilities of class 1 against classes and returns.


def log_loss(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the loss of each forecast p of class 1, in nats."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return -np.log(np.where(y > 0, p, 1 - p))


def bounds(statistic: Callable, table: np.ndarray, block: float) -> dict[str, float]:
    """Return estimate, low and high of a statistic of rows in time order (block bootstrap)."""
    got = evidence.interval(statistic, table, seed=0, n_samples=DRAWS, block=min(block, len(table)))
    return {name: float(getattr(got, name)) for name in ("estimate", "low", "high")}


def correlation(x: np.ndarray) -> float:
    """Return the correlation of two columns; 0 where one is constant, which ranks nothing."""
    a, b = (x - x.mean(0)).T
    size = float(a @ a) * float(b @ b)
    return float(a @ b) / size**0.5 if size > 0 else 0.0


def judge(
    p: np.ndarray, y: np.ndarray, ahead: np.ndarray, share: np.ndarray, block: float
) -> dict[str, Any]:
    """Return what forecasts are worth as forecasts, with block-bootstrap intervals.

    Args:
        p: (seeds, m) probabilities of class 1.
        y: (m,) classes.
        ahead: (m,) forward returns, NaN where unknown.
        share: (m,) of class 1 among the training windows, the constant forecast.
        block: mean length of a bootstrap block, in windows.

    Returns:
        ``accuracy``, ``balanced`` (macro recall), ``precision`` and ``f1`` (macro), ``auc``, means
        over seeds; ``majority``; ``gain``: nats by
        which the log loss beats the constant forecast's; ``ic``: rank correlation with returns;
        ``learned``: whether the gain's whole interval is above zero and above the seeds' spread.
    """
    told, mean = (p > 0.5) == (y > 0), p.mean(0)
    gains = log_loss(share, y) - log_loss(p, y)  # (seeds, m)
    each, known = gains.mean(1), np.isfinite(ahead)
    gain = bounds(np.mean, gains.mean(0), block)
    spread = float(each.std(ddof=1)) if len(each) > 1 else 0.0
    ranks = np.column_stack([rankdata(mean[known]), rankdata(ahead[known])])
    both, none = len(np.unique(y)) == 2, {"average": "macro", "zero_division": 0}
    scores: Any = [precision_recall_fscore_support(y, row > 0.5, **none)[:3] for row in p]
    macro = [float(v) for v in np.mean(np.array(scores, float), axis=0)]
    return {
        "n": len(y), "majority": float(max(y.mean(), 1 - y.mean())), "share": float(y.mean()),
        "accuracy": bounds(np.mean, told.mean(0), block),
        "precision": macro[0], "balanced": macro[1], "f1": macro[2],
        "auc": float(np.mean([roc_auc_score(y, row) for row in p])) if both else None,
        "gain": gain, "gain_by_seed": each.tolist(), "learned": bool(gain["low"] > spread),
        "ic": bounds(correlation, ranks, block),  # ranks are taken once
    }  # fmt: skip


def zone(p: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Return positions -1, 0, +1: 0 unless the score is among a fifth of validation's strongest.

    The score is P(up) - P(down). The seed has such a neutral zone; outside it nothing is held.
    """
    score, level = 2 * p - 1, np.quantile(np.abs(2 * validation - 1), QUANTILE)
    return np.where(np.abs(score) > level, np.sign(score), 0.0)


def money(
    bars: Bars, ends: np.ndarray, position: np.ndarray, rates: pd.Series
) -> dict[str, np.ndarray]:
    """Return daily returns of positions after bars ``ends``: gross, net of fees, and of funding.

    ``pnl`` is what each trade earned after all of them. Bars without a position of their own keep
    the one before; stretches are traded by themselves.
    """
    out: dict[str, list[float]] = {"gross": [], "fees": [], "net": [], "pnl": []}
    wanted = pd.Series(position, bars.frame.index[ends])
    for _, mine in wanted.groupby(bars.stretch[ends]):
        part = bars.frame.loc[mine.index[0] : mine.index[-1]]
        if len(part) < 3:
            continue
        held = mine.reindex(part.index).ffill()
        due = rates[(rates.index > part.index[0]) & (rates.index <= part.index[-1])]
        ways = {"gross": (Costs(0.0, 0.0, 0.0), None), "fees": (FEE, None), "net": (FEE, due)}
        for name, (costs, paid) in ways.items():
            paid = None if paid is None or paid.empty else paid
            ran = backtest.run(part, held, costs=costs, funding=paid)
            out[name] += daily(ran.equity)
            out["pnl"] += ran.trades["pnl"].tolist() if name == "net" else []
    return {name: np.array(values) for name, values in out.items()}


def money_row(series: list[dict[str, np.ndarray]], block: float = 10.0) -> dict[str, Any]:
    """Return figures of daily returns, the mean over seeds, with intervals over days."""
    pnl = np.concatenate([one["pnl"] for one in series])
    wins = float((pnl > 0).mean()) if len(pnl) else None
    out: dict[str, Any] = {"trades": len(pnl) / len(series), "win_rate": wins}
    for name in ("gross", "fees", "net"):
        days = np.column_stack([one[name] for one in series])  # (days, seeds)

        def sharpe(x: np.ndarray) -> float:
            return float(np.nan_to_num(metrics.sharpe(x.T, 365.0)).mean())

        annual = metrics.annual_return(days.T, 365.0)
        out[name] = {
            "annual_return": float(annual.mean()), "sharpe": bounds(sharpe, days, block),
            "max_drawdown": float(metrics.max_drawdown(days.T).mean()),
        }  # fmt: skip
    return out
