"""The two nets that come with the package, trained on the sample, with their model cards.

    make study STUDY=checkpoints

Both see the first 70 % of the sample. The next 15 % chooses: the trader's last epoch by its loss,
the picture net's learning rate by `choose`. The last 15 % is for the score on the card. It chose
nothing here, but it is no longer fresh: earlier versions of both nets were scored on it, and one
reason for this version is that the picture net then said «hold» to every window.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from setrade import candles, channels, evidence, inference, labels, pictures, results, training
from setrade.efficientnet import EfficientNet
from setrade.files import write_atomic
from setrade.inference import Spec
from setrade.models import SETrader
from setrade.study.experiment import CHANNELS
from setrade.study.store import sample_file

LOOKBACK, HORIZON, SIDE = 48, 16, 64  # bars, bars, pixels
SEED = 0
RATES = (3e-4, 1e-3, 3e-3)  # learning rates that the picture net is trained with
LEAST = 0.05  # share of the validation windows that each class must be given, or it is no choice
BLOCK = 96.0  # bars that the bootstrap keeps together, on average: a day
NOT_FOR = (
    "No other market, bar length or set of channels: it has seen 40 days of one price.",
    "No benchmark of SE blocks or EfficientNets: it is small so that the book runs anywhere.",
)
SEEN = (
    "The test span is not untouched: earlier versions of this net, with other settings, were "
    "scored on it. No setting was chosen by that score."
)


def problem() -> dict[str, Any]:
    """Return bars, truth and split, the same for both nets."""
    bars = candles.sample()
    x = channels.compute(bars, scale_free=True)[list(CHANNELS)]
    first = int(x.notna().all(axis=1).argmax())
    truth = labels.sell_hold_buy(labels.forward_return(bars, HORIZON))
    split = labels.chronological(len(bars), lookback=LOOKBACK, horizon=HORIZON, first=first)
    return {"bars": bars, "x": x, "first": first, "truth": truth, "split": split}


def fair(part: dict[str, Any]) -> torch.nn.Module:
    """Return the cross-entropy in which each class of the training labels counts alike."""
    return torch.nn.CrossEntropyLoss(weight=training.class_weights(part["train"].y))


def train_se_trader(p: dict[str, Any], epochs: int) -> tuple[SETrader, Spec, Any]:
    """Return the trained net, its spec, and its outputs on the test windows."""
    rows = p["x"].iloc[p["first"] : p["split"].train[-1] + 1]
    scaler = channels.Standardizer().fit(rows)
    scaled = scaler.transform(p["x"])
    part = {
        name: training.WindowSet(scaled, p["truth"], getattr(p["split"], name), LOOKBACK)
        for name in ("train", "validation", "test")
    }
    training.seed_everything(SEED)
    net = SETrader(len(CHANNELS), hidden=16)
    plan = training.Plan(num_epochs=epochs, lr=5e-4, patience=4, batch_size=128, seed=SEED)
    training.fit(net, part["train"], part["validation"], plan=plan, loss=fair(part))
    fed = {
        "kind": "windows", "columns": list(CHANNELS), "scale_free": True,
        "standardizer": scaler.to_dict(),
    }  # fmt: skip
    arguments = {"channels": len(CHANNELS), "hidden": 16}
    spec = Spec("SETrader", arguments, fed, (len(CHANNELS), LOOKBACK), "15min")
    return net, spec, training.predict(net, part["test"])


def draw(p: dict[str, Any]) -> dict[str, training.TensorSet]:
    """Return the charts and labels of each part of the split."""
    windows = candles.windows(p["bars"], LOOKBACK)  # window k ends at bar k + LOOKBACK - 1
    y, drawing = p["truth"].to_numpy()[LOOKBACK - 1 :], pictures.encoder("candles", SIDE)
    part = {}
    for name in ("train", "validation", "test"):
        rows = getattr(p["split"], name) - LOOKBACK + 1
        drawn = pictures.to_input(drawing.draw(windows[rows]))
        part[name] = training.TensorSet(drawn, torch.from_numpy(y[rows].astype(np.int64)))
    return part


def choose(outputs: list[torch.Tensor], y: np.ndarray) -> int:
    """Return which net's outputs on the validation part recall its classes best, on average.

    Only nets that give each class to `LEAST` of the windows stand for election: one that gives
    everything one answer recalls a third as well, and no engine could be tested on it.
    """
    recalls = []
    for logits in outputs:
        said = logits.argmax(1).numpy()
        varied = np.bincount(said, minlength=3).min() >= LEAST * len(y)
        recall = np.mean([(said[y == k] == k).mean() for k in range(3)]) if varied else 0.0
        recalls.append(np.nan_to_num(recall))  # a class that never occurs: NaN never wins
    if not max(recalls):
        raise RuntimeError("no learning rate gave a net with three answers")
    return int(np.argmax(recalls))


def train_efficientnet(p: dict[str, Any], epochs: int) -> tuple[EfficientNet, Spec, Any]:
    """Return the trained net, its spec, and its outputs on the test pictures."""
    part, nets = draw(p), []
    for rate in tqdm(RATES, unit="rate", leave=False):
        training.seed_everything(SEED)
        net = EfficientNet("micro", 3, drop_connect=0.2)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.6 times faster
        # Small batches: the norms' running statistics want some hundred steps.
        plan = training.Plan(epochs, rate, batch_size=32, weight_decay=0.05, seed=SEED)
        training.fit(net, part["train"], plan=plan, loss=fair(part))
        nets.append(net)
    outputs = [training.predict(net, part["validation"]) for net in nets]
    net = nets[choose(outputs, part["validation"].y.numpy())]
    fed = {"kind": "pictures", "encoder": "candles", "options": {}, "bars": LOOKBACK}
    arguments = {"variant": "micro", "num_classes": 3, "in_channels": 3}
    spec = Spec("EfficientNet", arguments, fed, (3, SIDE, SIDE), "15min")
    return net, spec, training.predict(net, part["test"])


def score(outputs: torch.Tensor, p: dict[str, Any]) -> dict[str, Any]:
    """Return accuracy on the test bars with its interval, beside the most frequent class."""
    y = p["truth"].to_numpy()[p["split"].test].astype(int)
    guess = np.bincount(p["truth"].to_numpy()[p["split"].train].astype(int)).argmax()
    hit = (outputs.argmax(1).numpy() == y).astype(float)
    same = (y == guess).astype(float)
    better = evidence.interval(np.mean, hit - same, seed=SEED, block=BLOCK)
    found = evidence.interval(np.mean, hit, seed=SEED, block=BLOCK)
    return {
        "examples": len(y),
        "accuracy": round(found.estimate, 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
        "most_frequent_class": round(float(same.mean()), 4),
        "difference": round(better.estimate, 4),
        "difference_interval": [round(better.low, 4), round(better.high, 4)],
        "decisions": np.bincount(outputs.argmax(1), minlength=3).tolist(),
    }


def no_trading(scored: dict[str, Any]) -> str:
    """Return the first thing that a net is not for, with what its score says."""
    if scored["difference_interval"][0] > 0:
        return "No trading: one good stretch, before costs, on a span that was looked at before."
    return "No trading: on the test bars it was no better than guessing the most frequent class."


def card(name: str, spec: Spec, p: dict[str, Any], scored: dict[str, Any]) -> dict[str, Any]:
    """Return the model card; written as Markdown and as JSON beside the weights."""
    bars, split = p["bars"], p["split"]
    file = inference.FOLDER / f"{name}.safetensors"
    net, _ = inference.load(file)
    return {
        "name": name,
        "architecture": spec.architecture,
        "arguments": spec.arguments,
        "parameters": sum(v.numel() for v in net.parameters()),
        "bytes": file.stat().st_size,
        "sha256": results.sha256(file),
        "input_shape": list(spec.input_shape),
        "classes": list(spec.classes),
        "label": f"the sign of the return over {HORIZON} bars from the next open, if above costs",
        "data": "candles.sample(): BTC-USD, 15-minute bars, autumn 2021",
        "trained_on": [str(bars.index[split.train[0]]), str(bars.index[split.train[-1]])],
        "tested_on": [str(bars.index[split.test[0]]), str(bars.index[split.test[-1]])],
        "test": scored,
        "test_seen_before": SEEN,
        "not_for": [no_trading(scored), *NOT_FOR],
        "made_by": "make study STUDY=checkpoints",
    }


def markdown(c: dict[str, Any]) -> str:
    """Return a card as a page."""
    s = c["test"]
    low, high = s["interval"]
    first, last = s["difference_interval"]
    said = [f"{name} {n} times" for name, n in zip(c["classes"], s["decisions"], strict=True)]
    lines = [
        f"# {c['name']}",
        f"{c['architecture']}, {c['parameters']:,} parameters, {c['bytes'] / 1e3:.0f} kB. Input "
        f"{tuple(c['input_shape'])}, classes {', '.join(c['classes'])}.",
        "## Trained on",
        f"{c['data']}, windows ending {c['trained_on'][0]} to {c['trained_on'][1]}. "
        f"Label: {c['label']}.",
        "## How it scored",
        f"On {s['examples']} windows ending {c['tested_on'][0]} to {c['tested_on'][1]}: "
        f"accuracy {s['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, stationary "
        f"bootstrap, a day a block). The most frequent training class: "
        f"{s['most_frequent_class']:.3f}. Difference {s['difference']:+.3f} "
        f"({first:+.3f} to {last:+.3f}). It said {', '.join(said)}.",
        c["test_seen_before"],
        "## Not for",
        "\n".join(f"- {text}" for text in c["not_for"]),
        f"Made by `{c['made_by']}`.",
    ]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    """Train both, write weights and cards, store the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trader-epochs", type=int, default=12)
    parser.add_argument("--picture-epochs", type=int, default=4)
    args = parser.parse_args()
    epochs = {"se_trader": args.trader_epochs, "efficientnet_micro": args.picture_epochs}
    torch.set_num_threads(1)
    start, p, stored = time.perf_counter(), problem(), {}
    makers = {"se_trader": train_se_trader, "efficientnet_micro": train_efficientnet}
    inference.FOLDER.mkdir(exist_ok=True)
    for name, make in tqdm(makers.items(), unit="net"):
        net, spec, outputs = make(p, epochs[name])
        path = inference.save(inference.FOLDER / f"{name}.safetensors", net, spec)
        stored[name] = card(name, spec, p, score(outputs, p))
        write_atomic(path.with_suffix(".json"), json.dumps(stored[name], indent=1) + "\n")
        write_atomic(path.with_suffix(".md"), markdown(stored[name]))
    results.save(
        "checkpoints", stored, command="make study STUDY=checkpoints", seed=SEED,
        seconds=time.perf_counter() - start,
        data=sample_file(), device=training.describe(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
