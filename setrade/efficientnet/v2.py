"""`EfficientNetV2`: fused blocks first, MBConv later; its variants, weights and growing pictures.

Sources: M. Tan and Q. V. Le, EfficientNetV2: Smaller Models and Faster Training (2021), tables 4
and 6 and algorithm 1; the numbers of M, L, XL and of B0 to B3 are those of the authors' code
(google/automl, efficientnetv2/effnetv2_configs.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from setrade.efficientnet.net import (
    BLOCK,
    EXPANDED,
    GATE,
    TOP,
    ConvNorm,
    DropConnect,
    EfficientNet,
    MBConv,
    WeightError,
    check_tensors,
    ends,
    init_weights,
    ungated,
)
from setrade.efficientnet.scaling import round_repeats
from setrade.errors import ArgumentError, choice, flag, integer, number


class StageV2(NamedTuple):
    """A run of blocks, all with kernel 3: fused or MBConv, expansion, first stride, width."""

    fused: bool
    expand: int
    stride: int
    channels: int
    repeats: int


def _stages(*rows: tuple[int, int], strides: tuple[int, ...]) -> tuple[StageV2, ...]:
    """Return stages of (channels, repeats): three fused, then MBConv; expansions as published."""
    expands = (1, 4, 4, 4, *(6 for _ in rows[4:]))
    return tuple(StageV2(i < 3, expands[i], strides[i], *row) for i, row in enumerate(rows))


SIX, SEVEN = (1, 2, 2, 2, 1, 2), (1, 2, 2, 2, 1, 2, 1)
BASE = _stages((16, 1), (32, 2), (48, 2), (96, 3), (112, 5), (192, 8), strides=SIX)
HEAD = 1280


@dataclass(frozen=True)
class VariantV2:
    """Factors on the stages' width and depth, the tested picture's side, dropout, stem, stages."""

    width: float
    depth: float
    resolution: int
    dropout: float
    stem: int = 32
    stages: tuple[StageV2, ...] = BASE

    def __post_init__(self) -> None:
        for name in ("width", "depth"):
            number(name, getattr(self, name), 0.0, 100.0, above=True)
        number("dropout", self.dropout, 0, 0.999)
        integer("resolution", self.resolution, 1)
        integer("stem", self.stem, 1)
        rows = self.stages
        if not rows or not all(isinstance(row, StageV2) for row in rows):
            raise ArgumentError("stages", rows, "rows of StageV2, at least one")

    def round(self, channels: int) -> int:
        """Return scaled channels at the nearest multiple of 8.

        V2's code dropped the older rule that at least 90 % remain: B3's first stage is 16 wide.
        """
        return max(8, int(channels * self.width + 4) // 8 * 8)


VARIANTS_V2 = {
    "b0": VariantV2(1.0, 1.0, 224, 0.2),
    "b1": VariantV2(1.0, 1.1, 240, 0.2),
    "b2": VariantV2(1.1, 1.2, 260, 0.3),
    "b3": VariantV2(1.2, 1.4, 300, 0.3),
    "s": VariantV2(1.0, 1.0, 384, 0.2, 24, _stages(
        (24, 2), (48, 4), (64, 4), (128, 6), (160, 9), (256, 15), strides=SIX)),
    "m": VariantV2(1.0, 1.0, 480, 0.3, 24, _stages(
        (24, 3), (48, 5), (80, 5), (160, 7), (176, 14), (304, 18), (512, 5), strides=SEVEN)),
    "l": VariantV2(1.0, 1.0, 480, 0.4, 32, _stages(
        (32, 4), (64, 7), (96, 7), (192, 10), (224, 19), (384, 25), (640, 7), strides=SEVEN)),
    "xl": VariantV2(1.0, 1.0, 512, 0.4, 32, _stages(
        (32, 4), (64, 8), (96, 8), (192, 16), (256, 24), (512, 32), (640, 8), strides=SEVEN)),
    # Ours, for small pictures on two cores, as in ``VARIANTS``.
    "mini": VariantV2(0.5, 0.5, 64, 0.2),
}  # fmt: skip


class FusedMBConv(nn.Module):
    """Expand and look around in one convolution, then project; no gate.

    Source: S. Gupta and M. Tan, EfficientNet-EdgeTPU (2019); Tan and Le (2021), figure 2.

    Args:
        c_in: input channels.
        c_out: output channels.
        expand: factor on the input channels inside; with 1 the convolution is all there is.
        kernel: of the convolution, odd.
        stride: of the convolution; with 1 and equal channels the input is added back.
        drop_connect: rate at which the branch is dropped while training.
        same_padding: as published (TensorFlow's padding and eps 1e-3), else PyTorch's.
    """

    def __init__(
        self, c_in: int, c_out: int, expand: int = 4, kernel: int = 3, stride: int = 1,
        drop_connect: float = 0.0, same_padding: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        c_in, c_out = integer("c_in", c_in, 1), integer("c_out", c_out, 1)
        kernel, stride = integer("kernel", kernel, 1), integer("stride", stride, 1)
        if kernel % 2 == 0:
            raise ArgumentError("kernel", kernel, "an odd number")
        same = {"same_padding": flag("same_padding", same_padding)}
        expand = integer("expand", expand, 1)
        inside = c_in * expand if expand > 1 else c_out
        self.expand = ConvNorm(c_in, inside, kernel, stride, **same)
        narrow = ConvNorm(inside, c_out, 1, act=False, **same) if expand > 1 else None
        self.project = narrow or nn.Identity()
        self.residual = stride == 1 and c_in == c_out
        self.drop = DropConnect(number("drop_connect", drop_connect, 0, 0.999))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H / stride, W / stride)."""
        out = self.project(self.expand(x))
        return x + self.drop(out) if self.residual else out


class EfficientNetV2(EfficientNet):
    """Stem, fused stages, MBConv stages, head, mean over pixels, linear classifier.

    Args:
        variant: a name in ``VARIANTS_V2``, or a `VariantV2`.
        num_classes: outputs; 0 leaves the classifier out, and the net returns features.
        in_channels: of the picture.
        drop_connect: rate at the last block; it rises linearly from 0 at the first.
        same_padding: True as published (TensorFlow's padding, eps 1e-3: timm's
            tf_efficientnetv2_*); False with PyTorch's.
        published: weights drawn as published (see `init_weights`); None: so for the published
            variants and with ``same_padding``, and not for our own small one.

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self, variant: str | VariantV2 = "b0", num_classes: int = 1000, in_channels: int = 3,
        drop_connect: float = 0.2, same_padding: bool = False, published: bool | None = None,
    ) -> None:  # fmt: skip
        nn.Module.__init__(self)  # the parts are V2's own; what is done with them is inherited
        named = isinstance(variant, str) and variant != "mini"
        if not isinstance(variant, VariantV2):
            variant = VARIANTS_V2[choice("variant", variant, VARIANTS_V2)]
        self.in_channels = integer("in_channels", in_channels, 1)
        rate = number("drop_connect", drop_connect, 0, 0.999)
        same = flag("same_padding", same_padding)
        published = flag("published", named or same if published is None else published)
        width = variant.round(variant.stem)
        self.stem = ConvNorm(in_channels, width, 3, 2, same_padding=same)
        self.blocks = nn.Sequential(*_blocks(variant, width, rate, same))
        self.num_features = variant.round(HEAD)
        last = variant.round(variant.stages[-1].channels)
        self.head = ConvNorm(last, self.num_features, 1, same_padding=same)
        self.dropout = nn.Dropout(variant.dropout)
        classes = integer("num_classes", num_classes, 0)
        self.classifier = nn.Linear(self.num_features, classes) if classes else nn.Identity()
        self.total_stride = 2 * math.prod(stage.stride for stage in variant.stages)
        init_weights(self, published=published)


def _blocks(variant: VariantV2, width: int, rate: float, same: bool) -> list[nn.Module]:
    """Return the blocks behind a stem of ``width`` channels."""
    repeats = [round_repeats(stage.repeats, variant.depth) for stage in variant.stages]
    blocks: list[nn.Module] = []
    for stage, count in zip(variant.stages, repeats, strict=True):
        kind, channels = FusedMBConv if stage.fused else MBConv, variant.round(stage.channels)
        for i in range(count):
            stride, drop = (stage.stride if i == 0 else 1), rate * len(blocks) / sum(repeats)
            blocks.append(kind(width, channels, stage.expand, 3, stride, drop, same))
            width = channels
    return blocks


# ---- Weights from timm's names to ours.


FUSED = {"conv_exp": "expand.0", "bn1": "expand.1", "conv_pwl": "project.0", "bn2": "project.1"}
FLAT = {"conv": "expand.0", "bn1": "expand.1"}


def _layers(state_dict: Mapping[str, Tensor]) -> dict[tuple[int, int], dict[str, str]]:
    """Return, for each block's place in order, our names of timm's layers of its kind."""
    found: dict[tuple[int, int], set[str]] = {}
    for key in state_dict:
        if match := BLOCK.fullmatch(key):
            found.setdefault((int(match[1]), int(match[2])), set()).add(match[3])
    kinds = {"conv_exp": FUSED, "conv": FLAT}
    return {
        place: next((kinds[k] for k in kinds if k in layers), EXPANDED | GATE)
        for place, layers in sorted(found.items())
    }


def _wanted(weights: Mapping[str, Tensor], n_blocks: int) -> dict[str, Tensor]:
    """Return the shapes of the variant with this stem and head, nearest in number of blocks."""
    stem, head, classes = ends(weights)
    fits = {
        abs(sum(round_repeats(s.repeats, v.depth) for s in v.stages) - n_blocks): v
        for v in VARIANTS_V2.values()
        if (v.round(v.stem), v.round(HEAD)) == (stem[0], head)
    }
    if not fits:
        raise WeightError("conv_stem.weight", f"no variant has a stem of {stem[0]}, head of {head}")
    with torch.device("meta"):
        net = EfficientNetV2(fits[min(fits)], classes, stem[1])
    return dict(net.state_dict())


def from_timm_v2(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's EfficientNetV2 weights under the names of our `EfficientNetV2`.

    Args:
        state_dict: of timm's ``tf_efficientnetv2_*`` (b0 to b3, s, m, l, xl).

    Returns:
        A state dict that loads strictly; gates change from 1x1 convolutions to linear layers.

    Raises:
        WeightError: names the first tensor that is unknown, missing or of another shape.
    """
    check_tensors(state_dict)
    layers = _layers(state_dict)
    order = {place: i for i, place in enumerate(layers)}
    wanted, found = _wanted(state_dict, len(layers)), {}
    for key, value in state_dict.items():
        layer, _, leaf = key.rpartition(".")
        name = f"{TOP.get(layer, layer)}.{leaf}"
        if match := BLOCK.fullmatch(key):
            place = (int(match[1]), int(match[2]))
            name = f"blocks.{order[place]}.{layers[place].get(match[3], '')}.{match[4]}"
        if name not in wanted:
            raise WeightError(key, "no EfficientNetV2 has a tensor of this name")
        found[name] = ungated(name, value)
        if wanted[name].shape != found[name].shape:
            shapes = tuple(value.shape), tuple(wanted[name].shape)
            raise WeightError(key, f"has shape {shapes[0]}, wanted {shapes[1]}")
    missing = [name for name in wanted if name not in found]
    if missing:
        raise WeightError(missing[0], "is missing")
    return found


# ---- Pictures that grow while a net is trained.


class Phase(NamedTuple):
    """A part of training: its first step, the picture's side, and the head's dropout."""

    start: int
    side: int
    dropout: float


def progressive(
    steps: int, phases: int = 4, *, sides: tuple[int, int] = (128, 300),
    dropouts: tuple[float, float] = (0.1, 0.3), multiple: int = 1,
) -> list[Phase]:  # fmt: skip
    """Return phases of equal length in which side and dropout rise together, in even steps.

    Args:
        steps: of training in all, at least one a phase.
        phases: how many, at least 2.
        sides: the first and the last phase's, in pixels; the defaults are those of V2-S.
        dropouts: of the first and the last phase.
        multiple: sides between are rounded to the nearest multiple of this.

    Source: Tan and Le (2021), algorithm 1 and table 6.

    Raises:
        ArgumentError: names the argument.
    """
    phases = integer("phases", phases, 2)
    steps, multiple = integer("steps", steps, phases), integer("multiple", multiple, 1)
    for name, pair in (("sides", sides), ("dropouts", dropouts)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ArgumentError(name, pair, "two numbers: of the first and of the last phase")
    first, last = (integer("sides", side, 1) for side in sides)
    low, high = (number("dropouts", rate, 0, 0.999) for rate in dropouts)
    if first > last or low > high:
        name, pair = ("sides", sides) if first > last else ("dropouts", dropouts)
        raise ArgumentError(name, pair, "two numbers that rise, or stay the same")
    out = []
    for i in range(phases):
        share = i / (phases - 1)
        side = round((first + share * (last - first)) / multiple) * multiple
        side = {0: first, phases - 1: last}.get(i, min(max(side, first), last))
        out.append(Phase(steps * i // phases, side, low + share * (high - low)))
    return out
