"""`Backbone`: an EfficientNet that takes our pictures and can be frozen stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, integer, number

STRIDE = 32  # of a whole EfficientNet: a smaller picture leaves no pixel


def channels_last(backbone: Backbone) -> Backbone:
    """Lay out the weights with the channels last: three times as fast on small pictures."""
    return backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Backbone(nn.Module):
    """Pictures in [0, 1] to features: normalise as the weights want it, stem, stages, head, pool.

    The mean and the standard deviation belong to the weights, so they live in here, and pictures
    come as ``pictures.to_input`` gives them. A frozen part stays in evaluation mode whatever
    ``train`` says: batch normalisation would otherwise go on adapting its statistics, and the part
    would change although no gradient reaches it.

    Args:
        net: a timm EfficientNet (``conv_stem bn1 blocks conv_head bn2``); its parts are used, not
            copied.
        mean: of each input channel in the pictures that the weights were trained on.
        std: likewise.
        depth: how many stages to keep, from 1 on; None keeps all and the head.
        grid: the last maps are averaged over ``grid`` x ``grid`` places; 1 forgets where.

    Raises:
        ArgumentError: names the argument.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        depth: int | None = None,
        grid: int = 1,
    ) -> None:
        super().__init__()
        blocks = list(net.get_submodule("blocks").children())
        self.stem = nn.Sequential(net.get_submodule("conv_stem"), net.get_submodule("bn1"))
        kept = len(blocks) if depth is None else integer("depth", depth, 1, len(blocks))
        self.stages = nn.ModuleList(blocks[:kept])
        head = [net.get_submodule(n) for n in ("conv_head", "bn2")] if depth is None else []
        self.head = nn.Sequential(*head)
        self.pool = nn.AdaptiveAvgPool2d(integer("grid", grid, 1))
        self.in_channels = int(net.get_parameter("conv_stem.weight").shape[1])
        for name, values in (("mean", mean), ("std", std)):
            checked = [number(name, v, 0, above=name == "std") for v in values]
            if len(checked) != self.in_channels:
                raise ArgumentError(name, values, f"{self.in_channels} numbers, one a channel")
            self.register_buffer(name, torch.tensor(checked).view(1, -1, 1, 1), persistent=False)
        self.frozen_stages = 0
        last = [m for m in self.modules() if isinstance(m, nn.Conv2d)][-1]
        self.num_features = last.out_channels * grid**2

    def freeze(self, stages: int | None = None) -> Backbone:
        """Freeze the stem and the first ``stages`` stages (all and the head: None); return self.

        Calling it again replaces what was frozen: 0 thaws everything.
        """
        total = len(self.stages)
        self.frozen_stages = total + 1 if stages is None else integer("stages", stages, 0, total)
        for part in (self.stem, *self.stages, self.head):
            part.requires_grad_(True)
        for part in self._frozen():
            part.requires_grad_(False)
        return self.train(self.training)

    def _frozen(self) -> list[nn.Module]:
        """Return the parts that are frozen."""
        if not self.frozen_stages:
            return []
        whole = self.frozen_stages > len(self.stages)
        parts: list[nn.Module] = [self.stem, *list(self.stages)[: self.frozen_stages]]
        return [*parts, self.head] if whole else parts

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps after each stage, and after the head where there is one.

        Args:
            x: pictures (B, in_channels, H, W) in [0, 1].

        Returns:
            Tensors (B, channels, h, w), the shallowest first.
        """
        self._check(x)
        x, out = self.stem((x - self.mean) / self.std), []  # (B, stem, H / 2, W / 2)
        for part in (*self.stages, *([self.head] if len(self.head) else [])):
            x = part(x)
            out.append(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_channels, H, W) in [0, 1] to features (B, num_features)."""
        return self.pool(self.maps(x)[-1]).flatten(1)  # the batch axis stays, also for B = 1

    def _check(self, x: Tensor) -> None:
        """Raise unless ``x`` is a batch of pictures in [0, 1] that survives the strides.

        Values are looked at on a CPU only.
        """
        if torch.jit.is_tracing() or torch.compiler.is_compiling():  # type: ignore[attr-defined]
            return
        allowed = f"(batch, {self.in_channels}, height, width), both sides at least {STRIDE}"
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ArgumentError("x", x, allowed)
        if min(x.shape[2:]) < STRIDE or not len(x) or not x.is_floating_point():
            raise ArgumentError("x", x, allowed + ", not empty, floats")
        if x.device.type != "cpu":
            return  # the look would stall the GPU at every step
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if not (low >= 0 and high <= 1):  # NaN fails as well
            raise ArgumentError("x", (low, high), "values in [0, 1]: mean and std are applied here")


class Transfer(nn.Module):
    """A backbone and one linear layer on its features.

    Args:
        backbone: a `Backbone`, frozen as far as wanted.
        num_classes: outputs; 3 are 0 sell, 1 hold, 2 buy.
        dropout: rate before the linear layer.
        head: a linear layer to use instead of a new one.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int = 3,
        *,
        dropout: float = 0.0,
        head: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, Backbone):
            raise ArgumentError("backbone", backbone, "a Backbone, as pretrained() gives it")
        features, classes = backbone.num_features, integer("num_classes", num_classes, 1)
        if head is not None and (head.in_features, head.out_features) != (features, classes):
            raise ArgumentError("head", head, f"a linear layer from {features} to {classes}")
        self.backbone = backbone
        self.dropout = nn.Dropout(number("dropout", dropout, 0, 0.999))
        self.classifier = nn.Linear(features, classes) if head is None else head

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_channels, H, W) in [0, 1] to (B, num_classes)."""
        return self.classifier(self.dropout(self.backbone(x)))
