"""`EfficientNet`: its variants as a table, its blocks, the net, and weights from timm.

Sources: Tan and Le (2019), table 1; the factors of B1 to B7 are those of the authors' code, which
are not exact powers of the paper's coefficients. Sandler et al. (2018), MobileNetV2, and Hu et al.
(2018), for the block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.efficientnet.scaling import round_channels, round_repeats
from setrade.errors import ArgumentError, Pickled, choice, flag, integer, number
from setrade.labels import CLASSES


@dataclass(frozen=True)
class Stage:
    """A run of MBConv blocks: expansion, kernel, first stride, B0's width and repeats."""

    expand: int
    kernel: int
    stride: int
    channels: int
    repeats: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 1280


@dataclass(frozen=True)
class Variant:
    """Factors on B0's width and depth, the picture's side in pixels, and the head's dropout."""

    width: float
    depth: float
    resolution: int
    dropout: float
    stem_stride: int = 2


VARIANTS = {
    "b0": Variant(1.0, 1.0, 224, 0.2),
    "b1": Variant(1.0, 1.1, 240, 0.2),
    "b2": Variant(1.1, 1.2, 260, 0.3),
    "b3": Variant(1.2, 1.4, 300, 0.3),
    "b4": Variant(1.4, 1.8, 380, 0.4),
    "b5": Variant(1.6, 2.2, 456, 0.4),
    "b6": Variant(1.8, 2.6, 528, 0.5),
    "b7": Variant(2.0, 3.1, 600, 0.5),
    # Ours, for small pictures on two cores: the law run backwards, and a stem that keeps size.
    "mini": Variant(0.5, 0.5, 64, 0.2),
    "micro": Variant(0.25, 0.3, 64, 0.1),
    "nano": Variant(0.25, 0.3, 32, 0.1, stem_stride=1),
}


# ---- The parts of a block.


def same_pad(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's padding before and after: ceil(size / stride) outputs, odd pixel last."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Conv2dSame(nn.Conv2d):
    """A convolution padded as TensorFlow does, which for stride 2 is not symmetric."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        top, bottom = same_pad(input.shape[2], self.kernel_size[0], self.stride[0])
        left, right = same_pad(input.shape[3], self.kernel_size[1], self.stride[1])
        return super().forward(F.pad(input, (left, right, top, bottom)))


class DropConnect(nn.Module):
    """Drop a block's whole branch for a random part of the batch while training.

    Source: Huang et al. (2016), Deep Networks with Stochastic Depth; Tan and Le's drop connect.

    Args:
        rate: probability of dropping an example's branch, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = number("rate", rate, 0, 0.999)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, ...) to the same shape; kept examples are scaled so that the mean stays."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep


class SqueezeExcite2d(nn.Module):
    """Mean over pixels, two linear layers with a swish between, a sigmoid gate a channel.

    Args:
        channels: of the picture to gate.
        reduced: hidden units: a quarter of the *block's input* channels (not of ``channels``).
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        channels, reduced = integer("channels", channels, 1), integer("reduced", reduced, 1)
        self.reduce, self.expand = nn.Linear(channels, reduced), nn.Linear(reduced, channels)

    def gates(self, x: Tensor) -> Tensor:
        """Return gates (B, C) in (0, 1) for a picture (B, C, H, W)."""
        return self.expand(F.silu(self.reduce(x.mean((2, 3))))).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x * self.gates(x)[:, :, None, None]


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and, unless told otherwise, swish."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1,
        *, act: bool = True, same_padding: bool = False,
    ) -> None:  # fmt: skip
        # A stride of 1 pads the same either way: only strided ones need TensorFlow's rule.
        if same_padding and stride > 1:
            conv = Conv2dSame(c_in, c_out, kernel, stride, groups=groups, bias=False)
        else:
            conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        # As published: TensorFlow's momentum 0.99 is torch's 0.01.
        eps, momentum = (1e-3, 0.01) if same_padding else (1e-5, 0.1)
        norm = nn.BatchNorm2d(c_out, eps, momentum)
        super().__init__(conv, norm, *([nn.SiLU(inplace=True)] if act else []))


class MBConv(nn.Module):
    """Expand, look around, gate, project: a bottleneck turned inside out.

    Args:
        c_in: input channels.
        c_out: output channels.
        expand: factor on the input channels inside; 1 has no expansion layer.
        kernel: of the depthwise convolution, odd.
        stride: of the depthwise convolution; with 1 and equal channels the input is added back.
        drop_connect: rate at which the branch is dropped while training.
        same_padding: as published (TensorFlow's padding and eps 1e-3), else PyTorch's.
    """

    def __init__(
        self, c_in: int, c_out: int, expand: int = 6, kernel: int = 3, stride: int = 1,
        drop_connect: float = 0.0, same_padding: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        c_in, c_out = integer("c_in", c_in, 1), integer("c_out", c_out, 1)
        inside = c_in * integer("expand", expand, 1)
        kernel, stride = integer("kernel", kernel, 1), integer("stride", stride, 1)
        same = {"same_padding": flag("same_padding", same_padding)}
        self.expand = ConvNorm(c_in, inside, 1, **same) if expand > 1 else nn.Identity()
        self.depthwise = ConvNorm(inside, inside, kernel, stride, inside, **same)
        self.se = SqueezeExcite2d(inside, max(1, c_in // 4))
        self.project = ConvNorm(inside, c_out, 1, act=False, **same)
        self.residual = stride == 1 and c_in == c_out
        self.drop = DropConnect(number("drop_connect", drop_connect, 0, 0.999))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H / stride, W / stride)."""
        out = self.project(self.se(self.depthwise(self.expand(x))))
        return x + self.drop(out) if self.residual else out


@torch.no_grad()
def init_weights(net: nn.Module, *, published: bool = False) -> None:
    """Draw weights: normal by fan-out for convolutions; the linear layers in one of two ways.

    Args:
        net: any net of this module's layers.
        published: as the authors' code: the gates' layers are 1x1 convolutions there, normal with
            variance 2 / outputs; the classifier is uniform in ±1 / √classes. Else both are
            Xavier's, which leaves gates near a half and logits of few classes small.

    Source: google/automl, efficientnetv2/effnetv2_model.py and the older efficientnet_model.py.
    """
    gates = {
        layer for m in net.modules() if isinstance(m, SqueezeExcite2d) for layer in m.children()
    }
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            module.weight.normal_(0, (2 / (fan / module.groups)) ** 0.5)
        elif isinstance(module, nn.Linear):
            if not published:
                nn.init.xavier_uniform_(module.weight)
            elif module in gates:
                module.weight.normal_(0, (2 / module.out_features) ** 0.5)
            else:
                bound = module.out_features**-0.5
                module.weight.uniform_(-bound, bound)
            module.bias.zero_()


def plan(variant: Variant) -> list[Stage]:
    """Return the stages of a variant: widths and repeats scaled and rounded."""
    return [
        replace(
            stage,
            channels=round_channels(stage.channels, variant.width),
            repeats=round_repeats(stage.repeats, variant.depth),
        )
        for stage in STAGES
    ]


class EfficientNet(nn.Module):
    """Stem, seven stages of MBConv, head, mean over pixels, linear classifier.

    Args:
        variant: a name in ``VARIANTS``, or a `Variant`.
        num_classes: outputs; 0 leaves the classifier out, and the net returns features.
        in_channels: of the picture.
        drop_connect: rate at the last block; it rises linearly from 0 at the first.
        same_padding: True as published (TensorFlow's padding, eps 1e-3: timm's
            tf_efficientnet_*); False with PyTorch's (timm's efficientnet_*).
        published: weights drawn as published (see `init_weights`); None: so for "b0" to "b7" and
            with ``same_padding``, and not for our own small variants.

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self, variant: str | Variant = "b0", num_classes: int = 1000, in_channels: int = 3,
        drop_connect: float = 0.2, same_padding: bool = False, published: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        named = isinstance(variant, str) and variant.startswith("b")
        if not isinstance(variant, Variant):
            variant = VARIANTS[choice("variant", variant, VARIANTS)]
        self.in_channels = integer("in_channels", in_channels, 1)
        rate = number("drop_connect", drop_connect, 0, 0.999)
        same = {"same_padding": flag("same_padding", same_padding)}
        published = flag("published", named or same_padding if published is None else published)
        stages = plan(variant)
        width, total = round_channels(STEM, variant.width), sum(s.repeats for s in stages)
        self.stem = ConvNorm(in_channels, width, 3, variant.stem_stride, **same)
        blocks: list[MBConv] = []
        for stage in stages:
            for i in range(stage.repeats):
                stride, drop = (stage.stride if i == 0 else 1), rate * len(blocks) / total
                blocks.append(
                    MBConv(width, stage.channels, stage.expand, stage.kernel, stride, drop, **same)
                )
                width = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.num_features = round_channels(HEAD, variant.width)
        self.head = ConvNorm(width, self.num_features, 1, **same)
        self.dropout = nn.Dropout(variant.dropout)
        classes = integer("num_classes", num_classes, 0)
        self.classifier = nn.Linear(self.num_features, classes) if classes else nn.Identity()
        self.total_stride = variant.stem_stride * math.prod(stage.stride for stage in stages)
        init_weights(self, published=published)

    def features(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_channels, H, W) to feature maps (B, num_features, h, w)."""
        self._check(x)
        return self.head(self.blocks(self.stem(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_channels, H, W) to (B, num_classes), or features if that is 0."""
        return self.classifier(self.dropout(self.features(x).mean((2, 3))))

    def _check(self, x: Tensor) -> None:
        """Raise unless ``x`` is a batch of pictures that survives the strides."""
        if torch.jit.is_tracing() or torch.compiler.is_compiling():  # type: ignore[attr-defined]
            return
        low = self.total_stride
        allowed = f"(batch, {self.in_channels}, height, width), both sides at least {low}"
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ArgumentError("x", x, allowed)
        if min(x.shape[2:]) < low or not len(x):
            raise ArgumentError("x", x, allowed)
        like = next(self.parameters(), x).dtype
        if x.dtype != like and not torch.is_autocast_enabled(x.device.type):
            raise ArgumentError("x", x, f"pictures of {like}, as the weights")


# ---- Weights from timm's names to ours.


TOP = {"conv_stem": "stem.0", "bn1": "stem.1", "conv_head": "head.0", "bn2": "head.1"}
# timm names the layers of a block by their place; a block without expansion starts later.
PLAIN = {"conv_dw": "depthwise.0", "bn1": "depthwise.1", "conv_pw": "project.0", "bn2": "project.1"}
EXPANDED = {
    "conv_pw": "expand.0", "bn1": "expand.1", "conv_dw": "depthwise.0", "bn2": "depthwise.1",
    "conv_pwl": "project.0", "bn3": "project.1",
}  # fmt: skip
GATE = {"se.conv_reduce": "se.reduce", "se.conv_expand": "se.expand"}
BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)\.(\w+)")


class WeightError(Pickled, ValueError):
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


def check_tensors(state_dict: Any) -> None:
    """Raise unless ``state_dict`` maps names to tensors, and name the first that is none."""
    if not isinstance(state_dict, Mapping) or not all(isinstance(k, str) for k in state_dict):
        raise ArgumentError("state_dict", state_dict, "a mapping from names to tensors")
    for key, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise WeightError(key, f"is of type {type(value).__name__}, wanted a tensor")


def ends(weights: Mapping[str, Tensor]) -> tuple[torch.Size, int, int]:
    """Return the shape of timm's stem, the channels of its head, and the classes."""
    names = {"conv_stem.weight": 4, "conv_head.weight": 4, "classifier.weight": 2}
    for name, axes in names.items():
        if name not in weights:
            raise WeightError(name, "is missing")
        if weights[name].ndim != axes:
            raise WeightError(name, f"has shape {tuple(weights[name].shape)}, wanted {axes} axes")
    stem, head, classes = (weights[name].shape for name in names)
    return stem, head[0], classes[0]


def ungated(name: str, value: Tensor) -> Tensor:
    """Return a gate's 1x1 convolution as a linear layer's weight, and all else as it is."""
    gate = ".se." in name and value.shape[2:] == (1, 1)
    return value[:, :, 0, 0] if gate else value


def _reference(weights: Mapping[str, Tensor], n_blocks: int) -> dict[str, Tensor]:
    """Return the shapes of the variant whose stem, head and number of blocks are nearest."""
    stem, head, classes = ends(weights)
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
    check_tensors(state_dict)
    places = sorted({(int(m[1]), int(m[2])) for k in state_dict if (m := BLOCK.fullmatch(k))})
    number = {place: i for i, place in enumerate(places)}
    expanded = {(int(m[1]), int(m[2])) for k in state_dict
                if (m := BLOCK.fullmatch(k)) and m[3] == "conv_pwl"}  # fmt: skip
    wanted, found = _reference(state_dict, len(places)), {}
    for key, value in state_dict.items():
        name = _rename(key, number, expanded)
        value = ungated(name, value)
        if name not in wanted or wanted[name].shape != value.shape:
            shape = tuple(wanted[name].shape) if name in wanted else "no such tensor"
            raise WeightError(key, f"has shape {tuple(value.shape)}, wanted {shape}")
        found[name] = value
    missing = [name for name in wanted if name not in found]
    if missing:
        raise WeightError(missing[0], "is missing")
    return found


class PictureNet(EfficientNet):
    """Strategy 1, end to end: an EfficientNet whose outputs are the logits of sell, hold and buy.

    Args:
        variant: a name in ``efficientnet.VARIANTS``, or a `Variant`.
        in_channels: of the picture: 3 for candles, one more for each Gramian field stacked on.
        classes: what the outputs mean; given by a file or a config, checked against the order
            that labels, signals and backtest share.
        drop_connect: as in `EfficientNet`.

    Raises:
        ArgumentError: names the argument; ``classes`` in any other order.
    """

    def __init__(
        self,
        variant: str | Variant = "micro",
        in_channels: int = 3,
        *,
        classes: Sequence[str] = CLASSES,
        drop_connect: float = 0.0,
    ) -> None:
        if isinstance(classes, str) or tuple(classes) != CLASSES:
            raise ArgumentError("classes", classes, f"{CLASSES}, in this order")
        super().__init__(variant, len(CLASSES), in_channels, drop_connect)
        self.classes = CLASSES

    def probabilities(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_channels, H, W) to probabilities (B, 3) of sell, hold, buy."""
        return self(x).softmax(1)
