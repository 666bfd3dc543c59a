"""What each part of an EfficientNet is worth where it learns, what pictures cost, what one can see.

    make study STUDY=ablations

The task is one that the small net learns: the rule of crossing averages of `checkpoints`, read off
candlesticks of synthetic markets. Each arm leaves one part out or puts one in: the gates, swish
(ReLU in its place; the gates keep theirs), stochastic depth. Ten seeds an arm (five were planned,
and doubled once when their differences were narrower than their scatter), tested on later
bars of those markets, and on the sample's real bars.

Two more of the seed's rows are measured beside it. «Image generation overhead»: milliseconds to
draw a picture beside those of the net that looks at it. «More interpretable»: the rule reads the
last 24 of 48 bars. Hide six bars at a time: which share of the changed answers comes from bars
that the rule reads? Asked of the net, of frozen Lite0 features with boosted trees, and of the same
trees on the bars as numbers; who looks everywhere alike gets a half. About 30 minutes on two
cores; every run is a line of ``_build/studies/ablations.jsonl``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from checkpoints import SIDE, averages, markets
from picture_folds import numbers
from torch import nn

from setrade import candles, evidence, pictures, results, training
from setrade.efficientnet import EfficientNet, SqueezeExcite2d
from setrade.models.backbones import pretrained
from setrade.models.boosted import Boosted
from setrade.study import Store, grid, run
from setrade.study.command import parser
from setrade.study.store import RunConfig, sample_file

ARMS = ("whole", "no gates", "relu", "stochastic depth", "relu, no gates")
SIGHTS = ("net", "frozen features", "numbers")
GROUP, RULE = 6, 24  # bars hidden at a time; bars that the rule reads
SIZE = {"train_stride": 8, "num_epochs": 3, "hidden_windows": 256}
PLAN = {"lr": 3e-3, "batch_size": 64, "weight_decay": 0.01}
LITE = 96  # pixels of the frozen net: two columns a bar
RATE = 0.2  # of stochastic depth


def swapped(net: nn.Module, kind: type[nn.Module], other: Callable[[], nn.Module]) -> nn.Module:
    """Replace every module of a kind, in place; return the net."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, other())
    return net


def build(arm: str) -> nn.Module:
    """Return the small net of an arm, on torch's seeded generator."""
    net: nn.Module = EfficientNet("micro", 3, drop_connect=RATE * (arm == "stochastic depth"))
    if "no gates" in arm:
        swapped(net, SqueezeExcite2d, nn.Identity)
    if "relu" in arm:
        swapped(net, nn.SiLU, nn.ReLU)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def unseen(stride: int = 8) -> dict[str, np.ndarray]:
    """Return windows that no arm has seen, by market kind."""
    real = candles.windows(candles.sample(), 48, 2 * stride)
    return {"synthetic": markets(slice(3_200, None), stride), "real": real}


def balanced(said: np.ndarray, y: np.ndarray) -> float:
    """Return the mean recall of the three classes."""
    return float(np.mean([(said[y == k] == k).mean() for k in range(3)]))


def drawn(windows: np.ndarray, side: int = SIDE) -> pictures.PictureSet:
    """Return candlestick pictures with the rule's classes."""
    return pictures.PictureSet(windows, averages(windows), pictures.encoder("candles", side))


def taught(arm: str, seed: int, size: dict[str, int]) -> tuple[nn.Module, training.History]:
    """Return a trained net of an arm and how it learned."""
    training.seed_everything(seed)
    net = build(arm)
    plan = training.Plan(num_epochs=size["num_epochs"], seed=seed, **PLAN)
    train = drawn(markets(slice(0, 3_000), size["train_stride"]))
    check = drawn(markets(slice(3_000, 3_200), 8))
    return net, training.fit(net, train, check, plan=plan, progress=False)


def ablation(config: RunConfig, size: dict[str, int]) -> dict[str, Any]:
    """Return what one net of an arm learned."""
    net, told = taught(config["arm"], config["seed"], size)
    out: dict[str, Any] = {"val_loss": told.val_loss, "train_loss": told.train_loss,
                           "parameters": sum(p.numel() for p in net.parameters())}  # fmt: skip
    for name, windows in unseen().items():
        said = training.predict(net, drawn(windows), batch_size=64).argmax(1).numpy()
        out[name] = balanced(said, averages(windows))
    return out


# ---- Where a model looks.


def hidden(x: np.ndarray, group: int, bars: int) -> np.ndarray:
    """Return pictures (N, C, H, W) or numbers (N, 5 * bars) without the bars of a group.

    The columns of a picture become background, its first pixel; numbers become their mean.
    """
    out = x.copy()
    if x.ndim == 4:
        at = np.arange(x.shape[-1]) * bars // x.shape[-1] // GROUP == group
        out[..., at] = x[:, :, :1, :1]
        return out
    of_bar = np.tile(np.arange(bars) // GROUP, x.shape[1] // bars) == group
    out[:, of_bar] = x[:, of_bar].mean(0)
    return out


def looks_at(answer: Callable[[np.ndarray], np.ndarray], x: np.ndarray, bars: int) -> list[float]:
    """Return how far probabilities move when each group of bars is hidden, oldest first."""
    plain, groups = answer(x), range(bars // GROUP)
    return [float(np.abs(answer(hidden(x, g, bars)) - plain).sum(1).mean()) for g in groups]


@torch.no_grad()
def told(net: nn.Module, x: np.ndarray, of: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Return ``of(net(x))`` in batches."""
    parts = torch.from_numpy(np.ascontiguousarray(x)).split(64)
    return torch.cat([of(net.eval()(part)) for part in parts]).numpy()


def sight(config: RunConfig, size: dict[str, int]) -> dict[str, Any]:
    """Return where one kind of model looks, and how well it learned the rule."""
    kind, seed, bars = config["arm"], config["seed"], 48
    test = unseen()["synthetic"][: size["hidden_windows"]]
    if kind == "net":
        net, _ = taught("whole", seed, size)
        x = pictures.to_input(pictures.encoder("candles", SIDE).draw(test)).numpy()
        answer = partial(told, net, of=lambda out: out.softmax(1))
    else:
        net = pretrained("lite0").freeze().eval()

        def features(windows: np.ndarray) -> np.ndarray:
            if kind == "numbers":
                return numbers(windows)
            return pictures.to_input(pictures.encoder("candles", LITE).draw(windows)).numpy()

        def seen(x: np.ndarray) -> np.ndarray:
            return x if kind == "numbers" else told(net, x, lambda out: out)

        train, check = (
            markets(slice(0, 3_000), size["train_stride"]),
            markets(slice(3_000, 3_200), 8),
        )
        trees = Boosted(3, rounds=200, seed=seed)
        trees.fit(seen(features(train)), averages(train), (seen(features(check)), averages(check)))
        x = features(test)
        answer = lambda x: trees.probabilities(seen(x))  # noqa: E731
    moved = looks_at(answer, x, bars)
    share = sum(moved[-(RULE // GROUP) :]) / sum(moved)
    right = balanced(answer(x).argmax(1), averages(test))
    return {"moved": moved, "share_on_the_rule": share, "right": right}


def overhead(calls: int = 200) -> dict[str, dict[str, float]]:
    """Return milliseconds to draw one window and to look at it, by pixels and net."""
    torch.set_num_threads(1)
    out, window = {}, unseen()["synthetic"][:1]
    nets = {"micro": (EfficientNet("micro", 3), 64), "lite0": (pretrained("lite0"), 224),
            "b0": (EfficientNet("b0", 3), 224)}  # fmt: skip
    for name, (net, side) in nets.items():
        net.eval()
        draw = pictures.encoder("candles", side)
        x = pictures.to_input(draw.draw(window))

        def drawing(draw: Any = draw) -> None:
            pictures.to_input(draw.draw(window))

        def looking(net: Any = net, x: torch.Tensor = x) -> None:
            with torch.inference_mode():
                net(x)

        took = {}
        for what, call in (("draw", drawing), ("look", looking)):
            call()  # the first ones wake threads and fetch memory
            call()
            times = []
            for _ in range(calls):
                start = time.perf_counter()
                call()
                times.append(1e3 * (time.perf_counter() - start))
            took[what] = float(np.median(times))
        out[name] = took | {"share_of_drawing": took["draw"] / (took["draw"] + took["look"])}
    return out


def work(config: RunConfig, size: dict[str, int]) -> dict[str, Any]:
    """Return the measures of one run."""
    torch.set_num_threads(1)
    return {"ablation": ablation, "sight": sight}[config["part"]](config, size)


def over_seeds(values: np.ndarray) -> dict[str, float]:
    """Return a mean over seeds with Student's interval."""
    return dict(zip(("estimate", "low", "high"), evidence.t_interval(values), strict=True))


def table(rows: list[dict[str, Any]], names: tuple[str, ...], base: str) -> dict[str, Any]:
    """Return, by arm and measure, mean and interval over seeds, and differences to ``base``.

    A seed orders the same data alike in every arm, so differences are taken seed by seed.
    """
    of = {
        n: {r["config"]["seed"]: r["measures"] for r in rows if r["config"]["arm"] == n}
        for n in names
    }
    keys = [k for k, v in next(iter(of[base].values())).items() if isinstance(v, float)]
    out: dict[str, Any] = {}
    for name, mine in of.items():
        for key in keys:
            value = np.array([mine[seed][key] for seed in of[base]])
            less = value - np.array([m[key] for m in of[base].values()])
            out.setdefault(name, {})[key] = {"mean": over_seeds(value), "less": over_seeds(less)}
    return out


def lessons(rows: list[dict[str, Any]], size: dict[str, int]) -> dict[str, Any]:
    """Return, by arm, whether its nets learned, and their losses (seeds, epochs)."""
    train = averages(markets(slice(0, 3_000), size["train_stride"]))
    constant = evidence.constant_loss(train, averages(markets(slice(3_000, 3_200), 8)))
    out: dict[str, Any] = {}
    for name in ARMS:
        losses = [r["measures"]["val_loss"] for r in rows if r["config"]["arm"] == name]
        told = evidence.learned([min(loss) for loss in losses], constant)
        out[name] = {"learned": asdict(told), "val_loss": losses}
    return out


def above_chance(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return, by sight, how far the mean recall of three classes lies above a third."""
    of = {n: [r["measures"]["right"] for r in rows if r["config"]["arm"] == n] for n in SIGHTS}
    return {name: over_seeds(np.array(right) - 1 / 3) for name, right in of.items()}


def main() -> None:
    """Run what is missing, then store the tables."""
    args = parser(__doc__, counts=[("seeds", 10), *SIZE.items()]).parse_args()
    start, size = time.perf_counter(), {name: getattr(args, name) for name in SIZE}
    arms = grid(part=["ablation"], arm=ARMS, seed=range(args.seeds))
    sights = grid(part=["sight"], arm=SIGHTS, seed=range(args.seeds))
    store = Store(args.store / "ablations.jsonl", "ablations", {}, setting=size)
    run(partial(work, size=size), [*arms, *sights], store, n_jobs=args.jobs)
    spent = sum(row["seconds"] for row in store.of([*arms, *sights]))  # of one core
    stored = {
        "setting": size | PLAN | {"rate": RATE}, "overhead": overhead(),
        "ablations": table(store.of(arms), ARMS, "whole"), "lessons": lessons(store.of(arms), size),
        "sights": table(store.of(sights), SIGHTS, "net"),
        "above_chance": above_chance(store.of(sights)),
        "moved": {k: [r["measures"]["moved"] for r in store.of(sights) if r["config"]["arm"] == k]
                  for k in SIGHTS},
    }  # fmt: skip
    results.save(
        "ablations", stored, command="make study STUDY=ablations", seed=list(range(args.seeds)),
        seconds=spent + time.perf_counter() - start, data=sample_file(), device=training.describe(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
