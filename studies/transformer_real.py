"""SE in a transformer and SE with several heads: planted regimes, then BTC, ETH and SOL.

    SETRADE_DATA=<folder> make study STUDY=transformer_real

*Planted*: `toys.draw_regimes`, two regimes at once. Gates before one linear read-out of the newest
bar: none, one head, and several of the same weights; then whole nets. Fresh windows judge.

*Real*: hourly bars of three perpetuals, one net for all of them, a window of 48 bars. Two targets:
the volatility of the next 24 bars (its logarithm, where something can be learned) and the return
of the next bar in units of its own volatility. Tested on 2023 and on 2024, trained for each up to
half a year before it, and stopped on that half-year. Beside the nets: the mean, repeating the last
value, ridge and boosted trees on newest value, mean and spread of each channel, DLinear and
`SETrader`. Losses are squared errors, compared by `evidence.diebold_mariano`, corrected for all
comparisons (Holm). Control: effects of known size planted in the returns of the same bars.

Five seeds. While the study was built, versions of it had printed losses of 2024, and afterwards the
target, the rates and the nets' size were changed (for cost, and so that nets forecast a change as
the plain ways do): 2024 is no untouched year. No version had printed 2023, which was added for that
reason, and the table shows both. Every fit is kept under ``--store``: a study that was killed goes
on. About ten minutes on one idle core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from picture_folds import claim, kept, load
from scipy.stats import t as student
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from torch import nn
from tqdm import tqdm

from setrade import evidence, results, se, toys, training
from setrade.models import SETrader, SETransformer
from setrade.models.se_transformer import DLinear
from setrade.study import baselines
from setrade.study.command import parsed, parser

COINS = ("btc", "eth", "sol")
LOOKBACK, AHEAD, UNIT = 48, 24, 48  # bars of a window, of the volatility, of a return's unit
FIRST = 169  # bars before this one are not judged: the slowest channel needs a week
TARGETS = {"volatility": AHEAD, "return": 1}  # and the bars that each looks ahead
STRIDE = {"volatility": 24, "return": 16}  # bars between training windows
EVERY = {"volatility": 8, "return": 4}  # bars between tested windows
YEARS = ("2023", "2024")  # tested; validation is the half-year before each
SEEDS = 5
SIZES = (0.1, 0.2)  # planted: correlation of a volume signal with the next return
BOTH = ("mean", "last")
SMALL: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2, "decision": "value"}
NETS: dict[str, Callable[[int], nn.Module]] = {
    "DLinear": lambda c: DLinear(c, LOOKBACK),
    "SETrader": lambda c: Trader(c),
    "transformer": lambda c: SETransformer(c, **SMALL, squeeze=None),
    "SE inside": lambda c: SETransformer(c, **SMALL),
    "SE, two heads": lambda c: SETransformer(c, **SMALL, se_heads=2, squeeze=BOTH),
}
PLAIN = ("mean", "repeat", "ridge", "trees")
PENALTIES = (1e0, 1e2, 1e4, 1e6)


class Trader(nn.Module):
    """`SETrader` with a forecast in place of three classes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = SETrader(channels)
        self.net.head = nn.Linear(self.net.head.in_features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map windows (B, C, T) to forecasts (B,)."""
        return self.net(x)[:, 0]


# ---- Planted regimes.


class Gated(nn.Module):
    """Gates, or views, of eight channels before a linear read-out of the newest bar."""

    def __init__(self, block: se.MultiHeadSE | None, views: bool = False) -> None:
        super().__init__()
        self.block, self.views = block, views
        heads = len(block.blocks) if block is not None and views else 1
        self.read = nn.Linear(8 * heads, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map windows (B, 8, T) to forecasts (B,)."""
        if self.block is not None:
            x = self.block.views(x).flatten(1, 2) if self.views else self.block(x)
        return self.read(x[..., -1])[:, 0]


def heads(squeeze: Sequence[str], reduction: int, views: bool = False) -> Callable[[], nn.Module]:
    """Return what makes a net with one head a squeeze."""
    return lambda: Gated(se.MultiHeadSE(8, len(squeeze), reduction, squeeze), views)


PLANTED: dict[str, Callable[[], nn.Module]] = {
    "no gates": lambda: Gated(None),
    "one head, mean": heads(("mean",), 1),
    "one head, last": heads(("last",), 1),
    "one head, attention": heads(("attention",), 1),
    "one head, max": heads(("max",), 1),
    "one head, ewm": heads(("ewm",), 1),  # it learns a memory for each channel
    "two heads, mean and mean": heads(("mean", "mean"), 2),
    "two heads, mean and last": heads(BOTH, 2),
    "their views": heads(BOTH, 2, views=True),
    "transformer": lambda: SETransformer(8, **SMALL, squeeze=None),
    "transformer, SE inside": lambda: SETransformer(8, **SMALL),
    "transformer, two heads of SE": lambda: SETransformer(8, **SMALL, se_heads=2, squeeze=BOTH),
}


def planted(task: str, name: str, seed: int) -> np.ndarray:
    """Return R2 on fresh windows, heads' diversity (NaN without) and the number of weights."""
    torch.set_num_threads(1)
    x, y, _ = toys.draw_regimes(task, 2_000, seed=100 + seed)
    fresh, told, _ = toys.draw_regimes(task, 2_000, seed=200 + seed)
    training.seed_everything(seed)
    net = PLANTED[name]()
    whole = name.startswith("transformer")
    plan = training.Plan(num_epochs=8 if whole else 20, lr=0.005 if whole else 0.03, seed=seed,
                         batch_size=64 if whole else 256, patience=40)  # fmt: skip
    data = training.TensorSet(x, y)
    training.fit(net, data, plan=plan, loss=nn.MSELoss(), device="cpu", progress=False)
    said = training.predict(net, training.TensorSet(fresh, told))
    block = getattr(net, "block", None)
    diverse = np.nan
    if block is not None and len(block.blocks) > 1:
        with torch.no_grad():
            diverse = float(block.diversity(fresh))
    fit = 1 - float((said - told).square().mean() / told.var())
    return np.array([fit, diverse, sum(p.numel() for p in net.parameters())])


# ---- Real bars.


def channels(bars: pd.DataFrame) -> pd.DataFrame:
    """Return eight channels (n, 8) that know no later bar; the first week is not whole."""
    close, high, low = (bars[k] for k in ("close", "high", "low"))
    moved = pd.Series(np.log(close)).diff()
    span = np.log(high / low + 1e-4)
    volume = np.log(bars["volume"] + 1)
    hour = np.asarray(pd.DatetimeIndex(bars.index).hour) * np.pi / 12
    out = {
        "return": unit(moved),
        "place": (2 * close - high - low) / (high - low).where(high > low),
        "range": span,
        "volume": volume - volume.rolling(168).mean(),
        "day": log_volatility(moved, AHEAD),
        "week": log_volatility(moved, 168),
        "sine": np.sin(hour), "cosine": np.cos(hour),
    }  # fmt: skip
    out["place"] = out["place"].mask(high <= low, 0.0)  # a bar without a range has no place in it
    return pd.DataFrame(out, bars.index)


def unit(moved: pd.Series) -> pd.Series:
    """Return log returns over the root mean square of the bars before each."""
    before = moved.pow(2).rolling(UNIT).mean().shift(1)
    return moved / (before + 1e-10).pow(0.5)


def log_volatility(moved: pd.Series, bars: int) -> pd.Series:
    """Return the log of the root mean square of the last ``bars`` log returns."""
    return 0.5 * np.log(moved.pow(2).rolling(bars).mean() + 1e-10)


def targets(bars: pd.DataFrame, target: str) -> tuple[pd.Series, pd.Series]:
    """Return what follows each bar, and the last value of the same that is known at it."""
    moved = pd.Series(np.log(bars["close"])).diff()
    known = unit(moved) if target == "return" else log_volatility(moved, AHEAD)
    return known.shift(-TARGETS[target]), known


@lru_cache(maxsize=8)
def coin(name: str, data: Path, size: float, seed: int) -> pd.DataFrame:
    """Return a coin's bars; with an effect planted in redrawn ones where ``size`` is above 0."""
    bars = load(data / f"bybit_{name}usdt_perp_1h.parquet")
    if len(np.unique(bars.stretch)) > 1:
        raise ValueError(f"{name}: the hourly bars have a hole")
    frame = bars.frame
    number = 10 * seed + COINS.index(name)
    return evidence.plant(frame, size, seed=number) if size > 0 else frame


class Panel:
    """All coins in one table for one target and tested year: windows by part, standardised."""

    def __init__(self, data: Path, target: str, year: str, size: float = 0.0, seed: int = 0):
        start = pd.Timestamp(year, tz="UTC")
        limits = (start - pd.DateOffset(months=6), start, start + pd.DateOffset(years=1))
        self.target, self.coins = target, COINS
        tables, asked, self.known = [], [], []
        self.ends: dict[str, list[np.ndarray]] = {k: [] for k in ("train", "validation", "test")}
        offset = 0
        for name in COINS:
            bars = coin(name, data, size, seed)
            x, (y, known) = channels(bars), targets(bars, target)
            parts = self._parts(bars.index, limits, target)
            old = slice(FIRST, int(parts["train"][-1]) + 1)
            mean, spread = x.iloc[old].mean(), x.iloc[old].std()
            tables.append(((x - mean) / spread).clip(-8, 8).to_numpy(np.float32))
            asked.append(y.to_numpy(float))
            self.known.append(known.to_numpy(float))
            for part, ends in parts.items():
                self.ends[part].append(ends + offset)
            offset += len(bars)
        self.x, self.y = np.concatenate(tables), np.concatenate(asked)
        self.last = np.concatenate(self.known)
        # Of volatility its change is asked for, as by the paper's NLinear: nets begin at repeating.
        self.base = np.where(target == "volatility", self.last, 0.0)
        self.change, fit = self.y - self.base, self.rows("train")
        self.level, self.unit = self.y[fit].mean(), self.y[fit].std()
        self.mean, self.spread = self.change[fit].mean(), self.change[fit].std()

    @staticmethod
    def _parts(index: Any, limits: tuple, target: str) -> dict[str, np.ndarray]:
        """Return the last bars of windows by part; no target reaches into the next part."""
        at = [int(index.searchsorted(t)) for t in limits]
        ahead, stride = TARGETS[target], STRIDE[target]
        return {
            "train": np.arange(FIRST + LOOKBACK, at[0] - ahead, stride),
            "validation": np.arange(at[0], at[1] - ahead, stride),
            "test": np.arange(at[1], at[2] - ahead, EVERY[target]),
        }

    def rows(self, part: str) -> np.ndarray:
        """Return the last bars of a part's windows, of all coins."""
        return np.concatenate(self.ends[part])

    def examples(self, part: str) -> training.WindowSet:
        """Return a part's windows with standardised targets."""
        scaled = (self.change - self.mean) / self.spread
        return training.WindowSet(self.x, np.nan_to_num(scaled), self.rows(part), LOOKBACK,
                                  kind="value")  # fmt: skip


@lru_cache(maxsize=2)
def panel(data: Path, target: str, year: str, size: float = 0.0, seed: int = 0) -> Panel:
    """Return a `Panel`, kept."""
    return Panel(data, target, year, size, seed)


def trained(p: Panel, name: str, seed: int) -> np.ndarray:
    """Return forecasts of the test, then validation loss and that of the training's mean."""
    training.seed_everything(seed)
    net = NETS[name](p.x.shape[1])
    train, val = p.examples("train"), p.examples("validation")
    plan = training.Plan(num_epochs=30, lr=3e-3, batch_size=128, seed=seed, weight_decay=0.01,
                         patience=4)  # fmt: skip
    past = training.fit(net, train, val, plan=plan, loss=nn.MSELoss(), device="cpu",
                        progress=False)  # fmt: skip
    said = training.predict(net, p.examples("test")).numpy() * p.spread + p.mean
    said = said + p.base[p.rows("test")]
    return np.r_[said, min(past.val_loss), float(val.y.square().mean())]


def plainly(p: Panel, name: str) -> np.ndarray:
    """Return what a plain way says of the test, then its losses as `trained` has them."""
    val, test = p.rows("validation"), p.rows("test")
    if name == "mean":
        said, late = np.full(len(test), p.level), np.full(len(val), p.level)
    elif name == "repeat":
        said, late = p.last[test], p.last[val]
    else:
        said, late = _fitted(p, name)
    scaled = (p.change[val] - p.mean) / p.spread
    loss = float(np.mean(((late - p.y[val]) / p.spread) ** 2))
    return np.r_[said, loss, float(np.mean(scaled**2))]


def _fitted(p: Panel, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what ridge or trees say of test and validation, which chose their size."""
    x = baselines.windows(pd.DataFrame(p.x), LOOKBACK)
    fit, val, test = (p.rows(k) for k in ("train", "validation", "test"))
    if name == "ridge":
        made = [Ridge(alpha=a).fit(x[fit], p.change[fit]) for a in PENALTIES]
    else:
        size: dict[str, Any] = {"learning_rate": 0.05, "max_leaf_nodes": 8, "random_state": 0}
        size["early_stopping"] = False
        made = [HistGradientBoostingRegressor(max_iter=n, **size).fit(x[fit], p.change[fit])
                for n in (25, 50, 100, 200)]  # fmt: skip
    late = [m.predict(x[val]) + p.base[val] for m in made]
    best = int(np.argmin([np.mean((z - p.y[val]) ** 2) for z in late]))
    return made[best].predict(x[test]) + p.base[test], late[best]


def forecast(job: tuple, data: Path, store: Path) -> np.ndarray:
    """Return what a way says of a tested year, from its file where it has one."""
    target, year, name, seed, size = job
    path = store / f"{target}-{year}-{name}-{seed}-{size:g}.npy".replace(" ", "_")

    def make() -> np.ndarray:
        torch.set_num_threads(1)
        p = panel(data, target, year, size, seed if size else 0)
        return plainly(p, name) if name in PLAIN else trained(p, name, seed)

    return kept(path, make)


# ---- Judgement.


def table(target: str, data: Path, store: Path, seeds: int) -> dict[str, Any]:
    """Return each way's losses, what it learned, and its distance to the others by coin."""
    losses: dict[str, np.ndarray] = {}  # (seeds, coins, bars)
    rows: dict[str, Any] = {}
    for name in (*PLAIN, *NETS):
        many = range(1 if name in PLAIN else seeds)
        runs = {y: [forecast((target, y, name, s, 0.0), data, store) for s in many]
                for y in YEARS}  # fmt: skip
        found = [squares(panel(data, target, y), said) for y, said in runs.items()]
        each = np.concatenate(found, axis=2)  # (seeds, coins, bars)
        losses[name] = each
        rows[name] = {
            "loss": each.mean(), "by_seed": each.mean((1, 2)), "by_coin": each.mean((0, 2)),
            "learned": [learned(said) for said in runs.values()],
            "loss_by_year": {y: x.mean() for y, x in zip(YEARS, found, strict=True)},
        }  # fmt: skip
    base = losses["mean"]
    for name, row in rows.items():
        row["r2"] = 1 - losses[name].mean() / base.mean()
        row["r2_by_seed"] = 1 - row["by_seed"] / base.mean()
        plain = rows["mean"]["loss_by_year"]
        lost = [each for each in row["learned"] if each["word"] == "not learned"]
        row["judged"] = (lost or row["learned"])[0]  # learned is what was learned for every year
        row["r2_by_year"] = {y: 1 - x / plain[y] for y, x in row["loss_by_year"].items()}
    step = -(-TARGETS[target] // EVERY[target])
    return {"rows": rows, "gaps": gaps(losses, step), "bars": base.shape[2]}


def squares(p: Panel, runs: list[np.ndarray]) -> np.ndarray:
    """Return squared errors (seeds, coins, bars), in units of the training targets' variance."""
    test, said = p.rows("test"), np.array([r[:-2] for r in runs])
    errors = ((said - p.y[test]) / p.unit) ** 2
    return errors.reshape(len(runs), len(p.coins), -1)


def learned(runs: list[np.ndarray]) -> dict[str, Any]:
    """Return whether a way's validation loss lies below a constant's by more than seeds scatter.

    Of volatility the constant is a constant change: repeating.
    """
    late, constant = [float(r[-2]) for r in runs], float(runs[0][-1])
    if len(late) == 1:
        return {"gain": constant - late[0], "scatter": None, "word": None}
    told = evidence.learned(late, constant)
    return {"gain": told.gain, "scatter": told.scatter, "word": told.word}


PAIRS = [("SE inside", other) for other in ("mean", "repeat", "ridge", "trees", "DLinear",
                                            "SETrader", "transformer")]  # fmt: skip
PAIRS += [("SE, two heads", other) for other in ("SE inside", "transformer", "ridge", "DLinear")]
PAIRS += [("transformer", other) for other in ("ridge", "DLinear")]


def counting_seeds(told: evidence.LossDifference, each: np.ndarray, bars: int) -> dict[str, Any]:
    """Return a difference with an interval for other bars *and* other seeds.

    ``each`` holds the differences of single seeds. Which bars came and which nets were drawn are
    two kinds of chance, so their variances add, with Welch's degrees of freedom.
    """
    of_bars = (told.high - told.estimate) / student.ppf(0.5 + told.level / 2, bars - 1)
    of_seeds = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else 0.0
    error = float(np.hypot(of_bars, of_seeds))
    if error == 0:  # losses that always differ by the same
        return vars(told) | {"of_bars": of_bars, "of_seeds": of_seeds}
    freedom = error**4 / (of_bars**4 / (bars - 1) + of_seeds**4 / max(len(each) - 1, 1))
    half = error * student.ppf(0.5 + told.level / 2, freedom)
    return vars(told) | {
        "low": told.estimate - half, "high": told.estimate + half,
        "p": 2 * student.sf(abs(told.estimate) / error, freedom), "of_bars": of_bars,
        "of_seeds": of_seeds,
    }  # fmt: skip


def gaps(losses: dict[str, np.ndarray], horizon: int) -> list[dict[str, Any]]:
    """Return differences of loss, all coins together (hour by hour) and each alone.

    Args:
        losses: Of each way, (seeds, coins, bars).
        horizon: Tested bars that a forecast looks ahead.
    """
    out = []
    for one, other in PAIRS:
        for k, name in enumerate(("all", *COINS)):
            coins = slice(None) if name == "all" else slice(k - 1, k)
            a, b = (losses[way][:, coins].mean(1) for way in (one, other))  # (seeds, bars)
            told = evidence.diebold_mariano(a.mean(0), b.mean(0), horizon=horizon)
            each = a.mean(1) - b.mean(1)  # the ways without seeds have one row
            out.append({"first": one, "second": other, "coin": name,
                        **counting_seeds(told, each, a.shape[1]),
                        "share": told.estimate / b.mean()})  # fmt: skip
    return out


def corrected(tables: dict[str, dict[str, Any]]) -> None:
    """Write p-values corrected for all comparisons over all coins, of both targets (Holm)."""
    chosen = [g for t in tables.values() for g in t["gaps"] if g["coin"] == "all"]
    for gap, p in zip(chosen, evidence.holm([g["p"] for g in chosen]), strict=True):
        gap["p_corrected"] = float(p)


def finds(size: float, seed: int, data: Path, store: Path) -> bool:
    """Return whether the net with SE beats the mean on planted returns of the last tested year."""
    net, mean = (forecast(("return", YEARS[-1], name, seed, size), data, store)
                 for name in ("SE inside", "mean"))  # fmt: skip
    p = panel(data, "return", YEARS[-1], size, seed)
    one, other = (squares(p, [x])[0].mean(0) for x in (net, mean))
    return evidence.diebold_mariano(one, other).high < 0


# ---- The command line.


def work(job: tuple, data: Path, store: Path) -> None:
    """Do one job of either kind, and keep it."""
    if job[0] == "planted":
        path = store / "planted-{1}-{2}-{3}.npy".format(*job).replace(" ", "_")
        kept(path, lambda: planted(*job[1:]))
    else:
        forecast(job, data, store)


def regimes(store: Path, seeds: int) -> dict[str, Any]:
    """Return what each design reached on each planted task."""
    out: dict[str, Any] = {}
    for task, name in designs():
        files = [f"planted-{task}-{name}-{s}.npy".replace(" ", "_") for s in range(seeds)]
        x = np.array([np.load(store / file) for file in files])
        mean, low, high = evidence.t_interval(x[:, 0])
        out.setdefault(task, {})[name] = {
            "r2": mean, "low": low, "high": high, "by_seed": x[:, 0],
            "diversity": x[:, 1].mean(), "weights": int(x[0, 2]),
        }  # fmt: skip
    return out


def claims(planted_rows: dict[str, Any], tables: dict[str, Any]) -> dict[str, Any]:
    """Return what the ledger asks: SE inside less none, by target; two heads less the best one."""
    pair = ("SE inside", "transformer")
    out: dict[str, Any] = {}
    for target, told in tables.items():
        same = [g for g in told["gaps"] if (g["first"], g["second"]) == pair]
        out[target] = next(g for g in same if g["coin"] == "all")
    rows = planted_rows["apart"]
    ones = [row for name, row in rows.items() if name.startswith("one head")]
    best = max(ones, key=lambda row: row["r2"])
    gain = np.subtract(rows["two heads, mean and last"]["by_seed"], best["by_seed"])
    out["heads"] = dict(zip(("estimate", "low", "high"), evidence.t_interval(gain), strict=True))
    return out


def designs() -> list[tuple[str, str]]:
    """Return planted tasks with the designs on trial there: whole nets on one of them alone."""
    return [(t, n) for t in toys.REGIME_TASKS for n in PLANTED
            if t == "apart" or not n.startswith("transformer")]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, judge all, store the tables."""
    asked = parser(__doc__, "_build/studies/transformer_real")
    asked.add_argument("--seeds", type=int, default=SEEDS)
    asked.add_argument("--tries", type=int, default=2, help="planted returns of each size")
    args = parsed(asked, argv, "Bybit's hourly bars of three coins")
    data, start = Path(args.data), time.perf_counter()
    files = [f"bybit_{name}usdt_perp_1h.parquet" for name in COINS]
    sums = {name: results.sha256(data / name) for name in files}
    store = claim(args.store, {"data": sums})
    jobs: list[tuple] = [("planted", t, n, s) for t, n in designs() for s in range(args.seeds)]
    jobs += [(t, y, n, s, 0.0) for t in TARGETS for y in YEARS for n in (*PLAIN, *NETS)
             for s in range(1 if n in PLAIN else args.seeds)]  # fmt: skip
    pool: Any = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for _ in tqdm(pool(delayed(work)(j, data, store) for j in jobs), total=len(jobs), unit="fit"):
        pass
    seen = evidence.detectable(lambda size, seed: finds(size, seed, data, store), SIZES,
                               tries=args.tries, needed=args.tries, seed=1)  # fmt: skip
    tables = {t: table(t, data, store, args.seeds) for t in TARGETS}
    corrected(tables)
    planted_rows = regimes(store, args.seeds)
    stored = {
        "planted": planted_rows, "real": tables, "seen": vars(seen),
        "claims": claims(planted_rows, tables),
        "setting": {"lookback": LOOKBACK, "ahead": AHEAD, "unit": UNIT, "stride": STRIDE,
                    "every": EVERY, "years": YEARS, "seeds": args.seeds, "pairs": len(PAIRS)},
    }  # fmt: skip
    results.save(
        "transformer_real", stored, seed=list(range(args.seeds)), data=sums,
        command="SETRADE_DATA=<folder> make study STUDY=transformer_real",
        seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    # Workers find what is kept in a cache by its module's name, and `__main__` names another there.
    from transformer_real import main

    main()
