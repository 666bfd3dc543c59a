"""What a net looked at in a picture, and a score for it where the answer is known.

A map is easy to draw and easy to believe. So each one is scored against a box in which the
evidence lies, against the boxes of other pictures, and (by the caller) against the same map of an
untrained net.

Sources: R. R. Selvaraju et al., Grad-CAM (2017), section 3; M. D. Zeiler and R. Fergus, Visualizing
and Understanding Convolutional Networks (2014), section 4.2, for occlusion; J. Zhang et al.,
Top-Down Neural Attention by Excitation Backprop (2018), for the pointing game; J. Adebayo et al.,
Sanity Checks for Saliency Maps (2018), for the untrained control.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, array, integer, number


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """Hold a net in evaluation mode; put every part back into the mode it was in."""
    modes = [(part, part.training) for part in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _checked(net: nn.Module, x: Tensor, target: Tensor) -> None:
    """Raise unless pictures and the classes to explain fit together."""
    if not isinstance(net, nn.Module):
        raise ArgumentError("net", net, "a torch module")
    if not isinstance(x, Tensor) or x.ndim != 4 or not len(x) or not x.is_floating_point():
        raise ArgumentError("x", x, "pictures (N, C, H, W), floats, at least one")
    if not isinstance(target, Tensor) or target.dtype != torch.int64 or target.shape != x.shape[:1]:
        raise ArgumentError("target", target, f"{len(x)} int64 classes, one a picture")


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

    _checked(net, x, target)
    if not isinstance(layer, nn.Module) or all(part is not layer for part in net.modules()):
        raise ArgumentError("layer", layer, "a module inside net")
    maps, explain = [], LayerGradCam(net, layer)
    with _evaluating(net), torch.enable_grad():
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
    net: nn.Module,
    x: Tensor,
    target: Tensor,
    *,
    window: int = 8,
    stride: int = 4,
    baseline: float = 0.0,
    batch_size: int = 64,
) -> np.ndarray:
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

    _checked(net, x, target)
    side = integer("window", window, 1, int(min(x.shape[2:])))
    step = integer("stride", stride, 1, side)
    shade, size = number("baseline", baseline), integer("batch_size", batch_size, 1)
    maps, explain = [], Occlusion(net)
    with _evaluating(net), torch.inference_mode():
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
