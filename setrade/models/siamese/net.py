"""The Siamese net and its loss.

Sources: J. Bromley et al. (1993), Signature Verification using a "Siamese" Time Delay Neural
Network; R. Hadsell, S. Chopra and Y. LeCun (2006), Dimensionality Reduction by Learning an
Invariant Mapping, equation 4, for the contrastive loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from setrade.efficientnet import EfficientNet, Variant
from setrade.errors import ArgumentError, integer, number


class Siamese(nn.Module):
    """Two pictures through one set of weights; their distance is the answer.

    Args:
        variant: of the trunk, a name in ``efficientnet.VARIANTS`` or a `Variant`.
        in_channels: of the pictures.
        dim: numbers that describe a state; they form a vector of length 1, so that distances
            lie in [0, 2].
        drop_connect: as in `EfficientNet`.

    Raises:
        ArgumentError: names the argument.
    """

    def __init__(
        self,
        variant: str | Variant = "micro",
        in_channels: int = 3,
        dim: int = 16,
        drop_connect: float = 0.0,
    ) -> None:
        super().__init__()
        self.trunk = EfficientNet(variant, 0, in_channels, drop_connect)
        self.project = nn.Linear(self.trunk.num_features, integer("dim", dim, 2))

    def embed(self, x: Tensor) -> Tensor:
        """Map pictures (B, C, H, W) to unit vectors (B, dim)."""
        return F.normalize(self.project(self.trunk(x)), dim=1)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Map two batches of pictures (B, C, H, W) to distances (B,) in [0, 2].

        Both go through the net as one batch, so that batch norm treats them alike.
        """
        first, second = pair
        if first.shape != second.shape:
            raise ArgumentError("pair", second, f"two batches of shape {tuple(first.shape)}")
        a, b = self.embed(torch.cat([first, second])).chunk(2)
        return torch.linalg.vector_norm(a - b, dim=1)


class ContrastiveLoss(nn.Module):
    """Pull like states together, push others apart until they are ``margin`` away.

    ``d² / 2`` for a like pair, ``max(0, margin - d)² / 2`` for the others.

    Args:
        margin: in (0, 2].
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = number("margin", margin, 0, 2, above=True)

    def forward(self, distance: Tensor, same: Tensor) -> Tensor:
        """Return the mean loss of distances (B,) and flags (B,): 1 the same state, 0 another."""
        if distance.shape != same.shape:
            raise ArgumentError("same", same, f"the shape of distance, {tuple(distance.shape)}")
        apart = F.relu(self.margin - distance)
        return torch.where(same > 0, distance**2, apart**2).mean() / 2
