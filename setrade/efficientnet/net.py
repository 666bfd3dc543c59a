"""`EfficientNet`: the table turned into a net."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, choice, integer, number

from .blocks import ConvNorm, MBConv, init_weights
from .scaling import round_channels, round_repeats
from .table import HEAD, STAGES, STEM, VARIANTS, Stage, Variant


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

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self,
        variant: str | Variant = "b0",
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_connect: float = 0.2,
        same_padding: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(variant, Variant):
            variant = VARIANTS[choice("variant", variant, VARIANTS)]
        self.in_channels = integer("in_channels", in_channels, 1)
        rate, same = number("drop_connect", drop_connect, 0, 0.999), {"same_padding": same_padding}
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
        self.total_stride = variant.stem_stride
        for stage in stages:
            self.total_stride *= stage.stride
        init_weights(self)

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
