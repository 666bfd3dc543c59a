"""One run of a walk-forward study: train a net on the past, stop on validation, judge what follows.

Windows and labels of one part never share a bar with the next (`labels.walk_forward` purges and
embargoes). A run's configuration names what differs: data, view, model, seed, fold, fee. A
`Setting` holds what is the same for all; chapters 19 and 23 fix it before any real bar is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
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
from setrade.study.store import Data, RunConfig

CHANNELS = (
    "roc", "rsi", "macd_hist", "bollinger_percent_b", "bollinger_width", "atr",
    "volume", "volume_ma", "obv", "adx",
)  # fmt: skip
SQUEEZES = ("none", "mean", "max", "last", "ewm", "attention")
REDUCTIONS = ("mean/2", "mean/16")  # a squeeze and its reduction ratio, 4 where none is named
NETS = ("nano", "micro", "mini")
ENCODERS = tuple(pictures.ENCODERS)
MODELS = {"channels": (*SQUEEZES, *REDUCTIONS)} | dict.fromkeys(ENCODERS, NETS)
Answer = Callable[[str], np.ndarray]  # "validation" or "test" -> probabilities (m, 3)


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
    bars = data.read()
    start, stop = (int(bars.index.searchsorted(pd.Timestamp(t, tz="UTC"))) for t in setting.span)
    first = max(channels.WARM_UP, setting.lookback)
    returns = labels.forward_return(bars, setting.horizon)
    truth = labels.sell_hold_buy(returns)
    splits = labels.walk_forward(
        stop, lookback=setting.lookback, horizon=setting.horizon, first=first,
        train=start - first - setting.validation, validation=setting.validation,
        test=(stop - start) // integer("n_folds", setting.n_folds, 1), embargo=setting.embargo,
    )  # fmt: skip
    return [Fold(bars, returns, truth, split, setting) for split in splits]


def run_config(config: RunConfig, *, data: dict[str, Data], setting: Setting) -> dict[str, Any]:
    """Train and judge one run.

    Args:
        config: ``data`` (a name in ``data``), ``view`` and ``model`` (see `MODELS`), ``seed``,
            ``fold`` (from 0), ``fee_bps`` (taker, per side).
        data: the files, by name.
        setting: what all runs share.

    Returns:
        The measures of `judge`.
    """
    torch.set_num_threads(1)
    name = choice("data", config["data"], data)
    number = integer("fold", config["fold"], 0, setting.n_folds - 1)
    fold, seed = folds(data[name], setting)[number], integer("seed", config["seed"], 0)
    answer = train(fold, config["view"], config["model"], seed)
    return judge(fold, answer("validation"), answer("test"), Costs(fee_bps=config["fee_bps"]))


def train(fold: Fold, view: str, model: str, seed: int) -> Answer:
    """Return a function that gives a trained model's probabilities on a part of the fold.

    Models of one seed start from the same weights outside the SE block, and see the same batches.

    Args:
        fold: what to train on.
        view: "channels", or a picture encoder's name.
        model: for channels a squeeze, with "/" and its reduction ratio if that is not 4, or
            "none" for no SE block; for pictures a variant of `EfficientNet`.
        seed: of the weights and of the shuffling.

    Raises:
        ArgumentError: an unknown view or model.
    """
    choice("model", model, MODELS[choice("view", view, MODELS)])
    if view != "channels":
        return _train_pictures(fold, view, model, seed)
    squeeze, _, reduction = model.partition("/")
    options = {"squeeze": None if squeeze == "none" else squeeze, "reduction": int(reduction or 4)}
    return train_channels(fold, options, seed)


def train_channels(fold: Fold, options: dict[str, Any], seed: int) -> Answer:
    """Train an `SETrader` with these options on `CHANNELS`, as `train` does."""
    x = channels.compute(fold.bars, scale_free=True)[list(CHANNELS)]
    ends, lookback = fold.ends("train"), fold.setting.lookback
    scaler = channels.Standardizer().fit(x.iloc[ends[0] - lookback + 1 : ends[-1] + 1])
    x = scaler.transform(x)
    training.seed_everything(seed)
    net = SETrader(len(CHANNELS), hidden=fold.setting.hidden, **options)

    def windows(part: str) -> training.WindowSet:
        return training.WindowSet(x, fold.truth, fold.ends(part), lookback)

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
    training.fit(net, *sets, plan=fold.setting.plan(seed), device=device, progress=False)

    def answer(part: str) -> np.ndarray:
        logits = training.predict(net, windows(part), device=device)
        return logits.softmax(1).double().numpy()

    return answer


def positions(fold: Fold, validation: np.ndarray, test: np.ndarray) -> pd.Series:
    """Return the position wanted after each test bar: -1 or +1 on a strong score, else kept.

    The score is P(buy) - P(sell); strong: above the ``quantile`` of its size on validation.
    """
    score, level = test[:, 2] - test[:, 0], validation[:, 2] - validation[:, 0]
    strong = np.abs(score) > np.quantile(np.abs(level), fold.setting.quantile)
    wanted = pd.Series(np.where(strong, np.sign(score), np.nan))
    wanted.index = fold.bars.index[fold.ends("test")]
    return wanted.ffill().fillna(0.0)


def daily(equity: pd.Series) -> list[float]:
    """Return the daily returns of a test block's equity, rounded to 1e-7; zero after ruin."""
    days = np.concatenate([equity[:1], equity.resample("1D").last()])
    return np.round(metrics.returns(days), 7).tolist()


def rank_correlation(score: np.ndarray, ahead: np.ndarray) -> float:
    """Return Spearman's correlation of two (m,); 0 for a constant score, which ranks nothing."""
    return 0.0 if np.ptp(score) == 0 else float(np.asarray(spearmanr(score, ahead))[0])


def judge(fold: Fold, validation: np.ndarray, test: np.ndarray, costs: Costs) -> dict[str, Any]:
    """Return what probabilities (m, 3) were worth on the test bars, as classes and as money.

    Returns:
        ``accuracy``, macro ``precision``, ``recall``, ``f1``, ``majority`` (the accuracy of always
        answering the commonest class), ``ic`` (rank correlation of score and forward return),
        ``daily`` and ``daily_gross`` (returns of each UTC day, with and without costs),
        ``turnover``, and ``trades``, ``wins``, ``gain``, ``loss`` of the ledger.
    """
    ends, guess = fold.ends("test"), test.argmax(1)
    truth = fold.truth.to_numpy()[ends].astype(int)
    wanted = positions(fold, validation, test)
    bars = fold.bars.loc[wanted.index[0] : wanted.index[-1]]
    net, gross = (backtest.run(bars, wanted, costs=c) for c in (costs, Costs(0.0, 0.0, 0.0)))
    zero: Any = 0  # what a class that is never answered counts
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, guess, average="macro", zero_division=zero
    )
    pnl = net.trades["pnl"].to_numpy()
    return {
        "n": len(truth),
        "accuracy": float((guess == truth).mean()),
        "majority": float(np.bincount(truth).max() / len(truth)),
        "precision": float(precision), "recall": float(recall), "f1": float(f1),
        "ic": rank_correlation(test[:, 2] - test[:, 0], fold.returns.to_numpy()[ends]),
        "turnover": float(net.metrics()["turnover"]),
        "trades": len(pnl), "wins": int((pnl > 0).sum()),
        "gain": float(pnl[pnl > 0].sum()), "loss": float(-pnl[pnl < 0].sum()),
        "daily": daily(net.equity), "daily_gross": daily(gross.equity),
    }  # fmt: skip
