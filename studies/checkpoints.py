"""The three nets that come with the package, trained so that anybody can repeat it, with cards.

    make study STUDY=checkpoints

`se_trader` sees the first 70 % of the sample, the next 15 % stops it, and the last 15 % is for the
score on its card: it learned nothing that pays, and the card says so. The two EfficientNets
learned what a picture shows, from synthetic markets. `efficientnet_micro` reads a rule off
candlesticks: are the averages of 8 and of 24 closes far apart, and which is on top?
`efficientnet_patterns` tells tops from bottoms from neither, in drawn chart patterns. Rules and
patterns are no forecasts, and the cards say that too. Eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from setrade import (
    candles,
    channels,
    evidence,
    inference,
    labels,
    patterns,
    pictures,
    results,
    training,
)
from setrade.efficientnet import EfficientNet
from setrade.files import write_atomic
from setrade.inference import Spec
from setrade.models import SETrader
from setrade.study.experiment import CHANNELS
from setrade.study.store import sample_file

LOOKBACK, HORIZON, SIDE = 48, 16, 64  # bars, bars, pixels
SEED = 0
EDGE = 0.5  # mean bar heights that the averages must be apart
MARKETS = range(100, 112)
TOPS = ("head_and_shoulders", "double_top")
BOTTOMS = ("inverse_head_and_shoulders", "double_bottom")
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


# ---- Two nets that read pictures: each example is its picture and what the picture shows.


@dataclass(frozen=True)
class Lesson:
    """What a picture net learned, from what, and how its pictures are drawn."""

    label: str
    data: str
    tested_on: str
    bars: int
    volume: bool
    epochs: int
    block: float  # test windows that the bootstrap keeps together
    not_for: tuple[str, ...]


LESSONS = {
    "efficientnet_micro": Lesson(
        "a rule: the mean of the last 8 closes less that of the last 24, in mean bar heights of "
        f"those 24: buy above {EDGE}, sell below -{EDGE}, else hold",
        "12 markets of candles.synthetic (seeds 100 to 111), 15-minute bars, the first 3,000 of "
        "each; every fourth window",
        "the last 800 bars of the same markets, and candles.sample(): real BTC-USD bars that it "
        "never saw",
        48, True, 3, 12.0,
        ("No trading: it names a rule, no forecast; fast rules lose to costs (chapter 17).",
         "No other picture: 48 candles with volume at 64 pixels, as its file says."),
    ),
    "efficientnet_patterns": Lesson(
        "a chart pattern: sell for a head and shoulders or a double top, buy for either upside "
        "down, hold for a window whose returns were shuffled",
        "9,000 windows of patterns.synthetic (seed 100), noise 0.02 to 0.1",
        "3,000 windows drawn with another seed, at the same noise",
        64, False, 5, 1.0,
        ("No trading: what textbooks expect after a pattern was not found on real bars "
         "(chapter 14).",
         "No scan of a market: there most windows hold no pattern, in its lessons one in three."),
    ),
}  # fmt: skip


def averages(windows: np.ndarray) -> np.ndarray:
    """Return the class (N,) that the rule gives windows (N, 5, n): 0 sell, 1 hold, 2 buy."""
    _, high, low, close = (windows[:, k, -24:] for k in range(4))
    apart = (close[:, -8:].mean(1) - close.mean(1)) / (high - low).mean(1)
    return np.int64(1) + (apart > EDGE) - (apart < -EDGE).astype(np.int64)


def markets(bars: slice, stride: int) -> np.ndarray:
    """Return windows (N, 5, 48) of some bars of every market, market by market."""
    frames = [candles.synthetic(4_000, seed=seed).candles.iloc[bars] for seed in MARKETS]
    return np.concatenate([candles.windows(frame, 48, stride) for frame in frames])


def shapes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return drawn windows (n, 5, 64) and their classes: tops, neither, bottoms."""
    drawn = patterns.synthetic(n, seed=seed, kinds=("none", "none", *TOPS, *BOTTOMS),
                               noise=(0.02, 0.1))  # fmt: skip
    names = np.array(patterns.NAMES)[drawn.kind]
    return drawn.windows, 1 + np.isin(names, BOTTOMS) - np.isin(names, TOPS).astype(np.int64)


def lesson(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return windows and classes to train on, to choose the epoch by, and of each test."""
    if name == "efficientnet_patterns":
        return {k: shapes(n, seed) for k, n, seed in (("train", 9_000, 100), ("choose", 1_000, 101),
                                                      ("test", 3_000, 102))}  # fmt: skip
    windows = {"train": markets(slice(0, 3_000), 4), "choose": markets(slice(3_000, 3_200), 8),
               "test": markets(slice(3_200, None), 8), "real": candles.windows(
                   candles.sample(), 48, 4)}  # fmt: skip
    return {k: (w, averages(w)) for k, w in windows.items()}


def learn(name: str) -> None:
    """Train a picture net and write weights and card."""
    torch.set_num_threads(1)
    how, sets = LESSONS[name], lesson(name)
    drawn = {
        k: pictures.PictureSet(w, y, pictures.encoder("candles", SIDE, volume=how.volume))
        for k, (w, y) in sets.items()
    }
    training.seed_everything(SEED)
    net = EfficientNet("micro", 3, drop_connect=0.0)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.6 times faster
    plan = training.Plan(how.epochs, 3e-3, batch_size=64, weight_decay=0.01, seed=SEED)
    training.fit(net, drawn["train"], drawn["choose"], plan=plan, progress=False)
    options = {} if how.volume else {"volume": False}
    fed = {"kind": "pictures", "encoder": "candles", "options": options, "bars": how.bars}
    arguments = {"variant": "micro", "num_classes": 3, "in_channels": 3}
    spec = Spec("EfficientNet", arguments, fed, (3, SIDE, SIDE), "15min")
    tests = {
        k: reading(training.predict(net, drawn[k]), sets[k][1], how.block)
        for k in ("test", "real") if k in sets
    }  # fmt: skip
    file = inference.save(inference.FOLDER / f"{name}.safetensors", net, spec)
    write_card(file, lesson_card(name, spec, tests))


def reading(outputs: torch.Tensor, y: np.ndarray, block: float) -> dict[str, Any]:
    """Return how often each class is read right, beside an answer that is always the same."""
    said = outputs.argmax(1).numpy()

    def balanced(t: np.ndarray) -> float:
        return float(np.mean([(t[t[:, 0] == k, 1] == k).mean() for k in range(3)]))

    table = np.column_stack([y, said]).astype(float)
    found = evidence.interval(balanced, table, seed=SEED, block=block)
    return {
        "examples": len(y),
        "accuracy": round(float((said == y).mean()), 4),
        "balanced_accuracy": round(found.estimate, 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
        "most_frequent_class": round(float(np.bincount(y).max() / len(y)), 4),
        "most_frequent_class_balanced": round(1 / 3, 4),
        "decisions": np.bincount(said, minlength=3).tolist(),
    }


def described(file: Path, spec: Spec) -> dict[str, Any]:
    """Return what every card says of a file."""
    net, _ = inference.load(file)
    return {
        "name": file.stem,
        "architecture": spec.architecture,
        "arguments": spec.arguments,
        "parameters": sum(v.numel() for v in net.parameters()),
        "bytes": file.stat().st_size,
        "sha256": results.sha256(file),
        "input_shape": list(spec.input_shape),
        "classes": list(spec.classes),
        "made_by": "make study STUDY=checkpoints",
    }


def lesson_card(name: str, spec: Spec, tests: dict[str, Any]) -> dict[str, Any]:
    """Return the card of a picture net."""
    how = LESSONS[name]
    return described(inference.FOLDER / f"{name}.safetensors", spec) | {
        "label": how.label, "data": how.data, "tested_on": how.tested_on,
        "not_for": list(how.not_for), **tests,
    }  # fmt: skip


def lesson_page(c: dict[str, Any]) -> str:
    """Return the card of a picture net as a page."""
    rows = [
        f"- {'real bars' if k == 'real' else 'synthetic'}: of {s['examples']} windows it reads "
        f"{s['balanced_accuracy']:.3f} right, mean of the three classes (95 % interval "
        f"{s['interval'][0]:.3f} to {s['interval'][1]:.3f}); always the commonest class: 0.333. "
        f"Plain accuracy {s['accuracy']:.3f} against {s['most_frequent_class']:.3f}."
        for k, s in c.items() if k in ("test", "real")
    ]  # fmt: skip
    return "\n\n".join([
        f"# {c['name']}",
        f"{c['architecture']}, {c['parameters']:,} parameters, {c['bytes'] / 1e3:.0f} kB. Input "
        f"{tuple(c['input_shape'])}, classes {', '.join(c['classes'])}.",
        "## What it learned", f"{c['label'][0].upper()}{c['label'][1:]}.",
        "## From", f"{c['data'][0].upper()}{c['data'][1:]}.",
        "## How it scored", f"On {c['tested_on']}.", "\n".join(rows),
        "## Not for", "\n".join(f"- {text}" for text in c["not_for"]),
        f"Made by `{c['made_by']}`.",
    ]) + "\n"  # fmt: skip


def write_card(file: Path, c: dict[str, Any]) -> None:
    """Write a card beside its weights, as JSON and as a page."""
    write_atomic(file.with_suffix(".json"), json.dumps(c, indent=1) + "\n")
    page = markdown(c) if c["architecture"] == "SETrader" else lesson_page(c)
    write_atomic(file.with_suffix(".md"), page)


# ---- The net of channels.


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
    return described(inference.FOLDER / f"{name}.safetensors", spec) | {
        "label": f"the sign of the return over {HORIZON} bars from the next open, if above costs",
        "data": "candles.sample(): BTC-USD, 15-minute bars, autumn 2021",
        "trained_on": [str(bars.index[split.train[0]]), str(bars.index[split.train[-1]])],
        "tested_on": [str(bars.index[split.test[0]]), str(bars.index[split.test[-1]])],
        "test": scored,
        "test_seen_before": SEEN,
        "not_for": [no_trading(scored), *NOT_FOR],
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


def make_trader(epochs: int) -> None:
    """Train the net of channels and write weights and card."""
    torch.set_num_threads(1)
    p, name = problem(), "se_trader"
    net, spec, outputs = train_se_trader(p, epochs)
    file = inference.save(inference.FOLDER / f"{name}.safetensors", net, spec)
    write_card(file, card(name, spec, p, score(outputs, p)))


def main() -> None:
    """Train what is asked for, two at a time; store the cards of all."""
    names = (*LESSONS, "se_trader")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", default=names, choices=names)
    parser.add_argument("--trader-epochs", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()
    inference.FOLDER.mkdir(exist_ok=True)
    jobs = [delayed(learn)(name) for name in args.nets if name in LESSONS]
    jobs += [delayed(make_trader)(args.trader_epochs)] * ("se_trader" in args.nets)
    Parallel(n_jobs=args.jobs)(tqdm(jobs, unit="net"))
    files = [inference.FOLDER / f"{name}.json" for name in names]
    stored = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    results.save(
        "checkpoints", stored, command="make study STUDY=checkpoints", seed=SEED,
        seconds=time.perf_counter() - start,
        data=sample_file(), device=training.describe(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
