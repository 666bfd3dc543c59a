"""One run of a walk-forward study: train a net on the past, stop on validation, judge what follows.

Windows and labels of one part never share a bar with the next (`labels.walk_forward` purges and
embargoes). A run's configuration names what differs: data, view, model, seed, fold, fee. A
`Setting` holds what is the same for all; chapters 19 and 23 fix it before any real bar is seen.
Each run also stores how its net learned, beside what a forecast of class shares would have lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.metrics import precision_recall_fscore_support

from setrade import backtest, candles, channels, labels, metrics, pictures, training
from setrade.costs import Costs
from setrade.efficientnet import EfficientNet
from setrade.errors import choice, integer
from setrade.models import SETrader
from setrade.risk import Risk, by_confidence
from setrade.study import baselines
from setrade.study.store import Data, RunConfig

CHANNELS = (
    "roc", "rsi", "macd_hist", "bollinger_percent_b", "bollinger_width", "atr",
    "volume", "volume_ma", "obv", "adx",
)  # fmt: skip
SQUEEZES = ("none", "mean", "max", "last", "ewm", "attention")
_NONE: dict[str, Any] = {"squeeze": None}
_MEAN: dict[str, Any] = {"squeeze": "mean"}
_SCALES: dict[str, Any] = {"squeeze": "multi-scale", "scales": (5, 15, 60)}
# What each net on channels is made of; "/" gives the reduction ratio, 4 where none is named.
TRADERS: dict[str, dict[str, Any]] = {
    "none": _NONE, **{name: {"squeeze": name} for name in SQUEEZES[1:]},
    "mean/2": _MEAN | {"reduction": 2}, "mean/16": _MEAN | {"reduction": 16},
    "multi-scale": _SCALES,
    "lstm": _NONE | {"encoder": "lstm"}, "lstm mean": _MEAN | {"encoder": "lstm"},
    "lstm multi-scale": _SCALES | {"encoder": "lstm"},
    "tanh": _NONE | {"decision": "tanh"}, "tanh mean": _MEAN | {"decision": "tanh"},
}  # fmt: skip
NETS = ("nano", "micro", "mini")
ENCODERS = tuple(pictures.ENCODERS)
BASELINES = {"numbers": baselines.NUMBERS, "rule": baselines.RULES}
MODELS = {"channels": tuple(TRADERS)} | dict.fromkeys(ENCODERS, NETS) | BASELINES
SPLITS = ("walk forward", "70/15/15")
RULES = ("kept", "neutral", "confidence")  # from a score to a position, see `positions`
ROUND_TRIP = 0.0013  # of a taker: what the loss of a tanh head charges
Predict = Callable[[str], np.ndarray]  # "validation" or "test" -> probabilities (m, 3)


@dataclass(frozen=True)
class Answer:
    """A trained model: its probabilities on a part of the fold, and how it learned."""

    predict: Predict
    learning: dict[str, Any] = field(default_factory=dict)

    def __call__(self, part: str) -> np.ndarray:
        """Return probabilities (m, 3) on the "validation" or the "test" part."""
        return self.predict(part)


@dataclass(frozen=True)
class Setting:
    """What all runs share; bars throughout.

    Fixed on synthetic markets (chapter 05), none of it on real bars.
    """

    lookback: int = 48
    horizon: int = 16
    n_folds: int = 8
    validation: int = 2_190  # a quarter of a year of hours
    embargo: int = 16
    quantile: float = 0.8  # act on the strongest fifth of the scores, seen on validation
    stride: int = 1  # of the training windows
    span: tuple[str, str] = ("2022-01-01", "2025-01-01")  # what the folds test, half open
    hidden: int = 16
    lr: float = 5e-4
    num_epochs: int = 12
    patience: int = 4
    batch_size: int = 512
    size: int = 64  # of pictures, pixels
    split: str = "walk forward"  # or "70/15/15" of the span, one fold
    rules: tuple[str, ...] = ()  # further ways from scores to positions, of `RULES`
    device: str | None = None  # of nets; None: what `training.device` gives
    amp: bool = True  # mixed precision, on CUDA only

    def here(self) -> Setting:
        """Return the same on a device that is named, as all runs of one table have to be."""
        return replace(self, device=str(training.device(self.device)))

    def header(self) -> dict[str, Any]:
        """Return what a store's header holds: on a GPU also its kind and the precision.

        A CPU knows one precision and goes unnamed, as in the stores that were begun on one.
        """
        fields = asdict(self)
        where, amp = training.device(fields.pop("device")).type, fields.pop("amp")
        return fields if where == "cpu" else fields | {"device": where, "amp": amp}

    def learning(self) -> dict[str, Any]:
        """Return the fields that decide a net and its positions, whatever the split."""
        names = "lookback horizon quantile hidden lr num_epochs patience batch_size"
        return {name: getattr(self, name) for name in names.split()}

    def plan(self, seed: int) -> training.Plan:
        """Return how a net of this setting is trained."""
        return training.Plan(
            num_epochs=self.num_epochs, lr=self.lr, patience=self.patience,
            batch_size=self.batch_size, seed=seed, amp=self.amp,
        )  # fmt: skip


@dataclass(frozen=True)
class Fold:
    """One stretch of history, ready to train on."""

    bars: pd.DataFrame
    returns: pd.Series
    truth: pd.Series  # 0 sell, 1 hold, 2 buy
    split: labels.Split
    setting: Setting

    def ends(self, part: str) -> np.ndarray:
        """Return the bars at which the windows of "train", "validation" or "test" end."""
        stride = self.setting.stride if part == "train" else 1
        return getattr(self.split, part)[::stride]


@lru_cache(maxsize=2)
def folds(data: Data, setting: Setting) -> list[Fold]:
    """Return the folds of a file of candles, oldest first; the tests lie side by side.

    Raises:
        StudyError: the file changed since the study began.
        ArgumentError: too few bars before or inside the span.
    """
    bars, where = data.read(), choice("split", setting.split, SPLITS)
    start, stop = (int(bars.index.searchsorted(pd.Timestamp(t, tz="UTC"))) for t in setting.span)
    first = max(channels.WARM_UP, setting.lookback)
    returns = labels.forward_return(bars, setting.horizon)
    truth = labels.sell_hold_buy(returns)
    if where == "70/15/15":
        integer("n_folds", setting.n_folds, 1, 1)
        split = labels.chronological(
            stop, lookback=setting.lookback, horizon=setting.horizon, first=max(first, start),
            embargo=setting.embargo,
        )  # fmt: skip
        return [Fold(bars, returns, truth, split, setting)]
    splits = labels.walk_forward(
        stop, lookback=setting.lookback, horizon=setting.horizon, first=first,
        train=start - first - setting.validation, validation=setting.validation,
        test=(stop - start) // integer("n_folds", setting.n_folds, 1), embargo=setting.embargo,
    )  # fmt: skip
    return [Fold(bars, returns, truth, split, setting) for split in splits]


def run_config(
    config: RunConfig, *, data: dict[str, Data], setting: Setting, funding: Data | None = None
) -> dict[str, Any]:
    """Train and judge one run.

    Args:
        config: ``data`` (a name in ``data``), ``view`` and ``model`` (see `MODELS`), ``seed``,
            ``fold`` (from 0), ``fee_bps`` (taker, per side).
        data: the files, by name.
        setting: what all runs share.
        funding: the file of funding rates to charge, or None.

    Returns:
        The measures of `judge`; how the net learned (``Answer.learning``); with
        ``setting.rules`` the ``rules``: by rule, the measures of `money`.
    """
    torch.set_num_threads(1)
    name = choice("data", config["data"], data)
    number = integer("fold", config["fold"], 0, setting.n_folds - 1)
    fold, seed = folds(data[name], setting)[number], integer("seed", config["seed"], 0)
    costs, rates = Costs(fee_bps=config["fee_bps"]), funding.rates() if funding else None
    answer = train(fold, config["view"], config["model"], seed)
    validation, test = answer("validation"), answer("test")
    held = baselines.always_long(fold) if config["model"] == "hold" else None
    found = judge(fold, validation, test, costs, rates, held) | answer.learning
    if setting.rules:
        found["rules"] = {
            rule: money(fold, positions(fold, validation, test, rule), costs, rates)
            for rule in setting.rules
        }
    return found


def train(fold: Fold, view: str, model: str, seed: int) -> Answer:
    """Return a function that gives a trained model's probabilities on a part of the fold.

    Models of one seed start from the same weights outside the SE block, and see the same batches.

    Args:
        fold: what to train on.
        view: "channels", a picture encoder's name, or "numbers" or "rule" for a baseline.
        model: for channels a name in `TRADERS`; for pictures a variant of `EfficientNet`; else
            a name in `BASELINES`.
        seed: of the weights and of the shuffling.

    Raises:
        ArgumentError: an unknown view or model.
    """
    choice("model", model, MODELS[choice("view", view, MODELS)])
    if view in BASELINES:
        return Answer(*baselines.fit(fold, model, standardised(fold, CHANNELS), seed))
    if view != "channels":
        return _train_pictures(fold, view, model, seed)
    return train_channels(fold, TRADERS[model], seed)


def standardised(fold: Fold, names: tuple[str, ...]) -> pd.DataFrame:
    """Return channels (n, C), centred and scaled by the training windows' bars."""
    x = channels.compute(fold.bars, scale_free=True)[list(names)]
    ends = fold.ends("train")
    rows = slice(ends[0] - fold.setting.lookback + 1, ends[-1] + 1)
    return channels.Standardizer().fit(x.iloc[rows]).transform(x)


def train_channels(fold: Fold, options: dict[str, Any], seed: int) -> Answer:
    """Train an `SETrader` with these options on `CHANNELS`, as `train` does."""
    x, sizes = standardised(fold, CHANNELS), options.get("decision") == "tanh"
    training.seed_everything(seed)
    net = SETrader(len(CHANNELS), hidden=fold.setting.hidden, **options)
    targets, kind = (fold.returns, "value") if sizes else (fold.truth, "class")

    def windows(part: str) -> training.WindowSet:
        lookback = fold.setting.lookback
        return training.WindowSet(x, targets, fold.ends(part), lookback, kind=kind)

    return _fitted(fold, net, windows, seed)


def _train_pictures(fold: Fold, view: str, variant: str, seed: int) -> Answer:
    size = fold.setting.size
    every = candles.windows(fold.bars, size)  # window k ends at bar k + size - 1
    truth = fold.truth.fillna(0).to_numpy().astype(np.int64)[size - 1 :]
    planes = pictures.Stack((pictures.encoder(view, size),))(every[:1]).shape[1]
    training.seed_everything(seed)
    net: Any = EfficientNet(variant, num_classes=3, in_channels=planes)
    net.to(memory_format=torch.channels_last)  # faster to train on a CPU

    def windows(part: str) -> pictures.PictureSet:
        rows = fold.ends(part) - size + 1
        return pictures.PictureSet(every, truth, pictures.encoder(view, size), rows=rows)

    return _fitted(fold, net, windows, seed)


def _fitted(fold: Fold, net: torch.nn.Module, windows: Callable, seed: int) -> Answer:
    device, sets = training.device(fold.setting.device), (windows("train"), windows("validation"))
    sizes, start = getattr(net, "decision", "softmax") == "tanh", _gates(net, sets[1])
    loss: Any = torch.nn.functional.cross_entropy
    if sizes:
        unit = float(np.std(fold.returns.to_numpy()[fold.ends("train")]))
        loss = training.PositionLoss(ROUND_TRIP, unit)
    history = training.fit(
        net, *sets, plan=fold.setting.plan(seed), loss=loss, device=device, progress=False
    )

    def answer(part: str) -> np.ndarray:
        out = training.predict(net, windows(part), device=device)
        if not sizes:
            return out.softmax(1).double().numpy()
        size = out.double().numpy()
        return np.column_stack([np.maximum(-size, 0), 1 - np.abs(size), np.maximum(size, 0)])

    learning = {
        "train_loss": _digits(history.train_loss), "val_loss": _digits(history.val_loss),
        "best_epoch": history.best_epoch, "stopped_early": history.stopped_early,
        "constant_loss": _constant_loss(fold, loss if sizes else None),
    }  # fmt: skip
    if start:
        learning |= {"gates_start": start, "gates_end": _gates(net, sets[1])}
    return Answer(answer, learning)


def _digits(values: Any) -> list[float]:
    return np.round(np.asarray(values, float), 6).tolist()


@torch.no_grad()
def _gates(net: torch.nn.Module, examples: Any) -> list[float]:
    """Return the mean gate of each input channel over 2,000 validation windows; [] for none."""
    if not isinstance(net, SETrader) or net.se is None:
        return []
    some = torch.linspace(0, len(examples) - 1, min(len(examples), 2_000)).long()
    where = next(net.parameters()).device
    return _digits(net.eval().gates(examples.batch(some)[0].to(where)).mean(0).cpu().numpy())


def _constant_loss(fold: Fold, sizing: Any) -> float:
    """Return the validation loss of the training part's class shares, or of its best position."""
    if sizing is None:
        shares = baselines.class_shares(fold)
        return log_loss(np.tile(shares, (len(fold.ends("validation")), 1)), fold, "validation")
    parts = [torch.tensor(fold.returns.to_numpy()[fold.ends(p)]) for p in ("train", "validation")]
    loss = [[float(sizing(torch.full_like(r, p), r)) for r in parts] for p in (-1.0, 0.0, 1.0)]
    return min(loss)[1]


def log_loss(p: np.ndarray, fold: Fold, part: str) -> float:
    """Return the mean of -log of the probability (m, 3) given to what came; at most 13.8."""
    truth = fold.truth.to_numpy()[fold.ends(part)].astype(int)
    return float(-np.log(np.maximum(p[np.arange(len(truth)), truth], 1e-6)).mean())


def positions(
    fold: Fold, validation: np.ndarray, test: np.ndarray, rule: str = "kept"
) -> pd.Series:
    """Return the position wanted after each test bar.

    The score is P(buy) - P(sell); strong: above the ``quantile`` of its size on validation.

    Args:
        fold: what was trained on.
        validation, test: probabilities (m, 3) on the two parts.
        rule: "kept": -1 or +1 on a strong score, else as before. "neutral": 0 on a weak one.
            "confidence": 0 up to strong, then evenly to 1 at validation's largest score.
    """
    choice("rule", rule, RULES)
    score, level = test[:, 2] - test[:, 0], np.abs(validation[:, 2] - validation[:, 0])
    edge, top = np.quantile(level, fold.setting.quantile), level.max()
    strong = np.abs(score) > edge
    size = np.where(strong, np.sign(score), np.nan)
    if rule == "confidence" and edge < top:
        limits = Risk(min_confidence=float(edge), full_confidence=float(top))
        size = by_confidence(np.sign(score), np.clip(np.abs(score), 0, 1), limits)
    wanted = pd.Series(size, fold.bars.index[fold.ends("test")])
    return (wanted.ffill() if rule == "kept" else wanted).fillna(0.0)


def daily(equity: pd.Series) -> list[float]:
    """Return the daily returns of a test block's equity, rounded to 1e-7; zero after ruin."""
    days = np.concatenate([equity[:1], equity.resample("1D").last()])
    return np.round(metrics.returns(days), 7).tolist()


def rank_correlation(score: np.ndarray, ahead: np.ndarray) -> float:
    """Return Spearman's correlation of two (m,); 0 for a constant score, which ranks nothing."""
    return 0.0 if np.ptp(score) == 0 else float(np.asarray(spearmanr(score, ahead))[0])


def money(fold: Fold, wanted: pd.Series, costs: Costs, funding: pd.Series | None) -> dict[str, Any]:
    """Return what positions on the test bars earned, gross first, then after each cost.

    Returns:
        ``daily`` (returns of each UTC day after all costs), ``daily_gross``, ``daily_fees``
        (after fees) and ``daily_slippage`` (and slippage); ``turnover``; ``trades``, ``wins``,
        ``gain``, ``loss`` of the ledger after all costs.
    """
    bars = fold.bars.loc[wanted.index[0] : wanted.index[-1]]
    steps = backtest.cost_steps(bars, wanted, costs=costs, funding=funding)
    net = steps["funding"]
    pnl = net.trades["pnl"].to_numpy()
    return {
        "turnover": float(net.metrics()["turnover"]),
        "trades": len(pnl), "wins": int((pnl > 0).sum()),
        "gain": float(pnl[pnl > 0].sum()), "loss": float(abs(pnl[pnl < 0].sum())),
        "daily": daily(net.equity),
        **{f"daily_{name}": daily(steps[name].equity) for name in ("gross", "fees", "slippage")},
    }  # fmt: skip


def _by_year(score: np.ndarray, ahead: np.ndarray, index: pd.Index) -> dict[str, list[float]]:
    """Return year to rank correlation and bars."""
    year = np.asarray(pd.DatetimeIndex(index).year)
    found = {str(y): year == y for y in np.unique(year)}
    return {y: [rank_correlation(score[m], ahead[m]), int(m.sum())] for y, m in found.items()}


def judge(
    fold: Fold,
    validation: np.ndarray,
    test: np.ndarray,
    costs: Costs,
    funding: pd.Series | None = None,
    wanted: pd.Series | None = None,
) -> dict[str, Any]:
    """Return what probabilities (m, 3) were worth on the test bars, as classes and as money.

    Args:
        fold: what was trained on.
        validation, test: probabilities on the two parts.
        costs, funding: as `backtest.run`.
        wanted: positions to trade; None: those of `positions`.

    Returns:
        ``accuracy``, macro ``precision``, ``recall``, ``f1``, ``majority`` (the accuracy of always
        answering the commonest class), ``log_loss`` and ``shares_log_loss`` (of the training
        part's class shares), ``ic`` (rank correlation of score and forward return), ``by_year``
        (year to its ``ic`` and bars), and the measures of `money`.
    """
    ends, guess = fold.ends("test"), test.argmax(1)
    truth = fold.truth.to_numpy()[ends].astype(int)
    score, ahead = test[:, 2] - test[:, 0], fold.returns.to_numpy()[ends]
    zero: Any = 0  # what a class that is never answered counts
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, guess, average="macro", zero_division=zero
    )
    shares = np.tile(baselines.class_shares(fold), (len(ends), 1))
    if wanted is None:
        wanted = positions(fold, validation, test)
    return {
        "n": len(truth),
        "accuracy": float((guess == truth).mean()),
        "majority": float(np.bincount(truth).max() / len(truth)),
        "precision": float(precision), "recall": float(recall), "f1": float(f1),
        "log_loss": log_loss(test, fold, "test"),
        "shares_log_loss": log_loss(shares, fold, "test"),
        "ic": rank_correlation(score, ahead),
        "by_year": _by_year(score, ahead, fold.bars.index[ends]),
        **money(fold, wanted, costs, funding),
    }  # fmt: skip
