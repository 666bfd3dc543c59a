"""What a net attends to: gates by regime and over time, channels by importance, pictures by maps.

A gate is a number a net computes for itself. Whether it says anything about the market is a
question, and chapter 06 puts it to gates whose right answer is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.efficientnet.scaling import evaluating
from setrade.errors import ArgumentError, array, integer, number, paired, tensor, timed


@dataclass(frozen=True)
class AttentionRecord:
    """What the gates said after one bar, and what the market was like then."""

    time: pd.Timestamp
    regime: str
    weights: dict[str, float]


@dataclass(frozen=True)
class AttentionReport:
    """Gates (n, C) as a frame indexed by time, with the regime (n,) of each row."""

    weights: pd.DataFrame
    regime: pd.Series

    def records(self) -> Iterator[AttentionRecord]:
        """Yield one record a bar, in the order of time."""
        names = list(self.weights.columns)
        rows = zip(self.weights.index, self.regime, self.weights.to_numpy(), strict=True)
        for time, regime, row in rows:
            weights = dict(zip(names, row.tolist(), strict=True))
            yield AttentionRecord(time, str(regime), weights)

    def table(self) -> pd.DataFrame:
        """Return the mean gate of each feature (rows) in each regime that occurs (columns)."""
        return self.weights.groupby(self.regime.astype(str)).mean().T

    def contrast(self) -> pd.DataFrame:
        """Return `table` less each feature's mean over all bars: what a regime changes.

        All zero where there is one regime, or where gates never move.
        """
        return self.table().sub(self.weights.mean(), axis=0)

    def top(self, k: int = 3) -> dict[str, list[tuple[str, float]]]:
        """Return the ``k`` features with the highest mean gate by regime; ties keep their order."""
        table = self.table()
        k = integer("k", k, 1, len(table))
        best = {str(n): table[n].sort_values(ascending=False, kind="stable") for n in table}
        return {
            regime: [(str(feature), float(gate)) for feature, gate in column.head(k).items()]
            for regime, column in best.items()
        }


def report(
    gates: np.ndarray, features: Sequence[str], regime: pd.Series, times: pd.DatetimeIndex
) -> AttentionReport:
    """Join gates with the regime of the bar at which each window ended.

    Args:
        gates: (n, C), in [0, 1]; a frame has the columns ``features`` and the stamps ``times``.
        features: C names.
        regime: labels by time, from the market alone; rows not in ``times`` are not used.
        times: (n,) the bars at which the windows end.

    Returns:
        An `AttentionReport`.

    Raises:
        ArgumentError: shapes, columns or stamps that do not fit, gates outside [0, 1], or a time
            without a regime.
    """
    weights = array("gates", gates, ndim=2)
    if not isinstance(features, Sequence) or isinstance(features, str | bytes):
        raise ArgumentError("features", features, f"{weights.shape[1]} names")
    if not isinstance(regime, pd.Series) or not regime.index.is_unique:
        raise ArgumentError("regime", regime, "labels by time: a Series, each stamp once")
    if not isinstance(times, pd.Index):
        raise ArgumentError("times", times, "an index of stamps")
    timed("times", times, needed=False)
    if weights.shape[1] != len(features) or weights.min() < 0 or weights.max() > 1:
        raise ArgumentError("gates", gates, f"(n, {len(features)}) numbers in [0, 1]")
    if len(times) != len(weights):
        raise ArgumentError("times", times, f"{len(weights)} times, one a row of gates")
    if isinstance(gates, pd.DataFrame):
        paired("gates", timed("gates", gates, needed=False), pd.Series(0.0, times))
        if list(gates.columns) != list(features):
            raise ArgumentError("gates", gates, f"columns {list(features)}, in this order")
    there = regime.reindex(times)
    if there.isna().any():
        first = times[int(there.isna().to_numpy().argmax())]
        raise ArgumentError("regime", regime, f"a label at every time; there is none at {first}")
    frame = pd.DataFrame(weights, index=times, columns=list(features))
    return AttentionReport(frame, there)


# ---- How much a net loses without a channel.
#
# Source: L. Breiman, Random Forests (2001), section 10, for permutation.


Loss = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def _loss(net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """Return the mean loss of the net in eval mode."""
    if not isinstance(net, nn.Module):
        raise ArgumentError("net", net, "a torch module")
    try:
        with evaluating(net):
            value = float(loss(net(x), y))
    except (RuntimeError, IndexError, TypeError) as error:
        allowed = f"targets that the loss takes with the net's outputs ({str(error)[:120]})"
        raise ArgumentError("y", y, allowed) from error
    if not math.isfinite(value):
        raise ArgumentError("net", net, f"a net with a finite loss on x; it is {value}")
    return value


def _checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return windows (n, C, T) and n targets, at least two."""
    if len(tensor("x", x, ndim=3)) < 2:
        raise ArgumentError("x", x, "a tensor (n, channels, time), two windows or more")
    if not tensor("y", y, floats=False).ndim or len(y) != len(x):
        raise ArgumentError("y", y, f"{len(x)} targets, one a window")
    return x, y


def permutation_importance(
    net: nn.Module, x: Tensor, y: Tensor, *, seed: int, loss: Loss = F.cross_entropy,
    repeats: int = 5,
) -> Tensor:  # fmt: skip
    """Return by how much the loss rises when a channel's windows are dealt to other examples.

    Args:
        net: maps (n, C, T) to what ``loss`` takes.
        x: windows (n, C, T) that the net was not trained on.
        y: (n,) targets.
        seed: of the permutations, the same for every channel.
        loss: of outputs and targets, averaged.
        repeats: permutations to average over.

    Returns:
        (C,); about 0, on either side, where the net does not use the channel, and exactly 0 for a
        channel whose windows are all the same.

    Raises:
        ArgumentError: names the argument; a net whose loss is not finite is refused.
    """
    x, y = _checked(x, y)
    generator = torch.Generator().manual_seed(integer("seed", seed, 0))
    orders = [
        torch.randperm(len(x), generator=generator) for _ in range(integer("repeats", repeats, 1))
    ]
    base, rise = _loss(net, x, y, loss), torch.zeros(x.shape[1])
    for c in range(x.shape[1]):
        mixed = x.clone()
        for order in orders:
            mixed[:, c] = x[order, c]
            rise[c] += (_loss(net, mixed, y, loss) - base) / len(orders)
    return rise


def ablation_importance(
    net: nn.Module, x: Tensor, y: Tensor, *, loss: Loss = F.cross_entropy, value: float = 0.0
) -> Tensor:
    """Return by how much the loss rises when a channel is held at one value.

    Args: as in ``permutation_importance``; ``value`` is 0, the training mean of a standardised
    channel. The net is not trained again.

    Returns:
        (C,).
    """
    x, y = _checked(x, y)
    value = number("value", value)
    base, rise = _loss(net, x, y, loss), torch.zeros(x.shape[1])
    for c in range(x.shape[1]):
        held = x.clone()
        held[:, c] = value
        rise[c] = _loss(net, held, y, loss) - base
    return rise


def gate_drift(
    gates: pd.DataFrame, reference: pd.DataFrame, *, window: int = 96, level: float = 0.99
) -> pd.DataFrame:
    """Measure how far the recent mean gates lie from the reference, and raise an alert.

    The distance is the mean over channels of \\|recent mean - reference mean\\| in units of the
    reference's standard deviation. The alert's threshold is the ``level`` quantile of the same
    distance inside the reference itself, so ordinary wandering raises none.

    Args:
        gates: (n, C) gates over time, causal: row t uses rows up to t.
        reference: (m, C) gates of the same columns from the validation span, m >= 2 * ``window``.
        window: rows of the recent mean.
        level: share of the reference that must stay below the threshold.

    Returns:
        A frame (n, 3) with ``drift`` (NaN until ``window`` rows are there), ``threshold`` and
        ``alert`` (bool).

    Raises:
        ArgumentError: other columns, too short a reference, NaN or a channel that never moved.
    """
    window, level = integer("window", window, 1), number("level", level, 0.5, 1)
    if not isinstance(reference, pd.DataFrame) or len(reference) < 2 * window:
        raise ArgumentError("reference", reference, f"a frame of 2 * window = {2 * window} rows")
    if not isinstance(gates, pd.DataFrame) or list(gates.columns) != list(reference.columns):
        raise ArgumentError("gates", gates, f"a frame with columns {list(reference.columns)}")
    recent, accepted = (  # plain numbers, whatever the columns are: their order is compared above
        pd.DataFrame(array(name, timed(name, frame, needed=False)), frame.index)
        for name, frame in (("gates", gates), ("reference", reference))
    )
    mean, spread = accepted.mean(), accepted.std(ddof=0)
    if (fixed := (accepted.max() == accepted.min()).to_numpy()).any():
        still = list(reference.columns[fixed])
        raise ArgumentError("reference", reference, f"gates that vary; these never do: {still}")

    def distance(frame: pd.DataFrame) -> pd.Series:
        away = (frame.rolling(window).mean() - mean).abs() / spread
        return away.mean(axis=1, skipna=False)

    threshold = float(distance(accepted).quantile(level))
    drift = distance(recent)
    return pd.DataFrame({"drift": drift, "threshold": threshold, "alert": drift > threshold})


# ---- What a net looked at in a picture.
#
# A map is easy to draw and easy to believe. So each one is scored against a box in which the
# evidence lies, against the boxes of other pictures, and (by the caller) against the same map of an
# untrained net.
#
# Sources: R. R. Selvaraju et al., Grad-CAM (2017), section 3; M. D. Zeiler and R. Fergus,
# Visualizing and Understanding Convolutional Networks (2014), section 4.2, for occlusion;
# J. Zhang et al., Top-Down Neural Attention by Excitation Backprop (2018), for the pointing
# game; J. Adebayo et al., Sanity Checks for Saliency Maps (2018), for the untrained control.


def _check_pictures(net: nn.Module, x: Tensor, target: Tensor) -> None:
    """Raise unless pictures and the classes to explain fit together."""
    if not isinstance(net, nn.Module):
        raise ArgumentError("net", net, "a torch module")
    tensor("x", x, ndim=4)
    tensor("target", target, floats=False)
    if target.dtype != torch.int64 or target.shape != x.shape[:1]:
        raise ArgumentError("target", target, f"{len(x)} int64 classes, one a picture")
    try:
        with evaluating(net), torch.no_grad():
            classes = net(x[:1]).shape[-1]
    except (RuntimeError, TypeError) as error:
        raise ArgumentError("x", x, f"pictures that the net takes ({str(error)[:120]})") from error
    if target.min() < 0 or target.max() >= classes:
        raise ArgumentError("target", target, f"classes 0 … {classes - 1}")


def grad_cam(
    net: nn.Module, x: Tensor, target: Tensor, layer: nn.Module, *, batch_size: int = 64
) -> np.ndarray:
    """Return Grad-CAM maps: where the layer's maps push the logit of a class up.

    Each map of the layer is weighted by the mean gradient of the logit over its pixels; the
    weighted sum, positive part only, is stretched to the picture bilinearly.

    Args:
        net: maps pictures to logits (N, classes).
        x: pictures (N, C, H, W) as the net takes them.
        target: (N,) the class to explain in each picture.
        layer: a part of ``net`` whose output is (N, channels, h, w).
        batch_size: pictures a step.

    Returns:
        float64 (N, H, W), not negative; all zero where nothing pushed the logit up.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    _check_pictures(net, x, target)
    if not isinstance(layer, nn.Module) or all(part is not layer for part in net.modules()):
        raise ArgumentError("layer", layer, "a module inside net")
    maps, explain = [], LayerGradCam(net, layer)
    with evaluating(net), torch.enable_grad():
        for rows in torch.arange(len(x)).split(integer("batch_size", batch_size, 1)):
            seen = x[rows].detach().requires_grad_()  # or a frozen net has no gradient at all
            cam = explain.attribute(seen, target[rows], relu_attributions=True)
            if not isinstance(cam, Tensor) or cam.ndim != 4:
                raise ArgumentError("layer", layer, "a module whose output is (N, channels, h, w)")
            size = (int(x.shape[2]), int(x.shape[3]))
            wide = LayerAttribution.interpolate(cam.detach(), size, "bilinear")
            maps.append(wide[:, 0].cpu().double().numpy())
    return np.concatenate(maps)


def occlusion(
    net: nn.Module, x: Tensor, target: Tensor, *, window: int = 8, stride: int = 4,
    baseline: float = 0.0, batch_size: int = 64,
) -> np.ndarray:  # fmt: skip
    """Return occlusion maps: by how much the logit falls when a patch is covered.

    Args:
        net: as in `grad_cam`; so are ``x``, ``target`` and ``batch_size``.
        window: side of the patch in pixels.
        stride: step of the patch in pixels, at most ``window`` so that every pixel is covered.
        baseline: value of the cover, for all channels; the background of the picture.

    Returns:
        float64 (N, H, W), not negative: mean fall over the patches that cover a pixel, 0 where
        covering it raised the logit.
    """
    from captum.attr import Occlusion

    _check_pictures(net, x, target)
    side = integer("window", window, 1, int(min(x.shape[2:])))
    step = integer("stride", stride, 1, side)
    shade, size = number("baseline", baseline), integer("batch_size", batch_size, 1)
    maps, explain = [], Occlusion(net)
    with evaluating(net), torch.no_grad():
        for rows in torch.arange(len(x)).split(size):
            fall = explain.attribute(
                x[rows], (x.shape[1], side, side), (x.shape[1], step, step),
                baselines=shade, target=target[rows],
            )  # fmt: skip
            maps.append(fall.mean(1).clamp(min=0).cpu().double().numpy())
    return np.concatenate(maps)


def boxes_mask(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return bool (N, height, width), True inside boxes (N, 4) of top, bottom, left, right.

    Rows run from ``top`` to ``bottom - 1``, columns from ``left`` to ``right - 1``.
    """
    b = array("boxes", boxes, ndim=2)
    h, w = integer("height", height, 1), integer("width", width, 1)
    top, bottom, left, right = b.T if b.shape[1] == 4 else (np.zeros(1),) * 4
    good = (top >= 0) & (top < bottom) & (bottom <= h) & (left >= 0) & (left < right) & (right <= w)
    if b.dtype.kind not in "iu" or not good.all():
        raise ArgumentError("boxes", boxes, f"integers top < bottom <= {h}, left < right <= {w}")
    r, c = np.arange(h), np.arange(w)
    rows = (r >= top[:, None]) & (r < bottom[:, None])  # (N, height)
    columns = (c >= left[:, None]) & (c < right[:, None])  # (N, width)
    return rows[:, :, None] & columns[:, None, :]


@dataclass(frozen=True)
class Localisation:
    """One number a picture, (N,) each; ``empty`` maps point nowhere and score as chance.

    Attributes:
        share: of the map's mass inside the true box.
        area: of the picture inside the true box: what a flat map scores.
        elsewhere: of the mass inside the boxes of the other pictures, on average: what a map
            scores that knows where boxes tend to lie, but not where this one does.
        hit: 1 where the map's maximum lies in the box, else 0; the share of the maxima in a tie.
        empty: True where a map is zero everywhere.
    """

    share: np.ndarray
    area: np.ndarray
    elsewhere: np.ndarray
    hit: np.ndarray
    empty: np.ndarray

    def means(self) -> dict[str, float]:
        """Return the mean of each over the pictures."""
        names = ("share", "area", "elsewhere", "hit", "empty")
        return {name: float(getattr(self, name).mean()) for name in names}


def localisation(maps: np.ndarray, boxes: np.ndarray) -> Localisation:
    """Score maps against the boxes in which the evidence lies.

    Args:
        maps: (N, H, W), finite and not negative, two pictures or more.
        boxes: integers (N, 4): top, bottom, left, right, the ends exclusive.

    Returns:
        A `Localisation`.

    Raises:
        ArgumentError: names the argument.
    """
    m = array("maps", maps, ndim=3).astype(np.float64)
    if len(m) < 2 or m.min() < 0:
        raise ArgumentError("maps", maps, "at least two maps, not negative")
    inside = boxes_mask(boxes, *m.shape[1:])
    if len(inside) != len(m):
        raise ArgumentError("boxes", boxes, f"{len(m)} boxes, one a map")
    total, area = m.sum((1, 2)), inside.mean((1, 2))
    empty = total == 0
    mass = np.where(empty, 1.0, total)
    share = np.where(empty, area, (m * inside).sum((1, 2)) / mass)
    # The mean of all boxes, each picture's own taken out again.
    everywhere = (m * inside.mean(0)).sum((1, 2)) / mass
    everywhere = np.where(empty, area.mean(), everywhere)
    elsewhere = (len(m) * everywhere - share) / (len(m) - 1)
    top = m == m.max((1, 2), keepdims=True)
    hit = (top & inside).sum((1, 2)) / top.sum((1, 2))
    return Localisation(share, area, elsewhere, hit, empty)
