"""The parts of a mobile inverted bottleneck with squeeze and excitation.

Sources: Sandler et al. (2018), MobileNetV2; Hu et al. (2018) for the gate; Tan and Le (2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.errors import integer, number


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
            conv = nn.Conv2d(
                c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False
            )  # fmt: skip
        # As published: TensorFlow's momentum 0.99 is torch's 0.01.
        norm = (
            nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.01)
            if same_padding
            else nn.BatchNorm2d(c_out)
        )
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
        same = {"same_padding": same_padding}
        self.expand = ConvNorm(c_in, inside, 1, **same) if expand > 1 else nn.Identity()
        self.depthwise = ConvNorm(inside, inside, kernel, stride, inside, **same)
        self.se = SqueezeExcite2d(inside, max(1, c_in // 4))
        self.project = ConvNorm(inside, c_out, 1, act=False, **same)
        self.residual = stride == 1 and c_in == c_out
        self.drop = DropConnect(drop_connect)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H / stride, W / stride)."""
        out = self.project(self.se(self.depthwise(self.expand(x))))
        return x + self.drop(out) if self.residual else out


@torch.no_grad()
def init_weights(net: nn.Module) -> None:
    """Draw weights as published: normal by fan-out for convolutions, uniform for the classifier."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            module.weight.normal_(0, (2 / (fan / module.groups)) ** 0.5)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            module.bias.zero_()
