"""Weights from timm's names to ours; the first tensor that does not fit is named."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .net import EfficientNet
from .table import VARIANTS

TOP = {"conv_stem": "stem.0", "bn1": "stem.1", "conv_head": "head.0", "bn2": "head.1"}
# timm names the layers of a block by their place; a block without expansion starts later.
PLAIN = {"conv_dw": "depthwise.0", "bn1": "depthwise.1", "conv_pw": "project.0", "bn2": "project.1"}
EXPANDED = {
    "conv_pw": "expand.0", "bn1": "expand.1", "conv_dw": "depthwise.0", "bn2": "depthwise.1",
    "conv_pwl": "project.0", "bn3": "project.1",
}  # fmt: skip
GATE = {"se.conv_reduce": "se.reduce", "se.conv_expand": "se.expand"}
BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)\.(\w+)")


class WeightError(ValueError):
    """Weights do not fit; ``tensor`` is the first that does not."""

    def __init__(self, tensor: str, problem: str) -> None:
        self.tensor = tensor
        super().__init__(f"{tensor}: {problem}")


def _rename(key: str, number: dict[tuple[int, int], int], expanded: set[tuple[int, int]]) -> str:
    """Return our name for timm's; raise `WeightError` for one that no EfficientNet has."""
    found = BLOCK.fullmatch(key)
    if found:
        place, layer = (int(found[1]), int(found[2])), found[3]
        ours = (GATE | (EXPANDED if place in expanded else PLAIN)).get(layer)
        if ours:
            return f"blocks.{number[place]}.{ours}.{found[4]}"
    layer, _, leaf = key.rpartition(".")
    if layer in TOP:
        return f"{TOP[layer]}.{leaf}"
    if layer == "classifier":
        return key
    raise WeightError(key, "no EfficientNet has a tensor of this name")


def _reference(weights: Mapping[str, Tensor], n_blocks: int) -> dict[str, Tensor]:
    """Return the shapes of the variant whose stem, head and number of blocks are nearest."""
    for name in ("conv_stem.weight", "conv_head.weight", "classifier.weight"):
        if name not in weights:
            raise WeightError(name, "is missing")
    stem, head = weights["conv_stem.weight"].shape, weights["conv_head.weight"].shape[0]
    classes = weights["classifier.weight"].shape[0]
    with torch.device("meta"):
        nets = [EfficientNet(v, classes, stem[1]) for v in VARIANTS]
    shapes = [dict(net.state_dict()) for net in nets]
    fits = [
        (abs(len(net.blocks) - n_blocks), shape)
        for net, shape in zip(nets, shapes, strict=True)
        if shape["stem.0.weight"].shape[0] == stem[0] and net.num_features == head
    ]
    if not fits:
        raise WeightError("conv_stem.weight", f"no variant has a stem of {stem[0]}, head of {head}")
    return min(fits, key=lambda fit: fit[0])[1]


def from_timm(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's EfficientNet weights under the names of our `EfficientNet`.

    Args:
        state_dict: of timm's ``efficientnet_b*`` or ``tf_efficientnet_b*``.

    Returns:
        A state dict that loads strictly; gates change from 1x1 convolutions to linear layers.

    Raises:
        WeightError: names the first tensor that is unknown, missing or of another shape.
    """
    places = sorted({(int(m[1]), int(m[2])) for k in state_dict if (m := BLOCK.fullmatch(k))})
    number = {place: i for i, place in enumerate(places)}
    expanded = {(int(m[1]), int(m[2])) for k in state_dict
                if (m := BLOCK.fullmatch(k)) and m[3] == "conv_pwl"}  # fmt: skip
    wanted, found = _reference(state_dict, len(places)), {}
    for key, value in state_dict.items():
        name = _rename(key, number, expanded)
        if ".se." in name and value.ndim == 4:
            value = value[:, :, 0, 0]
        if name not in wanted or wanted[name].shape != value.shape:
            shape = tuple(wanted[name].shape) if name in wanted else "no such tensor"
            raise WeightError(key, f"has shape {tuple(value.shape)}, wanted {shape}")
        found[name] = value
    missing = [name for name in wanted if name not in found]
    if missing:
        raise WeightError(missing[0], "is missing")
    return found
