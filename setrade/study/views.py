"""What a model sees and what it is: channels for the SE trader, pictures for the EfficientNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from setrade import candles, channels, pictures, training
from setrade.efficientnet import EfficientNet
from setrade.errors import choice
from setrade.models import SETrader

if TYPE_CHECKING:
    from setrade.study.experiment import Fold

CHANNELS = (
    "roc", "rsi", "macd_hist", "bollinger_percent_b", "bollinger_width", "atr",
    "volume", "volume_ma", "obv", "adx",
)  # fmt: skip
WARM_UP = 99  # bars before every channel is known
SQUEEZES = ("none", "mean", "max", "last", "ewm", "attention")
REDUCTIONS = ("mean/2", "mean/16")  # a squeeze and its reduction ratio, 4 where none is named
NETS = ("nano", "micro", "mini")
ENCODERS = tuple(pictures.ENCODERS)
MODELS = {"channels": (*SQUEEZES, *REDUCTIONS)} | dict.fromkeys(ENCODERS, NETS)
Answer = Callable[[str], np.ndarray]  # "validation" or "test" -> probabilities (m, 3)


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
    training.seed_everything(seed)
    if view == "channels":
        squeeze, _, reduction = model.partition("/")
        options = {"squeeze": None if squeeze == "none" else squeeze}
        return _channels(fold, options | {"reduction": int(reduction or 4)}, seed)
    return _pictures(fold, view, model, seed)


def _plan(fold: Fold, seed: int) -> training.Plan:
    s = fold.setting
    return training.Plan(
        num_epochs=s.num_epochs, lr=s.lr, patience=s.patience, batch_size=s.batch_size, seed=seed,
        amp=s.amp,
    )  # fmt: skip


def _channels(fold: Fold, options: dict[str, Any], seed: int) -> Answer:
    x = channels.compute(fold.bars, scale_free=True)[list(CHANNELS)]
    first = fold.ends("train")[0] - fold.setting.lookback + 1
    seen = x.iloc[first : fold.ends("train")[-1] + 1]
    x = channels.Standardizer().fit(seen).transform(x)
    net = SETrader(len(CHANNELS), hidden=fold.setting.hidden, **options)

    def windows(part: str) -> training.WindowSet:
        return training.WindowSet(x, fold.truth, fold.ends(part), fold.setting.lookback)

    return _fitted(fold, net, windows, seed)


def _pictures(fold: Fold, view: str, variant: str, seed: int) -> Answer:
    size = fold.setting.size
    every = candles.windows(fold.bars, size)  # window k ends at bar k + size - 1
    truth = fold.truth.fillna(0).to_numpy().astype(np.int64)[size - 1 :]
    net: Any = EfficientNet(variant, num_classes=3, in_channels=_planes(view, every, size))
    net.to(memory_format=torch.channels_last)  # 1.6 times as fast to train on a CPU

    def windows(part: str) -> pictures.PictureSet:
        rows = fold.ends(part) - size + 1
        return pictures.PictureSet(every, truth, pictures.encoder(view, size), rows=rows)

    return _fitted(fold, net, windows, seed)


def _planes(view: str, every: np.ndarray, size: int) -> int:
    return pictures.Stack((pictures.encoder(view, size),))(every[:1]).shape[1]


def _fitted(fold: Fold, net, windows: Callable, seed: int) -> Answer:
    device = training.device(fold.setting.device)
    sets = windows("train"), windows("validation")
    training.fit(net, *sets, plan=_plan(fold, seed), device=device, progress=False)

    def answer(part: str) -> np.ndarray:
        logits = training.predict(net, windows(part), device=device)
        return logits.softmax(1).double().numpy()

    return answer
